"""One request to a mirror: `http:`, `https:` and `file:`, by the standard library alone."""

from __future__ import annotations

import base64
import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from innkeeper.base.errors import DownloadError
from innkeeper.images.mirror import redact

CHUNK_BYTES = 1 << 18
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(?:\d{1,18}|\*)", re.ASCII)
_NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, OSError, ValueError)


class NotOnMirror(DownloadError):
    """The mirror says that it does not have this file (HTTP 404 or 410)."""


class Unsatisfiable(DownloadError):
    """The mirror cannot continue where we stopped (HTTP 416)."""


class Interrupted(DownloadError):
    """The connection failed in a way that another try may mend."""


@dataclass(frozen=True)
class Answer:
    """An open download; `start`, the offset of its first byte, may not be what was asked."""

    start: int
    _body: IO[bytes]
    _url: str

    def chunks(self) -> Iterator[bytes]:
        """Yield the body; `Interrupted` when the connection breaks."""
        while True:
            try:
                chunk = self._body.read(CHUNK_BYTES)
            except _NETWORK_ERRORS as error:
                raise _interrupted(self._url, error) from error
            if not chunk:
                return
            yield chunk


@contextmanager
def request(
    url: str, *, start: int = 0, proxy: str | None = None, timeout_s: float = 30.0
) -> Iterator[Answer]:
    """Ask for `url` from byte `start` on (RFC 9110 14.2 Range).

    `proxy` is a URL, `""` for none, or None to follow the environment.
    """
    if urlsplit(url).scheme == "file":
        body, begin = _open_file(url, start)
    else:
        body, begin = _open_http(url, start, proxy, timeout_s)
    with closing(body):
        yield Answer(begin, body, url)


def _open_file(url: str, start: int) -> tuple[IO[bytes], int]:
    path = Path(unquote(urlsplit(url).path))
    try:
        body = path.open("rb")
        if start > path.stat().st_size:
            start = 0
        body.seek(start)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotOnMirror(f"{path} does not exist", fix="check the mirror's address") from error
    except (OSError, ValueError) as error:
        raise DownloadError(f"cannot read {path}", why=str(error)) from error
    return body, start


def _open_http(url: str, start: int, proxy: str | None, timeout_s: float) -> tuple[IO[bytes], int]:
    ask = _request(url)
    if start:
        ask.add_header("Range", f"bytes={start}-")
    try:
        answer = _opener(proxy).open(ask, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        error.close()
        raise _refused(url, error) from error
    except _NETWORK_ERRORS as error:
        raise _interrupted(url, error) from error
    if answer.status != 206:
        return answer, 0
    try:
        return answer, content_range(answer.headers.get("Content-Range", ""), url)
    except Unsatisfiable:
        answer.close()
        raise


def content_range(header: str, url: str) -> int:
    """Return where a partial answer begins (RFC 9110 14.4); `Unsatisfiable` if it does not say."""
    match = _CONTENT_RANGE.fullmatch(header)
    if match is None:
        raise Unsatisfiable(f"{redact(url)} answered a range request badly")
    return int(match[1])


def _request(url: str) -> urllib.request.Request:
    parts = urlsplit(url)
    ask = urllib.request.Request(redact(url), headers={"User-Agent": "innkeeper"})
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        token = base64.b64encode(pair.encode()).decode()
        # Not redirected: another host has no business with these credentials.
        ask.add_unredirected_header("Authorization", f"Basic {token}")
    return ask


def _opener(proxy: str | None) -> urllib.request.OpenerDirector:
    """Build an opener that knows HTTP only, so that no redirect leads to a local file or FTP."""
    proxies = None if proxy is None else {"http": proxy, "https": proxy} if proxy else {}
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(proxies),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _refused(url: str, error: urllib.error.HTTPError) -> DownloadError:
    what, why = f"cannot download {redact(url)}", f"the server answered {error.code} {error.reason}"
    if error.code in (404, 410):
        return NotOnMirror(what, why=why, fix="check the suite, the architecture and the mirror")
    if error.code == 416:
        return Unsatisfiable(what, why=why)
    if error.code in (408, 429) or error.code >= 500:
        return Interrupted(what, why=why, fix="try again later, or use another mirror")
    return DownloadError(what, why=why, fix="check the mirror's address and any proxy")


def _interrupted(url: str, error: Exception) -> Interrupted:
    reason = getattr(error, "reason", None) or error
    return Interrupted(
        f"cannot download {redact(url)}",
        why=str(reason) or type(reason).__name__,
        fix="check the network, the mirror's address and any proxy, then run it again: "
        "what has arrived is kept",
    )
