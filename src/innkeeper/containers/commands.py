"""The commands of `inn-oci` and their flags: runc's, name by name (runc(8) and its pages)."""

from __future__ import annotations

from innkeeper.containers.flags import BOOL, MANY, NUMBER, TEXT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from innkeeper.containers.flags import Table

GLOBAL: Table = {
    "root": ("", TEXT, "directory for the state of containers (a tmpfs is best)"),
    "log": ("", TEXT, "file to append log messages to (default: standard error)"),
    "log-format": ("", TEXT, "'text' or 'json'"),
    "debug": ("", BOOL, "log more, and show where an internal error comes from"),
    "systemd-cgroup": ("", BOOL, "let systemd make the cgroup: cgroupsPath is slice:prefix:name"),
    "rootless": ("", TEXT, "ignore cgroup permission errors: 'true', 'false' or 'auto'"),
    "criu": ("", TEXT, "the criu program, for checkpoint and restore"),
    "help": ("h", BOOL, "show help"),
    "version": ("v", BOOL, "print the version"),
}

_BUNDLE = ("b", TEXT, "the bundle's directory (default: the current one)")
_CONSOLE = ("", TEXT, "Unix socket that will receive the terminal's master end")
_PID_FILE = ("", TEXT, "file to write the process number to")
_PRESERVE = ("", NUMBER, "pass N more descriptors (after standard streams and $LISTEN_FDS)")
_MAKE: Table = {
    "bundle": _BUNDLE,
    "console-socket": _CONSOLE,
    "pid-file": _PID_FILE,
    "no-pivot": ("", BOOL, "move the root instead of pivot_root, for a root on a ramdisk"),
    "no-new-keyring": ("", BOOL, "keep the caller's session keyring"),
    "preserve-fds": _PRESERVE,
}
_RESOURCES: Table = {
    "resources": ("r", TEXT, "JSON file with linux.resources to change, or - for standard input"),
    "blkio-weight": ("", NUMBER, "block I/O weight, 10 to 1000"),
    "cpu-period": ("", NUMBER, "CFS period in microseconds"),
    "cpu-quota": ("", NUMBER, "CFS quota in microseconds"),
    "cpu-burst": ("", NUMBER, "CFS burst in microseconds"),
    "cpu-share": ("", NUMBER, "CPU shares"),
    "cpu-rt-period": ("", NUMBER, "realtime period in microseconds"),
    "cpu-rt-runtime": ("", NUMBER, "realtime runtime in microseconds"),
    "cpu-idle": ("", NUMBER, "1 for SCHED_IDLE"),
    "cpuset-cpus": ("", TEXT, "CPUs to use"),
    "cpuset-mems": ("", TEXT, "memory nodes to use"),
    "memory": ("", NUMBER, "memory limit in bytes"),
    "memory-reservation": ("", NUMBER, "soft memory limit in bytes"),
    "memory-swap": ("", NUMBER, "memory and swap together in bytes, -1 for no limit"),
    "kernel-memory": ("", NUMBER, "no longer has any effect"),
    "kernel-memory-tcp": ("", NUMBER, "limit of TCP buffers in bytes"),
    "pids-limit": ("", NUMBER, "most processes"),
}
_EXEC: Table = {
    "console-socket": _CONSOLE,
    "cwd": ("", TEXT, "working directory in the container"),
    "env": ("e", MANY, "environment variable KEY=VALUE"),
    "tty": ("t", BOOL, "give the process a terminal"),
    "user": ("u", TEXT, "UID[:GID]"),
    "additional-gids": ("g", MANY, "additional group"),
    "process": ("p", TEXT, "process.json: the process object of the specification"),
    "detach": ("d", BOOL, "do not wait for the process"),
    "pid-file": _PID_FILE,
    "process-label": ("", TEXT, "SELinux label"),
    "apparmor": ("", TEXT, "AppArmor profile"),
    "no-new-privs": ("", BOOL, "set no_new_privs"),
    "cap": ("c", MANY, "capability to add"),
    "preserve-fds": _PRESERVE,
    "cgroup": ("", MANY, "cgroup below the container's to run in: [CONTROLLER:]PATH"),
    "ignore-paused": ("", BOOL, "allow it in a paused container"),
}
_CRIU: Table = {
    "image-path": ("", TEXT, "directory of the checkpoint (default: ./checkpoint)"),
    "work-path": ("", TEXT, "directory for criu's log"),
    "tcp-established": ("", BOOL, "allow open TCP connections"),
    "ext-unix-sk": ("", BOOL, "allow Unix sockets to the outside"),
    "shell-job": ("", BOOL, "allow a shell's job"),
    "file-locks": ("", BOOL, "allow file locks"),
    "manage-cgroups-mode": ("", TEXT, "soft, full, strict or ignore"),
}

# name: (module, flags, fewest and most arguments, usage, what it does)
COMMANDS: dict[str, tuple[str, Table, int, int, str, str]] = {
    "checkpoint": ("criu", {**_CRIU, "leave-running": ("", BOOL, "do not stop the container")},
                   1, 1, "<container-id>", "checkpoint a running container"),
    "create": ("lifecycle", _MAKE, 1, 1, "<container-id>", "create a container"),
    "delete": ("lifecycle", {"force": ("f", BOOL, "kill it first; a missing one is no error")},
               1, 1, "<container-id>", "delete any resources held by the container"),
    "events": ("inspect", {"interval": ("", TEXT, "time between statistics (default: 5s)"),
                           "stats": ("", BOOL, "print statistics once")},
               1, 1, "<container-id>", "display container events and statistics"),
    "exec": ("execute", _EXEC, 1, 1 << 20, "<container-id> <command> [arguments...]",
             "execute new process inside the container"),
    "features": ("features", {}, 0, 0, "", "show the enabled features"),
    "kill": ("lifecycle", {"all": ("a", BOOL, "send it to every process of the container")},
             1, 2, "<container-id> [signal]", "send a signal (default: SIGTERM) to the container"),
    "list": ("inspect", {"format": ("f", TEXT, "table or json"),
                         "quiet": ("q", BOOL, "display only container IDs")},
             0, 0, "", "list containers with the given root"),
    "pause": ("resources", {}, 1, 1, "<container-id>", "suspend all processes of the container"),
    "ps": ("inspect", {"format": ("f", TEXT, "table or json")}, 1, 1 << 10,
           "<container-id> [ps options]", "display the processes of the container"),
    "restore": ("criu", {**_MAKE, **_CRIU, "detach": ("d", BOOL, "do not wait for the process")},
                1, 1, "<container-id>", "restore a container from a checkpoint"),
    "resume": ("resources", {}, 1, 1, "<container-id>", "resume a paused container"),
    "run": ("lifecycle", {**_MAKE, "detach": ("d", BOOL, "do not wait for the process"),
                          "keep": ("", BOOL, "do not delete the container after it exits"),
                          "no-subreaper": ("", BOOL, "do not become the reaper of orphans")},
            1, 1, "<container-id>", "create and run a container"),
    "spec": ("spec", {"bundle": _BUNDLE, "rootless": ("", BOOL, "for a user without privilege")},
             0, 0, "", "create a new specification file"),
    "start": ("lifecycle", {}, 1, 1, "<container-id>", "execute a created container's process"),
    "state": ("inspect", {}, 1, 1, "<container-id>", "output the state of a container"),
    "update": ("resources", _RESOURCES, 1, 1, "<container-id>", "update resource constraints"),
}  # fmt: skip
