"""Benchmarks beside Debian's QEMU: `python -m bench`. They print ratios and assert no time."""
