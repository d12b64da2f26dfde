"""A container's `/etc/hosts` and `/etc/resolv.conf` (hosts(5), resolv.conf(5))."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from innkeeper.base.errors import UsageError
from innkeeper.base.record import record
from innkeeper.guests.containers.hostfiles import host_file
from innkeeper.images.paths import storage_errors

if TYPE_CHECKING:
    from innkeeper.guests.containers.networks.options import NetworkOptions
    from innkeeper.guests.containers.records import Record
    from innkeeper.guests.containers.request import ContainerRequest

LOCAL = b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
HOSTS, RESOLV = "hosts", "resolv.conf"
# Where systemd-resolved keeps the resolvers that stand behind the stub of 127.0.0.53.
_RESOLVED = "/run/systemd/resolve/resolv.conf"
_WORD = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-:")


@record(kw_only=True)
class Files:
    """What goes into the files: lines of hosts(5) as (address, names); the resolver's words."""

    hosts: tuple[tuple[str, tuple[str, ...]], ...] = ()
    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def hosts_text(self) -> bytes:
        """Return the text of `/etc/hosts`."""
        lines = (f"{address}\t{' '.join(names)}\n" for address, names in self.hosts)
        return LOCAL + "".join(lines).encode()

    def resolv_text(self) -> bytes:
        """Return the text of `/etc/resolv.conf`."""
        lines = [f"search {' '.join(self.search)}"] if self.search else []
        lines += [f"nameserver {address}" for address in self.nameservers]
        lines += [f"options {' '.join(self.options)}"] if self.options else []
        return "".join(f"{line}\n" for line in lines).encode()

    def write(self, folder: Path) -> None:
        """Write both in place: they are mounted in the container by their inodes."""
        with storage_errors("make a container", folder):
            (folder / HOSTS).write_bytes(self.hosts_text())
            (folder / RESOLV).write_bytes(self.resolv_text())


def added_hosts(options: NetworkOptions, *, gateway: str = "") -> list[tuple[str, tuple[str, ...]]]:
    """Read `--add-host NAME:ADDRESS`; the address `host-gateway` is the host's, as seen inside."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for text in options.hosts:
        name, _, address = text.partition(":")
        address = gateway if address == "host-gateway" and gateway else address.strip("[]")
        if not is_word(name) or not is_address(address):
            raise UsageError(f"--add-host {text!r}", fix="write it as NAME:ADDRESS")
        found.append((address, (name,)))
    return found


def checked_dns(options: NetworkOptions) -> None:
    """Refuse what cannot stand in resolv.conf(5)."""
    for address in options.dns:
        if not is_address(address):
            raise UsageError(f"--dns {address!r} is not an address", fix="--dns 192.0.2.53")
    for word in (*options.dns_search, *options.dns_options):
        if not is_word(word):
            raise UsageError(f"{word!r} cannot be in /etc/resolv.conf", fix="leave it out")


def is_address(text: str) -> bool:
    """Tell whether a text is an IPv4 or IPv6 address; one with a zone is not."""
    try:
        return "%" not in text and bool(ip_address(text))
    except ValueError:
        return False


def is_word(text: str) -> bool:
    """Tell whether a text is one harmless word of a file of words."""
    return 0 < len(text) < 256 and _WORD.issuperset(text)


def resolvers(path: str = "/etc/resolv.conf") -> list[str]:
    """Return the addresses of the host's resolvers."""
    found = []
    for line in host_file(path).decode("utf-8", "replace").splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver" and is_address(words[1]):
            found.append(words[1])
    return found


def outer_resolvers() -> list[str]:
    """Return the host's resolvers that a container reaches: none that listens on its loopback."""
    for path in ("/etc/resolv.conf", _RESOLVED):
        found = [one for one in resolvers(path) if not ip_address(one).is_loopback]
        if found:
            return found
    return []


def search() -> list[str]:
    """Return the domains that the host looks for names in."""
    found: list[str] = []
    for line in host_file("/etc/resolv.conf").decode("utf-8", "replace").splitlines():
        kind, *words = line.split() or [""]
        if kind in ("search", "domain"):
            found = [word for word in words if is_word(word)]
    return found


def adapt(texts: dict[str, bytes], request: ContainerRequest, record: Record) -> None:
    """Change a container's files to what its network, and the caller, want in them."""
    from innkeeper.guests.containers.networks import mode_named
    from innkeeper.guests.containers.networks.options import NetworkOptions
    from innkeeper.guests.containers.request import PLAIN_MODES

    options = request.net or NetworkOptions()
    checked_dns(options)
    if request.mode not in PLAIN_MODES:
        found = mode_named(request.mode).files(request, record)
        texts[HOSTS], texts[RESOLV] = found.hosts_text(), found.resolv_text()
        return
    if request.mode == "container":
        _take_over(texts, request.networks[0].partition(":")[2])
    for address, names in added_hosts(options):
        texts[HOSTS] += f"{address}\t{' '.join(names)}\n".encode()
    if options.dns or options.dns_search or options.dns_options:
        texts[RESOLV] = Files(
            nameservers=options.dns, search=options.dns_search, options=options.dns_options
        ).resolv_text()


def _take_over(texts: dict[str, bytes], name: str) -> None:
    """Have the names of the container whose network is shared."""
    from innkeeper.guests.containers.records import find

    folder = find(name).folder
    for file in (HOSTS, RESOLV):
        texts[file] = host_file(str(folder / file)) or texts[file]
