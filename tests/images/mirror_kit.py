"""Make packages, indices and signatures as Debian's archive has them, in small."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import struct
import subprocess
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

ARCH = "riscv64"
RELEASE = "6.1.2-riscv64"
KERNEL = b"\x7fKERNEL" * 1000


@dataclass
class File:
    """One archived file; `data` is a link's target for links."""

    path: str
    data: bytes = b""
    type: bytes = tarfile.REGTYPE
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    device: tuple[int, int] = (0, 0)


@dataclass
class Package:
    name: str
    version: str = "1.0-1"
    fields: dict[str, str] = field(default_factory=dict)
    files: list[File] = field(default_factory=list)
    control: dict[str, bytes] = field(default_factory=dict)
    arch: str = ARCH

    def stanza(self) -> str:
        own = {"Package": self.name, "Version": self.version, "Architecture": self.arch}
        return "".join(f"{k}: {v}\n" for k, v in {**own, **self.fields}.items())


def make_tar(files: list[File], *, format: int = tarfile.GNU_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as tar:
        for file in files:
            info = tarfile.TarInfo(file.path)
            info.type, info.mode, info.mtime = file.type, file.mode, 1_700_000_000
            info.uid, info.gid = file.uid, file.gid
            info.devmajor, info.devminor = file.device
            if file.type in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.linkname = file.data.decode()
                tar.addfile(info)
            else:
                info.size = len(file.data)
                tar.addfile(info, io.BytesIO(file.data))
    return out.getvalue()


def make_ar(members: list[tuple[str, bytes]]) -> bytes:
    out = b"!<arch>\n"
    for name, data in members:
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode()
        out += data + b"\n" * (len(data) & 1)
    return out


def make_deb(package: Package, *, compression: str = "xz") -> bytes:
    control = {"control": package.stanza().encode(), **package.control}
    files = [
        File(f"./{name}", data, mode=0o755 if name.endswith("inst") else 0o644)
        for name, data in control.items()
    ]
    data = make_tar([File("./", type=tarfile.DIRTYPE, mode=0o755), *package.files])
    suffix, packed = compress(data, compression)
    return make_ar(
        [
            ("debian-binary", b"2.0\n"),
            ("control.tar.gz", gzip.compress(make_tar(files), mtime=0)),
            (f"data.tar{suffix}", packed),
        ]
    )


def compress(data: bytes, how: str) -> tuple[str, bytes]:
    if how == "xz":
        return ".xz", lzma.compress(data, preset=0)
    if how == "gz":
        return ".gz", gzip.compress(data, mtime=0)
    if how == "zst":
        import zstandard

        return ".zst", zstandard.ZstdCompressor().compress(data)
    return "", data


def make_module(**info: str) -> bytes:
    """Make the least ELF64 relocatable file with a `.modinfo` section."""
    text = b"".join(f"{k.rstrip('_')}={v}\0".encode() for k, v in info.items())
    names = b"\0.modinfo\0.shstrtab\0"
    header = struct.Struct("<16xHHIQQQIHHHHHH")
    at = header.size
    sections = [
        (0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        (1, 1, 2, 0, at, len(text), 0, 0, 1, 0),
        (10, 3, 0, 0, at + len(text), len(names), 0, 0, 1, 0),
    ]
    table = at + len(text) + len(names)
    head = bytearray(header.pack(1, 243, 1, 0, 0, table, 0, 64, 0, 0, 64, 3, 2))
    head[:6] = b"\x7fELF\x02\x01"
    packed = b"".join(struct.pack("<IIQQQQIIQQ", *section) for section in sections)
    return bytes(head) + text + names + packed


@dataclass
class Signer:
    """A throwaway signing key in a folder of its own."""

    home: Path
    keyring: Path

    @classmethod
    def make(cls, home: Path) -> Signer:
        made = cls(home, home / "keyring.gpg")
        made._gpg("--quick-gen-key", "--yes", "Test Archive <test@example.org>", "ed25519", "sign")
        made.keyring.write_bytes(made._gpg("--export"))
        return made

    def inline(self, text: bytes) -> bytes:
        return self._gpg("--clearsign", stdin=text)

    def detached(self, text: bytes) -> bytes:
        return self._gpg("--armor", "--detach-sign", stdin=text)

    def armoured_key(self) -> bytes:
        return self._gpg("--armor", "--export")

    def _gpg(self, *arguments: str, stdin: bytes = b"") -> bytes:
        command = ["gpg", "--homedir", str(self.home), "--batch", "--quiet", "--no-tty"]
        command += ["--pinentry-mode", "loopback", "--passphrase", "", *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, check=True).stdout


@dataclass
class Mirror:
    """A suite `test` under `root`."""

    root: Path
    signer: Signer
    extra: dict[str, str] = field(default_factory=dict)

    def publish(self, packages: list[Package]) -> None:
        stanzas = []
        for package in packages:
            data = make_deb(package)
            name = f"pool/main/{package.name}_{package.version}_{package.arch}.deb"
            self._write(name, data)
            stanzas.append(
                package.stanza()
                + f"Filename: {name}\nSize: {len(data)}\n"
                + f"SHA256: {hashlib.sha256(data).hexdigest()}\n"
            )
        plain = "\n".join(stanzas).encode()
        base = f"main/binary-{ARCH}/Packages"
        index = {base: plain, f"{base}.xz": lzma.compress(plain)}
        self._write(f"dists/test/{base}.xz", index[f"{base}.xz"])
        self.sign(index)

    def sign(self, index: dict[str, bytes]) -> None:
        fields = {
            "Origin": "Test", "Suite": "test", "Codename": "testing-name",
            "Architectures": f"all {ARCH}", "No-Support-for-Architecture-all": "Packages",
            **self.extra,
        }  # fmt: skip
        text = "".join(f"{k}: {v}\n" for k, v in fields.items()) + "SHA256:\n"
        for name, data in index.items():
            text += f" {hashlib.sha256(data).hexdigest()} {len(data)} {name}\n"
        self._write("dists/test/InRelease", self.signer.inline(text.encode()))
        self._write("dists/test/Release", text.encode())
        self._write("dists/test/Release.gpg", self.signer.detached(text.encode()))

    def _write(self, name: str, data: bytes) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def standard_packages() -> list[Package]:
    """A kernel with modules, busybox, and a system of a few packages."""
    modules = {
        "fs/ext4/ext4": make_module(depends="jbd2", softdep="pre: crypto-crc32c"),
        "fs/jbd2/jbd2": make_module(depends=""),
        "crypto/crc32c_generic": make_module(alias="crypto-crc32c", depends=""),
        "drivers/virtio/virtio_mmio": make_module(depends=""),
        "sound/unwanted": make_module(depends=""),
    }
    base = f"./usr/lib/modules/{RELEASE}"
    kernel_files = [
        File(f"./boot/vmlinux-{RELEASE}", KERNEL),
        File(f"{base}/modules.builtin", b"kernel/drivers/block/virtio_blk.ko\n"),
        *(File(f"{base}/kernel/{p}.ko.xz", lzma.compress(d)) for p, d in modules.items()),
    ]
    system = [
        File("./etc", type=tarfile.DIRTYPE, mode=0o755),
        File("./etc/base.conf", b"setting=1\n"),
        File("./bin/tool", b"#!/bin/sh\n", mode=0o4755),
        File("./var/shared", b"", type=tarfile.DIRTYPE, mode=0o2775, gid=50),
    ]
    return [
        Package("linux-image-riscv64", fields={"Depends": f"linux-image-{RELEASE} (= 1.0-1)"}),
        Package(f"linux-image-{RELEASE}", fields={"Depends": "kmod"}, files=kernel_files),
        Package("busybox-static", files=[File("./usr/bin/busybox", b"BUSYBOX", mode=0o755)]),
        Package(
            "base", fields={"Essential": "yes", "Pre-Depends": "libthing", "Multi-Arch": "foreign"},
            files=system,
            control={"conffiles": b"/etc/base.conf\n", "preinst": b"#!/bin/sh\nexit 7\n"},
        ),
        Package(
            "libthing", fields={"Multi-Arch": "same", "Priority": "required"},
            files=[File("./usr/lib/libthing.so", b"THING")],
            control={"triggers": b"interest-noawait /usr/lib\nactivate ldconfig\n"},
        ),
        Package("apt", fields={"Depends": "base, mail-agent"}, files=[File("./usr/bin/apt", b"A")]),
        Package("mailer", fields={"Provides": "mail-agent"}, files=[File("./usr/bin/mail", b"M")]),
        Package("extra", files=[File("./usr/bin/extra", b"X", mode=0o755)]),
    ]  # fmt: skip
