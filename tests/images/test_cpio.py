"""The initramfs archive, read back by an independent reader and by cpio(1)."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from innkeeper.images import cpio
from innkeeper.images.tarsafe import Kind
from innkeeper.images.tree import Node, Spool, Tree

from .cpio_reader import read_cpio


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    with Spool(tmp_path) as spool:
        yield fill(Tree(spool))


def fill(made: Tree) -> Tree:
    made.write("bin/tool", b"#!" + b"x" * 100_001, mode=0o4755)
    made.link("bin/other", "bin/tool")
    made.symlink("sh", "bin/tool")
    made.device("dev/console", Kind.CHAR, device=(5, 1), mode=0o600)
    made.device("dev/vda", Kind.BLOCK, device=(254, 0), mode=0o660)
    made.add("pipe", Node(Kind.FIFO, mode=0o644, uid=1000, gid=50, mtime=9))
    made.write("empty", b"")
    return made


def test_what_is_written_is_read_back(tree: Tree) -> None:
    files = read_cpio(cpio.archive(tree))
    assert list(files)[:3] == ["bin", "bin/other", "bin/tool"]
    assert files["bin"].mode == 0o040755
    assert files["sh"].data == b"bin/tool"
    assert files["sh"].mode == 0o120777
    assert (files["dev/console"].mode, files["dev/console"].device) == (0o020600, (5, 1))
    assert (files["dev/vda"].mode, files["dev/vda"].device) == (0o060660, (254, 0))
    assert (files["pipe"].uid, files["pipe"].gid, files["pipe"].mtime) == (1000, 50, 9)


def test_a_hard_link_has_its_content_once(tree: Tree) -> None:
    files = read_cpio(cpio.archive(tree))
    first, last = files["bin/other"], files["bin/tool"]
    assert first.ino == last.ino
    assert (first.nlink, last.nlink) == (2, 2)
    assert (len(first.data), len(last.data)) == (0, 100_003)
    assert len({f.ino for f in files.values()}) == len(files) - 1


def test_the_same_tree_gives_the_same_bytes(tree: Tree) -> None:
    assert cpio.archive(tree, mtime=0) == cpio.archive(tree, mtime=0)
    assert {f.mtime for f in read_cpio(cpio.archive(tree, mtime=0)).values()} == {0}


def test_cpio_lists_it(tree: Tree) -> None:
    if shutil.which("cpio") is None:
        pytest.skip("needs cpio to compare with")
    done = subprocess.run(
        ["cpio", "-it", "--quiet"], input=cpio.archive(tree), capture_output=True, check=True
    )
    assert done.stdout.decode().split() == list(read_cpio(cpio.archive(tree)))
