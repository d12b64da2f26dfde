"""Check the README's code blocks: every `inn` command parses, every Python block compiles."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SHELLS = ("sh", "bash", "shell", "console")


def problems(text: str) -> list[str]:
    """Return what is wrong with the blocks of a Markdown text."""
    found = []
    for language, body in _BLOCK.findall(text):
        if language in _SHELLS:
            for line in _commands(body):
                found += _check_command(line)
        elif language == "python":
            try:
                compile(body, "<README>", "exec")
            except SyntaxError as error:
                found.append(f"Python block: {error}")
    return found


def _commands(body: str) -> list[str]:
    lines = body.replace("\\\n", " ").splitlines()
    if any(line.startswith("$ ") for line in lines):
        return [line[2:] for line in lines if line.startswith("$ ")]
    return [line for line in lines if line.strip() and not line.startswith("#")]


def _check_command(line: str) -> list[str]:
    import click

    from innkeeper.base.errors import InnError
    from innkeeper.cli.main import inn

    for part in re.split(r"\s(?:\||&&|;)\s", line):
        words = shlex.split(part, comments=True)
        if words and words[0] in ("./check", "./inn", ".ci/run") and not (ROOT / words[0]).exists():
            return [f"{line}: there is no {words[0]}"]
        if not words or words[0] not in ("inn", "./inn"):
            continue
        try:
            _parse(inn, words[1:])
        except click.exceptions.Exit:
            continue
        except (click.ClickException, InnError) as error:
            return [f"{line}: {error}"]
    return []


def _parse(command: object, words: list[str]) -> None:
    import click

    assert isinstance(command, click.Command)
    if isinstance(command, click.Group) and words and not words[0].startswith("-"):
        inner = command.get_command(click.Context(command), words[0])
        if inner is None:
            raise click.UsageError(f"no such command {words[0]!r}")
        _parse(inner, words[1:])
    else:
        command.make_context("inn", list(words)).close()


def main() -> int:
    """Check README.md; say what is wrong."""
    found = problems((ROOT / "README.md").read_text())
    for problem in found:
        print(f"README.md: {problem}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
