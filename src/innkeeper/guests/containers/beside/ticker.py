"""Look at the health of a container in the foreground until its `inn` closes our input.

Called with words (`settings.py`). When that `inn` is killed, its end of the pipe closes as well.
"""

import posix
import select
import sys

from .checks import checks_of
from .settings import Settings


def main() -> None:
    """Look now and then; never returns."""
    checks = checks_of(Settings(sys.argv[1:]))
    assert checks is not None
    while True:
        checks.start_if_due()
        poll = select.poll()
        poll.register(0, select.POLLIN)
        ends = posix.pidfd_open(checks.pid) if checks.pid else -1
        if ends >= 0:
            poll.register(ends, select.POLLIN)
        left = checks.left_s()
        ready = dict(poll.poll(None if left is None else left * 1000 + 1))
        if 0 in ready:
            checks.stop()
            posix._exit(0)
        if ends in ready:
            checks.ended(posix.waitstatus_to_exitcode(posix.waitpid(checks.pid, 0)[1]))
        if ends >= 0:
            posix.close(ends)
