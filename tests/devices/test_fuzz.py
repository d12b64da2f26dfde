"""A few rounds of each attack in `tests.devices.fuzz`."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.devices import fuzz

QUICK = settings(
    derandomize=True,
    max_examples=15,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@given(st.randoms(use_true_random=False))
@QUICK
def test_rings_full_of_lies_raise_nothing(rng):
    fuzz.attack_rings(rng, rounds=8)


@given(st.randoms(use_true_random=False))
@QUICK
def test_lying_contents_raise_nothing(rng):
    fuzz.attack_payloads(rng, rounds=6)


@given(st.randoms(use_true_random=False))
@QUICK
def test_random_register_accesses_raise_nothing_but_bus_errors(rng):
    fuzz.attack_registers(rng, rounds=60)


@pytest.mark.parametrize("seed", range(3))
def test_the_attacks_reach_the_devices(seed):
    rounds = [random.Random(seed * 1000 + n) for n in range(30)]
    assert sum(fuzz.attack_rings(rng) for rng in rounds) > 50
    assert sum(fuzz.attack_payloads(rng) for rng in rounds) > 100
    assert 0 < fuzz.attack_registers(rounds[0]) < 1500


def test_the_command_ends_well(capsys):
    assert fuzz.main(["--seconds", "0", "--seed", "5"]) == 0
    assert "nothing found" in capsys.readouterr().out
