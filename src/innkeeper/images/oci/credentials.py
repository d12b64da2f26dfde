"""Who we are to a registry: the files that podman and docker keep, and our own of the same form.

containers-auth.json(5): `{"auths": {"HOST[:PORT][/NAMESPACE]": {"auth": BASE64(USER:PASSWORD)}}}`,
`credHelpers` and `credsStore` with docker's credential helper protocol, `identitytoken`.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from innkeeper.base.errors import ImageError, NotFoundError, StorageError, UsageError
from innkeeper.base.record import record
from innkeeper.images.locks import locked
from innkeeper.images.paths import make_dir, storage_errors

AUTH_FILE_VARIABLE = "REGISTRY_AUTH_FILE"
MAX_FILE_BYTES = 1 << 20
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_HELPER_TIMEOUT_S = 30
_TOKEN_USER = "<token>"


@record(kw_only=True)
class Credentials:
    """A user and a password, or an identity token that stands for both."""

    user: str = ""
    password: str = ""
    identity_token: str = ""

    def basic(self) -> str:
        """Return the value of a Basic `Authorization` header (RFC 7617)."""
        pair = f"{self.user}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode()


def own_file() -> Path:
    """Return the file that `login` writes: `REGISTRY_AUTH_FILE`, or ours."""
    given = os.environ.get(AUTH_FILE_VARIABLE, "")
    return Path(given) if given else _config_home() / "innkeeper/auth.json"


def files() -> list[Path]:
    """Return the files that are looked at, in order."""
    if os.environ.get(AUTH_FILE_VARIABLE, ""):
        return [own_file()]
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    docker = os.environ.get("DOCKER_CONFIG", "") or str(Path.home() / ".docker")
    return [
        own_file(),
        *([Path(runtime) / "containers/auth.json"] if runtime else []),
        _config_home() / "containers/auth.json",
        Path(docker) / "config.json",
    ]


def find(registry: str, repository: str = "") -> Credentials | None:
    """Return the credentials for a repository: those of the longest name that leads to it."""
    parts = [registry, *filter(None, repository.split("/"))]
    keys = ["/".join(parts[:length]) for length in range(len(parts), 0, -1)]
    for path in files():
        document = _read(path)
        auths = {_plain(key): value for key, value in _object(document, "auths", path).items()}
        for key in keys:
            found = _from_entry(auths.get(key), path)
            if found is not None:
                return found
        helper = _object(document, "credHelpers", path).get(registry) or document.get("credsStore")
        if isinstance(helper, str) and helper:
            found = _from_helper(helper, registry)
            if found is not None:
                return found
    return None


def save(registry: str, credentials: Credentials) -> Path:
    """Write credentials to our file, mode 0600, beside what is there; return its path."""
    pair = f"{credentials.user}:{credentials.password}".encode()
    entry = {"auth": base64.b64encode(pair).decode()}
    if ":" in credentials.user:
        raise UsageError(f"user {credentials.user!r} has a colon", why="Basic login has no such")

    def change(auths: dict[str, Any]) -> None:
        auths[registry] = entry

    return _change(change)


def forget(registry: str) -> Path:
    """Remove credentials from our file; `NotFoundError` when it has none for `registry`."""

    def change(auths: dict[str, Any]) -> None:
        if registry not in auths:
            raise NotFoundError(f"nobody is logged in to {registry}", why=f"{own_file()} has none")
        del auths[registry]

    return _change(change)


def _change(change: Any) -> Path:
    path = own_file()
    make_dir(path.parent)
    with locked(path.with_name(f".{path.name}.lock")), storage_errors("keep a login", path):
        document = _read(path)
        auths = dict(_object(document, "auths", path))
        change(auths)
        document["auths"] = auths
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(fd, "w") as file:
                os.fchmod(file.fileno(), 0o600)
                json.dump(document, file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        document = json.loads(data) if data.strip() else {}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise StorageError(f"cannot read {path}", why=error.strerror or "") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(document, dict) or len(data) > MAX_FILE_BYTES:
        raise _damaged(path, "it is not an object, or too large")
    return document


def _object(document: dict[str, Any], key: str, path: Path) -> dict[str, Any]:
    value = document.get(key) or {}
    if not isinstance(value, dict):
        raise _damaged(path, f"{key} is not an object")
    return value


def _from_entry(entry: Any, path: Path) -> Credentials | None:
    if not isinstance(entry, dict):
        return None
    token, auth = entry.get("identitytoken"), entry.get("auth")
    if isinstance(token, str) and token:
        return Credentials(identity_token=token)
    if not isinstance(auth, str) or not auth:
        return None
    try:
        user, colon, password = base64.b64decode(auth, validate=True).decode().partition(":")
    except (binascii.Error, ValueError) as error:
        raise _damaged(path, "an auth in it is not base64 of USER:PASSWORD") from error
    return Credentials(user=user, password=password) if colon else None


def _from_helper(helper: str, registry: str) -> Credentials | None:
    """Ask a docker credential helper; one that knows nothing of the registry says so."""
    if not _HELPER.fullmatch(helper):
        raise UsageError(f"{helper[:80]!r} is not a credential helper's name")
    try:
        done = subprocess.run(
            [f"docker-credential-{helper}", "get"], input=registry.encode(), check=False,
            capture_output=True, timeout=_HELPER_TIMEOUT_S,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    try:
        answer = json.loads(done.stdout[:MAX_FILE_BYTES]) if done.returncode == 0 else {}
    except ValueError:
        return None
    user, secret = answer.get("Username"), answer.get("Secret")
    if not (isinstance(user, str) and isinstance(secret, str) and secret):
        return None
    if user == _TOKEN_USER:
        return Credentials(identity_token=secret)
    return Credentials(user=user, password=secret)


def _plain(key: str) -> str:
    """Return a registry without the scheme and version that docker's old files have."""
    return re.sub(r"^https?://|/v[12]/?$|/$", "", re.sub(r"^https?://", "", key))


def _config_home() -> Path:
    value = os.environ.get("XDG_CONFIG_HOME", "")
    return Path(value) if value.startswith("/") else Path.home() / ".config"


def _damaged(path: Path, why: str) -> ImageError:
    return ImageError(f"{path} is damaged", why=why, fix="mend it, or remove it and log in again")
