"""A stage while it is being built: the image so far, and the variables that its instructions see."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from oci_image.errors import ImageError

if TYPE_CHECKING:
    from oci_image.pack.image import ImageDraft

DEFAULT_SHELL = ("/bin/sh", "-c")
# Known without ARG, and no part of what a step depends on: they say how to get out, not what to do.
PROXY_ARGUMENTS = frozenset(
    name
    for text in ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
    for name in (text, text.upper())
)


@dataclass(slots=True)
class StageState:
    """`lowers` are directories with the tree so far, top first; None if only the store has it.

    `arguments` are those that the stage has declared, None for one without a value.
    """

    draft: ImageDraft
    escape: str = "\\"
    lowers: list[str] | None = None
    arguments: dict[str, str | None] = field(default_factory=dict)
    command_is_set: bool = False
    kept: int = 0  # the layers of the image that the stage goes back to

    @property
    def settings(self) -> dict[str, Any]:
        """The object `config` of the image's config."""
        return self.draft.settings

    @property
    def shell(self) -> tuple[str, ...]:
        """What the shell form of a command is given to."""
        return tuple(self.settings.get("Shell") or DEFAULT_SHELL)

    @property
    def directory(self) -> str:
        """The working directory, absolute."""
        return "/" + str(self.settings.get("WorkingDir") or "").lstrip("/")

    @property
    def user(self) -> str:
        """The user of commands, as the image names it."""
        return str(self.settings.get("User") or "")

    @property
    def environment(self) -> list[str]:
        """NAME=VALUE of the image."""
        return list(self.settings.get("Env") or [])

    def lookup(self, name: str) -> str | None:
        """The value that $NAME has now: the image's environment before arguments."""
        for entry in reversed(self.environment):
            key, _, value = entry.partition("=")
            if key == name:
                return value
        return self.arguments.get(name)

    def set_environment(self, name: str, value: str) -> None:
        """Add a variable to the image's environment, or replace it in its place."""
        if "\0" in value or "\0" in name:
            raise ImageError(f"variable {name[:40]!r} has a zero byte")
        entries = self.environment
        for position, entry in enumerate(entries):
            if entry.partition("=")[0] == name:
                entries[position] = f"{name}={value}"
                break
        else:
            entries.append(f"{name}={value}")
        self.settings["Env"] = entries

    def used_arguments(self) -> dict[str, str]:
        """Arguments with values that commands see, those that the environment hides left out."""
        hidden = {entry.partition("=")[0] for entry in self.environment}
        return {
            name: value
            for name, value in sorted(self.arguments.items())
            if value is not None and name not in hidden
        }
