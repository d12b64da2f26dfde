"""Debian images, made from a mirror: `busybox` (kernel and shell) and `debian` (a root disk)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from innkeeper.base.errors import UsageError
from innkeeper.images import cpio, deb, ext4, initramfs, kernel, secondstage, tarwrite
from innkeeper.images.archive import Archive
from innkeeper.images.dpkgdb import Database, is_conffile_cleanup
from innkeeper.images.fetch import Fetcher
from innkeeper.images.mirror import redact
from innkeeper.images.packages import Package, PackageIndex
from innkeeper.images.paths import storage_errors
from innkeeper.images.progress import SILENT, Progress
from innkeeper.images.resolve import resolve
from innkeeper.images.store import Blob, Kernel, Manifest, Store, image_key
from innkeeper.images.tarsafe import Kind
from innkeeper.images.tree import Spool, Tree

DEFAULT_SUITE = "trixie"
DEFAULT_ARCH = "riscv64"
RECIPES = ("busybox", "debian")
MAX_INCLUDE = 1000

_FLAVOURS = {"riscv64": "riscv64", "amd64": "amd64", "arm64": "arm64"}
_MERGED = {"amd64": ("bin", "sbin", "lib", "lib64")}
_MERGED_DEFAULT = ("bin", "sbin", "lib")
_PREFER = ("usr-is-merged",)
_CONSOLE = "console=ttyS0"
_KEYRINGS = (
    "usr/share/keyrings/debian-archive-keyring.pgp",
    "usr/share/keyrings/debian-archive-keyring.gpg",
)
# What a shell needs before devtmpfs is mounted.
_DEVICES = (("console", (5, 1), 0o600), ("null", (1, 3), 0o666), ("zero", (1, 5), 0o666))


@dataclass(frozen=True)
class Recipe:
    """What to build; see `build`."""

    name: str
    suite: str = DEFAULT_SUITE
    arch: str = DEFAULT_ARCH
    include: tuple[str, ...] = ()
    tag: str = ""
    mirror: str | None = None
    disk_bytes: int = ext4.DEFAULT_DISK_BYTES
    init: str | None = None
    init_files: Mapping[str, bytes] = field(default_factory=dict)


def build(
    name: str,
    *,
    suite: str = DEFAULT_SUITE,
    arch: str = DEFAULT_ARCH,
    include: Sequence[str] = (),
    tag: str = "",
    mirror: str | None = None,
    store: Store | None = None,
    fetcher: Fetcher | None = None,
    progress: Progress = SILENT,
    disk_bytes: int = ext4.DEFAULT_DISK_BYTES,
    init: str | None = None,
    init_files: Mapping[str, bytes] | None = None,
    rebuild: bool = False,
) -> Manifest:
    """Return the image `name` (`busybox` or `debian`), making it if the store has it not.

    `include` names further packages, `tag` what to keep the image as (default: `name`), `mirror`
    overrides the host's. `init` and `init_files` go into the initramfs, as in
    `initramfs.build`. A `debian` image comes back in the state `unpacked`: give it to
    `secondstage.finish`. Two processes that ask for the same image make it once.
    """
    recipe = Recipe(
        name, suite, arch, tuple(sorted(set(include))), tag or name, mirror, disk_bytes, init,
        dict(init_files or {}),
    )  # fmt: skip
    _check(recipe)
    store = store or Store()
    fetcher = fetcher or Fetcher(progress=progress)
    with store.in_use(), store.lock(image_key(recipe.tag, suite, arch)):
        found = None if rebuild else store.find(recipe.tag, suite=suite, arch=arch)
        if found is not None and found.include == recipe.include:
            return found
        manifest = Build(recipe, store, fetcher, progress).run()
        store.save(manifest)
        return manifest


def _check(recipe: Recipe) -> None:
    if recipe.name not in RECIPES:
        raise UsageError(
            f"there is no recipe for an image {recipe.name!r}",
            fix=f"build one of: {', '.join(RECIPES)}",
        )
    if recipe.arch not in _FLAVOURS:
        raise UsageError(
            f"images for {recipe.arch!r} cannot be built",
            fix=f"give one of: {', '.join(_FLAVOURS)}",
        )
    if recipe.include and recipe.name == "busybox":
        raise UsageError("the busybox image takes no packages", fix="build debian --include ...")
    if len(recipe.include) > MAX_INCLUDE:
        raise UsageError(f"more than {MAX_INCLUDE} packages are asked for")


@dataclass
class Build:
    """A build under way: what recipes of machines and of OCI images have in common."""

    recipe: Recipe
    store: Store
    fetcher: Fetcher
    progress: Progress

    def run(self) -> Manifest:
        recipe = self.recipe
        archive = Archive.open(recipe.suite, fetcher=self.fetcher, mirror=recipe.mirror)
        index = archive.index(recipe.arch)
        # What is wanted is worked out before anything large is fetched.
        packages = self.packages(index) if recipe.name == "debian" else []
        cores = kernel.find_packages(index, _FLAVOURS[recipe.arch])
        shell = index["busybox-static"]
        parts = [(p, self.fetch(archive, p)) for p in cores]
        core = kernel.pick(parts, self.store, progress=self.progress)
        busybox = self.busybox(self.fetch(archive, shell))
        debs = [(p, self.fetch(archive, p)) for p in packages]
        default = initramfs.DISK_INIT if packages else initramfs.BUSYBOX_INIT
        base = Manifest(
            name=recipe.tag,
            suite=recipe.suite,
            arch=recipe.arch,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            kernel=core.image,
            kernel_release=core.release,
            initrd=self._initrd(core, busybox, recipe.init or default),
            cmdline=_CONSOLE + (" root=/dev/vda rw" if packages else ""),
            include=recipe.include,
            packages=tuple(kernel.record(p) for p in (*cores, shell, *packages)),
        )
        return self._with_disk(base, archive, index, debs, core, busybox) if packages else base

    def packages(self, index: PackageIndex) -> list[Package]:
        """Choose what a root file system is made of."""
        return resolve(index, ["apt", *self.recipe.include], basic=True, prefer=_PREFER)

    def fetch(self, archive: Archive, package: Package) -> Path:
        """Return a package's file, its digest checked."""
        return self.fetcher.fetch(archive.wanted(package))

    def busybox(self, path: Path) -> bytes:
        """Return the busybox of a package."""
        with self.tree() as tree, deb.open_data(path) as reader:
            tree.symlink("bin", "usr/bin")
            tree.unpack(reader)
            return tree.read("usr/bin/busybox")

    def _initrd(
        self, core: Kernel, busybox: bytes, init: str, more: Sequence[Path] = (),
        files: Mapping[str, Path] | None = None,
    ) -> Blob:  # fmt: skip
        """Write an initramfs to the store; `more` are packages to unpack into it as well."""
        with self.tree() as tree:
            initramfs.build(
                tree,
                init=init,
                busybox=busybox,
                release=core.release,
                modules=core.modules,
                read=lambda blob: kernel.read_blob(self.store, blob),
                files=self.recipe.init_files,
            )
            for path in more:
                with deb.open_data(path) as reader:
                    tree.unpack(reader)
            for name, path in (files or {}).items():
                with storage_errors("make an initramfs", path), path.open("rb") as data:
                    node = tree.write(name, b"")
                    node.content = tree.spool.add(data)
            with self.store.staging() as staging:
                target = staging / "initrd"
                with storage_errors("make an initramfs", target), target.open("wb") as out:
                    cpio.write(tree, out, mtime=0)
                return self.store.adopt(target)

    def _with_disk(
        self,
        base: Manifest,
        archive: Archive,
        index: PackageIndex,
        debs: list[tuple[Package, Path]],
        core: Kernel,
        busybox: bytes,
    ) -> Manifest:
        """Unpack the system; onto an ext4 disk, or where the host makes none, for the guest to."""
        tools = [] if ext4.available() else resolve(index, ["e2fsprogs"])
        tool_paths = [self.fetch(archive, p) for p in tools]
        with self.tree() as tree, self.store.staging() as staging:
            self.unpack(tree, debs)
            _configure(tree, archive, self.recipe)
            target = staging / "disk"
            files: dict[str, Path] = {}
            token = self.progress.start("making the root disk")
            try:
                if tools:
                    ext4.make_empty(target, size=self.recipe.disk_bytes)
                    tarwrite.write(tree, staging / "root.tar")
                    (staging / "mark").touch()
                    files = {
                        secondstage.ROOT_ARCHIVE: staging / "root.tar",
                        secondstage.FORMAT_MARK: staging / "mark",
                    }
                else:
                    ext4.make(tree, target, size=self.recipe.disk_bytes, staging=staging)
                disk = self.store.adopt(target)
                setup = self._initrd(core, busybox, secondstage.SETUP_INIT, tool_paths, files)
            finally:
                self.progress.finish(token)
        return msgspec.structs.replace(
            base,
            disk=disk,
            disk_format="empty" if tools else "ext4",
            setup_initrd=setup,
            state="unpacked",
        )

    def unpack(self, tree: Tree, debs: list[tuple[Package, Path]]) -> None:
        """Unpack every package, and write the dpkg database that says so."""
        arch = self.recipe.arch
        for name in _MERGED.get(arch, _MERGED_DEFAULT):
            tree.folder(f"usr/{name}")
            tree.symlink(name, f"usr/{name}")
        database = Database(tree)
        order = []
        token = self.progress.start("unpacking packages", sum(p.size for p, _ in debs))
        try:
            for package, path in debs:
                control = deb.read_control(path)
                with deb.open_data(path) as reader:
                    paths = tree.unpack(reader)
                stem = database.add(control, paths, name=package.name)
                if not is_conffile_cleanup(control.get("preinst", (0, b""))[1]):
                    order.append(f"{package.name} {package.arch} {stem}\n")
                self.progress.advance(token, package.size)
        finally:
            self.progress.finish(token)
        database.write(arch)
        tree.write(secondstage.ORDER_PATH, "".join(order).encode())
        tree.write(secondstage.SCRIPT_PATH, secondstage.SECOND_STAGE.encode(), mode=0o755)

    @contextmanager
    def tree(self) -> Iterator[Tree]:
        """Give an empty tree."""
        with self.store.staging() as folder, Spool(folder) as spool:
            yield Tree(spool)


def _configure(tree: Tree, archive: Archive, recipe: Recipe) -> None:
    """Write the few files that make it this system: names, the root disk, where apt looks."""
    tree.write("etc/hostname", b"inn\n")
    tree.write("etc/hosts", b"127.0.0.1\tlocalhost inn\n::1\tlocalhost ip6-localhost\n")
    tree.write("etc/fstab", b"/dev/vda\t/\text4\tdefaults\t0\t1\n")
    tree.write("etc/machine-id", b"", mode=0o444)
    tree.write("etc/resolv.conf", b"")
    for name, numbers, mode in _DEVICES:
        tree.device(f"dev/{name}", Kind.CHAR, device=numbers, mode=mode)
    add_sources(tree, archive, recipe.suite)


def add_sources(tree: Tree, archive: Archive, suite: str) -> None:
    """Tell apt where the packages came from, if the system has the keys to check them."""
    keyring = next((k for k in _KEYRINGS if tree.find(k)), None)
    if keyring and not archive.mirror.uri.startswith("file:"):
        lines = (
            "Types: deb",
            f"URIs: {redact(archive.mirror.uri)}",
            f"Suites: {suite}",
            "Components: main",
            f"Signed-By: /{keyring}",
        )
        tree.write("etc/apt/sources.list.d/debian.sources", ("\n".join(lines) + "\n").encode())
