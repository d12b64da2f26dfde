"""`exec`: run another process in a container (runc-exec(8))."""

from __future__ import annotations

import os

from innkeeper.base.errors import ContainerError
from innkeeper.containers import kernel as k
from innkeeper.containers import schema
from innkeeper.containers.channel import GO, SAVED, Channel
from innkeeper.containers.config import check_process
from innkeeper.containers.entering import EnteringProcess
from innkeeper.containers.jsontext import read_file
from innkeeper.containers.launch import open_container_cgroup, set_oom_score, write_pid_file
from innkeeper.containers.state import Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from innkeeper.containers.cgroups import Cgroup
    from innkeeper.containers.settings import Settings
    from innkeeper.containers.terminal import Terminal

_SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")
_SIGKILL = 9


def exec_command(settings: Settings, options: dict[str, Any], args: list[str]) -> int:
    """Run a process in a container, and unless detached wait for its end."""
    pid, terminal = start_process(settings, options, args)
    if options.get("detach"):
        return 0
    from innkeeper.containers.foreground import attend

    return attend(pid, terminal)


def start_process(
    settings: Settings, options: dict[str, Any], args: list[str]
) -> tuple[int, Terminal | None]:
    """Start a process in a container; return its number (it is a child of this one)."""
    container = Container.load(settings.root, args[0])
    status = container.status()
    if status == "stopped":
        raise ContainerError("cannot exec in a stopped container")
    if status == "paused" and not options.get("ignore-paused"):
        raise ContainerError("cannot exec in a paused container (use --ignore-paused to override)")
    process = _process(container, options, args[1:])
    _warn(settings, process)
    detached = options.get("detach", False)
    terminal, console = _console(options, process, detached)
    channel = Channel()
    entering = EnteringProcess(container, process, channel)
    entering.console = console
    entering.preserve_fds = _preserved(options)
    if entering.seccomp:
        from innkeeper.containers.seccomp import compile_profile

        entering.program = compile_profile(entering.seccomp, k.MACHINE)
    return _start(entering, options), terminal


def _preserved(options: dict[str, Any]) -> int:
    if not options.get("preserve-fds") and "LISTEN_FDS" not in os.environ:
        return 0
    from innkeeper.containers.lifecycle import preserved

    return preserved(options)


def _warn(settings: Settings, process: dict[str, Any]) -> None:
    if process.get("capabilities"):
        from innkeeper.containers.lifecycle import warn_unknown_capabilities

        warn_unknown_capabilities(settings, process)


def _process(container: Container, options: dict[str, Any], args: list[str]) -> dict[str, Any]:
    """Return the process to run: from a file, or the container's own with other arguments."""
    process: dict[str, Any]
    if options.get("process"):
        try:
            process = read_file(options["process"])
        except OSError as error:
            raise ContainerError(f"open {options['process']}", why=k.reason(error)) from None
    else:
        if not args:
            raise ContainerError("process args cannot be empty")
        process = {**container.data["config"]["process"], "args": args}
        process["terminal"] = options.get("tty", False)
        _override(process, options)
    schema.process(process, "process")
    check_process(process, "process")
    return process


def _override(process: dict[str, Any], options: dict[str, Any]) -> None:
    simple = {"cwd": "cwd", "apparmorProfile": "apparmor", "selinuxLabel": "process-label"}
    for field, option in simple.items():
        if options.get(option):
            process[field] = options[option]
    if "no-new-privs" in options:
        process["noNewPrivileges"] = options["no-new-privs"]
    process["env"] = process.get("env", []) + options.get("env", [])
    user = {**process.get("user", {})}
    if options.get("user"):
        uid, colon, gid = options["user"].partition(":")
        user["uid"] = _number(uid, "uid")
        if colon:
            user["gid"] = _number(gid, "gid")
    if groups := options.get("additional-gids"):
        user["additionalGids"] = [*user.get("additionalGids", []), *map(_group, groups)]
    process["user"] = user
    if added := options.get("cap"):
        sets = process.get("capabilities", {})
        process["capabilities"] = {name: [*sets.get(name, ()), *added] for name in _SETS}


def _number(text: str, what: str) -> int:
    if not text.isdigit():
        raise ContainerError(f"parsing {text} as int for {what} failed")
    return int(text)


def _group(text: str) -> int:
    return _number(text, "gid")


def _console(options: dict[str, Any], process: dict[str, Any], detached: bool) -> tuple[Any, Any]:
    """Return the terminal to attend to, and the socket that gets the master end."""
    socket = options.get("console-socket")
    if not process.get("terminal"):
        return None, None
    if socket:
        from innkeeper.containers.console import connect

        return None, connect(socket)
    if detached:
        raise ContainerError(
            "cannot allocate tty if inn-oci will detach without setting console socket"
        )
    from innkeeper.containers.terminal import Terminal

    terminal = Terminal()
    return terminal, terminal.peer


def _start(entering: EnteringProcess, options: dict[str, Any]) -> int:
    channel, process = entering.channel, entering.process
    entering.joiners = _cgroup(entering.container, options.get("cgroup", [])).joiners()
    detached = options.get("detach", False)
    pid = entering.spawn()
    channel.be_parent()
    if not detached:  # imported while the process enters
        from innkeeper.containers import foreground
    try:
        if "oomScoreAdj" in process:
            set_oom_score(pid, process["oomScoreAdj"], os.geteuid() != 0)
        _attend(entering, pid)
        if options.get("pid-file"):
            write_pid_file(options["pid-file"], pid)
        if not detached:
            foreground.hold_signals()
        channel.answer(SAVED)
        channel.next_report()
    except BaseException as error:
        os.kill(pid, _SIGKILL)
        os.waitpid(pid, 0)
        if isinstance(error, ContainerError):
            what = "unable to start container process"
            raise ContainerError(what, why=str(error)) from None
        raise
    return pid


def _cgroup(container: Container, below: list[str]) -> Cgroup:
    """Return the container's cgroup, or one below it."""
    cgroup = open_container_cgroup(container.data)
    return cgroup.load(_below(cgroup.paths, below)) if below else cgroup


def _below(paths: dict[str, str], wanted: list[str]) -> dict[str, str]:
    """Apply `--cgroup [CONTROLLER:]PATH`: runc-exec(8)."""
    paths = dict(paths)
    for one in wanted:
        names, colon, path = one.rpartition(":")
        if ".." in path.split("/"):
            raise ContainerError(f"bad sub cgroup {one!r}", why="it leads out of the container's")
        for name in names.split(",") if colon else list(paths):
            if name not in paths:
                raise ContainerError(f"unknown controller {name} in --cgroup")
            paths[name] = os.path.normpath(f"{paths[name]}/{path}")
    return paths


def _attend(entering: EnteringProcess, pid: int) -> None:
    while (report := entering.channel.next_report()) is not None:
        if report["stage"] == "ready":
            return
        from innkeeper.containers.outside import send_listener

        state = {**entering.container.report(), "pid": pid}
        send_listener(pid, report["fd"], entering.seccomp, state)
        entering.channel.answer(GO)
    raise ContainerError("the process ended before it was ready")
