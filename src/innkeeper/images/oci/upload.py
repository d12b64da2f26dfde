"""One content on its way to a registry (distribution-spec 1.1 "Pushing blobs")."""

from __future__ import annotations

import io
import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, cast
from urllib.parse import quote, urlsplit

from innkeeper.base.errors import IntegrityError, NotFoundError
from innkeeper.images.oci.digest import is_digest
from innkeeper.images.oci.documents import Descriptor
from innkeeper.images.oci.http import Reply
from innkeeper.images.oci.parallel import Stop
from innkeeper.images.oci.registry import location
from innkeeper.images.transfer import persist
from innkeeper.images.transport import Interrupted

if TYPE_CHECKING:
    from innkeeper.images.oci.push import Pusher

MAX_CHUNK_BYTES = 256 << 20
_MAX_TRIES = 5
_RANGE = re.compile(r"(?:bytes=)?0-(\d{1,18})", re.ASCII)
OCTETS = {"Content-Type": "application/octet-stream"}


@dataclass
class Upload:
    """One content on its way out: in one piece when it is small, else in chunks that resume."""

    pusher: Pusher
    part: Descriptor
    token: int
    stop: Stop
    _sent: int = 0
    _shown: int = 0

    def run(self) -> None:
        """Upload the content; a broken connection is taken up where the registry has got to."""
        tries = 0
        where, least = self._start()
        chunk = min(max(self.pusher.chunk_bytes, least), MAX_CHUNK_BYTES)
        while self.part.size > chunk and self._sent < self.part.size:
            try:
                where = self._patch(where, chunk)
            except Interrupted:
                tries += 1
                if tries >= _MAX_TRIES:
                    raise
                self.pusher.wait(0.5 * 2**tries)
                where = self._resume(where)
        self._finish(where)

    def _request(
        self, method: str, url: str, *, expect: tuple[int, ...], start: int = 0, size: int = 0,
        headers: dict[str, str] | None = None,
    ) -> AbstractContextManager[Reply]:  # fmt: skip
        def body() -> IO[bytes]:
            return cast("IO[bytes]", _Piece(self, start, size))

        return self.pusher.registry.request(
            method, url, scopes=(self.pusher.scope,), expect=expect,
            headers={**OCTETS, **(headers or {})}, body=body if size else None, length=size,
            what=f"the content {self.part.digest}",
        )  # fmt: skip

    def _start(self) -> tuple[str, int]:
        """Begin an upload; return where it goes and the least size of a chunk."""

        def attempt() -> tuple[str, int]:
            with self._request("POST", self.pusher.url("blobs/uploads/"), expect=(202,)) as reply:
                least = reply.headers.get("OCI-Chunk-Min-Length", "0")
                size = int(least) if least.isdigit() and len(least) < 12 else 0
                return location(reply, self.pusher.registry.name), size

        return persist(attempt, self.pusher.wait)

    def _patch(self, where: str, chunk: int) -> str:
        """Send a chunk; the registry must say that it has it, or it was not sent."""
        start = self._sent
        size = min(chunk, self.part.size - start)
        headers = {"Content-Range": f"{start}-{start + size - 1}"}
        with self._request(
            "PATCH", where, expect=(202, 416), start=start, size=size, headers=headers
        ) as reply:
            if reply.status == 416:
                raise Interrupted(
                    f"registry {self.pusher.registry.name} has lost a part of an upload"
                )
            self._sent = _received(reply, start + size)
            if self._sent <= start:
                raise Interrupted(f"registry {self.pusher.registry.name} does not take a chunk")
            return location(reply, self.pusher.registry.name)

    def _resume(self, where: str) -> str:
        """Ask how far an upload has got; begin anew when the registry does not know it any more."""
        try:
            with self._request("GET", where, expect=(204, 202)) as reply:
                found = _received(reply, -1)
                # `0-0` may be one byte or none: from the start, then.
                self._sent = found if 1 < found <= self.part.size else -1
                if self._sent > 0:
                    return location(reply, self.pusher.registry.name)
        except NotFoundError:
            pass
        self._sent = 0
        return self._start()[0]

    def _finish(self, where: str) -> None:
        """Close the upload, with all of a small content or nothing more of a large one."""
        joint = "&" if urlsplit(where).query else "?"
        url = f"{where}{joint}digest={quote(self.part.digest)}"
        whole = self._sent == 0

        size = self.part.size if whole else 0
        with self._request("PUT", url, expect=(201,), size=size) as reply:
            stated = reply.headers.get("Docker-Content-Digest", "")
        if is_digest(stated) and stated[:7] == self.part.digest[:7] and stated != self.part.digest:
            raise IntegrityError("the registry has kept another content", why=stated)

    def show(self, have: int) -> None:
        """Report progress, and stop when another part has failed."""
        self.stop.check()
        self.pusher.progress.advance(self.token, have - self._shown)
        self._shown = have


class _Piece(io.RawIOBase):
    """A part of a content as a request's body."""

    def __init__(self, upload: Upload, start: int, size: int) -> None:
        self._upload, self._left = upload, size
        self._file = upload.pusher.store.path(upload.part.digest).open("rb")
        self._file.seek(start)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        size = self._left if size < 0 else min(size, self._left)
        data = self._file.read(size)
        self._left -= len(data)
        self._upload.show(self._file.tell())
        return data

    def close(self) -> None:
        self._file.close()
        super().close()


def _received(reply: Reply, otherwise: int) -> int:
    """Return how many bytes an upload has (its `Range`), or `otherwise` when it does not say."""
    match = _RANGE.fullmatch(reply.headers.get("Range", ""))
    return int(match[1]) + 1 if match else otherwise
