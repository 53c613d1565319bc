"""What becomes of a built image besides its place in the store: --output and --push.

Source: docker's reference of `buildx build`, "--output".
"""

from __future__ import annotations

import os
import stat
from oci_image.value import Value
from typing import TYPE_CHECKING

from oci_image.copying import CopyOptions, copy_image
from oci_image.errors import ImageError
from oci_image.flatten import write_image
from oci_image.layers.metadata import Ownership
from oci_image.layers.staging import make_staging, remove_staging
from oci_image.locations import open_destination
from oci_image.model.reference import Reference
from oci_image.model.registry_reference import full_name
from oci_image.pack.tar_writer import TarWriter
from oci_image.raw import make_tree
from oci_image.transports.archive_destination import ArchiveDestination
from oci_image.transports.layout import LayoutSource
from pyruntime.base.errors import HostError, UsageError, errno_text

if TYPE_CHECKING:
    from typing import BinaryIO

    from oci_image.build.builder import BuildOptions
    from oci_image.model.descriptor import Descriptor
    from oci_image.store.content import Store
    from oci_image.transports.interface import Destination

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_KINDS = {
    "local": {"dest"},
    "tar": {"dest"},
    "oci": {"dest", "name", "tar"},
    "docker": {"dest", "name"},
    "image": {"name", "push"},
    "registry": {"name"},
}


class BuildOutput(Value):
    """Where to put an image: `kind` as docker names it, `target` a path, "" for standard output.

    `name` replaces the image's own name in an archive or registry; `push` sends it there.
    """

    kind: str
    target: str = ""
    name: str = ""
    push: bool = False
    as_directory: bool = False

    @property
    def is_stream(self) -> bool:
        """Whether it goes to standard output."""
        return self.kind in ("tar", "oci", "docker") and not self.target


def parse_output(text: str) -> BuildOutput:
    """The value of --output: `type=KIND,dest=PATH`, a directory, or - for a tar on standard output; UsageError."""
    if text == "-":
        return BuildOutput("tar")
    if "=" not in text and "," not in text:
        return BuildOutput("local", text)
    given = dict(part.partition("=")[::2] for part in text.split(","))
    kind = given.pop("type", "")
    hint = f"types: {', '.join(_KINDS)}; write type=TYPE,dest=PATH"
    if kind not in _KINDS:
        raise UsageError(f"output {text!r} has no type that is known", hint=hint)
    wrong = given.keys() - _KINDS[kind]
    if wrong:
        raise UsageError(f"an output of type {kind} has no {', '.join(sorted(wrong))}", hint=hint)
    target = given.get("dest", "")
    as_directory = given.get("tar", "true") == "false"
    if (kind == "local" or as_directory) and target in ("", "-"):
        raise UsageError(f"an output of type {kind} needs dest=DIRECTORY")
    push = kind == "registry" or given.get("push", "false") == "true"
    return BuildOutput(kind, "" if target == "-" else target, given.get("name", ""), push, as_directory)


def write_output(store: Store, manifest: Descriptor, output: BuildOutput, options: BuildOptions) -> None:
    """Put the image `manifest` of the store where `output` says.

    Raises: ImageError, HostError, RegistryError, UsageError.
    """
    names = [output.name] if output.name else options.tags
    name = full_name(names[0]) if names else ""
    if output.kind == "local":
        _write_directory(store, manifest, output.target)
    elif output.kind == "tar":
        _write_tar(store, manifest, output.target or _stream(options))
    elif output.kind in ("image", "registry"):
        if output.push and not names:
            raise UsageError("an image without a name cannot be pushed", hint="name it with --tag")
        for each in names if output.push else ():
            _copy(store, manifest, open_destination(f"docker://{full_name(each)}", registry=options.registry))
    elif output.as_directory:
        _copy(store, manifest, open_destination(f"oci:{output.target}:{name or 'latest'}"))
    else:
        target = output.target or _stream(options)
        _copy(store, manifest, ArchiveDestination(target, name, docker=output.kind == "docker"))


def _stream(options: BuildOptions) -> BinaryIO:
    if options.stream is None:
        raise UsageError("an output has no place", hint="write dest=FILE")
    return options.stream


class _Built(LayoutSource):
    """An image of the store that index.json need not have."""

    def __init__(self, store: Store, manifest: Descriptor) -> None:
        super().__init__(store.path, Reference(digest=manifest.digest))
        self._manifest = manifest

    def root(self) -> tuple[Descriptor, bytes]:
        return self._manifest, self._store.read_document(self._manifest)


def _copy(store: Store, manifest: Descriptor, destination: Destination) -> None:
    source = _Built(store, manifest)
    try:
        copy_image(source, destination, CopyOptions(every_platform=True))
        destination.commit()
    finally:
        destination.close()
        source.close()


def _write_tar(store: Store, manifest: Descriptor, target: str | BinaryIO) -> None:
    if not isinstance(target, str):
        _write_entries(store, manifest, target)
        return
    temporary = f"{target}.partial-{os.getpid()}"
    try:
        with open(temporary, "xb") as file:
            _write_entries(store, manifest, file)
        os.replace(temporary, target)
    except OSError as error:
        raise HostError(f"cannot write the archive: {errno_text(error.errno or 0)}", where=target) from None
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def _write_entries(store: Store, manifest: Descriptor, target: BinaryIO) -> None:
    archive = TarWriter(target.write)
    write_image(store, manifest, archive)
    archive.finish()
    target.flush()


def _write_directory(store: Store, manifest: Descriptor, target: str) -> None:
    """The tree as files: made in a hidden directory of `target`, then moved over what has the same names."""
    try:
        os.makedirs(target, exist_ok=True)
        target_fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            staging, fd = make_staging(target_fd, "output")
            try:
                os.mkdir("tree", 0o700, dir_fd=fd)
                tree_fd = os.open("tree", _DIRECTORY, dir_fd=fd)
                try:
                    make_tree(store, manifest, tree_fd, Ownership())
                    _move_all(tree_fd, target_fd, target)
                finally:
                    os.close(tree_fd)
            finally:
                remove_staging(target_fd, staging, fd)
                os.close(fd)
        finally:
            os.close(target_fd)
    except OSError as error:
        raise HostError(f"cannot write the tree: {errno_text(error.errno or 0)}", where=target) from None


def _move_all(source_fd: int, target_fd: int, where: str) -> None:
    """Move everything of one directory into another; directories that both have are merged."""
    for name in os.listdir(source_fd):
        found = os.stat(name, dir_fd=source_fd, follow_symlinks=False)
        try:
            there = os.stat(name, dir_fd=target_fd, follow_symlinks=False)
        except FileNotFoundError:
            there = None
        if there is not None and stat.S_ISDIR(there.st_mode) != stat.S_ISDIR(found.st_mode):
            raise ImageError(
                "a directory and something else have the same name", where=os.path.join(where, name),
                hint="choose an empty directory",
            )  # fmt: skip
        if there is None or not stat.S_ISDIR(found.st_mode):
            os.rename(name, name, src_dir_fd=source_fd, dst_dir_fd=target_fd)
            continue
        fds = [os.open(name, _DIRECTORY, dir_fd=fd) for fd in (source_fd, target_fd)]
        try:
            _move_all(fds[0], fds[1], os.path.join(where, name))
            os.fchown(fds[1], found.st_uid, found.st_gid)
            os.fchmod(fds[1], stat.S_IMODE(found.st_mode))
            os.utime(fds[1], ns=(found.st_atime_ns, found.st_mtime_ns))
        finally:
            for fd in fds:
                os.close(fd)
