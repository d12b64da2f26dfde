"""Drive the guest agent under Debian's QEMU, with the product's own session, pumps and loop."""

from __future__ import annotations

import contextlib
import select
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from innkeeper.devices.char import CharPort
from innkeeper.guests.io import EventQueue, GuestIO
from innkeeper.guests.loop import ConsolePorts, SessionLoop
from innkeeper.guests.request import GuestRequest, join_initramfs
from innkeeper.guests.session import RunSession
from innkeeper.images.store import Store

QEMU = "qemu-system-riscv64"
CONNECT_TRIES = 3000
_QUIET_S = 0.3
_TIMEOUT_S = 120


def require() -> None:
    """Skip, saying why, when this machine lacks the peer or the guest's parts."""
    if shutil.which(QEMU) is None:
        pytest.skip(f"{QEMU} is not installed (apt-get install qemu-system-misc)")
    if find_image() is None:
        pytest.skip("the busybox image is not there (inn image build busybox)")


def find_image() -> tuple[Path, Path] | None:
    """Return the kernel and the initramfs of the host's busybox image."""
    store = Store()
    image = store.find("busybox", suite="trixie", arch="riscv64")
    if image is None or not (store.has(image.kernel) and store.has(image.initrd)):
        return None
    return store.blob_path(image.kernel), store.blob_path(image.initrd)


def busybox() -> bytes:
    """Return busybox out of the image's initramfs."""
    image = find_image()
    assert image is not None
    with image[1].open("rb") as archive:
        command = ["cpio", "-i", "--quiet", "--to-stdout", "usr/bin/busybox"]
        return subprocess.run(command, stdin=archive, capture_output=True, check=True).stdout


def _connect(path: Path) -> socket.socket:
    """Connect to a socket that QEMU has bound, but does not listen at yet perhaps."""
    made = socket.socket(socket.AF_UNIX)
    for _ in range(CONNECT_TRIES):
        with contextlib.suppress(ConnectionRefusedError):
            made.connect(str(path))
            return made
        time.sleep(0.01)
    made.close()
    raise TimeoutError(f"QEMU does not listen at {path}")


class SocketPort(CharPort):
    """A port at the other end of a QEMU socket chardev; its thread plays the device."""

    def __init__(self, path: Path, lock: threading.RLock) -> None:
        super().__init__()
        self._socket = _connect(path)
        self.lock = lock
        self._room = threading.Condition(lock)
        self.received = 0
        self._thread = threading.Thread(target=self._receive, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self.lock:
            self._room.notify_all()
        self._socket.close()

    def feed(self, data: bytes | bytearray | memoryview) -> int:
        try:
            return self._socket.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            threading.Thread(target=self._await_room, daemon=True).start()
            return 0

    def _await_room(self) -> None:
        poller = select.poll()
        poller.register(self._socket.fileno(), select.POLLOUT)
        poller.poll(_TIMEOUT_S * 1000)
        with self.lock:
            if self.on_writable is not None:
                self.on_writable()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def resume(self) -> None:
        self._room.notify_all()

    def _receive(self) -> None:
        try:
            while data := self._socket.recv(65536):
                view = memoryview(data)
                self.received += len(data)
                with self.lock:
                    while view:
                        taken = self.sink.write(view)
                        view = view[taken:]
                        if view:
                            self._room.wait(_TIMEOUT_S)
        except OSError:
            return


@dataclass
class Run:
    """What one guest did."""

    status: int
    stdout: bytes
    stderr: bytes
    console: str = field(repr=False, default="")


def run_guest(
    request: GuestRequest,
    *,
    stdin: int | None = None,
    events: EventQueue | None = None,
    qemu: tuple[str, ...] = (),
    outputs: tuple[int, int] | None = None,
    timeout_s: float = _TIMEOUT_S,
    smp: int = 1,
) -> Run:
    """Boot Debian's kernel with `request` under QEMU and return what the command did."""
    with tempfile.TemporaryDirectory() as name:
        return _Guest(Path(name), request).run(
            stdin=stdin, events=events, qemu=qemu, outputs=outputs,
            timeout_s=timeout_s, smp=smp,
        )  # fmt: skip


class _Guest:
    def __init__(self, folder: Path, request: GuestRequest) -> None:
        self._folder = folder
        self._request = request
        self.lock = threading.RLock()
        names = ["control", "tty"] if request.tty else ["control", "stdin", "stdout", "stderr"]
        self._names = names
        self._threads: list[threading.Thread] = []

    def _start(self, thread: threading.Thread) -> None:
        self._threads.append(thread)
        thread.start()

    def _command(self, kernel: Path, initrd: Path, qemu: tuple[str, ...], smp: int) -> list[str]:
        command = [QEMU, "-M", "virt", "-m", "512M", "-smp", str(smp), "-display", "none"]
        command += ["-kernel", str(kernel), "-initrd", str(initrd), "-no-reboot", "-nodefaults"]
        command += ["-append", "console=ttyS0 quiet panic=-1"]
        command += ["-serial", f"file:{self._folder / 'console'}", "-device", "virtio-serial-pci"]
        for name in self._names:
            path = self._folder / name
            kind = "virtconsole" if name == "tty" else "virtserialport"
            command += ["-chardev", f"socket,id={name},path={path},server=on,wait=on"]
            command += ["-device", f"{kind},chardev={name},name=inn.{name}"]
        return command + list(qemu)

    def run(
        self, *, stdin: int | None, events: EventQueue | None, qemu: tuple[str, ...],
        outputs: tuple[int, int] | None, timeout_s: float, smp: int,
    ) -> Run:  # fmt: skip
        initrd = self._folder / "initrd"
        image = find_image()
        assert image is not None
        kernel, base = image
        initrd.write_bytes(join_initramfs(base.read_bytes(), self._request.segment()))
        log = open(self._folder / "log", "wb")  # noqa: SIM115
        process = subprocess.Popen(self._command(kernel, initrd, qemu, smp), stdout=log, stderr=log)
        ports: dict[str, SocketPort] = {}
        try:
            for name in self._names:
                self._wait_for(self._folder / name, process)
                ports[name] = SocketPort(self._folder / name, self.lock)
            return self._drive(process, ports, stdin, events, outputs, timeout_s)
        finally:
            process.kill()
            process.wait()
            for thread in self._threads:
                thread.join()
            log.close()
            for port in ports.values():
                port.stop()

    def _wait_for(self, path: Path, process: subprocess.Popen[bytes]) -> None:
        pause = threading.Event()
        while not path.exists():
            if process.poll() is not None:
                raise RuntimeError((self._folder / "log").read_text())
            pause.wait(0.01)

    def _drive(
        self, process: subprocess.Popen[bytes], ports: dict[str, SocketPort], stdin: int | None,
        events: EventQueue | None, outputs: tuple[int, int] | None, timeout_s: float,
    ) -> Run:  # fmt: skip
        out = open(self._folder / "out", "w+b")  # noqa: SIM115
        err = open(self._folder / "err", "w+b")  # noqa: SIM115
        session = RunSession(tty=self._request.tty)
        stdout, stderr = outputs or (out.fileno(), err.fileno())
        io = GuestIO(stdin=stdin, stdout=stdout, stderr=stderr)
        if events is not None:
            io.events = events
        handles = ConsolePorts(**ports)
        loop = SessionLoop(session, ports=handles, io=io, lock=self.lock)
        for port in ports.values():
            port.sink.guest_open(True)
            port.start()
        self._start(threading.Thread(target=self._watch, args=(process, loop), daemon=True))
        closer = _Closer(session, [p for n, p in ports.items() if n in ("stdout", "stderr")])
        self._start(closer)
        with out, err:
            status = loop.run(timeout_s=timeout_s)
            process.wait(30)
            out.seek(0)
            err.seek(0)
            return Run(status, out.read(), err.read(), self._console())

    def _watch(self, process: subprocess.Popen[bytes], loop: SessionLoop) -> None:
        process.wait()
        loop.machine_ended(why="", console=self._console())

    def _console(self) -> str:
        path = self._folder / "console"
        return path.read_text(errors="replace") if path.exists() else ""


class _Closer(threading.Thread):
    """Say that the guest closed its streams, which QEMU does not tell a socket."""

    def __init__(self, session: RunSession, ports: list[SocketPort]) -> None:
        super().__init__(daemon=True)
        self._session = session
        self._ports = ports

    def run(self) -> None:
        pause = threading.Event()
        while self._session.phase.value in ("booting", "running"):
            pause.wait(0.02)
        for port in self._ports:
            count = -1
            while count != port.received:
                count = port.received
                pause.wait(_QUIET_S)
            with port.lock:
                port.sink.guest_open(False)
