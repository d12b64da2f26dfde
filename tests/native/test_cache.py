"""The code cache: what is damaged, foreign or unwritable is as if it were not there."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from innkeeper.native import cache
from innkeeper.native.cache import Entry, cache_dir, entry_path, read, write
from innkeeper.native.elf import Image

ENTRY = Entry(Image(b"\x90" * 5000 + b"\xc3", {"run": 5000}), {"handlers": [["a", "b"]], "n": 3})


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def kept() -> Path:
    path = entry_path("test", b"key")
    write(path, ENTRY)
    assert read(path) == ENTRY
    return path


def test_an_entry_comes_back(home: Path) -> None:
    path = kept()
    assert path.is_relative_to(home / "innkeeper" / "code")
    assert path.stat().st_mode & 0o077 == 0
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # no temporary files


def test_what_was_not_used_for_longest_goes_first(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "MAX_CACHE_FILES", 3)
    paths = [entry_path("test", bytes([n])) for n in range(5)]
    for n, path in enumerate(paths[:4]):
        write(path, ENTRY)
        os.utime(path, (n, n))
    assert [p.exists() for p in paths] == [False, True, True, True, False]
    assert read(paths[1]) == ENTRY  # in use again
    write(paths[4], ENTRY)
    assert [p.exists() for p in paths] == [False, True, False, True, True]


def test_the_key_chooses_the_entry() -> None:
    assert entry_path("test", b"a") != entry_path("test", b"b") != entry_path("other", b"b")
    assert read(entry_path("test", b"never written")) is None


@pytest.mark.parametrize("at", [0, 7, 8, 39, 40, 47, 48, 60, 100, -1, -2500])
def test_a_flipped_bit_is_noticed(at: int) -> None:
    path = kept()
    raw = bytearray(path.read_bytes())
    raw[at] ^= 4
    path.write_bytes(raw)
    assert read(path) is None


@pytest.mark.parametrize("size", [0, 1, 8, 20, 40, 41, 48, 60, 200, 4096])
def test_a_truncated_entry_is_absent(size: int) -> None:
    path = kept()
    path.write_bytes(path.read_bytes()[:size])
    assert read(path) is None


def test_growth_is_noticed() -> None:
    path = kept()
    path.write_bytes(path.read_bytes() + b"\0")
    assert read(path) is None


@pytest.mark.parametrize("head", [b"", b"{", b"[]", b"{}", b'{"symbols": {}}', b"\xff\xfe"])
def test_a_head_that_is_not_ours(head: bytes) -> None:
    """Even under a right checksum."""
    path = kept()
    body = len(head).to_bytes(8, "little") + head + b"code"
    path.write_bytes(cache.MAGIC + hashlib.blake2b(body, digest_size=32).digest() + body)
    assert read(path) is None


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o777])
def test_an_entry_that_others_may_write_is_not_trusted(mode: int) -> None:
    path = kept()
    path.chmod(mode)
    assert read(path) is None
    write(path, ENTRY)
    assert read(path) == ENTRY


def test_an_entry_of_another_user_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    path, me = kept(), os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    assert read(path) is None


def test_what_is_no_file_is_absent(home: Path) -> None:
    folder = home / "folder"
    folder.mkdir()
    assert read(folder) is None
    fifo = home / "fifo"
    os.mkfifo(fifo)
    assert read(fifo) is None
    (home / "loop").symlink_to(home / "loop")
    assert read(home / "loop") is None


def test_an_entry_too_large_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    path = kept()
    monkeypatch.setattr(cache, "MAX_ENTRY_BYTES", 100)
    assert read(path) is None


def test_a_cache_that_cannot_be_written_is_no_error(home: Path) -> None:
    (home / "innkeeper").write_text("a file where the folder should be")
    path = entry_path("test", b"key")
    write(path, ENTRY)
    assert read(path) is None


def test_a_failed_replacement_leaves_nothing_behind(home: Path) -> None:
    path = entry_path("test", b"key")
    (path / "occupied").mkdir(parents=True)
    write(path, ENTRY)
    assert read(path) is None
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_relative_cache_home_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/path")
    assert cache_dir() == Path("~/.cache/innkeeper/code").expanduser()
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_dir() == Path("~/.cache/innkeeper/code").expanduser()


WRITER = """
import sys
from innkeeper.native.cache import Entry, entry_path, read, write
from innkeeper.native.elf import Image
path = entry_path("shared", b"key")
fill = sys.argv[1].encode()
for turn in range(60):
    write(path, Entry(Image(fill * 20000, {"run": turn}), {"by": sys.argv[1]}))
    found = read(path)
    assert found is not None, "torn"
    assert found.image.data == found.extra["by"].encode() * 20000, "mixed"
"""


def test_two_processes_write_at_once() -> None:
    """Whoever reads finds one writer's entry, whole."""
    both = [
        subprocess.Popen([sys.executable, "-c", WRITER, name], stderr=subprocess.PIPE)
        for name in "xy"
    ]
    for process in both:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said.decode()
    assert read(entry_path("shared", b"key")) is not None


START = """
import sys
from innkeeper.engine.emulator.build import emulator_code
emulator_code().address("turns.run")
print("compiled" if "llvmlite" in sys.modules else "found")
"""


def start(**env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", START], capture_output=True, text=True, env={**os.environ, **env}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_warm_start_does_without_llvm() -> None:
    usual = {"XDG_CACHE_HOME": ""}
    assert start(**usual) in ("compiled", "found")
    assert start(**usual) == "found"


@pytest.mark.guest
def test_a_damaged_entry_is_compiled_anew(home: Path) -> None:
    assert start() == "compiled"
    (entry,) = (home / "innkeeper" / "code").glob("emulator-*")
    raw = bytearray(entry.read_bytes())
    raw[len(raw) // 2] ^= 1
    entry.write_bytes(raw)
    assert start() == "compiled"
    assert start() == "found"
