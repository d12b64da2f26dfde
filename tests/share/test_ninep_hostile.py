"""What a hostile guest tries: names, links, races, numbers and noise."""

from __future__ import annotations

import errno
import os
import struct
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ninep_client import EXCL, RDWR, SECRET, Client, fails_with, frame, text

from innkeeper.backends.share import NinePServer
from innkeeper.backends.share.server import HANDLERS
from innkeeper.backends.share.session import MAX_XATTR_FIDS

HOSTILE_NAMES = [b"", b".", b"..", b"/", b"../secret", b"sub/deep", b"/etc/passwd", b"a\0b", b"\0"]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_names_that_are_not_one_entry(client: Client, root: Path, name: bytes) -> None:
    attempts = [
        lambda: client.create(name),
        lambda: client.mkdir(name),
        lambda: client.symlink(name, b"x"),
        lambda: client.mknod(name, 0o100644),
        lambda: client.link(client.walk(b"hello"), name),
        lambda: client.rename(client.walk(b"hello"), name),
        lambda: client.renameat(name, b"x"),
        lambda: client.renameat(b"hello", name),
        lambda: client.unlinkat(name),
        lambda: client.unlinkat(name, 0x200),
    ]
    if name != b"..":
        attempts.append(lambda: client.walk(name))
    for attempt in attempts:
        with fails_with(errno.EINVAL):
            attempt()
    assert sorted(os.listdir(root)) == ["hello", "sub"]
    assert sorted(os.listdir(root.parent)) == ["outside", "secret", "share"]


def test_names_that_are_too_long(client: Client) -> None:
    for attempt in (client.walk, client.mkdir, client.create):
        with fails_with(errno.ENAMETOOLONG):
            attempt(b"x" * 256)
    client.mkdir(b"x" * 255)


def test_dot_dot_stops_at_the_root(client: Client, root: Path) -> None:
    top = client.walk(*[b".."] * 16)
    assert client.getattr(top).qid_path == root.stat().st_ino
    with fails_with(errno.ENOENT):
        client.walk(b"..", b"secret")
    assert client.getattr(client.walk(b"sub", b"..", b"hello")).size == 20
    with fails_with(errno.ENOTDIR):
        client.walk(b"..", fid=client.walk(b"hello"))
    with fails_with(errno.EINVAL):
        client.walk(*[b".."] * 17)


@pytest.mark.parametrize("target", ["../secret", "../outside", "/", "/etc/passwd", "/proc/self/fd"])
def test_symbolic_links_are_never_followed(client: Client, root: Path, target: str) -> None:
    (root / "link").symlink_to(target)
    fid = client.walk(b"link")
    with fails_with(errno.ELOOP):
        client.open(fid)
    with fails_with(errno.ENOENT):  # as a short walk
        client.walk(b"link", b"passwd")
    for attempt in (
        lambda: client.walk(b"x", fid=fid),
        lambda: client.mkdir(b"x", at=fid),
        lambda: client.create(b"x", at=fid),
        lambda: client.unlinkat(b"secret", at=fid),
    ):
        with fails_with(errno.ENOTDIR):
            attempt()
    with fails_with(errno.ELOOP):
        client.create(b"link", RDWR)
    with fails_with(errno.EEXIST):
        client.create(b"link", RDWR | EXCL)
    with fails_with(errno.EOPNOTSUPP):
        client.setattr(fid, 1, mode=0o777)
    with fails_with(errno.EINVAL):
        client.setattr(fid, 8, size=0)
    client.setattr(fid, 0x20 | 0x100, times=(0, 0, 5, 0))
    assert (root / "link").lstat().st_mtime == 5
    assert (root.parent / "secret").read_bytes() == SECRET
    assert (root.parent / "secret").stat().st_mtime > 1000
    client.link(fid, b"twin")
    assert (root / "twin").is_symlink()
    assert os.listdir(root.parent / "outside") == []


def test_a_directory_that_becomes_a_link_under_the_walk(client: Client, root: Path) -> None:
    """The name is swapped after the fid was made: the fid stays on the old directory."""
    fid = client.walk(b"sub")
    (root / "sub").rename(root / "aside")
    (root / "sub").symlink_to("../outside")
    client.create(b"made", at=fid)
    assert (root / "aside" / "made").exists()
    assert os.listdir(root.parent / "outside") == []
    with fails_with(errno.ENOTDIR):  # `..` of a fid below goes by the name, and follows no link
        client.walk(b"..", fid=client.walk(b"made", fid=fid))
    with fails_with(errno.ENOTDIR):
        client.remove(client.walk(b"made", fid=fid))
    assert (root / "aside" / "made").exists()


def test_walks_race_with_a_host_that_swaps_a_link_in(root: Path) -> None:
    """A directory is exchanged for a link to the secret's directory all the while."""
    (root / "sub" / "secret").write_bytes(b"public")
    (root / "link").symlink_to("..")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            os.rename(root / "sub", root / "aside")
            os.rename(root / "link", root / "sub")
            os.rename(root / "sub", root / "link")
            os.rename(root / "aside", root / "sub")

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        with NinePServer(root) as server:
            client = Client(server)
            for _ in range(300):
                try:
                    fid = client.walk(b"sub", b"secret")
                    client.open(fid)
                    assert client.read(fid) == b"public"
                    client.clunk(fid)
                except OSError:
                    continue
    finally:
        stop.set()
        swapper.join()


def test_a_directory_moved_out_of_the_share_does_not_lead_up(client: Client, root: Path) -> None:
    fid = client.walk(b"sub")
    (root / "sub").rename(root.parent / "outside" / "sub")
    up = client.walk(b"..", fid=fid)
    assert client.getattr(up).qid_path == root.stat().st_ino


def test_the_number_of_fids_is_bounded(root: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with NinePServer(root, max_fids=20) as server:
        client = Client(server)
        for _ in range(19):
            client.walk(b"hello")
        with fails_with(errno.EMFILE):
            client.walk(b"hello")
        with fails_with(errno.EMFILE):
            client.xattrwalk(0, b"")
        assert len(os.listdir("/proc/self/fd")) <= before + 21
        client.walk(b"hello", fid=0, new=0)  # in place of one that is there


def test_extended_attributes_in_hand_are_bounded(client: Client) -> None:
    for number in range(MAX_XATTR_FIDS):
        client.call(30, struct.pack("<II", 0, 10_000 + number) + text(b""))
    with fails_with(errno.EMFILE):
        client.call(30, struct.pack("<II", 0, 99_999) + text(b""))


def test_paths_are_bounded(client: Client, root: Path) -> None:
    """Deep below, walks end; a rename that makes what is remembered too long loses only that."""
    fid, name = 0, b"d" * 255
    for _ in range(15):
        client.mkdir(name, at=fid)
        fid = client.walk(name, fid=fid)
    client.mkdir(name, at=fid)
    last = client.walk(name, fid=fid)  # 4 095 bytes below the root
    client.mkdir(b"d", at=last)
    with fails_with(errno.ENAMETOOLONG):
        client.walk(b"d", fid=last)
    client.mkdir(b"top")
    client.mkdir(b"e" * 250, at=client.walk(b"top"))
    below = client.walk(b"top", b"e" * 250)
    client.renameat(b"top", b"t" * 200, to=fid)
    assert client.getattr(below).qid_kind == 0x80
    with fails_with(errno.ESTALE):
        client.walk(b"..", fid=below)
    with fails_with(errno.ESTALE):
        client.remove(below)


def test_fids_are_checked(client: Client) -> None:
    taken = client.walk(b"hello")
    with fails_with(errno.EINVAL):
        client.walk(b"sub", new=taken)
    with fails_with(errno.EINVAL):
        client.walk(b"sub", new=0xFFFFFFFF)
    with fails_with(errno.EBADF):
        client.walk(fid=12345)
    with fails_with(errno.EBADF):
        client.read(taken)
    with fails_with(errno.EBADF):
        client.write(taken, b"x")
    client.open(taken)
    with fails_with(errno.EBUSY):
        client.open(taken)
    with fails_with(errno.EBADF):
        client.write(taken, b"x")  # open to be read
    with fails_with(errno.EINVAL):
        client.open(client.walk(b"hello"), 3)
    with fails_with(errno.EINVAL):
        client.read(taken, 1 << 63)
    other = client.create(b"new")
    with fails_with(errno.EFBIG):
        client.write(other, b"x", (1 << 64) - 1)
    with fails_with(errno.EOPNOTSUPP):
        client.call(102, struct.pack("<I", 7) + text(b"") + text(b"") + bytes(4))
    with fails_with(errno.ENOENT):
        client.call(104, struct.pack("<II", 9, 0xFFFFFFFF) + text(b"") + text(b"/etc") + bytes(4))
    with fails_with(errno.EOPNOTSUPP):
        client.call(200, b"")


def test_messages_that_lie_about_their_size(root: Path) -> None:
    with NinePServer(root) as server:
        client = Client(server, msize=4096)
        assert server.handle(b"") == frame(7, struct.pack("<I", errno.EPROTO), 0xFFFF)
        for size in (0, 6, 12, 1 << 31):
            reply = server.handle(struct.pack("<IBHI", size, 120, 5, 0))
            assert reply == frame(7, struct.pack("<I", errno.EPROTO), 5)
        long = frame(118, bytes(8000), 6)
        assert server.handle(long) == frame(7, struct.pack("<I", errno.EMSGSIZE), 6)
        with fails_with(errno.EPROTO):  # a count beyond the message
            client.call(118, struct.pack("<IQI", 0, 0, 1000) + b"x")
        (root / "l").symlink_to("x" * 4095)
        with fails_with(errno.EMSGSIZE):  # the reply would be 4 104 bytes
            client.readlink(client.walk(b"l"))


_FIDS = st.sampled_from([0, 1, 2, 3, 0xFFFFFFFF]).map(lambda n: n.to_bytes(4, "little"))
_NAMES = st.sampled_from(
    [b"..", b"hello", b"sub", b"deep", b"new", b"link", b"user.x", b"a/b", b""]
)
_NUMBERS = st.sampled_from([0, 1, 2, 0o1102, 0x200, 4096, (1 << 32) - 1])
_FIELDS = st.one_of(
    _FIDS,
    _NAMES.map(text),
    _NUMBERS.map(lambda n: n.to_bytes(4, "little")),
    st.sampled_from([0, 1, 10**9, (1 << 63) - 1, (1 << 64) - 1]).map(
        lambda n: n.to_bytes(8, "little")
    ),
    st.binary(max_size=12),
)
_BODIES = st.tuples(_FIDS, st.lists(_FIELDS, max_size=8)).map(
    lambda pair: pair[0] + b"".join(pair[1])
)
_MESSAGES = st.tuples(st.sampled_from(sorted(HANDLERS)), _BODIES)


def _snapshot(directory: Path) -> list[tuple[str, int]]:
    return sorted((entry.name, entry.lstat().st_mtime_ns) for entry in directory.iterdir())


_QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=_QUIET)
@given(messages=st.lists(_MESSAGES, max_size=40))
def test_any_script_gets_answers_and_nothing_else(
    root: Path, messages: list[tuple[int, bytes]]
) -> None:
    """Well-formed messages with arbitrary fields, in any order."""
    link = root / "link"
    if not link.is_symlink():
        link.unlink(missing_ok=True) if not link.is_dir() else link.rename(root / "was-link")
        link.symlink_to("../outside")
    outside = _snapshot(root.parent / "outside"), (root.parent / "secret").stat()
    with NinePServer(root, max_fids=32) as server:
        Client(server, msize=4096)
        for kind, body in messages:
            reply = server.handle(frame(kind, body, 9))
            size, got, tag = struct.unpack_from("<IBH", reply)
            assert size == len(reply) <= server.msize
            assert got in (7, kind + 1)
            assert tag == 9
    assert (_snapshot(root.parent / "outside"), (root.parent / "secret").stat()) == outside


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=_QUIET)
@given(noise=st.lists(st.binary(max_size=64), max_size=20))
def test_noise_gets_answers(root: Path, noise: list[bytes]) -> None:
    with NinePServer(root) as server:
        Client(server)
        for data in noise:
            for request in (data, frame(data[0] if data else 0, data[1:])):
                reply = server.handle(request)
                assert struct.unpack_from("<I", reply)[0] == len(reply)
