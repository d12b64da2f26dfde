from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ninep_client import SECRET, Client

from innkeeper.backends.share import NinePServer


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory to share, beside a secret that must stay out of reach."""
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "outside").mkdir()
    share = tmp_path / "share"
    share.mkdir()
    (share / "hello").write_bytes(b"hello from the host\n")
    (share / "sub").mkdir()
    (share / "sub" / "deep").write_bytes(b"deep")
    return share


@pytest.fixture
def client(root: Path) -> Iterator[Client]:
    with NinePServer(root) as server:
        yield Client(server)


@pytest.fixture
def reader(root: Path) -> Iterator[Client]:
    """A client of a read-only share."""
    with NinePServer(root, read_only=True) as server:
        yield Client(server)
