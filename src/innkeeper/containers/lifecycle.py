"""`create`, `start`, `run`, `kill` and `delete` (runtime.md "Operations", runc(8))."""

from __future__ import annotations

import os

from innkeeper.base.errors import ContainerError, InnError
from innkeeper.containers import kernel as k
from innkeeper.containers.config import load_bundle
from innkeeper.containers.launch import Launch, open_container_cgroup, processes_of
from innkeeper.containers.state import Container, check_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from innkeeper.containers.config import Config
    from innkeeper.containers.settings import Settings

DIE_TIMEOUT_S = 10.0  # for a process that got SIGKILL
_SIGTERM, _SIGKILL = 15, 9


def create_command(settings: Settings, options: dict[str, Any], args: list[str]) -> int:
    """Make a container that waits for `start`."""
    name = check_id(args[0])
    launch = prepare(settings, options, name)
    socket = options.get("console-socket")
    _check_console(launch.config, socket, detached=True)
    launch.wait_for_start = True
    launch.make()
    return 0


def run_command(settings: Settings, options: dict[str, Any], args: list[str]) -> int:
    """Make a container, start it, and unless detached wait for its end and remove it."""
    launch = prepare(settings, options, check_id(args[0]))
    detached = options.get("detach", False)
    _check_console(launch.config, options.get("console-socket"), detached=detached)
    if not detached and not options.get("no-subreaper"):
        k.prctl(k.PR_SET_CHILD_SUBREAPER, 1)
    launch.foreground = not detached
    terminal = None
    if not detached and launch.config.process.get("terminal") and not launch.console_socket:
        from innkeeper.containers.terminal import Terminal

        terminal = Terminal()
        launch.console = terminal.peer
    container = launch.make()
    run_poststart(container, settings)
    if detached:
        return 0
    from innkeeper.containers.foreground import attend

    status = attend(launch.pid, terminal)
    if not options.get("keep"):
        destroy(container, settings)
    return status


def prepare(settings: Settings, options: dict[str, Any], name: str) -> Launch:
    """Read the bundle and gather what the command line says about a new container."""
    pid_file = options.get("pid-file")
    config = load_bundle_for(options, pid_file)
    launch = Launch(config, settings, name)
    launch.pid_file = options.get("absolute-pid-file")
    launch.console_socket = options.get("absolute-console-socket")
    launch.preserve_fds = preserved(options)
    launch.pivot = not options.get("no-pivot")
    launch.keyring = not options.get("no-new-keyring")
    if launch.preserve_fds and "LISTEN_FDS" in os.environ:
        listen = os.environ["LISTEN_FDS"]
        config.process.setdefault("env", []).extend([f"LISTEN_FDS={listen}", "LISTEN_PID=1"])
    warn_unknown_capabilities(settings, config.process)
    return launch


def load_bundle_for(options: dict[str, Any], pid_file: str | None) -> Config:
    """Load the bundle; paths of the command line are meant from where it was typed."""
    if pid_file is not None:
        options["absolute-pid-file"] = os.path.abspath(pid_file)
    if options.get("console-socket"):
        options["absolute-console-socket"] = os.path.abspath(options["console-socket"])
    config = load_bundle(options.get("bundle") or ".")
    if not config.process:
        raise ContainerError("process", why="is missing: there is nothing to run")
    return config


def warn_unknown_capabilities(settings: Settings, process: dict[str, Any]) -> None:
    """Warn of capabilities that this runtime does not know, which are ignored (config.md)."""
    from innkeeper.containers.capabilities import unknown

    strange = unknown(name for names in process.get("capabilities", {}).values() for name in names)
    if strange:
        text = f"ignoring unknown or unavailable capabilities: [{' '.join(strange)}]"
        settings.write("warning", text)


def preserved(options: dict[str, Any]) -> int:
    """Return how many descriptors after the standard streams the container's process keeps."""
    listen = os.environ.get("LISTEN_FDS", "0")
    count: int = options.get("preserve-fds", 0) + (int(listen) if listen.isdigit() else 0)
    for fd in range(3, 3 + count):
        try:
            os.set_inheritable(fd, True)
        except OSError:
            raise ContainerError(f"descriptor {fd} is to be preserved but is not open") from None
    return count


def _check_console(config: Config, socket: str | None, *, detached: bool) -> None:
    terminal = config.process.get("terminal", False)
    if detached and terminal and not socket:
        raise ContainerError(
            "cannot allocate tty if inn-oci will detach without setting console socket"
        )
    if socket and not (terminal and detached):
        raise ContainerError("cannot use console socket if inn-oci will not detach or allocate tty")


def start_command(settings: Settings, options: dict[str, Any], args: list[str]) -> int:
    """Let a created container run its program."""
    container = Container.load(settings.root, args[0])
    status = container.status()
    if status == "stopped":
        raise ContainerError("cannot start a container that has stopped")
    if status != "created":
        raise ContainerError("cannot start an already running container")
    container.lock(wait=True)
    try:
        fifo = os.open(container.fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise ContainerError("cannot start an already running container") from None
    except OSError:  # nobody reads: ENXIO
        raise ContainerError("container init has died") from None
    os.unlink(container.fifo)
    os.write(fifo, b"0")
    os.close(fifo)
    run_poststart(container, settings)
    return 0


def run_poststart(container: Container, settings: Settings) -> None:
    """Run the poststart hooks; one that fails is logged and no more (runtime.md "Lifecycle" 9)."""
    _late_hooks(container, settings, "poststart")


def _late_hooks(container: Container, settings: Settings, point: str) -> None:
    hooks = container.data["config"].get("hooks", {}).get(point, [])
    if hooks:
        from innkeeper.containers.hooks import run_hooks

        for hook in hooks:
            try:
                run_hooks([hook], container.report())
            except ContainerError as error:
                settings.write("warning", f"{point} hook: {error}")


def kill_command(settings: Settings, options: dict[str, Any], args: list[str]) -> int:
    """Send a signal to the container's first process, or to all of them."""
    from innkeeper.containers.signals import signal_number

    container = Container.load(settings.root, args[0])
    number = signal_number(args[1] if len(args) > 1 else "SIGTERM")
    if options.get("all"):
        for pid in processes_of(container):
            send(pid, number)
        return 0
    pid = container.pid
    if not pid or not send(pid, number):
        raise ContainerError("container not running")
    if number == _SIGKILL and container.status() == "paused":
        open_container_cgroup(container.data).thaw()
    return 0


def send(pid: int, number: int) -> bool:
    """Signal a process; False when it is gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def delete_command(settings: Settings, options: dict[str, Any], args: list[str]) -> int:
    """Remove what a container holds."""
    force, name = options.get("force", False), check_id(args[0])
    try:
        container = Container.load(settings.root, name)
    except ContainerError as error:
        if not force or not _remove_remains(settings, name):
            if force and str(error) == "container does not exist":
                return 0
            raise
        return 0
    if not container.lock(wait=False):
        _interrupt(container, force)
    status = container.status()
    if status not in ("stopped", "created") and not force:
        raise ContainerError(f"cannot delete container {name} that is not stopped: {status}")
    if container.pid:
        kill_and_wait(container)
    destroy(container, settings)
    return 0


def _remove_remains(settings: Settings, name: str) -> bool:
    """Remove a directory whose record was never written, or cannot be read any more."""
    container = Container(settings.root, name, {})
    if not os.path.isdir(container.directory):
        return False
    if not container.lock(wait=False):
        raise ContainerError(f"container {name} is just being created")
    container.remove()
    return True


def _interrupt(container: Container, force: bool) -> None:
    """Wait for whoever holds the container; with `force` its process is killed first."""
    if not force:
        raise ContainerError(f"container {container.id} is in use by another command")
    if container.pid:
        send(container.pid, _SIGKILL)
    from time import monotonic, sleep

    deadline = monotonic() + DIE_TIMEOUT_S
    while not container.lock(wait=False):
        if monotonic() > deadline:
            raise ContainerError(f"container {container.id} is in use by another command")
        sleep(0.02)


def kill_and_wait(container: Container) -> None:
    """Kill the first process, and with it its namespace; wait until it is gone."""
    import select

    pid = container.pid
    try:
        watch = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    send(pid, _SIGKILL)
    if container.status() == "paused":
        open_container_cgroup(container.data).thaw()
    poll = select.poll()
    poll.register(watch, select.POLLIN)
    ended = poll.poll(DIE_TIMEOUT_S * 1000)
    os.close(watch)
    if not ended:
        raise ContainerError("container init still running")


def destroy(container: Container, settings: Settings) -> None:
    """Remove the cgroup with what still runs in it, then the record; last come the hooks."""
    cgroup = open_container_cgroup(container.data)
    try:
        # Where nobody noted a first process, killed while it was restored, all are in the cgroup.
        if "pid" not in _private(container) or not container.data.get("pid"):
            cgroup.kill()
        cgroup.remove()
    except (OSError, InnError) as error:
        settings.write("warning", f"cgroup of {container.id}: {error}")
    linux = container.data["config"].get("linux", {})
    if "intelRdt" in linux:
        from innkeeper.containers import resctrl

        resctrl.forget(linux, container.id)
    state = {**container.report(), "pid": 0, "status": "stopped"}
    hooks = container.data["config"].get("hooks", {}).get("poststop", [])
    container.remove()
    for hook in hooks:
        from innkeeper.containers.hooks import run_hooks

        try:
            run_hooks([hook], state)
        except ContainerError as error:
            settings.write("warning", f"poststop hook: {error}")


def _private(container: Container) -> set[str]:
    """Return the types of namespaces that were made for the container alone."""
    given = container.data["config"].get("linux", {}).get("namespaces", [])
    return {one["type"] for one in given if not one.get("path")}
