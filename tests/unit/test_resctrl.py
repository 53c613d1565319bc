"""Groups of resctrl, on a directory tree that stands for that file system: few machines have it."""

import os
from pathlib import Path

import pytest

from pyruntime.base.errors import HostError, SpecError, StepError
from pyruntime.execute.resctrl import join_groups, make_group, remove_groups
from pyruntime.plan.resctrl import ResctrlPlan, plan_resctrl
from pyruntime.spec.linux import IntelRdt


@pytest.fixture
def mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree in which a directory that is made has files at once, and none of them keeps it from being removed."""
    make, remove = os.mkdir, os.rmdir

    def filled(path: str, mode: int = 0o777) -> None:
        make(path, mode)
        for name in ("tasks", "schemata"):
            Path(path, name).write_text("L3:0=fff;1=fff\nMB:0=100;1=100\n" if name == "schemata" else "")
        if "/mon_groups" not in path:
            make(f"{path}/mon_groups")

    def emptied(path: str) -> None:
        for name in ("tasks", "schemata"):
            Path(path, name).unlink(missing_ok=True)
        if os.path.isdir(f"{path}/mon_groups"):
            remove(f"{path}/mon_groups")
        remove(path)

    filled(str(tmp_path / "resctrl"))
    monkeypatch.setattr(os, "mkdir", filled)
    monkeypatch.setattr(os, "rmdir", emptied)
    return tmp_path / "resctrl"


def plan(mount: Path, **values: object) -> ResctrlPlan:
    found = plan_resctrl(IntelRdt(**values), "box", str(mount))  # type: ignore[arg-type]
    assert found is not None
    return found


def test_without_a_name_the_group_is_the_containers_and_goes_with_it(mount: Path) -> None:
    planned = plan(mount, l3_cache_schema="L3:0=f0;1=f", enable_monitoring=True)
    make_group(planned)
    group = mount / "box"
    assert (group / "schemata").read_text().startswith("L3:0=f0;1=f\n")
    join_groups(planned.joined, 1234)
    assert (group / "tasks").read_text() == "1234\n"
    assert (group / "mon_groups/box/tasks").read_text() == "1234\n"
    assert remove_groups(planned.removed) == []
    assert not group.exists()
    assert remove_groups(planned.removed) == [], "to remove it twice is no error"


def test_the_lines_have_the_order_of_the_specification_and_bandwidth_counts_once(mount: Path) -> None:
    planned = plan(
        mount, l3_cache_schema="L3:0=f\nMB:0=10", mem_bw_schema="MB:0=20", schemata=("L2:0=3", "MB:1=30")
    )
    assert planned.schemata == ("L3:0=f", "MB:0=20", "L2:0=3", "MB:1=30")
    assert plan(mount, l3_cache_schema="L3:0=f\nMB:0=10").schemata == ("L3:0=f", "MB:0=10")


def test_a_named_group_without_schemata_has_to_be_there_and_is_not_changed(mount: Path) -> None:
    planned = plan(mount, clos_id="gold")
    with pytest.raises(StepError, match="does not exist") as failure:
        make_group(planned)
    assert failure.value.where == "/linux/intelRdt/closID"
    os.mkdir(str(mount / "gold"))
    before = (mount / "gold/schemata").read_text()
    make_group(planned)
    assert (mount / "gold/schemata").read_text() == before
    assert planned.removed == ()


def test_a_named_group_with_schemata_is_made_and_stays(mount: Path) -> None:
    planned = plan(mount, clos_id="gold", schemata=("L3:0=f",))
    make_group(planned)
    assert (mount / "gold/schemata").read_text().startswith("L3:0=f\n")
    assert planned.removed == ()


@pytest.mark.parametrize(
    ("line", "fits"), [("L3:0=0FFF;1=fff", True), ("MB:1=100", True), ("L3:0=ff", False)]
)
def test_a_named_group_that_is_there_must_have_these_schemata(mount: Path, line: str, fits: bool) -> None:
    os.mkdir(str(mount / "gold"))
    planned = plan(mount, clos_id="gold", schemata=(line,))
    if fits:
        make_group(planned)
        return
    with pytest.raises(StepError, match="has other schemata than 'L3:0=ff'"):
        make_group(planned)


def test_the_default_group_is_the_root_itself(mount: Path) -> None:
    planned = plan(mount, clos_id="/", enable_monitoring=True)
    make_group(planned)
    assert planned.joined == (str(mount), f"{mount}/mon_groups/box")
    assert planned.removed == (f"{mount}/mon_groups/box",)


def test_what_the_kernel_refuses_names_the_file(mount: Path) -> None:
    with pytest.raises(StepError, match=r"write '7' to .*/nowhere/tasks: no such file or directory"):
        join_groups((f"{mount}/nowhere",), 7)


def test_without_the_file_system_the_way_out_is_named() -> None:
    with pytest.raises(HostError, match="Intel RDT is not supported or enabled") as failure:
        plan_resctrl(IntelRdt(), "box", "")
    assert failure.value.where == "/linux/intelRdt"
    assert "mount -t resctrl" in failure.value.hint
    assert plan_resctrl(None, "box", "") is None


@pytest.mark.parametrize("name", ["info", "mon_groups", "mon_data"])
def test_a_directory_of_the_kernel_is_no_group(name: str) -> None:
    with pytest.raises(SpecError, match="no name for a resctrl group"):
        plan_resctrl(IntelRdt(clos_id=name), "box", "/r")
    with pytest.raises(SpecError):
        plan_resctrl(IntelRdt(), name, "/r")


def test_the_plan_says_what_it_does(mount: Path) -> None:
    text = plan(mount, clos_id="gold", schemata=("L3:0=f",), enable_monitoring=True).describe()
    assert text == f"join the resctrl group {mount}/gold with L3:0=f, monitored by itself"
