"""Networks of CNI plugins: the real ones, and one of our own that writes down what it is told."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from innkeeper.base.errors import UsageError
from innkeeper.guests.containers.networks.cni import config
from tests.guests.containers.harness import IMAGE
from tests.guests.containers.networks.world import FOLDERS, HOST, OUTSIDE, HostInn, connect, echo

PLUGINS = next((p for p in ("/opt/cni/bin", "/usr/lib/cni") if Path(p, "bridge").exists()), None)
needs_plugins = pytest.mark.skipif(
    PLUGINS is None or shutil.which("iptables", path=FOLDERS) is None,
    reason="needs CNI plugins and iptables (apt-get install containernetworking-plugins iptables)",
)
BRIDGE = {
    "type": "bridge", "bridge": "cnit0", "isGateway": True, "ipMasq": True, "hairpinMode": True,
}  # fmt: skip
IPAM = {
    "type": "host-local", "ranges": [[{"subnet": "10.98.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]
}  # fmt: skip
PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}}
# Answers with what a variable holds, and writes down what it was told.
RECORDER = """#!/bin/sh
cat >"$RECORDED/$CNI_COMMAND-$$.json"
printf '%s %s %s %s %s\\n' "$CNI_COMMAND" "$CNI_CONTAINERID" "$CNI_IFNAME" \\
    "$(test -e "$CNI_NETNS" && stat -f -c %T "$CNI_NETNS")" "$CNI_ARGS" >>"$RECORDED/log"
test ! -e "$RECORDED/fail-$CNI_COMMAND" || {
    printf '{"cniVersion": "1.0.0", "code": 100, "msg": "it is broken", "details": "on purpose"}'
    exit 1
}
test "$CNI_COMMAND" != ADD || printf '{"cniVersion": "1.0.0", "interfaces": [],
    "ips": [{"address": "10.97.0.7/24", "gateway": "10.97.0.1"}], "dns": {"nameservers": ["192.0.2.3", "bad one"]}}'
"""


def write(folder: Path, name: str, *plugins: dict[str, Any], **more: Any) -> str:
    folder.mkdir(exist_ok=True)
    document = {"cniVersion": "1.0.0", "name": name, "plugins": plugins, **more}
    (folder / f"{name}.conflist").write_text(json.dumps(document))
    return str(folder)


@pytest.fixture
def plugged(inn: HostInn, tmp_path: Path) -> Iterator[list[str]]:
    """A network `plug` of the plugins bridge and portmap, `bare` of bridge alone: their options."""
    ipam = {**IPAM, "dataDir": str(tmp_path / "leases")}
    write(tmp_path / "net.d", "bare", {**BRIDGE, "ipam": ipam})
    yield ["--cni-config-dir", write(tmp_path / "net.d", "plug", {**BRIDGE, "ipam": ipam}, PORTMAP)]
    inn("rm", "-f", "one")
    inn.on_host("ip", "link", "delete", "cnit0")  # a bridge of CNI's stays: it is the plugin's


@needs_plugins
def test_bridge_and_portmap(
    inn: HostInn, outside: tuple[str, str], plugged: list[str], tmp_path: Path
) -> None:
    inn.serve("one", "--network", "plug", *plugged, "-p", "8090:80")
    address = inn.address("one")
    assert address.startswith("10.98.0.") and list((tmp_path / "leases/plug").glob("10.*"))
    assert connect(outside[1], HOST, 8090) == "hello"
    assert inn("port", "one").stdout == b"80/tcp -> 0.0.0.0:8090\n"
    inspected = json.loads(inn("network", "inspect", "plug", *plugged).stdout)
    assert [c["name"] for c in inspected[0]["containers"].values()] == ["one"]
    with echo(outside[1], OUTSIDE) as port:
        done = inn("exec", "one", "nc", OUTSIDE, str(port))
        assert done.stdout == f"{HOST}\n".encode(), done.stderr
    assert address.encode() in inn("exec", "one", "cat", "/etc/hosts").stdout
    assert inn("rm", "-f", "one").returncode == 0
    assert not list((tmp_path / "leases/plug").glob("10.*"))
    rules = inn.on_host("iptables-save").stdout.decode()
    assert "10.98.0" not in rules and "8090" not in rules


@needs_plugins
def test_the_plugin_checks(inn: HostInn, plugged: list[str]) -> None:
    inn.serve("one", "--network", "bare", *plugged)
    assert inn("network", "check", "one").returncode == 0
    inn.on_host("ip", "link", "delete", "cnit0")
    broken = inn("network", "check", "one")
    assert broken.returncode == 125 and b"CHECK" in broken.stderr


@pytest.fixture
def recorded(inn: HostInn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the plugin `recorder`, and a network `rec` of two of it."""
    (tmp_path / "recorder").write_text(RECORDER)
    (tmp_path / "recorder").chmod(0o755)
    able = {"portMappings": True, "ips": True, "mac": False}
    write(
        tmp_path / "net.d", "rec", {"type": "recorder", "number": 1},
        {"type": "recorder", "number": 2, "capabilities": able},
    )  # fmt: skip
    for key, value in (("CNI_PATH", str(tmp_path)), ("RECORDED", str(tmp_path)),
                       ("INN_CNI_CONFIG_DIR", str(tmp_path / "net.d"))):  # fmt: skip
        monkeypatch.setitem(inn.env, key, value)
    return tmp_path


def told(folder: Path, command: str) -> list[dict[str, Any]]:
    """Return what the plugins were told with a command, by their number."""
    found = [json.loads(path.read_text()) for path in folder.glob(f"{command}-*.json")]
    return sorted(found, key=lambda one: int(one["number"]))


def log(folder: Path) -> list[list[str]]:
    return [line.split() for line in (folder / "log").read_text().splitlines()]


def test_what_plugins_are_told(inn: HostInn, recorded: Path) -> None:
    options = ["--network", "rec:ip=10.97.0.7,mac=02:00:00:00:00:01", "-p", "8091:80"]
    options += ["--add-host", "out:host-gateway"]
    done = inn.run("-d", "--name", "r", *options, IMAGE, "sleep", "1000")
    assert done.returncode == 0, done.stderr
    first, second = told(recorded, "ADD")
    assert "prevResult" not in first and second["prevResult"]["ips"] == [
        {"address": "10.97.0.7/24", "gateway": "10.97.0.1"}
    ]
    assert (first["name"], first["cniVersion"]) == ("rec", "1.0.0")
    assert "runtimeConfig" not in first and "capabilities" not in second
    assert second["runtimeConfig"] == {
        "ips": ["10.97.0.7"],
        "portMappings": [{"hostPort": 8091, "containerPort": 80, "protocol": "tcp"}],
    }
    seen = inn("exec", "r", "cat", "/etc/resolv.conf", "/etc/hosts").stdout
    assert b"nameserver 192.0.2.3\n" in seen and b"bad" not in seen and b"10.97.0.7\tr" in seen
    assert b"10.97.0.1\tout\n" in seen and b"10.97.0.1\thost.containers.internal\n" in seen
    assert inn("network", "check", "r").returncode == 0
    assert inn("rm", "-f", "r").returncode == 0
    for command in ("CHECK", "DEL"):
        assert all(one["prevResult"]["ips"] for one in told(recorded, command))
        assert "runtimeConfig" in told(recorded, command)[1]
    lines = log(recorded)
    assert [line[0] for line in lines] == ["ADD"] * 2 + ["CHECK"] * 2 + ["DEL"] * 2
    container = done.stdout.decode().strip()
    assert {(*line[1:4], line[4]) for line in lines} == {
        (
            container,
            "eth0",
            "nsfs",
            "IgnoreUnknown=1;K8S_POD_NAME=r;IP=10.97.0.7;MAC=02:00:00:00:00:01",
        )
    }


def test_a_plugin_that_fails(inn: HostInn, recorded: Path) -> None:
    (recorded / "fail-ADD").touch()
    done = inn.run("--network", "rec", IMAGE, "true")
    assert done.returncode == 125 and b"it is broken on purpose" in done.stderr
    assert [line[0] for line in log(recorded)] == ["ADD", "DEL", "DEL"]
    assert inn.left() == []
    (recorded / "fail-ADD").unlink()
    (recorded / "fail-DEL").touch()
    done = inn.run("--network", "rec", IMAGE, "true")
    assert done.returncode == 125 and len(inn.left()) > 0  # what is owed is not forgotten
    (recorded / "fail-DEL").unlink()
    assert inn("system", "prune").returncode == 0
    assert inn.left() == []


def test_del_comes_after_a_kill(inn: HostInn, recorded: Path) -> None:
    argv = [
        "run",
        "--engine",
        "container",
        "--network",
        "rec",
        IMAGE,
        "sh",
        "-c",
        "echo up; sleep 1000",
    ]
    with inn.start(*argv) as running:
        assert running.stdout is not None and running.stdout.readline() == b"up\n"
        running.send_signal(signal.SIGKILL)
        running.wait()
    assert inn("system", "prune").returncode == 0
    assert [line[0] for line in log(recorded)] == ["ADD"] * 2 + ["DEL"] * 2
    assert {line[3] for line in log(recorded)} == {"nsfs"}


def test_beside_a_bridge_of_ours(inn: HostInn, recorded: Path) -> None:
    script = "ip -o link; cat /etc/resolv.conf"
    options = ["--network", "bridge", "--network", "rec", "-p", "8092:80"]
    done = inn.run(*options, IMAGE, "sh", "-c", script)
    assert done.returncode == 0 and b"eth0" in done.stdout
    assert told(recorded, "ADD")[1].get("runtimeConfig") is None  # the ports are ours to publish
    assert [line[2] for line in log(recorded)] == ["eth1"] * 4


def test_without_the_capability_ports_are_refused(inn: HostInn, recorded: Path) -> None:
    write(recorded / "net.d", "plain", {"type": "recorder", "number": 1})
    done = inn.run("--network", "plain", "-p", "80", IMAGE, "true")
    assert done.returncode == 2 and b"portmap" in done.stderr
    write(recorded / "net.d", "gone", {"type": "nosuchplugin"})
    done = inn.run("--network", "gone", IMAGE, "true")
    assert done.returncode == 125 and b"containernetworking-plugins" in done.stderr
    (recorded / "fail-ADD").unlink(missing_ok=True)
    stuck = inn("system", "prune")
    assert stuck.returncode == 125 and b"nosuchplugin" in stuck.stderr
    assert inn.run("--network", "bridge", IMAGE, "true").returncode == 0  # nobody else is held up
    (recorded / "nosuchplugin").symlink_to(recorded / "recorder")
    assert inn("system", "prune").returncode == 0


@pytest.mark.parametrize(
    "document",
    [
        [], {}, {"name": "x"}, {"name": "x", "plugins": []}, {"name": "x", "plugins": [{}]},
        {"name": "../x", "plugins": [{"type": "a"}]}, {"name": 7, "plugins": [{"type": "a"}]},
        {"name": "x", "plugins": [{"type": "../a"}]}, {"name": "x", "plugins": [{"type": ""}]},
        {"name": "x", "plugins": "a"}, {"name": "x", "plugins": [{"type": "a"}] * 65},
        {"name": "x", "cniVersion": "9", "plugins": [{"type": "a"}]},
        {"name": "x", "plugins": [{"type": "a", "capabilities": []}]},
    ],
)  # fmt: skip
def test_configurations_that_are_none(document: Any, tmp_path: Path) -> None:
    (tmp_path / "a.conflist").write_text(json.dumps(document))
    with pytest.raises(UsageError):
        config.read(tmp_path / "a.conflist")
    assert list(config.every(str(tmp_path))) == []


def test_configurations_are_found_by_name(tmp_path: Path) -> None:
    write(tmp_path, "b", {"type": "one"}, disableCheck=True)
    (tmp_path / "a.conf").write_text('{"cniVersion": "0.4.0", "name": "old", "type": "two"}')
    (tmp_path / "z.conflist").write_text("{")
    os.symlink("/nowhere", tmp_path / "y.json")
    assert [one.name for one in config.every(str(tmp_path))] == ["old", "b"]
    found = config.find("b", str(tmp_path))
    assert found is not None and not found.check and found.version == "1.0.0"
    assert config.find("c", str(tmp_path)) is None
