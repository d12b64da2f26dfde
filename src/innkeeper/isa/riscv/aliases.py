"""The standard assembly aliases: other spellings of one instruction, for both directions.

Each line is `alias = instruction`; `$x` stands for an operand, the same one wherever it repeats.
The assembler reads a line from left to right, the disassembler from right to left and takes the
first that fits. A line with `<-` is for the assembler only, one with `->` for the disassembler
only.
Source: RISC-V Assembly Programmer's Manual, tables of pseudoinstructions; Unprivileged ISA 27, 30.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from innkeeper.isa.riscv.names import X_NUMBERS

_TABLE = """
nop                 = addi zero, zero, 0
li $d, $i           -> addi $d, zero, $i
mv $d, $s           = addi $d, $s, 0
move $d, $s         <- mv $d, $s
not $d, $s          = xori $d, $s, -1
neg $d, $s          = sub $d, zero, $s
negw $d, $s         = subw $d, zero, $s
sext.w $d, $s       = addiw $d, $s, 0
zext.b $d, $s       = andi $d, $s, 255
zext.w $d, $s       = add.uw $d, $s, zero
seqz $d, $s         = sltiu $d, $s, 1
snez $d, $s         = sltu $d, zero, $s
sltz $d, $s         = slt $d, $s, zero
sgtz $d, $s         = slt $d, zero, $s
sgt $d, $s, $t      <- slt $d, $t, $s
sgtu $d, $s, $t     <- sltu $d, $t, $s
add $d, $s, $i      <- addi $d, $s, $i
addw $d, $s, $i     <- addiw $d, $s, $i
and $d, $s, $i      <- andi $d, $s, $i
or $d, $s, $i       <- ori $d, $s, $i
xor $d, $s, $i      <- xori $d, $s, $i
sll $d, $s, $i      <- slli $d, $s, $i
srl $d, $s, $i      <- srli $d, $s, $i
sra $d, $s, $i      <- srai $d, $s, $i
sllw $d, $s, $i     <- slliw $d, $s, $i
srlw $d, $s, $i     <- srliw $d, $s, $i
sraw $d, $s, $i     <- sraiw $d, $s, $i
slt $d, $s, $i      <- slti $d, $s, $i
sltu $d, $s, $i     <- sltiu $d, $s, $i
ror $d, $s, $i      <- rori $d, $s, $i
rorw $d, $s, $i     <- roriw $d, $s, $i
bclr $d, $s, $i     <- bclri $d, $s, $i
bext $d, $s, $i     <- bexti $d, $s, $i
binv $d, $s, $i     <- binvi $d, $s, $i
bset $d, $s, $i     <- bseti $d, $s, $i
beqz $s, $o         = beq $s, zero, $o
bnez $s, $o         = bne $s, zero, $o
blez $s, $o         = bge zero, $s, $o
bgez $s, $o         = bge $s, zero, $o
bltz $s, $o         = blt $s, zero, $o
bgtz $s, $o         = blt zero, $s, $o
bgt $s, $t, $o      <- blt $t, $s, $o
ble $s, $t, $o      <- bge $t, $s, $o
bgtu $s, $t, $o     <- bltu $t, $s, $o
bleu $s, $t, $o     <- bgeu $t, $s, $o
j $o                = jal zero, $o
jal $o              = jal ra, $o
ret                 = jalr zero, 0(ra)
jr $s               = jalr zero, 0($s)
jr $i($s)           = jalr zero, $i($s)
jr $s, $i           <- jalr zero, $i($s)
jalr $s             = jalr ra, 0($s)
jalr $i($s)         = jalr ra, $i($s)
jalr $d, $s         <- jalr $d, 0($s)
jalr $s, $i         <- jalr ra, $i($s)
jalr $d, $s, $i     <- jalr $d, $i($s)
unimp               = csrrw zero, cycle, zero
rdcycle $d          = csrrs $d, cycle, zero
rdtime $d           = csrrs $d, time, zero
rdinstret $d        = csrrs $d, instret, zero
frflags $d          = csrrs $d, fflags, zero
frrm $d             = csrrs $d, frm, zero
frcsr $d            = csrrs $d, fcsr, zero
fsflags $s          = csrrw zero, fflags, $s
fsflags $d, $s      = csrrw $d, fflags, $s
fsrm $s             = csrrw zero, frm, $s
fsrm $d, $s         = csrrw $d, frm, $s
fscsr $s            = csrrw zero, fcsr, $s
fscsr $d, $s        = csrrw $d, fcsr, $s
fsflagsi $i         = csrrwi zero, fflags, $i
fsflagsi $d, $i     = csrrwi $d, fflags, $i
fsrmi $i            = csrrwi zero, frm, $i
fsrmi $d, $i        = csrrwi $d, frm, $i
csrr $d, $c         = csrrs $d, $c, zero
csrw $c, $s         = csrrw zero, $c, $s
csrs $c, $s         = csrrs zero, $c, $s
csrc $c, $s         = csrrc zero, $c, $s
csrwi $c, $i        = csrrwi zero, $c, $i
csrsi $c, $i        = csrrsi zero, $c, $i
csrci $c, $i        = csrrci zero, $c, $i
csrw $c, $i         <- csrrwi zero, $c, $i
csrs $c, $i         <- csrrsi zero, $c, $i
csrc $c, $i         <- csrrci zero, $c, $i
csrrw $d, $c, $i    <- csrrwi $d, $c, $i
csrrs $d, $c, $i    <- csrrsi $d, $c, $i
csrrc $d, $c, $i    <- csrrci $d, $c, $i
sfence.vma          = sfence.vma zero, zero
sfence.vma $s       = sfence.vma $s, zero
sinval.vma          <- sinval.vma zero, zero
sinval.vma $s       <- sinval.vma $s, zero
fence               = fence 255
pause               = fence 16
fence.tso           = fence 2099
ntl.p1              = add zero, zero, sp
ntl.pall            = add zero, zero, gp
ntl.s1              = add zero, zero, tp
ntl.all             = add zero, zero, t0
mv $d, $s           = add $d, zero, $s
c.nop               = c.addi zero, 0
c.ntl.p1            = c.add zero, sp
c.ntl.pall          = c.add zero, gp
c.ntl.s1            = c.add zero, tp
c.ntl.all           = c.add zero, t0
fmv.s $d, $s        = fsgnj.s $d, $s, $s
fneg.s $d, $s       = fsgnjn.s $d, $s, $s
fabs.s $d, $s       = fsgnjx.s $d, $s, $s
fgt.s $d, $s, $t    <- flt.s $d, $t, $s
fge.s $d, $s, $t    <- fle.s $d, $t, $s
fmv.x.s $d, $s      <- fmv.x.w $d, $s
fmv.s.x $d, $s      <- fmv.w.x $d, $s
fmv.d $d, $s        = fsgnj.d $d, $s, $s
fneg.d $d, $s       = fsgnjn.d $d, $s, $s
fabs.d $d, $s       = fsgnjx.d $d, $s, $s
fgt.d $d, $s, $t    <- flt.d $d, $t, $s
fge.d $d, $s, $t    <- fle.d $d, $t, $s
fmv.h $d, $s        = fsgnj.h $d, $s, $s
fneg.h $d, $s       = fsgnjn.h $d, $s, $s
fabs.h $d, $s       = fsgnjx.h $d, $s, $s
fgt.h $d, $s, $t    <- flt.h $d, $t, $s
fge.h $d, $s, $t    <- fle.h $d, $t, $s
fgtq.s $d, $s, $t   <- fltq.s $d, $t, $s
fgeq.s $d, $s, $t   <- fleq.s $d, $t, $s
fgtq.d $d, $s, $t   <- fltq.d $d, $t, $s
fgeq.d $d, $s, $t   <- fleq.d $d, $t, $s
fgtq.h $d, $s, $t   <- fltq.h $d, $t, $s
fgeq.h $d, $s, $t   <- fleq.h $d, $t, $s
fcvt.s.h $d, $s     = fcvt.s.h $d, $s, rne
fcvt.d.h $d, $s     = fcvt.d.h $d, $s, rne
fcvt.d.s $d, $s     = fcvt.d.s $d, $s, rne
fcvt.d.w $d, $s     = fcvt.d.w $d, $s, rne
fcvt.d.wu $d, $s    = fcvt.d.wu $d, $s, rne
vneg.v $d, $s       <- vrsub.vx $d, $s, zero
vneg.v $d, $s, $m   <- vrsub.vx $d, $s, zero, $m
vnot.v $d, $s       <- vxor.vi $d, $s, -1
vnot.v $d, $s, $m   <- vxor.vi $d, $s, -1, $m
vwcvt.x.x.v $d, $s  <- vwadd.vx $d, $s, zero
vwcvt.x.x.v $d, $s, $m <- vwadd.vx $d, $s, zero, $m
vwcvtu.x.x.v $d, $s <- vwaddu.vx $d, $s, zero
vwcvtu.x.x.v $d, $s, $m <- vwaddu.vx $d, $s, zero, $m
vncvt.x.x.w $d, $s  <- vnsrl.wx $d, $s, zero
vncvt.x.x.w $d, $s, $m <- vnsrl.wx $d, $s, zero, $m
vfneg.v $d, $s      <- vfsgnjn.vv $d, $s, $s
vfneg.v $d, $s, $m  <- vfsgnjn.vv $d, $s, $s, $m
vfabs.v $d, $s      <- vfsgnjx.vv $d, $s, $s
vfabs.v $d, $s, $m  <- vfsgnjx.vv $d, $s, $s, $m
vmsgt.vv $d, $s, $t <- vmslt.vv $d, $t, $s
vmsgt.vv $d, $s, $t, $m <- vmslt.vv $d, $t, $s, $m
vmsgtu.vv $d, $s, $t <- vmsltu.vv $d, $t, $s
vmsgtu.vv $d, $s, $t, $m <- vmsltu.vv $d, $t, $s, $m
vmsge.vv $d, $s, $t <- vmsle.vv $d, $t, $s
vmsge.vv $d, $s, $t, $m <- vmsle.vv $d, $t, $s, $m
vmsgeu.vv $d, $s, $t <- vmsleu.vv $d, $t, $s
vmsgeu.vv $d, $s, $t, $m <- vmsleu.vv $d, $t, $s, $m
vmfgt.vv $d, $s, $t <- vmflt.vv $d, $t, $s
vmfgt.vv $d, $s, $t, $m <- vmflt.vv $d, $t, $s, $m
vmfge.vv $d, $s, $t <- vmfle.vv $d, $t, $s
vmfge.vv $d, $s, $t, $m <- vmfle.vv $d, $t, $s, $m
vmmv.m $d, $s       <- vmand.mm $d, $s, $s
vmnot.m $d, $s      <- vmnand.mm $d, $s, $s
vmclr.m $d          <- vmxor.mm $d, $d, $d
vmset.m $d          <- vmxnor.mm $d, $d, $d
vl1r.v $d, $i($s)   <- vl1re8.v $d, $i($s)
vl2r.v $d, $i($s)   <- vl2re8.v $d, $i($s)
vl4r.v $d, $i($s)   <- vl4re8.v $d, $i($s)
vl8r.v $d, $i($s)   <- vl8re8.v $d, $i($s)
scall               <- ecall
sbreak              <- ebreak
"""

MEMORY_OPERAND = re.compile(rf"(.*)\(\s*({'|'.join(X_NUMBERS)})\s*\)", re.DOTALL)
"""An operand of the form `offset(register)`."""


@dataclass(frozen=True)
class Alias:
    """One spelling: `name` with operands of the forms `left` is `base` with those of `right`."""

    name: str
    left: tuple[str, ...]
    base: str
    right: tuple[str, ...]

    def expand(self, given: Sequence[str]) -> list[str] | None:
        """Return the base instruction's operands, or `None` when the forms do not fit."""
        bound: dict[str, str] = {}
        if len(given) != len(self.left):
            return None
        for form, text in zip(self.left, given, strict=True):
            address = MEMORY_OPERAND.fullmatch(text)
            if (address is not None) != ("(" in form):
                return None
            values = (address[1].strip() or "0", address[2]) if address else (text,)
            bound.update(zip(re.findall(r"\$\w", form), values, strict=True))
        return [_fill(form, bound) for form in self.right]

    def match(self, written: Sequence[str]) -> list[str] | None:
        """Return the alias's operands for the base instruction's, or `None`."""
        found = self._right_regex.fullmatch(", ".join(written))
        if found is None:
            return None
        bound = {f"${name}": value for name, value in found.groupdict().items()}
        return [_fill(form, bound) for form in self.left]

    @cached_property
    def _right_regex(self) -> re.Pattern[str]:
        seen: set[str] = set()

        def group(match: re.Match[str]) -> str:
            name = match[1]
            if name in seen:
                return f"(?P={name})"
            seen.add(name)
            return f"(?P<{name}>[^,()]+)"

        return re.compile(re.sub(r"\\\$(\w)", group, re.escape(", ".join(self.right))))


def _fill(form: str, bound: dict[str, str]) -> str:
    return re.sub(r"\$\w", lambda m: bound[m[0]], form)


def _split(text: str) -> tuple[str, tuple[str, ...]]:
    name, _, rest = text.strip().partition(" ")
    return name, tuple(part.strip() for part in rest.split(",")) if rest.strip() else ()


def _parse() -> tuple[dict[str, list[Alias]], dict[str, list[Alias]]]:
    reading: dict[str, list[Alias]] = {}
    writing: dict[str, list[Alias]] = {}
    for line in _TABLE.strip().splitlines():
        left, arrow, right = re.split(r"\s(=|<-|->)\s", line, maxsplit=1)
        alias = Alias(*_split(left), *_split(right))
        if arrow != "->":
            reading.setdefault(alias.name, []).append(alias)
        if arrow != "<-":
            writing.setdefault(alias.base, []).append(alias)
    return reading, writing


READING, WRITING = _parse()
"""The aliases by their own name (for the assembler) and by their base's (for the disassembler)."""
