"""COPY and ADD as steps: what is copied, to where, with which owner and mode."""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
from oci_image.value import Value
from typing import TYPE_CHECKING

from oci_image.accounts import resolve_user
from oci_image.build.archives import unpack_archive
from oci_image.build.cache import step_key
from oci_image.build.fetching import fetch_file, is_url, literal
from oci_image.build.git import fetch_repository, parse_git_url
from oci_image.build.patterns import IgnoreRules, parse_ignore
from oci_image.build.placing import Placer
from oci_image.build.settings import absolute
from oci_image.build.sources import Source, SourceTree, checksum
from oci_image.build.variables import expand_text, expand_word, split_words
from oci_image.errors import ImageError
from oci_image.layers.rootdir import RootDirectory

if TYPE_CHECKING:
    from oci_image.build.builder import Build
    from oci_image.build.dockerfile import HereDocument, Instruction
    from oci_image.build.git import GitSource
    from oci_image.build.stages import Stage
    from oci_image.build.state import StageState
    from oci_image.build.workspace import Area

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FLAGS = {
    "COPY": frozenset({"from", "chown", "chmod", "link", "exclude", "parents"}),
    "ADD": frozenset({"chown", "chmod", "link", "exclude", "checksum", "keep-git-dir"}),
}
_MODE = re.compile(r"[0-7]{1,4}")


class _Request(Value):
    """COPY or ADD with its variables put in; `owner` and `checksum` "" where nothing is asked for."""

    keyword: str
    paths: tuple[str, ...]
    documents: tuple[HereDocument, ...]
    destination: str
    origin: str
    owner: str
    mode: int | None
    checksum: str
    exclude: IgnoreRules
    parents: bool
    keep_git: bool


def copy_step(build: Build, state: StageState, stage: Stage, instruction: Instruction) -> None:
    """Carry COPY or ADD out; ImageError."""
    from oci_image.build.builder import shown

    request = _request(state, instruction)
    with contextlib.ExitStack() as opened:
        sources = _sources(build, state, stage, request, opened)
        if (len(sources) > 1 or request.parents) and not request.destination.endswith("/"):
            raise ImageError(
                f"when using {request.keyword} with more than one source file, the destination must be a "
                "directory and end with a /",
                where=request.destination,
            )
        key = step_key(
            kind=request.keyword, content=checksum(sources), destination=request.destination,
            owner=request.owner, mode=request.mode, parents=request.parents, **build.step_parts(state),
        )  # fmt: skip
        build.layer_step(state, key, shown(instruction), lambda area: _make(build, area, request, sources))


def _request(state: StageState, instruction: Instruction) -> _Request:
    keyword = instruction.keyword
    flags: dict[str, str] = {}
    exclude: list[str] = []
    for name, value in instruction.flags:
        if name not in _FLAGS[keyword]:
            raise ImageError(f"unknown flag: --{name}")
        flags[name] = expand_word(value, state.lookup, state.escape)
        exclude += [flags[name]] if name == "exclude" else []
    words = instruction.words
    if words is None:
        words = tuple(split_words(instruction.text, state.escape))
    if len(words) < 2:
        raise ImageError(f"{keyword} requires at least two arguments", hint=f"write {keyword} SOURCE... PLACE")
    expanded = [expand_word(word, state.lookup, state.escape) for word in words if not word.startswith("<<")]
    mode = flags.get("chmod", "")
    if mode and not _MODE.fullmatch(mode):
        raise ImageError(f"invalid chmod parameter: {mode!r}", hint="up to four octal digits, as 0755")
    return _Request(
        keyword,
        tuple(expanded[:-1]),
        instruction.documents,
        absolute(state.directory, expanded[-1]),
        flags.get("from", ""),
        flags.get("chown", ""),
        int(mode, 8) if mode else None,
        flags.get("checksum", ""),
        parse_ignore("\n".join(exclude).encode(), where="--exclude"),
        flags.get("parents", "false") in ("", "true"),
        flags.get("keep-git-dir", "false") in ("", "true"),
    )


def _sources(
    build: Build, state: StageState, stage: Stage, request: _Request, opened: contextlib.ExitStack
) -> list[Source]:
    """Everything that is to be copied, open until the stack closes."""
    found: list[Source] = []
    tree = build.files
    named = build.contexts.tree(request.origin) if request.origin else None
    if named is not None:
        tree = named
    elif request.origin:
        origin = build.source_state(request.origin, stage)
        root = opened.enter_context(build.workspace.reading(build.lowers(origin)))
        tree = opened.enter_context(SourceTree(root, keep_owner=True))
    for path in request.paths:
        repository = parse_git_url(path) if request.keyword == "ADD" else None
        if repository is not None:
            found.append(_repository(build, repository, request))
            opened.callback(found[-1].close)
            continue
        if request.keyword == "ADD" and is_url(path):
            found.append(fetch_file(path, request.checksum, build.workspace.scratch(), build.latest))
            opened.callback(found[-1].close)
            continue
        for source in tree.find(path, exclude=request.exclude, parents=request.parents):
            opened.callback(source.close)
            found.append(source)
    for document in request.documents:
        found.append(_document(build, state, document))
        opened.callback(found[-1].close)
    if request.keyword == "ADD":
        found = [_unpacked(build, source, opened) for source in found]
    return found


def _repository(build: Build, repository: GitSource, request: _Request) -> Source:
    """The content of a repository, or of a directory in it."""
    checksum, keep = request.checksum, request.keep_git
    path = fetch_repository(repository, build.workspace.scratch(), checksum=checksum, keep_git=keep)
    with SourceTree(path) as tree:
        source = tree.find(literal(repository.directory), exclude=request.exclude)[0]
    source.fetched = True  # an archive in a repository stays one
    return source


def _document(build: Build, state: StageState, document: HereDocument) -> Source:
    """A file with the text of a here-document."""
    directory = build.workspace.scratch()
    path = os.path.join(directory, document.name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(
            expand_text(document.content, state.lookup, state.escape) if document.expand else document.content
        )
    os.chmod(path, 0o644)
    os.utime(path, ns=(build.now, build.now))
    with SourceTree(directory) as tree:
        return tree.find(document.name)[0]


def _unpacked(build: Build, source: Source, opened: contextlib.ExitStack) -> Source:
    """The content of a source that is an archive of this host; any other source as it is."""
    if source.is_directory or source.fetched:
        return source
    unpacked = unpack_archive(source, build.workspace.scratch)
    if unpacked is None:
        return source
    opened.callback(unpacked.close)
    return unpacked


def _make(build: Build, area: Area, request: _Request, sources: list[Source]) -> None:
    with build.workspace.mounted_below(area) as below, build.workspace.mounted(area) as root:
        owner = _owner(request.owner, below) if request.owner else None
        root_fd = os.open(root, _DIRECTORY)
        try:
            placer = Placer(root_fd, owner=owner, mode=request.mode, now=build.now)
            try:
                for source in sources:
                    placer.place(source, _target(placer, request, source))
            finally:
                placer.close()
        finally:
            os.close(root_fd)


def _target(placer: Placer, request: _Request, source: Source) -> bytes:
    """Where one source goes: a file into a directory that is there, or asked for by a slash at the end."""
    target = os.fsencode(request.destination).strip(b"/")
    if request.parents:
        return posixpath.join(target, source.name)
    if source.is_directory:
        return target
    if request.destination.endswith("/") or placer.is_directory(target):
        name = source.name or b"file"
        return posixpath.join(target, name)
    return target


def _owner(text: str, root: str) -> tuple[int, int]:
    """The ids of --chown, by the image's own files; a number alone is also the group."""
    root_fd = os.open(root, _DIRECTORY)
    try:
        user = resolve_user(text, RootDirectory(root_fd))
    except ImageError as error:
        raise ImageError(f"--chown: {error.what}", where=error.where, hint=error.hint) from None
    finally:
        os.close(root_fd)
    return (user.uid, user.uid) if text.isdecimal() else (user.uid, user.gid)
