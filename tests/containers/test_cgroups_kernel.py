"""Cgroups for real: limits that bite, processes that stop, devices that are denied."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from innkeeper.containers.cgroups import layout, open_cgroup, watch_oom
from innkeeper.containers.cgroups.base import Cgroup
from innkeeper.containers.cgroups.errors import CgroupError
from innkeeper.containers.cgroups.v1 import CgroupV1
from innkeeper.containers.cgroups.v2 import CgroupV2

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="making cgroups takes root")
NAME = f"/inn-test-{os.getpid()}"
MB = 1 << 20


def needs_v1(*controllers: str) -> dict[str, str]:
    found = layout.read_layout()
    if found.unified or not set(controllers) <= set(found.mounts):
        pytest.skip(f"this host has no cgroup v1 with {' '.join(controllers)}")
    return layout.v1_paths(found, NAME)


@pytest.fixture
def v1() -> Iterator[Any]:
    """Make cgroups with only the named controllers, and remove what a test leaves."""
    made: list[Cgroup] = []

    def make(*controllers: str) -> CgroupV1:
        wanted = {*controllers, "devices"}
        paths = needs_v1(*wanted)
        made.append(CgroupV1({c: paths[c] for c in wanted}))
        return made[-1]  # type: ignore[return-value]

    yield make
    for each in made:
        each._kill_each()
        each.remove()


@pytest.fixture
def v2() -> Iterator[CgroupV2]:
    found = layout.read_layout()
    if "" not in found.mounts:
        pytest.skip("this host has no cgroup v2 hierarchy")
    cgroup = CgroupV2({"": layout.v2_path(found, NAME)})
    yield cgroup
    cgroup.kill() if cgroup.exists() else None
    cgroup.remove()


class Worker:
    """A Python process that waits for lines of code, runs them and answers with their value."""

    LOOP = (
        "import os, sys\n"
        "for line in sys.stdin:\n"
        "    try: answer = eval(line)\n"
        "    except OSError as e: answer = f'errno {e.errno}'\n"
        "    print(repr(answer), flush=True)\n"
    )

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", self.LOOP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self.process.pid

    def send(self, code: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(code + "\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ask(self, code: str) -> str:
        self.send(code)
        return self.answer()

    def answers_within(self, seconds: float) -> bool:
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        return bool(ready)

    def wait(self) -> int:
        self.process.communicate(timeout=60)
        return self.process.returncode


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.process.kill()
    made.process.communicate()


def test_memory_hog_is_killed_and_told(v1: Any, worker: Worker) -> None:
    cgroup = v1("memory")
    cgroup.create({"memory": {"limit": 32 * MB}})
    swap = Path(cgroup.paths["memory"], "memory.memsw.limit_in_bytes")
    if swap.exists():
        cgroup.update({"memory": {"limit": 32 * MB, "swap": 32 * MB}})
    cgroup.add(worker.pid)
    with watch_oom(cgroup) as watch:
        assert watch.take() == 0
        worker.send("len(bytearray(200 * (1 << 20)))")
        assert worker.wait() == -signal.SIGKILL
        poll = select.poll()
        poll.register(watch, watch.events)
        assert poll.poll(10_000)
        assert watch.take() >= 1
        assert watch.kills() >= 1
        assert not watch.gone
        used = cgroup.stats()["memory"]
        assert used["usage"]["limit"] == 32 * MB
        assert 16 * MB < used["usage"]["max"] <= 32 * MB
        cgroup.remove()
        assert watch.gone
        assert watch.take() == 0


def test_fork_bomb_stops_at_the_limit(v1: Any, worker: Worker) -> None:
    cgroup = v1("pids")
    cgroup.create({"pids": {"limit": 10}})
    cgroup.add(worker.pid)
    bomb = "[pid for pid in iter(lambda: os.fork() or os.execvp('sleep', ['sleep', '60']), None)]"
    assert worker.ask(bomb) == "'errno 11'"  # EAGAIN
    assert len(cgroup.pids()) == 10
    assert cgroup.stats()["pids"] == {"current": 10, "limit": 10}
    cgroup._kill_each()
    assert worker.wait() == -signal.SIGKILL


def test_cpu_quota_throttles(v1: Any, worker: Worker) -> None:
    cgroup = v1("cpu")
    cgroup.create({"cpu": {"quota": 2000, "period": 100000, "shares": 512}})
    assert Path(cgroup.paths["cpu"], "cpu.cfs_quota_us").read_text() == "2000\n"
    assert Path(cgroup.paths["cpu"], "cpu.shares").read_text() == "512\n"
    cgroup.add(worker.pid)
    worker.ask("sum(range(2_000_000)) > 0")
    assert cgroup.stats()["cpu"]["throttling"]["throttledPeriods"] >= 1
    with pytest.raises(CgroupError, match=r"linux\.resources\.cpu\.quota.*'1'.*cpu\.cfs_quota_us"):
        cgroup.update({"cpu": {"quota": 1}})


def test_v1_freezer_stops_and_lets_go(v1: Any, worker: Worker) -> None:
    cgroup = v1("freezer")
    cgroup.create({})
    cgroup.add(worker.pid)
    assert worker.ask("1 + 1") == "2"
    cgroup.freeze()
    assert cgroup.frozen
    worker.send("3 + 4")
    assert not worker.answers_within(0.05)
    with pytest.raises(CgroupError, match="not empty"):
        CgroupV1(dict(cgroup.paths)).create({})
    cgroup.thaw()
    assert worker.answer() == "7"
    assert not cgroup.frozen


def test_v1_devices_are_denied_and_allowed(v1: Any, worker: Worker) -> None:
    cgroup = v1("devices")
    cgroup.create({"devices": [{"allow": False, "access": "rwm"}]})
    cgroup.add(worker.pid)
    check_devices(cgroup, worker)


def check_devices(cgroup: Cgroup, worker: Worker) -> None:
    def may(path: str, flags: str = "os.O_RDONLY") -> bool:
        return worker.ask(f"os.open({path!r}, {flags})") != "'errno 1'"

    for node in ("null", "zero", "full", "random", "urandom"):
        assert may(f"/dev/{node}", "os.O_RDWR"), node
    assert not may("/dev/kmsg")
    deny = {"allow": False, "access": "rwm"}
    cgroup.update(
        {"devices": [deny, {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}]}
    )
    assert may("/dev/kmsg")
    assert not may("/dev/kmsg", "os.O_WRONLY")
    cgroup.update({"pids": {}})  # says nothing about devices
    assert may("/dev/kmsg")
    cgroup.update(
        {
            "devices": [
                {"allow": True},
                {"allow": False, "type": "c", "major": 1, "minor": 11, "access": "w"},
            ]
        }
    )
    assert may("/dev/kmsg")
    assert not may("/dev/kmsg", "os.O_WRONLY")
    cgroup.update({"devices": []})
    assert not may("/dev/kmsg")
    assert may("/dev/null")


def test_v2_devices_by_ebpf(v2: CgroupV2, worker: Worker) -> None:
    try:
        v2.create({"devices": [{"allow": False, "access": "rwm"}]})
    except CgroupError as e:
        pytest.skip(f"no eBPF for devices here: {e.why}")
    v2.add(worker.pid)
    check_devices(v2, worker)


def test_v2_freezes_kills_and_removes(v2: CgroupV2, worker: Worker) -> None:
    v2.create({})
    v2.add(worker.pid)
    below = Path(v2.paths[""], "below")
    below.mkdir()
    other = Worker()
    (below / "cgroup.procs").write_text(str(other.pid))
    assert v2.pids() == sorted([worker.pid, other.pid])
    assert v2.pids(recursive=False) == [worker.pid]
    v2.freeze()
    assert v2.frozen
    worker.send("3 + 4")
    assert not worker.answers_within(0.05)
    v2.thaw()
    assert not v2.frozen
    assert worker.answer() == "7"
    v2.freeze()
    v2.kill()  # the frozen die too
    assert [worker.wait(), other.wait()] == [-signal.SIGKILL] * 2
    v2.remove()
    assert not v2.exists()


def test_v2_without_cgroup_kill_freezes_and_signals(v2: CgroupV2, worker: Worker) -> None:
    v2.create({})
    v2.add(worker.pid)
    v2._kill_each()
    assert worker.wait() == -signal.SIGKILL
    assert not v2.frozen


def test_v2_controller_that_is_there_and_one_that_is_not(v2: CgroupV2) -> None:
    root = os.path.dirname(v2.paths[""])
    have = Path(root, "cgroup.controllers").read_text().split()
    if "hugetlb" in have and Path("/sys/kernel/mm/hugepages/hugepages-2048kB").exists():
        v2.create({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MB}]})
        assert Path(v2.paths[""], "hugetlb.2MB.max").read_text() == f"{4 * MB}\n"
        assert "2MB" in v2.stats()["hugetlb"]
        v2.remove()
    if "memory" not in have:
        with pytest.raises(CgroupError, match=r"memory\.limit.*could not join or create a memory"):
            v2.create({"memory": {"limit": 64 * MB}})
        assert not v2.exists()


def test_a_process_joins_by_itself(v1: Any, worker: Worker) -> None:
    found = layout.read_layout()
    names = [c for c in found.mounts if c != ""]
    cgroup = v1(*names)
    cgroup.create({})
    assert len(os.listdir("/proc/self/fd")) > 0
    opened = cgroup.joiners()
    links = [os.readlink(f"/proc/self/fd/{fd}") for fd in opened]
    for fd in opened:
        os.close(fd)
    assert links == [f"{cgroup.paths[c]}/tasks" for c in cgroup._controllers()]
    for link in links:
        assert worker.ask(f"open({link!r}, 'w').write('0')") == "1"
    assert cgroup.pids() == [worker.pid]
    inside = Path(f"/proc/{worker.pid}/cgroup").read_text().split("\n")
    assert sum(line.endswith(NAME) for line in inside) == len(set(links))


def test_whole_life_in_every_hierarchy(worker: Worker) -> None:
    cgroup = open_cgroup(NAME + "/c1", "c1", systemd=False, rootless=False)
    resources = {
        "devices": [{"allow": False, "access": "rwm"}],
        "memory": {"limit": 256 * MB},
        "pids": {"limit": 2048},
        "cpu": {"shares": 512, "cpus": "0"},
    }
    if layout.read_layout().unified:
        pytest.skip("written for hosts that have cgroup v1")
    try:
        cgroup.create(resources)
        cgroup.add(worker.pid)
        loaded = Cgroup.load(dict(cgroup.paths))
        assert loaded.pids() == [worker.pid]
        stats = loaded.stats()
        assert stats["pids"]["limit"] == 2048
        assert stats["cpuset"]["cpus"] == [0]
        assert stats["memory"]["usage"]["limit"] == 256 * MB
        loaded.update({"pids": {"limit": 7}})
        assert loaded.stats()["pids"]["limit"] == 7
        loaded.kill()
        assert worker.wait() == -signal.SIGKILL
    finally:
        cgroup.remove()
        assert not cgroup.exists()
        for path in cgroup.paths.values():
            os.rmdir(os.path.dirname(path)) if os.path.isdir(os.path.dirname(path)) else None


def test_v2_delegation_gives_only_what_the_kernel_lists(v2: CgroupV2) -> None:
    v2.create({})
    v2.delegate(12345)
    home = Path(v2.paths[""])
    owned = {each.name for each in home.iterdir() if each.stat().st_uid == 12345}
    assert home.stat().st_uid == 12345
    assert {"cgroup.procs", "cgroup.subtree_control", "cgroup.threads"} <= owned
    assert not owned & {"cgroup.freeze", "cgroup.kill", "cgroup.max.depth", "hugetlb.2MB.max"}


def test_a_user_goes_without(worker: Worker) -> None:
    """As rootless podman has it where nothing is delegated: no cgroup, no limit, no failure."""
    setup = (
        f"[sys.path.append({str(Path(layout.__file__).parents[3])!r}),"
        "exec('from innkeeper.containers.cgroups import open_cgroup as o, v1, v1_limits, v2, v2_limits, devices, errors'),"
        "os.setgroups([]), os.setgid(65534), os.setuid(65534), 0][-1]"
    )
    assert worker.ask(setup) == "0"
    create = (
        "(c := o(None, 'inn-rootless', systemd=False, rootless=True), c.create({}), c.paths)[-1]"
    )
    if (
        layout.read_layout().unified
        and worker.ask("os.access('/sys/fs/cgroup', os.W_OK)") == "True"
    ):
        pytest.skip("this user may make cgroups")
    assert (
        worker.ask(f"exec('from innkeeper.containers.cgroups import open_cgroup as o') or {create}")
        == "{}"
    )


def test_failure_leaves_no_directory(v1: Any) -> None:
    cgroup = v1("cpu", "pids")
    with pytest.raises(CgroupError, match="memory cgroup"):
        cgroup.create({"pids": {"limit": 5}, "memory": {"limit": 32 * MB}})
    assert not any(os.path.exists(path) for path in cgroup.paths.values())
