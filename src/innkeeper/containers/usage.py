"""What `inn-oci` says about itself."""

from __future__ import annotations

import sys

from innkeeper import __version__
from innkeeper.containers.commands import COMMANDS, GLOBAL
from innkeeper.containers.config import OCI_VERSION
from innkeeper.containers.flags import FlagError, describe_flags


def version() -> int:
    """Print the version in the lines that callers look for."""
    print(f"inn-oci version {__version__}\nspec: {OCI_VERSION}")
    return 0


def overview() -> int:
    """Print the commands and global options."""
    width = max(map(len, COMMANDS))
    lines = "".join(f"   {name:{width}}  {one[5]}\n" for name, one in sorted(COMMANDS.items()))
    print(
        "NAME:\n   inn-oci - Open Container Initiative runtime\n\n"
        "USAGE:\n   inn-oci [global options] command [command options] [arguments...]\n\n"
        f"COMMANDS:\n{lines}\nGLOBAL OPTIONS:\n{describe_flags(GLOBAL)}",
        end="",
    )
    return 0


def describe(command: str) -> int:
    """Print one command's help."""
    _, table, _, _, usage, what = COMMANDS[command]
    options = f"\nOPTIONS:\n{describe_flags(table)}" if table else ""
    print(
        f"NAME:\n   inn-oci {command} - {what}\n\n"
        f"USAGE:\n   inn-oci {command} [command options] {usage}\n{options}",
        end="",
    )
    return 0


def refuse_arguments(command: str, fewest: int, most: int) -> None:
    """Refuse a number of arguments, after the help."""
    print("Incorrect Usage.\n")
    describe(command)
    sys.stdout.flush()
    if fewest == most:
        raise FlagError(f'inn-oci: "{command}" requires exactly {fewest} argument(s)')
    raise FlagError(f'inn-oci: "{command}" requires a minimum of {fewest} argument(s)')
