"""What a container's network may be asked to be, beside which one it is."""

from __future__ import annotations

from innkeeper.base.record import record


@record(kw_only=True)
class NetworkOptions:
    """The words of the command line; they are read where they are used.

    `publish` are `[IP:][HOSTPORT:]PORT[/PROTOCOL]`, `hosts` `NAME:ADDRESS`. `ip`, `ip6` and `mac`
    are for the one network there is. `cni_dir` is where CNI's configurations are.
    """

    publish: tuple[str, ...] = ()
    publish_all: bool = False
    ip: str = ""
    ip6: str = ""
    mac: str = ""
    aliases: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    cni_dir: str = ""

    @property
    def wants_network(self) -> bool:
        """Tell whether something is asked for that needs a network of the container's own."""
        addressed = self.ip or self.ip6 or self.mac or self.aliases
        return bool(self.publish or self.publish_all or addressed)
