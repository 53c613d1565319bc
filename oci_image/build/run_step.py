"""RUN as a step: what it depends on, and the command that it means."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from oci_image.build.cache import step_key
from oci_image.build.mounts import make_mount, mount_key, parse_mount
from oci_image.build.running import Command, Mount
from oci_image.build.state import PROXY_ARGUMENTS
from oci_image.build.variables import expand_word
from oci_image.errors import ImageError

if TYPE_CHECKING:
    from oci_image.build.builder import Build
    from oci_image.build.dockerfile import Instruction
    from oci_image.build.stages import Stage
    from oci_image.build.state import StageState
    from oci_image.build.workspace import Area

NETWORKS = ("default", "host", "none")


def run_step(build: Build, state: StageState, stage: Stage, instruction: Instruction) -> None:
    """Carry RUN out; ImageError."""
    network = build.options.network
    requests = []
    for name, value in instruction.flags:
        value = expand_word(value, state.lookup, build.escape)
        if name == "mount":
            requests.append(parse_mount(value, state.directory))
        elif name == "network":
            if value not in NETWORKS:
                raise ImageError(f"invalid network mode: {value!r}", hint=f"known: {', '.join(NETWORKS)}")
            network = build.options.network if value == "default" else value
        elif name == "security":
            if value != "sandbox":
                raise ImageError(f"security mode {value!r} is not supported")
        else:
            raise ImageError(f"unknown flag: --{name}")
    words, script = _words(state, instruction)
    arguments = state.used_arguments()
    key = step_key(
        kind="RUN", words=words, script=script, arguments=arguments, environment=state.environment,
        user=state.user, directory=state.directory, network=network,
        mounts=[mount_key(build, stage, request) for request in requests], **build.step_parts(state),
    )  # fmt: skip

    def make(area: Area) -> None:
        proxies = {name: value for name, value in build.options.arguments.items() if name in PROXY_ARGUMENTS}
        visible = [f"{name}={value}" for name, value in {**proxies, **arguments}.items()]
        with contextlib.ExitStack() as opened:
            mounts = [_script(area, words[0], script)] if script else []
            for request in requests:
                mount, variables = make_mount(build, stage, request, opened)
                mounts += [mount] if mount is not None else []
                visible += variables
            environment = (*visible, *state.environment)
            command = Command(
                tuple(words), environment, state.directory, state.user, network, tuple(mounts)
            )
            build.runner.run(area, command)

    prefix = f"|{len(arguments)} {' '.join(f'{n}={v}' for n, v in arguments.items())} " if arguments else ""
    build.layer_step(state, key, f"RUN {prefix}{' '.join(words)}", make)


def _script(area: Area, target: str, text: str) -> Mount:
    path = os.path.join(area.path, "script")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, 0o755)
    return Mount(target, path, ("bind", "ro"), is_directory=False)


def _words(state: StageState, instruction: Instruction) -> tuple[list[str], str]:
    """The command's words, and the program that a here-document holds if it is one."""
    if instruction.words is not None:
        return list(instruction.words), ""
    documents = instruction.documents
    if len(documents) == 1 and instruction.text.startswith("<<") and len(instruction.text.split()) == 1:
        content = documents[0].content
        if content.startswith("#!"):
            return [f"/dev/pipes/{documents[0].name}"], content
        return [*state.shell, content], ""
    text = instruction.text
    for document in documents:
        text += f"\n{document.content}{document.name}"
    return [*state.shell, text], ""
