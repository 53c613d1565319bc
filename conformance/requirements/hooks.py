"""config.md: when hooks run, where, with what on standard input, and what their failure does."""

import json
import os
import time
from dataclasses import dataclass
from functools import partial

from conformance.bench import Bench
from conformance.bundle import JsonObject
from conformance.container import Container
from conformance.expect import BrokenError, expect, expect_equal
from conformance.requirement import Subject

SUBJECT = Subject("hooks")
ANCHOR = "config.md#posix-platform-hooks"
# They run in steps 3 to 5 of the lifecycle: after the one that "creating" names, before create has finished.
IN_CREATE = ("creating", "created")
SECONDS = 10.0  # until a hook must have reported; a slow machine is no fault


@dataclass(frozen=True)
class Kind:
    """Where and when the hooks of one kind run; `dash` is the name in identifiers."""

    name: str
    dash: str
    anchor: str
    inside: bool
    during: str  # the operation
    statuses: tuple[str, ...]  # what the state that they read may say


KINDS = (
    Kind("prestart", "prestart", "config.md#prestart", False, "create", IN_CREATE),
    Kind("createRuntime", "create-runtime", "config.md#createruntime-hooks", False, "create", IN_CREATE),
    Kind(
        "createContainer",
        "create-container",
        "config.md#createcontainer-hooks",
        True,
        "create",
        IN_CREATE,
    ),
    Kind(
        "startContainer",
        "start-container",
        "config.md#startcontainer-hooks",
        True,
        "start",
        ("created", "starting"),
    ),
    Kind("poststart", "poststart", "config.md#poststart", False, "start", ("running",)),
    Kind("poststop", "poststop", "config.md#poststop", False, "delete", ("stopped",)),
)
OF_CREATE = KINDS[:3]


class Notes:
    """The file to which the hooks of a test report, and the hooks that do it: each is the probe itself."""

    def __init__(self, bench: Bench, kind: Kind) -> None:
        self.bench, self.kind = bench, kind
        self.path = f"{bench.directory}/notes-{kind.dash}"
        with open(self.path, "w", encoding="utf-8"):
            os.chmod(self.path, 0o666)

    def hook(self, *questions: str, **more: object) -> JsonObject:
        """One hook, which reads its input: crun dies of a hook that does not.

        A startContainer hook is the container's own probe, and writes to the container's /tmp.
        """
        inside = self.kind.name == "startContainer"
        program = "/probe" if inside else self.bench.probe
        target = "/tmp/notes" if inside else self.path
        return {"path": program, "args": ["probe", f"into:{target}", "stdin:", *questions], **more}

    def reports(self, container: Container) -> list[JsonObject]:
        path = self.path
        if self.kind.name == "startContainer":
            path = f"{container.bundle}/rootfs/tmp/notes"
        if not os.path.exists(path):
            return []
        with open(path, encoding="utf-8") as file:
            return [json.loads(line) for line in file if line.endswith("\n")]

    def first(self, container: Container) -> JsonObject:
        """The first report, which may be some time in coming."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            if found := self.reports(container):
                return found[0]
            time.sleep(0.02)
        raise BrokenError(f"the {self.kind.name} hook did not run")


def through_life(bench: Bench, kind: Kind, changes: JsonObject, notes: Notes) -> Container:
    """Take a container as far as the hooks of the kind run, and see that they did not run before."""
    questions = ("exit:0",) if kind.during == "delete" else ("sleep:20",)
    container = bench.container(changes, *questions)
    for verb in ("create", "start", "delete"):
        if verb == kind.during:
            expect(not notes.reports(container), f"the {kind.name} hook ran before `{verb}`")
        if verb == "create":
            container.create()
        else:
            container.verb(verb)
        if verb == kind.during:
            return container
        if verb == "start":
            container.wait_for("stopped")
    raise ValueError(kind.during)


def runs(kind: Kind, bench: Bench) -> None:
    notes = Notes(bench, kind)
    container = through_life(bench, kind, {f"/hooks/{kind.name}": [notes.hook()]}, notes)
    if kind.name == "startContainer":
        notes.first(container)
    expect_equal(
        len(notes.reports(container)), 1, f"times that the hook has run when `{kind.during}` returns"
    )


def namespace(kind: Kind, bench: Bench) -> None:
    notes = Notes(bench, kind)
    question = "link:/proc/self/ns/mnt"
    container = through_life(bench, kind, {f"/hooks/{kind.name}": [notes.hook(question)]}, notes)
    seen = notes.first(container)[question]
    if kind.inside:
        expect_equal(seen, os.readlink(f"/proc/{container.pid()}/ns/mnt"), "mount namespace of the hook")
    else:
        expect_equal(seen, os.readlink("/proc/self/ns/mnt"), "mount namespace of the hook")


def path_resolves(kind: Kind, bench: Bench) -> None:
    """The hook's program is on one side only, so that it runs only if it is looked for there."""
    notes = Notes(bench, kind)
    hook = notes.hook()
    if kind.name == "startContainer":
        hook["path"] = "/data/only-inside"
    container = bench.container({f"/hooks/{kind.name}": [hook]}, "exit:0")
    if kind.name == "startContainer":
        os.link(f"{container.bundle}/rootfs/probe", f"{container.bundle}/rootfs/data/only-inside")
    container.create()
    container.verb("start")
    container.wait_for("stopped")
    container.verb("delete")
    notes.first(container)


def state_is_given(kind: Kind, bench: Bench) -> None:
    notes = Notes(bench, kind)
    changes = {f"/hooks/{kind.name}": [notes.hook()], "/annotations": {"org.example": "yes"}}
    container = through_life(bench, kind, changes, notes)
    given = notes.first(container)["stdin:"]
    try:
        state = json.loads(given)
    except json.JSONDecodeError:
        raise BrokenError(f"standard input of the hook is no JSON: {given[:200]!r}") from None
    expect_equal(state.get("id"), container.identifier, "id")
    expect_equal(state.get("bundle"), container.bundle, "bundle")
    expect_equal(state.get("annotations"), {"org.example": "yes"}, "annotations")
    expect(isinstance(state.get("ociVersion"), str), f"ociVersion is {state.get('ociVersion')!r}")
    expect(isinstance(state.get("status"), str), f"status is {state.get('status')!r}")
    if not kind.inside and kind.during != "delete":
        expect_equal(state.get("pid"), container.pid(), "pid, as the runtime sees it")


def status_is_told(kind: Kind, bench: Bench) -> None:
    notes = Notes(bench, kind)
    container = through_life(bench, kind, {f"/hooks/{kind.name}": [notes.hook()]}, notes)
    status = json.loads(notes.first(container)["stdin:"]).get("status")
    expect(status in kind.statuses, f"the status is {status!r}, not {' or '.join(kind.statuses)}")


def in_order(kind: Kind, bench: Bench) -> None:
    notes = Notes(bench, kind)
    hooks = [notes.hook(f"mark:{number}") for number in (1, 2, 3)]
    container = through_life(bench, kind, {f"/hooks/{kind.name}": hooks}, notes)
    notes.first(container)
    if kind.name == "startContainer":
        time.sleep(0.2)
    marks = [key for report in notes.reports(container) for key in report if key.startswith("mark:")]
    expect_equal(marks, ["mark:1", "mark:2", "mark:3"], "order of the hooks")


def arguments_and_environment(kind: Kind, bench: Bench) -> None:
    notes = Notes(bench, kind)
    hook = notes.hook("two words", env=["HOOK=a b", "OTHER="])
    container = through_life(bench, kind, {f"/hooks/{kind.name}": [hook]}, notes)
    seen = notes.first(container)
    expect("two words" in seen, f"the argument with a blank did not arrive: {list(seen)[-4:]}")
    expect_equal(sorted(seen["environment"]), ["HOOK=a b", "OTHER="], "environment of the hook")


def timeout(kind: Kind, bench: Bench) -> None:
    """A hook that takes longer than its time is aborted, which counts as its failure."""
    notes = Notes(bench, kind)
    hook = notes.hook("sleep:15", timeout=1)
    container = bench.container({f"/hooks/{kind.name}": [hook]}, "exit:0")
    began = time.monotonic()
    result = bench.command("create", "--bundle", container.bundle, container.identifier)
    expect(result.returncode != 0, "`create` succeeded though the hook ran out of time")
    expect(time.monotonic() - began < 12, "the hook was not aborted")


def failing_create(kind: Kind, bench: Bench) -> None:
    """Create fails, nothing is left, and the poststop hooks run, which are the end of the lifecycle."""
    notes, last = Notes(bench, kind), Notes(bench, KINDS[5])
    hooks = {kind.name: [notes.hook("exit:3")], "poststop": [last.hook()]}
    container = bench.container({"/hooks": hooks, "/linux/cgroupsPath": bench.cgroup})
    result = bench.command("create", "--bundle", container.bundle, container.identifier)
    expect(result.returncode != 0, "`create` succeeded though the hook failed")
    seen = notes.first(container)
    state = bench.command("state", container.identifier)
    expect(state.returncode != 0, f"the container is still there: {state.stdout}")
    if not kind.inside:
        pid = json.loads(seen["stdin:"])["pid"]
        expect(not os.path.exists(f"/proc/{pid}"), "the container's process is still there")
    expect(not bench.cgroups_left(), f"cgroups are left: {bench.cgroups_left()}")
    last.first(container)


def absolute(kind: Kind, bench: Bench) -> None:
    notes = Notes(bench, kind)
    hook = {**notes.hook(), "path": "bin/true"}
    container = bench.container({f"/hooks/{kind.name}": [hook]}, "exit:0")
    result = bench.command("create", "--bundle", container.bundle, container.identifier)
    if result.returncode == 0 and kind.during != "create":
        result = bench.command("start", container.identifier)
    expect(result.returncode != 0, "a relative path was accepted")


def bad_timeout(kind: Kind, bench: Bench) -> None:
    notes = Notes(bench, kind)
    for wrong in (0, -1):
        bench.refused({f"/hooks/{kind.name}": [notes.hook(timeout=wrong)]})


def before_pivot(kind: Kind, bench: Bench) -> None:
    """The container's namespaces are made, but the root of its process is still the host's."""
    notes = Notes(bench, kind)
    path = f"{bench.directory}/root-{kind.dash}"
    words = (
        'pid=$(sed "s/.*\\"pid\\": *\\([0-9]*\\).*/\\1/");'
        f" {{ readlink /proc/$pid/ns/net; stat -L -c %d:%i /proc/$pid/root/; }} > {path}"
    )
    hook = {"path": "/bin/sh", "args": ["sh", "-c", words], "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]}
    through_life(bench, kind, {f"/hooks/{kind.name}": [hook]}, notes)
    with open(path, encoding="utf-8") as file:
        network, root = (*file.read().split(), "", "")[:2]
    status = os.stat("/")
    expect(network not in ("", os.readlink("/proc/self/ns/net")), f"no new network namespace: {network!r}")
    expect_equal(root, f"{status.st_dev}:{status.st_ino}", "device and inode of the root of the process")


def add(kind: Kind) -> None:
    where = "container" if kind.inside else "runtime"
    must = SUBJECT.must
    name, dash = kind.name, kind.dash
    must(dash, kind.anchor, f"{name} hooks run once, during `{kind.during}`.")(partial(runs, kind))
    must(f"{dash}-namespace", kind.anchor, f"{name} hooks run in the {where} namespace.")(
        partial(namespace, kind)
    )
    side = "container" if name == "startContainer" else "runtime"
    must(f"{dash}-path", kind.anchor, f"The path of {name} hooks is looked up in the {side} namespace.")(
        partial(path_resolves, kind)
    )
    must(f"{dash}-state", ANCHOR, f"{name} hooks read the state on standard input.")(
        partial(state_is_given, kind)
    )
    must(
        f"{dash}-status",
        "runtime.md#state",
        f"{name} hooks are told the status {' or '.join(kind.statuses)}.",
    )(partial(status_is_told, kind))
    must(f"{dash}-order", ANCHOR, f"{name} hooks run in the order listed.")(partial(in_order, kind))
    must(f"{dash}-absolute", ANCHOR, f"A relative path of a {name} hook is an error.")(
        partial(absolute, kind)
    )
    must(f"{dash}-timeout-positive", ANCHOR, f"A timeout of a {name} hook that is not above 0 is an error.")(
        partial(bad_timeout, kind)
    )
    must(f"{dash}-argv-env", ANCHOR, f"{name} hooks get their args and their env.")(
        partial(arguments_and_environment, kind)
    )
    if kind.during == "create":
        must(
            f"{dash}-failing",
            "runtime.md#lifecycle",
            f"A failing {name} hook fails create, and all is undone.",
        )(partial(failing_create, kind))
        must(f"{dash}-timeout", ANCHOR, f"A {name} hook that outlasts its timeout is aborted.")(
            partial(timeout, kind)
        )
    if kind in OF_CREATE[:2]:
        must(
            f"{dash}-before-pivot",
            kind.anchor,
            f"{name} hooks run after namespaces are made and before the pivot.",
        )(partial(before_pivot, kind))


for _kind in KINDS:
    add(_kind)


@SUBJECT.must(
    "create-container-before-pivot",
    "config.md#createcontainer-hooks",
    "createContainer hooks run after the mounts are made and before the pivot.",
)
def create_container_before_pivot(bench: Bench) -> None:
    kind = OF_CREATE[2]
    notes = Notes(bench, kind)
    container = bench.container({"/mounts/-": {"destination": "/data", "type": "tmpfs", "source": "tmpfs"}})
    inside = f"stat:{container.bundle}/rootfs/data"
    mounts = "file:/proc/self/mountinfo"
    container.rewrite({f"/hooks/{kind.name}": [notes.hook(inside, mounts)]})
    container.create()
    seen = notes.first(container)
    expect("mode" in seen[inside], "the path of the host is not there: the root was changed before the hook")
    expect(f" {container.bundle}/rootfs/data " in seen[mounts], "the mounts are not made when the hook runs")


@SUBJECT.must(
    "kinds-in-order", "config.md#createcontainer-hooks", "The kinds run in the order of the lifecycle."
)
def kinds_in_order(bench: Bench) -> None:
    path = f"{bench.directory}/order"
    hooks = {}
    for kind in (*OF_CREATE, *KINDS[4:]):
        hooks[kind.name] = [
            {"path": "/bin/sh", "args": ["sh", "-c", f"cat > /dev/null; echo {kind.name} >> {path}"]}
        ]
    container = bench.running({"/hooks": hooks}, "exit:0")
    container.wait_for("stopped")
    container.verb("delete")
    with open(path, encoding="utf-8") as file:
        expect_equal(
            file.read().split(), [kind.name for kind in (*OF_CREATE, *KINDS[4:])], "order of the kinds"
        )


@SUBJECT.must(
    "start-container-failing",
    "runtime.md#lifecycle",
    "A failing startContainer hook keeps the program from running.",
)
def start_container_failing(bench: Bench) -> None:
    hook = {"path": "/probe", "args": ["probe", "stdin:", "exit:3"]}
    container = bench.created({"/hooks/startContainer": [hook]}, "write:/tmp/started")
    container.command("start", container.identifier)
    time.sleep(0.3)
    expect(
        not os.path.exists(f"{container.bundle}/rootfs/tmp/started"), "the program ran though the hook failed"
    )
    state = container.command("state", container.identifier)
    if state.returncode == 0:
        expect_equal(json.loads(state.stdout)["status"], "stopped", "status after the hook failed")


@SUBJECT.must(
    "start-container-before-program",
    "config.md#startcontainer-hooks",
    "startContainer hooks end before the program begins.",
)
def start_container_before_program(bench: Bench) -> None:
    hook = {"path": "/probe", "args": ["probe", "stdin:", "sleep:1", "write:/tmp/hook"]}
    seen = bench.look({"/hooks/startContainer": [hook]}, "stat:/tmp/hook")
    expect("mode" in seen["stat:/tmp/hook"], "the program began before the hook had ended")


@SUBJECT.must(
    "poststart-failing",
    "runtime.md#lifecycle",
    "A failing poststart hook fails start, and stops the container.",
)
def poststart_failing(bench: Bench) -> None:
    kind = KINDS[4]
    container = bench.created({"/hooks/poststart": [Notes(bench, kind).hook("exit:3")]}, "sleep:20")
    result = container.command("start", container.identifier)
    expect(result.returncode != 0, "`start` succeeded though the poststart hook failed")
    state = container.command("state", container.identifier)
    if state.returncode == 0:
        container.wait_for("stopped")


@SUBJECT.must(
    "poststart-before-return", "config.md#poststart", "poststart hooks have ended when start returns."
)
def poststart_before_return(bench: Bench) -> None:
    kind = KINDS[4]
    notes = Notes(bench, kind)
    container = bench.created({"/hooks/poststart": [notes.hook("sleep:1")]}, "sleep:20")
    container.start()
    expect(bool(notes.reports(container)), "`start` returned before the hook had ended")


@SUBJECT.must(
    "poststop-failing",
    "runtime.md#lifecycle",
    "A failing poststop hook does not keep the others from running.",
)
def poststop_failing(bench: Bench) -> None:
    kind = KINDS[5]
    notes, other = Notes(bench, kind), {"path": "/bin/sh", "args": ["sh", "-c", "cat > /dev/null; exit 1"]}
    container = bench.running({"/hooks/poststop": [other, notes.hook()]}, "exit:0")
    container.wait_for("stopped")
    bench.command("delete", container.identifier)
    notes.first(container)
    expect(bench.command("state", container.identifier).returncode != 0, "the container is still there")


@SUBJECT.must(
    "poststop-before-return", "config.md#poststop", "poststop hooks have ended when delete returns."
)
def poststop_before_return(bench: Bench) -> None:
    kind = KINDS[5]
    notes = Notes(bench, kind)
    container = bench.running({"/hooks/poststop": [notes.hook("sleep:1")]}, "exit:0")
    container.wait_for("stopped")
    container.verb("delete")
    expect(bool(notes.reports(container)), "`delete` returned before the hook had ended")


@SUBJECT.must(
    "poststop-after-delete", "config.md#poststop", "poststop hooks run when the cgroup is already gone."
)
def poststop_after_delete(bench: Bench) -> None:
    kind = KINDS[5]
    notes = Notes(bench, kind)
    container = bench.created({"/linux/cgroupsPath": bench.cgroup}, "exit:0")
    places = [place for place in container.cgroups().values() if place.endswith(bench.cgroup)]
    container.verb("kill", "KILL")
    container.wait_for("stopped")
    container.verb("delete")
    again = bench.container(
        {
            "/linux/cgroupsPath": bench.cgroup,
            "/hooks/poststop": [notes.hook(*(f"list:{place}" for place in places))],
        },
        "exit:0",
    )
    again.create()
    again.start()
    again.wait_for("stopped")
    again.verb("delete")
    seen = notes.first(again)
    left = [place for place in places if "errno" not in seen[f"list:{place}"]]
    expect(bool(places), "the container is in no cgroup of the configured path")
    expect(not left, f"still there when the hook ran: {left}")
