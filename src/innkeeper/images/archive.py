"""A Debian archive: its signed Release, its package indices, its files (repository format)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import quote

from innkeeper.base.errors import DownloadError, ImageError, IntegrityError, UsageError
from innkeeper.images import deb822, signature
from innkeeper.images.fetch import Fetcher, NotOnMirror, Wanted
from innkeeper.images.mirror import Mirror, candidates, redact
from innkeeper.images.packages import Package, PackageIndex
from innkeeper.images.unpack import decompress_all

MAX_INDEX_BYTES = 512 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_SUITE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]*", re.ASCII)
_ARCH = re.compile(r"[a-z0-9][a-z0-9-]*", re.ASCII)
_SUFFIXES = (".xz", ".gz", "")


@dataclass(frozen=True)
class Listed:
    """A file that a Release names."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Release:
    """The signed text of a suite."""

    fields: deb822.Stanza
    files: dict[str, Listed]

    @property
    def codename(self) -> str:
        """The suite's own name (`trixie`), whatever alias it was asked by."""
        return self.fields.get("codename", "")

    def words(self, field: str) -> list[str]:
        """Return a field as a list of words."""
        return self.fields.get(field, "").split()


@dataclass(frozen=True)
class Archive:
    """A suite on a mirror whose Release has been verified."""

    mirror: Mirror
    suite: str
    release: Release
    fetcher: Fetcher

    @classmethod
    def open(
        cls, suite: str, *, fetcher: Fetcher, mirror: str | None = None, root: Path = Path("/")
    ) -> Archive:
        """Find `suite` on the first configured mirror that has it, and verify its Release."""
        if not _SUITE.fullmatch(suite):
            raise UsageError(f"suite {suite!r} is not a suite's name")
        missing: DownloadError | None = None
        for candidate in candidates(suite, explicit=mirror, root=root):
            fetcher.proxy = candidate.proxy
            try:
                text = _signed_text(candidate, suite, fetcher, root)
            except NotOnMirror as error:
                missing = missing or error
                continue
            release = parse_release(text)
            _check_dates(release, candidate)
            _check_name(release, suite)
            return cls(candidate, suite, release, fetcher)
        raise DownloadError(
            f"no configured mirror has the suite {suite!r}",
            why=str(missing) if missing else "",
            fix="give another --suite, or set INN_MIRROR to a mirror that has it",
        )

    def index(self, arch: str, components: tuple[str, ...] = ("main",)) -> PackageIndex:
        """Fetch and verify the package indices for `arch`."""
        if not _ARCH.fullmatch(arch):
            raise UsageError(f"architecture {arch!r} is not an architecture's name")
        known = self.release.words("architectures")
        if arch not in known:
            have = ", ".join(a for a in known if a != "all")
            raise UsageError(
                f"suite {self.suite!r} has no packages for {arch}",
                why=f"it has {have or 'no architecture at all'}",
                fix="give another --suite or --arch",
            )
        arches = [arch]
        # Where this field is absent, packages of `all` are in an index of their own.
        if "all" in known and not self.release.fields.get("no-support-for-architecture-all"):
            arches.append("all")
        texts = [self._packages(c, a) for c in components for a in arches]
        if not any(texts):
            raise ImageError(f"suite {self.suite!r} lists no packages for {arch}")
        return PackageIndex(b"\n\n".join(t for t in texts if t), arch=arch)

    def wanted(self, package: Package) -> Wanted:
        """Describe the `.deb` of `package` for the fetcher."""
        return Wanted(
            url=f"{self.mirror.uri}/{quote(package.filename)}",
            sha256=package.sha256,
            size=package.size,
            label=f"{package.name} {package.version}",
        )

    def _packages(self, component: str, arch: str) -> bytes:
        name = f"{component}/binary-{arch}/Packages"
        for suffix in _SUFFIXES:
            listed = self.release.files.get(name + suffix)
            if listed is None:
                continue
            path = self._fetch_index(name + suffix, listed)
            plain = self.release.files.get(name)
            limit = min(plain.size, MAX_INDEX_BYTES) if plain else MAX_INDEX_BYTES
            return decompress_all(path, suffix=suffix, limit=limit)
        return b""

    def _fetch_index(self, name: str, listed: Listed) -> Path:
        base = f"{self.mirror.uri}/dists/{self.suite}"
        label = f"{self.suite} {name}"
        plain = Wanted(f"{base}/{name}", listed.sha256, listed.size, label)
        if self.release.fields.get("acquire-by-hash", "").lower() == "yes":
            # By hash there is no moment at which Release and index disagree.
            folder = name.rpartition("/")[0]
            url = f"{base}/{folder}/by-hash/SHA256/{listed.sha256}"
            try:
                return self.fetcher.fetch(Wanted(url, listed.sha256, listed.size, label))
            except NotOnMirror:
                pass
        return self.fetcher.fetch(plain)


def parse_release(text: str) -> Release:
    """Parse a Release's text; only SHA-256 entries count, since older hashes prove nothing."""
    fields = deb822.parse_one(text, source="the release file")
    files: dict[str, Listed] = {}
    for line in filter(None, fields.get("sha256", "").split("\n")):
        words = line.split()
        digits = len(words) == 3 and words[1].isascii() and words[1].isdigit()
        if not digits or not _SHA256.fullmatch(words[0]) or len(words[1]) > 15:
            raise ImageError("the release file lists a file badly", why=repr(line[:120]))
        files[words[2]] = Listed(words[0], int(words[1]))
    if not files:
        raise IntegrityError("the release file lists no SHA-256 checksums")
    return Release(fields, files)


def _signed_text(mirror: Mirror, suite: str, fetcher: Fetcher, root: Path) -> str:
    base = f"{mirror.uri}/dists/{quote(suite)}"
    if signature.can_check_inline():
        try:
            message = fetcher.fetch_small(f"{base}/InRelease")
        except NotOnMirror:
            pass
        else:
            return signature.verify_inline(message, signed_by=mirror.signed_by, root=root)
    message = fetcher.fetch_small(f"{base}/Release")
    try:
        sign = fetcher.fetch_small(f"{base}/Release.gpg")
    except NotOnMirror as error:
        raise IntegrityError(
            f"suite {suite!r} on {redact(mirror.uri)} is not signed",
            why="it has a Release but neither InRelease nor Release.gpg",
            fix="use a mirror that carries the archive's signatures",
        ) from error
    return signature.verify_detached(message, sign, signed_by=mirror.signed_by, root=root)


def _check_dates(release: Release, mirror: Mirror) -> None:
    text = release.fields.get("valid-until", "")
    if not text or not mirror.check_valid_until:
        return
    try:
        until = parsedate_to_datetime(text)
    except ValueError as error:
        raise ImageError("the release file's Valid-Until is not a date", why=repr(text)) from error
    if until.replace(tzinfo=until.tzinfo or UTC) < datetime.now(UTC):
        raise IntegrityError(
            "the release file has expired",
            why=f"it was valid until {text}",
            fix="check this host's clock, use a mirror that is up to date, or, for an archived "
            "suite, set apt's Acquire::Check-Valid-Until to false",
        )


def _check_name(release: Release, suite: str) -> None:
    """Refuse another suite's (signed) Release served in place of the one asked for."""
    names = {release.codename, release.fields.get("suite", "")} - {""}
    if suite not in names:
        raise IntegrityError(
            f"the mirror's release file is not that of {suite!r}",
            why=f"it calls itself {' or '.join(sorted(names)) or 'nothing'}",
        )
