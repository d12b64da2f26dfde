"""`python -m innkeeper` is `inn`."""

from __future__ import annotations

from innkeeper.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
