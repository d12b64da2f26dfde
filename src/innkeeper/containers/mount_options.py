"""Mount options of `config.json` (config.md "Mounts", config-linux.md, mount(8)).

Every option is one of: an attribute of the mount, the same for all mounts below it (`rro`), a flag
of the file system itself, propagation, a word to the runtime (`bind`, `tmpcopyup`), or else the
file system's own.
"""

from __future__ import annotations

from innkeeper.base.errors import ConfigError
from innkeeper.containers import kernel as k

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# option: (attributes set, attributes cleared)
_ATTRIBUTES = {
    "ro": (k.MOUNT_ATTR_RDONLY, 0),
    "rw": (0, k.MOUNT_ATTR_RDONLY),
    "nosuid": (k.MOUNT_ATTR_NOSUID, 0),
    "suid": (0, k.MOUNT_ATTR_NOSUID),
    "nodev": (k.MOUNT_ATTR_NODEV, 0),
    "dev": (0, k.MOUNT_ATTR_NODEV),
    "noexec": (k.MOUNT_ATTR_NOEXEC, 0),
    "exec": (0, k.MOUNT_ATTR_NOEXEC),
    "noatime": (k.MOUNT_ATTR_NOATIME, k.MOUNT_ATTR_ATIME),
    "atime": (0, k.MOUNT_ATTR_ATIME),
    "relatime": (0, k.MOUNT_ATTR_ATIME),
    "norelatime": (k.MOUNT_ATTR_STRICTATIME, k.MOUNT_ATTR_ATIME),
    "strictatime": (k.MOUNT_ATTR_STRICTATIME, k.MOUNT_ATTR_ATIME),
    "nostrictatime": (0, k.MOUNT_ATTR_ATIME),
    "nodiratime": (k.MOUNT_ATTR_NODIRATIME, 0),
    "diratime": (0, k.MOUNT_ATTR_NODIRATIME),
    "nosymfollow": (k.MOUNT_ATTR_NOSYMFOLLOW, 0),
    "symfollow": (0, k.MOUNT_ATTR_NOSYMFOLLOW),
}
_FILESYSTEM_FLAGS = (
    "sync", "async", "dirsync", "lazytime", "nolazytime", "mand", "nomand",
)  # fmt: skip
_NOTHING = (
    "defaults", "silent", "loud", "acl", "noacl", "iversion", "noiversion",
)  # fmt: skip
PROPAGATION = {
    "private": k.MS_PRIVATE,
    "shared": k.MS_SHARED,
    "slave": k.MS_SLAVE,
    "unbindable": k.MS_UNBINDABLE,
}
_LABELLED = ("tmpfs", "ramfs", "devpts")
_CONTEXTS = ("context", "fscontext", "defcontext", "rootcontext")  # mount(8)
_RUNTIME = ("bind", "rbind", "remount", "tmpcopyup", "idmap", "ridmap")


class MountOptions:
    """What the options of one mount ask for."""

    def __init__(self) -> None:
        self.set = self.clear = 0  # attributes of the mount itself
        self.deep_set = self.deep_clear = 0  # and of every mount below it
        self.propagation: list[tuple[int, bool]] = []  # (kind, recursive), in order
        self.filesystem: list[str] = []  # flags of the superblock
        self.data: list[str] = []  # options of the file system
        self.words: set[str] = set()  # for the runtime

    @property
    def bind(self) -> bool:
        """Say whether an existing tree is mounted a second time."""
        return "bind" in self.words or "rbind" in self.words


def parse_options(mount: dict[str, Any]) -> MountOptions:
    """Sort the options of one entry of `mounts`; later ones win over earlier ones."""
    options = MountOptions()
    for text in mount.get("options", []):
        _one(options, text)
    if mount.get("type") == "bind" and not options.bind:
        options.words.add("bind")
    return options


def add_label(options: MountOptions, kind: str, label: str) -> None:
    """Give a new file system the SELinux context `linux.mountLabel` (config-linux.md).

    Those that the kernel labels itself, inode by inode, take none; what is bound has its own.
    """
    said = any(one.partition("=")[0] in _CONTEXTS for one in options.data)
    if label and not options.bind and kind in _LABELLED and not said:
        options.data.append(f"context={label}")


def _one(options: MountOptions, text: str) -> None:
    if text in _ATTRIBUTES:
        given, cleared = _ATTRIBUTES[text]
        options.set = options.set & ~cleared | given
        options.clear = options.clear & ~given | cleared
    elif text[:1] == "r" and text[1:] in _ATTRIBUTES:
        given, cleared = _ATTRIBUTES[text[1:]]
        options.deep_set = options.deep_set & ~cleared | given
        options.deep_clear = options.deep_clear & ~given | cleared
    elif text in PROPAGATION:
        options.propagation.append((PROPAGATION[text], False))
    elif text[:1] == "r" and text[1:] in PROPAGATION:
        options.propagation.append((PROPAGATION[text[1:]], True))
    elif text in _FILESYSTEM_FLAGS:
        options.filesystem.append(text)
    elif text in _RUNTIME:
        options.words.add(text)
    elif text and text not in _NOTHING:
        options.data.append(text)


def known_options() -> list[str]:
    """List the options that this runtime itself understands (features.md "mountOptions")."""
    deep = [f"r{name}" for name in (*_ATTRIBUTES, *PROPAGATION)]
    return sorted({*_ATTRIBUTES, *deep, *_FILESYSTEM_FLAGS, *_NOTHING, *PROPAGATION, *_RUNTIME})


def propagation_flags(text: str) -> int:
    """Turn `rootfsPropagation` into mount(2) flags; the default is `rprivate`."""
    if not text:
        return k.MS_PRIVATE | k.MS_REC
    if text in PROPAGATION:
        return PROPAGATION[text]
    if text[:1] == "r" and text[1:] in PROPAGATION:
        return PROPAGATION[text[1:]] | k.MS_REC
    raise ConfigError("linux.rootfsPropagation", why=f"{text!r} is not a propagation")
