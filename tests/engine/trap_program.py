"""Random programs that trap: every privilege, page tables that change, PMP, delegation, interrupts.

The program runs at three addresses that lead to the same memory: 0x8000_0000 in M-mode, and with
bit 32 (S) or bit 33 (U) set above it, for S and U need different page-table flags. Both trap
handlers log cause, epc, tval and status, and go on behind what trapped; an `ecall` switches to the
privilege in s10. Control only ever goes forward, and the log is finite, so every run ends.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from innkeeper.isa.riscv.asm import assemble
from tests.engine.harness import DEVICE, RAM_BASE, RAM_BYTES
from tests.engine.paging import AD, PAGE, RWX, A, D, G, PageTables, R, U, V, W, X

ALIAS = {3: 0, 1: 1 << 32, 0: 2 << 32}
CODE_BYTES = 0x1_0000
DATA = RAM_BASE + 0x10_0000
DATA_PAGES = 8
POOL = RAM_BASE + 0x14_0000
WINDOW = 0x3_0000_0000
WINDOW_PAGES = 16
SUPER, BAD_SUPER = WINDOW + 0x20_0000, WINDOW + 0x40_0000
LOG_ENTRIES = 40

LOADS = ("lb", "lh", "lw", "ld", "lbu", "lhu", "lwu", "flw", "fld")
STORES = ("sb", "sh", "sw", "sd", "fsw", "fsd")
AMOS = ("amoadd.w", "amoswap.d", "amomax.w", "amominu.d", "sc.w", "sc.d")
BLOCKS = ("cbo.zero", "cbo.clean", "cbo.inval", "cbo.flush")
ILLEGAL = (0, 0xFFFFFFFF, 0x0000200B, 0x00007073, 0x8200_0053 | 5 << 12, 0x0000_0073 | 5 << 20)
CSRS = {
    "mstatus": 0x807FFFEA & ~(1 << 20), "sstatus": 0xDE762, "mie": 0xAAA, "sie": 0x222,
    "mip": 0x222, "sip": 0x222, "medeleg": 0xFFFF & ~4, "mideleg": 0x222,
    "menvcfg": 0xE000_0000_0000_00F1, "senvcfg": 0xF1, "mcounteren": 7, "scounteren": 7,
    "fcsr": 0x7F, "frm": 3, "fflags": 31, "scause": (1 << 64) - 1, "stval": (1 << 64) - 1,
    "mtval": (1 << 64) - 1, "mcause": (1 << 64) - 1, "pmpaddr0": (DATA >> 2) + 0x2000,
    "mcycle": 0xFFFF, "minstret": 0xFFFF,
}  # fmt: skip
"""What is written, and which bits may be set."""
READ_ONLY = ("cycle", "instret", "time", "misa", "mhartid", "satp", "mvendorid", "hpmcounter7")

HANDLERS = """
machine_trap:
    la t5, log
    add t5, t5, s8
    csrr t6, mcause
    sd t6, 0(t5)
    csrr t6, mepc
    sd t6, 8(t5)
    csrr t6, mtval
    sd t6, 16(t5)
    csrr t6, mstatus
    sd t6, 24(t5)
    addi s8, s8, 32
    li t6, LOG_BYTES
    bgeu s8, t6, done
    csrr t6, mcause
    bltz t6, machine_interrupt
    li t5, 8
    beq t6, t5, switch
    li t5, 9
    beq t6, t5, switch
    li t5, 11
    beq t6, t5, switch
    li t5, 12
    beq t6, t5, machine_fetch
    li t5, 2
    bltu t6, t5, machine_fetch
    bne t6, t5, 1f
    sfence.vma
1:  csrr t6, mepc
    addi t6, t6, 4
    csrw mepc, t6
    mret
machine_interrupt:
    csrw mie, x0
    mret
machine_fetch:
    csrw mepc, s11
    mret
switch:
    li t5, 3 << 11
    csrc mstatus, t5
    slli t6, s10, 11
    and t6, t6, t5
    csrs mstatus, t6
    csrr t6, mepc
    slli t6, t6, 32
    srli t6, t6, 32
    addi t6, t6, 4
    li t5, 3
    beq s10, t5, 2f
    li t5, 2
    sub t5, t5, s10
    slli t5, t5, 32
    add t6, t6, t5
2:  csrw mepc, t6
    mret

.align 2
supervisor_trap:
    la t5, log
    add t5, t5, s8
    csrr t6, scause
    sd t6, 0(t5)
    csrr t6, sepc
    sd t6, 8(t5)
    csrr t6, stval
    sd t6, 16(t5)
    csrr t6, sstatus
    sd t6, 24(t5)
    addi s8, s8, 32
    li t6, LOG_BYTES
    bgeu s8, t6, done
    csrr t6, scause
    bltz t6, supervisor_interrupt
    li t5, 12
    beq t6, t5, supervisor_fetch
    li t5, 2
    bltu t6, t5, supervisor_fetch
    csrr t6, sepc
    addi t6, t6, 4
    csrw sepc, t6
    j back
supervisor_interrupt:
    csrw sie, x0
    j back
supervisor_fetch:
    csrw sepc, s11
back:
    sret
done:
    nop
"""


@dataclass(frozen=True)
class TrapProgram:
    """An image for RAM, where it starts and ends, and the registers' initial values."""

    image: bytes
    entry: int
    ends: tuple[int, ...]
    registers: dict[str, int]
    source: str

    def setup(self, raw: Any) -> None:
        """Give a hart its initial state."""
        for name, value in self.registers.items():
            setattr(raw, name, value)
        raw.pmpcfg[0], raw.pmpcfg[1] = 0, 0x1F
        raw.pmpaddr[1] = (1 << 54) - 1


def _flags(rng: random.Random) -> int:
    flags = V * (rng.random() < 0.95)
    flags |= rng.choice((R, R | W, R | W, RWX, RWX, R | X, X, W, W | X))
    flags |= U * (rng.random() < 0.5) | G * (rng.random() < 0.1)
    flags |= A * (rng.random() < 0.8) | D * (rng.random() < 0.6)
    return flags | (1 << 54) * (rng.random() < 0.02)


class _Writer:
    """Makes the units of one program."""

    def __init__(self, rng: random.Random, slots: list[tuple[int, int]], satps: list[int]) -> None:
        self.rng, self.slots, self.satps = rng, slots, satps
        self.labels = 0

    def address(self) -> int:
        rng = self.rng
        offset = rng.choice((0, 8, rng.randrange(PAGE), rng.randrange(PAGE) & -8, PAGE - 4,
                             PAGE - 3, PAGE - 8, PAGE - 1))  # fmt: skip
        page = rng.randrange(WINDOW_PAGES + 1) * PAGE
        return rng.choice(
            (
                *[WINDOW + page + offset] * 12,
                *[DATA + page % (DATA_PAGES * PAGE) + offset] * 3,
                SUPER + (DATA - RAM_BASE) + offset, BAD_SUPER + offset,
                RAM_BASE + RAM_BYTES - rng.randrange(1, 12), DEVICE + (offset & 0xFF8),
                0, (1 << 64) - 8, 1 << 38, 1 << 47, rng.getrandbits(64),
            )
        )  # fmt: skip

    def unit(self) -> str:
        kind = self.rng.choices(
            (
                self.memory,
                self.csr,
                self.switch,
                self.jump,
                self.odd,
                self.pte,
                self.satp,
                self.fp,
                self.interrupt,
            ),
            (40, 22, 10, 5, 6, 10, 4, 5, 6),
        )[0]
        return kind()

    def data(self) -> str:
        return f"a{self.rng.randrange(6)}"

    def memory(self) -> str:
        lines = [f"li t0, {self.address():#x}"]
        for _ in range(self.rng.choice((1, 1, 2, 3))):
            name = self.rng.choice(
                (*LOADS, *STORES, *LOADS, *STORES, *AMOS, "lr.w", "lr.d", *BLOCKS)
            )
            register = f"f{self.data()}" if name[0] == "f" else self.data()
            offset = self.rng.choice((0, 0, 1, -1, 4, 8, -8))
            if name in AMOS:
                lines.append(f"{name} {self.data()}, {self.data()}, (t0)")
            elif name.startswith("lr."):
                lines.append(f"{name} {self.data()}, (t0)")
            elif name in BLOCKS:
                lines.append(f"{name} (t0)")
            else:
                lines.append(f"{name} {register}, {offset}(t0)")
        return "\n".join(lines)

    def csr(self) -> str:
        if self.rng.random() < 0.25:
            return f"csrr {self.data()}, {self.rng.choice(READ_ONLY)}"
        if self.rng.random() < 0.05:
            cfg = 0x1F << 8 | self.rng.choice((0, 8, 9, 11, 16, 17, 19, 24, 25, 27, 0x99, 31))
            return f"li t0, {cfg}\ncsrw pmpcfg0, t0"
        name = self.rng.choice(list(CSRS))
        value = self.rng.getrandbits(64) & CSRS[name]
        if name == "pmpaddr0":
            value = (DATA >> 2) + self.rng.randrange(0x2000)
        how = self.rng.choice(("csrrw", "csrrs", "csrrc"))
        return f"li t0, {value:#x}\n{how} {self.data()}, {name}, t0"

    def interrupt(self) -> str:
        """Raise a software or an external interrupt and let it in."""
        level = self.rng.choice("ms")
        bits = self.rng.choice((0x222, 2, 0x202))
        return (
            f"li t0, {bits:#x}\ncsrs {level}ie, t0\ncsrs {level}ip, t0\n"
            f"csrsi {level}status, {2 if level == 's' else 10}"
        )

    def switch(self) -> str:
        return f"li s10, {self.rng.choice((0, 0, 1, 1, 1, 3))}\necall"

    def jump(self) -> str:
        self.labels += 1
        target = self.rng.choice((self.address() & -2, 0, 1 << 40, 1 << 63))
        if RAM_BASE <= target < RAM_BASE + RAM_BYTES or WINDOW <= target < WINDOW + (1 << 23):
            target = 0x4_0000_0000
        return f"la s11, after{self.labels}\nli t0, {target:#x}\njalr ra, t0\nafter{self.labels}:"

    def odd(self) -> str:
        choice = self.rng.randrange(4)
        if choice == 0:
            return "ebreak"
        if choice == 1:
            return "fence.i"
        return f".word {self.rng.choice(ILLEGAL):#x}"

    def pte(self) -> str:
        slot, va = self.rng.choice(self.slots)
        pa = DATA + self.rng.randrange(DATA_PAGES) * PAGE
        flush = self.rng.choice((f"li t0, {va:#x}\nsfence.vma t0, x0", "sfence.vma", "sfence.vma"))
        return f"la t0, {slot:#x}\nli t1, {pa >> 2 | _flags(self.rng):#x}\nsd t1, 0(t0)\n{flush}"

    def satp(self) -> str:
        return f"li t0, {self.rng.choice(self.satps):#x}\ncsrw satp, t0\nsfence.vma"

    def fp(self) -> str:
        name = self.rng.choice(("fadd.d", "fmul.s", "fdiv.d", "fsub.s"))
        mode = self.rng.choice(("", ", rtz", ", rup"))
        return f"{name} fa0, fa1, fa2{mode}"


def _tables(rng: random.Random, image: bytearray) -> tuple[list[PageTables], list[tuple[int, int]]]:
    tables, slots, pool = [], [], POOL
    for mode in (8, 9, 10):
        one = PageTables(image, RAM_BASE, pool, mode=mode)
        for offset in range(0, CODE_BYTES, PAGE):
            one.map(RAM_BASE + offset + ALIAS[1], RAM_BASE + offset, RWX | AD)
            one.map(RAM_BASE + offset + ALIAS[0], RAM_BASE + offset, RWX | AD | U)
        for page in range(WINDOW_PAGES):
            va = WINDOW + page * PAGE
            pa = DATA + rng.randrange(DATA_PAGES) * PAGE
            if rng.random() < 0.08:
                pa = DEVICE
            where = one.map(va, pa, 0)
            one.write(where, pa >> 2 | _flags(rng))
            slots.append((where, va))
        one.map(SUPER, RAM_BASE, _flags(rng), level=1)
        one.map(BAD_SUPER, RAM_BASE + PAGE * 3, _flags(rng), level=1)
        for n in range(16):
            page = POOL + n * PAGE * 2
            for half in (0, PAGE):
                one.map(page + half + ALIAS[1], page + half, R | W | AD)
        pool = one.next
        tables.append(one)
    return tables, slots


def generate(seed: int, *, units: int = 45) -> TrapProgram:
    """Return a program for a seed."""
    rng = random.Random(seed)
    image = bytearray(RAM_BYTES)
    for page in range(DATA_PAGES):
        at = DATA - RAM_BASE + page * PAGE
        image[at : at + PAGE] = rng.randbytes(PAGE)
    tables, slots = _tables(rng, image)
    satps = [t.satp for t in tables]
    writer = _Writer(rng, slots, satps)
    body = "\n".join(writer.unit() for _ in range(units))
    source = (
        f".option norvc\n.equ LOG_BYTES, {LOG_ENTRIES * 32}\n_start:\n{body}\nj done\n.align 2\n"
        f"{HANDLERS}\n.align 3\nlog: .zero {LOG_ENTRIES * 32 + 64}\n"
    )
    made = assemble(source, base=RAM_BASE)
    assert len(made.image) <= CODE_BYTES
    image[: len(made.image)] = made.image
    priv = rng.choice((0, 1, 1, 3))
    registers = {
        "pc": made.entry + ALIAS[priv], "priv": priv, "satp": rng.choice(satps),
        "mtvec": made.symbols["machine_trap"], "fp_ready": 1,
        "stvec": made.symbols["supervisor_trap"] + ALIAS[1], "mstatus": 3 << 13 | 1 << 63,
        "medeleg": rng.choice((0, 0xB3FF & ~4, rng.getrandbits(16) & 0xB3FB)),
        "mideleg": rng.choice((0, 0x222)), "mcounteren": 7, "scounteren": rng.getrandbits(3),
        "menvcfg": rng.choice((0, 1 << 61, 1 << 61 | 0xF1)), "pmp_count": 2,
    }  # fmt: skip
    ends = tuple(made.symbols["done"] + alias for alias in ALIAS.values())
    return TrapProgram(bytes(image), registers["pc"], ends, registers, source)
