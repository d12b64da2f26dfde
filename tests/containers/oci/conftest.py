"""Fixtures: a root file system made once, and a bundle for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.oci import kit


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kit.make_rootfs(tmp_path_factory.mktemp("oci") / "rootfs")


@pytest.fixture
def bundle(tmp_path: Path, rootfs: Path) -> Iterator[kit.Bundle]:
    """A bundle whose root file system is shared with other tests, so it must stay read-only."""
    kit.need_root()
    one = kit.Bundle(tmp_path / "bundle", rootfs)
    yield one
    one.clean()


@pytest.fixture
def own_bundle(tmp_path: Path) -> Iterator[kit.Bundle]:
    """A bundle with a root file system of its own, which a test may spoil."""
    kit.need_root()
    one = kit.Bundle(tmp_path / "bundle", kit.make_rootfs(tmp_path / "rootfs"))
    one.config["root"]["readonly"] = False
    yield one
    one.clean()
