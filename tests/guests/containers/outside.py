"""A small internet of this test's own: a host's network namespace, and what lies beyond its gateway."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

HOST, BEYOND, NEIGHBOUR = "10.99.0.2", "10.99.0.1", "10.99.0.3"
LINE_PORT, LOOPBACK_PORT = 7777, 7778
ANSWER = "192.0.2.7"
# One line to whoever connects, who may hang up when he has it; and a resolver with one answer.
_LINES = """
import socket, sys, threading
def serve(sock):
    def talk(one):
        one.sendall(b"hello from afar\\n")
        one.recv(1)
        one.close()
    while True:
        threading.Thread(target=talk, args=sock.accept()[:1], daemon=True).start()
def resolve(sock):
    while True:
        asked, sender = sock.recvfrom(512)
        end = asked.index(b"\\0", 12) + 5
        is_a = asked[end - 4 : end - 2] == b"\\0\\1"
        head = asked[:2] + b"\\x81\\x80\\0\\1" + (b"\\0\\1" if is_a else b"\\0\\0") + bytes(4)
        found = b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x3c\\0\\4" + socket.inet_aton(sys.argv[3])
        sock.sendto(head + asked[12:end] + (found if is_a else b""), sender)
tcp = socket.create_server((sys.argv[1], int(sys.argv[2])))
if len(sys.argv) > 3:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((sys.argv[1], 53))
    threading.Thread(target=resolve, args=(udp,), daemon=True).start()
print("up", flush=True)
serve(tcp)
"""
# /dev/net/tun is root's alone on some hosts, and /etc/resolv.conf is to name the test's resolver.
_MOUNTS = """
set -e
mount -t tmpfs -o mode=755 tun /dev/net; mknod -m 666 /dev/net/tun c 10 200
mount --bind {resolv} /etc/resolv.conf
exec "$@"
"""


class Outside:
    """The names of the two namespaces; `prefix` puts a command onto the host's."""

    def __init__(self, folder: Path) -> None:
        self.host, self.beyond = f"innh{os.getpid()}", f"innb{os.getpid()}"
        resolv = folder / "resolv.conf"
        resolv.write_text(f"nameserver {BEYOND}\n")
        mounts = _MOUNTS.format(resolv=resolv)
        own = ["unshare", "--mount", "sh", "-c", mounts, "sh"]
        self.prefix = [*self.inside(self.host), *own]

    def inside(self, name: str) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{name}"]

    def serve(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        served = subprocess.Popen(
            [*self.inside(name), "python3", "-c", _LINES, *words], stdout=subprocess.PIPE
        )
        assert served.stdout is not None and served.stdout.readline() == b"up\n"
        return served


@contextmanager
def outside(folder: Path) -> Iterator[Outside]:
    made, servers = Outside(folder), []
    host, beyond = made.host, made.beyond
    commands = [
        f"ip netns add {host}",
        f"ip netns add {beyond}",
        f"ip -n {host} link add eth7 type veth peer name gw0 netns {beyond}",
        *(f"ip -n {name} link set lo up" for name in (host, beyond)),
        f"ip -n {host} addr add {HOST}/24 dev eth7",
        f"ip -n {host} addr add fd99::2/64 dev eth7 nodad",
        f"ip -n {beyond} addr add {BEYOND}/24 dev gw0",
        f"ip -n {beyond} addr add {NEIGHBOUR}/24 dev gw0",
        f"ip -n {beyond} addr add fd99::1/64 dev gw0 nodad",
        f"ip -n {host} link set eth7 up",
        f"ip -n {beyond} link set gw0 up",
        f"ip -n {host} route add default via {BEYOND}",
        f"ip -n {host} -6 route add default via fd99::1",
    ]
    try:
        for command in commands:
            done = subprocess.run(command.split(), capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"{command}: {done.stderr.strip()[:200]}")
        tried = subprocess.run([*made.prefix, "true"], capture_output=True, text=True)
        if tried.returncode:
            pytest.skip(f"no tun device of this test's own: {tried.stderr.strip()[:200]}")
        servers.append(made.serve(beyond, BEYOND, str(LINE_PORT), ANSWER))
        servers.append(made.serve(host, "127.0.0.1", str(LOOPBACK_PORT)))
        yield made
    finally:
        for server in servers:
            server.kill()
            server.communicate()
        for name in (host, beyond):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
