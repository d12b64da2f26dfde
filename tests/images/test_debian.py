"""Images from end to end, made from a mirror that the tests publish themselves."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from innkeeper.base.errors import DownloadError, ImageError, InnError, IntegrityError, UsageError
from innkeeper.images import aptconf, debian, ext4, secondstage
from innkeeper.images.fetch import Fetcher
from innkeeper.images.store import Manifest, Store

from .cpio_reader import read_cpio
from .mirror_kit import KERNEL, RELEASE, File, Mirror, Package, standard_packages
from .web import Web

DISK_BYTES = 384 << 20


def build(name: str, **more: object) -> tuple[Manifest, Store]:
    store = Store()
    options = {"suite": "test", "disk_bytes": DISK_BYTES, **more}
    fetcher = Fetcher(wait=lambda _: None)
    return debian.build(name, store=store, fetcher=fetcher, **options), store  # type: ignore[arg-type]


def test_busybox_has_the_kernel_and_an_initramfs_with_its_modules(mirror: Mirror) -> None:
    image, store = build("busybox")
    assert store.blob_path(image.kernel).read_bytes() == KERNEL
    assert image.kernel_release == RELEASE
    files = read_cpio(store.blob_path(image.initrd).read_bytes())
    assert files["usr/bin/busybox"].data == b"BUSYBOX"
    assert files["init"].mode == 0o100755
    assert files["dev/console"].device == (5, 1)
    order = files[f"usr/lib/modules/{RELEASE}/load-order"].data.decode().split()
    names = [path.rpartition("/")[2] for path in order]
    assert names == ["virtio_mmio.ko", "crc32c_generic.ko", "jbd2.ko", "ext4.ko"]
    deps = files[f"usr/lib/modules/{RELEASE}/modules.dep"].data.decode()
    assert "kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko kernel/crypto/crc32c_generic.ko" in deps
    assert files[f"usr/lib/modules/{RELEASE}/kernel/fs/ext4/ext4.ko"].data[:4] == b"\x7fELF"


def test_a_kernel_package_in_parts(mirror: Mirror) -> None:
    parts = ("binary", "modules")
    base = f"./usr/lib/modules/{RELEASE}"
    old = {p.name: p for p in standard_packages()}
    whole = old.pop(f"linux-image-{RELEASE}")
    split = [
        Package(
            f"linux-image-{RELEASE}",
            fields={"Depends": ", ".join(f"linux-{part}-{RELEASE}" for part in parts)},
        ),
        Package(f"linux-binary-{RELEASE}", files=[File(f"{base}/vmlinuz", KERNEL)]),
        Package(f"linux-modules-{RELEASE}", files=whole.files[1:]),
    ]
    mirror.publish([*old.values(), *split])
    image, store = build("busybox")
    assert store.blob_path(image.kernel).read_bytes() == KERNEL
    assert image.kernel_release == RELEASE
    files = read_cpio(store.blob_path(image.initrd).read_bytes())
    assert f"usr/lib/modules/{RELEASE}/kernel/fs/ext4/ext4.ko" in files


def test_second_build_downloads_nothing(mirror: Mirror, web: Web) -> None:
    first, _ = build("busybox")
    web.requests.clear()
    second, _ = build("busybox")
    assert second == first
    assert web.requests == []


def test_builds_of_the_same_content_have_the_same_blobs(mirror: Mirror) -> None:
    first, _ = build("busybox")
    again, _ = build("busybox", rebuild=True)
    assert (first.kernel, first.initrd) == (again.kernel, again.initrd)


def test_two_builders_make_an_image_once(mirror: Mirror, web: Web) -> None:
    made: list[Manifest] = []
    threads = [threading.Thread(target=lambda: made.append(build("busybox")[0])) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made[0] == made[1]
    assert len([p for p, _ in web.requests if p.endswith("InRelease")]) == 1


def test_debian_is_unpacked_with_a_package_database(mirror: Mirror) -> None:
    if not ext4.available():
        pytest.skip("needs mke2fs and debugfs")
    image, store = build("debian", include=["extra"])
    assert image.state == "unpacked"
    assert image.disk is not None
    names = [p.name for p in image.packages]
    assert {"base", "libthing", "apt", "mailer", "extra"} <= set(names)
    assert names.index("libthing") < names.index("base")
    disk = store.blob_path(image.disk)
    status = debugfs(disk, "cat /var/lib/dpkg/status")
    assert "Package: base\nStatus: install ok unpacked\n" in status
    digest = hashlib.md5(b"setting=1\n", usedforsecurity=False).hexdigest()
    assert f"\nConffiles:\n /etc/base.conf {digest}\n" in status
    listing = debugfs(disk, "cat /var/lib/dpkg/info/libthing:riscv64.list")
    assert listing == "/.\n/usr/lib/libthing.so\n"
    assert debugfs(disk, "cat /var/lib/dpkg/triggers/File") == (
        "/usr/lib libthing:riscv64/noawait\n"
    )
    order = debugfs(disk, "cat /var/lib/innkeeper/unpack-order")
    assert order == "base riscv64 base\n"
    assert "Mode:  04755" in debugfs(disk, "stat /usr/bin/tool")
    shared = debugfs(disk, "stat /var/shared")
    assert "Mode:  02775" in shared
    assert "Group:    50" in shared
    assert 'Fast link dest: "usr/bin"' in debugfs(disk, "stat /bin")


def debugfs(disk: Path, command: str) -> str:
    done = ext4._run([ext4._need("debugfs"), "-R", command, str(disk)])
    return done.stdout


def test_finish_keeps_what_the_guest_made_of_the_disk(mirror: Mirror) -> None:
    image, store = build("debian")
    assert image.disk is not None
    before = store.blob_path(image.disk).stat().st_mtime_ns

    def guest(job: secondstage.SetupJob) -> str:
        assert job.kernel.read_bytes() == KERNEL
        assert "second-stage" in read_cpio(job.initrd.read_bytes())["init"].data.decode()
        with job.disk.open("r+b") as disk:
            disk.write(b"CONFIGURED")
        return "Setting up base\r\ninnkeeper: second stage ended with 0\r\n"

    done = secondstage.finish(image, guest, store=store)
    assert done.state == "ready"
    assert done.disk is not None
    with store.blob_path(done.disk).open("rb") as disk:
        assert disk.read(10) == b"CONFIGURED"
    assert store.blob_path(image.disk).stat().st_mtime_ns == before
    assert store.get("debian", suite="test", arch="riscv64") == done
    assert build("debian")[0] == done
    assert secondstage.finish(done, pytest.fail, store=store) == done


@pytest.mark.parametrize("console", ["", "dpkg: error\ninnkeeper: second stage ended with 1\n"])
def test_a_failed_second_stage_leaves_the_unpacked_image(mirror: Mirror, console: str) -> None:
    image, store = build("debian")
    with pytest.raises(ImageError, match="second stage"):
        secondstage.finish(image, lambda _: console, store=store)
    assert store.get("debian", suite="test", arch="riscv64") == image
    assert list((store.root / "tmp").iterdir()) == []


def test_without_mke2fs_the_guest_formats_the_disk(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = Package("e2fsprogs", files=[File("./sbin/mke2fs", b"MKE2FS", mode=0o755)])
    mirror.publish([*standard_packages(), tools])
    monkeypatch.setattr(ext4, "available", lambda: False)
    image, store = build("debian")
    assert image.disk_format == "empty"
    assert image.disk is not None
    assert image.setup_initrd is not None
    assert store.blob_path(image.disk).stat().st_size == DISK_BYTES
    files = read_cpio(store.blob_path(image.setup_initrd).read_bytes())
    assert files["usr/sbin/mke2fs"].data == b"MKE2FS"
    assert b"setting=1" in files[secondstage.ROOT_ARCHIVE].data
    assert secondstage.FORMAT_MARK in files


def test_a_changed_package_is_refused(mirror: Mirror) -> None:
    path = next((mirror.root / "pool/main").glob("busybox*"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="not the file that the release names"):
        build("busybox")
    assert Store().images() == []


def test_a_changed_index_is_refused(mirror: Mirror) -> None:
    path = mirror.root / "dists/test/main/binary-riscv64/Packages.xz"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(IntegrityError):
        build("busybox")


def test_a_changed_release_is_refused(mirror: Mirror) -> None:
    path = mirror.root / "dists/test/InRelease"
    path.write_bytes(path.read_bytes().replace(b"Origin: Test", b"Origin: Evil"))
    with pytest.raises(IntegrityError, match="signature"):
        build("busybox")


def test_an_expired_release_is_refused(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror.extra = {"Valid-Until": "Sat, 01 Jan 2022 00:00:00 UTC"}
    mirror.publish(standard_packages())
    monkeypatch.setattr(aptconf, "read", lambda _root: aptconf.AptConfig({}))
    with pytest.raises(IntegrityError, match="expired"):
        build("busybox")
    lenient = aptconf.AptConfig({"acquire::check-valid-until": "false"})
    monkeypatch.setattr(aptconf, "read", lambda _root: lenient)
    assert build("busybox")[0].state == "ready"


def test_a_release_of_another_suite_is_refused(mirror: Mirror) -> None:
    dists = mirror.root / "dists"
    (dists / "other").symlink_to(dists / "test")
    with pytest.raises(IntegrityError, match="not that of 'other'"):
        build("busybox", suite="other")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"suite": "missing"}, DownloadError),
        ({"suite": "../test"}, UsageError),
        ({"arch": "arm64"}, UsageError),
        ({"arch": "m68k"}, UsageError),
        ({"include": ["extra"]}, UsageError),
        ({"tag": "../x"}, UsageError),
        ({"mirror": "ftp://example.org/debian"}, UsageError),
    ],
)
def test_what_cannot_be_built_is_said_clearly(
    mirror: Mirror, options: dict[str, object], error: type[InnError]
) -> None:
    with pytest.raises(error) as caught:
        build("busybox", **options)
    assert caught.value.fix


def test_a_missing_package_is_named(mirror: Mirror) -> None:
    with pytest.raises(InnError, match="nonsense"):
        build("debian", include=["nonsense"])
