"""Building an image from a Dockerfile: stages on demand, step by step, each from the cache if it is known."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from oci_image.value import Value, fresh
from typing import TYPE_CHECKING

from oci_image.build.bases import Bases
from oci_image.build.cache import StepCache
from oci_image.build.contexts import NamedContexts, bring, ignore_rules, inside, is_remote
from oci_image.pack.overlay_changes import OverlayChanges
from oci_image.build.copy_step import copy_step
from oci_image.build.dockerfile import Dockerfile, Instruction, parse_dockerfile
from oci_image.build.outputs import write_output
from oci_image.build.run_step import run_step
from oci_image.build.running import Runner, find_runtime
from oci_image.build.settings import SETTINGS, absolute, apply_setting
from oci_image.build.sources import SourceTree
from oci_image.build.stages import Stage, Stages, argument_pairs, platform_arguments, split_stages
from oci_image.build.state import PROXY_ARGUMENTS, StageState
from oci_image.build.variables import expand_word
from oci_image.build.work_step import work_step
from oci_image.build.workspace import Workspace
from oci_image.errors import ImageError
from oci_image.model.platform import Platform, host_platform, parse_platform
from oci_image.model.registry_reference import full_name
from oci_image.pack.image import History, source_date_epoch, timestamp
from oci_image.pack.squashing import squash_layers
from oci_image.store.content import Store, default_store_path
from pyruntime.base.errors import ExpectedError, HostError, UsageError, errno_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from oci_image.build.cache import Made
    from oci_image.build.outputs import BuildOutput
    from oci_image.build.patterns import IgnoreRules
    from oci_image.build.workspace import Area
    from oci_image.model.descriptor import Descriptor
    from oci_image.model.digest import Digest
    from oci_image.pack.image import ImageDraft
    from oci_image.registry.options import RegistryOptions

_FULL = (errno.ENOSPC, errno.EDQUOT)
_DEFAULT_FILES = ("Dockerfile", "Containerfile")


class BuildOptions(Value):
    """How to build.

    `agents` are sockets of SSH agents by name, `contexts` further contexts by name, `stdin` is read for the context -.
    `dockerfile` is a path, "" stands for Dockerfile or Containerfile in the context.  `squash` makes one layer of
    those that the build adds ("new") or of all ("all").  With `outputs` an image without `tags` is not kept;
    those without a place of their own go to `stream`.
    `output_fd` takes what commands print, -1 keeps it for an error; `say` is told of every step.
    """

    dockerfile: str = ""
    tags: tuple[str, ...] = ()
    target: str = ""
    arguments: dict[str, str] = fresh(default_factory=dict)
    labels: dict[str, str] = fresh(default_factory=dict)
    annotations: dict[str, str] = fresh(default_factory=dict)
    hosts: tuple[tuple[str, str], ...] = ()
    squash: str = ""
    outputs: tuple[BuildOutput, ...] = ()
    stream: BinaryIO | None = None
    secrets: dict[str, bytes] = fresh(default_factory=dict)
    agents: dict[str, str] = fresh(default_factory=dict)
    contexts: dict[str, str] = fresh(default_factory=dict)
    stdin: BinaryIO | None = None
    use_cache: bool = True
    pull: str = "missing"
    platform: Platform | None = None  # None: this machine's
    network: str = "host"
    compression: str = "gzip"
    level: int = 0
    store: str = ""
    snapshots: str = ""
    runtime: str = ""
    registry: RegistryOptions | None = None
    output_fd: int = -1
    say: Callable[[str], None] = lambda _text: None


class BuiltImage(Value):
    """The manifest, the config's digest, which is what Docker calls the image's id, and its names."""

    manifest: Descriptor
    config: Digest
    names: tuple[str, ...]


def build_image(context: str, options: BuildOptions) -> BuiltImage:
    """Build the image of a Dockerfile over `context`, a directory, URL, repository or -, into the store.

    Raises: ImageError with file and line, HostError, RegistryError, UsageError.  Nothing is left then but
    layers of steps that had succeeded, which the next build finds in its cache.
    """
    remote = is_remote(context) and not os.path.isdir(context)
    path, rules = ("", None) if remote else _find_files(context, options.dockerfile)
    dockerfile = None if remote else _read_dockerfile(path)
    location = options.store or default_store_path()
    with Store.open(location, create=True) as store, store.adding():
        runtime = find_runtime(options.runtime)
        with contextlib.ExitStack() as opened:
            workspace = opened.enter_context(Workspace(options.snapshots, runtime=runtime))
            if dockerfile is None:
                context = bring(context, workspace.scratch, options.stdin)
                path, rules = _find_files(context, options.dockerfile, remote=True)
                dockerfile = _read_dockerfile(path)
            files = opened.enter_context(SourceTree(context, rules))
            build = Build(dockerfile, options, store, workspace, Runner(workspace, runtime, options.output_fd, options.hosts))
            build.files = files
            opened.callback(build.contexts.close)
            state = build.target()
        draft = state.draft
        draft.settings.update(_labelled(draft, options.labels))
        if options.annotations:
            draft.manifest["annotations"] = {**draft.manifest.get("annotations", {}), **options.annotations}
        if options.squash:
            keep = state.kept if options.squash == "new" else 0
            history = History(created_by="squash", comment="merged the layers of the steps before")
            squash_layers(store, draft, keep, history, options.compression, options.level)
        draft.config["created"] = timestamp()
        manifest = draft.store(store)
        names = tuple(tag if options.store else full_name(tag) for tag in options.tags)
        for output in options.outputs:
            write_output(store, manifest, output, options)
        for name in names:
            store.tag(manifest, name)
        if not names and not options.outputs:
            store.add_nameless(manifest)
    from oci_image.model.descriptor import decode_descriptor

    config = decode_descriptor(draft.manifest["config"], where="manifest")
    return BuiltImage(manifest, config.digest, names)


def _labelled(draft: ImageDraft, labels: dict[str, str]) -> dict[str, dict[str, str]]:
    return {"Labels": {**(draft.settings.get("Labels") or {}), **labels}} if labels else {}


def _find_files(context: str, named: str, *, remote: bool = False) -> tuple[str, IgnoreRules]:
    """The Dockerfile, and the rules of the ignore file that goes with it; what is `remote` has both in itself."""
    if not os.path.isdir(context):
        raise UsageError(f"context {context!r} is no directory")
    path = named
    if not named:
        there = [name for name in _DEFAULT_FILES if os.path.isfile(os.path.join(context, name))]
        if not there:
            raise ImageError("no Dockerfile and no Containerfile", where=context, hint="name one with --file")
        path = os.path.join(context, there[0])
    if remote and not (named and os.path.isabs(named)):
        path = inside(context, named or there[0])
    return path, ignore_rules(context, f"{path}.dockerignore")


def _read_dockerfile(path: str) -> Dockerfile:
    try:
        with open(path, "rb") as file:
            return parse_dockerfile(file.read((4 << 20) + 1), path)
    except OSError as error:
        raise ImageError(f"cannot read: {errno_text(error.errno or 0)}", where=path) from None


class Build:
    """One build: what its stages share, and the stages that are done."""

    files: SourceTree

    def __init__(
        self, dockerfile: Dockerfile, options: BuildOptions, store: Store, workspace: Workspace, runner: Runner
    ) -> None:  # fmt: skip
        self.options = options
        self.store = store
        self.workspace = workspace
        self.runner = runner
        self.platform = (options.platform or host_platform()).normal()
        self.latest = source_date_epoch()
        self._dockerfile = dockerfile
        self.escape = dockerfile.directives.get("escape", "\\")
        self._platforms = platform_arguments(self.platform, host_platform())
        self._stages: Stages = split_stages(dockerfile, options.arguments, self._platforms)
        self._bases = Bases(store, options.pull, options.registry, options.say)
        self.contexts = NamedContexts(options.contexts, workspace.scratch)
        self._cache = StepCache(store, enabled=options.use_cache)
        self._done: dict[int, StageState] = {}
        self._images: dict[str, StageState] = {}
        self._declared: set[str] = set(self._stages.arguments)
        self._count = 0

    @property
    def now(self) -> int:
        """The time of what is made now, in nanoseconds; SOURCE_DATE_EPOCH fixes it."""
        return time.time_ns() if self.latest is None else self.latest * 1_000_000_000

    def target(self) -> StageState:
        """Build the stage that is wanted, and what it needs."""
        wanted = self._stages.stages[-1]
        if self.options.target:
            found = self._stages.find(self.options.target)
            if found is None:
                names = ", ".join(stage.name or str(stage.number) for stage in self._stages.stages)
                raise UsageError(f"no stage {self.options.target!r}", hint=f"stages: {names}")
            wanted = found
        state = self._stage(wanted)
        unused = self.options.arguments.keys() - self._declared - PROXY_ARGUMENTS - self._platforms.keys()
        if unused:
            self.options.say(f"warning: build arguments were not used: {', '.join(sorted(unused))}")
        return state

    def source_state(self, name: str, stage: Stage) -> StageState:
        """The stage or image that --from means in `stage`."""
        image = self.contexts.image(name)
        found = None if image else self._stages.find(name, stage.number)
        if found is not None:
            return self._stage(found)
        name = image or name
        if name.isdecimal():
            raise ImageError(f"no stage {name} before this one")
        if name not in self._images:
            self._images[name] = StageState(self._bases.draft(name, self.platform))
        return self._images[name]

    def lowers(self, state: StageState) -> list[str]:
        """Directories with the tree of a stage, top first."""
        if state.lowers is None or self.workspace.is_full(state.lowers):
            draft = state.draft
            state.lowers = [self.workspace.prepare(self.store, draft.layers(), draft.diff_ids())]
        return state.lowers

    def step_parts(self, state: StageState) -> dict[str, object]:
        """What every step that makes a layer depends on."""
        return {
            "below": [str(digest) for digest in state.draft.diff_ids()],
            "compression": [self.options.compression, self.options.level, state.draft.is_docker],
            "latest": self.latest,
            "platform": str(self.platform),
        }

    def layer_step(
        self, state: StageState, key: str, created_by: str, make: Callable[[Area], None]
    ) -> None:
        """A step that may change the tree: from the cache, or made in a new area."""
        known, made = self._cache.find(key)
        if known:
            self.options.say("--> from the cache")
            state.lowers = None if made is not None else state.lowers
        else:
            made = self._make(state, make)
            self._cache.note(key, made)
        history = History(created_by=created_by)
        if made is None:
            state.draft.add_history(history, empty_layer=True)
        else:
            state.draft.add_layer(made[0], made[1], history)

    def _make(self, state: StageState, make: Callable[[Area], None]) -> Made:
        lowers = self.lowers(state)
        area = self.workspace.new_area(lowers)
        make(area)
        options = self.options
        with self.workspace.mounted_below(area) as below, OverlayChanges(area.upper, below) as changes:
            for path in changes.tree.skipped:
                options.say(f"warning: socket {path} is not in the layer")
            if not changes:
                return None
            made = changes.write(
                self.store, options.compression, options.level, self.latest, docker=state.draft.is_docker
            )
        state.lowers = [area.upper, *lowers]
        return made

    def _stage(self, stage: Stage) -> StageState:
        if stage.number not in self._done:
            with _Placing(self._dockerfile.name, stage.begin):
                state = self._begin(stage)
            triggers = state.settings.pop("OnBuild", None) or []
            for text in triggers:
                with _Placing(self._dockerfile.name, stage.begin, f"ONBUILD {text}"):
                    for instruction in parse_dockerfile(f"FROM base\n{text}".encode()).instructions[1:]:
                        self._step(state, stage, instruction)
            for instruction in stage.instructions:
                with _Placing(self._dockerfile.name, instruction):
                    self._step(state, stage, instruction)
            self._done[stage.number] = state
        return self._done[stage.number]

    def _begin(self, stage: Stage) -> StageState:
        self._say_step(stage.begin)
        image = self.contexts.image(stage.base)
        if not image and self.contexts.tree(stage.base) is not None:
            raise ImageError(f"the context {stage.base!r} has files and is no image")
        base = None if image else self._stages.find(stage.base, stage.number)
        if base is not None and base.name == stage.base.lower():
            below = self._stage(base)
            return StageState(below.draft.copied(), self.escape, below.lowers, kept=below.kept)
        platform = parse_platform(stage.platform).normal() if stage.platform else self.platform
        draft = self._bases.draft(image or stage.base, platform)
        return StageState(draft, self.escape, kept=len(draft.diff_ids()))

    def _step(self, state: StageState, stage: Stage, instruction: Instruction) -> None:
        self._say_step(instruction)
        keyword = instruction.keyword
        if keyword == "ARG":
            self._argument(state, instruction)
        elif keyword == "RUN":
            run_step(self, state, stage, instruction)
        elif keyword in ("COPY", "ADD"):
            copy_step(self, state, stage, instruction)
        elif keyword == "WORKDIR":
            directory = expand_word(instruction.text, state.lookup, self.escape)
            state.settings["WorkingDir"] = absolute(state.directory, directory).rstrip("/") or "/"
            work_step(self, state, instruction)
        elif keyword in SETTINGS:
            apply_setting(state, instruction)
        else:
            raise ImageError(f"{keyword} is not expected here")
        if keyword in SETTINGS or keyword == "ARG":
            state.draft.add_history(History(created_by=shown(instruction)), empty_layer=True)

    def _argument(self, state: StageState, instruction: Instruction) -> None:
        given, first = self.options.arguments, {**self._platforms, **self._stages.arguments}
        known = {**state.arguments, **{e.partition("=")[0]: e.partition("=")[2] for e in state.environment}}
        for name, default in argument_pairs(instruction, known, self.escape):
            self._declared.add(name)
            state.arguments[name] = given.get(name, default if default is not None else first.get(name))

    def _say_step(self, instruction: Instruction) -> None:
        self._count += 1
        self.options.say(f"STEP {self._count} (line {instruction.line}): {shown(instruction)}")


def shown(instruction: Instruction) -> str:
    """An instruction on one line, as histories and people have it."""
    flags = [f"--{name}={value}" if value else f"--{name}" for name, value in instruction.flags]
    return " ".join([instruction.keyword, *flags, instruction.text])


class _Placing:
    """Puts file and line in front of the place of an error."""

    def __init__(self, name: str, instruction: Instruction, detail: str = "") -> None:
        self._where = f"{name}:{instruction.line}"
        self._detail = detail

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, OSError):
            what = f"cannot carry the step out: {errno_text(error.errno or 0)}"
            hint = "free space, or choose another place with --snapshots" if error.errno in _FULL else ""
            raise HostError(what, where=f"{self._where}: {error.filename or 'build'}", hint=hint) from error
        if isinstance(error, ExpectedError) and not isinstance(error, UsageError):
            if error.where.startswith(self._where.rpartition(":")[0] + ":"):
                return  # a stage that this one needs has said where
            places = [self._where, self._detail, error.where]
            raise type(error)(
                error.what, where=": ".join(place for place in places if place), hint=error.hint
            ) from error
