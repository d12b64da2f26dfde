"""Relations between packages: `a (>= 1) | b:any, c` (Debian Policy 7.1)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from innkeeper.base.errors import ImageError
from innkeeper.images.debversion import satisfies

MAX_RELATIONS = 10_000
_RELATION = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9+.-]*)(?::(?P<arch>[a-z0-9-]+))?"
    r"(?:\s*\(\s*(?P<op><<|<=|=|>=|>>|<|>)\s*(?P<version>[^\s()]+)\s*\))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Relation:
    """A package's name with the versions that will do; `operator` is empty for any."""

    name: str
    operator: str = ""
    version: str = ""
    arch: str = ""

    def accepts(self, version: str) -> bool:
        """Tell whether a package of this name at `version` satisfies the relation."""
        return not self.operator or satisfies(version, self.operator, self.version)

    def accepts_provided(self, provided: Relation) -> bool:
        """Tell whether a `Provides` entry does; only a versioned one meets a version."""
        if provided.name != self.name:
            return False
        return not self.operator or bool(provided.version and self.accepts(provided.version))

    def __str__(self) -> str:
        return f"{self.name} ({self.operator} {self.version})" if self.operator else self.name


def parse_relations(text: str) -> list[list[Relation]]:
    """Parse a dependency field: all of the outer list, any one of each inner list."""
    groups = [
        [_parse(alternative) for alternative in group.split("|")]
        for group in text.replace("\n", " ").split(",")
        if group.strip()
    ]
    if len(groups) > MAX_RELATIONS:
        raise ImageError("a package has too many relations", why=f"{len(groups)}")
    return groups


def _parse(text: str) -> Relation:
    match = _RELATION.fullmatch(text.strip())
    if match is None:
        raise ImageError("a package relation is malformed", why=repr(text.strip()[:80]))
    return Relation(match["name"], match["op"] or "", match["version"] or "", match["arch"] or "")
