"""Makes small OCI layouts for tests: any tar entries, also crafted ones, in any compression.

Tar bytes are written here by hand, so that tests can say things no tar program would.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from dataclasses import dataclass, field
from typing import Any

BLOCK = 512
END = bytes(2 * BLOCK)
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
# security.capability of a program with cap_net_raw=ep, in the second version of its form.
NET_RAW = bytes.fromhex("0100000200200000000000000000000000000000")


def header(
    name: bytes,
    *,
    kind: bytes = b"0",
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    size: int = 0,
    mtime: int = 1_700_000_000,
    link: bytes = b"",
    device: tuple[int, int] = (0, 0),
    magic: bytes = b"ustar\x0000",
    prefix: bytes = b"",
    fields: dict[tuple[int, int], bytes] | None = None,
) -> bytes:
    """One header block; `fields` overwrites bytes before the checksum is made."""
    block = bytearray(BLOCK)
    block[0:100] = name[:100].ljust(100, b"\0")
    block[100:108] = b"%07o\0" % mode
    block[108:116] = octal(uid, 8)
    block[116:124] = octal(gid, 8)
    block[124:136] = octal(size, 12)
    block[136:148] = octal(mtime, 12)
    block[156:157] = kind
    block[157:257] = link[:100].ljust(100, b"\0")
    block[257:265] = magic
    block[329:337] = octal(device[0], 8)
    block[337:345] = octal(device[1], 8)
    if prefix:
        block[345:500] = prefix.ljust(155, b"\0")
    for (start, end), value in (fields or {}).items():
        block[start:end] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def octal(value: int, width: int) -> bytes:
    """A number field: octal if it fits, base-256 otherwise."""
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    return base256(value, width)


def base256(value: int, width: int) -> bytes:
    """A binary number field; negative numbers are in two's complement."""
    encoded = bytearray(value.to_bytes(width, "big", signed=True))
    encoded[0] |= 0x80
    return bytes(encoded)


def padded(data: bytes) -> bytes:
    """Data filled up to whole blocks."""
    return data + bytes(-len(data) % BLOCK)


def pax_record(key: bytes, value: bytes) -> bytes:
    """One record, its length counting itself."""
    length = len(key) + len(value) + 3
    total = length + len(str(length))
    total = length + len(str(total))
    return b"%d %s=%s\n" % (total, key, value)


def pax(records: dict[bytes, bytes] | bytes, *, kind: bytes = b"x") -> bytes:
    """An extended header of records, or of raw bytes."""
    data = records if isinstance(records, bytes) else b"".join(pax_record(k, v) for k, v in records.items())
    return header(b"pax", kind=kind, size=len(data)) + padded(data)


def gnu_long(name: bytes, *, kind: bytes = b"L") -> bytes:
    """A GNU long name (L) or long link target (K)."""
    data = name + b"\0"
    return header(b"././@LongLink", kind=kind, size=len(data), magic=b"ustar  \0") + padded(data)


def file(name: bytes, data: bytes = b"", **options: Any) -> bytes:
    """A regular file, long names by pax."""
    front = pax({b"path": name}) if len(name) > 100 else b""
    return front + header(name, size=len(data), **options) + padded(data)


def directory(name: bytes, *, mode: int = 0o755, **options: Any) -> bytes:
    """A directory."""
    return header(name, kind=b"5", mode=mode, **options)


def symlink(name: bytes, target: bytes, **options: Any) -> bytes:
    """A symbolic link."""
    return header(name, kind=b"2", mode=0o777, link=target, **options)


def hard_link(name: bytes, target: bytes, **options: Any) -> bytes:
    """A hard link."""
    return header(name, kind=b"1", link=target, **options)


def device(name: bytes, major: int, minor: int, *, kind: bytes = b"3", **options: Any) -> bytes:
    """A character device, or with kind b"4" a block device."""
    return header(name, kind=kind, device=(major, minor), **options)


def tar(*entries: bytes) -> bytes:
    """An archive of the entries with a proper end."""
    return b"".join(entries) + END


def compress(data: bytes, how: str) -> bytes:
    """Data in one of the compressions of layers."""
    if how == "gzip":
        return gzip.compress(data, 1, mtime=0)
    if how == "zstd":
        import zstandard

        return zstandard.ZstdCompressor().compress(data)
    return data


@dataclass
class Layer:
    """A layer to be: its plain bytes and what is to be said of it; None means the truth."""

    plain: bytes
    compression: str = "gzip"
    media_type: str | None = None
    blob: bytes | None = None
    digest: str | None = None
    size: int | None = None
    diff_id: str | None = None


@dataclass
class Image:
    """An image to be."""

    layers: list[Layer]
    config: dict[str, Any] = field(default_factory=dict)
    properties: dict[str, Any] = field(default_factory=dict)
    manifest: dict[str, Any] = field(default_factory=dict)


class LayoutBuilder:
    """An OCI layout that grows image by image."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.manifests: list[dict[str, Any]] = []
        os.makedirs(os.path.join(path, "blobs", "sha256"))
        self.write("oci-layout", b'{"imageLayoutVersion": "1.0.0"}')

    def write(self, name: str, data: bytes) -> None:
        """Write a file of the layout."""
        with open(os.path.join(self.path, name), "wb") as output:
            output.write(data)

    def blob(self, data: bytes, media_type: str, **properties: Any) -> dict[str, Any]:
        """Store a blob and return its descriptor."""
        encoded = hashlib.sha256(data).hexdigest()
        self.write(f"blobs/sha256/{encoded}", data)
        return {"mediaType": media_type, "digest": f"sha256:{encoded}", "size": len(data), **properties}

    def json(self, value: object, media_type: str, **properties: Any) -> dict[str, Any]:
        """Store a document and return its descriptor."""
        return self.blob(json.dumps(value).encode(), media_type, **properties)

    def manifest(self, image: Image, **properties: Any) -> dict[str, Any]:
        """Store an image without naming it; its descriptor."""
        layers = [self._layer(layer) for layer in image.layers]
        diff_ids = [
            layer.diff_id or f"sha256:{hashlib.sha256(layer.plain).hexdigest()}" for layer in image.layers
        ]
        config = {
            "os": "linux",
            "architecture": "amd64",
            "config": image.config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            **image.properties,
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.json(config, CONFIG),
            "layers": layers,
            **image.manifest,
        }
        return self.json(manifest, MANIFEST, **properties)

    def _layer(self, layer: Layer) -> dict[str, Any]:
        suffix = "" if layer.compression == "none" else f"+{layer.compression}"
        blob = layer.blob if layer.blob is not None else compress(layer.plain, layer.compression)
        descriptor = self.blob(blob, layer.media_type or LAYER + suffix)
        if layer.digest:
            os.rename(self._blob_path(descriptor["digest"]), self._blob_path(layer.digest))
            descriptor["digest"] = layer.digest
        if layer.size is not None:
            descriptor["size"] = layer.size
        return descriptor

    def _blob_path(self, digest: str) -> str:
        return os.path.join(self.path, "blobs", digest.replace(":", "/"))

    def add(self, descriptor: dict[str, Any], tag: str = "latest") -> None:
        """Name a manifest or index in index.json; an empty tag leaves it nameless."""
        annotations = {"org.opencontainers.image.ref.name": tag} if tag else {}
        self.manifests.append({**descriptor, "annotations": annotations})
        self.write_index({"schemaVersion": 2, "mediaType": INDEX, "manifests": self.manifests})

    def write_index(self, value: object) -> None:
        """Write index.json as it is given."""
        self.write("index.json", json.dumps(value).encode())


def make_layout(
    path: str, *layers: bytes | Layer, config: dict[str, Any] | None = None, **options: Any
) -> str:
    """A layout with one image, tagged latest, of plain tars or layers; its path."""
    builder = LayoutBuilder(path)
    made = [layer if isinstance(layer, Layer) else Layer(layer) for layer in layers]
    builder.add(builder.manifest(Image(made, config or {}, **options)))
    return path
