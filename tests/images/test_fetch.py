"""Downloads: resumed, checked, kept; and every way in which one can go wrong."""

from __future__ import annotations

import errno
import hashlib
import os
import random
from pathlib import Path

import pytest

from innkeeper.base.errors import DownloadError, IntegrityError, StorageError
from innkeeper.images.fetch import Fetcher, NotOnMirror, Wanted
from innkeeper.images.transport import request

from .web import Web

DATA = random.Random(7).randbytes(700_001)


class Bar:
    """A `Progress` that remembers."""

    def __init__(self) -> None:
        self.done, self.total, self.open = 0, 0, 0

    def start(self, label: str, total: int | None = None) -> int:
        self.total, self.open = total or 0, self.open + 1
        return 1

    def advance(self, token: int, amount: int) -> None:
        self.done += amount

    def finish(self, token: int) -> None:
        self.open -= 1


def wanted(web: Web, data: bytes = DATA, *, name: str = "file") -> Wanted:
    (web.root / name).write_bytes(data)
    return Wanted(f"{web.url}/{name}", hashlib.sha256(data).hexdigest(), len(data))


def fetcher(tmp_path: Path, bar: Bar | None = None) -> Fetcher:
    return Fetcher(cache=tmp_path / "dl", progress=bar or Bar(), wait=lambda _: None)


def leftovers(tmp_path: Path) -> list[str]:
    return [p.name for p in (tmp_path / "dl").rglob("*.part")]


def test_a_file_is_fetched_once(web: Web, tmp_path: Path) -> None:
    bar, want = Bar(), wanted(web)
    first = fetcher(tmp_path, bar).fetch(want)
    again = fetcher(tmp_path).fetch(want)
    assert first.read_bytes() == DATA
    assert first == again
    assert len(web.requests) == 1
    assert (bar.done, bar.total, bar.open) == (len(DATA), len(DATA), 0)
    assert leftovers(tmp_path) == []


def test_a_broken_connection_is_resumed_where_it_stopped(web: Web, tmp_path: Path) -> None:
    want = wanted(web)
    web.faults.cut["/file"] = 300_000
    bar = Bar()
    assert fetcher(tmp_path, bar).fetch(want).read_bytes() == DATA
    asked = [ranges for _, ranges in web.requests]
    assert asked[0] == ""
    assert asked[1].startswith("bytes=")
    assert 0 < int(asked[1][6:-1]) <= 300_000
    assert bar.done == len(DATA)


def test_a_killed_download_is_resumed_by_the_next_process(web: Web, tmp_path: Path) -> None:
    want = wanted(web)
    folder = tmp_path / "dl/sha256" / want.sha256[:2]
    folder.mkdir(parents=True)
    (folder / f"{want.sha256}.part").write_bytes(DATA[:123_456])
    assert fetcher(tmp_path).fetch(want).read_bytes() == DATA
    assert web.requests == [("/file", "bytes=123456-")]


def test_a_complete_part_needs_no_request(web: Web, tmp_path: Path) -> None:
    want = wanted(web)
    folder = tmp_path / "dl/sha256" / want.sha256[:2]
    folder.mkdir(parents=True)
    (folder / f"{want.sha256}.part").write_bytes(DATA)
    assert fetcher(tmp_path).fetch(want).read_bytes() == DATA
    assert web.requests == []


def test_a_part_of_another_file_is_thrown_away(web: Web, tmp_path: Path) -> None:
    want = wanted(web)
    folder = tmp_path / "dl/sha256" / want.sha256[:2]
    folder.mkdir(parents=True)
    (folder / f"{want.sha256}.part").write_bytes(b"x" * 5000)
    bar = Bar()
    assert fetcher(tmp_path, bar).fetch(want).read_bytes() == DATA
    assert [ranges for _, ranges in web.requests] == ["bytes=5000-", ""]
    assert bar.done == len(DATA)


def test_a_server_without_ranges_sends_it_all_again(web: Web, tmp_path: Path) -> None:
    want = wanted(web)
    web.faults.cut["/file"] = 300_000
    web.faults.no_ranges = True
    assert fetcher(tmp_path).fetch(want).read_bytes() == DATA


def test_a_damaged_cache_is_fetched_again(web: Web, tmp_path: Path) -> None:
    want = wanted(web)
    path = fetcher(tmp_path).fetch(want)
    path.write_bytes(b"y" * len(DATA))
    assert fetcher(tmp_path).fetch(want).read_bytes() == DATA


@pytest.mark.parametrize("served", [DATA[:-1] + b"!", DATA + b"!", DATA * 2])
def test_other_content_is_refused_and_not_kept(web: Web, tmp_path: Path, served: bytes) -> None:
    want = wanted(web)
    (web.root / "file").write_bytes(served)
    with pytest.raises(IntegrityError, match="not the file"):
        fetcher(tmp_path).fetch(want)
    assert leftovers(tmp_path) == []
    assert not [p for p in (tmp_path / "dl").rglob("*") if p.name == want.sha256]


def test_a_file_that_is_too_short_is_an_interrupted_download(web: Web, tmp_path: Path) -> None:
    want = wanted(web)
    (web.root / "file").write_bytes(DATA[:1000])
    with pytest.raises(DownloadError):
        fetcher(tmp_path).fetch(want)


def test_a_full_disk_is_said_and_leaves_nothing(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left") as caught:
        fetcher(tmp_path).fetch(wanted(web))
    assert "free some space" in caught.value.fix
    assert leftovers(tmp_path) == []


def test_statuses_of_a_server(web: Web, tmp_path: Path) -> None:
    want = wanted(web)
    web.faults.status["/file"] = [503, 429]
    assert fetcher(tmp_path).fetch(want).read_bytes() == DATA
    web.faults.status["/gone"] = [403]
    with pytest.raises(DownloadError, match="403"):
        fetcher(tmp_path).fetch_small(f"{web.url}/gone")
    with pytest.raises(NotOnMirror, match="404"):
        fetcher(tmp_path).fetch_small(f"{web.url}/nowhere")


def test_nobody_answers(tmp_path: Path) -> None:
    with pytest.raises(DownloadError) as caught:
        fetcher(tmp_path).fetch_small("http://127.0.0.1:1/x")
    assert "check the network" in caught.value.fix


def test_a_password_is_sent_but_not_shown(web: Web, tmp_path: Path) -> None:
    url = web.url.replace("//", "//user:secret@")
    with pytest.raises(NotOnMirror) as caught:
        fetcher(tmp_path).fetch_small(f"{url}/nowhere")
    assert "secret" not in str(caught.value)


def test_small_files_are_bounded(web: Web, tmp_path: Path) -> None:
    wanted(web)
    with pytest.raises(DownloadError, match="too large"):
        fetcher(tmp_path).fetch_small(f"{web.url}/file", limit=1000)


def test_local_files(web: Web, tmp_path: Path) -> None:
    wanted(web)
    url = f"file:{web.root}/file"
    assert fetcher(tmp_path).fetch_small(url) == DATA
    with request(url, start=700_000) as answer:
        assert (answer.start, b"".join(answer.chunks())) == (700_000, DATA[-1:])
    with pytest.raises(NotOnMirror):
        fetcher(tmp_path).fetch_small(f"file:{tmp_path}/nowhere")
