"""Who may ask for what: containers' names, as those on the same networks see them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from innkeeper.base.record import record
from innkeeper.guests.containers.networks.dns import wire
from innkeeper.guests.containers.networks.dns.wire import Question

Address = IPv4Address | IPv6Address
MAX_ADDRESSES = 256  # in one answer


@record
class Forward:
    """A question that is for somebody else; `servers` the client's own, or empty."""

    servers: tuple[str, ...]


class Names:
    """What is known, made from the entries of what is attached (`state.py`).

    `outside` are the names of the networks that lead out of the host.
    """

    def __init__(self, containers: Mapping[str, Any], outside: Iterable[str]) -> None:
        self._clients: dict[Address, str] = {}
        self._networks: dict[str, set[str]] = {}
        self._names: dict[tuple[str, str], list[Address]] = {}
        self._primary: dict[tuple[str, Address], str] = {}
        self._servers: dict[str, tuple[str, ...]] = {}
        self._outside = frozenset(outside)
        for container, entry in containers.items():
            self._servers[container] = tuple(entry["dns"])
            for link in entry["links"]:
                self._add(container, link)

    def _add(self, container: str, link: Mapping[str, Any]) -> None:
        network = link["network"]
        addresses = [ip_address(text.partition("/")[0]) for text in link["addresses"]]
        self._networks.setdefault(container, set()).add(network)
        for address in addresses:
            self._clients[address] = container
            if link["names"]:
                self._primary[network, address] = link["names"][0]
        for name in link["names"]:
            self._names.setdefault((network, name.lower()), []).extend(addresses)

    def answer(self, question: Question, client: Address, limit: int) -> bytes | Forward:
        """Answer a question, or say who is to. Only containers are answered (RFC 5358: a resolver
        that answers all the world is a weapon)."""
        asking = self._clients.get(client)
        if asking is None:
            return wire.answer(question, (), wire.REFUSED)
        networks = self._networks[asking]
        found = self._addresses(question.name, networks)
        if found is not None:
            kinds = {wire.A: 4, wire.AAAA: 6}
            version = kinds.get(question.kind)
            chosen = [a for a in found if a.version == version or question.kind == wire.ANY]
            return wire.answer(question, [wire.address_record(a) for a in chosen], limit=limit)
        name = self._reverse(question, networks)
        if name is not None:
            return wire.answer(question, [wire.name_record(name)], limit=limit)
        if not networks & self._outside:
            return wire.answer(question, (), wire.NAME_ERROR)
        return Forward(self._servers[asking])

    def _addresses(self, name: str, networks: set[str]) -> list[Address] | None:
        """Return what a name stands for on some networks; None when it is no container's."""
        found: dict[Address, None] = {}
        for network in sorted(networks):
            found.update(dict.fromkeys(self._names.get((network, name), ())))
        return list(found)[:MAX_ADDRESSES] or None

    def _reverse(self, question: Question, networks: set[str]) -> str | None:
        if question.kind not in (wire.PTR, wire.ANY):
            return None
        address = wire.reverse_address(question.name)
        if address is None:
            return None
        return next(
            (self._primary[n, address] for n in networks if (n, address) in self._primary), None
        )
