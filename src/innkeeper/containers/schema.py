"""What each field of `config.json` must be: the types and bounds of the runtime specification 1.2.

A *check* takes a value and the field's name and raises `ConfigError` with that name. Unknown fields
are ignored, as config.md "Extensibility" demands; null is the same as a field left out.
"""

from __future__ import annotations

from innkeeper.base.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Check = Callable[[Any, str], None]

MAX_ITEMS = 65536  # of any list or object in the file
MAX_TEXT = 1 << 20  # characters of any text
U32, U64 = (1 << 32) - 1, (1 << 64) - 1
_NAMES = {
    str: "string",
    int: "number",
    float: "number",
    bool: "bool",
    list: "array",
    dict: "object",
}


def _expect(value: Any, kind: type, wanted: str, name: str) -> None:
    if type(value) is not kind:
        found = _NAMES.get(type(value), "null")
        raise ConfigError(name, why=f"cannot be a {found}, it must be {wanted}")


def text(value: Any, name: str) -> None:
    """Check a string without NUL."""
    _expect(value, str, "a string", name)
    if len(value) > MAX_TEXT or "\0" in value:
        raise ConfigError(name, why="contains a NUL or is longer than a mebibyte")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ConfigError(name, why="is not valid Unicode") from None


def boolean(value: Any, name: str) -> None:
    """Check true or false."""
    _expect(value, bool, "true or false", name)


def integer(low: int, high: int) -> Check:
    """Make a check of an integer from `low` to `high`."""

    def check(value: Any, name: str) -> None:
        _expect(value, int, "an integer", name)
        if not low <= value <= high:
            raise ConfigError(name, why=f"{value} is not from {low} to {high}")

    return check


def one_of(*allowed: str) -> Check:
    """Make a check of a string from a list."""

    def check(value: Any, name: str) -> None:
        text(value, name)
        if value not in allowed:
            raise ConfigError(name, why=f"{value!r} is none of {', '.join(allowed)}")

    return check


def items(check_one: Check) -> Check:
    """Make a check of an array."""

    def check(value: Any, name: str) -> None:
        _expect(value, list, "an array", name)
        if len(value) > MAX_ITEMS:
            raise ConfigError(name, why=f"has more than {MAX_ITEMS} items")
        for index, one in enumerate(value):
            check_one(one, f"{name}[{index}]")

    return check


def mapping(check_one: Check) -> Check:
    """Make a check of an object with any keys."""

    def check(value: Any, name: str) -> None:
        _expect(value, dict, "an object", name)
        if len(value) > MAX_ITEMS:
            raise ConfigError(name, why=f"has more than {MAX_ITEMS} items")
        for key, one in value.items():
            text(key, name)
            check_one(one, f"{name}[{key!r}]")

    return check


def record(fields: dict[str, Check], *required: str) -> Check:
    """Make a check of an object with known fields; fields that are null are taken out of it."""

    def check(value: Any, name: str) -> None:
        _expect(value, dict, "an object", name)
        for key, check_one in fields.items():
            if key in value:
                if value[key] is None:
                    del value[key]
                else:
                    check_one(value[key], f"{name}.{key}" if name else key)
        for key in required:
            if key not in value:
                raise ConfigError(f"{name}.{key}" if name else key, why="is missing")

    return check


texts = items(text)
u16, u32, u64 = integer(0, 0xFFFF), integer(0, U32), integer(0, U64)
i32, i64 = integer(-(1 << 31), (1 << 31) - 1), integer(-(1 << 63), (1 << 63) - 1)
_ids = items(record({"containerID": u32, "hostID": u32, "size": u32}, "hostID", "size"))

_user = record({"uid": u32, "gid": u32, "umask": integer(0, 0o7777), "additionalGids": items(u32)})
_scheduler = record(
    {
        "policy": text, "nice": i32, "priority": i32, "flags": texts,
        "runtime": u64, "deadline": u64, "period": u64,
    },
    "policy",
)  # fmt: skip
process = record(
    {
        "terminal": boolean,
        "consoleSize": record({"height": u16, "width": u16}, "height", "width"),
        "cwd": text,
        "env": texts,
        "args": texts,
        "commandLine": text,
        "user": _user,
        "rlimits": items(
            record({"type": text, "soft": u64, "hard": u64}, "type", "soft", "hard"),
        ),
        "apparmorProfile": text,
        "selinuxLabel": text,
        "capabilities": record(
            dict.fromkeys(("bounding", "effective", "inheritable", "permitted", "ambient"), texts)
        ),
        "noNewPrivileges": boolean,
        "oomScoreAdj": integer(-1000, 1000),
        "scheduler": _scheduler,
        "ioPriority": record({"class": text, "priority": integer(0, 7)}, "class"),
        "execCPUAffinity": record({"initial": text, "final": text}),
    },
    "cwd",
)

_mount = record(
    {
        "destination": text, "type": text, "source": text, "options": texts,
        "uidMappings": _ids, "gidMappings": _ids,
    },
    "destination",
)  # fmt: skip
_hook = record(
    {"path": text, "args": texts, "env": texts, "timeout": integer(1, (1 << 31) - 1)}, "path"
)
HOOKS = (
    "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop",
)  # fmt: skip

_device = record(
    {
        "type": one_of("c", "b", "u", "p"), "path": text, "major": i64, "minor": i64,
        "fileMode": integer(0, 0o177777), "uid": u32, "gid": u32,
    },
    "type", "path",
)  # fmt: skip
_number = {"major": i64, "minor": i64}
_throttle = items(record({**_number, "rate": u64}, "major", "minor", "rate"))
_weight = items(record({**_number, "weight": u16, "leafWeight": u16}, "major", "minor"))
resources = record(
    {
        "devices": items(
            record({"allow": boolean, "type": text, **_number, "access": text}, "allow")
        ),
        "memory": record(
            {
                **dict.fromkeys(("limit", "reservation", "swap", "kernel", "kernelTCP"), i64),
                "swappiness": integer(0, 100),
                **dict.fromkeys(
                    ("disableOOMKiller", "useHierarchy", "checkBeforeUpdate"), boolean
                ),
            }
        ),
        "cpu": record(
            {
                "shares": u64, "quota": i64, "burst": u64, "period": u64, "realtimeRuntime": i64,
                "realtimePeriod": u64, "cpus": text, "mems": text, "idle": integer(0, 1),
            }
        ),
        "pids": record({"limit": i64}),
        "blockIO": record(
            {
                "weight": u16, "leafWeight": u16, "weightDevice": _weight,
                "throttleReadBpsDevice": _throttle, "throttleWriteBpsDevice": _throttle,
                "throttleReadIOPSDevice": _throttle, "throttleWriteIOPSDevice": _throttle,
            }
        ),
        "hugepageLimits": items(record({"pageSize": text, "limit": u64}, "pageSize", "limit")),
        "network": record(
            {
                "classID": u32,
                "priorities": items(record({"name": text, "priority": u32}, "name", "priority")),
            }
        ),
        "rdma": mapping(record({"hcaHandles": u32, "hcaObjects": u32})),
        "unified": mapping(text),
    }
)  # fmt: skip

_seccomp_argument = record(
    {"index": integer(0, 5), "value": u64, "valueTwo": u64, "op": text}, "index", "value", "op"
)
_seccomp = record(
    {
        "defaultAction": text, "defaultErrnoRet": u32, "flags": texts, "listenerPath": text,
        "listenerMetadata": text, "architectures": texts,
        "syscalls": items(
            record(
                {
                    "names": texts, "action": text, "errnoRet": u32,
                    "args": items(_seccomp_argument),
                },
                "names", "action",
            )
        ),
    },
    "defaultAction",
)  # fmt: skip

linux = record(
    {
        "namespaces": items(record({"type": text, "path": text}, "type")),
        "uidMappings": _ids,
        "gidMappings": _ids,
        "timeOffsets": mapping(record({"secs": i64, "nanosecs": integer(0, 999_999_999)})),
        "devices": items(_device),
        "cgroupsPath": text,
        "resources": resources,
        "intelRdt": record(
            {
                "closID": text, "l3CacheSchema": text, "memBwSchema": text, "schemata": text,
                "enableCMT": boolean, "enableMBM": boolean,
            }
        ),
        "sysctl": mapping(text),
        "seccomp": _seccomp,
        "rootfsPropagation": one_of(
            "", "shared", "slave", "private", "unbindable", "rshared", "rslave", "rprivate",
            "runbindable",
        ),
        "maskedPaths": texts,
        "readonlyPaths": texts,
        "mountLabel": text,
        "personality": record({"domain": one_of("LINUX", "LINUX32"), "flags": texts}, "domain"),
    }
)  # fmt: skip

config = record(
    {
        "ociVersion": text,
        "root": record({"path": text, "readonly": boolean}, "path"),
        "mounts": items(_mount),
        "process": process,
        "hostname": text,
        "domainname": text,
        "hooks": record(dict.fromkeys(HOOKS, items(_hook))),
        "linux": linux,
        "annotations": mapping(text),
    },
    "ociVersion",
)
