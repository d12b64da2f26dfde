"""Exceptions, interrupts, delegation and counters (Privileged 3.1 to 3.3, 4.1)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine.harness import FS_DIRTY, RAM_BASE, State, check

ILLEGAL, BREAKPOINT, ECALL_U, ECALL_S, ECALL_M = 2, 3, 8, 9, 11
U, S, M = 0, 1, 3

ENTER = """
_start:
    la t0, trap
    csrw mtvec, t0
    la t0, body
    csrw mepc, t0
    mret
.align 2
trap:
    j done
"""


def at(priv: int, body: str, *, medeleg: int = 0, **fields: int) -> State:
    """Run `body` in a privilege; the first trap to M-mode ends the program."""

    def setup(raw: Any) -> None:
        raw.mstatus = FS_DIRTY | priv << 11
        raw.fp_ready, raw.medeleg = 1, medeleg
        for name, value in fields.items():
            setattr(raw, name, value)

    return check(f"{ENTER}\n{body}\n.align 3\ndone: nop\n", setup)


@pytest.mark.parametrize(("priv", "cause"), [(U, ECALL_U), (S, ECALL_S), (M, ECALL_M)])
def test_ecall_names_its_privilege(priv: int, cause: int) -> None:
    end = at(priv, "nop\nbody: nop\nnop\nhere: ecall")
    assert (end.mcause, end.mtval, end.mstatus >> 11 & 3, end.priv) == (cause, 0, priv, M)
    assert end.instret == 6 + 2 + 1 + 1  # all before the ecall, and the handler's jump


def test_ebreak_tells_its_address() -> None:
    end = at(M, "body: nop\nebreak")
    assert (end.mcause, end.mtval) == (BREAKPOINT, end.mepc)


@pytest.mark.parametrize(
    ("code", "bits"),
    [
        (".word 0xffffffff", 0xFFFFFFFF),
        (".word 0", 0),
        (".half 0x8c40 ; .half 0x1234", 0x8C40),  # quadrant 0, funct6 100011, bit 6 set: reserved
        ("csrr t0, 0x7c0", 0x7C0022F3),
        ("csrw cycle, t0", 0xC0029073),
        (".word 0x0200505b", 0x0200505B),
        (".word 0x02b55553 | 5 << 12", 0x02B55553),  # fadd.d with a reserved rounding mode
    ],
)
def test_illegal_instruction_gives_its_bits(code: str, bits: int) -> None:
    end = at(M, f"body: nop\n{code}")
    assert (end.mcause, end.mtval, end.mepc & 3) == (ILLEGAL, bits, 0)


@pytest.mark.parametrize(
    ("priv", "code"),
    [
        (U, "csrr t0, sstatus"), (U, "csrr t0, mstatus"), (S, "csrr t0, mstatus"), (U, "sret"),
        (U, "mret"), (S, "mret"), (U, "wfi"), (U, "sfence.vma"), (S, "csrr t0, pmpcfg0"),
    ],
)  # fmt: skip
def test_what_a_privilege_may_not_do(priv: int, code: str) -> None:
    end = at(priv, f"body: nop\n{code}")
    assert (end.mcause, end.mstatus >> 11 & 3) == (ILLEGAL, priv)


TVM, TW, TSR = 1 << 20, 1 << 21, 1 << 22


@pytest.mark.parametrize(
    ("bit", "code"),
    [
        (TVM, "csrr t0, satp"),
        (TVM, "csrw satp, x0"),
        (TVM, "sfence.vma"),
        (TW, "wfi"),
        (TSR, "sret"),
    ],
)
def test_virtualization_traps(bit: int, code: str) -> None:
    assert at(S, f"body: {code}", mstatus=FS_DIRTY | S << 11 | bit).mcause == ILLEGAL
    if code not in ("sret", "wfi"):
        allowed = FS_DIRTY | S << 11 | (TVM | TW | TSR) & ~bit
        assert at(S, f"body: {code}\necall", mstatus=allowed).mcause == ECALL_S


def test_floating_point_off() -> None:
    for code in ("fadd.d fa0, fa1, fa2", "flw fa0, 0(sp)", "csrr t0, fcsr", "fmv.x.d a0, fa0"):
        assert at(M, f"body: {code}", mstatus=M << 11, fp_ready=0).mcause == ILLEGAL


@pytest.mark.parametrize(
    "code", ["fadd.d fa0, fa1, fa2", "csrw fcsr, x0", "csrwi frm, 1", "fmv.d.x fa0, a0"]
)
def test_floating_point_state_becomes_dirty(code: str) -> None:
    end = at(M, f"body: {code}\ncsrr a0, mstatus\necall", mstatus=M << 11 | 1 << 13, fp_ready=0)
    assert end.x(10) >> 63 == 1 and end.x(10) >> 13 & 3 == 3


def test_dynamic_rounding_mode_must_be_valid() -> None:
    assert at(M, "body: csrwi frm, 5\nfadd.d fa0, fa1, fa2").mcause == ILLEGAL
    assert at(M, "body: csrwi frm, 5\nfadd.d fa0, fa1, fa2, rne\necall").mcause == ECALL_M


DELEGATE = """
body:
    la t0, supervisor
    csrw stvec, t0
    {code}
.align 2
supervisor:
    csrr a0, scause
    csrr a1, stval
    csrr a2, sepc
    csrr a3, sstatus
    li a7, 1
    ecall
"""


@pytest.mark.parametrize(
    ("code", "cause"),
    [("ebreak", 3), (".word 0xffffffff", 2), ("ld t0, 1(x0)", 5), ("sd t0, 0(x0)", 7)],
)
def test_delegated_exceptions_go_to_the_supervisor(code: str, cause: int) -> None:
    end = at(S, DELEGATE.format(code=code), medeleg=0xB3FF & ~(1 << 9))
    assert (end.x(10), end.x(17), end.mcause) == (cause, 1, ECALL_S)
    assert end.x(13) >> 8 & 1 == 1  # SPP: it came from S


def test_machine_mode_never_delegates() -> None:
    assert at(M, "body: ebreak", medeleg=0xFFFF).mcause == BREAKPOINT


def test_user_exception_goes_to_the_supervisor_with_spp_clear() -> None:
    code = "la t0, user\ncsrw sepc, t0\nli t0, 0x100\ncsrc sstatus, t0\nsret\nuser: ebreak"
    end = at(S, DELEGATE.format(code=code), medeleg=1 << 3)
    assert (end.x(10), end.x(13) >> 8 & 1) == (3, 0)


VECTORS = """
_start:
    la t0, table
    ori t0, t0, 1
    csrw mtvec, t0
    li t0, 0x222
    csrw mie, t0
    li t0, {bits}
    csrw mip, t0
    csrsi mstatus, 8
here: nop
    j here
.align 7
table:
    j exception
{slots}
exception: li a0, 100
    j done
done: nop
"""


@pytest.mark.parametrize(("bits", "taken"), [(2, 1), (0x20, 5), (0x200, 9), (0x222, 9), (0x22, 1)])
def test_vectored_interrupts_and_their_priority(bits: int, taken: int) -> None:
    """SEI before SSI before STI (3.1.9)."""
    slots = "\n".join(f"    j slot{n}" for n in range(1, 12))
    code = "\n".join(f"slot{n}: li a0, {n}\n j done" for n in range(1, 12))
    end = check(VECTORS.format(bits=bits, slots=f"{slots}\n{code}"))
    assert (end.x(10), end.mcause) == (taken, 1 << 63 | taken)
    assert end.mstatus & 0x88 == 0x80  # MIE went to MPIE


def test_exceptions_do_not_use_the_vector() -> None:
    slots = "\n".join("    nop" for _ in range(12))
    source = VECTORS.format(bits=0, slots=slots).replace("here: nop", "here: ebreak")
    assert check(source).x(10) == 100


def test_delegated_interrupt_waits_for_the_supervisor() -> None:
    """A delegated interrupt is not taken in M-mode, but as soon as S-mode lets it in."""
    body = """
body:
    la t0, supervisor
    csrw stvec, t0
    csrsi sip, 2
    csrsi sie, 2
    nop
    csrsi sstatus, 2
    li a4, 9
.align 2
supervisor:
    csrr a0, scause
    csrr a2, sepc
    ecall
"""
    end = at(S, body, mideleg=0x222)
    assert end.x(10) == 1 << 63 | 1
    assert end.x(14) == 0  # nothing after the csrsi has run


def test_supervisor_interrupts_are_always_on_in_user_mode() -> None:
    end = at(U, "body: li a0, 1\necall", mideleg=0x222, mie=2, mip=2, stvec=RAM_BASE + 0x2C)
    assert (end.scause, end.x(10)) == (1 << 63 | 1, 0)


def test_counters_are_exact() -> None:
    end = check(
        """
_start:
    csrr a0, instret
    csrr a1, instret
    nop
    nop
    csrr a2, minstret
    li t0, 1000
    csrw minstret, t0
    csrr a3, minstret
    csrr a4, minstret
    csrr a5, mcycle
    j done
done: nop
"""
    )
    assert [end.x(n) for n in range(10, 16)] == [0, 1, 4, 1000, 1001, 9]


def test_instret_counts_no_instruction_that_traps() -> None:
    end = check(
        """
_start: la t0, trap
    csrw mtvec, t0
    csrr a0, instret
    ebreak
    .align 2
trap: csrr a1, instret
    j done
done: nop
"""
    )
    assert end.x(11) - end.x(10) == 1


@pytest.mark.parametrize("priv", [U, S])
@pytest.mark.parametrize("counter", range(3))
def test_counter_enables(priv: int, counter: int) -> None:
    name = ("cycle", "time", "instret")[counter]
    on, code = 1 << counter, f"body: csrr a0, {name}\necall"
    assert at(priv, code, mcounteren=on, scounteren=on).mcause == ECALL_U + priv
    assert at(priv, code, mcounteren=7 & ~on, scounteren=7).mcause == ILLEGAL
    user_off = at(priv, code, mcounteren=7, scounteren=7 & ~on).mcause
    assert user_off == (ILLEGAL if priv == U else ECALL_S)


def test_setting_a_bit_of_mip_does_not_keep_the_lines_of_others() -> None:
    """The level of an external line is read but never written back (3.1.9)."""

    def setup(raw: Any) -> None:
        raw.irq_lines = 1 << 9

    end = check(
        "_start: csrr a0, mip\ncsrrsi a1, mip, 2\ncsrrci a2, mip, 0\nj done\ndone: nop", setup
    )
    assert (end.x(10), end.x(11), end.x(12), end.mip) == (0x200, 0x200, 0x202, 2)


def test_mret_leaves_mprv_only_for_machine_mode() -> None:
    end = at(U, "body: ecall", mstatus=FS_DIRTY | 1 << 17)
    assert end.mstatus >> 17 & 1 == 0
    assert at(M, "body: ecall", mstatus=FS_DIRTY | M << 11 | 1 << 17).mstatus >> 17 & 1 == 1


def test_legal_values_only() -> None:
    """WARL fields keep what they had or a legal value."""
    end = check(
        """
_start: li t0, -1
    csrw medeleg, t0
    csrr a0, medeleg
    csrw mideleg, t0
    csrr a1, mideleg
    csrw mepc, t0
    csrr a2, mepc
    csrw mtvec, t0
    csrr a3, mtvec
    li t1, 5 << 60
    csrw satp, t1
    csrr a4, satp
    li t0, 2 << 11
    csrs mstatus, t0
    csrr a5, mstatus
    csrw misa, x0
    csrr a6, misa
    j done
done: nop
"""
    )
    assert [end.x(n) for n in range(10, 15)] == [
        0xB3FF, 0x2222, (1 << 64) - 2, (1 << 64) - 3, 0,
    ]  # fmt: skip
    assert end.x(15) >> 11 & 3 == 0
    assert end.x(16) >> 62 == 2 and end.x(16) & 1 << 8
