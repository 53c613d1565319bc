"""Unix sockets: how descriptors come from the executor and go to callers."""

import _socket
import os

from pyruntime.base.errors import HostError, errno_text

_LONGEST_ADDRESS = 107  # sun_path without its terminator


def connect_socket(path: str, *, what: str, hint: str) -> int:
    """Connect to a listening stream socket; returns the descriptor.

    Raises:
        HostError: nobody listens there; it names the socket as `what`.
    """
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    directory = -1
    try:
        address = path
        if len(os.fsencode(path)) > _LONGEST_ADDRESS:
            # sun_path is short: name the socket through a descriptor of its directory.
            directory = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            address = f"/proc/self/fd/{directory}/{os.path.basename(path)}"
        connection.connect(address)
        return connection.detach()
    except OSError as error:
        connection.close()
        text = f"cannot connect to {what}: {errno_text(error.errno or 0)}"
        raise HostError(text, where=path, hint=hint) from None
    finally:
        if directory >= 0:
            os.close(directory)


def socket_pair() -> tuple[int, int]:
    """Two connected sockets: ours, and the executor's."""
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    return ours.detach(), theirs.detach()


def receive_descriptor(descriptor: int) -> int:
    """Wait for the descriptor that is sent over a socket; -1 if the other side was closed instead."""
    connection = _socket.socket(fileno=os.dup(descriptor))
    try:
        _, ancillary, _, _ = connection.recvmsg(64, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)
    finally:
        connection.close()
    for level, kind, data in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            return int.from_bytes(data[:4], "little")
    return -1


def send_descriptor(descriptor: int, message: bytes, passed: int) -> None:
    """Send a message over a stream socket, the descriptor `passed` with its first byte."""
    connection = _socket.socket(fileno=os.dup(descriptor))
    try:
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, passed.to_bytes(4, "little"))
        sent = connection.sendmsg([message], [rights])
        connection.sendall(message[sent:])
    finally:
        connection.close()
