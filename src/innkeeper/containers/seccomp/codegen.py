"""Classic BPF (linux/bpf_common.h) for a seccomp filter: a binary search over call numbers.

Every number of an architecture belongs to a segment, every segment leads to one leaf, so unknown
calls, the x32 range and the -ENOSYS of calls newer than the profile cost no code of their own.
`struct seccomp_data`: nr at 0, arch at 4, args[6] of 64 bits from 16 (linux/seccomp.h).
"""

from __future__ import annotations

from innkeeper.containers.seccomp.arches import X32_BIT
from innkeeper.containers.seccomp.rules import RET_ENOSYS, RET_KILL_THREAD, Decisions, refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from innkeeper.containers.seccomp.rules import Condition, Conditions, Leaf, RuleList

    Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, k
    Segment = tuple[int, Leaf]  # first number, leaf

BPF_MAXINSNS = 4096
LD, AND, RET = 0x20, 0x54, 0x06
JA, JEQ, JGT, JGE = 0x05, 0x15, 0x25, 0x35
MAX_SHORT_JUMP = 255
AT_NUMBER, AT_ARCH, AT_ARGUMENTS = 0, 4, 16
NUMBERS_END = 1 << 32
PTRACE_SKIP = 0xFFFFFFFF  # "skip this call": x32's bit is set, and it is no x32 call
ACTION_BAD_ARCH = RET_KILL_THREAD  # libseccomp's SCMP_FLTATR_ACT_BADARCH
TRUE, FALSE = -1, -2  # jump targets of a comparison, placed by `conjunction`


def program(decisions: list[Decisions], default: int, *, stub: bool) -> bytes:
    """Return the filter as an array of `struct sock_filter` of the running machine's byte order.

    `stub` asks for ENOSYS where a number is higher than any the profile names.
    """
    code: list[Instruction] = [(LD, 0, 0, AT_ARCH)]
    by_audit: dict[int, list[Decisions]] = {}
    for each in decisions:
        by_audit.setdefault(each.abi.audit, []).append(each)
    for audit, group in by_audit.items():
        tree = search(segments(group, default, stub), default, big_endian=group[0].abi.big_endian)
        block = [(LD, 0, 0, AT_NUMBER), *tree]
        if len(block) <= MAX_SHORT_JUMP:
            code.append((JEQ, 0, len(block), audit))
        else:
            code += [(JEQ, 1, 0, audit), (JA, 0, 0, len(block))]
        code += block
    code.append((RET, 0, 0, ACTION_BAD_ARCH))
    if len(code) > BPF_MAXINSNS:
        raise refuse(
            "syscalls", f"the filter has {len(code)} instructions, the kernel takes {BPF_MAXINSNS}"
        )
    import struct

    one = struct.Struct(">HBBI" if decisions[0].abi.big_endian else "<HBBI")
    return b"".join([one.pack(*each) for each in code])


def segments(group: list[Decisions], default: int, stub: bool) -> list[Segment]:
    """Return the leaves of one architecture's numbers, as the first number of each run."""
    leaves: dict[int, Leaf] = {}
    for each in group:
        leaves.update(each.leaves())
        if each.abi.table in ("s390", "s390x") and stub:
            # setup(2) is where calls end up that the kernel does not know; no one else uses it.
            leaves[0] = RET_ENOSYS
    found: list[Segment] = []

    def add(start: int, leaf: Leaf) -> None:
        if not found or not isinstance(leaf, int) or found[-1][1] != leaf:
            found.append((start, leaf))

    numbers = iter(sorted(leaves))
    nr = next(numbers, NUMBERS_END)
    for start, end, filler in regions(group, default, stub):
        at = start
        while nr < end:
            if at < nr:
                add(at, filler)
            add(nr, leaves[nr])
            at, nr = nr + 1, next(numbers, NUMBERS_END)
        if at < end:
            add(at, filler)
    return found


def regions(group: list[Decisions], default: int, stub: bool) -> list[tuple[int, int, int]]:
    """Return (start, end, what an unnamed number leads to), covering all 32 bits."""
    highest = {each.abi.base: each.highest for each in group}
    x86 = any(each.abi.table == "x86_64" for each in group)
    found = []
    for start in range(0, NUMBERS_END, X32_BIT):
        end = start + X32_BIT
        base = start & X32_BIT if x86 else 0
        last = highest.get(base, -1)
        newer = stub and base == 0 and last >= 0
        if x86 and X32_BIT not in highest and start >= X32_BIT and not newer:
            found.append((start, end, ACTION_BAD_ARCH))
        elif not stub or last < 0:
            found.append((start, end, default))
        elif last < start:
            found.append((start, end, RET_ENOSYS))
        else:
            found += [(start, last + 1, default), (last + 1, end, RET_ENOSYS)]
    if found[-1][2] == ACTION_BAD_ARCH:
        start, end, _ = found.pop()
        found += [(start, PTRACE_SKIP, ACTION_BAD_ARCH), (PTRACE_SKIP, end, default)]
    return found


def search(found: list[Segment], default: int, *, big_endian: bool) -> list[Instruction]:
    """Return the code that finds the segment of the number in the accumulator."""

    def tree(low: int, high: int) -> list[Instruction]:
        if high - low == 1:
            leaf = found[low][1]
            if isinstance(leaf, int):
                return [(RET, 0, 0, leaf)]
            return rule_list(leaf, default, big_endian=big_endian)
        middle = (low + high) // 2
        left, right = tree(low, middle), tree(middle, high)
        boundary = found[middle][0]
        if len(left) <= MAX_SHORT_JUMP:
            return [(JGE, len(left), 0, boundary), *left, *right]
        return [(JGE, 0, 1, boundary), (JA, 0, 0, len(left)), *left, *right]

    return tree(0, len(found))


def rule_list(leaf: RuleList, default: int, *, big_endian: bool) -> list[Instruction]:
    """Return code that asks rule after rule and ends in the default action."""
    wide, rules = leaf
    code: list[Instruction] = []
    for conditions, value in rules:
        code += conjunction(conditions, wide=wide, big_endian=big_endian)
        code.append((RET, 0, 0, value))
    return [*code, (RET, 0, 0, default)]


def conjunction(conditions: Conditions, *, wide: bool, big_endian: bool) -> list[Instruction]:
    """Return code that falls through where all conditions hold, else skips one more instruction."""
    parts = [compare(each, wide=wide, big_endian=big_endian) for each in conditions]
    total = sum(len(part) for part in parts)
    code: list[Instruction] = []
    end = 0
    for part in parts:
        end += len(part)
        for op, if_true, if_false, k in part:
            here = len(code) + 1
            target = {TRUE: end - here, FALSE: total + 1 - here}
            code.append((op, target.get(if_true, if_true), target.get(if_false, if_false), k))
    return code


def compare(condition: Condition, *, wide: bool, big_endian: bool) -> list[Instruction]:
    """Return one comparison, of 64 bits as two halves; its jumps lead to TRUE or FALSE."""
    index, operator, value, mask = condition
    at = AT_ARGUMENTS + 8 * index
    at_high, at_low = (at, at + 4) if big_endian else (at + 4, at)
    high, low = value >> 32, value & 0xFFFFFFFF
    name = operator[9:]
    if name == "MASKED_EQ":
        code = masked(at_high, mask >> 32, high) if wide else []
        return code + masked(at_low, mask & 0xFFFFFFFF, low)
    upper: dict[str, list[Instruction]] = {
        "EQ": [(JEQ, 0, FALSE, high)],
        "NE": [(JEQ, 0, TRUE, high)],
        "GT": [(JGT, TRUE, 0, high), (JEQ, 0, FALSE, high)],
        "LT": [(JGT, FALSE, 0, high), (JEQ, 0, TRUE, high)],
    }
    lower: dict[str, Instruction] = {
        "EQ": (JEQ, TRUE, FALSE, low),
        "NE": (JEQ, FALSE, TRUE, low),
        "GT": (JGT, TRUE, FALSE, low),
        "GE": (JGE, TRUE, FALSE, low),
        "LT": (JGE, FALSE, TRUE, low),
        "LE": (JGT, FALSE, TRUE, low),
    }
    halves = upper[{"GE": "GT", "LE": "LT"}.get(name, name)]
    code = [(LD, 0, 0, at_high), *halves] if wide else []
    return [*code, (LD, 0, 0, at_low), lower[name]]


def masked(offset: int, mask: int, value: int) -> list[Instruction]:
    """Return one half of a masked comparison; a half without a mask is always equal."""
    if not mask:
        return []
    return [(LD, 0, 0, offset), (AND, 0, 0, mask), (JEQ, 0, FALSE, value)]
