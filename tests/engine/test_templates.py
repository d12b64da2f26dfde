"""Templates of instructions on disk."""

from __future__ import annotations

from pathlib import Path

from innkeeper.engine.emulator.build import emulator_code
from innkeeper.engine.emulator.regions.templates import make_templates, templates


def test_what_is_kept_is_what_was_made(tmp_path: Path) -> None:
    """Also after the file was damaged, which is the same as its not being there."""
    names = sorted(emulator_code().symbols)
    path = tmp_path / "templates.code"
    made = make_templates(names)
    assert sum(one is not None for one in made.all) > 1000
    for _ in range(2):
        first, again = templates(path, names), templates(path, names)
        assert first.all == again.all == made.all
        assert first.declared == again.declared == made.declared
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 2] ^= 1
        path.write_bytes(raw)
    assert templates(path, names).all == made.all


def test_only_what_is_named_is_declared() -> None:
    made = make_templates(sorted(emulator_code().symbols))
    name = next(iter(made.declared))
    assert made.declarations(f"call void {name}()") == made.declared[name]
    assert made.declarations("ret void") == ""
