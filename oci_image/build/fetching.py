"""Files from elsewhere: ADD URL."""

from __future__ import annotations

import email.utils
import hashlib
import os
import posixpath
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from oci_image.build.sources import Source, SourceTree
from oci_image.errors import ImageError, IntegrityError
from oci_image.layers.limits import Limits

if TYPE_CHECKING:
    import urllib3

_PIECE = 1 << 20
_TIMEOUT = 60.0  # seconds without a byte


def is_url(text: str) -> bool:
    """Whether a source of ADD is to be fetched."""
    return bool(re.match(r"https?://", text, re.IGNORECASE))


def fetch_file(url: str, checksum: str, directory: str, latest: int | None) -> Source:
    """The file at `url`, in the new directory `directory`: for root alone, of the server's time.

    `checksum` is sha256:HEX, or "" for none.  `latest` bounds the time, in seconds.
    Raises: ImageError, IntegrityError.
    """
    import urllib3

    name = posixpath.basename(unquote(urlsplit(url).path))
    if not name or name in (".", "..") or "\0" in name:
        raise ImageError("cannot tell a file name from the URL", where=url)
    path = os.path.join(directory, name)
    pool = urllib3.PoolManager(timeout=_TIMEOUT, retries=urllib3.Retry(3, redirect=10))
    try:
        response = pool.request("GET", url, preload_content=False, headers={"Accept-Encoding": "identity"})
        try:
            if response.status != 200:
                raise ImageError(f"server answered with status {response.status}", where=url)
            found = _save(response, path)
            changed = email.utils.parsedate_to_datetime(response.headers.get("Last-Modified", ""))
            seconds = changed.timestamp()
        except (TypeError, ValueError):
            seconds = 0 if latest is None else latest
        finally:
            response.release_conn()
    except urllib3.exceptions.HTTPError as error:
        raise ImageError(f"cannot fetch: {error}", where=url) from None
    finally:
        pool.clear()
    if checksum and checksum != f"sha256:{found}":
        raise IntegrityError(f"file has the digest sha256:{found}, not {checksum}", where=url)
    os.chmod(path, 0o600)
    os.utime(path, (seconds, seconds))
    with SourceTree(directory) as tree:
        source = tree.find(literal(name))[0]
    source.fetched = True
    return source


def _save(response: urllib3.BaseHTTPResponse, path: str) -> str:
    """Write the body to a new file; its SHA-256."""
    left = Limits().layer_bytes
    hashed = hashlib.sha256()
    with open(path, "xb") as file:
        while piece := response.read(_PIECE):
            left -= len(piece)
            if left < 0:
                raise ImageError("file is larger than a layer may be")
            hashed.update(piece)
            file.write(piece)
    return hashed.hexdigest()


def literal(name: str) -> str:
    """A name with its wildcards escaped."""
    return re.sub(r"([*?\[\\])", r"\\\1", name)
