"""What a well-behaved client does, message by message."""

from __future__ import annotations

import errno
import os
import stat
import struct
from pathlib import Path

import pytest
from ninep_client import APPEND, EXCL, RDWR, TRUNC, WRONLY, Client, fails_with, frame, text

from innkeeper.backends.share import NinePServer, OwnerMap, locks
from innkeeper.base.errors import NotFoundError, UsageError


def test_version_takes_the_smaller_size(root: Path) -> None:
    with NinePServer(root, msize=8192) as server:
        client = Client(server)
        assert client.version(1 << 20) == (8192, b"9P2000.L")
        assert client.version(5000) == (5000, b"9P2000.L")
        assert client.version(8192, b"9P2000.u")[1] == b"unknown"
        assert client.version(100)[1] == b"unknown"
        with fails_with(errno.EPROTO):
            client.walk()


def test_version_forgets_fids(client: Client) -> None:
    fid = client.walk(b"hello")
    client.version(client.msize)
    with fails_with(errno.EBADF):
        client.getattr(fid)


def test_read_a_file(client: Client) -> None:
    fid = client.walk(b"hello")
    client.open(fid)
    assert client.read(fid) == b"hello from the host\n"
    assert client.read(fid, 6, 4) == b"from"
    assert client.read(fid, 1 << 40) == b""
    client.clunk(fid)
    with fails_with(errno.EBADF):
        client.read(fid)


def test_a_read_fills_no_more_than_a_message(root: Path) -> None:
    (root / "big").write_bytes(bytes(100_000))
    with NinePServer(root) as server:
        client = Client(server, msize=4096)
        fid = client.walk(b"big")
        client.open(fid)
        assert len(client.read(fid, 0, 0xFFFFFFFF)) == 4096 - 11


def test_create_write_and_read_back(client: Client, root: Path) -> None:
    old = os.umask(0o077)
    try:
        fid = client.create(b"new", mode=0o664)
    finally:
        os.umask(old)
    assert client.write(fid, b"abc") == 3
    assert client.write(fid, b"X", 10) == 1
    client.call(50, struct.pack("<II", fid, 0))
    client.call(50, struct.pack("<II", fid, 1))
    assert (root / "new").read_bytes() == b"abc" + bytes(7) + b"X"
    assert (
        stat.S_IMODE((root / "new").stat().st_mode) == 0o664
    )  # the guest's umask counts, not ours
    assert client.getattr(fid).size == 11


def test_create_over_a_file(client: Client, root: Path) -> None:
    with fails_with(errno.EEXIST):
        client.create(b"hello", RDWR | EXCL)
    fid = client.create(b"hello", RDWR)
    assert client.read(fid) == b"hello from the host\n"
    client.create(b"hello", RDWR | TRUNC)
    assert (root / "hello").read_bytes() == b""


def test_append(client: Client, root: Path) -> None:
    fid = client.walk(b"hello")
    client.open(fid, WRONLY | APPEND)
    client.write(fid, b"more", 0)
    assert (root / "hello").read_bytes() == b"hello from the host\nmore"


def test_an_unlinked_open_file_lives_on(client: Client, root: Path) -> None:
    fid = client.create(b"gone")
    client.write(fid, b"still here")
    client.unlinkat(b"gone")
    assert client.read(fid) == b"still here"
    assert client.getattr(fid).nlink == 0
    clone = client.walk(fid=fid)
    client.setattr(clone, 8, size=5)
    assert client.read(fid) == b"still"
    assert not (root / "gone").exists()


def test_getattr_tells_what_stat_tells(client: Client, root: Path) -> None:
    os.utime(root / "hello", ns=(1_500_000_000_000_000_001, -1))
    status = (root / "hello").stat()
    attributes = client.getattr(client.walk(b"hello"))
    assert attributes.valid == 0x7FF
    assert attributes.mode == status.st_mode
    assert (attributes.nlink, attributes.size) == (1, 20)
    assert attributes.qid_path == status.st_ino
    assert (attributes.atime, attributes.atime_ns) == (1_500_000_000, 1)
    assert (attributes.mtime, attributes.mtime_ns) == ((1 << 64) - 1, 999_999_999)
    assert client.getattr(0).qid_kind == 0x80
    assert client.getattr(0, 0x201).valid == 0x201


def test_the_qid_changes_with_the_content(client: Client) -> None:
    fid = client.create(b"file")
    before = client.getattr(fid)
    client.write(fid, b"x")
    after = client.getattr(fid)
    assert before.qid_version != after.qid_version
    assert before.qid_path == after.qid_path


def test_setattr(client: Client, root: Path) -> None:
    fid = client.walk(b"hello")
    client.setattr(fid, 1 | 8, mode=0o100600, size=5)
    client.setattr(fid, 0x10 | 0x80, times=(7, 8, 0, 0))
    client.setattr(fid, 0x20 | 0x100, times=(0, 0, 9, 10))
    status = (root / "hello").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_size) == (0o600, 5)
    assert (status.st_atime_ns, status.st_mtime_ns) == (7_000_000_008, 9_000_000_010)
    client.setattr(fid, 0x10 | 0x20)
    assert (root / "hello").stat().st_mtime_ns > 10**18
    client.setattr(fid, 0x40)  # the change time alone: nothing to do
    with fails_with(errno.EINVAL):
        client.setattr(fid, 0x10 | 0x80, times=(0, 10**9, 0, 0))
    with fails_with(errno.EFBIG):
        client.setattr(fid, 8, size=1 << 63)
    with fails_with(errno.EISDIR):
        client.setattr(client.walk(b"sub"), 8, size=0)


def test_a_file_open_to_be_read_can_be_truncated(client: Client, root: Path) -> None:
    fid = client.walk(b"hello")
    client.open(fid)
    client.setattr(fid, 8, size=2)
    assert (root / "hello").read_bytes() == b"he"


def test_the_host_user_is_shown_as_root(root: Path) -> None:
    mine = (root / "hello").stat()
    owners = OwnerMap(mine.st_uid, mine.st_gid, guest_uid=500, guest_gid=600)
    with NinePServer(root, owners=owners) as server:
        client = Client(server)
        fid = client.walk(b"hello")
        assert (client.getattr(fid).uid, client.getattr(fid).gid) == (500, 600)
        client.setattr(fid, 2 | 4, uid=500, gid=600)  # what it is already
        with fails_with(errno.EPERM):
            client.setattr(fid, 2, uid=mine.st_uid)  # nothing could be shown as that
        with fails_with(errno.EINVAL):
            client.setattr(fid, 2, uid=0xFFFFFFFF)
    everybody_else = OwnerMap(mine.st_uid + 1, mine.st_gid + 1)
    assert everybody_else.shown_uid(mine.st_uid) == mine.st_uid
    assert OwnerMap.of_this_process().shown_uid(os.geteuid()) == 0


def test_privileges_cannot_be_given_out(client: Client, root: Path) -> None:
    fid = client.walk(b"hello")
    for mode in (0o4755, 0o2755):
        with fails_with(errno.EPERM):
            client.setattr(fid, 1, mode=mode)
        with fails_with(errno.EPERM):
            client.create(b"set-id", mode=mode)
        with fails_with(errno.EPERM):
            client.mknod(b"set-id", stat.S_IFREG | mode)
    client.setattr(client.walk(b"sub"), 1, mode=0o2755)
    (root / "hello").chmod(0o4711)
    client.setattr(fid, 1, mode=0o4755)  # it had the bit already
    assert sorted(os.listdir(root)) == ["hello", "sub"]


def test_directories(client: Client, root: Path) -> None:
    old = os.umask(0o077)
    try:
        client.mkdir(b"made", 0o775)
    finally:
        os.umask(old)
    assert stat.S_IMODE((root / "made").stat().st_mode) == 0o775
    with fails_with(errno.EEXIST):
        client.mkdir(b"made")
    with fails_with(errno.ENOTEMPTY):
        client.unlinkat(b"sub", 0x200)
    with fails_with(errno.ENOTDIR):
        client.unlinkat(b"hello", 0x200)
    with fails_with(errno.EISDIR):
        client.unlinkat(b"sub")
    with fails_with(errno.EINVAL):
        client.unlinkat(b"sub", 1)
    client.unlinkat(b"made", 0x200)
    with fails_with(errno.ENOTDIR):
        client.mkdir(b"x", at=client.walk(b"hello"))
    with fails_with(errno.EISDIR):
        client.open(client.walk(b"sub"), WRONLY)


def test_readdir_in_pieces_lists_everything_once(client: Client, root: Path) -> None:
    names = {f"file-{number:03}".encode() for number in range(300)}
    for name in names:
        (root / "sub" / os.fsdecode(name)).touch()
    fid = client.walk(b"sub")
    with fails_with(errno.EBADF):
        client.readdir(fid)
    client.open(fid)
    seen: list[bytes] = []
    offset = 0
    while piece := client.readdir(fid, offset, 700):
        seen += [entry.name for entry in piece]
        offset = piece[-1].offset
    assert sorted(seen) == sorted(names | {b".", b"..", b"deep"})
    again = client.readdir(fid)
    # From any offset the list goes on with the same names, though the first half is gone meanwhile.
    middle = len(again) // 2
    for entry in again[:middle]:
        if entry.name.startswith(b"file"):
            client.unlinkat(entry.name, at=fid)
    rest = client.readdir(fid, again[middle - 1].offset)
    assert [entry.name for entry in rest] == [entry.name for entry in again[middle:]]


def test_readdir_entries_say_what_they_are(client: Client, root: Path) -> None:
    client.symlink(b"link", b"hello")
    fid = client.walk()
    client.open(fid)
    entries = {entry.name: entry for entry in client.readdir(fid)}
    assert entries[b"sub"].kind == 0x80
    assert entries[b"sub"].type == 4
    assert entries[b"link"].kind == 2
    assert entries[b"hello"].path == (root / "hello").stat().st_ino
    assert entries[b".."].path == entries[b"."].path == root.stat().st_ino
    with fails_with(errno.EINVAL):
        client.readdir(fid, 0, 10)
    with fails_with(errno.EINVAL):
        client.readdir(fid, 1 << 63)
    with fails_with(errno.ENOTDIR):
        client.readdir(client.walk(b"hello"))


def test_symbolic_links_are_text(client: Client, root: Path) -> None:
    client.symlink(b"link", b"/anywhere/at all")
    assert os.readlink(root / "link") == "/anywhere/at all"
    fid = client.walk(b"link")
    assert client.readlink(fid) == b"/anywhere/at all"
    assert client.getattr(fid).qid_kind == 2
    for target in (b"", b"a\0b"):
        with fails_with(errno.EINVAL):
            client.symlink(b"bad", target)
    with fails_with(errno.ENAMETOOLONG):
        client.symlink(b"bad", b"x" * 4096)
    with fails_with(errno.EINVAL):
        client.readlink(client.walk(b"hello"))
    with fails_with(errno.ELOOP):
        client.open(fid)


def test_hard_links_and_renames(client: Client, root: Path) -> None:
    client.link(client.walk(b"hello"), b"twin", at=client.walk(b"sub"))
    assert (root / "sub" / "twin").samefile(root / "hello")
    with fails_with(errno.EPERM):
        client.link(client.walk(b"sub"), b"loop")
    client.renameat(b"hello", b"renamed", to=client.walk(b"sub"))
    fid = client.walk(b"sub", b"renamed")
    client.rename(fid, b"back")
    assert (root / "back").read_bytes() == b"hello from the host\n"
    with fails_with(errno.EBUSY):
        client.rename(client.walk(), b"root")
    with fails_with(errno.EINVAL):
        client.renameat(b"sub", b"inside", to=client.walk(b"sub"))


def test_fids_follow_a_renamed_directory(client: Client, root: Path) -> None:
    below = client.walk(b"sub", b"deep")
    client.renameat(b"sub", b"moved")
    above = client.walk(b"moved", b"..")
    assert client.getattr(above).qid_path == client.getattr(0).qid_path
    client.rename(below, b"up")
    assert (root / "up").read_bytes() == b"deep"
    client.remove(below)
    assert not (root / "up").exists()


def test_remove_forgets_the_fid_either_way(client: Client, root: Path) -> None:
    fid = client.walk(b"sub")
    with fails_with(errno.ENOTEMPTY):
        client.remove(fid)
    with fails_with(errno.EBADF):
        client.getattr(fid)
    with fails_with(errno.EBUSY):
        client.remove(client.walk())
    fid = client.walk(b"hello")
    (root / "hello").rename(root / "elsewhere")
    (root / "hello").write_text("another file under the old name")
    with fails_with(errno.ESTALE):
        client.remove(fid)
    assert (root / "hello").exists()


def test_special_files(client: Client, root: Path) -> None:
    client.mknod(b"fifo", stat.S_IFIFO | 0o600)
    client.mknod(b"socket", stat.S_IFSOCK | 0o600)
    client.mknod(b"plain", stat.S_IFREG | 0o600)
    assert stat.S_ISFIFO((root / "fifo").stat().st_mode)
    for kind in (stat.S_IFCHR, stat.S_IFBLK):
        with fails_with(errno.EPERM):
            client.mknod(b"device", kind | 0o666)
    with fails_with(errno.EINVAL):
        client.mknod(b"dir", stat.S_IFDIR)
    for name in (b"fifo", b"socket"):  # opening a FIFO would wait for somebody on the host
        with fails_with(errno.ENXIO):
            client.open(client.walk(name), RDWR)
        with fails_with(errno.ENXIO):
            client.create(name, WRONLY)


def test_extended_attributes(client: Client, root: Path) -> None:
    fid = client.walk(b"hello")
    try:
        os.setxattr(root / "hello", "user.probe", b"1")
    except OSError as error:
        pytest.skip(f"this file system has no user attributes: {error}")
    client.setxattr(fid, b"user.colour", b"blue" * 100)
    assert os.getxattr(root / "hello", "user.colour") == b"blue" * 100
    assert client.xattrwalk(fid, b"user.colour") == b"blue" * 100
    assert sorted(client.xattrwalk(fid, b"").split(b"\0")) == [b"", b"user.colour", b"user.probe"]
    client.setxattr(fid, b"user.colour", b"", os.XATTR_REPLACE)
    with fails_with(errno.ENODATA):
        client.xattrwalk(fid, b"user.colour")
    with fails_with(errno.EEXIST):
        client.setxattr(fid, b"user.probe", b"2", os.XATTR_CREATE)


def test_extended_attributes_that_guests_may_not_touch(client: Client) -> None:
    fid = client.walk(b"hello")
    for name in (b"security.capability", b"trusted.x", b"system.posix_acl_access", b"nonsense"):
        with fails_with(errno.EOPNOTSUPP):
            client.xattrwalk(fid, name)
        with fails_with(errno.EOPNOTSUPP):
            client.setxattr(fid, name, b"x")
    for size, flags, code in ((65537, 0, errno.E2BIG), (1, 9, errno.EINVAL)):
        body = struct.pack("<I", client.walk(fid=fid)) + text(b"user.x")
        with fails_with(code):
            client.call(32, body + struct.pack("<QI", size, flags))
    new = client.walk(fid=fid)
    client.call(32, struct.pack("<I", new) + text(b"user.x") + struct.pack("<QI", 4, 0))
    with fails_with(errno.EINVAL):
        client.write(new, b"12345")
    client.write(new, b"12")
    with fails_with(errno.EINVAL):
        client.clunk(new)  # half a value


def test_locks_between_processes(client: Client) -> None:
    one, two = client.walk(b"hello"), client.walk(b"hello")
    client.open(one), client.open(two)
    assert client.lock(one, 1, 0, 100, 11) == 0
    assert client.lock(two, 0, 50, 10, 22) == 1
    assert client.lock(two, 0, 100, 0, 22) == 0
    assert client.getlock(two, 1, 0, 1, 22) == (1, 0, 100, 11)
    assert client.getlock(one, 1, 5, 1, 11) == (2, 5, 1, 11)
    assert client.getlock(one, 1, 500, 1, 11) == (1 - 1, 100, 0, 22)
    assert client.lock(one, 2, 40, 20, 11) == 0  # a hole in the middle
    assert client.lock(two, 1, 40, 20, 22) == 0
    assert client.lock(two, 1, 39, 1, 22) == 1
    assert client.lock(two, 1, 60, 1, 22) == 1
    client.clunk(one)
    assert client.lock(two, 1, 0, 0, 22) == 0
    with fails_with(errno.EINVAL):
        client.lock(two, 3, 0, 0, 22)
    with fails_with(errno.EOVERFLOW):
        client.lock(two, 1, (1 << 63) - 1, 2, 22)


def test_read_locks_are_shared(client: Client) -> None:
    fid = client.walk(b"hello")
    client.open(fid)
    assert [client.lock(fid, 0, 0, 0, process) for process in (1, 2)] == [0, 0]
    assert client.lock(fid, 1, 0, 0, 1) == 1
    assert client.lock(fid, 2, 0, 0, 2) == 0
    assert client.lock(fid, 1, 0, 0, 1) == 0


def test_locks_are_bounded(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "MAX_LOCKS", 40)
    fid = client.walk(b"hello")
    client.open(fid)
    for number in range(40):
        client.lock(fid, 1, number * 2, 1, 1)
    with fails_with(errno.ENOLCK):
        client.lock(fid, 1, 1 << 20, 1, 1)
    assert client.lock(fid, 2, 0, 0, 1) == 0
    assert client.lock(fid, 1, 1 << 20, 1, 1) == 0


def test_statfs_and_flush(client: Client, root: Path) -> None:
    reply = client.call(8, struct.pack("<I", 0))
    kind, block, blocks, *_rest, name_max = struct.unpack("<II6QI", reply)
    host = os.statvfs(root)
    assert (kind, block, blocks) == (0x01021997, host.f_frsize, host.f_blocks)
    assert 0 < name_max <= 255
    assert client.call(108, struct.pack("<H", 5)) == b""


def test_a_read_only_share_refuses_every_change(reader: Client, root: Path) -> None:
    before = sorted(os.walk(root)), (root / "hello").stat().st_mtime_ns
    fid = reader.walk(b"hello")
    attempts = [
        lambda: reader.create(b"x"),
        lambda: reader.open(fid, WRONLY),
        lambda: reader.open(fid, TRUNC),
        lambda: reader.symlink(b"x", b"y"),
        lambda: reader.mknod(b"x", stat.S_IFREG),
        lambda: reader.mkdir(b"x"),
        lambda: reader.link(fid, b"x"),
        lambda: reader.rename(fid, b"x"),
        lambda: reader.renameat(b"hello", b"x"),
        lambda: reader.unlinkat(b"hello"),
        lambda: reader.remove(reader.walk(b"hello")),
        lambda: reader.setattr(fid, 1, mode=0o777),
        lambda: reader.setxattr(fid, b"user.x", b"y"),
    ]
    for attempt in attempts:
        with fails_with(errno.EROFS):
            attempt()
    reader.open(fid)
    assert reader.read(fid) == b"hello from the host\n"
    with fails_with(errno.EROFS):
        reader.write(fid, b"x")
    assert (sorted(os.walk(root)), (root / "hello").stat().st_mtime_ns) == before


def test_what_cannot_be_shared(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotFoundError, match="does not exist"):
        NinePServer(tmp_path / "missing")
    with pytest.raises(UsageError, match="not a directory"):
        NinePServer(tmp_path / "file")
    with pytest.raises(UsageError, match="message size"):
        NinePServer(tmp_path, msize=100)


def test_closing_leaves_no_descriptor(root: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with NinePServer(root) as server:
        client = Client(server)
        client.open(client.walk(b"hello"))
        client.create(b"new")
        client.walk(b"sub", b"deep")
        for kind in (110, 12, 14):
            server.handle(frame(kind, b"\1"))
    assert len(os.listdir("/proc/self/fd")) == before
