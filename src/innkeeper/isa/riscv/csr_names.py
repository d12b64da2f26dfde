"""The names and numbers of every standard CSR (RISC-V Privileged 20240411 chapter 2, tables 4 to
8).

The ratified extensions that came later or stand elsewhere are here too: Smstateen, Smaia/Ssaia,
Sstc, Sscofpmf, Smcntrpmf, Smrnmi, Smctr/Ssctr, Zkr, Zcmt, Zicfiss, V and the debug specification.
"""

from __future__ import annotations

_SINGLE = """
001 fflags 002 frm 003 fcsr 008 vstart 009 vxsat 00a vxrm 00f vcsr 011 ssp 015 seed 017 jvt
c00 cycle c01 time c02 instret c20 vl c21 vtype c22 vlenb
c80 cycleh c81 timeh c82 instreth
100 sstatus 104 sie 105 stvec 106 scounteren 10a senvcfg 120 scountinhibit
140 sscratch 141 sepc 142 scause 143 stval 144 sip 14d stimecmp 14e sctrctl 14f sctrstatus
150 siselect 151 sireg 152 sireg2 153 sireg3 155 sireg4 156 sireg5 157 sireg6
15c stopei 15d stimecmph 15f sctrdepth 180 satp 181 srmcfg 5a8 scontext da0 scountovf db0 stopi
200 vsstatus 204 vsie 205 vstvec 240 vsscratch 241 vsepc 242 vscause 243 vstval 244 vsip
24d vstimecmp 24e vsctrctl 250 vsiselect 251 vsireg 252 vsireg2 253 vsireg3 255 vsireg4
256 vsireg5 257 vsireg6 25c vstopei 25d vstimecmph 280 vsatp eb0 vstopi
600 hstatus 602 hedeleg 603 hideleg 604 hie 605 htimedelta 606 hcounteren 607 hgeie 608 hvien
609 hvictl 60a henvcfg 612 hedelegh 615 htimedeltah 61a henvcfgh 643 htval 644 hip 645 hvip
646 hviprio1 647 hviprio2 64a htinst 680 hgatp 6a8 hcontext e12 hgeip
f11 mvendorid f12 marchid f13 mimpid f14 mhartid f15 mconfigptr
300 mstatus 301 misa 302 medeleg 303 mideleg 304 mie 305 mtvec 306 mcounteren 308 mvien 309 mvip
30a menvcfg 310 mstatush 312 medelegh 31a menvcfgh
320 mcountinhibit 321 mcyclecfg 322 minstretcfg
340 mscratch 341 mepc 342 mcause 343 mtval 344 mip 34a mtinst 34b mtval2 34e mctrctl
350 miselect 351 mireg 352 mireg2 353 mireg3 355 mireg4 356 mireg5 357 mireg6 35c mtopei fb0 mtopi
740 mnscratch 741 mnepc 742 mncause 744 mnstatus 747 mseccfg 757 mseccfgh
7a0 tselect 7a1 tdata1 7a2 tdata2 7a3 tdata3 7a4 tinfo 7a5 tcontrol 7a8 mcontext 7aa mscontext
7b0 dcsr 7b1 dpc 7b2 dscratch0 7b3 dscratch1
b00 mcycle b02 minstret b80 mcycleh b82 minstreth
"""

_RANGES = (
    # first number, name with its index, first index, last index
    (0x10C, "sstateen{}", 0, 3),
    (0x30C, "mstateen{}", 0, 3),
    (0x31C, "mstateen{}h", 0, 3),
    (0x60C, "hstateen{}", 0, 3),
    (0x61C, "hstateen{}h", 0, 3),
    (0x323, "mhpmevent{}", 3, 31),
    (0x723, "mhpmevent{}h", 3, 31),
    (0x3A0, "pmpcfg{}", 0, 15),
    (0x3B0, "pmpaddr{}", 0, 63),
    (0xB03, "mhpmcounter{}", 3, 31),
    (0xB83, "mhpmcounter{}h", 3, 31),
    (0xC03, "hpmcounter{}", 3, 31),
    (0xC83, "hpmcounter{}h", 3, 31),
)

CSR_COUNT = 4096
"""The CSR number has 12 bits."""


def _numbers() -> dict[str, int]:
    words = _SINGLE.split()
    table = {name: int(number, 16) for number, name in zip(words[::2], words[1::2], strict=True)}
    for number, pattern, first, last in _RANGES:
        for index in range(first, last + 1):
            table[pattern.format(index)] = number + index - first
    return table


CSR_NUMBERS: dict[str, int] = _numbers()
"""The number of each CSR by its name."""

CSR_NAMES: dict[int, str] = {number: name for name, number in CSR_NUMBERS.items()}
"""The name of each CSR by its number."""


def csr_name(number: int) -> str:
    """Name a CSR, or give its number in hexadecimal when the standard names none."""
    return CSR_NAMES.get(number, f"{number:#x}")
