"""LLVM IR text to a flat image of machine code. The only file that imports llvmlite."""

from __future__ import annotations

import os
import sys
from functools import cache

from innkeeper.base.errors import CompileError
from innkeeper.native.elf import Image, link

_ready = False


@cache
def host_target(opt: int = 2):  # type: ignore[no-untyped-def]
    """Return LLVM's target machine for this host, with all its CPU features.

    One thread at a time may compile with it, which llvmlite sees to.
    """
    global _ready
    import llvmlite.binding as llvm

    if not _ready:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        _ready = True
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=opt,
        reloc="pic",
        codemodel="small",
    )


QUICK_PASSES = ("sroa", "simplify_cfg", "instruction_combine", "simplify_cfg")
"""What code out of slots needs to become SSA, and little else: half the time of -O1."""


def compile_ir(
    text: str, *, opt: int = 2, name: str = "module", unroll: bool = True, quick: bool = False
) -> Image:
    """Optimise and compile LLVM IR; `INN_DEBUG=ir,asm` prints what goes in and comes out.

    Without `unroll`, loops are vectorised but not unrolled: short ones then compile twice as fast.
    `quick` runs `QUICK_PASSES` instead of LLVM's pipeline for `opt`.
    """
    import llvmlite.binding as llvm

    debug = os.environ.get("INN_DEBUG", "").split(",")
    if quick:
        _tune_for_regions()
    target = host_target(opt)
    try:
        module = llvm.parse_assembly(text)
        module.verify()
    except RuntimeError as error:
        raise CompileError(f"LLVM refuses {name}", why=str(error)) from None
    module.triple = target.triple
    module.data_layout = str(target.target_data)
    if "ir" in debug:
        print(text, file=sys.stderr)
    if quick:
        _run_quick_passes(module, target)
    elif opt:
        options = llvm.create_pipeline_tuning_options(speed_level=opt)
        options.loop_unrolling = options.loop_interleaving = unroll
        builder = llvm.create_pass_builder(target, options)
        builder.getModulePassManager().run(module, builder)
    if "asm" in debug:
        print(target.emit_assembly(module), file=sys.stderr)
    return link(target.emit_object(module))


@cache
def _tune_for_regions() -> None:
    """Switch loop strength reduction off: what it adds to loops only serves cold code here."""
    import llvmlite.binding as llvm

    llvm.set_option("innkeeper", "-disable-lsr")


def _run_quick_passes(module, target) -> None:  # type: ignore[no-untyped-def]
    import llvmlite.binding as llvm

    options = llvm.create_pipeline_tuning_options(speed_level=1)
    builder = llvm.create_pass_builder(target, options)
    passes = llvm.create_new_function_pass_manager()
    for name in QUICK_PASSES:
        getattr(passes, f"add_{name}_pass")()
    for function in module.functions:
        if not function.is_declaration:
            passes.run(function, builder)


def host_features() -> dict[str, bool]:
    """Return the host CPU's features by LLVM's names."""
    import llvmlite.binding as llvm

    return dict(llvm.get_host_cpu_features())
