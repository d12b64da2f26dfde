"""`inn cpu`: a processor by itself, for programs without an OS."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from innkeeper.base.errors import MachineError, UsageError
from innkeeper.base.units import MIB
from innkeeper.cli.files import write_file
from innkeeper.cli.options import FILE, address, combined, duration, size

if TYPE_CHECKING:
    from innkeeper.cpu import Cpu, Stop

DEFAULT_BASE = 0x8000_0000
MAX_FILE_BYTES = 256 * MIB
_EXAMPLES = """\b
Examples:
  inn cpu asm hello.s -o hello.elf
  inn cpu disasm hello.elf
  inn cpu run hello.s
  inn cpu trace --limit 20 hello.s"""

base_option = click.option(
    "--base", type=address, default=None, metavar="ADDR",
    help="Where source and bare code go (default 0x80000000).",
)  # fmt: skip
program_options = combined(
    [
        base_option,
        click.option("--memory", "-m", type=size, metavar="SIZE", default="64M", show_default=True,
                     help="How much memory the program has."),
        click.option("--mode", type=click.Choice(["M", "S", "U"]), default=None,
                     help="The privilege mode it starts in (default U)."),
        click.option("--no-syscalls", is_flag=True,
                     help="Give it no exit and write calls; ecall is then its own (mode M)."),
    ]
)  # fmt: skip


@click.group(epilog=_EXAMPLES)
def cpu() -> None:
    """Assemble, disassemble, run and trace programs without an OS."""


@cpu.command(epilog="\b\nExamples:\n  inn cpu asm hello.s\n  inn cpu asm hello.s -o hello.elf")
@click.argument("source", type=FILE)
@click.option(
    "-o",
    "--output",
    type=FILE,
    default=None,
    metavar="FILE",
    help="Write the program here (- for stdout) instead of listing it.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["elf", "bin"]),
    default="elf",
    show_default=True,
    help="The form of the output file.",
)
@click.option("--compress", is_flag=True, help="Use compressed instructions where they fit.")
@base_option  # fmt: skip
def asm(source: Path, output: Path | None, form: str, compress: bool, base: int | None) -> None:
    """Assemble SOURCE (- for stdin): list it, or write an ELF or bare binary file."""
    from innkeeper.cpu import assemble, disassemble, elf_image

    try:
        text = _read(source).decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{source} is not assembly source", why="it is not text") from error
    place = DEFAULT_BASE if base is None else base
    program = assemble(text, base=place, name=str(source), rvc=compress)
    if output is not None:
        write_file(output, elf_image(program) if form == "elf" else program.image)
        return
    names: dict[int, list[str]] = {}
    for name in sorted(program.labels):
        names.setdefault(program.symbols[name], []).append(name)
    for section in program.sections:
        if "x" in section.flags:
            start = section.address - program.base
            _list(disassemble(program.image[start : start + section.size], section.address), names)


@cpu.command(
    epilog="\b\nExamples:\n  inn cpu disasm hello.elf\n  inn cpu disasm --hex 02a00513 8082"
)
@click.argument("what", nargs=-1, required=True, metavar="FILE|WORD...")
@click.option(
    "--hex", "as_hex", is_flag=True, help="The arguments are instructions in hexadecimal."
)
@click.option("--no-aliases", is_flag=True, help="Write no pseudo-instructions.")
@base_option  # fmt: skip
def disasm(what: tuple[str, ...], as_hex: bool, no_aliases: bool, base: int | None) -> None:
    """Disassemble an ELF or bare binary FILE (- for stdin), or instructions given as WORDs."""
    from innkeeper.cpu import disassemble

    names: dict[int, list[str]] = {}
    if as_hex:
        pieces = [(base or 0, b"".join(map(_word, what)))]
    elif len(what) > 1:
        raise click.UsageError("one FILE, please, or --hex with words")
    else:
        pieces, names = _code(Path(what[0]), DEFAULT_BASE if base is None else base)
    for place, data in pieces:
        _list(disassemble(data, place, aliases=not no_aliases), names)


@cpu.command(
    epilog="\b\nExamples:\n  inn cpu run hello.s\n  inn cpu run --limit 1000000 --registers a.elf"
)
@click.argument("file", type=FILE)
@program_options
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=None,
    metavar="N",
    help="Stop after N instructions.",
)
@click.option(
    "--timeout", type=duration, default=None, metavar="TIME", help="Stop after this long."
)
@click.option("--registers", is_flag=True, help="Show the registers on stderr at the end.")
def run(
    file: Path, limit: int | None, timeout: float | None, registers: bool, **options: Any
) -> int:
    """Run FILE (assembly source, ELF or bare code) until it exits.

    `ecall` with a7 = 93 exits with a0, and a7 = 64 writes a2 bytes at a1 to descriptor a0.
    The exit status is the program's; 124 after --limit or --timeout.
    """
    machine = _machine(file, options)
    stop = machine.run(max_instructions=limit, timeout_s=timeout)
    if registers:
        _show_registers(machine)
    return _status(stop)


@cpu.command(epilog="\b\nExample:\n  inn cpu trace --limit 20 hello.s")
@click.argument("file", type=FILE)
@program_options
@click.option("--limit", type=click.IntRange(min=1), default=1000, show_default=True, metavar="N",
              help="Stop after N instructions.")  # fmt: skip
def trace(file: Path, limit: int, **options: Any) -> int:
    """Run FILE and list on stdout each instruction and the registers it changed."""
    machine = _machine(file, options)
    for done in machine.trace(max_instructions=limit):
        changed = "  ".join(f"{name}={value:#x}" for name, value in done.writes.items())
        bits = f"{done.bits:0{done.size * 2}x}"
        click.echo(f"{done.pc:#010x}  {bits:8}  {done.text:<32}  {changed}".rstrip())
    return machine.exit_code or 0


def _machine(file: Path, options: dict[str, Any]) -> Cpu:
    from innkeeper.cpu import Cpu

    if not file.is_file():
        raise UsageError(f"cannot read {file}", why="there is no such file")
    return Cpu.from_file(
        file,
        mode=options["mode"],
        syscalls=None if options["no_syscalls"] else "minimal",
        memory_bytes=options["memory"],
        base=options["base"],
    )


def _status(stop: Stop) -> int:
    from innkeeper.cpu import StopReason

    if stop.reason is StopReason.EXIT:
        return stop.exit_code or 0
    if stop.reason in (StopReason.COUNT, StopReason.TIMEOUT):
        click.echo(f"inn: {stop}", err=True)
        return 124
    raise MachineError("the program did not exit", why=str(stop))


def _show_registers(machine: Cpu) -> None:
    cells = [f"{name:>4} {value:016x}" for name, value in machine.regs.dump().items()]
    for n in range(0, len(cells), 4):
        click.echo("  ".join(cells[n : n + 4]), err=True)


def _list(lines: Any, names: dict[int, list[str]]) -> None:
    for place, bits, length, text in lines:
        for name in names.get(place, ()):
            click.echo(f"{name}:")
        click.echo(f"{place:#10x}:  {bits:0{length * 2}x}".ljust(24) + f"  {text}".rstrip())


def _code(file: Path, base: int) -> tuple[list[tuple[int, bytes]], dict[int, list[str]]]:
    """Return the executable stretches of a file and the names of addresses in it."""
    data = _read(file)
    if not data.startswith(b"\x7fELF"):
        return [(base, data)], {}
    from innkeeper.firmware import elf

    def read_at(offset: int, size: int) -> bytes:
        return data[offset : offset + size]

    header = elf.parse_header(data[:64])
    names: dict[int, list[str]] = {}
    for name, place in sorted(elf.read_symbols(header, read_at).items()):
        names.setdefault(place, []).append(name)
    segments = elf.read_segments(header, read_at, len(data))
    return [(s.virtual, read_at(s.offset, s.file_bytes)) for s in segments], names


def _word(text: str) -> bytes:
    digits = text.removeprefix("0x")
    try:
        number = int(digits, 16)
    except ValueError:
        raise UsageError(f"{text!r} is not an instruction in hexadecimal") from None
    size = 2 if len(digits) <= 4 else 4
    if number >= 1 << size * 8:
        raise UsageError(f"{text} is too long for an instruction", why="it has more than 32 bits")
    return number.to_bytes(size, "little")


def _read(file: Path) -> bytes:
    try:
        if str(file) == "-":
            data = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        else:
            with file.open("rb") as stream:
                data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read {file}", why=error.strerror or str(error)) from error
    if len(data) > MAX_FILE_BYTES:
        raise UsageError(f"{file} is too large", why=f"more than {MAX_FILE_BYTES >> 20} MiB")
    return data
