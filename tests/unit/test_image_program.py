"""What oci-image says when it fails in a way that nobody foresaw."""

import pytest

from oci_image.cli.main import main
from oci_image.verbs import unpack


def _fail(*_arguments: object) -> int:
    raise KeyError("surprise")


def test_a_bug_is_named_and_its_traceback_shown_only_on_request(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(unpack, "run", _fail)
    assert main(["unpack", "--image", "nowhere", "bundle"]) == 70
    said = capsys.readouterr().err
    assert "internal error: KeyError: 'surprise'" in said
    assert "Traceback" not in said
    assert main(["unpack", "--debug", "--image", "nowhere", "bundle"]) == 70
    assert "Traceback" in capsys.readouterr().err
