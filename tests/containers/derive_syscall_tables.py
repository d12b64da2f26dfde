"""Derive the system call tables in `containers/seccomp/tables` from a kernel's user headers.

    python tests/containers/derive_syscall_tables.py ARCH INCLUDE_DIR    # prints the module

INCLUDE_DIR holds `asm/unistd*.h` as `make headers_install` lays them out (Debian's linux-libc-dev
and its -cross packages do). The numbers are read by the C preprocessor, never typed. Calls that are
newer than the headers are numbered alike on every architecture since Linux 5.1 and stand in NEWER
(scripts/syscall.tbl and arch/*/syscalls/*.tbl of Linux 6.19).
"""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap

# Which header, and what makes the preprocessor choose this ABI in it.
HEADERS = {
    "x86_64": ("asm/unistd_64.h", []),
    "x86": ("asm/unistd_32.h", []),
    "x32": ("asm/unistd_x32.h", ["-D__X32_SYSCALL_BIT=0"]),
    "aarch64": ("asm/unistd.h", []),
    "riscv64": ("asm/unistd.h", ["-D__riscv_xlen=64", "-D__LP64__=1"]),
    "arm": ("asm/unistd.h", ["-D__ARM_EABI__"]),
    "ppc64": ("asm/unistd_64.h", []),
    "ppc": ("asm/unistd_32.h", []),
    "s390x": ("asm/unistd_64.h", []),
    "s390": ("asm/unistd_32.h", []),
}
NEWER = (
    "451 cachestat fchmodat2 map_shadow_stack futex_wake futex_wait futex_requeue statmount "
    "listmount lsm_get_self_attr lsm_set_self_attr lsm_list_modules mseal setxattrat getxattrat "
    "listxattrat removexattrat open_tree_attr file_getattr file_setattr listns"
)
EXTRA = {
    "x86_64": "335 uretprobe uprobe",
    "x32": "335 uretprobe uprobe",
    "riscv64": "258 riscv_hwprobe",
}
NOT_CALLS = {
    "syscalls",
    "arch_specific_syscall",
    "SYSCALL_BASE",
    "OABI_SYSCALL_BASE",
    "syscall_max",
    "SYSCALL_MASK",
}


def macros(arch: str, include: str) -> dict[str, str]:
    """Return every macro the header defines, unexpanded."""
    header, flags = HEADERS[arch]
    out = subprocess.run(
        ["gcc", "-E", "-dM", "-nostdinc", *flags, "-isystem", include, "-"],
        input=f"#include <{header}>\n",
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return dict(re.findall(r"#define (\w+) (.+)", out))


def value(text: str, known: dict[str, str]) -> int:
    """Evaluate a macro's text: numbers, names, sums and parentheses."""
    while names := re.findall(r"[A-Za-z_]\w*", re.sub(r"0x[0-9a-fA-F]+", "", text)):
        for name in names:
            text = re.sub(rf"\b{name}\b", known[name], text)
    if not re.fullmatch(r"[0-9a-fA-Fx()+\s]+", text):
        raise ValueError(f"not a sum of numbers: {text}")
    return int(eval(text))


def numbers(arch: str, include: str) -> dict[str, int]:
    """Return name to number for one architecture."""
    known = macros(arch, include)
    found = {}
    for macro, text in known.items():
        name = re.sub(r"^__(ARM_)?NR_", "", macro)
        if name != macro and name not in NOT_CALLS and "BASE" not in name:
            found[name] = value(text, known)
    for line in (NEWER, EXTRA.get(arch, "")):
        if line:
            start, *names = line.split()
            found |= {name: int(start) + i for i, name in enumerate(names)}
    return found


def compact(found: dict[str, int]) -> str:
    """Lay numbers out as lines of a first number and the names that follow it without a gap."""
    lines: list[str] = []
    run: list[str] = []
    start = 0
    for number, name in sorted((n, name) for name, n in found.items()):
        if run and number != start + len(run):
            lines += fold(start, run)
            run = []
        if not run:
            start = number
        run.append(name)
    return "\n".join(lines + fold(start, run))


def fold(start: int, names: list[str]) -> list[str]:
    """Break one run into lines, each with its own first number."""
    lines = []
    while names:
        line = textwrap.wrap(f"{start} " + " ".join(names), 96, break_on_hyphens=False)[0]
        taken = len(line.split()) - 1
        lines.append(line)
        start, names = start + taken, names[taken:]
    return lines


def module(arch: str, include: str) -> str:
    """Return the whole text of a table's module."""
    body = compact(numbers(arch, include))
    return f'"""System call numbers of {arch}, derived by tests/containers/derive_syscall_tables.py."""\n\nTABLE = """\n{body}\n"""\n'


if __name__ == "__main__":
    sys.stdout.write(module(sys.argv[1], sys.argv[2]))
