"""A D-Bus client, as small as what a container runtime asks of systemd."""

from __future__ import annotations

import os
import socket

from innkeeper.containers.cgroups import dbus_codec as codec
from innkeeper.containers.cgroups.errors import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SYSTEM_BUS = "/run/dbus/system_bus_socket"
SYSTEMD_PRIVATE = "/run/systemd/private"
TIMEOUT_S = 30.0
MAX_AUTH_BYTES = 4096
MAX_PENDING = 1024


class DBusError(CgroupError):
    """The bus, or the service behind it, refuses; `name` is the error's name."""

    def __init__(self, what: str, *, name: str = "", why: str = "") -> None:
        self.name = name
        super().__init__(what, why=why or name)


def addresses(*, user: bool) -> list[tuple[str, bool]]:
    """Return (socket, whether it is a bus) to try for the system's or the user's manager."""
    variable = "DBUS_SESSION_BUS_ADDRESS" if user else "DBUS_SYSTEM_BUS_ADDRESS"
    found = []
    for address in os.environ.get(variable, "").split(";"):
        if address.startswith("unix:"):
            options = dict(o.split("=", 1) for o in address[5:].split(",") if "=" in o)
            if path := options.get("path"):
                found.append((path, True))
            elif abstract := options.get("abstract"):
                found.append(("\0" + abstract, True))
    if user:
        runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
        return [*found, (f"{runtime}/bus", True), (f"{runtime}/systemd/private", False)]
    return [*found, (SYSTEM_BUS, True), (SYSTEMD_PRIVATE, False)]


def connect(*, user: bool) -> Connection:
    """Connect to the first of the known sockets that answers."""
    tried = []
    for path, is_bus in addresses(user=user):
        try:
            return Connection(path, is_bus=is_bus)
        except OSError as e:
            tried.append(f"{path}: {os.strerror(e.errno or 0)}")
    raise DBusError("cannot reach systemd over D-Bus", why="; ".join(tried))


class Connection:
    """An authenticated connection. Signals that arrive meanwhile are kept for `wait_signal`."""

    def __init__(self, path: str, *, is_bus: bool) -> None:
        self.serial = 0
        self.signals: list[codec.Message] = []
        self.is_bus = is_bus
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(TIMEOUT_S)
        self.socket.connect(path)
        self._authenticate()
        if is_bus:
            self.call_bus("Hello", "")

    def _authenticate(self) -> None:
        """Authenticate by the credentials the kernel vouches for (SASL EXTERNAL)."""
        identity = str(os.geteuid()).encode().hex()
        self.socket.sendall(b"\0AUTH EXTERNAL " + identity.encode() + b"\r\n")
        answer = b""
        while not answer.endswith(b"\r\n"):
            part = self.socket.recv(512)
            answer += part
            if not part or len(answer) > MAX_AUTH_BYTES:
                raise DBusError("D-Bus authentication failed", why="no answer")
        if not answer.startswith(b"OK "):
            raise DBusError("D-Bus authentication failed", why=answer.decode(errors="replace"))
        self.socket.sendall(b"BEGIN\r\n")

    def send(self, kind: int, signature: str, body: list[Any], **fields: Any) -> int:
        """Send a message and return its serial number."""
        self.serial += 1
        if signature:
            fields["signature"] = signature
        self.socket.sendall(codec.Message(kind, self.serial, body, **fields).encode())
        return self.serial

    def receive(self) -> codec.Message:
        """Return the next message, of whatever kind."""
        try:
            head = self._exactly(16)
            return codec.decode(head + self._exactly(codec.message_size(head) - 16))
        except codec.DBusFormatError as e:
            raise DBusError("a D-Bus message makes no sense", why=str(e)) from None
        except TimeoutError:
            raise DBusError("no answer over D-Bus", why=f"waited {TIMEOUT_S:g} s") from None

    def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise DBusError("D-Bus connection closed", why="the bus hung up")
            data += part
        return bytes(data)

    def call(
        self, path: str, interface: str, member: str, signature: str = "", *body: Any, to: str = ""
    ) -> list[Any]:
        """Call a method and return the body of its answer; raises DBusError."""
        fields = {"path": path, "interface": interface, "member": member}
        if to and self.is_bus:
            fields["destination"] = to
        serial = self.send(codec.CALL, signature, list(body), **fields)
        while True:
            message = self.receive()
            if message.kind == codec.SIGNAL:
                if len(self.signals) < MAX_PENDING:
                    self.signals.append(message)
            elif message.fields.get("reply_serial") == serial:
                if message.kind == codec.RETURN:
                    return message.body
                why = message.body[0] if message.body and isinstance(message.body[0], str) else ""
                name = message.fields.get("error_name", "")
                raise DBusError(f"D-Bus {member} failed", name=name, why=why)

    def call_bus(self, member: str, signature: str, *body: Any) -> list[Any]:
        """Call the bus itself."""
        name = "org.freedesktop.DBus"
        return self.call("/org/freedesktop/DBus", name, member, signature, *body, to=name)

    def wait_signal(self, member: str) -> codec.Message:
        """Return the next signal of this name."""
        while True:
            message = self.signals.pop(0) if self.signals else self.receive()
            if message.kind == codec.SIGNAL and message.fields.get("member") == member:
                return message

    def __del__(self) -> None:
        self.socket.close()
