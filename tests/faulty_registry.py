"""A registry that fails in the ways registries and the net do, a number of times each."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class FaultyRegistry:
    """Holds one image, `app:1`; `faults` maps a kind of failure to how often it still happens."""

    def __init__(self, layer: bytes, **faults: int) -> None:
        self.faults = dict(faults)
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.tokens = 0
        self.tags = ["1"]
        self.repositories = ["app"]
        self.found: list[dict[str, Any]] | None = None
        self.blobs: dict[str, bytes] = {}
        self.serve(layer)
        registry = self

        class Handler(_Handler):
            state = registry

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})

    def serve(self, layer: bytes) -> None:
        """Hold an image with this layer from now on."""
        self.layer = layer
        config = json.dumps(
            {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": []}}
        ).encode()
        self.blobs |= {self.digest(data): data for data in (layer, config)}
        described = [
            {"mediaType": kind, "digest": self.digest(data), "size": len(data)}
            for kind, data in (
                ("application/vnd.oci.image.config.v1+json", config),
                ("application/vnd.oci.image.layer.v1.tar", layer),
            )
        ]
        self.manifest = json.dumps(
            {"schemaVersion": 2, "mediaType": MANIFEST, "config": described[0], "layers": described[1:]}
        ).encode()

    @staticmethod
    def digest(data: bytes) -> str:
        return f"sha256:{hashlib.sha256(data).hexdigest()}"

    def __enter__(self) -> FaultyRegistry:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def take(self, fault: str) -> bool:
        """Whether the failure happens now."""
        left = self.faults.get(fault, 0)
        self.faults[fault] = left - 1
        return left > 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: FaultyRegistry

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, data: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        state = self.state
        state.requests.append(("GET", self.path, dict(self.headers)))
        if self.path.startswith("/token"):
            self.give_token()
        elif self.path.startswith("/elsewhere/"):
            self.blob(self.path.rpartition("/")[2])
        elif "token" in state.faults and not self.authorized():
            realm = f'Bearer realm="http://{state.address}/token",service="faulty",scope="ignored"'
            self.answer(401, b"{}", WWW_Authenticate=realm)
        elif state.take("too_many"):
            self.answer(429, b'{"errors":[{"code":"TOOMANYREQUESTS"}]}', Retry_After="0")
        elif state.take("unavailable"):
            self.answer(503, b"<html>busy</html>")
        elif "/manifests/" in self.path:
            data = state.manifest
            if state.take("huge_manifest"):
                data = b" " * (5 << 20)
            digest = "sha256:" + "0" * 64 if state.take("wrong_manifest") else state.digest(state.manifest)
            self.answer(200, data, Content_Type=MANIFEST, Docker_Content_Digest=digest)
        elif "/blobs/" in self.path:
            digest = self.path.rpartition("/")[2]
            if "redirect" in state.faults:
                port = state.address.rpartition(":")[2]
                self.answer(307, Location=f"http://localhost:{port}/elsewhere/{digest}")
            else:
                self.blob(digest)
        elif self.path.startswith("/v1/search"):
            self.give({"results": state.found} if state.found is not None else None)
        elif self.path.endswith("/tags/list"):
            self.give({"tags": state.tags})
        elif self.path.startswith("/v2/_catalog"):
            self.give({"repositories": state.repositories})
        else:
            self.answer(200, b"{}")

    def give(self, value: Any) -> None:
        self.answer(404 if value is None else 200, json.dumps(value).encode())

    def authorized(self) -> bool:
        given = self.headers.get("Authorization", "")
        if given == f"Bearer token-{self.state.tokens}" and self.state.take("expired"):
            self.state.tokens += 1000
            return False
        return given == f"Bearer token-{self.state.tokens}"

    def give_token(self) -> None:
        wanted = "Basic " + base64.b64encode(b"me:secret").decode()
        if self.headers.get("Authorization") != wanted:
            self.answer(401)
            return
        self.state.tokens += 1
        self.answer(200, json.dumps({"token": f"token-{self.state.tokens}"}).encode())

    def blob(self, digest: str) -> None:
        state = self.state
        data = state.blobs[digest]
        begin = 0
        if self.headers.get("Range") and not state.faults.get("no_ranges"):
            begin = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        rest = data[begin:]
        if data is state.layer and state.take("wrong_bytes"):
            rest = bytes(len(rest))
        length = len(rest)
        cut = data is state.layer and state.take("drop")
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if data is state.layer and state.take("slow"):
            for begin in range(0, length, length // 8):
                self.wfile.write(rest[begin : begin + length // 8])
                self.wfile.flush()
                time.sleep(0.1)
            return
        self.wfile.write(rest[: length // 2] if cut else rest)
        if cut:
            self.wfile.flush()
            self.close_connection = True
