"""A runtime with one fault: it passes each command on to a good one, but for what its fault changes.

Started as `mutant.py FAULT RUNTIME ARGUMENT ...`.  A fault is a function of the words after the global options; it
changes the bundle's config.json before `create` and `run`, or what is passed on, or what comes back.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

Config = dict[str, Any]
Change = Callable[[Config], object]


def drop(*way: str) -> Change:
    """Without the property at the end of the way."""

    def change(config: Config) -> None:
        place: Any = config
        for step in way[:-1]:
            place = place.get(step) or {}
        place.pop(way[-1], None)

    return change


def without_option(*options: str) -> Change:
    """No mount has one of these options."""

    def change(config: Config) -> None:
        for mount in config.get("mounts", []):
            mount["options"] = [option for option in mount.get("options", []) if option not in options]

    return change


def without_namespace(kind: str) -> Change:
    def change(config: Config) -> None:
        entries = config["linux"]["namespaces"]
        config["linux"]["namespaces"] = [
            entry for entry in entries if entry["type"] != kind or "path" in entry
        ]

    return change


def reversed_order(*way: str) -> Change:
    def change(config: Config) -> None:
        place: Any = config
        for step in way:
            place = place.get(step) or {}
        if isinstance(place, list):
            place.reverse()

    return change


def first_hook_only(config: Config) -> None:
    for hooks in config.get("hooks", {}).values():
        del hooks[1:]


def unmapped_mounts(config: Config) -> None:
    without_option("idmap", "ridmap")(config)
    for mount in config.get("mounts", []):
        mount.pop("uidMappings", None)
        mount.pop("gidMappings", None)


def one_capability_more(config: Config) -> None:
    for names in (config["process"].get("capabilities") or {}).values():
        names.append("CAP_CHOWN")


def allow_all_devices(config: Config) -> None:
    config["linux"].setdefault("resources", {})["devices"] = [{"allow": True, "access": "rwm"}]


def new_for_joined(config: Config) -> None:
    for entry in config["linux"]["namespaces"]:
        entry.pop("path", None)


def other_errno(config: Config) -> None:
    for rule in (config["linux"].get("seccomp") or {}).get("syscalls", []):
        rule.pop("errnoRet", None)


CONFIG_FAULTS: dict[str, Change] = {
    "no-hostname": drop("hostname"),
    "no-domainname": drop("domainname"),
    "no-rlimits": drop("process", "rlimits"),
    "no-oom-score": drop("process", "oomScoreAdj"),
    "no-umask": drop("process", "user", "umask"),
    "no-groups": drop("process", "user", "additionalGids"),
    "no-new-privileges-ignored": drop("process", "noNewPrivileges"),
    "writable-root": drop("root", "readonly"),
    "no-masks": drop("linux", "maskedPaths"),
    "no-readonly-paths": drop("linux", "readonlyPaths"),
    "no-sysctl": drop("linux", "sysctl"),
    "no-seccomp": drop("linux", "seccomp"),
    "no-limits": drop("linux", "resources"),
    "no-devices": drop("linux", "devices"),
    "no-propagation": drop("linux", "rootfsPropagation"),
    "no-time-offsets": drop("linux", "timeOffsets"),
    "no-memory-policy": drop("linux", "memoryPolicy"),
    "no-scheduler": drop("process", "scheduler"),
    "no-network-devices": drop("linux", "netDevices"),
    "no-annotations": drop("annotations"),
    "no-hooks": drop("hooks"),
    "no-poststop": drop("hooks", "poststop"),
    "no-cgroups-path": drop("linux", "cgroupsPath"),
    "no-console-size": drop("process", "consoleSize"),
    "shallow-readonly": without_option("rro"),
    "nodev-ignored": without_option("nodev"),
    "shared-ipc": without_namespace("ipc"),
    "shared-network": without_namespace("network"),
    "reversed-mounts": reversed_order("mounts"),
    "reversed-device-rules": reversed_order("linux", "resources", "devices"),
    "reversed-hooks": reversed_order("hooks", "createRuntime"),
    "first-hook-only": first_hook_only,
    "unmapped-mounts": unmapped_mounts,
    "one-capability-more": one_capability_more,
    "all-devices": allow_all_devices,
    "new-for-joined": new_for_joined,
    "other-errno": other_errno,
}


def verb_of(words: list[str]) -> tuple[int, str]:
    """Where the verb stands among the words, and which it is; the suite gives options with a value before it."""
    index = 0
    while index < len(words) and words[index].startswith("-"):
        index += 1 if words[index] in ("--debug", "--version", "--help") else 2
    return index, words[index] if index < len(words) else ""


def call(runtime: str, words: list[str]) -> int:
    return subprocess.run([runtime, *words], check=False).returncode


def with_changed_config(change: Change, runtime: str, words: list[str]) -> int:
    if verb_of(words)[1] in ("create", "run") and "--bundle" in words:
        path = f"{words[words.index('--bundle') + 1]}/config.json"
        try:
            with open(path, encoding="utf-8") as file:
                config = json.load(file)
            change(config)
        except (OSError, ValueError, AttributeError, KeyError, TypeError):
            return call(runtime, words)  # wrong on purpose
        with open(path, "w", encoding="utf-8") as file:
            json.dump(config, file)
    return call(runtime, words)


# Faults of the operations.


def wrong_status(runtime: str, words: list[str]) -> int:
    result = subprocess.run([runtime, *words], check=False, capture_output=True, text=True)
    shown = result.stdout.replace('"created"', '"running"') if verb_of(words)[1] == "state" else result.stdout
    sys.stdout.write(shown)
    sys.stderr.write(result.stderr)
    return result.returncode


def other_signal(runtime: str, words: list[str]) -> int:
    index, verb = verb_of(words)
    return call(runtime, [*words[: index + 2], "TERM"] if verb == "kill" and words[-1] != "KILL" else words)


def always_forced(runtime: str, words: list[str]) -> int:
    index, verb = verb_of(words)
    return call(runtime, [*words[: index + 1], "--force", *words[index + 1 :]] if verb == "delete" else words)


def no_errors(runtime: str, words: list[str]) -> int:
    call(runtime, words)
    return 0


def leftover_cgroup(runtime: str, words: list[str]) -> int:
    """Delete makes the cgroup again, as if it had been forgotten."""
    index, verb = verb_of(words)
    if verb != "delete":
        return call(runtime, words)
    state = subprocess.run(
        [runtime, *words[:index], "state", words[-1]], check=False, capture_output=True, text=True
    )
    path = ""
    if state.returncode == 0:
        with open(f"{json.loads(state.stdout)['bundle']}/config.json", encoding="utf-8") as file:
            path = json.load(file)["linux"].get("cgroupsPath", "")
    code = call(runtime, words)
    root = "/sys/fs/cgroup" if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else "/sys/fs/cgroup/pids"
    if path.startswith("/conformance"):
        os.makedirs(root + path, exist_ok=True)
    return code


def starts_at_create(runtime: str, words: list[str]) -> int:
    index, verb = verb_of(words)
    code = call(runtime, words)
    if verb == "create" and code == 0:
        call(runtime, [*words[:index], "start", words[-1]])
    return code


def pid_with_newline(runtime: str, words: list[str]) -> int:
    code = call(runtime, words)
    if "--pid-file" in words and code == 0:
        with open(words[words.index("--pid-file") + 1], "a", encoding="utf-8") as file:
            file.write("\n")
    return code


def ignored_pause(runtime: str, words: list[str]) -> int:
    return 0 if verb_of(words)[1] in ("pause", "resume") else call(runtime, words)


def ignored_update(runtime: str, words: list[str]) -> int:
    return 0 if verb_of(words)[1] == "update" else call(runtime, words)


def exec_as_root(runtime: str, words: list[str]) -> int:
    kept = list(words)
    if verb_of(words)[1] == "exec" and "--user" in kept:
        del kept[kept.index("--user") : kept.index("--user") + 2]
    return call(runtime, kept)


def boasting(runtime: str, words: list[str]) -> int:
    if verb_of(words)[1] != "features":
        return call(runtime, words)
    result = subprocess.run([runtime, *words], check=False, capture_output=True, text=True)
    found = json.loads(result.stdout)
    found["mountOptions"].append("size")
    found["linux"]["namespaces"].append("conformance")
    found["more"] = True
    print(json.dumps(found))
    return 0


NO_FAULT = "none"
VERB_FAULTS: dict[str, Callable[[str, list[str]], int]] = {
    "wrong-status": wrong_status,
    "other-signal": other_signal,
    "always-forced": always_forced,
    "no-errors": no_errors,
    "leftover-cgroup": leftover_cgroup,
    "starts-at-create": starts_at_create,
    "pid-with-newline": pid_with_newline,
    "ignored-pause": ignored_pause,
    "ignored-update": ignored_update,
    "exec-as-root": exec_as_root,
    "boasting": boasting,
}


def main(fault: str, runtime: str, words: list[str]) -> int:
    if fault == NO_FAULT:
        return call(runtime, words)
    if fault in CONFIG_FAULTS:
        return with_changed_config(CONFIG_FAULTS[fault], runtime, words)
    return VERB_FAULTS[fault](runtime, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
