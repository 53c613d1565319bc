"""Completion data says what the parser's tables say."""

import shutil
import subprocess

import pytest

from pyruntime.base.errors import UsageError
from pyruntime.cli.completion import bash, fish, run, zsh
from pyruntime.verbs import VERBS
from pyruntime.verbs.interface import Arguments, GlobalOptions


def completed(*words: str) -> list[str]:
    """What bash offers for the last of these words."""
    shell = shutil.which("bash")
    assert shell
    script = (
        f'{bash()}\nCOMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _pyruntime; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run([shell, "-c", script, "bash", *words], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_bash_completes_verbs_and_their_options() -> None:
    assert completed("pyruntime", "che") == ["checkpoint"]
    assert completed("pyruntime", "--root", "/x", "sta") == ["start", "state"]
    assert completed("pyruntime", "update", "--memory-s") == ["--memory-swap"]
    assert completed("pyruntime", "--log-f") == ["--log-format"]


def test_the_scripts_know_every_verb() -> None:
    for verb in VERBS:
        assert f"        {verb}) " in bash()
        assert f" -a {verb} " in fish()
    assert zsh().endswith(bash())


def test_another_shell_is_refused() -> None:
    with pytest.raises(UsageError, match="no completion for csh"):
        run(Arguments(["csh"], {}), GlobalOptions())
