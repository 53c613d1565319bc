"""Where a build's files come from: a directory, a git repository, an archive, and contexts by name.

Source: docker's reference, "Build context"; `buildx build --build-context`.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from oci_image.build.archives import unpack_archive
from oci_image.build.fetching import fetch_file, is_url
from oci_image.build.git import fetch_repository, parse_git_url
from oci_image.build.paths import canonical_path
from oci_image.build.patterns import IgnoreRules, parse_ignore
from oci_image.build.sources import SourceTree
from oci_image.errors import ImageError
from oci_image.locations import TRANSPORTS
from pyruntime.base.errors import UsageError, errno_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from oci_image.build.sources import Source

_PIECE = 1 << 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_IMAGES = {"docker-image://": "", "oci-layout://": "oci:"}


def is_remote(context: str) -> bool:
    """Whether a context has to be brought here first: a URL, a repository, or - for standard input."""
    return context == "-" or is_url(context) or parse_git_url(context) is not None


def bring(context: str, scratch: Callable[[], str], stream: BinaryIO | None = None) -> str:
    """The directory of a context that `is_remote`; `scratch` makes new directories, `stream` is standard input.

    A file that is no archive is the Dockerfile of an empty context.  Raises: ImageError, UsageError, HostError.
    """
    repository = parse_git_url(context)
    if repository is not None:
        return inside(fetch_repository(repository, scratch()), repository.directory, context)
    directory = scratch()
    if context == "-":
        if stream is None:
            raise UsageError("no standard input to read the context from")
        with open(os.path.join(directory, "Dockerfile"), "xb") as file:
            while piece := stream.read(_PIECE):
                file.write(piece)
        with SourceTree(directory) as tree:
            source = tree.find("Dockerfile")[0]
    else:
        source = fetch_file(context, "", directory, None)
    try:
        return _unpacked(source, directory, scratch)
    finally:
        source.close()


def _unpacked(source: Source, directory: str, scratch: Callable[[], str]) -> str:
    made: list[str] = []

    def note() -> str:
        made.append(scratch())
        return made[-1]

    archive = unpack_archive(source, note)
    if archive is not None:
        archive.close()
        return os.path.join(made[-1], "tree")
    path = os.path.join(directory, os.fsdecode(source.name))
    if os.path.basename(path) != "Dockerfile":
        os.rename(path, os.path.join(directory, "Dockerfile"))
    return directory


def inside(root: str, path: str, where: str = "") -> str:
    """The real place of a path below `root`, whose links lead nowhere else; ImageError if it is not there."""
    root_fd = os.open(root, _DIRECTORY)
    try:
        real, there = canonical_path(root_fd, path)
    finally:
        os.close(root_fd)
    if real and not there:
        raise ImageError(f"no {path!r} in the context", where=where or root)
    return os.path.join(root, real) if real else root


def ignore_rules(directory: str, *first: str) -> IgnoreRules:
    """The rules of the ignore file of a context: the first of `first` and of the usual ones that is there."""
    for path in (*first, *(os.path.join(directory, f".{name}ignore") for name in ("container", "docker"))):
        try:
            with open(path, "rb") as file:
                return parse_ignore(file.read(1 << 20), where=path)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ImageError(f"cannot read: {errno_text(error.errno or 0)}", where=path) from None
    return IgnoreRules()


class NamedContexts:
    """The contexts of --build-context, each opened when it is first asked for; a context manager."""

    def __init__(self, given: dict[str, str], scratch: Callable[[], str]) -> None:
        self._given = {name.lower(): value for name, value in given.items()}
        self._scratch = scratch
        self._trees: dict[str, SourceTree] = {}
        self._opened = contextlib.ExitStack()

    def close(self) -> None:
        """Give the directories back."""
        self._opened.close()

    def image(self, name: str) -> str:
        """The image that `name` stands for, as places are written; "" if it stands for none."""
        value = self._given.get(name.lower(), "")
        for prefix, transport in _IMAGES.items():
            if value.startswith(prefix):
                return transport + value[len(prefix) :]
        return value if value.startswith(TRANSPORTS) else ""

    def tree(self, name: str) -> SourceTree | None:
        """The files that `name` stands for; None if it stands for none.  Raises: ImageError."""
        key = name.lower()
        if key not in self._given or self.image(name):
            return None
        if key not in self._trees:
            value = self._given[key]
            path = bring(value, self._scratch) if is_remote(value) else value
            if not os.path.isdir(path):
                raise ImageError(f"context {name!r} is no directory and no image", where=value)
            self._trees[key] = self._opened.enter_context(SourceTree(path, ignore_rules(path)))
        return self._trees[key]
