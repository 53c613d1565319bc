"""What the program may have to start again for comes before a caller's socket is connected to."""

import json
from pathlib import Path

import pytest

from pyruntime.cli.main import main
from pyruntime.verbs import create, run


class StartedAgainError(Exception):
    """In place of the restart."""


def start_again(*_arguments: object) -> None:
    raise StartedAgainError


def connected(*_arguments: object) -> int:
    pytest.fail("a socket was connected to too early")


@pytest.mark.parametrize(("verb", "module", "detach"), [("create", create, ()), ("run", run, ("--detach",))])
@pytest.mark.parametrize("option", ["--pidfd-socket", "run.oci.pidfd_receiver", "--console-socket"])
def test_the_program_starts_again_before_it_connects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
    verb: str, module: object, detach: tuple[str, ...], option: str,
) -> None:  # fmt: skip
    (tmp_path / "rootfs").mkdir()
    assert main(["spec", "--bundle", str(tmp_path), "--rootless"]) == 0
    receiver = [option, f"{tmp_path}/s"]
    if option != "--console-socket":
        path = tmp_path / "config.json"
        config = json.loads(path.read_text())
        config["process"]["terminal"] = False
        if not option.startswith("--"):
            config["annotations"], receiver = {option: f"{tmp_path}/s"}, []
        path.write_text(json.dumps(config))
    monkeypatch.setattr(module, "load_all", start_again)
    monkeypatch.setattr(module, "pidfd_connection", connected)
    monkeypatch.setattr("pyruntime.execute.terminal.connect_console_socket", connected)
    command = [
        "--root",
        f"{tmp_path}/root",
        verb,
        *detach,
        "--bundle",
        str(tmp_path),
        *receiver,
        "box",
    ]
    assert main(command) == 1
    assert "StartedAgainError" in capfd.readouterr().err
