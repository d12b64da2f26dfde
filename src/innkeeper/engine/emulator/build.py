"""Making tier 0's machine code, once per host and version, and loading it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from innkeeper.native import cache as code_cache
from innkeeper.native.elf import Image
from innkeeper.native.loaded import LoadedCode

if TYPE_CHECKING:
    from innkeeper.engine.emulator.regions.templates import Templates

PACKAGE = Path(__file__).resolve().parents[2]
TABLES, HANDLERS, HANDLER_COUNT = "decode.tables", "handlers", "handlers.count"
ENDS_BLOCK = "ends.block"
"""Symbols of what is appended to the code; the count's value is a number, not an offset."""

SOURCES = ("native", "isa", "engine/emulator")


def compile_image() -> code_cache.Entry:
    """Compile the emulator: handlers, page walk, traps, CSRs, decoder, loop."""
    from innkeeper.engine.emulator import cells, counted, fill, loop, parallel, tlb, turns
    from innkeeper.engine.emulator.common import common_handlers
    from innkeeper.engine.emulator.handlers import HandlerCompiler
    from innkeeper.engine.emulator.module import engine_module
    from innkeeper.engine.emulator.regions import drop, install, sampling, slow, ways
    from innkeeper.engine.emulator.regions.entry_points import region_entry_points
    from innkeeper.isa.riscv import access, decode, mmu
    from innkeeper.isa.riscv.profiles import instructions
    from innkeeper.isa.riscv.spec import meaning_parts
    from innkeeper.native.codegen import compile_ir

    module = engine_module()
    for function in (
        decode.decode, turns.run, loop.resume_cell, loop.take_trap, loop.cross_cell,
        loop.jump_cell, loop.stop_at, cells.decode_cell, cells.written_range, cells.reset_code,
        tlb.flush_all, tlb.flush_bank, tlb.reset_tlb, fill.translate,
        access.load_slow, access.store_slow,
        mmu.walk, loop.deliver_trap,
        cells.redecode, loop.apart_cell, slow.region_load, slow.region_store,
        slow.region_rw_pointer, slow.region_span_read, slow.region_span_write,
        slow.region_span_both, install.link, slow.leaves,
        install.code_key, install.checksum, sampling.hottest, sampling.note, sampling.forget,
        ways.way,
        drop.drop_all_regions, parallel.run_alone, parallel.wake, parallel.set_lines,
        parallel.set_pending, parallel.request_flush, parallel.set_mtimecmp, counted.run_counted,
    ):  # fmt: skip
        module.export(function)
    names: list[tuple[str, str]] = []
    made: dict[Any, tuple[str, str]] = {}
    for one in instructions():
        key = (meaning_parts(one.meaning), one.length)
        if key not in made:
            base = f"op.{one.base_name or one.name}.{one.length}"
            made[key] = _handlers(module, HandlerCompiler, one, base)
        names.append(made[key])
    module.declare("!unlikely", '!90 = !{!"branch_weights", i32 1, i32 2000}')
    text = module.text() + common_handlers() + region_entry_points()
    return code_cache.Entry(
        _with_tables(compile_ir(text, name="the emulator", unroll=False), names), {}
    )


def _with_tables(image: Image, names: list[tuple[str, str]]) -> Image:
    """Append the decoder's tables and the handlers' offsets, two for each instruction number."""
    import ctypes
    import struct

    from innkeeper.engine.emulator.hart import MAX_INSTRUCTIONS
    from innkeeper.engine.emulator.stops import BLOCK_ENDS
    from innkeeper.isa.riscv.decode_tables import build_tables
    from innkeeper.isa.riscv.profiles import instructions

    if len(instructions()) >= MAX_INSTRUCTIONS:
        raise ValueError(f"{len(instructions())} instructions: Code holds {MAX_INSTRUCTIONS - 1}")
    tables = build_tables(instructions())
    data = image.data + bytes(-len(image.data) % 64)
    symbols = {**image.symbols, TABLES: len(data)}
    data += ctypes.string_at(tables.address, ctypes.sizeof(type(tables).CTYPE))
    illegal = "op.illegal"
    offsets = [image.symbols[n] for pair in [(illegal, illegal), *names] for n in pair]
    data += bytes(-len(data) % 64)
    symbols[HANDLERS], symbols[HANDLER_COUNT] = len(data), len(offsets)
    data += struct.pack(f"<{len(offsets)}I", *offsets)
    symbols[ENDS_BLOCK] = len(data)
    ends = [False, *((one.base_name or one.name) in BLOCK_ENDS for one in instructions())]
    return Image(data + bytes(ends), symbols)


def _handlers(module: Any, compiler: Any, one: Any, base: str) -> tuple[str, str]:
    """Compile an instruction's handlers; return the names for leaving the page and staying."""
    outside = compiler(module, one, base, quick=True, inside=False)
    module.bodies.append(outside.compile())
    if outside.uses_memory:
        slow = compiler(module, one, f"{base}.slow", quick=False, inside=False)
        module.bodies.append(slow.compile())
    if not outside.may_branch:
        return base, base
    inside = compiler(module, one, f"{base}.in", quick=True, inside=True)
    module.bodies.append(inside.compile())
    return base, f"{base}.in"


@cache
def _keys() -> tuple[bytes, bytes]:
    """Return what compiled code depends on: the host with its LLVM, and the descriptions."""
    sources = code_cache.sources_key(*(PACKAGE / s for s in SOURCES))
    return code_cache.host_key(), sources


def regions_path() -> Path:
    """Return where compiled regions are kept: a folder of its own, so that it can be cleared."""
    entry = code_cache.entry_path("regions", *_keys())
    return entry.parent.parent / "regions" / f"{entry.stem.removeprefix('regions-')}.pack"


def region_templates() -> Templates:
    """Return what regions are made from, from the cache where it is there."""
    return _templates(emulator_code().symbols)


def _templates(symbols: dict[str, int]) -> Templates:
    from innkeeper.engine.emulator.regions.templates import templates

    return templates(code_cache.entry_path("templates", *_keys()), sorted(symbols))


@cache
def emulator_code() -> LoadedCode:
    """Return the emulator's code, from the cache where it is there."""
    path = code_cache.entry_path("emulator", *_keys())
    entry = code_cache.read(path)
    if entry is None:
        entry = compile_image()
        code_cache.write(path, entry)
        _templates(entry.image.symbols)
    return LoadedCode(entry.image)
