"""The images that stages begin as and that files are copied from: of the store, or brought into it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oci_image.copying import CopyOptions, copy_image
from oci_image.errors import ImageError
from oci_image.locations import open_source, split_location
from oci_image.model.platform import Platform
from oci_image.model.reference import Reference
from oci_image.model.registry_reference import full_name
from oci_image.pack.image import ImageDraft, load_draft, new_draft
from oci_image.transports.layout import LayoutDestination

if TYPE_CHECKING:
    from collections.abc import Callable

    from oci_image.model.descriptor import Descriptor
    from oci_image.registry.options import RegistryOptions
    from oci_image.store.content import Store

PULL_POLICIES = ("missing", "always", "never", "newer")
SCRATCH = "scratch"


class Bases:
    """Finds images by name; `policy` says when a registry is asked, as PULL_POLICIES has it."""

    def __init__(
        self,
        store: Store,
        policy: str,
        registry: RegistryOptions | None,
        say: Callable[[str], None],
    ) -> None:
        self._store = store
        self._policy = policy
        self._registry = registry
        self._say = say
        self._fetched: dict[tuple[str, Platform], Descriptor] = {}

    def draft(self, name: str, platform: Platform) -> ImageDraft:
        """The image, to be changed; ImageError, RegistryError."""
        if name == SCRATCH:
            draft = new_draft(platform)
            draft.config.pop("created")
            return draft
        manifest = self._manifest(name, platform)
        draft = load_draft(self._store, manifest)
        config = draft.config
        there = Platform(*(str(config.get(key) or "") for key in ("os", "architecture", "variant")))
        if there.architecture and not there.suits(platform):
            self._say(f"warning: {name} is an image for {there}, not for {platform}")
        draft.platform = None
        return draft

    def _manifest(self, name: str, platform: Platform) -> Descriptor:
        transport, _, _ = split_location(name)
        found = self._fetched.get((name, platform))
        if found is None:
            if transport:
                found = self._fetch(name, "", platform)
            elif self._policy == "always":
                found = self._pull(name, platform)
            else:
                found = self._find(name, platform)
            self._fetched[name, platform] = found
        return found

    def _find(self, name: str, platform: Platform) -> Descriptor:
        try:
            entry = self._store.find(name)
        except ImageError as error:
            if self._policy == "never" or "ambiguous" in error.what:
                raise
            return self._pull(name, platform)
        if self._policy == "newer":
            return self._pull(name, platform)
        return self._store.resolve(Reference(digest=entry.digest), platform)[-1]

    def _pull(self, name: str, platform: Platform) -> Descriptor:
        self._say(f"pulling {name}")
        return self._fetch(f"docker://{name}", full_name(name), platform)

    def _fetch(self, place: str, name: str, platform: Platform) -> Descriptor:
        source = open_source(place, store=self._store.path, registry=self._registry)
        try:
            destination = LayoutDestination(self._store.path, name)
            try:
                result = copy_image(source, destination, CopyOptions(platform=platform))
                destination.commit()
            finally:
                destination.close()
        finally:
            source.close()
        return result.root
