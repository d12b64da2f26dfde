"""`inn checkpoint` and `restore`, where criu works; where it does not, what is said and left."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guests.containers.harness import IMAGE, Inn, needs_root

pytestmark = needs_root
COUNT = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done"
FAKE = """#!/bin/sh
[ "$1" = check ] && {check}
echo "$@" >{args}
while [ "$1" != --work-dir ]; do shift; done
echo "(0.1) Error (criu/x.c:1): out of luck" >"$2/dump.log"; exit 1
"""
FAILS = "{ echo 'Error (criu/vdso.c:1): no luck here' >&2; exit 1; }"


@pytest.fixture
def clean(inn: Inn) -> Iterator[Inn]:
    path = inn.env["PATH"]
    yield inn
    inn.env["PATH"] = path
    for line in inn("ps", "-aq").stdout.decode().split():
        inn("rm", "-f", line)
    assert inn.left() == []


def fake_criu(inn: Inn, folder: Path, check: str) -> Path:
    program, args = folder / "criu", folder / "args"
    program.write_text(FAKE.format(check=check, args=args))
    program.chmod(0o755)
    inn.env["PATH"] = f"{folder}:{inn.env['PATH']}"
    return args


def status(inn: Inn) -> str:
    found: str = json.loads(inn("inspect", "c").stdout)["status"]
    return found


def test_a_criu_that_does_not_work_says_why(clean: Inn, tmp_path: Path) -> None:
    fake_criu(clean, tmp_path, FAILS)
    clean.run("-d", "--name", "c", IMAGE, "sh", "-c", COUNT)
    done = clean("checkpoint", "c")
    assert done.returncode == 125 and b"Error (criu/vdso.c:1): no luck here" in done.stderr
    assert status(clean) == "running" and clean("restore", "c").returncode == 127


def test_without_criu(clean: Inn, tmp_path: Path) -> None:
    clean.run("-d", "--name", "c", IMAGE, "sh", "-c", COUNT)
    clean.env["PATH"] = str(tmp_path)
    done = clean("checkpoint", "c")
    assert done.returncode == 125 and b"criu cannot be run" in done.stderr


def test_a_dump_that_fails_changes_nothing(clean: Inn, tmp_path: Path) -> None:
    args = fake_criu(clean, tmp_path, "exit 0")
    (tmp_path / "v").mkdir()
    clean.run("-d", "--name", "c", "--restart", "always", "-v", f"{tmp_path}/v:/v", IMAGE, "sh", "-c", COUNT)  # fmt: skip
    done = clean("checkpoint", "--tcp-established", "c")
    assert done.returncode == 125 and b"out of luck" in done.stderr
    found = json.loads(clean("inspect", "c").stdout)
    words = args.read_text()
    inode = os.stat(f"/proc/{found['state']['pid']}/ns/net").st_ino
    assert "--external mnt[/v]:/v" in words and f"--external net[{inode}]:extRootNetNS" in words
    assert "--tcp-established" in words and "--leave-running" not in words
    assert found["status"] == "running" and not Path(found["folder"], "stopped").exists()
    assert clean("restore", "c").returncode == 127


def test_what_is_refused(clean: Inn) -> None:
    refusals = (["-t"], ["--rm"], ["--network", "host"])
    for options in refusals:
        clean.run("-d", "--name", "c", *options, IMAGE, "sh", "-c", COUNT)
        assert clean("checkpoint", "c").returncode == 2 and status(clean) == "running"
        clean("rm", "-f", "c")
    clean("create", "--name", "c", IMAGE, "true")
    assert clean("checkpoint", "c").returncode == 125
    assert clean("restore", "c").returncode == 127


def test_there_and_back(clean: Inn, tmp_path: Path) -> None:
    if not shutil.which("criu"):
        pytest.skip("needs criu")
    checked = subprocess.run(["criu", "check"], capture_output=True, text=True)
    if checked.returncode:
        pytest.skip(f"criu does not work with this kernel: {checked.stderr.splitlines()[:1]}")
    (tmp_path / "f").write_text("there\n")
    options = ["--memory", "64M", "--restart", "always", "-v", f"{tmp_path}:/v"]
    clean.run("-d", "--name", "c", *options, IMAGE, "sh", "-c", COUNT)
    with clean.start("logs", "-f", "c") as following:
        assert following.stdout is not None and following.stdout.readline() == b"1\n"
        assert clean("checkpoint", "c").returncode == 0
    assert status(clean) == "exited" and clean("system", "prune").stdout == b""
    lines = clean("logs", "c").stdout.split()
    assert clean("restore", "c").returncode == 0 and status(clean) == "running"
    with clean.start("logs", "-f", "c") as following:
        assert following.stdout is not None
        seen = [int(following.stdout.readline()) for _ in range(len(lines) + 3)]
        assert seen == list(range(1, len(seen) + 1))  # it went on where it was
        assert clean("exec", "c", "cat", "/v/f").stdout == b"there\n"
        used = json.loads(clean("stats", "-o", "json", "c").stdout)[0]
        assert used["memory"]["usage"]["limit"] == 64 << 20
        assert clean("kill", "c").returncode == 0
