"""The dpkg database of a system that is unpacked but not configured (dpkg(1), deb-triggers(5)).

With it the second stage is `dpkg --configure`, with nothing to unpack twice: what a slow
(emulated) guest does not have to do.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from innkeeper.base.errors import ImageError
from innkeeper.images import deb822
from innkeeper.images.tarsafe import Kind
from innkeeper.images.tree import Tree

_DPKG = "var/lib/dpkg"
_SCRIPTS = ("preinst", "postinst", "prerm", "postrm", "config")
_MAX_CONFFILE_BYTES = 64 << 20


@dataclass
class Database:
    """Collects packages as they are unpacked, then writes `/var/lib/dpkg`."""

    tree: Tree
    _stanzas: list[str] = field(default_factory=list)
    _file_triggers: list[str] = field(default_factory=list)
    _named_triggers: dict[str, list[str]] = field(default_factory=dict)

    def add(self, control: dict[str, tuple[int, bytes]], paths: list[str], *, name: str) -> str:
        """Record one unpacked package; `paths` is what it installed, in archive order.

        Returns the stem of its files in `/var/lib/dpkg/info`.
        """
        text = _utf8(control["control"][1], name)
        stanza = deb822.parse_one(text, source=f"{name}'s control file")
        if stanza.get("package") != name:
            raise ImageError(f"{name} holds another package", why=stanza.get("package", ""))
        same = stanza.get("multi-arch", "") == "same"
        stem = f"{name}:{stanza.get('architecture', '')}" if same else name
        info = f"{_DPKG}/info/{stem}"
        listing = "".join(f"{path if path != '/' else '/.'}\n" for path in paths)
        self.tree.write(f"{info}.list", listing.encode("utf-8", "surrogateescape"))
        for file, (_, content) in sorted(control.items()):
            if file != "control":
                mode = 0o755 if file in _SCRIPTS else 0o644
                self.tree.write(f"{info}.{file}", content, mode=mode)
        self._stanzas.append(self._status(text, control))
        if "triggers" in control:
            self._triggers(_utf8(control["triggers"][1], name), stem)
        return stem

    def write(self, arch: str) -> None:
        """Write the database's own files."""
        tree = self.tree
        for folder in ("alternatives", "info", "parts", "triggers", "updates"):
            tree.folder(f"{_DPKG}/{folder}")
        tree.write(f"{_DPKG}/status", "\n".join(self._stanzas).encode())
        for name in ("available", "diversions", "statoverride", "lock", "triggers/Lock"):
            if tree.find(f"{_DPKG}/{name}") is None:
                tree.write(f"{_DPKG}/{name}", b"", mode=0o644)
        tree.write(f"{_DPKG}/arch", f"{arch}\n".encode())
        # Format 1: the files of co-installable packages are named with their architecture.
        tree.write(f"{_DPKG}/info/format", b"1\n")
        tree.write(f"{_DPKG}/triggers/File", "".join(self._file_triggers).encode())
        for trigger, packages in self._named_triggers.items():
            tree.write(f"{_DPKG}/triggers/{trigger}", "".join(packages).encode())

    def _status(self, text: str, control: dict[str, tuple[int, bytes]]) -> str:
        lines = text.strip("\n").split("\n")
        lines.insert(1, "Status: install ok unpacked")
        conffiles = control.get("conffiles")
        if conffiles:
            lines.append("Conffiles:")
            lines += self._conffiles(conffiles[1].decode("utf-8", "surrogateescape"))
        return "\n".join(lines) + "\n"

    def _conffiles(self, text: str) -> list[str]:
        """Say which configuration files stand as shipped, so that dpkg takes them as its own."""
        found = []
        for line in text.split("\n"):
            words = line.split()
            # deb-conffiles(5): a line may begin with a flag, `remove-on-upgrade`.
            if len(words) != 1 or not words[0].startswith("/"):
                continue
            node = self.tree.find(words[0])
            if node and node.kind is Kind.FILE and node.content.size <= _MAX_CONFFILE_BYTES:
                content = self.tree.spool.read(node.content)
                digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
                found.append(f" {words[0]} {digest}")
        return found

    def _triggers(self, text: str, package: str) -> None:
        for line in text.split("\n"):
            words = line.partition("#")[0].split()
            if len(words) != 2 or not words[0].startswith("interest"):
                continue
            owner = package + ("/noawait" if words[0].endswith("-noawait") else "")
            if words[1].startswith("/"):
                self._file_triggers.append(f"{words[1]} {owner}\n")
            elif "/" not in words[1] and words[1] not in (".", "..", "File", "Lock", "Unincorp"):
                self._named_triggers.setdefault(words[1], []).append(f"{owner}\n")


def is_conffile_cleanup(preinst: bytes) -> bool:
    """Tell whether a preinst does nothing on a new system: no script, or only helper calls.

    dpkg-maintscript-helper(1): its commands act on a version that was installed before. Each
    call costs an emulated guest a second.
    """
    for line in preinst.replace(b"\\\n", b" ").split(b"\n"):
        words = line.partition(b"#")[0].strip()
        helper = words.startswith(b"dpkg-maintscript-helper ") and not set(words) & set(b"&|;`()<>")
        if words not in (b"", b"set -e", b"exit 0") and not helper:
            return False
    return True


def _utf8(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ImageError(f"{name}'s control file is not UTF-8", why=str(error)) from error
