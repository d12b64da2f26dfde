"""`boot`: Debian's kernel with the busybox initramfs, process start to power-off; `run`: `inn run`.

Both get the same kernel, initramfs, command line and RAM, the serial console on /dev/null and one
hart. QEMU runs its own OpenSBI first, ours has SBI built in: both are part of a boot. Caches are
warm: each command has run once before, checked to have reached user space.
"""

from __future__ import annotations

from bench import programs
from bench.process import Command, check, cpu, interleave, run, wall
from bench.report import Aim, Result, Row
from bench.subject import OURS, PEER, Subject

AIM = Aim(sense="<=", bound=1.3)


def commands(subject: Subject, append: str = programs.APPEND) -> dict[str, Command]:
    """Return what boots Debian's kernel on both, with the same command line."""
    kernel, initrd = programs.debian_kernel(subject.folder)
    booted = programs.BOOTED.encode()
    return subject.pair(kernel=kernel, initrd=initrd, append=append, expect=booted)


def boot(subject: Subject) -> Result:
    """Time the boot on both."""
    return _time(subject, "boot", "start to power-off", commands(subject), AIM)


def run_command(subject: Subject) -> Result:
    """Time `inn run busybox -- true` beside a boot by QEMU, which has no such command.

    QEMU gets the kernel command line of `inn run`, which leaves out self-tests of the kernel, so
    that the saving is not taken for the emulator's. The guests do not do the same work all
    the same: ours ends when the command has ended, QEMU's powers off.
    """
    from innkeeper.guests.run import CMDLINE

    both = {**commands(subject, CMDLINE), OURS: subject.inn("run", "busybox", "--", "true")}
    return _time(subject, "run", "inn run busybox -- true", both, None)


def _time(
    subject: Subject, name: str, figure: str, both: dict[str, Command], aim: Aim | None
) -> Result:
    for command in both.values():
        check(command)
    samples = interleave(both, subject.runs, run)
    rows = []
    for kind, spread_of in (("CPU", cpu), ("wall", wall)):
        spreads = {who: spread_of(taken) for who, taken in samples.items()}
        rows.append(
            Row(
                benchmark=name, figure=f"{figure}, {kind}", unit="s", ours=spreads[OURS],
                peer=spreads.get(PEER), aim=aim,
            )
        )  # fmt: skip
    return Result(rows, [str(c) for c in both.values()])
