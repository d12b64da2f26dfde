"""`linux.resources` as writes: every field, both versions, on trees that look like the kernel's."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from innkeeper.base.errors import ConfigError, ContainerError
from innkeeper.containers.cgroups import devices, ebpf, layout, open_cgroup
from innkeeper.containers.cgroups.errors import CgroupError
from innkeeper.containers.cgroups.v1 import CgroupV1
from innkeeper.containers.cgroups.v2 import CgroupV2
from innkeeper.containers.cgroups.v2_limits import cpu_weight, io_weight
from tests.containers.fake_cgroupfs import V1, FakeKernel

GB = 1 << 30


@pytest.fixture
def v2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[FakeKernel, CgroupV2]:
    kernel = FakeKernel(tmp_path, monkeypatch)
    kernel.populate(str(tmp_path))
    monkeypatch.setattr(ebpf, "attach", lambda path, code: None)
    return kernel, CgroupV2({"": str(tmp_path / "inn" / "c1")})


@pytest.fixture
def v1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[FakeKernel, CgroupV1]:
    kernel = FakeKernel(tmp_path, monkeypatch)
    for controller in V1:
        (tmp_path / controller).mkdir()
        kernel.populate(str(tmp_path / controller))
    (tmp_path / "cpuset" / "cpuset.cpus").write_text("0-1\n")
    (tmp_path / "cpuset" / "cpuset.mems").write_text("0\n")
    return kernel, CgroupV1({c: str(tmp_path / c / "inn" / "c1") for c in V1})


MEMORY = [
    ({"limit": GB}, [("memory.max", f"{GB}")], [("memory.limit_in_bytes", f"{GB}")]),
    ({"limit": GB, "swap": 2 * GB}, [("memory.swap.max", f"{GB}"), ("memory.max", f"{GB}")],
     [("memory.limit_in_bytes", f"{GB}"), ("memory.memsw.limit_in_bytes", f"{2 * GB}")]),
    ({"limit": GB, "swap": GB}, [("memory.swap.max", "0"), ("memory.max", f"{GB}")],
     [("memory.limit_in_bytes", f"{GB}"), ("memory.memsw.limit_in_bytes", f"{GB}")]),
    ({"limit": GB, "swap": -1}, [("memory.swap.max", "max"), ("memory.max", f"{GB}")],
     [("memory.memsw.limit_in_bytes", "-1"), ("memory.limit_in_bytes", f"{GB}")]),
    ({"limit": -1}, [("memory.swap.max", "max"), ("memory.max", "max")],
     [("memory.memsw.limit_in_bytes", "-1"), ("memory.limit_in_bytes", "-1")]),
    ({"reservation": GB}, [("memory.low", f"{GB}")], [("memory.soft_limit_in_bytes", f"{GB}")]),
    ({"swappiness": 60, "disableOOMKiller": True, "kernel": -1, "kernelTCP": 5}, [],
     [("memory.oom_control", "1"), ("memory.swappiness", "60")]),
    ({"useHierarchy": True}, [], []),
]  # fmt: skip
CPU = [
    ({"shares": 1024}, [("cpu.weight", "100")], [("cpu.shares", "1024")]),
    ({"quota": 50000, "period": 200000}, [("cpu.max", "50000 200000")],
     [("cpu.cfs_period_us", "200000"), ("cpu.cfs_quota_us", "50000")]),
    ({"quota": 50000}, [("cpu.max", "50000 100000")], [("cpu.cfs_quota_us", "50000")]),
    ({"quota": -1}, [("cpu.max", "max 100000")], [("cpu.cfs_quota_us", "-1")]),
    ({"period": 50000}, [("cpu.max", "max 50000")], [("cpu.cfs_period_us", "50000")]),
    ({"quota": 50000, "burst": 10000},
     [("cpu.max.burst", "0"), ("cpu.max", "50000 100000"), ("cpu.max.burst", "10000")],
     [("cpu.cfs_burst_us", "10000"), ("cpu.cfs_quota_us", "50000")]),
    ({"idle": 1, "shares": 1024}, [("cpu.idle", "1")], [("cpu.shares", "1024"), ("cpu.idle", "1")]),
    ({"realtimePeriod": 1000000, "realtimeRuntime": 950000}, [],
     [("cpu.rt_period_us", "1000000"), ("cpu.rt_runtime_us", "950000")]),
    ({"cpus": "0-1", "mems": "0"}, [("cpuset.cpus", "0-1"), ("cpuset.mems", "0")],
     [("cpuset.cpus", "0-1"), ("cpuset.mems", "0")]),
]  # fmt: skip
DEVICE = {"major": 8, "minor": 16}
BLOCK_IO = [
    ({"weight": 500}, [("io.weight", "4950")], [("blkio.weight", "500")]),
    ({"leafWeight": 300}, [], [("blkio.leaf_weight", "300")]),
    ({"weightDevice": [{**DEVICE, "weight": 10, "leafWeight": 20}]}, [("io.weight", "8:16 1")],
     [("blkio.weight_device", "8:16 10"), ("blkio.leaf_weight_device", "8:16 20")]),
    ({"throttleReadBpsDevice": [{**DEVICE, "rate": 1000}]}, [("io.max", "8:16 rbps=1000")],
     [("blkio.throttle.read_bps_device", "8:16 1000")]),
    ({"throttleWriteIOPSDevice": [{**DEVICE, "rate": 0}]}, [("io.max", "8:16 wiops=max")],
     [("blkio.throttle.write_iops_device", "8:16 0")]),
    ({"throttleWriteBpsDevice": [{**DEVICE, "rate": 7}], "throttleReadIOPSDevice": [{**DEVICE, "rate": 8}]},
     [("io.max", "8:16 wbps=7"), ("io.max", "8:16 riops=8")],
     [("blkio.throttle.write_bps_device", "8:16 7"), ("blkio.throttle.read_iops_device", "8:16 8")]),
]  # fmt: skip
OTHERS: list[tuple[dict[str, Any], list[tuple[str, str]] | None, list[tuple[str, str]] | None]] = [
    ({"pids": {"limit": 100}}, [("pids.max", "100")], [("pids.max", "100")]),
    ({"pids": {"limit": -1}}, [("pids.max", "max")], [("pids.max", "max")]),
    ({"pids": {"limit": 0}}, [], []),
    ({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}]},
     [("hugetlb.2MB.max", f"{4 << 20}"), ("hugetlb.2MB.rsvd.max", f"{4 << 20}")],
     [("hugetlb.2MB.limit_in_bytes", f"{4 << 20}"), ("hugetlb.2MB.rsvd.limit_in_bytes", f"{4 << 20}")]),
    ({"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}}},
     [("rdma.max", "mlx5_1 hca_handle=3 hca_object=10000")],
     [("rdma.max", "mlx5_1 hca_handle=3 hca_object=10000")]),
    ({"network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 5}]}}, None,
     [("net_cls.classid", "1048577"), ("net_prio.ifpriomap", "eth0 5")]),
    ({"unified": {"memory.high": "1073741824", "io.max": "8:0 rbps=1\n8:16 wbps=2"}},
     [("memory.high", "1073741824"), ("io.max", "8:0 rbps=1"), ("io.max", "8:16 wbps=2")], None),
]  # fmt: skip
CASES = [
    *(({"memory": m}, a, b) for m, a, b in MEMORY),
    *(({"cpu": c}, a, b) for c, a, b in CPU),
    *(({"blockIO": i}, a, b) for i, a, b in BLOCK_IO),
    *OTHERS,
]
PREFIXES = ("memory.", "cpu.", "cpuset.", "io.", "blkio.", "pids.", "hugetlb.", "rdma.", "net_")


@pytest.mark.parametrize(("resources", "want", "_v1"), CASES)
def test_v2_writes(v2: Any, resources: Any, want: Any, _v1: Any) -> None:
    kernel, cgroup = v2
    cgroup.create({})
    kernel.writes.clear()
    if want is None:
        with pytest.raises(ConfigError):
            cgroup.update(resources)
    else:
        cgroup.update(resources)
        assert kernel.written(*PREFIXES) == want


@pytest.mark.parametrize(("resources", "_v2", "want"), CASES)
def test_v1_writes(v1: Any, resources: Any, _v2: Any, want: Any) -> None:
    kernel, cgroup = v1
    if want is None:
        with pytest.raises(ConfigError, match="unified"):
            cgroup.create(resources)
        return
    cgroup.create({})
    kernel.writes.clear()
    cgroup.update(resources)
    assert kernel.written(*PREFIXES) == want


def test_v1_raises_memory_before_swap_and_lowers_it_after(v1: Any) -> None:
    kernel, cgroup = v1
    cgroup.create({})
    Path(cgroup.paths["memory"], "memory.limit_in_bytes").write_text(str(GB))
    kernel.writes.clear()
    cgroup.update({"memory": {"limit": 2 * GB, "swap": 3 * GB}})
    assert [n for n, _ in kernel.writes] == ["memory.memsw.limit_in_bytes", "memory.limit_in_bytes"]


def test_v1_period_is_written_after_the_quota_where_it_must(v1: Any) -> None:
    kernel, cgroup = v1
    cgroup.create({})
    kernel.writes.clear()
    kernel.failing["cpu.cfs_period_us"] = errno.EINVAL
    real = kernel.put

    def put(directory: str, name: str, value: str) -> None:
        if name == "cpu.cfs_quota_us":
            kernel.failing.clear()
        real(directory, name, value)

    cgroup_files = __import__("innkeeper.containers.cgroups.files", fromlist=["put"])
    cgroup_files.put = put
    cgroup.update({"cpu": {"period": 1000, "quota": 2000}})
    assert kernel.writes == [("cpu.cfs_quota_us", "2000"), ("cpu.cfs_period_us", "1000")]


def test_v1_cpuset_inherits_from_each_parent(v1: Any) -> None:
    kernel, cgroup = v1
    cgroup.create({"cpu": {"cpus": "1"}})
    names = kernel.written("cpuset.")
    assert names == [("cpuset.cpus", "0-1"), ("cpuset.mems", "0")] * 2 + [("cpuset.cpus", "1")]


def test_v2_hands_controllers_down_and_uses_bfq_where_it_is(v2: Any) -> None:
    kernel, cgroup = v2
    cgroup.create({})
    enabled = kernel.written("cgroup.subtree_control")
    assert (
        enabled == [("cgroup.subtree_control", "+cpuset +cpu +io +memory +hugetlb +pids +rdma")] * 2
    )
    Path(cgroup.paths[""], "io.bfq.weight").touch()
    cgroup.update({"blockIO": {"weight": 500, "weightDevice": [{**DEVICE, "weight": 30}]}})
    assert kernel.written("io.") == [("io.bfq.weight", "500"), ("io.bfq.weight", "8:16 30")]


@pytest.mark.parametrize("kind", ["threaded", "domain invalid", "domain threaded"])
def test_v2_threaded_parents_refuse_domain_controllers(v2: Any, kind: str) -> None:
    kernel, cgroup = v2
    Path(kernel.root, "cgroup.type").write_text(kind)
    with pytest.raises(CgroupError, match="memory needs a domain"):
        cgroup.create({"memory": {"limit": GB}})
    assert not os.path.exists(cgroup.paths[""])
    cgroup.create({"pids": {"limit": 5}})


def test_v2_check_before_update_refuses_what_would_kill(v2: Any) -> None:
    _kernel, cgroup = v2
    cgroup.create({})
    Path(cgroup.paths[""], "memory.current").write_text(str(GB))
    cgroup.update({"memory": {"limit": GB // 2}})
    with pytest.raises(ConfigError, match="not above the usage"):
        cgroup.update({"memory": {"limit": GB // 2, "checkBeforeUpdate": True}})


def test_v2_without_swap_accounting(v2: Any) -> None:
    kernel, cgroup = v2
    cgroup.create({})
    os.unlink(Path(cgroup.paths[""], "memory.swap.max"))
    cgroup.update({"memory": {"limit": GB, "swap": GB}})
    assert ("memory.max", str(GB)) in kernel.writes
    with pytest.raises(CgroupError, match=r"memory\.swap"):
        cgroup.update({"memory": {"limit": GB, "swap": 2 * GB}})


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_refused_write_names_file_value_and_field(version: str, request: Any) -> None:
    kernel, cgroup = request.getfixturevalue(version)
    cgroup.create({})
    kernel.failing["pids.max"] = errno.EACCES
    with pytest.raises(CgroupError) as caught:
        cgroup.update({"pids": {"limit": 77}})
    text = f"{caught.value.what} {caught.value.why}"
    assert "linux.resources.pids.limit" in text
    assert "'77'" in text
    assert "pids.max" in text
    assert caught.value.errno == errno.EACCES


def test_missing_controllers_are_named(v1: Any, v2: Any) -> None:
    _, one = v1
    _, two = v2
    del one.paths["pids"]
    one.create({})
    two.create({})
    Path(two.paths[""], "cgroup.controllers").write_text("memory")
    os.unlink(Path(two.paths[""], "pids.max"))
    for cgroup in (one, two):
        with pytest.raises(CgroupError, match="pids cgroup"):
            cgroup.update({"pids": {"limit": 5}})


BAD: list[dict[str, Any]] = [
    {"memory": {"limit": -2}}, {"memory": {"limit": 1 << 63}}, {"memory": {"limit": "1g"}},
    {"memory": {"limit": True}}, {"memory": {"swappiness": 101}}, {"memory": 5}, {"cpu": []},
    {"memory": {"limit": GB, "swap": GB // 2}}, {"cpu": {"shares": -1}}, {"cpu": {"idle": 2}},
    {"cpu": {"quota": 100, "burst": 200}}, {"cpu": {"cpus": 3}}, {"pids": {"limit": 1.5}},
    {"blockIO": {"weight": 1001}}, {"blockIO": {"throttleReadBpsDevice": [{"rate": 1}]}},
    {"blockIO": {"throttleReadBpsDevice": {"rate": 1}}},
    {"blockIO": {"weightDevice": [{**DEVICE, "weight": 5}]}},
    {"hugepageLimits": [{"pageSize": "2M", "limit": 1}]}, {"hugepageLimits": [{"pageSize": "../2MB", "limit": 1}]},
    {"hugepageLimits": [{"pageSize": "2MB", "limit": -1}]}, {"rdma": {"a/b": {"hcaHandles": 1}}}, {"rdma": {"x": {}}},
    {"devices": [{"access": "rwm"}]}, {"devices": [{"allow": True, "type": "p"}]},
    {"devices": [{"allow": True, "type": "c", "major": -2}]}, {"devices": [{"allow": True, "access": "rwx"}]},
    {"devices": {"allow": True}},
    {"devices": [{"allow": True, "type": "c", "access": "r"}, {"allow": False, "type": "c", "major": 1, "access": "r"}]},
]  # fmt: skip


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("resources", BAD)
def test_bad_resources_are_refused_and_leave_nothing(
    version: str, resources: Any, request: Any
) -> None:
    _kernel, cgroup = request.getfixturevalue(version)
    with pytest.raises(ConfigError, match=r"linux\.resources\."):
        cgroup.create(resources)
    assert not cgroup.exists()


@pytest.mark.parametrize(
    "unified", [{"../x.y": "1"}, {"memory": "1"}, {"memory.max": 5}, {"nosuch.max": "1"}]
)
def test_bad_unified_is_refused(v2: Any, unified: Any) -> None:
    _kernel, cgroup = v2
    with pytest.raises(ContainerError, match="unified"):
        cgroup.create({"unified": unified})


def test_weights() -> None:
    """The three fixed points of each conversion, and that it rises."""
    assert [cpu_weight(s) for s in (0, 2, 1024, 262144, 1 << 60)] == [1, 1, 100, 10000, 10000]
    assert [io_weight(w) for w in (10, 1000)] == [1, 10000]
    weights = [cpu_weight(s) for s in range(2, 262144, 997)]
    assert weights == sorted(weights)


def test_rootless_goes_without_where_nothing_is_asked(v1: Any, v2: Any, monkeypatch: Any) -> None:
    def refuse(path: str) -> bool:
        raise PermissionError(errno.EACCES, "denied")

    monkeypatch.setattr("innkeeper.containers.cgroups.files.make_directory", refuse)
    for _, cgroup in (v1, v2):
        cgroup.rootless = cgroup.optional = True
        cgroup.create({})
        assert cgroup.paths == {}
        cgroup.add(os.getpid())
        assert (cgroup.pids(), cgroup.exists(), cgroup.joiners()) == ([], False, [])
        cgroup.kill()
        cgroup.remove()
    for made in (CgroupV1, CgroupV2):
        paths = {"": "/sys/fs/cgroup/x"} if made is CgroupV2 else {"pids": "/sys/fs/cgroup/pids/x"}
        with pytest.raises(ContainerError, match=r"pids|cgroupsPath"):
            made(dict(paths), rootless=True, optional=True).create({"pids": {"limit": 5}})
        with pytest.raises(ContainerError, match="cgroupsPath"):
            made(dict(paths), rootless=True, optional=False).create({})


def test_used_and_frozen_cgroups_are_refused(v1: Any, v2: Any) -> None:
    kernel, _ = v1
    for _, cgroup in (v1, v2):
        for path in cgroup.paths.values():
            os.makedirs(path)
            kernel.populate(path)
        Path(cgroup.home, "cgroup.procs").write_text("4711\n")
        with pytest.raises(CgroupError, match="not empty: 1 processes, the first is 4711"):
            cgroup.create({})
        Path(cgroup.home, "cgroup.procs").write_text("")
        if cgroup is v2[1]:
            Path(cgroup.home, "cgroup.freeze").write_text("1")
        else:
            Path(cgroup.paths["freezer"], "freezer.state").write_text("FROZEN")
            Path(cgroup.paths["freezer"], "freezer.self_freezing").write_text("1")
        with pytest.raises(CgroupError, match="frozen"):
            cgroup.create({})


def test_delegation(v2: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _, cgroup = v2
    cgroup.create({})
    given: list[tuple[str, int]] = []

    def chown(path: str, uid: int, gid: int) -> None:
        assert gid == -1
        if not os.path.exists(path):
            raise FileNotFoundError(path)
        given.append((os.path.basename(path), uid))

    monkeypatch.setattr(os, "chown", chown)
    monkeypatch.setattr("innkeeper.containers.cgroups.v2.DELEGATE", str(tmp_path / "none"))
    cgroup.delegate(100000)
    assert given == [
        ("c1", 100000),
        ("cgroup.procs", 100000),
        ("cgroup.subtree_control", 100000),
        ("cgroup.threads", 100000),
    ]
    given.clear()
    (tmp_path / "delegate").write_text("cgroup.procs\nmemory.oom.group\n")
    monkeypatch.setattr("innkeeper.containers.cgroups.v2.DELEGATE", str(tmp_path / "delegate"))
    cgroup.delegate(7)
    assert given == [("c1", 7), ("cgroup.procs", 7)]


MOUNTINFO_V1 = r"""31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro shared:1 - cgroup cgroup rw,cpu,cpuacct
36 31 0:33 / /sys/fs/cgroup/with\040blank rw - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
"""


def test_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mountinfo, own = tmp_path / "mountinfo", tmp_path / "cgroup"
    monkeypatch.setattr(layout, "MOUNTINFO", str(mountinfo))
    monkeypatch.setattr(layout, "OWN_CGROUPS", str(own))
    mountinfo.write_text(MOUNTINFO_V1)
    own.write_text("4:cpu,cpuacct:/docker/abc/me\n3:pids:/user\n1:name=systemd:/\n0::/u\n")
    absolute = open_cgroup("/a/../../b/./c", "id", systemd=False, rootless=False)
    assert isinstance(absolute, CgroupV1)
    assert absolute.paths["cpu"] == absolute.paths["cpuacct"] == "/sys/fs/cgroup/cpu,cpuacct/b/c"
    assert absolute.paths["pids"] == "/sys/fs/cgroup/with blank/b/c"
    assert absolute.paths[""] == "/sys/fs/cgroup/unified/b/c"
    assert absolute._controllers().count("cpuacct") == 0  # the same directory as cpu
    relative = open_cgroup("../../x", "id", systemd=False, rootless=False)
    assert relative.paths["cpu"] == "/sys/fs/cgroup/cpu,cpuacct/me/x"
    assert relative.paths["pids"] == "/sys/fs/cgroup/with blank/user/x"
    unnamed = open_cgroup(None, "id", systemd=False, rootless=True)
    assert unnamed.paths["pids"] == "/sys/fs/cgroup/with blank/user/id"
    assert unnamed.optional
    mountinfo.write_text("31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
    own.write_text("0::/user.slice/session.scope\n")
    unified = open_cgroup("x/y", "id", systemd=False, rootless=False)
    assert isinstance(unified, CgroupV2)
    assert unified.paths == {"": "/sys/fs/cgroup/user.slice/x/y"}
    assert open_cgroup("/x", "id", systemd=False, rootless=False).paths == {"": "/sys/fs/cgroup/x"}
    for bad in ("a\nb", "a" * 5000, "/" + "n" * 256, "a\0"):
        with pytest.raises(ConfigError, match="cgroupsPath"):
            open_cgroup(bad, "id", systemd=False, rootless=False)


def apply_v1(writes: list[tuple[str, str]], start: devices.DeviceList) -> devices.DeviceList:
    """What the kernel makes of writes to devices.allow and devices.deny."""
    now = devices.DeviceList(default_allow=start.default_allow)
    now.rules = dict(start.rules)
    for name, line in writes:
        kind, *rest = line.split()
        node, access = None, frozenset("rwm")
        if kind != "a":
            node = (kind, *(devices.ANY if n == "*" else int(n) for n in rest[0].split(":")))
            access = frozenset(rest[1])
        now.apply(allow=name == "devices.allow", node=node, access=access, field="x")  # type: ignore[arg-type]
    return now


@pytest.mark.parametrize(
    "rules",
    [
        None,
        [{"allow": False, "access": "rwm"}],
        [{"allow": True, "access": "rwm"}],
        [{"allow": True}, {"allow": False, "type": "b", "major": 8, "access": "w"}],
        [{"allow": False}, {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}],
        [
            {"allow": True, "type": "b", "major": 8},
            {"allow": False, "type": "b", "major": 8, "access": "wm"},
        ],
    ],
)
def test_v1_device_writes_reach_the_wanted_list(rules: Any) -> None:
    want = devices.wanted(rules)
    other = devices.wanted(
        [{"allow": False}, {"allow": True, "type": "c", "major": 7, "access": "r"}]
    )
    for start in (devices.DeviceList(default_allow=True), devices.DeviceList(), other):
        reached = apply_v1(devices.transition(start, want), start)
        assert (reached.default_allow, reached.rules) == (want.default_allow, want.rules)
    assert devices.transition(want, want) == [] or want.default_allow


def test_what_runs_for_every_container_imports_next_to_nothing() -> None:
    script = (
        "import json, sys; sys.path[:] = json.loads(sys.argv[1]); before = set(sys.modules)\n"
        "from innkeeper.containers.cgroups import open_cgroup\n"
        "from innkeeper.containers.cgroups import devices, layout, v1, v1_limits, v2, v2_limits\n"
        "open_cgroup('/x', 'x', systemd=False, rootless=False)\n"
        "v1_limits.Limits({}, {}).apply(); v2_limits.Limits('', {}).apply(); devices.wanted([])\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    command = [sys.executable, "-I", "-S", "-c", script, json.dumps(sys.path)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert {name for name in out if not name.startswith("innkeeper")} <= {
        "__future__", "os", "os.path", "stat", "_stat", "posixpath", "genericpath",
    }  # fmt: skip
