"""Streams into containers as the CRI hands them out: a WebSocket of Kubernetes' channel protocol.

Sources: RFC 6455; the subprotocol v4.channel.k8s.io, whose messages start with the number of their channel.
"""

import base64
import ctypes
import json
import os
import secrets
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple
from urllib.parse import urlsplit

CLONE_NEWNET = 0x40000000
STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)
CLOSE, BINARY = 8, 2
SECONDS = 20


class Ended(NamedTuple):
    """What a stream has carried to its end."""

    code: int
    out: str
    err: str


class Stream:
    """One stream, opened at the address that Exec or Attach returned, in the network of the process `pid`."""

    def __init__(self, pid: int, url: str) -> None:
        place = urlsplit(url)
        address = (place.hostname or "", place.port or 0)
        # the thread never returns to its own network, and ends
        with ThreadPoolExecutor(1) as pool:
            self._socket = pool.submit(connect_inside, pid, address).result()
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        self._socket.sendall(
            f"GET {place.path} HTTP/1.1\r\nHost: {place.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n".encode()
        )
        self._file = self._socket.makefile("rb")
        answer = self._file.readline()
        assert b" 101 " in answer, answer + self._file.read(2000)
        while self._file.readline() not in (b"\r\n", b""):
            pass

    def send(self, text: str, channel: int = STDIN) -> None:
        data = bytes([channel]) + text.encode()
        assert len(data) < 126
        mask = secrets.token_bytes(4)
        masked = bytes(byte ^ mask[number % 4] for number, byte in enumerate(data))
        self._socket.sendall(bytes([0x80 | BINARY, 0x80 | len(data)]) + mask + masked)

    def resize(self, columns: int, rows: int) -> None:
        self.send(json.dumps({"Width": columns, "Height": rows}), RESIZE)

    def read_to_end(self) -> Ended:
        """Read what comes until the server closes the stream."""
        channels = {STDOUT: b"", STDERR: b"", ERROR: b""}
        while (message := self._receive()) is not None:
            if message[1:]:
                channels[message[0]] += message[1:]
        self._file.close()
        self._socket.close()
        return Ended(exit_code(channels[ERROR]), channels[STDOUT].decode(), channels[STDERR].decode())

    def _receive(self) -> bytes | None:
        """The next message; None after the last. containerd sends whole messages only."""
        head = self._file.read(2)
        if len(head) < 2 or head[0] & 15 == CLOSE:
            return None
        size = head[1] & 127
        if size >= 126:
            size = int.from_bytes(self._file.read(2 if size == 126 else 8), "big")
        return self._file.read(size)


def connect_inside(pid: int, address: tuple[str, int]) -> socket.socket:
    """Connect from within a process's network; the calling thread stays in it."""
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(namespace, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(namespace)
    return socket.create_connection(address, timeout=SECONDS)


def exit_code(status: bytes) -> int:
    """The exit code in the metav1.Status that ends a stream; an error that is none fails the test."""
    if not status:  # attach sends none
        return 0
    told = json.loads(status)
    if told["status"] == "Success":
        return 0
    (cause,) = [cause for cause in told["details"]["causes"] if cause["reason"] == "ExitCode"]
    return int(cause["message"])
