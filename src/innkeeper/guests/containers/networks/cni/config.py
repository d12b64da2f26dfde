"""Network configurations of `/etc/cni/net.d`: CNI specification 1.0.0 section 1."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from innkeeper.base.errors import UsageError
from innkeeper.base.record import record

FOLDER = "/etc/cni/net.d"
VARIABLE = "INN_CNI_CONFIG_DIR"
VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
MAX_FILE_BYTES, MAX_FILES, MAX_PLUGINS, MAX_NAME = 1 << 20, 1000, 64, 255
_ENDS = (".conflist", ".conf", ".json")
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


@record(kw_only=True)
class NetworkList:
    """A configuration: the plugins to be called in order, and the version they are called in."""

    name: str
    version: str
    plugins: tuple[dict[str, Any], ...]
    check: bool = True
    path: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return what is kept with a container: the files may change before it ends."""
        return {
            "name": self.name, "cniVersion": self.version, "plugins": list(self.plugins),
            "disableCheck": not self.check,
        }  # fmt: skip


def folder(given: str = "") -> str:
    """Return where configurations are: as given, as the environment has it, or the usual place."""
    return given or os.environ.get(VARIABLE) or FOLDER


def every(given: str = "") -> Iterator[NetworkList]:
    """Return all configurations that can be read, in the order of their files' names."""
    try:
        names = sorted(n for n in os.listdir(folder(given)) if n.endswith(_ENDS))
    except OSError:
        return
    for name in names[:MAX_FILES]:
        try:
            yield read(Path(folder(given), name))
        except UsageError:
            continue  # somebody else's, or half written: it is told when it is asked for by name


def find(name: str, given: str = "") -> NetworkList | None:
    """Return the first configuration of a name."""
    return next((one for one in every(given) if one.name == name), None)


def read(path: Path) -> NetworkList:
    """Read a file; `UsageError` when it is no configuration. One of a single plugin, as there were
    before 1.0.0, is a list of one."""
    try:
        with path.open("rb") as file:
            data = json.loads(file.read(MAX_FILE_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"CNI configuration {path}", why=str(error)[:200]) from None
    return parse(data, str(path))


def _is_name(name: str) -> bool:
    return len(name) <= MAX_NAME and name[:1].isalnum() and _NAME.issuperset(name)


def parse(data: Any, path: str = "") -> NetworkList:
    """Check a configuration as section 1 "Configuration format" has it."""
    if isinstance(data, dict) and "plugins" not in data and "type" in data:
        data = {
            "cniVersion": data.get("cniVersion", "0.2.0"), "name": data.get("name"),
            "plugins": [data],
        }  # fmt: skip
    if not isinstance(data, dict):
        raise UsageError(f"CNI configuration {path}", why="it is no object")
    name: Any = data.get("name")
    version, plugins = data.get("cniVersion", "0.2.0"), data.get("plugins")
    if not isinstance(name, str) or not _is_name(name):
        raise UsageError(f"CNI configuration {path}", why=f"its name is {str(name)[:80]!r}")
    if version not in VERSIONS:
        raise UsageError(f"CNI configuration {path}", why=f"cniVersion {str(version)[:80]!r}",
                         fix=f"one of: {', '.join(VERSIONS)}")  # fmt: skip
    if not isinstance(plugins, list) or not 0 < len(plugins) <= MAX_PLUGINS:
        raise UsageError(f"CNI configuration {path}", why="it has no list of plugins")
    for plugin in plugins:
        kind = plugin.get("type") if isinstance(plugin, dict) else None
        if not isinstance(kind, str) or not kind or "/" in kind or kind.startswith("."):
            raise UsageError(f"CNI configuration {path}", why=f"plugin type {str(kind)[:80]!r}")
        if not isinstance(plugin.get("capabilities", {}), dict):
            raise UsageError(f"CNI configuration {path}", why="capabilities are an object")
    off = data.get("disableCheck") in (True, "true")
    return NetworkList(name=name, version=version, plugins=tuple(plugins), check=not off, path=path)
