"""`update`: which limits are written, and that a refused one takes the others back."""

import os
from pathlib import Path
from typing import Any

import pytest

from pyruntime.base.decode import decode
from pyruntime.base.errors import SpecError, StepError, UsageError
from pyruntime.cli.main import main
from pyruntime.execute.cgroup_update import update_limits
from pyruntime.plan.cgroup.operations import WriteCgroupFile, WriteMemoryLimits
from pyruntime.plan.cgroup.update import CurrentLimits, plan_update
from pyruntime.spec.linux import Resources
from pyruntime.store.state import ContainerState
from pyruntime.store.store import Store
from pyruntime.verbs.interface import Arguments
from pyruntime.verbs.update import read_resources

V1 = {"memory": "/cg/memory", "cpu": "/cg/cpu", "pids": "/cg/pids", "": "/cg/unified"}
V2 = {"": "/cg"}


def planned(paths: dict[str, str], current: CurrentLimits | None = None, **document: Any) -> dict[str, str]:
    resources = decode(Resources, document)
    steps = plan_update(resources, paths, current or CurrentLimits())
    return {
        step.path: step.value if isinstance(step, WriteCgroupFile) else ""
        for step in steps
        if isinstance(step, WriteCgroupFile)
    }


def test_only_what_is_named_is_written_and_zero_leaves_things_as_they_are() -> None:
    assert planned(V1, memory={"limit": 0, "swap": 0}, cpu={"shares": 0, "quota": 0}, pids={"limit": 0}) == {}
    assert (
        planned(V2, memory={"limit": 0}, cpu={"quota": 0}, pids={"limit": 0}, devices=[{"allow": True}]) == {}
    )
    assert planned(V1, pids={"limit": 7}) == {"/cg/pids/pids.max": "7"}


def test_quota_and_period_share_a_file_so_that_one_keeps_the_other() -> None:
    current = CurrentLimits(cpu_max="25000 50000")
    assert planned(V2, current, cpu={"quota": 10000}) == {"/cg/cpu.max": "10000 50000"}
    assert planned(V2, current, cpu={"period": 20000}) == {"/cg/cpu.max": "25000 20000"}
    assert planned(V2, CurrentLimits(cpu_max="max 100000"), cpu={"period": 20000}) == {
        "/cg/cpu.max": "max 20000"
    }


def test_swap_alone_counts_from_the_limit_of_now() -> None:
    current = CurrentLimits(memory_limit="1000")
    assert planned(V2, current, memory={"swap": 1500})["/cg/memory.swap.max"] == "500"
    with pytest.raises(SpecError, match="smaller than the memory limit"):
        planned(V2, current, memory={"swap": 500})


def test_no_memory_limit_means_no_swap_limit_either() -> None:
    steps = plan_update(decode(Resources, {"memory": {"limit": -1}}), V1, CurrentLimits())
    assert steps == (
        WriteMemoryLimits(
            origin="/linux/resources/memory/limit", directory="/cg/memory", limit="-1", swap="-1"
        ),
    )


def test_a_limit_below_what_is_used_is_refused_if_asked() -> None:
    memory = {"limit": 100, "checkBeforeUpdate": True}
    with pytest.raises(StepError, match=r"rejecting memory limit 100 due to usage 200 \(larger\)"):
        planned(V2, CurrentLimits(memory_usage="200"), memory=memory)


@pytest.mark.parametrize(
    ("text", "size"),
    [("10", 10), ("1k", 1024), ("2M", 2 << 20), ("1.5g", 3 << 29), ("1GiB", 1 << 30), ("-1", -1)],
)
def test_sizes_have_the_suffixes_of_runc(text: str, size: int) -> None:
    memory = read_resources(Arguments(["x"], {"memory": [text]})).memory
    assert memory is not None
    assert memory.limit == size


@pytest.mark.parametrize(
    ("option", "value", "where"),
    [
        ("memory", "8388608t", "/memory/limit"),
        ("memory-swap", "99999999999999999999999", "/memory/swap"),
        ("pids-limit", "9223372036854775808", "/pids/limit"),
        ("cpu-share", "-5", "/cpu/shares"),
        ("blkio-weight", "65536", "/blockIO/weight"),
    ],
)
def test_a_number_that_the_specification_does_not_know_is_refused(
    option: str, value: str, where: str
) -> None:
    with pytest.raises(SpecError) as refused:
        read_resources(Arguments(["x"], {option: [value]}))

    assert (refused.value.where, "is out of range" in refused.value.what) == (where, True)


@pytest.mark.parametrize("options", [{"memory": ["1x"]}, {"cpu-share": ["many"]}, {"memory-swap": ["-2"]}])
def test_other_values_are_refused(options: dict[str, list[str]]) -> None:
    with pytest.raises(UsageError, match="invalid value"):
        read_resources(Arguments(["x"], options))


def test_a_file_of_resources_counts_for_everything(tmp_path: Path) -> None:
    file = tmp_path / "resources.json"
    file.write_text('{"pids": {"limit": 12}, "unknown": 1}')
    found = read_resources(Arguments(["x"], {"resources": [str(file)], "memory": ["1m"]}))
    assert found == decode(Resources, {"pids": {"limit": 12}})


def test_a_refused_limit_takes_the_others_back(tmp_path: Path) -> None:
    (tmp_path / "pids.max").write_text("9")
    (tmp_path / "blkio.throttle.read_bps_device").write_text("8:0 77\n8:16 5\n")
    steps = (
        WriteCgroupFile(path=f"{tmp_path}/pids.max", value="5"),
        WriteCgroupFile(path=f"{tmp_path}/blkio.throttle.read_bps_device", value="8:0 99"),
        WriteCgroupFile(origin="/linux/resources/cpu/shares", path=f"{tmp_path}/cpu.shares", value="2"),
    )
    with pytest.raises(StepError) as failure:
        update_limits(steps)
    assert failure.value.where == "/linux/resources/cpu/shares"
    assert (tmp_path / "pids.max").read_text() == "9"
    # A cgroup file takes one device's line and keeps the others; a plain file ends up with that line in front.
    assert (tmp_path / "blkio.throttle.read_bps_device").read_text().startswith("8:0 77")


def test_the_systemd_driver_is_there_before_standard_input_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program with a static interpreter begins again to load it, and standard input is read once only."""
    state = ContainerState(oci_version="1.2.0", id="c1", bundle="/b", systemd_unit="c1.scope")
    (tmp_path / "c1").mkdir()
    Store(str(tmp_path)).save(state, b"{}")

    def begin_again() -> None:
        raise SystemExit(77)

    monkeypatch.setattr("pyruntime.verbs.systemd_driver.load_systemd_driver", begin_again)
    with (tmp_path / "stdin").open("w+") as source:
        source.write("{}")
        source.seek(0)
        kept = os.dup(0)
        try:
            os.dup2(source.fileno(), 0)
            with pytest.raises(SystemExit, match="77"):
                main(["--root", str(tmp_path), "update", "--resources", "-", "c1"])
            assert os.lseek(source.fileno(), 0, os.SEEK_CUR) == 0
        finally:
            os.dup2(kept, 0)
            os.close(kept)
