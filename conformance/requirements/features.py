"""features.md and features-linux.md: what a runtime says that it can do, against what it does."""

import json
import os
from functools import partial
from typing import Any

from conformance.bench import Bench
from conformance.bundle import JsonObject
from conformance.expect import BrokenError, UnavailableError, expect, expect_equal, need
from conformance.host import is_unified
from conformance.requirement import Subject
from conformance.requirements.mounts import IDS, bound, tmpfs
from conformance.requirements.namespaces import MAPPED, listed
from conformance.requirements.seccomp import filter_of
from conformance.requirements.seccomp_notify import listening

SUBJECT = Subject("features")
STRUCTURE = "features.md#features-structure"
VERSION = "features.md#specification-version"
SECCOMP = "features-linux.md#seccomp"
HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
# Every property that the specification defines, as pairs of place and name.
DEFINED = {
    "": "ociVersionMin ociVersionMax hooks mountOptions linux annotations potentiallyUnsafeConfigAnnotations",
    "linux": "namespaces capabilities cgroup seccomp apparmor selinux memoryPolicy intelRdt mountExtensions netDevices",
    "linux/cgroup": "v1 v2 systemd systemdUser rdma",
    "linux/seccomp": "enabled actions operators archs knownFlags supportedFlags",
    "linux/apparmor": "enabled",
    "linux/selinux": "enabled",
    "linux/memoryPolicy": "modes flags",
    "linux/intelRdt": "enabled schemata monitoring",
    "linux/mountExtensions": "idmap",
    "linux/mountExtensions/idmap": "enabled",
    "linux/netDevices": "enabled",
}
OTHER_ORDER = ("S390", "PPC", "MIPS", "PARISC", "M68K", "SHEB")  # architectures of the other order of bytes


def features(bench: Bench) -> JsonObject:
    """What the verb prints.

    Raises:
        UnavailableError: the runtime has no such verb, for which there is a requirement of its own.
    """
    result = bench.command("features")
    need(result.returncode == 0, "the runtime has no features to compare")
    found: Any = json.loads(result.stdout)
    return dict(found)


def part(bench: Bench, *way: str) -> Any:  # noqa: ANN401 - a part of a JSON document
    found: Any = features(bench)
    for step in way:
        found = (found or {}).get(step)
    need(found is not None, f"the runtime has no features called {'.'.join(way)}")
    return found


@SUBJECT.must("structure", STRUCTURE, "`features` prints the structure with its required properties.")
def structure(bench: Bench) -> None:
    result = bench.command("features")
    expect_equal(result.returncode, 0, f"exit status ({result.stderr.strip()[-200:]})")
    found = json.loads(result.stdout)
    for name in ("ociVersionMin", "ociVersionMax"):
        expect(isinstance(found.get(name), str), f"{name} is {found.get(name)!r}")


@SUBJECT.must("defined", VERSION, "The structure has no properties but those of the specification.")
def defined(bench: Bench) -> None:
    found = features(bench)
    for way, names in DEFINED.items():
        place: Any = found
        for step in way.split("/") if way else ():
            place = (place or {}).get(step)
        strange = sorted(set(place or {}) - set(names.split()))
        expect(not strange, f"not of the specification: {strange} in /{way}")


@SUBJECT.should("constant", STRUCTURE, "The structure does not depend on when and by whom it is asked.")
def constant(bench: Bench) -> None:
    expect_equal(features(bench), features(bench), "what it says the second time")


def version_of(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.partition("-")[0].split("."))


@SUBJECT.must("version-order", VERSION, "ociVersionMax is not less than ociVersionMin.")
def version_order(bench: Bench) -> None:
    found = features(bench)
    lowest, highest = version_of(found["ociVersionMin"]), version_of(found["ociVersionMax"])
    expect(lowest <= highest, f"{found['ociVersionMin']} to {found['ociVersionMax']}")


@SUBJECT.must("versions-accepted", VERSION, "Both versions are accepted as ociVersion.")
def versions_accepted(bench: Bench) -> None:
    found = features(bench)
    for name in ("ociVersionMin", "ociVersionMax"):
        bench.look({"/ociVersion": found[name]})


@SUBJECT.must("hooks", "features.md#hooks", "The hooks that are named are run.")
def hooks(bench: Bench) -> None:
    names = part(bench, "hooks")
    strange = sorted(set(names) - set(HOOKS))
    expect(not strange, f"hooks that the specification does not know: {strange}")
    path = f"{bench.directory}/ran"
    note = {"path": "/bin/sh", "args": ["sh", "-c", f"cat > /dev/null; echo x >> {path}"]}
    inside = {"path": "/probe", "args": ["probe", "into:/tmp/ran", "stdin:"]}
    container = bench.running(
        {"/hooks": {name: [inside if "startC" in name else note] for name in names}}, "exit:0"
    )
    container.wait_for("stopped")
    container.verb("delete")
    with open(path, encoding="utf-8") as file:
        outside = len(file.read().split())
    expect_equal(
        outside, len([name for name in names if name != "startContainer"]), "hooks that ran on the host"
    )
    if "startContainer" in names:
        expect(os.path.exists(f"{container.bundle}/rootfs/tmp/ran"), "the startContainer hook did not run")


def mount_with(option: str) -> JsonObject:
    if option == "tmpcopyup":
        return tmpfs("/tmp", option)
    if option in ("idmap", "ridmap"):
        return bound("/tmp", "/dev/shm", "rbind", option, uidMappings=IDS, gidMappings=IDS)
    return bound(
        "/tmp", "rootfs/data", *(("rbind", option) if option not in ("bind", "rbind") else (option,))
    )


@SUBJECT.must("mount-options", "features.md#mount-options", "The mount options that are named are known.")
def mount_options(bench: Bench) -> None:
    failed = {}
    for option in part(bench, "mountOptions"):
        if option == "remount":
            continue
        try:
            bench.look({"/mounts/-": mount_with(option)})
        except BrokenError as error:
            failed[option] = str(error)
    expect(not failed, f"not known, though named: {failed}")


@SUBJECT.should(
    "no-specific-options", "features.md#mount-options", "No options of single file systems are named."
)
def no_specific_options(bench: Bench) -> None:
    specific = {
        "size",
        "mode",
        "uid",
        "gid",
        "nr_inodes",
        "nr_blocks",
        "hidepid",
        "ptmxmode",
        "newinstance",
        "lowerdir",
    }
    names = set(part(bench, "mountOptions"))
    expect(not specific & names, f"of single file systems: {sorted(specific & names)}")


@SUBJECT.must("namespaces", "features-linux.md#namespaces", "The namespaces that are named can be made.")
def namespaces(bench: Bench) -> None:
    for kind in part(bench, "linux", "namespaces"):
        if os.path.exists("/proc/self/ns/time") or kind != "time":
            bench.look(listed(kind))


@SUBJECT.must("capabilities", "features-linux.md#capabilities", "The capabilities that are named are known.")
def capabilities(bench: Bench) -> None:
    names = part(bench, "linux", "capabilities")
    with open("/proc/sys/kernel/cap_last_cap", encoding="utf-8") as file:
        expect(len(names) >= int(file.read()) + 1, f"{len(names)} names, fewer than the kernel's")
    changes = {"/process/capabilities": {"bounding": names}}
    seen = bench.look(changes, "file:/proc/self/status")["file:/proc/self/status"]
    with open("/proc/self/status", encoding="utf-8") as file:
        own = file.read()
    wanted = own.partition("CapBnd:")[2].split()[0]
    expect_equal(seen.partition("CapBnd:")[2].split()[0], wanted, "bounding set with every name")


@SUBJECT.must(
    "cgroup", "features-linux.md#cgroup", "The cgroup version of this machine is named, as it is used."
)
def cgroup(bench: Bench) -> None:
    version = "v2" if is_unified() else "v1"
    expect_equal(part(bench, "linux", "cgroup").get(version), True, f"cgroup.{version}")


def take(bench: Bench, seccomp: JsonObject, name: str) -> None:
    """Make a container with the filter; one flag makes sense only for a filter that somebody listens to."""
    if not name.endswith("WAIT_KILLABLE_RECV"):
        bench.look({"/linux/seccomp": seccomp})
        return
    with listening(bench) as listener:
        path = {"listenerPath": listener.path, "syscalls": filter_of("SCMP_ACT_NOTIFY")["syscalls"]}
        bench.created({"/linux/seccomp": {**seccomp, **path}})
        listener.accept()


def accepted(way: str, bench: Bench) -> None:
    """Each name of a list of seccomp's features is taken in a filter."""
    for name in part(bench, "linux", "seccomp", way):
        if name == "SCMP_ACT_NOTIFY" or name.removeprefix("SCMP_ARCH_").startswith(OTHER_ORDER):
            continue
        seccomp = filter_of("SCMP_ACT_ERRNO")
        if way == "actions":
            seccomp = {**seccomp, "syscalls": [{"names": ["reboot"], "action": name}]}
        elif way == "operators":
            seccomp = filter_of("SCMP_ACT_ERRNO", args=[{"index": 0, "value": 5, "valueTwo": 5, "op": name}])
        elif way == "archs":
            seccomp = {**seccomp, "architectures": [name]}
        else:
            seccomp = {**seccomp, "flags": [name]}
        try:
            take(bench, seccomp, name)
        except BrokenError as error:
            if way == "knownFlags" and "support" in str(error):
                continue  # known, but not by this kernel
            raise BrokenError(f"{name} is named, but: {error}") from None


for _way, _what in {
    "actions": "actions",
    "operators": "operators",
    "archs": "architectures",
    "knownFlags": "known flags",
    "supportedFlags": "supported flags",
}.items():
    SUBJECT.must(f"seccomp-{_way.lower()}", SECCOMP, f"The {_what} of seccomp that are named are accepted.")(
        partial(accepted, _way)
    )


@SUBJECT.must(
    "memory-policy",
    "features-linux.md#memorypolicy",
    "The memory policies and flags that are named are known.",
)
def memory_policy(bench: Bench) -> None:
    found = part(bench, "linux", "memoryPolicy")
    for mode in found.get("modes") or ():
        without = mode in ("MPOL_DEFAULT", "MPOL_LOCAL")
        policy = {"mode": mode} if without else {"mode": mode, "nodes": "0"}
        result = bench.outcome({"/linux/memoryPolicy": policy})
        expect(
            "unknown" not in result.stderr and "invalid mode" not in result.stderr,
            f"{mode}: {result.stderr[-300:]}",
        )
    for flag in found.get("flags") or ():
        bench.look({"/linux/memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": [flag]}})


@SUBJECT.must(
    "idmap", "features-linux.md#mountextensions", "mountExtensions.idmap says whether mounts are mapped."
)
def idmap(bench: Bench) -> None:
    source = bench.bundle({}) + "/rootfs/data"
    mount = bound("/tmp", source, "bind", "idmap", uidMappings=IDS, gidMappings=IDS)
    said = part(bench, "linux").get("mountExtensions", {}).get("idmap", {}).get("enabled")
    result = bench.outcome({"/mounts/-": mount}, "stat:/tmp/inside/file")
    expect_equal(
        bool(said), '"uid": 5000' in result.stdout, "whether the features say that mounts are mapped"
    )


@SUBJECT.must(
    "annotations", "features.md#annotations", "Annotations are strings under keys that are not empty."
)
def annotations(bench: Bench) -> None:
    found = features(bench).get("annotations") or {}
    for key, value in found.items():
        expect(bool(key) and isinstance(value, str), f"{key!r}: {value!r}")


@SUBJECT.callers(
    "complete", "What containers here can have is named: namespaces, memory policies, network devices."
)
def complete(bench: Bench) -> None:
    linux = part(bench, "linux")
    tried: dict[str, tuple[JsonObject, object]] = {
        "namespaces: user": (
            {"/linux/namespaces/-": {"type": "user"}, **MAPPED},
            "user" in linux["namespaces"],
        ),
        "namespaces: cgroup": ({"/linux/namespaces/-": {"type": "cgroup"}}, "cgroup" in linux["namespaces"]),
    }
    for what, (changes, said) in tried.items():
        if bench.outcome(changes).returncode == 0:
            expect(bool(said), f"{what} works, and is not named")
    if os.path.isdir("/sys/devices/system/node/node0"):
        result = bench.outcome({"/linux/memoryPolicy": {"mode": "MPOL_INTERLEAVE", "nodes": "0"}})
        if '"memory_policy": 3' in result.stdout:
            expect(bool(linux.get("memoryPolicy")), "memoryPolicy works, and is not named")


@SUBJECT.callers("quiet", "`features` prints nothing on standard error, and needs no state directory.")
def quiet(bench: Bench) -> None:
    result = bench.command("features")
    if result.returncode != 0:
        raise UnavailableError("the runtime has no features to print")
    expect_equal(result.stderr, "", "standard error")
