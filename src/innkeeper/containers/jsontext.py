"""JSON without the standard library's `json`, whose import of `re` costs 6 ms.

The C scanner and encoder beneath it are used directly where this interpreter has them.
"""

from __future__ import annotations

import os

from innkeeper.base.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_JSON_BYTES = 16 << 20
_SPACE = " \t\n\r"


class _Scanning:
    """What the C scanner asks its context for."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float, parse_int = float, int

    @staticmethod
    def parse_constant(name: str) -> None:
        raise ValueError(f"{name} is not JSON")


_CONTEXT: Any = _Scanning()


def _refuse(value: object) -> None:
    raise TypeError(f"{type(value).__name__} is not JSON")


try:
    from _json import encode_basestring, make_encoder, make_scanner

    _scan: Any = make_scanner(_CONTEXT)
    _encode: Any = make_encoder(
        None, _refuse, encode_basestring, None, ":", ",", False, False, False
    )
except (ImportError, TypeError):  # an interpreter without the accelerators
    import json

    _decoder: Any = json.JSONDecoder(parse_constant=_Scanning.parse_constant)
    _scan = _decoder.scan_once
    _encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).iterencode


def loads(text: str | bytes) -> Any:
    """Parse one JSON value (RFC 8259); `ValueError` says what is wrong."""
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    start = len(text) - len(text.lstrip(_SPACE))
    try:
        value, end = _scan(text, start)
    except (StopIteration, SystemError):  # SystemError: it has no `json.decoder` to raise from
        return _explain(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value if not text[end:].strip(_SPACE) else _explain(text)


def _explain(text: str) -> Any:
    """Let the whole of `json` say what is wrong, which costs its import only here."""
    import json

    return json.loads(text, parse_constant=_Scanning.parse_constant)


def dumps(value: Any) -> str:
    """Write a value on one line without spaces, as Go's `json.Marshal` does."""
    return "".join(_encode(value, 0))


def pretty(value: Any, *, indent: str = "  ") -> str:
    """Write a value over several lines, as Go's `json.MarshalIndent` does."""
    return _pretty(value, "\n", indent)


def _pretty(value: Any, newline: str, indent: str) -> str:
    inner = newline + indent
    if isinstance(value, dict) and value:
        parts = [f"{dumps(key)}: {_pretty(one, inner, indent)}" for key, one in value.items()]
        return "{" + inner + ("," + inner).join(parts) + newline + "}"
    if isinstance(value, list) and value:
        parts = [_pretty(one, inner, indent) for one in value]
        return "[" + inner + ("," + inner).join(parts) + newline + "]"
    return dumps(value)


def read_file(path: str) -> Any:
    """Read one JSON file of at most `MAX_JSON_BYTES`; `OSError` when it cannot be read."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return read_fd(fd, name=path)
    finally:
        os.close(fd)


def read_fd(fd: int, *, name: str) -> Any:
    """Read one JSON value from a descriptor up to its end."""
    chunks, total = [], 0
    while chunk := os.read(fd, 1 << 18):
        chunks.append(chunk)
        total += len(chunk)
        if total > MAX_JSON_BYTES:
            raise ConfigError(name, why=f"more than {MAX_JSON_BYTES} bytes")
    try:
        return loads(b"".join(chunks))
    except ValueError as error:
        raise ConfigError(name, why=f"not valid JSON: {error}") from None
