"""Find a container's program, as execvp(3) would, and refuse what must not be executed."""

from __future__ import annotations

import os

from innkeeper.base.errors import ContainerError
from innkeeper.containers.kernel import reason

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SCRIPT_BYTES = 256  # of a file's first line that the kernel reads (execve(2))


def look_up(name: str, env: dict[str, str]) -> str:
    """Find a program as execvp(3) would, in the container and as its user."""
    if "/" in name:
        return _check_program(name, name)
    for directory in env.get("PATH", DEFAULT_PATH).split(":"):
        path = os.path.join(directory or ".", name)
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    raise ContainerError(f'exec: "{name}": executable file not found in $PATH')


def _check_program(name: str, path: str) -> str:
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise ContainerError(f'exec: "{name}": stat {path}: {reason(error)}') from None
    if mode & 0o170000 == 0o040000:
        raise ContainerError(f'exec: "{name}": is a directory')
    if not os.access(path, os.X_OK):
        raise ContainerError(f'exec: "{name}": permission denied')
    return path


def refuse_itself(path: str, runtime: os.stat_result) -> None:
    """Refuse a program that is a link to this very process's, or has that for its interpreter.

    It would be the trampoline by then, which would execute itself for ever. Who swaps the file
    after this has an endless loop in his own container, and no more.
    """
    try:
        with open(path, "rb", buffering=0, opener=_open_quietly) as file:
            head = file.read(_SCRIPT_BYTES)
    except OSError:  # not readable: then it is no script either
        head = b""
    words = head.partition(b"\n")[0][2:].split() if head[:2] == b"#!" else []
    for one in (os.fsencode(path), *words[:1]):
        try:
            found = os.stat(one)
        except OSError:
            continue
        if (found.st_dev, found.st_ino) == (runtime.st_dev, runtime.st_ino):
            raise ContainerError(f'exec: "{path}": is the runtime itself')


def _open_quietly(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
