"""Zicbom, Zicboz and Zicbop: cache-block operations (RISC-V CMO 1.0; Unprivileged 19).

Memory is coherent here, so the management operations check what they must and then do nothing;
`cbo.inval` flushes, which the specification allows in every mode. They need what a load
needs (no valid PTE or PMP entry grants only writes), check the accessed bit alone, and report
faults as a store's, with rs1 as tval. Blocks outside RAM take no cache-block operation.
"""

from __future__ import annotations

from innkeeper.isa.riscv.access import in_ram
from innkeeper.isa.riscv.causes import ILLEGAL_INSTRUCTION, STORE_ACCESS_FAULT
from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.mmu import ACCESS_WRITE, effective_address, translate
from innkeeper.isa.riscv.ops import Trap, store
from innkeeper.isa.riscv.spec import Extension
from innkeeper.isa.riscv.status import ENVCFG_CBCFE, ENVCFG_CBIE, ENVCFG_CBZE, PRIV_M, PRIV_U
from innkeeper.native.types import u32, u64

ZICBOM = Extension("Zicbom")
ZICBOZ = Extension("Zicboz")
ZICBOP = Extension("Zicbop")

BLOCK_BYTES = 64
BLOCK_WORDS = BLOCK_BYTES // 8

ACCESS_CBO = 3
"""A block management operation's access: permitted like a read, faults like a write."""


def check_enabled(h: Hart, field: u64) -> None:
    """Raise unless menvcfg, and in U-mode senvcfg, enable an operation (CMO 1.0, 2.4)."""
    if h.priv != PRIV_M:
        if (h.menvcfg & field) == 0:
            raise Trap(ILLEGAL_INSTRUCTION, 0)
        if h.priv == PRIV_U and (h.senvcfg & field) == 0:
            raise Trap(ILLEGAL_INSTRUCTION, 0)


def check_block(h: Hart, va: u64, access: u32) -> None:
    """Raise the page or access fault that an operation on the block around `va` meets."""
    va = effective_address(h, va)
    pa = translate(h, va, access, u32(1))
    if not in_ram(h, pa & ~u64(BLOCK_BYTES - 1), u32(BLOCK_BYTES)):
        raise Trap(STORE_ACCESS_FAULT, va)


@ZICBOM.insn("cbo.inval", "000000000000 rs1 010 00000 0001111", "(rs1)")
def cbo_inval(h: Hart, i: Operands) -> None:
    check_enabled(h, u64(ENVCFG_CBIE))
    check_block(h, h.x[i.rs1], u32(ACCESS_CBO))


@ZICBOM.insn("cbo.clean", "000000000001 rs1 010 00000 0001111", "(rs1)")
def cbo_clean(h: Hart, i: Operands) -> None:
    check_enabled(h, u64(ENVCFG_CBCFE))
    check_block(h, h.x[i.rs1], u32(ACCESS_CBO))


@ZICBOM.insn("cbo.flush", "000000000010 rs1 010 00000 0001111", "(rs1)")
def cbo_flush(h: Hart, i: Operands) -> None:
    check_enabled(h, u64(ENVCFG_CBCFE))
    check_block(h, h.x[i.rs1], u32(ACCESS_CBO))


@ZICBOZ.insn("cbo.zero", "000000000100 rs1 010 00000 0001111", "(rs1)")
def cbo_zero(h: Hart, i: Operands) -> None:
    check_enabled(h, u64(ENVCFG_CBZE))
    va = h.x[i.rs1]
    check_block(h, va, u32(ACCESS_WRITE))
    block = va & ~u64(BLOCK_BYTES - 1)
    for n in range(BLOCK_WORDS):
        store(h, u64, block + (u64(n) << 3), u64(0))


@ZICBOP.insn("prefetch.i", "imm[11:5] 00000 rs1 110 00000 0010011", "imm(rs1)")
def prefetch_i(h: Hart, i: Operands) -> None:
    """Do nothing: the prefetches are hints (encoded as `ori` to x0), and never fault."""


@ZICBOP.insn("prefetch.r", "imm[11:5] 00001 rs1 110 00000 0010011", "imm(rs1)")
def prefetch_r(h: Hart, i: Operands) -> None:
    """Do nothing, as `prefetch.i`."""


@ZICBOP.insn("prefetch.w", "imm[11:5] 00011 rs1 110 00000 0010011", "imm(rs1)")
def prefetch_w(h: Hart, i: Operands) -> None:
    """Do nothing, as `prefetch.i`."""
