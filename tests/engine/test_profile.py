"""What RVA23S64 asks of translation, masking and interrupts: Svnapot, Svpbmt, Svinval, Ssnpm, Sscofpmf."""

from __future__ import annotations

import pytest

from tests.engine.harness import FS_DIRTY, RAM_BASE, State, check
from tests.engine.paging import AD, PAGE, RWX, PageTables, R, U, V, W
from tests.engine.test_virtual_memory import (
    DATA,
    LOAD,
    MPRV,
    MXR,
    STORE,
    VA,
    Space,
    one_access,
)

ILLEGAL, LOAD_MISALIGNED, LOAD_FAULT, STORE_FAULT, ECALL_U, ECALL_S = 2, 4, 13, 15, 8, 9
STORE_MISALIGNED = 6
N, PBMT = 1 << 63, 61
PBMTE, PMLEN_7 = 1 << 62, 2 << 32
NAPOT_BYTES = 16 * PAGE


def pte(pa: int, flags: int) -> int:
    return pa >> 12 << 10 | flags | V


def napot(space: Space, va: int, pa: int, flags: int, low: int = 8) -> None:
    """Map 64 KiB: sixteen equal PTEs, bit 63 set and `low` in the low PPN bits."""
    for page in range(16):
        space.tables.write(space.tables.slot(va + page * PAGE), pte(pa | low << 12, flags) | N)


@pytest.mark.parametrize("mode", [8, 9, 10])
def test_napot_pages_reach_their_own_memory(mode: int) -> None:
    body = "\n".join(
        f"li t0, {VA + n * PAGE + 8}\nld t1, 0(t0)\nadd a0, a0, t1\nsd t1, 8(t0)" for n in range(16)
    )
    space = Space(f"li a0, 0\n{body}", mode=mode)
    napot(space, VA, DATA & -NAPOT_BYTES, R | W | AD)
    base = DATA & -NAPOT_BYTES
    for n in range(16):
        space.put(base + n * PAGE + 8, (1 << n).to_bytes(8, "little"))
    end = space.run()
    assert (end.mcause, end.x(10)) == (ECALL_S, 0xFFFF)
    assert [end.u64(base + n * PAGE + 16) for n in range(16)] == [1 << n for n in range(16)]


def test_napot_code_runs() -> None:
    """Fetches go through it as loads do."""
    space = Space(f"li t0, {VA + 3 * PAGE}\njalr t0\nmv a1, a0")
    napot(space, VA, DATA & -NAPOT_BYTES, RWX | AD)
    where = (DATA & -NAPOT_BYTES) + 3 * PAGE
    space.put(where, (0x02A00513).to_bytes(4, "little") + (0x00008067).to_bytes(4, "little"))
    assert space.run().x(11) == 42


@pytest.mark.parametrize("low", [0, 1, 4, 7, 9, 15])
def test_other_napot_sizes_are_reserved(low: int) -> None:
    space = Space(LOAD)
    napot(space, VA, DATA & -NAPOT_BYTES, R | AD, low)
    end = space.run()
    assert (end.mcause, end.mtval) == (LOAD_FAULT, VA)


@pytest.mark.parametrize("level", [1, 2])
def test_napot_superpages_and_tables_are_reserved(level: int) -> None:
    space = Space(LOAD)
    where = space.map(VA, RAM_BASE, R | AD, level=level)
    space.tables.write(where, space.tables.read(where) | N | 8 << 10)
    assert space.run().mcause == LOAD_FAULT
    space = Space(LOAD)
    space.map(VA, DATA, R | AD)
    table = space.tables.slot(VA, 1)
    space.tables.write(table, space.tables.read(table) | N)
    assert space.run().mcause == LOAD_FAULT


@pytest.mark.parametrize(
    ("kind", "enabled", "cause"),
    [
        (0, False, ECALL_S), (1, False, LOAD_FAULT), (2, False, LOAD_FAULT), (3, False, LOAD_FAULT),
        (0, True, ECALL_S), (1, True, ECALL_S), (2, True, ECALL_S), (3, True, LOAD_FAULT),
    ],
)  # fmt: skip
def test_page_based_memory_types(kind: int, enabled: bool, cause: int) -> None:
    space = Space(LOAD)
    where = space.map(VA, DATA, R | AD)
    space.tables.write(where, space.tables.read(where) | kind << PBMT)
    space.put(DATA, b"\x07" + bytes(7))
    end = space.run(menvcfg=PBMTE if enabled else 0)
    assert end.mcause == cause
    assert end.x(10) == (7 if cause == ECALL_S else 0)


def test_a_memory_type_on_a_table_is_reserved() -> None:
    space = Space(LOAD)
    space.map(VA, DATA, R | AD)
    table = space.tables.slot(VA, 1)
    space.tables.write(table, space.tables.read(table) | 1 << PBMT)
    assert space.run(menvcfg=PBMTE).mcause == LOAD_FAULT


def test_a_device_may_be_mapped_as_io() -> None:
    space = Space(f"li s0, {VA}\nsw s0, 4(s0)\nlw a0, 8(s0)")
    where = space.map(VA, 0x1000_0000, R | W | AD)
    space.tables.write(where, space.tables.read(where) | 2 << PBMT)
    end = space.run(menvcfg=PBMTE)
    assert end.mcause == ECALL_S and end.writes == [(0x1000_0004, 4, VA)]


INVALIDATE = "sfence.w.inval\n sinval.vma {}\n sfence.inval.ir"


@pytest.mark.parametrize(
    "fence", [INVALIDATE.format("s0, zero"), INVALIDATE.format("zero, zero"), "sfence.vma s0"]
)
def test_invalidation_takes_a_changed_mapping(fence: str) -> None:
    where = Space("").map(VA, DATA, R)  # where every such space has the PTE
    space = Space(
        f"li s1, {where}\nli s2, {pte(DATA + PAGE, R | AD)}\n"
        f"ld a0, 0(s0)\nsd s2, 0(s1)\n{fence}\nld a1, 0(s0)"
    )
    assert space.map(VA, DATA, R | AD) == where
    space.map(where & -PAGE, where & -PAGE, R | W | AD)
    space.put(DATA, b"\x01" + bytes(7))
    space.put(DATA + PAGE, b"\x02" + bytes(7))
    end = space.run()
    assert (end.mcause, end.x(10), end.x(11)) == (ECALL_S, 1, 2)


@pytest.mark.parametrize(
    ("code", "priv", "status", "cause"),
    [
        ("sinval.vma", 0, 0, ILLEGAL), ("sfence.w.inval", 0, 0, ILLEGAL),
        ("sfence.inval.ir", 0, 0, ILLEGAL), ("sinval.vma", 1, 0, ECALL_S),
        ("sinval.vma", 1, 1 << 20, ILLEGAL), ("sfence.w.inval", 1, 1 << 20, ECALL_S),
        ("sfence.inval.ir", 1, 1 << 20, ECALL_S),
    ],
)  # fmt: skip
def test_who_may_invalidate(code: str, priv: int, status: int, cause: int) -> None:
    space = Space(code, priv=priv)
    assert space.run(mstatus=FS_DIRTY | priv << 11 | status).mcause == cause


# ---- pointer masking

TAG = 0x55 << 57
"""Bits 63 to 57, not all equal."""
SIGN = 1 << 56


def tagged(code: str, *, priv: int = 0, offset: int = 0, tag: int = TAG, **fields: int) -> State:
    """Run a U-mode access through a pointer with a tag, in an Sv57 space."""
    body = f"li t0, {tag}\nadd s0, s0, t0\n{f'addi s0, s0, {offset}' if offset else ''}\n{code}"
    return one_access(body, R | W | AD | (U if priv == 0 else 0), priv=priv, mode=10, **fields)


@pytest.mark.parametrize(
    "code",
    [
        LOAD, STORE, "lbu a0, 3(s0)", "ld a0, 3(s0)", "sd a0, 5(s0)", "amoadd.d a0, a0, (s0)",
        "lr.d a0, (s0)\nsc.d a1, a0, (s0)", "fld fa0, 0(s0)", "cbo.zero (s0)", "flh fa0, 2(s0)",
        "ld a0, 0(s0)\nld a1, 0(s0)\nsd a1, 8(s0)",
    ],
)  # fmt: skip
def test_masked_pointers_reach_memory_whatever_their_tag(code: str) -> None:
    enabled = {"menvcfg": 1 << 7, "senvcfg": PMLEN_7 | 1 << 7}
    end = tagged(code, **enabled)
    assert end.mcause == ECALL_U
    plain = tagged(code, tag=0, **enabled)
    assert plain.x(10) == end.x(10) and plain.bytes_at(DATA, 64) == end.bytes_at(DATA, 64)
    unmasked = tagged(code, menvcfg=1 << 7, senvcfg=1 << 7)
    assert unmasked.mcause in (LOAD_FAULT, STORE_FAULT)


@pytest.mark.parametrize("access", ["ld a0, 3(s0)", "sd s2, 8(s0)", "amoadd.d a0, s2, (s0)"])
def test_a_loop_through_masked_pointers(access: str) -> None:
    """Long enough for a region: what misses the TLB there takes the tag out too."""
    code = f"""
    li s2, 300
again:
    {access}
    add a1, a1, a0
    addi s2, s2, -1
    bnez s2, again
    li t0, 4096
    add s0, s0, t0
    ld a3, 0(s0)
"""
    end = tagged(code, senvcfg=PMLEN_7)
    assert (end.mcause, end.mtval) == (LOAD_FAULT, VA + PAGE)
    plain = tagged(code, tag=0, senvcfg=PMLEN_7)
    assert end.x(11) == plain.x(11)
    assert end.bytes_at(DATA, PAGE) == plain.bytes_at(DATA, PAGE)


@pytest.mark.parametrize(
    ("code", "cause", "address"),
    [
        ("ld a0, 0(s0)", LOAD_FAULT, VA + PAGE), ("sd a0, 0(s0)", STORE_FAULT, VA + PAGE),
        ("lr.w a0, (s0)", LOAD_FAULT, VA + PAGE),
    ],
)  # fmt: skip
def test_a_fault_tells_the_masked_address(code: str, cause: int, address: int) -> None:
    body = f"li t0, {TAG + PAGE}\nadd s0, s0, t0\n{code}"
    end = one_access(body, R | W | U | AD, priv=0, mode=10, senvcfg=PMLEN_7)
    assert (end.mcause, end.mtval) == (cause, address)


@pytest.mark.parametrize(
    ("code", "cause"),
    [("lr.w a0, (s0)", LOAD_MISALIGNED), ("amoadd.w a0, a0, (s0)", STORE_MISALIGNED)],
)
def test_a_misaligned_atomic_tells_the_masked_address(code: str, cause: int) -> None:
    end = tagged(code, offset=2, senvcfg=PMLEN_7)
    assert (end.mcause, end.mtval) == (cause, VA + 2)


def test_the_highest_bit_kept_is_the_sign() -> None:
    end = tagged(LOAD, tag=SIGN, senvcfg=PMLEN_7)
    assert (end.mcause, end.mtval) == (LOAD_FAULT, 0xFF << 56 | VA)


@pytest.mark.parametrize(
    ("priv", "fields"),
    [(1, {"senvcfg": PMLEN_7}), (0, {"senvcfg": PMLEN_7, "mstatus": FS_DIRTY | MXR})],
    ids=["S-mode", "MXR"],
)
def test_where_nothing_is_masked(priv: int, fields: dict[str, int]) -> None:
    end = tagged(LOAD, priv=priv, **fields)
    assert (end.mcause, end.mtval) == (LOAD_FAULT, TAG + VA)


def test_physical_addresses_lose_their_tag_and_their_sign() -> None:
    """With translation off zeroes come in, from bit 57 up (Pointer Masking 2.2)."""
    end = check(
        f"""
_start:
    la t0, trap
    csrw mtvec, t0
    la t0, user
    csrw mepc, t0
    mret
user:
    li s0, {TAG + DATA}
    ld a0, 0(s0)
    sd a0, 8(s0)
    li s0, {TAG + SIGN}
    ld a0, 0(s0)
.align 2
trap: j done
done: nop
.org {DATA - RAM_BASE}
.dword 77
""",
        lambda raw: setattr(raw, "senvcfg", PMLEN_7),
    )
    assert (end.x(10), end.u64(DATA + 8)) == (77, 77)
    assert (end.mcause, end.mtval) == (5, SIGN)


def test_masking_follows_the_effective_privilege() -> None:
    """MPRV with MPP = U masks what M-mode loads (Pointer Masking 2.5)."""
    image = bytearray(0x20_0000)
    tables = PageTables(image, RAM_BASE, RAM_BASE + 0x18_0000, mode=10)
    tables.map(VA, DATA, R | U | AD)
    end = check(
        f"""
_start:
    li t0, {MPRV}
    li s0, {TAG + VA}
    csrs mstatus, t0
    ld a0, 0(s0)
    csrc mstatus, t0
    j done
done: nop
.org {DATA - RAM_BASE}
.dword 99
.org {0x18_0000}
.byte {", ".join(str(b) for b in image[0x18_0000:0x18_6000])}
""",
        lambda raw: (setattr(raw, "senvcfg", PMLEN_7), setattr(raw, "satp", tables.satp)),
    )
    assert end.x(10) == 99


def test_only_seven_bits_can_be_masked() -> None:
    """PMM is WARL: 01 is reserved and 11 (PMLEN 16) not supported; they change nothing."""
    end = check(
        """
_start:
    li t0, 2 << 32
    csrw senvcfg, t0
    csrr a0, senvcfg
    li t0, 3 << 32
    csrw senvcfg, t0
    csrr a1, senvcfg
    li t0, 1 << 32
    csrw senvcfg, t0
    csrr a2, senvcfg
    csrw senvcfg, x0
    csrr a3, senvcfg
    li t0, 3 << 32
    csrw menvcfg, t0
    csrr a4, menvcfg
    j done
done: nop
"""
    )
    assert [end.x(n) for n in (10, 11, 12, 13, 14)] == [PMLEN_7, PMLEN_7, PMLEN_7, 0, 0]


# ---- count overflow


def test_the_count_overflow_interrupt_is_a_supervisor_one() -> None:
    """Bit 13 of mip, mie and mideleg; software may set what no counter ever does (Sscofpmf)."""
    end = check(
        """
_start:
    la t0, machine
    csrw mtvec, t0
    la t0, supervisor
    csrw stvec, t0
    li t0, 1 << 13
    csrw mideleg, t0
    csrr a0, mideleg
    csrw sie, t0
    csrr a1, sie
    csrsi sstatus, 2
    la t1, user
    csrw mepc, t1
    csrr a2, scountovf
    csrs sip, t0
    csrr a3, mip
    mret
user:
    nop
    nop
.align 2
supervisor:
    csrr a4, scause
    csrr a5, sip
    csrc sip, t0
    csrr a6, sip
    csrr a7, scountovf
    ecall
.align 2
machine:
    j done
done: nop
"""
    )
    bit = 1 << 13
    assert [end.x(n) for n in range(10, 18)] == [bit, bit, 0, bit, 1 << 63 | 13, bit, 0, 0]
    assert end.mcause == ECALL_S


@pytest.mark.parametrize("code", ["csrr a0, scountovf", "csrr a0, senvcfg"])
def test_users_may_not_read_supervisor_registers(code: str) -> None:
    assert one_access(code, R | U | AD, priv=0).mcause == ILLEGAL


def test_event_counters_are_there_and_count_nothing() -> None:
    """Zihpm: hpmcounter3 to 31 read 0, by mcounteren and scounteren; what is written is dropped."""
    reads = "\n".join(f"csrr t1, hpmcounter{n}\nor a0, a0, t1" for n in range(3, 32))
    writes = "\n".join(f"csrw mhpmevent{n}, t0\ncsrw mhpmcounter{n}, t0" for n in range(3, 32))
    checks = "\n".join(f"csrr t1, mhpmevent{n}\nor a0, a0, t1" for n in range(3, 32))
    end = check(
        f"_start: li t0, -1\nli a0, 0\n{writes}\n{reads}\n{checks}\nli a1, 1\nj done\ndone: nop"
    )
    assert (end.x(10), end.x(11)) == (0, 1)
