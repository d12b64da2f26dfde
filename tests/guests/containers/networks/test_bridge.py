"""Containers on bridges: with each other, with the outside, and kept from both."""

from __future__ import annotations

import json
import os
import subprocess
from ipaddress import ip_network
from pathlib import Path

import pytest

from tests.guests.containers.harness import IMAGE, TIMEOUT_S
from tests.guests.containers.networks.world import (
    HOST,
    OUTSIDE,
    OUTSIDE6,
    HostInn,
    connect,
    echo,
    resolvers,
    script_in,
)


def test_two_find_each_other_by_name(inn: HostInn) -> None:
    assert inn("network", "create", "web").stdout == b"web\n"
    inn.serve("first", "--network", "web:alias=api", "--network-alias", "Other")
    ask = "until nc {} 80; do sleep 0.05; done"
    for name in ("first", "api", "other", "FIRST", inn("ps", "-q").stdout.decode().strip()[:12]):
        done = inn.run("--network", "web", IMAGE, "sh", "-c", ask.format(name))
        assert (done.returncode, done.stdout) == (0, b"hello\n"), (name, done.stderr)
    ping = ["ping", "-c", "1", "first"]
    assert inn.run("--network", "web", "--cap-add", "NET_RAW", IMAGE, *ping).returncode == 0
    # Another network knows none of the names, and reaches none of the addresses.
    address = inn.address("first")
    inn("network", "create", "apart")
    for words in (["nslookup", "first"], ["nc", "-w", "1", address, "80"]):
        assert inn.run("--network", "apart", IMAGE, *words).returncode != 0
    # One on both networks does.
    both = inn.run("--network", "apart", "--network", "web", IMAGE, "nc", "first", "80")
    assert (both.returncode, both.stdout) == (0, b"hello\n"), both.stderr


def test_the_way_out_is_behind_the_hosts_address(inn: HostInn, outside: tuple[str, str]) -> None:
    with echo(outside[1], OUTSIDE) as port:
        done = inn.run("--network", "bridge", IMAGE, "nc", OUTSIDE, str(port))
        assert (done.returncode, done.stdout) == (0, f"{HOST}\n".encode()), done.stderr
    inn("network", "create", "--ipv6", "six")
    with echo(outside[1], OUTSIDE6) as port:
        done = inn.run("--network", "six", IMAGE, "nc", OUTSIDE6, str(port))
        assert (done.returncode, done.stdout) == (0, b"2001:db8::1\n"), done.stderr


def test_an_internal_network_has_no_way_out(inn: HostInn, outside: tuple[str, str]) -> None:
    assert inn("network", "create", "--internal", "db").returncode == 0
    inn.serve("data", "--network", "db")
    # The outside would find the way back.
    back = ["route", "add", f"{inn.address('data')}/24", "via", HOST]
    back[2] = str(ip_network(back[2], strict=False))
    subprocess.run(["ip", "-n", outside[1], *back], check=True)
    within = inn.run("--network", "db", IMAGE, "sh", "-c", "until nc data 80; do sleep 0.05; done")
    assert within.stdout == b"hello\n"
    with echo(outside[1], OUTSIDE) as port:
        ask = ["nc", "-w", "2", OUTSIDE, str(port)]
        assert inn.run("--network", "db", IMAGE, *ask).stdout == b""
        # Not with a route of its own either.
        script = f"ip route add default via $(ip route | cut -d. -f1-3).1; {' '.join(ask)}"
        done = inn.run("--network", "db", "--cap-add", "NET_ADMIN", IMAGE, "sh", "-c", script)
        assert done.stdout == b""
        lookup = inn.run("--network", "db", IMAGE, "nslookup", "example.com")
        assert b"NXDOMAIN" in lookup.stdout + lookup.stderr
        # An own one beside it is a way out.
        done = inn.run("--network", "db", "--network", "bridge", IMAGE, *ask)
        assert done.stdout == f"{HOST}\n".encode(), done.stderr
    back[1] = "del"
    subprocess.run(["ip", "-n", outside[1], *back], check=True)
    refused = inn.run("--network", "db", "-p", "8080:80", IMAGE, "true")
    assert refused.returncode == 2 and b"internal" in refused.stderr


def test_nobody_outside_reaches_what_is_not_published(
    inn: HostInn, outside: tuple[str, str]
) -> None:
    inn.serve("quiet", "--network", "bridge")
    address = inn.address("quiet")
    assert connect(outside[0], address, 80) == "hello"  # the host itself does
    subprocess.run(["ip", "-n", outside[1], "route", "add", address, "via", HOST], check=True)
    assert connect(outside[1], address, 80, patience=1).startswith("nothing")
    subprocess.run(["ip", "-n", outside[1], "route", "del", address], check=True)


def test_what_a_container_sees(inn: HostInn) -> None:
    options = [
        "--network", "seen", "--ip", "10.99.7.9", "--mac-address", "02:00:00:00:00:77",
        "--hostname", "box", "--add-host", "db:192.0.2.9", "--add-host", "out:host-gateway",
        "--dns-search", "example.org", "--dns-option", "ndots:2",
    ]  # fmt: skip
    made = inn("network", "create", "--subnet", "10.99.7.0/28", "--gateway", "10.99.7.14", "seen")
    assert made.returncode == 0, made.stderr
    script = "cat /etc/hosts /etc/resolv.conf; hostname; ip addr show eth0; ip route"
    seen = inn.run(*options, "--name", "named", IMAGE, "sh", "-c", script).stdout.decode()
    for line in (
        "127.0.0.1\tlocalhost", "10.99.7.9\tbox named", "192.0.2.9\tdb", "10.99.7.14\tout",
        "10.99.7.14\thost.containers.internal", "search example.org", "nameserver 10.99.7.14",
        "options ndots:2", "default via 10.99.7.14 dev eth0",
    ):  # fmt: skip
        assert line in seen, seen
    assert "02:00:00:00:00:77" in seen and "10.99.7.9/28" in seen and "\nbox\n" in seen
    plain = inn.run("--network", "bridge", "--dns", "192.0.2.53", IMAGE, "cat", "/etc/resolv.conf")
    assert b"nameserver 192.0.2.53\n" in plain.stdout


def test_another_container_shares_network_and_names(inn: HostInn) -> None:
    inn("network", "create", "web")
    inn.serve("first", "--network", "web")
    script = "until nc 127.0.0.1 80; do sleep 0.05; done; cat /etc/resolv.conf /etc/hosts"
    done = inn.run("--network", "container:first", IMAGE, "sh", "-c", script)
    assert done.stdout.startswith(b"hello\nnameserver 10.9") and b"\tfirst" not in done.stderr
    assert inn.address("first").encode() in done.stdout


def test_a_new_name_is_found(inn: HostInn) -> None:
    inn("network", "create", "web")
    inn.serve("before", "--network", "web:alias=api")
    assert inn("rename", "before", "after").returncode == 0
    for name, status in (("after", 0), ("api", 0), ("before", 1)):
        script = f"until nc {name} 80; do nslookup {name} || exit 1; sleep 0.05; done"
        done = inn.run("--network", "web", IMAGE, "sh", "-c", script)
        assert done.returncode == status, done.stdout + done.stderr
    assert b"\tafter" in inn("exec", "after", "cat", "/etc/hosts").stdout.replace(b" ", b"\t")


def test_one_that_was_created_is_attached_when_it_starts(inn: HostInn) -> None:
    made = inn(
        "create", "--name", "later", "--network", "bridge", "-p", "8095:80", IMAGE, "sleep", "1000"
    )
    assert made.returncode == 0, made.stderr
    assert inn("port", "later").stdout == b""
    assert inn("start", "later").returncode == 0
    assert inn("port", "later").stdout == b"80/tcp -> 0.0.0.0:8095\n"
    assert b"0.0.0.0:8095->80/tcp" in inn("ps").stdout


def test_links_are_as_wide_as_the_way_out(inn: HostInn, outside: tuple[str, str]) -> None:
    inn("network", "create", "--mtu", "1300", "narrow")
    script = "ip link show eth0"
    assert b"mtu 1300" in inn.run("--network", "narrow", IMAGE, "sh", "-c", script).stdout
    inn.on_host("ip", "link", "set", "up0", "mtu", "1400")
    inn.on_host("ip", "route", "add", "default", "via", OUTSIDE)
    try:
        assert b"mtu 1400" in inn.run("--network", "bridge", IMAGE, "sh", "-c", script).stdout
    finally:
        inn.on_host("ip", "route", "del", "default")
        inn.on_host("ip", "link", "set", "up0", "mtu", "1500")


def test_names_of_the_outside(inn: HostInn, outside: tuple[str, str]) -> None:
    """What is no container's is asked of the resolvers that the container was given."""
    script = f"""
import socket
from ipaddress import ip_address
from innkeeper.guests.containers.networks.dns import wire
made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
made.bind(({OUTSIDE!r}, 53))
print("ready", flush=True)
while True:
    message, client = made.recvfrom(4096)
    asked = wire.read_question(message)
    known = asked.name == "outer.example" and asked.kind == wire.A
    found = [wire.address_record(ip_address("192.0.2.77"))] if known else []
    made.sendto(wire.answer(asked, found), client)
"""
    inn("network", "create", "web")
    with script_in(f"/run/netns/{outside[1]}", script) as said:
        assert said.readline() == b"ready\n"
        for network, nameserver in (("web", b"10.91."), ("bridge", OUTSIDE.encode())):
            options = ["--network", network, "--dns", OUTSIDE]
            words = "nslookup outer.example; cat /etc/resolv.conf"
            done = inn.run(*options, IMAGE, "sh", "-c", words)
            assert b"192.0.2.77" in done.stdout, done.stdout + done.stderr
            assert b"nameserver " + nameserver in done.stdout


def test_the_resolver_has_no_privileges(inn: HostInn) -> None:
    inn("network", "create", "web")
    inn.serve("one", "--network", "web")
    (pid,) = resolvers(inn.folder)
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = dict(line.split(":\t") for line in lines if ":\t" in line)
    held = {name: int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")}
    assert held == {"CapEff": 1 << 2, "CapPrm": 1 << 2, "CapInh": 0, "CapAmb": 0}
    assert status["NoNewPrivs"] == "1"
    open_ = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    assert all(one.startswith(("/dev/null", "socket:", "anon_inode:")) or one.endswith("web.dns")
               for one in open_), open_  # fmt: skip


def test_many_at_once(inn: HostInn) -> None:
    inn("network", "create", "web")
    words = ["run", "--engine", "container", "-d", "--network", "web", "-p", "80", IMAGE, "sleep"]
    starting = [inn.start(*words, "1000") for _ in range(6)]
    ids = []
    for one in starting:
        out, err = one.communicate(timeout=TIMEOUT_S)
        assert one.returncode == 0, err
        ids.append(out.decode().strip())
    assert len({inn.address(name) for name in ids}) == 6
    assert len({inn("port", name).stdout for name in ids}) == 6 and len(resolvers(inn.folder)) == 1
    ending = [inn.start("rm", "-f", name) for name in ids]
    assert [one.communicate(timeout=TIMEOUT_S) and one.returncode for one in ending] == [0] * 6
    assert inn.left() == []


def test_files_without_a_network_of_ours(inn: HostInn) -> None:
    script = "cat /etc/hosts /etc/resolv.conf"
    for network in ("none", "host"):
        options = ["--network", network, "--add-host", "db:192.0.2.9", "--dns", "192.0.2.53"]
        seen = inn.run(*options, IMAGE, "sh", "-c", script).stdout
        assert b"192.0.2.9\tdb\n" in seen and b"nameserver 192.0.2.53\n" in seen


def test_networks_are_made_listed_and_removed(inn: HostInn) -> None:
    assert inn("network", "create", "--label", "a=b", "--ipv6", "one").returncode == 0
    again = inn("network", "create", "one")
    assert again.returncode == 125 and b"already" in again.stderr
    shown = json.loads(inn("network", "inspect", "one").stdout)[0]
    assert shown["labels"] == {"a": "b"} and len(shown["subnets"]) == 2
    first = shown["subnets"][0]["subnet"]
    overlapping = inn("network", "create", "--subnet", first, "two")
    assert overlapping.returncode == 125 and first.encode() in overlapping.stderr
    host = inn("network", "create", "--subnet", "192.0.2.0/25", "two")
    assert host.returncode == 125 and b"192.0.2.0/24" in host.stderr
    rows = json.loads(inn("network", "ls", "-o", "json").stdout)
    assert "one" in [row["name"] for row in rows]
    inn.serve("user", "--network", "one")
    refused = inn("network", "rm", "one")
    assert refused.returncode == 125 and b"user" in refused.stderr
    assert inn("network", "prune").stdout.split().count(b"one") == 0
    assert inn("network", "rm", "-f", "one").returncode == 0
    assert inn("network", "inspect", "one").returncode == 127
    assert inn("ps", "-aq").stdout == b""


def test_addresses_run_out(inn: HostInn) -> None:
    inn("network", "create", "--subnet", "10.99.8.0/29", "small")  # five beside the gateway
    names = [f"c{n}" for n in range(5)]
    for name in names:
        done = inn.run("-d", "--name", name, "--network", "small", IMAGE, "sleep", "1000")
        assert done.returncode == 0, done.stderr
    assert len({inn.address(name) for name in names}) == 5
    full = inn.run("--network", "small", IMAGE, "true")
    assert full.returncode == 125 and b"no free address" in full.stderr
    taken = inn.address("c3")
    for address, status in ((taken, 125), ("10.99.8.1", 125), ("10.99.9.1", 2), ("10.99.8.7", 2)):
        refused = inn.run("--network", f"small:ip={address}", IMAGE, "true")
        assert refused.returncode == status, refused.stderr
    assert inn("rm", "-f", "c3").returncode == 0
    assert inn.run("--network", "small", IMAGE, "true").returncode == 0
    again = inn.run("--network", f"small:ip={taken}", IMAGE, "ip", "addr", "show", "eth0")
    assert taken.encode() in again.stdout


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--network", "nosuch"], 127, "no network"),
        (["--network", "bridge", "--network", "bridge"], 2, "twice"),
        (["--network", "none", "--network", "bridge"], 2, "only one"),
        (["--network", "bridge:colour=red"], 2, "no option"),
        (["--network", "bridge:alias=api"], 2, "no names"),
        (["--network", "bridge:mac=01:00:00:00:00:00"], 2, "Ethernet"),
        (["--network", "host", "-p", "80"], 2, "no ports"),
        (["--network", "bridge", "-p", "99999:1"], 2, "--publish"),
        (["--network", "bridge", "-p", "[2001:db8::1]:8080:80"], 2, "no such address"),
        (["--network", "bridge", "-p", "192.0.2.77:8080:80"], 125, "no such address"),
        (["--network", "bridge", "-p", "8080:80", "-p", "8080:81"], 125, "taken"),
        (["--network", "bridge", "--add-host", "a b:1.2.3.4"], 2, "--add-host"),
        (["--network", "bridge", "--dns", "1.2.3"], 2, "--dns"),
    ],
)
def test_what_cannot_be(inn: HostInn, options: list[str], status: int, said: str) -> None:
    done = inn.run(*options, IMAGE, "true")
    assert done.returncode == status and said in done.stderr.decode(), done.stderr
    assert inn.left() == []


def test_without_nft_it_is_said(inn: HostInn, monkeypatch: pytest.MonkeyPatch) -> None:
    from innkeeper.base.errors import MachineError
    from innkeeper.guests.containers.networks import ruleset

    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(ruleset, "FOLDERS", ())
    with pytest.raises(MachineError) as told:
        ruleset.find_nft()
    assert told.value.fix == "apt-get install nftables"


def test_neighbours_are_no_routers(inn: HostInn) -> None:
    """CVE-2020-10749: router advertisements of a container are taken by nobody."""
    inn("network", "create", "--ipv6", "six")
    inn.serve("one", "--network", "six", "--network", "bridge")
    for name in ("eth0", "eth1"):
        path = f"/proc/sys/net/ipv6/conf/{name}/accept_ra"
        assert inn("exec", "one", "cat", path).stdout == b"0\n"
    for name in ("six", "bridge"):
        interface = json.loads(inn("network", "inspect", name).stdout)[0]["interface"]
        path = f"/proc/sys/net/ipv6/conf/{interface}/accept_ra"
        assert inn.on_host("cat", path).stdout == b"0\n"
