"""`start`: how long until the first guest instruction, with a warm code cache.

Wall time from just before the process is spawned to the first byte on its standard output, which
the guest's third instruction stores to the UART: an upper bound, as the byte's way through the
device, the I/O loop and the pipe is in it. Once as firmware (nothing else to load), once as a
kernel beside the busybox initramfs (19 MB to put into guest memory, and a device tree). QEMU only
takes the first: with a kernel its own firmware speaks earlier. CPU seconds are of the whole
process, its end included. `inn --help` is there for what the command line itself costs.
"""

from __future__ import annotations

from bench import programs
from bench.process import Command, Sample, Spread, check, cpu, first_byte, interleave, wall
from bench.process import run as run_once
from bench.report import Aim, Result, Row
from bench.subject import OURS, PEER, Subject

AIM = Aim(sense="<=", bound=150, absolute=True)
HELP = "help"
KERNEL = "kernel"
MIN_RUNS = 11
"""These are short: more of them cost nothing and tame the noise."""


def start(subject: Subject) -> Result:
    """Time the first byte on both, and `inn --help`."""
    folder, runs = subject.folder, max(subject.runs, MIN_RUNS)
    firmware = programs.first_program(folder / "first-m.elf", base=programs.FIRMWARE_BASE)
    kernel = programs.first_program(folder / "first-s.elf", base=programs.KERNEL_BASE)
    _, initrd = programs.debian_kernel(folder)
    commands = subject.pair(bios=firmware, expect=b"!")
    commands[KERNEL] = subject.pair(kernel=kernel, initrd=initrd, expect=b"!")[OURS]
    help_command = subject.inn("--help", expect=b"Usage")
    for command in (*commands.values(), help_command):
        check(command)
    samples = interleave(commands, runs, first_byte)
    helps = interleave({HELP: help_command}, runs, run_once)[HELP]
    rows = [
        *_rows("firmware", samples[OURS], samples.get(PEER)),
        *_rows("kernel and initramfs", samples[KERNEL], None),
        Row(
            benchmark="start", figure="inn --help, wall", unit="ms", ours=_ms(wall(helps)), aim=AIM
        ),
        Row(benchmark="start", figure="inn --help, CPU", unit="ms", ours=_ms(cpu(helps))),
    ]
    shown: list[Command] = [*commands.values(), help_command]
    return Result(rows, [str(c) for c in shown])


def _rows(
    what: str, ours: list[tuple[float, Sample]], peer: list[tuple[float, Sample]] | None
) -> list[Row]:
    def until(taken: list[tuple[float, Sample]]) -> Spread:
        return _ms(Spread(tuple(seconds for seconds, _ in taken)))

    def used(taken: list[tuple[float, Sample]]) -> Spread:
        return _ms(cpu([sample for _, sample in taken]))

    return [
        Row(
            benchmark="start", figure=f"{what}, first guest byte, wall", unit="ms",
            ours=until(ours), peer=until(peer) if peer else None, aim=AIM,
        ),
        Row(
            benchmark="start", figure=f"{what}, whole process, CPU", unit="ms",
            ours=used(ours), peer=used(peer) if peer else None,
        ),
    ]  # fmt: skip


def _ms(spread: Spread) -> Spread:
    return Spread(tuple(value * 1000 for value in spread.values))
