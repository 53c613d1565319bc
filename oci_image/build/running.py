"""RUN: a command in a container over the tree so far, by an OCI runtime.

Mount points that the tree lacks are put into a directory of their own below the changes, so that the
layer has what the command did and nothing that the container needed.
"""

from __future__ import annotations

import ipaddress
import json
import os
import posixpath
import shutil
import subprocess
import sys
from oci_image.value import Value
from typing import TYPE_CHECKING, Any

from oci_image.accounts import resolve_user
from oci_image.build.paths import canonical_path
from oci_image.errors import ImageError
from oci_image.layers.ownership import IdMap
from oci_image.layers.rootdir import RootDirectory
from oci_image.runtime_config import DEFAULT_PATH, default_runtime_config
from oci_image.snapshots.mounting import in_initial_user_namespace
from oci_image.snapshots.overlay import copy_attributes
from pyruntime.base.errors import HostError, UsageError, errno_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from oci_image.build.workspace import Area, Workspace

_UMASK = 0o022
_HOST_FILES = ("/etc/resolv.conf", "/etc/hosts")
_SHOWN_LINES = 20  # of the output, where that was not shown already


class Mount(Value):
    """What a command finds at `target`; `source` is a file or directory of this host, "" for a tmpfs."""

    target: str
    source: str = ""
    options: tuple[str, ...] = ()
    is_directory: bool = True


class Command(Value):
    """A command as it is to be run; `network` is "host" or "none"."""

    arguments: tuple[str, ...]
    environment: tuple[str, ...]
    directory: str
    user: str = ""
    network: str = "host"
    mounts: tuple[Mount, ...] = ()
    stdin: bytes = b""


def find_runtime(named: str = "") -> list[str]:
    """The command that starts the runtime: `named`, or pyruntime as it is installed; HostError."""
    if named:
        found = shutil.which(named)
        if not found:
            raise HostError(f"there is no runtime {named!r}", hint="name an OCI runtime with --runtime")
        return [found]
    beside = os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), "pyruntime")
    for candidate in (beside, shutil.which("pyruntime") or ""):
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return [candidate]
    return [sys.executable, "-m", "pyruntime"]


def parse_host(text: str) -> tuple[str, str]:
    """Name and address of NAME:ADDRESS, or NAME=ADDRESS; UsageError."""
    name, mark, address = text.partition("=") if "=" in text else text.partition(":")
    address = address.strip("[]")
    try:
        ipaddress.ip_address(address)
    except ValueError:
        mark = ""
    if not name or not mark:
        raise UsageError(f"invalid host {text!r}", hint="write NAME:ADDRESS")
    return name, address


class Runner:
    """Runs commands in a workspace; their output goes to the descriptor `output_fd`, -1 keeps it to itself."""

    def __init__(
        self,
        workspace: Workspace,
        runtime: Sequence[str],
        output_fd: int = -1,
        hosts: Sequence[tuple[str, str]] = (),
    ) -> None:
        """`hosts` are names with addresses that commands find in /etc/hosts."""
        self._workspace = workspace
        self._runtime = list(runtime)
        self._output_fd = output_fd
        self._hosts = "".join(f"{address} {name}\n" for name, address in hosts).encode()

    def run(self, area: Area, command: Command) -> None:
        """Run a command, whose changes then are in the area; ImageError with its exit code if it fails."""
        with self._workspace.mounted_below(area) as below:
            config = _config(command, below)
            self._add_stubs(area, below, config)
            bundle = os.path.join(area.path, "bundle")
            os.mkdir(bundle, 0o700)
            _write_host_files(bundle, command, config, self._hosts)
            with self._workspace.mounted(area) as root:
                config["root"] = {"path": root}
                with open(os.path.join(bundle, "config.json"), "w", encoding="utf-8") as file:
                    json.dump(config, file)
                self._start(area, bundle, command)

    def _start(self, area: Area, bundle: str, command: Command) -> None:
        container = f"build-{os.path.basename(self._workspace.path)[-8:]}-{os.path.basename(area.path)}"
        log = os.path.join(bundle, "log.json")
        words = [
            *self._runtime, "--root", self._workspace.state, "--log", log, "--log-format", "json",
            "run", "--bundle", bundle, container,
        ]  # fmt: skip
        kept = os.path.join(bundle, "output")
        try:
            with open(kept, "wb") as keep, open(os.path.join(bundle, "stdin"), "w+b") as stdin:
                stdin.write(command.stdin)
                stdin.seek(0)
                target = keep.fileno() if self._output_fd < 0 else self._output_fd
                # A process group of its own: an interrupt of the terminal is for the builder, which then ends
                # the container.
                process = subprocess.Popen(
                    words, stdin=stdin, stdout=target, stderr=target, process_group=0
                )
                code = process.wait()
        except OSError as error:
            raise HostError(
                f"cannot start the runtime: {errno_text(error.errno or 0)}", where=words[0]
            ) from None
        except BaseException:
            self._workspace.end_container(container)
            process.wait()
            raise
        if code:
            raise _failure(code, command, log, kept if self._output_fd < 0 else "")

    def _add_stubs(self, area: Area, below: str, config: dict[str, Any]) -> None:
        """Mount points that are not there, in a directory that goes between the tree and the changes."""
        stubs = os.path.join(area.path, "stubs")
        root_fd = os.open(below, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for mount in config["mounts"]:
                is_file = mount.pop("_file", False)
                path, there = canonical_path(root_fd, mount["destination"])
                mount["destination"] = f"/{path}"
                if not there and not path.startswith(("dev/", "proc/", "sys/")):
                    if not area.stubs:
                        os.mkdir(stubs)
                        copy_attributes(below, stubs)
                        area.stubs.append(stubs)
                    _make_stub(stubs, below, path, is_file=is_file)
        finally:
            os.close(root_fd)


def _make_stub(stubs: str, below: str, path: str, *, is_file: bool) -> None:
    parts = path.split("/")
    for count in range(1, len(parts) + 1):
        target = os.path.join(stubs, *parts[:count])
        original = os.path.join(below, *parts[:count])
        if os.path.lexists(target):
            continue
        if is_file and count == len(parts):
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        else:
            os.mkdir(target, 0o755)
            # The path has no links in it, so this is the directory that the container will see.
            if os.path.isdir(original):
                copy_attributes(original, target)


def _config(command: Command, below: str) -> dict[str, Any]:
    """config.json; a mount with the key _file is one of a file."""
    config = _config_here()
    process = config["process"]
    root_fd = os.open(below, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        user = resolve_user(command.user, RootDirectory(root_fd))
    finally:
        os.close(root_fd)
    process["user"] = {"uid": user.uid, "gid": user.gid, "umask": _UMASK}
    if user.additional_gids:
        process["user"]["additionalGids"] = list(user.additional_gids)
    process["args"] = list(command.arguments)
    process["cwd"] = command.directory or "/"
    variables = {"PATH": DEFAULT_PATH}
    for entry in command.environment:
        name, _, value = entry.partition("=")
        variables[name] = value
    process["env"] = [f"{name}={value}" for name, value in variables.items()]
    # What programs with set-id bits do in an image's build is the image's business, as everywhere.
    process["noNewPrivileges"] = False
    del process["rlimits"]
    config["hostname"] = "build"
    if command.network == "none":
        config["linux"]["namespaces"].append({"type": "network"})
    for mount in command.mounts:
        kind = {"type": "bind", "source": mount.source} if mount.source else {"type": "tmpfs", "source": "tmpfs"}
        options = list(mount.options)
        config["mounts"].append(
            {"destination": mount.target, "options": options, "_file": not mount.is_directory, **kind}
        )
    taken = {posixpath.normpath(entry["destination"]) for entry in config["mounts"]}
    for path in _HOST_FILES:
        if path not in taken:
            options = ["bind", "ro", "nosuid", "nodev", "noexec"]
            config["mounts"].append(
                {"destination": path, "type": "bind", "source": path, "options": options, "_file": True}
            )
    return config


def _config_here() -> dict[str, Any]:
    """The default config in the user namespace that this process is in, and in its network."""
    nested = not in_initial_user_namespace()
    config = default_runtime_config(user_namespace=nested, uid_map=IdMap(), gid_map=IdMap())
    linux = config["linux"]
    linux["namespaces"] = [each for each in linux["namespaces"] if each["type"] not in ("network", "user")]
    for name in ("uidMappings", "gidMappings"):
        linux.pop(name, None)
    return config


def _write_host_files(bundle: str, command: Command, config: dict[str, Any], hosts: bytes) -> None:
    """Copies of the host's resolv.conf and hosts; without a network hosts has this container only."""
    for mount in config["mounts"]:
        if mount["source"] not in _HOST_FILES or mount["type"] != "bind":
            continue
        content = b""
        if command.network == "host":
            try:
                with open(mount["source"], "rb") as file:
                    content = file.read(1 << 20)
            except OSError:
                content = b""
        if mount["source"] == "/etc/hosts":
            content = content or b"127.0.0.1 localhost\n::1 localhost\n"
            content = content.rstrip(b"\n") + b"\n127.0.0.1 build\n" + hosts
        copy = os.path.join(bundle, os.path.basename(mount["source"]))
        with open(copy, "wb") as file:
            file.write(content)
        os.chmod(copy, 0o644)
        mount["source"] = copy


def _failure(code: int, command: Command, log: str, kept: str) -> ImageError:
    """What went wrong: the runtime, which then says so in its log, or the command."""
    try:
        with open(log, encoding="utf-8") as file:
            said = [json.loads(line) for line in file if line.startswith("{")]
    except (OSError, ValueError):
        said = []
    errors = [str(record.get("msg")) for record in said if record.get("level") == "error"]
    if errors:
        return ImageError(f"cannot run the command: {errors[-1]}")
    shown = " ".join(command.arguments)
    shown = shown if len(shown) <= 200 else shown[:200] + "..."
    hint = ""
    if kept:
        with open(kept, "rb") as output:
            lines = output.read()[-20_000:].decode("utf-8", "replace").splitlines()[-_SHOWN_LINES:]
        hint = "it said:\n    " + "\n    ".join(lines) if lines else "it said nothing"
    signal = f" (as after signal {code - 128})" if code > 128 else ""
    return ImageError(f"the command {shown!r} returned a non-zero code: {code}{signal}", hint=hint)
