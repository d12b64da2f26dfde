"""config.md "Mounts", config-linux.md: options, propagation, devices, masked and read-only paths."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.containers.oci.kit import QUIET, Bundle


def table(bundle: Bundle) -> dict[str, tuple[set[str], set[str]]]:
    """Return the container's mounts: place, options of the mount, options of the file system."""
    rows = {}
    for line in bundle.output("cat /proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        rows[fields[4]] = (
            set(fields[5].split(",")) | set(fields[6:]),
            set(after.split()[2].split(",")),
        )
    return rows


def test_bind_mounts_and_their_options(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("seen\n")
    bundle.mount("/mnt", "rbind", "ro", *QUIET, "noatime", source=tmp_path)
    bundle.mount("/etc/passwd", "bind", source=tmp_path / "file")
    options = table(bundle)["/mnt"][0]
    assert {"ro", "nosuid", "nodev", "noexec", "noatime"} <= options
    assert bundle.output("cat /etc/passwd; touch /mnt/x 2>/dev/null || echo ro") == "seen\nro\n"


def test_recursive_options_reach_the_mounts_below(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    bundle.mount("/mnt", kind="tmpfs", source="tmpfs")
    bundle.mount("/mnt/a/b", kind="tmpfs", source="tmpfs")
    bundle.mount("/tmp", "rbind", "rro", "rnosuid", "rnoexec", source="/sys")
    rows = table(bundle)
    inner = [options for place, (options, _) in rows.items() if place.startswith("/tmp/")]
    assert inner and all(
        {"ro", "nosuid", "noexec"} <= options for options in [*inner, rows["/tmp"][0]]
    )
    assert "/mnt/a/b" in rows


def test_propagation_flags(bundle: Bundle, tmp_path: Path) -> None:
    bundle.mount("/mnt", "bind", "shared", source=tmp_path)
    bundle.mount("/tmp", "bind", "private", source=tmp_path)
    rows = table(bundle)
    assert any(one.startswith("shared:") for one in rows["/mnt"][0])
    assert not any(":" in one for one in rows["/tmp"][0])


@pytest.mark.parametrize(
    "propagation,mark", [("shared", "shared:"), ("rprivate", ""), ("unbindable", "unbindable")]
)
def test_root_propagation(bundle: Bundle, propagation: str, mark: str) -> None:
    bundle.linux["rootfsPropagation"] = propagation
    marks = [one for one in table(bundle)["/"][0] if ":" in one or one == "unbindable"]
    assert all(one.startswith(mark) for one in marks) and bool(marks) is bool(mark)


def test_tmpfs_options_and_mode(bundle: Bundle) -> None:
    bundle.mount("/mnt", "size=64k", "mode=700", kind="tmpfs", source="tmpfs")
    bundle.mount("/tmp", "size=64k", kind="tmpfs", source="tmpfs")
    said = bundle.output(
        "stat -c %a /mnt /tmp; head -c 100000 /dev/zero > /mnt/x 2>/dev/null || echo full"
    )
    assert said.split() == ["700", "1777", "full"]  # /tmp keeps what it covers


def test_copy_up(own_bundle: Bundle) -> None:
    etc = Path(own_bundle.config["root"]["path"]) / "etc"
    (etc / "deep/er").mkdir(parents=True)
    (etc / "deep/er/file").write_text("kept")
    (etc / "deep/er/file").chmod(0o644)
    os.chown(etc / "deep/er/file", 7, 8)
    (etc / "link").symlink_to("/nowhere")
    own_bundle.mount("/etc", "tmpcopyup", kind="tmpfs", source="tmpfs")
    said = own_bundle.output(
        "stat -c '%u %g %a' /etc/deep/er/file; readlink /etc/link; echo x > /etc/new; cat /etc/deep/er/file"
    )
    assert said == "7 8 644\n/nowhere\nkept"
    assert not (etc / "new").exists()


def test_the_order_of_mounts_is_the_order_given(bundle: Bundle) -> None:
    bundle.mount("/mnt", "mode=700", kind="tmpfs", source="first")
    bundle.mount("/mnt", "mode=755", kind="tmpfs", source="second")
    assert bundle.output("grep ' /mnt ' /proc/mounts | cat").split()[0::6] == ["first", "second"]


def test_wrong_options_are_told_in_the_kernels_words(bundle: Bundle) -> None:
    bundle.mount("/mnt", "bogus=1", kind="tmpfs", source="tmpfs")
    said = bundle.refused()
    assert 'error mounting "tmpfs" to rootfs at "/mnt"' in said and "bogus" in said
    bundle.config["mounts"][-1] = {"destination": "/mnt", "type": "nosuchfs", "source": "x"}
    assert "no such device" in bundle.refused()


def test_default_devices_and_links(bundle: Bundle) -> None:
    said = bundle.output(
        "cd /dev; stat -c '%n %t %T %a' null zero full random urandom tty; for l in fd stdin ptmx; do readlink $l; done"
    )
    lines = said.splitlines()
    assert lines[:6] == [
        "null 1 3 666",
        "zero 1 5 666",
        "full 1 7 666",
        "random 1 8 666",
        "urandom 1 9 666",
        "tty 5 0 666",
    ]
    assert lines[6:] == ["/proc/self/fd", "/proc/self/fd/0", "pts/ptmx"]


def test_given_devices(bundle: Bundle) -> None:
    bundle.linux["devices"] = [
        {
            "type": "c",
            "path": "/dev/deep/fuse",
            "major": 10,
            "minor": 229,
            "fileMode": 0o640,
            "uid": 7,
            "gid": 8,
        },
        {"type": "p", "path": "/dev/fifo", "fileMode": 0o600},
    ]
    said = bundle.output("stat -c '%F %t %T %a %u %g' /dev/deep/fuse; stat -c '%F %a' /dev/fifo")
    assert said == "character special file a e5 640 7 8\nfifo 600\n"


def test_masked_and_readonly_paths(bundle: Bundle) -> None:
    bundle.linux["maskedPaths"] = ["/proc/keys", "/sys/firmware", "/proc/not/there", "/etc/passwd"]
    bundle.linux["readonlyPaths"] = ["/proc/sys", "/mnt", "/not/there"]
    bundle.mount("/mnt", kind="tmpfs", source="tmpfs")
    said = bundle.output(
        "cat /proc/keys /etc/passwd; ls /sys/firmware; stat -c %t,%T /etc/passwd;"
        "touch /mnt/x 2>/dev/null || echo ro; echo 1 2>/dev/null > /proc/sys/kernel/shm_rmid_forced || echo ro"
    )
    assert said.split() == ["1,3", "ro", "ro"]


def test_the_root_may_be_read_only(bundle: Bundle, own_bundle: Bundle) -> None:
    script = "touch /x 2>/dev/null && echo wrote || echo refused"
    assert bundle.output(script) == "refused\n"
    assert own_bundle.output(script) == "wrote\n"


def test_no_pivot(bundle: Bundle) -> None:
    bundle.shell("ls /; ls /proc/self/root/../../bin/true")
    done = bundle.run("--no-pivot")
    assert (
        done.returncode == 0 and "mnt" in done.stdout.split() and "work" not in done.stdout.split()
    )


def test_cgroup_mount_shows_the_containers_own(bundle: Bundle) -> None:
    bundle.mount("/sys/fs/cgroup", *QUIET, "relatime", "ro", kind="cgroup", source="cgroup")
    for namespace in (False, True):
        if namespace:
            bundle.namespace("cgroup")
        said = bundle.output(
            "cat /sys/fs/cgroup/pids/cgroup.procs /sys/fs/cgroup/cgroup.procs 2>/dev/null; touch /sys/fs/cgroup/x 2>/dev/null || echo ro"
        )
        assert said.split()[0] == "1" and said.split()[-1] == "ro"
    assert {line.split(":")[2] for line in bundle.output("cat /proc/self/cgroup").splitlines()} == {
        "/"
    }


def test_the_unified_hierarchy_by_its_own_type(bundle: Bundle) -> None:
    if "cgroup2" not in Path("/proc/mounts").read_text():
        pytest.skip("this host has no unified hierarchy")
    bundle.namespace("cgroup")
    bundle.mount("/sys/fs/cgroup", *QUIET, "ro", kind="cgroup2", source="cgroup2")
    assert bundle.output("cat /sys/fs/cgroup/cgroup.procs").split()[0] == "1"
    assert "ro" in table(bundle)["/sys/fs/cgroup"][0]


def test_idmapped_mounts(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    tmp_path.chmod(0o755)
    os.chown(tmp_path / "file", 1000, 1000)
    maps = [{"containerID": 1000, "hostID": 4242, "size": 1}]
    bundle.mount("/mnt", "bind", source=tmp_path)
    bundle.config["mounts"][-1] |= {"uidMappings": maps, "gidMappings": maps}
    bundle.shell("stat -c '%u %g' /mnt/file")
    done = bundle.run()
    if done.returncode and "invalid argument" in done.stderr:
        pytest.skip("the file system of the temporary directory cannot be mapped")
    assert done.stdout == "4242 4242\n"


def test_nothing_of_the_host_is_left_to_see(bundle: Bundle) -> None:
    places = set(table(bundle))
    assert "/work" not in places and not any(one.startswith("/sys/fs/cgroup") for one in places)
    bundle.run()
    assert bundle.mounts() == []
    assert stat.S_ISDIR(os.stat(bundle.config["root"]["path"]).st_mode)


@pytest.mark.parametrize("namespace", [False, True])
def test_a_host_that_has_version_2_alone(bundle: Bundle, namespace: bool) -> None:
    if "cgroup2" not in Path("/proc/mounts").read_text():
        pytest.skip("this host has no unified hierarchy")
    only_v2 = 'umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec "$@"'
    bundle.program = ["unshare", "-m", "sh", "-c", only_v2, "sh", *bundle.program]
    bundle.mount("/sys/fs/cgroup", *QUIET, "ro", kind="cgroup", source="cgroup")
    if namespace:
        bundle.namespace("cgroup")
    said = bundle.output(
        "cat /sys/fs/cgroup/cgroup.procs; touch /sys/fs/cgroup/x 2>/dev/null || echo ro"
    )
    assert said.split()[0] == "1" and said.split()[-1] == "ro"
    own = "/" if namespace else f"/{bundle.id}"
    assert bundle.output("grep ^0:: /proc/self/cgroup").strip() == f"0::{own}"
