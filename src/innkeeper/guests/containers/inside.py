"""Work done as the root of a user namespace (user_namespaces(7)).

An unprivileged user cannot touch the files of users of /etc/subuid, and cannot mount an overlay.
The root of a user namespace that he made can do both. So such work is done in a child process that
is that root, and that ends with the work: nothing it has mounted outlives it, not even `kill -9`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from innkeeper.base.errors import InnError, MachineError
from innkeeper.containers import kernel as k
from innkeeper.containers.console import send_descriptor
from innkeeper.containers.first import seal_imports
from innkeeper.containers.mounts import clone_tree
from innkeeper.containers.namespaces import become_root

if TYPE_CHECKING:
    from innkeeper.guests.containers.subids import IdMaps

T = TypeVar("T")
_SIGKILL = 9
_GO = b"1"


def call_as_root(maps: IdMaps, work: Callable[[], T], *, mounts: bool = False) -> T:
    """Call `work` as root of a new user namespace with these maps; return what it returns.

    With `mounts` there is a mount namespace for it, too. What it raises is raised here.
    """
    from innkeeper.containers.idmaps import write_maps

    go_on = os.pipe()

    def become() -> None:
        os.close(go_on[1])
        if os.read(go_on[0], 1) != _GO:
            os._exit(1)
        become_root()

    def admit(pid: int) -> None:
        write_maps(pid, maps.as_linux())
        os.write(go_on[1], _GO)

    try:
        return _call(k.CLONE_NEWUSER | (k.CLONE_NEWNS if mounts else 0), become, admit, work)
    finally:
        for fd in go_on:
            os.close(fd)


def call_within(pid: int, work: Callable[[], T]) -> T:
    """Call `work` as root of the user namespace of a container's process, which the caller owns."""
    process = os.pidfd_open(pid)

    def become() -> None:
        k.setns(process, k.CLONE_NEWUSER)
        become_root()

    try:
        return _call(0, become, lambda _: None, work)
    finally:
        os.close(process)


def open_root_of(pid: int) -> int:
    """Open the root mount of a container, without what is mounted in it, as its root sees it.

    A process that has joined its mount namespace sends a copy of the mount, and is gone again: no
    path is ever looked up in there, and nothing imported.
    """
    import _socket

    process = os.pidfd_open(pid)
    here, there = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)

    def become() -> None:
        seal_imports()
        k.setns(process, k.CLONE_NEWUSER | k.CLONE_NEWNS)
        become_root()

    try:
        _call(0, become, lambda _: None, lambda: send_descriptor(there, clone_root(), "root"))
        _, sent, *_ = here.recvmsg(16, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)
        return int.from_bytes(sent[0][2][:4], sys.byteorder)
    finally:
        os.close(process)
        here.close()
        there.close()


def clone_root() -> int:
    """Return a copy of the mount at `/`, attached nowhere."""
    return clone_tree("/", deep=False)


def _call(
    flags: int, become: Callable[[], None], admit: Callable[[int], None], work: Callable[[], T]
) -> T:
    import pickle  # noqa: F401 - before the child, who may have nothing to import it from

    told, tell = os.pipe()
    try:
        pid = k.clone(flags)
    except OSError as error:
        raise MachineError(
            "this user cannot make a user namespace",
            why=k.reason(error),
            fix="allow it: sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone",
        ) from None
    if pid == 0:
        os.close(told)
        _live(tell, become, work)
    os.close(tell)
    with os.fdopen(told, "rb") as pipe:
        try:
            admit(pid)
            answer = pipe.read()
        except BaseException:
            os.kill(pid, _SIGKILL)
            raise
        finally:
            os.waitpid(pid, 0)
    return cast("T", _result(answer))


def _live(tell: int, become: Callable[[], None], work: Callable[[], object]) -> None:
    """Be the child: become root, work, answer; never returns."""
    parent = os.getppid()
    try:
        become()
        k.prctl(k.PR_SET_PDEATHSIG, _SIGKILL)  # after the last change of credentials
        if os.getppid() != parent:
            os._exit(1)
        answer: tuple[str, Any] = ("done", work())
    except InnError as error:
        answer = ("error", (type(error), error.what, error.why, error.fix, error.exit_code))
    except BaseException as error:
        answer = (
            "error",
            (MachineError, f"unexpected {type(error).__name__}", str(error), "", 125),
        )
    try:
        import pickle

        data = pickle.dumps(answer)
        with os.fdopen(tell, "wb") as pipe:
            pipe.write(data)
    finally:
        os._exit(0)


def _result(answer: bytes) -> Any:
    """Read the child's answer: it is this program, so what it says is believed."""
    if not answer:
        raise MachineError("the process that works as the container's root was killed")
    import pickle

    kind, value = pickle.loads(answer)
    if kind == "done":
        return value
    made, what, why, fix, exit_code = value
    error: InnError = made(what, why=why, fix=fix)
    error.exit_code = exit_code
    raise error
