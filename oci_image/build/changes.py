"""Instructions of a Dockerfile that change the config of an image: --change of commit and import.

Source: docker's references of `container commit` and `image import`, which have this list.
"""

from __future__ import annotations

from oci_image.build.dockerfile import parse_dockerfile
from oci_image.build.settings import absolute, apply_setting
from oci_image.build.state import StageState
from oci_image.build.variables import expand_word
from oci_image.errors import ImageError
from pyruntime.base.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from oci_image.pack.image import ImageDraft

_ALLOWED = (
    "CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "ONBUILD", "SHELL", "STOPSIGNAL", "USER",
    "VOLUME", "WORKDIR",
)  # fmt: skip


def apply_changes(draft: ImageDraft, changes: Iterable[str]) -> None:
    """Carry instructions such as `CMD ["/bin/sh"]` out on an image; UsageError names the one at fault."""
    state = StageState(draft)
    for change in changes:
        try:
            instructions = parse_dockerfile(f"FROM scratch\n{change}".encode()).instructions[1:]
            for instruction in instructions:
                if instruction.keyword not in _ALLOWED:
                    raise UsageError(
                        f"{instruction.keyword} is no change of a config", hint=f"known: {', '.join(_ALLOWED)}"
                    )
                if instruction.keyword == "WORKDIR":
                    directory = expand_word(instruction.text, state.lookup, state.escape)
                    draft.settings["WorkingDir"] = absolute(state.directory, directory).rstrip("/") or "/"
                else:
                    apply_setting(state, instruction)
        except ImageError as error:
            raise UsageError(f"invalid change {change!r}: {error.what}", hint=error.hint) from None
