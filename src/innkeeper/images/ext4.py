"""An ext4 file system made from a tree by the host's `mke2fs`, without being root.

mke2fs 1.47.1 and later take a tar archive (`-d FILE`, if built with libarchive), which carries
owners and devices. Older ones take a folder; owners, modes and devices are then set in the
image by `debugfs`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from innkeeper.base.errors import ImageError, StorageError
from innkeeper.images import tarwrite
from innkeeper.images.paths import storage_errors
from innkeeper.images.tarsafe import Kind
from innkeeper.images.tree import Node, Tree

DEFAULT_DISK_BYTES = 4 << 30
MIN_FREE_BYTES = 256 << 20
_SBIN = ("/usr/sbin", "/sbin", "/usr/local/sbin")
_TOOL_TIMEOUT_S = 1800
_HOST_MODES = {Kind.FILE: 0o600, Kind.DIR: 0o700}
_ON_HOST = (Kind.FILE, Kind.DIR, Kind.SYMLINK)
_TYPE_BITS = {
    Kind.FILE: 0o100000,
    Kind.DIR: 0o040000,
    Kind.CHAR: 0o020000,
    Kind.BLOCK: 0o060000,
    Kind.FIFO: 0o010000,
}


def available() -> bool:
    """Tell whether this host can make ext4 (mke2fs, and debugfs beside it)."""
    return _tool("mke2fs") is not None and _tool("debugfs") is not None


def make(tree: Tree, target: Path, *, size: int = DEFAULT_DISK_BYTES, staging: Path) -> None:
    """Write `tree` as a sparse ext4 image of `size` bytes at `target`.

    `ImageError` when the tree does not fit or the tools refuse, `StorageError` for a full disk.
    """
    need = sum(node.content.size for _, node in tree.walk()) + MIN_FREE_BYTES
    if need > size:
        raise ImageError(
            "the system does not fit its disk",
            why=f"it needs {need >> 20} MiB and the disk has {size >> 20} MiB",
            fix="ask for a larger disk",
        )
    if not (_takes_tar() and _make_from_tar(tree, target, size, staging)):
        _make_from_folder(tree, target, size, staging)


def make_empty(target: Path, *, size: int = DEFAULT_DISK_BYTES) -> None:
    """Write a disk of zeroes that takes no room, for a guest to format."""
    with storage_errors("make a disk", target), target.open("wb") as file:
        file.truncate(size)


def _takes_tar() -> bool:
    done = _run([_need("mke2fs"), "-V"])
    match = re.search(r"mke2fs (\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?", done.stderr + done.stdout)
    return match is not None and tuple(int(n or 0) for n in match.groups()) >= (1, 47, 1)


def _make_from_tar(tree: Tree, target: Path, size: int, staging: Path) -> bool:
    archive = staging / "root.tar"
    try:
        tarwrite.write(tree, archive)
        done = _mke2fs(archive, target, size)
    finally:
        archive.unlink(missing_ok=True)
    # One built without libarchive says so: the other way is then taken.
    return done.returncode == 0


def _make_from_folder(tree: Tree, target: Path, size: int, staging: Path) -> None:
    folder, script = staging / "root", staging / "owners"
    attributes = staging / "attributes"
    try:
        with storage_errors("write a root file system", folder):
            commands = list(_materialise(tree, folder, attributes))
            script.write_text("".join(f"{c}\n" for c in commands), errors="surrogateescape")
        done = _mke2fs(folder, target, size)
        if done.returncode != 0:
            raise _failed("mke2fs", done)
        fixed = _run([_need("debugfs"), "-w", "-f", str(script), str(target)])
        # debugfs ends with 0 whatever happened: any complaint means the image is not right.
        complaints = [
            line
            for line in fixed.stderr.splitlines()
            if line.strip() and not line.startswith("debugfs ")
        ]
        if fixed.returncode != 0 or complaints:
            raise _failed("debugfs", fixed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(attributes, ignore_errors=True)


def _materialise(tree: Tree, folder: Path, attributes: Path) -> Iterator[str]:
    """Write files under `folder` and yield the debugfs commands for what a user cannot write.

    Nothing is followed or overwritten: the folder is new, and each name in it is made once.
    Values of extended attributes go into files under `attributes`, for debugfs to read.
    """
    first: dict[Node, bytes] = {}
    base = os.fsencode(folder)
    attributes.mkdir()
    for path, node in tree.walk():
        host = base + b"/" + path.encode("utf-8", "surrogateescape") if path else base
        if node in first:
            os.link(first[node], host, follow_symlinks=False)
            continue
        if node.kind in (Kind.FILE, Kind.SYMLINK):
            first[node] = host
        quoted = _quote(path)
        _write(tree, node, host)
        if node.kind not in _ON_HOST:
            yield from _special(path, node)
        yield from _owner(quoted, node)
        for name, value in node.xattrs.items():
            file = attributes / str(len(os.listdir(attributes)))
            file.write_bytes(value)
            yield f'ea_set -f "{file}" {quoted} "{name}"'
    for path, node in reversed(list(tree.walk())):
        # Last, and children first: making a file changes its folder's time.
        if node.kind in _ON_HOST:
            host = base + b"/" + path.encode("utf-8", "surrogateescape")
            os.utime(host, (node.mtime, node.mtime), follow_symlinks=False)


def _write(tree: Tree, node: Node, host: bytes) -> None:
    if node.kind is Kind.DIR:
        os.mkdir(host, _HOST_MODES[Kind.DIR])
    elif node.kind is Kind.SYMLINK:
        os.symlink(node.target.encode("utf-8", "surrogateescape"), host)
    elif node.kind is Kind.FILE:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(host, flags, _HOST_MODES[Kind.FILE]), "wb") as out:
            for chunk in tree.spool.chunks(node.content):
                out.write(chunk)


def _special(path: str, node: Node) -> Iterator[str]:
    parent, _, name = path.rpartition("/")
    letter = {Kind.CHAR: "c", Kind.BLOCK: "b", Kind.FIFO: "p"}[node.kind]
    numbers = "" if node.kind is Kind.FIFO else f" {node.device[0]} {node.device[1]}"
    yield f"cd {_quote(parent)}"
    yield f'mknod "{name}" {letter}{numbers}'
    yield "cd /"


def _owner(quoted: str, node: Node) -> Iterator[str]:
    """Set what the file on the host could not have, or did not need to."""
    uid, gid = (os.geteuid(), os.getegid()) if node.kind in _ON_HOST else (0, 0)
    if node.uid != uid:
        yield f"sif {quoted} uid {node.uid}"
    if node.gid != gid:
        yield f"sif {quoted} gid {node.gid}"
    if node.kind is not Kind.SYMLINK and node.mode != _HOST_MODES.get(node.kind):
        yield f"sif {quoted} mode 0{_TYPE_BITS[node.kind] | node.mode:o}"


def _quote(path: str) -> str:
    # debugfs has no way to quote these: a name with one would become another command.
    if '"' in path or "\n" in path:
        raise ImageError(
            "a file's name cannot be written by this host's e2fsprogs",
            why=repr(path[:200]),
            fix="install e2fsprogs 1.47.1 or later",
        )
    return f'"/{path}"'


def _mke2fs(source: Path, target: Path, size: int) -> subprocess.CompletedProcess[str]:
    make_empty(target, size=size)
    return _run(
        [
            _need("mke2fs"), "-q", "-F", "-t", "ext4", "-O", "^metadata_csum_seed", "-L", "inn",
            "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0",
            "-d", str(source), str(target),
        ]
    )  # fmt: skip


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C", "MKE2FS_SYNC": "0", "DEBUGFS_PAGER": "__none__"}
    try:
        return subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            env=environment,
            timeout=_TOOL_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ImageError(f"{command[0]} could not be run", why=str(error)) from error


def _failed(tool: str, done: subprocess.CompletedProcess[str]) -> ImageError | StorageError:
    said = " ".join((done.stderr or done.stdout).split())[:400]
    if "No space left" in said:
        return StorageError("cannot make a disk", why=said, fix="free some space on this host")
    return ImageError(f"{tool} could not make the root file system", why=said)


def _tool(name: str) -> str | None:
    path = os.environ.get("PATH", "") + os.pathsep + os.pathsep.join(_SBIN)
    return shutil.which(name, path=path)


def _need(name: str) -> str:
    found = _tool(name)
    if found is None:
        raise ImageError(f"this host has no {name}", fix="install e2fsprogs")
    return found
