"""The verbs: one module each, with `OPTIONS`, `USAGE` and `run(arguments, options) -> int`."""

# verb -> (module, least and greatest number of positional arguments; -1: no limit)
VERBS: dict[str, tuple[str, int, int]] = {
    "checkpoint": ("pyruntime.verbs.checkpoint", 1, 1),
    "completion": ("pyruntime.cli.completion", 1, 1),
    "create": ("pyruntime.verbs.create", 1, 1),
    "delete": ("pyruntime.verbs.delete", 1, -1),
    "doctor": ("pyruntime.verbs.doctor", 0, 0),
    "events": ("pyruntime.verbs.events", 1, 1),
    "exec": ("pyruntime.verbs.exec", 1, -1),
    "explain": ("pyruntime.verbs.explain", 0, 1),
    "features": ("pyruntime.verbs.features", 0, 0),
    "kill": ("pyruntime.verbs.kill", 1, 2),
    "list": ("pyruntime.verbs.list", 0, 0),
    "mounts": ("pyruntime.verbs.mounts", 3, 3),
    "pause": ("pyruntime.verbs.pause", 1, 1),
    "ps": ("pyruntime.verbs.ps", 1, -1),
    "restore": ("pyruntime.verbs.restore", 1, 1),
    "resume": ("pyruntime.verbs.resume", 1, 1),
    "run": ("pyruntime.verbs.run", 1, 1),
    "spec": ("pyruntime.verbs.spec", 0, 0),
    "start": ("pyruntime.verbs.start", 1, 1),
    "state": ("pyruntime.verbs.state", 1, 1),
    "update": ("pyruntime.verbs.update", 1, 1),
    "validate": ("pyruntime.verbs.validate", 0, 1),
}

# What follows the container's id is not ours to read: the user's command, or the arguments of ps.
STOP_AT_POSITIONAL = frozenset({"create", "run", "exec", "ps"})

SUMMARIES: dict[str, str] = {
    "checkpoint": "save a running container to files, through CRIU",
    "completion": "print completion data for bash, zsh or fish",
    "create": "make a container that waits for start",
    "delete": "remove what is left of a container",
    "doctor": "report what this host offers to containers, and what it lacks",
    "events": "print statistics and memory shortages, as JSON",
    "exec": "run another process in a container",
    "explain": "print what create would do, without doing it",
    "features": "print what this runtime can do, as JSON",
    "kill": "send a signal to a container's init",
    "list": "list the containers below the root",
    "mounts": "add mounts to a running container, or take them off it",
    "pause": "suspend all processes of a container",
    "ps": "list the processes of a container",
    "restore": "bring back a saved container, through CRIU",
    "resume": "let the processes of a paused container go on",
    "run": "create and start a container",
    "spec": "write a config.json to begin with",
    "start": "run the user's process of a created container",
    "state": "print the state of a container, as JSON",
    "update": "change a container's resource limits",
    "validate": "list every fault of a bundle at once",
}
