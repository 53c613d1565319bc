"""Where attacks happen: a layout, a bundle, and a victim beside them that must not change."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from oci_image.layers.limits import Limits
from oci_image.model.platform import Platform
from oci_image.model.reference import Reference
from oci_image.unpack import UnpackOptions, unpack_image
from pyruntime.base.errors import ExpectedError
from tests.image_builder import Layer, make_layout

Snapshot = dict[str, tuple[int, int, int, int, bytes]]


@dataclass
class Place:
    """Where a test unpacks; `victim` is what must not change."""

    path: Path
    victim: Path
    rootfs: Path

    def unpack(self, *layers: bytes | Layer, limits: Limits | None = None, **options: Any) -> Path:
        layout = make_layout(str(self.path / f"layout-{len(list(self.path.iterdir()))}"), *layers, **options)
        settings = UnpackOptions(
            platform=Platform("linux", "amd64"), rootless=os.geteuid() != 0, limits=limits or Limits()
        )
        unpack_image(layout, Reference(), str(self.path / "bundle"), settings)
        return self.rootfs

    def refuses(self, *layers: bytes | Layer, limits: Limits | None = None, **options: Any) -> str:
        """Unpacking fails as expected and leaves nothing; the message."""
        with pytest.raises(ExpectedError) as caught:
            self.unpack(*layers, limits=limits, **options)
        assert not [name for name in os.listdir(self.path) if "bundle" in name]
        return str(caught.value)


def snapshot(path: Path) -> Snapshot:
    found = {}
    for name in [path, *sorted(path.rglob("*"))]:
        status = name.lstat()
        content = (
            os.readlink(name).encode() if name.is_symlink() else name.read_bytes() if name.is_file() else b""
        )
        found[str(name)] = (status.st_mode, status.st_uid, status.st_nlink, status.st_mtime_ns, content)
    return found
