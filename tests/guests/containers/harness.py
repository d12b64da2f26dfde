"""A busybox image of this test run's own, and `inn` run on it as a user would."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BUSYBOX = shutil.which("busybox", path="/usr/bin:/bin")
TIMEOUT_S = 60
IMAGE = "box:1"
PROGRAMS = (
    "sh", "true", "cat", "id", "sleep", "tail", "touch", "kill", "pwd", "stty", "ls", "echo",
    "hostname", "seq", "rm", "mkdir", "readlink", "cut", "nc", "ip", "nslookup", "ping",
)  # fmt: skip
PASSWD = b"root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/srv:/bin/sh\n"

needs_busybox = pytest.mark.skipif(
    BUSYBOX is None, reason="needs a static busybox on the host (apt-get install busybox-static)"
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


class Started(subprocess.Popen[bytes]):
    """A running command that a test which fails meanwhile does not wait for."""

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        if kind is not None:
            self.kill()
        super().__exit__(kind, value, traceback)


class Inn:
    """`inn` with places of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {
            **os.environ,
            **{
                f"XDG_{kind}_HOME": str(folder / kind.lower())
                for kind in ("STATE", "DATA", "CACHE")
            },
        }

    def python_argv(self) -> list[str]:
        return [sys.executable]

    def argv(self, *args: str) -> list[str]:
        return [*self.python_argv(), "-m", "innkeeper", *args]

    def __call__(self, *args: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
        if "input" not in more:
            more.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run(
            self.argv(*args),
            env=self.env,
            capture_output=True,
            check=False,
            timeout=TIMEOUT_S,
            **more,
        )

    def start(self, *args: str, **more: Any) -> subprocess.Popen[bytes]:
        more = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        } | more
        return Started(self.argv(*args), env=self.env, **more)

    def run(self, *args: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
        """`inn run --engine container`."""
        return self("run", "--engine", "container", *args, **more)

    def left(self) -> list[str]:
        """What containers have left on this host: folders, mounts, cgroups."""
        state = self.folder / "state"
        mounts = Path("/proc/self/mounts").read_text().splitlines()
        folders = state / "innkeeper/containers"
        ids = os.listdir(folders) if folders.is_dir() else []
        cgroups = [str(p) for i in ids for p in Path("/sys/fs/cgroup").glob(f"**/innkeeper/{i}")]
        return [*ids, *(line for line in mounts if str(state) in line), *cgroups]


def make_inn(folder: Path, inn: Inn | None = None) -> Inn:
    """Return an `inn` that has the image; one that cannot run containers here is skipped."""
    root = folder / "rootfs"
    (root / "bin").mkdir(parents=True)
    (root / "etc").mkdir()
    shutil.copy(str(BUSYBOX), root / "bin/busybox")
    for name in PROGRAMS:
        (root / "bin" / name).symlink_to("busybox")
    (root / "opt/old").mkdir(parents=True)
    (root / "opt/file").write_text("file of the image\n")
    (root / "opt/old/below").touch()
    (root / "etc/passwd").write_bytes(PASSWD)
    (root / "etc/group").write_bytes(b"root:x:0:\nwww:x:34:\n")
    inn = inn or Inn(folder)
    done = inn("image", "import", str(root), IMAGE, "--cmd", "pwd", "-w", "/etc", "-e", "A=image")
    assert done.returncode == 0, done.stderr
    tried = inn.run(IMAGE, "true")
    if tried.returncode == 125:
        pytest.skip(f"this host runs no containers: {tried.stderr.decode()[:300]}")
    assert tried.returncode == 0, tried.stderr
    return inn
