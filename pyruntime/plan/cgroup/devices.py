"""The device policy: a list of rules, as writes (v1) or as an eBPF program (v2).

Source: config-linux.md, "Allowed Device list"; kernel, cgroup-v1/devices.rst, linux/bpf.h.
"""

from pyruntime.base.errors import SpecError
from pyruntime.base.record import Record
from pyruntime.plan.cgroup.operations import CgroupOperation, WriteCgroupFile, WriteCgroupValues
from pyruntime.spec.linux import DeviceRule, Resources

ACCESS_BITS = {"m": 1, "r": 2, "w": 4}
TYPE_NUMBERS = {"b": 1, "c": 2}


class Rule(Record):
    """One rule, checked: type a, b or c; -1 is any number."""

    origin: str = ""
    allow: bool
    type: str
    major: int
    minor: int
    access: str


# What every container needs, as in runc: mknod of anything, the default devices, ptys and tun.
_DEFAULTS = tuple(
    Rule(allow=True, type=kind, major=major, minor=minor, access=access)
    for kind, major, minor, access in (
        ("c", -1, -1, "m"),
        ("b", -1, -1, "m"),
        ("c", 1, 3, "rwm"),
        ("c", 1, 8, "rwm"),
        ("c", 1, 7, "rwm"),
        ("c", 5, 0, "rwm"),
        ("c", 1, 5, "rwm"),
        ("c", 1, 9, "rwm"),
        ("c", 136, -1, "rwm"),
        ("c", 5, 2, "rwm"),
        ("c", 10, 200, "rwm"),
    )
)
_DENY_ALL = Rule(allow=False, type="a", major=-1, minor=-1, access="rwm")


def device_rules(resources: Resources) -> tuple[Rule, ...]:
    """The configured rules, then the defaults; what none of them allows is denied, as with runc.

    The kernel's own beginning is to allow everything, and a container with CAP_MKNOD makes any node it likes.  A node
    of `linux.devices` is made, but opened only if a rule allows it: who adds one adds both, and a rule that denies it
    must not be undone.

    Raises:
        SpecError: a type or an access string is unknown, or the access is empty.
    """
    rules = [
        _read_rule(rule, f"/linux/resources/devices/{index}") for index, rule in enumerate(resources.devices)
    ]
    if not rules or not _is_all(rules[0]):
        rules.insert(0, _DENY_ALL)
    return (*rules, *_DEFAULTS)


def _read_rule(rule: DeviceRule, origin: str) -> Rule:
    kind = rule.type or "a"
    access = rule.access or ("rwm" if kind == "a" else "")
    if kind not in ("a", "b", "c", "u"):
        raise SpecError(f"unknown device type {kind!r}", where=f"{origin}/type", hint="use a, b or c")
    if not access or any(letter not in ACCESS_BITS for letter in access):
        hint = "write a combination of r, w and m"
        raise SpecError(f"invalid device access {rule.access!r}", where=f"{origin}/access", hint=hint)
    return Rule(
        origin=origin,
        allow=rule.allow,
        type="c" if kind == "u" else kind,
        major=-1 if rule.major is None else rule.major,
        minor=-1 if rule.minor is None else rule.minor,
        access=access,
    )


def _is_all(rule: Rule) -> bool:
    return rule.type == "a" and rule.major < 0 and rule.minor < 0


def _values_v1(rule: Rule) -> tuple[str, ...]:
    """What devices.allow and devices.deny take for a rule.

    One for type a stands for one of b and one of c unless it means everything, which the kernel takes as "a".
    """
    if _is_all(rule):
        return ("a",)
    numbers = f"{_number(rule.major)}:{_number(rule.minor)} {rule.access}"
    return tuple(f"{kind} {numbers}" for kind in (("b", "c") if rule.type == "a" else (rule.type,)))


def _number(value: int) -> str:
    return "*" if value < 0 else str(value)


# The same for every container: found once.
_DEFAULT_VALUES = tuple(value for rule in _DEFAULTS for value in _values_v1(rule))


def plan_devices_v1(rules: tuple[Rule, ...], directory: str) -> list[CgroupOperation]:
    """Writes to devices.allow and devices.deny, in the order of the rules: those configured, and the defaults."""
    configured = rules[: -len(_DEFAULTS)]
    return [
        *(
            WriteCgroupFile(
                origin=rule.origin,
                path=f"{directory}/devices.{'allow' if rule.allow else 'deny'}",
                value=value,
            )
            for rule in configured
            for value in _values_v1(rule)
        ),
        WriteCgroupValues(path=f"{directory}/devices.allow", values=_DEFAULT_VALUES),
    ]


def device_program(rules: tuple[Rule, ...]) -> bytes:
    """An eBPF program of type BPF_PROG_TYPE_CGROUP_DEVICE: the last rule that matches decides, else denied.

    Each instruction is 8 bytes: opcode, registers, offset (16 bits), constant (32 bits).  Registers: r2 type,
    r3 access, r4 major, r5 minor.  Access rights that a rule covers only in part do not match it.
    """
    if not rules:
        return b""
    code = [
        # struct bpf_cgroup_dev_ctx: access << 16 | type, major, minor
        _instruction(0x61, 2, 1, 0, 0),
        _instruction(0x54, 2, 0, 0, 0xFFFF),
        _instruction(0x61, 3, 1, 0, 0),
        _instruction(0x74, 3, 0, 0, 16),
        _instruction(0x61, 4, 1, 4, 0),
        _instruction(0x61, 5, 1, 8, 0),
    ]
    for rule in reversed(rules):
        code += _rule_code(rule)
        if _is_all(rule) and set(rule.access) == set(ACCESS_BITS):
            return b"".join(code)  # nothing after a rule for everything can be reached
    code += [_instruction(0xB7, 0, 0, 0, 0), _instruction(0x95, 0, 0, 0, 0)]
    return b"".join(code)


def _rule_code(rule: Rule) -> list[bytes]:
    """One block: each test that fails jumps behind the block, else the verdict is returned."""
    verdict = [_instruction(0xB7, 0, 0, 0, 1 if rule.allow else 0), _instruction(0x95, 0, 0, 0, 0)]
    tests: list[tuple[list[bytes], tuple[int, int, int]]] = []
    if rule.type != "a":
        tests.append(([], (0x55, 2, TYPE_NUMBERS[rule.type])))
    bits = sum(ACCESS_BITS[letter] for letter in set(rule.access))
    if bits != 7:
        # A request for anything beyond these rights does not match: r1 = access & ~bits must be 0.
        masked = [_instruction(0xBC, 1, 3, 0, 0), _instruction(0x54, 1, 0, 0, ~bits & 0x7)]
        tests.append((masked, (0x55, 1, 0)))
    if rule.major >= 0:
        tests.append(([], (0x55, 4, rule.major)))
    if rule.minor >= 0:
        tests.append(([], (0x55, 5, rule.minor)))
    block = list(verdict)
    for before, (opcode, register, constant) in reversed(tests):
        jump = _instruction(opcode, register, 0, len(block), constant)
        block = [*before, jump, *block]
    return block


def _instruction(opcode: int, destination: int, source: int, offset: int, constant: int) -> bytes:
    return (
        bytes((opcode, source << 4 | destination))
        + offset.to_bytes(2, "little", signed=True)
        + (constant & 0xFFFFFFFF).to_bytes(4, "little")
    )
