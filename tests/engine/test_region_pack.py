"""Regions on disk: kept, found again, never trusted when damaged, shared by processes."""

from __future__ import annotations

import multiprocessing
import os
import random
from pathlib import Path

import pytest

from innkeeper.engine.emulator.build import regions_path
from innkeeper.engine.emulator.regions.pack import HEAD, ROW, Made, Pack, merge
from tests.engine.harness import Tier0, program

LOOP = """
_start:
    li s0, 400000
loop:
    add s1, s1, s0
    xor s2, s2, s1
    addi s0, s0, -1
    bnez s0, loop
done: j done
"""
TOTAL = sum(range(1, 400001))


def made(number: int, size: int = 128) -> Made:
    """Return something that a pack can hold."""
    return Made(number + 1, number * 2 + 1, 64, random.Random(number).randbytes(size))


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give this test a cache of its own; return where regions are kept in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return regions_path()


def test_what_is_written_is_read(path: Path) -> None:
    both = [made(n) for n in range(5)]
    merge(path, both[:3], set())
    merge(path, both[2:], set())
    pack = Pack(path)
    assert {(r.key, r.checksum, r.record, pack.image(r)) for r in pack.rows} == {
        (m.key, m.checksum, m.record, m.image) for m in both
    }


def test_what_was_used_stays_when_the_file_is_full(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("innkeeper.engine.emulator.regions.pack.MAX_PACK_BYTES", 1000)
    merge(path, [made(n) for n in range(4)], set())
    merge(path, [made(9)], {(3, 5), (10, 19)})
    assert {r.key for r in Pack(path).rows} >= {3, 10}
    assert path.stat().st_size < 2000


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_file_is_empty_or_sound(path: Path, seed: int) -> None:
    """Whatever happens to the file, rows lie inside it and name images of sane sizes."""
    rng = random.Random(seed)
    merge(path, [made(n) for n in range(4)], set())
    raw = bytearray(path.read_bytes())
    if seed % 3 == 0:
        raw = raw[: rng.randrange(len(raw))]
    else:
        end = HEAD.size + 4 * ROW.size if seed % 3 == 1 else len(raw)
        raw[rng.randrange(end)] ^= 1 << rng.randrange(8)
    path.write_bytes(raw)
    pack = Pack(path)
    if pack.rows:
        assert bytes(raw[: HEAD.size + 4 * ROW.size]) == pack.memory[: HEAD.size + 4 * ROW.size]
        assert all(len(pack.image(row)) == row.size for row in pack.rows)


@pytest.mark.parametrize("how", ["directory", "fifo", "others may write"])
def test_what_is_not_ours_is_not_read(path: Path, how: str) -> None:
    path.parent.mkdir(parents=True)
    if how == "directory":
        path.mkdir()
    elif how == "fifo":
        os.mkfifo(path)
    else:
        merge(path, [made(1)], set())
        path.chmod(0o666)
    assert Pack(path).rows == []


def run_loop() -> tuple[int, int, int, int]:
    """Run the loop, compiling at once what is not on disk; return what came of it."""
    machine = Tier0(regions="on")
    service = machine.emulator.regions
    service.traffic.threshold = service.traffic.waits = 1
    text = program(LOOP)
    machine.load(text.image, text.entry)
    for _ in range(200):
        machine.emulator.run(50_000)
        if machine.hart.pc == text.symbols["done"]:
            break
    total = int(machine.hart.x[9])
    service.close()
    traffic = service.traffic
    return total, len(service.made), int(traffic.stat_found), int(traffic.stat_damaged)


def test_the_second_run_compiles_nothing(path: Path) -> None:
    total, compiled, found, _ = run_loop()
    assert (total, found) == (TOTAL, 0)
    assert compiled > 0
    total, compiled, found, damaged = run_loop()
    assert (total, compiled, damaged) == (TOTAL, 0, 0)
    assert found > 0


def test_a_damaged_image_is_not_run(path: Path) -> None:
    """One bit of the code is changed, and the checksum does not say so any more."""
    run_loop()
    pack = Pack(path)
    raw = bytearray(path.read_bytes())
    for row in pack.rows:
        raw[row.offset + 40] ^= 4
    path.write_bytes(raw)
    total, _, found, damaged = run_loop()
    assert (total, found) == (TOTAL, 0)
    assert damaged > 0


def _keep_some(path: Path, first: int) -> None:
    for n in range(first, first + 20):
        merge(path, [made(n)], set())


def test_two_processes_share_the_file(path: Path) -> None:
    """Nothing that either of them keeps is lost, and the file is sound at every moment."""
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=_keep_some, args=(path, first)) for first in (0, 100)]
    for one in both:
        one.start()
    while any(one.is_alive() for one in both):
        assert path.exists() is False or Pack(path).memory is not None
    for one in both:
        one.join()
        assert one.exitcode == 0
    assert {r.key for r in Pack(path).rows} == {n + 1 for n in (*range(20), *range(100, 120))}


def test_a_cache_that_cannot_be_written_does_no_harm(path: Path) -> None:
    path.parent.parent.mkdir(parents=True, exist_ok=True)
    path.parent.write_text("a file where the folder should be")
    assert run_loop()[0] == TOTAL
