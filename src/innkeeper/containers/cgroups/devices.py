"""The device list of a container: what cgroup v1 writes and what the v2 program decides.

OCI runtime-spec config-linux "Allowed Device list", kernel cgroup-v1/devices.rst. Rules are folded
in order into a default and its exceptions, which is what a v1 cgroup can hold. As in runc a rule
that would punch a hole in a wildcard is refused: v1 would silently ignore it.
"""

from __future__ import annotations

from innkeeper.containers.cgroups.files import U32_MAX, entries, invalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Node = tuple[str, int, int]  # type ("b" or "c"), major, minor; ANY for all

ANY = -1
MAX_RULES = 4096
# What every container may use (config-linux "Default Devices"): make nodes, null, zero, full,
# random, urandom, tty, and pseudo-terminals, one of which is its console.
DEFAULTS: tuple[tuple[str, int, int, str], ...] = (
    ("c", ANY, ANY, "m"),
    ("b", ANY, ANY, "m"),
    ("c", 1, 3, "rwm"),
    ("c", 1, 5, "rwm"),
    ("c", 1, 7, "rwm"),
    ("c", 1, 8, "rwm"),
    ("c", 1, 9, "rwm"),
    ("c", 5, 0, "rwm"),
    ("c", 5, 2, "rwm"),
    ("c", 136, ANY, "rwm"),
)


class DeviceList:
    """A default and its exceptions: `rules` maps a node to a set of "r", "w", "m"."""

    def __init__(self, *, default_allow: bool = False) -> None:
        self.default_allow = default_allow
        self.rules: dict[Node, frozenset[str]] = {}

    def apply(self, *, allow: bool, node: Node | None, access: frozenset[str], field: str) -> None:
        """Fold in one rule; no node means all devices and resets the list."""
        if node is None:
            self.default_allow, self.rules = allow, {}
        elif allow != self.default_allow:
            self.rules[node] = self.rules.get(node, frozenset()) | access
        else:
            self._remove(node, access, field)

    def _remove(self, node: Node, access: frozenset[str], field: str) -> None:
        kind, major, minor = node
        for wider in ((kind, ANY, minor), (kind, major, ANY), (kind, ANY, ANY)):
            if wider != node and self.rules.get(wider, frozenset()) & access:
                raise invalid(field, "it would punch a hole in a wildcard rule before it")
        left = self.rules.get(node, frozenset()) - access
        if left:
            self.rules[node] = left
        else:
            self.rules.pop(node, None)


def wanted(rules: Any) -> DeviceList:
    """Return the list that `resources.devices` and the default devices amount to."""
    made = DeviceList()
    for at, rule in enumerate(entries(rules, "devices", MAX_RULES)):
        field = f"devices[{at}]"
        if type(rule.get("allow")) is not bool:
            raise invalid(f"{field}.allow", "it is not a boolean")
        access = _access(rule.get("access"), field)
        made.apply(allow=rule["allow"], node=_node(rule, field), access=access, field=field)
    for kind, major, minor, may in DEFAULTS:
        node = (kind, major, minor)
        made.apply(allow=True, node=node, access=frozenset(may), field="devices")
    return made


def _node(rule: dict[str, Any], field: str) -> Node | None:
    kind = rule.get("type") or "a"
    if kind not in ("a", "b", "c"):
        raise invalid(f"{field}.type", f"{kind!r} is not one of a, b, c")
    if kind == "a":
        return None
    return kind, _number(rule.get("major"), field), _number(rule.get("minor"), field)


def _number(value: Any, field: str) -> int:
    if value is None:
        return ANY
    if type(value) is not int or not ANY <= value <= U32_MAX:
        raise invalid(field, f"{value!r} is not a device number")
    return value


def _access(value: Any, field: str) -> frozenset[str]:
    if value is None or value == "":
        return frozenset("rwm")
    if not isinstance(value, str) or not set(value) <= set("rwm"):
        raise invalid(f"{field}.access", f"{value!r} is not made of r, w and m")
    return frozenset(value)


def parse_list(text: str) -> DeviceList:
    """Return what a v1 `devices.list` shows: for a deny list only that it is one."""
    found = DeviceList()
    for line in text.split("\n"):
        parts = line.split()
        if len(parts) != 3:
            continue
        kind, numbers, access = parts
        if kind == "a":
            return DeviceList(default_allow=True)
        major, _, minor = numbers.partition(":")
        node = (kind, *(ANY if n == "*" else int(n) for n in (major, minor)))
        found.rules[node] = frozenset(access)  # type: ignore[index]
    return found


def transition(now: DeviceList, to: DeviceList) -> list[tuple[str, str]]:
    """Return (file, line) writes from one list to another, disturbing no more than needed."""
    writes = []
    had = now.rules
    if now.default_allow or to.default_allow != now.default_allow:
        writes.append(("devices.allow" if to.default_allow else "devices.deny", "a"))
        had = {}
    exception, inverse = "devices.allow", "devices.deny"
    if to.default_allow:
        exception, inverse = inverse, exception
    for node in sorted(had):
        if dropped := had[node] - to.rules.get(node, frozenset()):
            writes.append((inverse, line(node, dropped)))
    for node in sorted(to.rules):
        if gained := to.rules[node] - had.get(node, frozenset()):
            writes.append((exception, line(node, gained)))
    return writes


def line(node: Node, access: frozenset[str]) -> str:
    """Return a rule as the v1 files take it."""
    kind, major, minor = node
    numbers = ":".join("*" if n == ANY else str(n) for n in (major, minor))
    return f"{kind} {numbers} {''.join(c for c in 'rwm' if c in access)}"
