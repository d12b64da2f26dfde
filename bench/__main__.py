"""`python -m bench`: run the benchmarks and print the table (docs/benchmarks.md)."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.cases import boot, loop, memory, oci, start
from bench.process import BenchError
from bench.report import Result, document
from bench.report import table as rows_table
from bench.subject import Subject, keep_bytecode
from bench.table import report
from bench.table.measure import TABLE, Measurement, choices, select

DEFAULT_RUNS = 5
CASES: dict[str, Callable[[Subject], Result]] = {
    "loop": loop.loop,
    "parts": loop.parts,
    "boot": boot.boot,
    "run": boot.run_command,
    "memory": memory.memory,
    "start": start.start,
    "oci": oci.oci,
}


def main() -> int:
    """Run what was asked for; 1 if a benchmark could not be run."""
    options = _options()
    names = options.only or [*CASES, TABLE]
    results: dict[str, Result] = {}
    failed = False
    with tempfile.TemporaryDirectory(prefix="inn-bench-") as folder:
        subject = Subject(Path(folder), options.runs)
        keep_bytecode(subject.folder)
        machine = subject.describe()
        print("\n".join(f"{key:10} {value}" for key, value in machine.items()), flush=True)
        for name in (name for name in names if name in CASES):
            print(f"... {name}", file=sys.stderr, flush=True)
            try:
                results[name] = CASES[name](subject)
            except BenchError as error:
                failed = True
                print(f"{name}: {error}", file=sys.stderr)
        table = Measurement(subject, select(names), tier0=options.tier0)
        table.run()
    if results:
        _print(results)
    if table.lines:
        _print_table(table)
    if options.output is not None:
        kept = document(machine, results) | {"table": report.document(table.lines, table.commands)}
        options.output.write_text(json.dumps(kept, indent=2) + "\n")
    return 1 if failed or table.failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=DEFAULT_RUNS, metavar="N")
    parser.add_argument(
        "--only", action="append", choices=[*CASES, *choices()], metavar="NAME",
        help=f"one of {', '.join(CASES)}, {TABLE}, or a part of the table such as {TABLE}:fp or"
        f" {TABLE}:real:xz; may be given again",
    )  # fmt: skip
    parser.add_argument(
        "--tier0", action="store_true", help="the table also times ours without regions"
    )
    parser.add_argument(
        "-o", dest="output", type=Path, metavar="FILE.json", help="keep all samples as JSON"
    )
    options = parser.parse_args()
    if options.runs < 1:
        parser.error("--runs must be 1 or more")
    return options


def _print_table(table: Measurement) -> None:
    print(f"\n{report.text(table.lines)}\n")
    print("times are the guest's own, median (min..max); speed is how many times as fast as QEMU,")
    print(
        "by CPU the same by the least CPU seconds without the compiling thread's, which are under"
    )
    print("compiling; programs in brackets are not judged")
    for line in (*table.commands.values(), *table.notes):
        print(f"  {line}")


def _print(results: dict[str, Result]) -> None:
    print()
    print(rows_table([row for result in results.values() for row in result.rows]))
    print("\nmedian (min..max); CPU is user and system seconds of the process and its children")
    for name, result in results.items():
        print(f"\n{name}:")
        for command in dict.fromkeys(result.commands):
            print(f"  {command}")
        for note in result.notes:
            print(f"  {note}")


if __name__ == "__main__":
    sys.exit(main())
