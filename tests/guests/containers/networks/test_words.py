"""What the command line says of networks and ports; addresses in turn; the filter's text."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.base.errors import InnError, MachineError, UsageError
from innkeeper.cli.network import network
from innkeeper.guests.containers.networks import bridge, ipam, words
from innkeeper.guests.containers.networks.ruleset import Forward, Wire, table_text
from innkeeper.guests.containers.records import Record
from innkeeper.guests.containers.request import ContainerRequest


def shown(text: str) -> list[str]:
    return [
        f"{p['host']}|{p['host_port']}|{p['port']}/{p['protocol']}"
        for p in words.read_ports([text])
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", ["|0|80/tcp"]), ("8080:80", ["|8080|80/tcp"]), ("0:80/udp", ["|0|80/udp"]),
        ("127.0.0.1:8080:80/TCP", ["127.0.0.1|8080|80/tcp"]), ("127.0.0.1::80", ["127.0.0.1|0|80/tcp"]),
        ("[::1]:8080:80", ["::1|8080|80/tcp"]), ("[::1]::80/sctp", ["::1|0|80/sctp"]),
        ("80-81", ["|0|80/tcp", "|0|81/tcp"]), ("8-9:80-81", ["|8|80/tcp", "|9|81/tcp"]),
        ("1.2.3.4:65534-65535:1-2", ["1.2.3.4|65534|1/tcp", "1.2.3.4|65535|2/tcp"]),
    ],
)  # fmt: skip
def test_ports(text: str, expected: list[str]) -> None:
    assert shown(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "x", "0", "65536", "80/", "80/icmp", "8080:", ":80", "1-3:1-2", "3-1", "1.2.3:80:80",
     "[::1:80:80", "a:1:2", "1:2:3:4:5", "-1", "80-", "1e3", "٣", "0-1:0-1", "1.2.3.4%lo:1:1"],
)  # fmt: skip
def test_ports_that_are_none(text: str) -> None:
    if text == ":80":  # an empty port of the host's is any, as docker has it
        assert shown(text) == ["|0|80/tcp"]
        return
    with pytest.raises(UsageError):
        words.read_ports([text])


@given(st.text(max_size=40))
def test_any_words_are_read_or_refused(text: str) -> None:
    for read in (lambda t: words.read_ports([t]), words.read_network, words.read_mac):
        try:
            read(text)
        except UsageError:
            continue


def test_too_many_ports() -> None:
    with pytest.raises(UsageError):
        words.read_ports(["1-65535"])


def test_the_images_ports_are_published_once() -> None:
    found = words.read_ports(["8080:80"], ["80/tcp", "81", "53/udp"])
    assert [(p["host_port"], p["port"]) for p in found] == [(8080, 80), (0, 81), (0, 53)]


def test_a_network_with_options() -> None:
    found = words.read_network("web:ip=10.0.0.2,ip6=fd00::2,mac=02-00-00-00-00-0A,alias=a,alias=b")
    assert (found["network"], found["ip"], found["ip6"]) == ("web", "10.0.0.2", "fd00::2")
    assert found["mac"] == "02:00:00:00:00:0a" and found["aliases"] == ["a", "b"]
    assert words.read_network("web:interface_name=wan0")["interface"] == "wan0"
    for bad in ("ip=10.0.0", "ip6=10.0.0.2", "mac=0", "alias=a b", "interface_name=lo", "x"):
        with pytest.raises(UsageError):
            words.read_network(f"web:{bad}")


def give(
    last: str, taken: set[str], wanted: tuple[str, ...] = (), subnet: str = "10.0.0.0/29"
) -> str:
    return ipam.next_address("n", subnet, "10.0.0.1", taken=taken, last=last, wanted=wanted)


def test_addresses_are_given_in_turn() -> None:
    assert give("", set()) == "10.0.0.2/29"
    assert give("10.0.0.2", set()) == "10.0.0.3/29"  # not what was just given back
    assert give("10.0.0.6", set()) == "10.0.0.2/29"
    assert give("10.0.0.2", {"10.0.0.3", "10.0.0.4"}) == "10.0.0.5/29"
    assert give("10.9.9.9", {"10.0.0.2"}) == "10.0.0.3/29"  # of another subnet: it has changed
    assert give("10.0.0.2", set(), ("10.0.0.6",)) == "10.0.0.6/29"
    assert give("10.0.0.2", {"10.0.0.6"}, ("10.0.0.6", "10.0.0.1", "x")) == "10.0.0.3/29"


@given(st.sets(st.integers(2, 6)), st.integers(0, 7))
def test_all_addresses_are_given_and_none_twice(taken: set[int], last: int) -> None:
    held = {f"10.0.0.{n}" for n in taken}
    while len(held) < 5:
        one = give(f"10.0.0.{last}", held).partition("/")[0]
        assert one not in held and one in {f"10.0.0.{n}" for n in range(2, 7)}
        held.add(one)
    with pytest.raises(MachineError) as told:
        give(f"10.0.0.{last}", held)
    assert "no free address" in told.value.what


def test_huge_subnets_cost_nothing() -> None:
    found = ipam.next_address("n", "fd00::/64", "fd00::1", taken={"fd00::2"}, last="")
    assert found == "fd00::3/64"
    assert ipam.ethernet_address("10.90.1.2/16").hex(":") == "02:49:0a:5a:01:02"


def test_the_filter_is_empty_without_networks() -> None:
    assert table_text("t", [], []) == "add table inet t\ndelete table inet t\n"


def test_what_the_filter_lets_through() -> None:
    wires = [Wire("inn0", ("10.90.0.0/16", "fd00::/64")), Wire("inn1", ("10.91.0.0/24",), True)]
    text = table_text("t", wires, [Forward("tcp", "", 80, "10.90.0.2", 8080)])
    lines = [line.strip() for line in text.splitlines()]
    assert "ip saddr 10.90.0.0/16 ip daddr != { 10.90.0.0/16, 224.0.0.0/4 } masquerade" in lines
    assert "ip6 saddr fd00::/64 ip6 daddr != { fd00::/64, ff00::/8 } masquerade" in lines
    assert not any(line.startswith("ip saddr 10.91") for line in lines)  # it is internal
    assert "meta nfproto ipv4 dnat ip to tcp dport map { 80 : 10.90.0.2 . 8080 }" in lines
    order = [lines.index(line) for line in (
        'iifname "inn1" oifname "inn1" accept', 'oifname { "inn1" } drop',
        "ct state established,related accept", 'oifname { "inn0", "inn1" } drop',
    )]  # fmt: skip
    assert order == sorted(order)


def test_without_privileges_slirp_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    request = ContainerRequest(image="box", networks=("bridge",))
    with pytest.raises(UsageError) as told:
        bridge.prepare(request, Record(tmp_path, {}))
    assert "--network slirp" in told.value.fix
    done = CliRunner().invoke(network, ["create", "web"])
    assert isinstance(done.exception, UsageError) and "slirp" in done.exception.fix


def test_errors_are_ours() -> None:
    with pytest.raises(InnError):
        ipam.given_address("n", [("10.0.0.0/29", "10.0.0.1")], "nonsense", taken=())
