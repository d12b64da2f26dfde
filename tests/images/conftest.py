"""A tiny Debian mirror that the tests make themselves: packages, indices, and a throwaway key."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .mirror_kit import Mirror, Signer, standard_packages
from .web import Web


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    for name in ("INN_MIRROR", "INN_KEYRING", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="session")
def signer() -> Iterator[Signer]:
    if not (shutil.which("gpg") and shutil.which("gpgv")):
        pytest.skip("needs gpg to sign a test mirror and gpgv to check it")
    # A short path: the agent's socket has at most 108 bytes for its name.
    home = Path(tempfile.mkdtemp(prefix="inn-gpg-", dir="/tmp"))
    try:
        yield Signer.make(home)
    finally:
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    root = tmp_path / "www"
    root.mkdir()
    with Web(root) as server:
        yield server


@pytest.fixture
def mirror(web: Web, signer: Signer, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    made = Mirror(web.root, signer)
    made.publish(standard_packages())
    monkeypatch.setenv("INN_MIRROR", web.url)
    monkeypatch.setenv("INN_KEYRING", str(signer.keyring))
    return made
