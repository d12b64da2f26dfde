"""A host and an outside of this test run's own: two network namespaces with a wire between them.

`inn` runs in the first, so that nothing is changed of the machine's network.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tests.guests.containers.harness import BUSYBOX, IMAGE, TIMEOUT_S, Inn

FOLDERS = "/usr/sbin:/sbin:/usr/bin:/bin"
HOST, OUTSIDE = "192.0.2.1", "192.0.2.2"
OUTSIDE6 = "2001:db8::2"
# Says to each who connects where he comes from.
ECHO = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
server = socket.create_server((sys.argv[1], int(sys.argv[2])), family=family)
print(server.getsockname()[1], flush=True)
while True:
    made, peer = server.accept()
    made.sendall(peer[0].encode() + b"\\n")
    made.close()
"""


def missing() -> str:
    """Say what a machine lacks for these tests, or nothing."""
    if os.geteuid() != 0:
        return "needs root"
    for program, package in (("nft", "nftables"), ("ip", "iproute2"), ("nsenter", "util-linux")):
        if shutil.which(program, path=FOLDERS) is None:
            return f"needs {program} (apt-get install {package})"
    if BUSYBOX is None:
        return "needs a static busybox on the host (apt-get install busybox-static)"
    name = f"inn-{os.urandom(4).hex()}-try"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False)
    if tried.returncode != 0:
        return f"no network namespaces here: {tried.stderr.decode()[:200]}"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return ""


class HostInn(Inn):
    """`inn` on the host of the test's own."""

    def __init__(self, folder: Path, host: str) -> None:
        super().__init__(folder)
        self.host = host

    def argv(self, *args: str) -> list[str]:
        return [*self.there(), *super().argv(*args)]

    def there(self) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{self.host}", "--"]

    def left(self) -> list[str]:
        """What is left on the host besides: interfaces, rules, leases, resolvers."""
        state = self.folder / "state/innkeeper/networks"
        links = json.loads(self.on_host("ip", "-j", "link").stdout)
        names = [link["ifname"] for link in links if link["ifname"][:3] in ("inn", "cni", "vet")]
        names += [link["ifname"] for link in links if link["ifname"][0] == "v"]
        rules = self.on_host("nft", "list", "tables").stdout.decode().splitlines()
        rules = [line for line in rules if "innkeeper" in line]
        held = json.loads((state / "attached").read_text()) if state.is_dir() else {}
        files = [p.name for p in state.glob("*.dns")] + [p.name for p in state.glob("*.netns")]
        return [*super().left(), *names, *rules, *held.get("containers", ()), *files,
                *resolvers(self.folder)]  # fmt: skip

    def on_host(self, *argv: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
        """Run a program of the machine's on the host."""
        if "input" not in more:
            more["stdin"] = subprocess.DEVNULL
        return subprocess.run(
            [*self.there(), *argv], capture_output=True, check=False, timeout=TIMEOUT_S, **more
        )

    def address(self, name: str, network: str = "") -> str:
        """Return a container's first address."""
        entry = json.loads(self("inspect", name).stdout)["network"]
        links = [one for one in entry["links"] if network in ("", one["network"])]
        found: str = links[0]["addresses"][0].partition("/")[0]
        return found

    def namespace(self, name: str) -> str:
        """Return the path of a container's network namespace."""
        return f"/proc/{json.loads(self('inspect', name).stdout)['state']['pid']}/ns/net"

    def serve(self, name: str, *options: str, text: str = "hello") -> None:
        """Start a detached container that says something to each who connects to its port 80."""
        script = f"while :; do echo {text} | nc -l -p 80; done"
        done = self.run("-d", "--name", name, *options, IMAGE, "sh", "-c", script)
        assert done.returncode == 0, done.stderr


def resolvers(folder: Path) -> list[str]:
    """Return the resolver processes whose state is in a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
            if (
                b"dns.process" in command
                and str(folder).encode() in (entry / "environ").read_bytes()
            ):
                found.append(entry.name)
        except OSError:
            continue
    return found


@contextmanager
def world() -> Iterator[tuple[str, str]]:
    """Make the host and the outside; return their names."""
    mark = os.urandom(4).hex()
    names = (f"inn-{mark}-host", f"inn-{mark}-out")
    script = f"""set -e
        ip netns add {names[0]}; ip netns add {names[1]}
        for one in {names[0]} {names[1]}; do ip -n $one link set lo up; done
        ip -n {names[0]} link add up0 type veth peer name up0 netns {names[1]}
        ip -n {names[0]} addr add {HOST}/24 dev up0; ip -n {names[1]} addr add {OUTSIDE}/24 dev up0
        ip -n {names[0]} addr add 2001:db8::1/64 dev up0 nodad
        ip -n {names[1]} addr add {OUTSIDE6}/64 dev up0 nodad
        for one in {names[0]} {names[1]}; do ip -n $one link set up0 up; done
        nsenter --net=/run/netns/{names[0]} sh -c \
            'for one in ipv4/ip_forward ipv6/conf/all/forwarding; do echo 0 >/proc/sys/net/$one; done'
        """
    try:
        subprocess.run(["sh", "-c", script], check=True, timeout=TIMEOUT_S)
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


@contextmanager
def script_in(namespace: str, script: str, *words: str) -> Iterator[IO[bytes]]:
    """Run a Python script in a network namespace, by its path; yield what it prints."""
    argv = ["nsenter", f"--net={namespace}", "--", sys.executable, "-c", script, *words]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as running:
        try:
            assert running.stdout is not None
            yield running.stdout
        finally:
            running.kill()


@contextmanager
def echo(namespace: str, address: str, port: int = 0) -> Iterator[int]:
    """Serve in a namespace, saying to each who connects where he comes from; yield the port."""
    path = namespace if "/" in namespace else f"/run/netns/{namespace}"
    with script_in(path, ECHO, address, str(port)) as said:
        yield int(said.readline())


def connect(namespace: str, address: str, port: int, *, patience: int = 200) -> str:
    """Connect from a namespace until somebody answers there; return the answer's first line."""
    script = f"""
import socket, sys, time
for _ in range({patience}):
    try:
        with socket.create_connection(({address!r}, {port}), 5) as made:
            if line := made.makefile().readline():
                print(line, end="")
                break
    except OSError as error:
        print(error, file=sys.stderr)
    time.sleep(0.05)
"""
    path = namespace if "/" in namespace else f"/run/netns/{namespace}"
    done = subprocess.run(
        ["nsenter", f"--net={path}", sys.executable, "-c", script],
        capture_output=True, check=False, timeout=TIMEOUT_S, text=True,
    )  # fmt: skip
    return done.stdout.strip() or f"nothing: {done.stderr[-200:]}"
