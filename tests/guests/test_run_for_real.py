"""`inn run` and `inn boot` by the public interface, on the real engine and the real kernel."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from innkeeper.api import Guest
from innkeeper.base.errors import GuestTimeout
from innkeeper.guests.request import join_initramfs
from innkeeper.images.store import Manifest, Store
from innkeeper.machines.outcome import End

pytestmark = pytest.mark.guest


def test_streams_and_exit_status_are_the_commands_own(image: Manifest) -> None:
    done = Guest.run("busybox", ["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (done.status, done.stdout, done.stderr) == (7, b"out\n", b"err\n")


def test_any_byte_goes_in_and_comes_out(image: Manifest) -> None:
    data = random.Random(1).randbytes(300_000)
    done = Guest.run("busybox", ["cat"], stdin=data)
    assert (done.status, done.stdout) == (0, data)


def test_arguments_arrive_exact(image: Manifest) -> None:
    words = ["a b", "it's", 'say "x"', "", "$HOME", "line\nbreak", "ü", "*"]
    done = Guest.run("busybox", ["printf", "%s|", *words])
    assert done.stdout == "".join(f"{w}|" for w in words).encode()


def test_two_harts_are_two_processors(image: Manifest) -> None:
    assert Guest.run("busybox", ["nproc"], cpus=2).stdout == b"2\n"


def test_a_volume_is_the_hosts_directory(image: Manifest, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("from the host\n")
    script = "cat /v/in; echo from the guest >/v/out; mkdir /v/d; ln -s out /v/l; sync"
    done = Guest.run("busybox", ["sh", "-c", script], volumes=[f"{tmp_path}:/v"])
    assert (done.status, done.stdout) == (0, b"from the host\n")
    assert (tmp_path / "out").read_text() == "from the guest\n"
    assert os.readlink(tmp_path / "l") == "out" and (tmp_path / "d").is_dir()


def test_a_read_only_volume_stays_as_it_is(image: Manifest, tmp_path: Path) -> None:
    done = Guest.run("busybox", ["touch", "/v/x"], volumes=[f"{tmp_path}:/v:ro"])
    assert done.status == 1 and list(tmp_path.iterdir()) == []


def test_time_is_limited(image: Manifest) -> None:
    with pytest.raises(GuestTimeout):
        Guest.run("busybox", ["sleep", "1000"], timeout_s=6)


def test_the_command_line_ends_with_the_guests_status(image: Manifest) -> None:
    inn = [sys.executable, "-m", "innkeeper", "run", "busybox", "--"]
    assert subprocess.run([*inn, "no-such-command"], stdin=subprocess.DEVNULL).returncode == 127
    assert subprocess.run([*inn, "/etc"], stdin=subprocess.DEVNULL).returncode == 126
    killed = subprocess.run([*inn, "sh", "-c", "kill -9 $$"], stdin=subprocess.DEVNULL)
    assert killed.returncode == 128 + 9


INIT = """#!/bin/busybox sh
mount -t proc proc /proc
modprobe virtio_mmio
modprobe virtio_blk
while [ ! -b /dev/vda ]; do mount -t devtmpfs dev /dev; usleep 5000; done
dd if=/dev/vda bs=4096 count=1 2>/dev/null | sha256sum
echo written by the guest | dd of=/dev/vda bs=4096 seek=1 conv=notrunc,fsync 2>/dev/null
echo done
read line
echo "heard: $line"
poweroff -f
"""


def test_a_disk_keeps_what_was_written(image: Manifest, tmp_path: Path) -> None:
    disk, initrd = tmp_path / "disk.img", tmp_path / "initrd"
    first = random.Random(2).randbytes(4096)
    disk.write_bytes(first + bytes((1 << 20) - 4096))
    store = Store()
    script = INIT.encode()
    initrd.write_bytes(join_initramfs(store.blob_path(image.initrd).read_bytes(), cpio(script)))
    with Guest.boot(
        kernel=store.blob_path(image.kernel),
        initrd=initrd,
        append="console=ttyS0 quiet",
        disks=[str(disk)],
    ) as guest:
        seen = guest.console.expect(b"done")
        guest.console.send("hello\n")
        guest.console.expect(b"heard: hello")
        assert guest.wait(60).end is End.POWER_OFF
    assert hashlib.sha256(first).hexdigest().encode() in seen
    kept = disk.read_bytes()
    assert kept[:4096] == first and kept[4096:].startswith(b"written by the guest\n")


def cpio(init: bytes) -> bytes:
    """Return a newc archive with nothing but an executable /init."""

    def entry(name: bytes, mode: int, data: bytes) -> bytes:
        fields = (1, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08x" % n for n in fields) + name + b"\0"
        return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)

    return entry(b"init", 0o100755, init) + entry(b"TRAILER!!!", 0, b"")
