"""The verbs that need no privilege, on processes of the test's own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from pyruntime.base.errors import ExpectedError, HostError, StateError, UsageError
from pyruntime.host.process import start_time
from pyruntime.host.rootless import user_name
from pyruntime.plan.init import MEMORY_FLAGS, MEMORY_MODES
from pyruntime.store.state import CLONE_NEWPID, ContainerState
from pyruntime.store.store import Store
from pyruntime.verbs import doctor, explain, validate
from pyruntime.verbs.delete import delete_container
from pyruntime.verbs.features import features
from pyruntime.verbs.interface import Arguments, GlobalOptions
from pyruntime.verbs.kill import kill_container, matching_ids, signal_number
from pyruntime.verbs.list import list_containers, table
from pyruntime.verbs.spec import write_default_config
from pyruntime.verbs.start import start_container
from pyruntime.verbs.state import container_state

CONFIG = {"ociVersion": "1.0.0", "root": {"path": "rootfs"}}

# An init as `start` sees it: it holds the fifo open until it is told to go on, says what failed, and then either
# becomes the user's process (the fifo is closed) or ends.
INIT = """
import os, sys, time
fifo = os.open(sys.argv[1] + "/exec.fifo", os.O_RDWR)
os.write(1, b"r")
os.read(fifo, 1)
if sys.argv[2]:
    open(sys.argv[1] + "/start-failure", "w").write(sys.argv[2])
    sys.exit(255)
os.close(fifo)
time.sleep(60)
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "root"))


class Inits:
    """Makes containers whose init is a process of this test."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.processes: list[subprocess.Popen[bytes]] = []

    def make(
        self,
        container_id: str,
        *,
        failure: str = "",
        created: bool = True,
        finished: bool = True,
        **values: object,
    ) -> ContainerState:
        directory = self.store.reserve(container_id)
        os.mkfifo(f"{directory}/exec.fifo")
        process = subprocess.Popen([sys.executable, "-ISc", INIT, directory, failure], stdout=subprocess.PIPE)
        self.processes.append(process)
        assert process.stdout is not None
        assert process.stdout.read(1) == b"r"
        if not finished:
            os.rename(f"{directory}/exec.fifo", f"{directory}/unfinished.fifo")
        if not created:
            os.unlink(f"{directory}/exec.fifo")
        state = ContainerState(
            oci_version="1.0.0", id=container_id, bundle=os.path.dirname(directory), pid=process.pid,
            pid_start_time=start_time(process.pid), namespaces=CLONE_NEWPID,
        )  # fmt: skip
        state = state.replace(**values)
        config = {**CONFIG, **({"hooks": self.hooks} if self.hooks else {})}
        self.store.save(state, json.dumps(config).encode())
        return state

    hooks: dict[str, object] | None = None

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


@pytest.fixture
def inits(store: Store) -> Iterator[Inits]:
    inits = Inits(store)
    yield inits
    inits.end()


def hook(path: Path, script: str) -> dict[str, object]:
    return {"path": "/bin/sh", "args": ["sh", "-c", script.replace("FILE", str(path))]}


def status(store: Store, container_id: str) -> object:
    return container_state(store, container_id)["status"]


# --- start -----------------------------------------------------------------------------------------


def test_start_lets_the_init_go_on_and_removes_the_gate(store: Store, inits: Inits) -> None:
    inits.make("c1")
    assert status(store, "c1") == "created"
    start_container(store, "c1")
    assert status(store, "c1") == "running"
    with pytest.raises(StateError, match="cannot start an already running container"):
        start_container(store, "c1")


def test_start_of_a_stopped_container_is_refused(store: Store, inits: Inits) -> None:
    inits.make("c1")
    inits.processes[0].kill()
    inits.processes[0].wait()
    with pytest.raises(StateError, match="cannot start a container that has stopped"):
        start_container(store, "c1")


def test_start_of_a_half_made_container_is_refused(store: Store, inits: Inits) -> None:
    inits.make("c1", finished=False)
    with pytest.raises(StateError, match="still being created"):
        start_container(store, "c1")


def test_what_the_init_could_not_do_is_the_error_of_start(store: Store, inits: Inits) -> None:
    inits.make("c1", failure='exec: "nope": executable file not found in $PATH')
    with pytest.raises(HostError) as caught:
        start_container(store, "c1")
    assert caught.value.what == (
        'unable to start container process: exec: "nope": executable file not found in $PATH'
    )
    assert status(store, "c1") == "stopped"


def test_poststart_hooks_get_the_state_of_the_running_container(
    store: Store, inits: Inits, tmp_path: Path
) -> None:
    inits.hooks = {"poststart": [hook(tmp_path / "seen", "cat > FILE")]}
    state = inits.make("c1", has_poststart=True)
    start_container(store, "c1")
    seen = json.loads((tmp_path / "seen").read_text())
    assert (seen["id"], seen["pid"], seen["status"]) == ("c1", state.pid, "running")


def test_a_poststart_hook_that_fails_ends_the_container(store: Store, inits: Inits, tmp_path: Path) -> None:
    inits.hooks = {"poststart": [hook(tmp_path, "echo why >&2; exit 7")]}
    inits.make("c1", has_poststart=True)
    with pytest.raises(ExpectedError, match=r"poststart hook #0: exit status 7.*why"):
        start_container(store, "c1")
    assert inits.processes[0].wait(5) == -signal.SIGKILL


# --- kill ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "number"),
    [("9", 9), ("KILL", 9), ("SIGKILL", 9), ("sigterm", 15), ("Usr1", 10), ("0", 0), ("64", 64), ("RTMIN+1", 35),
     ("SIGRTMAX-1", 63), ("RTMIN", 34)],
)  # fmt: skip
def test_every_form_of_a_signal_is_understood(text: str, number: int) -> None:
    assert signal_number(text) == number


@pytest.mark.parametrize(
    "text", ["", "FOO", "-1", "65", "SIG", "RTMIN+99", "_DFL", "RTMAX+1", "TERM+1", "\u0669"]
)
def test_what_is_no_signal_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="unknown signal"):
        signal_number(text)


def test_kill_signals_the_init(store: Store, inits: Inits) -> None:
    inits.make("c1")
    kill_container(store, "c1", signal.SIGTERM)
    assert inits.processes[0].wait(5) == -signal.SIGTERM


def test_kill_of_a_stopped_container_is_an_error_but_not_for_all_its_processes(
    store: Store, inits: Inits
) -> None:
    inits.make("c1")
    inits.processes[0].kill()
    inits.processes[0].wait()
    with pytest.raises(StateError, match="container not running"):
        kill_container(store, "c1", signal.SIGTERM)
    kill_container(store, "c1", signal.SIGTERM, every_process=True)


def test_kill_spares_a_process_that_only_has_the_pid(store: Store, inits: Inits) -> None:
    state = inits.make("c1")
    store.change(state, pid_start_time=state.pid_start_time + 1)
    with pytest.raises(StateError, match="container not running"):
        kill_container(store, "c1", signal.SIGKILL)
    assert inits.processes[0].poll() is None


def test_ids_are_matched_by_a_regular_expression(store: Store) -> None:
    for container_id in ("web-1", "web-2", "db"):
        store.reserve(container_id)
    assert matching_ids(store, "^web-") == ["web-1", "web-2"]
    with pytest.raises(UsageError, match="invalid regular expression"):
        matching_ids(store, "(")


# --- delete ----------------------------------------------------------------------------------------


def test_delete_of_a_running_container_needs_force(store: Store, inits: Inits) -> None:
    inits.make("c1", created=False)
    with pytest.raises(StateError, match="cannot delete container c1 that is not stopped: running"):
        delete_container(store, "c1")
    assert inits.processes[0].poll() is None
    assert delete_container(store, "c1", force=True) == []
    assert inits.processes[0].wait(5) == -signal.SIGKILL
    assert not store.exists("c1")


def test_delete_of_a_created_container_kills_its_init(store: Store, inits: Inits) -> None:
    inits.make("c1")
    delete_container(store, "c1")
    assert inits.processes[0].wait(5) == -signal.SIGKILL
    assert not store.exists("c1")


def test_delete_of_an_unknown_id_is_an_error_but_not_with_force(store: Store) -> None:
    with pytest.raises(StateError, match="container does not exist"):
        delete_container(store, "nope")
    assert delete_container(store, "nope", force=True) == []


def test_force_cleans_up_what_a_killed_create_has_left(store: Store, inits: Inits) -> None:
    store.reserve("empty")
    with pytest.raises(StateError, match="half made"):
        delete_container(store, "empty")
    delete_container(store, "empty", force=True)
    inits.make("early", creating=True, pid=0, pid_start_time=0)
    inits.make("late", finished=False)
    for container_id in ("early", "late"):
        with pytest.raises(StateError, match="not stopped: creating"):
            delete_container(store, container_id)
        delete_container(store, container_id, force=True)
    assert store.list_ids() == []
    assert inits.processes[1].wait(5) == -signal.SIGKILL


def test_poststop_hooks_all_run_when_everything_is_gone_and_only_warn(
    store: Store, inits: Inits, tmp_path: Path
) -> None:
    gone = f"test ! -e {store.root}/c1 && cat > FILE"
    inits.hooks = {"poststop": [hook(tmp_path, "exit 3"), hook(tmp_path / "seen", gone)]}
    inits.make("c1", has_poststop=True)
    warnings = delete_container(store, "c1")
    assert len(warnings) == 1
    assert "poststop hook #0: exit status 3" in warnings[0]
    seen = json.loads((tmp_path / "seen").read_text())
    assert (seen["id"], seen["status"]) == ("c1", "stopped")


def test_force_does_not_wait_for_a_start_that_hangs(store: Store, inits: Inits) -> None:
    inits.make("c1", created=False)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pyruntime.store.store import Store; import select, os\n"
        "with Store(sys.argv[2]).lock('c1'):\n os.write(1, b'l')\n"
        " p = select.poll(); p.register(os.pidfd_open(int(sys.argv[3])), select.POLLIN); p.poll()\n"
    )
    tree = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, "-ISc", code, tree, store.root, str(inits.processes[0].pid)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.read(1) == b"l"
        delete_container(store, "c1", force=True)
    assert not store.exists("c1")


# --- list, spec, features --------------------------------------------------------------------------


def test_the_table_has_runcs_columns(store: Store) -> None:
    assert table([]) == "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
    store.reserve("a-rather-long-id")
    state = ContainerState(
        oci_version="1.0.0", id="a-rather-long-id", bundle="/b", created="2026-01-02T03:04:05.000000006Z"
    )
    store.save(state, b"{}")
    store.reserve("half")
    heading, row = table(list_containers(store)).splitlines()
    assert (
        heading
        == "ID                 PID         STATUS      BUNDLE      CREATED                          OWNER"
    )
    assert (
        row == "a-rather-long-id   0           stopped     /b          2026-01-02T03:04:05.000000006Z   root"
    )


def test_an_owner_without_a_name_is_shown_by_number(tmp_path: Path) -> None:
    users = tmp_path / "passwd"
    users.write_text("root:x:0:0::/root:/bin/sh\nbroken\nme:x:1000:1000::/:/bin/sh\n")
    assert [user_name(uid, str(users)) for uid in (0, 1000, 7)] == ["root", "me", "#7"]
    assert user_name(0, str(tmp_path / "none")) == "#0"


def test_spec_writes_a_config_once(tmp_path: Path) -> None:
    pytest.importorskip("pyruntime.spec.default")
    path = tmp_path / "config.json"
    write_default_config(str(path), rootless=False)
    text = path.read_text()
    assert json.loads(text)["process"]["args"] == ["sh"]
    assert '\n\t"process": {\n\t\t' in text
    with pytest.raises(StateError, match=r"File config.json exists. Remove it first"):
        write_default_config(str(path), rootless=True)
    assert path.read_text() == text


def test_features_tells_engines_what_they_look_for() -> None:
    document = json.loads(json.dumps(features()))
    assert document["ociVersionMin"] == "1.0.0"
    assert document["ociVersionMax"].startswith("1.3")
    assert document["mountOptions"] == sorted(set(document["mountOptions"]))
    assert {"rro", "tmpcopyup", "idmap"} <= set(document["mountOptions"])
    assert document["linux"]["mountExtensions"]["idmap"]["enabled"] is True
    assert len(document["linux"]["capabilities"]) >= 41
    assert set(document["linux"]["memoryPolicy"]["modes"]) == set(MEMORY_MODES)
    assert set(document["linux"]["memoryPolicy"]["flags"]) == set(MEMORY_FLAGS)
    assert set(document["linux"]["namespaces"]) == {
        "cgroup",
        "ipc",
        "mount",
        "network",
        "pid",
        "time",
        "user",
        "uts",
    }


@pytest.mark.parametrize("verb", [explain, validate, doctor])
def test_a_format_that_there_is_not_is_refused(verb: ModuleType) -> None:
    with pytest.raises(UsageError, match='invalid format "xml"'):
        verb.run(Arguments([], {"format": ["xml"]}), GlobalOptions())
