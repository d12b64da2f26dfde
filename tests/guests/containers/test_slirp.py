"""`--network slirp`: out, in, names; and helpers that never outlive their container."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.guests.containers.harness import IMAGE, TIMEOUT_S, Inn, make_inn, needs_busybox
from tests.guests.containers.outside import (
    ANSWER,
    BEYOND,
    HOST,
    LINE_PORT,
    LOOPBACK_PORT,
    NEIGHBOUR,
    Outside,
    outside,
)
from tests.guests.containers.test_crash import SCRIPT
from tests.guests.containers.userinn import UID, UserInn, user_inn

pytestmark = [
    needs_busybox,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make network namespaces"),
    pytest.mark.skipif(not shutil.which("ip"), reason="needs ip (apt-get install iproute2)"),
]
HELPERS = ("pasta", "slirp4netns")
KEEP = "trap 'exit 0' TERM; while :; do sleep 0.1; done"
# The client hangs up when it has its line; old versions of pasta repeat what a server ends with.
ASK = "busybox timeout 8 busybox nc {0} {1} | {{ read line; echo $line; }}"


class RootInn(Inn):
    """`inn` of root's, on the test's host."""

    prefix: list[str]

    def argv(self, *args: str) -> list[str]:
        return [*self.prefix, *super().argv(*args)]


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    with outside(tmp_path_factory.mktemp("outside")) as made:
        yield made


@pytest.fixture(scope="module", params=["root", "user"])
def inn(
    request: pytest.FixtureRequest, net: Outside, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Inn]:
    with ExitStack() as stack:
        made: UserInn | RootInn
        if request.param == "user":
            made = stack.enter_context(user_inn("slirp", subids=True))
        else:
            folder = tmp_path_factory.mktemp("slirp")
            make_inn(folder)
            made = RootInn(folder)
        # Root's mounts are the host's: a namespace for each command would have each see its own.
        made.prefix = net.prefix if request.param == "user" else net.inside(net.host)
        yield made


@pytest.fixture(autouse=True)
def none_left(inn: Inn) -> Iterator[None]:
    """Let a test that fails not fail others."""
    yield
    for name in inn("ps", "-aq").stdout.decode().split():
        inn("rm", "-f", name)


@pytest.fixture(params=HELPERS)
def helper(request: pytest.FixtureRequest) -> str:
    if not shutil.which(request.param):
        pytest.skip(f"needs {request.param} (apt-get install passt slirp4netns)")
    return str(request.param)


def helpers(inn: Inn) -> dict[int, str]:
    """Return processes that name the folder of this `inn`'s containers: helpers and guards."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if f"{inn.folder}/state/innkeeper/containers/" in words and "slirp." in words:
            found[int(entry.name)] = words.split()[0]
    return found


def gone(inn: Inn) -> bool:
    """Wait until helpers have ended."""
    until(lambda: not helpers(inn))
    return True


def talk(net: Outside, port: int, *, udp: bool = False, address: str = HOST) -> bytes:
    """Talk to a port of the host's: from beyond the gateway, or to its loopback."""
    source = NEIGHBOUR if address == HOST else ""
    talks = (
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(20); "
        f"s.sendto(b'ask', ({address!r}, {port})); print(s.recv(99).decode(), end='')"
        if udp
        else f"s = socket.create_connection(({address!r}, {port}), 5, ({source!r}, 0)); "
        "print(s.recv(99).decode(), end='')"
    )
    where = net.beyond if address == HOST else net.host
    script = f"import socket; {talks}"
    return subprocess.run([*net.inside(where), "python3", "-c", script], capture_output=True).stdout


def until(met: Callable[[], bool]) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + TIMEOUT_S
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_out_and_names(inn: Inn, helper: str) -> None:
    asks_test = isinstance(inn, UserInn)  # root has the host's own resolver, which is not here
    script = f"{ASK.format(BEYOND, LINE_PORT)}; ls /sys/class/net; cat /etc/resolv.conf"
    script += "; busybox nslookup far.test" if asks_test else ""
    done = inn.run("--network", f"slirp:{helper}", IMAGE, "sh", "-c", script)
    said = done.stdout.decode().split()
    server = "169.254.1.1" if helper == "pasta" else "10.0.2.3"
    assert said[:7] == ["hello", "from", "afar", "eth0", "lo", "nameserver", server], done
    assert done.returncode == 0 and (not asks_test or ANSWER in said)
    assert gone(inn) and inn.left() == []


def test_the_hosts_loopback_is_out_of_reach_unless_asked_for(inn: Inn, helper: str) -> None:
    gateway = BEYOND if helper == "pasta" else "10.0.2.2"
    script = ASK.format(gateway, LOOPBACK_PORT).replace("timeout 8", "timeout 2")
    closed = inn.run("--network", f"slirp:{helper}", IMAGE, "sh", "-c", script)
    assert b"hello" not in closed.stdout
    opened = f"slirp:{helper},host-loopback=on"
    script = ASK.format("here", LOOPBACK_PORT)
    shown = inn.run(
        "--network", opened, "--add-host", "here:host-gateway", IMAGE, "sh", "-c", script
    )
    assert shown.stdout == b"hello from afar\n", shown
    assert gone(inn)


def test_ipv6_off(inn: Inn, helper: str) -> None:
    script = "busybox ip -6 addr show dev eth0; busybox ip -6 route show default"
    off = inn.run("--network", f"slirp:{helper},ipv6=off", IMAGE, "sh", "-c", script)
    assert off.returncode == 0 and b"global" not in off.stdout and b"via" not in off.stdout
    if helper == "pasta":  # slirp4netns advertises: it takes its time
        on = inn.run("--network", "slirp:pasta", IMAGE, "sh", "-c", script)
        assert b"fd99::2/64 scope global" in on.stdout and b"via fd99::1" in on.stdout


SERVER = """
import socket, threading
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("", 90))
def answer():
    while True:
        said, sender = udp.recvfrom(99)
        udp.sendto(b"datagram", sender)
threading.Thread(target=answer, daemon=True).start()
tcp = socket.create_server(("", 80))
while True:
    one = tcp.accept()[0]
    one.sendall(b"from inside")
    one.recv(1)
    one.close()
"""


@pytest.mark.skipif(
    not os.path.exists("/usr/bin/python3") or not os.path.islink("/lib"),
    reason="needs a python3 in a merged /usr to show to the container",
)
def test_published_ports(inn: Inn, net: Outside, helper: str) -> None:
    links = "/bin/busybox ln -s usr/lib /lib; /bin/busybox ln -s usr/lib64 /lib64"
    started = inn.run(
        "-d", "--name", "p", "--network", f"slirp:{helper}", "-p", "18080:80", "-p", "18090:90/udp",
        "-p", "127.0.0.1::80", "-v", "/usr:/usr:ro", "-e", f"SERVER={SERVER}",
        IMAGE, "/bin/sh", "-c", f'{links}; exec /usr/bin/python3 -c "$SERVER"',
    )  # fmt: skip
    assert started.returncode == 0, started.stderr
    record = json.loads(
        next((inn.folder / "state/innkeeper/containers").glob("*/container.json")).read_text()
    )
    chosen = record["net"]["ports"][2]["host_port"]
    assert chosen
    assert inn("port", "p", "90/udp").stdout == b"0.0.0.0:18090\n"
    assert f"127.0.0.1:{chosen}->80/tcp".encode() in inn("ps").stdout
    until(lambda: b"from inside" in talk(net, 18080, address="127.0.0.1"))
    if helper != "pasta":  # that of Debian 12 takes no TCP from beyond on Linux 6.18
        assert b"from inside" in talk(net, 18080)
    assert b"from inside" in talk(net, chosen, address="127.0.0.1")
    assert talk(net, chosen) == b""  # published on the loopback alone

    assert talk(net, 18090, udp=True) == b"datagram"
    taken = inn.run("--network", f"slirp:{helper}", "-p", "18080:80", IMAGE, "true")
    assert taken.returncode == 125 and b"18080" in taken.stderr
    assert inn("rm", "-f", "p").returncode == 0
    assert gone(inn) and inn.left() == []


def test_the_helper_ends_with_a_detached_container_and_comes_back(inn: Inn, helper: str) -> None:
    words = ["-d", "--name", "d", "--network", f"slirp:{helper}", IMAGE, "sh", "-c"]
    script = f"{ASK.format(BEYOND, LINE_PORT)}; {KEEP}"
    assert inn.run(*words, script).returncode == 0
    for count in (1, 2):
        assert len(helpers(inn)) == 2
        until(lambda: inn("logs", "d").stdout.count(b"hello from afar") >= count)  # noqa: B023
        assert inn("stop", "d").returncode == 0 and gone(inn)
        if count == 1:
            assert inn("start", "d").returncode == 0
    assert inn("rm", "d").returncode == 0 and inn.left() == []


def test_a_killed_inn_leaves_a_helper_for_as_long_as_the_container(inn: Inn, helper: str) -> None:
    started = inn.start("run", "--engine", "container", "--name", "k", "--network",
                        f"slirp:{helper}", IMAGE, "sh", "-c", "echo up; sleep 1000")  # fmt: skip
    assert started.stdout is not None and started.stdout.readline() == b"up\n"
    assert len(helpers(inn)) == 2
    record = next((inn.folder / "state/innkeeper/containers").iterdir())
    state = json.loads((record / f"runtime/{record.name}/state.json").read_text())
    started.kill()
    started.communicate()
    with suppress(ProcessLookupError):  # it may have died with `inn`
        os.kill(state["pid"], signal.SIGKILL)
    assert gone(inn)
    assert inn("system", "prune").returncode == 0
    assert inn.left() == []


def test_prune_finds_a_helper_whose_guard_was_killed(inn: Inn, helper: str) -> None:
    started = inn.start("run", "--engine", "container", "--name", "g", "--network",
                        f"slirp:{helper}", IMAGE, "sh", "-c", "echo up; sleep 1000")  # fmt: skip
    assert started.stdout is not None and started.stdout.readline() == b"up\n"
    for pid, program in helpers(inn).items():
        if "python" in program:
            os.kill(pid, signal.SIGKILL)
    started.kill()
    started.communicate()
    assert inn("system", "prune").returncode == 0
    assert gone(inn) and inn.left() == []


def test_ports_of_a_user_mean_this_network(inn: Inn) -> None:
    if not isinstance(inn, UserInn):
        pytest.skip("root has a bridge")
    if not any(map(shutil.which, HELPERS)):
        pytest.skip("needs pasta or slirp4netns")
    done = inn.run("-p", "18099:80", IMAGE, "ls", "/sys/class/net")
    assert done.stdout.split() == [b"eth0", b"lo"], done


def test_the_hosts_mounts_stay(inn: Inn, helper: str, net: Outside) -> None:
    before = Path("/proc/self/mounts").read_text()
    assert f"/run/netns/{net.host}" in before
    assert inn.run("--network", f"slirp:{helper}", IMAGE, "true").returncode == 0
    assert gone(inn)
    after = Path("/proc/self/mounts").read_text()
    assert f"/run/netns/{net.host}" in after and f"/run/netns/{net.beyond}" in after


STEPS = ("slirp.prepare", "slirp.admit", "slirp.attach", "helpers.Guard", "helpers.start_HELPER",
         "helpers.Guard.watch", "helpers.write_json", "slirp.detach", "helpers.end")  # fmt: skip


@pytest.mark.parametrize("step", STEPS)
def test_killed_before(inn: Inn, helper: str, step: str) -> None:
    name = step.replace("HELPER", helper.replace("4netns", ""))
    script = "import innkeeper.guests.containers.networks.slirp\n" + SCRIPT
    place = f"innkeeper.guests.containers.networks.{name}"
    run = ["run", "--engine", "container", "--name", "c", "--network", f"slirp:{helper}"]
    argv = [*inn.prefix, *inn.python_argv()] if isinstance(inn, RootInn) else inn.python_argv()
    done = subprocess.run(
        [*argv, "-c", script, place, *run, IMAGE, "true"], env=inn.env, stdin=subprocess.DEVNULL,
        capture_output=True, check=False, timeout=TIMEOUT_S,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done
    assert inn("system", "prune").returncode == 0
    assert gone(inn) and inn.left() == []


def test_what_is_missing_is_said(inn: Inn, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    path = inn.env["PATH"]
    for name in ("setpriv", "sh", "mount", "unshare", "mknod", "nsenter", "newuidmap", "newgidmap"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    inn.env["PATH"] = str(tmp_path)
    try:
        neither = inn.run("--network", "slirp", IMAGE, "true")
    finally:
        inn.env["PATH"] = path
    assert neither.returncode == 125, neither
    assert b"passt" in neither.stderr and b"slirp4netns" in neither.stderr
    for word in ("slirp:ipv6=perhaps", "slirp:mtu=9", "slirp:pasta,bottle"):
        refused = inn.run("--network", word, IMAGE, "true")
        assert refused.returncode == 2 and b"there is no option" in refused.stderr
    refused = inn.run("--network", "slirp", "--ip", "10.0.2.9", IMAGE, "true")
    assert refused.returncode == 2
    refused = inn.run("--network", "slirp", "-p", "80:80/sctp", IMAGE, "true")
    assert refused.returncode == 2 and b"tcp and udp" in refused.stderr
    assert inn.left() == []


def test_no_tun_device(inn: Inn) -> None:
    if not isinstance(inn, UserInn):
        pytest.skip("root opens what there is")
    prefix = inn.prefix
    inn.prefix = [*prefix, "sh", "-c", 'chmod 600 /dev/net/tun; exec "$@"', "sh"]
    try:
        done = inn.run("--network", "slirp", IMAGE, "true")
    finally:
        inn.prefix = prefix
    assert done.returncode == 125 and b"/dev/net/tun: only root may" in done.stderr, done
    assert UID and inn.left() == []
