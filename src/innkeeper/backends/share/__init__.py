"""Host directories that a guest can mount: a 9P2000.L server."""

from innkeeper.backends.share.owners import OwnerMap
from innkeeper.backends.share.server import DEFAULT_MSIZE, MAX_MSIZE, NinePServer

__all__ = ["DEFAULT_MSIZE", "MAX_MSIZE", "NinePServer", "OwnerMap"]
