"""Find the Debian mirror that the host itself is configured to use (sources.list(5))."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from innkeeper.base.errors import DownloadError, ImageError, UsageError
from innkeeper.images import aptconf, deb822
from innkeeper.images.aptconf import AptConfig

SCHEMES = ("http", "https", "file")
MIRROR_VARIABLE = "INN_MIRROR"
KEYRING_VARIABLE = "INN_KEYRING"
# Suites that are add-ons to a release: their URI need not hold the release itself.
_ADD_ON = re.compile(r"[-/](security|updates|backports|proposed-updates|debug)\b|/$")
_ONE_LINE = re.compile(r"deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<rest>.+)")


@dataclass(frozen=True)
class Mirror:
    """An archive to fetch from, and how the host's apt is told to treat it.

    `signed_by` holds keyring paths, key fingerprints or armoured keys, as sources.list(5) has
    them; empty means the keyrings that the host trusts.
    """

    uri: str
    suites: tuple[str, ...] = ()
    components: tuple[str, ...] = ("main",)
    signed_by: tuple[str, ...] = ()
    check_valid_until: bool = True
    proxy: str | None = None
    origin: str = "given"


def candidates(suite: str, *, explicit: str | None = None, root: Path = Path("/")) -> list[Mirror]:
    """List the mirrors to try for `suite`, best first.

    An explicit URI wins, then `INN_MIRROR`, then the `deb` sources of the host's apt: those
    that name the suite before those that name another release. `DownloadError` when there is none.
    """
    config = aptconf.read(root)
    given = explicit or os.environ.get(MIRROR_VARIABLE, "")
    if given:
        origin = "given" if explicit else MIRROR_VARIABLE
        return [_with_settings(Mirror(_checked(given), origin=origin), config)]
    sources = [m for m in read_sources(root) if urlsplit(m.uri).scheme in SCHEMES]
    exact = [m for m in sources if suite in m.suites]
    others = [m for m in sources if m not in exact and not all(map(_ADD_ON.search, m.suites))]
    found: dict[str, Mirror] = {}
    for mirror in exact + others:
        found.setdefault(mirror.uri, _with_settings(mirror, config))
    if not found:
        raise DownloadError(
            "no Debian mirror is configured on this host",
            why=f"no usable `deb` source under {root / 'etc/apt'}",
            fix=f"set {MIRROR_VARIABLE} to your mirror's address, or pass --mirror",
        )
    return list(found.values())


def read_sources(root: Path = Path("/")) -> list[Mirror]:
    """Read every enabled binary source of the host, in apt's order."""
    apt = root / "etc/apt"
    try:
        parts = sorted((apt / "sources.list.d").iterdir())
    except OSError:
        parts = []
    mirrors: list[Mirror] = []
    for path in [apt / "sources.list", *parts]:
        text = aptconf.read_text(path)
        if path.suffix == ".list":
            mirrors += parse_one_line(text, origin=str(path))
        elif path.suffix == ".sources":
            mirrors += parse_deb822(text, origin=str(path))
    return mirrors


def parse_one_line(text: str, *, origin: str) -> list[Mirror]:
    """Parse the one-line style: `deb [option=value ...] URI SUITE COMPONENT...`."""
    mirrors = []
    for line in text.splitlines():
        match = _ONE_LINE.fullmatch(line.partition("#")[0].strip())
        if match is None:
            continue
        options = {
            key.rstrip("+-").lower(): value
            for key, _, value in (item.partition("=") for item in (match["options"] or "").split())
        }
        suite, *components = match["rest"].split()
        mirrors.append(
            Mirror(
                uri=match["uri"].rstrip("/"),
                suites=(suite,),
                components=tuple(components) or ("main",),
                signed_by=tuple(filter(None, options.get("signed-by", "").split(","))),
                check_valid_until=_yes(options.get("check-valid-until", "yes")),
                origin=origin,
            )
        )
    return mirrors


def parse_deb822(text: str, *, origin: str) -> list[Mirror]:
    """Parse the deb822 style; a file that is not well-formed gives nothing, as with apt."""
    try:
        stanzas = list(deb822.parse(text, source=origin))
    except ImageError:
        return []
    mirrors = []
    for stanza in stanzas:
        enabled = _yes(stanza.get("enabled", "yes"))
        if not enabled or "deb" not in stanza.get("types", "").split():
            continue
        signed_by = stanza.get("signed-by", "")
        inline = "-----BEGIN PGP" in signed_by
        for uri in stanza.get("uris", "").split():
            mirrors.append(
                Mirror(
                    uri=uri.rstrip("/"),
                    suites=tuple(stanza.get("suites", "").split()),
                    components=tuple(stanza.get("components", "").split()) or ("main",),
                    signed_by=(signed_by.strip(),)
                    if inline
                    else tuple(filter(None, re.split(r"[\s,]+", signed_by))),
                    check_valid_until=_yes(stanza.get("check-valid-until", "yes")),
                    origin=origin,
                )
            )
    return mirrors


def redact(uri: str) -> str:
    """Return `uri` without a user name or password, fit for a message."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _with_settings(mirror: Mirror, config: AptConfig) -> Mirror:
    parts = urlsplit(mirror.uri)
    keyring = os.environ.get(KEYRING_VARIABLE, "")
    return replace(
        mirror,
        signed_by=(keyring,) if keyring else mirror.signed_by,
        check_valid_until=mirror.check_valid_until
        and config.flag("Acquire::Check-Valid-Until", default=True),
        proxy=config.proxy_for(parts.scheme, parts.hostname or ""),
    )


def _checked(uri: str) -> str:
    parts = urlsplit(uri)
    if parts.scheme not in SCHEMES or (parts.scheme != "file" and not parts.hostname):
        raise UsageError(
            f"mirror {redact(uri)!r} cannot be used",
            why="only http:, https: and file: addresses are understood",
            fix="give it as http://HOST/debian or file:/path",
        )
    return uri.rstrip("/")


def _yes(value: str) -> bool:
    return value.strip().lower() not in ("no", "false", "0", "without", "off", "disable")
