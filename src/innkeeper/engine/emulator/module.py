"""The kernel Python module of the engine: which functions stand in for those of `isa`."""

from __future__ import annotations

import os
from typing import Any

from innkeeper.engine.emulator import cells, fill, hostcrypto, hostfp, parallel, sync, tlb, watch
from innkeeper.engine.emulator.handlers import EngineCompiler
from innkeeper.isa.riscv import access, mmu, sbi
from innkeeper.isa.riscv.spec import meaning_parts
from innkeeper.native.codegen import host_features
from innkeeper.native.compiler import Module
from innkeeper.native.signature import Signature


class EngineModule(Module):
    """A module in which `isa`'s functions do what this engine does in their place."""

    def __init__(self) -> None:
        super().__init__(function_compiler=EngineCompiler)
        self.shows_slow_paths = True  # regions call them
        self.host_fp = os.uname().machine == "x86_64"
        self._meanings: dict[Any, Signature] = {}

    def signature_of_meaning(self, meaning: Any) -> Signature:
        """Return the signature of an instruction's meaning."""
        if meaning not in self._meanings:
            function, consts = meaning_parts(meaning)
            self._meanings[meaning] = Signature(function, consts)
        return self._meanings[meaning]


def engine_module() -> EngineModule:
    """Return an empty module with the engine's replacements."""
    module = EngineModule()
    module.replacements |= {
        mmu.translate: fill.translate,
        mmu.flush_translations: tlb.flush_all,
        mmu.fence_translations: tlb.fence_translations,
        mmu.switch_address_space: tlb.switch_address_space,
        mmu.fence_instructions: tlb.flush_code,
        access.written: cells.written,
        access.span: fill.span,
        access.claimed: cells.claimed,
        access.about_to: watch.check,
        sbi.wake: parallel.wake,
        sbi.await_flush: sync.await_flush,
        **hostfp.ALWAYS_REPLACED,
    }
    if module.host_fp:
        module.replacements |= hostfp.REPLACED
        features = host_features()
        if features.get("fma", False):
            module.replacements |= hostfp.REPLACED_WITH_FMA
        for feature, replaced in hostcrypto.REPLACED.items():
            if features.get(feature, False):
                module.replacements |= replaced
    return module
