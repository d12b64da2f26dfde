"""Profiles and resources made of anything JSON can hold end in an error with a name, or work."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest

from innkeeper.base.errors import ConfigError, ContainerError
from innkeeper.containers.cgroups import ebpf, layout
from innkeeper.containers.cgroups.unit_properties import resource_properties
from innkeeper.containers.cgroups.v1 import CgroupV1
from innkeeper.containers.cgroups.v2 import CgroupV2
from innkeeper.containers.seccomp import default_profile
from innkeeper.containers.seccomp.compile import compile_filter
from tests.containers import bpf
from tests.containers.fake_cgroupfs import V1, FakeKernel

ODD: list[Any] = [
    None, True, False, 0, -1, 1, 7, 1 << 31, 1 << 63, 1 << 64, -(1 << 63), 1e308, 0.5, "", "x", "a\nb", "a\0b", "\ud800",
    "../..", "/", "9" * 400, "SCMP_ACT_NOTIFY", "SCMP_ARCH_S390", "SCMP_CMP_LE", [], {}, [[]], [None], [{}], {"": None},
    {"a": {"b": [1]}}, ["read", 3], "é", "max", " 5", "5 6 7", "2MB", "c",
]  # fmt: skip
RESOURCES: dict[str, Any] = {
    "devices": [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 10, "minor": 2, "access": "r"}],
    "memory": {"limit": 1 << 30, "swap": 1 << 31, "reservation": 5, "swappiness": 3, "kernel": 1, "kernelTCP": 1,
               "disableOOMKiller": False, "checkBeforeUpdate": True},
    "cpu": {"shares": 1024, "quota": 5000, "period": 10000, "burst": 5, "cpus": "0", "mems": "0", "idle": 0,
            "realtimeRuntime": 5, "realtimePeriod": 10},
    "pids": {"limit": 5}, "rdma": {"mlx": {"hcaHandles": 3}},
    "blockIO": {"weight": 10, "leafWeight": 10, "weightDevice": [{"major": 8, "minor": 0, "weight": 10}],
                "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}]},
    "hugepageLimits": [{"pageSize": "2MB", "limit": 4096}],
    "network": {"classID": 1, "priorities": [{"name": "eth0", "priority": 5}]},
    "unified": {"memory.high": "5"},
}  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    inside = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, one in inside:
        found += places(one, (*path, key))
    return found


def damaged(value: Any, rng: random.Random) -> Any:
    """Replace, remove or rename a few nodes."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 2, 4))):
        *above, key = rng.choice(places(value))
        at = value
        for each in above:
            at = at[each]
        what = rng.random()
        if what < 0.75:
            at[key] = copy.deepcopy(rng.choice(ODD))
        elif what < 0.9 or isinstance(at, list):
            del at[key]
        else:
            at[rng.choice([o for o in ODD if isinstance(o, str)])] = at.pop(key)
        if not places(value):
            break
    return value


def test_profiles() -> None:
    rng = random.Random("profiles")
    whole = default_profile([], "x86_64")
    whole["syscalls"] = whole["syscalls"][-12:]
    whole["syscalls"][0]["names"] = whole["syscalls"][0]["names"][:5]
    whole |= {"flags": ["SECCOMP_FILTER_FLAG_LOG"], "listenerPath": "/x", "listenerMetadata": "y"}
    made = 0
    for _ in range(500):
        profile = damaged(whole, rng)
        try:
            code, _flags, _notify = compile_filter(profile, "x86_64")
        except ConfigError as e:
            assert "linux.seccomp" in e.what
        else:
            made += 1
            bpf.check(bpf.decode(code))
    assert made > 30
    for odd in ODD:
        with pytest.raises(ConfigError):
            compile_filter(odd, "x86_64")


def test_resources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = FakeKernel(tmp_path, monkeypatch)
    for controller in (*V1, "two"):
        (tmp_path / controller).mkdir()
        kernel.populate(str(tmp_path / controller))
    for name, text in (("cpus", "0"), ("mems", "0")):
        (tmp_path / "cpuset" / f"cpuset.{name}").write_text(text)
    monkeypatch.setattr(ebpf, "attach", lambda path, code: None)
    rng = random.Random("resources")
    one = CgroupV1({c: str(tmp_path / c / "x") for c in V1})
    two = CgroupV2({"": str(tmp_path / "two" / "x")})
    worked = 0
    for _ in range(250):
        for cgroup, leave_out in ((one, "unified"), (two, "network")):
            resources = damaged({k: v for k, v in RESOURCES.items() if k != leave_out}, rng)
            for apply in (cgroup.create, cgroup.update):
                try:
                    apply(resources)
                    worked += 1
                except ContainerError as e:
                    assert "linux.resources" in e.what, e
            try:
                resource_properties(resources, unified=cgroup is two, version=252, fresh=True)
            except ConfigError as e:
                assert "linux.resources" in e.what, e
            cgroup.remove()
            assert not cgroup.exists()
    assert worked > 100


def test_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    for odd in (o for o in ODD if isinstance(o, str) and o):
        try:
            cleaned = layout.clean(odd)
        except ConfigError:
            continue
        assert ".." not in cleaned.split("/")
