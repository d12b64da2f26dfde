"""The script at the root, and the one file of byte code behind it; what a start may import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from innkeeper.containers import bytecode
from tests.containers.oci import kit

FORBIDDEN = {"re", "json", "typing", "ctypes", "subprocess", "argparse", "enum", "dataclasses", "pathlib",
             "contextlib", "functools", "collections", "logging", "socket", "signal", "shutil", "tempfile"}  # fmt: skip


def test_what_a_run_imports(bundle: kit.Bundle) -> None:
    """Each of these costs a container part of a millisecond or more."""
    bundle.program = [*bundle.program[:3], "-X", "importtime", *bundle.program[3:]]
    done = bundle.run()
    assert done.returncode == 0
    imported = {
        line.rpartition("|")[2].strip()
        for line in done.stderr.splitlines()
        if "import time:" in line
    }
    assert "innkeeper.containers.first" in imported
    assert imported & FORBIDDEN == set()


def test_the_script(tmp_path: Path) -> None:
    if not (kit.REPO / ".venv/bin/python").exists():
        pytest.skip("this checkout has no .venv, which the script would have to make first")
    link = tmp_path / "runc"
    link.symlink_to(kit.REPO / "inn-oci")
    for program in (kit.REPO / "inn-oci", link):
        done = subprocess.run([str(program), "--version"], capture_output=True, text=True)
        assert done.stdout.startswith("inn-oci version"), done.stderr


def start(path: Path, source: Path) -> subprocess.CompletedProcess[str]:
    """Import from the file alone: the sources are not on sys.path."""
    script = (
        "import marshal, posix, sys\n"
        f"fd = posix.open({str(path)!r}, 0)\n"
        "index = marshal.loads(posix.read(fd, 65536))\n"
        "place, size = index['innkeeper.containers.bytecode'][3:]\n"
        "scope = {}; exec(marshal.loads(posix.pread(fd, size, place)), scope)\n"
        f"scope['install'](index, fd, {str(path)!r})\n"
        "from innkeeper.containers.signals import signal_number as f\n"
        "print(f('TERM'), f.__code__.co_filename, f.__doc__)\n"
    )
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True
    )


def test_the_one_file_of_byte_code(tmp_path: Path) -> None:
    source = tmp_path / "src"
    for package in bytecode.PACKAGES:
        (source / package).mkdir(parents=True, exist_ok=True)
        for file in (kit.REPO / "src" / package).glob("*.py"):
            (source / package / file.name).write_bytes(file.read_bytes())
    path = tmp_path / "cache/code"
    bytecode.write(str(path), str(source))
    done = start(path, source)
    assert done.stdout == f"15 {source}/innkeeper/containers/signals.py None\n", done.stderr
    changed = source / "innkeeper/containers/signals.py"
    os.utime(changed, ns=(1, 1))
    assert start(path, source).returncode == 0  # found as ever, beside its package
    assert not path.exists()  # to be made anew


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    bytecode.write(str(tmp_path / "file/code"), str(kit.REPO / "src"))
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]
