"""Choose the packages of a system and the order to unpack them in (Debian Policy 7)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from innkeeper.base.errors import ImageError, NotFoundError, UsageError
from innkeeper.images.packages import Package, PackageIndex
from innkeeper.images.relations import Relation

MAX_PACKAGES = 20_000
_PRIORITIES = ("required", "important", "standard", "optional", "extra")


def resolve(
    index: PackageIndex,
    wanted: Iterable[str] = (),
    *,
    basic: bool = False,
    prefer: Sequence[str] = (),
) -> list[Package]:
    """Return the packages that `wanted` needs, dependencies before dependants.

    `basic` adds what is essential or required. Recommends are not followed. Where a dependency
    leaves a choice, what is already chosen wins, then `prefer`, then the first alternative that
    can be had: there is no search back, as with debootstrap and (in practice) apt.
    """
    choice = _Choice(index, prefer)
    for name in wanted:
        choice.ask(name)
    if basic:
        for package in index.basic():
            choice.add(package)
    choice.follow()
    choice.check()
    return sort(choice.chosen.values())


@dataclass
class _Choice:
    index: PackageIndex
    prefer: Sequence[str]
    chosen: dict[str, Package] = field(default_factory=dict)
    _provided: dict[str, list[tuple[Relation, Package]]] = field(default_factory=dict)
    _todo: deque[Package] = field(default_factory=deque)

    def ask(self, name: str) -> None:
        package = self.index.get(name)
        if package is None:
            providers = self.index.providers(name)
            if not providers:
                raise NotFoundError(
                    f"package {name!r} does not exist for {self.index.arch}",
                    fix="check its spelling, or give another --suite",
                )
            package = min(providers, key=_rank)
        self.add(package)

    def add(self, package: Package) -> None:
        if package.name in self.chosen:
            return
        if len(self.chosen) >= MAX_PACKAGES:
            raise ImageError("too many packages are needed", why=f"more than {MAX_PACKAGES}")
        self.chosen[package.name] = package
        for relation in package.provides:
            self._provided.setdefault(relation.name, []).append((relation, package))
        self._todo.append(package)

    def follow(self) -> None:
        while self._todo:
            package = self._todo.popleft()
            for group in package.depends:
                if not any(map(self._met, group)):
                    self.add(self._pick(package, group))

    def check(self) -> None:
        for package in self.chosen.values():
            for relation in package.conflicts:
                other = self._clash(package, relation)
                if other is not None:
                    raise UsageError(
                        f"{package.name} and {other.name} cannot be installed together",
                        why=f"{package.name} conflicts with {relation}",
                        fix="leave one of them out of --include",
                    )

    def _met(self, relation: Relation) -> bool:
        have = self.chosen.get(relation.name)
        if have is not None and relation.accepts(have.version):
            return True
        return any(relation.accepts_provided(r) for r, _ in self._provided.get(relation.name, []))

    def _clash(self, package: Package, relation: Relation) -> Package | None:
        have = self.chosen.get(relation.name)
        if have is not None and have is not package and relation.accepts(have.version):
            return have
        for provided, owner in self._provided.get(relation.name, []):
            if owner is not package and relation.accepts_provided(provided):
                return owner
        return None

    def _pick(self, package: Package, group: list[Relation]) -> Package:
        options = [option for relation in group for option in self._options(relation)]
        possible = [option for option in options if self._fits(option)]
        for option in possible:
            if option.name in self.prefer:
                return option
        if possible or options:
            return (possible or options)[0]
        raise ImageError(
            f"package {package.name} cannot be installed",
            why=f"it needs {' | '.join(map(str, group))}, which {self.index.arch} does not have",
            fix="try again later: the suite may be in the middle of a change",
        )

    def _options(self, relation: Relation) -> list[Package]:
        real = self.index.get(relation.name)
        found = [real] if real is not None and relation.accepts(real.version) else []
        virtual = [
            p
            for p in self.index.providers(relation.name)
            if p is not real and any(map(relation.accepts_provided, p.provides))
        ]
        return found + sorted(virtual, key=_rank)

    def _fits(self, option: Package) -> bool:
        """Tell whether `option` and what is chosen do not exclude each other."""
        if any(self._clash(option, relation) for relation in option.conflicts):
            return False
        return not any(
            relation.name == option.name and relation.accepts(option.version)
            for other in self.chosen.values()
            for relation in other.conflicts
        )


def sort(packages: Iterable[Package]) -> list[Package]:
    """Order packages so that each follows what it depends on, as far as no cycle forbids it.

    Pre-dependencies are visited first, so a cycle through plain dependencies gives way to them.
    """
    chosen = {package.name: package for package in packages}
    owners: dict[str, list[str]] = {}
    for package in chosen.values():
        owners.setdefault(package.name, []).insert(0, package.name)
        for relation in package.provides:
            owners.setdefault(relation.name, []).append(package.name)
    order: dict[str, Package] = {}
    entered: set[str] = set()
    for name in sorted(chosen, key=lambda n: (not chosen[n].essential, n)):
        stack = [(name, False)]
        while stack:
            current, leaving = stack.pop()
            if leaving:
                order[current] = chosen[current]
            elif current not in entered:
                entered.add(current)
                stack.append((current, True))
                needs = [r for group in chosen[current].depends for r in group]
                stack += [(o, False) for r in reversed(needs) for o in owners.get(r.name, [])]
    return list(order.values())


def _rank(package: Package) -> tuple[int, str]:
    priority = package.priority
    known = _PRIORITIES.index(priority) if priority in _PRIORITIES else len(_PRIORITIES)
    return known, package.name
