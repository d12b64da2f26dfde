"""Ports of the host's for containers: chosen, and kept from others as long as they are in use."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from innkeeper.base.errors import MachineError
from innkeeper.guests.containers import records
from innkeeper.guests.containers.networks.state import State

MOST_HELD = 256  # descriptors; what is more is looked at, and not held
TRIES = 64
EVERY_ADDRESS = ("0.0.0.0", "::")  # of one version; "" is of both
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


def reserve(wanted: list[dict[str, Any]], state: State) -> tuple[list[dict[str, Any]], list[int]]:
    """Return the ports with the host's chosen, and descriptors that hold them.

    Each is a socket that is bound and does not listen: nobody else gets the port, and the packet
    filter leads away what is sent there. `MachineError` when one is taken.
    """
    found: list[dict[str, Any]] = []
    held: list[int] = []
    try:
        for port in wanted:
            given, fd = _one(port, state, found)
            found.append(given)
            if len(held) < MOST_HELD:
                held.append(fd)
            else:
                os.close(fd)
    except BaseException:
        for fd in held:
            os.close(fd)
        raise
    return found, held


def _one(
    port: dict[str, Any], state: State, found: list[dict[str, Any]]
) -> tuple[dict[str, Any], int]:
    if port["host_port"]:
        _refuse_taken(port, state, found)
        return port, _bound(port)[0]
    for _ in range(TRIES):
        fd, number = _bound(port)
        given = {**port, "host_port": number}
        if not any(_meet(given, one) for one in found) and _owner(given, state) is None:
            return given, fd
        os.close(fd)  # held by nobody, but led away by our rules
    raise MachineError("there is no free port", fix="publish fewer")


def _refuse_taken(port: dict[str, Any], state: State, found: list[dict[str, Any]]) -> None:
    owner = _owner(port, state)
    if owner is not None or any(_meet(port, one) for one in found):
        whose = "it is given twice" if owner is None else f"container {owner} has it"
        raise MachineError(f"port {_shown(port)} is taken", why=whose, fix="publish another")


def _owner(port: dict[str, Any], state: State) -> str | None:
    """Return the name of the container that has a port already."""
    for entry in state.containers.values():
        if any(_meet(port, other) for other in entry["ports"]):
            return str(entry["name"])
    return None


def _meet(one: dict[str, Any], other: dict[str, Any]) -> bool:
    if any(one[key] != other[key] for key in ("host_port", "protocol")):
        return False
    hosts = {one["host"], other["host"]}
    if len(hosts) == 1 or "" in hosts:
        return True
    versions = {":" in host for host in hosts}
    return len(versions) == 1 and not hosts.isdisjoint(EVERY_ADDRESS)


def _bound(port: dict[str, Any]) -> tuple[int, int]:
    """Bind a socket to a port, 0 for any; return its descriptor and the port."""
    family = socket.AF_INET6 if ":" in port["host"] else socket.AF_INET
    # SCTP is not in every kernel; a datagram socket stands in for the number.
    made = socket.socket(family, _KINDS.get(port["protocol"], socket.SOCK_DGRAM))
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((port["host"], port["host_port"]))
    except OSError as error:
        made.close()
        why = {errno.EADDRINUSE: "another program has it", errno.EADDRNOTAVAIL: "the host has no "
               "such address"}.get(error.errno or 0, error.strerror or "")  # fmt: skip
        raise MachineError(f"port {_shown(port)} cannot be had", why=why,
                           fix="publish another, or end what has it") from None  # fmt: skip
    number = int(made.getsockname()[1])
    return made.detach(), number


def _shown(port: dict[str, Any]) -> str:
    host = f"{port['host']}:" if port["host"] else ""
    return f"{host}{port['host_port']}/{port['protocol']}"


def hold(record: records.Record, held: list[int]) -> None:
    """Let descriptors live as long as the process that attends to the container, whatever program
    that becomes (detached.py)."""
    for fd in held:
        os.set_inheritable(fd, True)
    record.data["net"]["held"] = {"pid": os.getpid(), "fds": held}


def let_go(record: records.Record) -> None:
    """Give back what this process holds of a container's ports."""
    held = record.data["net"].pop("held", {})
    if held.get("pid") == os.getpid():
        for fd in held["fds"]:
            if _is_socket(fd):
                os.close(fd)


def _is_socket(fd: int) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")
    except OSError:
        return False
