"""Who makes the control group of a container of `inn run`, and what is said where nobody does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from innkeeper.base.errors import MachineError
from innkeeper.containers.cgroups import layout
from innkeeper.guests.containers import cgrouping
from tests.containers.test_cgroups_systemd import Systemd, address, needs_bus, unified
from tests.guests.containers.harness import IMAGE, TIMEOUT_S, Inn, needs_busybox, needs_root

__all__ = ["address", "unified"]  # fixtures


@pytest.fixture
def rootless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgrouping, "is_rootless", lambda: True)


def own(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setattr(layout, "own_cgroups", lambda: {"": path})


def test_a_user_beside_the_cgroup_he_is_in(
    rootless: None, unified: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel, root = unified
    kernel.make_directory(str(root / "app.slice"))
    (root / "app.slice/cgroup.controllers").write_text("cpuset cpu memory pids\n")
    own(monkeypatch, "/app.slice/shell.scope")
    found = cgrouping.choose("c1")
    assert (found.systemd, found.path, found.lacking) == (False, "", "")
    assert found.controllers == {"cpu", "memory", "pids"}
    found.require("memory", "--memory")


def test_a_controller_that_is_not_delegated(
    rootless: None, unified: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel, root = unified
    kernel.make_directory(str(root / "app.slice"))
    (root / "app.slice/cgroup.controllers").write_text("pids\n")
    own(monkeypatch, "/app.slice/shell.scope")
    with pytest.raises(MachineError, match="memory controller is not delegated"):
        cgrouping.choose("c1").require("memory", "--memory")


@needs_bus
def test_a_user_with_a_systemd_of_his_own(
    rootless: None, address: str, unified: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel, root = unified
    Systemd(address, root)
    for path in ("user.slice", "user.slice/user@0.service"):
        kernel.make_directory(str(root / path))
    (root / "user.slice/user@0.service/cgroup.controllers").write_text("memory pids\n")
    own(monkeypatch, "/not-his/session-1.scope")
    found = cgrouping.choose("c1")
    assert (found.systemd, found.path) == (True, "user.slice:inn:c1")
    assert found.controllers == {"memory", "pids"}


def test_a_user_with_neither(
    rootless: None, unified: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own(monkeypatch, "/not-his/session-1.scope")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "nothing"))
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    found = cgrouping.choose("c1")
    assert not found.controllers and not found.systemd
    with pytest.raises(MachineError, match="not-his is not this user's") as caught:
        found.require("pids", "--pids-limit")
    assert "cannot reach systemd over D-Bus" in str(caught.value)


def test_a_user_on_version_1(rootless: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "read_layout", lambda: layout.Layout({}, unified=False))
    with pytest.raises(MachineError, match="cgroup version 1"):
        cgrouping.choose("c1").require("cpu", "--cpus")


@needs_root
@needs_busybox
@needs_bus
def test_root_where_systemd_runs_the_host(inn: Inn, address: str, tmp_path: Path) -> None:
    if layout.read_layout().unified:
        pytest.skip("written for hosts that have cgroup v1")
    init = Systemd(address, tmp_path)
    booted = "mkdir -p /run/systemd/system"
    own = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs none /run && {booted} && exec "$@"']
    words = [
        sys.executable,
        "-m",
        "innkeeper",
        "run",
        "--engine",
        "container",
        "--pids-limit",
        "33",
    ]
    try:
        done = subprocess.run(
            [*own, "sh", *words, IMAGE, "cat", "/proc/self/cgroup"], env={**inn.env, **os.environ},
            stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=TIMEOUT_S,
        )  # fmt: skip
    finally:
        for path in Path("/sys/fs/cgroup").glob("*/machine.slice"):
            os.rmdir(path)
    assert done.returncode == 0, done
    members = [member for member, _ in init.calls]
    assert members[:2] == ["Subscribe", "StartTransientUnit"] and "StopUnit" in members
    unit, _, properties, _ = next(body for name, body in init.calls if name == members[1])
    given = dict(properties)
    assert unit.startswith("inn-") and unit.endswith(".scope")
    assert given["Slice"] == ("s", "machine.slice") and given["TasksMax"] == ("t", 33)
    assert inn.left() == []
