"""All byte code of this room in one file: what runs per container looks for nothing in directories.

Python stats and opens two files a module, which for forty modules is a tenth of `inn-oci run`. The
launcher opens the one file: an index, padded to INDEX_BYTES, then the code. This module is in it,
and installs what finds the others. A source that has changed since is imported as ever, and the
file is made anew at the next start.
"""

from __future__ import annotations

import marshal
import sys
from _frozen_importlib import ModuleSpec
from posix import pread, stat, unlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    # name: (source, is a package, its mtime in ns, place and size of its marshalled code)
    Index = dict[str, tuple[str, bool, int, int, int]]

PACKAGES = ("innkeeper", "innkeeper/base", "innkeeper/containers", "innkeeper/containers/cgroups")
MAX_SOURCE_BYTES = 32 << 10  # what is larger is a table, and rarely wanted
INDEX_BYTES = 1 << 16
OPTIMIZE = 2  # as -OO: no docstrings


class Finder:
    """Finds and executes the modules of the one file."""

    def __init__(self, index: Index, fd: int, path: str) -> None:
        self.index, self.fd, self.path = index, fd, path

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return how to import a module, or None when that is not known or out of date."""
        found = self.index.get(name)
        if found is None:
            return None
        try:
            if stat(found[0]).st_mtime_ns == found[2]:
                loader: Any = self
                return ModuleSpec(name, loader, origin=found[0], is_package=found[1])
            unlink(self.path)
        except OSError:
            pass
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Leave it to Python."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Fill a module; a package may hold modules that are not in the file."""
        source, is_package, _, place, size = self.index[module.__name__]
        if is_package:
            module.__path__.append(source.rpartition("/")[0])
        exec(marshal.loads(pread(self.fd, size, place)), module.__dict__)


def install(index: Index, fd: int, path: str) -> None:
    """Look for modules in the file before anywhere else."""
    sys.meta_path.insert(0, Finder(index, fd, path))


def write(path: str, source: str) -> None:
    """Make the file, whole or not at all; where that cannot be, nothing is lost but time."""
    import os

    temporary = f"{path}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(_compile(source))
        os.rename(temporary, path)
    except OSError:
        pass


def _compile(source: str) -> bytes:
    import os

    index: Index = {}
    codes: list[bytes] = []
    place = INDEX_BYTES
    for package in PACKAGES:
        for name in sorted(os.listdir(f"{source}/{package}")):
            path = f"{source}/{package}/{name}"
            if not name.endswith(".py") or (package == "innkeeper" and name != "__init__.py"):
                continue
            if (found := os.stat(path)).st_size > MAX_SOURCE_BYTES:
                continue
            with open(path, encoding="utf-8") as file:
                code = compile(file.read(), path, "exec", dont_inherit=True, optimize=OPTIMIZE)
            full = f"{package}/{name[:-3]}".removesuffix("/__init__").replace("/", ".")
            codes.append(marshal.dumps(code))
            size = len(codes[-1])
            index[full] = path, name == "__init__.py", found.st_mtime_ns, place, size
            place += size
    head = marshal.dumps(index)
    if len(head) > INDEX_BYTES:
        raise OSError("the index has outgrown its place")
    return head.ljust(INDEX_BYTES, b"\0") + b"".join(codes)
