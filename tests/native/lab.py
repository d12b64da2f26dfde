"""Kernel Python from text: the same functions in CPython and compiled, called side by side."""

from __future__ import annotations

import atexit
import ctypes
import importlib.util
import itertools
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from innkeeper.native.codegen import compile_ir
from innkeeper.native.compiler import FunctionCompiler, Module
from innkeeper.native.loaded import LoadedCode
from innkeeper.native.types import PtrType, ctype_of, is_float, is_int, is_struct

HEAD = """\
from __future__ import annotations
from innkeeper.native.intrinsics import *
from innkeeper.native.types import *
from tests.native.lab import Trap

"""
HEAD_LINES = HEAD.count("\n")
_numbers = itertools.count()
_folder = tempfile.TemporaryDirectory(prefix="lab-")
atexit.register(_folder.cleanup)


class Trap(Exception):
    """What kernel Python raises; here it keeps what it was given."""

    def __init__(self, cause: int, tval: int) -> None:
        self.cause, self.tval = int(cause), int(tval)


def make_module(source: str) -> ModuleType:
    """Import source text as a module of its own, with a file that `inspect` can read."""
    name = f"lab_{next(_numbers)}"
    path = Path(_folder.name) / f"{name}.py"
    path.write_text(HEAD + source)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def compile_text(source: str, name: str = "f", consts: tuple[Any, ...] = ()) -> str:
    """Return the IR of one function; raises `CompileError`."""
    module = Module()
    module.export(getattr(make_module(source), name), consts=consts)
    return module.text()


def _ctype(kind: Any) -> Any:
    if kind is None:
        return None
    if is_struct(kind) or isinstance(kind, PtrType):
        return ctypes.c_uint64
    return ctypes.c_uint8 if kind is bool else ctype_of(kind)


class Lab:
    """All functions of some source text that have no `Const` parameter and whose name is public."""

    def __init__(
        self, source: str, *, function_compiler: type[FunctionCompiler] | None = None
    ) -> None:
        self.module = make_module(source)
        made = Module(function_compiler=function_compiler)
        self.signatures = {}
        for name, value in vars(self.module).items():
            own = getattr(value, "__module__", "") == self.module.__name__
            if own and callable(value) and not isinstance(value, type) and name[0] != "_":
                made.export(value, name)
                self.signatures[name] = made.signature(value)
        self.text = made.text()
        self.code = LoadedCode(compile_ir(self.text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)

    def python(self, name: str, *args: Any) -> Any:
        """Call a function in CPython, with arguments of the annotated types."""
        kinds = [k for _, k in self.signatures[name].params]
        typed = [self._typed(a, k) for a, k in zip(args, kinds, strict=True)]
        return self._plain(getattr(self.module, name)(*typed), self.signatures[name].result)

    def native(self, name: str, *args: Any) -> Any:
        """Call the same function compiled."""
        signature = self.signatures[name]
        call = self.code.function(
            name, _ctype(signature.result), *(_ctype(k) for _, k in signature.params)
        )
        raw = [a.address if hasattr(a, "address") else a for a in args]
        result = call(*raw)
        return bool(result & 1) if signature.result is bool else result

    def both(self, name: str, *args: Any) -> Any:
        """Call both, assert that they agree, return the result."""
        expected, got = self.python(name, *args), self.native(name, *args)
        assert got == expected or (got != got and expected != expected), (
            f"{name}{args}: CPython {expected!r}, compiled {got!r}"
        )
        return expected

    @staticmethod
    def _typed(value: Any, kind: Any) -> Any:
        plain = is_int(kind) or is_float(kind) or kind is bool
        return kind(value) if plain else value

    @staticmethod
    def _plain(value: Any, kind: Any) -> Any:
        if is_int(kind):
            return int(kind(value))
        return float(value) if is_float(kind) else value
