"""Seccomp notifications: hand the descriptor for them to the process that answers.

Source: config-linux.md, "The Container Process State"; seccomp_unotify(2).
"""

import os

from pyruntime.base.errors import HostError, errno_text
from pyruntime.base.jsonio import dumps
from pyruntime.execute.sockets import connect_socket, receive_descriptor, send_descriptor, socket_pair
from pyruntime.spec.linux import Seccomp

_ORIGIN = "/linux/seccomp/listenerPath"


class SeccompListener:
    """The way of one descriptor from the executor, which loads the filter, to the socket in the profile."""

    def __init__(self, profile: Seccomp, oci_version: str) -> None:
        self._profile = profile
        self._oci_version = oci_version
        self._ours, self.theirs = socket_pair()

    def close_theirs(self) -> None:
        """To be called once the executor has its end: without that its death would not be noticed."""
        os.close(self.theirs)

    def close(self) -> None:
        os.close(self._ours)

    def forward(self, pid: int, state: bytes) -> None:
        """Wait for the descriptor and pass it on, with `pid` and the container's `state` (compact JSON).

        Does nothing if the executor ended before, which its last report explains.

        Raises:
            HostError: nobody takes it.
        """
        descriptor = receive_descriptor(self._ours)
        if descriptor < 0:
            return
        try:
            self._send(descriptor, pid, state)
        finally:
            os.close(descriptor)

    def _send(self, descriptor: int, pid: int, state: bytes) -> None:
        head: dict[str, object] = {"ociVersion": self._oci_version, "fds": ["seccompFd"], "pid": pid}
        if self._profile.listener_metadata:
            head["metadata"] = self._profile.listener_metadata
        message = dumps(head).encode()[:-1] + b',"state":' + state + b"}"
        hint = "start the program that answers seccomp notifications first"
        connection = connect_socket(self._profile.listener_path, what="the seccomp listener", hint=hint)
        try:
            send_descriptor(connection, message, descriptor)
        except OSError as error:
            text = f"cannot hand over the seccomp descriptor: {errno_text(error.errno or 0)}"
            raise HostError(text, where=_ORIGIN, hint=hint) from None
        finally:
            os.close(connection)
