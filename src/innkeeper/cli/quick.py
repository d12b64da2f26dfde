"""`inn run --engine container` without click, whose import takes as long as the container.

Only the plainest command lines are read here, into what click would make of them
(tests/cli/test_quick.py compares the two). For anything else, and to say what is wrong, there is
the whole command line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from innkeeper.base.errors import InnError
from innkeeper.cli.parsing import duration, processors, size

_FLAGS = {
    "-i": "interactive", "--interactive": "interactive", "-t": "tty", "--tty": "tty",
    "-d": "detach", "--detach": "detach", "--rm": "remove", "--keep": "keep",
    "--read-only": "read_only", "-P": "publish_all", "--publish-all": "publish_all",
}  # fmt: skip
_MANY = {
    "-e": "env", "--env": "env", "-v": "volumes", "--volume": "volumes", "--cap-add": "cap_add",
    "--cap-drop": "cap_drop", "--security-opt": "security_opt", "--tmpfs": "tmpfs",
    "--network": "network", "--net": "network", "-p": "publish", "--publish": "publish",
    "--network-alias": "network_alias", "--add-host": "add_host", "--dns": "dns",
    "--dns-search": "dns_search", "--dns-option": "dns_option",
}  # fmt: skip
_ONE: dict[str, tuple[str, Callable[[str], Any]]] = {
    "--engine": ("engine", str), "-w": ("workdir", str), "--workdir": ("workdir", str),
    "-u": ("user", str), "--user": ("user", str), "--name": ("name", str),
    "--hostname": ("hostname", str), "--ip": ("ip", str), "--ip6": ("ip6", str),
    "--mac-address": ("mac_address", str), "--cni-config-dir": ("cni_config_dir", str),
    "--entrypoint": ("entrypoint", str), "-m": ("memory", size), "--memory": ("memory", size),
    "--cpus": ("cpus", processors), "--timeout": ("timeout", duration),
}  # fmt: skip
# What is not typed; no other default of click's has a meaning for containers.
_DEFAULTS: dict[str, Any] = {
    **dict.fromkeys(_FLAGS.values(), False),
    **dict.fromkeys(_MANY.values(), ()),
    **dict.fromkeys(name for name, _ in _ONE.values()),
    "workdir": "/", "pids_limit": None, "restart": "no",
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run `inn` with `argv` (default: the process's) and return the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    found = read(argv)
    if found is None:
        from innkeeper.cli.main import main as whole

        return whole(argv)
    from innkeeper.cli.container_run import run_container

    try:
        status = run_container(*found)
        sys.stdout.flush()
    except BaseException as error:
        return _show(error)
    os._exit(status)  # what is left to clean up, the kernel does quicker than the interpreter


def _show(error: BaseException) -> int:
    from innkeeper.cli.main import guarded

    def again() -> None:
        raise error

    return guarded(again)


def read(argv: Sequence[str]) -> tuple[dict[str, Any], frozenset[str]] | None:
    """Return the options and the names of those that were typed, or None: let click read it."""
    if not argv or argv[0] != "run" or "container" not in "".join(argv[1:]):
        return None
    options: dict[str, Any] = dict(_DEFAULTS)
    given: set[str] = set()
    words = list(argv[:0:-1])  # the next one last
    try:
        while words and words[-1].startswith("-"):
            if not _take(words, options, given):
                return None
        options["image"] = words.pop()
    except (IndexError, InnError):
        return None
    options["command"] = tuple(reversed(words))
    return (options, frozenset(given)) if options["engine"] == "container" else None


def _take(words: list[str], options: dict[str, Any], given: set[str]) -> bool:
    """Take one option, and its value, off the words; False when it is not a plain one."""
    word = words.pop()
    name, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
    letters = [f"-{letter}" for letter in word[1:]]
    if name in _FLAGS and not equals:
        letters = [name]
    if letters and all(letter in _FLAGS for letter in letters):
        for letter in letters:
            options[_FLAGS[letter]] = True
            given.add(_FLAGS[letter])
        return True
    if name not in _MANY and name not in _ONE:
        return False
    value = value if equals else words.pop()
    if name in _MANY:
        options[_MANY[name]] += (value,)
        given.add(_MANY[name])
    else:
        field, convert = _ONE[name]
        options[field] = convert(value)
        given.add(field)
    return True
