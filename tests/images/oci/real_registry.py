"""Debian's docker-registry on loopback, as a test configures it, and a login server for it."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest


@contextmanager
def registry(folder: Path, **sections: Any) -> Iterator[str]:
    """Run a registry with its data in `folder` and yield its `HOST:PORT`."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("needs docker-registry (Debian: docker-registry)")
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "version": 0.1, "log": {"level": "info"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")},
                    "delete": {"enabled": True}},
        **sections, "http": {"addr": "127.0.0.1:0", **sections.get("http", {})},
    }  # fmt: skip
    (folder / "config.yml").write_text(json.dumps(config))  # YAML is a superset
    process = subprocess.Popen(
        [program, "serve", str(folder / "config.yml")],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        seen = []
        for line in process.stderr:
            seen.append(line)
            if match := re.search(r"listening on (127\.0\.0\.1:\d+)", line):
                break
        else:
            raise AssertionError("the registry ended: " + "".join(seen)[-2000:])
        drain = threading.Thread(target=process.stderr.read, daemon=True)
        drain.start()
        yield match[1]
    finally:
        process.terminate()
        process.wait()
        drain.join()
        process.stderr.close()


def htpasswd(folder: Path, user: str, password: str) -> dict[str, Any]:
    """Return a configuration for Basic login."""
    if shutil.which("htpasswd") is None:
        pytest.skip("needs htpasswd (Debian: apache2-utils)")
    folder.mkdir(parents=True, exist_ok=True)
    line = subprocess.run(
        ["htpasswd", "-Bbn", user, password], capture_output=True, text=True, check=True
    ).stdout
    (folder / "htpasswd").write_text(line)
    return {"auth": {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}}


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a key and a certificate for 127.0.0.1 that signs itself."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    folder.mkdir(parents=True, exist_ok=True)
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert,
         "-days", "2", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    return key, cert


class TokenServer:
    """A login server whose tokens the registry trusts; it remembers what it was asked."""

    def __init__(self, folder: Path, users: dict[str, str]) -> None:
        self.key, self.cert = certificate(folder)
        self.users, self.asked = users, list[tuple[str, dict[str, list[str]]]]()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/token"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def config(self) -> dict[str, Any]:
        return {"auth": {"token": {
            "realm": self.url, "service": "test service", "issuer": "issuer",
            "rootcertbundle": str(self.cert),
        }}}  # fmt: skip

    def __enter__(self) -> TokenServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def token(self, user: str, scopes: list[str]) -> str:
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        der = base64.b64encode(
            subprocess.run(
                ["openssl", "x509", "-in", self.cert, "-outform", "DER"],
                capture_output=True, check=True,
            ).stdout
        ).decode()  # fmt: skip
        now = int(time.time())
        head = {"typ": "JWT", "alg": "RS256", "x5c": [der]}
        body = {"iss": "issuer", "sub": user, "aud": "test service", "exp": now + 300,
                "nbf": now - 60, "iat": now, "jti": "1", "access": access}  # fmt: skip
        text = ".".join(_base64url(json.dumps(part).encode()) for part in (head, body))
        signature = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", self.key], input=text.encode(),
            capture_output=True, check=True,
        ).stdout  # fmt: skip
        return f"{text}.{_base64url(signature)}"

    def _handler(server: TokenServer) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                query = parse_qs(urlsplit(self.path).query)
                sent = self.headers.get("Authorization", "")
                user = ""
                if sent.startswith("Basic "):
                    user, _, password = base64.b64decode(sent[6:]).decode().partition(":")
                    if server.users.get(user) != password:
                        self.send_error(401)
                        return
                server.asked.append((user, query))
                # Anonymous visitors may pull, and nothing else.
                scopes = query.get("scope", [])
                if not user:
                    scopes = [scope.rpartition(":")[0] + ":pull" for scope in scopes]
                data = json.dumps({"token": server.token(user, scopes)}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        return Handler


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
