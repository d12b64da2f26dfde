"""`python -m innkeeper` is `inn`."""

from __future__ import annotations

from innkeeper.cli.quick import main


def run() -> None:
    """Run as a program."""
    raise SystemExit(main())


if __name__ == "__main__":
    run()
