"""Install a seccomp filter in this process: seccomp(2), config-linux.md "Seccomp"."""

from __future__ import annotations

from innkeeper.base.errors import ContainerError
from innkeeper.containers import kernel as k

TYPE_CHECKING = False
if TYPE_CHECKING:
    from innkeeper.containers.seccomp import SeccompProgram

_SET_MODE_FILTER = 1
_NEW_LISTENER = 1 << 3
_INSTRUCTION_BYTES = 8


def install(program: SeccompProgram) -> int | None:
    """Install a compiled profile; returns the listener's descriptor when it notifies."""
    code, address = k.pinned(program.filter)
    length = len(program.filter) // _INSTRUCTION_BYTES
    flags = program.flags | (_NEW_LISTENER if program.notify else 0)
    try:
        answer = k.syscall("seccomp", _SET_MODE_FILTER, flags, k.words(length, address))
    except OSError as error:
        raise ContainerError("unable to init seccomp", why=k.reason(error)) from None
    del code
    return answer if program.notify else None
