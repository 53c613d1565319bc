"""--pidfd-socket: the caller gets a pidfd of the container's process, with no race between pid and process."""

import os

from pyruntime.base.errors import HostError, errno_text
from pyruntime.execute.sockets import connect_socket, send_descriptor

INIT = b"standard"  # what runc calls the two kinds of processes in the message that the descriptor comes with
EXEC = b"setns"


def connect_pidfd_socket(path: str) -> int:
    """Connect to the socket that wants the pidfd; returns the descriptor.

    Raises:
        HostError: nobody listens there.
    """
    return connect_socket(
        path, what="the pidfd socket", hint="start the program that receives the pidfd first"
    )


def send_pidfd(connection: int, pid: int, kind: bytes) -> None:
    """Send a pidfd of a process that is not reaped yet, and close the connection.

    Raises:
        HostError: the receiver has gone.
    """
    pidfd = os.pidfd_open(pid)
    try:
        send_descriptor(connection, kind, pidfd)
    except OSError as error:
        text = f"cannot send the pidfd: {errno_text(error.errno or 0)}"
        raise HostError(text, hint="keep the receiver of --pidfd-socket open until it has come") from None
    finally:
        os.close(pidfd)
        os.close(connection)
