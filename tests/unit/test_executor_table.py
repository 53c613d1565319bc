"""The executor and Python speak of the same operations."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pyruntime.execute.encoding import encode_plan
from pyruntime.plan.operations import Clone, Execute, MaskPath, Operation, all_operations, signature

SOURCES = Path(__file__).resolve().parents[2] / "pyruntime/execute/executor"


@pytest.fixture(scope="session")
def executor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The executor under the sanitizers."""
    output = tmp_path_factory.mktemp("executor") / "executor"
    command = ["cc", "-std=gnu11", "-g", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined"]
    command += ["-fno-sanitize-recover=all", "-o", str(output), *map(str, sorted(SOURCES.glob("*.c")))]
    subprocess.run(command, check=True)
    return output


def test_both_tables_are_the_same(executor: Path) -> None:
    printed = subprocess.run([executor, "--operations"], capture_output=True, text=True, check=True).stdout
    expected = [
        f"{code} {kind.__name__} {signature(kind)}".rstrip()
        for code, kind in sorted(all_operations().items())
    ]
    assert [line.rstrip() for line in printed.splitlines()] == expected


def test_every_operation_describes_itself() -> None:
    defaults: dict[str, object] = {"s": "x", "i": 1, "b": b"12345678", "l": ("a",)}
    for kind in all_operations().values():
        from pyruntime.base.record import fields_of

        names = [name for name in fields_of(kind) if name != "origin"]
        values = {name: defaults[letter] for name, letter in zip(names, signature(kind), strict=True)}
        if kind.__name__ == "MakeDevice":
            values["mode"] = 0o020666
        assert kind(**values).describe()  # type: ignore[arg-type]


def check(executor: Path, plan: bytes) -> int:
    source = executor.parent / "plan"
    source.write_bytes(plan)
    with source.open("rb") as file:
        return subprocess.run([executor, "--check"], stdin=file, check=False).returncode


PLAN: tuple[Operation, ...] = (
    Clone(flags=1),
    MaskPath(path="/proc/kcore"),
    Execute(arguments=("sh", "-c", "true"), environment=()),
)


def test_a_plan_is_accepted_and_no_part_of_it_is(executor: Path) -> None:
    plan = encode_plan(PLAN)
    assert check(executor, plan) == 0
    for size in range(len(plan)):
        assert check(executor, plan[:size]) == 2


MUTATIONS: dict[str, Callable[[bytes], bytes]] = {
    "magic": lambda plan: b"X" + plan[1:],
    "more operations than there are": lambda plan: plan[:8] + b"\xff\xff\xff\xff" + plan[12:],
    "data region outside": lambda plan: plan[:16] + b"\xff\xff\xff\x7f" + plan[20:],
    "size outside": lambda plan: plan[:20] + b"\xff\xff\xff\x7f" + plan[24:],
    "unknown operation": lambda plan: plan[:24] + b"\xff\xff" + plan[26:],
    "wrong number of arguments": lambda plan: plan[:26] + b"\x07\x00" + plan[28:],
    "block outside": lambda plan: plan[:56] + b"\xff" * 8 + plan[64:],
    "no end of a string": lambda plan: plan[:-1] + b"x",
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_malformed_plan_is_refused(executor: Path, name: str) -> None:
    assert check(executor, MUTATIONS[name](encode_plan(PLAN))) == 2


def test_no_changed_byte_crashes_it(executor: Path) -> None:
    plan = encode_plan(PLAN)
    for place in range(len(plan)):
        for value in (0x00, 0xFF, plan[place] ^ 0x01):
            assert check(executor, plan[:place] + bytes((value,)) + plan[place + 1 :]) in (0, 2)
