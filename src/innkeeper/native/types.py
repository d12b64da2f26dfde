"""The value types of kernel Python, as plain CPython objects.

Kernel Python is the typed subset of Python that `native.compiler` turns into machine code. The same
source also runs in CPython, and these classes make both runs agree: an integer has a width and a
sign, wraps around, and refuses to be mixed with another kind. `docs/kernel-python.md` has the
rules.
"""

from __future__ import annotations

import ctypes
import struct as _struct
import sys
from typing import Any, ClassVar


class Int(int):
    """A fixed-width integer: arithmetic wraps, shift counts are taken modulo the width.

    Both operands of an operator must be of one type; a plain `int` literal adapts to the other
    operand. Converting (`u32(x)`) takes the mathematical value modulo 2**BITS.
    """

    BITS: ClassVar[int] = 0
    SIGNED: ClassVar[bool] = False
    MASK: ClassVar[int] = 0
    CTYPE: ClassVar[Any] = None
    __slots__ = ()

    def __new__(cls, value: int = 0) -> Int:
        if isinstance(value, float):
            raise TypeError(f"{cls.__name__}(float): use a conversion function")
        bits = int(value) & cls.MASK
        if cls.SIGNED and bits >> (cls.BITS - 1):
            bits -= 1 << cls.BITS
        return int.__new__(cls, bits)

    def _peer(self, other: Any) -> int:
        if type(other) is type(self) or type(other) is int:
            return int(other)
        if isinstance(other, int) and not isinstance(other, (Int, bool)):
            return int(other)  # IntEnum and IntFlag constants count as literals
        raise TypeError(f"{type(self).__name__} with {type(other).__name__}: convert one of them")

    def __add__(self, other: Any) -> Any:
        return type(self)(int(self) + self._peer(other))

    def __radd__(self, other: Any) -> Any:
        return type(self)(self._peer(other) + int(self))

    def __sub__(self, other: Any) -> Any:
        return type(self)(int(self) - self._peer(other))

    def __rsub__(self, other: Any) -> Any:
        return type(self)(self._peer(other) - int(self))

    def __mul__(self, other: Any) -> Any:
        return type(self)(int(self) * self._peer(other))

    def __rmul__(self, other: Any) -> Any:
        return type(self)(self._peer(other) * int(self))

    def __floordiv__(self, other: Any) -> Any:
        if self.SIGNED:
            raise TypeError("// on signed integers rounds differently in hardware: use sdiv")
        return type(self)(int(self) // self._literal(other))

    def __mod__(self, other: Any) -> Any:
        if self.SIGNED:
            raise TypeError("% on signed integers rounds differently in hardware: use srem")
        return type(self)(int(self) % self._literal(other))

    def __rfloordiv__(self, other: Any) -> Any:
        if self.SIGNED:
            raise TypeError("// on signed integers rounds differently in hardware: use sdiv")
        return type(self)(self._literal(other) // int(self))

    def __rmod__(self, other: Any) -> Any:
        if self.SIGNED:
            raise TypeError("% on signed integers rounds differently in hardware: use srem")
        return type(self)(self._literal(other) % int(self))

    def __and__(self, other: Any) -> Any:
        return type(self)(int(self) & self._peer(other))

    def __rand__(self, other: Any) -> Any:
        return type(self)(self._peer(other) & int(self))

    def __or__(self, other: Any) -> Any:
        return type(self)(int(self) | self._peer(other))

    def __ror__(self, other: Any) -> Any:
        return type(self)(self._peer(other) | int(self))

    def __xor__(self, other: Any) -> Any:
        return type(self)(int(self) ^ self._peer(other))

    def __rxor__(self, other: Any) -> Any:
        return type(self)(self._peer(other) ^ int(self))

    def __lshift__(self, count: Any) -> Any:
        return type(self)(int(self) << (int(count) & (self.BITS - 1)))

    def __rshift__(self, count: Any) -> Any:
        return type(self)(int(self) >> (int(count) & (self.BITS - 1)))

    def __rlshift__(self, other: Any) -> Any:
        raise TypeError("a literal cannot be shifted by a typed count: give it a type")

    __rrshift__ = __rlshift__

    def __neg__(self) -> Any:
        return type(self)(-int(self))

    def __invert__(self) -> Any:
        return type(self)(~int(self))

    def __pos__(self) -> Any:
        raise TypeError("unary + is not kernel Python")

    __truediv__ = __rtruediv__ = __pow__ = __rpow__ = __divmod__ = None  # type: ignore[assignment]
    __abs__ = None

    def __eq__(self, other: object) -> bool:
        return int(self) == self._literal(other)

    def __ne__(self, other: object) -> bool:
        return int(self) != self._literal(other)

    def __lt__(self, other: Any) -> bool:
        return int(self) < self._literal(other)

    def __le__(self, other: Any) -> bool:
        return int(self) <= self._literal(other)

    def __gt__(self, other: Any) -> bool:
        return int(self) > self._literal(other)

    def __ge__(self, other: Any) -> bool:
        return int(self) >= self._literal(other)

    def _literal(self, other: Any) -> int:
        """Wrap a literal to this type before comparing, as the compiled comparison does."""
        peer = self._peer(other)
        return peer if type(other) is type(self) else int(type(self)(peer))

    def __hash__(self) -> int:
        return int.__hash__(self)

    def __bool__(self) -> bool:
        raise TypeError("an integer is not a condition: compare it (x != 0)")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({int(self):#x})"


def _int_type(name: str, bits: int, ctype: Any) -> Any:
    return type(
        name,
        (Int,),
        {
            "BITS": bits,
            "SIGNED": name[0] == "i",
            "MASK": (1 << bits) - 1,
            "CTYPE": ctype,
            "__slots__": (),
            "__module__": __name__,
        },
    )


u8: Any = _int_type("u8", 8, ctypes.c_uint8)
u16: Any = _int_type("u16", 16, ctypes.c_uint16)
u32: Any = _int_type("u32", 32, ctypes.c_uint32)
u64: Any = _int_type("u64", 64, ctypes.c_uint64)
u128: Any = _int_type("u128", 128, None)
i8: Any = _int_type("i8", 8, ctypes.c_int8)
i16: Any = _int_type("i16", 16, ctypes.c_int16)
i32: Any = _int_type("i32", 32, ctypes.c_int32)
i64: Any = _int_type("i64", 64, ctypes.c_int64)
i128: Any = _int_type("i128", 128, None)


class Float(float):
    """An IEEE 754 binary float, round to nearest even (kernel Python's only rounding mode)."""

    BITS: ClassVar[int] = 0
    CTYPE: ClassVar[Any] = None
    __slots__ = ()

    def _peer(self, other: Any) -> float:
        if type(other) is type(self) or type(other) is float:
            return float(other)
        raise TypeError(f"{type(self).__name__} with {type(other).__name__}: convert one of them")

    def __add__(self, other: Any) -> Any:
        return type(self)(float(self) + self._peer(other))

    def __sub__(self, other: Any) -> Any:
        return type(self)(float(self) - self._peer(other))

    def __mul__(self, other: Any) -> Any:
        return type(self)(float(self) * self._peer(other))

    def __truediv__(self, other: Any) -> Any:
        a, b = float(self), self._peer(other)
        if b == 0.0:
            nan = a != a or a == 0.0
            sign = _struct.pack("<d", a)[7] ^ _struct.pack("<d", b)[7]
            return type(self)(float("nan") if nan else float("-inf" if sign & 0x80 else "inf"))
        return type(self)(a / b)

    def __neg__(self) -> Any:
        return type(self)(-float(self))


class f64(Float):
    """A 64-bit float."""

    BITS = 64
    CTYPE = ctypes.c_double
    __slots__ = ()


class f32(Float):
    """A 32-bit float; every operation rounds to single precision."""

    BITS = 32
    CTYPE = ctypes.c_float
    __slots__ = ()

    def __new__(cls, value: float = 0.0) -> f32:
        return float.__new__(cls, ctypes.c_float(value).value)


class Const:
    """Annotation of a parameter fixed at compile time: an int, a type, a function, a tuple."""


class _Parametric:
    """Interned parametric types: two mentions of `Ptr[u8]` are one object."""

    _interned: ClassVar[dict[Any, Any]] = {}

    @classmethod
    def make(cls, *key: Any) -> Any:
        full = (cls, *key)
        if full not in cls._interned:
            instance = cls.__new__(cls)
            instance.setup(*key)
            cls._interned[full] = instance
        return cls._interned[full]

    def setup(self, *key: Any) -> None:
        raise NotImplementedError


class PtrType(_Parametric):
    """The type of `Ptr[T]`."""

    def setup(self, element: Any) -> None:
        self.element = element

    CTYPE = ctypes.c_uint64

    def __repr__(self) -> str:
        return f"Ptr[{type_name(self.element)}]"

    def __call__(self, address: int = 0) -> PtrValue:
        return PtrValue(self.element, int(address))


class ArrayType(_Parametric):
    """The type of `Array[T, n]`: `n` elements laid out in place."""

    def setup(self, element: Any, length: int) -> None:
        self.element, self.length = element, length

    def __repr__(self) -> str:
        return f"Array[{type_name(self.element)}, {self.length}]"


class FnType(_Parametric):
    """The type of `Fn[ret, arg...]`: the address of a C function, null when 0."""

    CTYPE = ctypes.c_uint64

    def setup(self, result: Any, *args: Any) -> None:
        self.result, self.args = result, args

    def __repr__(self) -> str:
        return f"Fn[{', '.join(map(type_name, (self.result, *self.args)))}]"

    def prototype(self) -> Any:
        """Return the ctypes prototype for a C function of this type."""
        result = None if self.result is None else ctype_of(self.result)
        return ctypes.CFUNCTYPE(result, *(_arg_ctype(a) for a in self.args))


def _arg_ctype(kind: Any) -> Any:
    return ctypes.c_uint64 if is_struct(kind) else ctype_of(kind)


class Ptr:
    """`Ptr[T]`: a pointer to `T`; `p[i]` reads and writes, `p + n` steps by elements."""

    def __class_getitem__(cls, element: Any) -> PtrType:
        return PtrType.make(element)  # type: ignore[no-any-return]


class Array:
    """`Array[T, n]`: an array inside a `Struct`."""

    def __class_getitem__(cls, item: tuple[Any, int]) -> ArrayType:
        return ArrayType.make(item[0], int(item[1]))  # type: ignore[no-any-return]


class Fn:
    """`Fn[ret, arg...]`: a C function's address inside a `Struct`; `ret` may be `None`."""

    def __class_getitem__(cls, item: Any) -> FnType:
        items = item if isinstance(item, tuple) else (item,)
        return FnType.make(*items)  # type: ignore[no-any-return]


def is_struct(kind: Any) -> bool:
    """Tell whether a type is a `Struct` class."""
    return isinstance(kind, type) and issubclass(kind, Struct)


def is_int(kind: Any) -> bool:
    """Tell whether a type is one of the fixed-width integers."""
    return isinstance(kind, type) and issubclass(kind, Int)


def is_float(kind: Any) -> bool:
    """Tell whether a type is `f32` or `f64`."""
    return isinstance(kind, type) and issubclass(kind, Float)


def type_name(kind: Any) -> str:
    """Name a type as it is written in source."""
    return kind.__name__ if isinstance(kind, type) else repr(kind)


def ctype_of(kind: Any) -> Any:
    """Return the ctypes type with the layout of a kernel Python type."""
    if isinstance(kind, ArrayType):
        return ctype_of(kind.element) * kind.length
    if is_struct(kind):
        return kind.CTYPE
    if kind is bool:
        return ctypes.c_uint8
    if kind.CTYPE is None:
        raise TypeError(f"{type_name(kind)} has no place in memory")
    return kind.CTYPE


def size_of(kind: Any) -> int:
    """Return the size of a type in bytes."""
    return ctypes.sizeof(ctype_of(kind))


def read_at(kind: Any, address: int) -> Any:
    """Read a value of `kind` at a host address; structs and arrays come back as views."""
    if is_struct(kind):
        return kind.at(address)
    if isinstance(kind, ArrayType):
        return PtrValue(kind.element, address, kind.length)
    raw = ctype_of(kind).from_address(address).value
    if isinstance(kind, PtrType):
        return PtrValue(kind.element, raw)
    return raw if isinstance(kind, FnType) else kind(raw)


def write_at(kind: Any, address: int, value: Any) -> None:
    """Write a scalar value of `kind` at a host address."""
    if is_int(kind) or isinstance(kind, FnType):
        if isinstance(value, Int) and is_int(kind) and type(value) is not kind:
            raise TypeError(f"{type_name(type(value))} stored as {type_name(kind)}: convert it")
        value = int(value)
    elif isinstance(kind, PtrType):
        value = value.address if isinstance(value, PtrValue) else address_of(value)
    ctype_of(kind).from_address(address).value = value


def address_of(value: Any) -> int:
    """Return the host address of a struct, a pointer or a plain integer."""
    if isinstance(value, PtrValue):
        return value.address
    if isinstance(value, Struct):
        return value.address
    if isinstance(value, ctypes._CFuncPtr):
        return ctypes.cast(value, ctypes.c_void_p).value or 0
    return int(value)


class PtrValue:
    """A pointer, or an array's view, in CPython; an array's bounds are checked here."""

    __slots__ = ("address", "element", "length")

    def __init__(self, element: Any, address: int, length: int | None = None) -> None:
        self.element, self.address, self.length = element, address, length

    def _slot(self, index: int) -> int:
        index = int(index)
        if self.length is not None and not 0 <= index < self.length:
            raise IndexError(f"{index} of {self.length}")
        return self.address + index * size_of(self.element)

    def __getitem__(self, index: int) -> Any:
        return read_at(self.element, self._slot(index))

    def __setitem__(self, index: int, value: Any) -> None:
        write_at(self.element, self._slot(index), value)

    def __add__(self, count: int) -> PtrValue:
        address = self.address + int(count) * size_of(self.element)
        return PtrValue(self.element, address & u64.MASK)

    def __len__(self) -> int:
        if self.length is None:
            raise TypeError("a pointer has no length")
        return self.length

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (PtrValue, Struct)) and self.address == address_of(other)

    def __hash__(self) -> int:
        return hash(self.address)

    def __repr__(self) -> str:
        return f"<Ptr[{type_name(self.element)}] {self.address:#x}>"


class _Field:
    """A descriptor that reads and writes one field of a struct through its address."""

    def __init__(self, kind: Any, offset: int) -> None:
        self.kind, self.offset = kind, offset

    def __get__(self, owner: Any, _type: Any = None) -> Any:
        if owner is None:
            return self
        value = read_at(self.kind, owner.address + self.offset)
        if isinstance(self.kind, FnType):
            return self.kind.prototype()(value) if value else None
        return value

    def __set__(self, owner: Any, value: Any) -> None:
        write_at(self.kind, owner.address + self.offset, value)


def annotated(note: Any, scope: dict[str, Any]) -> Any:
    """Return the type that an annotation means; plain names spare the price of `eval`."""
    if not isinstance(note, str):
        return note
    return scope[note] if note in scope else eval(note, scope)


class Struct:
    """A record shared by CPython and compiled code, declared once by its annotations.

    `Hart()` allocates zeroed memory that lives as long as the object; `Hart.at(address)` views
    memory owned by somebody else. Layout is C's. As a parameter a struct is passed by reference.
    """

    CTYPE: ClassVar[Any]
    FIELDS: ClassVar[dict[str, tuple[Any, int]]] = {}
    address: int

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        kinds = {}
        for base in reversed(cls.__mro__):
            scope = vars(sys.modules[base.__module__])
            for name, note in vars(base).get("__annotations__", {}).items():
                if base is Struct or name.startswith("_"):
                    continue
                kinds[name] = annotated(note, scope)
        fields = [(name, ctype_of(kind)) for name, kind in kinds.items()]
        cls.CTYPE = type(cls.__name__, (ctypes.Structure,), {"_fields_": fields})
        cls.FIELDS = {n: (k, getattr(cls.CTYPE, n).offset) for n, k in kinds.items()}
        for name, (kind, offset) in cls.FIELDS.items():
            setattr(cls, name, _Field(kind, offset))

    def __init__(self, **values: Any) -> None:
        self._memory = ctypes.create_string_buffer(ctypes.sizeof(self.CTYPE) + 64)
        self.address = (ctypes.addressof(self._memory) + 63) & -64
        for name, value in values.items():
            setattr(self, name, value)

    @classmethod
    def at(cls, address: int) -> Any:
        """View a struct at a host address."""
        view = cls.__new__(cls)
        view.address = int(address)
        return view

    @property
    def raw(self) -> Any:
        """The same memory as a plain ctypes structure: quick access for host-side code."""
        return self.CTYPE.from_address(self.address)


class ConstArray:
    """A constant table: `const_array(u8, [...])` at module level, indexed in kernel Python."""

    def __init__(self, element: Any, values: list[int]) -> None:
        self.element, self.values = element, [element(v) for v in values]

    def __getitem__(self, index: int) -> Any:
        return self.values[int(index)]

    def __len__(self) -> int:
        return len(self.values)


def const_array(element: Any, values: list[int]) -> ConstArray:
    """Make a constant table of integers of one type."""
    return ConstArray(element, list(values))
