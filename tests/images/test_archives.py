"""Archives that nobody vouches for: ar, tar, deb, and their compressions."""

from __future__ import annotations

import contextlib
import gzip
import io
import lzma
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.base.errors import ImageError
from innkeeper.images import ar, deb, unpack
from innkeeper.images.tarsafe import Kind, TarReader
from innkeeper.images.tree import Spool, Tree

from .fuzzing import fuzz
from .mirror_kit import File, Package, compress, make_ar, make_deb, make_tar

LONG = "./" + "/".join(["directory-with-a-long-name"] * 9) + "/" + "f" * 120


def entries(data: bytes) -> dict[str, tuple[object, bytes]]:
    reader = TarReader(io.BytesIO(data), name="test.tar")
    return {entry.path.rstrip("/"): (entry, content.read(1 << 30)) for entry, content in reader}


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_tar_formats(format: int) -> None:
    files = [
        File("./d", type=tarfile.DIRTYPE, mode=0o2775, gid=50),
        File("./d/f", b"content" * 1000, mode=0o4755, uid=1, gid=2),
        File("./d/l", b"../target", type=tarfile.SYMTYPE),
        File("./d/h", b"./d/f", type=tarfile.LNKTYPE),
        File("./d/c", type=tarfile.CHRTYPE, device=(5, 1)),
        File("./d/p", type=tarfile.FIFOTYPE),
    ]
    if format != tarfile.USTAR_FORMAT:
        files += [File(LONG, b"long"), File("./é", b"2", uid=5_000_000), File("./L", LONG.encode(),
                  type=tarfile.SYMTYPE)]  # fmt: skip
    found = entries(make_tar(files, format=format))
    assert list(found) == [f.path for f in files]
    kinds = [found[f.path][0].kind for f in files[:6]]  # type: ignore[attr-defined]
    assert kinds == [Kind.DIR, Kind.FILE, Kind.SYMLINK, Kind.HARDLINK, Kind.CHAR, Kind.FIFO]
    for file in files:
        entry, data = found[file.path]
        assert (entry.mode, entry.uid, entry.gid) == (file.mode, file.uid, file.gid)  # type: ignore[attr-defined]
        if file.type == tarfile.REGTYPE:
            assert data == file.data
        elif file.data:
            assert entry.target == file.data.decode()  # type: ignore[attr-defined]


def test_unread_data_are_passed_over() -> None:
    data = make_tar([File("a", b"x" * 5000), File("b", b"y")])
    assert [e.path for e, _ in TarReader(io.BytesIO(data), name="t")] == ["a", "b"]


@pytest.mark.parametrize("cut", [100, 512, 700, 1500])
def test_tar_cut_short(cut: int) -> None:
    data = make_tar([File("a", b"x" * 2000)])
    if cut == 512:
        data = data[:512]
    with pytest.raises(ImageError, match="cut short"):
        entries(data[:cut])


def test_a_claimed_size_takes_no_memory() -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 1 << 40
    with pytest.raises(ImageError, match="extended header"):
        entries(info.tobuf(tarfile.GNU_FORMAT))
    info.type = tarfile.REGTYPE
    with pytest.raises(ImageError, match="size"):
        entries(info.tobuf(tarfile.GNU_FORMAT))


TAR = make_tar([File("./a", b"data"), File("./l", b"a", type=tarfile.SYMTYPE), File(LONG, b"z")])


@fuzz(300)
@given(st.lists(st.tuples(st.integers(0, len(TAR) - 1), st.integers(0, 255)), max_size=6))
def test_a_damaged_tar_is_an_image_error(changes: list[tuple[int, int]]) -> None:
    data = bytearray(TAR)
    for at, value in changes:
        data[at] = value
        block = at // 512 * 512
        # With the checksum right again the damage reaches the fields behind it.
        header = (
            bytes(data[block : block + 148]) + b" " * 8 + bytes(data[block + 156 : block + 512])
        )
        data[block + 148 : block + 156] = b"%06o\0 " % sum(header)
    with contextlib.suppress(ImageError):
        entries(bytes(data))


@fuzz(200)
@given(st.binary(max_size=400), st.sampled_from(["", ".xz", ".gz", ".zst"]))
def test_noise_is_an_image_error(noise: bytes, suffix: str) -> None:
    for data in (noise, b"!<arch>\n" + noise):
        with contextlib.suppress(ImageError):
            list(ar.members(io.BytesIO(data), name="noise", size=len(data)))
    with contextlib.suppress(ImageError):
        unpack.decompress_bytes(noise, suffix=suffix, name="noise", limit=1 << 20)


@pytest.mark.parametrize("how", ["xz", "gz", "zst", "none"])
def test_compressions(how: str) -> None:
    if how == "zst":
        pytest.importorskip("zstandard")
    data = bytes(range(256)) * 5000
    suffix, packed = compress(data, how)
    assert unpack.decompress_bytes(packed, suffix=suffix, name="x", limit=len(data)) == data
    with pytest.raises(ImageError, match="more than it may"):
        unpack.decompress_bytes(packed, suffix=suffix, name="x", limit=len(data) - 1)


def test_streams_in_a_row() -> None:
    packed = lzma.compress(b"one") + bytes(4) + lzma.compress(b"two")
    assert unpack.decompress_bytes(packed, suffix=".xz", name="x", limit=10) == b"onetwo"
    packed = gzip.compress(b"one") + gzip.compress(b"two")
    assert unpack.decompress_bytes(packed, suffix=".gz", name="x", limit=10) == b"onetwo"


@pytest.mark.parametrize(("suffix", "make"), [(".xz", lzma.compress), (".gz", gzip.compress)])
def test_truncated_streams(suffix: str, make: object) -> None:
    packed = make(b"content" * 100)  # type: ignore[operator]
    with pytest.raises(ImageError, match="cannot be decompressed"):
        unpack.decompress_bytes(packed[:-4], suffix=suffix, name="x", limit=1 << 20)


def test_an_unknown_compression() -> None:
    with pytest.raises(ImageError, match="unknown way"):
        unpack.decompress_bytes(b"", suffix=".rar", name="x", limit=1)


def test_a_package(tmp_path: Path) -> None:
    package = Package("p", files=[File("./f", b"data")], control={"postinst": b"#!/bin/sh\n"})
    for how in ("xz", "gz", "none"):
        path = tmp_path / "p.deb"
        path.write_bytes(make_deb(package, compression=how))
        control = deb.read_control(path)
        assert control["postinst"] == (0o755, b"#!/bin/sh\n")
        assert b"Package: p\n" in control["control"][1]
        with deb.open_data(path) as reader:
            assert [e.path for e, _ in reader] == ["./", "./f"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not an ar"),
        (b"!<arch>\n", "not a Debian package"),
        (make_ar([("debian-binary", b"9.0\n")]), "unknown format"),
        (make_ar([("debian-binary", b"2.0\n")]), "no control.tar"),
        (make_ar([("debian-binary", b"2.0\n"), ("control.tar", b"")]), "no control file"),
        (make_ar([("debian-binary", b"2.0\n")])[:-2], "cut short"),
        (make_ar([("x", b"")] * 70), "too many members"),
    ],
)
def test_what_is_no_package(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "x.deb"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=why):
        deb.read_control(path)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    with Spool(tmp_path) as spool:
        yield Tree(spool)


def fill(tree: Tree, *files: File) -> list[str]:
    return tree.unpack(TarReader(io.BytesIO(make_tar(list(files))), name="t"))


@pytest.mark.parametrize(
    "files",
    [
        [File("../x", b"")],
        [File("a/../../x", b"")],
        [File("a", b"x"), File("a/b", b"")],
        [File("l", b"nowhere", type=tarfile.SYMTYPE), File("l/b", b"")],
        [File("l", b"l", type=tarfile.SYMTYPE), File("l/b", b"")],
        [File("h", b"missing", type=tarfile.LNKTYPE)],
        [File("h", b"../../etc/passwd", type=tarfile.LNKTYPE)],
        [File("d", type=tarfile.DIRTYPE), File("d", b"x")],
        [File("/".join(["d"] * 300), b"")],
        [File("n" * 256, b"")],
    ],
)
def test_trees_refuse_what_no_honest_archive_has(tree: Tree, files: list[File]) -> None:
    with pytest.raises(ImageError):
        fill(tree, *files)


def test_links_stay_inside_the_tree(tree: Tree) -> None:
    fill(
        tree,
        File("etc", type=tarfile.DIRTYPE),
        File("out", b"../../../../etc", type=tarfile.SYMTYPE),
        File("abs", b"/etc", type=tarfile.SYMTYPE),
        File("out/one", b"1"),
        File("abs/two", b"2"),
    )
    assert tree.read("etc/one") == b"1"
    assert tree.read("/etc/two") == b"2"


def test_merged_usr(tree: Tree) -> None:
    tree.folder("usr/bin")
    tree.symlink("bin", "usr/bin")
    paths = fill(
        tree,
        File("./", type=tarfile.DIRTYPE, mode=0o755),
        File("./bin", type=tarfile.DIRTYPE, mode=0o700),
        File("./bin/sh", b"shell", mode=0o755),
        File("./bin/hard", b"./bin/sh", type=tarfile.LNKTYPE),
    )
    assert paths == ["/", "/bin", "/bin/sh", "/bin/hard"]
    assert tree.read("usr/bin/hard") == b"shell"
    assert tree.find("usr/bin/hard") is tree.find("bin/sh")
    node = tree.find("bin", follow=False)
    assert node is not None
    assert node.kind is Kind.SYMLINK
    # A package that ships the link itself agrees with the directory that is there.
    fill(tree, File("./bin", b"usr/bin", type=tarfile.SYMTYPE))
    assert tree.read("bin/sh") == b"shell"


def test_later_files_replace_earlier_ones(tree: Tree) -> None:
    fill(
        tree,
        File("f", b"old"),
        File("f", b"new", mode=0o600),
        File("l", b"f", type=tarfile.SYMTYPE),
    )
    assert tree.read("l") == b"new"
    fill(tree, File("l", b"file now"))
    assert (tree.read("l"), tree.read("f")) == (b"file now", b"new")
    tree.remove("l")
    assert tree.find("l") is None


def test_directory_metadata_come_from_the_last_archive(tree: Tree) -> None:
    fill(tree, File("d/f", b""), File("d", type=tarfile.DIRTYPE, mode=0o1777, uid=7))
    node = tree.find("d")
    assert node is not None
    assert (node.mode, node.uid, list(node.children)) == (0o1777, 7, ["f"])
