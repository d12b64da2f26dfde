"""podman, and containerd through its runc shim, with inn-oci in runc's place."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.containers.oci import kit

LIMITS = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"]  # what any root may set
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program as callers expect one: a path without arguments."""
    kit.need_root()
    home = tmp_path_factory.mktemp("driver")
    program = kit.Bundle(home / "bundle", Path("/")).program
    path = home / "inn-oci"
    words = " ".join(f"'{word}'" for word in program)
    path.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    path.chmod(0o755)
    return path


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("image")
    kit.make_rootfs(home / "rootfs")
    with tarfile.open(home / "rootfs.tar", "w") as tar:
        tar.add(home / "rootfs", arcname=".")
    return home / "rootfs.tar"


@pytest.fixture(scope="module")
def podman(runtime: Path, archive: Path) -> Iterator[Run]:
    if shutil.which("podman") is None:
        pytest.skip("no podman on this host (apt-get install podman)")
    home = Path(tempfile.mkdtemp(prefix="inn-podman-", dir="/tmp"))  # podman wants short paths
    command = [
        "podman", "--root", str(home / "root"), "--runroot", str(home / "run"), "--storage-driver", "vfs",
        "--cgroup-manager", "cgroupfs", "--events-backend", "none", "--runtime", str(runtime),
    ]  # fmt: skip

    def run(*args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*command, *args], capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    probe = run("import", str(archive), "localhost/inn-test", check=False)
    if probe.returncode:
        pytest.skip(f"podman does not work here: {probe.stderr.strip()[-200:]}")
    yield run
    run("rm", "-f", "-t", "0", "--all", check=False)
    run("rmi", "-f", "--all", check=False)
    shutil.rmtree(home, ignore_errors=True)


def fresh(podman: Run, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return podman("run", "--rm", "--network", "none", *LIMITS, *args, check=check)


def test_podman_runs(podman: Run) -> None:
    assert fresh(podman, "localhost/inn-test", "echo", "hello").stdout == "hello\n"
    assert fresh(podman, "localhost/inn-test", "sh", "-c", "exit 9", check=False).returncode == 9


def test_podman_knows_what_failed(podman: Run) -> None:
    missing = fresh(podman, "localhost/inn-test", "nosuch", check=False)
    assert missing.returncode == 127 and "executable file not found" in missing.stderr
    directory = fresh(podman, "localhost/inn-test", "/etc", check=False)
    assert directory.returncode == 126


def test_podman_options_reach_the_container(podman: Run, tmp_path: Path) -> None:
    script = "id -u; hostname; pwd; touch /x 2>/dev/null || echo ro; touch /mnt/x && echo rw; grep Seccomp: /proc/self/status"
    said = fresh(
        podman, "-u", "1000:1000", "--hostname", "inn", "-w", "/tmp", "--read-only", "-v", f"{tmp_path}:/mnt",
        "--pids-limit", "50", "-m", "64m", "localhost/inn-test", "sh", "-c", f"chmod 1 /mnt 2>/dev/null; {script}",
        check=False,
    )  # fmt: skip
    assert (
        said.stdout.split()[:4] == ["1000", "inn", "/tmp", "ro"] and said.stdout.split()[-1] == "2"
    )


def test_podman_life_cycle(podman: Run) -> None:
    podman(
        "run",
        "-d",
        "--name",
        "life",
        "--network",
        "none",
        *LIMITS,
        "localhost/inn-test",
        "sleep",
        "1000",
    )
    done = podman("exec", "life", "sh", "-c", "echo in; exit 4", check=False)
    assert (done.returncode, done.stdout) == (4, "in\n")
    assert podman("exec", "-t", "life", "tty").stdout.strip() == "/dev/pts/0"
    podman("pause", "life")
    assert state(podman, "life") == "paused"
    podman("unpause", "life")
    assert state(podman, "life") == "running"
    stats = json.loads(podman("stats", "--no-stream", "--format", "json", "life").stdout)
    assert stats[0]["pids"] == "1"
    podman("stop", "-t", "0", "life")
    assert state(podman, "life") == "exited"
    podman("rm", "life")
    assert podman("inspect", "life", check=False).returncode != 0


def state(podman: Run, name: str) -> str:
    return podman("inspect", "--format", "{{.State.Status}}", name).stdout.strip()


def test_podman_shares_namespaces(podman: Run) -> None:
    podman(
        "run",
        "-d",
        "--name",
        "first",
        "--network",
        "none",
        *LIMITS,
        "localhost/inn-test",
        "sleep",
        "1000",
    )
    said = podman("run", "--rm", *LIMITS, "--pid", "container:first", "--ipc", "container:first",
                  "--network", "container:first", "localhost/inn-test", "ps")  # fmt: skip
    assert "sleep 1000" in said.stdout
    podman("rm", "-f", "-t", "0", "first")


def test_podman_with_a_user_namespace(podman: Run) -> None:
    done = fresh(
        podman,
        "--uidmap",
        "0:100000:65536",
        "localhost/inn-test",
        "cat",
        "/proc/self/uid_map",
        check=False,
    )
    if done.returncode and "permission denied" in done.stderr:
        pytest.skip("podman's storage is out of the mapped root's reach here")
    assert done.stdout.split() == ["0", "100000", "65536"], done.stderr


@pytest.fixture(scope="module")
def ctr(runtime: Path, podman: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    if shutil.which("containerd") is None or shutil.which("containerd-shim-runc-v2") is None:
        pytest.skip("no containerd on this host (apt-get install containerd)")
    home = tmp_path_factory.mktemp("containerd")
    (home / "config.toml").write_text(
        f'version = 2\nroot = "{home}/root"\nstate = "{home}/state"\n'
        f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\n  address = "{home}/c.sock"\n'
    )
    log = (home / "log").open("w")
    server = subprocess.Popen(
        ["containerd", "-c", str(home / "config.toml")], stdout=log, stderr=log
    )

    def run(*args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["ctr", "-a", f"{home}/c.sock", *args], capture_output=True, text=True, timeout=120,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        return done

    try:
        deadline = time.monotonic() + 60
        while run("version", check=False).returncode:
            if server.poll() is not None or time.monotonic() > deadline:
                pytest.skip(f"containerd does not start here: {(home / 'log').read_text()[-300:]}")
        podman(
            "save",
            "--format",
            "docker-archive",
            "-o",
            str(home / "image.tar"),
            "localhost/inn-test",
        )
        run("image", "import", str(home / "image.tar"))
        yield run
    finally:
        server.terminate()
        server.wait(60)
        log.close()


IMAGE = "localhost/inn-test:latest"


def test_containerd_runs(ctr: Run, runtime: Path) -> None:
    base = ["run", "--rm", "--runc-binary", str(runtime)]
    assert ctr(*base, IMAGE, "k1", "echo", "hello").stdout == "hello\n"
    assert ctr(*base, IMAGE, "k2", "sh", "-c", "exit 7", check=False).returncode == 7
    failed = ctr(*base, IMAGE, "k3", "nosuch", check=False)
    assert (
        failed.returncode == 1
        and 'exec: "nosuch": executable file not found in $PATH' in failed.stderr
    )


def test_containerd_life_cycle(ctr: Run, runtime: Path) -> None:
    ctr("run", "-d", "--runc-binary", str(runtime), IMAGE, "life", "sleep", "1000")
    done = ctr("task", "exec", "--exec-id", "e", "life", "sh", "-c", "echo in; exit 3", check=False)
    assert (done.returncode, done.stdout) == (3, "in\n")
    ctr("task", "pause", "life")
    assert "PAUSED" in ctr("task", "ls").stdout
    ctr("task", "resume", "life")
    assert "RUNNING" in ctr("task", "ls").stdout
    assert "memory" in ctr("task", "metrics", "life").stdout
    assert len(ctr("task", "ps", "life").stdout.splitlines()) == 2
    ctr("task", "kill", "-s", "SIGKILL", "life")
    deadline = time.monotonic() + 60
    while "STOPPED" not in ctr("task", "ls").stdout:
        assert time.monotonic() < deadline
    ctr("task", "delete", "life", check=False)
    ctr("container", "delete", "life")
    assert not os.path.exists("/run/containerd/runc/default/life")
