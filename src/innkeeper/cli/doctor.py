"""`inn doctor`: what works on this host, and why not."""

from __future__ import annotations

import dataclasses

import click

from innkeeper.cli.options import json_option

_MARKS = {"ok": "ok  ", "absent": "  - ", "broken": "FAIL"}


@click.command(epilog="\b\nExamples:\n  inn doctor\n  inn doctor -o json")
@json_option
def doctor(output: str) -> int:
    """Say what works on this host, and why not.

    Exit status: 0 when guests can be run, 125 when something they need is broken. What is
    only missing for comfort or speed is marked with a dash.
    """
    from innkeeper.guests.host import State, check_host

    checks = check_host()
    if output == "json":
        import json

        click.echo(json.dumps([dataclasses.asdict(check) for check in checks], indent=2))
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            click.echo(f"{_MARKS[check.state]}  {check.name.ljust(width)}  {check.found}")
            if check.fix and check.state != State.OK:
                click.echo(f"      {' ' * width}  {check.fix}")
    return 125 if any(check.state == State.BROKEN for check in checks) else 0
