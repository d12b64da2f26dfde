"""Usage in runc's shape, from files as kernels print them."""

from __future__ import annotations

from pathlib import Path

from innkeeper.containers.cgroups import v1_stats, v2_stats
from innkeeper.containers.cgroups.parse import cpu_list, number, pressure

V2_FILES = {
    "cpu.stat": "usage_usec 5000\nuser_usec 3000\nsystem_usec 2000\nnr_periods 7\nnr_throttled 2\nthrottled_usec 9\n",
    "cpu.pressure": "some avg10=1.50 avg60=0.25 avg300=0.00 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n",
    "memory.stat": "anon 100\nfile 4096\nslab 5\n",
    "memory.events": "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\n",
    "memory.current": "5000\n", "memory.max": "100000\n", "memory.peak": "9000\n",
    "memory.swap.current": "10\n", "memory.swap.max": "max\n",
    "pids.current": "3\n", "pids.max": "max\n",
    "io.stat": "8:0 rbytes=90 wbytes=80 rios=7 wios=6 dbytes=0 dios=0\n253:1 rbytes=1\nbad\n",
    "hugetlb.2MB.current": "0\n", "hugetlb.2MB.rsvd.current": "4194304\n", "hugetlb.2MB.events": "max 4\n",
    "cpuset.cpus.effective": "0-2,5\n", "cpuset.mems.effective": "0\n",
}  # fmt: skip


def lay(where: Path, files: dict[str, str]) -> str:
    where.mkdir(exist_ok=True)
    for name, text in files.items():
        (where / name).write_text(text)
    return str(where)


def test_v2(tmp_path: Path) -> None:
    assert v2_stats.stats(lay(tmp_path, V2_FILES)) == {
        "cpu": {
            "usage": {"total": 5_000_000, "kernel": 2_000_000, "user": 3_000_000},
            "throttling": {"periods": 7, "throttledPeriods": 2, "throttledTime": 9000},
            "psi": {
                "some": {"avg10": 1.5, "avg60": 0.25, "avg300": 0.0, "total": 77},
                "full": {"avg10": 0.0, "avg60": 0.0, "avg300": 0.0, "total": 5},
            },
        },
        "cpuset": {"cpus": [0, 1, 2, 5], "mems": [0]},
        "memory": {
            "cache": 4096,
            "usage": {"limit": 100000, "usage": 5000, "max": 9000, "failcnt": 12},
            "swap": {"limit": (1 << 64) - 1, "usage": 5010, "failcnt": 0},
            "kernel": {"limit": 0, "failcnt": 0},
            "kernelTCP": {"limit": 0, "failcnt": 0},
            "raw": {"anon": 100, "file": 4096, "slab": 5},
        },
        "pids": {"current": 3},
        "blkio": {
            "ioServiceBytesRecursive": [
                {"major": 8, "op": "Read", "value": 90}, {"major": 8, "op": "Write", "value": 80},
                {"major": 253, "minor": 1, "op": "Read", "value": 1},
            ],
            "ioServicedRecursive": [
                {"major": 8, "op": "Read", "value": 7}, {"major": 8, "op": "Write", "value": 6},
            ],
        },
        "hugetlb": {"2MB": {"usage": 4194304, "failcnt": 4}},
        "intel_rdt": {},
        "network_interfaces": None,
    }  # fmt: skip


def test_v2_without_controllers(tmp_path: Path) -> None:
    found = v2_stats.stats(lay(tmp_path, {"cgroup.procs": "4\n5\n"}))
    assert found["pids"] == {"current": 2}
    assert found["memory"]["usage"] == {"limit": 0, "failcnt": 0}


def test_v1(tmp_path: Path) -> None:
    paths = {
        "cpu": lay(tmp_path / "cpu", {"cpu.stat": "nr_periods 4\nnr_throttled 1\nthrottled_time 55\n"}),
        "cpuacct": lay(tmp_path / "cpuacct", {
            "cpuacct.usage": "700\n", "cpuacct.stat": "user 2\nsystem 3\n", "cpuacct.usage_percpu": "300 400 \n",
            "cpuacct.usage_all": "cpu user system\n0 100 200\n1 150 250\n",
        }),
        "memory": lay(tmp_path / "memory", {
            "memory.stat": "cache 8192\nrss 100\n", "memory.limit_in_bytes": "65536\n", "memory.usage_in_bytes": "9000\n",
            "memory.max_usage_in_bytes": "9500\n", "memory.failcnt": "3\n",
        }),
        "pids": lay(tmp_path / "pids", {"pids.current": "4\n", "pids.max": "10\n"}),
        "blkio": lay(tmp_path / "blkio", {
            "blkio.throttle.io_service_bytes_recursive": "8:0 Read 5\n8:0 Write 6\n8:0 Total 11\nTotal 11\n",
            "blkio.bfq.io_serviced_recursive": "8:16 Read 1\nTotal 1\n", "blkio.bfq.io_service_bytes_recursive": "Total 0\n",
        }),
    }  # fmt: skip
    found = v1_stats.stats(paths)
    assert found["cpu"] == {
        "usage": {"total": 700, "kernel": 30_000_000, "user": 20_000_000, "percpu": [300, 400],
                  "percpu_user": [100, 150], "percpu_kernel": [200, 250]},
        "throttling": {"periods": 4, "throttledPeriods": 1, "throttledTime": 55},
    }  # fmt: skip
    assert found["memory"]["usage"] == {"limit": 65536, "usage": 9000, "max": 9500, "failcnt": 3}
    assert found["memory"]["cache"] == 8192
    assert found["pids"] == {"current": 4, "limit": 10}
    assert found["blkio"] == {
        "ioServiceBytesRecursive": [
            {"major": 8, "op": "Read", "value": 5}, {"major": 8, "op": "Write", "value": 6},
            {"major": 8, "op": "Total", "value": 11},
        ],
        "ioServicedRecursive": [{"major": 8, "minor": 16, "op": "Read", "value": 1}],
    }  # fmt: skip


def test_odd_files(tmp_path: Path) -> None:
    lay(
        tmp_path,
        {"a": "-5\n", "b": "max\n", "c": "junk\n", "p": "some avg10=x avg60=0 avg300=0 total=0\n"},
    )
    assert [number(str(tmp_path), name) for name in "abcd"] == [0, (1 << 64) - 1, 0, 0]
    assert pressure(str(tmp_path), "p") is None
    assert cpu_list("") == []
    assert cpu_list("3-1,x,7") == [7]
    assert len(cpu_list("0-99999999999")) <= 65537
