"""ext4 made without being root, looked into with debugfs and checked with e2fsck."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from innkeeper.base.errors import ImageError
from innkeeper.images import ext4, tarwrite
from innkeeper.images.tarsafe import Kind, TarReader
from innkeeper.images.tree import Node, Spool, Tree

SIZE = 300 << 20


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    with Spool(tmp_path) as spool:
        made = Tree(spool)
        made.write("bin/tool", b"tool" * 5000, mode=0o6755)
        made.link("bin/other", "bin/tool")
        made.add("a b/secret; rm", Node(Kind.FILE, mode=0o000, uid=70_000, gid=42, mtime=99))
        made.add("drop", Node(Kind.DIR, mode=0o1777, uid=3, mtime=1_600_000_000))
        made.symlink("link", "/nowhere")
        made.device("dev/vda", Kind.BLOCK, device=(254, 17), mode=0o660)
        made.add("fifo", Node(Kind.FIFO, mode=0o640, gid=5))
        node = made.write("capable", b"x")
        node.xattrs["security.capability"] = bytes.fromhex(
            "0100000200200000000000000000000000000000"
        )
        yield made


def ask(disk: Path, command: str) -> str:
    return ext4._run([ext4._need("debugfs"), "-R", command, str(disk)]).stdout


@pytest.fixture
def disk(tree: Tree, tmp_path: Path) -> Path:
    if not ext4.available():
        pytest.skip("needs mke2fs and debugfs")
    target = tmp_path / "disk"
    ext4.make(tree, target, size=SIZE, staging=tmp_path)
    return target


def test_owners_modes_and_devices(disk: Path) -> None:
    assert ask(disk, "cat /bin/other") == "tool" * 5000
    assert "Links: 2" in ask(disk, "stat /bin/tool")
    assert "Mode:  06755" in ask(disk, "stat /bin/tool")
    secret = " ".join(ask(disk, 'stat "/a b/secret; rm"').split())
    assert "Mode: 0000" in secret
    assert "User: 70000 Group: 42" in secret
    drop = " ".join(ask(disk, "stat /drop").split())
    assert "Mode: 01777" in drop
    assert "User: 3 Group: 0" in drop
    assert "mtime: 0x5f5e1000" in drop
    assert 'Fast link dest: "/nowhere"' in ask(disk, "stat /link")
    device = " ".join(ask(disk, "stat /dev/vda").split())
    assert "Type: block special Mode: 0660" in device
    assert "Device major/minor number: 254:17" in device
    assert "Type: FIFO" in ask(disk, "stat /fifo")
    assert "security.capability" in ask(disk, "ea_list /capable")
    for path in ("/", "/bin", "/dev", "/link", "/fifo", "/capable"):
        assert "User:     0" in ask(disk, f"stat {path}"), path


def test_the_file_system_is_sound_and_sparse(disk: Path) -> None:
    assert disk.stat().st_size == SIZE
    assert disk.stat().st_blocks * 512 < 64 << 20
    done = subprocess.run([ext4._need("e2fsck"), "-fn", disk], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout


def test_nothing_is_left_over(disk: Path, tmp_path: Path) -> None:
    assert {p.name for p in tmp_path.iterdir()} <= {"disk", "owners", "cache", "data"}


def test_a_system_that_does_not_fit(tree: Tree, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="does not fit"):
        ext4.make(tree, tmp_path / "disk", size=1 << 20, staging=tmp_path)


@pytest.mark.parametrize("name", ['a"b', "a\nrm /bin/tool"])
def test_a_name_cannot_become_a_command(tree: Tree, tmp_path: Path, name: str) -> None:
    tree.write(name, b"")
    with pytest.raises(ImageError, match="cannot be written"):
        list(ext4._materialise(tree, tmp_path / "root", tmp_path / "attributes"))


def test_a_tree_as_tar_is_read_back(tree: Tree, tmp_path: Path) -> None:
    path = tmp_path / "root.tar"
    tarwrite.write(tree, path)
    with path.open("rb") as file, Spool(tmp_path) as spool:
        again = Tree(spool)
        again.unpack(TarReader(file, name="root.tar"))
        assert facts(again) == facts(tree)


def facts(tree: Tree) -> list[object]:
    return [
        (
            path,
            n.kind,
            n.mode,
            n.uid,
            n.gid,
            n.target,
            n.device,
            n.xattrs,
            tree.spool.read(n.content),
        )
        for path, n in tree.walk()
    ]
