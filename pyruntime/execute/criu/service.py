"""One run of `criu swrk`: a request over a socket, notifications while it works, and an answer at the end."""

import _socket
import os

from pyruntime.base.errors import ExpectedError, HostError, errno_text
from pyruntime.execute.criu.failure import criu_failure
from pyruntime.execute.criu.messages import NOTIFY, REQUEST, RESPONSE, VERSION, decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyruntime.execute.criu.messages import Message

    # script, pid and a descriptor (or -1) that came with it, which is the receiver's
    Notified = Callable[[str, int, int], None]

OLDEST = 30000  # 3.0 brought the request for the version
_LARGEST = 10 * 4096


def find_criu() -> str:
    """The path of the program, looked for in PATH and where distributions put it.

    Raises:
        HostError: there is none.
    """
    folders = [*os.environ.get("PATH", "").split(":"), "/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin"]
    for folder in folders:
        path = f"{folder}/criu"
        if folder and os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    hint = "install CRIU (package criu)"
    raise HostError('exec: "criu": executable file not found in $PATH', hint=hint)


def socket_for_criu() -> tuple[int, int]:
    """Two connected sockets: ours, and CRIU's, which learns from it whose descriptors it is given."""
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    return ours.detach(), theirs.detach()


def spawn_criu(path: str, theirs: int) -> int:
    """Start CRIU on its side of the socket, which is closed here; returns the pid."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    # A copy, so that it is not its own target: it would stay close-on-exec then.
    passed = os.dup(theirs)
    try:
        actions = [(os.POSIX_SPAWN_DUP2, null, descriptor) for descriptor in range(3)]
        actions.append((os.POSIX_SPAWN_DUP2, passed, 3))
        return os.posix_spawn(path, ["criu", "swrk", "3"], os.environ, file_actions=actions)
    except OSError as error:
        raise HostError(f"cannot start CRIU: {errno_text(error.errno or 0)}", where=path) from None
    finally:
        for descriptor in (null, passed, theirs):
            os.close(descriptor)


class Service:
    """CRIU at work at the other end of a socket.  `log` is where it writes what it does, for errors."""

    def __init__(self, connection: int, pid: int, log: str = "") -> None:
        self._socket = _socket.socket(fileno=connection)
        self.pid = pid
        self.log = log

    def ask(self, request: "Message", notified: "Notified | None" = None) -> "Message":
        """Send a request and wait for its answer.

        Raises:
            HostError: CRIU refuses, fails or dies; quotes the last errors of its log.
            ExpectedError: what `notified` raises; CRIU has taken back what it did then.
        """
        self._send(request)
        refusal: ExpectedError | None = None
        while True:
            answer, descriptor = self._receive(request, refusal)
            if answer.get("type") != NOTIFY:
                if refusal is not None:
                    raise refusal
                if not answer.get("success"):
                    raise criu_failure(answer, self.log)
                return answer
            notice = inner(answer, "notify")
            try:
                if notified is not None and refusal is None:
                    notified(str(notice.get("script", "")), number(notice, "pid"), descriptor)
            except ExpectedError as error:
                refusal = error
            self._send({"type": NOTIFY, "notify_success": refusal is None})

    def version(self) -> int:
        """CRIU's version as one number, as CRIU writes it: 31701 for 3.17.1.

        Raises:
            HostError: it is too old to be asked.
        """
        try:
            found = inner(self.ask({"type": VERSION, "keep_open": True}), "version")
        except HostError as error:
            hint = "install CRIU 3.0 or newer"
            raise HostError(f"CRIU version check failed: {error.what}", hint=hint) from None
        major, minor = number(found, "major_number"), number(found, "minor_number")
        version = major * 10000 + minor * 100 + number(found, "sublevel")
        if version < OLDEST:
            hint = "install a newer CRIU"
            raise HostError(f"CRIU version {version} must be {OLDEST} or higher", hint=hint)
        return version

    def close(self) -> int:
        """Close the socket, which ends CRIU, and wait for that; returns its wait status, or -1."""
        self._socket.close()
        pid, self.pid = self.pid, 0
        if pid <= 0:
            return -1
        try:
            return os.waitpid(pid, 0)[1]
        except ChildProcessError:
            return -1

    def _send(self, request: "Message") -> None:
        try:
            self._socket.send(encode(request, REQUEST))
        except OSError:
            return  # it is gone, which the next answer shows

    def _receive(self, request: "Message", refusal: ExpectedError | None) -> "tuple[Message, int]":
        data = b""
        ancillary: list[tuple[int, int, bytes]] = []
        try:
            received = self._socket.recvmsg(_LARGEST, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)
            data, ancillary = received[:2]
        except ConnectionResetError:
            pass  # it ended with a request unread
        if not data:
            raise refusal or criu_failure({"type": request["type"], "success": False}, self.log)
        descriptor = -1
        for level, kind, content in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                descriptor = int.from_bytes(content[:4], "little")
        try:
            return decode(data, RESPONSE), descriptor
        except ValueError as error:
            raise HostError(f"CRIU does not speak its protocol: {error}") from None


def inner(message: "Message", name: str) -> "Message":
    """The message in a message, or an empty one."""
    found = message.get(name)
    return found if isinstance(found, dict) else {}


def number(message: "Message", name: str) -> int:
    """A number in a message, or 0."""
    found = message.get(name)
    return found if isinstance(found, int) else 0
