"""Layers that are made here, in each compression, and read back."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from innkeeper.base.errors import ImageError, UsageError
from innkeeper.images.oci.compress import MEDIA_TYPES, Compressed, compressor
from innkeeper.images.oci.content import ContentStore
from innkeeper.images.oci.digest import Digest
from innkeeper.images.oci.imports import import_rootfs
from innkeeper.images.oci.platforms import host_platform
from innkeeper.images.oci.rootfs import prepare_rootfs

MAGIC = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd", "none": b""}


@pytest.mark.parametrize("compression", MEDIA_TYPES)
def test_an_image_of_layers_in_each_compression(
    compression: str, store: ContentStore, tmp_path: Path
) -> None:
    if compression == "zstd" and sys.version_info < (3, 14):
        pytest.importorskip("zstandard")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_text("text\n" * 10000)
    made = import_rootfs(
        store, tmp_path / "tree", "made:1", platform=host_platform(), compression=compression
    )
    (layer,) = made.manifest.layers
    assert layer.media_type == MEDIA_TYPES[compression]
    data = store.path(layer.digest).read_bytes()
    assert data.startswith(MAGIC[compression])
    assert (len(data) < 5000) == (compression != "none")
    found = prepare_rootfs(made, tmp_path / "box", rootless=True, overlay=False)  # digests checked
    assert (found.path / "file").read_text() == "text\n" * 10000


def test_the_zstd_program_reads_it(tmp_path: Path) -> None:
    if not shutil.which("zstd"):
        pytest.skip("needs zstd (apt-get install zstd)")
    if sys.version_info < (3, 14):
        pytest.importorskip("zstandard")
    out = io.BytesIO()
    writer = Compressed(out, "zstd")
    for _ in range(100):
        writer.write(b"some words" * 1000)
    plain = b"some words" * 100000
    assert writer.finish() == str(Digest.of(plain))
    done = subprocess.run(["zstd", "-dc"], input=out.getvalue(), capture_output=True, check=True)
    assert done.stdout == plain


def test_without_zstd_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("compression", "compression.zstd", "zstandard"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImageError, match="zstd, which this Python does not know"):
        compressor("zstd")
    with pytest.raises(UsageError, match="there is no compression 'lzma'"):
        compressor("lzma")
