"""The same limits by runc and by inn-oci: every control file the same, and the same usage report."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from innkeeper.containers.cgroups import layout
from tests.containers.oci.kit import Bundle, runc_of

MB = 1 << 20
# What the kernel counts differs from one container to the next; limits may not.
COUNTS = (
    "usage", "stat", "failcnt", "procs", "tasks", "threads", "events", "pressure", "current", "slabinfo", "peak",
    "freezer.state", "io_serviced", "io_service_bytes", "pids.peak", "memory_pressure",
)  # fmt: skip
LIMITS: list[dict[str, Any]] = [
    {},
    {"devices": [{"allow": False, "access": "rwm"}]},
    {
        "devices": [
            {"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"},
            {"allow": True, "type": "b", "major": 8, "access": "r"}, {"allow": False, "type": "b", "major": 8, "access": "r"},
        ],
        "memory": {"limit": 64 * MB, "swap": 96 * MB, "reservation": 32 * MB, "swappiness": 10},
        "cpu": {"shares": 512, "quota": 40000, "period": 80000, "cpus": "0", "mems": "0"},
        "pids": {"limit": 77},
    },
    {"memory": {"limit": 64 * MB, "disableOOMKiller": True}, "pids": {"limit": -1}, "cpu": {"period": 50000}},
    {"memory": {"limit": -1}, "cpu": {"quota": -1}},
]  # fmt: skip
UPDATES = [
    {"memory": {"limit": 48 * MB, "swap": 48 * MB}, "pids": {"limit": 33}},
    {
        "memory": {"limit": 128 * MB, "swap": 256 * MB},
        "cpu": {"shares": 2048, "quota": 10000, "period": 20000},
    },
    {"memory": {"limit": 32 * MB}, "cpu": {"cpus": "0"}},
]


def files(bundle: Bundle) -> dict[str, str]:
    """Return what stands in the control files of a container."""
    found = {}
    for directory in bundle.cgroups():
        for path in directory.iterdir():
            hierarchy = directory.parent.name
            if path.is_file() and not any(name in path.name for name in COUNTS):
                try:
                    # /dev/net/tun was allowed to all until runc 1.2
                    found[f"{hierarchy}/{path.name}"] = path.read_text().replace(
                        "c 10:200 rwm\n", ""
                    )
                except OSError:  # written only
                    continue
    return found


def shape(value: Any) -> Any:
    """Return a report without its numbers."""
    if isinstance(value, dict):
        return {key: shape(one) for key, one in value.items()}
    if isinstance(value, list):
        return [shape(one) for one in value][:1]
    return type(value).__name__


@pytest.fixture
def both(bundle: Bundle) -> Any:
    if layout.read_layout().unified:
        pytest.skip("written for hosts that have cgroup v1")
    bundle.process["args"] = ["sleep", "100"]
    peer = runc_of(bundle)
    bundle.linux["cgroupsPath"] = f"/{bundle.id}"
    yield bundle, peer
    peer.config = copy.deepcopy(bundle.config)
    peer.clean()


def start(bundle: Bundle, peer: Bundle) -> None:
    """Start both, each in a cgroup named after it."""
    for one in (bundle, peer):
        one.config = copy.deepcopy(bundle.config)
        one.linux["cgroupsPath"] = f"/{one.id}"
        one.start()


def files_of(bundle: Bundle, peer: Bundle) -> tuple[dict[str, str], dict[str, str]]:
    """Return both containers' files; the peer's name contains ours."""
    ours = bundle.cgroups()
    bundle.cgroups = lambda: [p for p in ours if p.name == bundle.id]  # type: ignore[method-assign]
    try:
        return files(bundle), files(peer)
    finally:
        del bundle.cgroups


@pytest.mark.parametrize("resources", LIMITS)
def test_create(both: tuple[Bundle, Bundle], resources: dict[str, Any]) -> None:
    bundle, peer = both
    bundle.linux["resources"] = resources
    start(bundle, peer)
    ours, theirs = files_of(bundle, peer)
    assert len(ours) > 30
    assert ours == theirs


def test_update(both: tuple[Bundle, Bundle]) -> None:
    bundle, peer = both
    bundle.linux["resources"] = {
        "memory": {"limit": 64 * MB, "swap": 64 * MB},
        "pids": {"limit": 50},
    }
    start(bundle, peer)
    for update in UPDATES:
        for one in (bundle, peer):
            path = Path(one.directory, "update.json")
            path.write_text(json.dumps(update))
            done = one.oci("update", "--resources", str(path), one.id)
            assert done.returncode == 0, (one.name, done.stderr)
        ours, theirs = files_of(bundle, peer)
        assert ours == theirs, update


def test_usage_report(both: tuple[Bundle, Bundle]) -> None:
    bundle, peer = both
    bundle.linux["resources"] = LIMITS[2]
    start(bundle, peer)
    ours, theirs = (
        json.loads(one.oci("events", "--stats", one.id).stdout) for one in (bundle, peer)
    )
    assert ours["type"] == theirs["type"] == "stats"
    mine, its = ours["data"], theirs["data"]
    for part in mine.values():
        if isinstance(part, dict):
            part.pop("psi", None)  # newer than this runc
    for section in ("memory", "cpu", "blkio", "pids"):  # a counter of zero is left out
        for key in set(mine[section]) ^ set(its[section]):
            mine[section].pop(key, None)
            its[section].pop(key, None)
    assert set(mine) == set(its)
    assert mine["cpuset"] == its["cpuset"]
    assert mine["pids"] == its["pids"]
    for kind in ("usage", "swap", "kernel", "kernelTCP"):
        assert mine["memory"][kind]["limit"] == its["memory"][kind]["limit"]
        assert mine["memory"][kind]["failcnt"] == its["memory"][kind]["failcnt"]
    assert mine["memory"]["raw"].keys() == its["memory"]["raw"].keys()
    assert len(mine["cpu"]["usage"]["percpu"]) == len(its["cpu"]["usage"]["percpu"])
    assert shape(mine["hugetlb"]) == shape(its["hugetlb"])
