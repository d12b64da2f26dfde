"""The systemd driver: its wire format over a real bus, against a service that acts as systemd."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from innkeeper.base.errors import ConfigError
from innkeeper.containers.cgroups import (
    dbus,
    dbus_codec,
    ebpf,
    layout,
    load_cgroup,
    open_cgroup,
    systemd,
)
from innkeeper.containers.cgroups.dbus_codec import CALL, ERROR, RETURN, SIGNAL, Message
from innkeeper.containers.cgroups.unit_properties import bits, resource_properties, slice_path
from tests.containers.fake_cgroupfs import FakeKernel

needs_bus = pytest.mark.skipif(
    not shutil.which("dbus-daemon"), reason="dbus-daemon is not installed"
)
MAX = (1 << 64) - 1


class Systemd(threading.Thread):
    """Owns systemd's name on a bus, remembers calls, makes directories and ends jobs."""

    def __init__(self, address: str, root: Path, kernel: FakeKernel | None = None) -> None:
        super().__init__(daemon=True)
        self.bus = dbus.Connection(address, is_bus=True)
        assert self.bus.call_bus("RequestName", "su", systemd.NAME, 4) == [1]
        self.root, self.kernel = root, kernel
        self.calls: list[tuple[str, list[Any]]] = []
        self.units: dict[str, str] = {}
        self.failed: set[str] = set()
        self.result = "done"
        self.start()

    def run(self) -> None:
        while True:
            try:
                message = self.bus.receive()
            except (dbus.DBusError, OSError):
                return
            if message.kind == CALL:
                member = message.fields["member"]
                if member != "Get":
                    self.calls.append((member, message.body))
                getattr(self, member, lambda m: self.refuse(m, "UnknownMethod"))(message)

    def answer(self, message: Message, signature: str = "", *body: Any) -> None:
        to = {"reply_serial": message.serial, "destination": message.fields["sender"]}
        self.bus.send(RETURN, signature, list(body), **to)

    def refuse(self, message: Message, name: str) -> None:
        to = {"reply_serial": message.serial, "destination": message.fields["sender"]}
        self.bus.send(ERROR, "s", [f"{name} it is"], error_name=f"{systemd.NAME}.{name}", **to)

    def end(self, message: Message, job: str, unit: str) -> None:
        self.answer(message, "o", job)
        for other in ("/org/freedesktop/systemd1/job/1", job):  # another's job ends first
            self.bus.send(SIGNAL, "uoss", [1, other, unit, self.result if other == job else "failed"],
                          path=systemd.PATH, interface=systemd.MANAGER, member="JobRemoved")  # fmt: skip

    def Subscribe(self, message: Message) -> None:
        self.answer(message)

    def Get(self, message: Message) -> None:
        values = {"Version": "v252.39-1~deb12u1", "ControlGroup": "/user.slice/user@0.service"}
        self.answer(message, "v", ("s", values[message.body[1]]))

    def StartTransientUnit(self, message: Message) -> None:
        unit, _mode, properties, _ = message.body
        if unit in self.units or unit in self.failed:
            return self.refuse(message, "UnitExists")
        given = {name: value for name, (_kind, value) in properties}
        self.units[unit] = path = f"{self.root}{slice_path(given['Slice'])}/{unit}"
        if self.kernel and self.result == "done":
            missing = [path]
            while not os.path.isdir(os.path.dirname(missing[-1])):
                missing.append(os.path.dirname(missing[-1]))
            for each in reversed(missing):
                self.kernel.make_directory(each)
            Path(path, "cgroup.procs").write_text(f"{given['PIDs'][0]}\n")
        return self.end(message, "/org/freedesktop/systemd1/job/2", unit)

    def SetUnitProperties(self, message: Message) -> None:
        self.answer(message)

    def StopUnit(self, message: Message) -> None:
        unit = message.body[0]
        if unit not in self.units:
            return self.refuse(message, "NoSuchUnit")
        path = self.units.pop(unit)
        if self.kernel and os.path.isdir(path):
            self.kernel.rmdir(path)
        return self.end(message, "/org/freedesktop/systemd1/job/3", unit)

    def ResetFailedUnit(self, message: Message) -> None:
        if message.body[0] not in self.failed:
            return self.refuse(message, "NoSuchUnit")
        self.failed.discard(message.body[0])
        return self.answer(message)


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    path = str(tmp_path / "bus")
    config = tmp_path / "bus.conf"
    config.write_text(
        f"<busconfig><listen>unix:path={path}</listen><policy context='default'><allow send_destination='*' "
        "eavesdrop='true'/><allow eavesdrop='true'/><allow own='*'/></policy></busconfig>"
    )
    with subprocess.Popen(
        ["dbus-daemon", f"--config-file={config}", "--nofork", "--print-address"],
        stdout=subprocess.PIPE,
    ) as daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline()
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={path}")
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:guid=00,path={path}")
        yield path
        daemon.terminate()


@pytest.fixture
def unified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[FakeKernel, Path]:
    root = tmp_path / "cgroup"
    root.mkdir()
    kernel = FakeKernel(tmp_path, monkeypatch)
    kernel.populate(str(root))
    monkeypatch.setattr(ebpf, "attach", lambda path, code: None)
    found = layout.Layout({"": (str(root), "/")}, unified=True)
    monkeypatch.setattr(layout, "read_layout", lambda: found)
    monkeypatch.setattr(systemd, "BOOTED", str(tmp_path))
    return kernel, root


@needs_bus
def test_life_of_a_scope(address: str, unified: Any) -> None:
    kernel, root = unified
    init = Systemd(address, root, kernel)
    init.failed.add("docker-c1.scope")  # of an earlier life
    cgroup = open_cgroup("machine-a.slice:docker:c1", "c1", systemd=True, rootless=False)
    assert cgroup.paths == {"": f"{root}/machine.slice/machine-a.slice/docker-c1.scope"}
    cgroup.create(
        {"memory": {"limit": 1 << 30}, "cpu": {"shares": 1024, "cpus": "0-1"}, "pids": {"limit": 9}}
    )
    assert not cgroup.exists()
    assert cgroup.joiners() == []
    cgroup.add(4711)
    members = [member for member, _ in init.calls]
    assert members == ["Subscribe", "StartTransientUnit", "ResetFailedUnit", "StartTransientUnit"]
    unit, mode, properties, auxiliary = init.calls[-1][1]
    assert (unit, mode, auxiliary) == ("docker-c1.scope", "replace", [])
    named = dict(properties)
    assert named["PIDs"] == ("au", [4711])
    assert named["Slice"] == ("s", "machine-a.slice")
    assert named["Delegate"] == ("b", True)
    assert named["IOAccounting"] == ("b", True)
    assert named["MemoryMax"] == ("t", 1 << 30)
    assert named["CPUWeight"] == ("t", 100)
    assert named["AllowedCPUs"] == ("ay", [3])
    assert named["TasksMax"] == ("t", 9)
    assert ["/dev/char/1:3", "rwm"] in named["DeviceAllow"][1]
    assert ("memory.max", str(1 << 30)) in kernel.writes
    assert cgroup.pids() == [4711]
    cgroup.add(4712)  # exec: no second unit
    loaded = load_cgroup(cgroup.paths)
    loaded.update({"memory": {"limit": 1 << 29}})
    assert init.calls[-1] == (
        "SetUnitProperties",
        ["docker-c1.scope", True, [["MemoryMax", ("t", 1 << 29)]]],
    )
    assert ("memory.max", str(1 << 29)) in kernel.writes
    loaded.remove()
    assert [member for member, _ in init.calls[-2:]] == ["StopUnit", "ResetFailedUnit"]
    assert not cgroup.exists()
    loaded.remove()  # a second time is no error


@needs_bus
def test_a_unit_that_cannot_start_is_told(address: str, unified: Any) -> None:
    kernel, root = unified
    init = Systemd(address, root, kernel)
    init.result = "timeout"
    cgroup = open_cgroup(None, "c2", systemd=True, rootless=False)
    assert cgroup.paths == {"": f"{root}/system.slice/inn-c2.scope"}
    cgroup.create({})
    with pytest.raises(dbus.DBusError, match=r"inn-c2\.scope.*'timeout'"):
        cgroup.add(1)
    init.result = "done"
    other = open_cgroup(None, "c2", systemd=True, rootless=False)
    other.create({})
    with pytest.raises(dbus.DBusError, match="UnitExists it is") as caught:
        other.add(1)
    assert caught.value.name == "org.freedesktop.systemd1.UnitExists"


@needs_bus
def test_limits_the_files_refuse_stop_the_unit(address: str, unified: Any) -> None:
    kernel, root = unified
    init = Systemd(address, root, kernel)
    cgroup = open_cgroup("", "c3", systemd=True, rootless=False)
    cgroup.create({"pids": {"limit": 4}})
    kernel.failing["pids.max"] = 22
    with pytest.raises(Exception, match=r"pids\.limit"):
        cgroup.add(5)
    assert init.units == {}
    with pytest.raises(ConfigError):
        open_cgroup("", "c4", systemd=True, rootless=False).create({"pids": {"limit": "x"}})


@needs_bus
def test_rootless_units_lie_below_the_users_manager(address: str, unified: Any) -> None:
    Systemd(address, unified[1])
    cgroup = open_cgroup(None, "c5", systemd=True, rootless=True)
    assert cgroup.paths == {"": f"{unified[1]}/user.slice/user@0.service/user.slice/inn-c5.scope"}


@needs_bus
def test_others_understand_our_messages_and_we_theirs(address: str, unified: Any) -> None:
    if not shutil.which("gdbus") or not shutil.which("dbus-monitor"):
        pytest.skip("gdbus or dbus-monitor is not installed")
    init = Systemd(address, unified[1], unified[0])
    command = [
        "gdbus", "call", "--address", f"unix:path={address}", "--dest", systemd.NAME, "--object-path", systemd.PATH,
        "--method", f"{systemd.MANAGER}.StartTransientUnit", "x.scope", "fail",
        "[('Slice', <'a.slice'>), ('PIDs', <[uint32 7, 8]>), ('Deep', <@a(sv) [('d', <2.5>), ('y', <byte 9>)]>)]", "@a(sa(sv)) []",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "/org/freedesktop/systemd1/job/2" in done.stdout
    assert init.calls[-1][1][:3] == [
        "x.scope", "fail",
        [["Slice", ("s", "a.slice")], ["PIDs", ("au", [7, 8])], ["Deep", ("a(sv)", [["d", ("d", 2.5)], ["y", ("y", 9)]])]],
    ]  # fmt: skip
    with subprocess.Popen(
        ["dbus-monitor", "--address", f"unix:path={address}", "type='method_call',member='SetUnitProperties'"],
        stdout=subprocess.PIPE, text=True,
    ) as monitor:  # fmt: skip
        assert monitor.stdout is not None
        while "NameLost" not in monitor.stdout.readline():  # printed when it has become a monitor
            continue
        listed = [
            ["MemoryMax", ("t", MAX)],
            ["AllowedCPUs", ("ay", [255, 1])],
            ["DeviceAllow", ("a(ss)", [["/dev/x", "rw"]])],
        ]
        systemd.Manager(user=False).call("SetUnitProperties", "sba(sv)", "y.scope", True, listed)
        seen = ""
        while "/dev/x" not in seen:
            seen += monitor.stdout.readline()
        monitor.terminate()
    assert 'string "y.scope"' in seen
    assert f"uint64 {MAX}" in seen
    assert "array of bytes [\n" in seen
    assert "ff 01" in seen


def test_no_bus_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unified: Any) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    monkeypatch.setattr(dbus, "SYSTEM_BUS", f"{tmp_path}/none2")
    monkeypatch.setattr(dbus, "SYSTEMD_PRIVATE", f"{tmp_path}/none3")
    cgroup = open_cgroup("a.slice:b:c", "c", systemd=True, rootless=False)
    with pytest.raises(dbus.DBusError, match="none2: No such file"):
        cgroup.create({})


@pytest.mark.parametrize(
    "path",
    [
        "a.slice",
        "a:b:c:d",
        "a.slice:b:c/d",
        "noslice:b:c",
        "a--b.slice:b:c",
        "a.slice:b:" + "c" * 300,
        "/x:y:z",
    ],
)
def test_bad_paths_are_refused(unified: Any, path: str) -> None:
    with pytest.raises(ConfigError, match="cgroupsPath"):
        open_cgroup(path, "c", systemd=True, rootless=False)


def test_slices() -> None:
    assert slice_path("-.slice") == ""
    assert slice_path("a-b-c.slice") == "/a.slice/a-b.slice/a-b-c.slice"


CASES = [
    ({"cpu": {"quota": 50000, "period": 100000}}, True, [("CPUQuotaPeriodUSec", ("t", 100000)), ("CPUQuotaPerSecUSec", ("t", 500000))]),
    ({"cpu": {"quota": 12345}}, True, [("CPUQuotaPerSecUSec", ("t", 130000))]),
    ({"cpu": {"quota": -1, "period": 5000}}, False, [("CPUQuotaPeriodUSec", ("t", 5000)), ("CPUQuotaPerSecUSec", ("t", MAX))]),
    ({"cpu": {"idle": 1, "shares": 10}}, True, [("CPUWeight", ("t", 0))]),
    ({"cpu": {"shares": 512}}, False, [("CPUShares", ("t", 512))]),
    ({"memory": {"limit": 100, "swap": 150, "reservation": 50}}, True,
     [("MemoryMax", ("t", 100)), ("MemoryLow", ("t", 50)), ("MemorySwapMax", ("t", 50))]),
    ({"memory": {"limit": -1}}, False, [("MemoryLimit", ("t", MAX))]),
    ({"pids": {"limit": -1}}, True, [("TasksMax", ("t", MAX))]),
    ({"blockIO": {"weight": 100}}, False, [("BlockIOWeight", ("t", 100))]),
    ({"unified": {"memory.high": "max", "cpu.max": "max 5000", "cpuset.mems": "0", "pids.max": "5", "x.y": "z"}}, True,
     [("MemoryHigh", ("t", MAX)), ("CPUQuotaPeriodUSec", ("t", 5000)), ("CPUQuotaPerSecUSec", ("t", MAX)),
      ("AllowedMemoryNodes", ("ay", [1])), ("TasksMax", ("t", 5))]),
    ({"devices": [{"allow": True}]}, True, [("DevicePolicy", ("s", "auto")), ("DeviceAllow", ("a(ss)", []))]),
]  # fmt: skip


@pytest.mark.parametrize(("resources", "v2", "want"), CASES)
def test_properties(resources: Any, v2: bool, want: Any) -> None:
    assert resource_properties(resources, unified=v2, version=252, fresh=False) == want


def test_old_versions_get_no_new_properties() -> None:
    resources = {"cpu": {"period": 5000, "quota": 5000, "cpus": "0", "idle": 1, "shares": 1024}}
    names = [n for n, _ in resource_properties(resources, unified=True, version=239, fresh=False)]
    assert names == ["CPUWeight", "CPUQuotaPerSecUSec"]


def test_cpu_masks() -> None:
    assert bits("0,9", "x") == [1, 2]
    for bad in ("", "a", "99999999", "0-99999999"):
        with pytest.raises(ConfigError):
            bits(bad, "x")


def value(rng: random.Random, kind: str) -> Any:
    if kind in "ynqiuxt":
        low = 0 if kind in "yqut" else -100
        return rng.randrange(low, 100)
    if kind == "b":
        return rng.random() < 0.5
    if kind == "d":
        return rng.random()
    if kind in "sog":
        return (
            "".join(rng.choices("ayhé", k=rng.randrange(9)))
            if kind == "s"
            else {"o": "/a", "g": "as"}[kind]
        )
    if kind == "v":
        inner = rng.choice(["s", "as", "(sv)", "u"])
        return inner, value(rng, inner)
    if kind[0] == "a" and kind[1] == "{":
        return {value(rng, kind[2]): value(rng, kind[3:-1]) for _ in range(rng.randrange(4))}
    if kind[0] == "a":
        return [value(rng, kind[1:]) for _ in range(rng.randrange(5))]
    return [value(rng, each) for each in dbus_codec.split(kind[1:-1])]


def test_codec_round_trips_and_survives_damage() -> None:
    rng = random.Random("d-bus")
    kinds = [
        *"ynqiuxtbdsogv",
        "as",
        "ay",
        "a(sv)",
        "(y(xs)b)",
        "a{sv}",
        "a{ua(ss)}",
        "aav",
        "a(sa(sv))",
    ]
    for _ in range(300):
        signature = [rng.choice(kinds) for _ in range(rng.randrange(4))]
        body = [value(rng, kind) for kind in signature]
        message = Message(CALL, 7, body, path="/x", member="M", signature="".join(signature))
        data = message.encode()
        assert dbus_codec.message_size(data[:16]) == len(data)
        back = dbus_codec.decode(data)
        assert (back.kind, back.serial, back.body, back.fields) == (CALL, 7, body, message.fields)
        broken = bytearray(data)
        for _ in range(3):
            broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
        try:
            size = dbus_codec.message_size(bytes(broken[:16]))
            dbus_codec.decode(bytes(broken[: min(size, len(broken))]))
        except dbus_codec.DBusFormatError:
            continue


def test_codec_bounds() -> None:
    for bad in ("a", "(s", "z", "a" * 40 + "s", "(" * 40 + "s" + ")" * 40):
        with pytest.raises(dbus_codec.DBusFormatError):
            dbus_codec.split(bad)
    head = b"l\1\0\1" + (1 << 30).to_bytes(4, "little") * 3
    with pytest.raises(dbus_codec.DBusFormatError, match="more than"):
        dbus_codec.message_size(head)
