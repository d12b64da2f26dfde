"""What a process in a container is given before its program: config.md "Process".

The last stretch, the same for a container's first process and for `exec`: from the root of a
finished file system to `execve`. The order follows from what each step still needs.
"""

from __future__ import annotations

import os

from innkeeper.base.errors import ContainerError
from innkeeper.containers import capabilities, trampoline
from innkeeper.containers import kernel as k
from innkeeper.containers.config import RLIMITS
from innkeeper.containers.program import look_up, refuse_itself
from innkeeper.containers.schema import U64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MAX_PASSWD_BYTES = 1 << 20
_SCHED = {
    "SCHED_OTHER": 0, "SCHED_FIFO": 1, "SCHED_RR": 2, "SCHED_BATCH": 3, "SCHED_ISO": 4,
    "SCHED_IDLE": 5, "SCHED_DEADLINE": 6,
}  # fmt: skip
_SCHED_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 1, "SCHED_FLAG_RECLAIM": 2, "SCHED_FLAG_DL_OVERRUN": 4,
    "SCHED_FLAG_KEEP_POLICY": 8, "SCHED_FLAG_KEEP_PARAMS": 16, "SCHED_FLAG_UTIL_CLAMP_MIN": 32,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 64,
}  # fmt: skip
_IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
_PERSONALITIES = {"LINUX": 0, "LINUX32": 8}


class ReadyProcess:
    """A process that has become what its configuration says, but for seccomp and `execve`."""

    def __init__(self, path: str, args: list[str], env: dict[str, str], image: int) -> None:
        self.path, self.args, self.env, self.image = path, args, env, image

    def execute(self, seccomp: dict[str, Any]) -> None:
        """Become the program; returns only by an exception."""
        try:
            trampoline.become(self.image, self.args, self.env, seccomp=seccomp)
        except OSError as error:
            why = k.reason(error)
            raise ContainerError(f'exec: "{self.path}"', why=why) from None


def prepare(
    process: dict[str, Any],
    *,
    proc: int,
    preserve_fds: int,
    keyring: str | None,
    install_seccomp: Callable[[], None],
    death_signal: int = 0,
) -> ReadyProcess:
    """Do everything to this process that comes before its program.

    `proc` is the host's `/proc`; `keyring` names the new session keyring. `install_seccomp` is
    called last, but without `noNewPrivileges` while there still is the right to. `death_signal` is
    what the process is to get when this one's parent dies.
    """
    if keyring is not None:
        _new_keyring(keyring)
    _schedule(process)
    runtime = os.stat("self/exe", dir_fd=proc)
    env = environment(process)
    _label(process, proc)
    k.close_on_exec_from(3 + preserve_fds)
    unprivileged = bool(process.get("noNewPrivileges"))
    if unprivileged:
        k.prctl(k.PR_SET_NO_NEW_PRIVS, 1)
    else:
        install_seccomp()
    _become_user(process, proc)
    if death_signal and not unprivileged:  # another user's process has lost it: prctl(2)
        k.prctl(k.PR_SET_PDEATHSIG, death_signal)
    path = look_up(process["args"][0], env)
    refuse_itself(path, runtime)
    ready = ReadyProcess(path, process["args"], env, trampoline.sealed(path))
    set_limits(process)
    if unprivileged:
        install_seccomp()
    return ready


def _new_keyring(name: str) -> None:
    """Join a session keyring of its own (keyctl(2)): the caller's keys stay outside."""
    try:
        k.syscall("keyctl", 1, os.fsencode(name))  # KEYCTL_JOIN_SESSION_KEYRING
    except OSError as error:
        if error.errno != 38:  # a kernel without keys has none to keep
            raise ContainerError("unable to join session keyring", why=k.reason(error)) from None


def _schedule(process: dict[str, Any]) -> None:
    try:
        if (wanted := process.get("scheduler")) is not None:
            k.syscall("sched_setattr", 0, scheduling(wanted), 0)
        if (io := process.get("ioPriority")) is not None:
            value = _named(_IO_CLASSES, io["class"], "process.ioPriority.class") << 13
            k.syscall("ioprio_set", 1, 0, value | io.get("priority", 0))
    except OSError as error:
        raise ContainerError("error setting scheduler attributes", why=k.reason(error)) from None


def scheduling(wanted: dict[str, Any]) -> bytes:
    """Pack `process.scheduler` as struct sched_attr (sched_setattr(2))."""
    flags = 0
    for flag in wanted.get("flags", []):
        flags |= _named(_SCHED_FLAGS, flag, "process.scheduler.flags")
    policy = _named(_SCHED, wanted["policy"], "process.scheduler.policy")
    times = (wanted.get(name, 0) for name in ("runtime", "deadline", "period"))
    return (
        k.words(48, policy, size=4)
        + k.words(flags)
        + k.words(wanted.get("nice", 0), wanted.get("priority", 0), size=4)
        + k.words(*times)
    )


def _named(table: dict[str, int], name: str, field: str) -> int:
    if name not in table:
        raise ContainerError(f"{field}: {name!r} is none of {', '.join(table)}")
    return table[name]


def set_personality(linux: dict[str, Any]) -> None:
    """Set the execution domain (config-linux.md "Personality")."""
    if (wanted := linux.get("personality")) is not None:
        if wanted.get("flags"):
            raise ContainerError("linux.personality.flags", why="no flag is supported")
        k.syscall("personality", _PERSONALITIES[wanted["domain"]])


def raise_limits(pid: int, process: dict[str, Any]) -> None:
    """Raise hard limits as far as `process.rlimits` needs: that takes privilege, so it comes early.

    Soft limits stay: to make a container takes more descriptors than it may be allowed.
    """
    for one in process.get("rlimits", []):
        number, now = _limit_number(one), k.two_words()
        try:
            k.syscall("prlimit64", pid, number, 0, now)
            soft, hard = (value & U64 for value in now)
            if one["hard"] > hard:
                k.syscall("prlimit64", pid, number, k.words(soft, one["hard"]), 0)
        except OSError as error:
            raise ContainerError(f"error setting {one['type']}", why=k.reason(error)) from None


def set_limits(process: dict[str, Any]) -> None:
    """Set this process's limits; hard ones only ever go down from here."""
    for one in process.get("rlimits", []):
        try:
            limits = k.words(one["soft"], one["hard"])
            k.syscall("prlimit64", 0, _limit_number(one), limits, 0)
        except OSError as error:
            raise ContainerError(f"error setting {one['type']}", why=k.reason(error)) from None


def _limit_number(one: dict[str, Any]) -> int:
    return RLIMITS.index(one["type"].removeprefix("RLIMIT_"))


def environment(process: dict[str, Any]) -> dict[str, str]:
    """Return the environment; the last value of a name wins, HOME comes from the user."""
    env = dict(one.split("=", 1) for one in process.get("env", []))
    if not env.get("HOME"):
        env["HOME"] = _home(process.get("user", {}).get("uid", 0))
    return env


def _home(uid: int) -> str:
    """Look the user up in the container's own `/etc/passwd`."""
    try:
        fd = os.open("/etc/passwd", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return "/"
    try:
        lines = os.read(fd, MAX_PASSWD_BYTES).decode("utf-8", "replace").splitlines()
    except OSError:
        return "/"
    finally:
        os.close(fd)
    for line in lines:
        fields = line.split(":")
        if len(fields) >= 6 and fields[2] == str(uid):
            return fields[5] or "/"
    return "/"


def _label(process: dict[str, Any], proc: int) -> None:
    """Ask the security modules to label what is executed next (through the host's procfs)."""
    profile, label = process.get("apparmorProfile"), process.get("selinuxLabel")
    if profile:
        what = "unable to apply apparmor profile: apparmor failed to apply profile"
        # Where modules are stacked each has a directory of its own (LSM stacking, Linux 5.1).
        _write_attribute(proc, ("apparmor/exec", "exec"), f"exec {profile}", what)
    if label:
        _write_attribute(proc, ("exec",), label, "unable to apply selinux label")


def _write_attribute(proc: int, names: tuple[str, ...], text: str, what: str) -> None:
    """Write to the first of the attributes that there is."""
    for name in names:
        try:
            fd = k.open_beneath(proc, f"{own_pid(proc)}/attr/{name}", os.O_WRONLY)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ContainerError(what, why=f"open attr/{name}: {k.reason(error)}") from None
        try:
            os.write(fd, text.encode())
            return
        except OSError as error:
            why = f"write /proc/self/attr/{name}: {k.reason(error)}"
            raise ContainerError(what, why=why) from None
        finally:
            os.close(fd)
    raise ContainerError(what, why=f"there is no /proc/self/attr/{names[-1]}")


def own_pid(proc: int) -> str:
    """Return this process's number in the process namespace that `proc` shows."""
    return os.readlink("self", dir_fd=proc)


def _become_user(process: dict[str, Any], proc: int) -> None:
    """Give up what the user does not have: capabilities(7), credentials(7)."""
    user, sets = process.get("user", {}), process.get("capabilities", {})
    try:
        capabilities.drop_bounding(sets.get("bounding", ()))
        k.prctl(k.PR_SET_KEEPCAPS, 1)
        if "umask" in user:
            os.umask(user["umask"])
        _set_groups(user, proc)
        _own_pipes(user.get("uid", 0))
        os.setresgid(*(user.get("gid", 0),) * 3)
        os.setresuid(*(user.get("uid", 0),) * 3)
        change_directory(process["cwd"])
        k.prctl(k.PR_SET_KEEPCAPS, 0)
        capabilities.apply(sets)
    except OSError as error:
        raise ContainerError("unable to become the process's user", why=k.reason(error)) from None


def _own_pipes(uid: int) -> None:
    """Give the user the pipes that are its standard streams, else it cannot open `/dev/stdout`.

    That names a pipe that whoever made it owns (pipe(7), proc_pid_fd(5)). Nothing else is given
    away: a file stays its owner's.
    """
    for fd in (0, 1, 2):
        try:
            if os.fstat(fd).st_mode & 0o170000 == 0o010000:
                os.fchown(fd, uid, -1)
        except OSError:  # closed; or not in this user namespace
            pass


def _set_groups(user: dict[str, Any], proc: int) -> None:
    groups = user.get("additionalGids", [])
    fd = k.open_beneath(proc, f"{own_pid(proc)}/setgroups", os.O_RDONLY)
    allowed = os.read(fd, 16).strip() == b"allow"
    os.close(fd)
    if allowed:
        os.setgroups(groups)
    elif groups:
        raise ContainerError("cannot set any additional groups in a rootless container")


def change_directory(path: str) -> None:
    """Change the directory, and refuse one outside of the root (CVE-2024-21626)."""
    try:
        os.chdir(path)
    except OSError as error:
        what = f'chdir to cwd ("{path}") set in config.json failed'
        raise ContainerError(what, why=k.reason(error)) from None
    try:
        inside = os.getcwd().startswith("/")
    except OSError:
        inside = False
    if not inside:
        raise ContainerError(
            "current working directory is outside of container mount namespace root",
            why="possible container breakout detected",
        )
