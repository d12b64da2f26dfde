"""config.md "Process": what the container's process finds itself to be."""

from __future__ import annotations

import os
import platform
import struct
from pathlib import Path

import pytest

from tests.containers.oci.kit import Bundle


def status(text: str) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def test_user_groups_umask_and_home(bundle: Bundle) -> None:
    bundle.process["user"] = {"uid": 1000, "gid": 1001, "additionalGids": [5, 6], "umask": 0o27}
    said = bundle.output("id -u; id -g; id -G; umask; echo $HOME").splitlines()
    assert said == ["1000", "1001", "1001 5 6", "0027", "/home/guest"]


def test_supplementary_groups_of_the_caller_are_dropped(bundle: Bundle) -> None:
    bundle.shell("grep Groups /proc/self/status")
    outside = ["setpriv", "--groups", "4,27", "--"]
    bundle.program = [*outside, *bundle.program]
    assert bundle.run().stdout.split() == ["Groups:"]


def test_no_capabilities_unless_given(bundle: Bundle) -> None:
    found = status(bundle.output("cat /proc/self/status"))
    assert {found[f"Cap{name}"] for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert found["NoNewPrivs"] == "1"


def test_the_five_capability_sets(bundle: Bundle) -> None:
    bundle.process["capabilities"] = {
        "bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_BOGUS"],
        "permitted": ["CAP_KILL", "CAP_CHOWN"],
        "inheritable": ["CAP_KILL"],
        "effective": ["CAP_KILL"],
        "ambient": ["CAP_KILL"],
    }
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    bundle.shell("cat /proc/self/status")
    done = bundle.run()
    found = {
        name: int(status(done.stdout)[f"Cap{name}"], 16)
        for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")
    }
    kill, chown = 1 << 5, 1 << 0
    assert found == {"Inh": kill, "Prm": kill, "Eff": kill, "Bnd": kill | chown, "Amb": kill}
    assert "ignoring unknown or unavailable capabilities: [CAP_BOGUS]" in done.stderr


def test_no_new_privileges_may_be_left_off(bundle: Bundle) -> None:
    bundle.process["noNewPrivileges"] = False
    assert status(bundle.output("cat /proc/self/status"))["NoNewPrivs"] == "0"


def test_limits(bundle: Bundle) -> None:
    bundle.process["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 7, "hard": 9},
        {"type": "RLIMIT_FSIZE", "soft": 0, "hard": 512},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
    ]
    lines = {
        line[:25].strip(): line[25:].split()[:2]
        for line in bundle.output("cat /proc/self/limits").splitlines()
    }
    assert lines["Max open files"] == ["7", "9"]
    assert lines["Max file size"] == ["0", "512"]


def test_oom_score_personality_and_priorities(bundle: Bundle) -> None:
    bundle.process["oomScoreAdj"] = 321
    bundle.process["scheduler"] = {"policy": "SCHED_BATCH", "nice": 5}
    bundle.process["ioPriority"] = {"class": "IOPRIO_CLASS_IDLE", "priority": 0}
    said = bundle.output("cat /proc/self/oom_score_adj /proc/self/stat").splitlines()
    fields = said[1].rpartition(")")[2].split()
    assert said[0] == "321"
    assert (fields[16], fields[38]) == ("5", "3")  # nice; SCHED_BATCH


@pytest.mark.skipif(platform.machine() != "x86_64", reason="LINUX32 says i686 on x86_64 alone")
def test_personality(own_bundle: Bundle) -> None:
    own_bundle.linux["personality"] = {"domain": "LINUX32"}
    (Path(own_bundle.config["root"]["path"]) / "bin/uname").symlink_to("busybox")
    assert own_bundle.output("uname -m") == "i686\n"


def test_the_environment_is_the_one_given(bundle: Bundle) -> None:
    bundle.process["env"] = ["PATH=/bin", "A=1", "A=2", "EMPTY="]
    assert set(bundle.output("env").split()) == {
        "PATH=/bin",
        "A=2",
        "EMPTY=",
        "HOME=/root",
        "PWD=/",
        "SHLVL=1",
    }


def test_a_missing_working_directory_is_made(own_bundle: Bundle) -> None:
    own_bundle.process["cwd"] = "/some/where"
    assert own_bundle.output("pwd") == "/some/where\n"


def test_only_the_standard_streams_are_open(bundle: Bundle) -> None:
    bundle.program = ["sh", "-c", 'exec 8</etc 9</; exec "$@"', "sh", *bundle.program]
    bundle.process["args"] = ["sh", "-c", "for f in /proc/self/fd/*; do [ -e $f ] && echo $f; done"]
    assert bundle.run().stdout.split() == [f"/proc/self/fd/{n}" for n in range(3)]


def test_signals_that_python_ignores_are_default_again(bundle: Bundle) -> None:
    found = status(bundle.output("cat /proc/self/status"))
    assert int(found["SigIgn"], 16) & (1 << 12 | 1 << 24) == 0  # SIGPIPE, SIGXFSZ
    assert int(found["SigBlk"], 16) == 0


def test_seccomp_refuses_a_call(bundle: Bundle) -> None:
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
    }
    bundle.mount("/mnt", kind="tmpfs", source="tmpfs")
    bundle.shell("mkdir /mnt/x; grep Seccomp: /proc/self/status")
    for privileged in (True, False):
        bundle.process["noNewPrivileges"] = not privileged
        done = bundle.run()
        assert "Not supported" in done.stderr or "not supported" in done.stderr
        assert done.stdout.split() == ["Seccomp:", "2"]


def test_a_profile_without_execveat(bundle: Bundle) -> None:
    """The trampoline is executed by its place in /proc then; without a /proc it is said why not."""
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["execveat"], "action": "SCMP_ACT_KILL"}],
    }
    assert bundle.output("echo fine") == "fine\n"
    bundle.config["mounts"] = [m for m in bundle.config["mounts"] if m["destination"] != "/proc"]
    bundle.linux["maskedPaths"] = bundle.linux["readonlyPaths"] = []
    assert "the seccomp profile refuses execveat" in bundle.refused()


def test_seccomp_notifies_a_listener(bundle: Bundle, tmp_path: Path) -> None:
    import array
    import json
    import socket

    path = str(tmp_path / "l")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        server.settimeout(30)
        bundle.linux["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "listenerMetadata": "mine",
            "syscalls": [{"names": ["swapoff"], "action": "SCMP_ACT_NOTIFY"}],
        }  # fmt: skip
        assert bundle.run().returncode == 0
        connection, _ = server.accept()
        with connection:
            message, extra, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(4))
    descriptors = array.array("i", extra[0][2])
    os.close(descriptors[0])
    state = json.loads(message)
    assert (state["fds"], state["metadata"], state["state"]["id"]) == (
        ["seccompFd"],
        "mine",
        bundle.id,
    )
    assert struct.calcsize("i") * len(descriptors) == 4


def test_labels_of_a_kernel_that_has_none_are_refused(bundle: Bundle) -> None:
    if os.path.exists("/sys/fs/selinux/enforce"):
        pytest.skip("this kernel has SELinux")
    bundle.process["selinuxLabel"] = "system_u:system_r:container_t:s0"
    assert "selinux is disabled or not supported" in bundle.refused()
    del bundle.process["selinuxLabel"]
    if os.path.exists("/sys/module/apparmor"):
        pytest.skip("this kernel has AppArmor")
    bundle.process["apparmorProfile"] = "docker-default"
    assert "unable to apply apparmor profile" in bundle.refused()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: else the null device is the host's")
def test_the_null_device_is_its_own(bundle: Bundle) -> None:
    """Standard streams that are the host's null device would hold the host's mount open."""
    bundle.process["args"] = ["sleep", "1000"]
    bundle.start()
    root, fds = f"/proc/{bundle.pid()}/root", f"/proc/{bundle.pid()}/fd"
    own = os.stat(f"{root}/dev/null")
    for fd in (0, 1, 2):
        given = os.stat(f"{fds}/{fd}")
        assert (given.st_dev, given.st_ino) == (own.st_dev, own.st_ino)
        assert given.st_rdev == os.makedev(1, 3)
