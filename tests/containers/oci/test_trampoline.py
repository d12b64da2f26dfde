"""The program between Python and the container's: on this machine, and on others under QEMU."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from innkeeper.base.errors import ContainerError
from innkeeper.containers import kernel, trampoline

MACHINES = {"x86_64": "qemu-x86_64", "aarch64": "qemu-aarch64", "riscv64": "qemu-riscv64"}


def command(machine: str, path: Path) -> list[str]:
    if machine == kernel.MACHINE:
        return [str(path)]
    emulator = shutil.which(MACHINES[machine])
    if emulator is None:
        pytest.skip(f"no {MACHINES[machine]} on this host (apt-get install qemu-user)")
    return [emulator, str(path)]


def image(tmp_path: Path, program: str, machine: str) -> Path:
    path = tmp_path / "image"
    path.write_bytes(trampoline.image(program, machine))
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("machine", MACHINES)
def test_it_executes_with_its_own_arguments_and_environment(tmp_path: Path, machine: str) -> None:
    script = tmp_path / "script"
    script.write_text('#!/bin/sh\necho "$1,$2,$WHO"\nexit 5\n')
    script.chmod(0o755)
    path = image(tmp_path, str(script), machine)
    done = subprocess.run(
        [*command(machine, path), "one", "two three"],
        env={"WHO": "me"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (5, "one,two three,me\n", "")


@pytest.mark.parametrize("machine", MACHINES)
def test_it_says_why_it_cannot(tmp_path: Path, machine: str) -> None:
    path = image(tmp_path, "/nowhere/at all", machine)
    done = subprocess.run(command(machine, path), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        1,
        "exec /nowhere/at all: no such file or directory\n",
    )


def test_other_machines_are_refused() -> None:
    with pytest.raises(ContainerError, match="s390x"):
        trampoline.image("/bin/true", "s390x")
    with pytest.raises(ContainerError, match="too long"):
        trampoline.image("/" + "x" * 5000)


def test_nobody_can_change_the_sealed_file() -> None:
    fd = trampoline.sealed("/bin/true")
    try:
        with pytest.raises(PermissionError):
            os.pwrite(fd, b"x", 0)
        with pytest.raises(PermissionError):
            os.ftruncate(fd, 0)
        with pytest.raises(OSError):
            again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
            os.pwrite(again, b"x", 0)
    finally:
        os.close(fd)


@pytest.mark.parametrize("profile,allowed", [
    ({}, True),
    ({"defaultAction": "SCMP_ACT_ERRNO"}, False),
    ({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["execveat"], "action": "SCMP_ACT_ALLOW"}]}, True),
    ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["execveat"], "action": "SCMP_ACT_KILL"}]}, False),
])  # fmt: skip
def test_the_way_to_execute_follows_the_profile(profile: dict[str, object], allowed: bool) -> None:
    assert trampoline.allows_execveat(profile) is allowed
