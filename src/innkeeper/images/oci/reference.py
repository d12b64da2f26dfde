"""Names of images, `[REGISTRY/]REPOSITORY[:TAG][@DIGEST]`, and where a short one leads.

The grammar of repository, tag and digest is that of distribution-spec 1.1 "Pulling manifests"; what
tells a registry from the first part of a repository is the field's rule: it has a dot or a colon,
or is `localhost`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from innkeeper.base.errors import UsageError
from innkeeper.base.record import record, replace
from innkeeper.images.oci.digest import is_digest

MAX_NAME_CHARS = 255
MAX_REFERENCE_CHARS = 1024
MAX_CONFIG_BYTES = 1 << 20
DEFAULT_TAG = "latest"
REGISTRY_VARIABLE = "INN_REGISTRY"
_CONFIG = "innkeeper/registries.toml"
_FIELD_CONFIGS = ("containers/registries.conf", "/etc/containers/registries.conf")

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*", re.ASCII)
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", re.ASCII)
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_REGISTRY = re.compile(
    rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]{{2,45}}\])(?::[0-9]{{1,5}})?", re.ASCII
)


@record(kw_only=True)
class Reference:
    """A name that has been checked; without `registry` it is a name on this host."""

    repository: str
    registry: str | None = None
    tag: str | None = None
    digest: str | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a reference; `UsageError` says what is wrong with it."""
        if len(text) > MAX_REFERENCE_CHARS:
            raise _bad(text, f"it has more than {MAX_REFERENCE_CHARS} characters")
        rest, at, digest = text.partition("@")
        if at and not is_digest(digest):
            raise _bad(text, f"{digest[:80]!r} is not a digest")
        registry, rest = _split_registry(rest)
        repository, colon, tag = rest.partition(":")
        if registry is not None and not _REGISTRY.fullmatch(registry):
            raise _bad(text, f"{registry!r} is not a registry's address")
        if not _REPOSITORY.fullmatch(repository):
            lower = " (capital letters are not allowed)" if repository != repository.lower() else ""
            raise _bad(text, f"{repository!r} is not a repository's name{lower}")
        if len(repository) + len(registry or "") > MAX_NAME_CHARS:
            raise _bad(text, f"the name has more than {MAX_NAME_CHARS} characters")
        if colon and not _TAG.fullmatch(tag):
            raise _bad(text, f"{tag!r} is not a tag")
        return cls(registry=registry, repository=repository, tag=tag or None, digest=digest or None)

    @property
    def name(self) -> str:
        """The name without tag and digest."""
        return f"{self.registry}/{self.repository}" if self.registry else self.repository

    @property
    def tagged(self) -> str:
        """The name with its tag, `latest` when it has none: what an image is kept under."""
        return f"{self.name}:{self.tag or DEFAULT_TAG}"

    @property
    def remote(self) -> str:
        """What a registry is asked for: the digest when there is one, else the tag."""
        return self.digest or self.tag or DEFAULT_TAG

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ("" if self.digest else f":{DEFAULT_TAG}")
        return self.name + tag + (f"@{self.digest}" if self.digest else "")


def with_registry(reference: Reference) -> Reference:
    """Return `reference` with the configured registry where it names none.

    `UsageError` that says how to configure one when there is none: no registry is built in.
    """
    if reference.registry:
        return reference
    registry = default_registry()
    if registry is None:
        raise UsageError(
            f"{reference} does not say which registry",
            why="a short name needs a registry, and none is configured",
            fix=f"write it as REGISTRY/{reference}, set {REGISTRY_VARIABLE}=REGISTRY, or put "
            f'`default = "REGISTRY"` in {_config_home() / _CONFIG}',
        )
    return replace(reference, registry=registry)


def default_registry() -> str | None:
    """Return the registry of short names, or None.

    It is, in this order: `INN_REGISTRY`; `default` in our `registries.toml`; the first of
    `unqualified-search-registries` in containers-registries.conf(5).
    """
    given = os.environ.get(REGISTRY_VARIABLE, "")
    if given:
        return _checked(given, REGISTRY_VARIABLE)
    home = _config_home()
    own = _read_toml(home / _CONFIG).get("default")
    if isinstance(own, str):
        return _checked(own, str(home / _CONFIG))
    for path in _FIELD_CONFIGS:
        listed = _read_toml(home / path).get("unqualified-search-registries")
        if isinstance(listed, list) and listed and isinstance(listed[0], str):
            return _checked(listed[0], str(home / path))
    return None


def _checked(registry: str, where: str) -> str:
    if not _REGISTRY.fullmatch(registry):
        raise UsageError(f"{where} has no registry's address", why=repr(registry[:120]))
    return registry


def _config_home() -> Path:
    value = os.environ.get("XDG_CONFIG_HOME", "")
    return Path(value) if value.startswith("/") else Path.home() / ".config"


def _read_toml(path: Path) -> dict[str, object]:
    import tomllib

    try:
        with path.open("rb") as file:
            return tomllib.loads(file.read(MAX_CONFIG_BYTES).decode())
    except OSError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(
            f"{path} cannot be read", why=str(error), fix="mend or remove it"
        ) from None


def _split_registry(text: str) -> tuple[str | None, str]:
    first, slash, rest = text.partition("/")
    if slash and (first == "localhost" or "." in first or ":" in first or first != first.lower()):
        return first, rest
    return None, text


def _bad(text: str, why: str) -> UsageError:
    return UsageError(
        f"{text[:120]!r} is not an image's name",
        why=why,
        fix="write it as NAME, NAME:TAG, REGISTRY/NAME:TAG or REGISTRY/NAME@sha256:DIGEST",
    )
