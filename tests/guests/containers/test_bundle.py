"""An image's configuration as a bundle's: what comes from where, and a real runtime that runs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from innkeeper.base.errors import NotFoundError, UsageError
from innkeeper.base.record import replace
from innkeeper.guests.config import Volume
from innkeeper.guests.containers.bundle import make_bundle
from innkeeper.guests.containers.options import BundleOptions
from innkeeper.guests.containers.users import resolve_user
from innkeeper.images.oci.commit import image_from_layer
from innkeeper.images.oci.content import ContentStore
from innkeeper.images.oci.documents import Platform
from innkeeper.images.oci.image import Image
from innkeeper.images.oci.rootfs import prepare_rootfs, release_rootfs
from innkeeper.images.tarout import TarOut

PASSWD = b"root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/srv:/bin/sh\nbroken\n:::\nbig:x:99999999999:1::/:\n"
GROUP = b"root:x:0:\nwww:x:34:\nextra:x:50:web,root\nmore:x:51:web\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/passwd").write_bytes(PASSWD)
    (tmp_path / "root/etc/group").write_bytes(GROUP)
    return tmp_path / "root"


def image(tmp_path: Path, **config: Any) -> Image:
    def write(tar: TarOut) -> None:
        tar.file("etc/passwd", PASSWD)
        tar.file("etc/group", GROUP)
        shell = shutil.which("busybox")
        if shell:
            tar.file("bin/sh", Path(shell).read_bytes(), mode=0o755)

    machine = Platform("amd64", "linux")
    store = ContentStore(tmp_path / "oci")
    return image_from_layer(store, "t", write, platform=machine, config=config)


def bundle(
    tmp_path: Path, root: Path, *command: str, config: dict[str, Any] | None = None, **options: Any
) -> dict[str, Any]:
    made = image(tmp_path, **(config or {}))
    return make_bundle(made, command, BundleOptions(**options), root=root)


@pytest.mark.parametrize(
    ("text", "uid", "gid", "groups", "home"),
    [
        ("", 0, 0, (50,), "/root"), ("web", 33, 34, (50, 51), "/srv"), ("33", 33, 34, (50, 51), "/srv"),
        ("web:root", 33, 0, (), "/srv"), ("7", 7, 0, (), "/"), ("7:8", 7, 8, (), "/"),
        ("7:www", 7, 34, (), "/"), ("0:0", 0, 0, (), "/root"),
    ],
)  # fmt: skip
def test_users(
    text: str, uid: int, gid: int, groups: tuple[int, ...], home: str, root: Path
) -> None:
    found = resolve_user(text, [root])
    assert (found.uid, found.gid, found.groups, found.home) == (uid, gid, groups, home)


@pytest.mark.parametrize("text", ["nobody", "web:none", "big", "99999999999", "4294967295"])
def test_users_that_are_not_there(text: str, root: Path) -> None:
    with pytest.raises((NotFoundError, UsageError)):
        resolve_user(text, [root])


def test_the_users_file_is_the_images_own(root: Path, tmp_path: Path) -> None:
    (root / "etc/passwd").unlink()
    (root / "etc/passwd").symlink_to("/etc/real")
    with pytest.raises(NotFoundError):
        resolve_user("root", [root])
    (root / "etc/real").write_bytes(PASSWD)
    assert resolve_user("web", [root]).uid == 33
    (root / "etc/passwd").unlink()
    os.mkfifo(root / "etc/passwd")
    with pytest.raises(NotFoundError):
        resolve_user("web", [root])


@pytest.mark.parametrize(
    ("entry", "cmd", "given", "own", "args"),
    [
        (None, ["sh"], (), None, ["sh"]),
        (["e"], ["c"], (), None, ["e", "c"]),
        (["e"], ["c"], ("x", "y"), None, ["e", "x", "y"]),
        (["e"], ["c"], (), ("o",), ["o"]),
        (["e"], ["c"], ("x",), ("o", "p"), ["o", "p", "x"]),
        (["e"], ["c"], ("x",), (), ["x"]),
    ],
)
def test_what_runs(
    entry: list[str] | None, cmd: list[str], given: tuple[str, ...], own: tuple[str, ...] | None,
    args: list[str], tmp_path: Path, root: Path,
) -> None:  # fmt: skip
    config = {"Entrypoint": entry, "Cmd": cmd}
    made = bundle(tmp_path, root, *given, config=config, entrypoint=own)
    assert made["process"]["args"] == args


def test_nothing_to_run(tmp_path: Path, root: Path) -> None:
    with pytest.raises(UsageError, match="nothing to run"):
        bundle(tmp_path, root)


def test_environment_and_workdir(tmp_path: Path, root: Path) -> None:
    config = {"Env": ["A=1", "B=2", "broken", "=x"], "WorkingDir": "srv", "User": "web"}
    process = bundle(tmp_path, root, "x", config=config, env={"B": "3"}, tty=True)["process"]
    env = dict(item.split("=", 1) for item in process["env"])
    assert (env["A"], env["B"], env["HOME"], env["TERM"]) == ("1", "3", "/srv", "xterm")
    assert "/usr/bin" in env["PATH"] and process["cwd"] == "/srv"
    assert process["user"] == {"uid": 33, "gid": 34, "additionalGids": [50, 51]}


def test_capabilities(tmp_path: Path, root: Path) -> None:
    def sets(**options: Any) -> dict[str, list[str]]:
        found = bundle(tmp_path, root, "x", **options)["process"]["capabilities"]
        assert isinstance(found, dict)
        return found

    plain = sets()
    assert "CAP_CHOWN" in plain["effective"] and "CAP_SYS_ADMIN" not in plain["bounding"]
    user = sets(user="web", cap_add=("net_admin",))
    assert user["effective"] == user["ambient"] == ["CAP_NET_ADMIN"]
    assert "CAP_CHOWN" in user["bounding"]
    assert sets(cap_drop=("ALL",), cap_add=("CAP_KILL",))["bounding"] == ["CAP_KILL"]
    assert len(sets(privileged=True)["bounding"]) == 41
    with pytest.raises(UsageError, match="no capability"):
        sets(cap_add=("FLY",))


def test_limits_networks_and_namespaces(tmp_path: Path, root: Path) -> None:
    linux = bundle(
        tmp_path, root, "x", memory_bytes=64 << 20, cpus=1.5, pids_limit=9, cpu_shares=7,
        cpuset="0", network="host", host_namespaces=frozenset({"pid"}),
    )["linux"]  # fmt: skip
    assert linux["resources"]["memory"] == {"limit": 64 << 20, "swap": 64 << 20}
    assert linux["resources"]["cpu"] == {
        "quota": 150000,
        "period": 100000,
        "shares": 7,
        "cpus": "0",
    }
    assert linux["resources"]["pids"] == {"limit": 9}
    kinds = {n["type"] for n in linux["namespaces"]}
    assert not kinds & {"network", "pid", "user"} and "mount" in kinds
    linux = bundle(
        tmp_path, root, "x", netns=Path("/run/netns/a"), uid_maps=((0, 1000, 1), (1, 100000, 65536))
    )["linux"]
    assert {"type": "network", "path": "/run/netns/a"} in linux["namespaces"]
    assert linux["uidMappings"][1] == {"containerID": 1, "hostID": 100000, "size": 65536}
    assert linux["gidMappings"] == linux["uidMappings"]


def test_mounts(tmp_path: Path, root: Path) -> None:
    volume = Volume(source=tmp_path, target="/data", read_only=True)
    made = bundle(
        tmp_path, root, "x", config={"Volumes": {"/data": {}, "/cache": {}}}, volumes=(volume,),
        tmpfs=("/run:size=1m",), files={"/etc/hosts": "/h"},
    )  # fmt: skip
    found = {m["destination"]: m for m in made["mounts"]}
    assert found["/data"]["options"] == ["rbind", "rprivate", "rro"]
    assert found["/cache"]["type"] == "tmpfs" and found["/run"]["options"][-1] == "size=1m"
    assert found["/etc/hosts"]["source"] == "/h" and found["/proc"]["type"] == "proc"
    with pytest.raises(UsageError):
        bundle(tmp_path, root, "x", tmpfs=("run",))


def test_security_options(tmp_path: Path, root: Path) -> None:
    made = bundle(tmp_path, root, "x", security_opt=("no-new-privileges", "unmask=/proc/kcore"))
    assert made["process"]["noNewPrivileges"] and "/proc/kcore" not in made["linux"]["maskedPaths"]
    assert made["linux"]["seccomp"]["defaultAction"]
    made = bundle(tmp_path, root, "x", security_opt=("seccomp=unconfined", "apparmor=p"))
    assert "seccomp" not in made["linux"] and made["process"]["apparmorProfile"] == "p"
    profile = tmp_path / "p.json"
    profile.write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    made = bundle(tmp_path, root, "x", security_opt=(f"seccomp={profile}",))
    assert made["linux"]["seccomp"] == {"defaultAction": "SCMP_ACT_ALLOW"}
    with pytest.raises(UsageError, match="no security option"):
        bundle(tmp_path, root, "x", security_opt=("magic=1",))


def test_annotations(tmp_path: Path, root: Path) -> None:
    config = {"Labels": {"l": "1"}, "StopSignal": "SIGQUIT", "ExposedPorts": {"80/tcp": {}}}
    found = bundle(tmp_path, root, "x", config=config, annotations={"a": "b"})["annotations"]
    assert (found["l"], found["a"]) == ("1", "b")
    assert found["org.opencontainers.image.stopSignal"] == "SIGQUIT"
    assert found["org.opencontainers.image.exposedPorts"] == "80/tcp"


@pytest.mark.parametrize(
    "options", [{"network": "magic"}, {"cpus": 0}, {"memory_bytes": 1}, {"host_namespaces": {"x"}}]
)
def test_options_that_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        BundleOptions(**options)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to run a container")
@pytest.mark.skipif(not shutil.which("busybox"), reason="needs a static busybox on the host")
@pytest.mark.skipif(not shutil.which("runc"), reason="needs runc, a runtime to compare with")
def test_another_runtime_runs_it(tmp_path: Path) -> None:
    made = image(
        tmp_path, Cmd=["/bin/sh", "-c", "id -u; pwd; echo $A; touch /x; hostname"], Env=["A=1"]
    )
    box = tmp_path / "box"
    root = prepare_rootfs(made, box, rootless=False)
    try:
        options = BundleOptions(user="web", workdir="/etc", hostname="inside", pids_limit=50,
                                env={"A": "two"}, read_only=True)  # fmt: skip
        config = make_bundle(made, (), options, root=root.path)
        config = config | {"ociVersion": "1.0.2"}
        (box / "config.json").write_text(json.dumps(config))
        state = ["runc", "--root", str(tmp_path / "state")]
        command = [*state, "run", "-b", str(box), f"inn-test-{os.getpid()}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        if done.returncode != 0 and "cgroup" in done.stderr:
            pytest.skip(f"runc cannot use this host's cgroups: {done.stderr.strip()[:200]}")
        assert done.stdout.split() == ["33", "/etc", "two", "inside"], done.stderr
        assert "Read-only" in done.stderr
    finally:
        release_rootfs(box, made.store)
    assert replace(BundleOptions(), tty=True).tty
