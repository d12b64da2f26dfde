"""Terminals: config.md `process.terminal`; the console socket as runc's callers know it.

The pair is made from the container's own `devpts`, but never by a path inside it: the master is
checked to be the pty multiplexer and the other end comes from it by TIOCGPTPEER
(CVE-2025-52565: a swapped `/dev/console`).
"""

from __future__ import annotations

import os
from fcntl import ioctl

from innkeeper.base.errors import ContainerError
from innkeeper.containers import kernel as k
from innkeeper.containers.mounts import attach, clone_tree
from innkeeper.containers.targets import open_target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TIOCSCTTY, _TIOCSWINSZ, _TIOCGWINSZ = 0x540E, 0x5414, 0x5413
_TIOCSPTLCK, _TIOCGPTN, _TIOCGPTPEER = 0x40045431, 0x80045430, 0x5441
_PTMX = 5 << 8 | 2


def connect(path: str) -> Any:
    """Connect to the socket that will be handed the terminal."""
    from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, socket

    sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    try:
        sock.connect(path)
    except OSError as error:
        raise ContainerError(f"dial unix {path}: connect", why=k.reason(error)) from None
    return sock


def send_descriptor(sock: Any, fd: int, text: str) -> None:
    """Hand a descriptor over a Unix socket, with its name as the message (SCM_RIGHTS)."""
    from _socket import SCM_RIGHTS, SOL_SOCKET

    sock.sendmsg([text.encode()], [(SOL_SOCKET, SCM_RIGHTS, k.words(fd, size=4))])


def open_pair(root: int) -> tuple[int, int, str]:
    """Return the master, the terminal and its name, from the devpts that `root` has."""
    try:
        flags = os.O_RDWR | os.O_NOCTTY
        try:
            master = k.open_in_root(root, "/dev/pts/ptmx", flags)
        except FileNotFoundError:
            master = k.open_in_root(root, "/dev/ptmx", flags)
        stat = os.fstat(master)
        if stat.st_mode & 0o170000 != 0o020000 or stat.st_rdev != _PTMX:
            raise ContainerError("the container's ptmx is not the pty multiplexer")
        ioctl(master, _TIOCSPTLCK, k.words(0, size=4))
        number = int.from_bytes(ioctl(master, _TIOCGPTN, bytes(4)), "little")
        terminal = ioctl(master, _TIOCGPTPEER, flags | os.O_CLOEXEC)
    except OSError as error:
        raise ContainerError("unable to open a terminal", why=k.reason(error)) from None
    return master, terminal, f"/dev/pts/{number}"


def bind_console(root: int, terminal: int) -> None:
    """Show the terminal as `/dev/console`."""
    tree = clone_tree("", deep=False, directory=terminal)
    target = open_target(root, "/dev/console", directory=False)
    attach(tree, target)
    os.close(target)
    os.close(tree)


def take(terminal: int, process: dict[str, Any]) -> None:
    """Make the terminal this session's and its standard streams."""
    if (size := process.get("consoleSize")) is not None:
        set_size(terminal, size["height"], size["width"])
    os.fchown(terminal, process.get("user", {}).get("uid", 0), -1)
    ioctl(terminal, _TIOCSCTTY, 0)
    for fd in (0, 1, 2):
        os.dup2(terminal, fd)
    if terminal > 2:
        os.close(terminal)


def set_size(fd: int, height: int, width: int) -> None:
    """Set a terminal's size in characters."""
    ioctl(fd, _TIOCSWINSZ, k.words(height, width, 0, 0, size=2))


def copy_size(source: int, target: int) -> None:
    """Give one terminal the size of another."""
    ioctl(target, _TIOCSWINSZ, ioctl(source, _TIOCGWINSZ, bytes(8)))
