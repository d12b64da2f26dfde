"""The RV64GC target description that GDB reads: which registers there are and their numbers.

Source: Debugging with GDB, G.5.11 "RISC-V Features" (feature and register names); the RISC-V ELF
psABI for the names of x and f registers. A CSR's number is 65 plus its address, as GDB itself
numbers them.
"""

from __future__ import annotations

from functools import cache

from innkeeper.isa.riscv.csr_names import CSR_NUMBERS
from innkeeper.isa.riscv.hart import VLEN

PC = 32
FIRST_FLOAT = 33
FIRST_CSR = 65
PRIV = FIRST_CSR + 4096
FIRST_VECTOR = PRIV + 1
LAST = FIRST_VECTOR + 31
"""The highest number that a register has."""
GENERAL_COUNT = 33  # x0 to x31 and pc
_FLOAT_CSRS = ("fflags", "frm", "fcsr")

_INTEGER_NAMES = (
    *("zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "fp", "s1"),
    *(f"a{n}" for n in range(8)),
    *(f"s{n}" for n in range(2, 12)),
    *(f"t{n}" for n in range(3, 7)),
)
_POINTERS = ("sp", "gp", "tp", "fp")
_INTEGER_TYPES = {"ra": "code_ptr", **dict.fromkeys(_POINTERS, "data_ptr")}
_FLOAT_NAMES = (
    *(f"ft{n}" for n in range(8)),
    *("fs0", "fs1"),
    *(f"fa{n}" for n in range(8)),
    *(f"fs{n}" for n in range(2, 12)),
    *(f"ft{n}" for n in range(8, 12)),
)
# What a supervisor or firmware is debugged with; a hart that lacks one reports it as unavailable.
_CSRS = (
    *("cycle", "time", "instret", "mcycle", "minstret"),
    *("sstatus", "sie", "stvec", "scounteren", "senvcfg", "sscratch", "sepc", "scause", "stval"),
    *("sip", "stimecmp", "satp"),
    *("mstatus", "misa", "medeleg", "mideleg", "mie", "mtvec", "mcounteren", "menvcfg"),
    *("mcountinhibit", "mscratch", "mepc", "mcause", "mtval", "mip", "pmpcfg0", "pmpcfg2"),
    *(f"pmpaddr{n}" for n in range(16)),
    *("mvendorid", "marchid", "mimpid", "mhartid"),
)


# A vector register as its elements of each width, by the names other stubs use.
_ELEMENTS = (("longs", "l", 64), ("words", "w", 32), ("shorts", "s", 16), ("bytes", "b", 8))
_VECTOR_TYPES = (
    *(f'<vector id="{name}" type="uint{w}" count="{VLEN // w}"/>' for name, _, w in _ELEMENTS),
    '<union id="riscv_vector">',
    *(f'<field name="{field}" type="{name}"/>' for name, field, _ in _ELEMENTS),
    "</union>",
)


def register_bytes(number: int) -> int:
    """Return how wide a register is in the description."""
    if number > PRIV:
        return VLEN // 8
    return 4 if number - FIRST_CSR in range(1, 4) else 8  # fflags, frm, fcsr as GDB has them


def _register(name: str, number: int, kind: str, group: str = "") -> str:
    grouped = f' group="{group}"' if group else ""
    bits = 8 * register_bytes(number)
    return f'<reg name="{name}" bitsize="{bits}" regnum="{number}" type="{kind}"{grouped}/>'


def _csr(name: str, group: str) -> str:
    return _register(name, FIRST_CSR + CSR_NUMBERS[name], "int", group)


def _feature(name: str, *lines: str) -> str:
    return "\n".join((f'<feature name="org.gnu.gdb.riscv.{name}">', *lines, "</feature>"))


@cache
def target_xml() -> bytes:
    """Return the description as the document `target.xml`."""
    integers = (
        _register(name, number, _INTEGER_TYPES.get(name, "int"))
        for number, name in enumerate(_INTEGER_NAMES)
    )
    floats = (
        _register(name, FIRST_FLOAT + n, "riscv_double") for n, name in enumerate(_FLOAT_NAMES)
    )
    union = (
        '<union id="riscv_double"><field name="float" type="ieee_single"/>'
        '<field name="double" type="ieee_double"/></union>'
    )
    vectors = (_register(f"v{n}", FIRST_VECTOR + n, "riscv_vector", "vector") for n in range(32))
    status = (_csr(name, "float") for name in _FLOAT_CSRS)
    csrs = (_csr(name, "csr") for name in _CSRS)
    text = "\n".join(
        (
            '<?xml version="1.0"?>',
            '<!DOCTYPE target SYSTEM "gdb-target.dtd">',
            '<target version="1.0">',
            "<architecture>riscv:rv64</architecture>",
            # A bare machine. Else GDB takes it for a Linux process, and steps with breakpoints.
            "<osabi>none</osabi>",
            _feature("cpu", *integers, _register("pc", PC, "code_ptr")),
            _feature("fpu", union, *floats, *status),
            _feature("csr", *csrs),
            _feature("vector", *_VECTOR_TYPES, *vectors),
            _feature("virtual", _register("priv", PRIV, "int", "system")),
            "</target>",
        )
    )
    return text.encode()
