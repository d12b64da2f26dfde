"""What the words of a command line become."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
import pytest

from innkeeper.base.errors import UsageError
from innkeeper.cli.boot import boot, boot_config
from innkeeper.cli.options import address, duration, parse_environment
from innkeeper.cli.run import run, run_config
from innkeeper.guests.config import Disk, Volume
from innkeeper.guests.explain import explain


def parse(command: click.Command, *words: str) -> dict[str, Any]:
    with command.make_context("inn", list(words)) as context:
        return context.params


@pytest.mark.parametrize(
    ("words", "argv"),
    [
        (["busybox"], ()),
        (["busybox", "--"], ()),
        (["busybox", "--", "ls", "-l"], ("ls", "-l")),
        (["busybox", "ls", "-l", "--", "-x"], ("ls", "-l", "--", "-x")),
        (["busybox", "--", "--", "x"], ("--", "x")),
        (["--cpus", "2", "busybox", "sh", "-c", "exit 3"], ("sh", "-c", "exit 3")),
    ],
)
def test_the_command_begins_after_the_image(words: list[str], argv: tuple[str, ...]) -> None:
    assert run_config(parse(run, *words)).argv == argv


def test_run_options_reach_the_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_HOST", "host value")
    monkeypatch.setenv("TERM", "vt220")
    config = run_config(
        parse(
            run, "-it", "-e", "A=b=c", "-e", "FROM_HOST", "-e", "NOT_SET_ANYWHERE", "-m", "1G",
            "-v", f"{tmp_path}:/d:ro", "-w", "/d", "-u", "7:8", "--timeout", "2m", "--cpus", "3",
            "--suite", "sid", "--append", "quiet", "--kernel", "k", "debian",
        )
    )  # fmt: skip
    assert config.env == {"TERM": "vt220", "A": "b=c", "FROM_HOST": "host value"}
    assert (config.tty, config.stdin, config.memory_bytes) == (True, True, 1 << 30)
    assert config.volumes == (Volume(source=tmp_path, target="/d", read_only=True),)
    assert (config.workdir, config.user, config.timeout_s) == ("/d", "7:8", 120)
    assert (config.cpus, config.suite, config.append) == (3, "sid", "quiet")
    assert config.kernel == Path.cwd() / "k"


def test_stdin_is_passed_on_unless_it_leads_to_nothing() -> None:
    reading, writing = os.pipe()
    null, saved = os.open(os.devnull, os.O_RDONLY), os.dup(0)
    try:
        for source, words, wanted in (
            (reading, ["busybox"], True), (null, ["busybox"], False), (null, ["-i", "x"], True)
        ):  # fmt: skip
            os.dup2(source, 0)
            assert run_config(parse(run, *words)).stdin is wanted
    finally:
        os.dup2(saved, 0)
        for fd in (reading, writing, null, saved):
            os.close(fd)


def test_stdin_is_passed_on_unless_it_is_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("innkeeper.cli.parsing._is_null_device", lambda _fd: False)
    for terminal, interactive, wanted in ((False, False, True), (True, False, False),
                                          (True, True, True)):  # fmt: skip
        monkeypatch.setattr(os, "isatty", lambda _fd, answer=terminal: answer)
        words = ["-i", "busybox"] if interactive else ["busybox"]
        assert run_config(parse(run, *words)).stdin is wanted


def test_boot_options_reach_the_request(tmp_path: Path) -> None:
    image = tmp_path / "a,b.img"
    image.touch()
    config = boot_config(
        parse(boot, "--kernel", "k", "--disk", f"{image},ro", "--disk", str(image), "--gdb", "file")
    )
    assert config.disks == (Disk(path=image, read_only=True), Disk(path=image))
    assert config.kernel == Path.cwd() / "k"
    assert config.gdb == "file"
    assert boot_config(parse(boot, "file", "--gdb")).gdb == "127.0.0.1:1234"


def test_icount_is_asked_for_and_explained(tmp_path: Path) -> None:
    kernel = tmp_path / "vmlinux"
    kernel.write_bytes(bytes.fromhex("6f000000"))
    words = ["--raw", str(kernel)]
    plain = boot_config(parse(boot, *words))
    counted = boot_config(parse(boot, "--icount", *words))
    assert (plain.icount, counted.icount) == (False, True)
    assert run_config(parse(run, "--icount", "busybox")).icount
    assert "counted in instructions" in explain(counted)
    assert "counted in instructions" not in explain(plain)


def test_volumes_may_have_colons_in_the_source(tmp_path: Path) -> None:
    odd = tmp_path / "a:b"
    odd.mkdir()
    assert Volume.parse(f"{odd}:/x") == Volume(source=odd, target="/x")
    assert Volume.parse(f"{odd}:/x:rw") == Volume(source=odd, target="/x")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="not a directory"):
        Volume.parse(f"{tmp_path}/file:/x")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1.5s", 1.5), ("10m", 600), ("2h", 7200)]
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "1d", "s", "1e3", "0", "0.0s"])
def test_bad_durations(text: str) -> None:
    with pytest.raises(UsageError):
        duration(text)


def test_addresses() -> None:
    assert (address("0x80000000"), address("16")) == (1 << 31, 16)
    for text in ("", "x", "-1", str(1 << 64)):
        with pytest.raises(UsageError):
            address(text)


def test_environment_values_may_be_anything() -> None:
    assert parse_environment(["A=", "B=\n", "A=2"]) == {"A": "2", "B": "\n"}
