"""The command line as callers use it: each verb's options, exit codes, streams, log file and words of errors."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.privileged.containers import DRIVER, Edit, Runtime, runtime

__all__ = ["runtime"]


def eventually(question: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def created(runtime: Runtime, *arguments: str, edit: Edit | None = None) -> str:
    bundle, name = runtime.bundle(*(arguments or ("sleep", "100")), edit=edit), runtime.new_id()
    runtime.call("create", "--bundle", str(bundle), name)
    return name


def running(runtime: Runtime, *arguments: str, edit: Edit | None = None) -> str:
    name = created(runtime, *arguments, edit=edit)
    runtime.call("start", name)
    return name


def failure(runtime: Runtime, *words: str) -> tuple[int, str]:
    """Exit code and the last line of stderr."""
    failed = runtime.call(*words, check=False)
    return failed.returncode, failed.stderr.splitlines()[-1]


# --- standard streams and the working directory ---------------------------------------------------


def test_verbs_that_print_nothing_do_not_need_standard_output(runtime: Runtime) -> None:
    bundle, name = runtime.bundle("sleep", "100"), runtime.new_id()
    lines = (f"create --bundle {bundle}", "start", "exec", "pause", "resume", "kill", "delete --force")
    for words in lines:
        command = [*runtime.command, *words.split(), name, *(["true"] if words == "exec" else [])]
        for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-") if words == "exec" else (">&-",):
            done = subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", *command], check=False, timeout=30)
            assert done.returncode == 0, (words, closed)


@pytest.mark.parametrize(
    "verb", ["state", "list", "ps", "features", "--version", "list --help", "nosuch", "kill"]
)
@pytest.mark.parametrize(
    ("redirected", "reason"), [(">&-", "bad file descriptor"), (">/dev/full", "no space left on device")]
)
def test_an_answer_that_cannot_be_written(runtime: Runtime, verb: str, redirected: str, reason: str) -> None:
    words = [*verb.split(), created(runtime)] if verb in ("state", "ps") else verb.split()
    command = ["sh", "-c", f'"$@" {redirected}', "sh", *runtime.command, *words]
    done = subprocess.run(command, check=False, timeout=30, capture_output=True, text=True)
    last = done.stderr.splitlines()[-1]
    if verb == "nosuch":
        assert (done.returncode, last) == (3, "No help topic for 'nosuch'")
    elif verb == "kill":
        assert (done.returncode, last) == (1, 'pyruntime: "kill" requires a minimum of 1 argument(s)')
    else:
        assert (done.returncode, last.endswith(f"write /dev/stdout: {reason}")) == (1, True), last
        assert "internal" not in last


def test_a_working_directory_that_has_been_removed(runtime: Runtime) -> None:
    """Only what counts from it fails."""
    bundle, name, gone = runtime.bundle("true"), runtime.new_id(), runtime.directory / "gone"
    gone.mkdir()
    command = ["sh", "-c", f'cd {gone}; rmdir {gone}; "$@"', "sh", *runtime.command]
    for words, reason in (
        (("create", name), f"pyruntime create failed: {name}: getwd: no such file or directory (.)"),
        (("--root", "relative", "list"), "getwd: no such file or directory (relative)"),
        (("run", "--bundle", str(bundle), name), ""),
    ):
        gone.mkdir(exist_ok=True)
        done = subprocess.run([*command, *words], check=False, timeout=30, capture_output=True, text=True)
        assert (done.returncode, done.stderr.rstrip()) == (1 if reason else 0, reason)


# --- create and run -------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["create", "run"])
def test_another_file_than_config_json_of_the_bundle(runtime: Runtime, verb: str) -> None:
    bundle, name = runtime.bundle("true"), runtime.new_id()
    other = runtime.directory / "other.json"
    (bundle / "config.json").rename(other)
    runtime.call(verb, "--bundle", str(bundle), "--config", str(other), name)


def has_session_keyring(runtime: Runtime, *options: str) -> bool:
    def edit(config: dict[str, Any]) -> None:
        config["linux"]["maskedPaths"] = []

    bundle, name = runtime.bundle("cat", "/proc/keys", edit=edit), runtime.new_id()
    return f"_ses.{name}:" in runtime.call("run", *options, "--bundle", str(bundle), name).stdout


def test_a_session_keyring_of_its_own_unless_told_otherwise(runtime: Runtime) -> None:
    if not os.path.exists("/proc/keys"):
        pytest.skip("the kernel has no key retention service")
    assert has_session_keyring(runtime)
    assert not has_session_keyring(runtime, "--no-new-keyring")


def test_run_keeps_what_has_ended_if_told_to(runtime: Runtime) -> None:
    bundle, name = runtime.bundle("sh", "-c", "exit 5"), runtime.new_id()
    assert runtime.call("run", "--keep", "--bundle", str(bundle), name, check=False).returncode == 5
    assert runtime.state(name)["status"] == "stopped"
    runtime.call("delete", name)


def test_run_detached_says_nothing_and_ends_with_0_whatever_becomes_of_the_process(runtime: Runtime) -> None:
    bundle, name = runtime.bundle("sh", "-c", "exit 5"), runtime.new_id()
    done = runtime.call("run", "--detach", "--bundle", str(bundle), name)
    assert (done.stdout, done.stderr) == ("", "")
    eventually(lambda: runtime.state(name)["status"] == "stopped")


def test_orphans_of_the_container_are_the_runtimes_unless_told_otherwise(runtime: Runtime) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["linux"]["namespaces"] = [
            namespace for namespace in config["linux"]["namespaces"] if namespace["type"] != "pid"
        ]

    script = "( (sleep 0.5; exec cat /proc/self/stat > /tmp/stat) & ); sleep 1.5"
    for options, adopted in (([], True), (["--no-subreaper"], False)):
        bundle, name = runtime.bundle("sh", "-c", script, edit=edit), runtime.new_id()
        command = [*runtime.command, "run", *options, "--bundle", str(bundle), name]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        assert process.wait(30) == 0
        stat = (bundle / "rootfs/tmp/stat").read_text()
        parent = int(stat.rpartition(")")[2].split()[1])
        assert (parent == process.pid) == adopted


# --- exec -----------------------------------------------------------------------------------------


def test_options_of_exec_make_the_process(runtime: Runtime) -> None:
    name = running(runtime)
    words = "exec --cwd /tmp -e A=1 --env B=2 -u 5:6 -g 7 --additional-gids 8 --no-new-privs -c CAP_SYS_TIME"
    script = "pwd; echo $A$B; id -u; id -g; id -G; grep NoNewPrivs /proc/self/status; grep CapBnd /proc/self/status"
    told = runtime.call(*words.split(), name, "sh", "-c", script).stdout.split("\n")
    assert told[:4] == ["/tmp", "12", "5", "6"]
    assert set(told[4].split()) == {"6", "7", "8"}
    assert told[5].split()[1] == "1"
    assert int(told[6].split()[1], 16) & 1 << 25, "CAP_SYS_TIME is number 25"


def test_exec_passes_the_exit_code_on_and_a_signal_as_128_and_its_number(runtime: Runtime) -> None:
    name = running(runtime)
    assert runtime.call("exec", name, "sh", "-c", "exit 9", check=False).returncode == 9
    killed = runtime.call("exec", name, "sh", "-c", "kill -TERM $$", check=False)
    assert killed.returncode == 128 + signal.SIGTERM


def test_exec_detached_ends_with_0_once_the_process_is_there(runtime: Runtime) -> None:
    name, pid_file = running(runtime), runtime.directory / "pid"
    done = runtime.call("exec", "-d", "--pid-file", str(pid_file), name, "sh", "-c", "exec sleep 77")
    assert (done.stdout, done.stderr) == ("", "")
    eventually(lambda: b"77" in Path(f"/proc/{pid_file.read_text()}/cmdline").read_bytes())
    assert pid_file.read_text().isdigit()


def test_exec_keeps_the_descriptors_that_it_is_told_to(runtime: Runtime) -> None:
    name = running(runtime)
    (runtime.directory / "kept").write_text("kept")
    words = [*runtime.command, "exec", "--preserve-fds", "1", name, "sh", "-c", "cat <&3"]
    opened = f'exec "$@" 3< {runtime.directory / "kept"}'
    done = subprocess.run(["sh", "-c", opened, "sh", *words], capture_output=True, text=True, check=True)
    assert done.stdout == "kept"


@pytest.mark.parametrize(
    ("option", "module"), [("--apparmor", "AppArmor"), ("--process-label", "SELinux")]
)  # fmt: skip
def test_exec_under_a_label_that_nothing_enforces_is_refused(
    runtime: Runtime, option: str, module: str
) -> None:
    name = running(runtime)
    code, said = failure(runtime, "exec", option, "no-such-label", name, "true")
    assert code == 255
    assert module.lower() in said.lower() or "no-such-label" in said


def test_exec_into_a_paused_container(runtime: Runtime) -> None:
    name = running(runtime)
    runtime.call("pause", name)
    code, said = failure(runtime, "exec", name, "true")
    assert code == 255
    assert "cannot exec in a paused container (use --ignore-paused to override)" in said
    command = [*runtime.command, "exec", "--ignore-paused", name, "sh", "-c", "exit 4"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    runtime.call("resume", name)
    assert process.wait(30) == 4


# --- kill, delete, pause, ps, list ----------------------------------------------------------------


def test_kill_all_reaches_every_process_and_a_stopped_container_is_no_error(runtime: Runtime) -> None:
    script = "trap '' TERM; (trap 'echo got > /tmp/got; exit' TERM; touch /tmp/up; while :; do sleep 0.1; done) & wait"
    bundle, name = runtime.bundle("sh", "-c", f"{script}; wait; sleep 100"), runtime.new_id()
    runtime.call("run", "-d", "--bundle", str(bundle), name)
    eventually((bundle / "rootfs/tmp/up").exists)
    runtime.call("kill", "--all", name, "TERM")
    eventually((bundle / "rootfs/tmp/got").exists)
    runtime.call("kill", "-a", name, "9")
    eventually(lambda: runtime.state(name)["status"] == "stopped")
    runtime.call("kill", "--all", name, "9")
    code, said = failure(runtime, "kill", name, "9")
    assert (code, "container not running" in said) == (1, True)


def test_kill_and_delete_by_a_regular_expression(runtime: Runtime) -> None:
    names = [running(runtime) for _ in range(2)]
    runtime.call("kill", "--regex", f"^{names[0][:-1]}[0-9]$", "KILL")
    for name in names:
        eventually(lambda name=name: runtime.state(name)["status"] == "stopped")  # type: ignore[misc]
    runtime.call("delete", "--regex", f"^{names[0][:-1]}[0-9]$")
    assert runtime.leftovers() == []


def test_several_containers_are_deleted_at_once(runtime: Runtime) -> None:
    names = [created(runtime) for _ in range(2)]
    runtime.call("delete", *names)
    assert runtime.leftovers() == []


def test_to_pause_twice_and_to_resume_what_runs_are_errors(runtime: Runtime) -> None:
    name = running(runtime)
    assert failure(runtime, "resume", name) == (1, f"resume {name}: container not paused")
    runtime.call("pause", name)
    assert failure(runtime, "pause", name) == (1, f"pause {name}: container not running")
    runtime.call("resume", name)


def test_ps_lists_the_pids_on_the_host_and_takes_options_of_ps(runtime: Runtime) -> None:
    name = running(runtime, "sh", "-c", "sleep 100 & wait")
    pid = runtime.state(name)["pid"]
    pids = json.loads(runtime.call("ps", "--format", "json", name).stdout)
    assert pid in pids
    assert len(pids) == 2
    table = runtime.call("ps", name).stdout.splitlines()
    assert table[0].split()[:2] == ["UID", "PID"]
    assert len(table) == 3
    chosen = runtime.call("ps", name, "-eo", "pid,comm").stdout.splitlines()
    assert [line.split() for line in chosen[1:] if str(pid) in line] == [[str(pid), "sh"]]


def test_list_has_the_state_and_the_owner_of_each(runtime: Runtime) -> None:
    name = created(runtime)
    (listed,) = json.loads(runtime.call("list", "--format", "json").stdout)
    assert listed == runtime.state(name) | {"owner": "root"}
    assert runtime.call("list", "--quiet").stdout == f"{name}\n"
    row = runtime.call("list").stdout.splitlines()[1].split()
    assert row[:3] == [name, str(listed["pid"]), "created"]


def test_the_options_of_spec(runtime: Runtime) -> None:
    runtime.call("spec", "--bundle", str(runtime.directory), "--rootless", "--config", "other.json")
    config = json.loads((runtime.directory / "other.json").read_text())
    assert {"type": "network"} not in config["linux"]["namespaces"]
    assert config["linux"]["uidMappings"]
    code, said = failure(runtime, "spec", "--bundle", str(runtime.directory), "-f", "other.json")
    assert (code, "File other.json exists. Remove it first" in said) == (1, True)


# --- exit codes and streams -----------------------------------------------------------------------


def test_verbs_that_have_nothing_to_say_say_nothing(runtime: Runtime) -> None:
    bundle, name = runtime.bundle("sleep", "100"), runtime.new_id()
    for words in (
        ("create", "--bundle", str(bundle), name),
        ("start", name),
        ("pause", name),
        ("resume", name),
        ("update", "--pids-limit", "50", name),
        ("kill", name, "KILL"),
        ("delete", "--force", name),
    ):
        done = runtime.call(*words)
        assert (done.stdout, done.stderr) == ("", ""), words


def test_a_process_that_could_not_be_executed_is_the_error_of_its_verb(runtime: Runtime) -> None:
    bundle, name = runtime.bundle("/bin/broken"), runtime.new_id()
    broken = bundle / "rootfs/bin/broken"
    broken.write_bytes(b"\x7fELF nothing")
    broken.chmod(0o755)
    code, said = failure(runtime, "run", "--bundle", str(bundle), name)
    assert (code, "exec format error" in said) == (1, True)
    assert runtime.leftovers() == []
    name = running(runtime)
    code, said = failure(runtime, "exec", name, "/bin/nope")
    assert code == 255
    assert 'exec: "/bin/nope": stat /bin/nope: no such file or directory' in said


def test_the_log_is_appended_to_and_debug_lines_come_through_it(runtime: Runtime) -> None:
    log = runtime.directory / "log"
    log.write_text("before\n")
    bundle, name = runtime.bundle("true"), runtime.new_id()
    done = runtime.call("--debug", "--log", str(log), "run", "--bundle", str(bundle), name)
    assert (done.stdout, done.stderr) == ("", "")
    lines = log.read_text().splitlines()
    assert lines[0] == "before"
    assert len(lines) > 20
    assert all("level=debug" in line for line in lines[1:])
    runtime.call("--log", str(log), "start", name, check=False)
    assert log.read_text().splitlines()[:-1] == lines
    assert 'level=error msg="start' in log.read_text().splitlines()[-1]


# --- the words of errors --------------------------------------------------------------------------


def hooked(config: dict[str, Any]) -> None:
    script = "echo said; echo cried >&2; exit 7"
    config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}


def with_arguments(*arguments: str) -> Edit:
    def edit(config: dict[str, Any]) -> None:
        config["process"]["args"] = list(arguments)

    return edit


def with_terminal(config: dict[str, Any]) -> None:
    config["process"]["terminal"] = True


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (with_arguments("nope"), 'exec: "nope": executable file not found in $PATH'),
        (with_arguments("/x"), 'exec: "/x": stat /x: no such file or directory'),
        (with_arguments("/etc"), 'exec: "/etc": is a directory: permission denied'),
        (with_arguments("/proc/version"), 'exec: "/proc/version": permission denied'),
        (hooked, "error running createRuntime hook #0: exit status 7, stdout: said, stderr: cried"),
        (with_terminal, "cannot allocate tty if pyruntime will detach without setting console socket"),
    ],
)  # fmt: skip
def test_why_a_container_cannot_be_created(runtime: Runtime, edit: Edit, words: str) -> None:
    bundle = runtime.bundle("true", edit=edit)
    code, said = failure(runtime, "create", "--bundle", str(bundle), runtime.new_id())
    assert code == 1
    assert words in said
    assert runtime.leftovers() == []


def test_a_console_socket_without_a_terminal_is_refused(runtime: Runtime) -> None:
    words = ("create", "--bundle", str(runtime.bundle("true")), "--console-socket", "/nowhere")
    code, said = failure(runtime, *words, runtime.new_id())
    assert code == 1
    assert "cannot use console socket if pyruntime will not detach or allocate tty" in said


def test_a_cgroup_in_which_somebody_sits_is_refused(runtime: Runtime) -> None:
    path = f":{runtime.prefix}:shared" if DRIVER == "systemd" else f"/{runtime.prefix}-shared"

    def edit(config: dict[str, Any]) -> None:
        config["linux"]["cgroupsPath"] = path

    name = running(runtime, edit=edit)
    words = ("create", "--bundle", str(runtime.bundle("true", edit=edit)), runtime.new_id())
    code, said = failure(runtime, *words)
    assert (code, "container's cgroup is not empty: 1 process(es) found" in said) == (1, True)
    assert runtime.state(name)["status"] == "running"


@pytest.mark.parametrize(
    ("name", "words"),
    [("", "container id cannot be empty"), ("a/b", "invalid container ID format"), ("..", "invalid container ID")],
)  # fmt: skip
def test_ids_that_are_none(runtime: Runtime, name: str, words: str) -> None:
    bundle = runtime.bundle("true")
    code, said = failure(runtime, "create", "--bundle", str(bundle), name)
    assert (code, words in said) == (1, True)


def test_what_a_container_in_the_wrong_state_says(runtime: Runtime) -> None:
    name = running(runtime)
    said: dict[tuple[str, ...], str] = {
        ("start", name): "cannot start an already running container",
        ("delete", name): f"cannot delete container {name} that is not stopped: running",
        ("resume", name): "container not paused",
    }
    for words, expected in said.items():
        assert failure(runtime, *words) == (1, f"{words[0]} {name}: {expected}")
    runtime.call("kill", name, "KILL")
    eventually(lambda: runtime.state(name)["status"] == "stopped")
    said = {
        ("start", name): "cannot start a container that has stopped",
        ("kill", name, "9"): "container not running",
        ("pause", name): "container not running",
    }
    for words, expected in said.items():
        assert failure(runtime, *words) == (1, f"{words[0]} {name}: {expected}")
    code, last = failure(runtime, "exec", name, "true")
    assert (code, "cannot exec in a stopped container" in last) == (255, True)


def test_a_memory_limit_that_is_too_small_is_named(runtime: Runtime) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["linux"]["resources"]["memory"] = {"limit": 4096}

    bundle = runtime.bundle("true", edit=edit)
    failed = runtime.call("run", "--bundle", str(bundle), runtime.new_id(), check=False)
    assert failed.returncode == 1
    # Under v1 the kernel refuses a limit below what is used; under v2 it kills.
    killed = "container init was OOM-killed (memory limit too low?)" in failed.stderr
    refused = re.search(
        r"unable to set memory limit to 4096 \(current usage: \d+, peak usage: \d+\)", failed.stderr
    )
    assert killed or refused
    assert "(/linux/resources/memory/limit)" in failed.stderr
    assert runtime.leftovers() == []


@pytest.mark.parametrize(
    "words", ["exec --process FILE ID", "update --resources FILE ID", "mounts add ID FILE"]
)
def test_documents_that_cannot_be_read(runtime: Runtime, words: str) -> None:
    name = created(runtime)
    for path, reason in (
        ("/absent", "open /absent: no such file or directory"),
        ("/", "read /: is a directory"),
    ):
        given = [{"FILE": path, "ID": name}.get(word, word) for word in words.split()]
        code, text = failure(runtime, *given)
        assert (code, text.partition(": ")[2].removeprefix(f"{name}: ")) == (
            255 if given[0] == "exec" else 1,
            reason,
        )
