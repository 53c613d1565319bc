"""oci-image raw and manifest-digest: what umoci and skopeo have under these names."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from oci_image.cli.main import main
from oci_image.store.check import check_store
from oci_image.store.content import Store
from tests.image_builder import Image, Layer, LayoutBuilder, directory, file, symlink, tar
from tests.privileged.compare_trees import differences

pytestmark = pytest.mark.privileged
PASSWD = b"root:x:0:0::/root:/bin/sh\nguest:x:7:8::/home:/bin/sh\n"


def layout(path: Path, user: str = "guest") -> str:
    lower = tar(
        directory(b"etc"), file(b"etc/passwd", PASSWD), file(b"srv/a", b"a", uid=5), symlink(b"l", b"srv"),
        file(b"srv/gone"), file(b"srv/s", mode=0o4755),
    )  # fmt: skip
    builder = LayoutBuilder(str(path / "layout"))
    settings = {"User": user, "Cmd": ["/bin/sh"], "Env": ["A=b"]}
    builder.add(builder.manifest(Image([Layer(lower)], settings, {})), "app")
    return builder.path


def umoci(*words: str) -> None:
    subprocess.run(["umoci", *words], check=True, capture_output=True, timeout=60)


def test_a_tree_is_unpacked_without_a_bundle(tmp_path: Path) -> None:
    image = f"{layout(tmp_path)}:app"
    assert main(["raw", "unpack", "-q", "--image", image, str(tmp_path / "ours")]) == 0
    umoci("raw", "unpack", "--image", image, str(tmp_path / "theirs"))
    found = differences(str(tmp_path / "ours"), str(tmp_path / "theirs"))
    assert [
        entry for entry in found if (entry[0], entry[1]) not in ((".", "mtime_ns"), ("srv", "mtime_ns"))
    ] == []
    assert main(["raw", "unpack", "--image", image, str(tmp_path / "ours")]) == 1
    assert main(["raw", "unpack", "-q", "--rootless", "--image", image, str(tmp_path / "own")]) == 0
    assert os.stat(tmp_path / "own/srv/a").st_uid == os.geteuid()
    left = {name for name in os.listdir(tmp_path) if name.startswith(".")}
    assert left == set()


def test_a_layer_goes_on_top_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = layout(tmp_path)
    archive = tmp_path / "layer.tar"
    archive.write_bytes(tar(file(b"srv/new", b"new"), file(b"srv/.wh.gone")))
    words = ["raw", "add-layer", "-q", "--image", f"{place}:app", "--history.comment", "more", "--tag"]
    assert main([*words, "more", str(archive)]) == 0
    umoci("raw", "add-layer", "--image", f"{place}:app", "--tag", "theirs", str(archive))
    configs = []
    for tag in ("more", "theirs"):
        assert main(["raw", "unpack", "-q", "--image", f"{place}:{tag}", str(tmp_path / tag)]) == 0
        assert main(["inspect", "--config", "--json", f"oci:{place}:{tag}"]) == 0
        configs.append(json.loads(capsys.readouterr().out))
    assert configs[0]["rootfs"] == configs[1]["rootfs"]
    assert configs[0]["history"][-1]["comment"] == "more"
    assert sorted(os.listdir(tmp_path / "more/srv")) == ["a", "new", "s"]
    assert differences(str(tmp_path / "more"), str(tmp_path / "theirs")) == []
    with Store.open(place) as store:
        assert check_store(store).faults == ()
    archive.write_bytes(b"x" * 2000)
    assert main([*words, "other", str(archive)]) == 1
    archive.write_bytes(tar(file(b"../x")))
    assert main([*words, "other", str(archive)]) == 1
    assert "../x" in capsys.readouterr().err


def test_a_runtime_config_is_written_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = f"{layout(tmp_path)}:app"
    path = tmp_path / "config.json"
    assert main(["raw", "runtime-config", "--image", image, str(path)]) == 1
    assert "--rootfs" in capsys.readouterr().err
    assert main(["raw", "unpack", "-q", "--image", image, str(tmp_path / "tree")]) == 0
    words = ["raw", "runtime-config", "-q", "--image", image, "--rootfs", str(tmp_path / "tree")]
    assert main([*words, "--uid-map", "0:1000:100", "--gid-map", "0:1000:100", str(path)]) == 0
    ours = json.loads(path.read_text())
    umoci("raw", "runtime-config", "--image", image, "--rootfs", str(tmp_path / "tree"), f"{path}.theirs")
    theirs = json.loads(Path(f"{path}.theirs").read_text())
    for name in ("user", "args", "cwd"):
        assert ours["process"][name] == theirs["process"][name]
    assert ours["linux"]["uidMappings"] == [{"containerID": 0, "hostID": 1000, "size": 100}]
    assert main([*words, str(path)]) == 1, "a file that is there stays"


def test_the_digest_of_a_manifest_is_that_of_skopeo(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = layout(tmp_path)
    path = tmp_path / "manifest.json"
    path.write_bytes(
        subprocess.run(
            ["skopeo", "inspect", "--raw", f"oci:{place}:app"], check=True, capture_output=True
        ).stdout
    )
    assert main(["manifest-digest", str(path)]) == 0
    theirs = subprocess.run(
        ["skopeo", "manifest-digest", str(path)], check=True, capture_output=True, text=True
    )
    assert capsys.readouterr().out == theirs.stdout
    path.write_text("{}")
    assert main(["manifest-digest", str(path)]) == 0
    path.write_text("nonsense")
    assert main(["manifest-digest", str(path)]) == 1
    assert main(["manifest-digest", str(tmp_path / "none")]) == 1
