"""Which of an index's images is meant (OCI image-spec 1.1 image-index.md `platform`).

Names are Go's GOOS and GOARCH; `uname`'s names for the same machines are understood.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from innkeeper.base.errors import UsageError
from innkeeper.images.oci.documents import Descriptor, Platform

_ARCHITECTURES = {
    "x86_64": "amd64", "x86-64": "amd64", "i386": "386", "i486": "386", "i586": "386",
    "i686": "386", "aarch64": "arm64", "armhf": "arm", "armel": "arm", "armv7l": "arm",
    "armv6l": "arm", "loongarch64": "loong64", "mips64el": "mips64le", "mipsel": "mipsle",
    "ppc64el": "ppc64le",
}  # fmt: skip
_VARIANTS = {
    "armhf": "v7", "armv7l": "v7", "armel": "v6", "armv6l": "v6", "arm64": "v8", "aarch64": "v8",
    "arm": "v7",
}  # fmt: skip
# What a processor of a variant can also run, best first.
_RUNS = {
    ("arm64", "v8"): ("v8", ""),
    ("arm", "v8"): ("v8", "v7", "v6", "v5", ""),
    ("arm", "v7"): ("v7", "v6", "v5", ""),
    ("arm", "v6"): ("v6", "v5", ""),
    ("amd64", "v4"): ("v4", "v3", "v2", "v1", ""),
    ("amd64", "v3"): ("v3", "v2", "v1", ""),
    ("amd64", "v2"): ("v2", "v1", ""),
    ("amd64", ""): ("", "v1"),
}


def parse_platform(text: str) -> Platform:
    """Read `OS/ARCH[/VARIANT]` or `ARCH`; `UsageError` when it is neither."""
    parts = text.split("/")
    if len(parts) == 1:
        parts = ["linux", *parts]
    sound = all(part and part.replace("-", "").replace("_", "").isalnum() for part in parts)
    if len(parts) > 3 or not sound or len(text) > 64:
        raise UsageError(
            f"{text[:80]!r} is not a platform", fix="write it as linux/amd64 or linux/arm/v7"
        )
    return normalise(Platform(os=parts[0], architecture=parts[1], variant="".join(parts[2:])))


def host_platform() -> Platform:
    """Return the platform of this host."""
    return normalise(Platform(os="linux", architecture=os.uname().machine, variant=""))


def normalise(platform: Platform) -> Platform:
    """Return a platform with the names an index uses, and the variant that goes without saying."""
    machine = platform.architecture.lower()
    variant = platform.variant or _VARIANTS.get(machine, "")
    return Platform(
        os=platform.os.lower(),
        architecture=_ARCHITECTURES.get(machine, machine),
        variant=f"v{variant}" if variant.isdigit() else variant,
    )


def describe(platform: Platform | None) -> str:
    """Write a platform as `OS/ARCH[/VARIANT]`."""
    if platform is None:
        return "an unknown platform"
    parts = (platform.os, platform.architecture, platform.variant)
    return "/".join(part for part in parts if part)


def choose(entries: Sequence[Descriptor], wanted: Platform) -> Descriptor | None:
    """Return the entry that fits `wanted` best, the first of equals; None when none fits."""
    wanted = normalise(wanted)
    key = (wanted.architecture, wanted.variant)
    order = _RUNS.get(key) or ((wanted.variant, "") if wanted.variant else ("",))
    best: tuple[int, Descriptor] | None = None
    for entry in entries:
        if entry.platform is None:
            continue
        found = entry.platform
        plain = normalise(found)
        if (plain.os, plain.architecture) != (wanted.os, wanted.architecture):
            continue
        # An entry of the default variant may say so or not.
        names = [name for name in (found.variant, plain.variant) if name in order]
        if not names:
            continue
        rank = min(order.index(name) for name in names)
        if best is None or rank < best[0]:
            best = (rank, entry)
    return best[1] if best else None
