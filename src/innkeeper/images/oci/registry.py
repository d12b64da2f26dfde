"""A registry, as a client sees it (OCI distribution-spec 1.1): paths, login, and errors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any
from urllib.parse import urlencode, urljoin, urlsplit

import msgspec

from innkeeper.base.errors import DownloadError, NotFoundError
from innkeeper.images.oci import credentials
from innkeeper.images.oci.challenge import Challenge, parse_challenges
from innkeeper.images.oci.credentials import Credentials
from innkeeper.images.oci.http import Http, Reply, host_of, is_loopback, is_tls_failure, origin
from innkeeper.images.transport import Interrupted

MAX_ERROR_BYTES = 64 << 10
MAX_TOKEN_BYTES = 256 << 10
MAX_TRIES = 3
PULL, PUSH = "pull", "pull,push"
Body = Callable[[], IO[bytes]]


class Registry:
    """One registry, by `HOST[:PORT]`.

    Plain http is spoken to loopback and, with `insecure`, where there is no https. Safe to use
    from several threads.
    """

    def __init__(
        self,
        name: str,
        *,
        insecure: bool = False,
        login: Callable[[str, str], Credentials | None] = credentials.find,
    ) -> None:
        self.name, self._insecure, self._login = name, insecure, login
        self._http = Http(insecure=insecure)
        self._base = ""
        self._basic: str | None = None
        self._tokens: dict[tuple[str, ...], str] = {}
        self._lock = threading.Lock()

    def url(self, path: str) -> str:
        """Return the URL of a path below `/v2/`; the first time it is tried which scheme works."""
        with self._lock:
            if not self._base:
                self._base = self._find_base()
        return f"{self._base}/v2/{path}"

    def _find_base(self) -> str:
        schemes = ["https"]
        if self._insecure or is_loopback(host_of(self.name)):
            schemes.append("http")
        for scheme in schemes:
            try:
                with self._http.exchange("GET", f"{scheme}://{self.name}/v2/", headers={}):
                    return f"{scheme}://{self.name}"
            except Interrupted as error:
                refused = isinstance(
                    getattr(error.__cause__, "reason", None), ConnectionRefusedError
                )
                if scheme == schemes[-1] or not (is_tls_failure(error) or refused):
                    raise
        raise AssertionError("a scheme works or raises")

    @contextmanager
    def request(
        self,
        method: str,
        url: str,
        *,
        scopes: tuple[str, ...],
        expect: tuple[int, ...],
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        length: int | None = None,
        what: str = "",
    ) -> Iterator[Reply]:
        """Send a request, logged in as far as the registry wants it; give an expected answer.

        `scopes` are `repository:NAME:ACTIONS`. `body` makes the body anew for each try. Any other
        status raises: `NotFoundError` for 404, `Interrupted` for what another try may mend.
        """
        same = origin(url) == origin(self.url(""))
        for attempt in range(MAX_TRIES):
            sent = dict(headers or {})
            if same and (authorization := self._authorization(scopes)):
                sent["Authorization"] = authorization
            stream = body() if body else None
            try:
                data = stream if stream is not None else (b"" if length == 0 else None)
                with self._http.exchange(
                    method, url, headers=sent, body=data, length=length
                ) as reply:
                    again = reply.status == 401 and same and attempt < MAX_TRIES - 1
                    if again and self._answer(reply, scopes, sent.get("Authorization")):
                        continue
                    if reply.status not in expect:
                        raise self._refused(method, reply, what)
                    yield reply
                    return
            finally:
                if stream is not None:
                    stream.close()

    def check_login(self, given: Credentials) -> None:
        """Find out whether the registry takes these credentials; `DownloadError` when not."""
        self._login = lambda registry, repository: given
        with self.request("GET", self.url(""), scopes=(), expect=(200,), what="to log in"):
            pass

    # Login

    def _authorization(self, scopes: tuple[str, ...]) -> str | None:
        with self._lock:
            return self._tokens.get(scopes) or self._basic

    def _answer(self, reply: Reply, scopes: tuple[str, ...], used: str | None) -> bool:
        """Take up a challenge; False when there is nothing (more) we could answer it with."""
        challenges = parse_challenges(reply.headers.get_all("WWW-Authenticate") or [])
        repository = scopes[0].split(":")[1] if scopes else ""
        bearer = next((c for c in challenges if c.scheme == "bearer"), None)
        basic = any(c.scheme == "basic" for c in challenges)
        with self._lock:
            known = self._tokens.get(scopes) or self._basic
            if known and known != used:
                return True  # another thread has answered meanwhile
            given = self._login(self.name, repository)
            if bearer is not None:
                stale = scopes in self._tokens
                self._tokens[scopes] = "Bearer " + self._token(bearer, scopes, given)
                return not stale or self._tokens[scopes] != used
            if basic and given is not None and given.user and given.basic() != used:
                self._basic = given.basic()
                return True
        return False

    def _token(
        self, challenge: Challenge, scopes: tuple[str, ...], given: Credentials | None
    ) -> str:
        """Get a token where a challenge says (distribution "Token Authentication")."""
        realm = self._realm(challenge)
        wanted = list(scopes)
        stated = challenge.parameters.get("scope", "")
        wanted += [scope for scope in stated.split() if scope not in wanted]
        fields = [("service", challenge.parameters.get("service", ""))]
        fields += [("scope", scope) for scope in wanted]
        headers, body, method = {"Accept": "application/json"}, None, "GET"
        if given is not None and given.identity_token:
            fields += [("grant_type", "refresh_token"), ("client_id", "innkeeper"),
                       ("refresh_token", given.identity_token)]  # fmt: skip
            method, body = "POST", urlencode([f for f in fields if f[1]]).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        else:
            if given is not None:
                fields.append(("account", given.user))
                headers["Authorization"] = given.basic()
            joint = "&" if urlsplit(realm).query else "?"
            realm += joint + urlencode([f for f in fields if f[1]])
        with self._http.exchange(method, realm, headers=headers, body=body) as reply:
            if reply.status != 200:
                raise self._refused(method, reply, "to log in")
            return _read_token(reply, self.name)

    def _realm(self, challenge: Challenge) -> str:
        realm = challenge.parameters.get("realm", "")
        parts = urlsplit(realm)
        secure = parts.scheme == "https"
        local = parts.scheme == "http" and is_loopback(parts.hostname or "")
        plain = parts.scheme == "http" and (self._insecure or self._base.startswith("http:"))
        if not parts.hostname or not (secure or local or plain):
            raise DownloadError(
                f"registry {self.name} wants us to log in at {realm[:120]!r}",
                why="that is not an https address",
                fix="--insecure allows it, if you trust the network",
            )
        return realm

    # Errors

    def _refused(self, method: str, reply: Reply, what: str) -> DownloadError | NotFoundError:
        summary = f"registry {self.name} refuses {what or method}"
        why = f"{reply.status} {reply.reason}"
        said = _errors_of(reply)
        why += f": {said}" if said else ""
        if reply.status == 404:
            return NotFoundError(
                f"registry {self.name} does not have {what or 'it'}",
                why=why,
                fix="check the name; a private one may need `inn image login`",
            )
        if reply.status in (401, 403):
            return DownloadError(summary, why=why, fix=f"inn image login {self.name}")
        if reply.status in (408, 425, 429) or reply.status >= 500:
            return Interrupted(summary, why=why, fix="try again later")
        return DownloadError(summary, why=why, fix="check the name and the registry's address")


class _Token(msgspec.Struct):
    token: str = ""
    access_token: str = ""


class _Problem(msgspec.Struct):
    code: str = ""
    message: str = ""


class _Problems(msgspec.Struct):
    errors: list[_Problem] = []


def _read_token(reply: Reply, registry: str) -> str:
    data = reply.body.read(MAX_TOKEN_BYTES)
    try:
        found = msgspec.json.decode(data, type=_Token)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = _Token()
    token = found.token or found.access_token
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise DownloadError(f"registry {registry}: its login server gave no token")
    return token


def _errors_of(reply: Reply) -> str:
    """Return what the registry says (distribution-spec "Error Codes"), fit for a terminal."""
    try:
        data: Any = reply.body.read(MAX_ERROR_BYTES)
        problems = msgspec.json.decode(data, type=_Problems).errors
    except (OSError, ValueError, msgspec.DecodeError, RecursionError):
        return ""
    texts = [f"{p.code} {p.message}".strip() for p in problems[:3]]
    return "".join(c if c.isprintable() else " " for c in ", ".join(texts))[:300]


def location(reply: Reply, registry: str) -> str:
    """Return where an upload goes on (distribution-spec "Pushing blobs"), absolute."""
    target = reply.headers.get("Location", "")
    if not target:
        raise DownloadError(f"registry {registry} does not say where the upload goes")
    found = urljoin(reply.url, target)
    if urlsplit(found).scheme not in ("http", "https"):
        raise DownloadError(f"registry {registry} sends an upload elsewhere", why=found[:120])
    return found
