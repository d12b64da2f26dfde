"""What the emulator keeps beside the architecture: TLBs, cell pages, requests from outside."""

from __future__ import annotations

from innkeeper.isa.riscv.decode import Tables
from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.native.types import Array, Fn, Ptr, Struct, i32, i64, u8, u16, u32, u64

DATA_ENTRIES = 4096
CODE_ENTRIES = 1024
WALK_ENTRIES = 1024
ASID_STAMPS = 256
SEEN = 1024
BANKS = 5
BANK_USER, BANK_SUPERVISOR, BANK_SUM, BANK_MACHINE, BANK_MPRV = 0, 1, 2, 3, 4
INVALID = 0xFFFFFFFFFFFFFFFF
"""A tag that no masked address equals: its low bits are all set."""

PAGE_CELLS = 2048
CELL_BYTES = 16
PARAMS = "ptr %hart, ptr %cell, i64 %budget, ptr %bank"
"""What every handler takes, in LLVM IR."""
CELL_PAGE_CELLS = 2052
"""One cell for every 2 bytes, one that leads to the next page, rounded up to a cache line."""

MAX_INSTRUCTIONS = 2048
"""Instruction numbers a machine has room for; `compile_image` refuses more."""
HANDLER_SLOTS = 2 * MAX_INSTRUCTIONS

STEP, STEP_BREAKS, STEP_UNINTERRUPTED = 1, 2, 4
"""`EmuHart.step`: one instruction; heed breakpoints; take no interrupt."""
EXIT_REQUEST, EXIT_IDLE, EXIT_BREAK, EXIT_STEP, EXIT_WATCH, EXIT_COUNT = 1, 2, 3, 4, 5, 6
EXIT_TRAP, EXIT_BLOCK = 7, 8
"""Why `turns.run` comes back."""

MAX_WATCHES = 16
WATCH_READ, WATCH_WRITE = 1, 2


MET_SLOTS = 8192
"""A power of two. What is counted is 8 bits wide, and each time it comes round it is noted."""
WAY_SLOTS = 2048
PARKED = 0xFFFFFFFFFFFFFFFF
"""`EmuHart.epoch` between slices."""
NO_PAGE = 0xFFFFFFFFFFFFFFFF
"""The number of no RAM page."""
CALL_JUMP, CALL_CELL, CALL_TRAP_AT, CALL_RESUME_AT = 0, 1, 2, 3
CALL_LOAD, CALL_STORE, CALL_RW_POINTER, CALL_LINK = 4, 5, 6, 7
CALL_SPAN_READ, CALL_SPAN_WRITE, CALL_SPAN_BOTH = 8, 9, 10
CALLED = (
    "region.jump", "region.cell", "region.trap_at", "region.resume_at", "region.load",
    "region.store", "region.rw_pointer", "region.link", "region.span_read", "region.span_write",
    "region.span_both",
)  # fmt: skip
"""`EmuHart.calls`: where a region finds what it may go to (the first four) or call."""


class DataEntry(Struct):
    """One page for loads and stores: the tags include the page's address or are `INVALID`.

    `addend` plus the virtual address is the host's address. A page with a write tag may be read
    too. `page` is the RAM page's number, by which a page that comes to hold code loses that tag.
    """

    read_tag: u64
    write_tag: u64
    addend: u64
    page: u32
    flags: u32


class CodeEntry(Struct):
    """One page for fetching: its address, its cells, and what makes a pc of a cell (`bias`)."""

    tag: u64
    cells: u64
    bias: u64
    flags: u64


ENTRY_GLOBAL, ENTRY_LISTED = 1, 2
"""Flags of an entry: it outlives its address space; the bank's list of used entries has it."""


class Bank(Struct):
    """A TLB for one way of looking at memory: U, S, S with SUM, M, M with MPRV.

    A flush costs what was filled since the last: `data_used` and `code_used` list the entries that
    may be valid, each once. A PTE grants a load here where `pte & load_mask == load_wanted`, a
    fetch by the other two; in the banks that do not always translate no PTE does.
    """

    data: Array[DataEntry, DATA_ENTRIES]
    code: Array[CodeEntry, CODE_ENTRIES]
    data_used: Array[u16, DATA_ENTRIES]
    code_used: Array[u16, CODE_ENTRIES]
    data_count: u32
    code_count: u32
    load_mask: u64
    load_wanted: u64
    fetch_mask: u64
    fetch_wanted: u64


class WalkEntry(Struct):
    """The outcome of a walk for 2 MiB of an address space: the second level of the TLB.

    `table` is the offset in RAM of the last page table; for a superpage it is `SUPERPAGE`, and
    `pte` is what the PTE of the region's first 4 KiB page would be. `context` says whose it is and
    since when (`EmuHart.walk_context`).
    """

    region: u64
    context: u64
    table: u64
    pte: u64


SUPERPAGE = INVALID
NO_CONTEXT = INVALID
"""`EmuHart.walk_context` where there is no translation."""


class Way(Struct):
    """How often the computed jump at `site` has gone to `target` in tier 0."""

    site: u64
    target: u64
    count: u64


class Code(Struct):
    """The translated code that all harts of a machine share."""

    pool: Ptr[Operands]
    pool_pages: u32
    used_pages: u32
    lock: u32
    """Held while any of this is changed, a cell is decoded, or a fetch TLB gets an entry."""
    making: u32
    """Held while a RAM page gets its cells."""
    making_page: u64
    """That page, which may not be decoded yet, or `NO_PAGE`."""
    epoch: u64
    """How many cell pages have been given back."""
    reset_wanted: u32
    """There is no room: every hart is to end its slice so that all cells can go."""
    resets: u32
    page_cells: Ptr[u32]
    """By RAM page: 1 + the number of its cell page, or 0."""
    cell_page_ram: Ptr[u32]
    """By cell page: the RAM page it decodes."""
    free: Ptr[u32]
    """A ring of cell pages that were given back, the oldest first."""
    free_first: u32
    free_count: u32
    given_back: Ptr[u64]
    """By cell page: `epoch` when it was given back."""
    tables: Tables
    handlers: Array[u64, HANDLER_SLOTS]
    """By instruction number: two addresses, leaving the page and staying in it."""
    handler_decode: u64
    handler_page_end: u64
    handler_cross: u64
    handler_cross_end: u64
    handler_onward: u64
    handler_illegal: u64
    handler_break: u64
    handler_step_end: u64
    breakpoints: Ptr[u64]
    breakpoint_count: u32
    block_mode: u32
    """Come back to the host after every basic block."""
    traffic: u64
    """The address of `regions.layout.Traffic`."""
    page_regions: Ptr[u64]
    """By cell page: the first region that has code in it, or 0."""
    write_fd: Fn[i64, u64, u64, u64]
    """write(2), to wake the compiler."""
    compile_now: Fn[None, u64]
    ends_block: Array[u8, MAX_INSTRUCTIONS]
    """By instruction number: whether it may go on elsewhere than at the next instruction."""
    virtual_ns: u64
    """How many instructions all harts have executed, and what was skipped while all waited."""
    turn: u32
    """The hart that has the next turn (`counted`)."""
    digest: u64
    """Of the state of every hart at the end of each of its slices."""
    halt: u32
    """Harts on threads of their own are to come back."""
    sched_yield: Fn[i32]
    mutex_lock: Fn[i32, u64]
    mutex_unlock: Fn[i32, u64]
    condition_wait: Fn[i32, u64, u64]
    condition_timedwait: Fn[i32, u64, u64, u64]
    condition_signal: Fn[i32, u64]
    """pthreads (POSIX.1-2017 2.9), by which waiting harts sleep and are woken."""


class EmuHart(Hart):
    """A hart as tier 0 runs it."""

    calls: Array[u64, 11]
    """The addresses of what regions need: `CALL_...`."""
    callable: Ptr[u64]
    """The addresses of all functions of the emulator, by the order of their names."""
    leave_region: u32
    """Set by a store that drops a region: it may be the running one."""
    regions_first: u64
    """Where images of regions begin to be executable (`POOL_BYTES` of them)."""
    met: Array[u8, MET_SLOTS]
    """By a hash of the cell's address: how often a region was left for a place that is in none."""
    ways: Array[Way, WAY_SLOTS]
    """By a hash of the jump's address and its target's."""
    punted: u64
    """The record of the last region of this slice that had too little budget left, where it is
    executed, or 0."""
    bias: u64
    """A cell's address divided by 8, plus this, is the pc."""
    bank: Ptr[u8]
    code: Ptr[Code]
    exit_request: u32
    exit_reason: u32
    idle: u32
    step: u32
    mxcsr_host: u32
    mxcsr: u32
    scratch: Array[Operands, 4]
    watch_count: u32
    banks: Array[Bank, 5]
    walks: Array[WalkEntry, WALK_ENTRIES]
    walk_context: u64
    """The current ASID, and above it the stamp its walks must bear."""
    walk_salt: u64
    """What spreads the walks of different address spaces over `walks`."""
    asid_stamps: Array[u64, ASID_STAMPS]
    """By the low bits of an ASID: when its walks were last forgotten."""
    stamp: u64
    open_start: u64
    open_size: u64
    """Where PMP lets S and U do everything, by offset in RAM; empty while addresses are watched."""
    super_seen: Array[u8, SEEN]
    giant_seen: Array[u8, SEEN]
    """By a hash of the address: whether superpages (or NAPOT pages) of up to 2 MiB, of more, are in
    the first level."""
    stat_misses: u64
    stat_refills: u64
    stat_fetch_misses: u64
    stat_walks: u64
    stat_flushes: u64
    stat_asid_flushes: u64
    stat_page_flushes: u64
    stat_switches: u64
    stat_decodes: u64
    stat_traps: u64
    stat_slices: u64
    ticks: u64
    """Instructions begun, those that ended in a trap included."""
    exit_hart: u32
    """Whose exit it was; only the first hart's is used."""
    held: u32
    """A debugger keeps this hart where it is."""
    host_error: u32
    """The host call of this instruction failed: give the instruction up."""
    block_ended: u32
    """The next instruction begins a basic block."""
    trap_stops: u64
    """By cause: come back to the host instead of entering the trap."""
    stop_unhandled: u32
    """The same for any trap whose vector is 0."""
    watch_off: u32
    watch_first: Array[u64, 16]
    watch_last: Array[u64, 16]
    watch_kind: Array[u32, 16]
    watch_hit: u64
    watch_value: u64
    watch_number: u32
    watch_access: u32
    watch_size: u32
    inside: u32
    """Guest instructions may be executing (`sync`)."""
    obeyed: u32
    """How often `flush_request` has been obeyed."""
    passes: u64
    epoch: u64
    hazard: u64
    """The RAM page that an atomic instruction is about to change by the long way."""
    asleep: u32
    mutex: Array[u64, 16]
    condition: Array[u64, 16]
    """Room for a pthread_mutex_t and a pthread_cond_t."""
    wake_at: Array[u64, 2]
    """A timespec."""
