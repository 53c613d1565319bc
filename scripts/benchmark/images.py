"""How long images take: oci-image beside umoci and beside tar through pigz, alternating.

Plain directories are made on tmpfs.  Prepared images lie on a fresh ext4 in a file, because EROFS cannot stand on
tmpfs.  What a run leaves is removed outside of the times.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import hashlib
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from image_page import page
from transfers import Transfers, registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TREE = Path(__file__).resolve().parents[2]
ON_DISK = "umoci unpack, on disk"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


@dataclass
class Job:
    """One way to do it: `run` is timed, `clean` is not."""

    name: str
    run: Callable[[], None]
    clean: Callable[[], None]
    beside: str = "umoci unpack"  # the job that it is measured by
    processor: list[float] = field(default_factory=list)  # seconds of all its processes, round by round


class Bench:
    """Programs, images and places of one series."""

    def __init__(self, options: argparse.Namespace, scratch: Path, disk: Path) -> None:
        self.program = options.oci_image.split()
        self.scratch = scratch
        self.disk = disk

    def call(self, *words: str | Path, **environment: str) -> None:
        """Run a program to its end; CalledProcessError with its words if it fails."""
        done = subprocess.run(
            [str(word) for word in words], env={**os.environ, **environment}, cwd=TREE, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        if done.returncode:
            sys.exit(f"{words[0]} failed: {done.stderr}")

    def unpack(self, image: str, *options: str, **environment: str) -> Callable[[], None]:
        """Unpack into the plain bundle."""
        return lambda: self.call(
            *self.program, "unpack", "-q", *options, "--image", image, self.bundle, **environment
        )

    @property
    def bundle(self) -> Path:
        return self.scratch / "bundle"

    def remove(self) -> None:
        """Remove the plain bundle."""
        shutil.rmtree(self.bundle, ignore_errors=True)  # noqa: TID251 - made by this program, run by nobody

    def remove_from_disk(self) -> None:
        """Remove what umoci has made beside the prepared images."""
        shutil.rmtree(self.disk / "umoci", ignore_errors=True)  # noqa: TID251 - as above

    def mounted(self, image: str) -> None:
        """A bundle over a prepared image."""
        words = ["unpack", "-q", "--snapshot", "auto", "--snapshots", str(self.disk / "snapshots")]
        self.call(*self.program, *words, "--image", image, self.disk / "bundle")

    def unmount(self) -> None:
        """The bundle goes, the prepared image stays."""
        self.call(*self.program, "unmount", "-q", "--remove", self.disk / "bundle")

    def forget(self) -> None:
        """The prepared image goes too."""
        self.unmount()
        self.call(*self.program, "snapshots", "-q", "--snapshots", self.disk / "snapshots", "gc")

    def extract(self, blobs: list[str]) -> None:
        """What tar makes of the layers, one after the other; it knows no whiteouts."""
        self.bundle.mkdir()
        for blob in blobs:
            subprocess.run(
                ["tar", "-C", self.bundle, "-I", "pigz", "-xf", blob], check=False, stderr=subprocess.DEVNULL
            )


def jobs_for(bench: Bench, image: str, zstd: str) -> list[Job]:
    """All jobs whose programs are here."""
    jobs = []
    if shutil.which("umoci"):
        run = lambda: bench.call("umoci", "unpack", "--image", image, bench.bundle)  # noqa: E731
        jobs.append(Job("umoci unpack", run, bench.remove))
        run = lambda: bench.call("umoci", "unpack", "--image", image, bench.disk / "umoci")  # noqa: E731
        jobs.append(Job(ON_DISK, run, bench.remove_from_disk, ON_DISK))
    if shutil.which("pigz"):
        blobs = layer_paths(image)
        jobs.append(Job("tar through pigz", lambda: bench.extract(blobs), bench.remove))
    jobs.append(Job("oci-image unpack", bench.unpack(image), bench.remove))
    jobs.append(Job("oci-image unpack, zlib", bench.unpack(image, OCI_IMAGE_INFLATE="zlib"), bench.remove))
    if zstd:
        jobs.append(Job("oci-image unpack, zstd", bench.unpack(zstd), bench.remove))
    jobs.append(Job("first mounted bundle", lambda: bench.mounted(image), bench.unmount, ON_DISK))
    jobs.append(Job("second mounted bundle", lambda: bench.mounted(image), bench.forget, ON_DISK))
    return jobs


def layer_paths(image: str) -> list[str]:
    """The blobs of the layers of LAYOUT:TAG, bottom first."""
    layout, _, tag = image.rpartition(":")
    for entry in json.loads(Path(layout, "index.json").read_text())["manifests"]:
        if entry.get("annotations", {}).get("org.opencontainers.image.ref.name") == tag:
            manifest = json.loads(Path(layout, "blobs", entry["digest"].replace(":", "/")).read_text())
            return [f"{layout}/blobs/{layer['digest'].replace(':', '/')}" for layer in manifest["layers"]]
    sys.exit(f"no image {image}")


def measure(jobs: list[Job], rounds: int, warm: int = 1) -> dict[str, list[float]]:
    """Seconds of each job, round by round; the first `warm` rounds do not count."""
    times: dict[str, list[float]] = {job.name: [] for job in jobs}
    for number in range(1 - warm, rounds + 1):
        for job in jobs:
            begin, spent = time.perf_counter(), processor_seconds()
            job.run()
            took, spent = time.perf_counter() - begin, processor_seconds() - spent
            job.clean()
            if number:
                job.processor.append(spent)
                times[job.name].append(took)
    return times


def processor_seconds() -> float:
    """What all children that have ended took of the processors: trust it where the machine is busy with others."""
    times = os.times()
    return times.children_user + times.children_system


def report(jobs: list[Job], times: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Print medians, and medians of the ratios within each round to the job that each is measured by."""
    sys.stdout.write(f"{'':28}{'median':>10}{'lowest':>10}{'processor':>10}   ratio\n")
    rows: list[dict[str, Any]] = []
    for job in jobs:
        values = times[job.name]
        other = job.beside if job.beside in times else jobs[0].name
        ratio = statistics.median(a / b for a, b in zip(values, times[other], strict=True))
        median = statistics.median(values)
        spent = statistics.median(job.processor)
        sys.stdout.write(
            f"{job.name:28}{median:9.3f}s{min(values):9.3f}s{spent:9.3f}s   {ratio:.3f} of {other}\n"
        )
        rows.append(
            {"name": job.name, "median": median, "lowest": min(values), "processor": spent, "ratio": ratio, "of": other,
             "values": values}
        )  # fmt: skip
    return rows


def make_image(path: Path, files: int, layers: int) -> str:
    """A layout with an image of `files` small files in `layers` layers; LAYOUT:TAG."""
    (path / "blobs/sha256").mkdir(parents=True)
    (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    described, diff_ids = [], []
    for layer in range(layers):
        plain = plain_layer(range(layer, files, layers))
        diff_ids.append("sha256:" + hashlib.sha256(plain).hexdigest())
        described.append(add_blob(path, gzip.compress(plain, 6, mtime=0), LAYER))
    config = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    kind = "application/vnd.oci.image.{}.v1+json"
    manifest = {
        "schemaVersion": 2,
        "mediaType": kind.format("manifest"),
        "config": add_blob(path, json.dumps(config).encode(), kind.format("config")),
        "layers": described,
    }
    entry = add_blob(path, json.dumps(manifest).encode(), kind.format("manifest"))
    entry["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    return f"{path}:latest"


def plain_layer(numbers: range) -> bytes:
    """Files of about a kilobyte, a hundred to a directory."""
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as archive:
        for number in numbers:
            info = tarfile.TarInfo(f"usr/share/d{number // 100}/f{number}")
            data = hashlib.sha512(b"%d" % number).hexdigest().encode() * (number % 16)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return output.getvalue()


def add_blob(path: Path, data: bytes, media_type: str) -> dict[str, object]:
    """Store a blob; its descriptor."""
    encoded = hashlib.sha256(data).hexdigest()
    (path / "blobs/sha256" / encoded).write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{encoded}", "size": len(data)}


@contextlib.contextmanager
def places(parent: str) -> Iterator[tuple[Path, Path]]:
    """A directory for plain bundles and a fresh ext4 for prepared images."""
    with tempfile.TemporaryDirectory(prefix="bench-images-", dir=parent) as name:
        disk = Path(name, "disk")
        disk.mkdir()
        with open(f"{name}/ext4", "wb") as file:
            file.truncate(8 << 30)
        subprocess.run(["mkfs.ext4", "-q", "-F", f"{name}/ext4"], check=True)
        subprocess.run(["mount", "-o", "loop", f"{name}/ext4", str(disk)], check=True)
        try:
            yield Path(name), disk
        finally:
            for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
                if line.split()[4].startswith(name):
                    subprocess.run(["umount", line.split()[4]], check=False)


def curve(bench: Bench, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Seconds by number of files in three layers, and by number of layers with five times the fewest files."""
    sizes = [int(text) for text in options.files.split(",")]
    points = [(files, 3) for files in sizes]
    points += [(sizes[0] * 5, int(text)) for text in options.layers.split(",")]
    sys.stdout.write(f"\n{'files':>8}{'layers':>8}  seconds\n")
    rows: list[dict[str, Any]] = []
    for files, layers in points:
        image = make_image(bench.scratch / f"image-{files}-{layers}", files, layers)
        times = measure(jobs_for(bench, image, ""), options.curve_rounds, warm=0)
        medians = {name: statistics.median(values) for name, values in times.items()}
        shown = ", ".join(f"{name} {value:.3f}" for name, value in medians.items())
        sys.stdout.write(f"{files:8}{layers:8}  {shown}\n")
        rows.append({"files": files, "layers": layers, **medians})
    return rows


def measure_transfers(bench: Bench, image: str, rounds: int) -> list[dict[str, object]]:
    """Pulling and pushing, each beside skopeo."""
    rows: list[dict[str, object]] = []
    with registry(bench.scratch / "registry") as address:
        jobs = [
            Job(*job) for job in Transfers(bench.call, bench.program, bench.scratch, address).programs(image)
        ]
        for pair in (jobs[:2], jobs[2:]):
            sys.stdout.write("\n")
            rows += report(pair, measure(pair, rounds))
    return rows


def main() -> None:
    """Parse the command line and run the series."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", default="", metavar="LAYOUT:TAG", help="gzip layers (default: make one)")
    parser.add_argument("--zstd", default="", metavar="LAYOUT:TAG", help="the same image with zstd layers")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--no-registry", action="store_true", help="leave pulling and pushing out")
    parser.add_argument("--curve", action="store_true", help="also by files and by layers")
    parser.add_argument(
        "--files", default="1000,10000,50000,200000", help="for the curve (default: %(default)s)"
    )
    parser.add_argument("--layers", default="1,10,100", help="for the curve (default: %(default)s)")
    parser.add_argument("--curve-rounds", type=int, default=1)
    parser.add_argument("--scratch", default="/dev/shm")
    installed = TREE / ".venv/bin/oci-image"
    default = str(installed) if installed.exists() else f"{sys.executable} -m oci_image"
    parser.add_argument("--oci-image", default=default, metavar="PROGRAM")
    parser.add_argument("--json", default="", metavar="FILE")
    parser.add_argument("--markdown", default="", metavar="FILE", help="write a page of the figures")
    options = parser.parse_args()
    with places(options.scratch) as (scratch, disk):
        bench = Bench(options, scratch, disk)
        image = options.image or make_image(scratch / "image", 20_000, 5)
        jobs = jobs_for(bench, image, options.zstd)
        blobs = [Path(blob).stat().st_size for blob in layer_paths(image)]
        result: dict[str, Any] = {
            "image": f"{len(blobs)} layers of {', '.join(f'{size / 1e6:.1f}' for size in blobs)} MB, compressed"
        }
        result["jobs"] = report(jobs, measure(jobs, options.rounds))
        if not options.no_registry and shutil.which("docker-registry") and shutil.which("skopeo"):
            result["transfers"] = measure_transfers(bench, image, options.rounds)
        if options.curve:
            result["curve"] = curve(bench, options)
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=2))
    if options.markdown:
        Path(options.markdown).write_text(page(result, options.rounds))


if __name__ == "__main__":
    main()
