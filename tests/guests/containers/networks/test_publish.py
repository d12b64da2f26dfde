"""Published ports: from outside, from the host's own loopback, from containers, chosen, refused."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.guests.containers.harness import IMAGE
from tests.guests.containers.networks.world import (
    HOST,
    OUTSIDE,
    OUTSIDE6,
    HostInn,
    connect,
    echo,
    script_in,
)


def test_it_is_reached_from_everywhere(inn: HostInn, outside: tuple[str, str]) -> None:
    host, out = outside
    inn.serve("pub", "--network", "bridge", "-p", "8080:80")
    assert connect(out, HOST, 8080) == "hello"
    assert connect(host, HOST, 8080) == "hello"
    assert connect(host, "127.0.0.1", 8080) == "hello"
    ask = "until nc {} 8080; do sleep 0.05; done"
    for address in (HOST, "host.containers.internal"):
        done = inn.run("--network", "bridge", IMAGE, "sh", "-c", ask.format(address))
        assert done.stdout == b"hello\n", done.stderr
    # From another of our networks, and from the container itself (hairpin).
    inn("network", "create", "apart")
    assert inn.run("--network", "apart", IMAGE, "sh", "-c", ask.format(HOST)).stdout == b"hello\n"
    assert inn("exec", "pub", "sh", "-c", ask.format(HOST)).stdout == b"hello\n"


def test_one_address_of_the_hosts(inn: HostInn, outside: tuple[str, str]) -> None:
    inn.serve("own", "-p", "127.0.0.1:8081:80", text="loopback")
    inn.serve("other", "-p", f"{HOST}:8081:80", text="outer")
    assert connect(outside[0], "127.0.0.1", 8081) == "loopback"
    assert connect(outside[0], HOST, 8081) == connect(outside[1], HOST, 8081) == "outer"
    done = inn.run("-p", "8081:80", IMAGE, "true")
    assert done.returncode == 125 and b"taken" in done.stderr and b"container o" in done.stderr


def test_nothing_else_of_the_loopback_is_reached(inn: HostInn, outside: tuple[str, str]) -> None:
    """CVE-2020-8558: route_localnet is not to show the host's own services to containers."""
    inn.serve("any", "--network", "bridge", "-p", "8080:80")
    inside = inn.namespace("any")
    gateway = inn("exec", "any", "sh", "-c", "ip route | grep default").stdout.split()[2].decode()
    # What a container with CAP_NET_RAW could do by hand, the kernel does for us:
    attack = f"""ip addr flush dev lo; ip route add 127.0.0.1 via {gateway}
        echo 1 >/proc/sys/net/ipv4/conf/eth0/route_localnet"""
    subprocess.run(["nsenter", f"--net={inside}", "sh", "-c", attack], check=True)
    with echo(outside[0], "127.0.0.1") as port:
        assert connect(inside, "127.0.0.1", port, patience=1).startswith("nothing")
        assert connect(outside[0], "127.0.0.1", port) == "127.0.0.1"


def test_every_address_of_a_version(inn: HostInn, outside: tuple[str, str]) -> None:
    inn("network", "create", "--ipv6", "six")
    words = ["-d", "--network", "six", IMAGE, "sleep", "1000"]
    for name, port in (("four", "0.0.0.0:8097:80"), ("six", "[::0]:8097:80")):
        done = inn.run("--name", name, "-p", port, *words)
        assert done.returncode == 0, done.stderr
    with echo(inn.namespace("four"), "0.0.0.0", 80), echo(inn.namespace("six"), "::", 80):
        assert connect(outside[1], HOST, 8097) == OUTSIDE
        assert connect(outside[1], "2001:db8::1", 8097) == OUTSIDE6
    assert inn("port", "six").stdout == b"80/tcp -> [::]:8097\n"
    for taken in ("8097:80", f"{HOST}:8097:80", "[2001:db8::1]:8097:80"):
        done = inn.run("-p", taken, *words)
        assert done.returncode == 125 and b"taken" in done.stderr, taken


def test_ranges_and_chosen_ports(inn: HostInn, outside: tuple[str, str]) -> None:
    script = "nc -l -p 7001 -e echo one & nc -l -p 7002 -e echo two; wait"
    options = ["-p", "9001-9002:7001-7002", "-p", "80", "-p", "0:81/tcp", "-p", "127.0.0.1::53/udp"]
    done = inn.run("-d", "--name", "many", *options, IMAGE, "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    rows = json.loads(inn("port", "many", "-o", "json").stdout)
    chosen = [row["host_port"] for row in rows if row["port"] in (80, 81, 53)]
    assert len(set(chosen)) == 3 and all(1024 < port < 1 << 16 for port in chosen)
    assert inn("port", "many", "7002").stdout == b"0.0.0.0:9002\n"
    assert inn("port", "many", "53/udp").stdout == f"127.0.0.1:{chosen[2]}\n".encode()
    assert inn("port", "many", "54").returncode == 127
    assert b"80/tcp -> 0.0.0.0:" in inn("port", "many").stdout
    assert connect(outside[1], HOST, 9001) == "one" and connect(outside[1], HOST, 9002) == "two"


def test_udp(inn: HostInn, outside: tuple[str, str]) -> None:
    done = inn.run("-d", "--name", "udp", "-p", "5353:53/udp", IMAGE, "sleep", "1000")
    assert done.returncode == 0, done.stderr
    serve = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
    serve += "s.bind(('', 53)); print(1, flush=True); s.sendto(*s.recvfrom(99))"
    ask = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(30);"
    ask += f"s.sendto(b'over udp', ({HOST!r}, 5353)); print(s.recv(99).decode())"
    with script_in(inn.namespace("udp"), serve) as server:
        assert server.readline() == b"1\n"
        with script_in(f"/run/netns/{outside[1]}", ask) as answer:
            assert answer.readline() == b"over udp\n"


def test_a_flow_follows_the_port(inn: HostInn, outside: tuple[str, str]) -> None:
    """Who keeps on sending UDP reaches the next container at the port, whatever its address."""
    client = (
        "import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "s.settimeout(0.1)\n"
        "seen = b''\n"
        f"for _ in range(600):\n"
        f"    try: s.sendto(b'x', ({HOST!r}, 5354)); now = s.recv(99)\n"
        "    except OSError: continue\n"
        "    if now != seen: seen = now; print(now.decode(), flush=True)\n"
    )
    serve = "import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
    serve += "s.bind(('', 53)); print(1, flush=True)\n"
    serve += "while True: s.sendto(sys.argv[1].encode(), s.recvfrom(99)[1])"
    with script_in(f"/run/netns/{outside[1]}", client) as said:
        for name in ("first", "second"):
            done = inn.run("-d", "--name", name, "-p", "5354:53/udp", IMAGE, "sleep", "1000")
            assert done.returncode == 0, done.stderr
            with script_in(inn.namespace(name), serve, name) as server:
                assert server.readline() == b"1\n"
                assert said.readline() == f"{name}\n".encode()
            address = inn.address(name)
            assert inn("rm", "-f", name).returncode == 0
        assert address != "10.90.0.2"


def test_six(inn: HostInn, outside: tuple[str, str]) -> None:
    assert inn("network", "create", "--ipv6", "six").returncode == 0
    options = ["--network", "six", "-p", "8086:80"]
    done = inn.run("-d", "--name", "v6", *options, IMAGE, "sleep", "1000")
    assert done.returncode == 0, done.stderr
    with echo(inn.namespace("v6"), "::", 80):
        assert connect(outside[1], "2001:db8::1", 8086) == OUTSIDE6
    with echo(inn.namespace("v6"), "0.0.0.0", 80):
        assert connect(outside[1], HOST, 8086) == OUTSIDE


def test_the_images_ports(inn: HostInn, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    (root / "bin/sh").write_bytes(Path("/bin/busybox").read_bytes())
    (root / "bin/sh").chmod(0o755)
    made = inn("image", "import", str(root), "ports:1", "--expose", "80", "--expose", "53/udp")
    assert made.returncode == 0, made.stderr
    done = inn.run("-d", "--name", "all", "-P", "ports:1", "sh", "-c", "while :; do :; done")
    assert done.returncode == 0, done.stderr
    rows = json.loads(inn("port", "all", "-o", "json").stdout)
    assert {(row["port"], row["protocol"]) for row in rows} == {(80, "tcp"), (53, "udp")}


def test_a_port_is_kept_from_others_until_the_end(inn: HostInn, outside: tuple[str, str]) -> None:
    inn.serve("held", "-p", "8082:80")
    bind = "import socket; socket.create_server(('', 8082)); print('free')"
    import sys

    assert b"in use" in inn.on_host(sys.executable, "-c", bind).stderr
    assert inn("stop", "-t", "0", "held").returncode == 0
    assert inn.on_host(sys.executable, "-c", bind).stdout == b"free\n"
    with_taken = f"import socket, subprocess; s = socket.create_server(('', 8082)); print(subprocess.run({inn.argv('start', 'held')!r}, capture_output=True).stderr)"

    told = subprocess.run(
        [*inn.there(), sys.executable, "-c", with_taken],
        env=inn.env,
        capture_output=True,
        check=True,
    )
    assert b"another program has it" in told.stdout
    assert inn("start", "held").returncode == 0
    assert connect(outside[1], HOST, 8082) == "hello"
