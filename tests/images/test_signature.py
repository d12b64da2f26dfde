"""Signatures: what holds, and everything that must not."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest

from innkeeper.base.errors import IntegrityError
from innkeeper.images import signature

from .mirror_kit import Signer

TEXT = b"Origin: Test\n- dashes\nSuite: test\n"


def check(message: bytes, signer: Signer, **more: object) -> str:
    signed_by = more.get("signed_by", [str(signer.keyring)])
    return signature.verify_inline(message, signed_by=signed_by)  # type: ignore[arg-type]


def test_the_signed_text_comes_back(signer: Signer) -> None:
    assert check(signer.inline(TEXT), signer).encode() == TEXT
    assert signature.verify_detached(
        TEXT, signer.detached(TEXT), signed_by=[str(signer.keyring)]
    ).encode() == TEXT  # fmt: skip


def test_keys_in_armour_and_by_fingerprint(signer: Signer, tmp_path: Path) -> None:
    armoured = signer.armoured_key()
    (tmp_path / "key.asc").write_bytes(armoured)
    message = signer.inline(TEXT)
    assert check(message, signer, signed_by=[str(tmp_path / "key.asc")])
    assert check(message, signer, signed_by=[armoured.decode()])
    with pytest.raises(IntegrityError, match="not by the key"):
        check(message, signer, signed_by=[str(signer.keyring), "0123456789ABCDEF"])


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.replace(b"Suite: test", b"Suite: evil"),
        lambda m: b"unsigned\n" + m,
        lambda m: m + b"unsigned\n",
        lambda m: m[: len(m) // 2],
        lambda m: m.replace(b"-----BEGIN PGP SIGNED", b"-----BEGIN PGP"),
        lambda m: m.split(b"-----BEGIN PGP SIGNATURE")[0],
        lambda _: b"",
        lambda _: TEXT,
    ],
)
def test_changed_messages_are_refused(signer: Signer, change: object) -> None:
    with pytest.raises(IntegrityError):
        check(change(signer.inline(TEXT)), signer)  # type: ignore[operator]


def test_another_detached_signature_is_refused(signer: Signer) -> None:
    with pytest.raises(IntegrityError):
        signature.verify_detached(TEXT, signer.detached(b"other"), signed_by=[str(signer.keyring)])


def test_keyrings_that_do_not_help(signer: Signer, tmp_path: Path) -> None:
    message = signer.inline(TEXT)
    with pytest.raises(IntegrityError, match="cannot be read"):
        check(message, signer, signed_by=[str(tmp_path / "missing.gpg")])
    with pytest.raises(IntegrityError, match="no keyring") as caught:
        signature.verify_inline(message, root=tmp_path)
    assert "INN_KEYRING" in caught.value.fix
    (tmp_path / "noise.gpg").write_bytes(b"noise")
    with pytest.raises(IntegrityError):
        check(message, signer, signed_by=[str(tmp_path / "noise.gpg")])


def test_the_host_has_no_checker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    message = (
        b"-----BEGIN PGP SIGNED MESSAGE-----\n\nx\n-----BEGIN PGP SIGNATURE-----\n\nx\n"
        b"-----END PGP SIGNATURE-----\n"
    )
    with pytest.raises(IntegrityError, match="neither gpgv nor sqv"):
        signature.verify_inline(message)
    with pytest.raises(IntegrityError, match="neither gpgv nor sqv"):
        signature.verify_detached(b"", b"")


@pytest.mark.parametrize("modern", [True, False])
def test_sqv_is_asked_in_the_way_it_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, modern: bool
) -> None:
    tool = tmp_path / "sqv"
    option = "--signature-file" if modern else "SIG-FILE"
    want = 4 if not modern else 5
    tool.write_text(
        f'#!/bin/sh\n[ "$1" = --help ] && {{ echo "{option}"; exit; }}\n'
        f'[ $# -eq {want} ] && [ "$1" = --keyring ] && echo 00112233445566778899\n'
        'for last; do :; done; grep -q good "$last"\n'
    )
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    keyring = tmp_path / "k.gpg"
    keyring.write_bytes(b"k")
    monkeypatch.setattr(shutil, "which", lambda name: str(tool) if name == "sqv" else None)
    assert not signature.can_check_inline()
    signed_by = [str(keyring), "5566778899" + "0" * 0]
    assert signature.verify_detached(b"good", b"s", signed_by=signed_by[:1]) == "good"
    with pytest.raises(IntegrityError):
        signature.verify_detached(b"bad", b"s", signed_by=signed_by[:1])
    with pytest.raises(IntegrityError):
        signature.verify_detached(b"good", b"s", signed_by=[str(keyring), "F" * 40])
