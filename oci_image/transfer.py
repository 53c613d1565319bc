"""Images moved by the names that people write: copied, pulled, pushed, saved and loaded."""

from __future__ import annotations

from oci_image.copying import CopyOptions, CopyResult, choose_platform, copy_image
from oci_image.errors import ImageError, RegistryError
from oci_image.inspecting import read_image
from oci_image.locations import open_destination, open_source, tag_in
from oci_image.model.digest import parse_digest
from oci_image.model.platform import Platform, host_platform
from oci_image.model.reference import Reference
from oci_image.model.registry_reference import (
    RegistryReference,
    full_name,
    parse_registry_reference,
    split_host,
)
from oci_image.store.content import Store, default_store_path
from oci_image.store.layout import REF_NAME
from oci_image.transports.layout import LayoutDestination
from oci_image.value import Value
from pyruntime.base.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import IO, Any

    from oci_image.model.descriptor import Descriptor
    from oci_image.model.digest import Digest
    from oci_image.registry.options import RegistryOptions

POLICIES = ("always", "missing", "never", "newer")


class Transferred(Value):
    """An image that now has `name`; `result` is None if nothing had to be moved.

    `replaced` is the digest of the image that had the name before, if it was another.
    """

    name: str
    root: Descriptor
    result: CopyResult | None
    replaced: Digest | None = None


def copy(
    source: str,
    destination: str,
    options: CopyOptions | None = None,
    *,
    store: str = "",
    registry: RegistryOptions | None = None,
    destination_registry: RegistryOptions | None = None,
    mount_from: str = "",
) -> CopyResult:
    """Copy an image between two places, which are written as on the command line (`oci:DIR:NAME`, ...).

    `store` is where names without a transport are.  `registry` says how to reach registries, where
    `destination_registry` does not say it for the second one.  `mount_from` is a repository of the destination's
    registry that has some of the layers.

    Raises: UsageError, ImageError, IntegrityError, RegistryError; the destination is then as it was.
    """
    reader = open_source(source, store=store, registry=registry)
    try:
        writer = open_destination(
            destination, store=store, registry=destination_registry or registry, mount_from=mount_from
        )
        try:
            result = copy_image(reader, writer, options)
            writer.commit()
        finally:
            writer.close()
    finally:
        reader.close()
    return result


def pull(
    reference: str,
    options: CopyOptions | None = None,
    *,
    name: str = "",
    policy: str = "always",
    store: str = "",
    registry: RegistryOptions | None = None,
) -> Transferred:
    """Fetch an image of a registry into the store, under `name` or else its own.

    Policy "always" asks the registry in any case, "missing" only if the store has no such image for the
    platform, "never" not at all, and "newer" fetches what has another digest there, and is content with
    what the store has where the registry cannot be reached.  A short name is what registries.conf says; the
    registries that it may be of are tried in their order.

    Raises: UsageError, RegistryError, IntegrityError, ImageError.
    """
    if policy not in POLICIES:
        raise UsageError(f"unknown pull policy {policy!r}", hint=f"policies: {', '.join(POLICIES)}")
    options = options or CopyOptions()
    candidates = _candidates(reference, registry)
    for candidate in candidates if policy != "always" else ():
        there = _present(name or str(candidate), options, store)
        if there is not None and (policy != "newer" or not _is_newer(candidate, there, options, registry)):
            return Transferred(name or str(candidate), there, None)
    if policy == "never":
        raise ImageError("image is not in the store, and the policy is never to pull", where=reference)
    name = tag_in(store or default_store_path(), name)
    for candidate in candidates:
        final = name or str(candidate)
        try:
            result = copy(f"docker://{candidate}", final, options, store=store, registry=registry)
        except RegistryError:
            if candidate is candidates[-1]:
                raise
        else:
            _say_platform(final, options, store)
            return Transferred(final, result.root, result)
    raise AssertionError


def _say_platform(name: str, options: CopyOptions, store: str) -> None:
    """Warn of an image that has no index to choose from and is for another platform."""
    if options.every_platform:
        return
    wanted = options.platform or host_platform()
    source = open_source(name, store=store)
    try:
        config = read_image(source, wanted).config
    except ImageError:
        return  # what it is for does not matter to who copies it
    finally:
        source.close()
    there = _platform_of(config)
    if there.architecture and not there.suits(wanted):
        options.warn(f"{name} is an image for {there}, not for {wanted}")


def _platform_of(config: dict[str, Any]) -> Platform:
    return Platform(*(str(config.get(key) or "") for key in ("os", "architecture", "variant")))


def _candidates(reference: str, registry: RegistryOptions | None) -> tuple[RegistryReference, ...]:
    """What a name may mean; behind `docker://` there are no short names."""
    from oci_image.registry.configuration import load_registries

    host, _ = split_host(reference)
    if reference.startswith(("docker://", f"{host}/")):
        return (parse_registry_reference(reference.removeprefix("docker://")),)
    return load_registries(registry.registries_conf if registry else "").candidates(reference)


def _present(name: str, options: CopyOptions, store: str) -> Descriptor | None:
    """What the store has under `name`, if that is for the platform and complete."""
    try:
        source = open_source(name, store=store)
    except ImageError:
        return None
    try:
        root, _ = source.root()
        image = read_image(source, options.platform)
    except ImageError:
        return None
    finally:
        source.close()
    made_for = _platform_of(image.config)
    fits = not made_for.os or made_for.suits(options.platform or host_platform()) > 0
    return root if fits else None


def _is_newer(
    reference: RegistryReference, there: Descriptor, options: CopyOptions, registry: RegistryOptions | None
) -> bool:
    source = open_source(f"docker://{reference}", registry=registry)
    try:
        root, data = source.root()
        if not options.every_platform:
            root, _ = choose_platform(source, root, data, options.platform or host_platform())
    except RegistryError:
        return False
    finally:
        source.close()
    return root.digest != there.digest


def pull_every_tag(
    repository: str,
    options: CopyOptions | None = None,
    *,
    store: str = "",
    registry: RegistryOptions | None = None,
) -> Iterator[Transferred]:
    """Fetch every tag of a repository into the store; each is yielded when it is there.

    Raises: UsageError if a tag or digest is named, and as `pull`.
    """
    from oci_image.registry.listing import list_tags

    parsed = _repository(repository)
    for tag in list_tags(parsed, registry):
        yield pull(str(parsed.replace(tag=tag)), options, store=store, registry=registry)


def push(
    image: str,
    reference: str = "",
    options: CopyOptions | None = None,
    *,
    store: str = "",
    registry: RegistryOptions | None = None,
    mount_from: str = "",
) -> Transferred:
    """Send an image of the store to `reference`, or to where its name says.

    Blobs that the registry has are not sent, nor those that it can take from its repository `mount_from`.

    Raises: UsageError, ImageError if the store has no such image, RegistryError.
    """
    target = f"docker://{parse_registry_reference((reference or image).removeprefix('docker://'))}"
    result = copy(image, target, options, store=store, registry=registry, mount_from=mount_from)
    return Transferred(target, result.root, result)


def push_every_tag(
    repository: str,
    options: CopyOptions | None = None,
    *,
    store: str = "",
    registry: RegistryOptions | None = None,
) -> Iterator[Transferred]:
    """Send every image of the store that has a name in `repository` there; each is yielded when it is done.

    Raises: UsageError if a tag or digest is named, ImageError if there is none, RegistryError.
    """
    parsed = _repository(repository)
    with Store.open(store or default_store_path()) as opened:
        names = [entry.annotations.get(REF_NAME, "") for entry in opened.index().manifests]
    found = [name for name in names if name.startswith(f"{parsed}:")]
    if not found:
        raise ImageError(f"no image of the store has a name in {parsed}", where=store or default_store_path())
    for name in found:
        result = copy(name, f"docker://{name}", options, store=store, registry=registry)
        yield Transferred(name, result.root, result)


def _repository(text: str) -> RegistryReference:
    parsed = parse_registry_reference(text.removeprefix("docker://"), default_tag="")
    if parsed.tag or parsed.digest:
        raise UsageError(f"{text!r} names one image, not all of a repository", hint="leave the tag out")
    return parsed


def save(
    images: Sequence[str],
    target: str | IO[bytes],
    options: CopyOptions | None = None,
    *,
    store: str = "",
) -> dict[str, Digest]:
    """Write images of the store into one archive, a file or an open stream; the digest of each.

    The archive is an image layout and a docker-archive at once; what images share is in it once.  An image
    that is given by its digest keeps no name.

    Raises: ImageError, IntegrityError; a file is then as it was.
    """
    from oci_image.transports.archive_destination import ArchiveDestination

    saved = {}
    destination = ArchiveDestination(target, "", docker=True)
    try:
        for image in images:
            source = open_source(image, store=store)
            try:
                destination.rename("" if image.startswith("sha256:") else image)
                saved[image] = copy_image(source, destination, options).root.digest
            finally:
                source.close()
        destination.commit()
    finally:
        destination.close()
    return saved


def load(
    archive: str | IO[bytes],
    options: CopyOptions | None = None,
    *,
    store: str = "",
    exact_names: bool = False,
) -> Iterator[Transferred]:
    """Take every image of an archive, a file or an open stream, into the store; each is yielded when it is there.

    A name that is taken moves to the loaded image.  Names get what Docker fills in, unless `exact_names`.

    Raises: ImageError, IntegrityError.
    """
    from oci_image.transports.archive_source import ArchiveSource

    place = store or default_store_path()
    options = (options or CopyOptions()).replace(every_platform=True)
    with Store.open(place, create=True) as opened:
        had = {entry.annotations.get(REF_NAME, ""): entry.digest for entry in opened.index().manifests}
    source = ArchiveSource(archive, Reference(), scratch=place)
    try:
        names = source.names() or [f"@{entry.digest}" for entry in source.entries()]
        for name in names:
            by_digest = name.startswith("@")
            source.select(Reference(digest=parse_digest(name[1:])) if by_digest else Reference(tag=name))
            final = "" if by_digest else name if exact_names else full_name(name)
            destination = LayoutDestination(place, final)
            try:
                result = copy_image(source, destination, options)
                destination.commit()
            finally:
                destination.close()
            before = had.get(final) if final else None
            replaced = before if before != result.root.digest else None
            yield Transferred(final, result.root, result, replaced)
    finally:
        source.close()
