"""Statements, calls, structs, pointers, constants, traps: CPython and compiled code agree."""

from __future__ import annotations

import ctypes
import struct
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innkeeper.native.types import Ptr, Struct, u32, u64
from tests.native.lab import Lab, Trap

quick = settings(derandomize=True, deadline=None, max_examples=40)
words = st.integers(0, 20) | st.integers(0, (1 << 64) - 1)

CONTROL = """
LIMIT = 1000

def collatz(n: u64) -> u64:
    steps = u64(0)
    n = n % LIMIT + 1
    while n != 1 and steps < 500:
        if n & 1 == 0:
            n = n >> 1
        elif n == 27:
            break
        else:
            n = n * 3 + 1
        steps += 1
    return steps

def skipping(n: u64) -> u64:
    total = u64(0)
    for i in range(n % 50):
        if i & 1 == 1:
            continue
        if i > 40:
            break
        for j in range(u64(3), i, 2):
            total += j * i
            if j == 9:
                break
    return total

def early(n: u64) -> u64:
    while True:
        if n > 100:
            return n
        if n == 50:
            break
        n += 1
    return u64(7)

def stepping(n: u32) -> u32:
    total = u32(0)
    for i in range(u32(2), n % 100, 7):
        total = total * 31 + u32(i)
    return total

def signed_range(n: u32) -> i32:
    total = i32(0)
    stop = i32(n % 10)
    for i in range(i32(-5), stop):
        total += i32(i) * 3
    return total

def logic(a: u64, b: u64) -> bool:
    return not (a < b and (b != 5 or a == 3)) or a == b == 7

def _boom(h: u64) -> bool:
    return 10 // h > 1

def short_circuit(a: u64) -> bool:
    return a != 0 and _boom(a | (u64(a == 0)))

def chosen(a: u64, b: u64) -> u64:
    big = a if a > b else b
    small = b if a > b else a
    return big * 3 + (small if small > 10 else (1 if big > 5 else small * 2))

def swapped(a: u64, b: u64) -> u64:
    a, b = b, a + b
    a, b = b, a
    return a * 5 + b

def _pair(a: u64, b: u32) -> tuple[u64, u32, bool]:
    if a == 0:
        return u64(9), b + 1, True
    return a * 2, b, a > 4

def tuples(a: u64, b: u32) -> u64:
    x, y, z = _pair(a, b)
    return x * 3 + u64(y) + (u64(100) if z else u64(0))

def typed_local(a: u64) -> u64:
    x: u64 = 5
    x = x + a
    return x

def _early_none(p: Ptr[u64], a: u64) -> None:
    \"\"\"A docstring is fine.\"\"\"
    if a == 3:
        return
    p[0] = a
    pass

def recursion(n: u64) -> u64:
    n = n % 20
    if n < 2:
        return n
    return recursion(n - 1) + recursion(n - 2)

def unrolled(a: u64) -> u64:
    total = u64(0)
    for n in (1, 5, 9):
        if n == 5:
            continue
        total = total * 10 + a * n
    return total
"""


@cache
def control() -> Lab:
    return Lab(CONTROL)


@quick
@given(a=words, b=words)
def test_control_flow(a: int, b: int) -> None:
    one = control()
    for name in ("collatz", "skipping", "early", "typed_local", "recursion", "unrolled"):
        one.both(name, a)
    for name in ("logic", "chosen", "swapped"):
        one.both(name, a, b)
    for name in ("stepping", "signed_range"):
        one.both(name, a % (1 << 32))
    one.both("short_circuit", a)
    one.both("tuples", a, b % (1 << 32))


STRUCTS = """
class Inner(Struct):
    low: u8
    wide: u64
    flag: bool
    half: u16

class Outer(Struct):
    a: u32
    inner: Inner
    list: Array[u16, 5]
    many: Array[Inner, 3]
    p: Ptr[u64]
    nxt: Ptr[Inner]
    single: f32
    double: f64
    signed: i8

def touch(o: Outer, n: u64) -> u64:
    o.a += u32(n)
    o.inner.low = u8(n)
    o.inner.flag = n > 5
    o.inner.wide ^= n << 7
    k = n % 5
    o.list[k] = u16(n)
    o.list[0] += 3
    item = o.many[n % 3]
    item.half = u16(n >> 3)
    item.wide = item.wide * 3 + 1
    o.many[1].low = o.inner.low + 1
    o.signed = i8(n)
    total = u64(0)
    for i in range(u32(3)):
        total += o.many[i].wide + u64(o.many[i].half)
    return total + u64(o.signed) + u64(o.inner.flag)

def through(o: Outer, n: u64) -> u64:
    p = o.p
    p[1] = p[0] + n
    (p + 2)[0] = n
    q = p + n % 3
    q[0] += 5
    o.nxt[1].wide = 77
    half = ptr_cast(Ptr[u16], p)
    half[13] = u16(n)
    byte = ptr_offset(o, u8, 4)
    byte[0] = u8(n)
    if is_null(o.p):
        return u64(0)
    return addr(q) - addr(p) + u64(ptr_cast(Outer, addr(o)).a)

def atomics(o: Outer, n: u64) -> u64:
    p = ref(o, "a")
    r = u64(atomic_rmw("add", p, u32(n)))
    r = r * 3 + u64(atomic_rmw("xor", p, u32(n >> 4)))
    r = r * 3 + u64(atomic_rmw("and", p, u32(n | 0xFF00FF)))
    r = r * 3 + u64(atomic_rmw("or", p, u32(n >> 9)))
    r = r * 3 + u64(atomic_rmw("min", p, u32(n >> 1)))
    r = r * 3 + u64(atomic_rmw("umax", p, u32(n >> 2)))
    r = r * 3 + u64(atomic_rmw("max", p, u32(n << 1)))
    r = r * 3 + u64(atomic_rmw("umin", p, u32(n << 3)))
    r = r * 3 + u64(atomic_rmw("xchg", p, u32(n + 1)))
    if cmpxchg(p, u32(n + 1), u32(5)):
        r += 1
    if cmpxchg(p, u32(6), u32(7)):
        r += 2
    atomic_store(p, u32(atomic_load(p) * 3))
    pause()
    fence("acq_rel")
    fence("seq_cst")
    return r * 3 + u64(atomic_load(p))

def same(o: Outer, n: u64) -> bool:
    return o.p == o.p + n

def floats(o: Outer, n: u64) -> u64:
    o.double = bits_f64(n) * o.double + bits_f64(u64(0x3FF8 << 48))
    o.single = bits_f32(u32(n)) - o.single
    return f64_bits(o.double) ^ u64(f32_bits(o.single))
"""


@cache
def structs() -> Lab:
    return Lab(STRUCTS)


def outer(seed: int) -> tuple[Any, Any, list[Any]]:
    """Return a filled struct, and what it points to."""
    one = structs()
    o = one.Outer()
    size = ctypes.sizeof(one.Outer.CTYPE)
    pattern = bytes((seed * 7 + n * 13) & 0xFF for n in range(size))
    ctypes.memmove(o.address, pattern, size)
    o.inner.flag = bool(seed & 1)
    for n in range(3):
        o.many[n].flag = False
    o.single, o.double = 1.5, 2.25
    target = (ctypes.c_uint64 * 16)(*range(seed, seed + 16))
    inner = (one.Inner.CTYPE * 2)()
    o.p, o.nxt = Ptr[u64](ctypes.addressof(target)), ctypes.addressof(inner)
    return o, target, [bytes(target), bytes(inner), inner]


def image(o: Any, target: Any, kept: list[Any]) -> list[bytes]:
    raw = bytes(o.raw)
    at = type(o).FIELDS["p"][1]
    return [raw[:at], raw[at + 16 :], bytes(target), bytes(kept[2])]


@pytest.mark.parametrize("name", ["touch", "through", "atomics", "same"])
@quick
@given(n=words, seed=st.integers(0, 255))
def test_structs_and_pointers(name: str, n: int, seed: int) -> None:
    one, found = structs(), []
    for call in (one.python, one.native):
        o, target, kept = outer(seed)
        result = call(name, o, n)
        found.append((result, *image(o, target, kept)))
    assert found[0] == found[1]


@quick
@given(n=st.integers(0, (1 << 64) - 1))
def test_floats(n: int) -> None:
    value = struct.unpack("<d", n.to_bytes(8, "little"))[0]
    single = struct.unpack("<f", (n & 0xFFFFFFFF).to_bytes(4, "little"))[0]
    if value != value or single != single:
        return  # NaN payloads are the guest's business: softfloat has its own tests
    one, found = structs(), []
    for call in (one.python, one.native):
        o, target, kept = outer(3)
        found.append((call("floats", o, n), *image(o, target, kept)))
    assert found[0] == found[1]


def test_layout_is_shared() -> None:
    """The ctypes view, the CPython view and compiled code see one memory."""
    o, _, _ = outer(0)
    structs().native("touch", o, 1)
    assert o.raw.a == int(o.a)
    o.raw.a = 99
    assert int(o.a) == 99
    with pytest.raises(IndexError):
        o.list[5]


CONSTS = """
def _power(x: u64, n: Const) -> u64:
    if n == 0:
        return u64(1)
    return x * _power(x, n - 1)

def cube(x: u64) -> u64:
    return _power(x, 3)

def _narrow(x: u64, T: Const) -> u64:
    if T is u64:
        return x
    elif T.BITS == 8 and T.SIGNED:
        return u64(T(x)) + 1000
    return u64(T(x))

def widths(x: u64) -> u64:
    return _narrow(x, u8) + _narrow(x, i8) * 3 + _narrow(x, u16) * 5 + _narrow(x, u64)

def _never(x: u64, on: Const) -> u64:
    if on:
        return undefined_name + x
    return x + 1

def dead_branch(x: u64) -> u64:
    return _never(x, False)

SQUARES = const_array(u16, [n * n for n in range(16)])
SIGNED = const_array(i8, [-1, -128, 127])

def table(x: u64) -> u64:
    return u64(SQUARES[x & 15]) + u64(SIGNED[x % 3]) + len(SQUARES)

@inline
def _small(x: u64) -> u64:
    return x + 1

@noinline
def _large(x: u64) -> u64:
    return x * 3

def called(x: u64) -> u64:
    return _small(_large(_small(x)))
"""


@quick
@given(x=words)
def test_constants_and_specialisation(x: int) -> None:
    for name in ("cube", "widths", "dead_branch", "table", "called"):
        consts().both(name, x)


@cache
def consts() -> Lab:
    return Lab(CONSTS)


TRAPS = """
class Hart(Struct):
    trap_pending: u32
    trap_cause: u64
    trap_tval: u64
    x: u64
    log: u64

def _check(h: Hart, v: u64) -> u64:
    h.log = h.log * 10 + 1
    if v > 100:
        raise Trap(5, v)
    if v == 50:
        raise Trap(v, v + 1)
    return v + 1

def _pair(h: Hart, v: u64) -> tuple[u64, bool]:
    return _check(h, v), True

def _nothing(h: Hart, v: u64) -> None:
    h.x = _check(h, v) + _check(h, v + 1)

@inline
def _inlined(h: Hart, v: u64) -> u64:
    return _check(h, v) * 2

def run(h: Hart, v: u64) -> u64:
    a, ok = _pair(h, v)
    _nothing(h, a)
    h.log = h.log * 10 + 2
    if ok and _inlined(h, a) > 60:
        h.x += _check(h, a * 3)
    return a + h.x

def guarded(h: Hart, v: u64) -> u64:
    result = u64(7)
    try:
        result = _check(h, v)
        _nothing(h, result)
    except Trap:
        h.log = h.log * 10 + 3
        result = result + 1000
    return result

def nested(h: Hart, v: u64) -> u64:
    r = u64(0)
    try:
        try:
            r = _check(h, v)
        except Trap:
            r = _check(h, v // 2)
        h.log = h.log * 10 + 4
    except Trap:
        r = r + 5
    return r

def in_loop(h: Hart, v: u64) -> u64:
    r = u64(0)
    for i in range(u64(5)):
        try:
            if i == 3:
                continue
            r += _check(h, v + i)
        except Trap:
            h.log += 1
            if i == 4:
                break
    return r

def directly(h: Hart, v: u64) -> u64:
    try:
        if v & 1 == 1:
            raise Trap(3, v)
        h.log = u64(1)
    except Trap:
        return u64(99)
    raise Trap(4, v)
"""


@cache
def traps() -> Lab:
    return Lab(TRAPS)


@pytest.mark.parametrize("name", ["run", "guarded", "nested", "in_loop", "directly"])
@quick
@given(v=st.integers(0, 120) | st.sampled_from([200, 250, (1 << 64) - 1]))
def test_traps(name: str, v: int) -> None:
    one = traps()
    h = one.Hart()
    try:
        expected: Any = one.python(name, h, v)
    except Trap as trap:
        expected = (trap.cause, trap.tval)
    left = (int(h.x), int(h.log))
    g = one.Hart()
    got: Any = one.native(name, g, v)
    if g.raw.trap_pending:
        got = (g.raw.trap_cause, g.raw.trap_tval)
    assert (got, (int(g.x), int(g.log))) == (expected, left)


def test_calling_the_host() -> None:
    """A `Fn` field is called with the C convention, in both worlds."""
    one = Lab(
        """
class Table(Struct):
    call: Fn[u64, u64, u32]
    note: Fn[None, u64]

def use(t: Table, v: u64) -> u64:
    t.note(v + 1)
    return t.call(v, u32(3)) * 2
"""
    )
    seen: list[int] = []
    fields = one.Table.FIELDS
    call = fields["call"][0].prototype()(lambda a, b: a + b)
    note = fields["note"][0].prototype()(seen.append)
    t = one.Table(
        call=ctypes.cast(call, ctypes.c_void_p).value, note=ctypes.cast(note, ctypes.c_void_p).value
    )
    assert one.python("use", t, 5) == one.native("use", t, 5) == 16
    assert seen == [6, 6]


def test_struct_inheritance_and_views() -> None:
    class Base(Struct):
        a: u32

    class Derived(Base):
        b: u64

    d = Derived(a=1, b=2)
    assert Base.at(d.address).a == 1
    assert Derived.FIELDS["b"][1] == 8 and d.address % 64 == 0
    assert Ptr[u32] is Ptr[u32]
