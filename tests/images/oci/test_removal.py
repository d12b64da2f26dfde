"""Removing trees, however they are made."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from innkeeper.images.oci.removal import remove_tree


def test_everything_goes_and_links_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("")
    tree = tmp_path / "tree"
    (tree / "a/b/c").mkdir(parents=True)
    (tree / "a/b/file").write_text("x")
    (tree / "a/link").symlink_to(outside)
    (tree / "top").symlink_to(outside / "kept")
    os.mkfifo(tree / "a/b/c/pipe")
    remove_tree(tree)
    assert not tree.exists() and (outside / "kept").exists()
    remove_tree(tree)  # gone already
    (tmp_path / "link").symlink_to(outside)
    remove_tree(tmp_path / "link")
    assert (outside / "kept").exists()


def test_deeper_than_a_path_or_the_stack(tmp_path: Path) -> None:
    depth = 2 * sys.getrecursionlimit()
    tree = tmp_path / "tree"
    tree.mkdir()
    fd = os.open(tree, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d" * 20, dir_fd=fd)
        below = os.open("d" * 20, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    remove_tree(tree)
    assert not tree.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody without privileges")
def test_what_its_owner_may_not_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = tmp_path / "tree"
    (tree / "a/b").mkdir(parents=True)
    (tree / "a/b/file").write_text("x")
    for folder in (tree / "a/b", tree / "a", tree):
        os.chown(folder, 23456, 23456)
        folder.chmod(0o500)
    monkeypatch.chdir(tree)  # pytest's folders are closed to other users
    pid = os.fork()
    if pid == 0:
        os.setgid(23456)
        os.setuid(23456)
        remove_tree(Path("."))
        os._exit(0)
    os.waitpid(pid, 0)
    assert tree.exists() and os.listdir(tree) == []  # the name itself is in root's folder
