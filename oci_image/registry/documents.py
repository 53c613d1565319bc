"""Documents of a registry: what is asked for, and answers of bounded size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import urllib3

from oci_image.errors import ImageError, RegistryError
from oci_image.model.document import MAX_DOCUMENT_BYTES
from oci_image.model.media_types import INDEXES, MANIFESTS

if TYPE_CHECKING:
    from oci_image.model.digest import Digest

ACCEPT = {"Accept": ", ".join(sorted(MANIFESTS | INDEXES))}
PUSH = "pull,push"


def read_document(response: urllib3.BaseHTTPResponse, where: str) -> bytes:
    """The body of an answer that is a document; `where` names it in errors."""
    try:
        data = response.read(MAX_DOCUMENT_BYTES + 1, decode_content=False)
        if len(data) > MAX_DOCUMENT_BYTES:
            raise ImageError(f"document is larger than {MAX_DOCUMENT_BYTES} bytes", where=where)
    except urllib3.exceptions.HTTPError as error:
        raise RegistryError(f"connection broke: {error}", where=where) from None
    finally:
        response.close()
    return data


def fallback_tag(digest: Digest) -> str:
    """The tag under which the referrers of a manifest are where there is no API for them."""
    return f"{digest.algorithm}-{digest.encoded}"[:128]
