"""From `linux.seccomp` to what each system call number of each ABI shall lead to.

Sources: OCI runtime-spec config-linux "Seccomp" for the fields, seccomp(2) for the actions. Where
the specification is silent, what runc and libseccomp do is the standard:

- a rule whose action is the default action adds nothing, and names no table knows are ignored;
- an unconditional rule beats the conditional ones of the same call, the first such rule wins;
- two conditions on one argument in one rule are alternatives (runc adds a rule for each);
- of conditional rules that overlap, the one on the higher argument, then the narrower comparison,
  is asked first (libseccomp's order); a rule that contradicts a narrower one before it is refused;
- a call newer than any the profile names yields ENOSYS rather than a denying default action.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from innkeeper.containers.seccomp.arches import Abi

    Condition = tuple[int, str, int, int]  # argument, operator, value, mask
    Conditions = tuple[Condition, ...]
    Rule = tuple[str, int, tuple[Conditions, ...]]  # call, what the filter returns, alternatives
    RuleList = tuple[bool, list[tuple[Conditions, int]]]  # arguments have 64 bits, rules in order
    Leaf = int | RuleList

EPERM, ENOSYS = 1, 38
RET_KILL_THREAD = 0x00000000
RET_ERRNO = 0x00050000
RET_NOTIFY = 0x7FC00000
RET_TRACE = 0x7FF00000
RET_ENOSYS = RET_ERRNO | ENOSYS
ACTIONS = {
    "SCMP_ACT_KILL": RET_KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": RET_KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": RET_ERRNO,
    "SCMP_ACT_NOTIFY": RET_NOTIFY,
    "SCMP_ACT_TRACE": RET_TRACE,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
RET_ACTION = 0xFFFF0000
# Default actions that leave calls of the future alone; a good tracer handles those itself.
PERMISSIVE = frozenset(ACTIONS["SCMP_ACT_" + name] for name in ("ALLOW", "LOG", "TRACE"))
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 0,  # one thread installs it and then calls execve(2)
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 32,
}
FLAG_NEW_LISTENER = 8
OPERATORS = frozenset("SCMP_CMP_" + op for op in ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"))
MAX_NAMES = 65536
MAX_ARGUMENT = 5
MAX_RETURN_DATA = 0xFFFF
MAX_CONDITIONAL_RULES = 1024  # a call; each takes at least three of BPF_MAXINSNS instructions
U64 = (1 << 64) - 1


def refuse(where: str, why: str) -> Exception:
    """Return the error for a field that cannot be followed."""
    from innkeeper.base.errors import ConfigError

    name = f"linux.seccomp.{where}".rstrip(".")
    return ConfigError(f"{name} cannot be used", why=why)


def action(entry: dict[str, Any], key: str, errno_key: str, where: str) -> int:
    """Return the value a filter returns for an action and its errno."""
    name, data = entry.get(key), entry.get(errno_key)
    if not isinstance(name, str) or name not in ACTIONS:
        raise refuse(f"{where}{key}", f"{name!r} is not an action")
    value = ACTIONS[name]
    if value not in (RET_ERRNO, RET_TRACE):
        if data is not None:
            raise refuse(f"{where}{errno_key}", f"{name} takes no errno")
        return value
    return value | (EPERM if data is None else number(data, MAX_RETURN_DATA, where + errno_key))


def number(value: Any, highest: int, where: str) -> int:
    """Return an integer of the profile, or refuse it."""
    if type(value) is not int or not 0 <= value <= highest:
        raise refuse(where, f"{value!r} is not an integer from 0 to {highest}")
    return value


def strings(value: Any, where: str) -> list[str]:
    """Return a list of strings of the profile (absent is empty), or refuse it."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise refuse(where, "it is not a list of strings")
    return value


def parse(profile: dict[str, Any]) -> tuple[int, list[Rule]]:
    """Return the default action and every rule, in the profile's order."""
    default = action(profile, "defaultAction", "defaultErrnoRet", "")
    if default == RET_NOTIFY:
        raise refuse("defaultAction", "the runtime itself would wait for the agent it must tell")
    entries = profile.get("syscalls") or []
    if not isinstance(entries, list):
        raise refuse("syscalls", "it is not a list")
    rules: list[Rule] = []
    for at, entry in enumerate(entries):
        where = f"syscalls[{at}]."
        if not isinstance(entry, dict):
            raise refuse(where[:-1], "it is not an object")
        names = strings(entry.get("names"), where + "names")
        if not names or "" in names:
            raise refuse(where + "names", "at least one name is needed, and none may be empty")
        value = action(entry, "action", "errnoRet", where)
        if value == RET_NOTIFY and "write" in names:
            raise refuse(where + "names", "SCMP_ACT_NOTIFY on write would stop the runtime itself")
        alternatives = conditions(entry.get("args") or [], where)
        rules.extend((name, value, alternatives) for name in names)
        if len(rules) > MAX_NAMES:
            raise refuse("syscalls", f"more than {MAX_NAMES} names")
    return default, rules


def conditions(args: Any, where: str) -> tuple[Conditions, ...]:
    """Return the alternatives a rule's `args` stand for; none at all means always."""
    if not isinstance(args, list) or len(args) > 64:
        raise refuse(where + "args", "it is not a list of at most 64 comparisons")
    found = [condition(arg, f"{where}args[{at}].") for at, arg in enumerate(args)]
    if len({each[0] for each in found}) < len(found):
        return tuple((each,) for each in found)
    return (tuple(sorted(found)),) if found else ()


def condition(arg: Any, where: str) -> Condition:
    """Return one comparison as (argument, operator, value, mask)."""
    if not isinstance(arg, dict):
        raise refuse(where[:-1], "it is not an object")
    index = number(arg.get("index"), MAX_ARGUMENT, where + "index")
    value = number(arg.get("value"), U64, where + "value")
    second = number(arg.get("valueTwo") or 0, U64, where + "valueTwo")
    operator = arg.get("op")
    if not isinstance(operator, str) or operator not in OPERATORS:
        raise refuse(where + "op", f"{operator!r} is not an operator")
    if operator == "SCMP_CMP_MASKED_EQ":
        return index, operator, second & value, value
    return index, operator, value, U64


class Decisions:
    """What one ABI's calls lead to: `fixed` by number, `conditional` rules by number."""

    def __init__(self, abi: Abi) -> None:
        from innkeeper.containers.seccomp.arches import multiplexed

        self.abi = abi
        self.numbers = abi.numbers()
        self.fixed: dict[int, int] = {}
        self.conditional: dict[int, list[tuple[Conditions, int]]] = {}
        self.contradicted: dict[int, str] = {}
        self.highest = -1  # the highest number any rule names
        self.multiplexed = {
            name: (self.numbers[call], selector)
            for call, members in multiplexed().items()
            if call in self.numbers
            for name, selector in members.items()
        }

    def add_all(self, rules: list[Rule], default: int) -> None:
        """Take every rule that this ABI knows the name of."""
        numbers, fixed, multiplexed = self.numbers, self.fixed, self.multiplexed
        for name, value, alternatives in rules:
            nr = numbers.get(name)
            if nr is not None:
                if nr > self.highest:
                    self.highest = nr
                if value != default:
                    if alternatives:
                        self._add_conditional(nr, value, alternatives, name)
                    else:
                        fixed.setdefault(nr, value)
            if name in multiplexed and value != default:
                nr, selector = multiplexed[name]
                self._add_conditional(nr, value, selected(alternatives, selector), "")

    def _add_conditional(
        self, nr: int, value: int, alternatives: tuple[Conditions, ...], name: str
    ) -> None:
        """Add rules to a call, noting by name what contradicts a narrower rule already there."""
        rules = self.conditional.setdefault(nr, [])
        for fitted in self._fitted(alternatives):
            if not fitted:  # always true: no condition at all
                self.fixed.setdefault(nr, value)
                return
            asked = set(fitted)
            for other, other_value in rules:
                if value != other_value and asked.issubset(other) and name:
                    self.contradicted[nr] = name
                if asked.issuperset(other):
                    break  # a wider or equal rule decides already
            else:
                rules.append((fitted, value))
        if len(rules) > MAX_CONDITIONAL_RULES:
            raise refuse("syscalls", f"a call has more than {MAX_CONDITIONAL_RULES} rules")

    def _fitted(self, alternatives: tuple[Conditions, ...]) -> Iterator[Conditions]:
        """Cut values to the width of this ABI's arguments; what asks for no bit is dropped."""
        fits = (1 << self.abi.bits) - 1
        for each in alternatives:
            yield tuple(
                (i, op, value & fits, mask & fits) for i, op, value, mask in each if mask & fits
            )

    def leaves(self) -> dict[int, Leaf]:
        """Return what stands at each number: a value, or rules in the order to ask them."""
        for nr, name in self.contradicted.items():
            if nr not in self.fixed:
                raise refuse("syscalls", f"the rules for {name} contradict each other")
        wide = self.abi.bits == 64
        found: dict[int, Leaf] = {}
        for nr, rules in self.conditional.items():
            found[nr] = (wide, sorted(rules, key=rank))
        found.update(self.fixed)
        return found


def selected(alternatives: tuple[Conditions, ...], selector: int) -> tuple[Conditions, ...]:
    """Turn a call's conditions into those of the call that multiplexes it.

    The first argument becomes the selector; the others stand as libseccomp leaves them.
    """
    first = (0, "SCMP_CMP_EQ", selector, U64)
    return tuple(
        (first, *(each for each in conditions if each[0] != 0))
        for conditions in alternatives or ((),)
    )


def rank(rule: tuple[Conditions, int]) -> list[tuple[int, int, int]]:
    """Return where a rule stands among the rules of its call: libseccomp's order."""
    return [
        (
            -index,
            {"EQ": 0, "NE": 0, "MASKED_EQ": 1, "GE": 2, "LT": 2, "GT": 3, "LE": 3}[op[9:]],
            value if op in ("SCMP_CMP_LT", "SCMP_CMP_LE") else -value,
        )
        for index, op, value, _mask in rule[0]
    ]
