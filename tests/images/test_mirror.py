"""The host's mirror, as apt's files name it."""

from __future__ import annotations

from pathlib import Path

import pytest

from innkeeper.base.errors import InnError, UsageError
from innkeeper.images import aptconf
from innkeeper.images.mirror import candidates, redact

ONE_LINE = """\
# a comment
deb-src http://mirror.example/debian trixie main
deb [signed-by=/k/a.gpg,/k/b.gpg check-valid-until=no] http://mirror.example/debian/ trixie main x
deb http://mirror.example/security trixie-security main # comment
deb cdrom:[Debian]/ trixie main
"""
DEB822 = """\
Types: deb deb-src
URIs: http://other.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/x.gpg

Enabled: no
Types: deb
URIs: http://disabled.example/debian
Suites: trixie
Components: main
"""


def host(tmp_path: Path, **files: str) -> Path:
    (tmp_path / "etc/apt/sources.list.d").mkdir(parents=True)
    (tmp_path / "etc/apt/apt.conf.d").mkdir()
    for name, text in files.items():
        (tmp_path / "etc/apt" / name.replace("__", "/").replace("_DOT_", ".")).write_text(text)
    return tmp_path


def test_the_source_that_names_the_suite_comes_first(tmp_path: Path) -> None:
    root = host(tmp_path, sources_DOT_list=ONE_LINE, sources_DOT_list_DOT_d__a_DOT_sources=DEB822)
    first, second = candidates("trixie", root=root)
    assert first.uri == "http://mirror.example/debian"
    assert first.signed_by == ("/k/a.gpg", "/k/b.gpg")
    assert first.components == ("main", "x")
    assert first.check_valid_until is False
    assert second.uri == "http://other.example/debian"
    assert second.signed_by == ("/usr/share/keyrings/x.gpg",)
    assert candidates("bookworm", root=root)[0].uri == "http://other.example/debian"


def test_an_inline_key_is_kept_whole(tmp_path: Path) -> None:
    text = """\
Types: deb
URIs: http://mirror.example/debian
Suites: trixie
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 AAAA
 -----END PGP PUBLIC KEY BLOCK-----
"""
    root = host(tmp_path, sources_DOT_list_DOT_d__a_DOT_sources=text)
    (key,) = candidates("trixie", root=root)[0].signed_by
    assert key.splitlines()[1:] == ["", "AAAA", "-----END PGP PUBLIC KEY BLOCK-----"]


def test_what_is_given_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = host(tmp_path, sources_DOT_list=ONE_LINE)
    monkeypatch.setenv("INN_MIRROR", "http://from-environment.example/debian/")
    assert [m.uri for m in candidates("trixie", root=root)] == [
        "http://from-environment.example/debian"
    ]
    given = candidates("trixie", explicit="file:/srv/debian", root=root)
    assert [m.uri for m in given] == ["file:/srv/debian"]


def test_no_mirror_at_all(tmp_path: Path) -> None:
    with pytest.raises(InnError, match="no Debian mirror") as caught:
        candidates("trixie", root=tmp_path)
    assert "INN_MIRROR" in caught.value.fix


@pytest.mark.parametrize("uri", ["", "example.org/debian", "ftp://example.org/", "http://"])
def test_an_address_that_cannot_be(tmp_path: Path, uri: str) -> None:
    with pytest.raises((UsageError, InnError)):
        candidates("trixie", explicit=uri, root=tmp_path)


def test_apt_settings_are_honoured(tmp_path: Path) -> None:
    conf = """
// comment
Acquire { http { Proxy "http://proxy.example:3128/"; Proxy::direct.example "DIRECT"; };
  Check-Valid-Until "false"; /* more */ };
Other::List:: "x";
"""
    root = host(tmp_path, sources_DOT_list=ONE_LINE, apt_DOT_conf_DOT_d__50proxy=conf)
    mirror = candidates("trixie", root=root)[0]
    assert mirror.proxy == "http://proxy.example:3128/"
    config = aptconf.read(root)
    assert config.proxy_for("https", "mirror.example") == "http://proxy.example:3128/"
    assert config.proxy_for("http", "direct.example") == ""
    assert config.flag("Acquire::Check-Valid-Until", default=True) is False
    given = candidates("trixie", explicit="http://direct.example/debian", root=root)[0]
    assert (given.check_valid_until, given.proxy) == (False, "")


def test_dump_format() -> None:
    text = 'APT "";\nAcquire::http::Proxy "http://p/";\nDPkg::Post-Invoke:: "rm -f x || true";\n'
    assert aptconf.parse(text)["acquire::http::proxy"] == "http://p/"


def test_redact() -> None:
    assert redact("https://me:pw@host.example:8080/x") == "https://host.example:8080/x"
