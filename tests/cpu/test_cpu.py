"""The bare CPU: loading, registers, memory, limits, traps, devices, system calls, trace."""

from __future__ import annotations

import io
import random
import threading
from pathlib import Path

import pytest

from innkeeper.base.errors import InnError, LoadError, UsageError
from innkeeper.cpu import Cpu, StopReason, Trap, assemble, elf_image
from innkeeper.isa.riscv import causes
from innkeeper.isa.riscv.random_program import SCRATCH_BYTES, RandomProgram, generate

BASE = 0x8000_0000
HELLO = """
_start:
    li a0, 1
    la a1, message
    li a2, 6
    li a7, 64
    ecall
    mv s0, a0
    li a0, 7
    li a7, 93
    ecall
.data
message: .ascii "hello\\n"
"""


def cpu_with(source: str, **options: object) -> Cpu:
    cpu = Cpu(**options)  # type: ignore[arg-type]
    program = assemble(source)
    cpu.load(program.image)
    cpu.symbols = program.symbols
    return cpu


def test_registers_by_name() -> None:
    cpu = Cpu()
    assert cpu.regs.pc == BASE
    cpu.regs.a0 = -1
    assert cpu.regs["x10"] == cpu.regs.a0 == (1 << 64) - 1
    cpu.regs.zero = 5
    assert cpu.regs.zero == 0
    cpu.regs.fa0 = 0x3FF8_0000_0000_0000
    assert cpu.regs["f10"] == 0x3FF8_0000_0000_0000
    cpu.regs["mepc"] = 0x1235
    assert cpu.regs.mepc == 0x1234  # WARL
    assert cpu.regs.priv == 3
    assert cpu.regs.dump()["a0"] == (1 << 64) - 1
    with pytest.raises(AttributeError):
        cpu.regs.a9 = 1
    with pytest.raises(UsageError, match="no register 'mstatsu'"):
        cpu.regs["mstatsu"]
    with pytest.raises(UsageError, match="cannot be set"):
        cpu.regs["mhartid"] = 1


def test_memory() -> None:
    cpu = Cpu(memory_bytes=8192)
    cpu.mem.write(BASE + 4090, b"0123456789")
    assert cpu.mem[BASE + 4090 : BASE + 4096] == b"012345"
    cpu.mem[BASE] = 0xFF
    cpu.mem[BASE + 1 : BASE + 3] = b"ab"
    assert cpu.mem.read(BASE, 3) == b"\xffab"
    assert cpu.mem[BASE] == 0xFF
    for bad in (BASE - 1, BASE + 8192, (1 << 64) - 1):
        with pytest.raises(UsageError, match="not all mapped"):
            cpu.mem.read(bad, 4)
    with pytest.raises(UsageError, match="not all mapped"):
        cpu.mem.write(BASE + 8190, b"abcd")
    assert cpu.mem.read(BASE + 8190, 2) == bytes(2)
    with pytest.raises(UsageError, match="do not fit"):
        cpu.load(bytes(8193))


def test_memory_is_seen_through_translation() -> None:
    cpu = Cpu(mode="S")
    root, middle, leaf = BASE + 0x1000, BASE + 0x2000, BASE + 0x3000
    va = (5 << 30) | (6 << 21) | (7 << 12)
    for at, index, target, flags in ((root, 5, middle, 1), (middle, 6, leaf, 1),
                                     (leaf, 7, BASE + 0x5000, 0x0F)):  # fmt: skip
        cpu.load((target >> 2 | flags).to_bytes(8, "little"), at + index * 8)
    cpu.load(b"through", BASE + 0x5000)
    cpu.regs.satp = 8 << 60 | root >> 12
    assert cpu.mem.read(va, 7) == b"through"
    cpu.mem.write(va + 4, b"here")
    with pytest.raises(UsageError):
        cpu.mem.read(va + 4096, 1)
    with pytest.raises(UsageError):
        cpu.mem.read(1 << 40, 1)  # not canonical
    assert cpu._emulator.inspector.read_physical(leaf + 56, 1) == b"\x0f"  # no accessed bit is set
    cpu.regs.satp = 0
    assert cpu.mem.read(BASE + 0x5000, 8) == b"throhere"


def test_until_and_exact_counts() -> None:
    cpu = cpu_with("li a0, 6\nli a1, 7\nloop: add a0, a0, a1\nj loop\n")
    assert cpu.run(until=BASE + 8).reason is StopReason.UNTIL
    for n in (1, 2, 3):  # an address to stop at that one stands on is gone over first
        assert cpu.run(until=[BASE + 8, BASE + 0x100]).pc == BASE + 8
        assert cpu.regs.a0 == 6 + 7 * n
    for count in (1, 2, 1999, 2099, 2100, 2101, 4201, 30_000):
        before, retired = cpu.instructions, cpu.regs.instret
        assert cpu.run(max_instructions=count).reason is StopReason.COUNT
        assert cpu.instructions - before == cpu.regs.instret - retired == count
    assert cpu.step().reason is StopReason.STEP
    assert cpu.run(timeout_s=0.0).reason is StopReason.TIMEOUT
    assert cpu.run(timeout_s=0.001).reason is StopReason.TIMEOUT


def test_a_page_that_is_mapped_twice_stops_at_the_right_address() -> None:
    source = """
        li t0, 0x140000000
        add t0, t0, a1      # the function, at its second address
        add a1, a1, a2      # and at its first
        jalr a1
        jalr t0
    end: j end
    .balign 64
    function:
        addi a0, a0, 1
        ret
    """
    for address, calls in ((0x1_4000_0000, 1), (BASE, 0)):
        cpu = cpu_with(source, mode="S")
        root, offset = BASE + 0x1000, cpu.symbols["function"] - BASE
        for index in (2, 5):  # two gigapages for the same memory
            cpu.load((BASE >> 2 | 0xCF).to_bytes(8, "little"), root + index * 8)
        cpu.regs.satp = 8 << 60 | root >> 12
        cpu.regs.a1, cpu.regs.a2 = offset, BASE
        assert cpu.run(until=address + offset).reason is StopReason.UNTIL
        assert cpu.regs.a0 == calls and cpu.regs.pc == address + offset
        cpu.run(until=cpu.symbols["end"])
        assert cpu.regs.a0 == 2


def test_straight_code_stops_at_the_count() -> None:
    cpu = cpu_with(".option rvc\n" + "addi a0, a0, 1\n" * 6000 + "end: j end\n")
    assert cpu.run(max_instructions=5001).pc == BASE + 5001 * 2
    assert cpu.regs.a0 == 5001


def test_stop_from_another_thread() -> None:
    cpu = cpu_with("loop: addi a0, a0, 1\nj loop\n")
    timer = threading.Timer(0.01, cpu.stop)
    timer.start()
    assert cpu.run().reason is StopReason.STOPPED
    timer.join()
    assert cpu.regs.a0 > 0


@pytest.mark.parametrize(
    ("source", "cause", "tval"),
    [
        (".word 0", causes.ILLEGAL_INSTRUCTION, 0),
        (".word 0xffffffff", causes.ILLEGAL_INSTRUCTION, 0xFFFF_FFFF),
        ("ebreak", causes.BREAKPOINT, BASE),
        ("ecall", causes.ECALL_U, 0),
        ("ld a0, 8(zero)", causes.LOAD_ACCESS_FAULT, 8),
        ("sd a0, 8(zero)", causes.STORE_ACCESS_FAULT, 8),
        ("csrr a0, mstatus", causes.ILLEGAL_INSTRUCTION, 0x30002573),
    ],
)
def test_a_trap_that_nobody_takes(source: str, cause: int, tval: int) -> None:
    cpu = cpu_with(source, mode="U")
    stop = cpu.run()
    assert (stop.reason, stop.trap) == (StopReason.TRAP, Trap(cause, tval, BASE))
    assert cpu.regs.pc == BASE and cpu.regs.priv == 0 and cpu.instructions == 0
    assert hex(BASE) in str(stop)


def test_a_jump_to_nowhere_and_a_program_that_takes_its_traps() -> None:
    cpu = cpu_with("li t0, 0x1000\njr t0\n")
    assert cpu.run().trap == Trap(causes.INSTRUCTION_ACCESS_FAULT, 0x1000, 0x1000)
    cpu = cpu_with("la t0, 1f\ncsrw mtvec, t0\necall\n.balign 4\n1: csrr a0, mcause\nend: j end\n")
    assert cpu.run(until=cpu.symbols["end"]).reason is StopReason.UNTIL
    assert cpu.regs.a0 == causes.ECALL_M
    cpu.regs.mtvec = 0x2000  # a handler that is not there: faults for ever, and still comes back
    cpu.regs.pc = 0
    assert cpu.run(max_instructions=10_000).reason is StopReason.COUNT


def test_waiting_for_nothing_and_for_the_timer() -> None:
    cpu = cpu_with("addi a0, a0, 1\nwfi\naddi a0, a0, 1\nend: j end\n")
    assert cpu.run().reason is StopReason.IDLE
    assert cpu.regs.a0 == 1
    cpu.regs.pc = BASE
    cpu.regs.mie = 1 << causes.IRQ_STI
    cpu.regs.stimecmp = cpu.regs.time + 1000
    assert cpu.run(until=cpu.symbols["end"]).reason is StopReason.UNTIL
    assert cpu.regs.a0 == 3


def test_devices_are_functions() -> None:
    cpu = cpu_with("li t0, 0x1000\nlw a0, 4(t0)\nsb a0, 1(t0)\nld a1, 0(zero)\n")
    seen: list[tuple[int, int, int]] = []
    cpu.map_mmio(
        0x1000, 16, read=lambda at, size: at * 0x100 + size,
        write=lambda at, size, value: seen.append((at, size, value)),
    )  # fmt: skip
    assert cpu.run().reason is StopReason.TRAP
    assert cpu.regs.a0 == 0x404 and seen == [(1, 1, 4)]
    cpu.map_mmio(0, 8)  # neither read nor write: a fault of the program's
    trap = cpu.run().trap
    assert trap is not None and trap.cause == causes.LOAD_ACCESS_FAULT
    with pytest.raises(UsageError, match="is memory"):
        cpu.map_mmio(BASE - 8, 16)


@pytest.mark.parametrize("error", [ValueError("no"), InnError("no"), KeyboardInterrupt()])
def test_what_a_device_raises_comes_out_and_the_access_may_be_tried_again(
    error: BaseException,
) -> None:
    cpu = cpu_with("li t0, 0x1000\nlw a0, 0(t0)\nend: j end\n")
    failing = [True]

    def read(_offset: int, _size: int) -> int:
        if failing:
            raise error
        return 9

    cpu.map_mmio(0x1000, 4, read=read)
    for _ in range(2):
        with pytest.raises(type(error)) as caught:
            cpu.run()
        assert caught.value is error
        assert cpu.regs.pc == BASE + 4 and cpu.regs.a0 == 0 and cpu.regs.mcause == 0
    failing.clear()
    cpu.run(until=cpu.symbols["end"])
    assert cpu.regs.a0 == 9


def test_minimal_system_calls(tmp_path: Path) -> None:
    path = tmp_path / "hello.s"
    path.write_text(HELLO)
    out = io.BytesIO()
    cpu = Cpu.from_file(path, syscalls="minimal", stdout=out)
    stop = cpu.run()
    assert (stop.reason, stop.exit_code, cpu.exit_code) == (StopReason.EXIT, 7, 7)
    assert out.getvalue() == b"hello\n" and cpu.regs.s0 == 6 and cpu.regs.priv == 0
    assert cpu.run().reason is StopReason.EXIT


def test_system_calls_that_fail() -> None:
    out = io.BytesIO()
    cpu = cpu_with("1: ecall\nj 1b\n", syscalls="minimal", stdout=out, stderr=out)

    def call(number: int, *args: int) -> int:
        cpu.regs.pc, cpu.regs.a7 = BASE, number
        cpu.regs.a0, cpu.regs.a1, cpu.regs.a2 = args
        cpu.step()
        return cpu.regs.a0 - (1 << 64) if cpu.regs.a0 >> 63 else cpu.regs.a0

    assert call(64, 3, BASE, 1) == -9  # EBADF
    assert call(64, 1, 0, 1) == -14  # EFAULT
    assert call(64, 1, BASE, 0) == 0
    assert call(64, 2, BASE + (64 << 20) - 3, 1 << 63) == 3  # as much as there is
    assert call(222, 0, 0, 0) == -38  # ENOSYS


def test_files(tmp_path: Path) -> None:
    program = assemble(HELLO, base=0x1_0000)
    image = tmp_path / "hello.elf"
    image.write_bytes(elf_image(program))
    raw = tmp_path / "hello.bin"
    raw.write_bytes(program.image)
    for path, base in ((image, None), (raw, 0x1_0000)):
        out = io.BytesIO()
        cpu = Cpu.from_file(path, syscalls="minimal", base=base, stdout=out)
        assert cpu.run().exit_code == 7
        assert out.getvalue() == b"hello\n"
    assert Cpu.from_file(image).symbols["message"] == program.symbols["message"]
    bad = tmp_path / "bad"
    data = bytearray(image.read_bytes())
    data[18] = 62  # x86-64
    for content, message in ((b"", "empty"), (bytes(data), "not for a riscv64"),
                             (image.read_bytes()[:70], "truncated")):  # fmt: skip
        bad.write_bytes(content)
        with pytest.raises(LoadError, match=message):
            Cpu.from_file(bad)
    with pytest.raises(LoadError, match="cannot read"):
        Cpu.from_file(tmp_path / "absent")


def test_trace(tmp_path: Path) -> None:
    path = tmp_path / "hello.s"
    path.write_text(HELLO)
    cpu = Cpu.from_file(path, syscalls="minimal", stdout=io.BytesIO())
    lines = list(cpu.trace())
    assert lines[0].text == "li a0, 1" and lines[0].writes == {"a0": 1}
    assert [line.text for line in lines].count("ecall") == 2
    assert cpu.last_stop is not None and cpu.last_stop.reason is StopReason.EXIT
    cpu = cpu_with("nop\n.word 0\n")
    assert [line.text for line in cpu.trace()] == ["nop"]
    assert cpu.last_stop is not None and cpu.last_stop.reason is StopReason.TRAP
    cpu = cpu_with("1: addi a0, a0, 1\nj 1b\n")
    assert len(list(cpu.trace(max_instructions=5))) == 5
    assert len(list(cpu.trace(until=BASE + 4))) == 2


def test_wrong_arguments() -> None:
    with pytest.raises(UsageError, match="no emulated CPU 'mips'"):
        Cpu("mips")
    with pytest.raises(UsageError, match="no mode"):
        Cpu(mode="H")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="system calls"):
        Cpu(syscalls="all")  # type: ignore[arg-type]


SCRATCH = BASE + 0x10_0000


def prepared(program: RandomProgram, seed: int) -> Cpu:
    cpu = Cpu(memory_bytes=4 << 20)
    cpu.load(program.code, BASE)
    values = random.Random(seed)
    for n in range(32):
        cpu.regs[f"x{n}"], cpu.regs[f"f{n}"] = program.x[n], program.f[n]
    cpu.load(values.randbytes(SCRATCH_BYTES), SCRATCH)
    return cpu


def result(cpu: Cpu) -> tuple[object, ...]:
    state = cpu.regs.dump(floats=True)
    return state, cpu.regs.fcsr, cpu.instructions, cpu.mem.read(SCRATCH, SCRATCH_BYTES)


@pytest.mark.parametrize("seed", range(6))
def test_running_stepping_and_hooks_give_the_same(seed: int) -> None:
    program = generate(random.Random(seed), count=150, base=BASE, scratch=SCRATCH)
    plain = prepared(program, seed)
    assert plain.run(until=program.end, max_instructions=1_000_000).reason is StopReason.UNTIL
    stepped = prepared(program, seed)
    while stepped.regs.pc != program.end:
        assert stepped.step().reason is StopReason.STEP
    hooked = prepared(program, seed)
    hooked.hook_block(lambda _cpu, _pc: None)
    hooked.hook_access(lambda _cpu, _access: None)
    hooked.run(until=program.end)
    sliced = prepared(program, seed)
    sizes = random.Random(seed)
    while sliced.regs.pc != program.end:
        sliced.run(until=program.end, max_instructions=sizes.randrange(1, 40))
    assert result(plain) == result(stepped) == result(hooked) == result(sliced)


def test_vector_registers() -> None:
    cpu = cpu_with("vsetivli a0, 4, e32, m1, ta, ma\n vadd.vv v8, v8, v9\n ebreak")
    cpu.regs.v8, cpu.regs.v9 = 0x00000004_00000003_00000002_00000001, (1 << 128) - 1
    cpu.run()
    assert cpu.regs.v8 == 0x00000003_00000002_00000001_00000000 and cpu.regs.vl == 4
