"""A suite's package index: parsed where it is looked at, since a suite lists some 70 000."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from innkeeper.base.errors import ImageError, IntegrityError, NotFoundError
from innkeeper.images import deb822
from innkeeper.images.debversion import Version
from innkeeper.images.relations import Relation, parse_relations

_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
# What is looked for before anything is parsed; anchored at a line's start.
_STANZA = re.compile(rb"^Package: *([^\n]+)\n", re.MULTILINE)
_MARKS = re.compile(rb"^(?:(Provides):|(Essential): *yes|(Priority): *required) *", re.MULTILINE)


@dataclass(frozen=True, eq=False)
class Package:
    """One package of an index."""

    fields: deb822.Stanza

    @cached_property
    def name(self) -> str:
        """The package's name, checked: file names are made of it."""
        name = self.fields.get("package", "")
        if not _NAME.fullmatch(name):
            raise ImageError("a package's name is malformed", why=repr(name[:80]))
        return name

    @cached_property
    def version(self) -> str:
        """The version, checked to be one."""
        return Version(self.fields.get("version", "")).text

    @property
    def arch(self) -> str:
        """The architecture: that of the index, or `all`."""
        return self.fields.get("architecture", "")

    @property
    def essential(self) -> bool:
        """Whether the system may count on it without a dependency (Debian Policy 3.8)."""
        return self.fields.get("essential", "").lower() == "yes"

    @property
    def priority(self) -> str:
        """The priority (`required` for a minimal system)."""
        return self.fields.get("priority", "")

    @property
    def filename(self) -> str:
        """The path below the mirror's address."""
        name = self.fields.get("filename", "")
        if not name or name.startswith("/") or ".." in name.split("/"):
            raise ImageError(f"package {self.name} has a bad file name", why=repr(name[:120]))
        return name

    @property
    def sha256(self) -> str:
        """The SHA-256 of the `.deb`."""
        value = self.fields.get("sha256", "").lower()
        if not _SHA256.fullmatch(value):
            raise IntegrityError(f"package {self.name} has no SHA-256 in the index")
        return value

    @property
    def size(self) -> int:
        """The size of the `.deb` in bytes."""
        value = self.fields.get("size", "")
        if not (value.isascii() and value.isdigit() and len(value) < 15):
            raise ImageError(f"package {self.name} has no size in the index", why=repr(value[:40]))
        return int(value)

    @cached_property
    def pre_depends(self) -> list[list[Relation]]:
        """What must be configured before this is unpacked."""
        return parse_relations(self.fields.get("pre-depends", ""))

    @cached_property
    def depends(self) -> list[list[Relation]]:
        """What must be there for this to work, pre-dependencies first."""
        return self.pre_depends + parse_relations(self.fields.get("depends", ""))

    @cached_property
    def provides(self) -> list[Relation]:
        """The virtual packages that this one is."""
        return [r for group in parse_relations(self.fields.get("provides", "")) for r in group]

    @cached_property
    def conflicts(self) -> list[Relation]:
        """What cannot be installed beside this: `Conflicts` and `Breaks`."""
        text = ",".join(self.fields.get(f, "") for f in ("conflicts", "breaks"))
        return [r for group in parse_relations(text) for r in group]

    def __repr__(self) -> str:
        return f"<Package {self.fields.get('package')} {self.fields.get('version')}>"


class PackageIndex:
    """The packages of one suite and architecture; of several versions the newest counts."""

    def __init__(self, data: bytes, *, arch: str) -> None:
        self.arch = arch
        self._data = data
        self._at: dict[str, list[tuple[int, int]]] = {}
        self._made: dict[str, Package] = {}
        self._provided: dict[str, list[str]] = {}
        self._basic: set[str] = set()
        self._scan()

    def __contains__(self, name: str) -> bool:
        return name in self._at

    def get(self, name: str) -> Package | None:
        """Return a package, or None."""
        if name not in self._at:
            return None
        if name not in self._made:
            versions = [self._parse(*span) for span in self._at[name]]
            self._made[name] = max(versions, key=lambda p: Version(p.version))
        return self._made[name]

    def __getitem__(self, name: str) -> Package:
        package = self.get(name)
        if package is None:
            raise NotFoundError(f"package {name!r} does not exist for {self.arch}")
        return package

    def providers(self, name: str) -> list[Package]:
        """Return the packages that provide the virtual package `name`."""
        found = {self[real].name: self[real] for real in self._provided.get(name, [])}
        return [p for p in found.values() if any(r.name == name for r in p.provides)]

    def basic(self) -> list[Package]:
        """Return what is essential or of priority `required`: the smallest system."""
        found = [self[name] for name in sorted(self._basic)]
        return [p for p in found if p.essential or p.priority == "required"]

    def _scan(self) -> None:
        starts = list(_STANZA.finditer(self._data))
        marks = list(_MARKS.finditer(self._data))
        mark = 0
        for number, match in enumerate(starts):
            end = starts[number + 1].start() if number + 1 < len(starts) else len(self._data)
            name = match[1].strip().decode("ascii", "replace")
            self._at.setdefault(name, []).append((match.start(), end))
            while mark < len(marks) and marks[mark].start() < end:
                if marks[mark][1]:
                    self._add_provides(name, marks[mark].end(), end)
                else:
                    self._basic.add(name)
                mark += 1

    def _add_provides(self, name: str, start: int, end: int) -> None:
        stop = self._data.find(b"\n", start, end)
        line = self._data[start : stop if stop >= 0 else end].decode("ascii", "replace")
        for item in line.split(","):
            virtual = item.strip().partition(" ")[0].partition("(")[0].partition(":")[0]
            if virtual:
                self._provided.setdefault(virtual, []).append(name)

    def _parse(self, start: int, end: int) -> Package:
        # A stanza ends at the first empty line: fields of ours never follow one.
        text = self._data[start:end].decode("utf-8", "replace").strip("\n")
        return Package(deb822.parse_one(text, source="the package index"))
