"""The store: content by hash, manifests by rename, and what killed builds leave."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
from pathlib import Path

import pytest

from innkeeper.base.errors import ImageError, NotFoundError, StorageError, UsageError
from innkeeper.images.prune import prune
from innkeeper.images.store import Manifest, Store, sparse_digest


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def manifest(store: Store, name: str = "one", text: bytes = b"kernel") -> Manifest:
    made = Manifest(
        name=name, suite="trixie", arch="riscv64", created="2026-01-01T00:00:00+00:00",
        kernel=store.put(text), kernel_release="6.1", initrd=store.put(b"initrd of " + text),
    )  # fmt: skip
    store.save(made)
    return made


def test_images_come_back(store: Store) -> None:
    made = manifest(store)
    assert store.get("one", suite="trixie", arch="riscv64") == made
    assert store.images() == [made]
    assert store.blob_path(made.kernel).read_bytes() == b"kernel"
    assert store.blob_path(made.kernel).stat().st_mode & 0o222 == 0
    store.remove("one", suite="trixie", arch="riscv64")
    assert store.images() == []
    with pytest.raises(NotFoundError):
        store.remove("one", suite="trixie", arch="riscv64")
    with pytest.raises(NotFoundError, match="does not exist") as caught:
        store.get("one", suite="trixie", arch="riscv64")
    assert caught.value.fix.startswith("inn image build")


def test_an_image_without_its_content_does_not_count(store: Store) -> None:
    made = manifest(store)
    store.blob_path(made.initrd).unlink()
    assert store.find("one", suite="trixie", arch="riscv64") is None


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff\xfe", b'{"name": 7}', b"[1,2]"])
def test_a_damaged_manifest_is_said(store: Store, damage: bytes) -> None:
    manifest(store)
    (store.root / "images/one_trixie_riscv64.json").write_bytes(damage)
    with pytest.raises(ImageError, match="is damaged") as caught:
        store.find("one", suite="trixie", arch="riscv64")
    assert "rm " in caught.value.fix


def test_a_manifest_cannot_point_elsewhere(store: Store) -> None:
    made = manifest(store)
    path = store.root / "images/one_trixie_riscv64.json"
    path.write_text(path.read_text().replace(made.kernel.sha256, "../../../../etc/passwd"))
    with pytest.raises(ImageError, match="badly"):
        store.find("one", suite="trixie", arch="riscv64")


@pytest.mark.parametrize("name", ["", "..", "a/b", "A", "-x", "x" * 70, "a\n"])
def test_names_that_cannot_be(store: Store, name: str) -> None:
    with pytest.raises(UsageError):
        store.find(name, suite="trixie", arch="riscv64")


def test_a_full_disk_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        store.put(b"content")
    assert list((store.root / "tmp").iterdir()) == []
    assert not [p for p in (store.root / "blobs").rglob("*") if p.is_file()]


def test_sparse_files_hash_as_full_ones(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(5_000_000)
        file.seek(2_000_000)
        file.write(b"middle")
    for end in (5_000_000, 2_000_006, 4096, 0):
        os.truncate(path, end)
        with path.open("rb") as file:
            assert sparse_digest(file) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_prune_keeps_what_images_need(store: Store, tmp_path: Path) -> None:
    kept, gone = manifest(store), manifest(store, "two", b"other")
    store.remove("two", suite="trixie", arch="riscv64")
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    (downloads / "file").write_bytes(b"x")
    (downloads / "file.lock").write_bytes(b"")
    pruned = prune(store, cache=downloads)
    assert pruned.files == 3
    assert pruned.bytes > 0
    assert store.find("one", suite="trixie", arch="riscv64") == kept
    assert not store.has(gone.kernel)
    assert [p.name for p in downloads.iterdir()] == ["file.lock"]
    assert prune(store, cache=downloads).files == 0


def _die_while_building(root: Path) -> None:
    store = Store(root)
    with store.lock("image"), store.staging() as folder:
        (folder / "half-written").write_bytes(b"x" * 5000)
        os._exit(9)


def test_a_killed_build_frees_its_lock_and_is_swept_away(store: Store) -> None:
    process = multiprocessing.get_context("fork").Process(
        target=_die_while_building, args=(store.root,)
    )
    process.start()
    process.join()
    assert process.exitcode == 9
    with store.lock("image"), store.staging() as alive:
        (alive / "mine").write_bytes(b"y")
        assert len(list((store.root / "tmp").iterdir())) == 2
        assert prune(store, downloads=False).files == 1
        assert list((store.root / "tmp").iterdir()) == [alive]
    assert store.images() == []
