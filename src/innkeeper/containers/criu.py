"""`checkpoint` and `restore`: the criu program does the work (criu(8), runc-checkpoint(8)).

What criu must be told is which mounts come from outside of the container: the bind mounts, and the
files that masks cover. A container with a terminal is refused, for its other end is not ours.
"""

from __future__ import annotations

import os

from innkeeper.base.errors import ContainerError
from innkeeper.containers import kernel as k
from innkeeper.containers.mount_options import parse_options
from innkeeper.containers.state import Container, start_time, timestamp
from innkeeper.containers.targets import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from innkeeper.containers.config import Config
    from innkeeper.containers.settings import Settings

MAX_LOG_BYTES = 1 << 20
_MS_BIND = 0x1000
_SWITCHES = ("tcp-established", "ext-unix-sk", "shell-job", "file-locks", "leave-running")


def checkpoint_command(settings: Settings, options: dict[str, Any], args: list[str]) -> int:
    """Save a running container's processes to a directory; it ends unless told otherwise."""
    container = Container.load(settings.root, args[0])
    if container.status() not in ("running", "paused"):
        raise ContainerError("container not running")
    raw = container.data["config"]
    _refuse_terminal(raw.get("process", {}))
    images = _directory(options.get("image-path") or "checkpoint")
    outside = (f"mnt[{place}]:{place}" for place, _ in _outside(raw))
    _criu(
        settings,
        options,
        images,
        ["dump", "--tree", str(container.pid), "--root", container.data["rootfs"]],
        [word for one in outside for word in ("--external", one)],
    )
    if not options.get("leave-running"):
        from innkeeper.containers.lifecycle import destroy

        destroy(container, settings)
    return 0


def restore_command(settings: Settings, options: dict[str, Any], args: list[str]) -> int:
    """Bring a container's processes back from a directory, and unless detached wait for them."""
    from innkeeper.containers.lifecycle import destroy, load_bundle_for

    images = _directory(options.get("image-path") or "checkpoint")
    if not os.path.isfile(f"{images}/inventory.img"):
        raise ContainerError(f"{images} holds no checkpoint", fix="name it with --image-path")
    config = load_bundle_for(options, options.get("pid-file"))
    _refuse_terminal(config.process)
    if not options.get("detach"):
        k.prctl(k.PR_SET_CHILD_SUBREAPER, 1)
    container = _restore(settings, options, config, images, args[0])
    if options.get("detach"):
        return 0
    from innkeeper.containers.foreground import attend

    status = attend(container.data["pid"], None)
    destroy(container, settings)
    return status


def _restore(
    settings: Settings, options: dict[str, Any], config: Config, images: str, name: str
) -> Container:
    from innkeeper.containers.launch import Launch, open_container_cgroup, write_pid_file

    launch = Launch(config, settings, name)
    container = Container.create(settings.root, name, launch.record())
    pid_file = f"{container.directory}/pid"
    root = config.rootfs
    try:
        container.save()
        k.syscall("mount", os.fsencode(root), os.fsencode(root), 0, _MS_BIND | k.MS_REC, 0)
        try:
            outside = (f"mnt[{place}]:{source}" for place, source in _outside(config.raw))
            externals = [word for one in outside for word in ("--external", one)]
            detached = ["--restore-detached", "--restore-sibling", "--pidfile", pid_file]
            _criu(settings, options, images, ["restore", "--root", root, *detached], externals)
        finally:
            k.syscall("umount2", os.fsencode(root), k.MNT_DETACH)
        with open(pid_file, encoding="ascii") as file:
            pid = int(file.read())
        os.unlink(pid_file)
        paths = open_container_cgroup(container.data).paths
        container.data.update(pid=pid, startTime=start_time(pid), cgroupPaths=paths)
        container.data["created"] = timestamp()
        container.save()
        if "absolute-pid-file" in options:
            write_pid_file(options["absolute-pid-file"], pid)
    except BaseException:
        container.remove()
        raise
    return container


def _refuse_terminal(process: dict[str, Any]) -> None:
    if process.get("terminal"):
        raise ContainerError("process.terminal", why="a terminal cannot be checkpointed")


def _outside(raw: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what is mounted from outside: where, and from what."""
    found = [
        (clean(mount["destination"]), mount.get("source", ""))
        for mount in raw.get("mounts", [])
        if parse_options(mount).bind
    ]
    masked = (clean(path) for path in raw["linux"].get("maskedPaths", []))
    return found + [(path, "/dev/null") for path in masked if not os.path.isdir(path)]


def _directory(path: str) -> str:
    path = os.path.abspath(path)
    try:
        os.makedirs(path, 0o700, exist_ok=True)
    except OSError as error:
        raise ContainerError(f"mkdir {path}", why=k.reason(error)) from None
    return path


def _criu(
    settings: Settings, options: dict[str, Any], images: str, what: list[str], more: list[str]
) -> None:
    """Run criu; when it fails, say what the last error in its log is."""
    work = _directory(options.get("work-path") or images)
    log = f"{what[0]}.log"
    switches = [f"--{name}" for name in _SWITCHES if options.get(name)]
    mode = options.get("manage-cgroups-mode") or "soft"
    command = [
        settings.criu, *what, "--images-dir", images, "--work-dir", work, "--log-file", log, "-v4",
        f"--manage-cgroups={mode}", *switches, *more,
    ]  # fmt: skip
    quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (1, 2)]
    try:
        pid = os.posix_spawnp(settings.criu, command, os.environ, file_actions=quiet)
    except OSError as error:
        raise ContainerError(
            f"criu cannot be run: {settings.criu}: {k.reason(error)}",
            fix="install criu, or name it with --criu",
        ) from None
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        raise ContainerError(
            f"criu failed: {_last_error(f'{work}/{log}')}", why=f"see {work}/{log}"
        )


def _last_error(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read(MAX_LOG_BYTES).splitlines()
    except OSError:
        return "it left no log"
    errors = [line for line in lines if "Error" in line]
    return errors[0].partition("Error ")[2] or errors[0] if errors else "its log names no error"
