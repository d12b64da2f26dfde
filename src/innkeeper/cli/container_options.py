"""The options of `inn run` that only `--engine container` has."""

from __future__ import annotations

import click
from click.core import ParameterSource

from innkeeper.base.errors import UsageError
from innkeeper.cli.completing import complete_networks
from innkeeper.cli.container_life_options import LIFE_NAMES, life_options
from innkeeper.cli.options import combined

NAMES = (
    "detach", "remove", "keep", "network", "pids_limit", "cap_add", "cap_drop", "security_opt",
    "read_only", "hostname", "restart", "entrypoint", "tmpfs", "publish", "publish_all", "ip",
    "ip6", "mac_address", "network_alias", "add_host", "dns", "dns_search", "dns_option",
    "cni_config_dir",
    *LIFE_NAMES,
)  # fmt: skip

container_options = combined(
    [
        click.option("--detach", "-d", is_flag=True,
                     help="Container: print its id and leave it running."),
        click.option("--rm", "remove", is_flag=True,
                     help="Container: remove it at its end (as is done in the foreground)."),
        click.option("--keep", is_flag=True, help="Container: keep its files until `inn rm`."),
        click.option("--network", "--net", multiple=True, metavar="WHICH",
                     shell_complete=complete_networks,
                     help="Container: none (the default), host, slirp, container:NAME, ns:PATH, "
                          "bridge, or NETWORK[:ip=A,alias=N,...], also several."),
        click.option("--publish", "-p", multiple=True, metavar="[IP:][HOSTPORT:]PORT[/udp]",
                     help="Container: let the host's port lead to the container's."),
        click.option("--publish-all", "-P", is_flag=True,
                     help="Container: publish the image's ports at free ports of the host."),
        click.option("--ip", default=None, metavar="ADDRESS", help="Container: its IPv4 address."),
        click.option("--ip6", default=None, metavar="ADDRESS", help="Container: its IPv6 address."),
        click.option("--mac-address", default=None, metavar="ADDRESS",
                     help="Container: its Ethernet address."),
        click.option("--network-alias", multiple=True, metavar="NAME",
                     help="Container: another name for it on its networks."),
        click.option("--add-host", multiple=True, metavar="NAME:ADDRESS",
                     help="Container: a line for its /etc/hosts."),
        click.option("--dns", multiple=True, metavar="ADDRESS", help="Container: its resolver."),
        click.option("--dns-search", multiple=True, metavar="DOMAIN",
                     help="Container: a domain for names without one."),
        click.option("--dns-option", multiple=True, metavar="WORD",
                     help="Container: an option of resolv.conf(5)."),
        click.option("--cni-config-dir", default=None, metavar="DIR",
                     help="Container: where CNI networks are configured (/etc/cni/net.d)."),
        click.option("--pids-limit", type=click.IntRange(0, 4194304), default=None, metavar="N",
                     help="Container: most processes and threads (default 2048; 0: no limit)."),
        click.option("--cap-add", multiple=True, metavar="NAME",
                     help="Container: give a capability, or ALL."),
        click.option("--cap-drop", multiple=True, metavar="NAME",
                     help="Container: take a capability away, or ALL."),
        click.option("--security-opt", multiple=True, metavar="WORD",
                     help="Container: no-new-privileges, seccomp=FILE|unconfined, unmask=ALL."),
        click.option("--read-only", is_flag=True, help="Container: its root is not written to."),
        click.option("--tmpfs", multiple=True, metavar="DIR[:OPTIONS]",
                     help="Container: a file system in memory at DIR."),
        click.option("--entrypoint", default=None, metavar="PROGRAM",
                     help="Container: instead of the image's entry point."),
        click.option("--restart", default="no", show_default=True,
                     metavar="no|always|unless-stopped|on-failure[:N]",
                     help="Container: start a detached one again when it ends."),
        click.option("--hostname", default=None, help="Container: its host name."),
        life_options,
    ]
)  # fmt: skip


def given_options() -> frozenset[str]:
    """Return the names of the options that were typed, not their defaults."""
    context = click.get_current_context()
    return frozenset(
        name for name in context.params
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    )  # fmt: skip


def refuse_container_options(given: frozenset[str]) -> None:
    """Refuse what an emulated machine does not have."""
    for name in NAMES:
        if name in given:
            flag = "--rm" if name == "remove" else "--" + name.replace("_", "-")
            raise UsageError(f"{flag} is for containers", fix="add --engine container")
