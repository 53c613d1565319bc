"""Finding repositories by name, where a registry offers that.

Docker Hub, Quay and others answer `GET /v1/search`; it is in no specification.  Where that is not there,
the catalog is read and searched through, as podman does.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from oci_image.errors import RegistryError
from oci_image.model.registry_reference import DOCKER_HUB
from oci_image.registry.documents import read_document
from oci_image.registry.listing import client_of, list_repositories
from oci_image.value import Value

if TYPE_CHECKING:
    from oci_image.registry.options import RegistryOptions

_MAX_RESULTS = 100  # more than that Hub does not give at once


class FoundRepository(Value):
    """A repository with what its registry says of it; a catalog knows the name alone."""

    name: str
    description: str = ""
    stars: int = 0
    official: bool = False
    automated: bool = False


def search_repositories(
    term: str,
    host: str = DOCKER_HUB,
    options: RegistryOptions | None = None,
    *,
    limit: int = 25,
    stars: int = 0,
    official: bool | None = None,
) -> list[FoundRepository]:
    """The repositories of a registry that suit `term`, best first as the registry has it.

    `stars` is the least number of them, `official` True or False asks for that kind alone.
    Raises: RegistryError if the registry offers neither a search nor its catalog.
    """
    client = client_of("index.docker.io" if host == DOCKER_HUB else host, "", options)
    query = urlencode({"q": term, "n": min(limit, _MAX_RESULTS)})
    try:
        response = client.request("GET", f"/v1/search?{query}", scope=" ")
        found = _decode(json.loads(read_document(response, host)), host)
    except RegistryError as error:
        if error.status not in (400, 404, 405):
            raise
        wanted = term.lower()
        found = [FoundRepository(name) for name in list_repositories(host, options) if wanted in name.lower()]
    except ValueError:
        raise RegistryError("registry gave no results of a search", where=host) from None
    finally:
        client.close()
    chosen = [one for one in found if one.stars >= stars and (official is None or one.official == official)]
    return chosen[:limit]


def _decode(document: Any, host: str) -> list[FoundRepository]:  # noqa: ANN401 - JSON from outside
    results = document.get("results") if isinstance(document, dict) else None
    if not isinstance(results, list):
        raise RegistryError("registry gave no results of a search", where=host)
    return [
        FoundRepository(
            str(entry.get("name") or ""),
            str(entry.get("description") or ""),
            int(entry.get("star_count") or 0),
            bool(entry.get("is_official")),
            bool(entry.get("is_automated")),
        )
        for entry in results
        if isinstance(entry, dict)
    ]
