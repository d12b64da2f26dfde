"""A user without any privilege: maps of one number, no cgroup, the host's network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from innkeeper.containers.spec import default_spec, make_rootless
from tests.containers.oci import kit
from tests.containers.oci.test_config import fuzz
from tests.containers.oci.test_crash import MOST_STEPS, STRIDE, attempt, swept

UID = 1000


@pytest.fixture
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kit.Bundle]:
    """A bundle that belongs to somebody else, and a runtime that runs as him."""
    kit.need_root()
    python = next((p for p in ("/usr/bin/python3", sys.executable) if _usable(p)), None)
    if python is None or not shutil.which("setpriv"):
        pytest.skip("another user can reach neither this Python nor these sources")
    home = Path(f"/tmp/inn-rootless-{os.getpid()}")
    home.mkdir(mode=0o755)
    one = kit.Bundle(home / "bundle", kit.make_rootfs(home / "rootfs"))
    one.config = default_spec()
    make_rootless(one.config)
    one.config["root"]["path"] = str(home / "rootfs")
    one.linux["uidMappings"] = one.linux["gidMappings"] = [
        {"containerID": 0, "hostID": UID, "size": 1}
    ]
    one.process["terminal"] = False
    one.state = home / "state"
    for place in (home, *home.rglob("*")):
        os.chown(place, UID, UID, follow_symlinks=False)
    as_user = ["setpriv", "--reuid", str(UID), "--regid", str(UID), "--clear-groups", "--"]
    one.interpreter = [*as_user, python, "-I", "-S", "-B"]
    one.program = [*one.interpreter, "-c", kit.LAUNCH, str(kit.REPO / "src")]
    yield one
    one.clean()
    shutil.rmtree(home)


def _usable(python: str) -> bool:
    probe = f"import sys; sys.exit(sys.version_info < (3, 11)); sys.path[:0] = [{str(kit.REPO / 'src')!r}]"
    run = ["setpriv", "--reuid", str(UID), "--regid", str(UID), "--clear-groups", "--", python, "-c",
           f"open({str(kit.REPO / 'src/innkeeper/__init__.py')!r}); {probe}"]  # fmt: skip
    return (
        shutil.which(python) is not None
        and subprocess.run(run, capture_output=True).returncode == 0
    )


def test_run(user: kit.Bundle) -> None:
    said = user.output(
        "id -u; cat /proc/self/uid_map; stat -c %t,%T /dev/null; echo x > /dev/null; hostname; pwd"
    )
    assert said.split() == ["0", "0", str(UID), "1", "1,3", "innkeeper", "/"]


def test_life_cycle(user: kit.Bundle) -> None:
    user.process["args"] = ["sleep", "1000"]
    user.start()
    assert user.status() == "running"
    done = user.oci("exec", user.id, "sh", "-c", "id -u; exit 3")
    assert (done.returncode, done.stdout) == (3, "0\n"), done.stderr
    assert user.oci("exec", "-t", user.id, "tty").stdout == "/dev/pts/0\n"
    assert json.loads(user.oci("ps", "-f", "json", user.id).stdout) == [user.pid()]
    assert user.oci("pause", user.id).returncode == 1  # there is no cgroup to freeze
    assert user.oci("kill", "--all", user.id, "KILL").returncode == 0
    user.clean()


def test_limits_that_need_a_cgroup_are_refused(user: kit.Bundle) -> None:
    user.linux["resources"] = {"pids": {"limit": 5}}
    assert "pids" in user.refused()


def test_other_groups_are_refused(user: kit.Bundle) -> None:
    user.process["user"]["additionalGids"] = [5]
    assert "cannot set any additional groups in a rootless container" in user.refused()


def test_the_helpers_map_more(user: kit.Bundle) -> None:
    if not shutil.which("newuidmap"):
        pytest.skip("no newuidmap on this host (apt-get install uidmap)")
    maps = [
        {"containerID": 0, "hostID": UID, "size": 1},
        {"containerID": 1, "hostID": 4_000_000_000, "size": 9},
    ]
    user.linux["uidMappings"] = maps
    assert "see /etc/subuid" in user.refused()  # which allows no such numbers


def test_kills_at_any_step_leave_nothing(user: kit.Bundle) -> None:
    user.write()
    for number in range(1, MOST_STEPS, 4 * STRIDE):
        ended = attempt(user, number, "runtime", "run")
        swept(user)
        if ended == 0:
            return
    pytest.fail("the command never came to its end")


def test_fuzzed_bundles_leave_nothing(user: kit.Bundle) -> None:
    fuzz(user, seed=8, rounds=12)


def test_escapes(user: kit.Bundle) -> None:
    """The host's Python and files out of reach, links kept inside: the same code, another path to it."""
    root = Path(user.config["root"]["path"])
    (root / "bin/trap").write_text("#!/proc/self/exe\n")
    (root / "bin/trap").chmod(0o755)
    (root / "climbing").symlink_to("../" * 20 + "tmp")
    user.mount("/climbing/inside", kind="tmpfs", source="tmpfs")
    assert "/tmp/inside tmpfs" in user.output("grep tmpfs /proc/mounts")
    user.process["args"] = ["/bin/trap"]
    assert "is the runtime itself" in user.refused()
    user.process.update(args=["ls"], cwd="/proc/self/fd/5")
    assert user.run().returncode != 0
