"""What Debian's `qemu-riscv64` (7.2) can be asked for, and what it is wrong about."""

from __future__ import annotations

import os
import shutil

from innkeeper.isa.riscv.profiles import extensions
from innkeeper.isa.riscv.random_program import DEFAULT_LEFT_OUT
from innkeeper.isa.riscv.spec import Extension

QEMU = shutil.which("qemu-riscv64") or shutil.which("qemu-riscv64-static")
ENVIRONMENT = {
    **os.environ,
    "QEMU_CPU": "rv64," + ",".join(
        f"{name}=true"
        for name in ("zba", "zbb", "zbc", "zbs", "zbkb", "zbkx", "zkne", "zknd", "zknh", "Zfh")
    ),
}  # fmt: skip
LACKS = frozenset({"Zicond", "Zcb", "Zimop", "Zcmop", "Zawrs", "Zfa"})
"""Extensions that QEMU has had from version 8.0 or later."""

WRONG_ABOUT = frozenset({"ctzw"})
"""QEMU 7.2 counts beyond the low word when that is 0; version 8 does not."""


def peer_extensions() -> list[Extension]:
    """Return the extensions to make random programs from, without what QEMU is wrong about."""
    return [
        Extension(e.name, [i for i in e.instructions if i.name not in WRONG_ABOUT])
        for e in extensions()
        if e.name not in DEFAULT_LEFT_OUT | LACKS
    ]
