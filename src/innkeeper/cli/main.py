"""`inn`: the group, its lazily imported commands, and how errors are shown.

Data goes to stdout; progress and errors to stderr. Exit status: the guest's own, else 124 for a
timeout, 125 for our fault, 126 for what cannot be executed, 127 for what is not there, 2 for
wrong usage.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

import click

from innkeeper.base.errors import InnError

# name: (module, one line for `inn --help`); the module has a click command of that name.
COMMANDS = {
    "run": ("run", "Run a command in a new guest made from an image."),
    "boot": ("boot", "Boot any kernel, firmware or ELF file, console on this terminal."),
    "image": ("image", "Build, list, inspect and remove images."),
    "create": ("container_life", "Make a container, and do not start it yet."),
    "ps": ("containers", "List containers."),
    "logs": ("container_logs", "Print what a detached container has written."),
    "attach": ("container_life", "Join a detached container's streams or terminal."),
    "exec": ("container_exec", "Run another command in a running container."),
    "start": ("container_life", "Start containers that were created, or have ended."),
    "restart": ("container_life", "Stop containers and start them again."),
    "stop": ("containers", "Ask containers to end, and kill them when they do not."),
    "kill": ("containers", "Send containers a signal."),
    "rm": ("containers", "Remove containers that have ended."),
    "wait": ("container_life", "Wait for containers to end and print their statuses."),
    "rename": ("container_life", "Give a container another name."),
    "update": ("container_life", "Change a container's limits and restart policy."),
    "healthcheck": ("container_life", "Look at a container's health now."),
    "pause": ("containers", "Freeze the processes of containers."),
    "unpause": ("containers", "Let frozen containers go on."),
    "inspect": ("container_info", "Say everything about a container, as JSON."),
    "stats": ("container_info", "Say what containers use."),
    "top": ("container_info", "List the processes of a container."),
    "diff": ("container_files", "List what a container has changed in its files."),
    "commit": ("container_files", "Make an image of a container."),
    "cp": ("container_files", "Copy a file out of a container, or into one."),
    "export": ("container_move", "Write a container as a stream, to move it."),
    "import": ("container_move", "Make a container of such a stream."),
    "port": ("network", "Say at which of the host's ports a container's are published."),
    "network": ("network", "Make, list and remove networks of containers."),
    "checkpoint": ("container_move", "Save the processes of containers, by criu."),
    "restore": ("container_move", "Bring them back."),
    "system": ("system", "Clean up after crashes."),
    "cpu": ("cpu", "Assemble, disassemble, run and trace programs without an OS."),
    "doctor": ("doctor", "Say what works on this host, and why not."),
    "cache": ("cache", "List or clear what can be made or downloaded again."),
    "completion": ("completion", "Print the completion script of a shell."),
}
OUR_FAULT, USAGE, BROKEN_PIPE, INTERRUPTED = 125, 2, 141, 130
_EXAMPLES = """\b
Examples:
  inn run busybox -- uname -a
  inn run -it debian
  inn run -v "$PWD:/work" -w /work debian -- ./build.sh
  inn boot --kernel Image --initrd initrd.cpio --append console=ttyS0
  inn doctor"""


class LazyGroup(click.Group):
    """Commands by name, imported when used: `inn --help` imports none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"innkeeper.cli.{COMMANDS[cmd_name][0]}")
        # `exec` is a builtin's name, so its function is `exec_`.
        command = getattr(module, cmd_name, None) or getattr(module, f"{cmd_name}_")
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; click would end with 1 when nobody reads the output any more."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            _forget_stdout()
            raise click.exceptions.Exit(BROKEN_PIPE) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list from `COMMANDS`."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


def _print_version(ctx: click.Context, _option: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from innkeeper import __version__

        click.echo(f"inn {__version__}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version,
    help="Show the version and exit.",
)  # fmt: skip
def inn() -> None:
    """Run guests: any kernel, any distribution, on any host.

    INN_DEBUG=1 shows the traceback of an unexpected error.
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Run `inn` with `argv` (default: the process's) and return the exit status."""
    return guarded(lambda: inn.main(argv, prog_name="inn", standalone_mode=False))


def guarded(action: Callable[[], object]) -> int:
    """Do something that returns an exit status, and show its errors."""
    try:
        status = action()
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        return _show_usage(error)
    except InnError as error:
        return _show(error)
    except BrokenPipeError:
        _forget_stdout()
        return BROKEN_PIPE
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except Exception as error:
        return _show_unexpected(error)


def _show_usage(error: click.ClickException) -> int:
    context = getattr(error, "ctx", None)
    hint = f"\n  {context.command_path} --help" if context is not None else ""
    click.echo(f"inn: {error.format_message()}{hint}", err=True)
    return USAGE


def _show(error: InnError) -> int:
    why = f": {error.why}" if error.why else ""
    fix = f"\n  {error.fix}" if error.fix else ""
    click.echo(f"inn: {error.what}{why}{fix}", err=True)
    if os.environ.get("INN_DEBUG"):
        _traceback(error)
    return error.exit_code


def _show_unexpected(error: Exception) -> int:
    if os.environ.get("INN_DEBUG"):
        _traceback(error)
    else:
        text = " ".join(str(error).split())
        click.echo(f"inn: unexpected {type(error).__name__}: {text}", err=True)
        click.echo("  this is a fault in innkeeper; report it with INN_DEBUG=1's output", err=True)
    return OUR_FAULT


def _traceback(error: Exception) -> None:
    import traceback

    traceback.print_exception(error)


def _forget_stdout() -> None:
    """Point stdout elsewhere, so that the interpreter's last flush does not fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
