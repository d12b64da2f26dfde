"""Push, pull and login against Debian's registry on loopback, with skopeo as the other client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from innkeeper.base.errors import DownloadError, NotFoundError
from innkeeper.images.oci import credentials
from innkeeper.images.oci.content import ContentStore
from innkeeper.images.oci.credentials import Credentials
from innkeeper.images.oci.documents import INDEX, Descriptor, Index, encode
from innkeeper.images.oci.image import Image, find_image
from innkeeper.images.oci.platforms import parse_platform
from innkeeper.images.oci.pull import Puller, pull
from innkeeper.images.oci.push import Pusher, push
from innkeeper.images.oci.reference import Reference
from innkeeper.images.oci.registry import Registry
from innkeeper.images.transport import Interrupted

from .kit import make_image, tar_of
from .real_registry import TokenServer, certificate, htpasswd, registry
from .test_archives import skopeo

BIG = tar_of([("file", "big", os.urandom(3_000_000))])
SMALL = tar_of([("file", "small", b"s")])


@pytest.fixture(autouse=True)
def _own_logins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    for name in ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "INN_REGISTRY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture
def other(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path / "other")


def reference(host: str, rest: str) -> Reference:
    return Reference.parse(f"{host}/{rest}")


def test_there_and_back(host: str, store: ContentStore, other: ContentStore) -> None:
    image = make_image(store, BIG, SMALL, config={"Cmd": ["sh"]})
    digest = push(store, image.descriptor, reference(host, "a/b:1"))
    name, target = pull(other, reference(host, "a/b:1"))
    assert (name, target.digest) == (f"{host}/a/b:1", digest)
    found = find_image(other, name)
    assert found.missing() == [] and found.manifest == image.manifest
    name, _ = pull(other, reference(host, f"a/b@{digest}"))
    assert name == f"{host}/a/b@{digest}" and find_image(other, name).id == image.id
    with pytest.raises(NotFoundError, match="does not have image"):
        pull(other, reference(host, "a/b:none"))
    with pytest.raises(NotFoundError):
        pull(other, reference(host, "a/none:1"))


def test_large_contents_go_in_chunks(host: str, store: ContentStore, other: ContentStore) -> None:
    image = make_image(store, BIG)
    where = reference(host, "chunks:1")
    pusher = Pusher(store, Registry(host), where, chunk_bytes=1 << 20)
    pusher.run(image.descriptor)
    assert set(pusher.uploaded) == {
        d.digest for d in (image.manifest.config, *image.manifest.layers)
    }
    pull(other, where)
    again = Pusher(store, Registry(host), where)
    again.run(image.descriptor)
    assert again.uploaded == [], "what is there already is not sent"


def test_contents_of_another_repository_are_mounted(host: str, store: ContentStore) -> None:
    image = make_image(store, BIG, name=f"{host}/source:1")
    push(store, image.descriptor, reference(host, "source:1"))
    pusher = Pusher(store, Registry(host), reference(host, "target:1"))
    pusher.run(image.descriptor)
    assert not pusher.uploaded and len(pusher.mounted) == 2


def index_of(store: ContentStore, *images: Image) -> Descriptor:
    entries = [
        Descriptor(i.descriptor.media_type, i.descriptor.digest, i.descriptor.size,
                   platform=i.platform) for i in images
    ]  # fmt: skip
    return store.put(
        encode(Index(schema_version=2, media_type=INDEX, manifests=entries)), media_type=INDEX
    )


def test_an_index_by_platform(host: str, store: ContentStore, other: ContentStore) -> None:
    amd64 = make_image(store, SMALL, arch="amd64", tag=False)
    riscv64 = make_image(store, BIG, arch="riscv64", tag=False)
    where = reference(host, "multi:1")
    push(store, index_of(store, amd64, riscv64), where)
    wanted = parse_platform("linux/riscv64")
    name, _ = pull(other, where, platform=wanted)
    assert find_image(other, name, wanted).id == riscv64.id
    assert not other.has(amd64.manifest.layers[0])
    with pytest.raises(NotFoundError, match="does not exist for linux/arm64") as caught:
        pull(other, where, platform=parse_platform("arm64"))
    assert "linux/amd64, linux/riscv64" in caught.value.why
    with pytest.raises(NotFoundError, match="not here as a whole"):
        push(other, other.lookup(name) or amd64.descriptor, reference(host, "again:1"))
    pull(other, where, every=True)
    push(other, other.lookup(name) or amd64.descriptor, reference(host, "again:1"))
    with pytest.raises(NotFoundError, match="for linux/arm64"):
        pull(
            other,
            reference(host, f"multi@{amd64.descriptor.digest}"),
            platform=parse_platform("arm64"),
        )


def test_skopeo_agrees(host: str, store: ContentStore, tmp_path: Path) -> None:
    image = make_image(store, BIG, SMALL, config={"Cmd": ["sh"]})
    digest = push(store, image.descriptor, reference(host, "sk/ours:1"))
    found = json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{host}/sk/ours:1"))
    assert found["Digest"] == digest
    assert found["Layers"] == [layer.digest for layer in image.manifest.layers]
    skopeo(
        "copy", "--src-tls-verify=false", f"docker://{host}/sk/ours:1", f"oci:{tmp_path / 'l'}:1"
    )
    skopeo("copy", "--dest-tls-verify=false", "--format", "v2s2", f"oci:{tmp_path / 'l'}:1",
           f"docker://{host}/sk/theirs:2")  # fmt: skip
    other = ContentStore(tmp_path / "other")
    name, target = pull(other, reference(host, "sk/theirs:2"))
    assert "docker" in target.media_type
    assert find_image(other, name).config.diff_ids() == image.config.diff_ids()


def test_basic_login(store: ContentStore, other: ContentStore, tmp_path: Path) -> None:
    image = make_image(store, SMALL)
    auth = htpasswd(tmp_path / "r", "me", "pass:word")
    with registry(tmp_path / "r", **auth) as host:
        where = reference(host, "private:1")
        with pytest.raises(DownloadError, match="401") as caught:
            push(store, image.descriptor, where)
        assert caught.value.fix == f"inn image login {host}"
        with pytest.raises(DownloadError, match="401"):
            Registry(host).check_login(Credentials(user="me", password="wrong"))
        given = Credentials(user="me", password="pass:word")
        Registry(host).check_login(given)
        path = credentials.save(host, given)
        assert path.stat().st_mode & 0o777 == 0o600
        push(store, image.descriptor, where)
        pull(other, where)
        told = ["inspect", "--tls-verify=false", "--authfile", path, f"docker://{host}/private:1"]
        assert json.loads(skopeo(*told))["Digest"] == image.descriptor.digest
        credentials.forget(host)
        with pytest.raises(DownloadError, match="401"):
            pull(other, where)
        with pytest.raises(NotFoundError, match="nobody is logged in"):
            credentials.forget(host)


def test_token_login(store: ContentStore, other: ContentStore, tmp_path: Path) -> None:
    image = make_image(store, SMALL)
    with (
        TokenServer(tmp_path / "t", {"me": "secret"}) as server,
        registry(tmp_path / "r", **server.config()) as host,
    ):
        where = reference(host, "team/app:1")
        with pytest.raises(DownloadError, match=r"401|denied"):
            push(store, image.descriptor, where)
        with pytest.raises(DownloadError, match="to log in"):
            Registry(host).check_login(Credentials(user="me", password="wrong"))
        credentials.save(host, Credentials(user="me", password="secret"))
        server.asked.clear()
        push(store, image.descriptor, where)
        user, query = server.asked[-1]
        assert user == "me" and query["service"] == ["test service"]
        assert "repository:team/app:pull,push" in query["scope"]
        assert len(server.asked) == 1, "one token serves a whole push"
        credentials.forget(host)
        pull(other, where)
        assert server.asked[-1][0] == "" and server.asked[-1][1]["scope"] == [
            "repository:team/app:pull"
        ]


def test_tls(
    store: ContentStore, other: ContentStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, cert = certificate(tmp_path / "c")
    image = make_image(store, SMALL)
    http = {"tls": {"certificate": str(cert), "key": str(key)}}
    with registry(tmp_path / "r", http=http) as host:
        where = reference(host, "tls:1")
        push(store, image.descriptor, where, insecure=True)
        # Loopback may be spoken to without TLS, but not when there is one that is not trusted.
        with pytest.raises(DownloadError, match="certificate") as caught:
            pull(other, where)
        assert "SSL_CERT_FILE" in caught.value.fix
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
        pull(other, where)


def test_nobody_listens(other: ContentStore) -> None:
    where, registry = reference("127.0.0.1:1", "a:1"), Registry("127.0.0.1:1")
    with pytest.raises(Interrupted, match="cannot reach"):
        Puller(other, registry, where, wait=lambda seconds: None).run()


def test_the_command_line(host: str, tmp_path: Path) -> None:
    def inn(*words: str, status: int = 0, **more: str) -> str:
        environment = {**os.environ, "XDG_DATA_HOME": str(tmp_path / "cli"), **more}
        done = subprocess.run(
            [sys.executable, "-m", "innkeeper", "image", *words], env=environment, text=True,
            capture_output=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == status, done.stderr
        return done.stdout if status == 0 else done.stderr

    (tmp_path / "r.tar").write_bytes(SMALL)
    inn("import", str(tmp_path / "r.tar"), "mine:1", "--cmd", "sh")
    digest = inn("push", "mine:1", f"{host}/cli/mine:1").strip().partition("@")[2]
    inn("rm", "mine:1")
    inn("prune")
    assert json.loads(inn("ls", "-o", "json")) == []
    assert "which registry" in inn("pull", "cli/mine:1", status=2)
    assert inn("pull", "cli/mine:1", INN_REGISTRY=host).strip() == f"{host}/cli/mine:1@{digest}"
    (row,) = json.loads(inn("ls", "-o", "json"))
    assert (row["name"], row["kind"], row["digest"]) == (f"{host}/cli/mine:1", "oci", digest)
    assert json.loads(inn("inspect", f"{host}/cli/mine:1"))["config"]["config"] == {"Cmd": ["sh"]}
    assert "does not have image" in inn("pull", f"{host}/cli/none", status=127)
