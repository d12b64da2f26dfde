"""OCI images as machines' disks: flattened in memory, put on ext4, forgotten with their image."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from innkeeper.base.errors import ImageError, IntegrityError
from innkeeper.images import ext4
from innkeeper.images.oci.content import ContentStore
from innkeeper.images.oci.flatten import flatten
from innkeeper.images.oci.machine import forget_stale, machine_of
from innkeeper.images.store import Manifest, Store
from innkeeper.images.tarsafe import Kind
from innkeeper.images.tree import Spool, Tree

from .kit import make_image, tar_of
from .test_layers import BASE, CASES, FINE, OUT


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    with Spool(tmp_path) as spool:
        yield Tree(spool)


def listing(tree: Tree) -> dict[str, str]:
    found = {}
    for path, node in tree.walk():
        if node.kind is Kind.DIR:
            found[path] = "/"
        elif node.kind is Kind.SYMLINK:
            found[path] = f"-> {node.target}"
        elif node.kind is Kind.FILE:
            found[path] = tree.spool.read(node.content).decode("latin-1")
    return found


@pytest.mark.parametrize("case", CASES)
def test_the_rules_are_the_same_as_on_disk(case: str, store: ContentStore, tree: Tree) -> None:
    items, there, gone = CASES[case]
    flatten(make_image(store, BASE, tar_of(items)), tree)
    found = listing(tree)
    assert {path: found.get(path) for path in there} == there
    assert not gone & set(found)


@pytest.mark.parametrize("case", OUT)
def test_nothing_climbs_out(case: str, store: ContentStore, tree: Tree) -> None:
    image = make_image(store, BASE, tar_of(OUT[case]))
    if case in FINE:
        flatten(image, tree)
    else:
        with pytest.raises(ImageError):
            flatten(image, tree)
    assert not Path("/tmp/evil").exists()


def test_owners_and_devices_need_no_privileges(store: ContentStore, tree: Tree) -> None:
    first = tar_of([("file", "f", b"1"), ("char", "null", (1, 3))], uid=7, gid=8, mode=0o4755)
    flatten(make_image(store, first), tree)
    node, device = tree.find("f"), tree.find("null")
    assert node is not None and (node.uid, node.gid, node.mode) == (7, 8, 0o4755)
    assert device is not None and device.device == (1, 3)


def test_a_forged_layer_is_refused(store: ContentStore, tree: Tree) -> None:
    with pytest.raises(IntegrityError):
        flatten(make_image(store, BASE, diff_ids=["sha256:" + "0" * 64]), tree)


@pytest.mark.skipif(not ext4.available(), reason="needs mke2fs and debugfs")
def test_the_disk_is_made_once_and_goes_with_the_image(store: ContentStore, tmp_path: Path) -> None:
    machines = Store(tmp_path / "machines")
    kernel = Manifest(
        name="busybox", suite="test", arch="riscv64", created="now", kernel=machines.put(b"k"),
        kernel_release="1", initrd=machines.put(b"i"),
    )  # fmt: skip
    image = make_image(store, BASE, arch="riscv64", config={"WorkingDir": "/srv/app"})
    made = machine_of(image, kernel, store=machines)
    assert machine_of(image, kernel, store=machines) == made and made.disk is not None
    said = subprocess.run(
        ["debugfs", "-R", "ls -p /", str(machines.blob_path(made.disk))],
        capture_output=True, text=True, check=True, env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"},
    ).stdout  # fmt: skip
    names = {line.split("/")[5] for line in said.splitlines() if line.count("/") > 5}
    assert {"a", "lib", "proc", "dev", "sys", "run", "tmp", "srv"} <= names
    other = kernel.__class__(**{**_fields(kernel), "kernel": machines.put(b"newer")})
    again = machine_of(image, other, store=machines)
    assert again.disk == made.disk and again.kernel != made.kernel
    forget_stale(machines, store)
    assert len(machines.images()) == 1
    store.untag(image.name)
    forget_stale(machines, store)
    assert machines.images() == []


def test_without_mke2fs_it_is_said(
    store: ContentStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ext4, "available", lambda: False)
    machines = Store(tmp_path / "machines")
    blob = machines.put(b"k")
    kernel = Manifest(name="busybox", suite="t", arch="riscv64", created="", kernel=blob,
                      kernel_release="1", initrd=blob)  # fmt: skip
    with pytest.raises(ImageError, match="cannot make one") as caught:
        machine_of(make_image(store, BASE), kernel, store=machines)
    assert "e2fsprogs" in caught.value.fix


def _fields(manifest: Manifest) -> dict[str, object]:
    return {name: getattr(manifest, name) for name in manifest.__struct_fields__}
