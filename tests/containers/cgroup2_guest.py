"""Cgroup v2 with every controller, in a guest whose kernel has nothing else; prints one line a check.

Run by test_cgroups_guest.py as root inside the guest: `python3 cgroup2_guest.py SOURCE`.
"""

import os
import select
import signal
import sys

sys.path.insert(0, sys.argv[1])
from innkeeper.base.errors import ConfigError
from innkeeper.containers.cgroups import load_cgroup, open_cgroup, watch_oom
from innkeeper.containers.cgroups.errors import CgroupError

MB = 1 << 20
NAME = "/inn/c1"


def child(work):
    """Start a process that waits for a byte, works and exits with what `work` returns."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(work() or 0)
    os.close(read)
    return pid, write


def finish(pid, write):
    os.write(write, b"x")
    os.close(write)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def inside(resources, work):
    """Run `work` in a new cgroup with these limits; return the cgroup and how it ended."""
    cgroup = open_cgroup(NAME, "c1", systemd=False, rootless=False)
    cgroup.create(resources)
    pid, write = child(work)
    cgroup.add(pid)
    return cgroup, finish(pid, write)


def value(cgroup, name):
    with open(f"{cgroup.paths['']}/{name}") as f:
        return f.read().strip()


def refused(call, *args):
    try:
        call(*args)
    except CgroupError as e:
        return f"{e.what} {e.why}"
    raise AssertionError("this should have been refused")


def check_memory():
    cgroup = open_cgroup(NAME, "c1", systemd=False, rootless=False)
    cgroup.create({"memory": {"limit": 24 * MB, "swap": 24 * MB, "reservation": 8 * MB}})
    assert (value(cgroup, "memory.max"), value(cgroup, "memory.low")) == (str(24 * MB), str(8 * MB))
    pid, write = child(lambda: len(bytearray(b"x" * (96 * MB))) > 0)
    cgroup.add(pid)
    with watch_oom(cgroup) as watch:
        assert watch.take() == 0
        assert finish(pid, write) == -signal.SIGKILL
        poll = select.poll()
        poll.register(watch, watch.events)
        assert poll.poll(20_000)
        assert watch.take() >= 1
        cgroup.remove()
        assert watch.gone


def check_memory_check_before_update():
    cgroup = open_cgroup(NAME, "c1", systemd=False, rootless=False)
    cgroup.create({"memory": {"limit": 64 * MB}})
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(ready, 1)
        kept = b"x" * (16 * MB)
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(len(kept) == 0)
    cgroup.add(pid)
    os.write(told, b"x")
    os.waitpid(pid, os.WUNTRACED)
    try:
        cgroup.update({"memory": {"limit": 8 * MB, "checkBeforeUpdate": True}})
    except ConfigError as e:
        assert "not above the usage" in e.why
    else:
        raise AssertionError("the limit was below the usage")
    cgroup.kill()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    cgroup.remove()


def check_pids():
    def bomb():
        started = 0
        try:
            while True:
                if os.fork() == 0:
                    signal.pause()
                started += 1
        except BlockingIOError:
            return started

    cgroup, ended = inside({"pids": {"limit": 9}}, bomb)
    assert ended == 8
    assert len(cgroup.pids()) == 8
    assert cgroup.stats()["pids"] == {"current": 8, "limit": 9}
    cgroup.kill()
    cgroup.remove()


def check_cpu():
    def burn():
        return sum(range(300_000)) == 0

    limits = {
        "shares": 1024,
        "quota": 5000,
        "period": 100000,
        "burst": 2000,
        "cpus": "0",
        "mems": "0",
    }
    cgroup, ended = inside({"cpu": limits}, burn)
    assert ended == 0
    assert value(cgroup, "cpu.weight") == "100"
    assert value(cgroup, "cpu.max") == "5000 100000"
    assert value(cgroup, "cpu.max.burst") == "2000"
    assert value(cgroup, "cpuset.cpus") == "0"
    assert cgroup.stats()["cpu"]["throttling"]["throttledPeriods"] >= 1
    loaded = load_cgroup(cgroup.paths)
    loaded.update({"cpu": {"quota": 20000, "burst": 15000}})
    loaded.update({"cpu": {"quota": 3000, "burst": 1000}})
    assert (value(cgroup, "cpu.max"), value(cgroup, "cpu.max.burst")) == ("3000 100000", "1000")
    loaded.update({"cpu": {"quota": -1, "idle": 1}})
    assert (value(cgroup, "cpu.max"), value(cgroup, "cpu.idle")) == ("max 100000", "1")
    assert "cpu.cpus" in refused(loaded.update, {"cpu": {"cpus": "4000"}})
    cgroup.remove()


def check_io():
    disk = next(d for d in sorted(os.listdir("/sys/block")) if not d.startswith(("loop", "ram")))
    with open(f"/sys/block/{disk}/dev") as f:
        major, minor = map(int, f.read().split(":"))
    device = {"major": major, "minor": minor}
    cgroup = open_cgroup(NAME, "c1", systemd=False, rootless=False)
    cgroup.create({"blockIO": {"throttleReadBpsDevice": [{**device, "rate": 1 * MB}],
                               "throttleWriteIOPSDevice": [{**device, "rate": 100}]}})  # fmt: skip
    assert value(cgroup, "io.max") == f"{major}:{minor} rbps={MB} wbps=max riops=max wiops=100"
    cgroup.update({"blockIO": {"throttleReadBpsDevice": [{**device, "rate": 0}]}})
    assert value(cgroup, "io.max") == f"{major}:{minor} rbps=max wbps=max riops=max wiops=100"
    for name, want in (("io.bfq.weight", "default 500"), ("io.weight", "default 4950")):
        if os.path.exists(f"{cgroup.paths['']}/{name}"):
            cgroup.update({"blockIO": {"weight": 500}})
            assert value(cgroup, name).startswith(want), value(cgroup, name)
            break
    else:
        assert "blockIO.weight" in refused(cgroup.update, {"blockIO": {"weight": 500}})
    cgroup.remove()


def check_unified_and_huge_pages():
    cgroup = open_cgroup(NAME, "c1", systemd=False, rootless=False)
    resources = {"unified": {"memory.high": str(32 * MB), "pids.max": "max"}}
    cgroup.create(resources)
    names = os.listdir(cgroup.paths[""])
    size = next((n.split(".")[1] for n in names if n.startswith("hugetlb.")), "")
    if size:
        cgroup.update({"hugepageLimits": [{"pageSize": size, "limit": 0}]})
        assert value(cgroup, f"hugetlb.{size}.max") == "0"
        assert value(cgroup, f"hugetlb.{size}.rsvd.max") == "0"
        assert size in cgroup.stats()["hugetlb"]
    assert value(cgroup, "memory.high") == str(32 * MB)
    assert "hugepageLimits" in refused(
        cgroup.update, {"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]}
    )
    assert "unified" in refused(cgroup.update, {"unified": {"nosuch.max": "1"}})
    cgroup.remove()


def check_devices():
    def opens(path, flags=os.O_RDONLY):
        try:
            os.close(os.open(path, flags))
        except PermissionError:
            return False
        return True

    os.mknod("/tmp/kmsg", 0o600 | 0o020000, os.makedev(1, 11))
    allow = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"},
    ]

    def work():
        seen = [
            opens("/dev/null", os.O_RDWR),
            opens("/dev/zero"),
            opens("/tmp/kmsg"),
            opens("/tmp/kmsg", os.O_WRONLY),
        ]
        return sum(bit << at for at, bit in enumerate(seen))

    assert inside({}, work)[1] == 0b0011
    open_cgroup(NAME, "c1", systemd=False, rootless=False).remove()
    cgroup, ended = inside({"devices": allow}, work)
    assert ended == 0b0111
    for rules, want in (([], 0b0011), ([{"allow": True}], 0b1111), (allow, 0b0111)):
        cgroup.update({"devices": rules})
        pid, write = child(work)
        cgroup.add(pid)
        assert finish(pid, write) == want
    cgroup.remove()


def check_freezer_and_tree():
    cgroup = open_cgroup(NAME, "c1", systemd=False, rootless=False)
    cgroup.create({})
    pid, write = child(lambda: 3)
    joiners = cgroup.joiners()
    assert [os.readlink(f"/proc/self/fd/{fd}") for fd in joiners] == [
        cgroup.paths[""] + "/cgroup.procs"
    ]
    for fd in joiners:
        os.close(fd)
    cgroup.add(pid)
    cgroup.freeze()
    assert cgroup.frozen
    os.write(write, b"x")
    assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    cgroup.thaw()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    cgroup.delegate(1234)
    assert (
        os.stat(cgroup.paths[""]).st_uid
        == os.stat(cgroup.paths[""] + "/cgroup.procs").st_uid
        == 1234
    )
    assert os.stat(cgroup.paths[""] + "/memory.max").st_uid == 0
    os.mkdir(cgroup.paths[""] + "/below")
    cgroup.remove()
    assert not cgroup.exists()


def check_internal_processes():
    """Below a cgroup with processes there are no controllers for domains: told, nothing left."""
    busy = "/sys/fs/cgroup/busy"
    os.mkdir(busy)
    pid, write = child(lambda: 0)
    with open(busy + "/cgroup.procs", "w") as f:
        f.write(str(pid))
    cgroup = open_cgroup("/busy/c2", "c2", systemd=False, rootless=False)
    assert "memory" in refused(cgroup.create, {"memory": {"limit": 64 * MB}})
    assert not cgroup.exists()
    assert finish(pid, write) == 0
    os.rmdir(busy)


def check_stats():
    cgroup, ended = inside(
        {"memory": {"limit": 64 * MB}, "pids": {"limit": 5}}, lambda: len(b"x" * MB) == 0
    )
    assert ended == 0
    stats = cgroup.stats()
    assert stats["memory"]["usage"]["limit"] == 64 * MB
    assert stats["memory"]["usage"]["max"] > 0
    assert stats["cpu"]["usage"]["total"] > 0
    assert stats["memory"]["raw"]["pgfault"] > 0
    assert set(stats["cpu"].get("psi", {"some": 1})) <= {"some", "full"}
    cgroup.remove()


def check_a_users_delegated_subtree():
    """As root would delegate it (cgroup-v2.rst "Delegation"); the limits bite for the user."""
    base = "/sys/fs/cgroup/delegated"
    os.makedirs(f"{base}/shell")
    with open("/sys/fs/cgroup/cgroup.subtree_control", "w") as f:
        f.write("+pids +memory")
    names = ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")
    for path in (base, f"{base}/shell"):
        for name in ("", *names):
            os.chown(f"{path}/{name}", 1000, 1000)
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        with open(f"{base}/shell/cgroup.procs", "w") as f:
            f.write("0")
        os.setresgid(1000, 1000, 1000)
        os.setresuid(1000, 1000, 1000)
        try:
            _use_as_a_user(base)
            os.write(tell, b"well")
        except BaseException as error:
            os.write(tell, f"{type(error).__name__}: {error}".encode())
        os._exit(0)
    os.close(tell)
    said = os.read(told, 4096)
    os.waitpid(pid, 0)
    assert said == b"well", said
    os.rmdir(f"{base}/shell")
    os.rmdir(base)


def _use_as_a_user(base):
    def bomb():
        started = 0
        try:
            while True:
                if os.fork() == 0:
                    signal.pause()
                started += 1
        except BlockingIOError:
            return started

    cgroup = open_cgroup(None, "mine", systemd=False, rootless=True)
    assert cgroup.paths == {"": f"{base}/mine"}, cgroup.paths
    cgroup.create({"pids": {"limit": 5}, "memory": {"limit": 24 * MB, "swap": 24 * MB}})
    assert (value(cgroup, "pids.max"), value(cgroup, "memory.max")) == ("5", str(24 * MB))
    pid, write = child(bomb)
    cgroup.add(pid)
    assert finish(pid, write) == 4
    cgroup.kill()
    pid, write = child(lambda: len(bytearray(b"x" * (96 * MB))) > 0)
    cgroup.add(pid)
    assert finish(pid, write) == -signal.SIGKILL
    cgroup.remove()
    assert not os.path.isdir(f"{base}/mine")


for name, check in list(globals().items()):
    if name.startswith("check_"):
        check()
        print("ok", name, flush=True)
