"""Layers unpacked: whiteouts, links, devices, and archives that want out of their root."""

from __future__ import annotations

import gzip
import os
import stat
import tarfile
from pathlib import Path

import pytest

from innkeeper.base.errors import ImageError, InnError, IntegrityError, StorageError
from innkeeper.images.oci.content import ContentStore
from innkeeper.images.oci.documents import LAYER_GZIP, LAYER_ZSTD
from innkeeper.images.oci.layer_store import LayerStore, chain_ids
from innkeeper.images.oci.layers import open_layer
from innkeeper.images.oci.rootfs import prepare_rootfs, release_rootfs

from .kit import add_layer, listing, make_image, tar_of

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to set owners and make devices")


def flat(store: ContentStore, tmp_path: Path, *archives: bytes) -> dict[str, str]:
    """Return what a container of these layers sees, by a copy."""
    image = make_image(store, *archives)
    box = tmp_path / "box"
    made = prepare_rootfs(image, box, rootless=os.geteuid() != 0, overlay=False)
    found = listing(made.path)
    release_rootfs(box, store)
    return found


BASE = tar_of([
    ("dir", "a", 0o755), ("dir", "a/b", 0o755), ("dir", "a/b/c", 0o755), ("file", "a/b/c/bar", b"1"),
    ("file", "a/top", b"t"), ("link", "lib", "usr/lib"), ("dir", "usr", 0o755),
    ("dir", "usr/lib", 0o755), ("file", "usr/lib/so", b"so"), ("link", "abs", "/a/b"),
])  # fmt: skip
CASES = {
    "spec example": (
        [("dir", "a", 0o755), ("opaque", "a", None), ("dir", "a/b", 0o755), ("dir", "a/b/c", 0o755),
         ("file", "a/b/c/foo", b"2")],
        {"a/b/c/foo": "2"}, {"a/b/c/bar", "a/top"},
    ),
    "opaque comes last": (
        [("dir", "a", 0o755), ("dir", "a/b", 0o755), ("dir", "a/b/c", 0o755),
         ("file", "a/b/c/foo", b"2"), ("opaque", "a", None)],
        {"a/b/c/foo": "2"}, {"a/b/c/bar", "a/top"},
    ),
    "one file gone": ([("gone", "a/b/c/bar", None)], {"a/b/c": "/", "a/top": "t"}, {"a/b/c/bar"}),
    "a folder gone": ([("gone", "a/b", None)], {"a/top": "t"}, {"a/b", "a/b/c/bar"}),
    "gone and made again": (
        [("gone", "a/b", None), ("dir", "a/b", 0o700), ("file", "a/b/new", b"n")],
        {"a/b/new": "n"}, {"a/b/c", "a/b/c/bar"},
    ),
    "made again and gone": (
        [("dir", "a/b", 0o700), ("file", "a/b/new", b"n"), ("gone", "a/b", None)],
        {"a/b/new": "n"}, {"a/b/c", "a/b/c/bar"},
    ),
    "a whiteout spares its own layer": (
        [("file", "a/top", b"new"), ("gone", "a/top", None)], {"a/top": "new"}, set(),
    ),
    "a file over a folder": ([("file", "a/b", b"f")], {"a/b": "f"}, {"a/b/c"}),
    "a folder over a link": (
        [("dir", "lib", 0o755), ("file", "lib/x", b"x")],
        {"lib": "/", "lib/x": "x", "usr/lib/so": "so"}, {"usr/lib/x", "lib/so"},
    ),
    "through a link": ([("file", "lib/x", b"x")], {"usr/lib/x": "x", "lib": "-> usr/lib"}, set()),
    "through an absolute link": (
        [("file", "abs/x", b"x")], {"a/b/x": "x", "a/b/c/bar": "1", "abs": "-> /a/b"}, set(),
    ),
    "a whiteout through a link": ([("gone", "lib/so", None)], {"usr/lib": "/"}, {"usr/lib/so"}),
    "a hard link to a lower file": ([("hard", "a/hard", "a/top")], {"a/hard": "t", "a/top": "t"}, set()),
    "the root opaque": ([("opaque", "", None), ("file", "only", b"o")], {"only": "o"}, {"a", "usr"}),
    "gone that never was": ([("gone", "none/such", None)], {"a/top": "t"}, {"none"}),
    "a file twice": ([("file", "a/top", b"1"), ("file", "a/top", b"2")], {"a/top": "2"}, set()),
    "a folder, then a file": (
        [("dir", "n", 0o755), ("file", "n/x", b"1"), ("file", "n", b"2")], {"n": "2"}, {"n/x"},
    ),
    "aufs's bookkeeping": ([("file", ".wh..wh.plnk", b"")], {"a/top": "t"}, {".wh..wh.plnk"}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_changes_over_lower_layers(case: str, store: ContentStore, tmp_path: Path) -> None:
    items, there, gone = CASES[case]
    found = flat(store, tmp_path, BASE, tar_of(items))
    assert {path: found.get(path) for path in there} == there
    assert not gone & set(found)


@pytest.mark.parametrize("case", CASES)
def test_the_kernel_sees_the_same(
    case: str, store: ContentStore, tmp_path: Path, overlay: None
) -> None:
    archives = [BASE, tar_of(CASES[case][0]), tar_of([("file", "third", b"3")])]
    image = make_image(store, *archives)
    mounted = prepare_rootfs(image, tmp_path / "over", rootless=False, overlay=True)
    copied = prepare_rootfs(image, tmp_path / "copy", rootless=False, overlay=False)
    try:
        assert mounted.mounted and listing(mounted.path) == listing(copied.path)
    finally:
        release_rootfs(tmp_path / "over", store)
    assert not os.path.ismount(mounted.path) and not mounted.path.exists()


OUT = {
    "dots": [("file", "../../evil", b"x")],
    "dots within": [("file", "a/../../evil", b"x")],
    "a link to the root, then through it": [("link", "l", "/"), ("file", "l/evil", b"x")],
    "a link up, then through it": [("link", "l", "../../../../.."), ("file", "l/evil", b"x")],
    "two links": [("link", "l", ".."), ("link", "m", "l/.."), ("file", "m/evil", b"x")],
    "a link over a folder, then through it": [
        ("dir", "d", 0o755), ("file", "d/x", b"1"), ("link", "d", "/tmp"), ("file", "d/evil", b"x")],
    "over a link": [("link", "evil", "/tmp/evil"), ("file", "evil", b"x")],
    "a hard link outside": [("hard", "h", "/etc/hostname"), ("file", "h", b"x")],
    "a hard link with dots": [("hard", "h", "../../../etc/hostname")],
    "a hard link through a link": [("link", "l", "/etc"), ("hard", "h", "l/hostname")],
    "a whiteout outside": [("link", "l", "/"), ("gone", "l/etc", None)],
    "an opaque outside": [("link", "l", "/"), ("opaque", "l/tmp", None)],
    "a loop": [("link", "l", "m"), ("link", "m", "l"), ("file", "l/x", b"x")],
    "below a file": [("file", "f", b"1"), ("file", "f/x", b"x")],
    "a whiteout of dots": [("file", ".wh...", b"")],
    "device 0:0": [("char", "w", (0, 0))],
    "too deep": [("file", "d/" * 300 + "x", b"x")],
    "a name too long": [("file", "n" * 300, b"x")],
}  # fmt: skip
FINE = {  # these stay inside, as in a chroot
    "a link to the root, then through it", "a link up, then through it", "two links",
    "over a link", "a whiteout outside", "an opaque outside", "a link over a folder, then through it",
}  # fmt: skip


@pytest.mark.parametrize("case", OUT)
def test_nothing_climbs_out(case: str, store: ContentStore, tmp_path: Path) -> None:
    marker = Path("/tmp/evil")
    assert not marker.exists()
    before = {p for p in tmp_path.rglob("*") if "oci" not in p.parts}
    image = make_image(store, BASE, tar_of(OUT[case]))
    layers = LayerStore(store, rootless=os.geteuid() != 0)
    if case in FINE:
        layers.unpack(image)
    else:
        with pytest.raises(ImageError):
            layers.unpack(image)
        assert not layers.has(chain_ids(image)[1])
    assert not marker.exists() and not Path("/evil").exists()
    assert {p for p in tmp_path.rglob("*") if "oci" not in p.parts} == before
    assert not list((store.root / "tmp").iterdir())


def test_a_link_is_followed_only_inside(store: ContentStore, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    found = flat(store, tmp_path, tar_of([
        ("link", "l", str(tmp_path / "outside")), ("file", "l/evil", b"x"),
    ]))  # fmt: skip
    assert not list((tmp_path / "outside").iterdir())
    assert found[str(tmp_path / "outside/evil").lstrip("/")] == "x"


@AS_ROOT
def test_owners_modes_devices_and_attributes(store: ContentStore) -> None:
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    archive = tar_of([("file", "bin/ping", b"ELF")], uid=7, gid=8, mode=0o4755, pax_headers={
        "SCHILY.xattr.security.capability": capability.decode("latin-1"),
        "SCHILY.xattr.trusted.overlay.redirect": "/etc", "SCHILY.xattr.user.overlay.opaque": "y",
        "SCHILY.xattr.user.kept": "yes",
    })  # fmt: skip
    devices = tar_of([("char", "dev/null", (1, 3)), ("fifo", "pipe", None)], mode=0o666)
    image = make_image(store, archive, devices)
    top, base = reversed(LayerStore(store, rootless=False).unpack(image))
    status = (base / "bin/ping").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (7, 8, 0o4755)
    assert int(status.st_mtime) == 1_700_000_000
    kept = set(os.listxattr(base / "bin/ping"))
    assert "security.capability" in kept
    assert not {n for n in kept if "overlay" in n}
    assert (top / "dev/null").stat().st_rdev == os.makedev(1, 3)
    assert stat.S_ISFIFO((top / "pipe").stat().st_mode)
    assert (top / "dev/null").stat().st_mode & 0o777 == 0o666


def test_an_implied_folder_keeps_its_attributes(store: ContentStore) -> None:
    image = make_image(
        store, tar_of([("dir", ".", 0o711), ("dir", "a", 0o1777)]), tar_of([("file", "a/x", b"1")])
    )
    top = LayerStore(store, rootless=os.geteuid() != 0).unpack(image)[1]
    assert (top / "a").stat().st_mode & 0o7777 == 0o1777
    assert top.stat().st_mode & 0o777 == 0o711


def test_a_layer_must_be_what_the_image_says(store: ContentStore) -> None:
    image = make_image(store, BASE, diff_ids=["sha256:" + "0" * 64])
    with pytest.raises(IntegrityError, match="not the one that its image names"):
        LayerStore(store, rootless=os.geteuid() != 0).unpack(image)
    with pytest.raises(ImageError, match="inconsistent"):
        make_image(store, BASE, diff_ids=["sha256:" + "0" * 64] * 2).layers()


def test_a_bomb_is_stopped(store: ContentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("innkeeper.images.oci.layers.FREE_BYTES", 1 << 20)
    layer = store.put(gzip.compress(bytes(8 << 20), 9), media_type=LAYER_GZIP)
    with open_layer(store, layer) as stream, pytest.raises(ImageError, match="unpacks to more"):
        while stream.read(1 << 20):
            pass


def test_a_full_disk_is_said_and_leaves_nothing(
    store: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    image = make_image(store, BASE)
    monkeypatch.setattr("os.fchmod", full)
    with pytest.raises(StorageError, match="No space left"):
        LayerStore(store, rootless=os.geteuid() != 0).unpack(image)
    assert not list((store.root / "tmp").iterdir())


def test_zstd_layers(store: ContentStore, tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard", reason="needs the extra innkeeper[zstd]")
    data = tar_of([("file", "z", b"zstd")])
    layer = store.put(zstandard.ZstdCompressor().compress(data), media_type=LAYER_ZSTD)
    with open_layer(store, layer) as stream:
        assert stream.read(1 << 20) == data


def test_foreign_layers_are_refused(store: ContentStore) -> None:
    foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    layer = store.put(b"x", media_type=foreign)
    with pytest.raises(ImageError, match="may not be distributed"), open_layer(store, layer):
        pass


def test_old_formats_and_long_names(store: ContentStore, tmp_path: Path) -> None:
    import io

    for number, form in enumerate((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=form) as tar:
            info = tarfile.TarInfo("d/" * 60 + "n" * 200)
            info.size = 1
            tar.addfile(info, io.BytesIO(b"x"))
            link = tarfile.TarInfo("l")
            link.type, link.linkname = tarfile.SYMTYPE, "t/" * 150
            tar.addfile(link)
        found = flat(store, tmp_path / str(number), out.getvalue())
        assert found["d/" * 60 + "n" * 200] == "x" and found["l"] == "-> " + "t/" * 150


def test_layers_are_unpacked_once_and_shared(store: ContentStore) -> None:
    layers = LayerStore(store, rootless=os.geteuid() != 0)
    one = layers.unpack(make_image(store, BASE, tar_of([("file", "x", b"1")]), name="one:latest"))
    two = layers.unpack(make_image(store, BASE, tar_of([("file", "x", b"2")]), name="two:latest"))
    assert one[0] == two[0] and one[1] != two[1]
    stamp = one[0].parent.stat().st_ctime_ns
    layers.unpack(make_image(store, BASE))
    assert one[0].parent.stat().st_ctime_ns == stamp


def test_a_rootless_layer_notes_its_owners(store: ContentStore, tmp_path: Path) -> None:
    image = make_image(store, tar_of([("file", "f", b"1")], uid=33, gid=34))
    box = tmp_path / "box"
    made = prepare_rootfs(image, box, rootless=True, overlay=False)
    status = (made.path / "f").stat()
    assert (status.st_uid, status.st_gid) == (os.geteuid(), os.getegid())
    try:
        assert os.getxattr(made.path / "f", "user.innkeeper.owner") == b"33:34"
    except OSError:
        pytest.skip("this disk keeps no user attributes")


def test_a_layer_without_compression(store: ContentStore) -> None:
    layer, diff_id = add_layer(store, BASE, packed=False)
    assert layer.digest == diff_id
    with open_layer(store, layer) as stream:
        assert stream.read(len(BASE) + 1) == BASE


def test_errors_are_ours(store: ContentStore) -> None:
    image = make_image(store, b"not a tar archive at all" * 100)
    with pytest.raises(InnError):
        LayerStore(store, rootless=os.geteuid() != 0).unpack(image)
