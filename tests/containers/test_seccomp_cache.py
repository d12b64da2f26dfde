"""The cache of compiled filters: never trusted blindly, never in the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from innkeeper.containers import seccomp
from innkeeper.containers.seccomp import cache, compile_profile, default_profile
from innkeeper.containers.seccomp.compile import compile_filter

PROFILE = default_profile([], "x86_64")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cache, "folder", lambda: str(tmp_path / "inn"))
    return tmp_path / "inn"


def entry(folder: Path) -> Path:
    (only,) = folder.iterdir()
    return only


def test_second_compilation_is_read_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = compile_profile(PROFILE, "x86_64")
    monkeypatch.setattr("innkeeper.containers.seccomp.compile.compile_filter", None)
    again = compile_profile(json.loads(json.dumps(PROFILE)), "x86_64")
    assert (again.filter, again.flags, again.notify) == (first.filter, first.flags, first.notify)
    assert entry(folder).stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


def test_every_damaged_byte_is_noticed(folder: Path) -> None:
    compile_profile({"defaultAction": "SCMP_ACT_ALLOW"}, "x86_64")
    path = entry(folder)
    key = cache.key_of({"defaultAction": "SCMP_ACT_ALLOW"}, "x86_64")
    assert key is not None
    whole = path.read_bytes()
    assert cache.load(key) is not None
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x20]) + whole[at + 1 :])
        assert cache.load(key) is None, at
    for at in range(len(whole)):
        path.write_bytes(whole[:at])
        assert cache.load(key) is None, at


def test_a_name_that_collides_does_not_answer(folder: Path) -> None:
    compile_profile(PROFILE, "x86_64")
    path = entry(folder)
    other = {"defaultAction": "SCMP_ACT_ALLOW"}
    key = cache.key_of(other, "x86_64")
    assert key is not None
    os.rename(path, str(cache.path_of(key)))
    assert cache.load(key) is None
    assert compile_profile(other, "x86_64").filter == compile_filter(other, "x86_64")[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away takes root")
def test_entries_of_others_do_not_answer(folder: Path) -> None:
    compile_profile(PROFILE, "x86_64")
    key = cache.key_of(PROFILE, "x86_64")
    assert key is not None
    path = entry(folder)
    path.chmod(0o620)
    assert cache.load(key) is None
    path.chmod(0o600)
    assert cache.load(key) is not None
    os.chown(path, 12345, 0)
    assert cache.load(key) is None
    path.unlink()
    os.mkfifo(path)
    assert cache.load(key) is None


def test_folder_that_cannot_be_written_costs_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for where in (None, str(tmp_path / "file" / "below")):
        monkeypatch.setattr(cache, "folder", lambda where=where: where)
        assert compile_profile(PROFILE, "x86_64").filter == compile_filter(PROFILE, "x86_64")[0]


def test_a_folder_that_others_can_write_to_is_left_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    compile_profile(PROFILE, "x86_64")
    assert list((tmp_path / "elsewhere").iterdir()) == []
    folder.unlink()
    folder.mkdir()
    folder.chmod(0o777)
    compile_profile(PROFILE, "x86_64")
    assert list(folder.iterdir()) == []
    folder.chmod(0o700)
    tmp_path.chmod(0o777)
    compile_profile(PROFILE, "x86_64")
    assert list(folder.iterdir()) == []


def test_number_of_entries_is_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAX_ENTRIES", 3)
    for errno in range(1, 9):
        compile_profile({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": errno}, "x86_64")
        assert len(list(folder.iterdir())) <= 3


def test_listener_comes_from_the_profile(folder: Path) -> None:
    made = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": "/run/agent",
        "listenerMetadata": "m",
        "syscalls": [{"names": ["mount"], "action": "SCMP_ACT_NOTIFY"}],
    }
    for _ in range(2):
        program = compile_profile(made, "x86_64")
        assert (program.listener_path, program.listener_metadata) == ("/run/agent", "m")
        assert program.notify
        assert program.flags & 8


def test_a_kept_filter_imports_next_to_nothing(folder: Path) -> None:
    """What runs for every container: no re, typing, struct, json, compiler or tables."""
    compile_profile(PROFILE, "x86_64")
    script = (
        "import json, sys; sys.path[:] = json.loads(sys.argv[2]); p = json.loads(sys.argv[3])\n"
        "before = set(sys.modules)\n"
        "from innkeeper.containers.seccomp import cache, compile_profile\n"
        "cache.folder = lambda: sys.argv[1]\n"
        "compile_profile(p, 'x86_64')\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    args = [str(folder), json.dumps(sys.path), json.dumps(PROFILE)]
    out = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, *args],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(out.stdout.split())
    assert not loaded & {
        "re",
        "typing",
        "enum",
        "struct",
        "pathlib",
        "subprocess",
        "hashlib",
        "ctypes",
    }
    assert {name for name in loaded if name.startswith("innkeeper.")} == {
        "innkeeper.containers", seccomp.__name__, cache.__name__,
    }  # fmt: skip
