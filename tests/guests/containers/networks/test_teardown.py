"""Every way in which a container ends leaves no interface, lease, rule or resolver behind.

That nothing is left is what the fixture `inn` looks at after each of these.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from innkeeper.containers.state import start_time
from tests.guests.containers.harness import IMAGE, TIMEOUT_S
from tests.guests.containers.networks.world import HOST, HostInn, connect, resolvers, script_in
from tests.guests.containers.test_crash import SCRIPT

PLACE = "innkeeper.guests.containers.networks"
STEPS = (
    "attaching.lease", "ports.reserve", "state.State.save", "attaching.connect",
    "links.add_veth", "attaching._configure", "host.refilter", "dns.process.ensure",
    "files.Files.write", "attaching.drop", "links.delete_link", "dns.process.end",
    "host.remove_bridge",
)  # fmt: skip


@pytest.fixture
def net(inn: HostInn) -> str:
    assert inn("network", "create", "web").returncode == 0
    return "web"


def test_a_normal_end_and_one_by_force(inn: HostInn, net: str) -> None:
    assert inn.run("--network", net, "-p", "8080:80", IMAGE, "true").returncode == 0
    assert inn.left() == []
    inn.serve("one", "--network", net, "-p", "8080:80")
    inn.serve("two", "--network", net, "--network", "bridge")
    assert len(inn.left()) > 4 and len(resolvers(inn.folder)) == 1
    assert inn("rm", "-f", "one").returncode == 0
    assert len(resolvers(inn.folder)) == 1
    assert inn("stop", "-t", "0", "two").returncode == 0  # it is kept, its network is not
    assert resolvers(inn.folder) == [] and attached(inn) == {}
    assert inn("start", "two").returncode == 0 and len(attached(inn)) == 1


def attached(inn: HostInn) -> dict[str, object]:
    path = inn.folder / "state/innkeeper/networks/attached"
    found: dict[str, object] = json.loads(path.read_text())["containers"]
    return found


def test_a_program_that_is_not_there(inn: HostInn, net: str) -> None:
    for more in ([], ["-d"], ["-d", "--rm"]):
        done = inn.run(*more, "--name", "no", "--network", net, "-p", "80", IMAGE, "nosuch")
        assert done.returncode == 127, done.stderr
        inn("rm", "-f", "no")
        assert inn.left() == []


def test_inn_is_killed(inn: HostInn, net: str) -> None:
    words = ["--network", net, "-p", "8080:80", "--ip", "10.91.0.9"]
    words[-1] = json.loads(inn("network", "inspect", net).stdout)[0]["subnets"][0]["subnet"]
    words[-1] = words[-1].replace(".0/24", ".9")
    argv = ["run", "--engine", "container", *words, IMAGE, "sh", "-c", "echo up; sleep 1000"]
    with inn.start(*argv) as running:
        assert running.stdout is not None and running.stdout.readline() == b"up\n"
        inn.serve("other", "--network", net)
        running.kill()
        running.wait()
        assert len(attached(inn)) == 2
        # The next one gets the address and the port, though nobody has pruned.
        again = inn.run(*words, IMAGE, "ip", "-4", "addr", "show", "eth0")
        assert again.returncode == 0 and words[-1].encode() in again.stdout, again.stderr
    assert inn("system", "prune").returncode == 0
    assert len(attached(inn)) == 1


def test_prune_after_everything_was_killed(inn: HostInn, net: str) -> None:
    inn.serve("one", "--rm", "--network", net, "-p", "8080:80")
    init = json.loads(inn("inspect", "one").stdout)["state"]["pid"]
    stat = Path(f"/proc/{init}/stat").read_text().rpartition(")")[2].split()
    waiter, resolver = int(stat[1]), int(resolvers(inn.folder)[0])
    for pid in (waiter, resolver):
        os.kill(pid, signal.SIGKILL)
        while start_time(pid) is not None:
            pass
    assert len(inn.left()) > 3
    assert inn("system", "prune").returncode == 0
    assert inn.left() == []


def test_prune_finds_what_no_record_knows(inn: HostInn, net: str) -> None:
    inn.serve("one", "--network", net, "-p", "8080:80")
    interface = json.loads(inn("network", "inspect", net).stdout)[0]["interface"]
    path = inn.folder / "state/innkeeper/networks/attached"
    kept = path.read_text()
    rules = inn.on_host("nft", "list", "ruleset").stdout
    assert inn("rm", "-f", "one").returncode == 0
    # As after a crash of the host's file system: the folder is gone, all else is still there.
    path.write_text(kept)
    inn.on_host("nft", "-f", "-", input=rules)
    inn.on_host("ip", "link", "add", interface, "type", "bridge")
    tag = next(w for w in rules.decode().split() if w.startswith("innkeeper-"))
    inn.on_host("ip", "link", "set", interface, "alias", f"{tag.replace('-', ' ')} {net}")
    inn.on_host("ip", "link", "add", "vlost-0", "master", interface, "type", "veth",
                "peer", "name", "vlost-1")  # fmt: skip
    assert len(inn.left()) >= 4
    pruned = inn("system", "prune").stdout.decode()
    assert "network of " in pruned
    assert inn.left() == []


def test_a_resolver_that_was_killed_comes_back(inn: HostInn, net: str) -> None:
    inn.serve("one", "--network", net)
    os.kill(int(resolvers(inn.folder)[0]), signal.SIGKILL)
    ask = "until nc one 80; do sleep 0.05; done"
    done = inn.run("--network", net, IMAGE, "sh", "-c", ask)
    assert (done.returncode, done.stdout) == (0, b"hello\n"), done.stderr


def test_port_53_is_taken(inn: HostInn, net: str, outside: tuple[str, str]) -> None:
    take = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
    take += "s.bind(('', 53)); print('taken', flush=True); s.recv(1)"
    with script_in(f"/run/netns/{outside[0]}", take) as said:
        assert said.readline() == b"taken\n"
        done = inn.run("--network", net, IMAGE, "true")
        assert done.returncode == 125 and b"--disable-dns" in done.stderr, done.stderr
        assert inn.left() == []
        inn("network", "create", "--disable-dns", "mute")
        assert inn.run("--network", "mute", IMAGE, "true").returncode == 0


def test_restarts_keep_address_and_port(inn: HostInn, net: str, outside: tuple[str, str]) -> None:
    script = "ip -4 -o addr show eth0; echo again | nc -l -p 80; exit 3"
    done = inn.run(
        "-d", "--name", "again", "--restart", "always", "--network", net, "-p", "8083:80",
        IMAGE, "sh", "-c", script,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for _ in range(3):
        assert connect(outside[1], HOST, 8083) == "again"
    with inn.start("logs", "-f", "again") as following:
        assert following.stdout is not None
        lines = [following.stdout.readline() for _ in range(3)]
        assert len(set(lines)) == 1 and b"inet 10." in lines[0]
        assert inn("rm", "-f", "again").returncode == 0
        following.wait(TIMEOUT_S)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("options", [[], ["-d", "--rm"]], ids=["foreground", "detached"])
def test_killed_before(inn: HostInn, net: str, step: str, options: list[str]) -> None:
    words = ["run", "--engine", "container", *options, "--name", "crash", "--network", net,
             "-p", "8084:80", IMAGE, "true"]  # fmt: skip
    done = subprocess.run(
        [*inn.there(), sys.executable, "-c", crash_script(), f"{PLACE}.{step}", *words],
        env=inn.env, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=TIMEOUT_S,
    )  # fmt: skip
    if not options:
        assert done.returncode == -signal.SIGKILL, done.stderr
    elif done.returncode == 0:  # that step is the business of the process beside it
        inn("wait", "crash")
    else:
        assert done.returncode == -signal.SIGKILL or b"was killed" in done.stderr, done.stderr
    assert inn("system", "prune").returncode == 0
    assert inn.left() == []
    assert inn.run("--name", "crash", "--network", net, "-p", "8084:80", IMAGE).returncode == 0


def crash_script() -> str:
    """Return the script of test_crash.py, with our modules imported before one is changed."""
    modules = f"import {PLACE}.bridge, {PLACE}.dns.process\n"
    return SCRIPT.replace("setattr(", modules + "setattr(", 1)
