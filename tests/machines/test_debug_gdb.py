"""The machine under the real GDB: breakpoints, steps, watchpoints, registers, interrupt, harts."""

from __future__ import annotations

import re
import signal
from pathlib import Path

from innkeeper.machines.outcome import End

from .gdb import WAIT_S, Debugged, finish, needs_gdb

SOURCE = """
.globl _start
_start:
    la t1, handler
    csrw mtvec, t1
    csrr t0, mhartid
    bnez t0, second
    li a0, 3
loop:
    addi a0, a0, -1
    bnez a0, loop
after_loop:
    ecall
after_ecall:
    la s0, cell
    li a1, 0x55
store:
    sd a1, 8(s0)
stored:
    ld a2, 8(s0)
loaded:
    j spin
.balign 4096
.skip 4094
crossing:
    addi a3, a3, 1
crossed:
    ret
spin:
    addi s1, s1, 1
    beqz s4, spin
    li t0, 0x100000
    li t1, 0x5555
    sw t1, 0(t0)
second:
    addi s2, s2, 1
    j second
.balign 4
handler:
    csrr t2, mepc
    addi t2, t2, 4
    csrw mepc, t2
    mret
.data
.balign 8
cell: .dword 0x11, 0x22, 0x33
"""


def pcs(text: str) -> list[int]:
    """Return what each `p/x $pc` has printed."""
    return [int(found, 16) for found in re.findall(r"^\$\d+ = (0x[0-9a-f]+)$", text, re.M)]


@needs_gdb
def test_break_at_a_symbol_and_step(tmp_path: Path) -> None:
    with Debugged(SOURCE, tmp_path) as guest:
        at = guest.program.symbols
        text = guest.gdb(
            "p/x $pc", "break *loop", "continue", "p/x $pc", "continue", "p/x $a0", "delete",
            "stepi", "stepi", "p/x $pc", "stepi", "stepi", "p/x $pc", "p/x $a0",
            "stepi", "p/x $pc", "p/x $mcause", "p/x $mepc",  # into the handler: a trap is a step
            "stepi 4", "p/x $pc", "kill",
        )  # fmt: skip
        assert pcs(text) == [
            guest.program.entry, at["loop"], 2, at["loop"], at["after_loop"], 0,
            at["handler"], 11, at["after_loop"], at["after_ecall"],
        ], text  # fmt: skip
        guest.join()
        assert guest.outcome is not None and guest.outcome.end is End.STOPPED


@needs_gdb
def test_watchpoints_stop_at_the_access(tmp_path: Path) -> None:
    with Debugged(SOURCE, tmp_path) as guest:
        at = guest.program.symbols
        text = guest.gdb(
            f"watch *(long *){at['cell'] + 8:#x}", "continue", "p/x $pc", "delete",
            f"rwatch *(long *){at['cell'] + 8:#x}", "continue", "p/x $pc", "delete",
            f"x/2gx {at['cell']:#x}", "kill",
        )  # fmt: skip
        assert "Old value = 34\nNew value = 85" in text
        assert pcs(text)[0] == at["stored"], text
        assert re.search(r"Hardware read watchpoint 2: .*\n\nValue = 85", text), text
        assert pcs(text)[1] in (at["stored"], at["loaded"])
        assert re.search(r"0x0000000000000011\t0x0000000000000055", text)


@needs_gdb
def test_registers_and_memory(tmp_path: Path) -> None:
    with Debugged(SOURCE, tmp_path) as guest:
        at = guest.program.symbols
        text = guest.gdb(
            "break *after_loop", "continue", "set $s4 = 0x1234567890abcdef", "p/x $s4",
            "set $fa0.double = 1.5", "p $fa0.double", "p $priv", "p/x $mtvec",
            "set $mscratch = 77", "p $mscratch", "p/x $misa", "set $fcsr = 0x1f", "p/x $fflags",
            f"set var *(long *){at['cell'] + 16:#x} = 0x7766554433221100",
            f"x/1gx {at['cell'] + 16:#x}",
            f"set var *(int *){at['after_ecall']:#x} = 0x00100073",  # code: an ebreak
            f"x/1wx {at['after_ecall']:#x}", "x/1wx 0x10", "x/1wx 0x10000000", "monitor info",
            "delete", "break *handler", "continue", "p/x $mcause", "continue", "p/x $mcause",
            "kill",
        )  # fmt: skip
        assert "= 0x1234567890abcdef" in text and "= 1.5" in text
        assert re.search(r"^\$\d+ = 3\D*$", text, re.M), text
        assert f"= {at['handler']:#x}" in text and "= 77" in text
        assert "0x7766554433221100" in text and "0x00100073" in text
        assert "Cannot access memory at address 0x10\n" in text
        assert "Cannot access memory at address 0x10000000" in text  # a device is left alone
        assert "virt: 1 harts, 16 MiB" in text and "uart" in text
        assert "= 0xb\n" in text and text.rstrip().splitlines()[-2].endswith("= 0x3"), text


@needs_gdb
def test_two_harts(tmp_path: Path) -> None:
    with Debugged(SOURCE, tmp_path, hart_count=2) as guest:
        at = guest.program.symbols
        text = guest.gdb(
            "break *second", "continue", "p $_thread", "p $mhartid", "p/x $pc", "delete",
            "info threads", "set scheduler-locking on", "p $s2", "stepi 4", "p $s2",
            "thread 1", "p $mhartid", "stepi", "kill",
        )  # fmt: skip
        assert re.search(r"hart 0: M-mode", text) and re.search(r"hart 1: M-mode", text)
        values = [int(v, 0) for v in re.findall(r"^\$\d+ = (\S+)$", text, re.M)]
        assert values == [2, 1, at["second"], 0, 2, 0], text


@needs_gdb
def test_an_instruction_across_pages(tmp_path: Path) -> None:
    with Debugged(SOURCE, tmp_path) as guest:
        at = guest.program.symbols
        assert at["crossing"] % 4096 == 4094
        text = guest.gdb(
            "set $pc = crossing", "set $ra = spin", "break *crossed", "break *crossing",
            "continue", "p/x $pc", "delete 2", "stepi", "p/x $pc", "p $a3",
            "set $pc = crossing", "delete", "break *spin", "continue", "p/x $pc", "p $a3", "kill",
        )  # fmt: skip
        numbers = [int(v, 0) for v in re.findall(r"^\$\d+ = (\S+)$", text, re.M)]
        assert numbers == [at["crossing"], at["crossed"], 1, at["spin"], 2], text


@needs_gdb
def test_interrupt_reset_and_the_end(tmp_path: Path) -> None:
    with Debugged(SOURCE, tmp_path) as guest:
        at = guest.program.symbols
        gdb = guest.start(
            "continue", "p/x $pc", "break *loop", "monitor reset",
            "maintenance flush register-cache", "p/x $pc", "continue", "p/x $pc", "delete",
            "set $s4 = 1", "continue",
        )  # fmt: skip
        assert guest.target.resumed.wait(WAIT_S)
        while guest.machine.harts[0].x[9] == 0:  # until the guest counts
            assert gdb.poll() is None
        gdb.send_signal(signal.SIGINT)
        text = finish(gdb)
        assert "SIGINT" in text
        where = pcs(text)
        assert at["spin"] <= where[0] < at["second"]
        assert where[1:] == [guest.program.entry, at["loop"]], text
        assert "exited normally" in text
        guest.join()
        assert guest.outcome is not None and guest.outcome.end is End.POWER_OFF


@needs_gdb
def test_detach_lets_it_run_to_its_end(tmp_path: Path) -> None:
    with Debugged(SOURCE, tmp_path) as guest:
        guest.gdb("break *spin", "continue", "set $s4 = 1", "detach")
        guest.join()
        assert guest.outcome is not None and guest.outcome.end is End.POWER_OFF
