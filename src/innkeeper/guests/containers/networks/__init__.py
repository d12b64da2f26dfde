"""Networks of containers: a module for each mode that sets something up on the host.

`none`, `host`, `container:NAME` and `ns:PATH` set nothing up and are no module here; their path
imports nothing of this package. A mode that does is a module with these functions, and is imported
when it is asked for:

    prepare(request, record)   before the container is made: refuse what cannot be, and put what
                               the others need into `record.data["net"]["..."]` (JSON; it is saved)
    files(request, record)     `/etc/hosts` and `/etc/resolv.conf`, `request.net` considered; what
                               is only known later, `attach` writes (`Files.write`)
    admit(record, pid)         (a mode may have it) the process waits, as it was cloned, with its
                               user namespace mapped: take what will be out of reach later
    attach(record, pid)        the process exists in its own network namespace, with its user
                               namespace mapped, and its program has not started: set the network
                               up, the container is built meanwhile
    detach(record)             its processes are gone: give everything back. Nothing to give back
                               is no error: it is called at every end, some of them after a crash
    sweep()                    remove what no record knows of any more, return what it was

`record.data["net"]["mode"]` is the mode's name; records of other modes have no "net".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from innkeeper.guests.containers.request import MODES

if TYPE_CHECKING:
    from innkeeper.guests.containers.networks.files import Files
    from innkeeper.guests.containers.records import Record
    from innkeeper.guests.containers.request import ContainerRequest


class Mode(Protocol):
    """What a mode's module offers."""

    def prepare(self, request: ContainerRequest, record: Record) -> None: ...
    def files(self, request: ContainerRequest, record: Record) -> Files: ...
    def attach(self, record: Record, pid: int) -> None: ...
    def detach(self, record: Record) -> None: ...
    def sweep(self) -> list[str]: ...


def mode_named(name: str) -> Mode:
    """Import a mode that sets something up."""
    module: Any
    if name == "bridge":
        from innkeeper.guests.containers.networks import bridge as module
    elif name == "slirp":
        from innkeeper.guests.containers.networks import slirp as module
    else:
        raise LookupError(name)
    found: Mode = module
    return found


def prepare(request: ContainerRequest, record: Record) -> None:
    """Let the request's mode decide what it will set up."""
    record.data["net"] = {"mode": request.mode}
    mode_named(request.mode).prepare(request, record)


def admit(record: Record, pid: int) -> None:
    """Let a mode that needs to take hold of a process before it becomes the container's."""
    take = getattr(mode_named(record.data["net"]["mode"]), "admit", None)
    if take is not None:
        take(record, pid)


def attach(record: Record, pid: int) -> None:
    """Set the network of a container's first process up."""
    mode_named(record.data["net"]["mode"]).attach(record, pid)


def detach(record: Record) -> None:
    """Give back what the network of a container that has ended holds."""
    mode_named(record.data["net"]["mode"]).detach(record)


def sweep() -> list[str]:
    """Remove what crashes have left of networks that no container's record knows of."""
    return [name for mode in MODES for name in mode_named(mode).sweep()]
