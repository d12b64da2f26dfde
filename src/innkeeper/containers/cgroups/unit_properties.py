"""`linux.resources` as properties of a unit: systemd.resource-control(5), mapped as runc does."""

from __future__ import annotations

from innkeeper.containers.cgroups import devices, files, parse
from innkeeper.containers.cgroups.files import I64_MAX, U64_MAX, integer
from innkeeper.containers.cgroups.v2_limits import cpu_weight, swap_max

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Property = tuple[str, tuple[str, Any]]

SINCE_QUOTA_PERIOD, SINCE_ALLOWED_CPUS, SINCE_IDLE = 242, 244, 252
DEFAULT_PERIOD_US = 100_000
PERCENT_US = 10_000  # systemd keeps whole percents of a CPU second
MEMORY_FILES = {
    "memory.high": "MemoryHigh",
    "memory.low": "MemoryLow",
    "memory.min": "MemoryMin",
    "memory.max": "MemoryMax",
    "memory.swap.max": "MemorySwapMax",
    "pids.max": "TasksMax",
    "cpu.weight": "CPUWeight",
}


def slice_path(name: str) -> str:
    """Return the directory of a slice: that of a-b.slice is /a.slice/a-b.slice."""
    stem = name.removesuffix(".slice")
    parts = stem.split("-")
    if stem == "-" and name.endswith(".slice"):
        return ""
    if stem == name or "" in parts or "/" in name:
        from innkeeper.base.errors import ConfigError

        raise ConfigError("linux.cgroupsPath cannot be used", why=f"{name[:80]!r} is no slice")
    return "".join(f"/{'-'.join(parts[: n + 1])}.slice" for n in range(len(parts)))


def resource_properties(
    resources: dict[str, Any], *, unified: bool, version: int, fresh: bool
) -> list[Property]:
    """Return the properties that say what `resources` says; what has none is written to files."""
    found: list[Property] = []
    if fresh or "devices" in resources:
        found += device_properties(devices.wanted(resources.get("devices")))
    found += _memory(files.section(resources, "memory"), unified=unified)
    found += _cpu(files.section(resources, "cpu"), unified=unified, version=version)
    limit = files.section(resources, "pids").get("limit")
    if limit:
        value = integer(limit, -I64_MAX, I64_MAX, "pids.limit")
        found.append(("TasksMax", ("t", value if value > 0 else U64_MAX)))
    weight = files.section(resources, "blockIO").get("weight")
    if weight and not unified:
        found.append(("BlockIOWeight", ("t", integer(weight, 0, 1000, "blockIO.weight"))))
    if unified:
        found += _unified(files.section(resources, "unified"), version=version, fresh=fresh)
    return found


def _memory(memory: dict[str, Any], *, unified: bool) -> list[Property]:
    limits = {
        key: integer(memory.get(key) or 0, -1, I64_MAX, f"memory.{key}")
        for key in ("limit", "swap", "reservation")
    }
    found: list[Property] = []
    if limits["limit"]:
        name = "MemoryMax" if unified else "MemoryLimit"
        found.append((name, ("t", limits["limit"] & U64_MAX)))
    if unified:
        if limits["reservation"]:
            found.append(("MemoryLow", ("t", limits["reservation"] & U64_MAX)))
        swap = swap_max(limits["limit"], limits["swap"])
        if swap is not None:
            found.append(("MemorySwapMax", ("t", swap & U64_MAX)))
    return found


def _cpu(cpu: dict[str, Any], *, unified: bool, version: int) -> list[Property]:
    found: list[Property] = []
    shares = integer(cpu.get("shares") or 0, 0, U64_MAX, "cpu.shares")
    idle = unified and cpu.get("idle") == 1 and version >= SINCE_IDLE
    if idle:
        found.append(("CPUWeight", ("t", 0)))  # systemd's word for cpu.idle
    elif shares:
        weight = ("CPUWeight", cpu_weight(shares)) if unified else ("CPUShares", shares)
        found.append((weight[0], ("t", weight[1])))
    quota = integer(cpu.get("quota") or 0, -I64_MAX, I64_MAX, "cpu.quota")
    period = integer(cpu.get("period") or 0, 0, U64_MAX, "cpu.period")
    found += quota_properties(quota, period, version=version)
    if version >= SINCE_ALLOWED_CPUS:
        for key, name in (("cpus", "AllowedCPUs"), ("mems", "AllowedMemoryNodes")):
            if cpu.get(key):
                found.append((name, ("ay", bits(files.text(cpu[key], f"cpu.{key}"), f"cpu.{key}"))))
    return found


def quota_properties(quota: int, period: int, *, version: int) -> list[Property]:
    """Return a CPU quota as systemd counts it: microseconds per second, in whole percents."""
    found: list[Property] = []
    if period and version >= SINCE_QUOTA_PERIOD:
        found.append(("CPUQuotaPeriodUSec", ("t", period)))
    if quota or period:
        per_second = U64_MAX
        if quota > 0:
            per_second = quota * 1_000_000 // (period or DEFAULT_PERIOD_US)
            per_second = -(-per_second // PERCENT_US) * PERCENT_US
        found.append(("CPUQuotaPerSecUSec", ("t", min(per_second, U64_MAX))))
    return found


def bits(text: str, field: str) -> list[int]:
    """Return a list of CPUs as systemd's bit mask: bit 0 of byte 0 is CPU 0."""
    numbers = parse.cpu_list(text)
    if not numbers or max(numbers) >= parse.MAX_CPUS:
        raise files.invalid(field, f"{text[:80]!r} is no list of numbers below {parse.MAX_CPUS}")
    mask = 0
    for number in numbers:
        mask |= 1 << number
    return list(mask.to_bytes((mask.bit_length() + 7) // 8, "little"))


def device_properties(wanted: devices.DeviceList) -> list[Property]:
    """Return a device list as systemd's; rules it has no words for are in our own list anyway."""
    if wanted.default_allow and not wanted.rules:
        return [("DevicePolicy", ("s", "auto")), ("DeviceAllow", ("a(ss)", []))]
    allow: list[list[str]] = []
    for node in sorted(wanted.rules) if not wanted.default_allow else ():
        kind, major, minor = node
        group = {"b": "block", "c": "char"}[kind]
        if major == devices.ANY and minor == devices.ANY:
            path = f"{group}-*"
        elif minor == devices.ANY:
            path = f"{group}-{major}"
        elif major == devices.ANY:
            continue
        else:
            path = f"/dev/{group}/{major}:{minor}"
        allow.append([path, "".join(each for each in "rwm" if each in wanted.rules[node])])
    empty: Property = ("DeviceAllow", ("a(ss)", []))
    return [("DevicePolicy", ("s", "strict")), empty, ("DeviceAllow", ("a(ss)", allow))]


def _unified(values: dict[str, Any], *, version: int, fresh: bool) -> list[Property]:
    """Return what systemd has a property for among files named directly."""
    found: list[Property] = []
    for name, value in values.items():
        field = f"unified[{name!r}]"
        text = files.text(value, field).strip()
        if name in MEMORY_FILES:
            found.append((MEMORY_FILES[name], ("t", _number(text, field))))
        elif name == "cpu.max":
            quota, _, period = text.partition(" ")
            limit = 0 if quota == "max" else _number(quota, field)
            spell = _number(period, field) if period else DEFAULT_PERIOD_US
            found += quota_properties(limit, spell, version=version)
        elif name in ("cpuset.cpus", "cpuset.mems") and version >= SINCE_ALLOWED_CPUS:
            mask = "AllowedCPUs" if name == "cpuset.cpus" else "AllowedMemoryNodes"
            found.append((mask, ("ay", bits(text, field))))
        elif name == "memory.oom.group" and text in ("0", "1") and fresh:
            found.append(("OOMPolicy", ("s", "kill" if text == "1" else "continue")))
    return found


def _number(text: str, field: str) -> int:
    if text == "max":
        return U64_MAX
    if not text.isdecimal() or int(text) > U64_MAX:
        raise files.invalid(field, f"{text[:80]!r} is not a number")
    return int(text)
