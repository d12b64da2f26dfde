"""The request of one `inn run`, as a cpio segment appended to the image's initramfs.

Linux unpacks concatenated archives one after another, a later file replacing an earlier one
(`Documentation/driver-api/early-userspace/buffer-format.rst`). The guest agent, the command, its
environment and the mounts therefore reach the guest with no round trip, and byte for byte: any
byte but NUL survives in an argument. The layout is in docs/guest-protocol.md.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from innkeeper.base.errors import UsageError
from innkeeper.base.record import field, record
from innkeeper.guests.config import TerminalSize

MAX_ARGUMENT_BYTES = (128 << 10) - 1  # Linux MAX_ARG_STRLEN, with its NUL
MAX_COMMAND_BYTES = 1 << 20  # half of what Linux lets argv and envp take together
VOLUME_TAG = "inn.volume{index}"
MSIZE_BYTES = 512_000  # what Linux's 9p virtio transport can use at most: (128 - 3) pages
TTY_DEVICE = "hvc0"

_MODE_DIR, _MODE_FILE, _MODE_EXEC = 0o040755, 0o100644, 0o100755
_DIRECTORIES = ("inn", "proc", "sys", "dev", "tmp", "root")
_DISK_DIRECTORIES = ("root.disk", "root.lower", "root.upper", "root.work")
_FSTAB = "proc /proc proc\nsysfs /sys sysfs\ndev /dev devtmpfs\n"
_IN_DISK = """\
proc {0}/proc proc
sysfs {0}/sys sysfs
dev {0}/dev devtmpfs
run {0}/run tmpfs mode=755
"""
_PSEUDO = """\
devpts {0}/dev/pts devpts gid=5,mode=620,ptmxmode=666
shm {0}/dev/shm tmpfs mode=1777
"""


@record(kw_only=True)
class GuestVolume:
    """A 9p share by its mount tag, and where the guest mounts it."""

    tag: str
    target: str
    read_only: bool = False


@record(kw_only=True)
class DiskRoot:
    """The root file system on a disk.

    `writes` is `disk` (kept: synced before the end), `forgotten` (to a disk that nobody keeps),
    `memory` (an overlay that the guest forgets) or `none`. `bare` says that nothing may be taken
    to be in it: the command is then looked up by the agent, and started by its own programs.
    """

    device: str = "/dev/vda"
    filesystem: str = "ext4"
    writes: str = "disk"
    bare: bool = False


@record(kw_only=True)
class GuestRequest:
    """Everything the agent is told. `argv` must not be empty; `modules` are kernel module names."""

    argv: Sequence[str | bytes]
    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str | None = None
    hostname: str = "inn"
    stdin: bool = False
    tty: bool = False
    terminal: TerminalSize = field(default_factory=TerminalSize)
    modules: Sequence[str] = ()
    root: DiskRoot | None = None
    volumes: Sequence[GuestVolume] = ()

    def needed_modules(self, *, mmio: bool) -> tuple[str, ...]:
        """Return the kernel modules the request needs; `mmio` when virtio is on MMIO."""
        names = ["virtio_mmio"] if mmio else []
        if self.root is not None:
            names += ["virtio_blk", self.root.filesystem]
            names += ["overlay"] if self.root.writes == "memory" else []
        return (*names, *(["9pnet_virtio", "9p"] if self.volumes else []))

    def segment(self) -> bytes:
        """Return the cpio (newc) archive to append to the initramfs, 4-byte aligned at its start.

        Append it after padding the image's own, uncompressed or compressed, to 4 bytes.
        """
        directories = _DIRECTORIES + (_DISK_DIRECTORIES if self.root else ())
        entries = [(name, _MODE_DIR, b"") for name in directories]
        entries += [
            ("init", _MODE_EXEC, agent_text()),
            ("inn/request", _MODE_FILE, self.script()),
            ("inn/fstab", _MODE_FILE, _FSTAB.encode()),
            ("inn/fstab.late", _MODE_FILE, self._late_mounts().encode()),
        ]
        records = (_cpio_entry(i + 1, *entry) for i, entry in enumerate(entries))
        return b"".join(records) + _cpio_entry(0, "TRAILER!!!", 0, b"")

    def script(self) -> bytes:
        """Return `/inn/request`: assignments and the function `inn_command`, for busybox ash."""
        if self.tty:
            size = self.terminal
            tty = {"TTY": TTY_DEVICE, "ROWS": str(size.rows), "COLUMNS": str(size.columns)}
        else:
            tty = {"TTY": "", "STDIN": "1" if self.stdin else ""}
        values = tty | {
            "MODULES": " ".join(self.modules),
            "HOSTNAME": self.hostname,
            "USER": self.user or "",
            "DISK": self.root.device if self.root else "",
            "ENTER": "chroot ." if self.root else "",
            "BARE": "1" if self.root and self.root.bare else "",
            "VOLUMES": self._volume_mounts(),
            "FLUSH": self._flush(),
        }
        lines = [f"INN_{name}=".encode() + quote(value) for name, value in values.items()]
        return b"\n".join([*lines, b"inn_command() {", *self._command_lines(), b"}", b""])

    def _command_lines(self) -> list[bytes]:
        argv = [_bytes(word, "argument") for word in self.argv]
        if not argv or not argv[0]:
            raise UsageError("no command", fix="inn run IMAGE -- COMMAND ARGUMENTS")
        words = [b"-i", b"--", *(self._variable(name, value) for name, value in self.env.items())]
        bare = self.root is not None and self.root.bare
        if b"=" in argv[0] and not bare:  # env would take it for a variable
            argv = [b"sh", b"-c", b'exec "$0" "$@"', *argv]
        if sum(map(len, words + argv)) > MAX_COMMAND_BYTES:
            raise UsageError(
                "the command and its environment are too long",
                why=f"at most {MAX_COMMAND_BYTES} bytes together",
                fix="pass the data on standard input or in a --volume",
            )
        words += [] if bare else argv
        home = [] if "HOME" in self.env else [b'"HOME=${home:-/root}"']
        rest = [quote(word) for word in words[:2]] + home + [quote(word) for word in words[2:]]
        session = b"setsid -c" if self.tty else b"setsid"
        user = b' -S "$uid" -G "$gid"' if self.user else b""
        workdir = quote(self.workdir)
        if self.root is None:
            identity = b"nsenter -F%s " % user if user else b""
            lines = [b"cd -- %s || exit 126" % workdir]
            return [*lines, b" ".join([b"exec", session, identity + b"env", *rest])]
        if bare:
            return self._bare_lines(argv, session, user, rest)
        # In a disk the image's own env looks the command up: busybox's would find itself first.
        enter = b"nsenter -r. -F" + user + b" sh -c " + quote('cd -- "$0" || exit 126; exec "$@"')
        return [b" ".join([b"exec", session, enter, workdir, b"/usr/bin/env", *rest])]

    def _bare_lines(
        self, argv: Sequence[bytes], session: bytes, user: bytes, environment: list[bytes]
    ) -> list[bytes]:
        """Start the command in a root that may have neither a shell nor `env`."""
        workdir = quote("." + self.workdir)
        path = quote(self.env.get("PATH", ""))
        enter = b"nsenter -r. -w" + workdir + b" -F" + user + b' "$program"'
        return [
            b"[ -d " + workdir + b" ] || exit 126",
            b"find_program " + quote(argv[0]) + b" " + path,
            b" ".join([b"exec", session, b"env", *environment, enter, *map(quote, argv[1:])]),
        ]

    def _variable(self, name: str, value: str) -> bytes:
        if not name or "=" in name:
            raise UsageError(
                f"environment variable {name!r} has no usable name", fix="-e NAME=VALUE"
            )
        return _bytes(f"{name}={value}", "environment variable")

    def _late_mounts(self) -> str:
        if self.root is None:
            return _PSEUDO.format("")
        disk, kind = self.root.device, self.root.filesystem
        if self.root.writes == "memory":
            layers = "lowerdir=/root.lower,upperdir=/root.upper,workdir=/root.work"
            root = f"{disk} /root.lower {kind} ro\noverlay /root.disk overlay {layers}\n"
        else:
            mode = "ro" if self.root.writes == "none" else "rw,noatime"
            root = f"{disk} /root.disk {kind} {mode}\n"
        return root + (_IN_DISK + _PSEUDO).format("/root.disk")

    def _volume_mounts(self) -> bytes:
        steps = []
        for volume in self.volumes:
            target = quote(volume.target)
            options = f"trans=virtio,version=9p2000.L,msize={MSIZE_BYTES},cache=mmap"
            options += ",ro" if volume.read_only else ""
            mount = f"mount -t 9p -o {options} {volume.tag} ".encode()
            steps.append(b"mkdir -p -- " + target + b" && " + mount + target)
        return b" && ".join(steps)

    def _flush(self) -> str:
        if self.root is not None and self.root.writes == "disk":
            return "disk"
        return "volumes" if any(not volume.read_only for volume in self.volumes) else ""


def agent_text() -> bytes:
    """Return the guest agent: the POSIX shell script that is the guest's process 1."""
    return Path(__file__).with_name("init.sh").read_bytes()


def quote(value: str | bytes) -> bytes:
    """Quote for a POSIX shell, byte for byte: everything but `'` is literal in single quotes."""
    return b"'" + os.fsencode(value).replace(b"'", b"'\\''") + b"'"


def _bytes(value: str | bytes, kind: str) -> bytes:
    data = os.fsencode(value)
    if b"\0" in data:
        raise UsageError(f"the {kind} {value!r} has a NUL byte", why="no program can receive one")
    if len(data) > MAX_ARGUMENT_BYTES:
        why = f"Linux takes at most {MAX_ARGUMENT_BYTES} bytes in one"
        raise UsageError(f"an {kind} is too long", why=why)
    return data


def _cpio_entry(inode: int, name: str, mode: int, data: bytes) -> bytes:
    """Return one entry of a `070701` archive (buffer-format.rst), padded to 4 bytes."""
    raw = name.encode() + b"\0"
    numbers = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0)
    head = b"070701" + b"".join(b"%08x" % number for number in numbers) + raw
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


def join_initramfs(image: bytes, segment: bytes) -> bytes:
    """Append `segment` to an initramfs at the 4-byte boundary that Linux looks for."""
    return image + bytes(-len(image) % 4) + segment
