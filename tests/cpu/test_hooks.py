"""Hooks of the bare CPU: when they are called, what they may change, what they raise."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from innkeeper.base.errors import UsageError
from innkeeper.cpu import Access, Cpu, Hook, StopReason, Trap, assemble

BASE = 0x8000_0000
SOURCE = """
_start:
    li a0, 3
loop:
    addi a0, a0, -1
    beqz a0, out
    j loop
out:
    call function
back:
    la s0, cell
    ld a1, 0(s0)
    sw a1, 8(s0)
    addi t0, s0, 16
    amoadd.w a2, a1, (t0)
    fld fa0, 0(s0)
    sh a1, 3(s0)
end:
    j end
function:
    ret
.data
.balign 4096
cell: .dword 0x1234, 0, 0
"""


@pytest.fixture
def cpu() -> Cpu:
    made = Cpu()
    program = assemble(SOURCE)
    made.load(program.image)
    made.symbols = program.symbols
    return made


def names(cpu: Cpu, addresses: list[int]) -> list[str]:
    known = {address: name for name, address in cpu.symbols.items()}
    return [known.get(address, hex(address - BASE)) for address in addresses]


def test_block_hooks(cpu: Cpu) -> None:
    seen: list[int] = []
    hook = cpu.hook_block(lambda _cpu, pc: seen.append(pc))
    end = cpu.symbols["end"]
    assert cpu.run(until=end).reason is StopReason.UNTIL
    jump = hex(cpu.symbols["loop"] + 8 - BASE)
    assert names(cpu, seen) == [
        "_start", jump, "loop", jump, "loop", "out", "function", "back",
    ]  # fmt: skip
    cpu.run(max_instructions=3)
    assert seen[8:] == [end, end]  # the first jump was still in the block from `back`
    hook.remove()
    hook.remove()
    cpu.run(max_instructions=3)
    assert len(seen) == 10


def test_block_hooks_in_pieces_are_called_once_a_block(cpu: Cpu) -> None:
    whole: list[int] = []
    pieces: list[int] = []
    hook = cpu.hook_block(lambda _cpu, pc: whole.append(pc))
    cpu.run(until=cpu.symbols["end"])
    hook.remove()
    cpu.regs.pc = BASE
    cpu.hook_block(lambda _cpu, pc: pieces.append(pc))
    while cpu.regs.pc != cpu.symbols["end"]:
        cpu.step()
    assert whole == pieces


def test_code_hooks(cpu: Cpu) -> None:
    seen: list[tuple[int, int]] = []
    cpu.hook_code(lambda _cpu, pc, size: seen.append((pc, size)))
    cpu.run(until=cpu.symbols["end"])
    assert len(seen) == cpu.instructions
    assert seen[0] == (BASE, 4) and {size for _, size in seen} == {4}


def test_access_hooks(cpu: Cpu) -> None:
    seen: list[Access] = []
    cell = cpu.symbols["cell"]
    cpu.hook_access(lambda _cpu, access: seen.append(access), start=cell, end=cell + 24)
    cpu.run(until=cpu.symbols["end"])
    kinds = [(a.address - cell, a.size, a.read, a.write, a.value) for a in seen]
    assert kinds == [
        (0, 8, True, False, None),
        (8, 4, False, True, 0x1234),
        (16, 4, True, True, None),
        (0, 8, True, False, None),
        (3, 2, False, True, 0x1234),  # misaligned
    ]
    assert cpu.mem.read(cell + 8, 4) == b"\x34\x12\0\0"
    assert cpu.mem.read(cell + 3, 2) == b"\x34\x12"


def test_access_hooks_for_a_part(cpu: Cpu) -> None:
    seen: list[tuple[str, int]] = []
    cell = cpu.symbols["cell"]

    def note(name: str) -> Callable[[Cpu, Access], None]:
        return lambda _cpu, access: seen.append((name, access.address - cell))

    cpu.hook_access(note("store"), start=cell, read=False)
    cpu.hook_access(note("byte"), start=cell + 4, end=cell + 5)
    cpu.hook_access(note("all"), read=True)
    cpu.run(until=cpu.symbols["end"])
    assert seen == [
        ("byte", 0), ("all", 0), ("store", 8), ("all", 8), ("store", 16), ("all", 16),
        ("byte", 0), ("all", 0), ("store", 3), ("byte", 3), ("all", 3),
    ]  # fmt: skip


def test_trap_hooks(cpu: Cpu) -> None:
    cpu.mem.write(BASE, assemble("ecall\n.word 0\nebreak\n").image)
    seen: list[Trap] = []

    def skip(cpu: Cpu, trap: Trap) -> bool:
        seen.append(trap)
        cpu.regs.pc = trap.pc + 4
        return True

    hook = cpu.hook_trap(skip, causes=[2])
    calls: list[int] = []
    cpu.hook_ecall(lambda cpu: calls.append(cpu.regs.pc))
    stop = cpu.run()
    assert stop.trap == Trap(3, BASE + 8, BASE + 8)
    assert seen == [Trap(2, 0, BASE + 4)] and calls == [BASE]
    hook.remove()
    cpu.regs.pc = BASE
    assert cpu.run().trap == Trap(2, 0, BASE + 4)


def test_a_hook_may_let_the_program_take_its_trap(cpu: Cpu) -> None:
    cpu.regs.mtvec = cpu.symbols["function"]
    cpu.mem.write(BASE, assemble("ecall\n").image)
    seen: list[int] = []
    cpu.hook_trap(lambda _cpu, trap: seen.append(trap.cause))
    cpu.run(until=cpu.symbols["function"])
    assert seen == [11] and cpu.regs.mcause == 11 and cpu.regs.mepc == BASE


def test_a_hook_may_move_and_stop_and_change_hooks(cpu: Cpu) -> None:
    def move(cpu: Cpu, pc: int) -> None:
        if pc == cpu.symbols["function"]:
            cpu.regs.pc = cpu.symbols["end"]

    hook = cpu.hook_block(move)
    assert cpu.run(max_instructions=30).pc == cpu.symbols["end"]
    hook.remove()
    cpu.regs.pc = BASE
    late: list[Hook] = []

    def stop(cpu: Cpu, pc: int, _size: int) -> None:
        if pc == cpu.symbols["out"]:
            cpu.stop()
            late[0].remove()

    late.append(cpu.hook_code(stop))
    assert cpu.run().reason is StopReason.STOPPED
    assert cpu.regs.pc == cpu.symbols["out"]
    assert cpu.run(until=cpu.symbols["function"]).reason is StopReason.UNTIL


class Refuse(Exception):
    """Raised by the hooks below."""


@pytest.mark.parametrize("kind", ["block", "code", "access", "trap"])
def test_what_a_hook_raises_comes_out_and_the_run_can_go_on(cpu: Cpu, kind: str) -> None:
    cell, end = cpu.symbols["cell"], cpu.symbols["end"]
    if kind == "trap":
        cpu.mem.write(end - 4, assemble("ecall").image)
    calls = [0]

    def hook(*_args: object) -> bool:
        calls[0] += 1
        if calls[0] % 2:
            raise Refuse
        return True

    add = {
        "block": lambda: cpu.hook_block(hook),
        "code": lambda: cpu.hook_code(hook),
        "access": lambda: cpu.hook_access(hook, start=cell, end=cell + 8),
        "trap": lambda: cpu.hook_ecall(hook),
    }[kind]
    add()
    stops = []
    while True:
        try:
            assert cpu.run(until=end).reason is StopReason.UNTIL
            break
        except Refuse:
            stops.append(cpu.regs.pc)
            assert cpu.regs.mcause == 0
    expected = {"block": 8, "code": cpu.instructions, "access": 3, "trap": 1}[kind]
    assert len(stops) == expected and calls[0] == 2 * expected
    assert cpu.mem.read(cell + 16, 4) == b"\x34\x12\0\0"  # every instruction once
    assert cpu.regs.a1 == 0x1234


def test_too_many_and_empty_access_hooks(cpu: Cpu) -> None:
    for start, end in ((5, 5), (-1, 5), (0, 1 << 65)):
        with pytest.raises(UsageError, match="nothing to watch"):
            cpu.hook_access(lambda *_: None, start=start, end=end)
    for n in range(16):
        cpu.hook_access(lambda *_: None, start=n, end=n + 1)
    with pytest.raises(UsageError, match="at most"):
        cpu.hook_access(lambda *_: None)
