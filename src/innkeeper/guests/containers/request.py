"""What `inn run --engine container` is asked for."""

from __future__ import annotations

from typing import Any

from innkeeper.base.errors import UsageError
from innkeeper.base.record import field, record
from innkeeper.guests.containers.options import BundleOptions

MOST_RESTARTS = 1 << 30


@record(kw_only=True)
class ContainerRequest:
    """One container to be made and run.

    `argv` empty means the image's own command. `keep` leaves the container's files when it has
    ended, until `inn rm`. `network` is `none`, `host`,
    `container:NAME` (that container's) or `ns:PATH` (a namespace); `pids_limit` None the default.
    `restart` is `no`, `always` or `on-failure[:N]`, of a detached container that is kept.
    """

    image: str
    argv: tuple[str, ...] = ()
    name: str = ""
    detach: bool = False
    keep: bool = False
    stdin: bool = False
    timeout_s: float | None = None
    network: str = "none"
    pids_limit: int | None = None
    restart: str = "no"
    options: BundleOptions = field(default_factory=BundleOptions)

    def __post_init__(self) -> None:
        if self.timeout_s is not None and not 0 < self.timeout_s < 1e9:
            raise UsageError(f"timeout {self.timeout_s:g}", fix="give a number of seconds above 0")
        kind, _, which = self.network.partition(":")
        if self.network not in ("none", "host") and not (kind in ("ns", "container") and which):
            raise UsageError(
                f"there is no network {self.network!r} yet",
                fix="give --network none, host, container:NAME or ns:PATH",
            )
        if self.detach and self.options.tty:
            raise UsageError("a detached container has no terminal", fix="leave out -t or -d")
        if self.detach and self.timeout_s is not None:
            raise UsageError("--timeout is for the foreground", fix="inn stop ends a detached one")

        read_policy(self.restart)
        if self.restart != "no" and not (self.detach and self.keep):
            raise UsageError("--restart is for containers that stay", fix="use -d, without --rm")

    def summary(self) -> dict[str, Any]:
        """Return what is kept of the request in the container's record."""
        return {
            "image": self.image, "argv": list(self.argv), "name": self.name, "detach": self.detach,
            "keep": self.keep, "network": self.network, "tty": self.options.tty,
            "memory_bytes": self.options.memory_bytes, "restart": self.restart,
        }  # fmt: skip


def read_policy(text: str) -> tuple[str, int]:
    """Read `no`, `always` or `on-failure[:N]`; return the word, and how often at most."""
    word, colon, count = text.partition(":")
    known = word in ("no", "always", "on-failure") and (word == "on-failure" or not colon)
    if not known or (colon and not (count.isascii() and count.isdigit() and len(count) < 7)):
        raise UsageError(
            f"there is no restart policy {text!r}", fix="give no, always or on-failure[:N]"
        )
    return word, int(count) if colon else MOST_RESTARTS
