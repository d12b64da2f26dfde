"""Pick the kernel and the modules that an initramfs needs out of a kernel package."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from innkeeper.base.errors import ImageError
from innkeeper.images import deb, modules
from innkeeper.images.initramfs import WANTED_MODULES, relative_module_path
from innkeeper.images.packages import Package, PackageIndex
from innkeeper.images.paths import storage_errors
from innkeeper.images.progress import SILENT, Progress
from innkeeper.images.store import Blob, Kernel, ModuleRecord, PackageRecord, Store
from innkeeper.images.tarsafe import Kind
from innkeeper.images.tree import Node, Spool, Tree

PICK_VERSION = 1  # raise it when what is picked changes
_RELEASE = r"(?P<release>[A-Za-z0-9.+~_-]+)"
_IMAGES = (
    re.compile(rf"boot/vmlinu[xz]-{_RELEASE}", re.ASCII),
    # Where the kernel package is split in parts (Linux 7 in Debian), the image lies here.
    re.compile(rf"(?:usr/)?lib/modules/{_RELEASE}/vmlinu[xz]", re.ASCII),
)
_IMAGE_PACKAGE = re.compile(r"linux-image-[0-9][A-Za-z0-9.+~-]*", re.ASCII)
_PART_PACKAGE = re.compile(r"linux-(base|binary|modules)-[0-9][A-Za-z0-9.+~-]*", re.ASCII)


def find_packages(index: PackageIndex, flavour: str) -> list[Package]:
    """Return the package that `linux-image-FLAVOUR` stands for, and the parts it is split in."""
    meta = index[f"linux-image-{flavour}"]
    for package in _needs(index, meta):
        if _IMAGE_PACKAGE.fullmatch(package.name) and package is not meta:
            parts = [p for p in _needs(index, package) if _PART_PACKAGE.fullmatch(p.name)]
            return [package, *parts]
    raise ImageError(f"{meta.name} does not depend on a kernel")


def pick(
    parts: Sequence[tuple[Package, Path]], store: Store, *, progress: Progress = SILENT
) -> Kernel:
    """Return the kernel of the packages, unpacking them only the first time."""
    key = _key(parts)
    main = parts[0][0]
    with store.lock(f"kernel-{key}"):
        kernel = store.find_kernel(key)
        if kernel is None:
            total = sum(package.size for package, _ in parts)
            token = progress.start(f"unpacking {main.name}", total)
            try:
                kernel = _pick(parts, store)
                progress.advance(token, total)
            finally:
                progress.finish(token)
            store.save_kernel(key, kernel)
    return kernel


def _needs(index: PackageIndex, package: Package) -> list[Package]:
    found = [index.get(relation.name) for group in package.depends for relation in group]
    return [p for p in found if p is not None]


def record(package: Package) -> PackageRecord:
    """Describe a package in a manifest."""
    return PackageRecord(package.name, package.version, package.arch, package.sha256)


def _pick(parts: Sequence[tuple[Package, Path]], store: Store) -> Kernel:
    package = parts[0][0]
    with store.staging() as staging, Spool(staging) as spool:
        tree = Tree(spool)
        for _, path in parts:
            with deb.open_data(path) as reader:
                for entry, data in reader:
                    if entry.kind is Kind.FILE and _interesting(entry.path):
                        tree.unpack_entry(entry, data)
        files = {p: n for p, n in tree.walk() if n.kind is Kind.FILE}
        image, release = _image(files, package)
        builtin = [n for p, n in files.items() if p.endswith(f"/{release}/modules.builtin")]
        text = spool.read(builtin[0].content) if builtin else b""
        order = modules.load_order(
            WANTED_MODULES,
            paths={name: p for p in files if (name := modules.module_name(p))},
            builtin=modules.parse_builtin(text.decode("utf-8", "replace")),
            read=lambda p: spool.read(files[p].content),
        )
        target = staging / "image"
        with storage_errors("keep a kernel", target), target.open("wb") as out:
            for chunk in spool.chunks(image.content):
                out.write(chunk)
        return Kernel(
            release=release,
            package=record(package),
            image=store.adopt(target),
            builtin=store.put(text),
            modules=tuple(_module(m, release, store) for m in order),
        )


def _module(module: modules.Module, release: str, store: Store) -> ModuleRecord:
    path = relative_module_path(module.path, release)
    return ModuleRecord(module.name, path, module.needs, store.put(module.content))


def _interesting(path: str) -> bool:
    path = path.removeprefix("./")
    if any(pattern.fullmatch(path) for pattern in _IMAGES):
        return True
    return "lib/modules/" in path and (
        modules.module_name(path) is not None or path.endswith("/modules.builtin")
    )


def _image(files: dict[str, Node], package: Package) -> tuple[Node, str]:
    for path, node in files.items():
        for pattern in _IMAGES:
            match = pattern.fullmatch(path)
            if match:
                return node, match["release"]
    raise ImageError(
        f"{package.name} holds no kernel", why="there is no vmlinuz or vmlinux in its /boot"
    )


def _key(parts: Sequence[tuple[Package, Path]]) -> str:
    hashes = " ".join(package.sha256 for package, _ in parts)
    text = f"{PICK_VERSION} {' '.join(WANTED_MODULES)} {hashes}"
    return f"{parts[0][0].name}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def read_blob(store: Store, blob: Blob) -> bytes:
    """Return a small content of the store; `ImageError` when it is gone or damaged."""
    path = store.blob_path(blob)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"cannot read {path}", why=error.strerror or "") from error
    if hashlib.sha256(data).hexdigest() != blob.sha256:
        raise ImageError(f"{path} is damaged", fix=f"rm {path}, and build the image again")
    return data
