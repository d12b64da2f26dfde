"""Requests as JSON, to be kept in a container's record and to move it to another host.

A field that has its default is left out. Reading is by the fields' types and trusts nothing: what
arrives from another host is as hostile as any archive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from innkeeper.base.errors import ImageError
from innkeeper.base.record import _Factory

T = TypeVar("T")
MAX_ITEMS, MAX_TEXT = 10_000, 64 << 10


def encode(value: Any) -> Any:
    """Return a record, or what stands in one, as JSON has it."""
    fields = getattr(type(value), "__record_fields__", None)
    if fields is not None:
        return {
            name: encode(getattr(value, name))
            for name, default in fields.items()
            if getattr(value, name)
            != (default.make() if isinstance(default, _Factory) else default)
        }
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, frozenset):
        return sorted(encode(item) for item in value)
    if isinstance(value, (tuple, list)):
        return [encode(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def decode(cls: type[T], document: Any, *, what: str) -> T:
    """Return the record that a document is of; `ImageError` names the field at fault."""
    if not isinstance(document, dict):
        raise ImageError(f"{what} is no object")
    notes = cls.__annotations__
    values = {}
    for name, value in document.items():
        if name not in notes:
            raise ImageError(f"{what} has an unknown field", why=repr(name)[:80])
        values[name] = _read(str(notes[name]), value, f"{what}.{name}")
    return cls(**values)


def _read(note: str, value: Any, what: str) -> Any:
    if note.endswith(" | None"):
        return None if value is None else _read(note.removesuffix(" | None"), value, what)
    reader = _readers().get(note)
    if reader is None:
        raise ImageError(f"{what} cannot be moved", why=f"it is a {note}")
    return reader(value, what)


def _is(kind: type) -> Callable[[Any, str], Any]:
    def read(value: Any, what: str) -> Any:
        if type(value) is not kind or _is_no_text(value):
            raise ImageError(f"{what} is not a {kind.__name__}", why=repr(value)[:80])
        return value

    return read


def _is_no_text(value: object) -> bool:
    return isinstance(value, str) and (len(value) > MAX_TEXT or "\0" in value)


def _number(value: Any, what: str) -> float:
    if type(value) not in (int, float) or value != value:
        raise ImageError(f"{what} is not a number", why=repr(value)[:80])
    return float(value)


def _path(value: Any, what: str) -> Path:
    return Path(_is(str)(value, what))


def _many(note: str, make: Callable[[Any], Any] = tuple) -> Callable[[Any, str], Any]:
    def read(value: Any, what: str) -> Any:
        if not isinstance(value, list) or len(value) > MAX_ITEMS:
            raise ImageError(f"{what} is no list, or too long")
        return make(_read(note, one, f"{what}[{i}]") for i, one in enumerate(value))

    return read


def _texts(value: Any, what: str) -> Mapping[str, str]:
    if not isinstance(value, dict) or len(value) > MAX_ITEMS:
        raise ImageError(f"{what} is no object, or too large")
    text = _is(str)
    return MappingProxyType({text(k, what): text(v, f"{what}.{k}") for k, v in value.items()})


def _numbers(value: Any, what: str) -> tuple[int, int, int]:
    found = _many("int")(value, what)
    if len(found) != 3:
        raise ImageError(f"{what} is not three numbers")
    return found  # type: ignore[no-any-return]


def _limit(value: Any, what: str) -> tuple[str, int, int]:
    if not isinstance(value, list) or len(value) != 3:
        raise ImageError(f"{what} is no limit")
    number = _is(int)
    return _is(str)(value[0], what), number(value[1], what), number(value[2], what)


def _record(name: str) -> Callable[[Any, str], Any]:
    def read(value: Any, what: str) -> Any:
        from innkeeper.guests.config import Volume
        from innkeeper.guests.containers.networks.options import NetworkOptions
        from innkeeper.guests.containers.options import BundleOptions
        from innkeeper.guests.containers.request_parts import HealthOptions, LogOptions

        kinds: dict[str, type] = {
            "Volume": Volume, "BundleOptions": BundleOptions, "HealthOptions": HealthOptions,
            "LogOptions": LogOptions, "NetworkOptions": NetworkOptions,
        }  # fmt: skip
        return decode(kinds[name], value, what=what)

    return read


def _readers() -> dict[str, Callable[[Any, str], Any]]:
    """Return what reads a field of a type, by the type's name as it stands in the record."""
    return {
        "str": _is(str), "bool": _is(bool), "int": _is(int), "float": _number, "Path": _path,
        "tuple[str, ...]": _many("str"), "frozenset[str]": _many("str", frozenset),
        "Mapping[str, str]": _texts, "IdMap": _numbers, "tuple[IdMap, ...]": _many("IdMap"),
        "tuple[tuple[str, int, int], ...]": _many("limit"), "limit": _limit,
        "tuple[Volume, ...]": _many("Volume"),
        **{name: _record(name) for name in
           ("Volume", "BundleOptions", "HealthOptions", "LogOptions", "NetworkOptions")},
    }  # fmt: skip
