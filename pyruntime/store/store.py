"""The directory in which containers are kept.

    ROOT/ID/state          the size of config.json and ContainerState as JSON in one line; config.json as it was at the
                           create; then a line of JSON for each change: the fields that have changed
    ROOT/ID/exec.fifo      the gate of `start`; while it exists the container is created, not started
    ROOT/ID/start-failure  what went wrong after the gate was opened

Making ROOT/ID reserves the id.  A lock (flock on ROOT/ID) orders start, delete and their like.
"""

import errno
import fcntl
import os

from pyruntime.base.decode import decode, encode, encode_value, json_name
from pyruntime.base.errors import HostError, SpecError, StateError, errno_text
from pyruntime.base.files import read_descriptor
from pyruntime.base.jsonio import dumps, loads
from pyruntime.store.state import ContainerState

_ID_CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-."
FIFO = "exec.fifo"
UNFINISHED_FIFO = "unfinished.fifo"  # the same, as long as the create is at work
FAILURE = "start-failure"
_STATE = "state"
# More than a state and a small config.json; what is after a large one is read by itself.
_AT_FIRST = 4096


def check_id(container_id: str) -> None:
    """Refuse what cannot be the id of a container.

    Raises:
        StateError: it is empty, begins with a dot, or holds a character that ids do not have.
    """
    if not container_id:
        raise StateError("container id cannot be empty")
    if not _is_id(container_id):
        hint = "ids are made of letters, digits and _ + - . and do not begin with a dot"
        raise StateError("invalid container ID format", where=container_id, hint=hint)


def _is_id(name: str) -> bool:
    # runc allows a dot in front; here such names are the store's own.
    return name[:1] != "." and not name.strip(_ID_CHARACTERS)


class Lock:
    """The lock of one container, taken by `acquire`; released at the end of a `with`, or by the end of the process."""

    def __init__(self, descriptor: int, directory: str) -> None:
        self._descriptor = descriptor
        self._directory = directory

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.release()

    def acquire(self) -> bool:
        """Wait for the lock; False if the container was removed meanwhile, even if another one has its id."""
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        # The first thing that goes from a container is its state; without one it may also be half made.
        if os.access(_STATE, os.F_OK, dir_fd=self._descriptor):
            return True
        try:
            return os.path.samestat(os.fstat(self._descriptor), os.stat(self._directory))
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Give the lock back; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Store:
    """The containers below one root directory."""

    def __init__(self, root: str) -> None:
        self.root = root

    def directory(self, container_id: str) -> str:
        """Where the files of this container are; the id is checked, the directory need not exist."""
        check_id(container_id)
        return f"{self.root}/{container_id}"

    def reserve(self, container_id: str) -> str:
        """Take an id; returns the directory that is now the container's.

        Raises:
            StateError: the id is not one, or is taken.
            HostError: the root directory cannot be made or written.
        """
        directory = self.directory(container_id)
        try:
            try:
                os.mkdir(directory, 0o700)
            except FileNotFoundError:
                os.makedirs(self.root, 0o700, exist_ok=True)
                os.mkdir(directory, 0o700)
        except FileExistsError as error:
            if error.filename != directory:
                raise HostError("the root of the containers is not usable", where=self.root) from None
            hint = f"choose another id, or remove that one: pyruntime delete {container_id}"
            raise StateError(
                "container with given ID already exists", where=container_id, hint=hint
            ) from None
        except OSError as error:
            hint = "name a directory of your own with --root"
            reason = errno_text(error.errno or 0)
            raise HostError(
                f"cannot make the container's directory: {reason}", where=directory, hint=hint
            ) from None
        return directory

    def save(self, state: ContainerState, config_text: bytes) -> None:
        """Write the state of a container for the first time, with the config.json that it is made from.

        Raises:
            HostError: there is no room for it.
        """
        head = f"{len(config_text)} {dumps(encode(state))}\n".encode()
        self._write(state.id, os.O_CREAT | os.O_EXCL, head + config_text)

    def change(self, state: ContainerState, **changes: object) -> ContainerState:
        """Note what has changed of a state that is saved; returns the state as it is now.

        Raises:
            HostError: there is no room for it.
        """
        # Appended: a file that replaces another gets its blocks on the disk at once, and must give them back.
        fields = {json_name(name): encode_value(value) for name, value in changes.items()}
        self._write(state.id, os.O_APPEND, f"{dumps(fields)}\n".encode())
        return state.replace(**changes)

    def _write(self, container_id: str, flags: int, content: bytes) -> None:
        directory = self.directory(container_id)
        try:
            flags |= os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(f"{directory}/{_STATE}", flags, 0o600)
            try:
                while content:
                    content = content[os.write(descriptor, content) :]
            finally:
                os.close(descriptor)
        except OSError as error:
            raise HostError(
                f"cannot save the state: {errno_text(error.errno or 0)}", where=directory
            ) from None

    def make_gate(self, container_id: str) -> None:
        """Make the gate of `start`, unfinished as yet, and the file that failures after it go to.

        Raises:
            HostError: there is no room for it.
        """
        directory = self.directory(container_id)
        try:
            os.mkfifo(f"{directory}/{UNFINISHED_FIFO}", 0o600)
            os.mknod(f"{directory}/{FAILURE}", 0o600)
        except OSError as error:
            raise self._no_gate(directory, error) from None

    def exists(self, container_id: str) -> bool:
        """Whether the id is taken, be the container whole or half made."""
        return os.path.isdir(self.directory(container_id))

    def load(self, container_id: str) -> ContainerState:
        """The state of a container.

        Raises:
            StateError: "container does not exist"; or its create has not come to the first record yet.
        """
        return self._decoded(container_id, self._read(container_id))

    def load_with_config(self, container_id: str) -> tuple[ContainerState, bytes]:
        """The state of a container, and its config.json, byte for byte as it was at the create.

        Raises:
            StateError: as for `load`.
        """
        parts = self._read(container_id, with_config=True)
        return self._decoded(container_id, parts), parts[1]

    def load_config_text(self, container_id: str) -> bytes:
        """config.json of a container, byte for byte as it was at the create."""
        return self._read(container_id, with_config=True)[1]

    def list_ids(self) -> list[str]:
        """The ids in use, sorted; a root that is not there holds none."""
        try:
            names = os.listdir(self.root)
        except OSError:
            return []
        return sorted(name for name in names if _is_id(name) and os.path.isdir(f"{self.root}/{name}"))

    def hold(self, state: ContainerState) -> Lock:
        """The lock of this container, not taken yet: its id may be another's by then.

        Raises:
            StateError: "container does not exist", also if another one has its id already.
        """
        lock = self._open(state.id)
        try:
            if self.load(state.id).pid == state.pid:
                return lock
            raise StateError("container does not exist", where=state.id)
        except BaseException:
            lock.release()
            raise

    def lock(self, container_id: str) -> Lock:
        """Wait for the lock of a container.

        Raises:
            StateError: "container does not exist", also if it was removed meanwhile.
        """
        lock = self._open(container_id)
        try:
            if lock.acquire():
                return lock
            raise StateError("container does not exist", where=container_id)
        except BaseException:
            lock.release()
            raise

    def _open(self, container_id: str) -> Lock:
        directory = self.directory(container_id)
        try:
            return Lock(os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), directory)
        except OSError as error:
            raise self._missing(container_id, error) from None

    def remove(self, container_id: str) -> None:
        """Remove all that is kept of a container; it is no error if there is nothing."""
        directory = self.directory(container_id)
        try:
            # What there usually is; only if that was not all the directory is read.
            for name in (_STATE, FAILURE):
                _remove_entry(f"{directory}/{name}")
            if not _remove_empty(directory):
                for name in os.listdir(directory):
                    _remove_entry(f"{directory}/{name}")
                os.rmdir(directory)
        except FileNotFoundError:
            return
        except OSError as error:
            raise HostError(
                f"cannot remove the state: {errno_text(error.errno or 0)}", where=directory
            ) from None

    def _read(self, container_id: str, *, with_config: bool = False) -> tuple[bytes, bytes, bytes]:
        """The state as it was first, config.json (or nothing), and the changes of the state."""
        directory = self.directory(container_id)
        try:
            descriptor = os.open(f"{directory}/{_STATE}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                return _parts_of(descriptor, with_config)
            finally:
                os.close(descriptor)
        except ValueError:
            raise self._incomplete(container_id) from None
        except OSError as error:
            if os.path.isdir(directory) and error.errno == errno.ENOENT:
                raise self._incomplete(container_id) from None
            raise self._missing(container_id, error) from None

    def _decoded(self, container_id: str, parts: tuple[bytes, bytes, bytes]) -> ContainerState:
        head, _, changes = parts
        try:
            document = loads(head)
            # After the last newline there may be a line that is just being written.
            for line in changes.split(b"\n")[:-1]:
                document |= loads(line)  # type: ignore[operator]  # what is no object is no state
            return decode(ContainerState, document)
        except (SpecError, TypeError):
            raise self._incomplete(container_id) from None

    def _no_gate(self, directory: str, error: OSError) -> HostError:
        return HostError(f"cannot make the gate of start: {errno_text(error.errno or 0)}", where=directory)

    def _missing(self, container_id: str, error: OSError) -> StateError:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return StateError("container does not exist", where=container_id)
        return StateError(
            f"cannot read the state: {errno_text(error.errno or 0)}", where=self.directory(container_id)
        )

    def _incomplete(self, container_id: str) -> StateError:
        hint = f"clean up with: pyruntime delete --force {container_id}"
        return StateError(
            "container is half made: its create is at work or was killed", where=container_id, hint=hint
        )


def _parts_of(descriptor: int, with_config: bool) -> tuple[bytes, bytes, bytes]:
    content = os.read(descriptor, _AT_FIRST)
    # A file, other than a pipe, gives as much as it has.
    is_whole = len(content) < _AT_FIRST
    end = content.find(b"\n")
    if not is_whole and (with_config or end < 0):
        content += read_descriptor(descriptor)
        is_whole = True
        end = content.find(b"\n")
    size, _, head = content[: max(end, 0)].partition(b" ")
    if not size.isdigit():
        raise ValueError("no state")
    changed = end + 1 + int(size)
    if not is_whole:
        # With the last byte of config.json, which shows that all of it is there.
        os.lseek(descriptor, changed - 1, os.SEEK_SET)
        content = read_descriptor(descriptor)
        changed = 1
    if len(content) < changed:
        raise ValueError("no state yet")
    return head, content[end + 1 : changed] if with_config else b"", content[changed:]


def _remove_empty(directory: str) -> bool:
    try:
        os.rmdir(directory)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
        return False
    return True


def _remove_entry(path: str) -> None:
    try:
        os.unlink(path)
    except IsADirectoryError:
        for name in os.listdir(path):
            _remove_entry(f"{path}/{name}")
        os.rmdir(path)
    except FileNotFoundError:
        pass
