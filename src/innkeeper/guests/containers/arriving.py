"""A container that arrives from another host: as hostile as any archive.

What it is asked to be is read field by field, and made anew here as if somebody had typed it. But
nobody has: whatever reaches out of the container (host directories, devices, capabilities, networks
of the host) is refused unless the caller trusts where it comes from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

import msgspec

from innkeeper.base.errors import ImageError, NotFoundError, UsageError
from innkeeper.base.record import replace
from innkeeper.guests.containers import records
from innkeeper.guests.containers.encoding import decode
from innkeeper.guests.containers.moving import END, FILES, FORMAT, HEAD, MAX_HEAD_BYTES, VERSION
from innkeeper.guests.containers.options import BundleOptions
from innkeeper.guests.containers.request import ContainerRequest
from innkeeper.guests.containers.request_parts import DEFAULT_LOG_BYTES, DEFAULT_LOG_FILES
from innkeeper.images.oci.commit import nameless_image
from innkeeper.images.oci.content import ContentStore
from innkeeper.images.oci.documents import Descriptor, Execution, Platform
from innkeeper.images.oci.files import open_any
from innkeeper.images.oci.imports import copy_entry
from innkeeper.images.oci.layers import MAX_LAYER_BYTES
from innkeeper.images.oci.platforms import choose, describe, host_platform, normalise
from innkeeper.images.tarsafe import Kind, TarReader

if TYPE_CHECKING:
    from innkeeper.guests.containers.records import Record
    from innkeeper.guests.containers.roots import ShowProgress
    from innkeeper.images.tarout import TarOut
    from innkeeper.images.tarsafe import Entry, Readable

MAX_NAME_CHARS = 4096
_HARMLESS = frozenset({
    "entrypoint", "env", "workdir", "user", "hostname", "tty", "read_only", "cap_drop",
    "memory_bytes", "cpus", "cpu_shares", "cpuset", "pids_limit", "shm_bytes", "ulimits",
})  # fmt: skip
# What this host fills in itself.
_OURS = frozenset({"netns", "cgroups_path", "files", "uid_maps", "gid_maps", "network"})
_HARMLESS_WORDS = frozenset({"no-new-privileges", "no-new-privileges:true"})

_TMPFS_WORDS = frozenset({"ro", "rw", "nosuid", "nodev", "noexec", "noatime"})
_TMPFS_SIZES = ("size=", "mode=", "nr_inodes=")


class Arrival:
    """What has arrived of a container so far: what it is to be; its files come next."""

    def __init__(self, file: IO[bytes], *, name: str) -> None:
        self._source = name
        stream = open_any(file, name=name, limit=MAX_LAYER_BYTES)
        self._entries = iter(TarReader(stream, name=name))
        head = self._read_head()
        self.name, self.image = self._text(head, "name"), self._text(head, "image")
        self.platform = normalise(self._convert(head, "platform", Platform))
        self.config: dict[str, Any] = msgspec.to_builtins(self._convert(head, "config", Execution))
        self.request = decode(ContainerRequest, head.get("request"), what=f"{name}: request")

    def _read_head(self) -> dict[str, Any]:
        entry, data = next(self._entries, (None, None))
        if entry is None or data is None or entry.path != HEAD or entry.kind is not Kind.FILE:
            raise ImageError(
                f"{self._source} is no container of inn export",
                fix="inn image import takes a root file system, inn image load an image",
            )
        head = self._document(entry, data)
        if head.get("format") != FORMAT or head.get("version") != VERSION:
            raise ImageError(
                f"{self._source} has another format",
                why=f"{head.get('format')!r} {head.get('version')!r}"[:200],
            )
        return head

    def _document(self, entry: Entry, data: Readable) -> dict[str, Any]:
        if entry.size > MAX_HEAD_BYTES:
            raise ImageError(f"{self._source}: {entry.path} is too large")
        try:
            found = json.loads(data.read(entry.size))
        except (ValueError, RecursionError) as error:
            raise ImageError(f"{self._source} is not sound", why=str(error)[:200]) from None
        if not isinstance(found, dict):
            raise ImageError(f"{self._source} is not sound", why=f"{entry.path} is no object")
        return found

    def _text(self, head: dict[str, Any], field: str) -> str:
        found = head.get(field, "")
        if not isinstance(found, str) or len(found) > MAX_NAME_CHARS:
            raise ImageError(f"{self._source} is not sound", why=f"{field} is no name")
        return found

    def _convert(self, head: dict[str, Any], field: str, kind: Any) -> Any:
        try:
            return msgspec.convert(head.get(field), kind)
        except msgspec.ValidationError as error:
            raise ImageError(f"{self._source} is not sound", why=f"{field}: {error}") from None

    def write(self, tar: TarOut) -> None:
        """Write the files into a layer, to the end that says there are no more."""
        count = 0
        for entry, data in self._entries:
            if entry.path == END and entry.kind is Kind.FILE:
                said = self._document(entry, data).get("files")
                if said != count or next(self._entries, None) is not None:
                    raise ImageError(f"{self._source} is not whole", why=f"{count} files arrived")
                return
            copy_entry(entry, data, tar, name=self._source, below=FILES)
            count += 1
        raise ImageError(f"{self._source} is cut short", why=f"it ends after {count} files")


def take(
    file: IO[bytes], show: ShowProgress, *, source: str, name: str | None = None,
    trusted: bool = False,
) -> Record:  # fmt: skip
    """Make the container that arrives on a stream; it is not started.

    `name` replaces the one it had. `UsageError` says what only a trusted one may ask for.
    """
    from innkeeper.guests.containers.detached import create

    arrival = Arrival(file, name=source)
    _refuse_foreign(arrival)
    called = arrival.name if name is None else name
    if called:
        records.check_free(records.check_name(called))
    request = replace(
        arrival.request, name=called, image=arrival.image or "imported", detach=True, keep=True,
        timeout_s=None,
    )  # fmt: skip
    asks = list(reaching_out(request))
    if asks and not trusted:
        raise UsageError(
            f"{source} asks for what is this host's", why="; ".join(asks)[:2000],
            fix="inn import --trust, if you know where it comes from",
        )  # fmt: skip
    _check_volumes(request)
    store = ContentStore()
    with store.in_use():
        image = nameless_image(
            store, arrival.image or "imported", arrival.write, platform=arrival.platform,
            config=arrival.config, created_by="inn import",
        )  # fmt: skip
        return create(request, show, image)


def reaching_out(request: ContainerRequest) -> Iterator[str]:
    """Say everything a request asks for that reaches out of its container."""
    if request.networks != ("none",):
        yield f"the network {', '.join(request.networks)}"
    if request.net is not None and request.net != type(request.net)():
        yield "ports, addresses or names of a network"
    if request.log.max_bytes * request.log.max_files > DEFAULT_LOG_BYTES * DEFAULT_LOG_FILES:
        yield f"a log of {request.log.max_files} times {request.log.max_bytes} bytes"
    options, plain = request.options, BundleOptions()
    for field in BundleOptions.__record_fields__:  # type: ignore[attr-defined]
        value = getattr(options, field)
        if value == getattr(plain, field) or field in _HARMLESS:
            continue
        if field in _OURS:
            raise ImageError("a moved container says what only this host can", why=field)
        if field == "security_opt" and _HARMLESS_WORDS.issuperset(value):
            continue
        if field == "tmpfs" and all(_is_plain_tmpfs(text) for text in value):
            continue
        yield f"{field.replace('_', '-')} {_shown(value)}"


def _is_plain_tmpfs(text: str) -> bool:
    words = filter(None, text.partition(":")[2].split(","))
    return all(word in _TMPFS_WORDS or word.startswith(_TMPFS_SIZES) for word in words)


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(_shown(one) for one in value)
    source, target = getattr(value, "source", None), getattr(value, "target", None)
    return repr(f"{source}:{target}" if source is not None else str(value))[1:-1][:200]


def _check_volumes(request: ContainerRequest) -> None:
    for volume in request.options.volumes:
        if not volume.source.is_absolute() or not volume.target.startswith("/"):
            raise ImageError("a moved container has a volume that is none", why=_shown(volume))
        if not volume.source.is_dir():
            raise NotFoundError(
                f"the volume {volume.source} is not on this host", fix=f"mkdir -p {volume.source}"
            )


def _refuse_foreign(arrival: Arrival) -> None:
    entry = Descriptor(
        "application/octet-stream", f"sha256:{'0' * 64}", 0, platform=arrival.platform
    )
    if choose([entry], host_platform()) is None:
        raise UsageError(
            f"the container is for {describe(arrival.platform)}",
            why=f"this host is {describe(host_platform())}",
        )
