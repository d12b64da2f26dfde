"""The commands of a guest with regions as they come, without any, and with one wherever it can be.

What comes out must be the same, to the byte, as what the host computes.
"""

from __future__ import annotations

import hashlib
import random

import pytest

from innkeeper.api import Guest
from innkeeper.engine.emulator.regions import service
from innkeeper.images.store import Manifest

pytestmark = pytest.mark.guest

MODES = ("off", "on", "at once")
SCRIPT = """
cat >/tmp/in
sha256sum </tmp/in
gzip -c /tmp/in | gunzip -c | sha512sum
i=0; while [ $i -lt 300 ]; do echo $(( (i * 7919) % 1009 )); i=$((i + 1)); done | sort -n | tail -n 1
awk 'BEGIN { x = 0.5; for (i = 0; i < 2000; i++) x = 3.7 * x * (1 - x); printf "%.12f\\n", x }'
(exit 3) & wait $!; echo $?
kill -0 1 && echo alive
exit 42
"""


def logistic() -> str:
    """Return what the awk program prints: its numbers are the host's doubles."""
    x = 0.5
    for _ in range(2000):
        x = 3.7 * x * (1 - x)
    return f"{x:.12f}"


@pytest.mark.parametrize(("mode", "harts"), [*((mode, 1) for mode in MODES), ("at once", 2)])
def test_commands_say_the_same_in_every_mode(
    image: Manifest, mode: str, harts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once: a region is wanted for every place where a slice ends, or that a region leads to."""
    monkeypatch.setenv("INN_REGIONS", "off" if mode == "off" else "on")
    if mode == "at once":
        for name, value in (("THRESHOLD", 1), ("GROWTH", 0), ("KNOWN_FACTOR", 1)):
            monkeypatch.setattr(service, name, value)
    data = random.Random(5).randbytes(40_000)
    done = Guest.run("busybox", ["sh", "-c", SCRIPT], stdin=data, cpus=harts)
    highest = max(i * 7919 % 1009 for i in range(300))
    assert done.stdout.decode().splitlines() == [
        f"{hashlib.sha256(data).hexdigest()}  -",
        f"{hashlib.sha512(data).hexdigest()}  -",
        str(highest),
        logistic(),
        "3",
        "alive",
    ]
    assert (done.status, done.stderr) == (42, b"")
