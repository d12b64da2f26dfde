"""What `--explain` prints: the machine and the boot that would be, without running anything."""

from __future__ import annotations

from innkeeper.base.units import MIB
from innkeeper.guests.boot import prepare_boot
from innkeeper.guests.config import BootConfig, MachineConfig, RunConfig
from innkeeper.images.store import Store


def explain(config: MachineConfig) -> str:
    """Say in lines what running `config` would do. Nothing is downloaded or built for it."""
    harts = "hart" if config.cpus == 1 else "harts"
    lines = [
        f"machine: virt ({config.arch}), engine {config.engine}, {config.cpus} {harts}, "
        f"{config.memory_bytes // MIB} MiB of RAM"
    ]
    lines += [
        f"volume: {v.source} at {v.target}{' (read-only)' if v.read_only else ''}"
        for v in config.volumes
    ]
    if config.icount:
        lines.append("time: counted in instructions, the same in every run")
    if config.timeout_s is not None:
        lines.append(f"timeout: {config.timeout_s:g} s")
    if isinstance(config, RunConfig):
        lines += _run_lines(config)
    elif isinstance(config, BootConfig):
        lines += [f"disk: {d.path}{' (read-only)' if d.read_only else ''}" for d in config.disks]
        lines += prepare_boot(config).plan.describe()
    return "\n".join(lines)


def _run_lines(config: RunConfig) -> list[str]:
    from innkeeper.guests.run import CMDLINE, describe_ports
    from innkeeper.images.debian import DEFAULT_SUITE

    suite, store = config.suite or DEFAULT_SUITE, Store()
    plain = not set(config.image) & set(":/@")
    image = store.find(config.image, suite=suite, arch=config.arch) if plain else None
    words = " ".join(str(word) for word in config.argv) or "(the default shell)"
    lines = [f"command: {words}", f"kernel command line: {CMDLINE} {config.append}".rstrip()]
    lines.append(f"ports: {describe_ports(config)}")
    if image is None and (found := _oci_line(config)):
        return [*lines, found]
    if image is None:
        return [*lines, f"image: {config.image} ({suite}) is not here and would be built first"]
    lines.append(f"image: {image.name} ({image.suite}, made {image.created}, {image.state})")
    lines.append(f"kernel: {config.kernel or store.blob_path(image.kernel)}")
    lines.append(f"initrd: {store.blob_path(image.initrd)} and the request")
    if image.disk is not None:
        lines.append(f"root disk: {store.blob_path(image.disk)}, writes are forgotten")
    return lines


def _oci_line(config: RunConfig) -> str:
    """Describe the OCI image that a run means, if there is one."""
    from innkeeper.guests.ociguest import find_oci
    from innkeeper.images.debian import RECIPES
    from innkeeper.images.oci.platforms import describe

    found = None if config.image in RECIPES else find_oci(config)
    if found is None:
        return ""
    facts = f"{found.name} ({describe(found.platform)}, {found.descriptor.digest})"
    return f"image: {facts}, its files on a disk, the kernel of busybox"
