"""The images that stages begin as and that files are copied from: of the store, or brought into it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oci_image.copying import CopyOptions, copy_image
from oci_image.errors import ImageError
from oci_image.locations import open_source, split_location
from oci_image.model.platform import Platform
from oci_image.model.reference import Reference
from oci_image.pack.image import ImageDraft, load_draft, new_draft
from oci_image.runtime_config import DEFAULT_PATH
from oci_image.transfer import pull
from oci_image.transports.layout import LayoutDestination

if TYPE_CHECKING:
    from collections.abc import Callable

    from oci_image.model.descriptor import Descriptor
    from oci_image.registry.options import RegistryOptions
    from oci_image.store.content import Store

SCRATCH = "scratch"


class Bases:
    """Finds images by name; `policy` says when a registry is asked, as `transfer.pull` has them."""

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
        self._found: dict[tuple[str, Platform], Descriptor] = {}

    def draft(self, name: str, platform: Platform) -> ImageDraft:
        """The image, to be changed; ImageError, RegistryError."""
        if name == SCRATCH:
            draft = new_draft(platform)
            draft.config.pop("created")
            draft.settings.update({"Env": [f"PATH={DEFAULT_PATH}"], "WorkingDir": "/"})
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
        found = self._found.get((name, platform))
        if found is None:
            transport, _, _ = split_location(name)
            found = self._fetch(name, platform) if transport else self._look_up(name, platform)
            found = self._store.resolve(Reference(digest=found.digest), platform)[-1]
            self._found[name, platform] = found
        return found

    def _look_up(self, name: str, platform: Platform) -> Descriptor:
        """An image of the store, or of a registry: the store also knows names and digests that none has."""
        if self._policy in ("missing", "never"):
            try:
                return self._store.find(name)
            except ImageError as error:
                if "ambiguous" in error.what:
                    raise
        options = CopyOptions(platform=platform)
        self._say(f"pulling {name}")
        return pull(
            name, options, policy=self._policy, store=self._store.path, registry=self._registry
        ).root

    def _fetch(self, place: str, platform: Platform) -> Descriptor:
        """Bring an image of another place into the store, without a name."""
        source = open_source(place, store=self._store.path, registry=self._registry)
        try:
            destination = LayoutDestination(self._store.path, "")
            try:
                result = copy_image(source, destination, CopyOptions(platform=platform))
                destination.commit()
            finally:
                destination.close()
        finally:
            source.close()
        return result.root
