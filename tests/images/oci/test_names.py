"""References, digests, platforms and documents: what is taken, what is refused, and why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.base.errors import ImageError, InnError, UsageError
from innkeeper.images.oci.digest import Digest
from innkeeper.images.oci.documents import (
    Config,
    Descriptor,
    Index,
    Manifest,
    Platform,
    decode,
    decode_manifest,
)
from innkeeper.images.oci.platforms import choose, describe, parse_platform
from innkeeper.images.oci.reference import Reference, default_registry, with_registry

from ..fuzzing import fuzz

A = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "digest"),
    [
        ("busybox", None, "busybox", None, None),
        ("busybox:1.0", None, "busybox", "1.0", None),
        ("a/b/c", None, "a/b/c", None, None),
        ("host.example/a", "host.example", "a", None, None),
        ("localhost/a:x", "localhost", "a", "x", None),
        ("localhost:5000/a/b:x", "localhost:5000", "a/b", "x", None),
        ("[::1]:5000/a", "[::1]:5000", "a", None, None),
        (f"h.example:1/a_b/c--d@{A}", "h.example:1", "a_b/c--d", None, A),
        (f"a:t@{A}", None, "a", "t", A),
    ],
)
def test_references(
    text: str, registry: str | None, repository: str, tag: str | None, digest: str | None
) -> None:
    found = Reference.parse(text)
    assert (found.registry, found.repository, found.tag, found.digest) == (
        registry, repository, tag, digest,
    )  # fmt: skip
    assert Reference.parse(str(found)) == Reference.parse(str(Reference.parse(str(found))))


@pytest.mark.parametrize(
    "text",
    ["", ":", "a:", "a@", "A", "a//b", "/a", "a/", "a b", "a:b:c", "-a", "a:" + "t" * 129,
     "a@sha256:short", "a@md5:" + "a" * 32, "../a", "a/../b", "h.example:x/a", "x" * 256,
     "a" * 2000, "http://h.example/a", "a\n", "a@" + A.upper()],
)  # fmt: skip
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(UsageError):
        Reference.parse(text)


@given(st.text(max_size=80) | st.from_regex(r"[a-z.:/@\[\]0-9_-]{0,60}", fullmatch=True))
@fuzz(300)
def test_any_text_is_a_reference_or_refused(text: str) -> None:
    try:
        found = Reference.parse(text)
    except UsageError:
        return
    assert Reference.parse(str(found)).name == found.name
    assert ".." not in found.repository and "\n" not in str(found)


def test_a_short_name_needs_a_registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("INN_REGISTRY", raising=False)
    monkeypatch.setattr("innkeeper.images.oci.reference._FIELD_CONFIGS", ("containers/r.conf",))
    with pytest.raises(UsageError, match="which registry") as caught:
        with_registry(Reference.parse("busybox"))
    assert "INN_REGISTRY" in caught.value.fix and str(tmp_path) in caught.value.fix
    (tmp_path / "containers").mkdir()
    (tmp_path / "containers/r.conf").write_text('unqualified-search-registries = ["f.example"]')
    assert default_registry() == "f.example"
    (tmp_path / "innkeeper").mkdir()
    (tmp_path / "innkeeper/registries.toml").write_text('default = "own.example:5000"')
    assert str(with_registry(Reference.parse("a/b"))) == "own.example:5000/a/b:latest"
    monkeypatch.setenv("INN_REGISTRY", "env.example")
    assert default_registry() == "env.example"
    monkeypatch.setenv("INN_REGISTRY", "bad name/x")
    with pytest.raises(UsageError):
        default_registry()
    monkeypatch.delenv("INN_REGISTRY")
    (tmp_path / "innkeeper/registries.toml").write_text("default = [")
    with pytest.raises(UsageError, match="cannot be read"):
        default_registry()


def test_digests() -> None:
    assert Digest.of(b"", "sha512").algorithm == "sha512"
    for text in ("", "sha256", "sha256:", A[:-1], A + "a", A.upper(), "md5:" + "a" * 32, A + "\n"):
        with pytest.raises(ImageError):
            Digest(text)


def entry(arch: str, variant: str = "", os: str = "linux") -> Descriptor:
    manifest = "application/vnd.oci.image.manifest.v1+json"
    return Descriptor(manifest, A, 1, platform=Platform(arch, os, variant))


@pytest.mark.parametrize(
    ("wanted", "entries", "chosen"),
    [
        ("linux/amd64", [entry("arm64"), entry("amd64"), entry("amd64")], 1),
        ("amd64", [entry("amd64", os="windows"), entry("amd64")], 1),
        ("linux/arm/v7", [entry("arm", "v5"), entry("arm", "v6"), entry("arm", "v8")], 1),
        ("linux/arm64", [entry("arm64")], 0),
        ("linux/aarch64", [entry("arm"), entry("arm64", "v8")], 1),
        ("linux/x86_64", [entry("amd64", "v3"), entry("amd64", "v1")], 1),
        ("linux/amd64/v2", [entry("amd64"), entry("amd64", "v2"), entry("amd64", "v3")], 1),
        ("linux/riscv64", [entry("amd64"), entry("arm64")], None),
    ],
)
def test_the_best_of_an_index(wanted: str, entries: list[Descriptor], chosen: int | None) -> None:
    found = choose(entries, parse_platform(wanted))
    assert found is (None if chosen is None else entries[chosen])


@pytest.mark.parametrize("text", ["", "/", "a/b/c/d", "linux/", "linux/../x", "x" * 70])
def test_what_is_no_platform(text: str) -> None:
    with pytest.raises(UsageError):
        parse_platform(text)


def test_platforms_are_described() -> None:
    assert describe(parse_platform("armhf")) == "linux/arm/v7"
    assert describe(None) == "an unknown platform"


def doc(**fields: object) -> bytes:
    return json.dumps({"schemaVersion": 2, **fields}).encode()


PART = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": A, "size": 1}


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{}", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"a":' * 50_000,
        doc(), doc(layers=[PART]), doc(config=PART), doc(config=PART, layers=PART),
        doc(config=PART, layers=[PART] * 128), doc(manifests=[PART] * 1001), doc(manifests="x"),
        doc(config=PART, layers=[], manifests=[]),
        doc(config=PART, layers=[], mediaType="application/vnd.oci.image.index.v1+json"),
        doc(manifests=[], mediaType="application/vnd.oci.image.manifest.v1+json"),
        doc(manifests=[], mediaType="text/plain"), doc(manifests=[], mediaType=7),
        doc(config=PART | {"size": -1}, layers=[]), doc(config=PART | {"size": 1 << 70}, layers=[]),
        doc(config=PART | {"size": "1"}, layers=[]), doc(config=PART | {"size": True}, layers=[]),
        doc(config=PART | {"digest": "../../x"}, layers=[]),
        doc(config=PART | {"mediaType": "a b"}, layers=[]),
        doc(manifests=[PART | {"platform": {"os": "linux"}}]),
        doc(schemaVersion=1, config=PART, layers=[]), b" " * (5 << 20),
    ],
)  # fmt: skip
def test_manifests_that_are_none(data: bytes) -> None:
    with pytest.raises(ImageError):
        decode_manifest(data, what="the manifest")


def test_manifests_and_indices_by_shape_or_by_name() -> None:
    assert isinstance(decode_manifest(doc(config=PART, layers=[PART]), what="x"), Manifest)
    index = decode_manifest(doc(manifests=[PART | {"unknown": {"deep": [1]}}]), what="x")
    assert isinstance(index, Index) and index.manifests[0].digest == A
    with pytest.raises(ImageError, match="neither"):
        decode_manifest(doc(manifests=[]), what="x", media_type="text/html")


def test_configurations_as_docker_writes_them() -> None:
    data = json.dumps({
        "architecture": "amd64", "os": "linux", "container": "x", "docker_version": "1",
        "config": {"Env": None, "Cmd": ["sh"], "Volumes": None, "Labels": None, "Tty": False,
                   "OnBuild": None, "ExposedPorts": {"80/tcp": {}}},
        "rootfs": {"type": "layers", "diff_ids": [A]}, "history": [{"empty_layer": True}],
    }).encode()  # fmt: skip
    found = decode(data, Config, what="x")
    assert found.execution.cmd == ["sh"] and found.execution.env is None
    assert found.diff_ids() == [A]
    for broken in ({"rootfs": {"type": "zip"}}, {"rootfs": {"diff_ids": ["x"]}}):
        with pytest.raises(ImageError):
            decode(json.dumps(broken).encode(), Config, what="x").diff_ids()


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.just(A) | st.floats(),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["schemaVersion", "config", "layers", "manifests", "mediaType", "digest",
                         "size", "platform", "os", "architecture", "rootfs", "diff_ids", "Env"]),
        inner, max_size=5,
    ),
    max_leaves=20,
)  # fmt: skip


@given(_json)
@fuzz(150)
def test_documents_only_fail_with_our_errors(value: object) -> None:
    data = json.dumps(value).encode()
    for read in (
        lambda: decode_manifest(data, what="x"),
        lambda: decode(data, Config, what="x").diff_ids(),
    ):
        try:
            read()
        except InnError as error:
            assert error.what


@given(st.binary(max_size=200))
@fuzz(200)
def test_noise_is_no_document(data: bytes) -> None:
    with pytest.raises(ImageError):
        decode_manifest(data, what="x")
