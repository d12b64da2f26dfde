"""Code that changes, atomics, timers, waiting, several harts, and limits on a run."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from innkeeper.base.errors import InnError
from innkeeper.engine.emulator.emulator import Exit
from tests.engine.harness import (
    DEVICE,
    RAM_BASE,
    RAM_BYTES,
    Tier0,
    check,
    program,
    tier0,
)

NEVER = (1 << 64) - 1


# ---- code that changes


PATCH = """
_start:
    la s0, target
    la s1, other
    li s2, 4
loop:
    jalr s0
    add s3, s3, a0
    lw t0, 0(s0)
    lw t1, 0(s1)
    sw t1, 0(s0)
    sw t0, 0(s1)
    fence.i
    addi s2, s2, -1
    bnez s2, loop
    j done
{gap}
target: li a0, 1
    ret
other: li a0, 100
done: nop
"""


@pytest.mark.parametrize("gap", ["", ".align 12"])
def test_self_modifying_code(gap: str) -> None:
    """In its own page and in another; each FENCE.I makes the store visible."""
    assert check(PATCH.format(gap=gap)).x(19) == 202


def test_code_that_overwrites_what_follows_it() -> None:
    end = check(
        """
_start:
    la t0, here
    li t1, 0x06300513
    sw t1, 0(t0)
    fence.i
here: li a0, 1
    j done
done: nop
"""
    )
    assert end.x(10) == 99


def test_code_copied_over_itself_many_times() -> None:
    """Every turn writes a new instruction into the page it runs from, by every store width."""
    end = check(
        """
_start:
    la s0, slot
    li s1, 0
    li s2, 200
    li t0, 0x00100513
1:  sw t0, 0(s0)
    fence.i
slot: nop
    add s1, s1, a0
    srli t1, t0, 16
    sh t1, 2(s0)
    srli t1, t0, 24
    sb t1, 3(s0)
    li t1, 1 << 20
    add t0, t0, t1
    addi s2, s2, -1
    bnez s2, 1b
done: nop
"""
    )
    assert end.x(9) == sum(range(1, 201))


def test_half_of_an_instruction_in_the_next_page_changes() -> None:
    end = check(
        """
_start:
    la s0, second
    jal first
    mv s1, a0
    lhu t0, 0(s0)
    addi t0, t0, 0x20
    sh t0, 0(s0)
    fence.i
    jal first
    j done
.align 12
    .zero 4090
first: nop
    .half 0x0513
second: .half 0x0010
    ret
done: nop
"""
    )
    assert (end.x(9), end.x(10)) == (1, 3)


def test_a_device_writes_code() -> None:
    """`Emulator.written` drops what was decoded, with FENCE.I by the guest as on hardware."""
    made = program("_start: li a0, 1\nsd x0, 0(s0)\nfence.i\nloop: jal target\nj done\n"
                   ".align 12\ntarget: li a0, 2\nret\ndone: nop")  # fmt: skip
    machine = Tier0()
    target = made.symbols["target"]

    def patch(gpa: int, size: int, value: int) -> None:
        machine.ram.write(target, 0x00700513.to_bytes(4, "little"))
        machine.emulator.written(target, 4)

    machine.load(made.image, target, lambda h: None)
    machine.hart.x[1] = made.symbols["loop"] + 4
    machine.run(made.symbols["done"])
    assert machine.hart.x[10] == 2
    machine.log.write = patch  # type: ignore[method-assign]
    machine.hart.pc, machine.hart.x[8] = made.entry, DEVICE
    machine.run(made.symbols["done"])
    assert machine.hart.x[10] == 7


@pytest.mark.parametrize(
    ("gpa", "size"),
    [
        (0, 8),
        (RAM_BASE - 8, 8),
        (RAM_BASE + RAM_BYTES, 1 << 40),
        (NEVER, 1),
        (RAM_BASE, 0),
        (RAM_BASE + RAM_BYTES - 1, 1 << 63),
    ],
)
def test_writes_outside_ram_are_no_matter(gpa: int, size: int) -> None:
    tier0().emulator.written(gpa, size)


def test_more_code_than_the_pool_has_cells_for() -> None:
    """A program that runs in every page of a large RAM ends with the right count."""
    pages = 3600
    machine = Tier0(ram_bytes=16 << 20)
    made = program(
        f"""
_start:
    la s0, piece
    lwu s1, 0(s0)
    lwu s2, 4(s0)
    li s3, {RAM_BASE + (1 << 20)}
    li s4, 2
again:
    mv s5, s3
    li s6, {pages}
1:  sw s1, 0(s5)
    sw s2, 4(s5)
    fence.i
    jalr s5
    li t0, 4096
    add s5, s5, t0
    addi s6, s6, -1
    bnez s6, 1b
    addi s4, s4, -1
    bnez s4, again
    j done
piece: addi a0, a0, 1
    ret
done: nop
"""
    )
    machine.load(made.image, made.entry)
    machine.run(made.symbols["done"])
    assert machine.hart.x[10] == 2 * pages
    assert machine.emulator.code.raw.resets > 1  # the pool was full at least once


# ---- atomics


@pytest.mark.parametrize(
    ("between", "result"),
    [
        ("nop", 0), ("sw t2, 0(s0)", 1), ("lr.w t3, (s1)", 1), ("sc.w t3, t2, (s1)", 1),
        ("lw t3, 0(s0)", 0), ("amoadd.w t3, t2, (s0)", 1),
    ],
)  # fmt: skip
def test_reservations(between: str, result: int) -> None:
    end = check(
        f"""
_start: la s0, word
    la s1, word + 64
    li t2, 77
    lr.w a0, (s0)
    {between}
    sc.w a1, t2, (s0)
    sc.w a2, t2, (s0)
    lw a3, 0(s0)
    j done
.align 6
word: .word 5, 0
    .zero 120
done: nop
"""
    )
    assert (end.x(10), end.x(11), end.x(12)) == (5, result, 1)
    if between in ("nop", "lw t3, 0(s0)"):
        assert end.x(13) == 77


def test_a_reservation_has_a_width() -> None:
    end = check(
        "_start: la s0, w\nlr.d a0, (s0)\nsc.w a1, x0, (s0)\nj done\n"
        ".align 3\nw: .dword 3\ndone: nop"
    )
    assert end.x(11) == 1


MINIMUM = 0x8000000000000000


@pytest.mark.parametrize("size", ["w", "d"])
@pytest.mark.parametrize("name", ["swap", "add", "xor", "and", "or", "min", "max", "minu", "maxu"])
@pytest.mark.parametrize(
    ("old", "value"), [(5, 3), (-1, 1), (1, -1), (0x7FFFFFFF, 1), (-MINIMUM, -1)]
)
def test_amos(name: str, size: str, old: int, value: int) -> None:
    end = check(
        f"_start: la s0, word\nli a1, {value}\namo{name}.{size} a0, a1, (s0)\n"
        "ld a2, 0(s0)\nj done\n"
        f".align 3\nword: .dword {old}\ndone: nop"
    )
    bits = 32 if size == "w" else 64
    mask = (1 << bits) - 1

    def signed(v: int) -> int:
        v &= mask
        return v - (1 << bits) if v >> (bits - 1) else v

    unsigned = name.endswith("u")
    a, b = (old & mask, value & mask) if unsigned else (signed(old), signed(value))
    table: dict[str, int] = {
        "swap": b, "add": a + b, "xor": a ^ b, "and": a & b, "or": a | b, "min": min(a, b),
        "max": max(a, b), "minu": min(a, b), "maxu": max(a, b),
    }  # fmt: skip
    assert end.x(10) == signed(old) % (1 << 64)
    assert end.x(12) & mask == table[name] & mask
    assert end.x(12) & ~mask == old % (1 << 64) & ~mask


def test_an_amo_on_a_device_is_an_access_fault() -> None:
    end = check("_start: la t0, trap\ncsrw mtvec, t0\nli s0, DEVICE\namoadd.w a0, a0, (s0)\n"
                ".align 2\n"
                "trap: j done\ndone: nop")  # fmt: skip
    assert (end.mcause, end.mtval, end.writes) == (7, DEVICE, [])


def test_devices_see_each_access_once() -> None:
    end = check(
        """
_start: li s0, DEVICE
    li a0, -2
    sb a0, 0(s0)
    sh a0, 2(s0)
    sw a0, 4(s0)
    sd a0, 8(s0)
    lb a1, 0(s0)
    ld a2, 8(s0)
    sw a0, 17(s0)
    lw a3, 17(s0)
    j done
done: nop
"""
    )
    assert end.writes[:4] == [
        (DEVICE, 1, 0xFE),
        (DEVICE + 2, 2, 0xFFFE),
        (DEVICE + 4, 4, 0xFFFFFFFE),
        (DEVICE + 8, 8, NEVER - 1),
    ]
    assert [w[:2] for w in end.writes[4:]] == [(DEVICE + 17 + n, 1) for n in range(4)]


# ---- time, waiting and limits


WAIT = """
_start:
    la t0, trap
    csrw mtvec, t0
    li t0, {enable}
    csrw mie, t0
    {prepare}
    csrsi mstatus, {on}
    li a0, 0
1:  {idle}
    addi a0, a0, 1
    j 1b
.align 2
trap:
    csrr a1, mcause
    j done
done: nop
"""


def run_alone(source: str, setup: Any = lambda h: None, *, slices: int = 50) -> Any:
    machine, made = tier0(), program(source)
    machine.load(made.image, made.entry, setup)
    return machine.run(made.symbols["done"], slices=slices)


@pytest.mark.parametrize(("bit", "field"), [(7, "mtimecmp"), (5, "stimecmp")])
def test_timer_interrupts(bit: int, field: str) -> None:
    """Time is retired instructions here; the comparators raise MTIP and STIP (3.2.1, Sstc)."""

    def setup(raw: Any) -> None:
        setattr(raw, field, 50_000)
        raw.menvcfg = 1 << 63

    end = run_alone(WAIT.format(enable=1 << bit, prepare="nop", on=8, idle="nop"), setup)
    assert end.x(11) == 1 << 63 | bit
    assert 49_000 <= end.instret <= 50_000 + 25_000


def test_stimecmp_in_the_past_interrupts_at_once() -> None:
    source = WAIT.format(
        enable=1 << 5, prepare="csrsi mstatus, 8\ncsrw 0x14d, x0", on=8, idle="nop"
    )
    end = run_alone(source, lambda h: setattr(h, "menvcfg", 1 << 63))
    assert (end.x(11), end.x(10), end.mepc) == (1 << 63 | 5, 0, RAM_BASE + 0x1C)


def test_stip_is_not_writable_while_stimecmp_drives_it() -> None:
    def setup(raw: Any) -> None:
        raw.menvcfg = 1 << 63

    assert (
        check("_start: li t0, 0x20\ncsrs mip, t0\ncsrr a0, mip\nj done\ndone: nop", setup).x(10)
        == 0
    )
    assert check("_start: li t0, 0x20\ncsrs mip, t0\ncsrr a0, mip\nj done\ndone: nop").x(10) == 0x20


def test_wfi_waits_and_an_interrupt_wakes_it() -> None:
    machine = tier0()
    made = program(WAIT.format(enable=8, prepare="nop", on=8, idle="wfi"))
    machine.load(made.image, made.entry)
    state = machine.run(made.symbols["done"])
    assert state.wfi == 1 and machine.emulator.run() is Exit.IDLE
    machine.hart.irq_lines = 1 << 3
    state = machine.run(made.symbols["done"])
    assert (state.x(11), state.x(10)) == (1 << 63 | 3, 0)
    assert state.mepc == made.symbols["_start"] + 0x24  # after the wfi


def test_wfi_with_interrupts_off_goes_on_behind_it() -> None:
    machine = tier0()
    made = program("_start: li t0, 8\ncsrw mie, t0\nwfi\nli a0, 5\nj done\ndone: nop")
    machine.load(made.image, made.entry)
    machine.run(made.symbols["done"])
    machine.hart.irq_lines = 1 << 3
    assert machine.run(made.symbols["done"]).x(10) == 5


@pytest.mark.parametrize(
    "source",
    [
        "_start: j _start",
        "_start: la t0, v\ncsrw mtvec, t0\necall\n.align 2\nv: ecall",
        "_start: csrw mtvec, x0\necall",
        "_start: la t0, v\ncsrw mtvec, t0\n.align 2\nv: .word 0",
        "_start: la t0, v\ncsrw mtvec, t0\nli t0, 8\ncsrw mie, t0\nv: csrsi mstatus, 8\nmret",
    ],
)  # fmt: skip
def test_no_guest_keeps_the_host(source: str) -> None:
    """Endless loops, also of traps, come back when the limit is reached or an exit is requested."""
    machine, made = tier0(), program(source)
    machine.load(made.image, made.entry, lambda h: setattr(h, "irq_lines", 8))
    assert machine.emulator.run(100_000) is Exit.COUNT
    asking = threading.Timer(0.05, machine.emulator.request_exit)
    asking.start()
    assert machine.emulator.run() is Exit.REQUEST
    asking.join()


def test_a_host_error_in_a_device_reaches_whoever_runs_the_machine() -> None:
    machine = Tier0()

    def broken(gpa: int, size: int) -> int:
        raise ZeroDivisionError("device")

    machine.load(program("_start: li s0, DEVICE\nlw a0, 0(s0)\n1: j 1b").image, RAM_BASE)
    machine.log.read = broken  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError, match="device"):
        machine.emulator.run(100_000)


def test_an_access_fault_from_a_device_goes_to_the_guest() -> None:
    source = "_start: la t0, trap\ncsrw mtvec, t0\nli s0, DEVICE\nld a0, 0(s0)\n" \
             "sd a0, 8(x0)\n.align 2\ntrap: csrr a1, mtval\nj done\ndone: nop"  # fmt: skip
    machine, made = Tier0(), program(source)

    def refuse(gpa: int, size: int) -> int:
        raise InnError("no")

    machine.load(made.image, made.entry)
    machine.log.read = refuse  # type: ignore[method-assign]
    assert machine.run(made.symbols["done"]).mcause == 5


# ---- several harts


def test_harts_share_memory_and_count_with_amos_and_reservations() -> None:
    machine = Tier0(harts=3)
    made = program(
        """
_start:
    la s0, counter
    li s1, 3000
    li t1, 1
1:  amoadd.d x0, t1, (s0)
2:  lr.d t0, 64(s0)
    addi s1, s1, -1
    bnez s1, 1b
    la s2, finished
    amoadd.d x0, t1, (s2)
    csrr t0, mhartid
    bnez t0, 4f
3:  ld t0, 0(s2)
    li t1, 3
    bne t0, t1, 3b
    j done
4:  wfi
    j 4b
.align 6
counter: .dword 0
    .zero 56
second: .dword 0
    .zero 56
finished: .dword 0
done: nop
""".replace(
            "2:  lr.d t0, 64(s0)",
            "addi s3, s0, 64\n2: lr.d t0, (s3)\naddi t0, t0, 1\nsc.d t2, t0, (s3)\nbnez t2, 2b",
        )
    )
    machine.load(made.image, made.entry)
    state = machine.run(made.symbols["done"])
    assert state.u64(made.symbols["counter"]) == state.u64(made.symbols["second"]) == 9000


def test_a_store_by_another_hart_breaks_a_reservation() -> None:
    machine = Tier0(harts=2)
    made = program(
        """
_start:
    la s0, word
    csrr t0, mhartid
    bnez t0, other
    lr.d a0, (s0)
1:  ld t0, 8(s0)
    beqz t0, 1b
    sc.d a1, x0, (s0)
    j done
other:
    sd x0, 0(s0)
    li t0, 1
    sd t0, 8(s0)
2:  j 2b
.align 4
word: .dword 0, 0
done: nop
"""
    )
    machine.load(made.image, made.entry)
    assert machine.run(made.symbols["done"]).x(11) == 1


def test_another_hart_sees_new_code_after_its_fence() -> None:
    machine = Tier0(harts=2)
    made = program(
        """
_start:
    la s0, flag
    la s1, target
    csrr t0, mhartid
    bnez t0, other
    jal target
    mv s2, a0
    li t0, 1
    sd t0, 0(s0)
1:  ld t0, 0(s0)
    li t1, 2
    bne t0, t1, 1b
    fence.i
    jal target
    j done
other:
    ld t0, 0(s0)
    beqz t0, other
    li t0, 0x00900513
    sw t0, 0(s1)
    fence rw, rw
    li t0, 2
    sd t0, 0(s0)
2:  j 2b
.align 12
target: li a0, 3
    ret
.align 12
flag: .dword 0
done: nop
"""
    )
    machine.load(made.image, made.entry)
    state = machine.run(made.symbols["done"])
    assert (state.x(18), state.x(10)) == (3, 9)
