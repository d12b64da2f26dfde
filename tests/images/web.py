"""A loopback HTTP server with byte ranges, and the ways in which a mirror can misbehave."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self


@dataclass
class Faults:
    """What goes wrong: paths to cut short (once), ranges ignored, statuses to answer with."""

    cut: dict[str, int] = field(default_factory=dict)
    no_ranges: bool = False
    status: dict[str, list[int]] = field(default_factory=dict)


class Web:
    def __init__(self, root: Path) -> None:
        self.root, self.faults = root, Faults()
        self.requests: list[tuple[str, str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(web: Web) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            path, asked = self.path, self.headers.get("Range", "")
            web.requests.append((path, asked))
            statuses = web.faults.status.get(path, [])
            file = web.root / path.lstrip("/")
            if statuses or not file.is_file():
                self.send_error(statuses.pop(0) if statuses else 404)
                return
            data = file.read_bytes()
            start = 0
            if asked and not web.faults.no_ranges:
                start = int(asked.removeprefix("bytes=").rstrip("-"))
                if start >= len(data):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            else:
                self.send_response(200)
            body = data[start:]
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: web.faults.cut.pop(path, len(body))])

    return Handler
