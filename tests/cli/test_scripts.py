"""The repository's own shell scripts, and the check of the README."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["inn", "check", ".ci/run"])
def test_the_scripts_are_posix_shell(name: str) -> None:
    assert os.access(ROOT / name, os.X_OK)
    done = subprocess.run(["sh", "-n", str(ROOT / name)], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the launcher and a Python that is an echo."""
    for name in ("inn", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def launch(checkout: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [str(checkout / "inn"), *words]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | env)


def test_the_launcher_says_which_python_it_needs(checkout: Path) -> None:
    old = checkout / "old-python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = launch(checkout, "--version", PYTHON=str(old))
    assert done.returncode == 125
    assert "Python 3.11 or newer is needed" in done.stderr


def test_the_launcher_says_that_venv_is_missing(checkout: Path) -> None:
    bare = checkout / "bare-python"
    bare.write_text('#!/bin/sh\ncase "$*" in *ensurepip*) exit 1 ;; esac\n')
    bare.chmod(0o755)
    done = launch(checkout, "--version", PYTHON=str(bare))
    assert done.returncode == 125
    assert "apt-get install python3-venv" in done.stderr


def test_a_set_up_launcher_passes_every_argument_on(checkout: Path) -> None:
    python = checkout / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\nprintf "<%s>" "$@"\n')
    python.chmod(0o755)
    shutil.copy(checkout / "pyproject.toml", checkout / ".venv/.innkeeper-stamp")
    done = launch(checkout, "run", "a b", "", "c\nd")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "<-P><-c><from innkeeper.__main__ import run; run()><run><a b><><c\nd>"


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        ("```sh\n./inn run --arch riscv64 debian -- uname -a\n```\n", ""),
        ("```sh\n$ inn image build debian | cat\nanything\n```\n", ""),
        ("```sh\ninn run --no-such-option debian\n```\n", "No such option"),
        ("```sh\ninn frob\n```\n", "no such command"),
        ("```python\nfrom x import\n```\n", "invalid syntax"),
        ("```python\nprint(1)\n```\n", ""),
    ],
)
def test_the_readme_check_finds_wrong_blocks(block: str, problem: str) -> None:
    script = "import sys; sys.path.insert(0, sys.argv[1]); import readme_blocks as r\n"
    script += "print(*r.problems(sys.stdin.read()))"
    command = [sys.executable, "-c", script, str(ROOT / "tests")]
    done = subprocess.run(command, input=block, capture_output=True, text=True, check=True)
    assert (problem.lower() in done.stdout.lower()) if problem else done.stdout == "\n"
