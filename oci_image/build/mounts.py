"""RUN --mount: what a command finds for as long as it runs, and no layer gets.

Source: Dockerfile reference, "RUN --mount".
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import posixpath
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from oci_image.build.agent import AgentSocket
from oci_image.build.paths import canonical_path
from oci_image.build.placing import Placer
from oci_image.build.running import Mount
from oci_image.build.settings import absolute
from oci_image.build.sources import checksum
from oci_image.errors import ImageError
from pyruntime.base.errors import errno_text

if TYPE_CHECKING:
    import contextlib

    from oci_image.build.builder import Build
    from oci_image.build.sources import SourceTree
    from oci_image.build.stages import Stage

_KINDS = {
    "bind": {"source", "from", "rw"},
    "cache": {"id", "ro", "sharing", "mode", "uid", "gid"},
    "tmpfs": {"size"},
    "secret": {"id", "required", "mode", "uid", "gid", "env"},
    "ssh": {"id", "required", "mode", "uid", "gid"},
}
_OTHER_NAMES = {
    "src": "source", "dst": "target", "destination": "target", "readwrite": "rw", "readonly": "ro",
}  # fmt: skip
_MAX_SECRET = 500 << 10
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(slots=True)
class MountRequest:
    """One --mount; `target` is absolute, `given` the other properties by their usual names."""

    kind: str
    target: str
    given: dict[str, str] = field(default_factory=dict)

    def flag(self, name: str) -> bool:
        """Whether a property that is true or false is true; one without a value is."""
        return self.given.get(name, "false") in ("", "true", "1")

    def number(self, name: str, default: int, base: int = 10) -> int:
        """A property that is a number; ImageError."""
        text = self.given.get(name, "")
        try:
            return int(text, base) if text else default
        except ValueError:
            raise ImageError(f"--mount: {name} is no number: {text!r}") from None


def parse_mount(text: str, directory: str) -> MountRequest:
    """The value of one --mount, in the working directory `directory`; ImageError."""
    given: dict[str, str] = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        given[_OTHER_NAMES.get(name.lower(), name.lower())] = value
    kind = given.pop("type", "bind")
    if kind not in _KINDS:
        raise ImageError(f"mounts of type {kind!r} are not supported", hint=f"known: {', '.join(_KINDS)}")
    target = given.pop("target", "")
    if kind == "secret":
        given.setdefault("id", posixpath.basename(target))
        if not target and "env" not in given:
            target = f"/run/secrets/{given['id']}"
    elif kind == "ssh":
        given["id"] = given.get("id") or "default"
        target = target or f"/run/buildkit/ssh_agent.{given['id']}"
    elif not target:
        raise ImageError(f"a mount of type {kind} needs a target", hint="write target=PATH")
    wrong = given.keys() - _KINDS[kind] - ({"ro"} if kind in ("bind", "tmpfs") else set())
    if wrong:
        raise ImageError(f"a mount of type {kind} has no {', '.join(sorted(wrong))}")
    return MountRequest(kind, absolute(directory, target).rstrip("/") if target else "", given)


def mount_key(build: Build, stage: Stage, request: MountRequest) -> list[object]:
    """What a step depends on by a mount: for a bind the content, for the others that they are there."""
    key: list[object] = [request.kind, request.target, sorted(request.given.items())]
    if request.kind == "bind":
        origin, source = request.given.get("from", ""), request.given.get("source", "")
        named = build.contexts.tree(origin) if origin else None
        if origin and named is None:
            key.append([str(digest) for digest in build.source_state(origin, stage).draft.diff_ids()])
        else:
            found = (named or build.files).find(source)
            key.append(checksum(found))
            for each in found:
                each.close()
    return key


def make_mount(
    build: Build, stage: Stage, request: MountRequest, opened: contextlib.ExitStack
) -> tuple[Mount | None, list[str]]:
    """The mount of a request, and variables that it adds; both end with `opened`.  Raises: ImageError."""
    if request.kind == "tmpfs":
        size = request.number("size", 0)
        options = ("nosuid", "nodev", *((f"size={size}",) if size else ()))
        return Mount(request.target, "", options), []
    if request.kind == "secret":
        return _secret(build, request)
    if request.kind == "ssh":
        return _agent(build, request, opened)
    if request.kind == "cache":
        return _cache(build, request, opened), []
    return _bind(build, stage, request, opened), []


def _bind(build: Build, stage: Stage, request: MountRequest, opened: contextlib.ExitStack) -> Mount:
    origin, source = request.given.get("from", ""), request.given.get("source", "")
    access = "rw" if request.flag("rw") else "ro"
    named = build.contexts.tree(origin) if origin else build.files
    if named is not None:
        return _copy_of_context(build, named, source, request.target, access)
    lowers = build.lowers(build.source_state(origin, stage))
    workspace = build.workspace
    if access == "rw":
        area = workspace.new_area(lowers)
        opened.enter_context(workspace.mounted_below(area))
        root = opened.enter_context(workspace.mounted(area))
    else:
        root = opened.enter_context(workspace.reading(lowers))
    root_fd = os.open(root, _DIRECTORY)
    try:
        real, there = canonical_path(root_fd, source)
    finally:
        os.close(root_fd)
    if not there and real:
        raise ImageError(f"no {source!r} to mount", where=f"--mount from={origin}")
    path = os.path.join(root, real)
    return Mount(request.target, path, ("rbind", access), is_directory=os.path.isdir(path))


def _copy_of_context(build: Build, tree: SourceTree, source: str, target: str, access: str) -> Mount:
    """A copy: what .dockerignore leaves out is not seen, and what is written is nobody's."""
    path = build.workspace.scratch()
    is_directory = True
    root_fd = os.open(path, _DIRECTORY)
    try:
        for each in tree.find(source):
            is_directory = each.is_directory
            placer = Placer(root_fd, now=build.now)
            try:
                placer.place(each, b"tree")
            finally:
                placer.close()
                each.close()
    finally:
        os.close(root_fd)
    return Mount(target, os.path.join(path, "tree"), ("rbind", access), is_directory=is_directory)


def _cache(build: Build, request: MountRequest, opened: contextlib.ExitStack) -> Mount:
    """A directory that stays from build to build; the name is a digest, as the id may be anything."""
    sharing = request.given.get("sharing", "shared")
    if sharing not in ("shared", "private", "locked"):
        raise ImageError(f"--mount: sharing is {sharing!r}", hint="shared, private or locked")
    name = hashlib.sha256((request.given.get("id") or request.target).encode()).hexdigest()
    path = os.path.join(build.workspace.location, "build-mounts", name)
    mode, owner = request.number("mode", 0o755, 8), (request.number("uid", 0), request.number("gid", 0))
    try:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        if not os.path.isdir(path):
            os.mkdir(path)
            os.chown(path, *owner)
            os.chmod(path, mode)
        fd = os.open(path, _DIRECTORY)
    except OSError as error:
        raise ImageError(f"cannot use the cache: {errno_text(error.errno or 0)}", where=path) from None
    opened.callback(os.close, fd)
    if sharing == "locked":
        fcntl.flock(fd, fcntl.LOCK_EX)
    elif sharing == "private":
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            path = build.workspace.scratch()
    return Mount(request.target, path, ("rbind", "ro" if request.flag("ro") else "rw"))


def _secret(build: Build, request: MountRequest) -> tuple[Mount | None, list[str]]:
    name = request.given["id"]
    if name not in build.options.secrets:
        if request.flag("required"):
            raise ImageError(f"secret {name!r} is required", hint=f"give it with --secret id={name},src=FILE")
        return None, []
    content = build.options.secrets[name]
    variables = [f"{request.given['env']}={os.fsdecode(content)}"] if request.given.get("env") else []
    if not request.target:
        return None, variables
    path = os.path.join(build.workspace.scratch(), "secret")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
    os.chown(path, request.number("uid", 0), request.number("gid", 0))
    os.chmod(path, request.number("mode", 0o400, 8))
    return Mount(request.target, path, ("rbind", "ro"), is_directory=False), variables


def _agent(
    build: Build, request: MountRequest, opened: contextlib.ExitStack
) -> tuple[Mount | None, list[str]]:
    name = request.given["id"]
    if name not in build.options.agents:
        if request.flag("required"):
            raise ImageError(f"SSH agent {name!r} is required", hint=f"give it with --ssh {name}")
        return None, []
    mode, owner = request.number("mode", 0o600, 8), (request.number("uid", 0), request.number("gid", 0))
    agent = AgentSocket(
        build.options.agents[name], build.workspace.scratch(), mode=mode, uid=owner[0], gid=owner[1]
    )
    opened.enter_context(agent)
    mount = Mount(request.target, agent.path, ("bind", "ro"), is_directory=False)
    return mount, [f"SSH_AUTH_SOCK={request.target}"]


def read_secret(text: str) -> tuple[str, bytes]:
    """Name and content of a --secret, `id=NAME,src=FILE` or `id=NAME,env=VARIABLE`; ImageError."""
    given = dict(part.partition("=")[::2] for part in text.split(","))
    name = given.get("id", "")
    source = given.get("src") or given.get("source") or ""
    if not name or given.keys() - {"id", "src", "source", "env", "type"}:
        raise ImageError(f"invalid secret {text!r}", hint="write id=NAME,src=FILE or id=NAME,env=VARIABLE")
    if not source and (variable := given.get("env") or name) in os.environ:
        return name, os.environb[os.fsencode(variable)]
    try:
        with open(source or name, "rb") as file:
            content = file.read(_MAX_SECRET + 1)
    except OSError as error:
        raise ImageError(f"cannot read secret {name!r}: {errno_text(error.errno or 0)}", where=source) from None
    if len(content) > _MAX_SECRET:
        raise ImageError(f"secret {name!r} is larger than {_MAX_SECRET} bytes", where=source)
    return name, content
