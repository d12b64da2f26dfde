"""`--security-opt`: hidden paths, labels and the seccomp profile of a container."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from innkeeper.base.errors import ImageError, UsageError
from innkeeper.guests.containers import defaults
from innkeeper.guests.containers.options import BundleOptions

MAX_PROFILE_BYTES = 4 << 20


def words_of(options: BundleOptions) -> dict[str, list[str]]:
    """Return the security options by key, their values in order."""
    found: dict[str, list[str]] = {}
    known = ("no-new-privileges", "seccomp", "apparmor", "label", "systempaths", "mask", "unmask")
    for text in options.security_opt:
        # docker takes KEY:VALUE as well, from before it took KEY=VALUE
        key, _, value = text.replace(":", "=", 1).partition("=")
        if key not in known:
            raise UsageError(
                f"there is no security option {text!r}", fix=f"give one of: {', '.join(known)}"
            )
        if not (key == "no-new-privileges" and value == "false"):
            found.setdefault(key, []).append(value)
    return found


def hidden_paths(options: BundleOptions) -> tuple[list[str], list[str]]:
    """Return the masked and the read-only paths."""
    words = words_of(options)
    shown = set(words.get("unmask", ()))
    if options.privileged or "ALL" in shown or "unconfined" in words.get("systempaths", ()):
        return list(words.get("mask", ())), []
    masked = [path for path in defaults.MASKED_PATHS if path not in shown]
    read_only = [path for path in defaults.READONLY_PATHS if path not in shown]
    return masked + words.get("mask", []), read_only


def set_labels(options: BundleOptions, process: dict[str, Any]) -> None:
    """Put AppArmor's and SELinux's labels into a process."""
    words = words_of(options)
    if "apparmor" in words:
        process["apparmorProfile"] = words["apparmor"][-1]
    if "label" in words and words["label"][-1] != "disable":
        process["selinuxLabel"] = words["label"][-1]


def seccomp_profile(options: BundleOptions, bounding: list[str]) -> dict[str, Any] | None:
    """Return the profile: the default, a file\'s, or None when unconfined."""
    chosen = (words_of(options).get("seccomp") or [""])[-1]
    if chosen == "unconfined" or (options.privileged and not chosen):
        return None
    if chosen:
        return _read_profile(Path(chosen))
    from innkeeper.containers.seccomp import default_profile

    return default_profile(bounding, os.uname().machine)


def _read_profile(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(MAX_PROFILE_BYTES))
    except OSError as error:
        raise UsageError(f"seccomp profile {path}", why=error.strerror or "") from None
    except (ValueError, RecursionError) as error:
        raise ImageError(f"seccomp profile {path} is not JSON", why=str(error)) from None
    if not isinstance(found, dict):
        raise ImageError(f"seccomp profile {path} is not an object")
    return found
