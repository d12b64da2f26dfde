"""A board whose harts run at once: HSM, power, errors of the host, stopping, a late debugger."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from innkeeper.base.errors import MachineError
from innkeeper.debug.machine_target import MachineDebugTarget
from innkeeper.firmware.boot import plan_boot
from innkeeper.firmware.kernel_file import Raw
from innkeeper.isa.riscv.asm import assemble
from innkeeper.machines.outcome import End, Outcome
from innkeeper.machines.virt import VirtConfig, VirtMachine

KERNEL_BASE = 0x80200000
LIMIT_S = 60.0

OFF = """
off:
    li a7, 0x53525354           # system reset: shut down
    li a6, 0
    li a0, 0
    li a1, 0
    ecall
"""


def machine_for(source: str, folder: Path, harts: int) -> VirtMachine:
    """A board with a supervisor program as its kernel; hart 0 enters it."""
    path = folder / "program.bin"
    path.write_bytes(assemble(source, base=KERNEL_BASE).image)
    machine = VirtMachine(VirtConfig(hart_count=harts, ram_bytes=16 << 20))
    plan = plan_boot(machine.config.board(), kernel=str(path), raw=Raw.ALWAYS)
    machine.boot(plan)
    return machine


def run(machine: VirtMachine) -> Outcome:
    """Run a machine; one that hangs is stopped, which the caller sees by the outcome."""
    timer = threading.Timer(LIMIT_S, machine.stop)
    timer.start()
    try:
        return machine.run()
    finally:
        timer.cancel()
        assert not [t for t in threading.enumerate() if t.name.startswith("hart ")]


def test_harts_are_started_and_stop_themselves_again_and_again(tmp_path: Path) -> None:
    """HSM (SBI 9): a hart that is stopping is not stopped yet; each start finds fresh registers."""
    source = """
_start:
    li s1, 100                  # rounds
round:
    li s2, 1                    # start each other hart
start:
    li a7, 0x48534D
    li a6, 0
    mv a0, s2
    la a1, entry
    slli a2, s1, 8
    add a2, a2, s2
    ecall
    bnez a0, fail
    li a7, 0x48534D             # once more: it runs, or has run
    li a6, 0
    mv a0, s2
    la a1, fail
    li a2, 0
    li a7, 0x48534D
    li a6, 2
    ecall
    addi s2, s2, 1
    li t0, HARTS
    bne s2, t0, start
    li s2, 1
wait:
    li a7, 0x48534D             # until each is stopped
    li a6, 2
    mv a0, s2
    ecall
    bnez a0, fail
    li t0, 1
    bne a1, t0, wait
    addi s2, s2, 1
    li t0, HARTS
    bne s2, t0, wait
    addi s1, s1, -1
    bnez s1, round
    la t0, total
    ld t0, 0(t0)
    li t1, 100 * (HARTS - 1)
    bne t0, t1, fail
    j off
entry:
    bnez s5, fail               # nothing is left of the last time
    andi t0, a1, 255
    bne t0, a0, fail
    li s5, 7
    la t0, total
    li t1, 1
    amoadd.d x0, t1, (t0)
    li a7, 0x48534D
    li a6, 1
    ecall
fail:
    li t0, 0x100000             # the test finisher
    li t1, 0x13333
    sw t1, 0(t0)
    j fail
.align 12
total: .dword 0
.align 12
"""
    for harts in (2, 4):
        machine = machine_for(f".equ HARTS, {harts}\n" + source + OFF, tmp_path, harts)
        assert run(machine).end is End.POWER_OFF


START_OTHERS = """
_start:
    mv s0, a0
    li s2, 1
1:  li a7, 0x48534D
    li a6, 0
    mv a0, s2
    la a1, others
    li a2, 0
    ecall
    addi s2, s2, 1
    li t0, HARTS
    bne s2, t0, 1b
    j first
"""


def test_stop_ends_harts_that_wait_and_harts_that_do_not(tmp_path: Path) -> None:
    source = (
        ".equ HARTS, 3\n"
        + START_OTHERS
        + ("first: wfi\nj first\nothers: li t0, 1\nbeq a0, t0, spin\n1: wfi\nj 1b\nspin: j spin")
    )
    machine = machine_for(source, tmp_path, 3)
    ended: list[Outcome] = []
    thread = threading.Thread(target=lambda: ended.append(machine.run()), daemon=True)
    thread.start()
    while machine.harts[1].stop or machine.harts[2].stop or not machine.harts[0].wfi:
        assert thread.is_alive()
    machine.stop()
    thread.join(LIMIT_S)
    assert [each.end for each in ended] == [End.STOPPED]


def test_an_error_of_the_host_ends_every_hart_and_is_raised(tmp_path: Path) -> None:
    source = (
        ".equ HARTS, 3\n"
        + START_OTHERS
        + (
            "first: wfi\nj first\nothers: li t0, 1\nbne a0, t0, spin\nli t0, 0x10000000\n"
            "sb t0, 0(t0)\nspin: j spin"
        )
    )
    machine = machine_for(source, tmp_path, 3)

    class Broken:
        def write(self, _data: Any) -> int:
            raise RuntimeError("the console broke")

        def guest_open(self, is_open: bool) -> None:
            """Nothing depends on it."""

    machine.uart.sink = Broken()
    with pytest.raises(RuntimeError, match="the console broke"):
        run(machine)


def test_a_guest_that_traps_without_a_handler_is_told_of(tmp_path: Path) -> None:
    source = ".equ HARTS, 2\n" + START_OTHERS + "first: wfi\nj first\nothers: unimp"
    with pytest.raises(MachineError, match="hart 1 trapped"):
        run(machine_for(source, tmp_path, 2))


def test_an_alarm_goes_off_while_harts_sleep(tmp_path: Path) -> None:
    """The real-time clock's interrupt, by way of the thread that watches, wakes hart 0."""
    source = (
        ".equ HARTS, 2\n"
        + START_OTHERS
        + """
first:
    li t0, 0xc000000            # the PLIC: source 11 has a priority, context 1 takes it
    li t1, 1
    sw t1, 44(t0)
    li t2, 0x2080
    add t2, t0, t2
    li t3, 1 << 11
    sw t3, 0(t2)
    li t0, 0x101000
    sw t1, 0x10(t0)             # enable, then an alarm 2 ms from now
    lwu t2, 0(t0)
    lwu t3, 4(t0)
    slli t3, t3, 32
    or t2, t2, t3
    li t3, 2000000
    add t2, t2, t3
    srli t3, t2, 32
    sw t3, 0xc(t0)
    sw t2, 8(t0)
    li t0, 1 << 9
    csrw sie, t0
1:  wfi
    csrr t0, sip
    srli t0, t0, 9
    beqz t0, 1b
    j off
others: wfi
    j others
"""
        + OFF
    )
    assert run(machine_for(source, tmp_path, 2)).end is End.POWER_OFF


def test_a_debugger_that_comes_late_finds_all_harts_standing(tmp_path: Path) -> None:
    source = (
        ".equ HARTS, 2\n"
        + START_OTHERS
        + ("first: addi s3, s3, 1\nj first\nothers: addi s3, s3, 1\nj others")
    )
    machine = machine_for(source, tmp_path, 2)
    thread = threading.Thread(target=machine.run, daemon=True)
    thread.start()
    while machine.harts[1].stop:
        assert thread.is_alive()
    target = MachineDebugTarget(machine)
    before = [target.read_register(n, 19) for n in range(2)]
    assert [target.read_register(n, 19) for n in range(2)] == before
    target.resume(step_hart=0, harts=[0])
    assert target.wait_stop(LIMIT_S) is not None
    pc = target.read_register(0, 32)
    target.resume(step_hart=0, harts=[0])
    assert target.wait_stop(LIMIT_S) is not None
    assert target.read_register(0, 32) != pc
    assert target.read_register(1, 19) == before[1]
    target.kill()
    thread.join(LIMIT_S)
    assert not thread.is_alive()
