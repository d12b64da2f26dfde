"""Translation, its faults, protection, accesses across pages (Privileged 3.7, 4.2 to 4.6)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine.harness import FS_DIRTY, RAM_BASE, RAM_BYTES, State, both
from tests.engine.paging import AD, LEVELS, PAGE, RWX, A, D, G, PageTables, R, U, V, W, X
from tests.engine.spaces import ADUE, DATA, POOL, TABLES, VA, Space

FETCH_FAULT, LOAD_FAULT, STORE_FAULT = 12, 13, 15
FETCH_ACCESS, LOAD_ACCESS, STORE_ACCESS = 1, 5, 7
LOAD_MISALIGNED, STORE_MISALIGNED = 4, 6
ECALL_U, ECALL_S = 8, 9
SUM, MXR, MPRV = 1 << 18, 1 << 19, 1 << 17


def one_access(code: str, flags: int, *, priv: int = 1, mode: int = 8, **fields: int) -> State:
    space = Space(code, priv=priv, mode=mode)
    space.map(VA, DATA, flags & 0xFF)
    if flags >> 8:
        where = space.tables.slot(VA)
        space.tables.write(where, space.tables.read(where) | flags >> 8 << 54)
    space.put(DATA, bytes(range(1, 65)))
    return space.run(**fields)


LOAD, STORE = "ld a0, 0(s0)", "sd a0, 0(s0)"
AMO, LR, SC = "amoadd.w a0, a0, (s0)", "lr.w a0, (s0)", "sc.w a0, a0, (s0)"


@pytest.mark.parametrize("mode", [8, 9, 10])
@pytest.mark.parametrize(
    ("code", "flags", "cause"),
    [
        (LOAD, R | AD, ECALL_S), (LOAD, R | A, ECALL_S), (LOAD, X | AD, LOAD_FAULT),
        (STORE, R | AD, STORE_FAULT), (STORE, R | W | AD, ECALL_S),
        (STORE, R | W | A, STORE_FAULT), (LOAD, R | D, LOAD_FAULT), (LOAD, R | U | AD, LOAD_FAULT),
        (LOAD, W | AD, LOAD_FAULT), (LOAD, R | AD | 1 << 8, LOAD_FAULT),
        (LOAD, R | AD | 1 << 17, LOAD_FAULT), (LOAD, R | AD | G, ECALL_S),
        (AMO, R | AD, STORE_FAULT), (AMO, R | W | AD, ECALL_S), (LR, R | AD, ECALL_S),
        (LR, X | AD, LOAD_FAULT), (SC, R | AD, STORE_FAULT),
    ],
)  # fmt: skip
def test_leaf_permissions(code: str, flags: int, cause: int, mode: int) -> None:
    end = one_access(code, flags, mode=mode)
    assert end.mcause == cause
    assert end.mtval == (VA if cause != ECALL_S else 0)


@pytest.mark.parametrize(
    ("code", "flags", "status", "cause"),
    [
        (LOAD, R | U | AD, SUM, ECALL_S), (STORE, R | W | U | AD, SUM, ECALL_S),
        (LOAD, X | AD, MXR, ECALL_S), (STORE, X | AD, MXR, STORE_FAULT),
        (LOAD, X | U | AD, MXR, LOAD_FAULT), (LOAD, X | U | AD, MXR | SUM, ECALL_S),
        ("jr s0", X | U | AD, SUM, FETCH_FAULT), ("jr s0", R | AD, MXR, FETCH_FAULT),
    ],
)  # fmt: skip
def test_sum_and_mxr(code: str, flags: int, status: int, cause: int) -> None:
    assert one_access(code, flags, mstatus=FS_DIRTY | 1 << 11 | status).mcause == cause


def test_sum_and_mxr_take_effect_at_once() -> None:
    """No SFENCE.VMA is needed after writing them (4.1.1.2)."""
    body = """
    li t0, 1 << 18
    csrs sstatus, t0
    ld a0, 0(s0)
    csrc sstatus, t0
    ld a1, 0(s0)
    """
    end = one_access(body, R | U | AD)
    assert (end.mcause, end.mtval, end.x(10)) == (LOAD_FAULT, VA, 0x0807060504030201)
    body = "li t0, 1 << 19\ncsrs sstatus, t0\nld a0, 0(s0)\ncsrc sstatus, t0\nld a1, 0(s0)"
    assert one_access(body, X | AD).mcause == LOAD_FAULT


@pytest.mark.parametrize(("code", "wanted"), [(LOAD, A), (STORE, AD), (AMO, AD), ("jr s0", A)])
def test_hardware_updates_accessed_and_dirty(code: str, wanted: int) -> None:
    space = Space(code)
    where = space.map(VA, DATA, RWX)
    space.put(DATA, (0x00000073).to_bytes(4, "little"))
    end = space.run(menvcfg=ADUE)
    assert end.mcause == ECALL_S
    assert end.u64(where) & AD == wanted
    assert space.run().mcause in (LOAD_FAULT, STORE_FAULT, FETCH_FAULT)


def test_a_load_first_does_not_let_a_store_skip_the_dirty_bit() -> None:
    space = Space(f"{LOAD}\n{LOAD}\n{STORE}")
    where = space.map(VA, DATA, R | W)
    assert space.run(menvcfg=ADUE).u64(where) & AD == AD
    space = Space(f"{LOAD}\n{LOAD}\n{STORE}")
    space.map(VA, DATA, R | W | A)
    assert space.run().mcause == STORE_FAULT


@pytest.mark.parametrize("priv", [0, 1])
def test_user_pages(priv: int) -> None:
    flags = R | AD | (U if priv else 0)
    assert one_access(LOAD, flags, priv=priv).mcause == LOAD_FAULT
    assert one_access(LOAD, flags ^ U, priv=priv).mcause == ECALL_U + priv


@pytest.mark.parametrize(("mode", "bit"), [(8, 38), (9, 47), (10, 56)])
def test_addresses_must_be_canonical(mode: int, bit: int) -> None:
    for address, cause in (
        (1 << bit, LOAD_FAULT),
        (1 << 63, LOAD_FAULT),
        (-(1 << bit), LOAD_FAULT),
    ):
        space = Space(f"li s0, {address}\n{LOAD}", mode=mode)
        assert (space.run().mcause, space.run().mtval) == (cause, address % (1 << 64))
    space = Space(f"li s0, {-(1 << bit)}\n{LOAD}", mode=mode)
    space.map(-(1 << bit) % (1 << 64), DATA, R | AD)
    assert space.run().mcause == ECALL_S
    space = Space(f"li s0, {1 << bit}\njr s0", mode=mode)
    assert (space.run().mcause, space.run().mtval) == (FETCH_FAULT, 1 << bit)


@pytest.mark.parametrize("mode", [8, 9, 10])
def test_superpages(mode: int) -> None:
    for level in range(1, LEVELS[mode]):
        size = PAGE << (9 * level)
        va = size * 4
        space = Space(f"li s0, {va + 0x10_0008}\nld a0, 0(s0)", mode=mode)
        space.put(DATA + 8, bytes(range(8)))
        space.map(va, RAM_BASE & -size, R | AD, level=level)
        end = space.run()
        inside = RAM_BASE % size == 0 and size >= RAM_BYTES
        if inside:
            assert (end.mcause, end.x(10)) == (ECALL_S, 0x0706050403020100)
        else:
            assert end.mcause == LOAD_ACCESS
        space.map(va, (RAM_BASE & -size) + PAGE, R | AD, level=level)
        assert space.run().mcause == LOAD_FAULT  # misaligned superpage


def test_a_pointer_may_not_carry_leaf_bits() -> None:
    for bit in (A, D, U):
        space = Space(LOAD)
        space.map(VA, DATA, R | AD)
        where = space.tables.slot(VA, 1)
        space.tables.write(where, space.tables.read(where) | bit)
        assert space.run().mcause == LOAD_FAULT


def test_tables_outside_ram_are_an_access_fault() -> None:
    for code, cause in ((LOAD, LOAD_ACCESS), (STORE, STORE_ACCESS), ("jr s0", FETCH_ACCESS)):
        space = Space(code)
        space.tables.write(space.tables.slot(VA, 1), 0x4000_0000 >> 2 | V)
        assert (space.run().mcause, space.run().mtval) == (cause, VA)


def test_last_level_pointer_is_a_page_fault() -> None:
    space = Space(LOAD)
    space.map(VA, DATA, 0)
    assert space.run().mcause == LOAD_FAULT


@pytest.mark.parametrize("flush", ["sfence.vma", "sfence.vma s0", "sfence.vma x0, a5"])
def test_remapping(flush: str) -> None:
    """After the flush the new mapping is seen, by loads, stores and fetches."""
    body = f"""
    ld a0, 0(s0)
    jalr s0
    li t0, {TABLES}
    li t1, {(DATA + PAGE) >> 2 | RWX | AD | V}
    li t2, {TABLES + (VA >> 12 & 511) * 8}
    sd t1, 0(t2)
    {flush}
    ld a1, 0(s0)
    jalr s0
    mv a3, a2
    """
    space = Space(body)
    where = space.map(VA, DATA, RWX | AD)
    space.map(TABLES, where & -PAGE, R | W | AD)
    for n in range(2):
        code = 0x00100613 + (n << 20), 0x00008067  # li a2, n + 1; ret
        space.put(DATA + n * PAGE, b"".join(c.to_bytes(4, "little") for c in code))
    end = space.run()
    assert end.mcause == ECALL_S
    assert (end.x(10) & 0xFFFFFFFF, end.x(11) & 0xFFFFFFFF) == (0x00100613, 0x00200613)
    assert end.x(13) == 2


def test_unmapping_a_page_of_a_superpage_by_its_address() -> None:
    """SFENCE.VMA of any address in a superpage drops all of it."""
    size = PAGE << 9
    body = f"""
    li s0, {size * 300}
    ld a0, 0(s0)
    li s1, {size * 300 + 0x10_0000}
    ld a1, 0(s1)
    li t2, {TABLES + 300 * 8}
    sd x0, 0(t2)
    sfence.vma s0
    ld a2, 0(s1)
    """
    space = Space(body)
    where = space.map(size * 300, RAM_BASE, R | AD, level=1)
    space.map(TABLES, where & -PAGE, R | W | AD)
    end = space.run()
    assert (end.mcause, end.mtval) == (LOAD_FAULT, size * 300 + 0x10_0000)


def test_switching_address_spaces() -> None:
    body = """
    ld a0, 0(s0)
    csrrw t5, satp, s1
    ld a1, 0(s0)
    sd a1, 8(s0)
    csrw satp, t5
    ld a2, 0(s0)
    ld a3, 8(s0)
    """
    space = Space(f"li s1, {8 << 60 | (POOL + 0x2_0000) >> 12}\n{body}")
    other = PageTables(space.image, RAM_BASE, POOL + 0x2_0000)
    for page in range(RAM_BASE + PAGE, RAM_BASE + 4 * PAGE, PAGE):
        other.map(page, page, RWX | AD)
    space.map(VA, DATA, R | W | AD)
    other.map(VA, DATA + PAGE, R | W | AD)
    space.put(DATA, b"\x01" * 16)
    space.put(DATA + PAGE, b"\x02" * 16)
    end = space.run()
    ones, twos = 0x0101010101010101, 0x0202020202020202
    assert [end.x(n) for n in (10, 11, 12, 13)] == [ones, twos, ones, ones]
    assert end.u64(DATA + PAGE + 8) == twos


# ---- accesses that cross pages, and misaligned ones


@pytest.mark.parametrize("size", [2, 4, 8])
@pytest.mark.parametrize("back", range(1, 8))
def test_misaligned_across_pages(size: int, back: int) -> None:
    name = {2: "h", 4: "w", 8: "d"}[size]
    body = f"li t0, {VA + PAGE - back}\nl{name} a0, 0(t0)\nli a1, -0x1234567\ns{name} a1, 0(t0)"
    space = Space(body)
    space.map(VA, DATA + PAGE, R | W | AD)
    space.map(VA + PAGE, DATA, R | W | AD)
    space.put(DATA, bytes(range(100, 116)))
    space.put(DATA + 2 * PAGE - 8, bytes(range(8)))
    end = space.run()
    whole = bytes(range(8)) + bytes(range(100, 116))
    expected = int.from_bytes(whole[8 - back : 8 - back + size], "little", signed=size < 8)
    assert (end.mcause, end.x(10)) == (ECALL_S, expected % (1 << 64))


@pytest.mark.parametrize(
    ("code", "cause"), [("ld a0, 0(t0)", LOAD_FAULT), ("sd a0, 0(t0)", STORE_FAULT)]
)
def test_second_page_missing(code: str, cause: int) -> None:
    """The fault names the part that failed, and nothing is stored."""
    space = Space(f"li t0, {VA + PAGE - 3}\nli a0, -1\n{code}")
    space.map(VA, DATA, R | W | AD)
    end = space.run()
    assert (end.mcause, end.mtval) == (cause, VA + PAGE)
    assert end.bytes_at(DATA + PAGE - 3, 3) == bytes(3)


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("lr.w a0, (t0)", LOAD_MISALIGNED), ("lr.d a0, (t0)", LOAD_MISALIGNED),
        ("sc.w a0, a0, (t0)", STORE_MISALIGNED), ("amoor.d a0, a0, (t0)", STORE_MISALIGNED),
    ],
)  # fmt: skip
def test_misaligned_atomics(code: str, cause: int) -> None:
    end = one_access(f"addi t0, s0, 2\n{code}", R | W | AD)
    assert (end.mcause, end.mtval) == (cause, VA + 2)


@pytest.mark.parametrize("second", [True, False])
def test_instruction_across_pages(second: bool) -> None:
    space = Space(f"li t0, {VA + PAGE - 2}\njalr t0\nmv a1, a0\njalr t0")
    space.map(VA, DATA + PAGE, X | AD)
    if second:
        space.map(VA + PAGE, DATA, X | AD)
    code = 0x12300513.to_bytes(4, "little") + 0x00008067.to_bytes(4, "little")
    space.put(DATA + 2 * PAGE - 2, code[:2])  # li a0, 0x123; ret
    space.put(DATA, code[2:])
    end = space.run()
    if second:
        assert (end.mcause, end.x(11)) == (ECALL_S, 0x123)
    else:
        assert (end.mcause, end.mtval, end.mepc) == (FETCH_FAULT, VA + PAGE, VA + PAGE - 2)


def test_running_on_into_an_unmapped_page() -> None:
    space = Space(f"li t0, {VA + PAGE - 4}\njr t0")
    space.map(VA, DATA, X | AD)
    space.put(DATA + PAGE - 4, 0x00000013.to_bytes(4, "little"))
    end = space.run()
    assert (end.mcause, end.mtval, end.mepc) == (FETCH_FAULT, VA + PAGE, VA + PAGE)


def test_many_pages() -> None:
    """More pages than the TLB holds, twice around, read and written."""
    count = 120
    body = f"""
    li s2, 3
again:
    li s0, {VA}
    li s1, {VA + count * PAGE * 8}
1:  ld t0, 0(s0)
    addi t0, t0, 1
    sd t0, 0(s0)
    li t1, {PAGE * 8}
    add s0, s0, t1
    bne s0, s1, 1b
    addi s2, s2, -1
    bnez s2, again
    """
    space = Space(body)
    for n in range(count):
        space.map(VA + n * PAGE * 8, DATA + n * PAGE % 0x6_0000, R | W | AD)
    end = space.run()
    pages = [end.u64(DATA + n * PAGE) for n in range(0x60)]
    assert sum(pages) == 3 * count and min(pages) == 3


# ---- machine mode through MPRV, and PMP


@pytest.mark.parametrize("mpp", [0, 1, 3])
def test_mprv(mpp: int) -> None:
    body = f"""
    li t0, {3 << 11}
    csrc mstatus, t0
    li t0, {MPRV | mpp << 11}
    csrs mstatus, t0
    ld a0, 0(s0)
    li t0, {MPRV}
    csrc mstatus, t0
    """
    space = Space(body, priv=3)
    space.map(VA, DATA, R | AD | (U if mpp == 0 else 0))
    space.put(DATA, bytes(range(8)))
    end = space.run()
    if mpp == 3:
        assert (end.mcause, end.mtval) == (LOAD_ACCESS, VA)
    else:
        assert (end.mcause, end.x(10)) == (11, 0x0706050403020100)


TOR, NA4, NAPOT, LOCK = 1 << 3, 2 << 3, 3 << 3, 0x80


def pmp(body: str, entries: list[tuple[int, int]], *, priv: int = 1) -> State:
    """Run with PMP entries (cfg, addr) and bare addresses; s0 is `DATA`."""
    space = Space(f"li s0, {DATA}\n{body}", priv=priv)

    def setup(raw: Any) -> None:
        raw.mstatus, raw.pmp_count = FS_DIRTY | priv << 11, 6
        for n, (cfg, where) in enumerate(entries):
            raw.pmpcfg[n], raw.pmpaddr[n] = cfg, where

    return both(bytes(space.image), space.made.entry, (space.made.symbols["done"],), setup)


ALL = (NAPOT | 7, (1 << 54) - 1)


def napot(base: int, size: int) -> int:
    return base >> 2 | size // 8 - 1


@pytest.mark.parametrize(
    ("entries", "code", "cause", "offset"),
    [
        ([ALL], "ld a0, 0(s0)", ECALL_S, 0),
        ([(NAPOT | 5, napot(DATA, PAGE)), ALL], "sd a0, 8(s0)", STORE_ACCESS, 8),
        ([(NAPOT | 5, napot(DATA, PAGE)), ALL], "ld a0, 8(s0)", ECALL_S, 0),
        ([(NAPOT | 0, napot(DATA, 64)), ALL], "ld a0, 64(s0)", ECALL_S, 0),
        ([(NAPOT | 0, napot(DATA, 64)), ALL], "ld a0, 56(s0)", LOAD_ACCESS, 56),
        ([(NAPOT | 4, napot(DATA, PAGE)), ALL], "ld a0, 0(s0)", LOAD_ACCESS, 0),
        ([(NA4 | 1, DATA >> 2), ALL], "sw a0, 0(s0)", STORE_ACCESS, 0),
        ([(NA4 | 1, DATA >> 2), ALL], "sw a0, 4(s0)", ECALL_S, 0),
        ([(NA4 | 1, DATA >> 2), ALL], "sw a0, 4(s0)\nsw a0, 0(s0)", STORE_ACCESS, 0),
        ([(NA4 | 3, DATA >> 2), ALL], "ld a0, 0(s0)", LOAD_ACCESS, 0),  # matched in part
        ([(NA4 | 1, (DATA + 4) >> 2), ALL], "sw a0, 1(s0)", STORE_ACCESS, 1),  # misaligned into it
        ([(0, DATA >> 2), (TOR | 1, (DATA + 32) >> 2), ALL], "sd a0, 24(s0)", STORE_ACCESS, 24),
        ([(0, DATA >> 2), (TOR | 1, (DATA + 32) >> 2), ALL], "sd a0, 32(s0)", ECALL_S, 0),
        ([(0, DATA >> 2), (TOR | 1, DATA >> 2), ALL], "sd a0, 0(s0)", ECALL_S, 0),  # empty
        ([(NAPOT | 3, napot(DATA, PAGE)), ALL], "jr s0", FETCH_ACCESS, 0),
        ([(NAPOT | 6, napot(DATA, PAGE)), ALL], "fence", ECALL_S, 0),
    ],
)  # fmt: skip
def test_pmp(entries: list[tuple[int, int]], code: str, cause: int, offset: int) -> None:
    end = pmp(code, entries)
    assert end.mcause == cause
    assert end.mtval == (DATA + offset if cause != ECALL_S else 0)


def test_pmp_without_a_match() -> None:
    assert pmp("ld a0, 0(s0)", []).mcause == FETCH_ACCESS  # S-mode may not even fetch
    assert pmp("ld a0, 0(s0)", [], priv=3).mcause == 11


def test_pmp_binds_machine_mode_only_when_locked() -> None:
    none = napot(DATA, PAGE)
    assert pmp("ld a0, 0(s0)", [(NAPOT, none), ALL], priv=3).mcause == 11
    assert pmp("ld a0, 0(s0)", [(NAPOT | LOCK, none), ALL], priv=3).mcause == LOAD_ACCESS


def test_locked_pmp_entries_stay() -> None:
    body = """
    li t0, 0x1f
    csrw pmpcfg0, t0
    csrr a1, pmpcfg0
    csrw pmpaddr1, t0
    csrr a2, pmpaddr1
    csrw pmpaddr0, t0
    csrr a3, pmpaddr0
    csrw pmpaddr2, t0
    csrr a4, pmpaddr2
    li t0, 0x0202
    csrw pmpcfg2, t0
    csrr a5, pmpcfg2
    """
    end = pmp(body, [(0, DATA >> 2), (TOR | 7 | LOCK, (DATA + 64) >> 2), ALL], priv=3)
    assert end.x(11) == 0x8F1F  # entry 1 is locked; entry 2 was cleared
    assert (end.x(12), end.x(13), end.x(14)) == ((DATA + 64) >> 2, DATA >> 2, 0x1F)
    assert end.x(15) == 0  # W without R is not taken


def test_pmp_covers_the_walk() -> None:
    """A page table that PMP hides is an access fault of the access's kind (3.7.2)."""
    space = Space("ld a0, 0(s0)")
    where = space.map(VA, DATA, R | AD)

    def setup(raw: Any) -> None:
        for name, value in space.fields.items():
            setattr(raw, name, value)
        raw.pmp_count = 4
        raw.pmpcfg[0], raw.pmpaddr[0] = NAPOT | 6 & 4, napot(where & -PAGE, PAGE)
        raw.pmpcfg[1], raw.pmpaddr[1] = ALL

    end = both(bytes(space.image), space.made.entry, (space.made.symbols["done"],), setup)
    assert (end.mcause, end.mtval) == (LOAD_ACCESS, VA)


def test_pmp_changes_take_effect() -> None:
    body = f"""
    ld a0, 0(s0)
    li t0, {napot(DATA, PAGE)}
    csrw pmpaddr0, t0
    li t0, {NAPOT | LOCK | 0x1F << 8}
    csrw pmpcfg0, t0
    ld a1, 0(s0)
    """
    end = pmp(body, [(0, 0), ALL], priv=3)
    assert (end.mcause, end.mtval) == (LOAD_ACCESS, DATA)


def test_pmp_execute_permission_within_a_page() -> None:
    """Straight-line code that leaves its executable region faults there, page or not."""
    code = b"".join(0x00150513.to_bytes(4, "little") for _ in range(16))  # addi a0, a0, 1
    space = Space(f"li a0, 0\nli s0, {DATA}\njr s0")
    space.put(DATA, code)

    def setup(raw: Any) -> None:
        raw.mstatus, raw.pmp_count = FS_DIRTY | 1 << 11, 4
        raw.pmpcfg[0], raw.pmpaddr[0] = NAPOT | 5, napot(DATA, 32)
        raw.pmpcfg[1], raw.pmpaddr[1] = NAPOT | 3, napot(DATA, PAGE)
        raw.pmpcfg[2], raw.pmpaddr[2] = ALL

    end = both(bytes(space.image), space.made.entry, (space.made.symbols["done"],), setup)
    assert (end.mcause, end.mtval, end.x(10)) == (FETCH_ACCESS, DATA + 32, 8)
