"""The global options of `inn-oci`, and where its log goes (runc(8), "GLOBAL OPTIONS")."""

from __future__ import annotations

import os
import time

from innkeeper.containers.jsontext import dumps
from innkeeper.containers.state import default_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Settings:
    """What was asked for before the command's name."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.root: str = os.path.abspath(values.get("root") or default_root())
        self.log: str = values.get("log") or ""
        self.log_format: str = values.get("log-format") or "text"
        self.debug: bool = values.get("debug", False)
        self.systemd_cgroup: bool = values.get("systemd-cgroup", False)
        self.criu: str = values.get("criu") or "criu"
        rootless = values.get("rootless") or "auto"
        self.rootless: bool = os.geteuid() != 0 if rootless == "auto" else rootless == "true"

    def write(self, level: str, message: str) -> None:
        """Log one message; the caller sees an error on standard error in any case."""
        if level == "debug" and not self.debug:
            return
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self.log_format == "json":
            line = dumps({"level": level, "msg": message, "time": now})
        else:
            line = f"time={dumps(now)} level={level} msg={dumps(message)}"
        if not self.log:
            os.write(2, f"{line}\n".encode())
            return
        try:
            fd = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            os.write(fd, f"{line}\n".encode())
            os.close(fd)
        except OSError as error:
            os.write(2, f"open {self.log}: {error.strerror}\n".encode())
        if level == "error":
            os.write(2, f"{message}\n".encode())
