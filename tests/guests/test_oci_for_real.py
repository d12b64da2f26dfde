"""`inn run --engine emulate` of OCI images made from Debian packages, on the real kernel."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from innkeeper.api import Guest
from innkeeper.base.errors import DownloadError, NotFoundError, UsageError
from innkeeper.images import debian, ext4
from innkeeper.images.oci import debianimage
from innkeeper.images.oci.content import ContentStore
from innkeeper.images.oci.documents import Platform
from innkeeper.images.oci.image import Image
from innkeeper.images.oci.imports import import_rootfs
from innkeeper.images.oci.machine import forget_stale
from innkeeper.images.oci.rootfs import prepare_rootfs, release_rootfs
from innkeeper.images.store import Store

pytestmark = [
    pytest.mark.guest,
    pytest.mark.skipif(not ext4.available(), reason="needs mke2fs and debugfs"),
]
NAME = "inn-test-busybox:latest"


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    try:
        debian.build("busybox")
        made = debianimage.build("busybox", arch="riscv64", tag=NAME)
    except (DownloadError, NotFoundError) as error:
        pytest.skip(f"no Debian mirror: {error}")
    yield made
    for known in made.store.names():
        if known.name.startswith("inn-test-"):
            made.store.untag(known.name)
    forget_stale(Store(), made.store)


@pytest.fixture(scope="module")
def bare(image: Image, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image with one program in it, and nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    made = prepare_rootfs(image, folder / "box", rootless=True, overlay=False)
    (folder / "root/opt").mkdir(parents=True)
    shutil.copy(made.path / "usr/bin/busybox", folder / "root/opt/echo")
    (folder / "root/opt/echo").chmod(0o755)
    release_rootfs(folder / "box", image.store)
    import_rootfs(
        ContentStore(), folder / "root", "inn-test-bare:1", platform=Platform("riscv64", "linux"),
        config={"Entrypoint": ["echo"], "Cmd": ["by default"], "Env": ["PATH=/none:/opt"],
                "User": "7:8", "WorkingDir": "/made/for/it"},
    )  # fmt: skip
    return "inn-test-bare:1"


def test_a_command_in_an_oci_image(image: Image) -> None:
    script = "uname -m; id -u; hostname; echo $PATH; echo err >&2; exit 9"
    done = Guest.run(NAME, ["sh", "-c", script], env={"X": "y"})
    lines = done.stdout.decode().splitlines()
    assert done.status == 9 and done.stderr == b"err\n"
    assert lines[:3] == ["riscv64", "0", "inn-test-busybox"] and "/usr/bin" in lines[3]


def test_user_and_workdir_and_volume(image: Image, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("from the host\n")
    tmp_path.chmod(0o755)
    script = ["sh", "-c", "id -u; pwd; ls /v"]
    done = Guest.run(NAME, script, user="nobody", workdir="/tmp", volumes=[f"{tmp_path}:/v"])
    assert done.stdout == b"65534\n/tmp\nf\n", done.stderr


@pytest.mark.parametrize(("command", "status"), [("nothing", 127), ("/etc/passwd", 126)])
def test_what_cannot_be_run(command: str, status: int, image: Image) -> None:
    assert Guest.run(NAME, [command]).status == status


def test_an_image_without_a_shell(bare: str) -> None:
    done = Guest.run(bare, [])
    assert (done.status, done.stdout) == (0, b"by default\n"), done.stderr
    assert Guest.run(bare, ["it's", "a  b", "A=b"]).stdout == b"it's a  b A=b\n"


def test_what_is_not_here(image: Image) -> None:
    with pytest.raises(NotFoundError, match="not on this host"):
        Guest.run("inn-test-none:1", ["true"])
    with pytest.raises(UsageError):
        Guest.run("Bad:Name", ["true"])
