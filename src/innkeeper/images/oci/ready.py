"""Images that containers start from without reading their documents again.

Starting a container must not cost the import of a validator, a hash library and an HTTP client. So
the first start of an image notes what later ones need, checked as it then is:

    ready/NAME.ARCH.LAYERS.json    what the name means, its configuration, its layers' ChainIDs

A note counts while the name still means the same manifest and every layer is still unpacked;
`prune` removes all of them. Nothing heavy is imported here.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from innkeeper.base.record import field, record
from innkeeper.images.paths import data_dir

if TYPE_CHECKING:
    from innkeeper.images.oci.image import Image

LAYER_NAME_CHARS = 24
LAYER_ROOT, LAYER_RECORD = "root", "layer.json"
MAX_NOTE_BYTES = 8 << 20
ALL_IDS = (1 << 32) - 1
PLAIN, NOTED, MAPPED = LAYER_FOLDERS = ("layers", "layers-user", "layers-mapped")
_MAX_FILE_CHARS = 180
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~")


@record(kw_only=True)
class ReadyExecution:
    """The fields of `documents.Execution` under the same names."""

    user: str | None = None
    exposed_ports: dict[str, Any] | None = None
    env: list[str] | None = None
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    volumes: dict[str, Any] | None = None
    working_dir: str | None = None
    labels: dict[str, str] | None = None
    stop_signal: str | None = None
    healthcheck: dict[str, Any] | None = None


@record(kw_only=True)
class ReadyConfig:
    """The fields of `documents.Config` that a bundle is made of."""

    architecture: str = ""
    os: str = ""
    variant: str = ""
    created: str | None = None
    author: str | None = None
    execution: ReadyExecution = field(default_factory=ReadyExecution)


@record(kw_only=True)
class ReadyImage:
    """An image that is unpacked: `lower` are its layers' folders, top first.

    `manifest` is the descriptor as JSON has it; `root` is the content store's folder. `mapped` is
    as for `layers_folder`.
    """

    name: str
    root: Path
    manifest: dict[str, Any]
    chains: tuple[str, ...]
    lower: tuple[Path, ...]
    config: ReadyConfig
    rootless: bool
    mapped: bool = False


def find_ready(
    text: str, *, arch: str, rootless: bool, mapped: bool | None = None, root: Path | None = None
) -> ReadyImage | None:
    """Return the image that `text` names (`latest` when it has no tag), if it is ready as it is.

    `arch` is OCI's name of the architecture. None means nothing: `image.find_image` then says
    what there is, and `prepare_rootfs` makes it ready. `mapped` is as for `layers_folder`.
    """
    root = root or data_dir() / "oci"
    folder = layers_folder(rootless=rootless, mapped=mapped)
    tagged = text if ":" in text.rpartition("/")[2] else f"{text}:latest"
    if "@" in text:
        return None
    named = _read(name_path(root, tagged))
    note = _read(_path(root, tagged, arch, folder))
    if not named or not note or named.get("target", {}).get("digest") != note.get("target"):
        return None
    if "healthcheck" not in note["config"]["execution"]:  # noted when nobody asked for that
        return None
    chains = tuple(note["chains"])
    lower = tuple(layer_path(root, chain, folder) for chain in reversed(chains))
    if not all((path.parent / LAYER_RECORD).exists() for path in lower):
        return None
    config = dict(note["config"])
    execution = ReadyExecution(**config.pop("execution"))
    return ReadyImage(
        name=tagged, root=root, manifest=note["manifest"], chains=chains, lower=lower,
        config=ReadyConfig(execution=execution, **config), rootless=rootless,
        mapped=folder == MAPPED,
    )  # fmt: skip


def note_ready(image: Image, chains: list[str], *, arch: str, rootless: bool) -> None:
    """Note what later starts need of an image whose layers are unpacked."""
    target = image.store.lookup(image.name)
    if target is None:  # by digest or by id: there is no name to come back to
        return
    config, execution = image.config, image.config.execution
    document = {
        "target": target.digest,
        "manifest": descriptor_dict(image.descriptor),
        "chains": chains,
        "config": {
            **{name: getattr(config, name) for name in _plain_fields(ReadyConfig)},
            "execution": {name: getattr(execution, name) for name in _plain_fields(ReadyExecution)},
        },
    }
    path = _path(image.store.root, image.name, arch, layers_folder(rootless=rootless))
    image.store.write(path, json.dumps(document).encode())


def descriptor_dict(descriptor: Any) -> dict[str, Any]:
    """Return type, digest and size of a descriptor as JSON has them."""
    return {
        "mediaType": descriptor.media_type,
        "digest": str(descriptor.digest),
        "size": descriptor.size,
    }


def layers_folder(*, rootless: bool, mapped: bool | None = None) -> str:
    """Return the folder of unpacked layers whose owners are as this process sets them.

    Without privileges they are noted, not set, unless this is root of a user namespace that has
    ids of several users (user_namespaces(7)): then they are set to those. `mapped` says which of
    the two, for a process that is not that root itself.
    """
    if not rootless:
        return PLAIN
    if mapped is None:
        mapped = not notes_owners(rootless=True)
    return MAPPED if mapped else NOTED


def notes_owners(*, rootless: bool) -> bool:
    """Tell whether owners of files can only be noted."""
    return rootless and not _has_several_ids()


def _has_several_ids() -> bool:
    if os.geteuid() != 0:
        return False
    try:
        with open("/proc/self/uid_map") as file:
            count = sum(int(line.split()[2]) for line in file)
    except (OSError, ValueError, IndexError):
        return False
    return 1 < count < ALL_IDS  # all of them: not in a user namespace at all


def layer_path(root: Path, chain: str, folder: str) -> Path:
    """Return the root folder of a layer that is unpacked in the `layers_folder` of that name."""
    return root / folder / chain.partition(":")[2][:LAYER_NAME_CHARS] / LAYER_ROOT


def name_path(root: Path, name: str) -> Path:
    """Return the file that says what a name means."""
    return root / "names" / f"{file_name(name)}.json"


def file_name(text: str) -> str:
    """Return a file's name for any text, legible while it is short."""
    quoted = "".join(c if c in _PLAIN else _percent(c) for c in text)
    if len(quoted) <= _MAX_FILE_CHARS:
        return quoted
    import hashlib

    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _percent(character: str) -> str:
    """Encode a character as RFC 3986 2.1 does (`urllib.parse` takes 2 ms to import)."""
    return "".join(f"%{byte:02X}" for byte in character.encode())


def _path(root: Path, name: str, arch: str, folder: str) -> Path:
    return root / "ready" / f"{file_name(name)}.{arch}.{folder}.json"


def _plain_fields(kind: Any) -> list[str]:
    return [name for name in kind.__record_fields__ if name != "execution"]


def _read(path: Path) -> dict[str, Any] | None:
    """Read a file of ours; one that is damaged counts as missing."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            found = json.loads(file.read(MAX_NOTE_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
