"""config.md, process: what the user's program gets."""

import os
import shutil
import subprocess

from conformance.bench import Bench
from conformance.bundle import ABSENT
from conformance.container import report_of
from conformance.expect import expect, expect_equal, need
from conformance.requirement import Subject

SUBJECT = Subject("process")
SETS = {
    "bounding": "CapBnd",
    "effective": "CapEff",
    "inheritable": "CapInh",
    "permitted": "CapPrm",
    "ambient": "CapAmb",
}
NET_BIND_SERVICE, KILL = 1 << 10, 1 << 5


def status_of(text: str) -> dict[str, str]:
    """The fields of a /proc/PID/status."""
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def limits_of(text: str) -> dict[str, tuple[str, str]]:
    """Soft and hard limit by name, of a /proc/PID/limits."""
    return {line[:25].strip(): (line[26:46].strip(), line[47:67].strip()) for line in text.splitlines()[1:]}


@SUBJECT.must("cwd", "config.md#process", "The program begins in process.cwd.")
def cwd(bench: Bench) -> None:
    expect_equal(bench.look({"/process/cwd": "/data/inside"})["cwd"], "/data/inside", "working directory")


@SUBJECT.must("cwd-absolute", "config.md#process", "A relative process.cwd is refused.")
def cwd_absolute(bench: Bench) -> None:
    bench.refused({"/process/cwd": "data"})


@SUBJECT.must(
    "env", "config.md#process", "The program has the variables of process.env, and none of the caller's."
)
def env(bench: Bench) -> None:
    seen = bench.look({"/process/env": ["PATH=/", "ONE=1", "TWO=a b"]})["environment"]
    strange = sorted(set(seen) - {"PATH=/", "ONE=1", "TWO=a b"} - {e for e in seen if e.startswith("HOME=")})
    expect({"PATH=/", "ONE=1", "TWO=a b"} <= set(seen), f"variables are missing: {seen}")
    expect(not strange, f"variables that nobody asked for: {strange}")


@SUBJECT.must("user", "config.md#posix-platform-user", "The program runs as user.uid and user.gid.")
def user(bench: Bench) -> None:
    seen = bench.look({"/process/user": {"uid": 1234, "gid": 5678}})
    expect_equal((seen["uid"], seen["gid"]), (1234, 5678), "uid and gid")


@SUBJECT.must("groups", "config.md#posix-platform-user", "The supplementary groups are user.additionalGids.")
def groups(bench: Bench) -> None:
    seen = bench.look({"/process/user": {"uid": 1, "gid": 2, "additionalGids": [7, 9]}})["groups"]
    expect_equal(sorted(set(seen) - {2}), [7, 9], "supplementary groups")


@SUBJECT.must(
    "no-groups", "config.md#posix-platform-user", "Without additionalGids none of the caller's are left."
)
def no_groups(bench: Bench) -> None:
    seen = bench.look({"/process/user": {"uid": 1, "gid": 2}})["groups"]
    expect_equal(sorted(set(seen) - {2}), [], "supplementary groups")


@SUBJECT.must("umask", "config.md#posix-platform-user", "The umask is user.umask.")
def umask(bench: Bench) -> None:
    seen = bench.look({"/process/user": {"uid": 0, "gid": 0, "umask": 0o27}})["umask"]
    expect_equal(oct(seen), oct(0o27), "umask")


@SUBJECT.must("no-new-privileges", "config.md#linux-process", "noNewPrivileges sets no_new_privs.")
def no_new_privileges(bench: Bench) -> None:
    for value in (True, False):
        seen = bench.look({"/process/noNewPrivileges": value})["no_new_privileges"]
        expect_equal(bool(seen), value, "no_new_privs")


@SUBJECT.must("oom-score", "config.md#linux-process", "oomScoreAdj is the process's oom_score_adj.")
def oom_score(bench: Bench) -> None:
    seen = bench.look({"/process/oomScoreAdj": 321}, "file:/proc/self/oom_score_adj")
    expect_equal(seen["file:/proc/self/oom_score_adj"].strip(), "321", "oom_score_adj")


@SUBJECT.must("rlimits", "config.md#posix-process", "Each entry of rlimits sets soft and hard limit.")
def rlimits(bench: Bench) -> None:
    wanted = [
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 4096},
    ]
    seen = limits_of(
        bench.look({"/process/rlimits": wanted}, "file:/proc/self/limits")["file:/proc/self/limits"]
    )
    expect_equal(seen["Max open files"], ("100", "200"), "RLIMIT_NOFILE")
    expect_equal(seen["Max core file size"], ("0", "4096"), "RLIMIT_CORE")


@SUBJECT.must(
    "rlimits-unique", "config.md#posix-process", "Two entries of rlimits with one type are an error."
)
def rlimits_unique(bench: Bench) -> None:
    limit = {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 100}
    bench.refused({"/process/rlimits": [limit, limit]})


@SUBJECT.must(
    "rlimits-known", "config.md#posix-process", "An rlimit that the kernel does not know is an error."
)
def rlimits_known(bench: Bench) -> None:
    bench.refused({"/process/rlimits": [{"type": "RLIMIT_CONFORMANCE", "soft": 1, "hard": 1}]})


@SUBJECT.must("capabilities", "config.md#linux-process", "Each set of capabilities is what the config says.")
def capabilities(bench: Bench) -> None:
    both = ["CAP_KILL", "CAP_NET_BIND_SERVICE"]
    wanted = {
        "bounding": both,
        "permitted": both,
        "effective": both[:1],
        "inheritable": both[1:],
        "ambient": both[1:],
    }
    seen = bench.look(
        {"/process/capabilities": wanted, "/process/user": {"uid": 7, "gid": 7}}, "file:/proc/self/status"
    )
    status = status_of(seen["file:/proc/self/status"])
    masks = {name: int(status[field], 16) for name, field in SETS.items()}
    # An execve by an ordinary user leaves only the ambient ones permitted and effective.
    expect_equal(masks["bounding"], KILL | NET_BIND_SERVICE, "bounding")
    expect_equal(masks["ambient"], NET_BIND_SERVICE, "ambient")
    expect_equal(masks["inheritable"], NET_BIND_SERVICE, "inheritable")
    expect_equal(masks["effective"], NET_BIND_SERVICE, "effective after execve")


@SUBJECT.must("no-capabilities", "config.md#linux-process", "Without capabilities the program has none.")
def no_capabilities(bench: Bench) -> None:
    empty: dict[str, list[str]] = {name: [] for name in SETS}
    seen = bench.look({"/process/capabilities": empty}, "file:/proc/self/status")
    status = status_of(seen["file:/proc/self/status"])
    expect_equal(
        {name: int(status[field], 16) for name, field in SETS.items()}, dict.fromkeys(SETS, 0), "sets"
    )


@SUBJECT.should(
    "unknown-capability", "config.md#linux-process", "An unknown capability gives a warning, no failure."
)
def unknown_capability(bench: Bench) -> None:
    bench.look({"/process/capabilities": {"bounding": ["CAP_CONFORMANCE", "CAP_KILL"]}})


@SUBJECT.callers("descriptors", "The program has standard input, output and error, and no descriptor more.")
def descriptors(bench: Bench) -> None:
    expect_equal(bench.look({})["descriptors"], [0, 1, 2], "descriptors")


@SUBJECT.callers("signals", "No signal is blocked or ignored when the program starts.")
def signals(bench: Bench) -> None:
    status = status_of(bench.look({}, "file:/proc/self/status")["file:/proc/self/status"])
    expect_equal(int(status["SigBlk"], 16), 0, "blocked signals")
    expect_equal(int(status["SigIgn"], 16), 0, "ignored signals")


@SUBJECT.callers("exit-status", "`run` in the foreground ends with the program's status.")
def exit_status(bench: Bench) -> None:
    container = bench.container({}, "exit:37")
    result = bench.command("run", "--bundle", container.bundle, container.identifier)
    expect_equal(result.returncode, 37, "exit status of `run`")


@SUBJECT.callers("missing-program", "A program that does not exist fails `create`, and is named.")
def missing_program(bench: Bench) -> None:
    said = bench.refused({"/process/args": ["/conformance-no-such-program"]})
    expect("/conformance-no-such-program" in said, f"the message does not name the program: {said!r}")


@SUBJECT.must("cwd-missing", "runtime.md#create", "A cwd that is a file fails create.")
def cwd_is_a_file(bench: Bench) -> None:
    bench.refused({"/process/cwd": "/hello"})


@SUBJECT.must("cwd-required", "config.md#process", "A process without cwd is refused.")
def cwd_required(bench: Bench) -> None:
    bench.refused({"/process/cwd": ABSENT})


@SUBJECT.must("args", "config.md#process", "The arguments arrive as they are written.")
def args(bench: Bench) -> None:
    words = ["two words", "", "$PATH", "*", 'quo"te', "--version", "ümlaut"]
    # The probe writes a byte as the character of that number.
    written = [word.encode().decode("latin-1") for word in words]
    seen = bench.look({}, *words)
    expect_equal(sorted(key for key in seen if key in written), sorted(written), "arguments")


@SUBJECT.must(
    "args-required", "config.md#process", "A process without args is refused, by create or by start."
)
def args_required(bench: Bench) -> None:
    container = bench.container({"/process/args": ABSENT})
    result = container.command("create", "--bundle", container.bundle, container.identifier)
    if result.returncode == 0:
        result = container.command("start", container.identifier)
    expect(result.returncode != 0, "a container without args was started")


@SUBJECT.must("path-lookup", "config.md#process", "The program is looked up in the PATH of process.env.")
def path_lookup(bench: Bench) -> None:
    container = bench.container(
        {"/process/args": ["found", "mark:1"], "/process/env": ["PATH=/nowhere:/data"]}
    )
    os.link(f"{container.bundle}/rootfs/probe", f"{container.bundle}/rootfs/data/found")
    expect("mark:1" in container.report(), "the program has not run")


@SUBJECT.must("relative-program", "config.md#process", "A program with a slash is taken from the cwd.")
def relative_program(bench: Bench) -> None:
    container = bench.container({"/process/args": ["./found", "mark:1"], "/process/cwd": "/data"})
    os.link(f"{container.bundle}/rootfs/probe", f"{container.bundle}/rootfs/data/found")
    expect("mark:1" in container.report(), "the program has not run")


@SUBJECT.must(
    "empty-env", "config.md#process", "Without process.env none of the caller's variables are left."
)
def empty_env(bench: Bench) -> None:
    seen = bench.look({"/process/env": []})["environment"]
    strange = [
        entry for entry in seen if entry.partition("=")[0] not in ("HOME", "PATH", "TERM", "container")
    ]
    expect(not strange, f"variables that nobody asked for: {strange}")


@SUBJECT.must("console-size-ignored", "config.md#process", "consoleSize without a terminal is ignored.")
def console_size_ignored(bench: Bench) -> None:
    seen = bench.look({"/process/consoleSize": {"height": 10, "width": 20}}, "tty:0", "tty:1")
    expect_equal((seen["tty:0"], seen["tty:1"]), (0, 0), "descriptors that are terminals")


@SUBJECT.must(
    "oom-score-unset", "config.md#linux-process", "Without oomScoreAdj oom_score_adj is that of the caller."
)
def oom_score_unset(bench: Bench) -> None:
    seen = bench.look({}, "file:/proc/self/oom_score_adj")["file:/proc/self/oom_score_adj"]
    with open("/proc/self/oom_score_adj", encoding="utf-8") as file:
        expect_equal(seen, file.read(), "oom_score_adj")


@SUBJECT.must("oom-score-bounds", "config.md#linux-process", "oomScoreAdj can be what it is, and the worst.")
def oom_score_zero(bench: Bench) -> None:
    with open("/proc/self/oom_score_adj", encoding="utf-8") as file:
        own = int(file.read())
    for value in (own, 1000):
        seen = bench.look({"/process/oomScoreAdj": value}, "file:/proc/self/oom_score_adj")
        expect_equal(seen["file:/proc/self/oom_score_adj"].strip(), str(value), "oom_score_adj")


RLIMITS = {
    "AS": "Max address space",
    "CORE": "Max core file size",
    "CPU": "Max cpu time",
    "DATA": "Max data size",
    "FSIZE": "Max file size",
    "LOCKS": "Max file locks",
    "MEMLOCK": "Max locked memory",
    "MSGQUEUE": "Max msgqueue size",
    "NICE": "Max nice priority",
    "NOFILE": "Max open files",
    "NPROC": "Max processes",
    "RSS": "Max resident set",
    "RTPRIO": "Max realtime priority",
    "RTTIME": "Max realtime timeout",
    "SIGPENDING": "Max pending signals",
    "STACK": "Max stack size",
}


@SUBJECT.must("rlimits-all", "config.md#posix-process", "Each of the kernel's limits can be set.")
def rlimits_all(bench: Bench) -> None:
    with open("/proc/self/limits", encoding="utf-8") as file:
        own = limits_of(
            file.read()
        )  # nothing may be above what the caller has, who may have no privilege to raise it
    values = {}
    for name, shown in RLIMITS.items():
        hard = (1 << 32) + 4096 if own[shown][1] == "unlimited" else min(int(own[shown][1]), (1 << 32) + 4096)
        values[name] = (max(hard - 1, 0), hard)
    entries = [
        {"type": f"RLIMIT_{name}", "soft": soft, "hard": hard} for name, (soft, hard) in values.items()
    ]
    question = "file:/proc/self/limits"
    seen = limits_of(bench.look({"/process/rlimits": entries}, question)[question])
    for name, (soft, hard) in values.items():
        expect_equal(seen[RLIMITS[name]], (str(soft), str(hard)), f"RLIMIT_{name}")


@SUBJECT.must("rlimits-soft-above-hard", "runtime.md#create", "A soft limit above the hard one fails create.")
def rlimits_soft_above_hard(bench: Bench) -> None:
    bench.refused({"/process/rlimits": [{"type": "RLIMIT_NOFILE", "soft": 200, "hard": 100}]})


@SUBJECT.must(
    "capability-warning", "config.md#linux-process", "A warning names a capability that is not known."
)
def capability_warning(bench: Bench) -> None:
    container = bench.container({"/process/capabilities": {"bounding": ["CAP_CONFORMANCE"]}}, "exit:0")
    path = f"{bench.directory}/log"
    words = ("run", "--bundle", container.bundle, container.identifier)
    result = container.command(*words, options=["--debug", "--log", path])
    written = result.stderr
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            written += file.read()
    expect("CAP_CONFORMANCE" in written, f"nothing in the log of `run --debug` names it: {written[-300:]!r}")


@SUBJECT.must("ambient", "config.md#linux-process", "Ambient capabilities outlive a change of the user.")
def ambient(bench: Bench) -> None:
    names = ["CAP_KILL"]
    sets = dict.fromkeys(("bounding", "permitted", "effective", "inheritable", "ambient"), names)
    changes = {"/process/capabilities": sets, "/process/user": {"uid": 9, "gid": 9}}
    status = status_of(bench.look(changes, "file:/proc/self/status")["file:/proc/self/status"])
    for field in SETS.values():
        expect_equal(int(status[field], 16), KILL, field)


@SUBJECT.must(
    "capabilities-of-root", "config.md#linux-process", "Root has what bounding and inheritable leave."
)
def capabilities_of_root(bench: Bench) -> None:
    names = ["CAP_KILL", "CAP_NET_BIND_SERVICE"]
    sets = {"bounding": names, "permitted": names, "effective": names}
    status = status_of(
        bench.look({"/process/capabilities": sets}, "file:/proc/self/status")["file:/proc/self/status"]
    )
    for name in ("bounding", "permitted", "effective"):
        expect_equal(int(status[SETS[name]], 16), KILL | NET_BIND_SERVICE, name)
    expect_equal(int(status["CapInh"], 16), 0, "inheritable")


@SUBJECT.must(
    "no-capabilities-object", "config.md#linux-process", "Without `capabilities` the program has none."
)
def no_capabilities_object(bench: Bench) -> None:
    status = status_of(bench.look({}, "file:/proc/self/status")["file:/proc/self/status"])
    expect_equal(int(status["CapEff"], 16), 0, "effective")


@SUBJECT.must(
    "apparmor-missing", "config.md#valid-values", "An apparmorProfile that is not loaded fails create."
)
def apparmor_missing(bench: Bench) -> None:
    bench.refused({"/process/apparmorProfile": "conformance-no-such-profile"})


@SUBJECT.must("apparmor", "config.md#linux-process", "The program runs under apparmorProfile.")
def apparmor(bench: Bench) -> None:
    path = "/sys/kernel/security/apparmor/profiles"
    need(os.path.exists(path), "needs AppArmor in force")
    with open(path, encoding="utf-8") as file:
        names = [line.rpartition(" (")[0] for line in file if "complain" in line or "enforce" in line]
    need("conformance" in names or bool(load_profile(bench)), "needs AppArmor with a parser of profiles")
    seen = bench.look({"/process/apparmorProfile": "conformance"}, "file:/proc/self/attr/current")
    expect(str(seen["file:/proc/self/attr/current"]).startswith("conformance"), f"profile: {seen}")


def load_profile(bench: Bench) -> bool:
    """Load a profile that allows everything, and stays until the machine ends."""
    parser = shutil.which("apparmor_parser", path="/sbin:/usr/sbin:/bin:/usr/bin")
    if parser is None:
        return False
    path = f"{bench.directory}/profile"
    with open(path, "w", encoding="utf-8") as file:
        file.write(
            "profile conformance flags=(attach_disconnected,mediate_deleted) {\n file,\n capability,\n"
        )
        file.write(" network,\n mount,\n umount,\n signal,\n ptrace,\n unix,\n dbus,\n pivot_root,\n}\n")
    command = [parser, "--replace", "--skip-cache", path]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


@SUBJECT.must(
    "selinux-missing", "config.md#valid-values", "A selinuxLabel where SELinux is not in force fails create."
)
def selinux_missing(bench: Bench) -> None:
    need(not os.path.exists("/sys/fs/selinux/enforce"), "needs SELinux not to be in force")
    bench.refused({"/process/selinuxLabel": "system_u:system_r:conformance_t:s0"})


@SUBJECT.callers("umask-default", "Without umask it is 0022.")
def umask_default(bench: Bench) -> None:
    expect_equal(oct(bench.look({})["umask"]), oct(0o22), "umask")


@SUBJECT.callers("session", "The program leads a session of its own.")
def session(bench: Bench) -> None:
    seen = bench.look({})
    expect_equal(seen["session"], seen["pid"], "session")


@SUBJECT.callers(
    "exit-signal", "`run` in the foreground ends with 128 and the signal that ended the program."
)
def exit_signal(bench: Bench) -> None:
    container = bench.container({}, "signals:/tmp/signals")
    with bench.in_background("run", "--bundle", container.bundle, container.identifier) as process:
        container.wait_for_file("tmp/signals", "ready")
        container.verb("kill", "KILL")
        expect_equal(process.wait(timeout=20), 128 + 9, "exit status of `run`")


@SUBJECT.callers("standard-streams", "`run` passes standard input, output and error on.")
def standard_streams(bench: Bench) -> None:
    container = bench.container({}, "stdin:")
    words = ("run", "--bundle", container.bundle, container.identifier)
    result = container.command(*words, stdin="some text\n")
    expect('"some text\\u000a"' in result.stdout, f"standard output: {result.stdout[-200:]!r}")


@SUBJECT.callers("preserved-descriptors", "--preserve-fds passes descriptors on.")
def preserved_descriptors(bench: Bench) -> None:
    container = bench.container({})
    words = ("run", "--preserve-fds", "2", "--bundle", container.bundle, container.identifier)
    seen = report_of(bench.with_descriptors(2, *words), "run")
    expect_equal(seen["descriptors"], [0, 1, 2, 3, 4], "descriptors")
