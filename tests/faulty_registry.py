"""A registry that fails in the ways registries and the net do, a number of times each."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class FaultyRegistry:
    """Holds one image, `app:1`; `faults` maps a kind of failure to how often it still happens."""

    def __init__(self, layer: bytes, **faults: int) -> None:
        self.faults = dict(faults)
        self.uploads: dict[str, bytearray] = {}
        self.pushed: dict[str, bytes] = {}
        self.scheme = "http"
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.uses = 0
        self.tokens: set[str] = set()  # those that have not expired
        self.tags = ["1"]
        self.repositories = ["app"]
        self.etag = '"one"'
        self.found: list[dict[str, Any]] | None = None
        self.blobs: dict[str, bytes] = {}
        self.serve(layer)
        registry = self

        class Handler(_Handler):
            state = registry

        self.server = _Server(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that go away
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})

    def secure(self, tls: ssl.SSLContext) -> FaultyRegistry:
        """Speak TLS; to be called before the first request."""
        self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.scheme = "https"
        return self

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
        self.server.hang_up()
        self.server.server_close()
        self.thread.join()

    def take(self, fault: str) -> bool:
        """Whether the failure happens now."""
        left = self.faults.get(fault, 0)
        self.faults[fault] = left - 1
        return left > 0


class _Server(ThreadingHTTPServer):
    """Leaves no thread behind, whatever its clients still hold."""

    daemon_threads = False

    def __init__(self, *arguments: Any) -> None:
        self.connections: set[socket.socket] = set()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """End all connections, so that the threads end that closing the server waits for."""
        for each in list(self.connections):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


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
        if self.command != "HEAD":
            self.wfile.write(data)

    def do_GET(self) -> None:
        state = self.state
        state.requests.append(("GET", self.path, dict(self.headers)))
        if self.path.startswith("/token"):
            self.give_token()
        elif self.path.startswith("/elsewhere/"):
            self.blob(self.path.rpartition("/")[2])
        elif self.refused():
            pass
        elif "/uploads/" in self.path:
            self.upload_state(204)
        elif state.take("too_many"):
            self.answer(429, b'{"errors":[{"code":"TOOMANYREQUESTS"}]}', Retry_After="0")
        elif state.take("unavailable"):
            self.answer(503, b"<html>busy</html>")
        elif "/referrers/" in self.path:
            broken = state.take("no_referrers")
            self.answer(500 if broken else 200, b'{"schemaVersion":2,"manifests":[]}')
        elif "/manifests/" in self.path and state.take("refuses_reading"):
            self.answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')
        elif "/manifests/" in self.path:
            data = state.pushed.get(urlsplit(self.path).path.rpartition("/")[2], state.manifest)
            digest = "sha256:" + "0" * 64 if state.take("wrong_manifest") else state.digest(data)
            if state.take("huge_manifest"):
                data = b" " * (5 << 20)
            if state.take("cut_manifest"):
                data, digest = data[: len(data) // 2], ""
            self.answer(200, data, Content_Type=MANIFEST, Docker_Content_Digest=digest)
        elif "/blobs/" in self.path:
            digest = urlsplit(self.path).path.rpartition("/")[2]
            if "redirect" in state.faults:
                port = state.address.rpartition(":")[2]
                self.answer(307, Location=f"http://localhost:{port}/elsewhere/{digest}")
            else:
                self.blob(digest)
        elif self.path.startswith("/v1/search"):
            self.give({"results": state.found} if state.found is not None else None)
        elif "/tags/list" in self.path:
            self.page("tags", state.tags)
        elif self.path.startswith("/v2/_catalog"):
            self.page("repositories", state.repositories)
        else:
            self.answer(200, b"{}")

    def refused(self) -> bool:
        state = self.state
        if "token" not in state.faults or self.authorized():
            return False
        realm = f'Bearer realm="{state.scheme}://{state.address}/token",service="faulty",scope="ignored"'
        self.answer(401, b"{}", WWW_Authenticate=realm)
        return True

    def do_HEAD(self) -> None:
        self.state.requests.append(("HEAD", self.path, dict(self.headers)))
        if not self.refused():
            data = self.state.pushed.get(self.path.rpartition("/")[2])
            digest = "" if data is None else self.state.digest(data)
            self.answer(404 if data is None else 200, Docker_Content_Digest=digest)

    def do_POST(self) -> None:
        state = self.state
        state.requests.append(("POST", self.path, dict(self.headers)))
        if self.refused():
            return
        query = parse_qs(urlsplit(self.path).query)
        if "mount" in query and state.take("mount_refused"):
            self.answer(403)
        elif "mount" in query and "mounts" in state.faults:
            state.pushed[query["mount"][0]] = b"mounted"
            self.answer(201)
        else:
            name = str(len(state.requests))
            state.uploads[name] = bytearray()
            self.upload_state(202, name)

    def upload_state(self, status: int, name: str = "") -> None:
        name = name or urlsplit(self.path).path.rpartition("/")[2]
        if name not in self.state.uploads:
            self.answer(404, b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}')
            return
        least = str(self.state.faults.get("least", 0))
        end = max(0, len(self.state.uploads[name]) - 1)
        self.answer(
            status,
            Location=f"/v2/app/blobs/uploads/{name}?state=1",
            Range=f"0-{end}",
            OCI_Chunk_Min_Length=least,
        )

    def do_PATCH(self) -> None:
        state = self.state
        state.requests.append(("PATCH", self.path, dict(self.headers)))
        name = urlsplit(self.path).path.rpartition("/")[2]
        length = int(self.headers["Content-Length"])
        data = state.uploads[name]
        fault = next(
            (fault for fault in ("patch_expired", "lost_session", "cut_upload") if state.take(fault)), ""
        )
        if length > state.faults.get("largest", length):
            self.drain(length)
            self.answer(413)
        elif fault == "patch_expired":
            self.drain(length)
            state.tokens.clear()
            self.answer(401)
        elif fault == "lost_session":
            self.drain(length)
            del state.uploads[name]
            self.answer(404)
        elif fault == "cut_upload":
            data += self.rfile.read(length // 2)
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        else:
            begin = int(self.headers.get("Content-Range", "0-").partition("-")[0])
            body = self.rfile.read(length)
            if begin != len(data):
                self.answer(416)
                return
            data += body
            self.upload_state(202)

    def drain(self, length: int) -> None:
        while length:
            length -= len(self.rfile.read(min(length, 1 << 16)))

    def do_DELETE(self) -> None:
        state = self.state
        state.requests.append(("DELETE", self.path, dict(self.headers)))
        if self.refused():
            return
        name = self.path.rpartition("/")[2]
        if ":" not in name and "tags_stay" in state.faults:
            self.answer(405, b'{"errors":[{"code":"UNSUPPORTED"}]}')
        else:
            state.pushed.pop(name, None)
            self.answer(202)

    def do_PUT(self) -> None:
        state = self.state
        state.requests.append(("PUT", self.path, dict(self.headers)))
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.refused():
            return
        kind = self.headers.get("Content-Type", "")
        if "/manifests/" in self.path and any(
            f"refuses_{form}" in state.faults and f".{form}." in kind for form in ("oci", "docker")
        ):
            status = state.faults.get("refuses_oci") or state.faults["refuses_docker"]
            self.answer(status, b'{"errors":[{"code":"MANIFEST_INVALID"}]}' if status == 400 else b"no")
            return
        if "/manifests/" in self.path:
            state.pushed[self.path.rpartition("/")[2]] = body
            self.answer(201)
            return
        parts = urlsplit(self.path)
        data = bytes(state.uploads.pop(parts.path.rpartition("/")[2]))
        wanted = parse_qs(parts.query)["digest"][0]
        assert "state" in parse_qs(parts.query), "what the Location had in its query was lost"
        if state.digest(data) != wanted:
            self.answer(400, b'{"errors":[{"code":"DIGEST_INVALID"}]}')
            return
        state.pushed[wanted] = data
        self.answer(201)

    def give(self, value: Any) -> None:
        self.answer(404 if value is None else 200, json.dumps(value).encode())

    def authorized(self) -> bool:
        given = self.headers.get("Authorization", "")
        if given in self.state.tokens:
            self.state.uses += 1
            # A token that expires has been good for something before.
            if self.state.uses % 3 == 0 and self.state.take("expired"):
                self.state.tokens.clear()
        return given in self.state.tokens

    def page(self, key: str, values: list[str]) -> None:
        size = self.state.faults.get("page", len(values) or 1)
        last = parse_qs(urlsplit(self.path).query).get("last", [""])[0]
        begin = values.index(last) + 1 if last else 0
        part = values[begin : begin + size]
        more = begin + size < len(values)
        if "circle" in self.state.faults:
            more, part = True, values[:1]
        path = urlsplit(self.path).path
        link = f'<{path}?n={size}&last={part[-1]}>; rel="next"' if more else ""
        self.answer(200, json.dumps({key: part}).encode(), Link=link)

    def give_token(self) -> None:
        wanted = "Basic " + base64.b64encode(b"me:secret").decode()
        if self.headers.get("Authorization") != wanted:
            self.answer(401)
            return
        token = f"token-{len(self.state.requests)}"
        self.state.tokens.add(f"Bearer {token}")
        self.answer(200, json.dumps({"token": token}).encode())

    def blob(self, digest: str) -> None:
        state = self.state
        data = state.blobs.get(digest) or state.pushed[digest]
        begin = 0
        if self.headers.get("Range") and not state.faults.get("no_ranges"):
            begin = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        rest = data[begin:]
        if data is state.layer and state.take("wrong_bytes"):
            rest = bytes(len(rest))
        length = len(rest)
        cut = data is state.layer and state.take("drop")
        if self.headers.get("If-Range", state.etag) != state.etag:
            begin, rest, length = 0, data, len(data)
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        self.send_header("ETag", state.etag)
        endless = data is state.layer and state.take("endless")
        self.send_header("Content-Length", str(1 << 50 if endless else length))
        self.end_headers()
        while endless:
            self.wfile.write(bytes(1 << 16))
        if data is state.layer and state.take("stall"):
            self.wfile.write(rest[: length // 2])
            self.wfile.flush()
            time.sleep(1)
            self.close_connection = True
            return
        if data is state.layer and state.take("slow"):
            for begin in range(0, length, length // 8):
                self.wfile.write(rest[begin : begin + length // 8])
                self.wfile.flush()
                time.sleep(0.1)
            return
        self.wfile.write(rest[: length // 2] if cut else rest)
        if cut:
            if state.take("changed"):
                state.etag = '"other"'
            self.wfile.flush()
            self.close_connection = True
