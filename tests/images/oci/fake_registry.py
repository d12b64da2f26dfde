"""A registry in memory, and the ways in which one can misbehave."""

from __future__ import annotations

import hashlib
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit


@dataclass
class Faults:
    """What goes wrong, each time once per entry."""

    cut: list[int] = field(default_factory=list)  # bodies to end after so many bytes
    status: list[int] = field(default_factory=list)  # answers to blob requests
    drop: list[int] = field(default_factory=list)  # PATCHes of which only so many bytes count
    redirect: str = ""  # where blobs are
    lie: bytes = b""  # what to send in place of a manifest
    digest: str = ""  # what to say a manifest's digest is
    challenge: str = ""  # asked of those without Authorization
    headers: dict[str, str] = field(default_factory=dict)  # of upload answers
    stall: int = 0  # after so many bytes of a body, wait for `go_on`
    stalled: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)


class FakeRegistry:
    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self.uploads: dict[str, bytearray] = {}
        self.faults = Faults()
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.host = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add(self, store: Any, image: Any, tag: str) -> None:
        """Serve an image of a content store."""
        for part in (image.manifest.config, *image.manifest.layers):
            self.blobs[part.digest] = store.path(part.digest).read_bytes()
        data = store.path(image.descriptor.digest).read_bytes()
        for name in (tag, image.descriptor.digest):
            self.manifests[name] = (image.descriptor.media_type, data)

    def sent(self, method: str, part: str = "") -> list[dict[str, str]]:
        return [h for m, path, h in self.requests if m == method and part in path]


def _handler(fake: FakeRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def answer(
            self, status: int, data: bytes = b"", cut: int | None = None, **headers: str
        ) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Connection", "close")
            self.end_headers()
            stall = fake.faults.stall
            if self.command == "GET" and 0 < stall < len(data):
                self.wfile.write(data[:stall])
                fake.faults.stalled.set()
                fake.faults.go_on.wait()
                data, fake.faults.stall = data[stall:], 0
            if self.command != "HEAD":
                self.wfile.write(data[:cut])
            self.close_connection = True

        def body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))

        def handle_one(self) -> None:
            headers = {k.lower(): v for k, v in self.headers.items()}
            fake.requests.append((self.command, self.path, headers))
            if fake.faults.challenge and "authorization" not in headers:
                self.body()
                self.answer(401, WWW_Authenticate=fake.faults.challenge)
                return
            path = urlsplit(self.path).path
            if path == "/v2/":
                self.answer(200)
            elif "/manifests/" in path:
                self.manifest(path.rpartition("/")[2])
            elif "/uploads/" in path:
                self.upload(path)
            else:
                self.blob(path.rpartition("/")[2])

        do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = handle_one

        def manifest(self, name: str) -> None:
            if self.command == "PUT":
                fake.manifests[name] = (self.headers["Content-Type"], self.body())
                self.answer(201)
            elif name not in fake.manifests:
                self.answer(404)
            else:
                kind, data = fake.manifests[name]
                more = {"Docker_Content_Digest": fake.faults.digest} if fake.faults.digest else {}
                self.answer(200, fake.faults.lie or data, Content_Type=kind, **more)

        def blob(self, digest: str) -> None:
            if fake.faults.status:
                self.answer(fake.faults.status.pop(0))
            elif fake.faults.redirect and self.command == "GET":
                self.answer(307, Location=fake.faults.redirect.format(path=self.path))
            elif digest not in fake.blobs:
                self.answer(404)
            else:
                data, start = fake.blobs[digest], 0
                if match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
                    start = int(match[1])
                cuts = fake.faults.cut if self.command == "GET" else []
                cut = cuts.pop(0) if cuts and cuts[0] < len(data) - start else None
                if start:
                    where = f"bytes {start}-{len(data) - 1}/{len(data)}"
                    self.answer(206, data[start:], cut, Content_Range=where)
                else:
                    self.answer(200, data, cut)

        def upload(self, path: str) -> None:
            key = path.rpartition("/")[2]
            data = self.body()
            if self.command == "POST":
                key = str(len(fake.uploads) + 1)
                fake.uploads[key] = bytearray()
                self.answer(202, Location=f"{path}{key}", **fake.faults.headers)
            elif key not in fake.uploads:
                self.answer(404)
            elif self.command == "GET":
                end = max(len(fake.uploads[key]) - 1, 0)
                self.answer(204, Location=path, Range=f"0-{end}")
            elif self.command == "PATCH":
                start = int(self.headers["Content-Range"].partition("-")[0])
                if start != len(fake.uploads[key]):
                    self.answer(416)
                    return
                if fake.faults.drop:
                    fake.uploads[key] += data[: fake.faults.drop.pop(0)]
                    self.answer(500)
                    return
                fake.uploads[key] += data
                self.answer(202, Location=path, Range=f"0-{len(fake.uploads[key]) - 1}")
            else:
                digest = parse_qs(urlsplit(self.path).query)["digest"][0]
                whole = bytes(fake.uploads.pop(key)) + data
                if "sha256:" + hashlib.sha256(whole).hexdigest() != digest:
                    self.answer(
                        400, b'{"errors":[{"code":"DIGEST_INVALID","message":"no\\u001b[31m"}]}'
                    )
                    return
                fake.blobs[digest] = whole
                self.answer(201, Docker_Content_Digest=digest)

    return Handler
