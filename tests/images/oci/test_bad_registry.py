"""What a registry can do to us: connections that break, redirects, lies, odd challenges."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.base.errors import DownloadError, ImageError, InnError, IntegrityError, UsageError
from innkeeper.images.oci import credentials
from innkeeper.images.oci.challenge import parse_challenges
from innkeeper.images.oci.content import ContentStore
from innkeeper.images.oci.credentials import Credentials
from innkeeper.images.oci.http import Http, is_loopback, origin
from innkeeper.images.oci.image import find_image
from innkeeper.images.oci.pull import Puller
from innkeeper.images.oci.push import Pusher
from innkeeper.images.oci.reference import Reference
from innkeeper.images.oci.registry import Registry
from innkeeper.images.transport import Interrupted

from ..fuzzing import fuzz
from .fake_registry import FakeRegistry
from .kit import make_image, tar_of

BIG = tar_of([("file", "big", os.urandom(2_000_000))])
LAYER = 1_000_000  # into the layer of BIG


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with FakeRegistry() as server:
        yield server


@pytest.fixture
def other(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path / "other")


@pytest.fixture(autouse=True)
def _own_logins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    for name in ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)


def puller(store: ContentStore, fake: FakeRegistry, name: str = "a:1") -> Puller:
    where = Reference.parse(f"{fake.host}/{name}")
    return Puller(store, Registry(fake.host), where, wait=lambda seconds: None)


def pusher(store: ContentStore, fake: FakeRegistry, chunk: int = 1 << 19) -> Pusher:
    where = Reference.parse(f"{fake.host}/a:1")
    return Pusher(store, Registry(fake.host), where, chunk_bytes=chunk, wait=lambda seconds: None)


def test_a_broken_pull_goes_on_where_it_stopped(
    fake: FakeRegistry, store: ContentStore, other: ContentStore
) -> None:
    image = make_image(store, BIG)
    fake.add(store, image, "1")
    layer = image.manifest.layers[0].digest
    del fake.blobs[layer]
    with pytest.raises(InnError):
        puller(other, fake).run()
    assert other.names() == [], "no name for what is not here as a whole"
    fake.add(store, image, "1")
    fake.faults.cut = [LAYER, 300_000]
    fake.requests.clear()
    puller(other, fake).run()
    ranges = [h.get("range") for h in fake.sent("GET", layer)]
    assert ranges == [None, f"bytes={LAYER}-", f"bytes={LAYER + 300_000}-"]
    assert find_image(other, f"{fake.host}/a:1").missing() == []


def test_failures_that_another_try_mends(
    fake: FakeRegistry, store: ContentStore, other: ContentStore
) -> None:
    fake.add(store, make_image(store, BIG), "1")
    fake.faults.status = [503, 429]
    puller(other, fake).run()
    fake.faults.status = [403]
    with pytest.raises(DownloadError, match="403") as caught:
        puller(ContentStore(other.root / "x"), fake).run()
    assert "inn image login" in caught.value.fix


def test_redirects(fake: FakeRegistry, store: ContentStore, other: ContentStore) -> None:
    fake.add(store, make_image(store, BIG), "1")
    fake.faults.challenge = "Basic realm=x"
    credentials.save(fake.host, Credentials(user="me", password="secret"))
    with FakeRegistry() as mirror:
        mirror.blobs = fake.blobs
        fake.faults.redirect = f"http://{mirror.host}" + "{path}"
        puller(other, fake).run()
        assert len(mirror.sent("GET")) == 2
        assert not any("authorization" in headers for headers in mirror.sent("GET"))
        assert all("authorization" in h for h in fake.sent("GET", "/blobs/"))


@pytest.mark.parametrize(
    ("target", "why"),
    [("{path}", "too often"), ("file:///etc/passwd", "not http"), ("ftp://h/x", "not http")],
)
def test_redirects_that_are_not_followed(
    target: str, why: str, fake: FakeRegistry, store: ContentStore, other: ContentStore
) -> None:
    fake.add(store, make_image(store, BIG), "1")
    fake.faults.redirect = target
    with pytest.raises(DownloadError, match=why):
        puller(other, fake).run()
    assert len(fake.requests) < 60


def test_no_way_back_to_plain_http() -> None:
    headers = {"Authorization": "Basic x", "Accept": "y"}
    with pytest.raises(DownloadError, match="plain http"):
        Http()._redirect("https://a.example/x", "http://a.example/x", headers)
    where = Http()._redirect("https://a.example/x", "https://b.example/x", headers)
    assert where == ("https://b.example/x", {"Accept": "y"})
    where = Http()._redirect("https://a.example/x", "https://a.example:443/y", headers)
    assert where[1] == headers
    assert origin("http://a.example/x") != origin("http://a.example:8080/x")
    assert is_loopback("127.8.9.1") and is_loopback("::1") and not is_loopback("10.0.0.1")
    assert not is_loopback("127.0.0.1.example")


def test_lies_about_manifests(fake: FakeRegistry, store: ContentStore, other: ContentStore) -> None:
    image = make_image(store, BIG)
    fake.add(store, image, "1")
    fake.faults.lie = b'{"schemaVersion": 2}'
    with pytest.raises(ImageError):
        puller(other, fake).run()
    fake.faults.lie = fake.manifests["1"][1] + b"\n"
    with pytest.raises(IntegrityError, match="is damaged"):
        puller(other, fake, f"a@{image.descriptor.digest}").run()
    fake.faults.lie = b""
    fake.faults.digest = "sha256:" + "0" * 64
    with pytest.raises(IntegrityError, match="another manifest"):
        puller(other, fake).run()
    fake.faults.digest = ""
    fake.manifests["1"] = ("application/vnd.docker.distribution.manifest.v1+prettyjws", b"{}")
    with pytest.raises(ImageError, match="no longer used"):
        puller(other, fake).run()
    fake.manifests["1"] = ("text/html", b"<html>")
    with pytest.raises(ImageError):
        puller(other, fake).run()
    fake.manifests["1"] = ("text/html", b" " * (5 << 20))
    with pytest.raises(ImageError, match="too large"):
        puller(other, fake).run()
    assert other.names() == []


def test_lies_about_contents(fake: FakeRegistry, store: ContentStore, other: ContentStore) -> None:
    image = make_image(store, BIG)
    fake.add(store, image, "1")
    layer = image.manifest.layers[0]
    fake.blobs[layer.digest] = fake.blobs[layer.digest][:-1] + b"?"
    with pytest.raises(IntegrityError, match="not the file"):
        puller(other, fake).run()
    assert not other.has(layer)


def test_foreign_layers_are_not_pulled_or_pushed(
    fake: FakeRegistry, store: ContentStore, other: ContentStore
) -> None:
    image = make_image(store, BIG)
    data = store.read(image.descriptor)
    old, new = b"image.layer.v1", b"image.layer.nondistributable.v1"
    foreign = store.put(data.replace(old, new), media_type=image.descriptor.media_type)
    fake.manifests["1"] = (foreign.media_type, store.read(foreign))
    with pytest.raises(ImageError, match="may not be distributed"):
        puller(other, fake).run()
    with pytest.raises(ImageError, match="may not be distributed"):
        pusher(store, fake).run(foreign)


def test_a_broken_push_goes_on_where_it_stopped(fake: FakeRegistry, store: ContentStore) -> None:
    image = make_image(store, BIG)
    fake.faults.drop = [100_000, 0]
    pusher(store, fake).run(image.descriptor)
    layer = image.manifest.layers[0]
    assert fake.blobs[layer.digest] == store.path(layer.digest).read_bytes()
    assert fake.manifests["1"][1] == store.read(image.descriptor)
    starts = [int(h["content-range"].partition("-")[0]) for h in fake.sent("PATCH")]
    assert starts[:3] == [0, 100_000, 100_000]


def test_a_lost_upload_begins_anew(fake: FakeRegistry, store: ContentStore) -> None:
    image = make_image(store, BIG)
    fake.faults.drop = [0]
    pusher(store, fake).run(image.descriptor)
    assert image.manifest.layers[0].digest in fake.blobs


def test_a_push_that_never_works_ends(fake: FakeRegistry, store: ContentStore) -> None:
    image = make_image(store, BIG)
    fake.faults.drop = [0] * 100
    with pytest.raises(Interrupted):
        pusher(store, fake).run(image.descriptor)
    assert len(fake.sent("PATCH")) < 10 and not fake.manifests


def test_the_registry_may_want_larger_chunks(fake: FakeRegistry, store: ContentStore) -> None:
    image = make_image(store, BIG)
    fake.faults.headers = {"OCI_Chunk_Min_Length": "1500000"}
    pusher(store, fake, chunk=1000).run(image.descriptor)
    assert len(fake.sent("PATCH")) == 2


def test_an_upload_is_not_sent_elsewhere_with_our_login(
    fake: FakeRegistry, store: ContentStore
) -> None:
    image = make_image(store, BIG)
    fake.faults.challenge = "Basic realm=x"
    credentials.save(fake.host, Credentials(user="me", password="secret"))
    with FakeRegistry() as thief:
        thief.uploads["1"] = thief.uploads["2"] = bytearray()
        fake.faults.headers = {"Location": f"http://{thief.host}/v2/a/blobs/uploads/1"}
        with pytest.raises(InnError):
            pusher(store, fake).run(image.descriptor)
        assert not any("authorization" in h for _, _, h in thief.requests)


def test_errors_are_fit_for_a_terminal(fake: FakeRegistry, store: ContentStore) -> None:
    image = make_image(store, tar_of([("file", "f", b"1")]))
    path = store.path(image.manifest.layers[0].digest)
    path.chmod(0o644)
    path.write_bytes(b"x" * image.manifest.layers[0].size)
    with pytest.raises(DownloadError, match="DIGEST_INVALID") as caught:
        pusher(store, fake).run(image.descriptor)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ('Basic realm="x"', [("basic", {"realm": "x"})]),
        ("Bearer realm=a,service=b", [("bearer", {"realm": "a", "service": "b"})]),
        ('Bearer realm="https://h.example/t",service="s p",scope="repository:a/b:pull,push"',
         [("bearer", {"realm": "https://h.example/t", "service": "s p",
                      "scope": "repository:a/b:pull,push"})]),
        (r'Bearer realm="a\"b\\c"', [("bearer", {"realm": 'a"b\\c'})]),
        ('Negotiate abc==, Basic realm=x', [("negotiate", {}), ("basic", {"realm": "x"})]),
        ("Negotiate, Basic realm=x", [("negotiate", {}), ("basic", {"realm": "x"})]),
        ('BEARER Realm="a" , error="b"', [("bearer", {"realm": "a", "error": "b"})]),
        ("", []), (",,,", []), ("Bearer", [("bearer", {})]), ('Bearer realm="open', [("bearer", {})]),
    ],
)  # fmt: skip
def test_challenges(header: str, found: list[tuple[str, dict[str, str]]]) -> None:
    assert [(c.scheme, c.parameters) for c in parse_challenges([header])][: len(found)] == found


@given(st.lists(st.text(alphabet='aB ,="\\\t=~/é', max_size=60) | st.text(max_size=40), max_size=3))
@fuzz(400)
def test_any_header_is_read_or_ignored(headers: list[str]) -> None:
    for challenge in parse_challenges(headers):
        assert challenge.scheme == challenge.scheme.lower() and challenge.scheme


def test_a_long_header_ends() -> None:
    assert len(parse_challenges(["a b=c, " * 100_000])) <= 16
    assert parse_challenges(['a x="' + "\\" * 200_000])[0].parameters == {}


@pytest.mark.parametrize(
    "challenge",
    ['Bearer realm="http://login.example/t"', 'Bearer realm="file:///etc/passwd"', "Bearer",
     'Bearer realm="//x"', "Magic realm=x", 'Bearer realm="https://"'],
)  # fmt: skip
def test_challenges_that_are_not_answered(
    challenge: str, fake: FakeRegistry, store: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.faults.challenge = challenge
    registry = Registry(fake.host)
    monkeypatch.setattr(registry, "_find_base", lambda: f"http://{fake.host}")
    registry.url("")
    registry._base = "http://" + fake.host  # plain http by loopback: a realm elsewhere needs https
    where = Reference.parse(f"{fake.host}/a:1")
    with pytest.raises(DownloadError):
        Puller(store, registry, where, wait=lambda seconds: None).run()
    assert len(fake.requests) <= 4


def test_logins_of_podman_and_docker_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def auth(user: str) -> dict[str, str]:
        return {"auth": base64.b64encode(f"{user}:p:w".encode()).decode()}

    docker, podman = tmp_path / "docker/config.json", tmp_path / "run/containers/auth.json"
    for path in (docker, podman):
        path.parent.mkdir(parents=True)
    assert credentials.find("h.example") is None
    docker.write_text(json.dumps({"auths": {"https://h.example/v1/": auth("docker")}, "other": 1}))
    assert credentials.find("h.example", "a/b") == Credentials(user="docker", password="p:w")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    podman.write_text(json.dumps({"auths": {
        "h.example": auth("host"), "h.example/a": auth("team"), "h.example/a/b": auth("app"),
        "i.example": {"identitytoken": "t"}, "empty.example": {},
    }}))  # fmt: skip
    users = {r: credentials.find("h.example", r) for r in ("", "x", "a/x", "a/b", "a/b/c", "ab")}
    assert {r: c.user for r, c in users.items() if c} == {
        "": "host", "x": "host", "a/x": "team", "a/b": "app", "a/b/c": "app", "ab": "host",
    }  # fmt: skip
    assert credentials.find("i.example") == Credentials(identity_token="t")
    assert credentials.find("empty.example") is None
    credentials.save("h.example", Credentials(user="own", password="x"))
    assert credentials.find("h.example") == Credentials(user="own", password="x")
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(docker))
    credentials.save("n.example", Credentials(user="n", password="x"))
    assert json.loads(docker.read_text())["other"] == 1, "what else is in a file stays"
    assert credentials.find("h.example").user == "docker"  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="colon"):
        credentials.save("x.example", Credentials(user="a:b", password="x"))


def test_a_credential_helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "bin/docker-credential-test"
    helper.parent.mkdir()
    helper.write_text('#!/bin/sh\nread h\necho "{\\"Username\\":\\"u\\",\\"Secret\\":\\"$h!\\"}"\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(helper.parent), prepend=os.pathsep)
    (tmp_path / "docker").mkdir()
    config = tmp_path / "docker/config.json"
    config.write_text('{"credHelpers": {"h.example": "test"}}')
    assert credentials.find("h.example") == Credentials(user="u", password="h.example!")
    assert credentials.find("x.example") is None
    config.write_text('{"credsStore": "../../bin/sh"}')
    with pytest.raises(UsageError):
        credentials.find("x.example")
    config.write_text('{"credsStore": "absent"}')
    assert credentials.find("x.example") is None


@pytest.mark.parametrize(
    "text",
    ["[]", "{", '{"auths": [1]}', '{"auths": {"h.example": {"auth": "!"}}}', "[" * 100_000,
     '{"auths": {"h.example": {"auth": "/w=="}}}', " " * (2 << 20) + "{}"],
)  # fmt: skip
def test_damaged_login_files(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "auth.json").write_text(text)
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    with pytest.raises(ImageError, match="is damaged"):
        credentials.find("h.example")
