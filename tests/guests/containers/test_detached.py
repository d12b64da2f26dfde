"""Detached containers and what is done to them, on real ones."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from innkeeper.containers.state import start_time
from tests.guests.containers.harness import IMAGE, Inn, needs_root

LOOP = "trap 'echo bye; exit 4' TERM; echo out; echo err >&2; while :; do sleep 0.1; done"


@pytest.fixture
def box(inn: Inn) -> Iterator[str]:
    """A container that runs, and says so."""
    limits = ["--memory", "64M"] if os.geteuid() == 0 else []  # else they need delegation
    done = inn.run("-d", "--name", "box", *limits, IMAGE, "sh", "-c", LOOP)
    assert done.returncode == 0, done.stderr
    yield done.stdout.decode().strip()
    inn("rm", "-f", "box")
    assert inn.left() == []


def status(inn: Inn, name: str) -> str:
    rows = json.loads(inn("ps", "-a", "-o", "json").stdout)
    found: str = next(row["status"] for row in rows if row["name"] == name)
    return found


def test_a_life(inn: Inn, box: str) -> None:
    assert status(inn, "box") == "running"
    assert inn("ps", "-q").stdout.decode().split() == [box]
    refused = inn("rm", "box")
    assert refused.returncode == 125 and b"in use" in refused.stderr
    with inn.start("logs", "-f", "box") as following:
        assert following.stdout is not None and following.stdout.readline() == b"out\n"
        assert inn("stop", box[:6]).returncode == 0
        assert following.stdout.read() == b"bye\n" and following.wait() == 0
    logs = inn("logs", "box")
    assert (logs.stdout, logs.stderr) == (b"out\nbye\n", b"err\n")
    assert inn("wait", "box").stdout == b"4\n" and status(inn, "box") == "exited"
    assert inn("ps", "-q").stdout == b"" and inn("exec", "box", "true").returncode == 125
    assert inn("rm", "box").returncode == 0
    assert inn("rm", "box").returncode == 127


def test_another_command(inn: Inn, box: str) -> None:
    done = inn(
        "exec",
        "-e",
        "B=2",
        "-w",
        "/bin",
        "box",
        "--",
        "sh",
        "-c",
        "pwd; echo $B; cat; exit 6",
        input=b"\0in",
    )
    assert (done.returncode, done.stdout) == (6, b"/bin\n2\n\0in")
    assert inn("exec", "box", "nosuch").returncode == 127
    assert inn("exec", "box", "/etc/passwd").returncode == 126


@needs_root
def test_another_command_of_another_user(inn: Inn, box: str) -> None:
    assert inn("exec", "-u", "web", "box", "id").stdout.startswith(b"uid=33(web) gid=34(www)")


@needs_root
def test_a_pause(inn: Inn, box: str) -> None:
    assert inn("pause", "box").returncode == 0 and status(inn, "box") == "paused"
    assert inn("exec", "box", "true").returncode == 125
    assert inn("unpause", "box").returncode == 0 and status(inn, "box") == "running"
    inn("pause", "box")
    assert inn("stop", "box").returncode == 0
    assert inn("wait", "box").stdout == b"4\n"


@needs_root
def test_what_is_said_of_it(inn: Inn, box: str) -> None:
    used = json.loads(inn("stats", "-o", "json", "box").stdout)[0]
    assert used["memory"]["usage"]["limit"] == 64 << 20 and used["pids"]["current"] >= 1
    assert b"64.0" in inn("stats").stdout and b"sh -c trap" in inn("top", "box").stdout
    found = json.loads(inn("inspect", "box").stdout)
    assert found["id"] == box and found["config"]["process"]["args"][0] == "sh"


def test_a_name_is_taken_once(inn: Inn, box: str) -> None:
    done = inn.run("--name", "box", IMAGE, "true")
    assert done.returncode == 125 and b"already" in done.stderr
    inn("rm", "-f", "box")
    assert inn.run("--name", "box", IMAGE, "true").returncode == 0


def test_files(inn: Inn, box: str, tmp_path: Path) -> None:
    script = "mkdir /n; echo z >/n/f; rm /etc/group; mkdir /evil; rm -r /bin/cat"
    assert inn("exec", "box", "sh", "-c", f"{script}; ln -s {tmp_path} /out").returncode == 0
    lines = inn("diff", "box").stdout.decode().splitlines()
    assert {"A /n/f", "D /etc/group", "D /bin/cat", "A /out"} <= set(lines)
    assert inn("cp", "box:/n", str(tmp_path / "copy")).returncode == 0
    assert (tmp_path / "copy/f").read_text() == "z\n"
    (tmp_path / "g").write_text("mine")
    assert inn("cp", str(tmp_path / "g"), "box:/n").returncode == 0
    assert inn("exec", "box", "sh", "-c", "read x </n/g; echo $x").stdout == b"mine\n"
    # A link leads nowhere on the host: there is no such folder in the container.
    assert inn("cp", str(tmp_path / "g"), "box:/out/h").returncode == 127
    assert inn("cp", "box:/out/g", str(tmp_path / "stolen")).returncode == 127
    inn("stop", "box")
    assert inn("cp", "box:/n/g", str(tmp_path / "h")).returncode == 0
    assert (tmp_path / "h").read_text() == "mine"
    assert inn("commit", "box", "made:1", "--cmd", "ls", "--cmd", "/n").returncode == 0
    assert inn.run("made:1").stdout == b"f\ng\n"


def test_an_error_at_the_start_is_told(inn: Inn) -> None:
    done = inn.run("-d", IMAGE, "nosuch")
    assert done.returncode == 127 and b"not there" in done.stderr and done.stdout == b""
    assert inn.left() == []


def test_wait_knows_the_end_of_what_is_removed(inn: Inn) -> None:
    name = (
        inn.run("-d", "--rm", IMAGE, "sh", "-c", "trap 'exit 8' TERM; while :; do sleep 0.1; done")
        .stdout.decode()
        .strip()
    )
    with inn.start("wait", name) as waiting:
        while inn("exec", name, "true").returncode:
            pass
        lock = f"{inn.folder}/state/innkeeper/containers/{name}/lock"
        while lock not in [os.path.realpath(fd) for fd in _descriptors(waiting.pid)]:
            pass
        assert inn("kill", "-s", "TERM", name).returncode == 0
        assert waiting.stdout is not None and waiting.stdout.read() == b"8\n"
    inn("wait", name)
    assert inn.left() == []


def _descriptors(pid: int) -> list[str]:
    folder = f"/proc/{pid}/fd"
    return [f"{folder}/{name}" for name in os.listdir(folder)]


def test_a_killed_waiter_is_noticed(inn: Inn, box: str) -> None:
    init = json.loads(inn("inspect", "box").stdout)["state"]["pid"]
    stat = Path(f"/proc/{init}/stat").read_text().rpartition(")")[2].split()
    waiter = int(stat[1])
    os.kill(waiter, signal.SIGKILL)
    while start_time(waiter) is not None:  # it holds its lock until it is gone
        pass
    pruned = inn("system", "prune")
    assert pruned.stdout.decode().split() == [box]
    assert inn("wait", "box").stdout == b"255\n"
    assert start_time(init) is None  # dead, though a lazy init may not have reaped it
    assert inn("logs", "box").stdout == b"out\n"


def test_one_that_has_ended_is_started_again(inn: Inn, box: str) -> None:
    assert inn("exec", "box", "touch", "/mark").returncode == 0
    assert inn("start", "box").returncode == 125  # it runs
    inn("stop", "box")
    assert inn("start", "box").returncode == 0 and status(inn, "box") == "running"
    assert inn("exec", "box", "ls", "/mark").returncode == 0
    inn("stop", "box")
    assert inn("logs", "box").stdout == b"out\nbye\n" * 2


def test_restart_on_failure_some_times(inn: Inn) -> None:
    script = "echo x; exit 3"
    done = inn.run("-d", "--name", "again", "--restart", "on-failure:2", IMAGE, "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    assert inn("wait", "again").stdout == b"3\n" and inn("logs", "again").stdout == b"x\n" * 3
    assert inn("rm", "again").returncode == 0 and inn.left() == []


def test_restart_until_it_is_stopped(inn: Inn) -> None:
    done = inn.run("-d", "--name", "again", "--restart", "always", IMAGE, "sh", "-c", "echo x")
    assert done.returncode == 0, done.stderr
    with inn.start("logs", "-f", "again") as following:
        assert following.stdout is not None
        assert [following.stdout.readline() for _ in range(3)] == [b"x\n"] * 3
        assert inn("stop", "again").returncode == 0
    assert status(inn, "again") == "exited"
    assert inn("rm", "again").returncode == 0 and inn.left() == []


@pytest.mark.parametrize("policy", ["sometimes", "always:3", "on-failure:x"])
def test_restart_policies_that_are_none(inn: Inn, policy: str) -> None:
    assert inn.run("-d", "--restart", policy, IMAGE, "true").returncode == 2
    assert inn.run("--restart", "always", IMAGE, "true").returncode == 2
