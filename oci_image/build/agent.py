"""RUN --mount=type=ssh: the caller's SSH agent, as a socket that a command may use while it runs.

The socket is our own and passes on what is said, so that it has the owner and mode that the Dockerfile asks
for, and the command sees nothing of where the agent really is.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import threading
from typing import TYPE_CHECKING, Self

from oci_image.errors import ImageError
from pyruntime.base.errors import errno_text

if TYPE_CHECKING:
    from types import TracebackType

_PIECE = 64 << 10


def read_agent(text: str) -> tuple[str, str]:
    """Name and socket of a --ssh, `default` or `NAME=SOCKET`; ImageError."""
    name, equals, path = text.partition("=")
    path = path if equals else os.environ.get("SSH_AUTH_SOCK", "")
    if not name or not path:
        hint = "start ssh-agent, or write --ssh NAME=SOCKET"
        raise ImageError(f"no SSH agent for {text!r}: SSH_AUTH_SOCK is not set", hint=hint)
    try:
        is_socket = stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError as error:
        raise ImageError(f"cannot use the SSH agent: {errno_text(error.errno or 0)}", where=path) from None
    if not is_socket:
        hint = "keys are not read here: load them with ssh-add, and write --ssh default"
        raise ImageError("not the socket of an SSH agent", where=path, hint=hint)
    return name, os.path.abspath(path)


class AgentSocket:
    """A socket at `directory`/agent that leads to the agent at `target`; a context manager."""

    def __init__(self, target: str, directory: str, *, mode: int, uid: int, gid: int) -> None:
        self._target = target
        self.path = os.path.join(directory, "agent")
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        directory_fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._listening.bind(f"/proc/self/fd/{directory_fd}/agent")  # the kernel takes 107 bytes of a name
            os.chown(self.path, uid, gid)
            os.chmod(self.path, mode)
            self._listening.listen()
        except BaseException:
            self._listening.close()
            raise
        finally:
            os.close(directory_fd)
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(self._listening)
        with self._lock:
            left = list(self._open)
        for each in left:
            self._end(each)
        self._thread.join()
        os.unlink(self.path)

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listening.accept()
            except OSError:
                return
            agent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            with self._lock:
                self._open |= {caller, agent}
            try:
                agent.connect(self._target)
            except OSError:
                self._end(caller)
                self._end(agent)
                continue
            for pair in ((caller, agent), (agent, caller)):
                threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_PIECE):
                target.sendall(data)
        self._end(source)
        self._end(target)

    def _end(self, ended: socket.socket) -> None:
        with self._lock:
            self._open.discard(ended)
        with contextlib.suppress(OSError):
            ended.shutdown(socket.SHUT_RDWR)  # wakes who waits for it, which closing alone does not
        ended.close()
