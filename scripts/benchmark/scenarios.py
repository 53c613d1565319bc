"""What is measured.  Every scenario alternates between the runtimes, so that all see the same machine."""

import os
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime import SECCOMP, USER_NAMESPACE, Bundles, FailedError, Runtime

# row -> runtime -> one figure for each round
Figures = dict[str, dict[str, list[float]]]
WARM_UP = 2


class Scenarios:
    """The scenarios over one set of runtimes."""

    def __init__(self, runtimes: list[Runtime], bundles: Bundles, rounds: int) -> None:
        self.runtimes = runtimes
        self.bundles = bundles
        self.rounds = rounds
        self.failures: list[str] = []
        self._number = 0

    def name(self) -> str:
        """A container id that was not used before."""
        self._number += 1
        return f"bench-{os.getpid()}-{self._number}"

    def verbs(self) -> tuple[Figures, Figures]:
        """Every verb of a life in milliseconds, and the memory of the waiting init in KiB."""
        long = self.bundles.make("verbs-long", "/bin/sleep", "1000")
        short = self.bundles.make("verbs-short", "/bin/true")
        times, waiting = figures(), figures()
        for number in range(self.rounds + WARM_UP):
            for runtime in self.runtimes:
                costs, init = self._life(runtime, long, short)
                if number < WARM_UP:
                    continue
                costs["lifecycle"] = sum(
                    costs[verb] for verb in ("create", "start", "state", "kill", "delete")
                )
                for verb, cost in costs.items():
                    times[verb][runtime.name].append(cost)
                for kind, size in init.items():
                    waiting[kind][runtime.name].append(size)
        return times, waiting

    def _life(self, runtime: Runtime, long: str, short: str) -> tuple[dict[str, float], dict[str, int]]:
        name = self.name()
        costs = {"create": runtime.run("create", "--bundle", long, name)}
        try:
            init = memory_of(runtime.state(name)["pid"])
            costs["start"] = runtime.run("start", name)
            costs["state"] = runtime.run("state", name)
            costs["exec"] = runtime.run("exec", name, "/bin/true")
            costs["kill"] = runtime.run("kill", name, "KILL")
            runtime.wait_until_stopped(name)
            costs["delete"] = runtime.run("delete", name)
        except BaseException:
            runtime.run("delete", "--force", name)
            raise
        costs["run"] = runtime.run("run", "--bundle", short, self.name())
        return costs, init

    def memory(self) -> Figures:
        """The memory of every verb's own process in KiB: at its peak, and what it shares with no one."""
        long = self.bundles.make("memory", "/bin/sleep", "1000")
        result = figures()
        for runtime in self.runtimes:
            name = self.name()
            for verb, words in (
                ("create", ("create", "--bundle", long, name)),
                ("start", ("start", name)),
                ("state", ("state", name)),
                ("exec", ("exec", name, "/bin/true")),
                ("kill", ("kill", name, "KILL")),
                ("delete", ("delete", "--force", name)),
            ):
                sizes = runtime.memory(*words)
                result[f"{verb}, peak"][runtime.name].append(sizes["VmHWM"])
                result[f"{verb}, private"][runtime.name].append(sizes["RssAnon"])
        return result

    def kinds(self) -> Figures:
        """`run` of containers of several kinds."""
        bundles = {
            "run": self.bundles.make("plain", "/bin/true"),
            "run, seccomp": self.bundles.make("seccomp", "/bin/true", seccomp=SECCOMP),
            "run, user namespace": self.bundles.make("userns", "/bin/true", **USER_NAMESPACE),
            "run, 40 mounts": self.bundles.make("mounts", "/bin/true", mounts=self.bundles.mounts(40)),
        }
        return self._each(
            bundles, lambda runtime, bundle: runtime.run("run", "--bundle", bundle, self.name())
        )

    def _each(self, bundles: dict[str, str], measure: Callable[[Runtime, str], float]) -> Figures:
        result = figures()
        refused: set[tuple[str, str]] = set()
        for number in range(self.rounds + WARM_UP):
            for row, bundle in bundles.items():
                for runtime in self.runtimes:
                    if (row, runtime.name) in refused:
                        continue
                    try:
                        cost = measure(runtime, bundle)
                    except FailedError as error:
                        refused.add((row, runtime.name))
                        self.failures.append(f"{row}: {error}")
                        continue
                    if number >= WARM_UP:
                        result[row][runtime.name].append(cost)
        return result

    def at_once(self, counts: tuple[int, ...]) -> Figures:
        """Milliseconds per container when that many are run at the same time."""
        bundle = self.bundles.make("at-once", "/bin/true")
        result = figures()
        for number in range(max(self.rounds // 5, 3) + 1):
            for count in counts:
                for runtime in self.runtimes:
                    commands = [runtime.start("run", "--bundle", bundle, self.name()) for _ in range(count)]
                    # They overlap: the last one's end is the end of all.
                    total = max(command.wait() for command in commands)
                    if number:
                        result[f"{count} at once, per container"][runtime.name].append(total / count)
        return result

    def alive(self, counts: tuple[int, ...]) -> Figures:
        """`create` beside that many containers that are alive already."""
        bundle = self.bundles.make("alive", "/bin/sleep", "1000")
        result = figures()
        for runtime in self.runtimes:
            names: list[str] = []
            try:
                for count in counts:
                    while len(names) < count:
                        names.append(self.name())
                        runtime.run("create", "--bundle", bundle, names[-1])
                    for _ in range(self.rounds):
                        name = self.name()
                        cost = runtime.run("create", "--bundle", bundle, name)
                        result[f"create, {count} alive"][runtime.name].append(cost)
                        runtime.run("delete", "--force", name)
            finally:
                for name in names:
                    runtime.run("delete", "--force", name)
        return result

    def mounts(self, counts: tuple[int, ...]) -> Figures:
        """`run` of a container with that many mounts."""
        bundles = {
            f"run, {count} mounts": self.bundles.make(
                f"mounts-{count}", "/bin/true", mounts=self.bundles.mounts(count)
            )
            for count in counts
        }
        return self._each(
            bundles, lambda runtime, bundle: runtime.run("run", "--bundle", bundle, self.name())
        )

    def host_mounts(self, count: int) -> Figures:
        """`run` on a host whose mount table has that many entries more."""
        bundle = self.bundles.make("host-mounts", "/bin/true")
        with mounted(self.bundles.folder / "host-mounts-here", count):
            row = {f"run, {count} mounts on the host": bundle}
            return self._each(row, lambda runtime, path: runtime.run("run", "--bundle", path, self.name()))


def figures() -> Figures:
    return defaultdict(lambda: defaultdict(list))


def memory_of(pid: int) -> dict[str, int]:
    """Resident, proportional and anonymous memory of a process in KiB."""
    sizes = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, size = line.split()[:2]
        sizes[name.rstrip(":")] = int(size)
    return {"resident": sizes["Rss"], "proportional": sizes["Pss"], "anonymous": sizes["Anonymous"]}


@contextmanager
def mounted(folder: Path, count: int) -> Iterator[None]:
    """That many mounts below a directory, gone afterwards."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "bench", folder], check=True)
    try:
        subprocess.run(["mount", "--make-private", folder], check=True)
        for number in range(count):
            place = folder / str(number)
            place.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "bench", place], check=True)
        yield
    finally:
        subprocess.run(["umount", "--recursive", folder], check=True)
