"""The one tree of errors that Innkeeper raises on purpose.

InnError                  anything below; carries what failed, why, and what to do next
+-- UsageError            the caller asked for something that cannot be (exit 2)
+-- ImageError            an image, archive, package or manifest is not what it claims
|   +-- IntegrityError    a checksum or signature does not match
+-- DownloadError         the mirror could not be reached or answered badly
+-- StorageError          the host's disk is full, read-only or not ours to write
+-- LoadError             a kernel, firmware or ELF file cannot be loaded
+-- MachineError          a guest machine cannot be built or run as asked
+-- CompileError          kernel Python that the native compiler does not take
+-- ContainerError        a container cannot be made or driven as asked (exit 1, as runc's)
|   +-- ConfigError       a field of config.json is not what the runtime specification says
+-- GuestTimeout          the guest did not finish in time (exit 124)
+-- NotFoundError         a named thing does not exist (exit 127)
+-- NotExecutableError    the thing exists but cannot be run (exit 126)
"""

from __future__ import annotations


class InnError(Exception):
    """An error with a cause and a next step; `exit_code` is what `inn` ends with.

    `what` says what failed, `why` the cause as far as it is known, `fix` what to type or change.
    """

    exit_code = 125

    def __init__(self, what: str, *, why: str = "", fix: str = "") -> None:
        self.what, self.why, self.fix = what, why, fix
        super().__init__(what if not why else f"{what}: {why}")


class UsageError(InnError):
    """The caller asked for something that cannot be."""

    exit_code = 2


class ImageError(InnError):
    """An image, archive, package or manifest is not what it claims to be."""


class IntegrityError(ImageError):
    """A checksum or a signature does not match."""


class DownloadError(InnError):
    """The mirror could not be reached, or answered badly."""


class StorageError(InnError):
    """The host's disk is full, read-only or not ours to write."""


class LoadError(InnError):
    """A kernel, firmware or ELF file cannot be loaded."""

    exit_code = 126


class MachineError(InnError):
    """A guest machine cannot be built or run as asked."""


class CompileError(InnError):
    """Kernel Python that the native compiler does not take."""


class ContainerError(InnError):
    """A container cannot be made or driven as asked."""

    exit_code = 1


class ConfigError(ContainerError):
    """A field of `config.json` is not what the runtime specification says; `what` names it."""


class GuestTimeout(InnError):
    """The guest did not finish in the time it was given."""

    exit_code = 124


class NotFoundError(InnError):
    """A named thing does not exist."""

    exit_code = 127


class NotExecutableError(InnError):
    """The named thing exists but cannot be run."""

    exit_code = 126
