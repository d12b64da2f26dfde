"""OCI images from packages of a mirror that the test publishes itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from innkeeper.base.errors import IntegrityError, UsageError
from innkeeper.images.fetch import Fetcher
from innkeeper.images.oci import debianimage
from innkeeper.images.oci.content import ContentStore
from innkeeper.images.oci.image import Image, find_image
from innkeeper.images.oci.platforms import parse_platform
from innkeeper.images.oci.rootfs import prepare_rootfs, release_rootfs

from ..mirror_kit import Mirror
from .kit import listing, make_image


def build(name: str, store: ContentStore, **more: object) -> Image:
    fetcher = Fetcher(wait=lambda _: None)
    options: dict[str, object] = {"arch": "riscv64", "suite": "test", **more}
    return debianimage.build(name, store=store, fetcher=fetcher, **options)  # type: ignore[arg-type]


def test_busybox_beside_another_platform(
    mirror: Mirror, store: ContentStore, tmp_path: Path
) -> None:
    other = make_image(store, name="bb:latest", arch="amd64")
    image = build("busybox", store, tag="bb")
    assert find_image(store, "bb", parse_platform("riscv64")).id == image.id
    assert find_image(store, "bb", parse_platform("amd64")).id == other.id
    assert image.config.execution.cmd == ["sh"] and debianimage.state_of(image) == "ready"
    made = prepare_rootfs(image, tmp_path / "box", rootless=os.geteuid() != 0, overlay=False)
    found = listing(made.path)
    assert found["usr/bin/busybox"] == "BUSYBOX" and found["usr/bin/sh"] == "-> busybox"
    assert found["bin"] == "-> usr/bin" and found["etc/passwd"].startswith("root:x:0:0")
    assert (made.path / "tmp").stat().st_mode & 0o7777 == 0o1777
    release_rootfs(tmp_path / "box", store)
    again = build("busybox", store, tag="bb")
    assert again.config.diff_ids() == image.config.diff_ids(), "the same packages, the same layer"
    assert find_image(store, "bb", parse_platform("amd64")).id == other.id


def test_debian_is_unpacked_and_says_so(
    mirror: Mirror, store: ContentStore, tmp_path: Path
) -> None:
    image = build("debian", store)
    assert image.name == "debian:latest" and debianimage.state_of(image) == "unpacked"
    made = prepare_rootfs(image, tmp_path / "box", rootless=os.geteuid() != 0, overlay=False)
    assert "Status: install ok unpacked" in (made.path / "var/lib/dpkg/status").read_text()
    assert (made.path / debianimage.SECOND_STAGE_PATH.lstrip("/")).stat().st_mode & 0o111
    release_rootfs(tmp_path / "box", store)


def test_a_changed_package_is_refused(mirror: Mirror, store: ContentStore) -> None:
    path = next((mirror.root / "pool/main").glob("busybox*"))
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(IntegrityError):
        build("busybox", store)
    assert store.names() == []


@pytest.mark.parametrize(
    ("name", "more"),
    [("alpine", {}), ("busybox", {"arch": "vax"}), ("busybox", {"include": ["git"]}),
     ("busybox", {"tag": "Bad Name"})],
)  # fmt: skip
def test_what_cannot_be_built(name: str, more: dict[str, object], store: ContentStore) -> None:
    with pytest.raises(UsageError):
        build(name, store, **more)
