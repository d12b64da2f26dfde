"""The guest of the table: Debian's kernel, one initramfs and one root disk, the same for both."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.process import BenchError, Command
from bench.programs import SOURCES
from bench.subject import Subject
from bench.table.plan import PROGRAMS, Program
from innkeeper.guests.request import join_initramfs
from innkeeper.images import cpio
from innkeeper.images.store import Manifest, Store
from innkeeper.images.tree import Spool, Tree

IMAGE = "bench"
PACKAGES = ("7zip", "openssl", "python3-minimal", "sqlite3", "xz-utils")
COMPILER = "riscv64-linux-gnu-gcc"
INSTALL_COMPILER = "apt-get install gcc-riscv64-linux-gnu libc6-dev-riscv64-cross"
RAM_MIB = 1024
APPEND = "console=ttyS0 quiet panic=-1"
_FILES = ("table_runner.py", "mix.py", "queries.sql")


@dataclass(frozen=True)
class Guest:
    """What both emulators boot; `missing` says why a program cannot run, by its full name."""

    kernel: Path
    initrd: Path
    disk: Path
    missing: dict[str, str]

    def commands(self, subject: Subject, names: list[str], *, harts: int = 1) -> dict[str, Command]:
        """Return the commands that boot the guest to run these programs."""
        return subject.pair(
            kernel=self.kernel, initrd=self.initrd, disk=self.disk, harts=harts, ram_mib=RAM_MIB,
            append=f"{APPEND} bench={','.join(names)}",
        )  # fmt: skip


def make_guest(subject: Subject, names: list[str]) -> Guest:
    """Build or find the image, compile the programs, and write the initramfs."""
    image = _image(subject)
    store = Store()
    assert image.disk is not None
    folder = subject.folder / "table"
    folder.mkdir(exist_ok=True)
    missing = {}
    if shutil.which(COMPILER) is None:
        why = f"{COMPILER} is not installed ({INSTALL_COMPILER})"
        missing = {name: why for name in names if PROGRAMS[name].source}
    sources = {PROGRAMS[n].source for n in names if n not in missing} - {""}
    binaries = {f"bench-{Path(s).stem}": _compile(s, folder) for s in sorted(sources)}
    initrd = folder / "initrd"
    segment = _segment(folder, binaries)
    initrd.write_bytes(join_initramfs(store.blob_path(image.initrd).read_bytes(), segment))
    return Guest(store.blob_path(image.kernel), initrd, store.blob_path(image.disk), missing)


def _image(subject: Subject) -> Manifest:
    """Return Debian with the programs to time, made the first time by `inn image build`."""
    store = Store()
    image = store.find(IMAGE, suite="trixie", arch="riscv64")
    if image is None or image.include != PACKAGES or image.state != "ready":
        include = [word for name in PACKAGES for word in ("--include", name)]
        command = subject.inn("image", "build", "debian", *include, "--tag", IMAGE)
        if subprocess.run(command.argv, check=False).returncode != 0:
            raise BenchError(f"the guest's image could not be made: {command}")
        image = store.find(IMAGE, suite="trixie", arch="riscv64")
    if image is None or image.disk is None:
        raise BenchError(f"the image {IMAGE!r} has no root disk: inn image rm {IMAGE}")
    return image


def _compile(source: str, folder: Path) -> bytes:
    target = folder / Path(source).stem
    command = [COMPILER, "-O2", "-static", "-s", "-o", str(target), str(SOURCES / source), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchError(f"{source} does not compile:\n{done.stderr}")
    return target.read_bytes()


def _segment(folder: Path, binaries: dict[str, bytes]) -> bytes:
    """Return the cpio archive with /init and /bench."""
    with Spool(folder) as spool:
        tree = Tree(spool)
        tree.write("init", (SOURCES / "table_init.sh").read_bytes(), mode=0o755)
        tree.folder("bench")
        for name in _FILES:
            tree.write(f"bench/{name}", (SOURCES / name).read_bytes())
        for name, data in binaries.items():
            tree.write(f"bench/{name}", data, mode=0o755)
        tree.write("bench/plan.py", _plan().encode())
        return cpio.archive(tree)


def _plan() -> str:
    """Return the programs as the guest's runner imports them."""

    def said(program: Program) -> dict[str, object]:
        kept = ("argv", "prepare", "rate", "stable")
        return {name: getattr(program, name) for name in kept}

    return f"PROGRAMS = { ({name: said(program) for name, program in PROGRAMS.items()})!r}\n"
