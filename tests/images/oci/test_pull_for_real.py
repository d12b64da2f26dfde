"""`inn image pull` as a user has it: killed, twice at once, on a disk that fills up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from innkeeper.images.oci.content import ContentStore
from innkeeper.images.oci.image import find_image

from .fake_registry import FakeRegistry
from .kit import make_image, tar_of

BIG = tar_of([("file", "big", os.urandom(3_000_000))])
STALL = 2_000_000


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with FakeRegistry() as server:
        try:
            yield server
        finally:
            server.faults.go_on.set()


def start(fake: FakeRegistry, data: Path, tag: str = "1") -> subprocess.Popen[str]:
    environment = {**os.environ, "XDG_DATA_HOME": str(data)}
    words = [sys.executable, "-m", "innkeeper", "image", "pull", f"{fake.host}/a:{tag}"]
    return subprocess.Popen(
        words, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def pull(fake: FakeRegistry, data: Path, tag: str = "1") -> tuple[int, str]:
    process = start(fake, data, tag)
    out, err = process.communicate(timeout=120)
    return process.returncode, out + err


def test_a_killed_pull_is_resumed(fake: FakeRegistry, store: ContentStore, tmp_path: Path) -> None:
    image = make_image(store, BIG)
    fake.add(store, image, "1")
    fake.faults.stall = STALL
    process = start(fake, tmp_path / "data")
    assert fake.faults.stalled.wait(60)
    partial = tmp_path / "data/innkeeper/oci/partial"
    while not any(path.stat().st_size > STALL // 2 for path in partial.glob("*")):
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    here = ContentStore(tmp_path / "data/innkeeper/oci")
    assert here.names() == []
    fake.faults.go_on.set()
    fake.requests.clear()
    status, said = pull(fake, tmp_path / "data")
    assert status == 0, said
    (asked,) = fake.sent("GET", image.manifest.layers[0].digest)
    begin = int(asked["range"].removeprefix("bytes=").rstrip("-"))
    assert STALL // 2 < begin <= STALL
    assert find_image(here, f"{fake.host}/a:1").missing() == []


def test_two_pulls_at_once_fetch_once(
    fake: FakeRegistry, store: ContentStore, tmp_path: Path
) -> None:
    image = make_image(store, BIG)
    fake.add(store, image, "1")
    fake.faults.stall = STALL
    first = start(fake, tmp_path / "data")
    assert fake.faults.stalled.wait(60)
    second = start(fake, tmp_path / "data")
    while len(fake.sent("GET", "/manifests/")) < 2:  # the second one has got as far as the layer
        assert second.poll() is None
    fake.faults.go_on.set()
    for process in (first, second):
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert out.strip() == f"{fake.host}/a:1@{image.descriptor.digest}"
    assert len(fake.sent("GET", image.manifest.layers[0].digest)) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs root to mount a disk that is too small")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_disk_that_fills_up_loses_nothing(
    fake: FakeRegistry, store: ContentStore, small_disk: Path
) -> None:
    small = make_image(store, tar_of([("file", "s", b"small")]), name="small:1")
    fake.add(store, small, "small")
    image = make_image(store, BIG)
    fake.add(store, image, "1")
    assert pull(fake, small_disk, "small")[0] == 0
    status, said = pull(fake, small_disk)
    assert status == 125 and "No space left on device" in said and "free some space" in said
    here = ContentStore(small_disk / "innkeeper/oci")
    assert [name.name for name in here.names()] == [f"{fake.host}/a:small"]
    assert find_image(here, f"{fake.host}/a:small").missing() == []
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    fake.requests.clear()
    status, said = pull(fake, small_disk)
    assert status == 0, said
    (asked,) = fake.sent("GET", image.manifest.layers[0].digest)
    assert int(asked["range"].removeprefix("bytes=").rstrip("-")) > 1_000_000
