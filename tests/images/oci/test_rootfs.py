"""Containers' root file systems: overlay and copy, what they changed, commit and export."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from innkeeper.base.errors import NotFoundError
from innkeeper.images.oci.commit import commit, diff, export
from innkeeper.images.oci.content import ContentStore
from innkeeper.images.oci.image import find_image
from innkeeper.images.oci.rootfs import open_rootfs, prepare_rootfs, release_rootfs, remount_rootfs

from .kit import listing, make_image, tar_of

ROOTLESS = os.geteuid() != 0
BASE = tar_of([
    ("dir", "etc", 0o755), ("file", "etc/keep", b"k"), ("file", "etc/change", b"old"),
    ("file", "etc/gone", b"g"), ("dir", "d", 0o755), ("file", "d/inner", b"i"),
    ("dir", "again", 0o755), ("file", "again/old", b"o"), ("link", "l", "etc/keep"),
    ("file", "many", b"m"), ("hard", "names", "many"), ("dir", "proc", 0o755),
])  # fmt: skip
WANTED = {
    ("C", "/etc/change"), ("D", "/etc/gone"), ("D", "/d"), ("A", "/new"), ("A", "/new/f"),
    ("D", "/again/old"), ("A", "/again/young"),
}  # fmt: skip


@pytest.fixture(params=["overlay", "copy"])
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "overlay":
        request.getfixturevalue("overlay")
    return str(request.param)


def change(root: Path) -> None:
    import shutil

    (root / "etc/change").write_text("new text")
    (root / "etc/gone").unlink()
    shutil.rmtree(root / "d")
    (root / "new").mkdir()
    (root / "new/f").write_text("f")
    (root / "new/hard").hardlink_to(root / "new/f")
    shutil.rmtree(root / "again")
    (root / "again").mkdir()
    (root / "again/young").write_text("y")
    (root / "proc/1").mkdir()  # what a runtime mounts over is not the image's
    (root / "etc/hosts").touch()


def test_diff_commit_and_export(kind: str, store: ContentStore, tmp_path: Path) -> None:
    image = make_image(store, BASE, name="base:latest", config={"Cmd": ["sh"], "Unknown": 1})
    box = tmp_path / "box"
    made = prepare_rootfs(image, box, rootless=ROOTLESS, overlay=kind == "overlay")
    assert made.kind == kind and (made.path / "names").read_text() == "m"
    assert diff(box, store) == []
    change(made.path)
    found = {(c.kind, c.path) for c in diff(box, store)}
    assert found >= WANTED and not {p for _, p in found if "keep" in p or "hosts" in p or "/1" in p}
    after = listing(made.path)
    new = commit(box, "new:1", store=store, changes={"Cmd": ["ls"]}, author="me", comment="why")
    release_rootfs(box, store)
    assert not box.joinpath("rootfs").exists()
    assert new.config.execution.cmd == ["ls"] and len(new.manifest.layers) == 2
    text = store.read(new.manifest.config)
    assert b'"Unknown":1' in text and b'"comment":"why"' in text
    del after["proc/1"], after["etc/hosts"]
    again = prepare_rootfs(find_image(store, "new:1"), box, rootless=ROOTLESS, overlay=False)
    assert listing(again.path) == after
    assert (again.path / "new/hard").stat().st_nlink == 2
    out = io.BytesIO()
    export(box, store, out)
    out.seek(0)
    with tarfile.open(fileobj=out) as tar:
        assert {n.rstrip("/") for n in tar.getnames()} == set(after)
    release_rootfs(box, store)


def test_writes_stay_in_the_container(kind: str, store: ContentStore, tmp_path: Path) -> None:
    image = make_image(store, BASE)
    boxes = [tmp_path / name for name in ("a", "b")]
    one, two = (
        prepare_rootfs(image, b, rootless=ROOTLESS, overlay=kind == "overlay") for b in boxes
    )
    (one.path / "etc/change").write_text("mine")
    assert (two.path / "etc/change").read_text() == "old"
    for box in boxes:
        release_rootfs(box, store)
    assert all((layer / "etc/change").read_text() == "old" for layer in one.lower)


def test_an_overlay_is_mounted_again(store: ContentStore, tmp_path: Path, overlay: None) -> None:
    from innkeeper.images.oci.mounting import unmount

    box = tmp_path / "b:o,x"  # characters that mount options are separated by
    made = prepare_rootfs(make_image(store, BASE), box, rootless=False, overlay=True)
    (made.path / "mine").write_text("1")
    unmount(made.path)
    assert not open_rootfs(box, store)[1].mounted and not (made.path / "mine").exists()
    assert remount_rootfs(box, store).mounted and (made.path / "mine").read_text() == "1"
    release_rootfs(box, store)
    with pytest.raises(NotFoundError):
        open_rootfs(box, store)


def test_an_image_of_very_many_layers(store: ContentStore, tmp_path: Path, overlay: None) -> None:
    archives = [tar_of([("file", f"f{n}", b"%d" % n)]) for n in range(100)]
    image = make_image(store, *archives)
    made = prepare_rootfs(image, tmp_path / "box", rootless=False, overlay=True)
    assert len(listing(made.path)) == 100
    release_rootfs(tmp_path / "box", store)


def test_an_image_without_layers(kind: str, store: ContentStore, tmp_path: Path) -> None:
    made = prepare_rootfs(
        make_image(store), tmp_path / "box", rootless=ROOTLESS, overlay=kind == "overlay"
    )
    assert list(made.path.iterdir()) == []
    (made.path / "x").write_text("1")
    assert [c.path for c in diff(tmp_path / "box", store)] == ["/x"]
    release_rootfs(tmp_path / "box", store)


def test_the_caller_may_mount(store: ContentStore, tmp_path: Path) -> None:
    made = prepare_rootfs(make_image(store, BASE), tmp_path / "box", rootless=True, mount=False)
    assert made.kind == "overlay" and not made.mounted
    assert made.options.startswith("lowerdir=") and made.options.endswith(",userxattr")


def test_no_overlay_falls_back_to_a_copy(
    store: ContentStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from innkeeper.base.errors import StorageError

    def refuse(*_: object, **__: object) -> None:
        raise StorageError("no")

    monkeypatch.setattr("innkeeper.images.oci.rootfs.mount_overlay", refuse)
    made = prepare_rootfs(make_image(store, BASE), tmp_path / "box", rootless=ROOTLESS)
    assert made.kind == "copy" and (made.path / "etc/keep").read_text() == "k"
    with pytest.raises(StorageError):
        prepare_rootfs(make_image(store, BASE), tmp_path / "c", rootless=ROOTLESS, overlay=True)
