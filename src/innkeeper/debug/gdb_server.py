"""A socket that a debugger connects to: `target remote :1234` in GDB.

Whoever can connect has the machine in hand, and reads and writes all its memory: listen on this
host alone, or on a Unix socket, which only the user that runs Innkeeper may open.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
import stat
import threading
from types import TracebackType
from typing import Self

from innkeeper.base.errors import InnError, MachineError, UsageError
from innkeeper.debug.gdb_protocol import GdbSession
from innkeeper.debug.target import DebugTarget

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 1234
DEFAULT_ADDRESS = f"{DEFAULT_HOST}:{DEFAULT_PORT}"
RECEIVE_BYTES = 1 << 16
ATTACH_TIMEOUT_S = 10.0
SEND_TIMEOUT_S = 30.0
INTERRUPT_LATENCY_S = 0.05  # how long a Ctrl-C may lie unread while the machine runs

_LOG = logging.getLogger("innkeeper.debug")


def parse_address(text: str) -> tuple[str, int] | str:
    """Read `HOST:PORT`, `:PORT`, `PORT`, `[V6]:PORT`, or a path with a slash or after `unix:`."""
    if text.startswith("unix:") or "/" in text:
        path = text.removeprefix("unix:")
        if path:
            return path
    host, _, port = text.rpartition(":")
    if port.isascii() and port.isdigit() and int(port) < 1 << 16:
        host = host.removeprefix("[").removesuffix("]")
        return (host or DEFAULT_HOST, int(port))
    raise UsageError(
        f"{text!r} is no address for a debugger",
        fix="write 127.0.0.1:1234, or the path of a socket",
    )


class GdbServer:
    """Serve one debugger at a time, from a thread of its own, until `close`.

    The target is stopped when a debugger connects and runs on when it has gone. `start` raises
    `MachineError` if the address cannot be had.
    """

    def __init__(self, target: DebugTarget, address: str = DEFAULT_ADDRESS) -> None:
        self._target = target
        self._wanted = parse_address(address)
        self._listener: socket.socket | None = None
        self._wake: tuple[socket.socket, socket.socket] | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="gdb-server", daemon=True)

    @property
    def address(self) -> str:
        """What to give to `target remote`; a port 0 is the chosen one after `start`."""
        if isinstance(self._wanted, str):
            return self._wanted
        host, port = self._wanted
        if self._listener is not None:
            port = self._listener.getsockname()[1]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def start(self) -> None:
        """Listen, and serve in the background."""
        try:
            self._listener = _listen(self._wanted)
        except OSError as error:
            raise MachineError(
                f"cannot listen for a debugger on {self.address}",
                why=os.strerror(error.errno) if error.errno else str(error),
                fix="choose another address with --gdb",
            ) from None
        self._wake = socket.socketpair()
        self._thread.start()

    def close(self) -> None:
        """Disconnect the debugger and stop listening; may be called more than once."""
        if self._closing.is_set() or self._listener is None or self._wake is None:
            return
        self._closing.set()
        waiter, waker = self._wake
        waker.send(b"x")
        self._thread.join()
        for each in (self._listener, waiter, waker):
            each.close()
        if isinstance(self._wanted, str):
            _remove_socket(self._wanted)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ready(self, source: socket.socket, timeout_s: float | None) -> bool:
        """Wait until there is something to read or the server closes; True for the former."""
        assert self._wake is not None
        poll = select.poll()  # not select(): a machine with many files has numbers beyond its 1024
        poll.register(source, select.POLLIN)
        poll.register(self._wake[0], select.POLLIN)
        ready = poll.poll(None if timeout_s is None else timeout_s * 1000)
        return any(fd == source.fileno() for fd, _ in ready) and not self._closing.is_set()

    def _serve(self) -> None:
        assert self._listener is not None
        while not self._closing.is_set():
            if not self._ready(self._listener, None):
                continue
            try:
                client, _ = self._listener.accept()
            except OSError as error:  # gone again before we looked, or no descriptor left
                _LOG.warning("a debugger could not connect: %s", error)
                self._closing.wait(INTERRUPT_LATENCY_S)
                continue
            with client:
                try:
                    self._talk(client)
                except Exception:
                    _LOG.exception("a debugger's session failed")

    def _talk(self, client: socket.socket) -> None:
        """Serve one client to its end."""
        session: GdbSession | None = None
        try:
            client.settimeout(SEND_TIMEOUT_S)
            if client.family != socket.AF_UNIX:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._target.interrupt()
            stop = self._target.wait_stop(ATTACH_TIMEOUT_S)
            if stop is None:
                _LOG.error("the guest did not stop for the debugger in %g s", ATTACH_TIMEOUT_S)
                return
            session = GdbSession(self._target, stop)
            self._pump(client, session)
        except OSError as error:
            _LOG.info("the debugger is gone: %s", error)
        except InnError as error:
            _LOG.warning("the debugger's session ended: %s", error)
        finally:
            if session is not None:
                session.close()

    def _pump(self, client: socket.socket, session: GdbSession) -> None:
        while not session.finished:
            if session.running:
                stop = self._target.wait_stop(INTERRUPT_LATENCY_S)
                if stop is not None:
                    client.sendall(session.stopped(stop))
                    continue
            if not self._ready(client, 0.0 if session.running else None):
                if self._closing.is_set():
                    return
                continue
            data = client.recv(RECEIVE_BYTES)
            if not data:
                return
            if out := session.receive(data):
                client.sendall(out)


def _listen(address: tuple[str, int] | str) -> socket.socket:
    if isinstance(address, str):
        _remove_stale_socket(address)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(address)
            os.chmod(
                address, stat.S_IRUSR | stat.S_IWUSR
            )  # before anybody can connect: no listen yet
            listener.listen(1)
        except OSError:
            listener.close()
            raise
        return listener
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    return socket.create_server(address, family=family, backlog=1)


def _remove_stale_socket(path: str) -> None:
    """Remove a socket that nobody listens on any more; anything else there is an error."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _remove_socket(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        _LOG.debug("could not remove %s", path, exc_info=True)
