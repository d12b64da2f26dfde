"""A few transfers at a time, all stopped when one fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

from innkeeper.base.errors import DownloadError

TRANSFERS = 3
T = TypeVar("T")


class Stop:
    """A sign to transfers under way that there is no use in going on."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Tell everybody."""
        self._event.set()

    def check(self) -> None:
        """Raise when somebody has told us."""
        if self._event.is_set():
            raise DownloadError("stopped, since another part failed")


def each(work: Callable[[T, Stop], object], items: Iterable[T]) -> None:
    """Call `work` for every item, `TRANSFERS` at a time; the first failure is raised."""
    stop = Stop()
    with ThreadPoolExecutor(TRANSFERS) as pool:
        try:
            futures = [pool.submit(work, item, stop) for item in items]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            failed = [future for future in futures if future in done and future.exception()]
            if failed:
                failed[0].result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
