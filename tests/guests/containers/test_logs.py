"""The log of a container: written, rotated, read, followed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from innkeeper.base.errors import UsageError
from innkeeper.cli.container_logs import read_tail, read_time
from innkeeper.cli.life_parsing import log_options
from innkeeper.guests.containers.beside.logfile import LogFile
from innkeeper.guests.containers.logs import LogReader, LogRecord, parse, read_log
from innkeeper.guests.containers.records import LOG, Record
from tests.guests.containers.harness import IMAGE, Inn

BIG = 1 << 20


def text_of(found: list[LogRecord], stream: str = "stdout") -> bytes:
    return b"".join(
        one.data + (b"\n" if one.ends_line else b"") for one in found if one.stream == stream
    )


def read(folder: Path, **more: Any) -> list[LogRecord]:
    return list(read_log(Record(folder, {}), **more))


@pytest.mark.parametrize(
    "pieces",
    [[b"a\n"], [b"a"], [b"a", b"b\n"], [b"\n\n", b"x"], [bytes(range(256))], [b" F P \n"], [b"x" * 9000, b"\n"]],
)  # fmt: skip
def test_what_is_written_is_read(tmp_path: Path, pieces: list[bytes]) -> None:
    log = LogFile(str(tmp_path / LOG), max_bytes=BIG, max_files=2)
    for piece in pieces:
        log.write(b"stdout", piece)
    assert text_of(read(tmp_path)) == b"".join(pieces)


def test_the_form_is_the_fields(tmp_path: Path) -> None:
    LogFile(str(tmp_path / LOG), max_bytes=BIG, max_files=1).write(b"stderr", b"one\ntwo")
    first, second = (tmp_path / LOG).read_text().splitlines()
    assert first[30:] == " stderr F one" and second[30:] == " stderr P two"
    assert first[:30] == read_time(first[:30])  # RFC 3339, UTC, nanoseconds
    assert (tmp_path / LOG).stat().st_mode & 0o777 == 0o600


def test_streams_keep_their_order(tmp_path: Path) -> None:
    log = LogFile(str(tmp_path / LOG), max_bytes=BIG, max_files=2)
    for number in range(4):
        log.write(b"stderr" if number % 2 else b"stdout", b"%d\n" % number)
    assert [one.data for one in read(tmp_path)] == [b"0", b"1", b"2", b"3"]


@pytest.mark.parametrize("files", [1, 2, 5])
def test_it_grows_to_its_bound_and_no_further(tmp_path: Path, files: int) -> None:
    log = LogFile(str(tmp_path / LOG), max_bytes=2000, max_files=files)
    for number in range(1000):
        log.write(b"stdout", b"line %d\n" % number)
    found = sorted(tmp_path.iterdir())
    assert len(found) == files and all(path.stat().st_size <= 2000 for path in found)
    lines = text_of(read(tmp_path)).splitlines()
    assert lines[-1] == b"line 999" and len(lines) > 40 * (files - 1)
    assert lines == [b"line %d" % n for n in range(1000 - len(lines), 1000)]


def test_one_write_larger_than_a_file(tmp_path: Path) -> None:
    log = LogFile(str(tmp_path / LOG), max_bytes=1024, max_files=100)
    log.write(b"stdout", b"y\n" * 300 + b"z" * 3000)
    assert all(path.stat().st_size <= 1024 for path in tmp_path.iterdir())
    assert text_of(read(tmp_path)) == b"y\n" * 300 + b"z" * 3000


def test_a_reader_survives_rotation(tmp_path: Path) -> None:
    log = LogFile(str(tmp_path / LOG), max_bytes=1024, max_files=4)
    seen = b""
    with LogReader(tmp_path / LOG) as reader:
        for number in range(200):
            log.write(b"stdout", b"%d\n" % number)
            if number % 30 == 7:
                seen += text_of([one for line in reader.lines() if (one := parse(line))])
        seen += text_of([one for line in reader.lines() if (one := parse(line))])
    assert seen.split() == [b"%d" % n for n in range(200)]


def test_a_torn_record_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / LOG
    LogFile(str(path), max_bytes=BIG, max_files=1).write(b"stdout", b"whole\n")
    with path.open("ab") as file:
        file.write(b"2026-11-27T16:00")
    LogFile(str(path), max_bytes=BIG, max_files=1).write(b"stdout", b"next\n")
    assert text_of(read(tmp_path)) == b"whole\nnext\n"


@pytest.mark.parametrize("line", [b"", b"x", b"a b c d", b"2026-11-27T16:00:00.123456789Z other F x", b"\xff" * 30 + b" stdout F x"])  # fmt: skip
def test_what_is_no_record(line: bytes) -> None:
    assert parse(line) is None


@pytest.mark.parametrize("count", [0, 1, 2, 39, 40, 41, 1000])
def test_the_last_lines(tmp_path: Path, count: int) -> None:
    log = LogFile(str(tmp_path / LOG), max_bytes=1024, max_files=10)
    for number in range(40):
        log.write(b"stdout", b"begin ")
        log.write(b"stdout", b"%d\n" % number)
    expected = [b"begin %d" % n for n in range(40)][max(0, 40 - count) :]
    assert text_of(read(tmp_path, tail=count)).splitlines() == expected


def test_the_last_lines_of_two_streams(tmp_path: Path) -> None:
    log = LogFile(str(tmp_path / LOG), max_bytes=BIG, max_files=1)
    log.write(b"stdout", b"a\nhalf ")
    log.write(b"stderr", b"b\nc\n")
    log.write(b"stdout", b"line\n")
    found = read(tmp_path, tail=2)
    assert text_of(found) == b"" and text_of(found, "stderr") == b"b\nc\n"
    assert text_of(read(tmp_path, tail=3)) == b"half line\n"


def test_since_and_until(tmp_path: Path) -> None:
    log = LogFile(str(tmp_path / LOG), max_bytes=BIG, max_files=1)
    for text in (b"a\n", b"b\n", b"c\n"):
        log.write(b"stdout", text)
    stamps = [one.stamp for one in read(tmp_path)]
    assert text_of(read(tmp_path, since=stamps[1])) == b"b\nc\n"
    assert text_of(read(tmp_path, until=stamps[1])) == b"a\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2026-11-27T16:00:00Z", "2026-11-27T16:00:00.000000000Z"),
        ("2026-11-27T16:00:00.5+01:00", "2026-11-27T15:00:00.500000000Z"),
        ("2026-11-27T16:00:00.123456789Z", "2026-11-27T16:00:00.123456789Z"),
        ("1", "1970-01-01T00:00:01.000000000Z"), ("1.25", "1970-01-01T00:00:01.250000000Z"), ("", ""),
    ],
)  # fmt: skip
def test_times(text: str, found: str) -> None:
    assert read_time(text) == found
    assert read_time("10m") < read_time("1s")


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "x5m", "-1", "9" * 20])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UsageError):
        read_time(text)


def test_options_are_bounded() -> None:
    found = log_options({"log_opt": ("max-size=10k", "max-file=3"), "log_driver": "json-file"})
    assert (found.driver, found.max_bytes, found.max_files) == ("k8s-file", 10240, 3)
    for bad in ("max-size=1", "max-file=0", "max-file=x", "max-file=1001", "size=1"):
        with pytest.raises(UsageError):
            log_options({"log_opt": (bad,)})
    with pytest.raises(UsageError):
        read_tail("-1")


def test_the_writer_imports_nothing(tmp_path: Path) -> None:
    """What stays beside every container: no `re`, `json`, `os` and their like."""
    home = Path(sys.modules[LogFile.__module__].__file__ or "").parents[1]
    script = (
        f"import sys; sys.path.append({str(home)!r}); had = set(sys.modules); import beside.main;"
        "print(sorted(set(sys.modules) - had))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True
    )
    allowed = {"select", "fcntl", "_socket", "_signal", "time", "posix"}
    found = {name for name in eval(done.stdout) if not name.startswith("beside")}
    assert found <= allowed


def test_a_container_of_many_lines(inn: Inn) -> None:
    """`-f` gets each line once, through rotations, and the log stays within its bounds."""
    script = "for i in $(seq 3000); do echo $i; done"
    options = ["--log-opt", "max-size=16k", "--log-opt", "max-file=20"]
    assert inn.run("-d", "--name", "l", *options, IMAGE, "sh", "-c", script).returncode == 0
    followed = inn("logs", "-f", "l")
    assert followed.stdout.split() == [b"%d" % n for n in range(1, 3001)]
    folder = inn.folder / "state/innkeeper/containers"
    logs = list(folder.glob(f"*/{LOG}*"))
    assert 1 < len(logs) <= 20 and all(log.stat().st_size <= 16384 for log in logs)
    assert inn("logs", "--tail", "2", "l").stdout == b"2999\n3000\n"
    stamp, line = inn("logs", "-t", "--tail", "1", "l").stdout.split()
    assert line == b"3000"
    since = inn("logs", "--since", stamp.decode(), "l").stdout  # what was read at once has one time
    assert since.endswith(b"\n3000\n") and followed.stdout.endswith(since)
    assert inn("logs", "--until", "1h", "l").stdout == b""
    assert inn("rm", "l").returncode == 0 and inn.left() == []


def test_a_log_that_is_not_kept(inn: Inn) -> None:
    assert inn.run("-d", "--name", "l", "--log-driver", "none", IMAGE, "echo", "x").returncode == 0
    assert inn("wait", "l").stdout == b"0\n" and inn("logs", "l").stdout == b""
    assert inn("rm", "l").returncode == 0
    assert inn.run("-d", "--log-opt", "max-size=0", IMAGE, "true").returncode == 2


def test_streams_of_another_user(inn: Inn) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to be another user inside")
    script = "echo out >/dev/stdout; echo err >/dev/stderr"
    assert inn.run("-d", "--name", "l", "-u", "web", IMAGE, "sh", "-c", script).returncode == 0
    assert inn("wait", "l").stdout == b"0\n"
    logs = inn("logs", "l")
    assert (logs.stdout, logs.stderr) == (b"out\n", b"err\n")
    assert inn("rm", "l").returncode == 0
