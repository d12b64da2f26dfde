"""`inn completion`: the script that teaches a shell our commands and options."""

from __future__ import annotations

import click

_EXAMPLES = """\b
Examples:
  eval "$(inn completion bash)"                          # in ~/.bashrc
  eval "$(inn completion zsh)"                           # in ~/.zshrc
  inn completion fish > ~/.config/fish/completions/inn.fish"""


@click.command(epilog=_EXAMPLES)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of SHELL."""
    from click.shell_completion import get_completion_class

    from innkeeper.cli.main import inn

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(inn, {}, "inn", "_INN_COMPLETE").source())
