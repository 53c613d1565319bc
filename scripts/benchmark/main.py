"""scripts/bench: time every verb and whole lives beside the other runtimes of this machine."""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from report import medians, picture, ratios, table
from runtime import Bundles, FailedError, Runtime, find_runtimes
from scenarios import Figures, Scenarios

PARTS = ("verbs", "kinds", "at-once", "alive", "mounts")


def main() -> int:
    options = parse()
    if os.geteuid() != 0:
        sys.stderr.write("scripts/bench: needs root, for namespaces and cgroups of all runtimes\n")
        return 1
    with tempfile.TemporaryDirectory(prefix="pyruntime-bench-", dir=options.folder) as folder:
        try:
            bundles = Bundles(Path(folder))
            runtimes = usable(find_runtimes(options.runtimes, Path(folder)), bundles)
            return measure(options, Scenarios(runtimes, bundles, options.rounds))
        except FailedError as error:
            sys.stderr.write(f"scripts/bench: {error}\n")
            return 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("-n", "--rounds", type=int, default=20, help="rounds of each measurement")
    parser.add_argument("--quick", action="store_true", help="the verbs only")
    parser.add_argument("--only", choices=PARTS, action="append", help="this part only (repeatable)")
    parser.add_argument("--json", metavar="FILE", help="write the figures there as well")
    parser.add_argument("--svg", metavar="FILE", help="draw the verbs there")
    folder = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    parser.add_argument("--folder", default=folder, help="where bundles and states are kept")
    parser.add_argument("runtimes", nargs="*", metavar="NAME=COMMAND", help="the first one is the subject")
    return parser.parse_args()


def usable(runtimes: list[Runtime], bundles: Bundles) -> list[Runtime]:
    """Those that can run a container here; the subject must."""
    bundle = bundles.make("usable", "/bin/true")
    found = []
    for runtime in runtimes:
        try:
            runtime.run("run", "--bundle", bundle, f"bench-{os.getpid()}-usable")
            found.append(runtime)
        except FailedError as error:
            if not found:
                raise
            sys.stderr.write(f"left out: {error}\n")
    return found


def measure(options: argparse.Namespace, scenarios: Scenarios) -> int:
    names = [runtime.name for runtime in scenarios.runtimes]
    parts = ("verbs",) if options.quick else tuple(options.only or PARTS)
    print(heading(scenarios.runtimes))
    tables: list[tuple[str, str, Figures]] = []
    if "verbs" in parts:
        times, waiting = scenarios.verbs()
        tables += [
            ("verb", "ms", times),
            ("waiting init", "KiB", waiting),
            ("memory", "KiB", scenarios.memory()),
        ]
        if options.svg:
            Path(options.svg).write_text(picture(times, names, "milliseconds, median (shorter is better)"))
    if "kinds" in parts:
        tables.append(("kind", "ms", scenarios.kinds()))
    if "at-once" in parts:
        tables.append(("run", "ms", scenarios.at_once((1, 10, 50))))
    if "alive" in parts:
        tables.append(("create", "ms", scenarios.alive((0, 100, 500))))
    if "mounts" in parts:
        mounts = scenarios.mounts((10, 100, 1000))
        mounts.update(scenarios.host_mounts(1000))
        tables.append(("mounts", "ms", mounts))
    for title, unit, figures in tables:
        print(table(title, unit, figures, names) + "\n")
    for failure in scenarios.failures:
        print(f"not measured: {failure}")
    if options.json:
        document = {
            title: {"unit": unit, "median": medians(figures), "ratio": ratios(figures, names[0])}
            for title, unit, figures in tables
        }
        Path(options.json).write_text(json.dumps(document, indent=2) + "\n")
    return 0


def heading(runtimes: list[Runtime]) -> str:
    """What was measured where."""
    lines = [f"{platform.machine()}, Linux {platform.release()}, {os.cpu_count()} processors"]
    for runtime in runtimes:
        text = subprocess.run(
            [*runtime.command, "--version"], capture_output=True, text=True, check=False
        ).stdout
        lines.append(f"{runtime.name}: {'; '.join(text.splitlines()[:4])}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
