"""The life of a detached container: created, started, restarted, renamed, changed, ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path

import pytest

from innkeeper.containers.state import start_time
from tests.guests.containers.harness import IMAGE, Inn, needs_root

LOOP = "trap 'echo bye; exit 4' TERM; echo out; while :; do sleep 0.1; done"


def inspect(inn: Inn, name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(inn("inspect", name).stdout)
    return found


def status(inn: Inn, name: str) -> str:
    return str(inspect(inn, name)["status"])


def pid_of(inn: Inn, name: str) -> int:
    return int(json.loads(inn("inspect", name).stdout)["state"]["pid"])


def open_files(pid: int) -> list[str]:
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # it has just been closed
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    return found


def test_create_then_start(clean: Inn) -> None:
    made = clean("create", "--name", "c", "-e", "B=two", IMAGE, "sh", "-c", "echo $B; exit 3")
    assert made.returncode == 0 and len(made.stdout.split()) == 1, made.stderr
    assert status(clean, "c") == "created" and clean("ps", "-q").stdout == b""
    assert clean("system", "prune").stdout == b"" and status(clean, "c") == "created"
    assert clean("start", "c").stdout == b"c\n"
    assert clean("wait", "c").stdout == b"3\n" and clean("logs", "c").stdout == b"two\n"
    assert clean("start", "c").returncode == 0 and clean("wait", "c").stdout == b"3\n"


def test_what_create_does_not_take(clean: Inn) -> None:
    assert clean("create", "--timeout", "1s", IMAGE, "true").returncode == 2
    assert clean("create", "nosuch:1", "true").returncode == 127
    assert clean.left() == []


def test_created_and_removed(clean: Inn) -> None:
    assert clean("create", "--rm", "--name", "c", IMAGE, "true").returncode == 0
    assert clean("rm", "c").returncode == 0 and clean.left() == []
    assert clean("create", "--name", "c", IMAGE, "true").returncode == 0
    assert len(clean("system", "prune", "--all").stdout.split()) == 1 and clean.left() == []


def test_start_attached(clean: Inn) -> None:
    script = "echo out; echo err >&2; exit 6"
    clean("create", "--name", "c", IMAGE, "sh", "-c", script)
    for _ in range(2):
        done = clean("start", "-a", "c")
        assert (done.returncode, done.stdout, done.stderr) == (6, b"out\n", b"err\n")
    assert clean("create", "--name", "bad", IMAGE, "nosuch").returncode == 0
    assert clean("start", "-a", "bad").returncode == 127 and status(clean, "bad") == "exited"


def test_start_attached_with_input(clean: Inn) -> None:
    clean("create", "-i", "--name", "c", IMAGE, "cat")
    done = clean("start", "-ai", "c", input=bytes(range(256)) * 4000)
    assert (done.returncode, done.stdout) == (0, bytes(range(256)) * 4000), done.stderr
    assert clean("start", "-a", "c", "d").returncode == 2


def test_both_ways_at_once(clean: Inn) -> None:
    """Nobody waits for the other where both have more to say than pipes and sockets hold."""
    clean("create", "-i", "--name", "c", IMAGE, "sh", "-c", "seq 300000; cat >/dev/null; exit 3")
    done = clean("start", "-ai", "c", input=bytes(4_000_000))
    assert done.returncode == 3, done.stderr
    assert done.stdout == b"".join(b"%d\n" % n for n in range(1, 300001))


@pytest.mark.parametrize("signal_name", ["KILL", "TERM"])
def test_a_kill_ends_the_restart_policy(clean: Inn, signal_name: str) -> None:
    clean.run("-d", "--name", "c", "--restart", "always", IMAGE, "sh", "-c", LOOP)
    assert clean("kill", "-s", signal_name, "c").returncode == 0
    assert clean("wait", "c").stdout == (b"137\n" if signal_name == "KILL" else b"4\n")
    record = inspect(clean, "c")["record"]
    assert isinstance(record, dict) and not record.get("restarts")
    assert status(clean, "c") == "exited"


def test_another_signal_does_not(clean: Inn) -> None:
    script = "trap 'exit 5' HUP; echo up; while :; do sleep 0.1; done"
    clean.run("-d", "--name", "c", "--restart", "always", IMAGE, "sh", "-c", script)
    with clean.start("logs", "-f", "c") as following:
        assert following.stdout is not None and following.stdout.readline() == b"up\n"
        assert clean("kill", "-s", "HUP", "c").returncode == 0
        assert following.stdout.readline() == b"up\n"
        clean("stop", "-t", "0", "c")
    assert clean("kill", "c").returncode == 125 and clean("kill", "-s", "NO", "c").returncode == 2


def test_restart(clean: Inn) -> None:
    clean.run("-d", "--name", "c", IMAGE, "sh", "-c", LOOP)
    first = pid_of(clean, "c")
    assert clean("exec", "c", "touch", "/mark").returncode == 0
    assert clean("restart", "c").stdout == b"c\n"
    assert pid_of(clean, "c") != first and start_time(first) is None
    assert clean("exec", "c", "ls", "/mark").returncode == 0
    clean("stop", "c")
    assert clean("restart", "c").returncode == 0 and status(clean, "c") == "running"
    assert clean("stop", "c").returncode == 0
    assert clean("logs", "c").stdout == b"out\nbye\n" * 3
    assert clean("restart", "nosuch").returncode == 127


def test_restart_of_one_that_is_removed_at_its_end(clean: Inn) -> None:
    clean.run("-d", "--rm", "--name", "c", IMAGE, "sh", "-c", LOOP)
    assert clean("restart", "c").returncode == 0 and status(clean, "c") == "running"
    assert clean("stop", "c").returncode == 0 and clean.left() == []


def test_rename(clean: Inn) -> None:
    """A name that could be the beginning of an id would find another container."""
    clean.run("-d", "--name", "web", IMAGE, "sh", "-c", LOOP)
    clean("create", "--name", "other", IMAGE, "true")
    assert clean("rename", "web", "other").returncode == 125
    assert (
        clean("rename", "web", "-x").returncode == 2
        and clean("rename", "web", "web").returncode == 2
    )
    assert clean("rename", "web", "new").returncode == 0
    assert status(clean, "new") == "running" and clean("inspect", "web").returncode == 127
    assert clean("create", "--name", "web", IMAGE, "true").returncode == 0  # the name is free
    assert clean("rm", "-f", "new").returncode == 0
    assert clean("create", "--name", "new", IMAGE, "true").returncode == 0


@needs_root
def test_update_of_one_that_runs(clean: Inn) -> None:
    clean.run("-d", "--name", "c", "--memory", "64M", IMAGE, "sh", "-c", LOOP)
    words = ["--memory", "32M", "--cpus", "0.25", "--pids-limit", "17", "--restart", "always"]
    assert clean("update", *words, "c").stdout == b"c\n"

    def limits() -> tuple[str, ...]:
        files = (
            ("memory/memory.limit_in_bytes", "memory.max"), ("cpu/cpu.cfs_quota_us", "cpu.max"),
            ("pids/pids.max", "pids.max"),
        )  # fmt: skip
        script = "; ".join(
            f"cat /sys/fs/cgroup/{a} 2>/dev/null || cat /sys/fs/cgroup/{b}" for a, b in files
        )
        done = clean("exec", "c", "sh", "-c", script)
        return tuple(line.split()[0] for line in done.stdout.decode().splitlines())

    expected = (str(32 << 20), "25000", "17")
    assert limits() == expected
    assert clean("restart", "c").returncode == 0 and limits() == expected
    assert clean("update", "--memory", "128M", "c").returncode == 0
    assert limits() == (str(128 << 20), "25000", "17")
    record = inspect(clean, "c")["record"]
    assert isinstance(record, dict) and record["restart"] == "always"
    assert record["request"]["options"]["memory_bytes"] == 128 << 20


def test_update_of_the_policy(clean: Inn) -> None:
    clean.run("-d", "--name", "c", "--restart", "always", IMAGE, "sh", "-c", LOOP)
    assert clean("update", "--restart", "sometimes", "c").returncode == 2
    assert clean("update", "c").returncode == 2
    assert clean("update", "--memory", "1M", "c").returncode == 2
    assert clean("update", "--restart", "no", "c").returncode == 0
    os.kill(pid_of(clean, "c"), signal.SIGKILL)  # not by `inn kill`, which is a wish for its end
    assert clean("wait", "c").stdout == b"137\n"


def test_waiting_for_conditions(clean: Inn) -> None:
    clean("create", "--name", "c", IMAGE, "sh", "-c", LOOP)
    assert clean("wait", "--condition", "created", "c").stdout == b"-1\n"
    with clean.start("wait", "--condition", "running", "c") as waiting:
        clean("start", "c")
        assert waiting.communicate()[0] == b"-1\n" and waiting.returncode == 0
    assert clean("wait", "--condition", "healthy", "c").returncode == 125
    lock = f"{inspect(clean, 'c')['folder']}/lock"
    with clean.start("wait", "--condition", "removed", "c") as waiting:
        while lock not in open_files(waiting.pid):
            pass
        clean("rm", "-f", "c")
        waiting.communicate()
        assert waiting.returncode == 0


def test_a_killed_inn_takes_its_container_with_it(clean: Inn) -> None:
    """Also where the command is another user's, whose process loses what was asked: prctl(2)."""
    users = [[], ["-u", "web"]] if os.geteuid() == 0 else [[]]
    for user in users:
        words = ["run", "--engine", "container", "--name", "c", *user, IMAGE]
        with clean.start(*words, "sh", "-c", "echo ready; sleep 1000") as running:
            assert running.stdout is not None and running.stdout.readline() == b"ready\n"
            first = pid_of(clean, "c")
            running.kill()
            assert running.stdout.read() == b""  # nobody has it open any more
            while start_time(first) is not None:
                pass
        assert clean("system", "prune").returncode == 0 and clean.left() == []


def test_so_does_the_process_beside_it(clean: Inn) -> None:
    clean.run("-d", "--name", "c", "--restart", "always", IMAGE, "sh", "-c", LOOP)
    clean("restart", "c")  # by way of the process that stays
    first = pid_of(clean, "c")
    stat = Path(f"/proc/{first}/stat").read_text().rpartition(")")[2].split()
    os.kill(int(stat[1]), signal.SIGKILL)
    while start_time(first) is not None:
        pass
    assert len(clean("system", "prune").stdout.split()) == 1
    assert status(clean, "c") == "exited"


def test_it_is_small(clean: Inn) -> None:
    """At most 4 MiB of memory of its own for each detached container with a log."""
    clean.run("-d", "--name", "c", IMAGE, "sh", "-c", f"seq 20000; {LOOP}")
    with clean.start("logs", "-f", "c") as following:
        assert following.stdout is not None
        while following.stdout.readline() != b"out\n":
            pass
        stat = Path(f"/proc/{pid_of(clean, 'c')}/stat").read_text().rpartition(")")[2].split()
        rollup = Path(f"/proc/{stat[1]}/smaps_rollup").read_text().splitlines()
        own = sum(int(line.split()[1]) for line in rollup if line.startswith("Private_"))
        assert own <= 4096, rollup
        clean("stop", "-t", "0", "c")


@pytest.mark.parametrize("command", ["start", "attach", "logs", "stop", "rm", "rename", "cp"])
def test_names_are_completed(clean: Inn, command: str) -> None:
    clean("create", "--name", "complete-me", IMAGE, "true")
    clean.env |= {"COMP_WORDS": f"inn {command} comp", "COMP_CWORD": "2"}
    clean.env["_INN_COMPLETE"] = "bash_complete"
    try:
        done = clean()
    finally:
        for name in ("COMP_WORDS", "COMP_CWORD", "_INN_COMPLETE"):
            del clean.env[name]
    assert b"plain,complete-me" in done.stdout
