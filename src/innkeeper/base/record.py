"""Frozen records that cost next to nothing to define.

`dataclasses.dataclass(frozen=True)` writes and compiles six methods a class, about a millisecond
each
time: with fifty classes on the way to the first guest instruction that is a third of the start-up
time we
promise (docs/decisions/0005). A `record` has the same use and the same types for a checker, but its
methods are shared: creating one is slower, defining one is fifty times quicker.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform, overload

T = TypeVar("T")
_MISSING: Any = object()


class _Factory:
    """A default that is made anew for every record."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


def field(*, default_factory: Callable[[], T]) -> T:
    """Give a field a default that is made for each record."""
    return _Factory(default_factory)  # type: ignore[return-value]


def _init(self: Any, *args: Any, **named: Any) -> None:
    cls = type(self)
    fields: dict[str, Any] = cls.__record_fields__
    if len(args) > cls.__record_positional__:
        raise TypeError(f"{cls.__name__} takes {cls.__record_positional__} positional arguments")
    values = dict(zip(fields, args, strict=False))
    for name, value in named.items():
        if name not in fields:
            raise TypeError(f"{cls.__name__} has no field {name!r}")
        if name in values:
            raise TypeError(f"{cls.__name__}: {name!r} is given twice")
        values[name] = value
    for name, default in fields.items():
        if name not in values:
            if default is _MISSING:
                raise TypeError(f"{cls.__name__} needs {name!r}")
            values[name] = default.make() if isinstance(default, _Factory) else default
    self.__dict__.update(values)
    if hasattr(cls, "__post_init__"):
        self.__post_init__()


def _values(self: Any) -> tuple[Any, ...]:
    return tuple(self.__dict__[name] for name in type(self).__record_fields__)


def _eq(self: Any, other: object) -> bool:
    return _values(self) == _values(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash((type(self), _values(self)))


def _repr(self: Any) -> str:
    inner = ", ".join(f"{name}={self.__dict__[name]!r}" for name in type(self).__record_fields__)
    return f"{type(self).__qualname__}({inner})"


def _refuse(self: Any, name: str, *_: Any) -> None:
    raise AttributeError(f"{type(self).__name__} is frozen: {name!r} cannot be changed")


@overload
def record(cls: type[T], /) -> type[T]: ...
@overload
def record(*, frozen: bool = True, kw_only: bool = False) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: Any = None, /, *, frozen: bool = True, kw_only: bool = False) -> Any:
    """Make a class a record of its annotated attributes; a base record's fields come first.

    `__post_init__` runs after every construction. Records are frozen and hashable unless told
    otherwise.
    """
    if cls is None:
        return lambda given: _make(given, frozen=frozen, kw_only=kw_only)
    return _make(cls, frozen=frozen, kw_only=kw_only)


def _make(cls: Any, *, frozen: bool, kw_only: bool) -> Any:
    fields = dict(getattr(cls, "__record_fields__", {}))
    for name, note in vars(cls).get("__annotations__", {}).items():
        if not str(note).startswith(("ClassVar", "typing.ClassVar")):
            fields[name] = vars(cls).get(name, _MISSING)
            if isinstance(fields[name], _Factory):
                delattr(cls, name)
    cls.__record_fields__ = fields
    cls.__record_positional__ = 0 if kw_only else len(fields)
    setattr(cls, "__match_args__", () if kw_only else tuple(fields))  # noqa: B010
    cls.__init__, cls.__repr__, cls.__eq__ = _init, _repr, _eq
    cls.__hash__ = _hash if frozen else None
    if frozen:
        cls.__setattr__ = cls.__delattr__ = _refuse
    return cls


def replace(one: T, /, **changes: Any) -> T:
    """Return the record with some fields changed."""
    return type(one)(**{**one.__dict__, **changes})
