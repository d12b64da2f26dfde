"""Layouts and docker archives, there and back, and as other tools write and read them."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from innkeeper.base.errors import ImageError, IntegrityError, NotFoundError, UsageError
from innkeeper.images.oci.archives import load, save
from innkeeper.images.oci.content import ContentStore
from innkeeper.images.oci.documents import INDEX, Descriptor, Index, Platform, encode
from innkeeper.images.oci.image import find_image
from innkeeper.images.oci.imports import import_rootfs
from innkeeper.images.oci.platforms import parse_platform

from .kit import Image, listing, make_image, tar_of

BASE = tar_of([("dir", "bin", 0o755), ("file", "bin/sh", b"#!"), ("link", "sh", "bin/sh")])
MORE = tar_of([("file", "more", b"m"), ("gone", "sh", None)])
AMD64 = Platform("amd64", "linux")


def skopeo(*arguments: str | Path) -> str:
    if shutil.which("skopeo") is None:
        pytest.skip("needs skopeo (Debian: skopeo)")
    command = ["skopeo", "--insecure-policy", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def other(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path / "other")


@pytest.mark.parametrize("kind", ["oci", "oci-dir", "docker"])
def test_there_and_back(
    kind: str, store: ContentStore, other: ContentStore, tmp_path: Path
) -> None:
    image = make_image(store, BASE, MORE, name="h.example/a/b:1", config={"Cmd": ["sh"]})
    target = tmp_path / "saved"
    save(store, ["h.example/a/b:1"], target=target, kind=kind)
    assert load(other, target) == ["h.example/a/b:1"]
    found = find_image(other, "h.example/a/b:1")
    assert found.id == image.id and found.config == image.config
    if kind != "docker":
        assert found.descriptor.digest == image.descriptor.digest
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".saved")]


@pytest.mark.parametrize("kind", ["oci", "docker"])
def test_several_images_share_layers(
    kind: str, store: ContentStore, other: ContentStore, tmp_path: Path
) -> None:
    make_image(store, BASE, name="one:latest")
    make_image(store, BASE, MORE, name="two:x")
    save(store, ["one", "two:x"], target=tmp_path / "saved.tar", kind=kind)
    assert load(other, tmp_path / "saved.tar") == ["one:latest", "two:x"]
    with tarfile.open(tmp_path / "saved.tar") as tar:
        assert len(tar.getnames()) == len(set(tar.getnames()))


def multi(store: ContentStore) -> tuple[Image, Image]:
    images = [make_image(store, BASE, arch=arch, tag=False) for arch in ("amd64", "riscv64")]
    entries = [
        Descriptor(i.descriptor.media_type, i.descriptor.digest, i.descriptor.size,
                   platform=i.platform) for i in images
    ]  # fmt: skip
    index = Index(schema_version=2, media_type=INDEX, manifests=entries)
    store.tag("multi:latest", store.put(encode(index), media_type=INDEX))
    return images[0], images[1]


def test_an_index_travels_whole_or_by_platform(
    store: ContentStore, other: ContentStore, tmp_path: Path
) -> None:
    _, riscv64 = multi(store)
    save(store, ["multi"], target=tmp_path / "all", kind="oci-dir")
    load(other, tmp_path / "all")
    assert other.lookup("multi:latest") == store.lookup("multi:latest")
    wanted = parse_platform("riscv64")
    save(store, ["multi"], target=tmp_path / "one.tar", kind="docker", platform=wanted)
    load(other, tmp_path / "one.tar")
    assert find_image(other, "multi", wanted).id == riscv64.id


def test_names_that_a_layout_does_not_say(
    store: ContentStore, other: ContentStore, tmp_path: Path
) -> None:
    image = make_image(store, BASE, name="one:latest")
    target = tmp_path / "My_Layout"
    save(store, ["one"], target=target, kind="oci-dir")
    index = json.loads((target / "index.json").read_text())
    index["manifests"][0]["annotations"] = {"org.opencontainers.image.ref.name": "v7"}
    (target / "index.json").write_text(json.dumps(index))
    assert load(other, target) == ["my-layout:v7"]
    assert load(other, target, name="given") == ["given:v7"]
    del index["manifests"][0]["annotations"]
    (target / "index.json").write_text(json.dumps(index))
    assert load(other, target, name="h.example/given:t") == ["h.example/given:t"]
    assert find_image(other, "given:v7").id == image.id


@pytest.mark.parametrize("packed", ["gz", "xz"])
def test_compressed_archives(
    packed: str, store: ContentStore, other: ContentStore, tmp_path: Path
) -> None:
    import gzip
    import lzma

    make_image(store, BASE)
    save(store, ["one"], target=tmp_path / "a.tar", kind="docker")
    data = (tmp_path / "a.tar").read_bytes()
    squeeze = gzip.compress if packed == "gz" else lzma.compress
    (tmp_path / f"a.tar.{packed}").write_bytes(squeeze(data))
    assert load(other, tmp_path / f"a.tar.{packed}") == ["one:latest"]


def old_archive(config: bytes, manifest: object, **members: bytes | str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        files: dict[str, bytes | str] = {"c.json": config, **members}
        files["manifest.json"] = json.dumps(manifest).encode()
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            if isinstance(data, str):
                info.type, info.linkname = tarfile.SYMTYPE, data
                tar.addfile(info)
            else:
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def config_of(*diff_ids: str) -> bytes:
    rootfs = {"type": "layers", "diff_ids": list(diff_ids)}
    return json.dumps({"architecture": "amd64", "os": "linux", "rootfs": rootfs}).encode()


def test_an_old_archive_with_links_for_layers(store: ContentStore, tmp_path: Path) -> None:
    import hashlib

    digest = "sha256:" + hashlib.sha256(BASE).hexdigest()
    item = {"Config": "c.json", "RepoTags": None, "Layers": ["a/layer.tar", "b/layer.tar"]}
    members = {"a/layer.tar": BASE, "b/layer.tar": "../a/layer.tar"}
    (tmp_path / "old.tar").write_bytes(old_archive(config_of(digest, digest), [item], **members))
    assert load(store, tmp_path / "old.tar") == ["old:latest"]
    assert len(find_image(store, "old").manifest.layers) == 2


ZERO = "sha256:" + "0" * 64
BROKEN = {
    "another layer": (config_of(ZERO), [{"Config": "c.json", "Layers": ["l"]}], IntegrityError),
    "a missing layer": (config_of(ZERO), [{"Config": "c.json", "Layers": ["x"]}], NotFoundError),
    "a missing config": (config_of(), [{"Config": "x", "Layers": []}], NotFoundError),
    "too few layers": (config_of(ZERO), [{"Config": "c.json", "Layers": []}], ImageError),
    "a path out": (config_of(ZERO), [{"Config": "c.json", "Layers": ["../../l"]}], ImageError),
    "no images": (config_of(), [], ImageError),
    "not a list": (config_of(), {}, ImageError),
    "a bad name": (config_of(), [{"Config": "c.json", "Layers": [], "RepoTags": ["A B"]}], UsageError),
    "a loop of links": (config_of(ZERO), [{"Config": "c.json", "Layers": ["m"]}], NotFoundError),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken_archives(case: str, store: ContentStore, tmp_path: Path) -> None:
    config, manifest, error = BROKEN[case]
    data = old_archive(config, manifest, l=BASE, m="n", n="m")
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(error):
        load(store, tmp_path / "a.tar")
    assert store.names() == [] and not list((store.root / "tmp").iterdir())


def test_broken_layouts(store: ContentStore, other: ContentStore, tmp_path: Path) -> None:
    image = make_image(store, BASE)
    target = tmp_path / "l"
    save(store, ["one"], target=target, kind="oci-dir")
    with pytest.raises(UsageError, match="is there already"):
        save(store, ["one"], target=target, kind="oci-dir")
    blob = target / "blobs" / image.manifest.layers[0].digest.replace(":", "/")
    data = blob.read_bytes()
    blob.write_bytes(data[:-1] + b"x")
    with pytest.raises(IntegrityError):
        load(other, target)
    blob.unlink()
    with pytest.raises(NotFoundError):
        load(other, target)
    blob.symlink_to("/etc/hostname")
    with pytest.raises(ImageError):
        load(other, target)
    for text in ("", "{}", '{"imageLayoutVersion": "9"}', "[" * 10000):
        (target / "oci-layout").write_text(text)
        with pytest.raises(ImageError):
            load(other, target)
    (target / "oci-layout").unlink()
    with pytest.raises(ImageError, match="neither an OCI layout"):
        load(other, target)
    with pytest.raises(NotFoundError):
        load(other, tmp_path / "none")
    assert other.names() == []


def test_skopeo_reads_what_we_save(store: ContentStore, tmp_path: Path) -> None:
    image = make_image(store, BASE, MORE, name="h.example/a/b:1", config={"Cmd": ["sh"]})
    for kind, form in (("oci", "oci-archive"), ("docker", "docker-archive"), ("oci-dir", "oci")):
        if kind == "oci" and os.geteuid() != 0:
            continue  # skopeo unpacks such an archive first, and gives root its files
        target = tmp_path / f"saved-{kind}"
        save(store, [image.name], target=target, kind=kind)
        found = json.loads(skopeo("inspect", "--config", f"{form}:{target}"))
        assert found["config"]["Cmd"] == ["sh"] and found["architecture"] == "amd64"
        skopeo("copy", f"{form}:{target}", f"dir:{tmp_path / ('copy-' + kind)}")


def test_we_read_what_skopeo_writes(
    store: ContentStore, other: ContentStore, tmp_path: Path
) -> None:
    image = make_image(store, BASE, MORE, name="h.example/a/b:1", config={"Cmd": ["sh"]})
    save(store, [image.name], target=tmp_path / "a", kind="oci-dir")
    for number, to in enumerate(("oci-archive", "docker-archive", "oci")):
        target = tmp_path / f"to-{number}"
        skopeo("copy", f"oci:{tmp_path / 'a'}:1", f"{to}:{target}:h.example/copied:{number}")
        assert load(other, target) == [f"h.example/copied:{number}"]
        found = find_image(other, f"h.example/copied:{number}")
        assert found.config.execution.cmd == ["sh"]
        assert found.config.diff_ids() == image.config.diff_ids()


def test_importing_root_file_systems(store: ContentStore, tmp_path: Path) -> None:
    (tmp_path / "r.tar").write_bytes(
        tar_of([("file", "./etc/hostname", b"x"), ("link", "l", "etc")])
    )
    image = import_rootfs(store, tmp_path / "r.tar", "r", platform=AMD64, config={"Cmd": ["sh"]})
    assert image.name == "r:latest" and image.config.execution.cmd == ["sh"]
    folder = tmp_path / "folder"
    (folder / "etc").mkdir(parents=True)
    (folder / "etc/x").write_text("1")
    (folder / "etc/hard").hardlink_to(folder / "etc/x")
    riscv64 = Platform("riscv64", "linux")
    import_rootfs(store, folder, "r", platform=riscv64)
    assert find_image(store, "r", AMD64).id == image.id
    found = find_image(store, "r", riscv64)
    from innkeeper.images.oci.rootfs import prepare_rootfs

    made = prepare_rootfs(found, tmp_path / "box", rootless=True, overlay=False)
    assert listing(made.path) == {"etc": "/", "etc/hard": "1", "etc/x": "1"}
    assert (made.path / "etc/x").stat().st_nlink == 2
    (tmp_path / "bad.tar").write_bytes(tar_of([("gone", "etc", None)]))
    with pytest.raises(ImageError, match=r"\.wh\."):
        import_rootfs(store, tmp_path / "bad.tar", "bad", platform=AMD64)
    (tmp_path / "out.tar").write_bytes(tar_of([("file", "../x", b"")]))
    with pytest.raises(ImageError, match="leads out"):
        import_rootfs(store, tmp_path / "out.tar", "bad", platform=AMD64)
