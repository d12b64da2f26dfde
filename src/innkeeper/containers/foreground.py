"""Stay with a container's process: pass signals on, reap orphans, return its exit status."""

from __future__ import annotations

import _signal
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from innkeeper.containers.terminal import Terminal

# Not to be passed on: of children, of the terminal, faults of this process itself.
OWN = {
    _signal.SIGCHLD, _signal.SIGWINCH, _signal.SIGURG, _signal.SIGPIPE, _signal.SIGSEGV,
    _signal.SIGBUS, _signal.SIGFPE, _signal.SIGILL,
}  # fmt: skip


def hold_signals() -> None:
    """Keep signals for `attend`; to be called before the process can be known to run."""
    _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals() - OWN)


def attend(pid: int, terminal: Terminal | None) -> int:
    """Wait for a process; 128 and the signal's number when one ended it."""
    passed = _signal.valid_signals() - OWN
    if terminal is not None:
        return terminal.attend(pid, passed)
    waited = passed | {_signal.SIGCHLD}
    _signal.pthread_sigmask(_signal.SIG_BLOCK, waited)
    while (status := reap(pid)) is None:
        number = _signal.sigwait(waited)
        if number != _signal.SIGCHLD:
            pass_on(pid, number)
    return status


def pass_on(pid: int, number: int) -> None:
    """Send a signal to the process, if it still is there."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def reap(pid: int) -> int | None:
    """Reap what has ended; return the exit status when the process is among it."""
    while True:
        try:
            ended, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return 255  # somebody else reaped it
        if ended == pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        if ended == 0:
            return None
