"""The device tree of the `virt` board, from a description of the machine."""

from __future__ import annotations

from innkeeper.base.errors import UsageError
from innkeeper.base.record import record, replace
from innkeeper.base.units import MIB, PAGE_BYTES
from innkeeper.firmware import virt_layout as at
from innkeeper.firmware.fdt import U64, Node, Value, flatten

MAX_BOOTARGS_BYTES = 2047
"""RISC-V Linux keeps a command line of COMMAND_LINE_SIZE (2048) bytes with its NUL."""

MAX_SEED_BYTES = 512
MIN_RAM_BYTES = 4 * MIB

_M_SOFT, _M_TIMER, _M_EXTERNAL = 3, 7, 11
_S_SOFT, _S_EXTERNAL = 1, 9
_SINGLE_LETTERS = "iemafdqlcbkjtpvnh"
"""The order of single letters in an ISA string (RISC-V Unprivileged, ISA naming table)."""

_PCI_IO, _PCI_MMIO32, _PCI_MMIO64 = 0x0100_0000, 0x0200_0000, 0x0300_0000
_PCI_DEVICE_SHIFT = 11


@record
class HartSpec:
    """What one hart is, in the words of the device tree bindings (riscv/cpus.yaml,
    extensions.yaml).

    `extensions` are lower-case names as in `riscv,isa-extensions`; `mmu` is `sv39`, `sv48`, `sv57`
    or `none`. A block size of 0 leaves its property out.
    """

    base: str = "rv64i"
    extensions: tuple[str, ...] = ("i", "m", "a", "f", "d", "c", "zicsr", "zifencei")
    mmu: str = "sv57"
    cbom_block_bytes: int = 0
    cbop_block_bytes: int = 0
    cboz_block_bytes: int = 0

    @property
    def isa(self) -> str:
        """The ISA string for `riscv,isa`: single letters in order, then the long names."""
        letters = [name for name in _SINGLE_LETTERS if name in self.extensions]
        names = sorted((name for name in self.extensions if len(name) > 1), key=_name_rank)
        return "_".join([self.base[:4] + "".join(letters), *names])


@record
class VirtBoard:
    """One `virt` machine as its device tree tells it; `build_tree` turns it into the blob."""

    ram_bytes: int
    harts: tuple[HartSpec, ...] = (HartSpec(),)
    bootargs: str = ""
    initrd: tuple[int, int] | None = None
    """The initrd's first address and the first address past it."""

    rng_seed: bytes = b""
    virtio_slots: int = at.VIRTIO_SLOTS
    pcie: bool = True
    sswi: bool = True
    rtc: bool = True
    boot_hart: int = 0
    timebase_hz: int = at.TIMEBASE_HZ
    model: str = "innkeeper,virt"

    def with_chosen(
        self, *, bootargs: str, initrd: tuple[int, int] | None, rng_seed: bytes = b""
    ) -> VirtBoard:
        """Return the same machine, booted differently."""
        return replace(self, bootargs=bootargs, initrd=initrd, rng_seed=rng_seed)

    def check(self) -> None:
        """Raise `UsageError` when this cannot be a `virt` board."""
        if not 1 <= len(self.harts) <= at.MAX_HARTS:
            raise UsageError(
                f"{len(self.harts)} harts asked for", why=f"1 to {at.MAX_HARTS} can be"
            )
        if not MIN_RAM_BYTES <= self.ram_bytes <= at.MAX_RAM_BYTES or self.ram_bytes % PAGE_BYTES:
            raise UsageError(
                f"{self.ram_bytes} bytes of RAM asked for",
                why="4 MiB to 4 TiB in whole 4 KiB pages can be",
                fix="use --memory 1G",
            )
        if not 0 <= self.virtio_slots <= at.VIRTIO_SLOTS:
            raise UsageError(
                f"{self.virtio_slots} virtio-mmio slots asked for", why="0 to 8 can be"
            )
        if len(self.bootargs.encode()) > MAX_BOOTARGS_BYTES or "\0" in self.bootargs:
            raise UsageError(
                "the kernel command line does not fit",
                why=f"a kernel takes {MAX_BOOTARGS_BYTES} bytes without NULs",
                fix="shorten --append",
            )
        if len(self.rng_seed) > MAX_SEED_BYTES or not 0 <= self.boot_hart < len(self.harts):
            raise UsageError("the board's random seed or its boot hart is out of range")


def build_tree(board: VirtBoard, *, room: int = 0) -> bytes:
    """Return the flattened device tree of `board`, with `room` bytes free at its end.

    `UsageError` when the board cannot be (`VirtBoard.check`).
    """
    board.check()
    return flatten(describe(board), boot_hart=board.boot_hart, room=room)


def describe(board: VirtBoard) -> Node:
    """Return the device tree of `board` as nodes."""
    root = Node().set("#address-cells", 2).set("#size-cells", 2)
    root.set("compatible", "riscv-virtio").set("model", board.model)
    root.add("aliases").set("serial0", f"/soc/serial@{at.UART.base:x}")
    _chosen(root, board)
    root.add("memory", at.DRAM_BASE).set("device_type", "memory").set(
        "reg", *_reg(at.dram(board.ram_bytes))
    )
    intcs = _cpus(root, board)
    soc = root.add("soc").set("#address-cells", 2).set("#size-cells", 2)
    soc.set("compatible", "simple-bus").set("ranges")
    plic = _interrupt_controllers(soc, board, intcs)
    _platform_devices(root, soc, plic, board)
    if board.pcie:
        _pcie(soc, plic, board)
    return root


def _reg(region: at.Region) -> tuple[Value, ...]:
    return U64(region.base), U64(region.size)


def _name_rank(name: str) -> tuple[int, int, str]:
    """Order long names as ISA strings do: Z by its second letter, then S, then X."""
    kind = "zsx".find(name[0])
    category = _SINGLE_LETTERS.find(name[1]) if name[0] == "z" else 0
    return kind if kind >= 0 else 3, category if category >= 0 else len(_SINGLE_LETTERS), name


def _chosen(root: Node, board: VirtBoard) -> None:
    chosen = root.add("chosen").set("stdout-path", f"/soc/serial@{at.UART.base:x}")
    if board.bootargs:
        chosen.set("bootargs", board.bootargs)
    if board.initrd is not None:
        start, end = board.initrd
        chosen.set("linux,initrd-start", U64(start)).set("linux,initrd-end", U64(end))
    if board.rng_seed:
        chosen.set("rng-seed", board.rng_seed)


def _cpus(root: Node, board: VirtBoard) -> list[Node]:
    """Add the harts, and return the interrupt controller inside each."""
    cpus = root.add("cpus").set("#address-cells", 1).set("#size-cells", 0)
    cpus.set("timebase-frequency", board.timebase_hz)
    nodes = [_cpu(cpus, index, hart) for index, hart in enumerate(board.harts)]
    cluster = cpus.add("cpu-map").add("cluster0")
    for index, cpu in enumerate(nodes):
        cluster.add(f"core{index}").set("cpu", cpu)
    return [cpu.children["interrupt-controller"] for cpu in nodes]


def _cpu(cpus: Node, index: int, hart: HartSpec) -> Node:
    cpu = cpus.add("cpu", index).set("device_type", "cpu").set("reg", index)
    cpu.set("status", "okay").set("compatible", "riscv").set("riscv,isa", hart.isa)
    cpu.set("riscv,isa-base", hart.base).set("riscv,isa-extensions", *hart.extensions)
    cpu.set("mmu-type", f"riscv,{hart.mmu}")
    sizes = {
        "cbom": hart.cbom_block_bytes,
        "cbop": hart.cbop_block_bytes,
        "cboz": hart.cboz_block_bytes,
    }
    for name, size in sizes.items():
        if size:
            cpu.set(f"riscv,{name}-block-size", size)
    intc = cpu.add("interrupt-controller").set("#interrupt-cells", 1).set("interrupt-controller")
    intc.set("compatible", "riscv,cpu-intc")
    return cpu


def _interrupt_controllers(soc: Node, board: VirtBoard, intcs: list[Node]) -> Node:
    """Add CLINT, SSWI and PLIC, and return the PLIC."""
    clint = soc.add("clint", at.CLINT.base).set("compatible", "sifive,clint0", "riscv,clint0")
    clint.set("reg", *_reg(at.CLINT))
    clint.set("interrupts-extended", *_to_each(intcs, _M_SOFT, _M_TIMER))
    if board.sswi:
        sswi = soc.add("sswi", at.SSWI.base).set("compatible", "riscv,aclint-sswi")
        sswi.set("reg", *_reg(at.SSWI)).set("interrupts-extended", *_to_each(intcs, _S_SOFT))
        sswi.set("interrupt-controller").set("#interrupt-cells", 0)
    plic = soc.add("plic", at.PLIC.base).set("compatible", "sifive,plic-1.0.0", "riscv,plic0")
    plic.set("reg", *_reg(at.PLIC)).set("riscv,ndev", at.PLIC_SOURCES)
    plic.set("interrupts-extended", *_to_each(intcs, _M_EXTERNAL, _S_EXTERNAL))
    plic.set("interrupt-controller").set("#interrupt-cells", 1).set("#address-cells", 0)
    return plic


def _to_each(intcs: list[Node], *causes: int) -> list[Value]:
    return [cell for intc in intcs for cause in causes for cell in (intc, cause)]


def _platform_devices(root: Node, soc: Node, plic: Node, board: VirtBoard) -> None:
    test = soc.add("test", at.TEST.base).set("reg", *_reg(at.TEST))
    test.set("compatible", "sifive,test1", "sifive,test0", "syscon")
    for name, value in (("poweroff", at.TEST_POWEROFF), ("reboot", at.TEST_REBOOT)):
        node = root.add(name).set("compatible", f"syscon-{name}").set("regmap", test)
        node.set("offset", 0).set("value", value)
    if board.rtc:
        _device(soc, plic, "rtc", at.RTC, irq=at.RTC_IRQ, compatible="google,goldfish-rtc")
    uart = _device(soc, plic, "serial", at.UART, irq=at.UART_IRQ, compatible="ns16550a")
    uart.set("clock-frequency", at.UART_CLOCK_HZ)
    for slot in range(board.virtio_slots):
        region, irq = at.virtio_slot(slot), at.virtio_irq(slot)
        _device(soc, plic, "virtio_mmio", region, irq=irq, compatible="virtio,mmio")


def _device(
    soc: Node, plic: Node, name: str, region: at.Region, *, irq: int, compatible: str
) -> Node:
    node = soc.add(name, region.base).set("compatible", compatible).set("reg", *_reg(region))
    return node.set("interrupt-parent", plic).set("interrupts", irq)


def _pcie(soc: Node, plic: Node, board: VirtBoard) -> None:
    """Add the ECAM host (PCI Bus Binding to Open Firmware 2.1; host-generic-pci.yaml)."""
    pci = soc.add("pci", at.PCIE_ECAM.base).set("compatible", "pci-host-ecam-generic")
    pci.set("device_type", "pci").set("reg", *_reg(at.PCIE_ECAM))
    pci.set("#address-cells", 3).set("#size-cells", 2).set("#interrupt-cells", 1)
    pci.set("linux,pci-domain", 0).set("bus-range", 0, (at.PCIE_ECAM.size >> 20) - 1)
    pci.set("dma-coherent")
    windows = [
        (_PCI_IO, 0, at.PCIE_PIO),
        (_PCI_MMIO32, at.PCIE_MMIO32.base, at.PCIE_MMIO32),
        (_PCI_MMIO64, at.pcie_mmio64(board.ram_bytes).base, at.pcie_mmio64(board.ram_bytes)),
    ]
    ranges: list[Value] = []
    for space, pci_address, region in windows:
        ranges += [space, U64(pci_address), U64(region.base), U64(region.size)]
    pci.set("ranges", *ranges)
    pci.set("interrupt-map-mask", (at.PCIE_IRQS - 1) << _PCI_DEVICE_SHIFT, U64(0), 7)
    routes: list[Value] = []
    for device in range(at.PCIE_IRQS):
        for pin in range(1, at.PCIE_IRQS + 1):
            address = device << _PCI_DEVICE_SHIFT
            routes += [address, U64(0), pin, plic, at.pcie_irq(device, pin)]
    pci.set("interrupt-map", *routes)
