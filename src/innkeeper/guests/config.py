"""What a guest is asked to be: the frozen requests that the command line and the API share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from innkeeper.base.errors import UsageError
from innkeeper.base.record import field, record
from innkeeper.base.units import MIB

DEFAULT_MEMORY_BYTES = 512 * MIB
MAX_CPUS = 64
MAX_VOLUMES = 16
MAX_DISKS = 16
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NO_ENVIRONMENT: Mapping[str, str] = MappingProxyType({})


@record(kw_only=True)
class Volume:
    """A host directory that the guest sees at `target` (an absolute guest path)."""

    source: Path
    target: str
    read_only: bool = False

    @classmethod
    def parse(cls, text: str) -> Volume:
        """Read `SRC:DST[:ro]`; `UsageError` when it is not that or SRC is not a directory."""
        fix = "write it as SRC:DST or SRC:DST:ro, DST absolute"
        body, _, option = text.rpartition(":")
        if option not in ("ro", "rw") or ":" not in body:
            body, option = text, "rw"
        source, colon, target = body.rpartition(":")
        if not (colon and source and target.startswith("/")):
            raise UsageError(f"volume {text!r} is not one", fix=fix)
        path = Path(source).expanduser()
        if not path.is_dir():
            why = "not a directory" if path.exists() else "no such directory on this host"
            raise UsageError(f"volume source {source}", why=why, fix=f"mkdir -p {source}")
        return cls(source=path.absolute(), target=target, read_only=option == "ro")


@record(kw_only=True)
class Disk:
    """A disk image file given to the guest as a virtio block device."""

    path: Path
    read_only: bool = False

    @classmethod
    def parse(cls, text: str) -> Disk:
        """Read `FILE[,ro]`; `UsageError` when FILE is not there."""
        name, comma, option = text.rpartition(",")
        if not (comma and option in ("ro", "rw")):
            name, option = text, "rw"
        path = Path(name).expanduser()
        if not path.exists() or path.is_dir():
            why = "it is a directory" if path.is_dir() else "no such file"
            raise UsageError(f"disk {name}", why=why, fix="give a disk image file")
        return cls(path=path.absolute(), read_only=option == "ro")


@record(kw_only=True)
class TerminalSize:
    """Rows and columns of a terminal, 1 to 65535 each."""

    rows: int = 24
    columns: int = 80

    def __post_init__(self) -> None:
        if not (0 < self.rows < 1 << 16 and 0 < self.columns < 1 << 16):
            raise UsageError(f"terminal size {self.rows}x{self.columns} is out of range")


@record(kw_only=True)
class MachineConfig:
    """What `run` and `boot` have in common.

    With `icount` time is counted in instructions and nothing is random: a guest that is run again
    with the same input does the same, instruction for instruction.
    """

    arch: str = "riscv64"
    cpus: int = 1
    memory_bytes: int = DEFAULT_MEMORY_BYTES
    engine: str = "emulate"
    kernel: Path | None = None
    append: str = ""
    volumes: tuple[Volume, ...] = ()
    timeout_s: float | None = None
    name: str | None = None
    icount: bool = False

    def __post_init__(self) -> None:
        if self.cpus < 1:
            raise UsageError(f"{self.cpus} CPUs", why="a guest needs at least one")
        if self.cpus > MAX_CPUS or int(self.cpus) != self.cpus:
            raise UsageError(f"--cpus {self.cpus:g}", fix=f"give a whole number up to {MAX_CPUS}")
        if self.memory_bytes < 16 * MIB:
            raise UsageError("guest memory is too small", fix="give at least 16M")
        if self.timeout_s is not None and not 0 < self.timeout_s < 1e9:
            raise UsageError(f"timeout {self.timeout_s:g}", fix="give a number of seconds above 0")
        if len(self.volumes) > MAX_VOLUMES:
            raise UsageError(f"{len(self.volumes)} volumes", why=f"at most {MAX_VOLUMES}")


@record(kw_only=True)
class RunConfig(MachineConfig):
    """`inn run`: one command in a guest made from an image.

    `argv` empty means the image's own default command. `stdin` says whether the guest's command
    sees a standard input at all; `tty` gives it a terminal instead of three streams. `user` is a
    number or a name in the guest's passwd file.
    """

    image: str
    argv: tuple[str | bytes, ...] = ()
    env: Mapping[str, str] = field(default_factory=lambda: _NO_ENVIRONMENT)
    workdir: str = "/"
    user: str | None = None
    hostname: str | None = None
    stdin: bool = False
    tty: bool = False
    terminal: TerminalSize = TerminalSize()
    suite: str | None = None
    mirror: str | None = None


@record(kw_only=True)
class BootConfig(MachineConfig):
    """`inn boot`: any kernel, firmware or ELF file, with the serial console on the streams.

    `file` is the one positional argument; which CPU and which loader it wants is told from it.
    `gdb` is the address of the gdb server (`HOST:PORT`, a port, or a socket path). `raw` says that
    the file is bare machine code.
    """

    file: Path | None = None
    bios: Path | None = None
    initrd: Path | None = None
    disks: tuple[Disk, ...] = ()
    gdb: str | None = None
    raw: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.file is None and self.kernel is None and self.bios is None:
            raise UsageError(
                "nothing to boot",
                why="no kernel, firmware or ELF file was given",
                fix="inn boot --kernel FILE, inn boot --bios FILE, or inn boot FILE",
            )
        if len(self.disks) > MAX_DISKS:
            raise UsageError(f"{len(self.disks)} disks", why=f"at most {MAX_DISKS}")
