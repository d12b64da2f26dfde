"""A (Unprivileged 14): load-reserved, store-conditional and atomic memory operations.

AMOs and a store-conditional that stores are sequentially consistent on the host, whatever aq and rl
say; LR is an ordinary load, so one with rl needs a fence before it.

A store-conditional is a compare-and-swap with the value that was reserved. It can succeed where
another hart has stored meanwhile, if what it stored last is the very value that was reserved;
docs/decisions/0003 says why that is accepted. Where harts take turns a turn's end takes the others'
reservations, so there no store is missed.
"""

from __future__ import annotations

from innkeeper.isa.riscv.causes import LOAD_MISALIGNED
from innkeeper.isa.riscv.hart import NO_RESERVATION, Hart, Operands
from innkeeper.isa.riscv.mmu import effective_address
from innkeeper.isa.riscv.ops import Trap, load, rw_pointer
from innkeeper.isa.riscv.spec import Extension
from innkeeper.native.intrinsics import atomic_rmw, cmpxchg, fence
from innkeeper.native.types import i32, u32, u64

A = Extension("A")

RL = 1


def order_reserved(h: Hart, i: Operands) -> None:
    """Order earlier stores before a load-reserved that has rl (14.1)."""
    if (i.imm & RL) != 0 and h.hart_count > 1:
        fence("seq_cst")


@A.insn("lr.w", "00010 aq rl 00000 rs1 010 rd 0101111", "rd, (rs1)")
def lr_w(h: Hart, i: Operands) -> None:
    va = h.x[i.rs1]
    if (va & 3) != 0:
        raise Trap(LOAD_MISALIGNED, effective_address(h, va))
    order_reserved(h, i)
    value = load(h, u32, va)
    h.reservation = va
    h.reservation_size = u32(4)
    h.reservation_value = u64(value)
    h.x[i.rd] = u64(i32(value))


@A.insn("lr.d", "00010 aq rl 00000 rs1 011 rd 0101111", "rd, (rs1)")
def lr_d(h: Hart, i: Operands) -> None:
    va = h.x[i.rs1]
    if (va & 7) != 0:
        raise Trap(LOAD_MISALIGNED, effective_address(h, va))
    order_reserved(h, i)
    value = load(h, u64, va)
    h.reservation = va
    h.reservation_size = u32(8)
    h.reservation_value = value
    h.x[i.rd] = value


@A.insn("sc.w", "00011 aq rl rs2 rs1 010 rd 0101111", "rd, rs2, (rs1)")
def sc_w(h: Hart, i: Operands) -> None:
    va = h.x[i.rs1]
    p = rw_pointer(h, u32, va)
    held = h.reservation == va and h.reservation_size == 4
    h.reservation = NO_RESERVATION
    if held and cmpxchg(p, u32(h.reservation_value), u32(h.x[i.rs2])):
        h.x[i.rd] = u64(0)
    else:
        h.x[i.rd] = u64(1)


@A.insn("sc.d", "00011 aq rl rs2 rs1 011 rd 0101111", "rd, rs2, (rs1)")
def sc_d(h: Hart, i: Operands) -> None:
    va = h.x[i.rs1]
    p = rw_pointer(h, u64, va)
    held = h.reservation == va and h.reservation_size == 8
    h.reservation = NO_RESERVATION
    if held and cmpxchg(p, h.reservation_value, h.x[i.rs2]):
        h.x[i.rd] = u64(0)
    else:
        h.x[i.rd] = u64(1)


@A.insn("amoswap.w", "00001 aq rl rs2 rs1 010 rd 0101111", "rd, rs2, (rs1)")
def amoswap_w(h: Hart, i: Operands) -> None:
    old = atomic_rmw("xchg", rw_pointer(h, u32, h.x[i.rs1]), u32(h.x[i.rs2]))
    h.x[i.rd] = u64(i32(old))


@A.insn("amoswap.d", "00001 aq rl rs2 rs1 011 rd 0101111", "rd, rs2, (rs1)")
def amoswap_d(h: Hart, i: Operands) -> None:
    h.x[i.rd] = atomic_rmw("xchg", rw_pointer(h, u64, h.x[i.rs1]), h.x[i.rs2])


@A.insn("amoadd.w", "00000 aq rl rs2 rs1 010 rd 0101111", "rd, rs2, (rs1)")
def amoadd_w(h: Hart, i: Operands) -> None:
    old = atomic_rmw("add", rw_pointer(h, u32, h.x[i.rs1]), u32(h.x[i.rs2]))
    h.x[i.rd] = u64(i32(old))


@A.insn("amoadd.d", "00000 aq rl rs2 rs1 011 rd 0101111", "rd, rs2, (rs1)")
def amoadd_d(h: Hart, i: Operands) -> None:
    h.x[i.rd] = atomic_rmw("add", rw_pointer(h, u64, h.x[i.rs1]), h.x[i.rs2])


@A.insn("amoxor.w", "00100 aq rl rs2 rs1 010 rd 0101111", "rd, rs2, (rs1)")
def amoxor_w(h: Hart, i: Operands) -> None:
    old = atomic_rmw("xor", rw_pointer(h, u32, h.x[i.rs1]), u32(h.x[i.rs2]))
    h.x[i.rd] = u64(i32(old))


@A.insn("amoxor.d", "00100 aq rl rs2 rs1 011 rd 0101111", "rd, rs2, (rs1)")
def amoxor_d(h: Hart, i: Operands) -> None:
    h.x[i.rd] = atomic_rmw("xor", rw_pointer(h, u64, h.x[i.rs1]), h.x[i.rs2])


@A.insn("amoand.w", "01100 aq rl rs2 rs1 010 rd 0101111", "rd, rs2, (rs1)")
def amoand_w(h: Hart, i: Operands) -> None:
    old = atomic_rmw("and", rw_pointer(h, u32, h.x[i.rs1]), u32(h.x[i.rs2]))
    h.x[i.rd] = u64(i32(old))


@A.insn("amoand.d", "01100 aq rl rs2 rs1 011 rd 0101111", "rd, rs2, (rs1)")
def amoand_d(h: Hart, i: Operands) -> None:
    h.x[i.rd] = atomic_rmw("and", rw_pointer(h, u64, h.x[i.rs1]), h.x[i.rs2])


@A.insn("amoor.w", "01000 aq rl rs2 rs1 010 rd 0101111", "rd, rs2, (rs1)")
def amoor_w(h: Hart, i: Operands) -> None:
    old = atomic_rmw("or", rw_pointer(h, u32, h.x[i.rs1]), u32(h.x[i.rs2]))
    h.x[i.rd] = u64(i32(old))


@A.insn("amoor.d", "01000 aq rl rs2 rs1 011 rd 0101111", "rd, rs2, (rs1)")
def amoor_d(h: Hart, i: Operands) -> None:
    h.x[i.rd] = atomic_rmw("or", rw_pointer(h, u64, h.x[i.rs1]), h.x[i.rs2])


@A.insn("amomin.w", "10000 aq rl rs2 rs1 010 rd 0101111", "rd, rs2, (rs1)")
def amomin_w(h: Hart, i: Operands) -> None:
    old = atomic_rmw("min", rw_pointer(h, u32, h.x[i.rs1]), u32(h.x[i.rs2]))
    h.x[i.rd] = u64(i32(old))


@A.insn("amomin.d", "10000 aq rl rs2 rs1 011 rd 0101111", "rd, rs2, (rs1)")
def amomin_d(h: Hart, i: Operands) -> None:
    h.x[i.rd] = atomic_rmw("min", rw_pointer(h, u64, h.x[i.rs1]), h.x[i.rs2])


@A.insn("amomax.w", "10100 aq rl rs2 rs1 010 rd 0101111", "rd, rs2, (rs1)")
def amomax_w(h: Hart, i: Operands) -> None:
    old = atomic_rmw("max", rw_pointer(h, u32, h.x[i.rs1]), u32(h.x[i.rs2]))
    h.x[i.rd] = u64(i32(old))


@A.insn("amomax.d", "10100 aq rl rs2 rs1 011 rd 0101111", "rd, rs2, (rs1)")
def amomax_d(h: Hart, i: Operands) -> None:
    h.x[i.rd] = atomic_rmw("max", rw_pointer(h, u64, h.x[i.rs1]), h.x[i.rs2])


@A.insn("amominu.w", "11000 aq rl rs2 rs1 010 rd 0101111", "rd, rs2, (rs1)")
def amominu_w(h: Hart, i: Operands) -> None:
    old = atomic_rmw("umin", rw_pointer(h, u32, h.x[i.rs1]), u32(h.x[i.rs2]))
    h.x[i.rd] = u64(i32(old))


@A.insn("amominu.d", "11000 aq rl rs2 rs1 011 rd 0101111", "rd, rs2, (rs1)")
def amominu_d(h: Hart, i: Operands) -> None:
    h.x[i.rd] = atomic_rmw("umin", rw_pointer(h, u64, h.x[i.rs1]), h.x[i.rs2])


@A.insn("amomaxu.w", "11100 aq rl rs2 rs1 010 rd 0101111", "rd, rs2, (rs1)")
def amomaxu_w(h: Hart, i: Operands) -> None:
    old = atomic_rmw("umax", rw_pointer(h, u32, h.x[i.rs1]), u32(h.x[i.rs2]))
    h.x[i.rd] = u64(i32(old))


@A.insn("amomaxu.d", "11100 aq rl rs2 rs1 011 rd 0101111", "rd, rs2, (rs1)")
def amomaxu_d(h: Hart, i: Operands) -> None:
    h.x[i.rd] = atomic_rmw("umax", rw_pointer(h, u64, h.x[i.rs1]), h.x[i.rs2])
