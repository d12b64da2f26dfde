"""The second stage of installation: what only the system itself can do, run inside the guest.

`finish` boots the unpacked image once with a runner that it is handed, and keeps what becomes
of the disk.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from innkeeper.base.errors import ImageError
from innkeeper.images.paths import storage_errors
from innkeeper.images.progress import SILENT, Progress
from innkeeper.images.store import Manifest, Store, image_key

FOLDER = "var/lib/innkeeper"
SCRIPT_PATH = f"{FOLDER}/second-stage"
ORDER_PATH = f"{FOLDER}/unpack-order"
ROOT_ARCHIVE = "rootfs.tar"
FORMAT_MARK = "etc/innkeeper-format"
CMDLINE = "console=ttyS0 quiet panic=-1"
MEMORY_BYTES = 1 << 30
_MARK = re.compile(r"innkeeper: second stage ended with (\d{1,3})\b", re.ASCII)
_TAIL_LINES = 15


@dataclass(frozen=True)
class SetupJob:
    """A guest to run until it powers itself off: `disk` is raw, writable, its `/dev/vda`."""

    kernel: Path
    initrd: Path
    disk: Path
    cmdline: str = CMDLINE
    memory_bytes: int = MEMORY_BYTES


RunInGuest = Callable[[SetupJob], str]
"""Boot a job, wait for the power-off, and return what the guest wrote to its console."""


def finish(
    image: Manifest, run_in_guest: RunInGuest, *, store: Store, progress: Progress = SILENT
) -> Manifest:
    """Configure an unpacked image inside a guest, and return the image that is ready.

    An image that is ready already is returned as it is. `ImageError` with the last lines of the
    guest's console when it fails; the unpacked image is then still there to try again.
    """
    if image.state == "ready" or image.disk is None or image.setup_initrd is None:
        return image
    key = image_key(image.name, image.suite, image.arch)
    with store.in_use(), store.lock(key):
        found = store.find(image.name, suite=image.suite, arch=image.arch)
        if found is not None and found.state == "ready" and found.include == image.include:
            return found  # another process has done it while we waited
        token = progress.start(f"configuring {image.name} in a guest")
        try:
            done = _configure(image, run_in_guest, store)
        finally:
            progress.finish(token)
        store.save(done)
    return done


def _configure(image: Manifest, run_in_guest: RunInGuest, store: Store) -> Manifest:
    assert image.disk is not None and image.setup_initrd is not None
    with store.staging() as staging:
        disk = staging / "disk"
        copy_sparse(store.blob_path(image.disk), disk)
        job = SetupJob(
            kernel=store.blob_path(image.kernel),
            initrd=store.blob_path(image.setup_initrd),
            disk=disk,
        )
        _judge(image, run_in_guest(job))
        return msgspec.structs.replace(
            image, disk=store.adopt(disk), disk_format="ext4", state="ready", setup_initrd=None
        )


def copy_sparse(source: Path, target: Path) -> None:
    """Copy a file without filling its holes."""
    with storage_errors("copy a disk", target), source.open("rb") as old, target.open("wb") as new:
        end = os.fstat(old.fileno()).st_size
        new.truncate(end)
        offset = 0
        while offset < end:
            try:
                start = os.lseek(old.fileno(), offset, os.SEEK_DATA)
            except OSError:  # ENXIO: only a hole is left
                return
            offset = os.lseek(old.fileno(), start, os.SEEK_HOLE)
            old.seek(start)
            new.seek(start)
            _copy_range(old.fileno(), new.fileno(), start, offset)


def _copy_range(source: int, target: int, start: int, end: int) -> None:
    while start < end:
        count = os.sendfile(target, source, start, min(end - start, 1 << 30))
        if not count:
            return
        start += count


def _judge(image: Manifest, console: str) -> None:
    marks = _MARK.findall(console)
    if marks and marks[-1] == "0":
        return
    lines = [line.rstrip() for line in console.splitlines() if line.strip()]
    why = f"it ended with {marks[-1]}" if marks else "the guest stopped before its end"
    tail = "\n".join(f"    {line[:200]}" for line in lines[-_TAIL_LINES:])
    raise ImageError(
        f"the second stage of {image.name} failed in the guest",
        why=why + (f"; its console ended with\n{tail}" if tail else ""),
        fix="run it again; with a different --include if a package is at fault",
    )


SECOND_STAGE = """\
#!/bin/sh
# Configure the packages that the host unpacked. Runs once, as root, on the installed system.
set -e
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C
export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true DPKG_ROOT=
cd /
umask 022
info=/var/lib/dpkg/info
here=/var/lib/innkeeper

# No service starts while it is being configured (invoke-rc.d(8)).
printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d

# Users and the library cache are what scripts take for granted.
for file in passwd group; do
    [ -e /etc/$file ] || cp /usr/share/base-passwd/$file.master /etc/$file
done
[ -e /usr/bin/awk ] || [ ! -e /usr/bin/mawk ] || ln -s mawk /usr/bin/awk
ldconfig

# The host only unpacked: each package's preinst runs here, in the order of unpacking.
while read -r package architecture stem; do
    [ -x "$info/$stem.preinst" ] || continue
    DPKG_MAINTSCRIPT_PACKAGE=$package DPKG_MAINTSCRIPT_ARCH=$architecture \\
    DPKG_MAINTSCRIPT_NAME=preinst DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1 DPKG_ADMINDIR=/var/lib/dpkg \\
    DPKG_RUNNING_VERSION=1.22.0 "$info/$stem.preinst" install </dev/null
done <$here/unpack-order

options='--force-depends --force-confold --force-unsafe-io'
dpkg $options --configure base-passwd base-files
dpkg $options --configure -a </dev/null
dpkg --audit

rm -f /usr/sbin/policy-rc.d
rm -rf $here /var/cache/debconf/*-old /var/lib/dpkg/*-old
rm -f /var/log/dpkg.log /var/log/alternatives.log
"""

SETUP_INIT = """\
#!/bin/busybox sh
# Run the second stage of installation on the disk, say how it ended, and power off.
export PATH=/bin:/sbin
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs devtmpfs /dev 2>/dev/null
for module in virtio_mmio virtio_blk ext4 virtio_rng; do
    busybox modprobe "$module" 2>/dev/null
done
tries=0
until [ -b /dev/vda ] || [ $tries -ge 100 ]; do
    busybox usleep 100000
    tries=$((tries + 1))
done
status=99
busybox mkdir -p /newroot
if [ -e /etc/innkeeper-format ]; then
    /usr/sbin/mke2fs -q -F -t ext4 -L inn -m 0 /dev/vda &&
    busybox mount -t ext4 /dev/vda /newroot &&
    busybox tar -x -f /rootfs.tar -C /newroot && busybox rm -f /rootfs.tar
else
    busybox mount -t ext4 /dev/vda /newroot
fi
if [ $? -eq 0 ]; then
    busybox mount -o bind /dev /newroot/dev
    busybox mount -t proc proc /newroot/proc
    busybox mount -t sysfs sysfs /newroot/sys
    busybox mkdir -p /newroot/run /newroot/dev/shm
    busybox mount -t tmpfs tmpfs /newroot/run
    busybox chroot /newroot /var/lib/innkeeper/second-stage
    status=$?
    busybox umount /newroot/run /newroot/sys /newroot/proc /newroot/dev
    busybox sync
    busybox umount /newroot || busybox mount -o remount,ro /newroot || status=98
fi
echo "innkeeper: second stage ended with $status"
busybox poweroff -f
"""
