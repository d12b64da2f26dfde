"""How long the parsers are fuzzed: a little in the tests, as long as wanted by hand."""

from __future__ import annotations

import os

from hypothesis import settings

_MORE = int(os.environ.get("INN_FUZZ_EXAMPLES", "0"))


def fuzz(examples: int) -> settings:
    """Return settings for `examples` fixed examples, or `INN_FUZZ_EXAMPLES` random ones."""
    return settings(derandomize=not _MORE, max_examples=_MORE or examples, deadline=None)
