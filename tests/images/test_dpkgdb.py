"""The dpkg database, and which preinst scripts a new system can do without."""

from __future__ import annotations

from pathlib import Path

import pytest

from innkeeper.base.errors import ImageError
from innkeeper.images.dpkgdb import Database, is_conffile_cleanup
from innkeeper.images.tree import Spool, Tree


@pytest.mark.parametrize(
    ("script", "idle"),
    [
        (b"", True),
        (b"#!/bin/sh\nset -e\n\ndpkg-maintscript-helper rm_conffile /etc/x 1\\~ -- \"$@\"\n", True),
        (b"#!/bin/sh\ndpkg-maintscript-helper mv_conffile /a \\\n /b 1 -- \"$@\"\nexit 0\n", True),
        (b"#!/bin/sh\nadduser x\n", False),
        (b"dpkg-maintscript-helper rm_conffile /etc/x 1 -- \"$@\"; adduser x\n", False),
        (b"dpkg-maintscript-helper rm_conffile $(adduser x)\n", False),
        (b"if true\n", False),
    ],
)  # fmt: skip
def test_scripts_that_do_nothing_on_a_new_system(script: bytes, idle: bool) -> None:
    assert is_conffile_cleanup(script) is idle


@pytest.mark.parametrize(
    "control", [b"Package: other\nVersion: 1\n", b"\xff", b"", b"not control data\n"]
)
def test_a_package_that_is_not_what_the_index_said(tmp_path: Path, control: bytes) -> None:
    with Spool(tmp_path) as spool, pytest.raises(ImageError):
        Database(Tree(spool)).add({"control": (0o644, control)}, [], name="wanted")
