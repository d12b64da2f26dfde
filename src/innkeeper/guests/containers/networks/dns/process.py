"""The resolver's process: started with the first container of a network, ended with the last.

    $XDG_STATE_HOME/innkeeper/networks/NAME.dns     its number; locked (flock(2)) as long as it is

It reads what is attached from `state.py`'s file whenever that has changed, and ends by itself when
nothing is attached to its network any more.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from innkeeper.base.errors import InnError, MachineError
from innkeeper.containers import capabilities
from innkeeper.containers import kernel as k
from innkeeper.guests.containers.networks import definitions, files, state
from innkeeper.guests.containers.networks.definitions import Network, networks_dir
from innkeeper.images.locks import try_lock

if TYPE_CHECKING:
    from innkeeper.guests.containers.networks.dns.names import Names

MAX_SAID_BYTES = 4096
END_TIMEOUT_S = 10.0
_READY = b"ready"
_NEEDED = ["CAP_DAC_READ_SEARCH"]
_PACKAGE = "innkeeper.guests.containers.networks.dns"
_PROGRAM = f"import sys; from {_PACKAGE}.process import main; main(sys.argv[1])"


def ensure(network: Network) -> None:
    """Have a resolver for a network; under the lock of the state, the bridge being up."""
    if _is_running(network.name):
        return
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become_server(network.name, tell)
    os.close(tell)
    with os.fdopen(told, "rb") as pipe:
        said = pipe.read(MAX_SAID_BYTES)
    if said != _READY:
        raise MachineError(
            f"network {network.name} gets no resolver",
            why=said.decode("utf-8", "replace") or "its process ended",
            fix="stop what listens at port 53 of all addresses, or make the network with "
            "--disable-dns",
        )


def _become_server(name: str, tell: int) -> None:
    """Be another program, in a session of its own, with nothing of this one's open."""
    try:
        os.setsid()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(tell, 3)
        os.set_inheritable(3, True)  # if it was 3 already
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        k.syscall("close_range", 4, 0xFFFFFFFF, 0)
        os.execv(sys.executable, [sys.executable, "-P", "-c", _PROGRAM, name])
    finally:
        os._exit(1)


def end(name: str) -> bool:
    """End a network's resolver and wait until it is gone; False when there is none."""
    if not _is_running(name):
        _path(name).unlink(missing_ok=True)
        return False
    with suppress(OSError, ValueError):
        watch = os.pidfd_open(int(_path(name).read_text()))
        try:
            if _is_running(name):  # then it is this process, and no later one of its number
                signal.pidfd_send_signal(watch, signal.SIGTERM)
                poll = select.poll()
                poll.register(watch, select.POLLIN)
                poll.poll(END_TIMEOUT_S * 1000)
        finally:
            os.close(watch)
    _path(name).unlink(missing_ok=True)
    return True


def running() -> list[str]:
    """Return the names of networks that have a resolver."""
    found = [path.name.removesuffix(".dns") for path in networks_dir().glob("*.dns")]
    return [name for name in found if _is_running(name)]


def _path(name: str) -> Path:
    return networks_dir() / f"{name}.dns"


def _is_running(name: str) -> bool:
    try:
        fd = os.open(_path(name), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not try_lock(fd)
    finally:
        os.close(fd)


def main(name: str) -> None:
    """Be a network's resolver; descriptor 3 is told when it can be asked."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        os.chdir("/")
        _claim(name)
        from innkeeper.guests.containers.networks.dns.server import Server

        network = definitions.load(name)
        addresses = [gateway for _, gateway in network.subnets]
        server = Server(addresses, _names_of(name), Resolvers())
        _give_up_privileges()
    except (OSError, InnError) as error:
        os.write(3, str(error).encode()[:MAX_SAID_BYTES])
        return
    os.write(3, _READY)
    os.close(3)
    server.serve()


def _claim(name: str) -> None:
    """Write this process's number down, and hold the lock until its end."""
    fd = os.open(_path(name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not try_lock(fd):
        raise MachineError("another resolver serves the network")
    os.ftruncate(fd, 0)
    os.pwrite(fd, str(os.getpid()).encode(), 0)


def _give_up_privileges() -> None:
    """Keep no capability but to read our own files, which may stand in a folder of a user's."""
    capabilities.apply({"effective": _NEEDED, "permitted": _NEEDED})
    k.prctl(k.PR_SET_NO_NEW_PRIVS, 1)


class Changed:
    """A file's version, to be asked whether it is another one than the last time."""

    def __init__(self, path: Path) -> None:
        self._path, self._seen = path, (-1, -1, -1)

    def __call__(self) -> bool:
        """Tell whether it is; `FileNotFoundError` when it is gone."""
        now = os.stat(self._path)
        seen, self._seen = self._seen, (now.st_ino, now.st_mtime_ns, now.st_size)
        return seen != self._seen


class Resolvers:
    """The host's resolvers, read again when they change."""

    def __init__(self) -> None:
        self._changed = Changed(Path("/etc/resolv.conf"))
        self._found: list[str] = []

    def __call__(self) -> list[str]:
        with suppress(OSError):
            if self._changed():
                self._found = files.resolvers()
        return self._found


def _names_of(name: str) -> Callable[[], Names | None]:
    from innkeeper.guests.containers.networks.dns.names import Names

    changed = Changed(networks_dir() / state.ATTACHED)
    known: Names | None = None

    def look() -> Names | None:
        nonlocal known
        try:
            if not changed() and known is not None:
                return known
            found = state.State()
        except (OSError, InnError):
            return None
        if not found.links(name):
            return None
        outside = [network.name for network in definitions.every() if not network.internal]
        known = Names(found.containers, outside)
        return known

    return look
