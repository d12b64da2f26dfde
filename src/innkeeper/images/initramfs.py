"""The initramfs: busybox, the modules a root disk needs, and an `/init` that the caller gives."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

from innkeeper.images.store import Blob, ModuleRecord
from innkeeper.images.tarsafe import Kind
from innkeeper.images.tree import Tree

WANTED_MODULES = (
    "virtio_mmio", "virtio_pci", "virtio_blk", "virtio_console", "virtio_rng", "virtio_net",
    "virtio_balloon", "vmw_vsock_virtio_transport", "ext4", "overlay", "9p", "9pnet_virtio",
    "fuse", "virtiofs", "squashfs", "isofs", "vfat", "nls_ascii", "nls_cp437", "loop", "tun",
    "af_packet", "rtc_goldfish",
)  # fmt: skip
"""What an initramfs offers; what a kernel has built in, or has not, is left out."""

_FOLDERS = ("dev", "etc", "mnt", "proc", "root", "run", "sys", "tmp")
_MERGED = ("bin", "sbin", "lib")
_APPLET = re.compile(r"[a-z0-9_.+-]{1,32}|\[|\[\[", re.ASCII)
MAX_APPLET_BYTES = 16 << 10


def build(
    tree: Tree,
    *,
    init: str,
    busybox: bytes,
    release: str,
    modules: tuple[ModuleRecord, ...],
    read: Callable[[Blob], bytes],
    files: Mapping[str, bytes] | None = None,
) -> None:
    """Fill `tree` with an initramfs for the kernel `release`.

    `init` becomes `/init` (a script starts with `#!/bin/busybox sh`); `files` are further ones
    by absolute path, executable. Modules stand under `/lib/modules/RELEASE` with the indices
    that `modprobe` reads, and `/lib/modules/RELEASE/load-order` lists all of them, one path a
    line, each after what it needs.
    """
    for folder in _FOLDERS:
        tree.folder(folder)
    for name in _MERGED:
        tree.folder(f"usr/{name}")
        tree.symlink(name, f"usr/{name}")
    tree.folder("tmp", mode=0o1777)
    tree.folder("root", mode=0o700)
    # The kernel opens this one before /init runs.
    tree.device("dev/console", Kind.CHAR, device=(5, 1), mode=0o600)
    tree.device("dev/null", Kind.CHAR, device=(1, 3), mode=0o666)
    tree.write("bin/busybox", busybox, mode=0o755)
    for applet in ("bin/sh", "sbin/modprobe", "sbin/insmod"):
        tree.symlink(applet, "/bin/busybox")
    for applet in applets(busybox):
        tree.symlink(f"bin/{applet}", "/bin/busybox")
    tree.write("init", init.encode(), mode=0o755)
    _add_modules(tree, release, modules, read)
    for path, data in sorted((files or {}).items()):
        tree.write(path, data, mode=0o755)


def applets(busybox: bytes) -> list[str]:
    """Return the commands that a busybox binary answers to, but for `sh` and its own name.

    Its `applet_names` is one table of names, each ended by a NUL, in order from `[`, with an empty
    name after the last (busybox, libbb/appletlib.c). No table found: no names.
    """
    start = busybox.find(b"[\0[[\0")
    end = busybox.find(b"\0\0", start)
    if start < 0 or not start < end <= start + MAX_APPLET_BYTES:
        return []
    names = busybox[start:end].decode("ascii", "replace").split("\0")
    return [
        n
        for n in names
        if _APPLET.fullmatch(n) and n not in ("sh", "busybox", "insmod", "modprobe")
    ]


def _add_modules(
    tree: Tree,
    release: str,
    modules: tuple[ModuleRecord, ...],
    read: Callable[[Blob], bytes],
) -> None:
    base = f"lib/modules/{release}"
    tree.folder(base)
    paths = {module.name: module.path for module in modules}
    by_name = {module.name: module for module in modules}
    lines = []
    for module in modules:
        tree.write(f"{base}/{module.path}", read(module.blob))
        # modules.dep(5): everything needed, the last one first to be loaded.
        lines.append(f"{module.path}: {' '.join(paths[n] for n in _needs(module, by_name))}\n")
    tree.write(f"{base}/modules.dep", "".join(lines).encode())
    tree.write(f"{base}/load-order", "".join(f"{m.path}\n" for m in modules).encode())
    for name in ("modules.alias", "modules.symbols"):
        tree.write(f"{base}/{name}", b"")


def _needs(module: ModuleRecord, by_name: Mapping[str, ModuleRecord]) -> list[str]:
    """Return all that `module` needs, nearest first."""
    found: dict[str, None] = {}

    def visit(name: str) -> None:
        for other in by_name[name].needs:
            if other not in found and other in by_name:
                visit(other)
                found.setdefault(other)

    visit(module.name)
    return list(reversed(found))


def relative_module_path(path: str, release: str) -> str:
    """Return a module's path below `lib/modules/RELEASE/` from its path in a package."""
    parts = PurePosixPath(path).parts
    return "/".join(parts[parts.index(release) + 1 :]) if release in parts else path.lstrip("/")


BUSYBOX_INIT = """\
#!/bin/busybox sh
# The inn's small image: a busybox shell on the console, power off when it ends.
export PATH=/usr/bin:/usr/sbin:/bin:/sbin HOME=/root TERM="${TERM:-linux}"
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev 2>/dev/null
/bin/busybox --install -s /bin
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /run
for module in virtio_mmio virtio_rng; do modprobe "$module" 2>/dev/null; done
hostname inn
setsid cttyhack sh
sync
poweroff -f
"""

DISK_INIT = """\
#!/bin/busybox sh
# Mount the root disk and hand over to the system on it.
export PATH=/bin:/sbin
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs devtmpfs /dev 2>/dev/null
busybox mkdir -p /newroot
root=/dev/vda init=/sbin/init mode=rw
for word in $(busybox cat /proc/cmdline); do
    case $word in
        root=*) root=${word#root=} ;;
        init=*) init=${word#init=} ;;
        ro|rw) mode=$word ;;
    esac
done
for module in virtio_mmio virtio_blk ext4 virtio_rng; do
    busybox modprobe "$module" 2>/dev/null
done
tries=0
until [ -b "$root" ] || [ $tries -ge 100 ]; do
    busybox usleep 100000
    tries=$((tries + 1))
done
if ! busybox mount -t ext4 -o "$mode" "$root" /newroot; then
    echo "innkeeper: the root disk $root cannot be mounted"
    busybox poweroff -f
fi
busybox mount -o move /dev /newroot/dev
busybox mount -o move /sys /newroot/sys
busybox mount -o move /proc /newroot/proc
[ -x "/newroot$init" ] || [ -L "/newroot$init" ] || init=/bin/sh
exec /bin/busybox switch_root /newroot "$init"
echo "innkeeper: $init cannot be started"
/bin/busybox poweroff -f
"""
