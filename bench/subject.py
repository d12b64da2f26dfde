"""What is compared: this checkout's `inn`, and Debian's QEMU where it is installed."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from bench.process import Command

QEMU = "qemu-system-riscv64"
INSTALL_QEMU = "apt-get install qemu-system-misc"
RAM_MIB = 512
OURS, PEER = "ours", "QEMU"
REGIONS = "INN_REGIONS"
"""The environment variable that turns regions off or on; it reaches our commands as it is."""


@dataclass
class Subject:
    """The two emulators and a folder for files made for them."""

    folder: Path
    runs: int
    qemu: str | None = field(default_factory=lambda: shutil.which(QEMU))

    def inn(self, *words: str, expect: bytes = b"", status: int = 0) -> Command:
        """Return a command of ours, run by this interpreter from this checkout."""
        return Command(
            argv=(sys.executable, "-m", "innkeeper", *words), expect=expect, status=status
        )

    def pair(
        self, *, bios: Path | None = None, kernel: Path | None = None, initrd: Path | None = None,
        disk: Path | None = None, append: str = "", expect: bytes = b"", harts: int = 1,
        ram_mib: int = RAM_MIB,
    ) -> dict[str, Command]:  # fmt: skip
        """Return the commands that boot the same files on both: `{OURS: ..., PEER: ...}`.

        `disk` becomes a virtio block device on virtio-mmio, read-only.
        """
        files = {"bios": bios, "kernel": kernel, "initrd": initrd}
        given = [(name, str(path)) for name, path in files.items() if path is not None]
        given += [("append", append)] if append else []
        ours = [word for name, value in given for word in (f"--{name}", value)]
        size = ("--memory", f"{ram_mib}M", "--cpus", str(harts))
        ours += [] if disk is None else ["--disk", f"{disk},ro"]
        commands = {OURS: self.inn("boot", *size, *ours, expect=expect)}
        if self.qemu is not None:
            peer = [word for name, value in given for word in (f"-{name}", value)]
            if disk is not None:
                drive = f"file={disk},if=none,id=root,format=raw,readonly=on"
                peer += ["-drive", drive, "-device", "virtio-blk-device,drive=root"]
            board = (self.qemu, "-M", "virt", "-m", str(ram_mib), "-smp", str(harts))
            console = ("-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot")
            commands[PEER] = Command(argv=(*board, *console, *peer), expect=expect)
        return commands

    def describe(self) -> dict[str, str]:
        """Return the machine and the versions, for the head of the report."""
        return {
            "machine": f"{_cpu_model()}, {os.cpu_count()} cores, {platform.machine()}",
            "kernel": f"{platform.system()} {platform.release()}",
            "innkeeper": f"{importlib.metadata.version('innkeeper')}{_commit()}",
            "python": f"{platform.python_implementation()} {platform.python_version()}",
            "llvmlite": importlib.metadata.version("llvmlite"),
            "QEMU": self._qemu_version(),
            "regions": os.environ.get(REGIONS, "as this version does by default"),
            "load": " ".join(f"{x:.2f}" for x in os.getloadavg()),
            "runs": str(self.runs),
        }

    def _qemu_version(self) -> str:
        if self.qemu is None:
            return f"{QEMU} is not installed ({INSTALL_QEMU}): only our own figures follow"
        done = subprocess.run([self.qemu, "--version"], capture_output=True, text=True, check=True)
        return done.stdout.splitlines()[0]


def keep_bytecode(folder: Path) -> None:
    """Let child processes cache Python's bytecode, in `folder`, where the environment forbids it.

    Warm means warm: a user's second `inn` finds the bytecode that the first one wrote. With
    PYTHONDONTWRITEBYTECODE set, as in many containers, each start compiles every module again.
    """
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        os.environ["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            for line in lines:
                if line.startswith(("model name", "Model", "cpu model")):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown CPU"


def _commit() -> str:
    """Return the checkout's commit in brackets, or nothing outside of one."""
    folder = Path(__file__).resolve().parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f" ({done.stdout.strip()})"
