"""`python -m innkeeper` is `inn`."""

from __future__ import annotations

from innkeeper.cli.quick import main

if __name__ == "__main__":
    raise SystemExit(main())
