"""What `inn run --engine container` is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from innkeeper.base.errors import UsageError
from innkeeper.base.record import field, record
from innkeeper.guests.containers.encoding import encode
from innkeeper.guests.containers.options import BundleOptions
from innkeeper.guests.containers.request_parts import HealthOptions, LogOptions

if TYPE_CHECKING:
    from innkeeper.guests.containers.networks.options import NetworkOptions

MOST_RESTARTS = 1 << 30
POLICIES = ("no", "always", "unless-stopped", "on-failure")
# The modes that set something up are modules of `networks/`; the others need no module.
PLAIN_MODES = ("none", "host", "container", "ns")
MODES = ("bridge", "slirp")


@record(kw_only=True)
class ContainerRequest:
    """One container to be made and run.

    `argv` empty means the image's own command. `keep` leaves the container's files when it has
    ended, until `inn rm`. `networks` is one of `none`, `host`, `container:NAME` (that container's)
    or `ns:PATH` (a namespace), or any number of networks, each as `NETWORK[:OPTION=VALUE,...]`;
    `net` says more about them. `pids_limit` None is the default.
    `restart` is `no`, `always`, `unless-stopped` or `on-failure[:N]`, of a detached container that
    is kept. `stdin`: it has an input; with `stdin_once`, until the first who is attached has no
    more.
    """

    image: str
    argv: tuple[str, ...] = ()
    name: str = ""
    detach: bool = False
    keep: bool = False
    stdin: bool = False
    stdin_once: bool = False
    timeout_s: float | None = None
    networks: tuple[str, ...] = ("none",)
    net: NetworkOptions | None = None
    pids_limit: int | None = None
    restart: str = "no"
    log: LogOptions = field(default_factory=LogOptions)
    health: HealthOptions = field(default_factory=HealthOptions)
    options: BundleOptions = field(default_factory=BundleOptions)

    def __post_init__(self) -> None:
        if self.timeout_s is not None and not 0 < self.timeout_s < 1e9:
            raise UsageError(f"timeout {self.timeout_s:g}", fix="give a number of seconds above 0")
        self._check_network()
        if self.detach and self.timeout_s is not None:
            raise UsageError("--timeout is for the foreground", fix="inn stop ends a detached one")

        read_policy(self.restart)
        if self.health.on_failure == "restart" and not self.detach:
            raise UsageError("--health-on-failure restart is for detached containers", fix="-d")
        if self.restart != "no" and not (self.detach and self.keep):
            raise UsageError("--restart is for containers that stay", fix="use -d, without --rm")

    def _check_network(self) -> None:
        words = [text.partition(":") for text in self.networks]
        alone = [w for w, _, _ in words if w != "bridge" and w in (*PLAIN_MODES, *MODES)]
        if not words or (alone and len(words) > 1):
            raise UsageError(
                f"--network {' --network '.join(self.networks)}",
                why=f"{alone[0]} is the only one a container has" if alone else "there is none",
            )
        kind, colon, which = words[0]
        unknown = self.mode not in (*PLAIN_MODES, *MODES)
        sound = bool(which) if kind in ("container", "ns") else not (colon and kind in PLAIN_MODES)
        if unknown or not sound:
            raise UsageError(
                f"there is no network {self.networks[0]!r}",
                fix="give --network none, host, slirp, container:NAME, ns:PATH, bridge or another",
            )
        if self.net is not None and self.net.wants_network and self.mode in PLAIN_MODES:
            raise UsageError(
                f"--network {self.networks[0]} has no address and no ports of its own",
                fix="add --network bridge, or slirp",
            )

    @property
    def mode(self) -> str:
        """Who makes its network: one of `PLAIN_MODES` or `MODES`."""
        word = self.networks[0].partition(":")[0]
        return word if word in PLAIN_MODES or word in MODES else "bridge"

    def summary(self) -> dict[str, Any]:
        """Return what is kept of the request in the container's record."""
        return {
            "image": self.image, "argv": list(self.argv), "name": self.name, "detach": self.detach,
            "keep": self.keep, "networks": list(self.networks), "tty": self.options.tty,
            "memory_bytes": self.options.memory_bytes, "restart": self.restart,
            "stdin": self.stdin, "stdin_once": self.stdin_once,
            "log": {"driver": self.log.driver, "max_bytes": self.log.max_bytes,
                    "max_files": self.log.max_files},
            "request": encode(self),
        }  # fmt: skip


def read_policy(text: str) -> tuple[str, int]:
    """Read `no`, `always` or `on-failure[:N]`; return the word, and how often at most."""
    word, colon, count = text.partition(":")
    known = word in POLICIES and (word == "on-failure" or not colon)
    if not known or (colon and not (count.isascii() and count.isdigit() and len(count) < 7)):
        raise UsageError(
            f"there is no restart policy {text!r}",
            fix="give no, always, unless-stopped or on-failure[:N]",
        )
    return word, int(count) if colon else MOST_RESTARTS
