"""`--network slirp`: user-mode networking, for users without privileges and for root.

`--network slirp[:OPTION,...]` with `pasta` or `slirp4netns` (which program; the first that is
installed otherwise), `ipv6=on|off` and `host-loopback=on|off` (whether the gateway's address leads
to what listens on the host's own 127.0.0.1, off by default). Nothing is set up on the host: the
helper has the host's side of every connection, and ends with the container (helpers.py).
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from shutil import which
from typing import TYPE_CHECKING, Any

from innkeeper.base.errors import MachineError, UsageError
from innkeeper.guests.containers.networks import helpers
from innkeeper.guests.containers.networks.files import (
    Files,
    added_hosts,
    is_address,
    outer_resolvers,
    resolvers,
)
from innkeeper.guests.containers.networks.options import NetworkOptions
from innkeeper.guests.containers.networks.words import read_ports

if TYPE_CHECKING:
    from innkeeper.guests.containers.records import Record
    from innkeeper.guests.containers.request import ContainerRequest

INTERFACE, TUN = "eth0", "/dev/net/tun"
# slirp4netns(1): its network has these unless told otherwise.
SLIRP_ADDRESS, SLIRP_GATEWAY, SLIRP_DNS = "10.0.2.100", "10.0.2.2", "10.0.2.3"
SLIRP_MTU = 65520
# pasta forwards questions for this address to the host's first resolver, wherever that listens.
PASTA_DNS = "169.254.1.1"
MAX_ROUTES_BYTES = 1 << 20
_SWITCHES = ("ipv6", "host-loopback")
_FIX = "give --network slirp[:pasta|slirp4netns][,ipv6=on|off][,host-loopback=on|off]"


def prepare(request: ContainerRequest, record: Record) -> None:
    """Choose the helper and the ports; refuse what this host, or a helper, does not have."""
    net: dict[str, Any] = record.data["net"]
    net |= _read(request.networks[0])
    options = request.net or NetworkOptions()
    if options.ip or options.ip6 or options.mac or options.aliases:
        raise UsageError(
            "--network slirp chooses its addresses itself", fix="leave out --ip, --mac-address ..."
        )
    net["helper"] = _installed(net.pop("wanted"))
    if not os.access(TUN, os.R_OK | os.W_OK):
        raise MachineError(
            f"--network slirp cannot open {TUN}",
            why="it is not there" if not os.path.exists(TUN) else "only root may",
            fix=f"as root: modprobe tun; chmod 666 {TUN}",
        )
    exposed = _exposed(record) if options.publish_all else ()
    net["ports"] = [_checked(port, net["helper"]) for port in read_ports(options.publish, exposed)]


def _read(text: str) -> dict[str, Any]:
    found: dict[str, Any] = {"wanted": "", "ipv6": True, "host-loopback": False}
    for word in filter(None, text.partition(":")[2].split(",")):
        key, equals, value = word.partition("=")
        if word in helpers.PROGRAMS:
            found["wanted"] = word
        elif key in _SWITCHES and equals and value in ("on", "off"):
            found[key] = value == "on"
        else:
            raise UsageError(f"--network {text[:80]!r}: there is no option {word!r}", fix=_FIX)
    return found


def _installed(wanted: str) -> str:
    programs = helpers.PROGRAMS if os.geteuid() != 0 else helpers.PROGRAMS[::-1]
    for program in (wanted,) if wanted else programs:  # pasta is made for users, above all
        if which(program):
            return program
    raise MachineError(
        f"--network slirp needs the program {wanted or 'pasta or slirp4netns'}",
        fix="apt-get install passt (it has pasta), or apt-get install slirp4netns",
    )


def _exposed(record: Record) -> tuple[str, ...]:
    return tuple(record.data.get("exposed") or ())


def _checked(port: dict[str, Any], helper: str) -> dict[str, Any]:
    """Refuse what the helper cannot publish; choose a port of the host's where none is given."""
    shown = f"{port['host_port'] or ''}:{port['port']}/{port['protocol']}"
    if port["protocol"] not in ("tcp", "udp"):
        raise UsageError(f"--publish {shown}", why="--network slirp has tcp and udp")
    if helper == "slirp4netns" and ":" in port["host"]:
        raise UsageError(
            f"--publish {shown}", why="slirp4netns listens on IPv4 addresses", fix="install passt"
        )
    family = socket.AF_INET6 if ":" in port["host"] else socket.AF_INET
    kind = socket.SOCK_STREAM if port["protocol"] == "tcp" else socket.SOCK_DGRAM
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((port["host"], port["host_port"]))
        except OSError as error:
            raise MachineError(
                f"port {port['host_port']} cannot be published", why=error.strerror or "",
                fix="publish another, or end what has it",
            ) from None  # fmt: skip
        return {**port, "host_port": probe.getsockname()[1]}


def files(request: ContainerRequest, record: Record) -> Files:
    """Return the container's names and resolver."""
    net, options = record.data["net"], request.net or NetworkOptions()
    pasta = net["helper"] == "pasta"
    own = "127.0.1.1" if pasta else SLIRP_ADDRESS
    names = (record.data.get("hostname") or request.options.hostname or record.name, record.name)
    gateway = (_gateway() if pasta else SLIRP_GATEWAY) if net["host-loopback"] else ""
    if not pasta:
        servers = [SLIRP_DNS]
    elif any(":" not in one for one in resolvers()):
        servers = [PASTA_DNS]
    else:  # it forwards to a resolver of the same family only
        servers = outer_resolvers()
    return Files(
        hosts=((own, tuple(dict.fromkeys(names))), *added_hosts(options, gateway=gateway)),
        nameservers=options.dns or tuple(servers),
        search=options.dns_search,
        options=options.dns_options,
    )


def _gateway() -> str:
    """Return the gateway of the host's IPv4 default route (proc_net(5)), which pasta also has."""
    with suppress(OSError, ValueError), open("/proc/net/route", "rb") as file:
        for line in file.read(MAX_ROUTES_BYTES).decode("ascii", "replace").splitlines()[1:]:
            words = line.split()
            if len(words) > 7 and words[1] == words[7] == "00000000":
                found = socket.inet_ntoa(bytes.fromhex(words[2])[::-1])
                return found if is_address(found) else ""
    return ""


def admit(record: Record, pid: int) -> None:
    """Open the namespaces of a process: once it is on its way, it cannot be looked into."""
    kinds = ("net", "user") if os.geteuid() != 0 else ("net",)
    record.namespaces = tuple(
        os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in kinds
    )


def attach(record: Record, pid: int) -> None:
    """Start the helper for the namespaces of a process, and publish the ports."""
    net = record.data["net"]
    ends, holds = os.pipe()
    guard = helpers.Guard(record, pid, holds=holds)
    try:
        if net["helper"] == "pasta":
            helper = helpers.start_pasta(_pasta(net, guard.pid), record.folder)
        else:
            words = _slirp4netns(net, guard.pid)
            helper = helpers.start_slirp(words, record.folder, ends_with=ends)
        guard.watch(helper)
    finally:
        guard.close()
        for fd in (ends, holds, *record.namespaces):
            os.close(fd)
        record.namespaces = ()
    if net["helper"] == "slirp4netns":
        for port in net["ports"]:
            _forward(record, port)


def _forward(record: Record, port: dict[str, Any]) -> None:
    helpers.call_api(
        record.folder, "add_hostfwd",
        {"proto": port["protocol"], "host_addr": port["host"] or "0.0.0.0",
         "host_port": port["host_port"], "guest_port": port["port"]},
    )  # fmt: skip


def _pasta(net: dict[str, Any], pid: int) -> list[str]:
    """Return the command line of `pasta` for the namespaces of a process.

    Nothing is forwarded that was not asked for.
    """
    words = ["pasta", "--config-net", "--quiet", "--ns-ifname", INTERFACE]
    words += [] if net["host-loopback"] else ["--no-map-gw"]
    words += [] if net["ipv6"] else ["--ipv4-only"]
    words += ["--dns-forward", PASTA_DNS] if any(":" not in one for one in resolvers()) else []
    for flag, protocol in (("-t", "tcp"), ("-u", "udp")):
        ports = [_spec(port) for port in net["ports"] if port["protocol"] == protocol]
        words += [word for one in ports or ["none"] for word in (flag, one)]
    words += ["-T", "none", "-U", "none"]
    if os.geteuid() == 0:  # else it would be "nobody", who may not join a namespace of root's
        words += ["--netns-only", "--runas", "0:0", "--netns", f"/proc/{pid}/ns/net"]
        return words
    return [*words, str(pid)]


def _spec(port: dict[str, Any]) -> str:
    host = f"{port['host']}/" if port["host"] else ""
    return f"{host}{port['host_port']}:{port['port']}"


def _slirp4netns(net: dict[str, Any], pid: int) -> list[str]:
    words = ["slirp4netns", "--configure", f"--mtu={SLIRP_MTU}", "--exit-fd=3", "--ready-fd=4"]
    words += ["--enable-sandbox", "--enable-seccomp"]
    words += [] if net["host-loopback"] else ["--disable-host-loopback"]
    words += ["--enable-ipv6"] if net["ipv6"] else []
    words += [f"--api-socket=/proc/self/fd/5/{helpers.API_SOCKET}"] if net["ports"] else []
    words += [f"--userns-path=/proc/{pid}/ns/user"] if os.geteuid() != 0 else []
    return [*words, str(pid), INTERFACE]


def detach(record: Record) -> None:
    """End the helper; nothing there is no error."""
    helpers.stop(record)


def sweep() -> list[str]:
    """End helpers that no container has any more."""
    return helpers.sweep()
