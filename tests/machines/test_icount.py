"""Deterministic time: runs that are the same, timers at exact counts, waiting that takes no time."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from innkeeper.api import Guest
from innkeeper.base.errors import DownloadError, NotFoundError
from innkeeper.firmware.boot import plan_boot
from innkeeper.firmware.kernel_file import Raw
from innkeeper.guests.randomness import REPEATED_SEED, SeededSource
from innkeeper.isa.riscv.asm import assemble
from innkeeper.machines.clock import VIRTUAL_EPOCH_NS
from innkeeper.machines.outcome import End
from innkeeper.machines.virt import VirtConfig, VirtMachine

KERNEL_BASE = 0x80200000
RAM_BYTES = 16 << 20

OFF = """
off:
    li a7, 0x53525354
    li a6, 0
    li a0, 0
    li a1, 0
    ecall
"""

# Three harts: IPIs, timers, AMOs, device accesses, page crossings; hart 0 ends it.
BUSY = """
_start:
    mv s0, a0
    bnez s0, others
    li s2, 1
1:  li a7, 0x48534D
    li a6, 0
    mv a0, s2
    la a1, others
    li a2, 0
    ecall
    addi s2, s2, 1
    li t0, 3
    bne s2, t0, 1b
    mv s0, x0
others:
    mv s0, a0
    la t0, handler
    csrw stvec, t0
    li t0, 1 << 5 | 1 << 1
    csrw sie, t0
    csrsi sstatus, 2
    li s1, 400
    jal set_timer
loop:
    la t0, counter
    li t1, 3
    amoadd.d s3, t1, (t0)
    mul s4, s4, s3
    addi s4, s4, 77
    jal far
    li t0, 0x10000005           # the UART's line status
    lbu t1, 0(t0)
    add s4, s4, t1
    andi t0, s1, 15
    bnez t0, 2f
    li a7, 0x735049             # an IPI to everyone
    li a6, 0
    li a0, 0
    li a1, -1
    ecall
    wfi
2:  li t0, 100
3:  addi t0, t0, -1
    bnez t0, 3b
    addi s1, s1, -1
    bnez s1, loop
    la t0, finished
    li t1, 1
    amoadd.d x0, t1, (t0)
    beqz s0, 5f
4:  wfi
    j 4b
5:  ld t1, 0(t0)
    li t2, 3
    bne t1, t2, 5b
    j off
set_timer:
    rdtime a0
    addi a0, a0, 17
    li a7, 0x54494D45
    li a6, 0
    ecall
    ret
.align 2
handler:
    csrr t3, scause
    slli t3, t3, 1
    srli t3, t3, 1
    li t4, 5
    bne t3, t4, 1f
    rdtime t3
    addi t3, t3, 23
    la t4, ticks
    amoadd.d x0, t3, (t4)
    mv t5, a0
    mv t6, a1
    mv a0, t3
    mv s6, a6
    mv s7, a7
    li a7, 0x54494D45
    li a6, 0
    ecall
    mv a6, s6
    mv a7, s7
    mv a0, t5
    mv a1, t6
1:  csrci sip, 2
    sret
.align 12
far: ret
.align 12
counter: .dword 0
.align 6
finished: .dword 0
.align 6
ticks: .dword 0
.align 12
"""


def virtual(source: str, folder: Path, *, harts: int = 1) -> VirtMachine:
    """Run a supervisor program by virtual time until it powers off."""
    path = folder / "program.bin"
    path.write_bytes(assemble(source, base=KERNEL_BASE).image)
    machine = VirtMachine(VirtConfig(hart_count=harts, ram_bytes=RAM_BYTES, icount=True))
    machine.boot(plan_boot(machine.config.board(), kernel=str(path), raw=Raw.ALWAYS))
    assert machine.run().end is End.POWER_OFF
    return machine


def trace(machine: VirtMachine) -> tuple[Any, ...]:
    """All that tells one run from another."""
    memory = hashlib.sha256(machine.memory.read(0x80000000, RAM_BYTES)).hexdigest()
    counts = [h.instret for h in machine.harts]
    return machine.emulator.digest, counts, machine.emulator.virtual_ns(), memory


@pytest.mark.parametrize("harts", [3])
def test_runs_are_the_same_with_and_without_regions(
    harts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    for regions in ("off", "on", "on", "eager"):
        monkeypatch.setenv("INN_REGIONS", regions)
        machine = virtual(BUSY + OFF, tmp_path, harts=harts)
        seen.append(trace(machine))
        machine.close()
    assert seen[1:] == seen[:1] * 3
    assert min(seen[0][1]) > 50_000


def test_a_timer_is_due_at_its_instruction(tmp_path: Path) -> None:
    """A loop of two instructions is interrupted in the tick that was asked for."""
    machine = virtual(
        """
_start:
    la t0, handler
    csrw stvec, t0
    li t0, 1 << 5
    csrw sie, t0
    csrsi sstatus, 2
    la s2, log
    li s3, 50
    rdtime s4
    jal set_timer
1:  addi s5, s5, 1
    j 1b
set_timer:
    addi s4, s4, 331
    mv a0, s4
    li a7, 0x54494D45
    li a6, 0
    ecall
    ret
.align 2
handler:
    rdtime t0
    sub t0, t0, s4
    sd t0, 0(s2)
    addi s2, s2, 8
    addi s3, s3, -1
    beqz s3, off
    jal set_timer
    sret
.align 3
log: .zero 400
"""
        + OFF,
        tmp_path,
    )
    log = machine.memory.read(machine.harts[0].x[18] - 400, 400)
    assert log == bytes(400)
    assert machine.harts[0].instret >= 50 * 33100


def test_waiting_takes_no_time_of_the_host(tmp_path: Path) -> None:
    """A hart sleeps for ten years, to the tick, and the real-time clock agrees."""
    ticks = 10 * 365 * 86400 * 10**7
    machine = virtual(
        f"""
_start:
    li t0, 1 << 5
    csrw sie, t0
    rdtime s2
    li t1, {ticks}
    add s2, s2, t1
    mv a0, s2
    li a7, 0x54494D45
    li a6, 0
    ecall
    wfi
    rdtime s3
    sub s3, s3, s2
    li t0, 0x101000
    lwu s4, 0(t0)
    lwu t1, 4(t0)
    slli t1, t1, 32
    or s4, s4, t1
"""
        + OFF,
        tmp_path,
    )
    x = machine.harts[0].x
    assert x[19] == 0
    assert 0 <= x[20] - VIRTUAL_EPOCH_NS - ticks * 100 < 10_000


def test_an_alarm_is_skipped_to(tmp_path: Path) -> None:
    """With no timer set and every hart waiting, the real-time clock's alarm is what comes next."""
    machine = virtual(
        """
_start:
    li t0, 0xc000000
    li t1, 1
    sw t1, 44(t0)
    li t2, 0x2080
    add t2, t0, t2
    li t3, 1 << 11
    sw t3, 0(t2)
    li t0, 0x101000
    sw t1, 0x10(t0)
    lwu t2, 0(t0)
    lwu t3, 4(t0)
    slli t3, t3, 32
    or s2, t2, t3
    li t3, 3600000000000
    add s2, s2, t3
    srli t3, s2, 32
    sw t3, 0xc(t0)
    sw s2, 8(t0)
    li t1, 1 << 9
    csrw sie, t1
    wfi
    lwu t2, 0(t0)
    lwu t3, 4(t0)
    slli t3, t3, 32
    or s3, t2, t3
"""
        + OFF,
        tmp_path,
    )
    x = machine.harts[0].x
    assert 0 <= x[19] - x[18] < 10_000


def test_the_seeded_source_is_a_stream() -> None:
    whole, pieces = SeededSource(REPEATED_SEED), SeededSource(REPEATED_SEED)
    data = whole(1000)
    assert b"".join(pieces(n) for n in (1, 63, 64, 65, 807)) == data
    assert len(set(data)) > 200
    assert SeededSource(b"another")(1000) != data


@pytest.mark.guest
def test_a_linux_guest_does_the_same_twice() -> None:
    """What depends on time and chance, printed by a guest that computes, sleeps and forks."""
    script = (
        "date; cat /proc/uptime /proc/sys/kernel/random/uuid; sleep 100; date; "
        "for i in 1 2 3; do head -c 65536 /dev/urandom | sha256sum & done; wait; cat /proc/uptime; "
        "cat /proc/interrupts"
    )
    try:
        seen = [
            Guest.run("busybox", ["sh", "-c", script], icount=True, cpus=2, timeout_s=600)
            for _ in range(2)
        ]
    except (DownloadError, NotFoundError) as error:
        pytest.skip(f"no package mirror can be reached: {error}")
    assert seen[0] == seen[1]
    assert seen[0].status == 0
    assert seen[0].stdout.count(b"Thu Jan  1") == 2 and b"2026" in seen[0].stdout
