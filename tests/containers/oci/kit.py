"""Bundles made of a static busybox, and the runtime run on them as its callers run it."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPO = Path(__file__).resolve().parents[3]
LAUNCH = (
    "import gc, sys; gc.disable(); sys.path.insert(0, sys.argv.pop(1));"
    "from innkeeper.containers.main import run; run()"
)
QUIET = ["nosuid", "noexec", "nodev"]
CONFIG: dict[str, Any] = {
    "ociVersion": "1.2.0",
    "process": {
        "user": {"uid": 0, "gid": 0},
        "args": ["true"],
        "env": ["PATH=/bin"],
        "cwd": "/",
        "noNewPrivileges": True,
    },
    "root": {"path": "rootfs", "readonly": True},
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
        },
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*QUIET, "ro"]},
    ],
    "linux": {
        "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")],
        "maskedPaths": ["/proc/keys", "/proc/acpi", "/sys/firmware"],
        "readonlyPaths": ["/proc/sys"],
    },
}
APPLETS = (
    "sh",
    "true",
    "false",
    "cat",
    "echo",
    "id",
    "ls",
    "mount",
    "sleep",
    "stat",
    "grep",
    "touch",
    "tty",
    "hostname",
    "pwd",
    "env",
    "kill",
    "head",
    "readlink",
    "ps",
    "mkdir",
    "ln",
    "chmod",
    "test",
    "ip",
    "umask",
)


def busybox() -> str:
    """Return a static busybox, or skip."""
    path = shutil.which("busybox")
    if path is None or b"INTERP" in _program_headers(path):
        pytest.skip("no static busybox on this host (apt-get install busybox-static)")
    return path


def _program_headers(path: str) -> bytes:
    data = Path(path).read_bytes()[:4096]
    return b"INTERP" if b"/ld-linux" in data else b""


def need_root() -> None:
    """Skip where namespaces, mounts or cgroups cannot be had."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    probe = subprocess.run(["unshare", "-m", "-p", "-f", "true"], capture_output=True)
    if probe.returncode:
        pytest.skip("this host gives no namespaces")


def make_rootfs(path: Path) -> Path:
    """Fill a directory with busybox and its applets."""
    for name in ("bin", "etc", "tmp", "proc", "dev", "sys", "mnt", "root"):
        (path / name).mkdir(parents=True)
    (path / "tmp").chmod(0o1777)
    shutil.copy(busybox(), path / "bin/busybox")
    for applet in APPLETS:
        (path / "bin" / applet).symlink_to("busybox")
    (path / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1000::/home/guest:/bin/sh\n"
    )
    return path


class Bundle:
    """A bundle, a root for state, and the runtime."""

    count = 0

    def __init__(self, directory: Path, rootfs: Path) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)
        self.state = directory / "state"
        self.config: dict[str, Any] = copy.deepcopy(CONFIG)
        self.config["root"]["path"] = str(rootfs)
        Bundle.count += 1
        self.id = f"inn-test-{os.getpid()}-{Bundle.count}"
        cache = f"pycache_prefix={directory.parent}/bytecode"
        self.interpreter = [sys.executable, "-I", "-S", "-X", cache]
        self.program = [*self.interpreter, "-c", LAUNCH, str(REPO / "src")]
        self.name = "inn-oci"

    @property
    def process(self) -> dict[str, Any]:
        return self.config["process"]

    @property
    def linux(self) -> dict[str, Any]:
        return self.config["linux"]

    def shell(self, script: str) -> None:
        """Let the container's process be a shell with this script."""
        self.process["args"] = ["sh", "-c", script]

    def namespace(self, kind: str, path: str = "") -> None:
        """Add a namespace, or replace the one of its type."""
        rest = [one for one in self.linux["namespaces"] if one["type"] != kind]
        self.linux["namespaces"] = [*rest, {"type": kind, **({"path": path} if path else {})}]

    def without(self, kind: str) -> None:
        self.linux["namespaces"] = [n for n in self.linux["namespaces"] if n["type"] != kind]

    def mount(self, destination: str, *options: str, kind: str = "bind", source: Any = "") -> None:
        self.config["mounts"].append(
            {
                "destination": destination,
                "type": kind,
                "source": str(source),
                "options": list(options),
            }
        )

    def write(self) -> None:
        (self.directory / "config.json").write_text(json.dumps(self.config))

    def oci(self, *args: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run one command of the runtime."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        done = subprocess.run(
            [*self.program, "--root", str(self.state), *args],
            cwd=self.directory, text=True, **{**pipes, "timeout": 60, **options},
        )  # fmt: skip
        done.stderr = (done.stderr or "").replace('\\"', '"')  # the log's text is quoted
        return done

    def run(self, *args: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run the bundle in the foreground."""
        self.write()
        return self.oci("run", *args, self.id, **options)

    def output(self, script: str) -> str:
        """Run a script that must succeed and return what it printed."""
        self.shell(script)
        done = self.run()
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refused(self) -> str:
        """Run the bundle, which must be refused; return why."""
        done = self.run()
        assert done.returncode == 1, (done.returncode, done.stdout)
        assert not (self.state / self.id).exists()
        return done.stderr

    def create(self, *args: str) -> None:
        """Create, without streams that the waiting process would keep open."""
        self.write()
        done = subprocess.run(
            [*self.program, "--root", str(self.state), "--log", str(self.directory / "log"),
             "create", *args, self.id],
            cwd=self.directory, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, (self.directory / "log").read_text()

    def start(self, *args: str) -> None:
        """Create and start."""
        self.create(*args)
        assert self.oci("start", self.id).returncode == 0

    def status(self) -> str:
        done = self.oci("state", self.id)
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["status"])

    def pid(self) -> int:
        return int(json.loads(self.oci("state", self.id).stdout)["pid"])

    def cgroups(self) -> list[Path]:
        """Return the container's cgroups that are left on the host."""
        walk = os.walk("/sys/fs/cgroup")  # which passes over what other tests remove meanwhile
        return [Path(place) / name for place, names, _ in walk for name in names if self.id in name]

    def mounts(self) -> list[str]:
        """Return the host's mounts that have to do with this bundle; others come and go."""
        marks = (str(self.directory), str(self.config["root"]["path"]), self.id)
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        return [line for line in lines if any(mark in line for mark in marks)]

    def clean(self) -> None:
        """Remove the container and see that nothing is left."""
        assert self.oci("delete", "--force", self.id).returncode == 0
        assert not (self.state / self.id).exists()
        assert self.cgroups() == []


def runc_of(bundle: Bundle) -> Bundle:
    """Return the same bundle, run by the real runc; skip without."""
    path = shutil.which("runc") or shutil.which("runc", path="/usr/sbin:/sbin")
    if path is None:
        pytest.skip("no runc to compare with (apt-get install runc)")
    peer = copy.copy(bundle)
    peer.program, peer.name = [path], "runc"
    peer.state = bundle.directory / "runc-state"
    peer.id = bundle.id + "-runc"
    return peer
