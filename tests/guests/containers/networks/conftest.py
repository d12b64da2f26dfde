"""One host with an outside, and an image, for all tests of networks in a process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.guests.containers.harness import make_inn
from tests.guests.containers.networks.world import HostInn, missing, world


@pytest.fixture(scope="session")
def outside() -> Iterator[tuple[str, str]]:
    if why := missing():
        pytest.skip(why)
    with world() as names:
        yield names


@pytest.fixture(scope="session")
def host_inn(tmp_path_factory: pytest.TempPathFactory, outside: tuple[str, str]) -> HostInn:
    folder = tmp_path_factory.mktemp("inn")
    inn = HostInn(folder, outside[0])
    make_inn(folder, inn)
    return inn


@pytest.fixture
def inn(host_inn: HostInn) -> Iterator[HostInn]:
    """`inn` with nothing left of the test before, and nothing left by this one."""
    yield host_inn
    ids = host_inn("ps", "-aq").stdout.decode().split()
    if ids:
        host_inn("rm", "-f", *ids)
    host_inn("network", "prune")
    assert host_inn.left() == []
