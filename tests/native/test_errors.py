"""What kernel Python is not: a `CompileError` that names the file, the line and the source text."""

from __future__ import annotations

import pytest

from innkeeper.base.errors import CompileError
from tests.native.lab import HEAD_LINES, compile_text

CASES = {
    "mixed types": ("    return u64(a) + b", "convert it", "u64(a) + b"),
    "mixed compare": ("    return a if a == b else a", "convert it", "a == b"),
    "wrong result": ("    return b", "convert it", "return b"),
    "condition": ("    if a:\n        pass\n    return a", "must be a bool", "a"),
    "while condition": ("    while a:\n        pass\n    return a", "must be a bool", "a"),
    "signed division": ("    return u32(i32(a) // 3)", "use sdiv", "i32(a) // 3"),
    "true division": ("    return a / a", "not defined", "a / a"),
    "power": ("    return a ** a", "not defined", "a ** a"),
    "unknown name": ("    return nope", "not defined here", "nope"),
    "unknown call": ("    return min(a, a)", "not defined here", "min"),
    "literal shift": ("    return u32(1 << a)", "left side of a shift", "1 << a"),
    "untyped literal": ("    x = 5\n    return a", "give 'x' a type", "x = 5"),
    "local changes type": ("    x = a\n    x = b\n    return a", "convert it", "x = b"),
    "string": ("    x = 'text'\n    return a", "not a value", "'text'"),
    "none": ("    x = None\n    return a", "not a value", "None"),
    "float literal": ("    x = 1.5\n    return a", "bits_f64", "1.5"),
    "list": ("    x = [a]\n    return a", "not kernel Python", "[a]"),
    "dict": ("    x = {}\n    return a", "not kernel Python", "{}"),
    "comprehension": ("    x = [n for n in range(a)]\n    return a", "not kernel Python", "[n for"),
    "lambda": ("    f = lambda: a\n    return a", "not kernel Python", "lambda: a"),
    "walrus": ("    return (x := a)", "not kernel Python", "x := a"),
    "nested function": ("    def g() -> None:\n        pass\n    return a", "not kernel", "def g"),
    "with": ("    with a:\n        pass\n    return a", "not kernel Python", "with a:"),
    "del": ("    del a\n    return b", "not kernel Python", "del a"),
    "global": ("    global q\n    return a", "not kernel Python", "global q"),
    "assert": ("    assert a == a\n    return a", "not kernel Python", "assert a"),
    "while-else": ("    while a == 1:\n        pass\n    else:\n        pass\n    return a",
                   "while-else", "while a == 1:"),
    "for over a name": ("    for x in a:\n        pass\n    return a", "range(...)", "for x in a:"),
    "keyword": ("    return g(a=a)", "keyword", "g(a=a)"),
    "argument count": ("    return g(a, a)", "takes 1", "g(a, a)"),
    "argument type": ("    return g(b)", "convert it", "b"),
    "not a field": ("    return s.nope", "no field", "s.nope"),
    "not a struct": ("    return a.x", "no fields", "a.x"),
    "not an array": ("    return a[0]", "cannot be indexed", "a[0]"),
    "array as a value": ("    x = s.list\n    return a", "used by its elements", "s.list"),
    "store of another type": ("    s.x = b\n    return a", "convert it", "s.x"),
    "bool is no integer": ("    return a + (a == a)", "convert it", ""),
    "falls off": ("    a = a + 1", "end without a return", ""),
    "raise without a hart": ("    raise Trap(1, 2)", "hart as its first", ""),
    "raise something else": ("    raise ValueError", "raise Trap", "raise ValueError"),
    "except something": ("    try:\n        a = a\n    except Trap as t:\n        pass\n",
                         "try", "try:"),
    "two targets": ("    x = y = a\n    return a", "one target", "x = y = a"),
    "no effect": ("    a + 1\n    return a", "without effect", "a + 1"),
    "const argument": ("    return k(a, a)", "compile-time constant", "k(a, a)"),
    "starred": ("    return g(*s)", "", "*s"),
    "unary plus": ("    return +a", "not kernel Python", "+a"),
    "order of pointers": ("    return u32(p < p)", "no order", "p < p"),
    "tuple local": ("    x = (a, b)\n    return a", "tuple", "(a, b)"),
}  # fmt: skip

SOURCE = """
class S(Struct):
    x: u32
    list: Array[u8, 4]

def g(a: u32) -> u32:
    return a

def k(a: u32, n: Const) -> u32:
    return a + n

def f(a: u32, b: i32, s: S, p: Ptr[u8]) -> u32:
    "where line counting starts"
"""
FIRST = HEAD_LINES + SOURCE.count("\n") + 1


@pytest.mark.parametrize("name", list(CASES))
def test_refused(name: str) -> None:
    body, message, text = CASES[name]
    with pytest.raises(CompileError) as caught:
        compile_text(f"{SOURCE}{body}\n")
    assert message in str(caught.value)
    assert text in caught.value.why
    place = caught.value.what.split(": ")[0]
    file, _, line = place.rpartition(":")
    assert file.endswith(".py")
    if text and "\n" not in body:
        assert int(line) == FIRST, caught.value


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def f(a) -> u32:\n    return u32(1)\n", "has no type"),
        ("def f(a: u32):\n    return a\n", "result has no type"),
    ],
)
def test_annotations_are_required(source: str, message: str) -> None:
    with pytest.raises(CompileError, match=message):
        compile_text(source)


def test_the_line_within_a_long_function_is_named() -> None:
    lines = [f"    a = a + {n}" for n in range(30)]
    lines[17] = "    a = a + b"
    with pytest.raises(CompileError) as caught:
        compile_text(f"{SOURCE}" + "\n".join(lines) + "\n    return a\n")
    assert f":{FIRST + 17}:" in caught.value.what
    assert caught.value.why == "a + b"


def test_an_error_in_a_called_function_points_there() -> None:
    source = (
        "def g(a: u32) -> u32:\n    return a + u64(1)\n\ndef f(a: u32) -> u32:\n    return g(a)\n"
    )
    with pytest.raises(CompileError) as caught:
        compile_text(source)
    assert f":{HEAD_LINES + 2}:" in caught.value.what


def test_what_llvm_has_no_code_for_is_an_error() -> None:
    """A division of 128 bits would need a library: it is refused, not linked to nothing."""
    from tests.native.lab import Lab

    with pytest.raises(CompileError, match="which nothing defines"):
        Lab("def f(a: u64) -> u64:\n    return u64((u128(a) * u128(a)) // (u128(a) | 1))\n")
