"""Hooks on the host: prestart, createRuntime, poststart, poststop.

Source: config.md, "POSIX-platform Hooks".  A hook gets the state on standard input and what it prints is quoted
when it fails.  Its end is that of its process, not of its output: a child in the background may hold that open.
"""

import os
import select

from pyruntime.base.errors import ExpectedError, HostError, StepError, errno_text
from pyruntime.base.record import Record
from pyruntime.execute.session import memory_file
from pyruntime.execute.working_directory import spawn_in
from pyruntime.spec.annotations import HOOK_STDERR, HOOK_STDOUT
from pyruntime.spec.config import Hook

_KEPT = 4096


class HookLogs(Record):
    """Files that what hooks print is appended to, "" for none (crun's annotations run.oci.hooks.stdout and stderr)."""

    stdout: str = ""
    stderr: str = ""

    @classmethod
    def of(cls, annotations: dict[str, str]) -> "HookLogs":
        return cls(stdout=annotations.get(HOOK_STDOUT, ""), stderr=annotations.get(HOOK_STDERR, ""))


NO_LOGS = HookLogs()


def open_log(path: str, key: str) -> int:
    """A descriptor to append to a log of hooks.

    Raises:
        HostError: the file cannot be opened.
    """
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        text = f"cannot open the log of the hooks {path}: {errno_text(error.errno or 0)}"
        raise HostError(text, where=f"/annotations/{key}", hint="name a file in an existing folder") from None


def run_hooks(
    hooks: tuple[Hook, ...], *, name: str, state: bytes, bundle: str, logs: HookLogs = NO_LOGS
) -> None:
    """Run the hooks in order; the first that fails ends it.

    Raises:
        StepError: a hook cannot be started, fails, or takes longer than its timeout.
    """
    for index, hook in enumerate(hooks):
        _run_hook(hook, name, index, state, bundle, logs)


def run_all_hooks(
    hooks: tuple[Hook, ...], *, name: str, state: bytes, bundle: str, logs: HookLogs = NO_LOGS
) -> list[ExpectedError]:
    """Run every hook whatever the others do (poststop); returns what failed."""
    failures: list[ExpectedError] = []
    for index, hook in enumerate(hooks):
        try:
            _run_hook(hook, name, index, state, bundle, logs)
        except ExpectedError as failure:
            failures.append(failure)
    return failures


def _run_hook(hook: Hook, name: str, index: int, state: bytes, bundle: str, logs: HookLogs) -> None:
    # Files instead of pipes: a hook that writes much never blocks, and nobody has to read meanwhile.
    standard_input = memory_file("state", state)
    output, errors = memory_file("stdout", b""), memory_file("stderr", b"")
    try:
        reason = _run(hook, bundle, standard_input, output, errors)
        _append(logs.stdout, HOOK_STDOUT, output)
        _append(logs.stderr, HOOK_STDERR, errors)
        if reason:
            said = f"stdout: {_content(output)}, stderr: {_content(errors)}"
            raise StepError(
                f"error running {name} hook #{index}: {reason}, {said}",
                where=f"/hooks/{name}/{index}",
                hint=f"run {hook.path} by hand with the state on its standard input",
            )
    finally:
        for descriptor in (standard_input, output, errors):
            os.close(descriptor)


def _run(hook: Hook, bundle: str, standard_input: int, output: int, errors: int) -> str:
    """Run one hook; returns why it failed, or nothing."""
    environment = dict(entry.partition("=")[::2] for entry in hook.env) if hook.env else dict(os.environ)
    actions = [
        (os.POSIX_SPAWN_DUP2, standard_input, 0),
        (os.POSIX_SPAWN_DUP2, output, 1),
        (os.POSIX_SPAWN_DUP2, errors, 2),
    ]

    def spawn() -> int:
        return os.posix_spawn(
            hook.path,
            list(hook.args or (hook.path,)),
            environment,
            file_actions=actions,
            setsigmask=(),
            setsigdef=(13, 25),
        )

    try:
        pid = spawn_in(bundle, spawn)
    except OSError as error:
        return f"fork/exec {hook.path}: {errno_text(error.errno or 0)}"
    if hook.timeout and not _ends_within(pid, hook.timeout):
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        return f"hook ran past specified timeout of {float(hook.timeout)}s"
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code == 0:
        return ""
    return f"signal: {-code}" if code < 0 else f"exit status {code}"


def _ends_within(pid: int, seconds: int) -> bool:
    pidfd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(pidfd)


def _content(descriptor: int) -> str:
    return os.pread(descriptor, _KEPT, 0).decode("utf-8", "replace").strip()


def _append(path: str, key: str, source: int) -> None:
    if not path:
        return
    log = open_log(path, key)
    try:
        os.lseek(source, 0, os.SEEK_SET)
        while block := os.read(source, 1 << 16):
            os.write(log, block)
    finally:
        os.close(log)
