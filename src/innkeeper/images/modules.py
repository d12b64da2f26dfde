"""Kernel modules: what they need, read from the modules themselves (ELF `.modinfo`).

`modprobe` needs `modules.dep`, which only `depmod` on the installed system writes; the modules
carry the same facts (modinfo(8), Linux include/linux/module.h MODULE_INFO).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from innkeeper.base.errors import ImageError
from innkeeper.images.unpack import decompress_bytes

MAX_MODULE_BYTES = 256 << 20
MAX_SECTIONS = 65_535
MAX_MODINFO_BYTES = 1 << 20
MAX_LOADED = 4096
_LIBRARY_FOLDERS = frozenset({"crypto", "lib"})
_SUFFIX = re.compile(r"\.ko(\.xz|\.gz|\.zst)?")
_ELF64_HEADER = struct.Struct("<16xHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")


@dataclass(frozen=True)
class ModuleInfo:
    """What a module says of itself."""

    depends: tuple[str, ...] = ()
    softdeps_pre: tuple[str, ...] = ()
    softdeps_post: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Module:
    """A module to load; `path` is its path in the package, without a compression suffix."""

    name: str
    path: str
    needs: tuple[str, ...]
    content: bytes = field(repr=False)


def normal(name: str) -> str:
    """Return a module's name as the kernel has it: `-` and `_` are one there."""
    return name.replace("-", "_")


def module_name(path: str) -> str | None:
    """Return the name of the module in a file of that path, or None when it is none."""
    base = PurePosixPath(path).name
    stem, dot, _ = base.partition(".")
    return normal(stem) if dot and _SUFFIX.fullmatch(base[len(stem) :]) else None


def decompress(path: str, data: bytes) -> bytes:
    """Return a module's ELF image."""
    suffix = PurePosixPath(path).suffix
    if suffix == ".ko":
        return data
    return decompress_bytes(data, suffix=suffix, name=path, limit=MAX_MODULE_BYTES)


def parse_modinfo(elf: bytes, *, name: str = "a module") -> ModuleInfo:
    """Read `depends`, `softdep` and `alias` from a little-endian ELF64 module."""
    found: dict[str, list[str]] = {"depends": [], "softdep": [], "alias": []}
    for item in _modinfo(elf, name).split(b"\0"):
        key, equals, value = item.decode("utf-8", "replace").partition("=")
        if equals and key in found:
            found[key].append(value)
    depends = [normal(d) for text in found["depends"] for d in text.split(",") if d]
    soft: dict[str, list[str]] = {"pre:": [], "post:": [], "": []}
    for text in found["softdep"]:
        into = soft[""]
        for word in text.split():
            if word in ("pre:", "post:"):
                into = soft[word]
            else:
                into.append(normal(word))
    return ModuleInfo(
        tuple(depends), tuple(soft["pre:"]), tuple(soft["post:"]), tuple(found["alias"])
    )


def load_order(
    wanted: Iterable[str],
    *,
    paths: Mapping[str, str],
    builtin: frozenset[str],
    read: Callable[[str], bytes],
) -> list[Module]:
    """Return the modules that `wanted` needs, each after what it depends on.

    `paths` maps a module's name to its file, `read` returns that file. A wanted module that is
    built in, or that this kernel does not have, is left out; a missing hard dependency raises
    `ImageError`, a missing soft one does not matter.
    """
    search = _Search(paths, builtin, read)
    for name in wanted:
        search.visit(normal(name), required_by="")
    return list(search.order.values())


def parse_builtin(text: str) -> frozenset[str]:
    """Return the names in `modules.builtin`."""
    return frozenset(filter(None, (module_name(line.strip()) for line in text.splitlines())))


@dataclass
class _Search:
    paths: Mapping[str, str]
    builtin: frozenset[str]
    read: Callable[[str], bytes]
    order: dict[str, Module] = field(default_factory=dict)
    _entered: set[str] = field(default_factory=set)
    _aliases: dict[str, str] | None = None

    def soft(self, names: Iterable[str]) -> None:
        for name in names:
            self.visit(name if name in self.paths else self._by_alias(name), required_by="")

    def _by_alias(self, alias: str) -> str:
        """Find who answers to `crypto-crc32c` and the like: what softdeps mostly name.

        Only the kernel's crypto and library code is searched, and of several modules the
        portable one is taken: an accelerated one may not suit the machine.
        """
        if self._aliases is None:
            self._aliases = {}
            for name in sorted(self.paths, key=lambda n: (not n.endswith("generic"), n)):
                if _LIBRARY_FOLDERS.isdisjoint(
                    self.paths[name].partition("/kernel/")[2].split("/")
                ):
                    continue
                elf = decompress(self.paths[name], self.read(self.paths[name]))
                for answer in parse_modinfo(elf, name=name).aliases:
                    self._aliases.setdefault(normal(answer), name)
        return self._aliases.get(alias, alias)

    def _needs(self, info: ModuleInfo) -> tuple[str, ...]:
        soft = [n if n in self.paths else self._by_alias(n) for n in info.softdeps_pre]
        return tuple(n for n in (*soft, *info.depends) if n in self.order)

    def visit(self, name: str, *, required_by: str) -> None:
        if name in self._entered or name in self.builtin:
            return
        path = self.paths.get(name)
        if path is None:
            if required_by:
                raise ImageError(
                    f"kernel module {required_by} cannot be loaded",
                    why=f"it depends on {name}, which the kernel package does not have",
                )
            return
        if len(self._entered) >= MAX_LOADED:
            raise ImageError("too many kernel modules depend on each other")
        self._entered.add(name)
        content = decompress(path, self.read(path))
        info = parse_modinfo(content, name=path)
        self.soft(info.softdeps_pre)
        for other in info.depends:
            self.visit(other, required_by=name)
        suffix = _SUFFIX.search(path)
        plain = path[: -len(suffix[1])] if suffix and suffix[1] else path
        self.order[name] = Module(name, plain, self._needs(info), content)
        self.soft(info.softdeps_post)


def _modinfo(elf: bytes, name: str) -> bytes:
    """Find the `.modinfo` section (System V ABI, ELF-64 object file format)."""
    try:
        if elf[:6] != b"\x7fELF\x02\x01":
            raise ImageError(f"{name} is not a 64-bit little-endian ELF file")
        header = _ELF64_HEADER.unpack_from(elf)
        table, entry, count, names_at = header[5], header[10], header[11], header[12]
        if entry != _SECTION.size or not 0 < count <= MAX_SECTIONS or names_at >= count:
            raise ImageError(f"{name} has a bad ELF section table")
        raw = elf[table : table + entry * count]
        if len(raw) != entry * count:
            raise ImageError(f"{name} is cut short", why="its section table lies beyond its end")
        sections = list(_SECTION.iter_unpack(raw))
    except struct.error as error:
        raise ImageError(f"{name} is cut short", why=str(error)) from error
    strings = _slice(elf, sections[names_at], name)
    for section in sections:
        if strings[section[0] : section[0] + 9] == b".modinfo\0":
            if section[5] > MAX_MODINFO_BYTES:
                raise ImageError(f"{name} has a .modinfo of {section[5]} bytes")
            return _slice(elf, section, name)
    raise ImageError(f"{name} is not a kernel module", why="it has no .modinfo section")


def _slice(elf: bytes, section: tuple[int, ...], name: str) -> bytes:
    offset, size = section[4], section[5]
    if offset + size > len(elf):
        raise ImageError(f"{name} is cut short", why="a section lies beyond its end")
    return elf[offset : offset + size]
