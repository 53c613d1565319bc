"""Where a build happens: stacks of directories, the overlays mounted over them, and what cleans up.

    builds/.build.partial-XXXXXXXX/    below the directory of snapshots; locked by the process that builds
        upper                          empty: prepared images are kept while it is there
        N/upper, N/work, N/root        the N-th overlay: its changes, the kernel's directory, the mount
        N/below, N/stubs               what is under the changes, mounted; mount points that images lack
        state                          the runtime's own directory

A build that was killed leaves such a directory unlocked, and the next build ends its containers, unmounts
what is mounted there and removes it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from oci_image.errors import SnapshotError
from oci_image.layers.limits import Limits
from oci_image.layers.metadata import Ownership
from oci_image.layers.staging import clean_staging, make_staging, remove_staging
from oci_image.model.image_config import ImageConfig
from oci_image.model.manifest import Manifest
from oci_image.snapshots.cache import SnapshotCache
from oci_image.snapshots.mounting import READ_ONLY, escape, in_initial_user_namespace, mount, unmount
from oci_image.snapshots.overlay import copy_attributes, why_not_here
from oci_image.snapshots.place import default_location
from oci_image.snapshots.preparing import Preparer
from pyruntime.base.errors import HostError, errno_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from oci_image.model.descriptor import Descriptor
    from oci_image.model.digest import Digest
    from oci_image.store.content import Store

_MAX_LOWER = 150  # directories in one overlay, by the length of mount's options
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(slots=True)
class Area:
    """Directories of one overlay: `lowers` top first, and where its changes go."""

    path: str
    lowers: list[str]
    stubs: list[str] = field(default_factory=list)

    @property
    def upper(self) -> str:
        """The directory with what has changed."""
        return os.path.join(self.path, "upper")

    @property
    def root(self) -> str:
        """Where the overlay is mounted."""
        return os.path.join(self.path, "root")

    @property
    def below(self) -> str:
        """The tree under the changes."""
        return os.path.join(self.path, "below") if len(self.lowers) > 1 else self.lowers[0]


class Workspace:
    """A build's directory; a context manager that leaves nothing."""

    def __init__(self, location: str = "", *, runtime: Sequence[str] = ()) -> None:
        """Make it below the directory of snapshots `location`; raises HostError.

        `runtime` is the command that ends containers of builds that were killed.
        """
        if reason := why_not_here():
            raise HostError(f"cannot build: {reason}", hint="as root, or by: unshare --map-root-user --map-auto --mount oci-image build ...")
        self.location = os.path.abspath(location or default_location())
        self._runtime = list(runtime)
        self._count = 0
        self._noted = False
        builds = os.path.join(self.location, "builds")
        try:
            os.makedirs(builds, 0o700, exist_ok=True)
            self._builds_fd = os.open(builds, _DIRECTORY)
        except OSError as error:
            what = f"cannot use the directory of builds: {errno_text(error.errno or 0)}"
            raise HostError(what, where=builds, hint="choose another one with --snapshots") from None
        try:
            clean_staging(self._builds_fd, None, before=self._end_use)
            self._name, self._fd = make_staging(self._builds_fd, "build")
            self.path = os.path.join(builds, self._name)
            for name in ("upper", "state", "empty"):
                os.mkdir(name, 0o755, dir_fd=self._fd)
        except BaseException:
            os.close(self._builds_fd)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._end_use(self._name, self._fd)
            remove_staging(self._builds_fd, self._name, self._fd)
        finally:
            os.close(self._fd)
            os.close(self._builds_fd)
        if self._noted:
            with SnapshotCache(self.location) as cache:
                cache.forget_bundle(self.path)

    @property
    def state(self) -> str:
        """The directory that the runtime keeps its containers' states in."""
        return os.path.join(self.path, "state")

    def prepare(self, store: Store, layers: tuple[Descriptor, ...], diff_ids: tuple[Digest, ...]) -> str:
        """A directory with the tree of these layers, not to be changed."""
        if not layers:
            return os.path.join(self.path, "empty")
        manifest = Manifest(layers[0], layers)
        with SnapshotCache(self.location) as cache:
            preparer = Preparer(cache, store, manifest, ImageConfig(diff_ids), Ownership(), Limits())
            prepared = preparer.prepare("auto")
            cache.note_bundle(self.path, prepared.key)
            self._noted = True
        return prepared.lower

    def new_area(self, lowers: list[str]) -> Area:
        """Directories for changes on top of `lowers`; nothing is mounted yet."""
        self._count += 1
        area = Area(os.path.join(self.path, str(self._count)), lowers)
        for name in ("", "upper", "work", "root", "below"):
            os.mkdir(os.path.join(area.path, name), 0o755)
        return area

    @contextlib.contextmanager
    def mounted_below(self, area: Area) -> Iterator[str]:
        """The tree under an area's changes, read only."""
        if len(area.lowers) == 1:
            yield area.lowers[0]
            return
        self._mount(area.below, area.lowers, "", READ_ONLY)
        try:
            yield area.below
        finally:
            unmount(area.below, detach=True)

    @contextlib.contextmanager
    def mounted(self, area: Area) -> Iterator[str]:
        """The area's overlay, whose changes go to its upper directory."""
        copy_attributes(area.below, area.upper)
        changes = f",upperdir={escape(area.upper)},workdir={escape(os.path.join(area.path, 'work'))}"
        self._mount(area.root, [*area.stubs, *area.lowers], changes, 0)
        try:
            yield area.root
        finally:
            # Detached, since a process of the container may be ending yet.
            unmount(area.root, detach=True)

    @contextlib.contextmanager
    def reading(self, lowers: list[str]) -> Iterator[str]:
        """The tree of `lowers`, read only."""
        with self.mounted_below(self.new_area(lowers)) as path:
            yield path

    def scratch(self) -> str:
        """A new empty directory for whatever a step needs."""
        self._count += 1
        path = os.path.join(self.path, f"scratch-{self._count}")
        os.mkdir(path, 0o755)
        return path

    def is_full(self, lowers: list[str]) -> bool:
        """Whether no further directory can be put on top of these."""
        return len(lowers) >= _MAX_LOWER

    def _mount(self, target: str, lowers: list[str], changes: str, flags: int) -> None:
        # Short names for long lists: mount's options have to fit into a page.
        fds: list[int] = []
        try:
            for lower in lowers:
                fds.append(os.open(lower, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            options = "lowerdir=" + ":".join(f"/proc/self/fd/{fd}" for fd in fds) + changes
            # With user attributes the kernel has the first two off by itself, and wants no word of them.
            root = in_initial_user_namespace()
            options += ",redirect_dir=off,metacopy=off,index=off" if root else ",userxattr,index=off"
            mount("overlay", target, "overlay", flags, options)
        except OSError as error:
            hint = "upper directories cannot lie on an overlay; choose a place with --snapshots"
            what = f"cannot mount an overlay: {errno_text(error.errno or 0)}"
            raise SnapshotError(what, where=self.path, hint=hint) from None
        finally:
            for fd in fds:
                os.close(fd)

    def _end_use(self, name: str, fd: int) -> None:
        """End containers of a build's directory and unmount everything in it."""
        path = os.path.join(self.location, "builds", name)
        with contextlib.suppress(FileNotFoundError):
            for container in os.listdir(os.path.join(path, "state")):
                self.end_container(container, os.path.join(path, "state"))
        real = os.readlink(f"/proc/self/fd/{fd}")
        with open("/proc/self/mountinfo", "rb") as file:
            targets = [line.split(b" ")[4].decode("unicode_escape") for line in file]
        for target in reversed([target for target in targets if target.startswith(real + "/")]):
            with contextlib.suppress(OSError):
                unmount(target, detach=True)

    def end_container(self, container: str, state: str = "") -> None:
        """Kill a container and remove what the runtime made for it; nothing happens if there is none."""
        command = [*self._runtime, "--root", state or self.state, "delete", "--force", container]
        if self._runtime:
            with contextlib.suppress(OSError):
                subprocess.run(command, check=False, capture_output=True, stdin=subprocess.DEVNULL)

