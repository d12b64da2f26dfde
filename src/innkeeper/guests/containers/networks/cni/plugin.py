"""One call of a plugin: CNI specification 1.0.0 section 2, "Execution Protocol"."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from typing import Any

from innkeeper.base.errors import MachineError

FOLDERS = ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni")
TIMEOUT_S = 120.0
MAX_SAID_BYTES = 1 << 20
_TRY_AGAIN = 11  # section 2 "Errors": the reserved codes


def folders() -> list[str]:
    """Return where plugins are: CNI_PATH, else the usual places."""
    given = os.environ.get("CNI_PATH", "")
    return [one for one in given.split(os.pathsep) if one] or list(FOLDERS)


def find_plugin(kind: str) -> str:
    """Return a plugin's path; `MachineError` when it is not there."""
    for folder in folders():
        path = os.path.join(folder, kind)
        if os.access(path, os.X_OK):
            return path
    raise MachineError(
        f"there is no CNI plugin {kind!r}", why=f"looked in {', '.join(folders())}",
        fix="apt-get install containernetworking-plugins, or set CNI_PATH",
    )  # fmt: skip


def call(command: str, config: Mapping[str, Any], environment: Mapping[str, str]) -> Any:
    """Call a plugin with its configuration on standard input; return what it answers, if anything.

    `MachineError` when it fails, with its own words (section 2 "Errors").
    """
    kind = str(config["type"])
    path = find_plugin(kind)
    variables = {
        **os.environ, "CNI_COMMAND": command, "CNI_PATH": os.pathsep.join(folders()), **environment
    }  # fmt: skip
    # Plugins look for iptables and their like; not every caller has those folders.
    variables["PATH"] = f"{variables.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"
    with subprocess.Popen(
        [path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=variables, start_new_session=True,
    ) as running:  # fmt: skip
        try:
            out, err = running.communicate(json.dumps(config).encode(), TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            running.communicate()
            raise MachineError(
                f"CNI plugin {kind} did not finish {command} in {TIMEOUT_S:g} s"
            ) from None
    if len(out) > MAX_SAID_BYTES:
        raise MachineError(f"CNI plugin {kind} answers {command} with {len(out)} bytes")
    if running.returncode != 0:
        raise _failure(kind, command, out, err)
    return _json(out) if out.strip() else None


def _failure(kind: str, command: str, out: bytes, err: bytes) -> MachineError:
    said = _json(out)
    if isinstance(said, dict):
        why = f"{said.get('msg', '')} {said.get('details', '')}".strip()
        fix = "try again later" if said.get("code") == _TRY_AGAIN else ""
    else:
        why, fix = (out or err).decode("utf-8", "replace"), ""
    return MachineError(
        f"CNI plugin {kind} failed at {command}", why=" ".join(why.split())[:2000], fix=fix
    )


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
