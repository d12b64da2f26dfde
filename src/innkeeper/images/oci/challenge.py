"""`WWW-Authenticate` as registries send it (RFC 9110 11.6.1; distribution token auth)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from innkeeper.base.record import record

MAX_HEADER_CHARS = 16 << 10
MAX_CHALLENGES = 16
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_PARAMETER = re.compile(rf"[ \t]*({_TOKEN})[ \t]*=[ \t]*({_TOKEN}|{_QUOTED})[ \t]*(?:,|$)")
_SCHEME = re.compile(rf"[ \t,]*({_TOKEN})(?:[ \t]+|[ \t]*$|(?=,))")
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*[ \t]*(?:,|$)")
_ESCAPED = re.compile(r"\\(.)")


@record(kw_only=True)
class Challenge:
    """One way in that a server offers; `scheme` is in lower case."""

    scheme: str
    parameters: dict[str, str]


def parse_challenges(headers: Sequence[str]) -> list[Challenge]:
    """Read the challenges of all `WWW-Authenticate` headers; what is malformed ends its header.

    A header may hold several, and commas part parameters as well as challenges.
    """
    found: list[Challenge] = []
    for text in headers:
        at = 0
        while at < min(len(text), MAX_HEADER_CHARS) and len(found) < MAX_CHALLENGES:
            scheme = _SCHEME.match(text, at)
            if scheme is None:
                break
            challenge = Challenge(scheme=scheme[1].lower(), parameters={})
            at = _parameters(text, scheme.end(), challenge.parameters)
            found.append(challenge)
    return found


def _parameters(text: str, at: int, into: dict[str, str]) -> int:
    """Read parameters up to what may be the next challenge; return where that begins."""
    while (match := _PARAMETER.match(text, at)) is not None:
        value = match[2]
        if value.startswith('"'):
            value = _ESCAPED.sub(r"\1", value[1:-1])
        into.setdefault(match[1].lower(), value)
        at = match.end()
    if not into and (opaque := _TOKEN68.match(text, at)) is not None:
        # `Negotiate abc==`; a bare scheme followed by another one is not that.
        at = opaque.end()
    return at
