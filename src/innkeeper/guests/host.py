"""What this host offers guests: each fact looked at, none guessed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from innkeeper.base.errors import InnError
from innkeeper.base.units import GIB, MIB

NEEDED_DISK_BYTES = 3 * GIB
NEEDED_MEMORY_BYTES = 700 * MIB
DEFAULT_SUITE = "trixie"


class State(StrEnum):
    """`broken` keeps guests from running; `absent` only does without something."""

    OK = "ok"
    ABSENT = "absent"
    BROKEN = "broken"


@dataclass(frozen=True)
class Check:
    """One fact about the host: what was found, and what to do about it."""

    name: str
    state: str
    found: str
    fix: str = ""


def check_host() -> list[Check]:
    """Look at everything a guest may need; never raises for what it finds."""
    return [check for look in _LOOKS for check in _safely(look)]


def _safely(look: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    try:
        yield from look()
    except (InnError, OSError) as error:
        name = look.__name__.strip("_").replace("_", " ")
        yield Check(name, State.BROKEN, str(error), getattr(error, "fix", ""))


def _python() -> Iterator[Check]:
    yield Check("python", State.OK, f"{platform.python_version()} ({sys.executable})")


def _processor() -> Iterator[Check]:
    yield Check("processor", State.OK, f"{platform.machine()}, {os.cpu_count()} CPUs")
    if platform.machine() not in ("x86_64", "AMD64"):
        return
    has_fma = "fma" in _cpu_flags()
    yield Check(
        "fused multiply-add",
        State.OK if has_fma else State.ABSENT,
        "the processor has FMA" if has_fma else "the processor has no FMA",
        "" if has_fma else "guests' fused floating point is computed in software, and slower",
    )


def _cpu_flags() -> set[str]:
    for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
        if line.startswith(("flags", "Features")):
            return set(line.partition(":")[2].split())
    return set()


def _translator() -> Iterator[Check]:
    # Looked up, not imported: that is native/'s alone, and costs a tenth of a second.
    try:
        version = importlib.metadata.version("llvmlite")
        there = importlib.util.find_spec("llvmlite") is not None
    except importlib.metadata.PackageNotFoundError:
        there, version = False, ""
    state = State.OK if there else State.BROKEN
    fix = "" if there else "pip install llvmlite"
    yield Check("llvmlite", state, version or "it is not installed", fix)


def _kvm() -> Iterator[Check]:
    path = Path("/dev/kvm")
    if not path.exists():
        why = "there is no /dev/kvm"
        fix = "emulation works without it; turn on virtualisation and load kvm_intel or kvm_amd"
    elif not os.access(path, os.R_OK | os.W_OK):
        why, fix = "/dev/kvm is there, but not yours to open", "sudo usermod -aG kvm $USER"
    else:
        yield Check("kvm", State.OK, "/dev/kvm can be opened")
        return
    yield Check("kvm", State.ABSENT, why, fix)


def _namespaces() -> Iterator[Check]:
    names = ("user", "mnt", "pid", "net", "uts", "ipc", "cgroup")
    missing = [name for name in names if not Path(f"/proc/self/ns/{name}").exists()]
    found = f"the kernel has no {', '.join(missing)} namespaces" if missing else "all kinds"
    fix = "containers need them; emulated guests do not"
    limit = Path("/proc/sys/user/max_user_namespaces")
    if not missing and limit.exists() and limit.read_text().strip() == "0":
        found, missing = "user namespaces are turned off", ["user"]
        fix = "sysctl user.max_user_namespaces=15000; emulated guests do not need it"
    yield Check("namespaces", State.ABSENT if missing else State.OK, found, fix if missing else "")


def _memory() -> Iterator[Check]:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) << 10
            enough = free >= NEEDED_MEMORY_BYTES
            yield Check(
                "memory",
                State.OK if enough else State.BROKEN,
                f"{free / GIB:.1f} GiB available",
                "" if enough else "a guest of the default size needs 0.7 GiB; try --memory 128M",
            )


def _storage() -> Iterator[Check]:
    from innkeeper.images.paths import cache_dir, data_dir

    for name, variable, folder in (
        ("cache folder", "XDG_CACHE_HOME", cache_dir()),
        ("image folder", "XDG_DATA_HOME", data_dir()),
    ):
        there = next(path for path in (folder, *folder.parents) if path.exists())
        try:
            with tempfile.TemporaryFile(dir=there):
                pass
        except OSError as error:
            fix = f"point {variable} at a folder that is yours"
            yield Check(name, State.BROKEN, f"{there}: {error.strerror}", fix)
            continue
        free = shutil.disk_usage(there).free
        enough = free >= NEEDED_DISK_BYTES
        found = f"{folder}, {free / GIB:.1f} GiB free"
        fix = "" if enough else f"a Debian image needs about 3 GiB; or point {variable} elsewhere"
        yield Check(name, State.OK if enough else State.ABSENT, found, fix)


def _mirror() -> Iterator[Check]:
    from innkeeper.images.mirror import candidates, redact

    try:
        found = candidates(DEFAULT_SUITE)
    except InnError as error:
        yield Check("package mirror", State.ABSENT, str(error), error.fix)
        return
    if found:
        yield Check("package mirror", State.OK, redact(found[0].uri))
    else:
        fix = "give --mirror URL to inn run or inn image build"
        yield Check("package mirror", State.ABSENT, "none is configured on this host", fix)


def _tools() -> Iterator[Check]:
    folders = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])

    def tool(*names: str) -> str | None:
        return next((path for name in names if (path := shutil.which(name, path=folders))), None)

    checker = tool("gpgv", "sqv")
    fix = "apt-get install gpgv: images are only made from signed releases"
    state = State.OK if checker else State.ABSENT
    yield Check(
        "signature checker", state, checker or "neither gpgv nor sqv", "" if checker else fix
    )
    maker = tool("mke2fs")
    fix = "apt-get install e2fsprogs; without it the guest formats its own disk"
    state = State.OK if maker else State.ABSENT
    yield Check("mke2fs", state, maker or "not there", "" if maker else fix)
    unpacker = _zstd()
    fix = "pip install zstandard, or Python 3.14"
    state = State.OK if unpacker else State.ABSENT
    yield Check("zstd", state, unpacker or "no Python module for it", "" if unpacker else fix)


def _networks() -> Iterator[Check]:
    from innkeeper.guests.containers.networks import ruleset
    from innkeeper.guests.containers.networks.cni import config, plugin

    try:
        nft = ruleset.find_nft()
    except InnError as error:
        fix = f"{error.fix}; containers' networks need it, --network none, host and slirp do not"
        yield Check("nftables", State.ABSENT, error.what, fix)
    else:
        closed = ruleset.closed_chains() if os.geteuid() == 0 else []
        found = f"{nft}, but {', '.join(closed)} drops what it is not told of" if closed else nft
        fix = "accept there what comes from and goes to the interfaces inn*" if closed else ""
        yield Check("nftables", State.ABSENT if closed else State.OK, found, fix)
    names = [one.name for one in config.every()]
    there = [folder for folder in plugin.folders() if Path(folder, "bridge").exists()]
    fix = "apt-get install containernetworking-plugins, or set CNI_PATH"
    if names:
        found = f"{there[0] if there else 'none'}; networks: {', '.join(names)}"
        state = State.OK if there else State.ABSENT
        yield Check("cni plugins", state, found, "" if there else fix)


def _user_networks() -> Iterator[Check]:
    """See whether `--network slirp` is to be had."""
    from innkeeper.guests.containers.networks import helpers, slirp

    found = [program for program in helpers.PROGRAMS if shutil.which(program)]
    opens = os.access(slirp.TUN, os.R_OK | os.W_OK)
    state = State.OK if found and opens else State.ABSENT
    said = ", ".join(found) or "neither pasta nor slirp4netns"
    fix = "" if found else "apt-get install passt slirp4netns"
    if found and not opens:
        said, fix = f"{said}, but {slirp.TUN} cannot be opened", f"chmod 666 {slirp.TUN}"
    yield Check("user networks", state, said, fix)


def _zstd() -> str | None:
    return next((name for name in ("compression.zstd", "zstandard") if _importable(name)), None)


def _importable(name: str) -> bool:
    try:
        __import__(name)
    except ImportError:
        return False
    return True


_LOOKS = (
    _python, _processor, _translator, _kvm, _namespaces, _memory, _storage, _mirror, _tools,
    _networks, _user_networks,
)  # fmt: skip
