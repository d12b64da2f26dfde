"""config-linux.md "Namespaces": all eight types, made and joined; maps, names, sysctl, clocks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.containers.oci.kit import Bundle

KINDS = {
    "pid": "pid",
    "network": "net",
    "ipc": "ipc",
    "uts": "uts",
    "mount": "mnt",
    "cgroup": "cgroup",
    "time": "time",
}
MAPS = [{"containerID": 0, "hostID": 100_000, "size": 65_536}]


def identities(bundle: Bundle) -> dict[str, str]:
    lines = bundle.output(
        f"cd /proc/self/ns; for n in {' '.join(KINDS.values())} user; do readlink $n; done"
    ).split()
    return {line.partition(":")[0]: line for line in lines}


def test_new_and_shared_namespaces(bundle: Bundle) -> None:
    own = {name: os.readlink(f"/proc/self/ns/{name}") for name in (*KINDS.values(), "user")}
    for kind in KINDS:
        bundle.namespace(kind)
    found = identities(bundle)
    assert {name for name in own if own[name] != found[name]} == set(KINDS.values())
    for kind in ("network", "ipc", "uts", "cgroup", "time"):
        bundle.without(kind)
    found = identities(bundle)
    assert {name for name in own if own[name] != found[name]} == {"pid", "mnt"}


@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts", "cgroup", "time"])
def test_joining_by_path(bundle: Bundle, tmp_path: Path, kind: str) -> None:
    holder = Bundle(tmp_path / "holder", Path(bundle.config["root"]["path"]))
    holder.process["args"] = ["sleep", "1000"]
    for each in KINDS:
        holder.namespace(each)
    holder.start()
    try:
        path = f"/proc/{holder.pid()}/ns/{KINDS[kind]}"
        bundle.namespace(kind, path)
        assert identities(bundle)[KINDS[kind]] == os.readlink(path)
    finally:
        holder.clean()


def test_a_path_that_is_no_namespace(bundle: Bundle) -> None:
    bundle.namespace("network", "/nowhere")
    assert "open namespace /nowhere: no such file or directory" in bundle.refused()
    bundle.namespace("network", "/proc/self/ns/uts")
    assert bundle.refused()


def test_the_pid_namespace_begins_with_one(bundle: Bundle) -> None:
    assert bundle.output("echo $$") == "1\n"


def test_host_and_domain_name(bundle: Bundle) -> None:
    bundle.config["hostname"], bundle.config["domainname"] = "inn", "example"
    said = bundle.output("hostname; cat /proc/sys/kernel/domainname")
    assert said.split() == ["inn", "example"]


def test_loopback_is_up(bundle: Bundle) -> None:
    assert "UP" in bundle.output("ip link show lo")


def test_sysctl(bundle: Bundle) -> None:
    bundle.linux["sysctl"] = {
        "net.ipv4.ip_forward": "1",
        "kernel.shmmni": "77",
        "net/ipv4/ip_default_ttl": "33",
    }
    said = bundle.output(
        "cd /proc/sys; cat net/ipv4/ip_forward kernel/shmmni net/ipv4/ip_default_ttl"
    )
    assert said.split() == ["1", "77", "33"]
    bundle.linux["sysctl"] = {"net.no.such": "1"}
    assert "write sysctl net.no.such" in bundle.refused()


def test_time_offsets(bundle: Bundle) -> None:
    bundle.namespace("time")
    bundle.linux["timeOffsets"] = {
        "boottime": {"secs": 1_000_000},
        "monotonic": {"secs": 5, "nanosecs": 7},
    }
    said = bundle.output("cat /proc/self/timens_offsets /proc/uptime").splitlines()
    assert said[0].split() == ["monotonic", "5", "7"]
    assert float(said[-1].split()[0]) > 1_000_000


def test_a_user_namespace(own_bundle: Bundle) -> None:
    root = Path(own_bundle.config["root"]["path"])
    for place in (root, *root.rglob("*")):
        os.chown(place, 100_000, 100_000, follow_symlinks=False)
    for place in (root, *root.parents):
        if place.stat().st_uid == os.getuid() and not place.stat().st_mode & 0o001:
            place.chmod(place.stat().st_mode | 0o011)
    own_bundle.namespace("user")
    own_bundle.linux["uidMappings"] = own_bundle.linux["gidMappings"] = MAPS
    own_bundle.process["capabilities"] = {
        "bounding": ["CAP_CHOWN"],
        "permitted": ["CAP_CHOWN"],
        "effective": ["CAP_CHOWN"],
    }
    said = own_bundle.output(
        "id -u; cat /proc/self/uid_map; touch /x; stat -c %u /x; stat -c %t,%T /dev/null; echo > /dev/null"
    )
    assert said.split() == ["0", "0", "100000", "65536", "0", "1,3"]
    assert (root / "x").stat().st_uid == 100_000
    own_bundle.process["args"] = ["sleep", "1000"]
    own_bundle.start()
    done = own_bundle.oci("exec", own_bundle.id, "sh", "-c", "id -u; readlink /proc/self/ns/user")
    assert done.stdout.split() == ["0", os.readlink(f"/proc/{own_bundle.pid()}/ns/user")], (
        done.stderr
    )


def test_maps_without_a_user_namespace(bundle: Bundle) -> None:
    bundle.linux["uidMappings"] = bundle.linux["gidMappings"] = MAPS
    assert "USER namespace isn't enabled" in bundle.refused()
    del bundle.linux["uidMappings"], bundle.linux["gidMappings"]
    bundle.namespace("user")
    assert "no uid or gid mappings found" in bundle.refused()
