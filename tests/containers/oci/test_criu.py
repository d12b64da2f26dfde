"""checkpoint and restore, where criu works; where it does not, what is said."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.containers.oci.kit import Bundle


def test_without_criu(bundle: Bundle) -> None:
    bundle.process["args"] = ["sleep", "1000"]
    bundle.start()
    bundle.program += ["--criu", "/nowhere/criu"]
    done = bundle.oci("checkpoint", bundle.id)
    assert done.returncode == 1 and "criu cannot be run: /nowhere/criu: no such file" in done.stderr
    assert bundle.status() == "running"


def test_what_criu_says_is_passed_on(bundle: Bundle, tmp_path: Path) -> None:
    fake = tmp_path / "criu"
    fake.write_text(
        '#!/bin/sh\necho "$@" > args\nwhile [ "$1" != --work-dir ]; do shift; done\n'
        'echo "(0.1) Error (criu/x.c:1): out of luck" > "$2/dump.log"; exit 1\n'
    )
    fake.chmod(0o755)
    bundle.process["args"] = ["sleep", "1000"]
    bundle.mount("/mnt", "bind", source=tmp_path)
    bundle.start()
    bundle.program += ["--criu", str(fake)]
    done = bundle.oci(
        "checkpoint", "--image-path", str(tmp_path / "images"), "--tcp-established", bundle.id
    )
    assert done.returncode == 1 and "out of luck" in done.stderr
    args = (bundle.directory / "args").read_text()
    assert f"dump --tree {bundle.pid()}" in args and "--external mnt[/mnt]:/mnt" in args
    assert "--tcp-established" in args and "--leave-running" not in args


def test_refusals(bundle: Bundle, tmp_path: Path) -> None:
    bundle.write()
    done = bundle.oci("restore", "--image-path", str(tmp_path / "none"), bundle.id)
    assert done.returncode == 1 and "holds no checkpoint" in done.stderr
    assert "container does not exist" in bundle.oci("checkpoint", bundle.id).stderr


def test_there_and_back(bundle: Bundle, tmp_path: Path) -> None:
    if (
        not shutil.which("criu")
        or subprocess.run(["criu", "check"], capture_output=True).returncode
    ):
        pytest.skip("criu is missing or does not work with this kernel (criu check)")
    bundle.process["args"] = ["sleep", "1000"]
    bundle.start()
    images = str(tmp_path / "images")
    assert bundle.oci("checkpoint", "--image-path", images, bundle.id).returncode == 0
    assert "container does not exist" in bundle.oci("state", bundle.id).stderr
    done = bundle.oci("restore", "-d", "--image-path", images, bundle.id)
    assert done.returncode == 0, done.stderr
    assert bundle.status() == "running"
