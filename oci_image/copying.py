"""Copying images between places: bytes and digests stay what they are unless another format is asked for."""

from __future__ import annotations

import hashlib
import json
import threading

from oci_image.errors import ImageError, IntegrityError, RegistryError
from oci_image.model.content import children_of
from oci_image.model.descriptor import Descriptor
from oci_image.model.digest import Digest
from oci_image.model.document import parse_document
from oci_image.model.media_types import CONFIGS, INDEXES, MANIFESTS, converted_type, essence
from oci_image.model.platform import Platform, host_platform
from oci_image.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from oci_image.transports.interface import Destination, Source

_MAX_DEPTH = 8
_MAX_NODES = 10_000
_REFUSALS = ("MANIFEST_INVALID", "UNSUPPORTED", "TAG_INVALID")  # what registries call a form they do not know
_NO_PROGRESS: Callable[[Descriptor, int], None] = lambda _descriptor, _count: None  # noqa: E731
_NO_WARNING: Callable[[str], None] = lambda _text: None  # noqa: E731


class CopyOptions(Value):
    """How to copy.

    Of an index the one image for `platform` is copied, or with `every_platform` the index and all of it.
    `form` "oci" or "docker" converts the documents, which changes their digests.  Without it a registry that refuses
    their form gets the other one, unless `keep_digests`.  `progress` is called by
    several threads with the number of bytes of a blob that have arrived since the last call, a negative one
    if they were wrong.  `warn` is told what went well in the end but should not have happened.
    """

    platform: Platform | None = None  # None: this machine's
    every_platform: bool = False
    form: str = ""
    keep_digests: bool = False
    referrers: bool = False
    jobs: int = 6
    progress: Callable[[Descriptor, int], None] = _NO_PROGRESS
    warn: Callable[[str], None] = _NO_WARNING


class CopyResult(Value):
    """The descriptor of what got the name, and how much was moved and how much was there already."""

    root: Descriptor
    copied: int
    present: int
    size: int


class _Work:
    """Documents with everything below them before them, and the blobs they need, each once."""

    def __init__(self) -> None:
        self.documents: list[tuple[Descriptor, bytes]] = []
        self.blobs: dict[str, Descriptor] = {}
        self.seen: set[str] = set()


def copy_image(source: Source, destination: Destination, options: CopyOptions | None = None) -> CopyResult:
    """Copy the image of `source` into `destination` and give it its name there (`commit` is the caller's).

    Raises: ImageError, IntegrityError, RegistryError; the destination then has no new name.
    """
    options = options or CopyOptions()
    root, data = source.root()
    if not options.every_platform:
        root, data = choose_platform(source, root, data, options.platform or host_platform())
    work = _Work()
    _plan(source, root, data, options, work, 0)
    copied, size = _copy_blobs(source, destination, list(work.blobs.values()), options)
    try:
        _put_documents(destination, work)
    except RegistryError as refused:
        form = _other_form(root, work, refused, options)
        if not form:
            raise
        work = _Work()
        _plan(source, root, data, options.replace(form=form), work, 0)
        try:
            _put_documents(destination, work)
        except RegistryError:
            raise refused from None
        new = work.documents[-1][0].digest
        options.warn(f"the registry refuses this form; converted to {form}'s, which has the digest {new}")
    else:
        if options.referrers and not options.form:
            for descriptor, _ in work.documents:
                _copy_referrers(source, destination, descriptor.digest, options, 0)
    return CopyResult(work.documents[-1][0], copied, len(work.blobs) - copied, size)


def _put_documents(destination: Destination, work: _Work) -> None:
    """Everything below the root first, which comes last in the list."""
    for descriptor, document in work.documents[:-1]:
        destination.put_document(descriptor, document)
    destination.put_root(*work.documents[-1])


def _other_form(root: Descriptor, work: _Work, refused: RegistryError, options: CopyOptions) -> str:
    """The form that a registry may take instead of the one it refused; "" if there is none."""
    said_so = refused.status == 415 or (
        refused.status == 400 and any(code in refused.what for code in _REFUSALS)
    )
    if not said_so or options.form or options.keep_digests or options.referrers:
        return ""
    for descriptor, data in work.documents:
        if essence(descriptor.media_type) in MANIFESTS:
            document = parse_document(data, where=str(descriptor.digest))
            if essence(str(document["config"].get("mediaType"))) not in CONFIGS or document.get("subject"):
                return ""  # artifacts have no other form
    return "oci" if ".docker." in root.media_type else "docker"


def choose_platform(
    source: Source, root: Descriptor, data: bytes, platform: Platform
) -> tuple[Descriptor, bytes]:
    """Descend from an index to the manifest that suits `platform` best; the first where several do."""
    for _ in range(_MAX_DEPTH):
        if essence(root.media_type) not in INDEXES:
            return root, data
        entries = children_of(data, root)
        known = [entry for entry in entries if essence(entry.media_type) in INDEXES | MANIFESTS]
        ranks = [entry.platform.suits(platform) if entry.platform else 1 for entry in known]
        if not any(ranks):
            there = ", ".join(sorted({str(entry.platform) for entry in known if entry.platform}))
            raise ImageError(
                f"image has no manifest for platform {platform}",
                where=str(root.digest),
                hint=f"platforms: {there or 'none named'}",
            )
        root = known[ranks.index(max(ranks))]
        data = source.document(root)
    raise ImageError(f"indexes are nested deeper than {_MAX_DEPTH}", where=str(root.digest))


def _plan(
    source: Source, descriptor: Descriptor, data: bytes, options: CopyOptions, work: _Work, depth: int
) -> tuple[Descriptor, bytes]:
    """Note what has to be copied for a document; the document as it will be at the destination."""
    if depth > _MAX_DEPTH:
        raise ImageError(f"indexes are nested deeper than {_MAX_DEPTH}", where=str(descriptor.digest))
    children = children_of(data, descriptor)
    work.seen.update(str(child.digest) for child in children)
    if len(work.seen) > _MAX_NODES:
        raise ImageError(f"image consists of more than {_MAX_NODES} parts", where=str(descriptor.digest))
    changed: dict[str, Descriptor] = {}
    for child in children:
        if essence(descriptor.media_type) not in INDEXES:
            if not child.urls or "foreign" not in child.media_type.replace("nondistributable", "foreign"):
                work.blobs.setdefault(str(child.digest), child)
        elif essence(child.media_type) in INDEXES | MANIFESTS:
            made, _ = _plan(source, child, source.document(child), options, work, depth + 1)
            changed[str(child.digest)] = made
        else:
            work.blobs.setdefault(str(child.digest), child)
    if options.form:
        descriptor, data = convert_document(descriptor, data, options.form, changed)
    work.documents.append((descriptor, data))
    return descriptor, data


def convert_document(
    descriptor: Descriptor, data: bytes, form: str, changed: dict[str, Descriptor]
) -> tuple[Descriptor, bytes]:
    """A manifest or index in the other of the two forms; entries in `changed` point to new documents.

    A document that is in that form already keeps its bytes.  Docker's form has no annotations.
    """
    document = parse_document(data, where=str(descriptor.digest))
    kind = converted_type(essence(descriptor.media_type), form)
    moved = any(str(new.digest) != old for old, new in changed.items())
    if kind == essence(descriptor.media_type) and not moved:
        return descriptor, data
    document["mediaType"] = kind
    if form == "docker":
        for name in ("annotations", "artifactType", "subject"):
            document.pop(name, None)
    if "config" in document:
        document["config"] = _converted(document["config"], form)
    for name in ("layers", "manifests"):
        if name in document:
            document[name] = [
                _moved(entry, changed) if name == "manifests" else _converted(entry, form)
                for entry in document[name]
            ]
    made = json.dumps(document, indent=3).encode()
    digest = Digest("sha256", hashlib.sha256(made).hexdigest())
    return Descriptor(kind, digest, len(made), descriptor.platform), made


def _converted(entry: dict[str, Any], form: str) -> dict[str, Any]:
    made = {**entry, "mediaType": converted_type(essence(entry["mediaType"]), form)}
    if form == "docker":
        made.pop("annotations", None)
    return made


def _moved(entry: dict[str, Any], changed: dict[str, Descriptor]) -> dict[str, Any]:
    new = changed.get(entry["digest"])
    return {**entry, **new.to_json()} if new else entry


def _copy_blobs(
    source: Source, destination: Destination, blobs: list[Descriptor], options: CopyOptions
) -> tuple[int, int]:
    """Copy what is not there, biggest first, several at a time; number and bytes.

    The first failure is raised when those that have begun have ended.
    """
    waiting = iter(sorted(blobs, key=lambda descriptor: -descriptor.size))
    moved: list[int] = []
    failures: list[BaseException] = []

    def copy_in_turn() -> None:
        try:
            while not failures and (blob := next(waiting, None)):
                size = _copy_blob(source, destination, blob, options)
                moved.extend([size] if size >= 0 else [])
        except BaseException as failure:  # raised below; also a signal's
            failures.append(failure)

    # Not a pool of concurrent.futures, whose imports take 5 ms: logging is among them.
    others = [threading.Thread(target=copy_in_turn) for _ in range(min(options.jobs, len(blobs)) - 1)]
    try:
        for thread in others:
            thread.start()
        copy_in_turn()
        for thread in others:
            thread.join()
    except BaseException as failure:
        failures.append(failure)
    for thread in others:
        if thread.ident is not None:
            thread.join()
    if failures:
        raise failures[0]
    return len(moved), sum(moved)


def _copy_blob(source: Source, destination: Destination, descriptor: Descriptor, options: CopyOptions) -> int:
    """Copy one blob, from whoever gives the right bytes; its size, or -1 if it was there."""
    if destination.has_blob(descriptor):
        options.progress(descriptor, descriptor.size)
        return -1
    seen = 0

    def pieces(offset: int) -> Iterator[bytes]:
        nonlocal seen
        seen += offset
        options.progress(descriptor, offset)
        for piece in source.blob(descriptor, offset):
            seen += len(piece)
            options.progress(descriptor, len(piece))
            yield piece

    while True:
        try:
            destination.put_blob(descriptor, pieces)
        except IntegrityError as error:
            giver = source.refuse(descriptor)
            if not giver:
                raise
            options.warn(f"{giver} gave wrong bytes, which are fetched anew: {error}")
            options.progress(descriptor, -seen)
            seen = 0
        else:
            return descriptor.size


def _copy_referrers(
    source: Source, destination: Destination, subject: Digest, options: CopyOptions, depth: int
) -> None:
    """Copy what refers to `subject`, and what refers to that."""
    if depth > _MAX_DEPTH:
        return
    for descriptor in source.referrers(subject):
        work = _Work()
        _plan(source, descriptor, source.document(descriptor), options, work, 0)
        _copy_blobs(source, destination, list(work.blobs.values()), options)
        for below, document in work.documents[:-1]:
            destination.put_document(below, document)
        destination.put_referrer(descriptor, work.documents[-1][1], subject)
        _copy_referrers(source, destination, descriptor.digest, options, depth + 1)
