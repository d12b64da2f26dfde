"""`--systemd-cgroup`: a container as a scope of a service that acts as systemd on a real bus."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from innkeeper.containers.cgroups import layout
from tests.containers.oci.kit import Bundle
from tests.containers.test_cgroups_systemd import Systemd, address, needs_bus

__all__ = ["address"]  # a fixture


@pytest.fixture
def init(address: str, tmp_path: Path) -> Iterator[Systemd]:
    if layout.read_layout().unified:
        pytest.skip("written for hosts that have cgroup v1")
    yield Systemd(address, tmp_path)
    for path in Path("/sys/fs/cgroup").glob("*/inntest.slice"):
        os.rmdir(path)


@needs_bus
def test_life_of_a_scope(init: Systemd, bundle: Bundle) -> None:
    name = f"inn-{bundle.id}.scope"
    bundle.linux["cgroupsPath"] = f"inntest.slice:inn:{bundle.id}"
    bundle.linux["resources"] = {"pids": {"limit": 20}}
    bundle.namespace("cgroup")
    bundle.process["args"] = ["sleep", "100"]
    bundle.program.append("--systemd-cgroup")
    bundle.start()
    pid = bundle.pid()
    assert [member for member, _ in init.calls] == ["Subscribe", "StartTransientUnit"]
    unit, _mode, properties, _ = init.calls[-1][1]
    assert unit == name
    assert dict(properties)["PIDs"] == ("au", [pid])
    assert dict(properties)["TasksMax"] == ("t", 20)
    assert f":pids:/inntest.slice/{name}\n" in Path(f"/proc/{pid}/cgroup").read_text()
    stats = json.loads(bundle.oci("events", "--stats", bundle.id).stdout)
    assert stats["data"]["pids"]["limit"] == 20
    inside = bundle.oci("exec", bundle.id, "cat", "/proc/self/cgroup").stdout
    assert ":pids:/\n" in inside  # in the container's cgroup namespace, whose root it is
