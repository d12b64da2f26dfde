"""RV64I (Unprivileged 2 and 4): integer computation, control transfer, loads and stores, fences."""

from __future__ import annotations

from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.ops import branch, jump, load, next_pc, pc_of, store
from innkeeper.isa.riscv.spec import Extension
from innkeeper.native.intrinsics import fence
from innkeeper.native.types import i8, i16, i32, i64, u8, u16, u32, u64

I = Extension("I")  # noqa: E741

FENCE_STORE_LOAD = 1 << 4 | 1 << 1
"""W among the predecessors and R among the successors."""
FENCE_TSO = 1 << 11
"""The top bit of fm."""


@I.insn("lui", "imm[31:12] rd 0110111", "rd, imm")
def lui(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(i.imm)


@I.insn("auipc", "imm[31:12] rd 0010111", "rd, imm")
def auipc(h: Hart, i: Operands) -> None:
    h.x[i.rd] = pc_of(h, i) + u64(i.imm)


@I.insn("jal", "imm[20|10:1|11|19:12] rd 1101111", "rd, target")
def jal(h: Hart, i: Operands) -> None:
    h.x[i.rd] = next_pc(h, i)
    branch(h, i)


@I.insn("jalr", "imm[11:0] rs1 000 rd 1100111", "rd, imm(rs1)")
def jalr(h: Hart, i: Operands) -> None:
    target = (h.x[i.rs1] + u64(i.imm)) & ~u64(1)
    h.x[i.rd] = next_pc(h, i)
    jump(h, i, target)


@I.insn("beq", "imm[12|10:5] rs2 rs1 000 imm[4:1|11] 1100011", "rs1, rs2, target")
def beq(h: Hart, i: Operands) -> None:
    if h.x[i.rs1] == h.x[i.rs2]:
        branch(h, i)


@I.insn("bne", "imm[12|10:5] rs2 rs1 001 imm[4:1|11] 1100011", "rs1, rs2, target")
def bne(h: Hart, i: Operands) -> None:
    if h.x[i.rs1] != h.x[i.rs2]:
        branch(h, i)


@I.insn("blt", "imm[12|10:5] rs2 rs1 100 imm[4:1|11] 1100011", "rs1, rs2, target")
def blt(h: Hart, i: Operands) -> None:
    if i64(h.x[i.rs1]) < i64(h.x[i.rs2]):
        branch(h, i)


@I.insn("bge", "imm[12|10:5] rs2 rs1 101 imm[4:1|11] 1100011", "rs1, rs2, target")
def bge(h: Hart, i: Operands) -> None:
    if i64(h.x[i.rs1]) >= i64(h.x[i.rs2]):
        branch(h, i)


@I.insn("bltu", "imm[12|10:5] rs2 rs1 110 imm[4:1|11] 1100011", "rs1, rs2, target")
def bltu(h: Hart, i: Operands) -> None:
    if h.x[i.rs1] < h.x[i.rs2]:
        branch(h, i)


@I.insn("bgeu", "imm[12|10:5] rs2 rs1 111 imm[4:1|11] 1100011", "rs1, rs2, target")
def bgeu(h: Hart, i: Operands) -> None:
    if h.x[i.rs1] >= h.x[i.rs2]:
        branch(h, i)


@I.insn("lb", "imm[11:0] rs1 000 rd 0000011", "rd, imm(rs1)")
def lb(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(i8(load(h, u8, h.x[i.rs1] + u64(i.imm))))


@I.insn("lh", "imm[11:0] rs1 001 rd 0000011", "rd, imm(rs1)")
def lh(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(i16(load(h, u16, h.x[i.rs1] + u64(i.imm))))


@I.insn("lw", "imm[11:0] rs1 010 rd 0000011", "rd, imm(rs1)")
def lw(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(i32(load(h, u32, h.x[i.rs1] + u64(i.imm))))


@I.insn("ld", "imm[11:0] rs1 011 rd 0000011", "rd, imm(rs1)")
def ld(h: Hart, i: Operands) -> None:
    h.x[i.rd] = load(h, u64, h.x[i.rs1] + u64(i.imm))


@I.insn("lbu", "imm[11:0] rs1 100 rd 0000011", "rd, imm(rs1)")
def lbu(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(load(h, u8, h.x[i.rs1] + u64(i.imm)))


@I.insn("lhu", "imm[11:0] rs1 101 rd 0000011", "rd, imm(rs1)")
def lhu(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(load(h, u16, h.x[i.rs1] + u64(i.imm)))


@I.insn("lwu", "imm[11:0] rs1 110 rd 0000011", "rd, imm(rs1)")
def lwu(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(load(h, u32, h.x[i.rs1] + u64(i.imm)))


@I.insn("sb", "imm[11:5] rs2 rs1 000 imm[4:0] 0100011", "rs2, imm(rs1)")
def sb(h: Hart, i: Operands) -> None:
    store(h, u8, h.x[i.rs1] + u64(i.imm), u8(h.x[i.rs2]))


@I.insn("sh", "imm[11:5] rs2 rs1 001 imm[4:0] 0100011", "rs2, imm(rs1)")
def sh(h: Hart, i: Operands) -> None:
    store(h, u16, h.x[i.rs1] + u64(i.imm), u16(h.x[i.rs2]))


@I.insn("sw", "imm[11:5] rs2 rs1 010 imm[4:0] 0100011", "rs2, imm(rs1)")
def sw(h: Hart, i: Operands) -> None:
    store(h, u32, h.x[i.rs1] + u64(i.imm), u32(h.x[i.rs2]))


@I.insn("sd", "imm[11:5] rs2 rs1 011 imm[4:0] 0100011", "rs2, imm(rs1)")
def sd(h: Hart, i: Operands) -> None:
    store(h, u64, h.x[i.rs1] + u64(i.imm), h.x[i.rs2])


@I.insn("addi", "imm[11:0] rs1 000 rd 0010011", "rd, rs1, imm")
def addi(h: Hart, i: Operands) -> None:
    h.x[i.rd] = h.x[i.rs1] + u64(i.imm)


@I.insn("slti", "imm[11:0] rs1 010 rd 0010011", "rd, rs1, imm")
def slti(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(i64(h.x[i.rs1]) < i64(i.imm))


@I.insn("sltiu", "imm[11:0] rs1 011 rd 0010011", "rd, rs1, imm")
def sltiu(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(h.x[i.rs1] < u64(i.imm))


@I.insn("xori", "imm[11:0] rs1 100 rd 0010011", "rd, rs1, imm")
def xori(h: Hart, i: Operands) -> None:
    h.x[i.rd] = h.x[i.rs1] ^ u64(i.imm)


@I.insn("ori", "imm[11:0] rs1 110 rd 0010011", "rd, rs1, imm")
def ori(h: Hart, i: Operands) -> None:
    h.x[i.rd] = h.x[i.rs1] | u64(i.imm)


@I.insn("andi", "imm[11:0] rs1 111 rd 0010011", "rd, rs1, imm")
def andi(h: Hart, i: Operands) -> None:
    h.x[i.rd] = h.x[i.rs1] & u64(i.imm)


@I.insn("slli", "000000 uimm[5:0] rs1 001 rd 0010011", "rd, rs1, imm")
def slli(h: Hart, i: Operands) -> None:
    h.x[i.rd] = h.x[i.rs1] << i.imm


@I.insn("srli", "000000 uimm[5:0] rs1 101 rd 0010011", "rd, rs1, imm")
def srli(h: Hart, i: Operands) -> None:
    h.x[i.rd] = h.x[i.rs1] >> i.imm


@I.insn("srai", "010000 uimm[5:0] rs1 101 rd 0010011", "rd, rs1, imm")
def srai(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(i64(h.x[i.rs1]) >> i.imm)


@I.insn("add", "0000000 rs2 rs1 000 rd 0110011", "rd, rs1, rs2")
def add(h: Hart, i: Operands) -> None:
    h.x[i.rd] = h.x[i.rs1] + h.x[i.rs2]


@I.insn("sub", "0100000 rs2 rs1 000 rd 0110011", "rd, rs1, rs2")
def sub(h: Hart, i: Operands) -> None:
    h.x[i.rd] = h.x[i.rs1] - h.x[i.rs2]


@I.insn("sll", "0000000 rs2 rs1 001 rd 0110011", "rd, rs1, rs2")
def sll(h: Hart, i: Operands) -> None:
    h.x[i.rd] = h.x[i.rs1] << h.x[i.rs2]


@I.insn("slt", "0000000 rs2 rs1 010 rd 0110011", "rd, rs1, rs2")
def slt(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(i64(h.x[i.rs1]) < i64(h.x[i.rs2]))


@I.insn("sltu", "0000000 rs2 rs1 011 rd 0110011", "rd, rs1, rs2")
def sltu(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(h.x[i.rs1] < h.x[i.rs2])


@I.insn("xor", "0000000 rs2 rs1 100 rd 0110011", "rd, rs1, rs2")
def xor(h: Hart, i: Operands) -> None:
    h.x[i.rd] = h.x[i.rs1] ^ h.x[i.rs2]


@I.insn("srl", "0000000 rs2 rs1 101 rd 0110011", "rd, rs1, rs2")
def srl(h: Hart, i: Operands) -> None:
    h.x[i.rd] = h.x[i.rs1] >> h.x[i.rs2]


@I.insn("sra", "0100000 rs2 rs1 101 rd 0110011", "rd, rs1, rs2")
def sra(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(i64(h.x[i.rs1]) >> h.x[i.rs2])


@I.insn("or", "0000000 rs2 rs1 110 rd 0110011", "rd, rs1, rs2")
def or_(h: Hart, i: Operands) -> None:
    h.x[i.rd] = h.x[i.rs1] | h.x[i.rs2]


@I.insn("and", "0000000 rs2 rs1 111 rd 0110011", "rd, rs1, rs2")
def and_(h: Hart, i: Operands) -> None:
    h.x[i.rd] = h.x[i.rs1] & h.x[i.rs2]


@I.insn("addiw", "imm[11:0] rs1 000 rd 0011011", "rd, rs1, imm")
def addiw(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(i32(h.x[i.rs1]) + i.imm)


@I.insn("slliw", "0000000 uimm[4:0] rs1 001 rd 0011011", "rd, rs1, imm")
def slliw(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(i32(h.x[i.rs1]) << i.imm)


@I.insn("srliw", "0000000 uimm[4:0] rs1 101 rd 0011011", "rd, rs1, imm")
def srliw(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(i32(u32(h.x[i.rs1]) >> i.imm))


@I.insn("sraiw", "0100000 uimm[4:0] rs1 101 rd 0011011", "rd, rs1, imm")
def sraiw(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(i32(h.x[i.rs1]) >> i.imm)


@I.insn("addw", "0000000 rs2 rs1 000 rd 0111011", "rd, rs1, rs2")
def addw(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(i32(h.x[i.rs1]) + i32(h.x[i.rs2]))


@I.insn("subw", "0100000 rs2 rs1 000 rd 0111011", "rd, rs1, rs2")
def subw(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(i32(h.x[i.rs1]) - i32(h.x[i.rs2]))


@I.insn("sllw", "0000000 rs2 rs1 001 rd 0111011", "rd, rs1, rs2")
def sllw(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(i32(h.x[i.rs1]) << h.x[i.rs2])


@I.insn("srlw", "0000000 rs2 rs1 101 rd 0111011", "rd, rs1, rs2")
def srlw(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(i32(u32(h.x[i.rs1]) >> h.x[i.rs2]))


@I.insn("sraw", "0100000 rs2 rs1 101 rd 0111011", "rd, rs1, rs2")
def sraw(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(i32(h.x[i.rs1]) >> h.x[i.rs2])


@I.insn("fence", "uimm[11:0] rs1 000 rd 0001111", "imm")
def fence_(h: Hart, i: Operands) -> None:
    """Order memory (2.7); FENCE.TSO does not order stores before loads.

    Device accesses are host calls under a lock, which keeps them in order with all others. A single
    hart sees its own accesses in order.
    """
    store_then_load = (i.imm & (FENCE_TSO | FENCE_STORE_LOAD)) == FENCE_STORE_LOAD
    if store_then_load and h.hart_count > 1:
        fence("seq_cst")
    else:
        fence("acq_rel")
