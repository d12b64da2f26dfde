"""The guest agent on a real kernel: Debian's, under Debian's QEMU, as an independent peer."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
import qemu_peer

from innkeeper.base.errors import GuestTimeout, MachineError
from innkeeper.base.record import replace
from innkeeper.guests.config import TerminalSize
from innkeeper.guests.io import EventQueue, ResizeEvent, SignalEvent
from innkeeper.guests.request import DiskRoot, GuestRequest, GuestVolume

pytestmark = pytest.mark.guest
PATH = {"PATH": "/bin:/usr/bin"}


@pytest.fixture(autouse=True)
def _peer() -> None:
    qemu_peer.require()


def ask(*argv: str | bytes, **request: object) -> GuestRequest:
    return GuestRequest(argv=argv, **({"env": PATH} | request))  # type: ignore[arg-type]


def test_arguments_environment_and_streams_are_exact() -> None:
    every_byte = bytes(range(1, 256))
    words = [b"a b", b"", b"it's", b'"$(reboot)"\n', every_byte, b"'" * 5, b"-n", b"\xff\x81\x82"]
    script = b'printf \'%s\\0\' "$@"; printf \'%s\\0\' "$ODD" "$PWD" >&2; exit 7'
    env = PATH | {"ODD": os.fsdecode(every_byte), "NOT.AN-IDENTIFIER": "1"}
    request = ask("sh", "-c", script, "sh", *words, env=env, workdir="/sys/class")
    run = qemu_peer.run_guest(request)
    assert run.status == 7
    assert run.stdout.split(b"\0")[:-1] == words
    assert run.stderr == every_byte + b"\0/sys/class\0"


def test_input_and_output_are_byte_exact_in_bulk(tmp_path: Path) -> None:
    data = random.Random(1).randbytes(3_000_000)
    source = tmp_path / "in"
    source.write_bytes(data)
    with source.open("rb") as stream:
        script = "cat; head -c 30000000 /dev/zero | tr '\\0' x; echo end >&2"
        run = qemu_peer.run_guest(ask("sh", "-c", script, stdin=True), stdin=stream.fileno(), smp=2)
    assert run.status == 0
    assert hashlib.sha256(run.stdout[:3_000_000]).digest() == hashlib.sha256(data).digest()
    assert len(run.stdout) == 33_000_000
    assert run.stdout[3_000_000:].strip(b"x") == b""
    assert run.stderr == b"end\n"


def test_a_reader_that_stops_ends_the_command_as_a_broken_pipe() -> None:
    read_fd, write_fd = os.pipe()
    reader = threading.Thread(target=lambda: (os.read(read_fd, 10), os.close(read_fd)))
    reader.start()
    with open(os.devnull, "wb") as err:
        run = qemu_peer.run_guest(ask("yes"), outputs=(write_fd, err.fileno()))
    reader.join()
    os.close(write_fd)
    assert run.status == 128 + 13


@pytest.mark.parametrize(
    ("argv", "status"),
    [
        (["no-such-command"], 127),
        (["/proc/version"], 126),
        (["sh", "-c", "kill -9 $$"], 137),
        (["sh", "-c", "sleep 1000 & exec true"], 0),
    ],
)
def test_the_exit_status_says_how_the_command_ended(argv: list[str], status: int) -> None:
    assert qemu_peer.run_guest(ask(*argv)).status == status


def test_signals_reach_the_whole_process_group() -> None:
    # The trap's wait is over only when the group's other process has had the signal too.
    script = "sleep 1000 & trap 'wait; echo caught; exit 3' TERM; echo up; wait; exit 4"
    read_fd, write_fd = os.pipe()
    events = EventQueue()
    seen: list[bytes] = []

    def interrupt_when_up() -> None:
        with open(read_fd, "rb") as stream:
            seen.append(stream.readline())
            events.post(SignalEvent("TERM"))
            seen.append(stream.readline())

    reader = threading.Thread(target=interrupt_when_up)
    reader.start()
    run = qemu_peer.run_guest(ask("sh", "-c", script), events=events, outputs=(write_fd, 2))
    os.close(write_fd)
    reader.join()
    assert (run.status, seen) == (3, [b"up\n", b"caught\n"])


def test_a_guest_that_never_ends_meets_its_timeout() -> None:
    with pytest.raises(GuestTimeout):
        qemu_peer.run_guest(ask("sleep", "1000"), timeout_s=2)


class Typist(threading.Thread):
    """At the user's keyboard: answers each text on the screen with the next keys or event."""

    def __init__(self, steps: list[tuple[bytes, bytes | ResizeEvent]]) -> None:
        super().__init__()
        self.stdin, self._keys = os.pipe()
        self._screen, self.stdout = os.pipe()
        self.events = EventQueue()
        self.text = bytearray()
        self._steps = steps

    def run(self) -> None:
        start = 0
        while piece := os.read(self._screen, 4096):
            self.text += piece
            while self._steps and (at := self.text.find(self._steps[0][0], start)) >= 0:
                wanted, answer = self._steps.pop(0)
                start = at + len(wanted)
                if isinstance(answer, bytes):
                    os.write(self._keys, answer)
                else:
                    self.events.post(answer)

    def use(self, request: GuestRequest) -> int:
        self.start()
        try:
            return qemu_peer.run_guest(
                request, stdin=self.stdin, events=self.events, outputs=(self.stdout, self.stdout)
            ).status
        finally:
            os.close(self.stdout)
            self.join()
            for fd in (self.stdin, self._keys, self._screen):
                os.close(fd)
            self.events.close()


def test_a_terminal_is_a_terminal() -> None:
    # The guest's stty sets rows and columns one after the other, with a signal for each.
    seen = 's=$(stty size); echo "$s"; case $s in *132) exit 5 ;; esac'
    script = (
        f"tty; stty size; trap '{seen}' WINCH; echo ask; "
        'while read -r line; do echo "<$line>"; done'
    )
    resize = ResizeEvent(TerminalSize(rows=40, columns=132))
    user = Typist([(b"ask", b"hel\x7f\x7fi\r"), (b"<hi>", resize)])
    size = TerminalSize(rows=33, columns=99)
    assert user.use(ask("sh", "-c", script, tty=True, terminal=size)) == 5
    lines = [line for line in bytes(user.text).replace(b"\r", b"").split(b"\n") if line]
    assert lines[:2] == [b"/dev/hvc0", b"33 99"]
    assert lines[-1] == b"40 132"


def test_job_control_interrupts_the_foreground_job_only() -> None:
    user = Typist(
        [
            (b"# ", b"sh -c 'echo $((40 + 2)); exec sleep 1000'\r"),
            (b"42\r\n", b"\x03"),
            (b"# ", b"echo =$?=; exit 6\r"),
        ]
    )
    status = user.use(ask("sh", tty=True, env=PATH | {"PS1": "# "}))
    assert status == 6, user.text
    assert b"=130=" in user.text
    assert b"job control" not in user.text


def test_a_guest_that_cannot_start_says_why() -> None:
    with pytest.raises(MachineError, match="no user nobody-here"):
        qemu_peer.run_guest(ask("true", user="nobody-here"))
    with pytest.raises(MachineError, match="disk /dev/vda did not appear"):
        qemu_peer.run_guest(ask("true", root=DiskRoot()))


def test_a_numeric_user_runs_the_command_as_that_user() -> None:
    run = qemu_peer.run_guest(ask("id", user="1000:100"))
    assert (run.status, run.stdout) == (0, b"uid=1000 gid=100\n")


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ext4 root made by mke2fs: busybox, `env` and the few folders a root has."""
    qemu_peer.require()
    if shutil.which("mke2fs") is None:
        pytest.skip("mke2fs is not installed (apt-get install e2fsprogs)")
    folder = tmp_path_factory.mktemp("disk")
    root = folder / "root"
    for name in ("usr/bin", "proc", "sys", "dev", "run", "etc", "var", "home/guest"):
        (root / name).mkdir(parents=True)
    (root / "home/guest").chmod(0o777)
    (root / "bin").symlink_to("usr/bin")
    (root / "var/work").symlink_to("/home/guest")
    (root / "usr/bin/busybox").write_bytes(qemu_peer.busybox())
    (root / "usr/bin/busybox").chmod(0o755)
    for name in ("env", "sh", "cat", "pwd", "unshare", "id"):
        (root / "usr/bin" / name).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nguest:x:7:8::/home/guest:\n")
    image = folder / "image"
    command = ["mke2fs", "-q", "-t", "ext4", "-d", str(root), str(image), "64M"]
    subprocess.run(command, check=True, capture_output=True)
    return image


def with_disk(request: GuestRequest, *, mmio: bool = False) -> GuestRequest:
    return replace(request, modules=request.needed_modules(mmio=mmio))


def drive(image: Path) -> tuple[str, ...]:
    return ("-drive", f"file={image},format=raw,if=none,id=d", "-device", "virtio-blk-pci,drive=d")


def test_a_disk_is_the_root_and_keeps_what_was_written(disk: Path, tmp_path: Path) -> None:
    image = shutil.copy(disk, tmp_path / "disk")
    script = "pwd; echo kept >/home/guest/file; unshare -U true; echo $?; cat /proc/mounts"
    request = with_disk(ask("sh", "-c", script, root=DiskRoot(), workdir="/var/work"))
    run = qemu_peer.run_guest(request, qemu=drive(image))
    lines = run.stdout.decode().splitlines()
    # Through the disk's own absolute link, and free to make a user namespace.
    assert (run.status, lines[:2]) == (0, ["/home/guest", "0"])
    assert sum(" / " in line for line in lines) == 1
    assert next(line for line in lines if " / " in line).startswith("/dev/vda / ext4 rw")
    listing = ["debugfs", "-R", "cat /home/guest/file", str(image)]
    assert subprocess.run(listing, capture_output=True, check=True).stdout == b"kept\n"
    check = subprocess.run(["e2fsck", "-f", "-n", str(image)], capture_output=True)
    assert check.returncode == 0 and b"recover" not in check.stdout


def test_an_overlay_forgets_and_volumes_are_shared(disk: Path, tmp_path: Path) -> None:
    before = disk.read_bytes()
    shares = []
    for index, name in enumerate(("rw", "ro")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "in").write_text(f"host {name}\n")
        (tmp_path / name).chmod(0o777)
        shares += ["-virtfs", f"local,path={tmp_path / name},mount_tag=inn.volume{index},"
                   "security_model=none"]  # fmt: skip
    script = (
        "cat '/data/a b/in' /mnt/ro/in; echo guest >'/data/a b/out'; echo no >/mnt/ro/out;"
        " echo gone >$HOME/file; cat $HOME/file; id; pwd; echo $HOME"
    )
    request = ask(
        "sh", "-c", script, root=DiskRoot(writes="memory"), user="guest",
        volumes=[
            GuestVolume(tag="inn.volume0", target="/data/a b"),
            GuestVolume(tag="inn.volume1", target="/mnt/ro", read_only=True),
        ],
    )  # fmt: skip
    options = (*drive(disk), *shares)
    run = qemu_peer.run_guest(with_disk(request), qemu=options)
    assert run.stdout == b"host rw\nhost ro\ngone\nuid=7(guest) gid=8\n/\n/home/guest\n"
    assert b"Read-only" in run.stderr or b"read-only" in run.stderr
    assert (tmp_path / "rw/out").read_text() == "guest\n"
    assert not (tmp_path / "ro/out").exists()
    assert disk.read_bytes() == before
