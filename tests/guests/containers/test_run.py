"""`inn run --engine container` in the foreground, on real containers."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from pathlib import Path

import pytest

from tests.guests.containers.harness import IMAGE, Inn, needs_root

EVERY_BYTE = bytes(range(256)) * 500


def cgroup_file(inn: Inn, names: list[str], *options: str) -> bytes:
    """Read the first of some files of the container's cgroup, from inside."""
    script = " || ".join(f"cat /sys/fs/cgroup/{name} 2>/dev/null" for name in names)
    return inn.run(*options, IMAGE, "sh", "-c", script).stdout


def test_streams_are_byte_exact_and_separate(inn: Inn) -> None:
    done = inn.run(IMAGE, "--", "sh", "-c", "cat; echo wrong >&2; exit 7", input=EVERY_BYTE)
    assert (done.returncode, done.stdout, done.stderr) == (7, EVERY_BYTE, b"wrong\n")
    assert inn.left() == []


def test_defaults_are_the_images(inn: Inn) -> None:
    assert inn.run(IMAGE).stdout == b"/etc\n"
    done = inn.run(IMAGE, "sh", "-c", "echo $A; id -u; hostname")
    assert done.stdout.split()[:2] == [b"image", b"0"]
    options = ["-e", "A=mine", "-w", "/bin", "--name", "inside"]
    done = inn.run(*options, IMAGE, "sh", "-c", "echo $A; pwd; hostname")
    assert done.stdout.split() == [b"mine", b"/bin", b"inside"]


@needs_root
def test_another_user(inn: Inn) -> None:
    done = inn.run("-u", "web", IMAGE, "id")
    assert done.stdout.startswith(b"uid=33(web) gid=34(www)")


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [(["nosuch"], 127, "not there"), (["/etc/passwd"], 126, "cannot be executed"),
     (["sh", "-c", "kill -9 $$; kill -TERM 1; exit 3"], 3, "")],
)  # fmt: skip
def test_exit_statuses(inn: Inn, command: list[str], status: int, said: str) -> None:
    done = inn.run(IMAGE, *command)
    assert done.returncode == status and said in done.stderr.decode()
    assert inn.left() == []


@pytest.mark.parametrize(
    ("options", "status"),
    [(["--network", "ns:"], 2), (["--network", "none:x"], 2), (["--kernel", "k"], 2),
     (["--cap-add", "FLY"], 2),
     (["--name", "../x"], 2), (["-d", "--timeout", "1s"], 2), (["--memory", "1K"], 2), (["--user", "who"], 127)],
)  # fmt: skip
def test_what_cannot_be(inn: Inn, options: list[str], status: int) -> None:
    done = inn.run(*options, IMAGE, "true")
    assert done.returncode == status and done.stderr.startswith(b"inn: "), done.stderr
    assert inn.left() == []


def test_containers_options_are_not_for_machines(inn: Inn) -> None:
    done = inn("run", "--read-only", "busybox")
    assert done.returncode == 2 and b"--engine container" in done.stderr


def test_time_is_over(inn: Inn) -> None:
    done = inn.run("--timeout", "0.5", IMAGE, "sleep", "1000")
    assert done.returncode == 124 and b"0.5 s" in done.stderr
    assert inn.left() == []


def test_signals_go_on_to_the_command(inn: Inn) -> None:
    script = "trap 'echo got; exit 5' USR1; echo ready; while :; do sleep 0.1; done"
    with inn.start("run", "--engine", "container", IMAGE, "sh", "-c", script) as running:
        assert running.stdout is not None and running.stdout.readline() == b"ready\n"
        running.send_signal(signal.SIGUSR1)
        assert running.stdout.read() == b"got\n" and running.wait() == 5


def test_a_second_interrupt_ends_what_ignores_the_first(inn: Inn) -> None:
    with inn.start(
        "run", "--engine", "container", IMAGE, "sh", "-c", "echo ready; sleep 1000"
    ) as running:
        assert running.stdout is not None and running.stdout.readline() == b"ready\n"
        running.send_signal(signal.SIGINT)
        status = None
        while status is None:
            running.send_signal(signal.SIGINT)
            try:
                status = running.wait(0.3)
            except subprocess.TimeoutExpired:
                continue
        assert status == 130
    assert inn.left() == []


def test_a_terminal(inn: Inn) -> None:
    until = '[ "$(stty size)" = "44 55" ]'
    script = f"stty size; until {until}; do sleep 0.1; done; echo resized; read x; echo '<'$x'>'"
    main, other = pty.openpty()
    import fcntl
    import struct
    import termios

    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
    with inn.start(
        "run", "--engine", "container", "-it", IMAGE, "sh", "-c", script,
        stdin=other, stdout=other, stderr=other,
    ) as running:  # fmt: skip
        os.close(other)
        seen = b""
        while b"33 101" not in seen:
            seen += os.read(main, 4096)
        fcntl.ioctl(main, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 55, 0, 0))
        running.send_signal(signal.SIGWINCH)
        while b"resized" not in seen:
            seen += os.read(main, 4096)
        os.write(main, b"typed\r")
        while b"<typed>" not in seen:
            seen += os.read(main, 4096)
        assert running.wait() == 0
    os.close(main)


@needs_root
def test_a_memory_hog_is_killed_and_it_is_said(inn: Inn) -> None:
    done = inn.run("--memory", "16M", IMAGE, "tail", "/dev/zero")
    assert done.returncode == 137
    assert b"killed: it used more memory than 16 MiB" in done.stderr
    assert inn.left() == []


@needs_root
def test_a_fork_bomb_stops_at_the_limit(inn: Inn) -> None:
    script = "for i in $(seq 40); do sleep 1000 & done; echo all"
    done = inn.run("--pids-limit", "20", IMAGE, "sh", "-c", script)
    assert done.returncode != 0 and b"all" not in done.stdout and b"fork" in done.stderr
    assert inn.left() == []


@needs_root
def test_a_share_of_a_processor(inn: Inn) -> None:
    found = cgroup_file(inn, ["cpu.max", "cpu/cpu.cfs_quota_us"], "--cpus", "0.25")
    assert found.split()[0] == b"25000"


def test_what_a_container_may_not(inn: Inn) -> None:
    assert inn.run(IMAGE, "touch", "/x").returncode == 0
    done = inn.run("--read-only", IMAGE, "touch", "/x")
    assert done.returncode == 1 and b"Read-only" in done.stderr
    script = "cat /proc/self/status"
    status = inn.run(
        "--cap-drop", "ALL", "--security-opt", "no-new-privileges", IMAGE, "sh", "-c", script
    )
    lines = dict(line.split(":\t") for line in status.stdout.decode().splitlines() if ":\t" in line)
    assert int(lines["CapBnd"], 16) == 0 and lines["NoNewPrivs"] == "1" and lines["Seccomp"] == "2"
    done = inn.run("--security-opt", "seccomp=unconfined", IMAGE, "sh", "-c", script)
    assert b"Seccomp:\t0" in done.stdout


def test_networks(inn: Inn) -> None:
    def interfaces(*options: str) -> set[str]:
        done = inn.run(*options, IMAGE, "cat", "/proc/net/dev")
        return {line.split(":")[0].strip() for line in done.stdout.decode().splitlines()[2:]}

    assert interfaces() - {"lo", "tunl0", "sit0", "ip6tnl0", "gre0", "gretap0", "erspan0"} == set()
    here = {
        line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:]
    }
    assert interfaces("--network", "host") == here


def test_volumes(inn: Inn, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("here")
    script = "cat /v/a; echo more >/v/b; touch /r/x"
    done = inn.run("-v", f"{tmp_path}:/v", "-v", f"{tmp_path}:/r:ro", IMAGE, "sh", "-c", script)
    assert done.stdout == b"here" and b"Read-only" in done.stderr
    assert (tmp_path / "b").read_text() == "more\n"


def test_a_killed_inn_is_cleaned_up_after(inn: Inn) -> None:
    with inn.start(
        "run", "--engine", "container", IMAGE, "sh", "-c", "echo ready; sleep 1000"
    ) as running:
        assert running.stdout is not None and running.stdout.readline() == b"ready\n"
        running.kill()
        running.wait()
        assert len(inn.left()) > 0
        assert inn.run(IMAGE, "true").returncode == 0
        assert inn.left() == []
        assert running.stdout.read() == b""  # nothing of the container's has it open any more


@needs_root
def test_a_network_of_another_container(inn: Inn) -> None:
    first = inn.run("-d", "--rm", "--name", "first", IMAGE, "sleep", "1000")
    assert first.returncode == 0, first.stderr
    seen = inn("exec", "first", "readlink", "/proc/self/ns/net").stdout
    for network in ("container:first", f"ns:/proc/{_pid(inn, 'first')}/ns/net"):
        done = inn.run("--network", network, IMAGE, "readlink", "/proc/self/ns/net")
        assert (done.returncode, done.stdout) == (0, seen), done.stderr
    assert inn.run(IMAGE, "readlink", "/proc/self/ns/net").stdout != seen
    assert inn("rm", "-f", "first").returncode == 0
    assert inn.run("--network", "container:first", IMAGE, "true").returncode == 127
    assert inn.run("--network", "ns:/etc/passwd", IMAGE, "true").returncode == 125
    assert inn.left() == []


def _pid(inn: Inn, name: str) -> int:
    found: int = json.loads(inn("inspect", name).stdout)["state"]["pid"]
    return found
