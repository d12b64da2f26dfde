"""One HTTP exchange with a registry: proxies, TLS, redirects, and what may go where.

Redirects are followed here, not by the library: a few, only of what has no body, never from https
to http, and never with credentials to another origin (RFC 9110 15.4, RFC 6454).
"""

from __future__ import annotations

import http.client
import ipaddress
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, cast
from urllib.parse import urljoin, urlsplit

from innkeeper.base.errors import DownloadError
from innkeeper.base.record import record
from innkeeper.images.transport import Interrupted

MAX_REDIRECTS = 5
TIMEOUT_S = 60.0
_REDIRECTS = (301, 302, 303, 307, 308)
_NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, OSError, ValueError)
_SECRET = ("authorization", "cookie")


@record(kw_only=True)
class Reply:
    """An answer, whatever its status; `body` is open as long as the exchange."""

    status: int
    reason: str
    headers: http.client.HTTPMessage
    body: IO[bytes]
    url: str


class Http:
    """How requests are sent; `insecure` takes any certificate and follows to plain http."""

    def __init__(self, *, insecure: bool = False, timeout_s: float = TIMEOUT_S) -> None:
        self._insecure, self._timeout_s = insecure, timeout_s
        self._openers: dict[bool, urllib.request.OpenerDirector] = {}

    @contextmanager
    def exchange(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | IO[bytes] | None = None,
        length: int | None = None,
    ) -> Iterator[Reply]:
        """Send a request and give the answer; `Interrupted` when there is none to be had."""
        sent = dict(headers)
        for _ in range(MAX_REDIRECTS + 1):
            reply = self._send(method, url, sent, body, length)
            target = reply.headers.get("Location", "")
            if reply.status not in _REDIRECTS or not target or method not in ("GET", "HEAD"):
                break
            reply.body.close()
            url, sent = self._redirect(url, urljoin(url, target), sent)
        else:
            raise DownloadError(f"{origin(url)} redirects too often",
                                why=f"more than {MAX_REDIRECTS} times")  # fmt: skip
        try:
            yield reply
        finally:
            reply.body.close()

    def _redirect(self, old: str, new: str, headers: dict[str, str]) -> tuple[str, dict[str, str]]:
        scheme = urlsplit(new).scheme
        if scheme not in ("http", "https"):
            raise DownloadError(f"{origin(old)} redirects to something that is not http",
                                why=new[:120])  # fmt: skip
        if scheme == "http" and urlsplit(old).scheme == "https" and not self._insecure:
            raise DownloadError(
                f"{origin(old)} redirects to plain http", why="the content could be changed there",
                fix="use --insecure if you trust the network",
            )  # fmt: skip
        if origin(old) != origin(new):
            headers = {k: v for k, v in headers.items() if k.lower() not in _SECRET}
        return new, headers

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | IO[bytes] | None,
        length: int | None,
    ) -> Reply:
        try:
            request = urllib.request.Request(url, data=body, method=method)
            request.add_header("User-Agent", "innkeeper")
            if length is not None:
                request.add_header("Content-Length", str(length))
            for name, value in headers.items():
                request.add_unredirected_header(name, value)
            answer = self._opener(url).open(request, timeout=self._timeout_s)
        except _NETWORK_ERRORS as error:
            raise _failed(url, error) from error
        return Reply(
            status=answer.status, reason=answer.reason or "", headers=answer.headers,
            body=cast("IO[bytes]", answer), url=url,
        )  # fmt: skip

    def _opener(self, url: str) -> urllib.request.OpenerDirector:
        """Return an opener that takes any status as an answer; loopback is never behind a proxy."""
        local = is_loopback(urlsplit(url).hostname or "")
        if local not in self._openers:
            opener = urllib.request.OpenerDirector()
            for handler in (
                urllib.request.ProxyHandler({} if local else None),
                urllib.request.HTTPHandler(),
                urllib.request.HTTPSHandler(context=self._context()),
                urllib.request.UnknownHandler(),
            ):
                opener.add_handler(handler)
            self._openers[local] = opener
        return self._openers[local]

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self._insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def origin(url: str) -> str:
    """Return scheme, host and port of a URL, the port always said."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    return f"{parts.scheme}://{parts.hostname}:{port or {'https': 443}.get(parts.scheme, 80)}"


def is_loopback(host: str) -> bool:
    """Tell whether a host's name or address is this host itself."""
    if host.lower() == "localhost" or host.lower().endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def host_of(registry: str) -> str:
    """Return the host of `HOST[:PORT]`."""
    return urlsplit(f"//{registry}").hostname or ""


def is_tls_failure(error: BaseException) -> bool:
    """Tell whether an exchange failed since the other side speaks no TLS."""
    cause = error.__cause__
    reason = getattr(cause, "reason", cause)
    return isinstance(reason, ssl.SSLError)


def _failed(url: str, error: Exception) -> DownloadError:
    """Return what to say of an exchange that came to nothing; a bad certificate stays bad."""
    reason = getattr(error, "reason", None) or error
    what, why = f"cannot reach {origin(url)}", str(reason)[:300] or type(reason).__name__
    if isinstance(reason, ssl.SSLCertVerificationError):
        return DownloadError(
            what, why=why,
            fix="SSL_CERT_FILE names the certificates to trust; --insecure trusts any",
        )  # fmt: skip
    return Interrupted(
        what,
        why=why,
        fix="check the network, the registry's address and any proxy, then run it again: "
        "what has arrived is kept",
    )
