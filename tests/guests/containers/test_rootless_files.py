"""The root file system of a user's container: an overlay in his own namespace, and what it leaves."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guests.containers.harness import IMAGE, needs_busybox
from tests.guests.containers.userinn import SUB_START, UID, UserInn, user_inn

pytestmark = [
    needs_busybox,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody without privileges"),
]
KEEP = "trap 'exit 0' TERM; echo up; while :; do sleep 0.1; done"


@pytest.fixture(scope="module", params=[False, True], ids=["alone", "subids"])
def user(request: pytest.FixtureRequest) -> Iterator[UserInn]:
    with user_inn(f"rootless-files-{request.param:d}", subids=request.param) as made:
        overlay = made.run(IMAGE, "sh", "-c", "busybox grep ' / ' /proc/mounts")
        if b"overlay" not in overlay.stdout:
            pytest.skip("this kernel mounts no overlay for a user (Linux 5.11)")
        yield made


def layers(user: UserInn) -> Path:
    name = "layers-mapped" if user.subids else "layers-user"
    return user.folder / "data/innkeeper/oci" / name


def tree_of(folder: Path) -> dict[str, tuple[int, ...]]:
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        found[str(path)] = (status.st_mode, status.st_uid, status.st_size, status.st_mtime_ns)
    return found


def test_the_root_is_an_overlay_nobody_else_sees(user: UserInn) -> None:
    show = "busybox grep ' / ' /proc/mounts; busybox stat -c %u:%a /etc; cat /proc/self/uid_map"
    done = user.run(IMAGE, "sh", "-c", show)
    mount, owner, *_ = done.stdout.decode().splitlines()
    assert mount.startswith("overlay / overlay ") and "userxattr" in mount
    assert owner == "0:755"
    assert user.left() == []


def test_layers_are_shared_and_never_written_to(user: UserInn) -> None:
    before = tree_of(layers(user))
    assert before
    script = "rm -r /opt; echo x > /bin/true; mkdir /opt; touch /opt/new; ls /opt"
    assert user.run(IMAGE, "sh", "-c", script).stdout == b"new\n"
    assert tree_of(layers(user)) == before
    assert user.run(IMAGE, "cat", "/opt/file").stdout == b"file of the image\n"
    assert user.left() == []


def test_diff_and_commit(user: UserInn) -> None:
    chown = "busybox chown 33:34 /srv/a; " if user.subids else ""
    script = (
        f"mkdir /srv; echo one > /srv/a; {chown}busybox chmod 600 /srv/a; rm /etc/group; rm -r /opt/old; "
        "rm /bin/seq; rm -r /bin/tail; mkdir /deep; busybox ln -s /srv/a /deep/link; echo up"
    )
    assert user.run("--keep", "--name", "d", IMAGE, "sh", "-c", script).stdout == b"up\n"
    changed = json.loads(user("diff", "-o", "json", "d").stdout)
    found = {(one["kind"], one["path"]) for one in changed}
    assert {("A", "/srv"), ("A", "/srv/a"), ("D", "/opt/old"), ("D", "/bin/seq")} <= found
    assert {
        ("A", "/deep"),
        ("A", "/deep/link"),
        ("C", "/etc"),
        ("D", "/etc/group"),
        ("C", "/bin"),
    } <= found
    done = user("commit", "d", "made:1")
    assert done.returncode == 0 and done.stdout.startswith(b"made:1@sha256:"), done.stderr
    assert user("rm", "d").returncode == 0
    again = user.run(
        "made:1",
        "sh",
        "-c",
        "busybox stat -c %u:%g:%a /srv/a; cat /deep/link; ls /etc/group /opt /bin/seq /bin/tail",
    )
    owner = "33:34:600" if user.subids else "0:0:600"
    assert again.stdout.decode().split() == [owner, "one", "/opt:", "file"]
    assert user.left() == []


def test_an_emptied_folder_stays_empty(user: UserInn) -> None:
    script = "rm -r /opt; mkdir /opt; touch /opt/only"
    assert user.run("--keep", "--name", "o", IMAGE, "sh", "-c", script).returncode == 0
    assert b"D /opt/file" in user("diff", "o").stdout
    assert user("commit", "o", "made:2").returncode == 0
    assert user("rm", "o").returncode == 0
    assert user.run("made:2", "ls", "/opt").stdout == b"only\n"
    assert user.left() == []


def test_copies_in_and_out(user: UserInn, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    out = user.folder / "out"
    out.mkdir()
    os.chown(out, UID, UID)
    (user.folder / "in.txt").write_text("in\n")
    started = user.run("-d", "--name", "c", "--tmpfs", "/tmp", IMAGE, "sh", "-c", KEEP)
    assert started.returncode == 0, started.stderr
    for number in range(2):  # running, then ended
        assert user("cp", str(user.folder / "in.txt"), f"c:/srv-{number}").returncode == 0
        done = user("cp", f"c:/srv-{number}", str(out))
        assert done.returncode == 0, done.stderr
        assert (out / f"srv-{number}").read_text() == "in\n"
        assert (out / f"srv-{number}").stat().st_uid == UID
        assert user("cp", "c:/etc", str(out / f"etc-{number}")).returncode == 0
        assert "web:x:33" in (out / f"etc-{number}/passwd").read_text()
        # Copies see no mounts: this is the folder that proc is mounted on.
        assert user("cp", str(user.folder / "in.txt"), "c:/proc/nothing").returncode == 0
        if number == 0:
            assert user("exec", "c", "cat", "/srv-0").stdout == b"in\n"
            assert user("exec", "c", "ls", "/proc/nothing").returncode == 1
            assert user("stop", "c").returncode == 0
    assert user("rm", "c").returncode == 0
    assert user.left() == []


def test_a_link_of_the_containers_leads_nowhere_else(user: UserInn) -> None:
    secret = user.folder / "secret"
    secret.write_text("secret")
    os.chown(secret, UID, UID)
    script = f"busybox ln -s {secret} /peek; busybox ln -s / /up; {KEEP}"
    assert user.run("-d", "--name", "l", IMAGE, "sh", "-c", script).returncode == 0
    while b"up" not in user("logs", "l").stdout:
        pass
    target = user.folder / "peeked"
    assert user("cp", "l:/peek", str(target)).returncode == 0
    assert target.is_symlink()  # copied as what it is
    assert user("cp", f"l:/up{secret}", str(user.folder / "stolen")).returncode != 0
    assert not (user.folder / "stolen").exists()
    assert user("rm", "-f", "l").returncode == 0
    assert user.left() == []


def test_it_starts_again_with_its_files(user: UserInn) -> None:
    script = f"ls /mark 2>/dev/null; touch /mark; {KEEP}"
    assert user.run("-d", "--name", "s", IMAGE, "sh", "-c", script).returncode == 0
    assert user("stop", "s").returncode == 0
    assert user("start", "s").returncode == 0
    assert user("exec", "-u", "web" if user.subids else "root", "s", "id", "-u").stdout == (
        b"33\n" if user.subids else b"0\n"
    )
    assert user("stop", "s").returncode == 0
    assert b"/mark" in user("logs", "s").stdout
    assert user("rm", "s").returncode == 0
    assert user.left() == []


def test_files_of_other_users_are_removed(user: UserInn) -> None:
    if not user.subids:
        pytest.skip("there are no other users")
    script = "mkdir -p /v/w; touch /v/w/f; busybox chown -R 7:7 /v; busybox chmod 000 /v/w /v"
    assert user.run("--keep", "--name", "f", IMAGE, "sh", "-c", script).returncode == 0
    folder = next((user.folder / "state/innkeeper/containers").iterdir())
    assert (folder / "upper/v").stat().st_uid == SUB_START + 6
    assert user("rm", "f").returncode == 0
    assert user.left() == []


def test_unpacked_layers_of_other_users_are_pruned(user: UserInn) -> None:
    script = "mkdir /v; touch /v/f; busybox chmod 000 /v"
    script += "; busybox chown -R 7:7 /v" * user.subids
    assert user.run("--keep", "--name", "p", IMAGE, "sh", "-c", script).returncode == 0
    assert user("commit", "p", "gone:1").returncode == 0
    assert user("rm", "p").returncode == 0
    assert user.run("gone:1", "true").returncode == 0
    before = len(list(layers(user).iterdir()))
    assert user("image", "rm", "gone:1").returncode == 0
    pruned = user("image", "prune")
    assert pruned.returncode == 0, pruned.stderr
    assert len(list(layers(user).iterdir())) < before
    assert user.run(IMAGE, "true").returncode == 0


def test_a_copy_where_the_kernel_mounts_no_overlay(user: UserInn) -> None:
    # ramfs keeps no attributes, so an overlay cannot hide what is below a folder made anew.
    state = user.folder / "ramfs"
    state.mkdir(exist_ok=True)
    mount = f'mount -t ramfs none {state}; chown {UID}:{UID} {state}; exec "$@"'
    user.prefix = ["unshare", "--mount", "sh", "-c", mount, "sh"]
    env, user.env = user.env, {**user.env, "XDG_STATE_HOME": str(state)}
    try:
        script = "busybox grep -c ' / overlay' /proc/mounts; rm -r /opt; mkdir /opt; ls /opt; id -u"
        done = user.run(IMAGE, "sh", "-c", script)
    finally:
        user.prefix, user.env = [], env
    assert done.stdout == b"0\n0\n", done.stderr
