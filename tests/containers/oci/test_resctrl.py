"""resctrl as config-linux.md "IntelRdt" has it, on a directory that looks like one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from innkeeper.base.errors import ContainerError
from innkeeper.containers import resctrl
from tests.containers.oci.kit import Bundle

L3, MB = "L3:0=7f0;1=1f", "MB:0=20;1=70"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    group(tmp_path, "")
    (tmp_path / "info").mkdir()
    return tmp_path


def group(root: Path, name: str, schemata: str = "") -> Path:
    folder = root / name
    (folder / "mon_groups").mkdir(parents=True)
    (folder / "schemata").write_text(schemata)
    (folder / "tasks").write_text("")
    return folder


def join(root: Path, **wanted: Any) -> None:
    # The kernel fills a new group's directory; here it is there already.
    resctrl.join(wanted, "box", 77, str(root))


@pytest.mark.parametrize("wanted,lines", [
    ({"l3CacheSchema": L3}, [L3]),
    ({"memBwSchema": MB}, [MB]),
    ({"l3CacheSchema": L3, "memBwSchema": MB}, [L3, MB]),
    ({"l3CacheSchema": f"{L3}\nMB:0=99", "memBwSchema": MB}, [L3, MB]),
    ({"l3CacheSchema": f"{L3}\nMB:0=99"}, [L3, "MB:0=99"]),
    ({"l3CacheSchema": L3, "schemata": "L2:0=f\nMB:0=20"}, [L3, "L2:0=f", "MB:0=20"]),
])  # fmt: skip
def test_what_is_written(root: Path, wanted: dict[str, str], lines: list[str]) -> None:
    join(root, **wanted)
    assert (root / "box/schemata").read_text().splitlines() == lines
    assert (root / "box/tasks").read_text() == "77\n"


def test_nothing_is_written_where_nothing_is_wanted(root: Path) -> None:
    made = group(root, "box", "L3:0=fff\n")
    join(root)
    assert (made / "schemata").read_text() == "L3:0=fff\n"
    assert (made / "tasks").read_text() == "77\n"


def test_a_group_that_is_there(root: Path) -> None:
    made = group(root, "gold", "    MB:0=20;1= 70\n    L3:0=7f0;1=01f\n")
    join(root, closID="gold")
    join(root, closID="gold", l3CacheSchema=L3, memBwSchema=MB)
    assert (made / "tasks").read_text() == "77\n"
    with pytest.raises(ContainerError, match="does not have L3:1=ff"):
        join(root, closID="gold", l3CacheSchema="L3:0=7f0;1=ff")
    with pytest.raises(ContainerError, match="does not have MB:2="):
        join(root, closID="gold", memBwSchema="MB:2=10")
    resctrl.leave({"closID": "gold"}, "box", str(root))
    assert made.is_dir()


def test_a_group_that_is_not_there(root: Path) -> None:
    with pytest.raises(ContainerError, match="there is no group 'gold'"):
        join(root, closID="gold")
    join(root, closID="gold", l3CacheSchema=L3)
    assert (root / "gold/schemata").read_text() == f"{L3}\n"


def test_monitoring_groups_come_and_go(root: Path) -> None:
    made = group(root, "gold")
    join(root, closID="gold", enableCMT=True)
    monitor = made / "mon_groups/box"
    assert (monitor / "tasks").read_text() == "77\n"
    (monitor / "tasks").unlink()  # a directory of the kernel's goes with its files
    resctrl.leave({"closID": "gold"}, "box", str(root))
    assert not monitor.exists() and made.is_dir()
    (root / "box").mkdir()
    resctrl.leave({}, "box", str(root))
    assert not (root / "box").exists()
    resctrl.leave({}, "box", str(root))


@pytest.mark.parametrize("wanted,match", [
    ({"closID": "../up"}, "is not the name of a group"),
    ({"closID": "info"}, "is not the name of a group"),
    ({"memBwSchema": "L3:0=f"}, "begins with MB:"),
    ({"memBwSchema": "MB:0=1\nMB:1=2"}, "begins with MB:"),
])  # fmt: skip
def test_what_is_refused(root: Path, wanted: dict[str, str], match: str) -> None:
    with pytest.raises(ContainerError, match=match):
        join(root, **wanted)


def test_the_kernels_own_words(root: Path) -> None:
    made = group(root, "box")
    (made / "schemata").unlink()
    (made / "schemata").symlink_to("/dev/full")
    (root / "info/last_cmd_status").write_text("Mask 0x0 is out of range\n")
    with pytest.raises(ContainerError, match="Mask 0x0 is out of range"):
        join(root, l3CacheSchema="L3:0=0")


def test_a_host_without_resctrl(bundle: Bundle) -> None:
    if any(line.split()[2] == "resctrl" for line in Path("/proc/mounts").read_text().splitlines()):
        pytest.skip("this host has resctrl mounted")
    bundle.linux["intelRdt"] = {"l3CacheSchema": L3}
    assert "resctrl is not mounted" in bundle.refused()
