"""`inn-oci`: an OCI runtime that podman and containerd drive in place of runc."""

from __future__ import annotations

import os
import sys

from innkeeper.base.errors import InnError
from innkeeper.containers.commands import COMMANDS, GLOBAL
from innkeeper.containers.flags import FlagError, parse_flags
from innkeeper.containers.kernel import reason
from innkeeper.containers.settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NO_SUCH_COMMAND = 3
EXEC_FAILED = 255
_PREFIXES = {
    "create": "inn-oci create failed: ",
    "run": "inn-oci run failed: ",
    "restore": "inn-oci restore failed: ",
    "exec": "exec failed: ",
}


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    _open_streams()
    argv = sys.argv[1:] if argv is None else argv
    settings, command = Settings({}), ""
    try:
        values, rest = parse_flags(GLOBAL, argv)
        settings = Settings(values)
        if settings.log_format not in ("text", "json"):
            raise FlagError(f'invalid log-format "{settings.log_format}"', fix="text or json")
        command = rest[0] if rest else ""
        return _dispatch(settings, values, command, rest[1:])
    except KeyboardInterrupt:
        return 130
    except (InnError, OSError) as error:
        text = reason(error) if isinstance(error, OSError) else str(error)
        if isinstance(error, OSError) and error.filename is not None:
            text = f"{error.filename}: {text}"
    except Exception as error:
        if settings.debug:
            raise
        text = f"internal error: {type(error).__name__}: {error} (--debug shows where)"
    settings.write("error", _PREFIXES.get(command, "") + text)
    return EXEC_FAILED if command == "exec" else 1


def run() -> None:
    """Run as a program: what is left to clean up, the kernel does quicker than the interpreter."""
    status = main()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        status = status or 1
    os._exit(status)


def _open_streams() -> None:
    """Open /dev/null for closed standard streams: no other file may get their numbers."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(fd, True)


def _dispatch(settings: Settings, values: dict[str, Any], command: str, argv: list[str]) -> int:
    if values.get("version"):
        from innkeeper.containers.usage import version

        return version()
    if command in ("", "help", "h") or values.get("help"):
        from innkeeper.containers.usage import overview

        return overview()
    if command not in COMMANDS:
        settings.write("error", f"No help topic for '{command}'")
        return NO_SUCH_COMMAND
    module, table, fewest, most, _, _ = COMMANDS[command]
    if {"-h", "--help", "-help"} & set(argv[:1]):
        from innkeeper.containers.usage import describe

        return describe(command)
    options, args = parse_flags(table, argv)
    if not fewest <= len(args) <= most:
        from innkeeper.containers.usage import refuse_arguments

        refuse_arguments(command, fewest, most)
    done: int = getattr(_module(module), f"{command}_command")(settings, options, args)
    return done


def _module(name: str) -> Any:
    full = f"innkeeper.containers.{name}"
    __import__(full)
    return sys.modules[full]
