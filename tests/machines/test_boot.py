"""Debian's own riscv64 kernel, unmodified, boots to user space on the `virt` board."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from innkeeper.base.errors import DownloadError, NotFoundError
from innkeeper.firmware.boot import plan_boot
from innkeeper.images import debian
from innkeeper.images.store import Store
from innkeeper.machines.outcome import End, Outcome
from innkeeper.machines.virt import VirtConfig, VirtMachine

pytestmark = pytest.mark.guest

INIT = """\
#!/bin/busybox sh
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mkdir -p /bin
busybox --install -s /bin
echo "marker: user space"
echo "harts: $(grep -c ^processor /proc/cpuinfo)"
echo "isa: $(grep -m1 '^isa' /proc/cpuinfo)"
echo "mmu: $(grep -m1 '^mmu' /proc/cpuinfo)"
echo "kernel: $(uname -r)"
i=0
while [ $i -lt 4 ]; do
    ( busybox seq 1 2000 | busybox sha256sum | busybox cut -c1-16 > /tmp/sum$i ) &
    i=$((i + 1))
done
wait
echo "sums: $(cat /tmp/sum*)" | tr '\\n' ' '
echo
busybox awk 'BEGIN { printf "float: %.15f %.6e\\n", 1 / 3 + 2.5 * 7, 1e-310 / 7 }'
busybox grep -E 'ipi|IPI|timer' /proc/interrupts | busybox head -3
case "$(cat /proc/cmdline)" in
*end=panic*) echo c > /proc/sysrq-trigger ;;
*end=reboot*) reboot -f ;;
*) poweroff -f ;;
esac
"""
# seq 1 2000 | sha256sum, first 16 digits
SUM = "6251e5743b6fd6a7"


class Console:
    """What the guest's serial port prints."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: Any) -> int:
        self.data += bytes(data)
        return len(data)

    def guest_open(self, is_open: bool) -> None:
        """The port has no such notion."""

    @property
    def text(self) -> str:
        return self.data.decode("utf-8", "replace").replace("\r", "")


def cpio(name: str, data: bytes, mode: int) -> bytes:
    """Return a cpio archive (newc) of one file; the kernel unpacks it over what came before."""

    def entry(name: str, data: bytes, mode: int) -> bytes:
        fields = (1, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08X" % f for f in fields) + name.encode() + b"\0"
        return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)

    return entry(name, data, mode) + entry("TRAILER!!!", b"", 0)


@dataclass(frozen=True)
class Image:
    """What to boot: the kernel as Debian ships it, and an initrd with the test's own `/init`."""

    kernel: Path
    initrd: Path
    release: str


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    store = Store()
    try:
        manifest = debian.build("busybox", store=store)
    except (DownloadError, NotFoundError) as error:
        pytest.skip(f"no package mirror can be reached: {error}")
    initrd = tmp_path_factory.mktemp("boot") / "initrd"
    whole = store.blob_path(manifest.initrd).read_bytes()
    initrd.write_bytes(whole + bytes(-len(whole) % 4) + cpio("init", INIT.encode(), 0o100755))
    return Image(store.blob_path(manifest.kernel), initrd, manifest.kernel_release)


def boot(image: Image, *, harts: int, end: str) -> tuple[VirtMachine, Console, Outcome]:
    machine = VirtMachine(
        VirtConfig(hart_count=harts, ram_bytes=256 << 20, rng_seed=bytes(range(32)))
    )
    console = Console()
    machine.uart.sink = console
    plan = plan_boot(
        machine.config.board(),
        kernel=str(image.kernel),
        initrd=str(image.initrd),
        cmdline=f"console=ttyS0 earlycon=sbi panic=-1 end={end}",
    )
    machine.boot(plan)
    return machine, console, machine.run()


@pytest.mark.parametrize(
    ("harts", "regions"), [(1, "on"), (2, "on"), (4, "on"), (1, "off"), (2, "off"), (1, "at once")]
)
def test_debian_boots_and_powers_off(
    image: Image, harts: int, regions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With regions as they come, without any, and with one wanted for every place that is met."""
    monkeypatch.setenv("INN_REGIONS", "off" if regions == "off" else "on")
    if regions == "at once":
        for name, value in (("THRESHOLD", 1), ("GROWTH", 0), ("KNOWN_FACTOR", 1)):
            monkeypatch.setattr(f"innkeeper.engine.emulator.regions.service.{name}", value)
    machine, console, outcome = boot(image, harts=harts, end="poweroff")
    text = console.text
    assert outcome.end is End.POWER_OFF, text[-2000:]
    assert "marker: user space" in text
    assert f"harts: {harts}" in text
    assert f"kernel: {image.release}" in text
    assert re.search(r"sums: *(" + SUM + r"\s*){4}", text), text[-2000:]
    assert "float: 17.833333333333332 1.428571e-311" in text
    assert re.search(r"mmu\s*: sv57", text)
    for bad in ("Oops", "BUG:", "Kernel panic", "WARNING:", "rcu_sched", "soft lockup"):
        assert bad not in text, text[-4000:]
    assert all(h.instret > 1_000_000 for h in machine.harts)


def test_reboot_is_told_apart(image: Image) -> None:
    _, console, outcome = boot(image, harts=1, end="reboot")
    assert outcome.end is End.RESET, console.text[-2000:]


def test_a_panic_ends_the_machine_too(image: Image) -> None:
    _, console, outcome = boot(image, harts=1, end="panic")
    assert "Kernel panic" in console.text
    assert outcome.end in (End.RESET, End.FAILURE)
