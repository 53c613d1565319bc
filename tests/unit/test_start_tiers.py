"""Every way to start the program gives the same answers: a saved heap, an embedded interpreter, a script."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jeepney
import pytest

TREE = Path(__file__).resolve().parents[2]
BUILD = """
import sys
sys.path.insert(0, "startup")
from pathlib import Path
from launcher_build import build_program
script = f"#!{sys._base_executable} -IS\\n" + Path("startup/script.py").read_text()
executor = Path("pyruntime/execute/executor/executor")
print(build_program(Path(sys.argv[1]), script, sys._base_executable, Path(), executor))
"""
# Command lines that need no privilege; {} is a directory with a bundle in it.
COMMANDS = (
    ["--version"],
    ["--help"],
    ["help", "create"],
    ["frobnicate"],
    ["--frobnicate"],
    ["state"],
    ["state", "missing"],
    ["state", "../x"],
    ["--log", "{}/log", "--log-format", "json", "state", "missing"],
    ["--debug", "state", "missing"],
    ["list"],
    ["list", "--format", "json"],
    ["start", "missing"],
    ["kill", "missing", "NOSUCH"],
    ["delete", "--force", "missing"],
    ["ps", "missing"],
    ["exec", "missing", "true"],
    ["features"],
    ["spec", "--bundle", "{}/missing"],
    ["spec", "--bundle", "{}"],
    ["explain", "{}"],
    ["explain", "--format", "json", "{}"],
    ["explain", "{}/missing"],
    ["create", "--explain", "--bundle", "{}", "c1"],
    ["create", "--config", "{}/truncated.json", "--bundle", "{}", "c1"],
    ["create", "--config", "{}/wrong.json", "--bundle", "{}", "c1"],
    ["create", "--config", "{}/unruly.json", "--bundle", "{}", "c1"],
)  # fmt: skip
# The C modules that jeepney imports.
NEEDED = {"_socket", "_struct", "array", "binascii", "math", "select"}
LINES = re.compile(r"^(python|start|libseccomp): .*\n|time=\"[^\"]*\" |\"time\":\"[^\"]*\"", re.MULTILINE)


def pythons() -> list[str]:
    """The interpreters that this machine has of the versions that are supported, this one first."""
    found = {f"{sys.version_info[0]}.{sys.version_info[1]}": os.path.realpath(sys.executable)}
    for path in (Path("/usr/bin/python3"), *sorted(Path.home().glob(".pyenv/versions/3.*/bin/python3"))):
        if not path.exists():
            continue
        question = "import sys; print('%d.%d' % sys.version_info[:2])"
        answer = subprocess.run([path, "-c", question], capture_output=True, text=True, check=False)
        if answer.returncode == 0 and answer.stdout.strip() in ("3.11", "3.12", "3.13"):
            found.setdefault(answer.stdout.strip(), str(path))
    return list(found.values())


def has_static_library(python: str) -> bool:
    question = (
        "import os, sys, sysconfig; "
        "print(os.path.exists('%s/libpython%d.%d.a' % (sysconfig.get_config_var('LIBPL'), *sys.version_info[:2])))"
    )
    result = subprocess.run([python, "-c", question], capture_output=True, text=True, check=True)
    return result.stdout == "True\n"


def build(python: str, tier: int, prefix: Path, **environment: str) -> tuple[Path, str]:
    """An installation below `prefix`, whose package is this tree; returns the program and what the build said."""
    version = subprocess.run(
        [python, "-c", "import sys; print('python%d.%d' % sys.version_info[:2])"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    packages = prefix / "lib" / version / "site-packages"
    packages.mkdir(parents=True)
    (packages / "pyruntime").symlink_to(TREE / "pyruntime")
    (prefix / "bin").mkdir()
    program = prefix / "bin" / "pyruntime"
    result = subprocess.run(
        [python, "-c", BUILD, str(program)], cwd=TREE, capture_output=True, text=True, check=False,
        env={**os.environ, "PYRUNTIME_START_TIER": str(tier), **environment},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return program, result.stdout + result.stderr


@pytest.fixture(scope="session")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(sys.executable, 3, tmp_path_factory.mktemp("tier3") / "p")[0]


def unexpected_in_rehearsal(said: str) -> list[str]:
    """What commands of the rehearsal complained of that are not meant to fail."""
    meant = (
        "not/an/id: invalid container ID",
        "missing: container does not exist",
        "only for x86-64",
        "tier ",
        "rehearsal ",
    )
    return [line for line in said.splitlines() if not any(words in line for words in meant)]


def has_all_its_variables(program: Path) -> bool:
    """Whether the C library's variables were saved: then its memory follows, and nothing is without a value."""
    lines = subprocess.check_output(
        ["readelf", "--program-headers", "--wide", program], text=True
    ).splitlines()
    file_size, memory_size = next(line.split()[4:6] for line in lines if "LOAD" in line and " RW " in line)
    return file_size == memory_size


def answer(program: Path, words: list[str], folder: Path) -> tuple[int, str, str, str]:
    """Exit code, output, errors and log of one command; times and versions of libraries left out."""
    words = [word.replace("{}", str(folder)) for word in words]
    environment = {"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(folder), "COLUMNS": "80"}
    result = subprocess.run(
        [program, "--root", folder / "root", *words],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env=environment,
    )  # fmt: skip
    log = folder / "log"
    logged = log.read_text() if log.exists() else ""
    log.unlink(missing_ok=True)
    output, errors, logged = (LINES.sub("", text) for text in (result.stdout, result.stderr, logged))
    return result.returncode, output, errors, logged


def folder_with_bundle(path: Path, program: Path) -> Path:
    path.mkdir()
    subprocess.run([program, "spec", "--bundle", path], check=True)
    config = (path / "config.json").read_text()
    (path / "truncated.json").write_text(config[:200])
    (path / "wrong.json").write_text(config.replace('"ociVersion": "', '"ociVersion": 5, "x": "'))
    (path / "unruly.json").write_text(config.replace('"cwd": "/"', '"cwd": "tmp"'))
    return path


@pytest.mark.parametrize("tier", [1, 2])
@pytest.mark.parametrize("python", pythons(), ids=lambda path: path.strip("/").replace("/", "-"))
def test_every_tier_answers_alike(python: str, tier: int, script: Path, tmp_path: Path) -> None:
    if not has_static_library(python):
        pytest.skip(f"{python} comes without its static library")
    program, said = build(python, tier, tmp_path / "prefix", PYRUNTIME_START_VERBOSE="1")
    assert f"tier {tier}" in said
    assert unexpected_in_rehearsal(said) == []
    folder = folder_with_bundle(tmp_path / "f", script)
    for words in COMMANDS:
        expected = answer(script, words, folder)
        assert answer(program, words, folder) == expected, words
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    assert f"(tier {tier})" in version
    if tier == 1:
        assert has_all_its_variables(program) == (os.uname().machine == "x86_64")


def test_a_tier_that_cannot_be_built_is_replaced_and_the_program_says_why(tmp_path: Path) -> None:
    environment = {**os.environ, "CC": str(tmp_path / "no-compiler")}
    environment.pop("PYRUNTIME_START_TIER", None)
    program = tmp_path / "pyruntime"
    result = subprocess.run(
        [sys.executable, "-c", BUILD, program],
        cwd=TREE,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "tier 3" in result.stdout
    assert "no-compiler is missing" in result.stdout
    version = subprocess.run(
        [program, "--version"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(TREE)},
    )
    assert "no-compiler" in program.read_text()
    assert version.returncode in (0, 1)


def test_a_tier_that_is_asked_for_is_not_replaced(tmp_path: Path) -> None:
    environment = {**os.environ, "CC": str(tmp_path / "no-compiler"), "PYRUNTIME_START_TIER": "1"}
    result = subprocess.run(
        [sys.executable, "-c", BUILD, tmp_path / "p"],
        cwd=TREE,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode
    assert not (tmp_path / "p").exists()


def test_a_program_without_its_package_says_what_it_lacks(tmp_path: Path) -> None:
    if not has_static_library(sys.executable):
        pytest.skip("this interpreter comes without its static library")
    program, _ = build(sys.executable, 1, tmp_path / "prefix")
    alone = tmp_path / "pyruntime"
    program.rename(alone)
    result = subprocess.run([alone, "--version"], capture_output=True, text=True, check=False)
    assert result.returncode == 0
    result = subprocess.run(
        [alone, "--root", tmp_path, "ps", "x"], capture_output=True, text=True, check=False
    )
    assert "does not exist" in result.stderr


def test_systemds_driver_needs_no_second_start_where_its_library_is_frozen(tmp_path: Path) -> None:
    question = f"import sys; print({NEEDED!r} <= set(sys.builtin_module_names))"
    python = next(
        (
            path
            for path in (sys.executable, "/usr/bin/python3")
            if has_static_library(path)
            and subprocess.check_output([path, "-c", question], text=True) == "True\n"
        ),
        None,
    )
    if python is None:
        pytest.skip("no interpreter here has its C modules built in")
    (tmp_path / "library").mkdir()
    (tmp_path / "library/jeepney").symlink_to(Path(jeepney.__file__).parent)
    program, _ = build(python, 1, tmp_path / "prefix", PYTHONPATH=str(tmp_path / "library"))
    # Without the package beside it the program cannot start again.
    alone = program.rename(tmp_path / "pyruntime")
    done = subprocess.run(
        [alone, "--root", tmp_path / "root", "--systemd-cgroup", "run", "--bundle", tmp_path / "missing", "box"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "missing/config.json" in done.stderr
    assert "is loaded from the installed package" not in done.stderr
