"""create, start, state, kill, delete, run: runtime.md "Operations", with runc's words and statuses."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.containers.oci.kit import Bundle, runc_of


@pytest.mark.parametrize(
    "script,status", [("exit 0", 0), ("exit 7", 7), ("sh -c 'kill -9 $$'; exit $?", 137)]
)
def test_run_ends_with_the_status_of_the_process(bundle: Bundle, script: str, status: int) -> None:
    bundle.shell(script)
    assert bundle.run().returncode == status
    assert not (bundle.state / bundle.id).exists() and bundle.cgroups() == []


def test_a_signal_that_ends_the_first_process_shows_in_the_status(bundle: Bundle) -> None:
    bundle.shell("trap 'exit 3' TERM; echo up; while :; do sleep 0.1; done")
    bundle.write()
    with subprocess.Popen(
        [*bundle.program, "--root", str(bundle.state), "run", bundle.id],
        cwd=bundle.directory, stdout=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        assert running.stdout is not None and running.stdout.readline() == "up\n"
        running.send_signal(signal.SIGTERM)  # passed on to the container
        assert running.wait(30) == 3


def test_the_states_of_a_container(bundle: Bundle) -> None:
    bundle.process["args"] = ["sleep", "1000"]
    pid_file = bundle.directory / "pid"
    bundle.create("--pid-file", str(pid_file))
    assert bundle.status() == "created"
    assert int(pid_file.read_text()) == bundle.pid()
    assert bundle.oci("start", bundle.id).returncode == 0
    assert bundle.status() == "running"
    again = bundle.oci("start", bundle.id)
    assert again.returncode == 1 and "cannot start an already running container" in again.stderr
    refused = bundle.oci("delete", bundle.id)
    assert f"cannot delete container {bundle.id} that is not stopped: running" in refused.stderr
    assert bundle.oci("kill", bundle.id, "KILL").returncode == 0
    _wait_stopped(bundle)
    assert "container not running" in bundle.oci("kill", bundle.id).stderr
    assert bundle.oci("delete", bundle.id).returncode == 0
    assert "container does not exist" in bundle.oci("state", bundle.id).stderr


def _wait_stopped(bundle: Bundle) -> None:
    deadline = time.monotonic() + 30
    while bundle.status() != "stopped":
        assert time.monotonic() < deadline


def test_the_process_runs_only_after_start(own_bundle: Bundle) -> None:
    own_bundle.shell("touch /ran; sleep 1000")
    own_bundle.create()
    ran = Path(own_bundle.config["root"]["path"]) / "ran"
    assert not ran.exists()
    own_bundle.oci("start", own_bundle.id)
    deadline = time.monotonic() + 30
    while not ran.exists():
        assert time.monotonic() < deadline


def test_a_waiting_container_is_deleted_without_force(bundle: Bundle) -> None:
    bundle.create()
    assert bundle.oci("delete", bundle.id).returncode == 0
    assert not (bundle.state / bundle.id).exists()


def test_ids(bundle: Bundle) -> None:
    bundle.create()
    bundle.write()
    taken = bundle.oci("create", bundle.id)
    assert taken.returncode == 1 and "container with given ID already exists" in taken.stderr
    for bad in ("a/b", "..", "a b", "é"):
        done = bundle.oci("run", bad)
        assert done.returncode == 1 and "invalid container ID format" in done.stderr


def test_delete_force_of_what_is_not_there(bundle: Bundle) -> None:
    assert bundle.oci("delete", "--force", "nobody").returncode == 0
    done = bundle.oci("delete", "nobody")
    assert done.returncode == 1 and "container does not exist" in done.stderr


def test_pause_and_resume(bundle: Bundle) -> None:
    bundle.process["args"] = ["sleep", "1000"]
    bundle.start()
    assert bundle.oci("pause", bundle.id).returncode == 0
    assert bundle.status() == "paused"
    held = bundle.oci("exec", bundle.id, "true")
    assert held.returncode == 255 and "cannot exec in a paused container" in held.stderr
    assert bundle.oci("resume", bundle.id).returncode == 0
    assert bundle.status() == "running"
    assert "container not paused" in bundle.oci("resume", bundle.id).stderr


def test_list_ps_and_events(bundle: Bundle) -> None:
    bundle.process["args"] = ["sleep", "1000"]
    bundle.config["annotations"] = {"who": "me"}
    bundle.start()
    listed = json.loads(bundle.oci("list", "-f", "json").stdout)
    assert [(one["id"], one["status"], one["owner"]) for one in listed] == [
        (bundle.id, "running", "root")
    ]
    assert listed[0]["annotations"] == {"who": "me"}
    assert bundle.oci("list", "-q").stdout == f"{bundle.id}\n"
    assert bundle.oci("list").stdout.splitlines()[0].split() == [
        "ID",
        "PID",
        "STATUS",
        "BUNDLE",
        "CREATED",
        "OWNER",
    ]
    assert json.loads(bundle.oci("ps", "-f", "json", bundle.id).stdout) == [bundle.pid()]
    table = bundle.oci("ps", bundle.id).stdout.splitlines()
    assert len(table) == 2 and table[1].endswith("sleep 1000")
    event = json.loads(bundle.oci("events", "--stats", bundle.id).stdout)
    assert event["type"] == "stats" and event["id"] == bundle.id
    assert event["data"]["pids"]["current"] == 1


def test_update_changes_a_limit(bundle: Bundle) -> None:
    bundle.process["args"] = ["sleep", "1000"]
    bundle.linux["resources"] = {"pids": {"limit": 50}}
    bundle.start()
    assert bundle.oci("update", "--pids-limit", "7", bundle.id).returncode == 0
    event = json.loads(bundle.oci("events", "--stats", bundle.id).stdout)
    assert event["data"]["pids"]["limit"] == 7
    done = bundle.oci("update", "-r", "-", bundle.id, stdin=None, input='{"pids": {"limit": "x"}}')
    assert done.returncode == 1 and "resources.pids.limit" in done.stderr


def test_state_is_what_runc_says(bundle: Bundle) -> None:
    bundle.process["args"] = ["sleep", "1000"]
    bundle.config["annotations"] = {"a": "b"}
    peer = runc_of(bundle)
    reports = []
    for one in (bundle, peer):
        one.start()
        report = json.loads(one.oci("state", one.id).stdout)
        listed = json.loads(one.oci("list", "-f", "json").stdout)[0]
        assert listed == {**report, "owner": "root"}
        assert report.pop("id") == one.id
        assert isinstance(report.pop("pid"), int)
        assert report.pop("created").endswith("Z")
        del report["ociVersion"]
        reports.append(report)
        one.oci("delete", "-f", one.id)
    assert reports[0] == reports[1]


SPOILED = {
    "no such program on PATH": lambda c: c["process"].update(args=["nosuch"]),
    "no such program": lambda c: c["process"].update(args=["/nosuch"]),
    "no arguments": lambda c: c["process"].update(args=[]),
    "no root": lambda c: c["root"].update(path="/nope"),
    "hostname without uts": lambda c: (
        c.update(hostname="x"), c["linux"].update(namespaces=[{"type": "mount"}, {"type": "pid"}])
    ),
    "namespace twice": lambda c: c["linux"]["namespaces"].append({"type": "pid"}),
    "no such namespace": lambda c: c["linux"]["namespaces"].append({"type": "bogus"}),
    "sysctl of the host": lambda c: c["linux"].update(sysctl={"kernel.foo": "1"}),
    "source missing": lambda c: c["mounts"].append(
        {"destination": "/mnt", "type": "bind", "source": "/nope", "options": ["bind"]}
    ),
    "hook fails": lambda c: c.update(hooks={"prestart": [{"path": "/bin/false"}]}),
}  # fmt: skip


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_errors_read_like_runcs(bundle: Bundle, spoil: object) -> None:
    """The log is what callers parse: the same message but for the program's name and our reasons."""
    spoil(bundle.config)  # type: ignore[operator]
    peer, said = runc_of(bundle), []
    for one in (bundle, peer):
        one.write()
        log = one.directory / f"{one.name}.json"
        done = one.oci("--log", str(log), "--log-format", "json", "run", one.id)
        assert done.returncode == 1
        entry = [e for e in map(json.loads, log.read_text().splitlines()) if e["level"] == "error"][
            -1
        ]
        assert set(entry) == {"level", "msg", "time"}
        assert done.stderr.splitlines()[-1] == entry["msg"]
        said.append(entry["msg"].removeprefix(f"{one.name} run failed: "))
    assert said[0].startswith(said[1].rstrip(": \n")[:60])


def test_usage_errors(bundle: Bundle) -> None:
    assert bundle.oci("bogus").returncode == 3
    assert "flag provided but not defined: -bogus" in bundle.oci("run", "--bogus", "x").stderr
    assert "requires exactly 1 argument(s)" in bundle.oci("run").stderr
    assert "flag needs an argument: -bundle" in bundle.oci("run", "--bundle").stderr
    assert bundle.oci("--version").stdout.startswith("inn-oci version ")
    assert (
        "chdir /nonexistent: no such file or directory"
        in bundle.oci("run", "-b", "/nonexistent", "x").stderr
    )
    assert "config.json not found" in bundle.oci("run", "x").stderr


def test_preserved_descriptors(bundle: Bundle) -> None:
    bundle.shell("[ -e /proc/self/fd/3 ] && echo three; [ -e /proc/self/fd/4 ] && echo four; true")
    opener = ["sh", "-c", 'exec 3</dev/null 4</dev/null; exec "$@"', "sh"]
    bundle.program = [*opener, *bundle.program]
    assert bundle.run().stdout == ""
    assert bundle.run("--preserve-fds", "1").stdout == "three\n"
    assert bundle.run("--preserve-fds", "2").stdout == "three\nfour\n"
    missing = bundle.run("--preserve-fds", "9")
    assert missing.returncode == 1 and "descriptor" in missing.stderr
