"""Run hooks (config.md "POSIX-platform Hooks"): each reads the container's state as JSON."""

from __future__ import annotations

import os

from innkeeper.base.errors import ContainerError
from innkeeper.containers.jsontext import dumps
from innkeeper.containers.kernel import reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_SAID = 64 << 10  # bytes of a hook's output that are kept for an error


def run_hooks(hooks: list[dict[str, Any]], state: dict[str, Any]) -> None:
    """Run hooks one after the other; the first that fails ends it with an error."""
    for index, hook in enumerate(hooks):
        try:
            _run(hook, dumps(state).encode())
        except (OSError, ContainerError) as error:
            why = reason(error) if isinstance(error, OSError) else str(error)
            raise ContainerError(f"error running hook #{index}", why=why) from None


def _run(hook: dict[str, Any], state: bytes) -> None:
    given, feed = os.pipe()
    said, output = os.pipe()
    try:
        pid = os.posix_spawn(
            hook["path"],
            hook.get("args") or [hook["path"]],
            dict(one.partition("=")[::2] for one in hook.get("env", [])),
            setsigmask=(),
            file_actions=[
                (os.POSIX_SPAWN_DUP2, given, 0),
                (os.POSIX_SPAWN_DUP2, output, 1),
                (os.POSIX_SPAWN_DUP2, output, 2),
            ],
        )
    except OSError:
        os.close(feed)
        os.close(said)
        raise
    finally:
        os.close(given)
        os.close(output)
    _wait(pid, feed, said, state, hook.get("timeout"))


def _wait(pid: int, feed: int, said: int, state: bytes, timeout_s: int | None) -> None:
    """Feed a hook, keep what it says, and kill it when its time is up."""
    import select

    watch = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(watch, select.POLLIN)
    poll.register(said, select.POLLIN)
    poll.register(feed, select.POLLOUT)
    os.set_blocking(feed, False)
    text = b""
    deadline = None if timeout_s is None else _now() + timeout_s
    try:
        while True:
            left = None if deadline is None else max(0, int((deadline - _now()) * 1000) + 1)
            ready = dict(poll.poll(left))
            if feed in ready and not (state := _feed(feed, state)):
                poll.unregister(feed)
                os.close(feed)
                feed = -1
            if said in ready:
                text = (text + os.read(said, 1 << 16))[-MAX_SAID:]
            if watch in ready or (deadline is not None and _now() >= deadline):
                break
        _judge(pid, watch in ready, text, timeout_s)
    finally:
        for fd in (feed, said, watch):
            if fd >= 0:
                os.close(fd)


def _now() -> float:
    from time import monotonic

    return monotonic()


def _feed(fd: int, state: bytes) -> bytes:
    """Write what fits; nothing is left for a hook that closed its standard input."""
    try:
        return state[os.write(fd, state) :]
    except BlockingIOError:
        return state
    except BrokenPipeError:
        return b""


def _judge(pid: int, ended: bool, text: bytes, timeout_s: int | None) -> None:
    if not ended:
        os.kill(pid, 9)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    said = text.decode("utf-8", "replace")
    if not ended:
        raise ContainerError(f"hook ran past specified timeout of {float(timeout_s or 0):.1f}s")
    if status:
        how = f"exit status {status}" if status > 0 else f"signal {-status}"
        raise ContainerError("error running hook", why=f"{how}, stdout: {said}, stderr: ")
