"""The vector extension case by case, in tier 0 and the reference: what random programs may miss."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine.harness import DEVICE, RAM_BASE, State, check
from tests.engine.vector_program import DIRTY

EDGE = RAM_BASE + 0x10_0000
"""A page boundary: what lies beyond is taken away by PMP where a test says so."""

TRAPS = """
    la t0, handler
    csrw mtvec, t0
    j start
.align 2
handler:
    csrr s2, mcause
    csrr s3, mtval
    csrr s4, vstart
    csrr s5, vl
    j done
start:
"""

CLOSE = f"""
    li t0, {EDGE >> 2:#x}
    csrw pmpaddr0, t0
    li t0, {(EDGE + 4096) >> 2:#x}
    csrw pmpaddr1, t0
    li t0, -1
    csrw pmpaddr2, t0
    li t0, 0x1f880f
    csrw pmpcfg0, t0
    li a1, {EDGE:#x}
"""
"""PMP: the page at EDGE is locked away from everybody, M-mode included; the rest is open."""


def on(raw: Any) -> None:
    raw.mstatus, raw.fp_ready, raw.pmp_count = DIRTY, 1, 16
    for n in range(64):
        raw.v[n] = 0x0101010101010101 * n


def vector(end: State, number: int) -> bytes:
    low, high = (end.values[f"v{number}[{k}]"] for k in (0, 1))
    return (low | high << 64).to_bytes(16, "little")


@pytest.mark.parametrize(
    ("vtype", "avl", "vl"),
    [
        ("e8, m1, ta, ma", 100, 16), ("e8, m8, tu, mu", 100, 100), ("e8, m8, tu, mu", 200, 128),
        ("e64, m1, ta, ma", 3, 2), ("e64, m8, ta, ma", 16, 16), ("e8, mf8, ta, ma", 9, 2),
        ("e16, mf4, ta, ma", 9, 2), ("e32, mf2, ta, ma", 9, 2), ("e32, m2, ta, ma", 0, 0),
    ],
)  # fmt: skip
def test_vl_is_the_smaller_of_avl_and_vlmax(vtype: str, avl: int, vl: int) -> None:
    end = check(f"li a0, {avl}\n vsetvli a1, a0, {vtype}\n csrr a2, vtype\n done:", on)
    assert end.x(11) == vl == end.vl and end.x(12) >> 63 == 0


@pytest.mark.parametrize(
    "vtype", ["0x20", "0x27", "4", "e16, mf8, ta, ma", "e64, mf2, ta, ma", "0x100"]
)
def test_what_is_not_supported_sets_vill(vtype: str) -> None:
    end = check(f"li a0, 5\n vsetvli a1, a0, {vtype}\n csrr a2, vtype\n done:", on)
    assert (end.x(11), end.x(12), end.vl) == (0, 1 << 63, 0)


def test_vl_is_kept_where_vlmax_stays() -> None:
    end = check("""
        vsetivli a0, 3, e32, m1, ta, ma
        vsetvli zero, zero, e64, m2, tu, mu
        csrr a1, vl
        vsetvli a2, zero, e64, m2, ta, ma
        vsetvli zero, zero, e8, m1, ta, ma
        csrr a3, vtype
        done:""", on)  # fmt: skip
    assert (end.x(11), end.x(12), end.x(13)) == (3, 4, 1 << 63)


def test_vsetvl_restores_what_was_read() -> None:
    end = check("""
        vsetivli a0, 7, e16, m4, tu, ma
        csrr a1, vl
        csrr a2, vtype
        vsetivli a0, 1, e8, m1, ta, ma
        vsetvl a3, a1, a2
        done:""", on)  # fmt: skip
    assert (end.x(13), end.vl, end.vtype) == (7, 7, 0b10001010)


def test_a_load_stops_before_the_element_that_faults() -> None:
    end = check(f"""{TRAPS}{CLOSE}
        addi a0, a1, -40
        li t1, 0x5a5a5a5a5a5a5a5a
        sd t1, 0(a0)
        sd t1, 32(a0)
        vsetivli zero, 8, e64, m4, ta, ma
        vle64.v v4, (a0)
        done:""", on)  # fmt: skip
    assert (end.x(18), end.x(19), end.x(20), end.x(21)) == (5, EDGE, 5, 8)
    assert vector(end, 4)[:8] == vector(end, 6)[:8] == b"\x5a" * 8
    assert vector(end, 6)[8:] == b"\x0d" * 8 and vector(end, 7) == b"\x0e" * 8 + b"\x0f" * 8


def test_a_store_stops_before_the_element_that_faults_and_goes_on_from_there() -> None:
    end = check(f"""{TRAPS}{CLOSE}
        addi a0, a1, -6
        vsetivli zero, 8, e16, m1, ta, ma
        vse16.v v4, (a0)
        done:""", on)  # fmt: skip
    assert (end.x(18), end.x(19), end.x(20)) == (7, EDGE, 3)
    assert end.bytes_at(EDGE - 6, 8) == b"\x08" * 6 + bytes(2)
    end = check(f"""
        li a0, {EDGE - 6:#x}
        vsetivli zero, 8, e16, m1, ta, ma
        csrwi vstart, 3
        vse16.v v4, (a0)
        csrr a2, vstart
        done:""", on)  # fmt: skip
    assert end.bytes_at(EDGE - 6, 16) == bytes(6) + b"\x08" * 2 + b"\x09" * 8 and end.x(12) == 0


def test_fault_only_first_cuts_vl_and_faults_on_the_first() -> None:
    end = check(f"""{TRAPS}{CLOSE}
        addi a0, a1, -12
        vsetivli zero, 8, e32, m2, ta, ma
        vle32ff.v v4, (a0)
        csrr a2, vl
        csrr a3, vstart
        vsetivli zero, 8, e32, m2, ta, ma
        vle32ff.v v6, (a1)
        done:""", on)  # fmt: skip
    assert (end.x(12), end.x(13)) == (3, 0)
    assert (end.x(18), end.x(19), end.x(20), end.x(21)) == (5, EDGE, 0, 8)


def test_a_masked_element_does_not_fault() -> None:
    end = check(f"""{TRAPS}{CLOSE}
        addi a0, a1, -8
        vsetivli zero, 4, e32, m1, ta, mu
        vmv.v.i v0, 3
        vle32.v v4, (a0), v0.t
        vsse32.v v4, (a0), zero, v0.t
        li a4, 1
        done:""", on)  # fmt: skip
    assert end.x(14) == 1 and vector(end, 4) == bytes(8) + b"\x09" * 8


def test_segments_across_pages_and_misaligned() -> None:
    end = check(f"""
        li a0, {EDGE - 21:#x}
        vsetivli zero, 5, e32, m1, ta, ma
        vsseg3e32.v v4, (a0)
        vlseg3e32.v v8, (a0)
        done:""", on)  # fmt: skip
    assert vector(end, 8)[:16] == vector(end, 4) and vector(end, 10) == vector(end, 6)


def test_devices_are_reached_element_by_element() -> None:
    end = check(f"""
        li a0, {DEVICE + 16:#x}
        vsetivli zero, 3, e32, m1, ta, ma
        vse32.v v4, (a0)
        vle32.v v5, (a0)
        done:""", on)  # fmt: skip
    assert end.writes == [(DEVICE + 16 + 4 * n, 4, 0x08080808 + (n == 2) * 0x01010101)
                          for n in range(3)]  # fmt: skip


@pytest.mark.parametrize(
    "instruction",
    [
        "vadd.vv v1, v2, v4", "vadd.vv v2, v3, v4", "vadd.vv v0, v2, v4, v0.t",
        "vadd.vv v2, v0, v4, v0.t", "vwadd.vv v4, v4, v8", "vwadd.vv v4, v6, v9",
        "vnsrl.wi v6, v4, 1", "vrgather.vv v4, v4, v6", "vslideup.vi v4, v4, 1",
        "vmsbf.m v4, v4", "vcompress.vm v4, v6, v4", "vzext.vf8 v4, v6", "vlseg5e32.v v4, (a0)",
        "vlseg2e32.v v31, (a0)", "vle8.v v4, (a0), v0.t", "vl2re8.v v3, (a0)", "vmv4r.v v2, v8",
        "vwmaccu.vv v4, v6, v8", "vluxei64.v v4, (a0), v6",
    ],
)  # fmt: skip
def test_reserved_encodings_are_illegal(instruction: str) -> None:
    vtype = "e32, m2, ta, ma"
    if instruction.startswith("vle8"):
        instruction = instruction.replace("v4", "v0")
    if instruction.startswith("vlseg2"):
        vtype = "e32, m1, ta, ma"
    end = check(
        f"{TRAPS}\n vsetivli zero, 2, {vtype}\n li a0, {EDGE:#x}\n {instruction}\n done:", on
    )
    assert end.x(18) == 2 and end.x(20) == 0


@pytest.mark.parametrize("instruction", ["vredsum.vs v4, v5, v6", "vcpop.m a0, v4", "viota.m v4, v5",
                                         "vmsof.m v4, v5", "vcompress.vm v4, v5, v6"])  # fmt: skip
def test_what_cannot_be_resumed_refuses_vstart(instruction: str) -> None:
    source = (
        f"{TRAPS}\n vsetivli zero, 4, e32, m1, ta, ma\n csrwi vstart, 1\n {instruction}\n done:"
    )
    assert check(source, on).x(18) == 2


def test_arithmetic_goes_on_from_vstart() -> None:
    end = check("""
        vsetivli zero, 4, e32, m1, tu, mu
        csrwi vstart, 2
        vmv.v.i v4, -1
        csrr a0, vstart
        done:""", on)  # fmt: skip
    assert vector(end, 4) == b"\x08" * 8 + b"\xff" * 8 and end.x(10) == 0


@pytest.mark.parametrize(
    ("sew", "instruction", "value", "result", "flags"),
    [
        # The specification's own examples (30.13.9, 30.13.10).
        (32, "vfrsqrt7.v v4, v8", 0x00718ABC, 0x5F080000, 0),
        (32, "vfrsqrt7.v v4, v8", 0x7F765432, 0x1F820000, 0),
        (32, "vfrec7.v v4, v8", 0x00718ABC, 0x7E900000, 0),
        (32, "vfrec7.v v4, v8", 0x7F765432, 0x00214000, 0),
        (32, "vfrec7.v v4, v8", 0x00000001, 0x7F800000, 5),
        (32, "vfrsqrt7.v v4, v8", 0x80000000, 0xFF800000, 8),
        (16, "vfrec7.v v4, v8", 0x4000, 0x37F8, 0),
        (16, "vfadd.vv v4, v8, v8", 0x3C00, 0x4000, 0),
        (16, "vfmul.vv v4, v8, v8", 0x7BFF, 0x7C00, 5),
        (16, "vfsqrt.v v4, v8", 0x4400, 0x4000, 0),
        (16, "vfwcvt.f.f.v v4, v8", 0x3555, 0x3EAAA000, 0),
        (16, "vfncvt.f.f.w v4, v8", 0x3EAAAAAB, 0x3555, 1),
        (16, "vfncvt.rod.f.f.w v4, v8", 0x3F800001, 0x3C01, 1),
        (16, "vfncvt.rod.f.f.w v4, v8", 0x3F800000, 0x3C00, 0),
        (16, "vfncvt.rod.f.f.w v4, v8", 0x7F000000, 0x7BFF, 5),
        (32, "vfncvt.rod.f.f.w v4, v8", 0x0000000000000001, 0x00000001, 3),
        (32, "vfcvt.rtz.x.f.v v4, v8", 0xC0300000, 0xFFFFFFFE, 1),
        (32, "vfcvt.rtz.xu.f.v v4, v8", 0x40300000, 2, 1),
        (8, "vfwcvt.f.x.v v4, v8", 0xFE, 0xC000, 0),
        (8, "vfncvt.x.f.w v4, v8", 0x5C00, 0x7F, 16),
    ],
)  # fmt: skip
def test_floating_point_values(
    sew: int, instruction: str, value: int, result: int, flags: int
) -> None:
    def setup(raw: Any) -> None:
        on(raw)
        raw.v[16], raw.v[17] = value, 0

    end = check(f"vsetivli zero, 1, e{sew}, mf2, tu, mu\n {instruction}\n frflags a0\n done:"
                if sew < 64 else "done:", setup)  # fmt: skip
    name = instruction.split()[0]
    width = sew * 2 if name.startswith("vfw") else sew
    assert int.from_bytes(vector(end, 4)[: width // 8], "little") == result
    assert end.x(10) == flags


@pytest.mark.parametrize(("frm", "result"), [(0, 0x7F800000), (1, 0x7F7FFFFF), (2, 0x7F7FFFFF),
                                             (3, 0x7F800000), (4, 0x7F800000)])  # fmt: skip
def test_an_estimate_overflows_by_the_rounding_mode(frm: int, result: int) -> None:
    def setup(raw: Any) -> None:
        on(raw)
        raw.v[16], raw.v[17] = 1, 0

    end = check(f"fsrmi {frm}\n vsetivli zero, 1, e32, m1, tu, mu\n vfrec7.v v4, v8\n done:", setup)
    assert int.from_bytes(vector(end, 4)[:4], "little") == result


@pytest.mark.parametrize("how", ["fsrmi 5", "li t0, 0x6000\n csrc mstatus, t0"])
def test_floating_point_needs_a_mode_and_to_be_on(how: str) -> None:
    source = f"{TRAPS}\n vsetivli zero, 1, e32, m1, ta, ma\n {how}\n vfmv.v.f v4, ft0\n done:"
    assert check(source, on).x(18) == 2
