"""`checkpoint` and `restore`: the criu program does the work (criu(8), runc-checkpoint(8)).

What criu must be told is which mounts come from outside of the container: the bind mounts, and the
files that masks cover. A container with a terminal is refused, for its other end is not ours.
"""

from __future__ import annotations

import os

from innkeeper.base.errors import ContainerError, InnError
from innkeeper.containers import kernel as k
from innkeeper.containers.mount_options import parse_options
from innkeeper.containers.state import PID_FILE, Container, start_time, timestamp
from innkeeper.containers.targets import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from innkeeper.containers.config import Config
    from innkeeper.containers.settings import Settings

MAX_LOG_BYTES = 1 << 20
_MS_BIND = 0x1000
_NETWORK = "extRootNetNS"  # as runc calls it in images
_SWITCHES = ("tcp-established", "ext-unix-sk", "shell-job", "file-locks", "leave-running")


def checkpoint_command(settings: Settings, options: dict[str, Any], args: list[str]) -> int:
    """Save a running container's processes to a directory; it ends unless told otherwise."""
    container = Container.load(settings.root, args[0])
    dump(container, settings, options)
    if not options.get("leave-running"):
        from innkeeper.containers.lifecycle import destroy

        destroy(container, settings)
    return 0


def dump(container: Container, settings: Settings, options: dict[str, Any]) -> None:
    """Save a container's processes; they are gone then, unless `leave-running` is set."""
    if container.status() not in ("running", "paused"):
        raise ContainerError("container not running")
    raw = container.data["config"]
    _refuse_terminal(raw.get("process", {}))
    images = _directory(options.get("image-path") or "checkpoint")
    outside = [f"mnt[{place}]:{place}" for place, _ in _outside(raw)]
    if _outside_network(raw, options):
        inode = os.stat(f"/proc/{container.pid}/ns/net").st_ino
        outside.append(f"net[{inode}]:{_NETWORK}")
    _criu(
        settings,
        options,
        images,
        ["dump", "--tree", str(container.pid), "--root", container.data["rootfs"]],
        [word for one in outside for word in ("--external", one)],
    )


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
    container = restore(settings, options, config, args[0])
    if options.get("detach"):
        return 0
    from innkeeper.containers.foreground import attend

    status = attend(container.data["pid"], None)
    destroy(container, settings)
    return status


def restore(
    settings: Settings,
    options: dict[str, Any],
    config: Config,
    name: str,
    inherited: dict[str, int] | None = None,
) -> Container:
    """Bring a container's processes back; the first is this process's child.

    `inherited` are descriptors that take the place of pipes whose other ends were outside, by the
    names that proc_pid_fd(5) had for those.
    """
    from innkeeper.containers.launch import Launch, open_container_cgroup, write_pid_file

    images = _directory(options.get("image-path") or "checkpoint")
    launch = Launch(config, settings, name)
    container = Container.create(settings.root, name, launch.record())
    cgroup = open_container_cgroup(container.data)
    try:
        container.save()
        cgroup.create(config.linux.get("resources", {}))  # criu finds it, and leaves its limits
        pid = _run_restore(settings, options, config, container, images, inherited or {})
        container.data.update(pid=pid, startTime=start_time(pid), cgroupPaths=cgroup.paths)
        container.data["created"] = timestamp()
        container.save()
        if "absolute-pid-file" in options:
            write_pid_file(options["absolute-pid-file"], pid)
    except BaseException:
        try:
            cgroup.remove()
        except (OSError, InnError):
            pass
        container.remove()
        raise
    return container


def _run_restore(
    settings: Settings,
    options: dict[str, Any],
    config: Config,
    container: Container,
    images: str,
    inherited: dict[str, int],
) -> int:
    """Run criu where it sees the root as a mount; return the number of the first process."""
    root, pid_file, network = os.fsencode(config.rootfs), f"{container.directory}/{PID_FILE}", -1
    k.syscall("mount", root, root, 0, _MS_BIND | k.MS_REC, 0)
    try:
        outside = (f"mnt[{place}]:{source}" for place, source in _outside(config.raw))
        more = [word for one in outside for word in ("--external", one)]
        handed = dict(inherited)
        if _outside_network(config.raw, options):
            handed[_NETWORK] = network = _open_network(config)
        for key, fd in handed.items():
            os.set_inheritable(fd, True)
            more += ["--inherit-fd", f"fd[{fd}]:{key}"]
        detached = ["--restore-detached", "--restore-sibling", "--pidfile", pid_file]
        _criu(settings, options, images, ["restore", "--root", config.rootfs, *detached], more)
    finally:
        k.syscall("umount2", root, k.MNT_DETACH)
        if network >= 0:
            os.close(network)
    with open(pid_file, encoding="ascii") as file:
        return int(file.read())


def _outside_network(raw: dict[str, Any], options: dict[str, Any]) -> bool:
    """Say whether criu is to leave the network namespace to us: one by path, or one anew."""
    given = [one for one in raw["linux"].get("namespaces", []) if one["type"] == "network"]
    return any(one.get("path") or options.get("new-network") for one in given)


def _open_network(config: Config) -> int:
    """Return the network namespace to restore into: the one at a path, or a new one."""
    if path := config.namespaces["network"]:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    from innkeeper.containers.namespaces import raise_loopback, run_child

    made, go_on = os.pipe(), os.pipe()

    def live() -> None:
        raise_loopback()
        os.write(made[1], b"1")
        os.read(go_on[0], 1)  # until its namespace is opened
        os._exit(0)

    child = k.clone(k.CLONE_NEWNET)
    if child == 0:
        os.close(go_on[1])
        run_child(lambda: os.close(made[0]), live)
    os.close(made[1])
    os.close(go_on[0])
    try:
        if not os.read(made[0], 1):
            raise ContainerError("a network namespace cannot be made")
        return os.open(f"/proc/{child}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(made[0])
        os.close(go_on[1])
        os.waitpid(child, 0)


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
