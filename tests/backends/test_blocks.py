"""Disks on the host's side: raw files, and overlays that leave their base alone."""

from __future__ import annotations

import errno
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innkeeper.backends.block_file import FileDisk
from innkeeper.backends.block_overlay import CLUSTER_BYTES, OverlayDisk
from innkeeper.base.errors import NotFoundError, StorageError


def views(*parts):
    return [memoryview(bytearray(p)) for p in parts]


def read(disk, offset, length):
    out = views(bytes(length))
    disk.readv(out, offset)
    return bytes(out[0])


def test_an_odd_size_is_rounded_up_and_reads_as_zeroes(tmp_path):
    path = tmp_path / "odd.img"
    path.write_bytes(b"x" * 700)
    disk = FileDisk(path)
    assert disk.size_bytes == 700
    assert read(disk, 512, 512) == b"x" * 188 + bytes(324)
    disk.writev(views(b"y" * 512), 512)
    disk.flush()
    assert path.read_bytes() == b"x" * 512 + b"y" * 512
    with pytest.raises(OSError, match="beyond the end"):
        disk.writev(views(b"z"), 1024)
    disk.close()
    disk.close()


def test_more_segments_than_one_call_takes(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(3000 * 4))
    disk = FileDisk(path)
    disk.writev(views(*(n.to_bytes(4, "little") for n in range(3000))), 0)
    out = views(*(bytes(4) for _ in range(3000)))
    disk.readv(out, 0)
    assert [int.from_bytes(v, "little") for v in out] == list(range(3000))
    disk.close()


def test_write_zeroes_falls_back_to_writing(tmp_path, monkeypatch):
    path = tmp_path / "disk.img"
    path.write_bytes(b"x" * (3 << 20))
    disk = FileDisk(path)
    monkeypatch.setattr(disk, "_fallocate", lambda *args: False)
    disk.write_zeroes(512, (2 << 20) + 512, may_unmap=False)
    data = path.read_bytes()
    assert data[:512] == b"x" * 512 and data[512 : 1024 + (2 << 20)] == bytes((2 << 20) + 512)
    assert data[1024 + (2 << 20) :] == b"x" * ((1 << 20) - 1024)
    disk.discard(0, 512)  # allowed to do nothing
    disk.close()


def test_discard_frees_room_on_the_host(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(b"x" * (1 << 20))
    disk = FileDisk(path)
    before = os.stat(path).st_blocks
    disk.discard(0, 1 << 19)
    assert os.stat(path).st_size == 1 << 20
    if read(disk, 0, 1) == b"x":
        pytest.skip("the host's file system cannot punch holes")
    assert os.stat(path).st_blocks < before
    disk.close()


def test_errors_say_what_is_wrong(tmp_path):
    with pytest.raises(NotFoundError, match="does not exist"):
        FileDisk(tmp_path / "nothing")
    with pytest.raises(StorageError):
        FileDisk(tmp_path)
    with pytest.raises(StorageError, match="neither a file nor"):
        FileDisk("/dev/null")


def test_a_read_only_disk_refuses_everything_that_changes_it(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(512))
    disk = FileDisk(path, read_only=True)
    for change in (
        lambda: disk.writev(views(b"x"), 0),
        lambda: disk.discard(0, 512),
        lambda: disk.write_zeroes(0, 512, may_unmap=True),
    ):
        with pytest.raises(OSError) as caught:
            change()
        assert caught.value.errno == errno.EROFS
    disk.close()


SIZE = 5 * CLUSTER_BYTES + 700
RANGES = st.tuples(
    st.sampled_from(["write", "zero", "read"]),
    st.integers(0, SIZE // 512),
    st.integers(1, 2 * CLUSTER_BYTES // 512),
    st.integers(1, 255),
)


@given(st.lists(RANGES, max_size=12))
@settings(derandomize=True, max_examples=60, deadline=None)
def test_an_overlay_is_a_disk_of_its_own(tmp_path_factory, steps):
    path = tmp_path_factory.mktemp("overlay") / "base.img"
    content = bytes(n * 7 & 0xFF for n in range(251)) * (SIZE // 251 + 1)
    path.write_bytes(content[:SIZE])
    rounded = -(-SIZE // 512) * 512
    model = bytearray(content[:SIZE].ljust(rounded, b"\0"))
    overlay = OverlayDisk(FileDisk(path, read_only=True))
    for kind, sector, count, fill in steps:
        start = sector * 512
        length = min(count * 512, rounded - start)
        if length <= 0:
            continue
        if kind == "write":
            half = length // 2
            data = bytes([fill]) * half, bytes([fill ^ 255]) * (length - half)
            overlay.writev(views(*data), start)
            model[start : start + length] = data[0] + data[1]
        elif kind == "zero":
            overlay.write_zeroes(start, length, may_unmap=False)
            model[start : start + length] = bytes(length)
        else:
            assert read(overlay, start, length) == model[start : start + length]
    assert read(overlay, 0, rounded) == model
    assert path.read_bytes() == content[:SIZE]
    overlay.flush()
    overlay.close()


def test_an_overlay_leaves_no_file_behind(tmp_path):
    base = tmp_path / "base.img"
    base.write_bytes(bytes(CLUSTER_BYTES))
    overlay = OverlayDisk(FileDisk(base, read_only=True), directory=tmp_path)
    overlay.writev(views(b"x" * 512), 0)
    assert [p.name for p in tmp_path.iterdir()] == ["base.img"]
    with pytest.raises(OSError, match="beyond the end"):
        overlay.writev(views(b"x" * 512), CLUSTER_BYTES)
    overlay.discard(0, CLUSTER_BYTES)
    overlay.close()


def test_an_overlay_needs_room(tmp_path):
    base = tmp_path / "base.img"
    base.write_bytes(bytes(512))
    with pytest.raises(StorageError, match="no room"):
        OverlayDisk(FileDisk(base, read_only=True), directory=tmp_path / "missing")
