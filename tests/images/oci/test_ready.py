"""The short way to a container's root: what it needs is noted, and forgotten when it is not so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from innkeeper.base.errors import NotFoundError
from innkeeper.images.oci.content import ContentStore
from innkeeper.images.oci.layer_store import LayerStore
from innkeeper.images.oci.reach import prune
from innkeeper.images.oci.ready import ReadyImage, file_name, find_ready
from innkeeper.images.oci.rootfs import open_rootfs, prepare_rootfs, release_rootfs

from .kit import listing, make_image, tar_of

ROOTLESS = os.geteuid() != 0
BASE = tar_of([("file", "f", b"1")])
HEAVY = {"msgspec", "hashlib", "http.client", "ssl", "tempfile", "shutil", "dataclasses", "inspect",
         "tarfile", "subprocess", "socket"}  # fmt: skip


def ready(
    store: ContentStore, name: str = "one", *, rootless: bool = ROOTLESS
) -> ReadyImage | None:
    return find_ready(name, arch="amd64", rootless=rootless, root=store.root)


def start(store: ContentStore, box: Path) -> None:
    image = make_image(store, BASE, config={"Cmd": ["sh"], "Env": ["A=1"]})
    prepare_rootfs(image, box, rootless=ROOTLESS, overlay=False)


def test_the_second_start_is_by_the_note(store: ContentStore, tmp_path: Path) -> None:
    assert ready(store) is None
    start(store, tmp_path / "a")
    found = ready(store)
    assert found is not None and ready(store, "one:latest") == found
    assert found.config.execution.cmd == ["sh"] and found.config.architecture == "amd64"
    made = prepare_rootfs(found, tmp_path / "b", rootless=ROOTLESS, overlay=False)
    assert listing(made.path) == {"f": "1"}
    assert open_rootfs(tmp_path / "b", store)[0].manifest == found.manifest
    assert ready(store, rootless=not ROOTLESS) is None and ready(store, "one:other") is None
    store.untag("one:latest")
    prune(store)
    assert all(path.is_dir() for path in found.lower), "both containers hold on to it"
    for name in ("a", "b"):
        release_rootfs(tmp_path / name, store.root)
    prune(store)
    assert not any(path.is_dir() for path in found.lower)


def test_a_note_that_is_no_longer_so(store: ContentStore, tmp_path: Path) -> None:
    start(store, tmp_path / "a")
    found = ready(store)
    assert found is not None
    make_image(store, tar_of([("file", "f", b"2")]))
    assert ready(store) is None, "the name means another image"
    start(store, tmp_path / "b")
    assert ready(store) == found
    (found.lower[0].parent / "layer.json").unlink()
    assert ready(store) is None, "a layer is not whole"
    LayerStore(store, rootless=ROOTLESS)
    note = next((store.root / "ready").iterdir())
    for text in ("", "{}", "[]", "[" * 100_000, '{"target": 1}'):
        note.write_text(text)
        assert ready(store) is None


def test_an_image_pruned_meanwhile_is_said(store: ContentStore, tmp_path: Path) -> None:
    start(store, tmp_path / "a")
    found = ready(store)
    assert found is not None
    release_rootfs(tmp_path / "a", store)
    store.untag("one:latest")
    prune(store)
    with pytest.raises(NotFoundError, match="removed meanwhile"):
        prepare_rootfs(found, tmp_path / "b", rootless=ROOTLESS)


def test_long_names_are_files_too() -> None:
    assert file_name("h.example/a:1") == "h.example%2Fa%3A1"
    assert len(file_name("x/" * 500)) == 64 and "/" not in file_name("x/" * 20)


def test_a_start_imports_little(store: ContentStore, tmp_path: Path) -> None:
    start(store, tmp_path / "a")
    script = (
        "import sys; from pathlib import Path\n"
        "from innkeeper.images.oci.ready import find_ready\n"
        "from innkeeper.images.oci.rootfs import prepare_rootfs\n"
        "from innkeeper.guests.containers.bundle import make_bundle\n"
        "from innkeeper.guests.containers.options import BundleOptions\n"
        "root, box, rootless = Path(sys.argv[1]), Path(sys.argv[2]), bool(sys.argv[3])\n"
        "image = find_ready('one', arch='amd64', rootless=rootless, root=root)\n"
        "made = prepare_rootfs(image, box, rootless=rootless, overlay=False)\n"
        "options = BundleOptions(security_opt=('seccomp=unconfined',))\n"
        "assert make_bundle(image, (), options, root=made.path)['process']['args'] == ['sh']\n"
        "print(*sorted(sys.modules))"
    )
    words = [str(store.root), str(tmp_path / "b"), "1" if ROOTLESS else ""]
    done = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not HEAVY & set(done.stdout.split())
