"""What the table measures: groups of guest programs, and what issue 3 asks of each group.

A program does a fixed amount of work and its figure is the seconds it takes, or it runs for a fixed
time and prints a rate. They are sized to take 1 to 6 seconds on QEMU.
"""

from __future__ import annotations

from dataclasses import dataclass

DATA = "/tmp/data"
_SAMPLE = "cat /usr/lib/python3*/[a-m]*.py /usr/lib/riscv64-linux-gnu/libcrypto.so.3"


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program of the guest: `argv` is timed after the shell commands `prepare`, which are not.

    `source` is a C file of bench/guests to compile; `rate` finds the figure in its output, as a
    pattern with one group, its last match counting; without it the figure is the seconds. The
    output of a `stable` one must be the same on both. Only a `judged` one counts for the aim.
    """

    name: str
    argv: tuple[str, ...]
    prepare: str = ""
    source: str = ""
    rate: str = ""
    unit: str = "s"
    stable: bool = True
    judged: bool = True


@dataclass(frozen=True, kw_only=True)
class Group:
    """Programs that run in one boot; `mean` and `least` bound their speed against QEMU's."""

    name: str
    title: str
    programs: tuple[Program, ...]
    mean: float
    least: float | None = None


def _compiled(name: str, *arguments: str, judged: bool = True, label: str = "") -> Program:
    return Program(
        name=label or name, argv=(f"bench-{name}", *arguments), source=f"{name}.c", judged=judged
    )


def _part(part: str, rounds: int) -> Program:
    return _compiled("loops", part, str(rounds), judged=False, label=part)


def _speed(name: str, algorithm: str) -> Program:
    return Program(
        name=name,
        argv=("openssl", "speed", "-mr", "-elapsed", "-seconds", "3", "-bytes", "8192", "-evp",
              algorithm),
        prepare="openssl version",
        rate=r"(?m)^\+F:\d+:[^:]+:([0-9.]+)",
        unit="B/s",
        stable=False,
    )  # fmt: skip


_DIGESTS = (
    "for i in 1 2 3; do openssl dgst -sha256 /tmp/data; done;"
    " openssl enc -aes-128-cbc -K 000102030405060708090a0b0c0d0e0f"
    " -iv 0f0e0d0c0b0a09080706050403020100 -in /tmp/data | openssl dgst -sha256"
)

GROUPS = {
    group.name: group
    for group in (
        Group(
            name="coremark",
            title="integer loops: list, matrix, state machine, CRC",
            programs=(
                _compiled("loops", "mix", "30000", label="mix"),
                _part("list", 40000),
                _part("matrix", 30000),
                _part("state", 40000),
                _part("crc", 60000),
            ),
            mean=2.5,
        ),
        Group(
            name="real",
            title="real programs",
            programs=(
                Program(
                    name="7zr",
                    argv=("7zr", "b", "1", "-mmt1", "-md18", "-mtime=1"),
                    prepare="7zr i",
                    rate=r"(?m)^Tot:.* (\d+)$",
                    unit="rating",
                    stable=False,
                ),
                _speed("sha256", "sha256"),
                _speed("aes", "aes-128-cbc"),
                Program(
                    name="openssl",
                    argv=("sh", "-ec", _DIGESTS),
                    prepare=f"openssl version; {_SAMPLE} | head -c 4000000 >{DATA}",
                    judged=False,
                ),
                Program(
                    name="sqlite3",
                    argv=("sqlite3", "-batch", "-init", "/dev/null", ":memory:",
                          ".read /mnt/queries.sql"),
                    prepare="sqlite3 -version",
                ),
                Program(
                    name="xz",
                    argv=("xz", "-T1", "-6", "-k", "-c", DATA),
                    prepare=f"xz --version; {_SAMPLE} | head -c 1200000 >{DATA}",
                ),
                Program(
                    name="python",
                    argv=("python3", "-B", "-S", "-E", "/mnt/mix.py", "80"),
                ),
            ),
            mean=1.8,
            least=1.0,
        ),
        Group(
            name="fp",
            title="floating point",
            programs=(
                _compiled("lu", "200", "110"),
                _compiled("nbody", "1600000"),
                _compiled("mandelbrot", "400", "500"),
                _compiled("fir", "64", "300"),
                _compiled("libm", "900000"),
            ),
            mean=2.5,
            least=1.5,
        ),
        Group(
            name="memory",
            title="memory",
            programs=(
                _compiled("stream", "32", "10"),
                _compiled("random", "256", "10"),
                _compiled("chase", "128", "10"),
            ),
            mean=1.6,
            least=1.0,
        ),
        Group(
            name="forks",
            title="process creation",
            programs=(
                Program(
                    name="forks",
                    argv=("dash", "-ec",
                          "i=0; while [ $i -lt 60 ]; do /bin/true;"
                          " x=$(echo $i | cat); i=$((i + 1)); done; echo $x"),
                    prepare="/bin/true; echo 1 | cat",
                ),
            ),
            mean=1.5,
        ),
    )
}  # fmt: skip

PARALLEL_NAME = "smp:xz"
PARALLEL = Program(
    name="xz",
    argv=("xz", "-T2", "--block-size=400KiB", "-6", "-k", "-c", DATA),
    prepare=f"xz --version; {_SAMPLE} | head -c 1600000 >{DATA}",
)
PARALLEL_AIM = 1.7
BOOT_AIM = 0.65
"""Of QEMU's time, which is a speed of 1 / 0.65."""
FIRST_RUN_AIM = 1.0

PROGRAMS = {
    f"{group.name}:{program.name}": program
    for group in GROUPS.values()
    for program in group.programs
} | {PARALLEL_NAME: PARALLEL}
