"""The launcher's own C modules do what the standard library's do; built here as an extension and compared."""

import errno
import fcntl
import hashlib
import importlib.machinery
import importlib.util
import json
import os
import resource
import select
import signal
import subprocess
import sysconfig
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyruntime.base.record import Record, fields_of
from pyruntime.execute.encoding import encode_operations
from pyruntime.plan.operations import NoNewPrivileges

TREE = Path(__file__).resolve().parents[2]
LAUNCHER = TREE / "startup" / "launcher"
WRAPPER = """
#include "launcher.h"
static PyMethodDef methods[] = {
    {"sha256", sha256, METH_O, NULL},
    {"json_scan", (PyCFunction)(void (*)(void))json_scan, METH_FASTCALL, NULL},
    {"json_quote", json_quote, METH_O, NULL},
    {"spawn", spawn, METH_VARARGS, NULL},
    {"spawn_error", spawn_error, METH_NOARGS, NULL},
    {"forward_signals", forward_signals, METH_VARARGS, NULL},
    {"encode_operations", (PyCFunction)(void (*)(void))encode_operations, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "under_test", .m_size = -1,
                                        .m_methods = methods};
PyObject *PyInit_under_test(void)
{
    PyObject *module = PyModule_Create(&definition);
    PyModule_AddObject(module, "fcntl", launcher_PyInit_fcntl());
    PyModule_AddObject(module, "select", launcher_PyInit_select());
    PyModule_AddObject(module, "resource", launcher_PyInit_resource());
    return module;
}
"""


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    folder = tmp_path_factory.mktemp("launcher")
    (folder / "wrapper.c").write_text(WRAPPER)
    library = folder / "under_test.so"
    sources = [
        LAUNCHER / f"{name}.c"
        for name in ("json_scanner", "plan_encoder", "sha256", "signals", "small_modules", "spawn")
    ]
    subprocess.run(
        [
            "cc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-missing-field-initializers",
            "-Wno-cast-function-type", "-isystem", sysconfig.get_path("include"), "-I", LAUNCHER,
            "-I", TREE / "pyruntime/execute/executor",
            "-o", library, folder / "wrapper.c", *sources,
        ],
        check=True,
    )  # fmt: skip
    loader = importlib.machinery.ExtensionFileLoader("under_test", str(library))
    spec = importlib.util.spec_from_loader("under_test", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def refuse(name: str) -> object:
    raise ValueError(name)


def theirs(text: str) -> tuple[Any, int] | None:
    """What the standard library's scanner answers; None if it refuses."""
    try:
        return json.JSONDecoder(parse_constant=refuse).raw_decode(text)
    except ValueError:
        return None


def scan(module: ModuleType, text: str) -> tuple[Any, int] | None:
    try:
        result: tuple[Any, int] = module.json_scan(text, 0)
    except ValueError:
        return None
    return result


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(value=VALUES, ascii_only=st.booleans(), indent=st.sampled_from([None, 2]))
def test_every_document_is_read_alike(
    ours: ModuleType, value: object, ascii_only: bool, indent: int | None
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    assert scan(ours, text) == theirs(text) == (value, len(text))


@given(value=VALUES, data=st.data())
def test_every_damaged_document_is_read_or_refused_alike(
    ours: ModuleType, value: object, data: st.DataObject
) -> None:
    text = json.dumps(value)
    at = data.draw(st.integers(0, len(text)))
    damage = data.draw(st.text('{}[]",:\\u0dD8cf0123456789.-+eEntrx \n\t\x00\x1f', max_size=3))
    damaged = text[:at] + damage + text[at + data.draw(st.integers(0, 2)) :]
    assert repr(scan(ours, damaged)) == repr(theirs(damaged))


@pytest.mark.parametrize(
    "text",
    [
        "-", "-0", "01", "1.", "1.e3", "1e", "1e+", "1E-2x", "--1", "NaN", "Infinity", "-Infinity", "tru", "nul",
        '"\\ud83d\\ude00"', '"\\ud83d"', '"\\ud83d\\u0041"', '"\\ud83dx"', '"\\ude00"', '"\\u12"', '"\\u123g"', '"\\x"',
        '"\\', '"', '"\n"', "[", "[1", "[1,", "[,1]", "{", '{"a"', '{"a":', '{"a":1', '{"a":1,', '{"a":1,}', "{1:2}",
        '{"a":1,"a":2}', "", " ", "]", '"\\ud83d\\u', "1" * 4301,
    ],
)  # fmt: skip
def test_the_edges_of_the_grammar(ours: ModuleType, text: str) -> None:
    assert repr(scan(ours, text)) == repr(theirs(text))


def test_nesting_without_end_is_refused_and_not_a_crash(ours: ModuleType) -> None:
    for opening in ("[", '{"a":'):
        with pytest.raises(RecursionError):
            ours.json_scan(opening * 200_000, 0)


@given(text=st.text())
def test_strings_are_quoted_alike(ours: ModuleType, text: str) -> None:
    assert ours.json_quote(text) == json.dumps(text)


@given(data=st.binary(max_size=300))
def test_the_digest_is_sha256(ours: ModuleType, data: bytes) -> None:
    assert ours.sha256(data) == hashlib.sha256(data).digest()


def test_the_constants_are_those_of_the_system(ours: ModuleType) -> None:
    for module in (fcntl, select):
        mine = getattr(ours, module.__name__)
        for name in dir(mine):
            if name.isupper():
                assert getattr(mine, name) == getattr(module, name)


def test_locks_and_descriptors(ours: ModuleType, tmp_path: Path) -> None:
    first, second = (os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT) for _ in range(2))
    ours.fcntl.flock(first, fcntl.LOCK_EX)
    with pytest.raises(BlockingIOError):
        ours.fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    copy = ours.fcntl.fcntl(first, fcntl.F_DUPFD_CLOEXEC, 100)
    assert copy >= 100
    assert fcntl.fcntl(copy, fcntl.F_GETFD) == fcntl.FD_CLOEXEC
    with pytest.raises(OSError) as caught:
        ours.fcntl.ioctl(first, 0x5413, b"\0" * 8)  # TIOCGWINSZ
    assert caught.value.errno == errno.ENOTTY
    for descriptor in (first, second, copy):
        os.close(descriptor)


def test_polling(ours: ModuleType) -> None:
    reader, writer = os.pipe()
    poll = ours.select.poll()
    poll.register(reader, select.POLLIN)
    poll.register(writer, select.POLLOUT)
    assert poll.poll(0) == [(writer, select.POLLOUT)]
    poll.unregister(writer)
    with pytest.raises(KeyError):
        poll.unregister(writer)
    before = time.monotonic()
    assert poll.poll(20.5) == []
    assert time.monotonic() - before >= 0.02
    os.write(writer, b"x")
    os.close(writer)
    assert poll.poll() == [(reader, select.POLLIN | select.POLLHUP)]
    poll.modify(reader, select.POLLPRI)
    assert poll.poll(None) == [(reader, select.POLLHUP)]
    os.close(reader)


def test_polling_goes_on_after_a_signal_and_lets_others_run(ours: ModuleType) -> None:
    received: list[int] = []
    previous = signal.signal(signal.SIGALRM, lambda number, _frame: received.append(number))
    reader, writer = os.pipe()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        thread = threading.Timer(0.1, os.write, (writer, b"x"))
        thread.start()
        poll = ours.select.poll()
        poll.register(reader, select.POLLIN)
        assert poll.poll(5000) == [(reader, select.POLLIN)]
        thread.join()
    finally:
        signal.signal(signal.SIGALRM, previous)
        os.close(reader)
        os.close(writer)
    assert received == [signal.SIGALRM]


def test_resource_limits(ours: ModuleType) -> None:
    program = subprocess.Popen(["sleep", "60"])
    try:
        soft, hard = resource.prlimit(program.pid, resource.RLIMIT_CORE)
        assert ours.resource.prlimit(program.pid, resource.RLIMIT_CORE, (0, hard)) == (soft, hard)
        assert resource.prlimit(program.pid, resource.RLIMIT_CORE) == (0, hard)
        with pytest.raises(ProcessLookupError):
            ours.resource.prlimit(2**22 + 1, resource.RLIMIT_CORE, (0, 0))
    finally:
        program.kill()
        program.wait()


def test_signals_are_written_to_a_descriptor_until_they_act_as_before(ours: ModuleType) -> None:
    reader, writer = os.pipe()
    numbers = bytes((signal.SIGUSR1, signal.SIGRTMIN + 3))
    seen: list[int] = []
    former = signal.signal(signal.SIGUSR1, lambda number, _frame: seen.append(number))
    try:
        ours.forward_signals(numbers, writer)
        for number in numbers:
            os.kill(os.getpid(), number)
        assert os.read(reader, 64) == numbers
        assert seen == []
        ours.forward_signals(numbers, -1)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert seen == [signal.SIGUSR1]
        assert signal.getsignal(signal.SIGRTMIN + 3) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGUSR1, former)
        os.close(reader)
        os.close(writer)


def test_what_is_spawned_gets_its_words_and_descriptors(ours: ModuleType) -> None:
    reader, writer = os.pipe()
    nothing = os.open("/dev/null", os.O_RDONLY)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    words = ["sh", "-c", "echo $0 >&8; read x <&9", "first"]
    pid = ours.spawn("/bin/sh", words, [(writer, 8), (nothing, 9)])
    os.close(writer)
    os.close(nothing)
    with open(reader, encoding="ascii") as output:
        assert output.read() == "first\n"
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    assert ours.spawn_error() == 0
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


def test_what_cannot_be_spawned_says_why(ours: ModuleType) -> None:
    for path, moves, error in (
        ("/none/such", [], errno.ENOENT),
        ("/etc/passwd", [], errno.EACCES),
        ("/bin/true", [(999, 40)], errno.EBADF),
    ):
        pid = ours.spawn(path, ["x"], moves)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 127
        assert ours.spawn_error() == error
    refused: list[tuple[list[str], list[Any]]] = [
        (["x"] * 9, []),
        (["x" * 40_000], []),
        ([], [(1, 2)] * 17),
        (["x"], ["no"]),
    ]
    for words, unusable in refused:
        with pytest.raises(ValueError, match="too much to spawn with"):
            ours.spawn("/bin/true", words, unusable)


class Step(Record):
    code = 33
    number: int
    text: str = "usual"
    block: bytes = b""
    words: tuple[str, ...] = ()


def encoded(encode: Any, *steps: Record) -> Any:
    known: dict[Any, Any] = {}

    def learn(cls: Any) -> Any:
        known[cls] = tuple(name for name in fields_of(cls) if name != "origin")
        return known[cls]

    try:
        return encode(steps, known, learn, 1)
    except (ValueError, UnicodeEncodeError) as error:
        return type(error), error.args


TEXTS = st.text(st.characters(codec="utf-8") | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF))


@given(
    st.lists(
        st.builds(
            Step,
            number=st.integers(-(1 << 63), (1 << 64) - 1) | st.booleans(),
            text=TEXTS | st.just("/plain"),
            block=st.binary(),
            words=st.lists(TEXTS).map(tuple),
        )
    )
)
def test_the_encoder_of_plans(ours: ModuleType, steps: list[Step]) -> None:
    assert encoded(ours.encode_operations, *steps) == encoded(encode_operations, *steps)


def test_the_encoder_of_plans_keeps_defaults_and_refuses_what_it_does_not_know(ours: ModuleType) -> None:
    other = NoNewPrivileges(origin="/process")
    ours_, theirs_ = (
        encoded(each, Step(number=7), other) for each in (ours.encode_operations, encode_operations)
    )
    assert ours_ == theirs_
    assert ours_[0][:8] == bytes([33, 0, 4, 0, 1, 0, 0, 0])
    with pytest.raises(TypeError, match="a plan cannot hold"):
        ours.encode_operations((Step(number=1, text=1.5),), {Step: ("number", "text")}, None, 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        ours.encode_operations([], {}, None, 1)
    with pytest.raises(TypeError):
        ours.encode_operations((), {}, None, -1)
    later = [each((other,), {}, lambda _cls: (), 7) for each in (ours.encode_operations, encode_operations)]
    assert later == [(bytes([51, 0, 0, 0, 7, 0, 0, 0]), b"")] * 2
