"""Vector instructions on whole registers: short forms against the reference, and when they apply."""

from __future__ import annotations

import ctypes
import random
import subprocess
import sys
from typing import Any

import pytest

from innkeeper.engine.emulator import hostcrypto
from innkeeper.engine.emulator.module import engine_module
from innkeeper.engine.emulator.regions.shapes import COUNT_SHIFT, UNKNOWN, shape_after
from innkeeper.isa.riscv import zvkned, zvknh
from innkeeper.isa.riscv.v_whole import BLOCK_BITS, LANES, block, choose, lanes, set_block
from innkeeper.isa.riscv.vector import VECTOR
from innkeeper.native.codegen import compile_ir, host_features
from innkeeper.native.loaded import LoadedCode
from innkeeper.native.types import Ptr, PtrValue, u8, u16, u32, u64, u128
from tests.engine.harness import RAM_BASE, check, program, with_regions
from tests.engine.paging import AD, PAGE, R, W
from tests.engine.spaces import DATA, VA, Space
from tests.engine.vector_program import DIRTY

WINDOW = RAM_BASE + 0x1_0000
"""The programs' data: two pages and what lies around the boundary between them."""

VV = [
    "vadd",
    "vsub",
    "vand",
    "vor",
    "vxor",
    "vsll",
    "vsrl",
    "vsra",
    "vminu",
    "vmin",
    "vmaxu",
    "vmax",
    "vmul",
    "vandn",
    "vrol",
    "vror",
]
VX = [*VV, "vrsub"]
VI = ["vadd", "vrsub", "vand", "vor", "vxor", "vsll", "vsrl", "vsra", "vror"]
ONE = ["vrev8.v", "vbrev8.v", "vmv.v.v"]
KINDS = {8: u8, 16: u16, 32: u32, 64: u64}


def on(raw: Any) -> None:
    rng = random.Random(4)
    raw.mstatus = DIRTY
    for n in range(64):
        raw.v[n] = rng.choice((rng.getrandbits(64), 0x8000000080000000, (1 << 64) - 1, 0))


def instruction(rng: random.Random, width: int, lmul: int) -> list[str]:
    """Return a vector instruction, most often on aligned registers other than v0."""

    def register() -> str:
        if rng.random() < 0.03:
            return f"v{rng.randrange(32 // lmul) * lmul}"
        return f"v{rng.randrange(1, 32 // lmul) * lmul}"

    d, a, b = register(), register(), register()
    scalar = f"a{rng.randrange(2, 6)}"
    match rng.randrange(9):
        case 0 | 1:
            return [f"{rng.choice(VV)}.vv {d}, {a}, {b}"]
        case 2:
            return [f"{rng.choice(VX)}.vx {d}, {a}, {scalar}"]
        case 3:
            return [f"{rng.choice(VI)}.vi {d}, {a}, {rng.randrange(16)}"]
        case 4:
            return [f"{rng.choice(ONE)} {d}, {a}", f"vmv.v.x {b}, {scalar}", f"vmv.v.i {d}, -3"][
                : rng.randrange(1, 4)
            ]
        case 5:
            form = rng.choice((f"vvm {d}, {a}, {b}", f"vxm {d}, {a}, {scalar}", f"vim {d}, {a}, 7"))
            return [f"vmerge.{form}, v0"] if "v0" not in (d, a, b) else [f"vmv{lmul}r.v {d}, {a}"]
        case 6 | 7:
            size = width if rng.random() < 0.8 else rng.choice((8, 16, 32, 64))
            at = rng.choice(
                (0, 64, 4096 - 16 * lmul, 4096 - 8, 4088 - 16 * lmul, rng.randrange(64))
            )
            op = rng.choice(
                (f"vle{width}.v", f"vse{width}.v", f"vl{lmul}re{size}.v", f"vs{lmul}r.v")
            )
            return [f"li a0, {WINDOW + at:#x}", f"{op} {d}, (a0)"]
        case _:
            return (
                [f"vadd.vv {d}, {a}, {b}, v0.t"] if d != "v0" else [f"addi {scalar}, {scalar}, 9"]
            )


@pytest.mark.parametrize("seed", range(24))
def test_random_whole_registers(seed: int) -> None:
    """The reference knows long forms only; tier 0 and regions take both."""
    rng = random.Random(seed)
    width, lmul = 8 << seed % 4, 1 << seed // 4 % 4
    lines = [f"li a{n}, {rng.getrandbits(64):#x}" for n in range(2, 6)]
    lines += ["li s0, 3", f"vsetvli a1, zero, e{width}, m{lmul}, ta, ma", "again:"]
    for n in range(60):
        lines += instruction(rng, width, lmul)
        if n % 20 == 19:
            lines.append(rng.choice((
                f"vsetivli a1, {rng.randrange(20)}, e{width}, m{lmul}, ta, ma",
                f"vsetvli zero, zero, e{width}, m{lmul}, ta, ma",
                f"vsetvli a1, zero, e{width}, m{lmul}, ta, ma",
            )))  # fmt: skip
    lines += [f"vsetvli a1, zero, e{width}, m{lmul}, ta, ma", "addi s0, s0, -1", "bnez s0, again"]
    source = "    la t0, handler\n    csrw mtvec, t0\n" + "\n".join(lines) + HANDLER
    check(source, on)
    if lmul == 1:
        assert with_regions().regions_installed > 0


HANDLER = """
    j done
.align 2
handler:
    csrr t1, mcause
    add t2, t2, t1
    csrr t1, mepc
    addi t1, t1, 4
    csrw mepc, t1
    mret
done:
"""


@pytest.mark.parametrize(
    ("change", "undone"),
    [
        ("csrwi vstart, 2", "nop"),
        ("csrwi vstart, 2", "csrwi vstart, 0"),
        ("li t0, 0x600\n csrc mstatus, t0", "nop"),
        ("li t0, 0x600\n csrc mstatus, t0", "li t0, 0x400\n csrs mstatus, t0"),
        ("vsetivli zero, 3, e32, m1, ta, ma", "nop"),
        ("vsetvli zero, zero, e64, m2, ta, ma", "nop"),
        ("vsetvli zero, s0, e32, m1, ta, ma", "nop"),
        ("li t0, -1\n vsetvl a0, zero, t0", "nop"),
        ("ecall", "nop"),
    ],
)
def test_what_ends_the_short_way(change: str, undone: str) -> None:
    """An instruction after any of these does what the state then asks for, or traps."""
    check(
        "    la t0, handler\n    csrw mtvec, t0\n    li s0, 1\n    li s1, 4\nagain:\n"
        "    vsetvli a1, zero, e32, m1, ta, ma\n    vadd.vv v2, v3, v4\n"
        f"    {change}\n    {undone}\n    vadd.vv v4, v2, v5\n    vsub.vv v5, v4, v3\n"
        f"    csrr a2, vstart\n    csrr a3, mstatus\n    addi s1, s1, -1\n    bnez s1, again{HANDLER}",
        on,
    )


@pytest.mark.parametrize("first", ["e32, m1", "e64, m2", "e8, m8", "e16, mf2"])
def test_regions_with_another_shape_than_they_were_made_for(first: str) -> None:
    """One place in turns with several shapes: a region is made for one, or for none."""
    calls = "\n".join(
        f"    vsetvli a0, zero, {kind}, ta, ma\n    jal work\n    jal work"
        for kind in (first, "e32, m1", "e64, m2", "e8, m8", "e32, m4", "e16, m1")
    )
    check(
        f"    li s0, 5\nagain:\n{calls}\n    vsetivli a0, 1, e32, m1, ta, ma\n    jal work\n"
        f"    addi s0, s0, -1\n    bnez s0, again\n    j done\nwork:\n    li s1, 4\nmore:\n"
        "    vadd.vv v8, v16, v24\n    vxor.vx v16, v8, s1\n    vmv.v.v v24, v16\n"
        "    vadd.vi v16, v24, 3, v0.t\n    vsll.vi v8, v16, 5\n    vmv.v.x v24, s1\n"
        "    addi s1, s1, -1\n    bnez s1, more\n    ret\ndone:",
        on,
    )
    assert with_regions().regions_installed > 0


def test_what_vset_makes_of_a_shape() -> None:
    def after(text: str) -> int:
        word = int.from_bytes(program(f"_start: {text}").image[:4], "little")
        made = with_regions().emulator.regions.compiler()
        one = made.decoded(0, word)
        assert one is not None
        return shape_after(one, 77)

    assert after("vsetvli a0, a1, e32, m1, ta, ma") == 3 | 1 << COUNT_SHIFT
    assert after("vsetvli a0, a1, e8, m8, ta, ma") == 1 | 8 << COUNT_SHIFT
    assert after("vsetivli zero, 4, e64, m2, ta, ma") == 4 | 2 << COUNT_SHIFT
    assert after("vsetivli zero, 3, e64, m2, ta, ma") == UNKNOWN
    assert after("vsetvli a0, a1, e32, mf2, ta, ma") == UNKNOWN
    assert after("vsetvl a0, a1, a2") == UNKNOWN
    assert after("vadd.vv v1, v2, v3") == 77


def test_what_is_masked_is_called_the_long_way() -> None:
    """It is never whole: a region that left it to tier 0 would always be left there."""
    for text, called in (("vadd.vv v1, v2, v3", False), ("vadd.vv v1, v2, v3, v0.t", True),
                         ("vrev8.v v4, v5, v0.t", True), ("vmerge.vvm v1, v2, v3, v0", False),
                         ("vle32.v v1, (a0), v0.t", True)):  # fmt: skip
        word = int.from_bytes(program(f"_start: {text}").image[:4], "little")
        one = with_regions().emulator.regions.compiler().decoded(0, word)
        assert one is not None and one.template is not None
        assert (one.template.calls_out, one.template.shaped) == (called, not called), text


def test_a_fault_leaves_vstart_and_the_long_way() -> None:
    """A load whose second half is nowhere traps in its middle and is taken up again from there."""
    end = RAM_BASE + with_regions().ram.size_bytes
    check(
        f"    la t0, handler\n    csrw mtvec, t0\n    li a0, {end - 8:#x}\n"
        "    vsetvli a1, zero, e32, m1, ta, ma\n    vle32.v v2, (a0)\n    csrr a2, vstart\n"
        f"    vadd.vv v3, v2, v2\n    vadd.vv v4, v2, v2\n    csrr a3, vstart{HANDLER}",
        on,
    )


def test_a_page_boundary_is_met() -> None:
    """What lies behind a page is where the next address leads, not what follows it in RAM."""
    space = Space(
        f"    li s1, 3\nagain:\n    li a0, {VA + PAGE - 8:#x}\n    li a1, {VA:#x}\n"
        "    ld a2, 0(a1)\n    ld a2, 8(a0)\n    vsetivli zero, 4, e32, m1, ta, ma\n"
        "    vle32.v v2, (a0)\n    addi a0, a0, -8\n    vle32.v v3, (a0)\n    vadd.vi v2, v2, 1\n"
        "    vse32.v v2, (a1)\n    addi a0, a0, 4\n    vse32.v v2, (a0)\n    vl2re8.v v4, (a0)\n"
        "    addi s1, s1, -1\n    bnez s1, again"
    )
    space.fields["mstatus"] |= DIRTY
    space.map(VA, DATA, R | W | AD)
    space.map(VA + PAGE, DATA + 2 * PAGE, R | W | AD)
    for page in range(3):
        space.put(DATA + page * PAGE, bytes([page + 1]) * PAGE)
    end = space.run()
    assert end.mcause == 9  # the ecall at the end
    assert end.u64(DATA + PAGE) == 0x0202020202020202
    assert end.u64(DATA + 2 * PAGE) & 0xFFFFFFFF != 0x03030303


@pytest.mark.parametrize("op", LANES, ids=lambda op: LANES[op])
@pytest.mark.parametrize("width", KINDS)
def test_lanes_do_what_element_functions_do(op: Any, width: int) -> None:
    rng = random.Random(width)
    kind, name = KINDS[width], LANES[op]
    signed = name in ("smin", "smax", "ashr")
    for _ in range(20):
        a, b = (rng.choice((rng.getrandbits(128), (1 << 128) - 1, 0)) for _ in range(2))
        got, want = int(lanes(name, kind, u128(a), u128(b))), 0
        for at in range(0, BLOCK_BITS, width):
            one, other = (v >> at & kind.MASK for v in (a, b))
            wide = [u64(v - (kind.MASK + 1) if signed and v >> (width - 1) else v)
                    for v in (one, other)]  # fmt: skip
            if name in ("bswap", "brev8"):
                result = op(u64(one), width)
            else:
                result = op(wide[0], u64(other) if name == "ashr" else wide[1], width)
            want |= (int(result) & kind.MASK) << at
        assert got == want, f"{a:#x} {b:#x}"


def test_choose() -> None:
    assert int(choose(u64, u64(2), u128(1), u128(5 << 64 | 7))) == 5 << 64 | 1


# ---- with and without the host's cryptography


def encrypt(state: Ptr[u8], key: Ptr[u8], _more: Ptr[u8]) -> None:
    set_block(state, u64(0), zvkned.middle_encryption(block(state, u64(0)), block(key, u64(0))))


def encrypt_last(state: Ptr[u8], key: Ptr[u8], _more: Ptr[u8]) -> None:
    set_block(state, u64(0), zvkned.final_encryption(block(state, u64(0)), block(key, u64(0))))


def decrypt(state: Ptr[u8], key: Ptr[u8], _more: Ptr[u8]) -> None:
    set_block(state, u64(0), zvkned.middle_decryption(block(state, u64(0)), block(key, u64(0))))


def decrypt_last(state: Ptr[u8], key: Ptr[u8], _more: Ptr[u8]) -> None:
    set_block(state, u64(0), zvkned.final_decryption(block(state, u64(0)), block(key, u64(0))))


def rounds(other: Ptr[u8], one: Ptr[u8], words: Ptr[u8]) -> None:
    zvknh.rounds_256(other, one, words)


def schedule(old: Ptr[u8], middle: Ptr[u8], recent: Ptr[u8]) -> None:
    zvknh.schedule_256(old, middle, recent)


@pytest.mark.parametrize("with_host", [True, False])
@pytest.mark.parametrize(
    ("feature", "function"),
    [("sha", rounds), ("sha", schedule), ("aes", encrypt), ("aes", encrypt_last),
     ("aes", decrypt), ("aes", decrypt_last)],
)  # fmt: skip
def test_cryptography_with_and_without_the_host(
    feature: str, function: Any, with_host: bool
) -> None:
    if with_host and not host_features().get(feature, False):
        pytest.skip(f"this processor does not have {feature}")
    module = engine_module()
    for name in () if with_host else hostcrypto.REPLACED:
        for replaced in hostcrypto.REPLACED[name]:
            module.replacements.pop(replaced, None)
    symbol = module.export(function)
    text = module.text()
    assert (f"@llvm.x86.{feature}" in text) == with_host
    pointer = ctypes.c_void_p
    code = LoadedCode(compile_ir(text))  # the memory lives as long as this
    call = code.function(symbol, None, pointer, pointer, pointer)
    rng = random.Random(feature)
    for _ in range(50):
        data = rng.randbytes(48)
        results = []
        for run in (call, None):
            memory = ctypes.create_string_buffer(data, 48)
            places = [ctypes.addressof(memory) + 16 * n for n in range(3)]
            if run is None:
                function(*(PtrValue(u8, place) for place in places))
            else:
                run(*places)
            results.append(memory.raw)
        assert results[0] == results[1] and results[0][16:] == data[16:]


def test_numbers_do_not_depend_on_the_order_of_imports() -> None:
    """Regions and tier 0 are compiled at different times and must agree on numbers."""
    seen = set()
    for first in ("profiles", "v_widen", "zvknh", "v_memory_table"):
        code = (f"import innkeeper.isa.riscv.{first}\n"
                "from innkeeper.isa.riscv.profiles import instructions\n"
                "print([i.name for i in instructions()])")  # fmt: skip
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        seen.add(run.stdout)
    assert len(seen) == 1 and all(e.name for e in VECTOR)
