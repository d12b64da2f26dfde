"""exec, terminals and hooks."""

from __future__ import annotations

import array
import json
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.containers.oci.kit import Bundle


@pytest.fixture
def running(bundle: Bundle) -> Bundle:
    bundle.process["args"] = ["sleep", "1000"]
    bundle.start()
    return bundle


def test_status_streams_and_place(running: Bundle) -> None:
    done = running.oci(
        "exec", running.id, "sh", "-c", "cat; echo err >&2; pwd; exit 9", stdin=None, input="in\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (9, "in\n/\n", "err\n")
    inside = running.oci(
        "exec",
        running.id,
        "sh",
        "-c",
        "cd /proc/self/ns; for n in pid net mnt ipc uts; do readlink $n; done",
    ).stdout.split()
    assert inside == [
        os.readlink(f"/proc/{running.pid()}/ns/{n}") for n in ("pid", "net", "mnt", "ipc", "uts")
    ]


def test_it_joins_the_containers_cgroup(running: Bundle) -> None:
    mine = running.oci("exec", running.id, "cat", "/proc/self/cgroup").stdout
    assert mine == Path(f"/proc/{running.pid()}/cgroup").read_text()


def test_options(running: Bundle) -> None:
    done = running.oci(
        "exec", "-u", "1000:7", "-g", "8", "-e", "A=B", "--cwd", "/etc", "--cap", "CAP_KILL", running.id,
        "sh", "-c", "id -u; id -G; echo $A; pwd; grep CapBnd /proc/self/status",
    )  # fmt: skip
    assert done.stdout.split() == ["1000", "7", "8", "B", "/etc", "CapBnd:", "0000000000000020"]


def test_a_process_file(running: Bundle) -> None:
    path = running.directory / "process.json"
    path.write_text(
        json.dumps(
            {"cwd": "/tmp", "args": ["sh", "-c", "pwd; echo $X"], "env": ["PATH=/bin", "X=1"]}
        )
    )
    assert running.oci("exec", "-p", str(path), running.id).stdout.split() == ["/tmp", "1"]
    path.write_text(json.dumps({"cwd": "/tmp", "args": [5]}))
    done = running.oci("exec", "-p", str(path), running.id)
    assert done.returncode == 255 and "process.args[0]" in done.stderr


def test_detached(running: Bundle, tmp_path: Path) -> None:
    done = running.oci("exec", "-d", "--pid-file", str(tmp_path / "pid"), running.id, "sleep", "1000",
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    assert done.returncode == 0
    pid = int((tmp_path / "pid").read_text())
    assert sorted(json.loads(running.oci("ps", "-f", "json", running.id).stdout)) == sorted(
        [pid, running.pid()]
    )


def test_errors(running: Bundle) -> None:
    for args, word in (
        ((), "process args cannot be empty"),
        (("nosuch",), 'exec: "nosuch": executable file not found in $PATH'),
        (("/etc",), 'exec: "/etc": is a directory'),
        (("/etc/passwd",), 'exec: "/etc/passwd": permission denied'),
    ):
        done = running.oci("exec", running.id, *args)
        assert done.returncode == 255 and word in done.stderr
    running.oci("kill", running.id, "KILL")
    running.oci("delete", "-f", running.id)
    assert "container does not exist" in running.oci("exec", running.id, "true").stderr


def test_seccomp_and_limits_hold_in_exec(bundle: Bundle) -> None:
    bundle.process["args"] = ["sleep", "1000"]
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 9, "hard": 9}]
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW",
                               "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}]}  # fmt: skip
    bundle.start()
    said = bundle.oci(
        "exec", bundle.id, "grep", "-E", "Seccomp:|files", "/proc/self/status", "/proc/self/limits"
    ).stdout
    assert "Seccomp:\t2" in said and said.split()[-3:-1] == ["9", "9"]


def test_a_terminal_in_the_foreground(running: Bundle) -> None:
    done = running.oci("exec", "-t", running.id, "sh", "-c", "tty; exit 4")
    assert (done.returncode, done.stdout) == (4, "/dev/pts/0\n")


def receive(server: socket.socket) -> tuple[int, str]:
    connection, _ = server.accept()
    with connection:
        name, extra, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(4))
    return array.array("i", extra[0][2])[0], name.decode()


def test_a_console_socket(bundle: Bundle, tmp_path: Path) -> None:
    bundle.process["terminal"] = True
    bundle.process["consoleSize"] = {"height": 30, "width": 90}
    bundle.shell(
        "tty; stat -c %t /dev/console; [ -t 0 ] && echo terminal; read line; echo got $line"
    )
    bundle.write()
    refused = bundle.oci("create", bundle.id)
    assert refused.returncode == 1 and "without setting console socket" in refused.stderr
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "console"))
        server.listen()
        server.settimeout(30)
        bundle.create("--console-socket", str(tmp_path / "console"))
        master, name = receive(server)
    assert name == "/dev/pts/0"
    with os.fdopen(master, "r+b", buffering=0) as terminal:
        assert os.get_terminal_size(master) == (90, 30)
        bundle.oci("start", bundle.id)
        terminal.write(b"word\n")
        text = b""
        try:
            while chunk := os.read(master, 4096):
                text += chunk
        except OSError:  # the last process has closed it
            pass
    assert (
        text.split() == [b"word", b"/dev/pts/0", b"88", b"terminal", b"got", b"word"]
        or b"got word" in text
    )
    assert b"/dev/pts/0" in text and b"terminal" in text


POINTS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


def hook(tmp_path: Path, point: str, then: str = "") -> dict[str, Any]:
    script = f"cat > {tmp_path}/{point}.json; readlink /proc/self/ns/mnt > {tmp_path}/{point}.ns; {then} true"
    return {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}


def test_hooks_at_every_point(bundle: Bundle, tmp_path: Path) -> None:
    bundle.config["hooks"] = {
        point: [hook(tmp_path, point)] for point in POINTS if point != "startContainer"
    }
    bundle.mount("/mnt", "bind", source=tmp_path)
    inside = "cat > /mnt/startContainer.json"
    bundle.config["hooks"]["startContainer"] = [{"path": "/bin/sh", "args": ["sh", "-c", inside]}]
    bundle.shell("while [ ! -e /mnt/poststart.json ]; do :; done")
    bundle.config["annotations"] = {"k": "v"}
    done = bundle.run()
    assert done.returncode == 0, done.stderr
    states = {point: json.loads((tmp_path / f"{point}.json").read_text()) for point in POINTS}
    for state in states.values():
        assert state["id"] == bundle.id and state["bundle"] == str(bundle.directory)
        assert state["annotations"] == {"k": "v"}
    assert [states[point]["status"] for point in POINTS] == ["creating"] * 3 + [
        "created",
        "running",
        "stopped",
    ]
    assert states["prestart"]["pid"] == states["createContainer"]["pid"] > 1
    own = os.readlink("/proc/self/ns/mnt") + "\n"
    read = {
        point: (tmp_path / f"{point}.ns").read_text()
        for point in POINTS
        if point != "startContainer"
    }
    assert read["prestart"] == read["poststop"] == own != read["createContainer"]


def test_a_container_that_is_being_made_says_so(bundle: Bundle, tmp_path: Path) -> None:
    """A hook asks for the state meanwhile, and deleting is refused."""
    asks = " ".join(f"'{word}'" for word in [*bundle.program, "--root", str(bundle.state)])
    script = f"{asks} state {bundle.id} > {tmp_path}/state; {asks} delete {bundle.id} 2> {tmp_path}/said; true"
    bundle.config["hooks"] = {"prestart": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}
    assert bundle.run().returncode == 0
    assert json.loads((tmp_path / "state").read_text())["status"] == "creating"
    assert "is in use by another command" in (tmp_path / "said").read_text()


def test_a_hook_that_fails_or_hangs(bundle: Bundle) -> None:
    bundle.config["hooks"] = {
        "createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "echo because; exit 3"]}]
    }
    assert (
        "error running hook #0: error running hook: exit status 3, stdout: because"
        in bundle.refused()
    )
    bundle.config["hooks"] = {
        "createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "100"], "timeout": 1}]
    }
    assert "hook ran past specified timeout of 1.0s" in bundle.refused()
    bundle.config["hooks"] = {"createContainer": [{"path": "/nowhere"}]}
    assert "error running hook #0" in bundle.refused()
    bundle.config["hooks"] = {"poststart": [{"path": "/bin/false"}]}
    done = bundle.run()
    assert done.returncode == 0 and "poststart hook" in done.stderr  # a warning and no more
