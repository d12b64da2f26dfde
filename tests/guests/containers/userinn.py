"""`inn` of a user without privileges; with users of /etc/subuid beside him, or without."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.guests.containers.harness import Inn, make_inn

UID = 23457
SUB_START, SUB_COUNT = 700_000, 65_536
_NAME = "inntester"


class UserInn(Inn):
    """`inn` of another user, by a Python that he can reach.

    With `subids` he has a name and further ids. For that /etc has other files in a mount namespace
    that each command gets; those of the host stay as they are.
    """

    def __init__(self, folder: Path, python: str, *, subids: bool) -> None:
        super().__init__(folder)
        self.python, self.subids = python, subids
        self.env["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        self.env.pop("XDG_RUNTIME_DIR", None)
        self.env["HOME"] = str(folder)
        self.prefix: list[str] = []

    def python_argv(self) -> list[str]:
        return [*self.as_user(), self.python]

    def as_user(self) -> list[str]:
        user = ["setpriv", "--reuid", str(UID), "--regid", str(UID), "--clear-groups", "--"]
        if not self.subids:
            return [*self.prefix, *user]
        etc = self.folder / "etc"
        binds = "; ".join(
            f"mount --bind {etc}/{name} /etc/{name}" for name in ("passwd", "subuid", "subgid")
        )
        own = ["unshare", "--mount", "sh", "-c", f'set -e; {binds}; exec "$@"', "sh"]
        return [*self.prefix, *own, *user]

    def write_etc(self) -> None:
        etc = self.folder / "etc"
        etc.mkdir()
        line = f"{_NAME}:x:{UID}:{UID}::{self.folder}:/bin/sh\n"
        (etc / "passwd").write_text(Path("/etc/passwd").read_text() + line)
        for name in ("subuid", "subgid"):
            (etc / name).write_text(f"{_NAME}:{SUB_START}:{SUB_COUNT}\n")


@contextmanager
def user_inn(name: str, *, subids: bool) -> Iterator[UserInn]:
    """Give a user his `inn` with the test image in it."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    python = shutil.which(version, path="/usr/bin")
    if python is None or not shutil.which("setpriv"):
        pytest.skip(f"needs setpriv and a {version} in /usr/bin that another user can run")
    if subids and not (shutil.which("newuidmap") and shutil.which("newgidmap")):
        pytest.skip("needs newuidmap (apt-get install uidmap)")
    if subids and not Path("/etc/subuid").exists():
        pytest.skip("needs an /etc/subuid to mount another one over")
    home = Path(f"/tmp/inn-{name}-{os.getpid()}")
    home.mkdir(mode=0o755)
    os.chown(home, UID, UID)
    made = UserInn(home, python, subids=subids)
    try:
        if subids:
            made.write_etc()
        probe = subprocess.run(
            made.argv("--version"), env=made.env, capture_output=True, check=False
        )
        if probe.returncode:
            pytest.skip(f"another user cannot run this checkout: {probe.stderr.decode()[-200:]}")
        make_inn(home, made)
        yield made
    finally:
        shutil.rmtree(home)
