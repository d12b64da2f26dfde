"""Containers' roots without privileges: overlayfs inside a user namespace, with `user.` attributes."""

from __future__ import annotations

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
