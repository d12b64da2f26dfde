"""Harts that run at once: atomics, code that another hart changes, TLB shootdowns, sleep and wakes."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from innkeeper.base.errors import InnError
from innkeeper.engine.emulator.hart import BANK_MACHINE, INVALID
from tests.engine.at_once import AtOnce, at_once
from tests.engine.harness import DEVICE, RAM_BASE
from tests.engine.paging import AD, RWX, PageTables, R, W

RFENCE_CODE = "li a7, 0x52464E43\nli a6, 0\nli a0, -1\nli a1, -1\necall"
RFENCE_TRANSLATIONS = "li a7, 0x52464E43\nli a6, 1\nli a0, -1\nli a1, -1\nli a2, 0\nli a3, 0\necall"
"""Remote fences of all harts (SBI 8.1, 8.2): a base of -1 names them all."""


# ---- atomics


@pytest.mark.parametrize(("harts", "align", "each"), [(2, 12, 8000), (4, 12, 3000), (3, 9, 300)])
def test_every_kind_of_counter_counts_exactly(harts: int, align: int, each: int) -> None:
    """AMOs, both widths of LR/SC, a lock taken by AMO and one taken by LR/SC.

    Without alignment to a page the counters lie in the page of the code, whose cells every store
    drops while the other harts run in them.
    """
    machine, made = at_once(
        f"""
_start:
    la s0, counters
    li s1, {each}
    li a1, 1
    jal gp, barrier
loop:
    amoadd.d x0, a1, (s0)
    addi t1, s0, 68
    amoadd.w x0, a1, (t1)
    addi t1, s0, 128
1:  lr.d t0, (t1)
    addi t0, t0, 1
    sc.d t2, t0, (t1)
    bnez t2, 1b
    addi t1, s0, 196
1:  lr.w t0, (t1)
    addi t0, t0, 1
    sc.w t2, t0, (t1)
    bnez t2, 1b
    addi t1, s0, 256        # a lock by AMO
1:  amoswap.w.aq t0, a1, (t1)
    bnez t0, 1b
    ld t0, 8(t1)
    addi t0, t0, 1
    sd t0, 8(t1)
    amoswap.w.rl x0, x0, (t1)
    addi t1, s0, 320        # a lock by LR/SC, given back by a fence and a store
1:  lr.w.aq t0, (t1)
    bnez t0, 1b
    sc.w t0, a1, (t1)
    bnez t0, 1b
    ld t0, 8(t1)
    addi t0, t0, 1
    sd t0, 8(t1)
    fence rw, w
    sw x0, 0(t1)
    addi s1, s1, -1
    bnez s1, loop
    j finish
.align {align}
counters: .zero 512
""",
        harts,
    )
    at = made.symbols["counters"]
    counts = [machine.u64(at + n) & 0xFFFFFFFF for n in (0, 68 - 4, 128, 196 - 4, 264, 328)]
    high = [machine.u64(at + n) >> 32 for n in (64, 192)]
    assert (counts[0], high[0], counts[2], high[1]) == (harts * each,) * 4
    assert counts[4:] == [harts * each] * 2


def test_each_operation_takes_effect_once() -> None:
    """Two harts toggle bits of one word by every AMO that can; what is left tells of each."""
    machine, made = at_once(
        """
_start:
    csrr s0, mhartid
    la s1, words
    li s2, 3001
    li s3, 1
    sll s3, s3, s0          # this hart's bit
    li t3, -1
    xor s4, s3, t3
    jal gp, barrier
loop:
    amoxor.d x0, s3, (s1)
    addi t1, s1, 64
    amoor.d x0, s3, (t1)
    amoand.d x0, s4, (t1)
    addi t1, s1, 128
    slli t2, s2, 1
    add t2, t2, s0
    amomaxu.d x0, t2, (t1)
    addi t1, s1, 192
    sub t2, x0, t2
    amomin.d x0, t2, (t1)
    addi s2, s2, -1
    bnez s2, loop
    j finish
.align 12
words: .zero 256
""",
        2,
    )
    at = made.symbols["words"]
    assert [machine.u64(at + 64 * n) for n in range(3)] == [3, 0, 6003]
    assert machine.u64(at + 192) == (1 << 64) - 6003


# ---- code that another hart changes

PATCH = """
_start:
    mv s0, a0
    la s1, shared
    la s2, target
    li s3, 0                # the round
    li s4, {rounds}
    jal gp, barrier
    bnez s0, reader
writer:
    addi s3, s3, 1
    slli t0, s3, 20         # addi a0, a0, round
    li t1, 0x00050513
    or t0, t0, t1
    mv t1, s2
    li t2, {instructions}
1:  sw t0, 0(t1)
    addi t1, t1, 4
    addi t2, t2, -1
    bnez t2, 1b
    fence rw, rw
{publish}
    sd s3, 0(s1)
    addi t2, s1, 64
    li t1, HARTS - 1
    mul t1, t1, s3
1:  wrs.nto                 # until the others have seen this round
    lr.d t0, (t2)
    bne t0, t1, 1b
    bne s3, s4, writer
    j finish
reader:
    addi s3, s3, 1
1:  li a0, 0
    jalr s2                 # while it changes: any mixture is allowed
    ld t0, 0(s1)
    bne t0, s3, 1b
{subscribe}
    li a0, 0
    jalr s2
    li t0, {instructions}
    mul t0, t0, s3
    beq a0, t0, 2f
    sd s3, 128(s1)          # stale code
2:  addi t1, s1, 64
    li t0, 1
    amoadd.d x0, t0, (t1)
    bne s3, s4, reader
    j finish
.align 12
shared: .zero 256
.align 12
target: .zero {instructions} * 4
    jr ra
"""


@pytest.mark.parametrize("harts", [2, 3])
@pytest.mark.parametrize("how", ["own fence.i", "remote fence.i"])
def test_code_that_another_hart_writes_while_it_runs(how: str, harts: int) -> None:
    rounds, instructions = {2: 200, 3: 60}[harts], 16
    own = how.startswith("own")
    source = PATCH.format(
        rounds=rounds, instructions=instructions, publish="" if own else RFENCE_CODE,
        subscribe="fence r, r\nfence.i" if own else "fence r, r",
    )  # fmt: skip
    machine = AtOnce(harts)
    made = machine.assemble(source)
    nop = 0x00050513.to_bytes(4, "little") * instructions  # addi a0, a0, 0

    def setup(_number: int, raw: Any) -> None:
        machine.ram.write(made.symbols["target"], nop)

    machine.load(made, setup, supervisor=True)
    machine.run()
    assert machine.u64(made.symbols["shared"]) == rounds
    assert machine.u64(made.symbols["shared"] + 128) == 0, "stale code in this round"


def test_no_room_for_cells_while_others_run() -> None:
    """Six pages of cells for a program of sixteen: all cells go, again and again."""
    pages = 16
    machine = AtOnce(3, pool_pages=6)
    functions = "".join(
        f"\n.align 12\n.zero {n * 64}\nfunction{n}: addi a0, a0, {n}\njr ra" for n in range(pages)
    )
    calls = "".join(f"\nla t0, function{n}\njalr t0" for n in range(pages))
    made = machine.assemble(
        f"""
_start:
    mv s5, a0
    li s1, 60
    li a0, 0
loop: {calls}
    addi s1, s1, -1
    bnez s1, loop
    la t0, sums
    slli s5, s5, 3
    add t0, t0, s5
    sd a0, 0(t0)
    j finish
.align 3
sums: .zero 24
{functions}
.align 12
"""
    )
    machine.load(made, supervisor=True)
    machine.run()
    total = 60 * sum(range(pages))
    assert [machine.u64(made.symbols["sums"] + 8 * n) for n in range(3)] == [total] * 3
    assert machine.emulator.code.raw.resets > 10


def test_a_store_under_way_lands_before_its_page_is_decoded() -> None:
    """A hart that had a write tag may be about to store by it: the first decoding waits for it."""
    machine = AtOnce(2)
    made = machine.assemble(
        """
_start:
    jal target
    la t0, result
    sd a0, 0(t0)
    j finish
.align 12
result: .dword 0
.align 12
target: li a0, 1
    ret
"""
    )
    machine.load(made)
    machine.finished.add(1)
    target = made.symbols["target"]
    page = (target - RAM_BASE) >> 12
    other, code = machine.emulator.raw[1], machine.emulator.code.raw
    bank = other.banks[BANK_MACHINE]
    entry = bank.data[5]
    entry.page, entry.write_tag, bank.data_count, other.inside = page, target, 1, 1
    thread = threading.Thread(target=machine.emulator.run_alone, args=(0,), daemon=True)
    thread.start()
    while entry.write_tag != INVALID:
        assert thread.is_alive()
    assert code.making_page == page and machine.u64(made.symbols["result"]) == 0
    machine.ram.write(target, 0x00700513.to_bytes(4, "little"))  # li a0, 7
    assert code.making_page == page
    other.passes += 1
    thread.join(60)
    assert machine.u64(made.symbols["result"]) == 7


@pytest.mark.parametrize("parked", [True, False])
def test_cells_are_used_again_only_when_every_hart_is_past_them(parked: bool) -> None:
    rounds = 40
    machine = AtOnce(2)
    made = machine.assemble(
        f"""
_start:
    li s1, {rounds}
    la s0, target
loop:
    jalr s0
    lw t0, 0(s0)
    sw t0, 0(s0)
    fence.i
    li t0, 60000            # more than a slice
1:  addi t0, t0, -1
    bnez t0, 1b
    addi s1, s1, -1
    bnez s1, loop
    j finish
.align 12
target: ret
.align 12
"""
    )
    machine.load(made)
    machine.finished.add(1)
    if not parked:
        machine.emulator.raw[1].epoch = 0  # as a hart would be that has begun its slice long ago
    machine.emulator.run_alone(0)
    used = machine.emulator.code.raw.used_pages
    assert used < 8 if parked else used >= rounds


# ---- translations

SHOOTDOWN = """
_start:
    mv s0, a0
    la s1, shared           # begun, published, acknowledged, errors: 64 bytes apart
    li s2, 0x40155000       # (its TLB entry is no other page's) the page that moves
    li s3, 0
    li s4, {rounds}
    jal gp, barrier
    bnez s0, reader
writer:
    addi s3, s3, 1
    addi t2, s1, 208
look:                       # until a reader moves while we look: so it is at work now
    ld t1, 0(t2)
    li t3, 2000
1:  ld t0, 0(t2)
    bne t0, t1, move
    addi t3, t3, -1
    bnez t3, 1b
    addi s10, s10, -1
    blez s10, move
    lr.d t0, (t2)
    wrs.nto
    j look
move:
    sd s3, 0(s1)
    fence rw, rw
    la t0, ptes
    andi t1, s3, 1
    slli t1, t1, 3
    add t0, t0, t1
    ld t0, 0(t0)            # the PTE for this round
    la t1, slot
    ld t1, 0(t1)
    sd t0, 0(t1)
{fence}
    la t0, frames           # the frame that nobody may write to any more
    andi t1, s3, 1
    xori t1, t1, 1
    slli t1, t1, 3
    add t0, t0, t1
    ld s5, 0(t0)
    sd x0, 8(s5)
    sd s3, 64(s1)
    li t1, 1000
1:  ld t0, 8(s5)
    beqz t0, 2f
    sd s3, 192(s1)          # a store by the old translation
2:  addi t1, t1, -1
    bnez t1, 1b
    bne s3, s4, writer
    sd s3, 128(s1)
    j finish
reader:
    addi s3, s3, 1
    sd s3, 208(s1)
    ld t0, 64(s1)           # published
    fence r, r
    ld t1, 0(s2)
    sd s0, 8(s2)
    fence rw, rw
    ld t2, 0(s1)            # begun
    bne t0, t2, 1f
    andi t0, t0, 1
    beq t0, t1, 1f
    sd t2, 200(s1)          # a load by the old translation
1:  ld t0, 128(s1)
    beqz t0, reader
    j finish
.align 12
shared: .zero 256
slot: .dword 0
ptes: .dword 0, 0
frames: .dword 0, 0
"""


@pytest.mark.parametrize("harts", [2, 3])
def test_no_hart_uses_a_translation_after_the_remote_fence(harts: int) -> None:
    rounds = {2: 400, 3: 60}[harts]
    machine = AtOnce(harts)
    made = machine.assemble(SHOOTDOWN.format(rounds=rounds, fence=RFENCE_TRANSLATIONS))
    image = bytearray(made.image + bytes(0x100000 - len(made.image)))
    frames = [RAM_BASE + 0x40000, RAM_BASE + 0x41000]
    tables = PageTables(image, RAM_BASE, RAM_BASE + 0x80000)
    for page in range(0, 0x40000, 4096):
        tables.map(RAM_BASE + page, RAM_BASE + page, RWX | AD)
    for frame in frames:
        tables.map(frame, frame, R | W | AD)
    tables.map(DEVICE, DEVICE, R | W | AD)
    slot = tables.map(0x40155000, frames[0], R | W | AD)
    tables.map(slot & ~4095, slot & ~4095, R | W | AD)
    symbols = made.symbols
    tables.write(symbols["slot"], slot)
    for n, frame in enumerate(frames):
        tables.write(symbols["frames"] + 8 * n, frame)
        tables.write(symbols["ptes"] + 8 * n, frame >> 12 << 10 | R | W | AD | 1)
        tables.write(frame, n)

    def setup(_number: int, raw: Any) -> None:
        raw.satp = tables.satp
        machine.ram.write(RAM_BASE, bytes(image))

    machine.load(made, setup, supervisor=True)
    machine.run()
    shared = symbols["shared"]
    assert machine.u64(shared) == rounds
    assert machine.u64(shared + 192) == 0, "a store by the old translation in this round"
    assert machine.u64(shared + 200) == 0, "a load by the old translation in this round"


def test_harts_that_fence_each_other_all_go_on() -> None:
    machine, made = at_once(
        f"""
_start:
    li s1, 1500
    jal gp, barrier
loop:
    {RFENCE_TRANSLATIONS}
    {RFENCE_CODE}
    addi s1, s1, -1
    bnez s1, loop
    la t0, count
    li t1, 1
    amoadd.d x0, t1, (t0)
    j finish
.align 3
count: .dword 0
""",
        4,
        supervisor=True,
    )
    assert machine.u64(made.symbols["count"]) == 4


def test_a_fence_does_not_wait_for_a_hart_that_sleeps_or_is_stopped() -> None:
    """Nor for one in a host call that takes until after the fence."""
    machine = AtOnce(3)
    made = machine.assemble(
        f"""
_start:
    mv s0, a0
    li t0, DEVICE
    jal gp, barrier
    li t1, 1
    beq s0, t1, sleeper
    beqz s0, fencer
    sd x0, 8(t0)            # the host keeps this one until the fences are done
    j finish
fencer:
    li s1, 50
1:  {RFENCE_TRANSLATIONS}
    addi s1, s1, -1
    bnez s1, 1b
    li t0, DEVICE
    sd x0, 16(t0)
    j finish
sleeper:
    j finish                # which ends in WFI
"""
    )
    fenced = threading.Event()
    reached: list[bool] = []

    def device(_hart: int, gpa: int, _value: int) -> None:
        if gpa == DEVICE + 8:
            reached.append(fenced.wait(60))
        else:
            fenced.set()

    machine.on_write = device
    machine.load(made, supervisor=True)
    machine.run()
    assert reached == [True]


# ---- sleep and wakes


def test_no_wake_up_is_lost() -> None:
    """Two harts pass a ball by IPIs, each asleep in WFI until it comes."""
    machine, made = at_once(
        """
_start:
    mv s0, a0
    la s1, ball
    li s2, 2000
    csrwi sie, 2
    csrwi sip, 0
    xori s3, s0, 1
    jal gp, barrier
loop:
    ld t0, 0(s1)            # whose turn it is
    beq t0, s0, mine
    wfi
    csrci sip, 2
    j loop
mine:
    addi s2, s2, -1
    fence rw, rw
    sd s3, 0(s1)
    fence rw, rw
    li a7, 0x735049         # sbi_send_ipi to the other
    li a6, 0
    li a0, 1
    sll a0, a0, s3
    li a1, 0
    ecall
    bnez s2, loop
    j finish
.align 12
ball: .dword 0
""",
        2,
        supervisor=True,
    )
    assert machine.u64(made.symbols["ball"]) in (0, 1)


def test_a_hart_that_waits_runs_nothing() -> None:
    """A waiting hart begins no slice while another works, however long that takes."""
    machine, _ = at_once(
        """
_start:
    la s1, ready
    bnez a0, waits
1:  ld t0, 0(s1)
    beqz t0, 1b
    li t0, 3000000
2:  addi t0, t0, -1
    bnez t0, 2b
    j finish
waits:
    li t0, 1
    sd t0, 0(s1)
    j finish
.align 12
ready: .dword 0
""",
        2,
        supervisor=True,
    )
    assert machine.emulator.raw[0].stat_slices > 100
    assert machine.emulator.raw[1].stat_slices < 20


def test_the_timer_of_a_hart_that_waits_alone() -> None:
    machine, made = at_once(
        """
_start:
    mv s0, a0
    li t0, 1 << 5
    csrw sie, t0
    li s1, 20
1:  rdtime t0
    addi t0, t0, 200
    mv a0, t0
    li a7, 0x54494D45       # sbi_set_timer
    li a6, 0
    ecall
    wfi
    csrr t1, sip
    andi t1, t1, 1 << 5
    beqz t1, 2f
    la t2, ticks
    li t3, 1
    amoadd.d x0, t3, (t2)
2:  addi s1, s1, -1
    bnez s1, 1b
    li a0, -1
    li a7, 0x54494D45
    li a6, 0
    ecall
    csrwi sie, 0
    j finish
.align 3
ticks: .dword 0
""",
        2,
        supervisor=True,
    )
    assert machine.u64(made.symbols["ticks"]) == 40


# ---- ends


def test_what_a_host_call_raises_ends_the_run_of_its_hart() -> None:
    machine = AtOnce(2)
    made = machine.assemble(
        "_start: bnez a0, spin\nli t0, DEVICE\nsd x0, 8(t0)\nj finish\nspin: j spin"
    )

    def fail(_hart: int, _gpa: int, _value: int) -> None:
        raise RuntimeError("a device broke")

    machine.on_write = fail
    machine.load(made, supervisor=True)
    with pytest.raises(RuntimeError, match="a device broke"):
        machine.run()


def test_an_access_fault_is_the_guests() -> None:
    machine = AtOnce(2)
    made = machine.assemble(
        """
_start:
    la t0, handler
    csrw mtvec, t0
    li t1, DEVICE + 8
    sd x0, 0(t1)
handler:
    csrr t0, mcause
    la t1, causes
    amoadd.d x0, t0, (t1)
    j finish
.align 3
causes: .dword 0
"""
    )

    def refuse(_hart: int, _gpa: int, _value: int) -> None:
        raise InnError("no")

    machine.on_write = refuse
    machine.load(made)
    machine.run()
    assert machine.u64(made.symbols["causes"]) == 14  # two store access faults
