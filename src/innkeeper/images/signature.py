"""Release signatures, checked by the host's own `gpgv` or `sqv` (RFC 9580 7, apt-secure(8)).

Only the text that the checker says was signed is ever looked at.
"""

from __future__ import annotations

import base64
import binascii
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from innkeeper.base.errors import IntegrityError
from innkeeper.images.paths import storage_errors

MAX_KEYRING_BYTES = 16 << 20
_CHECK_TIMEOUT_S = 60
_KEYRINGS = (
    "usr/share/keyrings/debian-archive-keyring.pgp",
    "usr/share/keyrings/debian-archive-keyring.gpg",
    "etc/apt/trusted.gpg",
)
_KEYRING_FOLDER = "etc/apt/trusted.gpg.d"
_SUFFIXES = (".gpg", ".pgp", ".asc")
_FINGERPRINT = re.compile(r"[0-9A-Fa-f]{16,64}!?", re.ASCII)
_ARMOUR = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\r?\n(?:[^\r\n]+\r?\n)*[ \t]*\r?\n"
    rb"([A-Za-z0-9+/=\s]*?)(?:\r?\n=[A-Za-z0-9+/]{4}\s*)?-----END PGP PUBLIC KEY BLOCK-----"
)
_CLEAR = re.compile(
    rb"-----BEGIN PGP SIGNED MESSAGE-----\r?\n.*?\r?\n-----BEGIN PGP SIGNATURE-----\r?\n.*?"
    rb"\r?\n-----END PGP SIGNATURE-----\s*",
    re.DOTALL,
)


def verify_inline(message: bytes, *, signed_by: Sequence[str] = (), root: Path = Path("/")) -> str:
    """Return the signed text of an `InRelease` file; `IntegrityError` unless its signature holds.

    `signed_by` is as in `Mirror.signed_by`.
    """
    if _CLEAR.fullmatch(message) is None:
        raise IntegrityError("the release file is not a single signed message")
    program = shutil.which("gpgv")
    if program is None:
        raise _no_checker()
    with _scratch() as folder:
        keys, fingerprints = _keyring(signed_by, folder, root)
        (folder / "InRelease").write_bytes(message)
        output = folder / "text"
        _gpgv(
            program,
            keys,
            fingerprints,
            ["--output", str(output), str(folder / "InRelease")],
        )
        return _text(output.read_bytes())


def verify_detached(
    message: bytes, signature: bytes, *, signed_by: Sequence[str] = (), root: Path = Path("/")
) -> str:
    """Return the text of a `Release` file if `Release.gpg` signs it; else `IntegrityError`."""
    gpgv, sqv = shutil.which("gpgv"), shutil.which("sqv")
    if gpgv is None and sqv is None:
        raise _no_checker()
    with _scratch() as folder:
        keys, fingerprints = _keyring(signed_by, folder, root)
        text, sign = folder / "Release", folder / "Release.gpg"
        text.write_bytes(message)
        sign.write_bytes(signature)
        if gpgv is not None:
            _gpgv(gpgv, keys, fingerprints, [str(sign), str(text)])
        elif sqv is not None:
            _sqv(sqv, keys, fingerprints, [str(sign), str(text)])
        return _text(message)


def can_check_inline() -> bool:
    """Tell whether this host can check an `InRelease` (gpgv); `sqv` alone needs `Release.gpg`."""
    return shutil.which("gpgv") is not None


@contextmanager
def _scratch() -> Iterator[Path]:
    where = Path(tempfile.gettempdir())
    with (
        storage_errors("check a signature", where),
        tempfile.TemporaryDirectory(prefix="inn-", dir=where) as name,
    ):
        yield Path(name)


def dearmour(data: bytes) -> bytes:
    """Return OpenPGP keys as binary packets, from ASCII armour (RFC 9580 6.2) or as they are."""
    if b"-----BEGIN PGP" not in data:
        return data
    try:
        blocks = [base64.b64decode(m[1], validate=False) for m in _ARMOUR.finditer(data)]
    except binascii.Error as error:
        raise IntegrityError("a keyring's ASCII armour is damaged", why=str(error)) from error
    if not blocks:
        raise IntegrityError("a keyring holds no public key")
    return b"".join(blocks)


def _keyring(signed_by: Sequence[str], folder: Path, root: Path) -> tuple[Path, frozenset[str]]:
    """Gather the trusted keys in one binary file, and the fingerprints that are allowed."""
    fingerprints = {s.rstrip("!").upper() for s in signed_by if _FINGERPRINT.fullmatch(s)}
    inline = [s.encode() for s in signed_by if "-----BEGIN PGP" in s]
    named = [Path(s) for s in signed_by if s.startswith("/")]
    paths = named or ([] if inline else _trusted(root))
    data = b"".join(map(dearmour, inline))
    for path in paths:
        try:
            with path.open("rb") as file:
                data += dearmour(file.read(MAX_KEYRING_BYTES))
        except OSError as error:
            raise IntegrityError(
                f"keyring {path} cannot be read", why=error.strerror or str(error)
            ) from error
    if not data:
        raise IntegrityError(
            "there is no keyring to check the release's signature with",
            why="no Debian archive keyring is installed on this host",
            fix="install debian-archive-keyring, or set INN_KEYRING to a keyring file",
        )
    target = folder / "keys.gpg"
    target.write_bytes(data)
    return target, frozenset(fingerprints)


def _trusted(root: Path) -> list[Path]:
    try:
        extra = sorted(p for p in (root / _KEYRING_FOLDER).iterdir() if p.suffix in _SUFFIXES)
    except OSError:
        extra = []
    found = [root / name for name in _KEYRINGS if (root / name).is_file()]
    real = {path.resolve(): path for path in found + extra}
    return [path for path in real.values() if path.stat().st_size]


def _gpgv(program: str, keys: Path, allowed: frozenset[str], arguments: list[str]) -> None:
    with tempfile.TemporaryFile() as status:
        command = [program, "--status-fd", str(status.fileno()), "--keyring", str(keys)]
        done = _run([*command, "--weak-digest", "SHA1", *arguments], (status.fileno(),))
        status.seek(0)
        lines = status.read().decode("utf-8", "replace").splitlines()
    words = [line.split()[1:] for line in lines if line.startswith("[GNUPG:] ")]
    kinds = {word[0] for word in words if word}
    # The first word is the signing key, the last its primary key: either may be the one allowed.
    signers = [{w[1].upper(), w[-1].upper()} for w in words if w and w[0] == "VALIDSIG"]
    good = "GOODSIG" in kinds and any(not allowed or _allowed(s, allowed) for s in signers)
    # apt-secure(8): unknown extra signatures do no harm, a wrong one does.
    if "GOODSIG" in kinds and not good:
        raise IntegrityError(
            "the release is signed, but not by the key that its source names",
            why=f"Signed-By allows {', '.join(sorted(allowed))}",
        )
    if not good or "BADSIG" in kinds or "FAILURE" in kinds:
        raise _rejected("gpgv", kinds, done.stderr)


def _sqv(program: str, keys: Path, allowed: frozenset[str], arguments: list[str]) -> None:
    sign, text = arguments
    # The positional form is deprecated, and the option is not known to older versions.
    if "--signature-file" in _run([program, "--help"], ()).stdout:
        arguments = ["--signature-file", sign, text]
    done = _run([program, "--keyring", str(keys), *arguments], ())
    signers = {line.strip().upper() for line in done.stdout.splitlines()}
    if done.returncode != 0 or not signers or (allowed and not _allowed(signers, allowed)):
        raise _rejected("sqv", set(), done.stderr)


def _allowed(signers: set[str], allowed: frozenset[str]) -> bool:
    return any(signer.endswith(wanted) for signer in signers for wanted in allowed)


def _run(command: list[str], fds: tuple[int, ...]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            pass_fds=fds,
            timeout=_CHECK_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise IntegrityError(
            f"{command[0]} could not check the release's signature", why=str(error)
        ) from error


def _rejected(program: str, kinds: set[str], stderr: str) -> IntegrityError:
    if "BADSIG" in kinds:
        why = "the signature does not match the text"
    elif kinds & {"EXPKEYSIG", "KEYEXPIRED", "REVKEYSIG"}:
        why = "the key that signed it has expired or was revoked"
    elif "NO_PUBKEY" in kinds:
        why = "none of the trusted keys signed it"
    else:
        why = " ".join(stderr.split())[:300] or f"{program} rejects it"
    return IntegrityError(
        "the release's signature does not hold",
        why=why,
        fix="check the mirror's address, and that debian-archive-keyring is up to date "
        "(or set INN_KEYRING)",
    )


def _no_checker() -> IntegrityError:
    return IntegrityError(
        "the release's signature cannot be checked",
        why="this host has neither gpgv nor sqv",
        fix="install the gpgv package",
    )


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise IntegrityError("the release file is not UTF-8 text", why=str(error)) from error
