"""The content store: by digest, by name, resumed, contended, pruned."""

from __future__ import annotations

import errno
import io
import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from innkeeper.base.errors import (
    ImageError,
    IntegrityError,
    NotFoundError,
    StorageError,
    UsageError,
)
from innkeeper.images.oci.content import ContentStore
from innkeeper.images.oci.digest import Digest
from innkeeper.images.oci.documents import INDEX, LAYER, Descriptor, Index, Platform, encode
from innkeeper.images.oci.image import find_image, images_of
from innkeeper.images.oci.layer_store import LayerStore, chain_ids
from innkeeper.images.oci.platforms import parse_platform
from innkeeper.images.oci.reach import prune
from innkeeper.images.oci.rootfs import prepare_rootfs, release_rootfs
from innkeeper.images.transport import Answer

from .kit import make_image, tar_of

DATA = bytes(range(256)) * 4000
ROOTLESS = os.geteuid() != 0


def descriptor(data: bytes = DATA, algorithm: str = "sha256") -> Descriptor:
    return Descriptor(LAYER, str(Digest.of(data, algorithm)), len(data))


class Source:
    """A server: what was asked for, and what to do wrong."""

    def __init__(self, data: bytes = DATA, *, cut: int | None = None) -> None:
        self.data, self.cut, self.asked = data, cut, list[int]()

    @contextmanager
    def __call__(self, start: int) -> Iterator[Answer]:
        self.asked.append(start)
        body = self.data[start : self.cut]
        self.cut = None
        yield Answer(start, io.BytesIO(body), "source")


def fetch(store: ContentStore, wanted: Descriptor, source: Source) -> bool:
    return store.fetch(wanted, source, what="the blob", show=lambda amount: None)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_contents_come_back_and_are_asked_for_once(store: ContentStore, algorithm: str) -> None:
    wanted, source = descriptor(algorithm=algorithm), Source()
    assert fetch(store, wanted, source) and not fetch(store, wanted, source)
    assert source.asked == [0]
    with store.open(wanted) as file:
        assert file.read() == DATA
    assert store.path(wanted.digest).stat().st_mode & 0o222 == 0


def test_a_killed_pull_goes_on_where_it_stopped(store: ContentStore) -> None:
    wanted, source = descriptor(), Source(cut=300_000)
    with pytest.raises(Exception, match="300000 of"):
        fetch(store, wanted, source)
    assert not store.has(wanted)
    fetch(store, wanted, source)
    assert source.asked == [0, 300_000] and store.has(wanted)
    assert not list((store.root / "partial").iterdir())


def test_a_damaged_part_is_fetched_anew(store: ContentStore) -> None:
    wanted, source = descriptor(), Source()
    part = store.root / "partial" / wanted.digest.replace(":", "-")
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 1000)
    fetch(store, wanted, source)
    assert source.asked == [1000, 0] and store.has(wanted)


@pytest.mark.parametrize("sent", [DATA[:-1] + b"x", DATA + b"more"])
def test_other_bytes_are_refused(store: ContentStore, sent: bytes) -> None:
    with pytest.raises(IntegrityError, match="not the file that its digest names"):
        fetch(store, descriptor(), Source(sent))
    assert not store.has(descriptor()) and not list((store.root / "partial").iterdir())


def test_a_full_disk_loses_nothing(store: ContentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    other = make_image(store, tar_of([("file", "f", b"1")]))

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(StorageError, match="No space left") as caught:
            fetch(store, descriptor(), Source())
    assert "free some space" in caught.value.fix
    assert find_image(store, "one").missing() == [] and other.name == "one:latest"
    source = Source()
    fetch(store, descriptor(), source)
    assert source.asked == [], "all had arrived, and was kept"
    assert store.has(descriptor())


def _pull(root: Path, results: multiprocessing.Queue[bool]) -> None:
    results.put(fetch(ContentStore(root), descriptor(), Source()))


def test_two_processes_fetch_once(store: ContentStore) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [context.Process(target=_pull, args=(store.root, results)) for _ in range(3)]
    for worker in workers:
        worker.start()
    asked = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert sorted(asked) == [False, False, True] and store.has(descriptor())


def test_a_damaged_document_is_said(store: ContentStore) -> None:
    image = make_image(store)
    path = store.path(image.descriptor.digest)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"2", b"3", 1))
    with pytest.raises(IntegrityError, match="is damaged"):
        find_image(store, "one")
    path.write_bytes(b"")
    with pytest.raises(ImageError, match="wrong size"):
        find_image(store, "one")
    path.unlink()
    with pytest.raises(NotFoundError, match="not on this host"):
        find_image(store, "one")


def test_names(store: ContentStore) -> None:
    one = make_image(store, tar_of([("file", "f", b"1")]), name="one:latest")
    two = make_image(store, tar_of([("file", "f", b"2")]), name="h.example:5000/a/two:x")
    assert [n.name for n in store.names()] == ["h.example:5000/a/two:x", "one:latest"]
    assert find_image(store, "one") == one
    assert find_image(store, f"one@{one.descriptor.digest}").descriptor == one.descriptor
    assert find_image(store, two.id).name == two.name
    assert find_image(store, two.id.removeprefix("sha256:")[:12]).name == two.name
    with pytest.raises(NotFoundError, match="one:other"):
        find_image(store, "one:other")
    with pytest.raises(NotFoundError):
        find_image(store, f"one@{two.descriptor.digest}")
    with pytest.raises(UsageError):
        find_image(store, "One")
    store.untag("one:latest")
    with pytest.raises(NotFoundError):
        store.untag("one:latest")


def test_a_short_name_finds_the_configured_registry(
    store: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_image(store, name="reg.example/a/one:latest")
    with pytest.raises(NotFoundError):
        find_image(store, "a/one")
    monkeypatch.setenv("INN_REGISTRY", "reg.example")
    assert find_image(store, "a/one").name == "reg.example/a/one:latest"


def index_of(store: ContentStore, *entries: Descriptor) -> None:
    index = Index(schema_version=2, media_type=INDEX, manifests=list(entries))
    store.tag("multi:latest", store.put(encode(index), media_type=INDEX))


def test_an_index_of_which_some_is_here(store: ContentStore) -> None:
    image = make_image(store, tar_of([("file", "f", b"1")]), arch="riscv64", tag=False)
    here = Descriptor(
        image.descriptor.media_type, image.descriptor.digest, image.descriptor.size,
        platform=Platform("riscv64", "linux"),
    )  # fmt: skip
    absent = Descriptor(
        here.media_type, "sha256:" + "0" * 64, 7, platform=Platform("arm64", "linux")
    )
    index_of(store, absent, here)
    assert find_image(store, "multi").platform.architecture == "riscv64"
    with pytest.raises(NotFoundError, match="not on this host for linux/arm64") as caught:
        find_image(store, "multi", parse_platform("arm64"))
    assert "linux/riscv64" in caught.value.why and "--platform linux/arm64" in caught.value.fix
    assert [(name, len(images)) for name, images in images_of(store)] == [("multi:latest", 1)]
    prune(store)
    assert find_image(store, "multi").missing() == []


def test_prune_keeps_what_is_named_or_held(store: ContentStore, tmp_path: Path) -> None:
    held = make_image(store, tar_of([("file", "f", b"held")]), name="held:latest")
    gone = make_image(store, tar_of([("file", "f", b"gone")]), name="gone:latest")
    kept = make_image(store, tar_of([("file", "f", b"kept")]), name="kept:latest")
    layers = LayerStore(store, rootless=ROOTLESS)
    for image in (gone, kept):
        layers.unpack(image)
    prepare_rootfs(held, tmp_path / "box", rootless=ROOTLESS, overlay=False)
    for name in ("held:latest", "gone:latest"):
        store.untag(name)
    (store.root / "partial").mkdir()
    (store.root / "partial/sha256-x").write_bytes(b"x")
    assert prune(store).files > 3
    assert gone.missing() and not layers.has(chain_ids(gone)[0])
    assert not store.has(gone.descriptor) and not list((store.root / "partial").iterdir())
    for image in (held, kept):
        assert not image.missing() and layers.has(chain_ids(image)[0])
    release_rootfs(tmp_path / "box", store)
    prune(store)
    assert held.missing() and not layers.has(chain_ids(held)[0])
    assert not kept.missing()


def test_prune_removes_nothing_on_the_word_of_a_damaged_document(store: ContentStore) -> None:
    image = make_image(store, tar_of([("file", "f", b"1")]))
    path = store.path(image.descriptor.digest)
    path.chmod(0o644)
    path.write_bytes(b"x" * image.descriptor.size)
    with pytest.raises(ImageError):
        prune(store)
    assert image.missing() == []
