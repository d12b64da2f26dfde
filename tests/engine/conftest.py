"""What several of the engine's tests begin with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.harness import Tier0


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tier0:
    """Return an emulator without regions on disk, which compiles at once what has become hot."""
    from innkeeper.engine.emulator.build import emulator_code

    emulator_code()  # from the common cache
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    machine = Tier0(regions="on")
    machine.emulator.regions.traffic.waits = 1
    return machine
