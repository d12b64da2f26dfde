"""One image for all tests of containers in a process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.guests.containers.harness import BUSYBOX, Inn, make_inn


@pytest.fixture(scope="session")
def inn(tmp_path_factory: pytest.TempPathFactory) -> Inn:
    if BUSYBOX is None:
        pytest.skip("needs a static busybox on the host (apt-get install busybox-static)")
    return make_inn(tmp_path_factory.mktemp("inn"))


@pytest.fixture
def clean(inn: Inn) -> Iterator[Inn]:
    """Let a test find no containers and leave nothing."""
    yield inn
    for line in inn("ps", "-aq").stdout.decode().split():
        inn("rm", "-f", line)
    assert inn.left() == []
