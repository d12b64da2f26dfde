"""`state`, `list`, `ps` and `events` (runtime.md "Query State", runc(8))."""

from __future__ import annotations

import os
import sys

from innkeeper.base.errors import ContainerError
from innkeeper.containers.jsontext import dumps, pretty
from innkeeper.containers.launch import open_container_cgroup, processes_of
from innkeeper.containers.state import STATE_FILE, Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from innkeeper.containers.cgroups import Cgroup
    from innkeeper.containers.settings import Settings

_PS_COLUMNS = ("-e", "-f")


def state_command(settings: Settings, options: dict[str, Any], args: list[str]) -> int:
    """Print a container's state as JSON."""
    report = Container.load(settings.root, args[0]).report()
    if not report["annotations"]:
        del report["annotations"]
    print(pretty(report))
    return 0


def list_command(settings: Settings, options: dict[str, Any], args: list[str]) -> int:
    """Print every container of the root, as a table or as JSON."""
    kind = options.get("format") or "table"
    if kind not in ("table", "json"):
        raise ContainerError("invalid format option")
    reports = [_report(one) for one in _containers(settings)]
    if options.get("quiet"):
        print("".join(f"{one['id']}\n" for one in reports), end="")
    elif kind == "json":
        print(dumps(reports or None))
    else:
        _print_table(reports)
    return 0


def _containers(settings: Settings) -> list[Container]:
    try:
        names = sorted(os.listdir(settings.root))
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        if os.path.exists(f"{settings.root}/{name}/{STATE_FILE}"):
            try:
                found.append(Container.load(settings.root, name))
            except ContainerError as error:  # removed meanwhile, or not ours
                settings.write("warning", f"load container {name}: {error}")
    return found


def _report(container: Container) -> dict[str, Any]:
    from pwd import getpwuid

    report = container.report()
    uid = os.stat(container.directory).st_uid
    try:
        report["owner"] = getpwuid(uid).pw_name
    except KeyError:
        report["owner"] = f"#{uid}"
    return report


def _print_table(reports: list[dict[str, Any]]) -> None:
    columns = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")
    rows = [columns, *([str(one[name.lower()]) for name in columns] for one in reports)]
    widths = [max(12, *(len(row[column]) + 3 for row in rows)) for column in range(5)]
    for row in rows:
        print("".join(f"{text:{width}}" for text, width in zip(row, widths, strict=False)) + row[5])


def ps_command(settings: Settings, options: dict[str, Any], args: list[str]) -> int:
    """Print the container's processes: their numbers as JSON, or what ps(1) says of them."""
    container = Container.load(settings.root, args[0])
    kind = options.get("format") or "table"
    if kind not in ("table", "json"):
        raise ContainerError("invalid format option")
    pids = processes_of(container)
    if kind == "json":
        print(dumps(pids))
        return 0
    sys.stdout.write(_select(_run_ps(args[1:] or ["-ef"]), set(pids)))
    return 0


def _run_ps(arguments: list[str]) -> list[str]:
    read, write = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, write, 1)]
    pid = os.posix_spawnp("ps", ["ps", *arguments], os.environ, file_actions=actions)
    os.close(write)
    with open(read, encoding="utf-8", errors="replace") as output:
        lines = output.read().splitlines()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status or not lines:
        raise ContainerError("ps", why=f"exit status {status}")
    return lines


def _select(lines: list[str], pids: set[int]) -> str:
    titles = lines[0].split()
    if "PID" not in titles:
        raise ContainerError("couldn't find PID field in ps output")
    column = titles.index("PID")
    chosen = [line for line in lines[1:] if _at(line, column) in pids]
    return "\n".join([lines[0], *chosen]) + "\n"


def _at(line: str, column: int) -> int:
    fields = line.split(None, column + 1)
    return int(fields[column]) if len(fields) > column and fields[column].isdigit() else -1


def events_command(settings: Settings, options: dict[str, Any], args: list[str]) -> int:
    """Print statistics, one JSON object a line: once, or until the container ends."""
    container = Container.load(settings.root, args[0])
    interval_s = duration(options.get("interval") or "5s")
    if not container.pid:
        raise ContainerError(f"container with id {container.id} is not running")
    cgroup = open_container_cgroup(container.data)
    _event(container, "stats", cgroup.stats())
    if options.get("stats"):
        return 0
    _follow(container, cgroup, interval_s)
    return 0


def _follow(container: Container, cgroup: Cgroup, interval_s: float) -> None:
    """Print what happens until the container ends."""
    import select

    from innkeeper.containers.cgroups import watch_oom

    ended, watch = os.pidfd_open(container.pid), watch_oom(cgroup)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(watch.fileno(), watch.events)
    while True:
        ready = [fd for fd, _ in poll.poll(interval_s * 1000)]
        if ended in ready:
            return
        if watch.fileno() in ready:
            for _ in range(watch.take()):
                _event(container, "oom", None)
        else:
            _event(container, "stats", cgroup.stats())


def _event(container: Container, kind: str, data: dict[str, Any] | None) -> None:
    event = {"type": kind, "id": container.id}
    print(dumps({**event, "data": data} if data is not None else event), flush=True)


def duration(text: str) -> float:
    """Parse a time as Go writes it, in seconds: `5s`, `1m`, `500ms`."""
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    for unit, seconds in units.items():
        digits = text.removesuffix(unit)
        if digits != text and digits.replace(".", "", 1).isdigit() and float(digits) > 0:
            return float(digits) * seconds
    raise ContainerError(f'invalid duration "{text}"', fix="write it as 500ms, 5s or 1m")
