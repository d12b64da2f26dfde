"""`inn run`: one command in a guest made from an image."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from innkeeper.base.errors import NotFoundError, UsageError
from innkeeper.base.record import field, record, replace
from innkeeper.base.units import MIB, align_up
from innkeeper.devices.virtio.console import Console
from innkeeper.devices.virtio.console_port import PortConfig
from innkeeper.firmware.boot import BootPlan, plan_boot
from innkeeper.guests.config import DEFAULT_PATH, RunConfig
from innkeeper.guests.devices import MakeDevice, scratch_disk_maker, share_makers
from innkeeper.guests.io import GuestIO
from innkeeper.guests.loop import ConsolePorts, SessionLoop
from innkeeper.guests.machine_thread import ConsoleLog, MachineThread
from innkeeper.guests.randomness import Randomness
from innkeeper.guests.request import (
    VOLUME_TAG,
    DiskRoot,
    GuestRequest,
    GuestVolume,
    join_initramfs,
)
from innkeeper.guests.session import RunSession
from innkeeper.images.progress import SILENT, Progress
from innkeeper.images.store import Manifest, Store
from innkeeper.machines.outcome import Outcome
from innkeeper.machines.virt import VirtConfig, VirtMachine

CMDLINE = "console=ttyS0 quiet panic=-1 cryptomgr.notests initcall_blacklist=jent_mod_init"
"""The guest's kernel command line. The last two spare a third of the boot: self-tests of crypto,
and the calibration of an entropy source that a guest seeded by its host has no use for
(Linux Documentation/admin-guide/kernel-parameters.rst)."""

WORKING_BYTES = 64 * MIB
DEFAULT_SUITE = "trixie"
OCI_SUITE = "oci"  # as images/oci/machine.py has it


@record(frozen=False)
class Prepared:
    """Everything a run needs, worked out before the machine starts."""

    image: Manifest
    machine: VirtConfig
    plan: BootPlan
    cmdline: str
    holds: ExitStack = field(default_factory=ExitStack)


def obtain(
    name: str, *, suite: str | None, arch: str, mirror: str | None, store: Store,
    progress: Progress = SILENT,
) -> Manifest:  # fmt: skip
    """Return an image that is ready to run, building it the first time."""
    suite = suite or DEFAULT_SUITE
    image = store.find(name, suite=suite, arch=arch)
    if image is None:
        from innkeeper.images import debian

        if name not in debian.RECIPES:
            made = ", ".join(debian.RECIPES)
            raise NotFoundError(
                f"there is no image {name!r}",
                fix=f"`inn image ls` lists what is here; these can be made: {made}",
            )
        image = debian.build(
            name, suite=suite, arch=arch, mirror=mirror, store=store, progress=progress
        )
    return _finish(image, store, progress)


def build_image(
    name: str, *, progress: Progress = SILENT, suite: str | None = None,
    arch: str = "riscv64", mirror: str | None = None, include: Sequence[str] = (),
    tag: str = "", rebuild: bool = False,
) -> Manifest:  # fmt: skip
    """Build an image and, where it needs one, run its second stage; return it ready."""
    from innkeeper.images import debian

    store = Store()
    image = debian.build(
        name, suite=suite or DEFAULT_SUITE, arch=arch, mirror=mirror, include=include,
        tag=tag, store=store, progress=progress, rebuild=rebuild,
    )  # fmt: skip
    return _finish(image, store, progress)


def _finish(image: Manifest, store: Store, progress: Progress) -> Manifest:
    """Run the second stage of an unpacked image, once for all processes that want it."""
    if image.state == "ready":
        return image
    from innkeeper.guests.setup import run_setup
    from innkeeper.images import secondstage

    with store.lock(f"finish-{image.name}-{image.suite}-{image.arch}"):
        again = store.find(image.name, suite=image.suite, arch=image.arch) or image
        return secondstage.finish(again, run_setup, store=store, progress=progress)


def prepare(config: RunConfig, *, store: Store, progress: Progress = SILENT) -> Prepared:
    """Work out the machine, the request and the boot plan of a run."""
    if config.arch != "riscv64":
        raise UsageError(f"no engine for {config.arch} guests yet", fix="use --arch riscv64")
    if config.engine != "emulate":
        raise UsageError(f"there is no engine {config.engine!r} yet", fix="use --engine emulate")
    config, image = _image(config, store, progress)
    holds = ExitStack()
    holds.enter_context(store.in_use())
    randomness = Randomness.of(repeated=config.icount)
    devices = _devices(config, image, store, randomness)
    machine = VirtConfig(
        hart_count=config.cpus, ram_bytes=config.memory_bytes, devices=devices,
        rng_seed=randomness.seed, pcie=True, icount=config.icount,
    )  # fmt: skip
    initrd = _initrd(config, image, store, holds)
    cmdline = " ".join(part for part in (CMDLINE, config.append) if part)
    plan = plan_boot(
        machine.board(),
        kernel=config.kernel or store.blob_path(image.kernel),
        initrd=initrd,
        cmdline=cmdline,
    )
    _check_memory(config, plan)
    return Prepared(image, machine, plan, cmdline, holds)


def _image(config: RunConfig, store: Store, progress: Progress) -> tuple[RunConfig, Manifest]:
    """Return the image to boot, and the run with the defaults of an OCI image in it.

    A plain name means a machine's image where there is one, or where one can be made.
    """

    def get(name: str) -> Manifest:
        return obtain(
            name, suite=config.suite, arch=config.arch, mirror=config.mirror, store=store,
            progress=progress,
        )  # fmt: skip

    suite = config.suite or DEFAULT_SUITE
    named = not set(config.image) & set(":/@")
    if named and store.find(config.image, suite=suite, arch=config.arch) is not None:
        return config, get(config.image)
    from innkeeper.guests import ociguest
    from innkeeper.images.debian import RECIPES

    found = None if config.image in RECIPES else ociguest.find_oci(config)
    if found is None:
        return config, get(config.image)
    return ociguest.as_machine(config, found, get, store=store, progress=progress)


def _check_memory(config: RunConfig, plan: BootPlan) -> None:
    """Refuse what Linux could only hang on: the kernel, the initramfs twice, and room to work."""
    initrd = plan.initrd.size if plan.initrd else 0
    kernel = plan.kernel.end - plan.kernel.start if plan.kernel else 0
    needed = align_up(kernel + 2 * initrd + WORKING_BYTES, 16 * MIB)
    if config.memory_bytes < needed:
        raise UsageError(
            f"{config.memory_bytes // MIB} MiB is too little memory for {config.image}",
            fix=f"give at least --memory {needed // MIB}M",
        )


def port_configs(config: RunConfig) -> list[PortConfig]:
    """Return the virtio console's ports for a run (docs/guest-protocol.md)."""
    if config.tty:
        return [
            PortConfig(name="inn.tty", is_console=True),
            PortConfig(name="inn.control"),
        ]
    names = ["inn.control", "inn.stdout", "inn.stderr"]
    if config.stdin:
        names.append("inn.stdin")
    return [PortConfig(name=name) for name in names]


def describe_ports(config: RunConfig) -> str:
    """Name the ports for `--explain`."""
    return ", ".join(port.name for port in port_configs(config))


def _devices(
    config: RunConfig, image: Manifest, store: Store, randomness: Randomness
) -> list[MakeDevice]:
    """Return makers of the run's virtio devices: console, entropy, disk, shares."""
    ports = port_configs(config)
    size = config.terminal
    makers: list[MakeDevice] = [
        lambda memory: Console(
            memory, ports, columns=size.columns, rows=size.rows, rows_first=True
        ),
        randomness.entropy,
    ]
    if image.disk is not None:
        makers.append(scratch_disk_maker(store.blob_path(image.disk)))
    return [*makers, *share_makers(config.volumes)]


def _initrd(config: RunConfig, image: Manifest, store: Store, holds: ExitStack) -> Path:
    """Append the request to the image's initramfs, in memory; return a path to it."""
    # What an OCI image has in it is its own business: a shell, for one, it need not have.
    bare = image.suite == OCI_SUITE
    root = None if image.disk is None else DiskRoot(writes="forgotten", bare=bare)
    request = GuestRequest(
        argv=config.argv or ("/bin/sh",),
        env={"PATH": DEFAULT_PATH, **config.env},
        workdir=config.workdir,
        user=config.user,
        hostname=config.hostname or config.name or image.name,
        stdin=config.stdin,
        tty=config.tty,
        terminal=config.terminal,
        root=root,
        volumes=tuple(
            GuestVolume(tag=VOLUME_TAG.format(index=n), target=v.target, read_only=v.read_only)
            for n, v in enumerate(config.volumes)
        ),
    )
    request = replace(request, modules=request.needed_modules(mmio=False))
    data = join_initramfs(store.blob_path(image.initrd).read_bytes(), request.segment())
    handle = os.memfd_create("initrd", os.MFD_CLOEXEC)
    holds.callback(os.close, handle)
    with os.fdopen(os.dup(handle), "wb") as f:
        f.write(data)
    return Path(f"/proc/self/fd/{handle}")


def run(config: RunConfig, io: GuestIO) -> int:
    """Run a command in a fresh guest and return its exit status.

    Raises `GuestTimeout`, or `MachineError` when the guest ends without one.
    """
    prepared = prepare(config, store=Store(), progress=io.progress or SILENT)
    with prepared.holds:
        machine = VirtMachine(prepared.machine)
        console = next(d for d in machine.virtio if isinstance(d, Console))
        log = ConsoleLog(_echo if "console" in os.environ.get("INN_DEBUG", "") else None)
        machine.uart.sink = log
        machine.boot(prepared.plan)
        session = RunSession(tty=config.tty)
        loop = SessionLoop(session, ports=_ports(config, console), io=io, lock=machine.lock)

        def ended(outcome: Outcome | None, error: BaseException | None) -> None:
            why = f"the emulator failed: {error!r}" if error is not None else ""
            loop.machine_ended(why=why, console=log.text)

        thread = MachineThread(machine, ended)
        thread.start()
        try:
            return loop.run(timeout_s=config.timeout_s)
        finally:
            thread.stop()
            machine.close()


def _ports(config: RunConfig, console: Console) -> ConsolePorts:
    if config.tty:
        return ConsolePorts(control=console.port("inn.control"), tty=console.port("inn.tty"))
    return ConsolePorts(
        control=console.port("inn.control"),
        stdin=console.port("inn.stdin") if config.stdin else None,
        stdout=console.port("inn.stdout"),
        stderr=console.port("inn.stderr"),
    )


def _echo(data: bytes) -> None:
    sys.stderr.buffer.write(data)
    sys.stderr.flush()
