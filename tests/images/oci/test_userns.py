"""Containers' roots without privileges: overlayfs inside a user namespace, with `user.` attributes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import shutil, sys
from pathlib import Path
from innkeeper.images.oci.commit import commit, diff
from innkeeper.images.oci.content import ContentStore
from innkeeper.images.oci.rootfs import prepare_rootfs, release_rootfs
from tests.images.oci.kit import listing, make_image, tar_of
from tests.images.oci.test_layers import BASE, CASES

here = Path(sys.argv[1])
store = ContentStore(here / "oci")
for case, (items, _, _) in CASES.items():
    image = make_image(store, BASE, tar_of(items))
    over = prepare_rootfs(image, here / "over", rootless=True, overlay=True)
    copy = prepare_rootfs(image, here / "copy", rootless=True, overlay=False)
    assert over.mounted and listing(over.path) == listing(copy.path), case
    for name in ("over", "copy"):
        release_rootfs(here / name, store)
over = prepare_rootfs(make_image(store, BASE), here / "over", rootless=True)
assert over.kind == "overlay" and diff(here / "over", store) == []
shutil.rmtree(over.path / "a")
(over.path / "a").mkdir()  # opaque, by an attribute of the user's
(over.path / "a/new").write_text("x")
found = {(c.kind, c.path) for c in diff(here / "over", store)}
assert found == {("C", "/a"), ("D", "/a/b"), ("D", "/a/top"), ("A", "/a/new")}, found
seen = listing(over.path)
image = commit(here / "over", "new", store=store)
release_rootfs(here / "over", store)
copy = prepare_rootfs(image, here / "copy", rootless=True, overlay=False)
assert listing(copy.path) == seen
print("all is well")
"""


def test_an_overlay_in_a_user_namespace(tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    data = f"lowerdir={tmp_path},upperdir={tmp_path}/u,workdir={tmp_path}/w,userxattr"
    for name in ("u", "w", "m"):
        (tmp_path / name).mkdir()
    trial = ["mount", "-t", "overlay", "overlay", "-o", data, str(tmp_path / "m")]
    if unshare is None or subprocess.run([unshare, "-Urm", *trial], capture_output=True).returncode:
        pytest.skip("needs overlayfs in user namespaces (Linux 5.11)")
    words = [unshare, "-Urm", sys.executable, "-c", SCRIPT, str(tmp_path)]
    root = Path(__file__).parents[3]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=root)
    assert done.stdout == "all is well\n", done.stderr


MAPPED = """
import os, sys
from pathlib import Path
from innkeeper.images.oci.commit import commit
from innkeeper.images.oci.content import ContentStore
from innkeeper.images.oci.reach import prune
from innkeeper.images.oci.rootfs import prepare_rootfs, release_rootfs
from tests.images.oci.kit import make_image, tar_of

here = Path(sys.argv[1])
store = ContentStore(here / "oci")
image = make_image(store, tar_of([("file", "f", b"1"), ("link", "l", "f")], uid=33, gid=34),
                   tar_of([("file", "far", b"1")], uid=70000), tar_of([("char", "null", (1, 3))]))
for overlay in (True, False):
    box = here / f"box-{overlay}"
    made = prepare_rootfs(image, box, rootless=True, overlay=overlay)
    status = (made.path / "f").stat()
    assert (status.st_uid, status.st_gid) == (33, 34)
    assert (made.path / "l").lstat().st_uid == 33
    assert not (made.path / "null").exists(), "devices need more"
    new = commit(box, "new", store=store)
    release_rootfs(box, store)
again = prepare_rootfs(new, here / "again", rootless=True, overlay=False)
assert (again.path / "f").stat().st_uid == 33
assert os.getxattr(again.path / "far", "user.innkeeper.owner") == b"70000:0"
release_rootfs(here / "again", store)
for name in ("one:latest", "new:latest"):
    store.untag(name)
prune(store)
assert not list((store.root / "layers-mapped").iterdir())
print("all is well")
"""


ENTER = """
import ctypes, sys
NEWUSER, NEWNS = 0x10000000, 0x00020000
print("entered" if ctypes.CDLL(None).unshare(NEWUSER | NEWNS) == 0 else "refused", flush=True)
sys.stdin.readline()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to map ids of several users")
def test_a_user_namespace_with_ids_of_its_own_sets_owners(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    process = subprocess.Popen(  # as `podman unshare` would, newuidmap being us here
        [sys.executable, "-c", ENTER + MAPPED, str(tmp_path)], cwd=root, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    entered = process.stdout.readline() == "entered\n"
    if entered:
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{process.pid}/{name}").write_text("0 0 1\n1 100000 65535\n")
    out, err = process.communicate("go\n", timeout=120)
    if not entered:
        pytest.skip("user namespaces cannot be made here")
    assert out == "all is well\n", err
