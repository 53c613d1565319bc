"""Where to pull an image from, and clients for these places."""

from __future__ import annotations

from oci_image.registry.client import RegistryClient
from oci_image.registry.configuration import Endpoint, load_registries
from oci_image.registry.hosts_toml import hosts_endpoints

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci_image.model.registry_reference import RegistryReference
    from oci_image.registry.options import RegistryOptions


def endpoints_for(reference: RegistryReference, options: RegistryOptions) -> tuple[Endpoint, ...]:
    """What registries.conf says, or else containerd's hosts.toml; the registry itself comes last.

    Raises: RegistryError if the registry is blocked, or a file is not what it should be.
    """
    found = load_registries(options.registries_conf, short_names=False).endpoints(reference)
    if found != (Endpoint(reference),):
        return found
    return hosts_endpoints(reference, options.hosts_dir) or found


def open_endpoint(place: Endpoint, reference: RegistryReference, options: RegistryOptions) -> RegistryClient:
    """A client for one of the places that have the image `reference`.

    Credentials that the caller gave are for the registry that was named, and no mirror gets them.
    """
    if place.reference.host != reference.host:
        options = options.replace(credentials=None)
    return RegistryClient(place.reference.host, place.reference.repository, options, place=place)
