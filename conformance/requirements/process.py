"""config.md, process: what the user's program gets."""

from conformance.bench import Bench
from conformance.expect import expect, expect_equal
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
