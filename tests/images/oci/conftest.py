"""A content store of the test's own, and what the host must be able to do."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest

from innkeeper.images.oci.content import ContentStore


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path / "oci")


@pytest.fixture(scope="session")
def overlay(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip where this process cannot mount overlayfs."""
    base = tmp_path_factory.mktemp("overlay")
    for name in ("l", "u", "w", "m"):
        (base / name).mkdir()
    data = f"lowerdir={base}/l,upperdir={base}/u,workdir={base}/w".encode()
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0 or libc.mount(b"o", bytes(base / "m"), b"overlay", 0, data) != 0:
        pytest.skip("needs root and a kernel with overlayfs on this disk")
    libc.umount2(bytes(base / "m"), 2)


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the disk: no test here pulls the host's plug."""
    monkeypatch.setattr("os.fsync", lambda fd: None)
    monkeypatch.setattr("innkeeper.images.oci.layer_store._sync_all", lambda folder: None)
