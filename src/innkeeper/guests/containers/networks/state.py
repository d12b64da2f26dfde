"""What is attached to networks now: one file, changed by one process at a time.

    $XDG_STATE_HOME/innkeeper/networks/attached     as JSON: {"containers": {ID: ENTRY}, "last": {}}
    $XDG_STATE_HOME/innkeeper/networks/lock

It is the one truth: addresses are leased by being in it, the packet filter is made from it, and the
resolvers answer from it. An ENTRY is written before anything of it is made and removed when
everything of it is gone, so that what a killed process leaves is found.

    ENTRY: {"name", "links": [LINK], "ports": [PORT], "dns": [ADDRESS]}
    LINK:  {"network", "driver": "bridge", "outside", "inside", "mac", "addresses", "names"}
           {"network", "driver": "cni", "inside", "addresses", "names", ...}: cni/attach.py
    PORT:  {"host", "host_port", "port", "protocol"}
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from innkeeper.base.errors import StorageError
from innkeeper.guests.containers import records
from innkeeper.guests.containers.networks.definitions import networks_dir
from innkeeper.images.locks import locked

ATTACHED = "attached"
MAX_BYTES = 1 << 28
Entry = dict[str, Any]


class State:
    """What is attached; to be changed under the lock only."""

    def __init__(self) -> None:
        data = read(networks_dir() / ATTACHED)
        self.containers: dict[str, Entry] = data.get("containers", {})
        self.last: dict[str, str] = data.get("last", {})

    def save(self) -> None:
        """Write it as a whole or not at all."""
        document = {"containers": self.containers, "last": self.last}
        records.write_json(networks_dir() / ATTACHED, document)

    def links(self, network: str) -> list[tuple[str, dict[str, Any]]]:
        """Return the links to one of our networks, with their containers' ids."""
        return [
            (container, link)
            for container, entry in self.containers.items()
            for link in entry["links"]
            if link["network"] == network and link["driver"] == "bridge"
        ]

    def taken(self, network: str) -> set[str]:
        """Return the addresses of a network that are leased."""
        return {
            address.partition("/")[0]
            for _, link in self.links(network)
            for address in link["addresses"]
        }

    def in_use(self) -> set[str]:
        """Return the names of our networks that something is attached to."""
        return {
            link["network"]
            for entry in self.containers.values()
            for link in entry["links"]
            if link["driver"] == "bridge"
        }


def read(path: Path) -> dict[str, Any]:
    """Read the file; none is an empty one, but a damaged one is an error: leases are in it.

    One from before the host was started is empty, too, if it is damaged: nothing is attached.
    """
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(MAX_BYTES))
        if not isinstance(found, dict):
            raise ValueError("it is no object")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        if path.stat().st_mtime < time.time() - time.clock_gettime(time.CLOCK_BOOTTIME):
            return {}
        raise StorageError(
            f"{path} cannot be read", why=str(error),
            fix="remove it when no container runs, then: inn system prune",
        ) from None  # fmt: skip
    return found


@contextmanager
def changing() -> Iterator[State]:
    """Have the state for this process alone."""
    with locked(networks_dir() / "lock"):
        yield State()


def is_attended(container: str) -> bool:
    """Tell whether a process attends to the container that an entry is of."""
    folder = records.containers_dir() / container
    return folder.is_dir() and records.Record(folder, {}).attended()


def tag() -> str:
    """Return what tells this folder's tables and bridges from another's on the same host."""
    return f"{zlib.crc32(str(networks_dir()).encode()):08x}"
