"""What tests of guests need."""

from __future__ import annotations

import pytest

from innkeeper.base.errors import DownloadError, NotFoundError
from innkeeper.images import debian
from innkeeper.images.store import Manifest


@pytest.fixture(scope="module")
def image() -> Manifest:
    try:
        return debian.build("busybox")
    except (DownloadError, NotFoundError) as error:
        pytest.skip(f"no Debian mirror: {error}")
