"""Digests, the names of contents (OCI image-spec 1.1 descriptor.md "Digests")."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from innkeeper.base.errors import ImageError

if TYPE_CHECKING:
    from hashlib import _Hash as Hasher

ALGORITHMS = {"sha256": 64, "sha512": 128}
"""The registered algorithms, and how many hexadecimal digits each has."""

_DIGEST = re.compile(r"(sha256):([0-9a-f]{64})|(sha512):([0-9a-f]{128})", re.ASCII)
_GRAMMAR = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+", re.ASCII)


class Digest(str):
    """A digest that has been checked: `algorithm` is registered and `encoded` fits it."""

    __slots__ = ()

    def __new__(cls, text: str) -> Digest:
        """Check `text`; `ImageError` when it is no digest, or one of an unknown algorithm."""
        if not _DIGEST.fullmatch(text):
            known = _GRAMMAR.fullmatch(text) and text.partition(":")[0] not in ALGORITHMS
            raise ImageError(
                f"{text[:160]!r} is not a digest that can be checked",
                why="its algorithm is not one of sha256 and sha512" if known else "it is malformed",
            )
        return super().__new__(cls, text)

    @property
    def algorithm(self) -> str:
        """The part before the colon."""
        return self.partition(":")[0]

    @property
    def encoded(self) -> str:
        """The part after the colon, in lower-case hexadecimal."""
        return self.partition(":")[2]

    def hasher(self) -> Hasher:
        """Return a new hash of the digest's algorithm."""
        return hashlib.new(self.algorithm)

    @classmethod
    def of(cls, data: bytes, algorithm: str = "sha256") -> Digest:
        """Return the digest of `data`."""
        return cls(f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}")


def is_digest(text: str) -> bool:
    """Tell whether `text` is a digest of a registered algorithm."""
    return _DIGEST.fullmatch(text) is not None
