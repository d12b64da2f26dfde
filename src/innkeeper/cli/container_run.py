"""`inn run --engine container`: the command line turned into a container's request."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from innkeeper.base.errors import UsageError
from innkeeper.cli.life_parsing import health_options, log_options
from innkeeper.cli.parsing import has_input, parse_environment, parse_volumes
from innkeeper.guests.containers.options import BundleOptions
from innkeeper.guests.containers.request import ContainerRequest

if TYPE_CHECKING:
    from innkeeper.guests.containers.networks.options import NetworkOptions

_NETWORK = frozenset(
    ("publish", "publish_all", "ip", "ip6", "mac_address", "network_alias", "add_host", "dns",
     "dns_search", "dns_option", "cni_config_dir")
)  # fmt: skip
_MACHINES_ONLY = ("arch", "suite", "mirror", "kernel", "append", "icount", "explain")


def run_container(options: dict[str, Any], given: frozenset[str]) -> int:
    """Run a container in the foreground, or start it and print its id."""
    keys = options.get("detach_keys")
    if keys is not None and not options["detach"]:
        return _run_attached(container_request(_to_leave(options), given), keys)
    request = container_request(options, given)
    if request.detach:
        from innkeeper.guests.containers.detached import start

        print(start(request, shown))
        return 0
    from innkeeper.guests.containers.foreground import run

    return run(request, shown)


def _to_leave(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a detached container that goes at its end, like one in front."""
    interactive = has_input(interactive=options["interactive"])
    return {
        **options, "detach": True, "remove": not options["keep"], "interactive": interactive
    }  # fmt: skip


def _run_attached(request: ContainerRequest, keys: str) -> int:
    """Run a container with this command attached to it, which may leave it running."""
    from _socket import AF_UNIX, SOCK_SEQPACKET, socketpair

    from innkeeper.base.record import replace
    from innkeeper.guests.containers import attaching, records
    from innkeeper.guests.containers.detached import start

    attaching.parse_keys(keys)
    ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET)
    record = records.find(start(replace(request, stdin_once=True), shown, theirs))
    theirs.close()
    return attaching.attach(record, ours, stdin=request.stdin, keys=keys, proxy=True)


def shown() -> Any:
    """Show progress of what takes long."""
    from innkeeper.cli.progress import shown_progress  # late: it imports a lot

    return shown_progress()


def container_request(options: dict[str, Any], given: frozenset[str]) -> ContainerRequest:
    """Turn the command line into a request; what a container does not have is refused."""
    for name in _MACHINES_ONLY:
        if name in given:
            raise UsageError(f"--{name} is for emulated machines", fix="use --engine emulate")
    argv = list(options["command"])
    if argv[:1] == ["--"]:
        del argv[0]
    keep = options["keep"] or (options["detach"] and not options["remove"])
    if options["keep"] and options["remove"]:
        raise UsageError("--keep and --rm contradict each other")
    return ContainerRequest(
        image=options["image"],
        argv=tuple(argv),
        name=options["name"] or "",
        detach=options["detach"],
        keep=keep,
        stdin=options["interactive"]
        if options["detach"]
        else has_input(interactive=options["interactive"]),
        timeout_s=options["timeout"],
        networks=options["network"] or _default_network(given),
        net=_network_options(options) if given & _NETWORK else None,
        pids_limit=options["pids_limit"],
        restart=options["restart"],
        log=log_options(options),
        health=health_options(options),
        options=_bundle_options(options, given),
    )


def _default_network(given: frozenset[str]) -> tuple[str, ...]:
    """Return the network of a container that was given none: one that can have ports if it has."""
    if not given & {"publish", "publish_all"}:
        return ("none",)
    return ("bridge" if os.geteuid() == 0 else "slirp",)


def _network_options(options: dict[str, Any]) -> NetworkOptions:
    from innkeeper.guests.containers.networks.options import NetworkOptions

    return NetworkOptions(
        publish=options["publish"],
        publish_all=options["publish_all"],
        ip=options["ip"] or "",
        ip6=options["ip6"] or "",
        mac=options["mac_address"] or "",
        aliases=options["network_alias"],
        hosts=options["add_host"],
        dns=options["dns"],
        dns_search=options["dns_search"],
        dns_options=options["dns_option"],
        cni_dir=_absolute(options["cni_config_dir"]),
    )


def _absolute(folder: str | None) -> str:
    return os.path.abspath(folder) if folder else ""


def _bundle_options(options: dict[str, Any], given: frozenset[str]) -> BundleOptions:
    env = parse_environment(options["env"])
    if options["tty"]:
        env = {"TERM": os.environ.get("TERM", "xterm")} | env
    if not options["workdir"].startswith("/"):
        raise UsageError(f"--workdir {options['workdir']}", fix="give an absolute path")
    entrypoint = options["entrypoint"]
    return BundleOptions(
        entrypoint=None if entrypoint is None else tuple(filter(None, [entrypoint])),
        env=env,
        workdir=options["workdir"] if "workdir" in given else None,
        user=options["user"],
        hostname=options["hostname"] or "",
        tty=options["tty"],
        read_only=options["read_only"],
        cap_add=options["cap_add"],
        cap_drop=options["cap_drop"],
        security_opt=options["security_opt"],
        memory_bytes=options["memory"] if "memory" in given else None,
        cpus=float(options["cpus"]) if "cpus" in given else None,
        volumes=parse_volumes(options["volumes"]),
        tmpfs=options["tmpfs"],
    )
