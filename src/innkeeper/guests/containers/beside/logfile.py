"""The log of a container: a record a line, and never more than it may grow to.

    2026-11-27T16:00:00.123456789Z stdout F a line
    2026-11-27T16:00:00.123456790Z stderr P the first part of one

This is the format of Kubernetes' CRI ("CRI logging": F ends a line, P is continued by the next
record of its stream), which podman calls k8s-file. Both streams are in one file, in the order in
which they were read. At its greatest size FILE becomes FILE.1, that one FILE.2, and so on; the
oldest goes.
"""

import posix
import time

MAX_FILES = 1000
_NEW = posix.O_WRONLY | posix.O_CREAT | posix.O_APPEND | posix.O_CLOEXEC


class LogFile:
    """A log that is written; without a path it takes all and keeps nothing."""

    def __init__(self, path: str, *, max_bytes: int, max_files: int) -> None:
        self.path, self.max_bytes, self.max_files = path, max_bytes, max_files
        self._fd, self._size = -1, 0
        self._second, self._text = 0, b""
        if path:
            self._open()

    def _open(self) -> None:
        self._fd = posix.open(self.path, _NEW, 0o600)
        self._size = posix.fstat(self._fd).st_size
        if self._size and _last_byte(self.path, self._size) != b"\n":
            self._append(b"\n")  # whoever wrote here was killed in the middle of a record

    def write(self, stream: bytes, data: bytes) -> None:
        """Write what was read of a stream. A disk that is full loses it, and nothing else."""
        if not self.path or not data:
            return
        records = self._records(stream, data)
        if len(records) > self.max_bytes and len(data) > 1:
            half = len(data) // 2
            self.write(stream, data[:half])
            self.write(stream, data[half:])
            return
        try:
            if self._size and self._size + len(records) > self.max_bytes:
                self._rotate()
            self._append(records)
        except OSError:
            pass

    def _records(self, stream: bytes, data: bytes) -> bytes:
        head = self._stamp() + b" " + stream + b" "
        end = data.rfind(b"\n")
        found = b""
        if end >= 0:
            found = head + b"F " + data[:end].replace(b"\n", b"\n" + head + b"F ") + b"\n"
        return found if end == len(data) - 1 else found + head + b"P " + data[end + 1 :] + b"\n"

    def _stamp(self) -> bytes:
        """Return the time now as RFC 3339 in UTC, with nanoseconds."""
        now = time.time_ns()
        second = now // 1_000_000_000
        if second != self._second:
            self._second = second
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()
        return b"%s.%09dZ" % (self._text, now % 1_000_000_000)

    def _append(self, records: bytes) -> None:
        """Append records as a whole or not at all."""
        if self._fd < 0:
            self._open()
        done = posix.write(self._fd, records)
        if done != len(records):
            posix.ftruncate(self._fd, self._size)
        else:
            self._size += done

    def _rotate(self) -> None:
        """Move every file on by one; readers know a file by its inode, not by its name."""
        if self.max_files == 1:
            posix.unlink(self.path)
        for number in range(self.max_files - 1, 0, -1):
            source = f"{self.path}.{number - 1}" if number > 1 else self.path
            try:
                posix.rename(source, f"{self.path}.{number}")
            except FileNotFoundError:
                pass
        posix.close(self._fd)
        self._fd = -1
        self._open()


def _last_byte(path: str, size: int) -> bytes:
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return posix.pread(fd, 1, size - 1)
    finally:
        posix.close(fd)
