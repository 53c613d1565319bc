"""A private place to build images in: a context, a store, a directory of builds, and busybox as the base."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oci_image.build.builder import BuildOptions, BuiltImage, build_image
from oci_image.model.manifest import decode_manifest
from oci_image.snapshots.cache import SnapshotCache
from oci_image.store.content import Store
from tests.conftest import TREE, program


class Place:
    """Where one test builds; BASE in a Dockerfile stands for the busybox image."""

    def __init__(self, directory: Path, base: str) -> None:
        self.directory = directory
        self.context = directory / "context"
        self.context.mkdir()
        self.base = base
        runtime = program("pyruntime")
        self.runtime = runtime[0] if len(runtime) == 1 else ""
        self.said: list[str] = []

    @property
    def store(self) -> str:
        return str(self.directory / "store")

    @property
    def builds(self) -> Path:
        return self.directory / "snapshots/builds"

    @property
    def dockerfile(self) -> Path:
        return self.directory / "Dockerfile"

    def write(self, name: str, content: str, mode: int = 0o644) -> None:
        path = self.context / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        path.chmod(mode)

    def build(self, text: str, **options: Any) -> BuiltImage:
        self.dockerfile.write_text(text.replace("BASE", self.base))
        self.said.clear()
        wanted: dict[str, Any] = {
            "dockerfile": str(self.dockerfile), "tags": ("built",), "store": self.store,
            "snapshots": str(self.directory / "snapshots"), "runtime": self.runtime, "network": "none",
            "say": self.said.append, **options,
        }  # fmt: skip
        return build_image(str(self.context), BuildOptions(**wanted))

    def config(self, built: BuiltImage) -> dict[str, Any]:
        with Store(self.store) as store:
            manifest = decode_manifest(store.read_document(built.manifest), where="")
            config: dict[str, Any] = json.loads(store.read_document(manifest.config))
        return config

    def layers(self, built: BuiltImage) -> list[dict[str, tarfile.TarInfo]]:
        """The entries of each layer."""
        with Store(self.store) as store:
            manifest = decode_manifest(store.read_document(built.manifest), where="")
        found = []
        for layer in manifest.layers:
            with tarfile.open(f"{self.store}/blobs/sha256/{layer.digest.encoded}") as archive:
                found.append({member.name: member for member in archive})
        return found

    def close(self) -> None:
        """Unmount the prepared images, which outlive what is done with them."""
        with SnapshotCache(str(self.directory / "snapshots"), exclusive=True) as cache:
            cache.collect_garbage()

    def from_cache(self) -> int:
        return self.said.count("--> from the cache")

    def check_nothing_is_left(self) -> None:
        """No directory and no mount of a build."""
        assert list(self.builds.iterdir()) == []
        assert str(self.builds) not in Path("/proc/self/mountinfo").read_text()


def write_base(directory: Path) -> str:
    """Make the busybox image; its name."""
    program_path = str(TREE / "scripts/busybox_image.py")
    subprocess.run(
        [sys.executable, program_path, str(directory)], check=True, capture_output=True, timeout=60
    )
    return f"oci:{directory}:latest"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The layout with the base image."""
    return write_base(tmp_path_factory.mktemp("base") / "layout")


@pytest.fixture
def place(tmp_path: Path, base: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A place of one test, without the caller's time for what is built."""
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    made = Place(tmp_path, base)
    yield made
    made.close()
