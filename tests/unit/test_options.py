"""The command line is read as its callers write it, and refused in runc's words."""

import pytest

from pyruntime.base.errors import UsageError
from pyruntime.cli.options import GLOBAL_OPTIONS, parse, parse_globals, parse_verb
from pyruntime.verbs import VERBS
from pyruntime.verbs.interface import GlobalOptions, Option

OPTIONS = (
    Option(names=("bundle", "b"), value=True),
    Option(names=("env", "e"), value=True, repeat=True),
    Option(names=("tty", "t")),
    Option(names=("detach", "d")),
    Option(names=("preserve-fds",), value=True),
)


def read_globals(*words: str, **environment: str) -> GlobalOptions:
    return parse_globals(parse(list(words), GLOBAL_OPTIONS, stop_at_positional=True), environment)


@pytest.mark.parametrize(
    "words",
    [["--bundle", "x"], ["--bundle=x"], ["-bundle", "x"], ["-bundle=x"], ["-b", "x"], ["-b=x"], ["--b", "x"]],
)
def test_a_value_may_be_given_in_every_form_that_runc_takes(words: list[str]) -> None:
    arguments = parse([*words, "id"], OPTIONS, stop_at_positional=True)
    assert arguments.get("bundle") == "x"
    assert arguments.positional == ["id"]


def test_options_after_the_first_positional_belong_to_the_users_command() -> None:
    arguments = parse(["-t", "id", "ls", "-d", "--env"], OPTIONS, stop_at_positional=True)
    assert arguments.positional == ["id", "ls", "-d", "--env"]
    assert arguments.flag("tty")
    assert not arguments.flag("detach")


def test_options_of_other_verbs_may_follow_the_positional() -> None:
    arguments = parse(["id", "-d"], OPTIONS, stop_at_positional=False)
    assert arguments.flag("detach")
    assert arguments.positional == ["id"]


def test_two_dashes_end_the_options() -> None:
    assert parse(["--", "-t"], OPTIONS, stop_at_positional=False).positional == ["-t"]


def test_one_dash_alone_is_an_argument() -> None:
    assert parse(["-"], OPTIONS, stop_at_positional=False).positional == ["-"]


def test_flags_may_be_bundled_and_negated() -> None:
    assert parse(["-td"], OPTIONS, stop_at_positional=False).flag("detach")
    assert not parse(["--tty", "--tty=false"], OPTIONS, stop_at_positional=False).flag("tty")


def test_repeated_options_keep_every_value_in_order_and_others_the_last() -> None:
    arguments = parse(["-e", "A=1", "--env=B=2", "-b", "x", "-b", "y"], OPTIONS, stop_at_positional=False)
    assert arguments.all("env") == ("A=1", "B=2")
    assert arguments.get("bundle") == "y"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--nope"], "flag provided but not defined: -nope"),
        (["--bundle"], "flag needs an argument: -bundle"),
        (["--tty=maybe"], 'invalid boolean value "maybe" for -tty: parse error'),
        (["-tb"], "flag provided but not defined: -tb"),
    ],
)
def test_bad_options_are_refused_in_runcs_words(words: list[str], text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(words, OPTIONS, stop_at_positional=False)
    assert caught.value.what == text


def test_a_number_must_be_one() -> None:
    arguments = parse(["--preserve-fds", "x"], OPTIONS, stop_at_positional=False)
    with pytest.raises(UsageError, match='invalid value "x" for flag -preserve-fds: parse error'):
        arguments.number("preserve-fds")
    assert parse(["--preserve-fds=3"], OPTIONS, stop_at_positional=False).number("preserve-fds") == 3


@pytest.mark.parametrize(
    ("verb", "words", "text"),
    [
        ("state", [], 'pyruntime: "state" requires exactly 1 argument(s)'),
        ("start", ["a", "b"], 'pyruntime: "start" requires exactly 1 argument(s)'),
        ("kill", [], 'pyruntime: "kill" requires a minimum of 1 argument(s)'),
        ("kill", ["a", "9", "x"], 'pyruntime: "kill" requires a maximum of 2 argument(s)'),
    ],
)
def test_a_wrong_number_of_arguments_is_refused_in_runcs_words(
    verb: str, words: list[str], text: str
) -> None:
    with pytest.raises(UsageError) as caught:
        parse_verb(verb, words, ())
    assert caught.value.what == text


def test_the_table_of_verbs_names_each_with_its_own_module() -> None:
    elsewhere = {"completion": "pyruntime.cli.completion"}  # it reads the tables of the command line itself
    for verb, (module, _, _) in VERBS.items():
        assert module == elsewhere.get(verb, f"pyruntime.verbs.{verb}")


def test_the_globals_of_containerd_are_understood() -> None:
    options = read_globals(
        "--root", "/run/containerd/runc/k8s.io", "--log", "/b/log.json", "--log-format", "json", "--systemd-cgroup",
        "--rootless=true", "create",
    )  # fmt: skip
    assert options.root == "/run/containerd/runc/k8s.io"
    assert (options.log, options.log_format) == ("/b/log.json", "json")
    assert (options.systemd_cgroup, options.cgroup_manager, options.rootless) == (True, "systemd", "true")


def test_the_globals_of_podman_and_crun_are_understood() -> None:
    options = read_globals("--cgroup-manager", "disabled", "--log=file:/x/log", "--log-level=debug", "start")
    assert (options.cgroup_manager, options.log, options.debug) == ("disabled", "/x/log", True)


def test_a_relative_root_is_made_absolute_and_the_root_directory_is_refused() -> None:
    assert read_globals("--root", "state").root.startswith("/")
    with pytest.raises(UsageError, match="should not be set to /"):
        read_globals("--root", "/")


@pytest.mark.parametrize(
    "word", ["--log-format=xml", "--rootless=maybe", "--cgroup-manager=docker", "--log=syslog:x"]
)
def test_a_global_option_with_an_impossible_value_is_refused(word: str) -> None:
    with pytest.raises(UsageError):
        read_globals(word)
