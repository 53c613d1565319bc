"""Instructions that change nothing but the image's config.

Source: Dockerfile reference; the properties are those of image-spec config.md and Docker's additions.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Any

from oci_image.build.variables import expand_word, expand_words, split_pairs
from oci_image.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from oci_image.build.dockerfile import Instruction
    from oci_image.build.state import StageState

_PORT = re.compile(r"([0-9]+)(?:-([0-9]+))?(?:/(\w+))?")
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)")
_NANOSECONDS = {"ns": 1, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9, "m": 60e9, "h": 3600e9}
_HEALTH_TIMES = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start-period": "StartPeriod",
    "start-interval": "StartInterval",
}


def apply_setting(state: StageState, instruction: Instruction) -> None:
    """Carry one of the instructions in SETTINGS out; ImageError without a place."""
    allowed = _HEALTH_TIMES.keys() | {"retries"} if instruction.keyword == "HEALTHCHECK" else set()
    for name, _ in instruction.flags:
        if name not in allowed:
            raise ImageError(f"unknown flag: --{name}")
    SETTINGS[instruction.keyword](state, instruction)


def _env(state: StageState, instruction: Instruction) -> None:
    for name, value in split_pairs(instruction.text, "ENV", state.lookup, state.escape):
        state.set_environment(name, value)


def _label(state: StageState, instruction: Instruction) -> None:
    pairs = split_pairs(instruction.text, "LABEL", state.lookup, state.escape)
    state.settings["Labels"] = {**(state.settings.get("Labels") or {}), **dict(pairs)}


def _maintainer(state: StageState, instruction: Instruction) -> None:
    state.draft.config["author"] = expand_word(instruction.text, state.lookup, state.escape)


def _cmd(state: StageState, instruction: Instruction) -> None:
    state.settings["Cmd"] = _command(state, instruction)
    state.command_is_set = True


def _entrypoint(state: StageState, instruction: Instruction) -> None:
    state.settings["Entrypoint"] = _command(state, instruction)
    # The command of the image below was for its own entrypoint.
    if not state.command_is_set:
        state.settings.pop("Cmd", None)


def _command(state: StageState, instruction: Instruction) -> list[str]:
    if instruction.words is not None:
        return list(instruction.words)
    return [*state.shell, instruction.text]


def _shell(state: StageState, instruction: Instruction) -> None:
    if not instruction.words:
        raise ImageError("SHELL requires the arguments to be in JSON form", hint='as ["/bin/sh", "-c"]')
    state.settings["Shell"] = list(instruction.words)


def _user(state: StageState, instruction: Instruction) -> None:
    state.settings["User"] = expand_word(instruction.text, state.lookup, state.escape)


def _stop_signal(state: StageState, instruction: Instruction) -> None:
    text = expand_word(instruction.text, state.lookup, state.escape)
    if not re.fullmatch(r"(?:SIG)?[A-Z][A-Z0-9+-]*|[0-9]+", text):
        raise ImageError(f"invalid signal: {text}", hint="as SIGTERM or 15")
    state.settings["StopSignal"] = text


def _expose(state: StageState, instruction: Instruction) -> None:
    ports = dict(state.settings.get("ExposedPorts") or {})
    for word in expand_words(instruction.text, state.lookup, state.escape):
        matched = _PORT.fullmatch(word)
        if not matched or (matched[3] or "tcp").lower() not in ("tcp", "udp", "sctp"):
            raise ImageError(f"invalid containerPort: {word}", hint="write PORT[-PORT][/tcp|/udp|/sctp]")
        first, last = int(matched[1]), int(matched[2] or matched[1])
        if not first <= last <= 65535:
            raise ImageError(f"invalid containerPort: {word}", hint="ports go from 0 to 65535")
        ports |= {f"{port}/{(matched[3] or 'tcp').lower()}": {} for port in range(first, last + 1)}
    state.settings["ExposedPorts"] = ports


def _volume(state: StageState, instruction: Instruction) -> None:
    words = instruction.words
    if words is None:
        words = tuple(expand_words(instruction.text, state.lookup, state.escape))
    else:
        words = tuple(expand_word(word, state.lookup, state.escape) for word in words)
    if not all(word.strip() for word in words):
        raise ImageError("VOLUME specified can not be an empty string")
    volumes: dict[str, Any] = {word.strip(): {} for word in words}
    state.settings["Volumes"] = {**(state.settings.get("Volumes") or {}), **volumes}


def _onbuild(state: StageState, instruction: Instruction) -> None:
    state.settings["OnBuild"] = [*(state.settings.get("OnBuild") or []), instruction.text]


def _healthcheck(state: StageState, instruction: Instruction) -> None:
    kind, _, rest = re.sub(r"\s+", " ", instruction.text, count=1).partition(" ")
    kind, rest = kind.upper(), rest.strip()
    if kind == "NONE":
        if rest:
            raise ImageError("HEALTHCHECK NONE takes no arguments")
        state.settings["Healthcheck"] = {"Test": ["NONE"]}
        return
    if kind != "CMD" or not rest:
        raise ImageError(f"HEALTHCHECK requires CMD and a command, or NONE, not {kind[:40]!r}")
    from oci_image.build.dockerfile import json_words

    words = json_words(rest)
    health: dict[str, Any] = {"Test": ["CMD-SHELL", rest] if words is None else ["CMD", *words]}
    for name, value in instruction.flags:
        if name == "retries":
            if not value.isdecimal() or not int(value):
                raise ImageError(f"--retries must be at least 1 (not {value})")
            health["Retries"] = int(value)
        else:
            health[_HEALTH_TIMES[name]] = parse_duration(value, name)
    state.settings["Healthcheck"] = health


def parse_duration(text: str, name: str) -> int:
    """A duration as Go writes it, such as 1m30s, in nanoseconds; ImageError."""
    parts = _DURATION.findall(text)
    if not text or "".join(number + unit for number, unit in parts) != text:
        raise ImageError(f"invalid duration {text!r} for --{name}", hint="as 30s or 1m30s")
    total = round(sum(float(number) * _NANOSECONDS[unit] for number, unit in parts))
    if total < 1_000_000:
        raise ImageError(f"--{name} must be at least 1ms")
    return total


def absolute(directory: str, path: str) -> str:
    """A path of an instruction from the working directory on; a slash at its end stays."""
    joined = posixpath.normpath(posixpath.join(directory or "/", path))
    joined = "/" + joined.lstrip("/")
    ends = path.endswith("/") or path in (".", "..") or path.endswith(("/.", "/.."))
    return joined + "/" if ends and joined != "/" else joined


SETTINGS: dict[str, Callable[[StageState, Instruction], None]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "MAINTAINER": _maintainer,
    "ONBUILD": _onbuild,
    "SHELL": _shell,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
}
