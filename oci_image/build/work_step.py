"""WORKDIR as a step: the directory is made if it is not there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from oci_image.accounts import resolve_user
from oci_image.build.cache import step_key
from oci_image.build.placing import Placer
from oci_image.layers.rootdir import RootDirectory

if TYPE_CHECKING:
    from oci_image.build.builder import Build
    from oci_image.build.dockerfile import Instruction
    from oci_image.build.state import StageState
    from oci_image.build.workspace import Area

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def work_step(build: Build, state: StageState, instruction: Instruction) -> None:
    """Make the working directory, which then is the user's; ImageError."""
    directory, user = state.directory, state.user
    key = step_key(kind="WORKDIR", directory=directory, user=user, **build.step_parts(state))

    def make(area: Area) -> None:
        with build.workspace.mounted_below(area) as below, build.workspace.mounted(area) as root:
            below_fd = os.open(below, _DIRECTORY)
            root_fd = os.open(root, _DIRECTORY)
            try:
                owner = resolve_user(user, RootDirectory(below_fd))
                placer = Placer(root_fd, owner=(owner.uid, owner.gid), now=build.now)
                try:
                    placer.make_directory(os.fsencode(directory).strip(b"/"))
                finally:
                    placer.close()
            finally:
                os.close(root_fd)
                os.close(below_fd)

    build.layer_step(state, key, f"WORKDIR {directory}", make)
