"""The assembler: instructions, pseudoinstructions, directives, layout and errors."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from innkeeper.base.errors import UsageError
from innkeeper.isa.riscv.asm import AssemblyError, assemble, elf_image
from innkeeper.isa.riscv.asm_items import DATA_ALIGNMENT
from innkeeper.isa.riscv.base import I
from innkeeper.isa.riscv.random_values import INTERESTING
from tests.isa.bare import Bare

BASE = 0x8000_0000


def words(source: str, **options: object) -> list[int]:
    image = assemble(source, **options).image  # type: ignore[arg-type]
    return [int.from_bytes(image[n : n + 4], "little") for n in range(0, len(image), 4)]


def run(source: str) -> Bare:
    """Assemble, run to the label `end`, and return the machine."""
    program = assemble(source, base=BASE)
    m = Bare(base=BASE)
    m.write(BASE, program.image)
    m.hart.pc = program.entry
    m.run(program.symbols["end"])
    return m


# What GNU as 2.40 makes of these lines (-mno-relax, .option norvc).
GNU = {
    "nop": 0x00000013, "mv a0, a1": 0x00058513, "not a0, a1": 0xFFF5C513, "neg a0, a1": 0x40B00533,
    "sext.w a0, a1": 0x0005851B, "seqz a0, a1": 0x0015B513, "snez a0, a1": 0x00B03533,
    "ret": 0x00008067, "jr 8(a1)": 0x00858067, "jalr a0": 0x000500E7, "jalr a0, a1, 12": 0x00C58567,
    "csrr a0, mstatus": 0x30002573, "csrwi mie, 3": 0x3041D073, "rdtime a0": 0xC0102573,
    "fence": 0x0FF0000F, "fence rw, w": 0x0310000F, "fence.tso": 0x8330000F, "pause": 0x0100000F,
    "fmv.d fa0, fa1": 0x22B58553, "fadd.s fa0, fa1, fa2": 0x00C5F553,
    "fadd.d fa0, fa1, fa2, rup": 0x02C5B553, "fcvt.d.w fa0, a0": 0xD2050553,
    "fcvt.w.s a0, fa0, rtz": 0xC0051553, "amoadd.w.aqrl a0, a1, (a2)": 0x06B6252F,
    "lr.w.aq a0, (a1)": 0x1405A52F, "sfence.vma": 0x12000073, "lui a0, 0xfffff": 0xFFFFF537,
    "add a0, a1, 5": 0x00558513, "sra a0, a1, 63": 0x43F5D513, "bgt a0, a1, .-8": 0xFEA5CCE3,
    "j .+8": 0x0080006F, "jal .-20": 0xFEDFF0EF, "lw a0, (a1)": 0x0005A503,
    "sd a0, -8(sp)": 0xFEA13C23, "cbo.zero (a0)": 0x0045200F, "prefetch.w -64(a0)": 0xFC356013,
    "unimp": 0xC0001073, "lui a0, %hi(0x12fff)": 0x00013537, "addi a0, a0, %lo(0x12fff)": 0xFFF50513,
}  # fmt: skip


@pytest.mark.parametrize("line", GNU)
def test_same_bits_as_gnu_as(line: str) -> None:
    assert words(line) == [GNU[line]]


@pytest.mark.parametrize(
    ("line", "bits"),
    [
        ("c.li a0, -1", 0x557D), ("c.lui a0, 0xfffe0", 0x7501), ("c.addi16sp sp, 16", 0x6141),
        ("c.addi4spn a0, sp, 8", 0x0028), ("c.fldsp fa0, 8(sp)", 0x2522), ("c.nop", 0x0001),
        ("c.beqz a0, .+8", 0xC501), ("c.j .+20", 0xA811), ("c.unimp", 0x0000),
        (".option rvc; addi a0, a0, 1", 0x0505), (".option rvc; mv a0, a1", 0x852E),
        (".option rvc; ret", 0x8082), (".option rvc; ld a0, 8(a1)", 0x6588),
    ],
)  # fmt: skip
def test_compressed(line: str, bits: int) -> None:
    assert assemble(line).image == bits.to_bytes(2, "little")


def test_no_compression_unless_asked_for() -> None:
    source = (
        "addi a0, a0, 1\n.option push\n.option rvc\naddi a0, a0, 1\n.option pop\naddi a0, a0, 1"
    )
    assert len(assemble(source).image) == 4 + 2 + 4


@pytest.mark.parametrize("rvc", ["", ".option rvc\n"])
def test_li_of_any_constant(rvc: str) -> None:
    rng = random.Random(11)
    values = [*INTERESTING, *(rng.getrandbits(rng.randrange(1, 65)) for _ in range(200))]
    for value in values:
        assert run(f"{rvc}li a0, {value:#x}\nend:").hart.x[10] == value, hex(value)
    assert run("li a0, -0x8000000000000000\nend:").hart.x[10] == 1 << 63


def test_addresses_calls_and_data() -> None:
    m = run("""
        _start: li sp, 0x80010000
                la a0, table            # auipc + addi
                ld a1, table + 8
                lui a2, %hi(0x12345678)
                addi a2, a2, %lo(0x12345678)
        1:      auipc a3, %pcrel_hi(value)
                lw a3, %pcrel_lo(1b)(a3)
                sw a3, copy, t0
                lw a4, copy
                call twice
                j 2f
        twice:  slli a1, a1, 1
                tail 3f
        3:      ret
        2:      li a5, end - _start
        end:
                .data
        value:  .word 42
        copy:   .word 0
                .balign 8
        table:  .dword 1, 21
    """)
    h = m.hart
    assert [int(h.x[n]) for n in (11, 12, 13)] == [42, 0x12345678, 42]
    assert h.x[14] == 42 and m.read(int(h.x[10]), 8) == (1).to_bytes(8, "little")
    assert int(h.x[15]) == int(h.pc) - BASE


def test_data_directives() -> None:
    program = assemble(
        '.data\n.byte 1, -1, 255, \'a\'\n.half 0x1234\n.word 1b-0f\n0: .dword -2\n1:\n'
        '.ascii "a\\n\\x41\\101\\"\\\\"\n.asciz "b"\n.string "c", "d"\n.fill 2, 2, 0x102\n.space 2, 9\n.zero 1'
        .replace("1b-0f", "1f-0f")
    )  # fmt: skip
    assert program.image == (
        b"\x01\xff\xffa\x34\x12" + (8).to_bytes(4, "little") + (-2 % 2**64).to_bytes(8, "little")
        + b'a\nAA"\\b\0c\0d\0\x02\x01\x02\x01\x09\x09\0'
    )  # fmt: skip


def test_alignment_pads_code_with_nops_and_data_with_zeros() -> None:
    assert words("ret\n.align 4\nret")[1:4] == [0x13] * 3
    assert assemble("c.nop\n.balign 8").image.hex() == "0100010013000000"
    assert assemble(".data\n.byte 1\n.p2align 2\n.byte 2").image == b"\1\0\0\0\2"
    assert assemble(".data\n.byte 1\n.balign 4, 7\n.balign 4\n").image == b"\1\7\7\7"
    assert assemble(".data\n.byte 1\n.p2align 4, 0, 3\n.byte 2").image == b"\1\2"


def test_sections_in_order_and_bss_without_bytes() -> None:
    program = assemble(
        ".bss\nb: .space 100\n.data\nd: .word 2\n.section .rodata\nr: .word 1\n.text\nt: nop\n"
    )
    kinds = {s.name: (s.flags, s.nobits) for s in program.sections}
    assert kinds == {
        ".text": ("rx", False), ".rodata": ("r", False), ".data": ("rw", False),
        ".bss": ("rw", True),
    }  # fmt: skip
    s = program.symbols
    assert s["t"] == BASE and s["r"] == BASE + 16 and s["d"] == BASE + DATA_ALIGNMENT
    assert s["b"] == s["d"] + 16 and program.memory_size == s["b"] + 100 - BASE
    assert len(program.image) == s["d"] + 4 - BASE


def test_entry_globals_and_lines() -> None:
    program = assemble("nop\n.globl _start\n_start:\n la a0, _start\n.equ N, 3\n", name="x.s")
    assert program.entry == BASE + 4
    assert program.global_symbols == {"_start"} and program.labels == {"_start"}
    assert program.symbols["N"] == 3
    assert program.lines == {BASE: 1, BASE + 4: 4, BASE + 8: 4}


def test_set_may_change_and_equates_may_look_ahead() -> None:
    assert words(".set n, 1\n.word n\nn = n + 1\n.word n\n.equ m, later\n.word m - later\nlater:") == [
        1, 2, 0,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3", 7), ("(1 + 2) * 3", 9), ("2 + 3 | 4", 9), ("1 << 4 + 1", 17),
        ("~5", -6), ("-7 / 2", -3), ("-7 % 4", -3), ("0b101", 5), ("017", 15), ("0x1F", 31),
        ("'a' + '\\n'", 107), ("3 == 3", -1), ("3 < 2", 0), ("1 && 2", 1), ("!0", 1), ("- -4", 4),
        ("1 - 2 - 3", -4), ("16 >> 2 >> 1", 2),
    ],
)  # fmt: skip
def test_expressions_as_gnu_as_computes_them(text: str, value: int) -> None:
    assert words(f".word {text}") == [value % (1 << 32)]


def test_branch_out_of_reach_becomes_the_opposite_over_a_jump() -> None:
    source = "beq a0, a1, far\nnop\n.space 5000\nfar: nop\n"
    first, second = words(source)[:2]
    assert first == 0x00B51463  # bne a0, a1, .+8
    assert words("j .+5008")[0] == second
    assert words("beqz a0, near\n.space 4088\nnear:")[0] & 0x7F == 0x63
    assert len(assemble("near: .space 4096\nbeqz a0, near\n").image) == 4100
    assert len(assemble("near: .space 4098\nbeqz a0, near\n").image) == 4106


def test_relaxed_compressed_branches_run_alike_whatever_their_size() -> None:
    for gap in (0, 200, 300, 3000, 5000):
        m = run(f".option rvc\nli a0, 0\nbeqz a0, over\n.space {gap}\nover: j end\n li a0, 1\nend:")
        assert m.hart.x[10] == 0


@pytest.mark.parametrize(
    ("source", "message", "why"),
    [
        ("nop\nfrobnicate a0", "<source>:2: there is no instruction 'frobnicate'", ""),
        ("addi a0, a1", "<source>:1: these operands do not go with 'addi'", "rd, rs1, imm"),
        ("addi a0, a1, 2048", "2048 does not fit addi: -2048 to 2047", ""),
        ("slli a0, a1, 64", "64 does not fit slli: 0 to 63", ""),
        ("c.lw a0, 2(a1)", "a multiple of 4", ""),
        ("c.lw t6, 4(a1)", "rd of c.lw is one of x8 to x15", ""),
        ("c.addi4spn a0, sp, 0", "reserved", ""),
        ("csrwi mie, 32", "32 does not fit csrrwi: 0 to 31", ""),
        ("csrr a0, 4096", "not below 0x1000", ""),
        ("lui a0, 0x100000", "20 upper bits", ""),
        ("lui a0, %hi(0x80000000)", "out of reach", ""),
        ("j nowhere", "'nowhere' is not defined", ""),
        ("j 1f", "'1f' is not defined", ""),
        ("j 1b", "no label '1:' before", ""),
        ("a: nop\na: nop", "<source>:2: 'a' is defined twice", ""),
        (".word 1 / 0", "division by zero", ""),
        (".byte 256", "0x100 does not fit 8 bits", ""),
        (".word (1", "a ')' is missing", ""),
        (".word 1 +", "an expression is missing", ""),
        (".word 089", "starts with 0 but is not octal", ""),
        (".word %foo(1)", "unknown modifier", ""),
        (".word 1 << 1000", "shift by 1000", ""),
        (".word " + "(" * 300, "levels of nesting", ""),
        (".word " + "1+" * 1000 + "1", "operators", ""),
        (".word " + "9" * 5000, "is not a number", ""),
        ('.ascii "abc', "a string is never closed", ""),
        ("nop /* x", "a comment is never closed", ""),
        (".ascii abc", "double quotes", ""),
        (".frob 1", "there is no directive '.frob'", ""),
        (".space -1", "a size of -1", ""),
        (".space 1 << 40", "a size of", ""),
        (".fill 1 << 30, 8", "a size of", ""),
        (".align 60", "power of two", ""),
        (".balign 3", "power of two", ""),
        (".org 0\nnop\n.org 0", "cannot move by -4", ""),
        (".bss\n.word 1", "holds only zeros", ""),
        (".option pop", "without .option push", ""),
        (".option frob", "no option 'frob'", ""),
        (".set 1, 2", "cannot name a symbol", ""),
        ("a: .space a_end - a + 1\na_end:", "never settles", ""),
        ("addi a0, a0, %pcrel_lo(x)\nx:", "%pcrel_lo wants", ""),
        ("beq a0, a1, x\n.space 1 << 21\nx:", "does not fit jal", ""),
        ("c.beqz a0, x\n.space 300\nx:", "does not fit c.beqz", ""),
        ("add a0,,a1", "do not go with 'add'", ""),
        ("amoadd.w a0, a1, 4(a2)", "without an offset", ""),
        ("c.ldsp a0, 8(a1)", "addresses by sp only", ""),
        (".section .x, ax", "double quotes", ""),
        (".popsection", "without .pushsection", ""),
    ],
)
def test_errors_name_the_line_and_the_reason(source: str, message: str, why: str) -> None:
    with pytest.raises(AssemblyError) as caught:
        assemble(source)
    assert message in caught.value.what and why in caught.value.why
    assert isinstance(caught.value, UsageError)


def test_an_unknown_name_brings_suggestions_and_several_errors_are_listed() -> None:
    with pytest.raises(AssemblyError) as caught:
        assemble("adddi a0, a0, 1", name="prog.s")
    assert "addi" in caught.value.fix and caught.value.line == 1
    assert caught.value.what.startswith("prog.s:1: ")
    with pytest.raises(AssemblyError) as caught:
        assemble("nop\nj x\nli a0, y\naddi a0, a0, 5000\n")
    assert caught.value.line == 2
    assert "line 3: 'y' is not defined" in caught.value.why and "line 4: 5000" in caught.value.why


def test_extensions_limit_the_instructions() -> None:
    with pytest.raises(AssemblyError, match="there is no instruction 'mul'"):
        assemble("mul a0, a0, a0", extensions=[I])
    assert len(words("zext.h a0, a1", extensions=[I])) == 2
    assert len(words("zext.h a0, a1")) == 1


def test_random_text_never_ends_in_anything_but_an_assembly_error() -> None:
    rng = random.Random(3)
    text = (
        "addi a0 , ( ) 1 0x 'a \" .word .set .org .align .section li la beqz 1: x: 1b x % %hi + - ~ ; "
        "# // /* .space .fill c.lw 4(a1) \\ .ascii = lw fence rw é \x00 .macro"
    )
    pieces = text.split(" ")
    for _ in range(1500):
        text = "".join(rng.choice(pieces) + rng.choice(" \n,") for _ in range(rng.randrange(1, 12)))
        try:
            assemble(text)
        except AssemblyError as error:
            assert error.what


def test_elf_image_runs_under_a_peer(tmp_path: Path) -> None:
    program = assemble(
        """
        .globl _start
        _start: la a1, text
                ld a2, length
                li a0, 1
                li a7, 64
                ecall
                la t0, counter
                ld a0, (t0)
                addi a0, a0, 42
                sd a0, (t0)
                li a7, 93
                ecall
        .rodata
        text:   .ascii "hello\\n"
        text_end:
        .data
        length: .dword text_end - text
        .comm counter, 8, 8
        """,
        base=0x10000,
    )
    image = elf_image(program)
    assert image[:4] == b"\x7fELF" and program.image in image
    qemu = shutil.which("qemu-riscv64")
    if qemu is None:
        pytest.skip("qemu-riscv64 is not installed: the ELF file was made but not run")
    path = tmp_path / "hello"
    path.write_bytes(image)
    path.chmod(0o755)
    done = subprocess.run([qemu, path], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (42, b"hello\n")
