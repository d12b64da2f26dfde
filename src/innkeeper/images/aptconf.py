"""The host's apt configuration (apt.conf(5)): the few settings that decide how a mirror is used."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

MAX_CONFIG_BYTES = 4 << 20
_DUMP_TIMEOUT_S = 20
_TOKEN = re.compile(
    r'(?P<skip>\s+|//[^\n]*|#[^\n]*|/\*.*?\*/)|(?P<string>"[^"\n]*")|(?P<mark>[{};])'
    r'|(?P<word>(?:[^\s{};"/]|/(?![/*]))+)|(?P<bad>.)',
    re.DOTALL,
)
_FALSE = {"no", "false", "without", "off", "disable", "0"}


@dataclass(frozen=True)
class AptConfig:
    """Settings by lower-case name (`acquire::http::proxy`); the last value of a name counts."""

    values: dict[str, str] = field(default_factory=dict)

    def get(self, name: str) -> str:
        """Return a setting, or the empty string."""
        return self.values.get(name.lower(), "")

    def flag(self, name: str, *, default: bool) -> bool:
        """Return a yes-or-no setting as apt reads it."""
        value = self.get(name).strip().lower()
        return default if not value else value not in _FALSE

    def proxy_for(self, scheme: str, host: str) -> str | None:
        """Return the proxy's URL, `""` for a direct connection, None when apt says nothing.

        apt.conf(5): a setting for one host wins, `DIRECT` means no proxy, and `https` falls
        back to the `http` setting.
        """
        schemes = ["https", "http"] if scheme == "https" else [scheme]
        for name in [f"{s}::proxy{tail}" for tail in (f"::{host}", "") for s in schemes]:
            if value := self.get(f"acquire::{name}"):
                return "" if value.upper() == "DIRECT" else value
        return None


def read(root: Path = Path("/")) -> AptConfig:
    """Read the configuration with `apt-config dump`, or from its files where there is no apt."""
    program = shutil.which("apt-config") if root == Path("/") else None
    if program:
        try:
            done = subprocess.run(
                [program, "dump"],
                check=False,
                capture_output=True,
                text=True,
                timeout=_DUMP_TIMEOUT_S,
            )
        except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
            pass
        else:
            if done.returncode == 0:
                return AptConfig(parse(done.stdout))
    values: dict[str, str] = {}
    for path in _files(root):
        values.update(parse(read_text(path)))
    return AptConfig(values)


def parse(text: str) -> dict[str, str]:
    """Parse apt.conf text: `Name "value";`, `Scope { ... };`, and three kinds of comment.

    What is not understood is passed over: apt itself complains about it, and no setting of
    ours hides in it.
    """
    values: dict[str, str] = {}
    scopes: list[str] = []
    words: list[str] = []
    for kind, token in _tokens(text):
        if kind == "string" or kind == "word":
            words.append(token.strip('"'))
        elif token == "{":
            scopes.append(words[0] if words else "")
            words = []
        else:
            if len(words) >= 2:
                values["::".join([*filter(None, scopes), words[0]]).lower()] = words[1]
            words = []
            if token == "}" and scopes:
                scopes.pop()
    return values


def read_text(path: Path) -> str:
    """Read a small host file; the empty string when it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_CONFIG_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    for match in _TOKEN.finditer(text[:MAX_CONFIG_BYTES]):
        if match.lastgroup in ("string", "mark", "word"):
            yield match.lastgroup, match[0]


def _files(root: Path) -> list[Path]:
    apt = root / "etc/apt"
    # apt.conf(5): parts have no extension or `.conf`, and are read in order before apt.conf.
    try:
        parts = sorted(p for p in (apt / "apt.conf.d").iterdir() if p.suffix in ("", ".conf"))
    except OSError:
        parts = []
    return [*parts, apt / "apt.conf"]
