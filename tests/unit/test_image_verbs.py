"""What the verbs of oci-image do with stores and archives, through the command line."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from oci_image.cli.main import main
from oci_image.store.check import check_store
from oci_image.store.content import Store
from oci_image.store.filters import parse_time
from oci_image.transfer import copy
from pyruntime.base.errors import UsageError
from tests.faulty_registry import FaultyRegistry
from tests.image_builder import Image, Layer, LayoutBuilder, file, make_layout, tar

TREE = Path(__file__).resolve().parents[2]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("OCI_IMAGE_STORE", f"{tmp_path}/store")
    monkeypatch.setenv("REGISTRY_AUTH_FILE", f"{tmp_path}/auth.json")
    return f"{tmp_path}/store"


def run(capsys: Capture, *words: str) -> str:
    assert main(list(words)) == 0, (words, capsys.readouterr())
    return capsys.readouterr().out


def oci_image(*words: str, stdin: bytes = b"", status: int = 0) -> bytes:
    """The program itself, with pipes for its streams."""
    done = subprocess.run(
        [sys.executable, "-m", "oci_image", *words], cwd=TREE, input=stdin, capture_output=True, check=False
    )
    assert done.returncode == status, done.stderr
    return done.stdout


def three_images(path: Path) -> str:
    builder = LayoutBuilder(str(path / "layout"))
    for year, name in ((2021, "a.example/old:1"), (2022, "a.example/middle:1"), (2023, "")):
        layer = Layer(tar(file(str(year).encode())))
        config = {"Labels": {"year": str(year)}}
        image = Image([layer], config, {"created": f"{year}-06-01T00:00:00.123456789Z"})
        builder.add(builder.manifest(image), name)
    return builder.path


@pytest.mark.parametrize(
    ("filters", "years"),
    [
        (["dangling=true"], [2023]),
        (["dangling=false"], [2021, 2022]),
        (["label=year"], [2021, 2022, 2023]),
        (["label=year=2022"], [2022]),
        (["reference=*/old"], [2021]),
        (["reference=a.example/*:1"], [2021, 2022]),
        (["before=a.example/middle:1"], [2021]),
        (["since=a.example/middle:1"], [2023]),
        (["until=2022-07-01", "dangling=false"], [2021, 2022]),
        (["until=2022-07-01", "label=year=2022"], [2022]),
        (["until=1h"], [2021, 2022, 2023]),
    ],
    ids=str,
)
def test_list_filters_as_docker_does(
    tmp_path: Path, filters: list[str], years: list[int], capsys: Capture
) -> None:
    words = [word for text in filters for word in ("--filter", text)]
    listed = json.loads(run(capsys, "list", "--json", "--store", three_images(tmp_path), *words))
    assert [int(image["labels"]["year"]) for image in listed] == years


def test_a_filter_that_means_nothing_is_refused(tmp_path: Path, capsys: Capture) -> None:
    path = three_images(tmp_path)
    for text in ("nonsense=1", "dangling", "dangling=maybe", "before=absent", "until=never"):
        assert main(["list", "--store", path, "--filter", text]) == 2
        assert "filter" in (error := capsys.readouterr().err) or "time" in error
    with pytest.raises(UsageError):
        parse_time("yesterday")


def test_list_prints_what_the_format_says(tmp_path: Path, capsys: Capture) -> None:
    path = three_images(tmp_path)
    assert run(capsys, "list", "--store", path, "--format", "{name}").split() == [
        "a.example/old:1",
        "a.example/middle:1",
    ]
    assert main(["list", "--store", path, "--format", "{nothing}"]) == 2
    assert "keys: name" in capsys.readouterr().err


def test_images_go_through_a_pipe(store: str, tmp_path: Path, capsys: Capture) -> None:
    layout = make_layout(str(tmp_path / "layout"), tar(file(b"a", os.urandom(2 << 20))))
    copy(f"oci:{layout}", "a.example/piped:1")
    archive = oci_image("save", "a.example/piped:1")
    assert len(archive) > 2 << 20
    said = oci_image("load", stdin=archive)
    assert said == b"Loaded image: a.example/piped:1\n"
    other = str(tmp_path / "other")
    oci_image("load", "--store", other, stdin=archive)
    with Store.open(store) as one, Store.open(other) as two:
        assert one.find("a.example/piped:1").digest == two.find("a.example/piped:1").digest
        assert check_store(two).faults == ()
        assert [name for name in os.listdir(other) if name.startswith("tmp")] == []
    oci_image("load", stdin=archive[: len(archive) // 2], status=1)


def test_load_says_which_name_moved(store: str, tmp_path: Path, capsys: Capture) -> None:
    digests = []
    for number in (1, 2):
        layout = make_layout(str(tmp_path / f"layout{number}"), tar(file(str(number).encode())))
        digests.append(str(copy(f"oci:{layout}", "a.example/same:1").root.digest))
    run(capsys, "save", "-o", f"{tmp_path}/two.tar", "a.example/same:1")
    copy(f"oci:{tmp_path}/layout1", "a.example/same:1")
    assert f"was that of {digests[0]} before" in run(capsys, "load", "-i", f"{tmp_path}/two.tar")


def test_an_image_is_meant_by_its_place(tmp_path: Path, capsys: Capture) -> None:
    path = three_images(tmp_path)
    for number, year in enumerate((2021, 2022, 2023)):
        config = json.loads(run(capsys, "inspect", "--config", f"oci:{path}@{number}"))
        assert config["created"].startswith(str(year))
    assert main(["inspect", f"oci:{path}@3"]) == 1
    assert "@3" in capsys.readouterr().err
    run(capsys, "save", "--store", path, "-o", f"{tmp_path}/a.tar", "a.example/old:1", "a.example/middle:1")
    second = json.loads(run(capsys, "inspect", "--config", f"docker-archive:{tmp_path}/a.tar:@1"))
    assert second["created"].startswith("2022")
    assert main(["copy", f"oci:{path}@0", f"oci:{tmp_path}/new@1"]) == 2


def pulls(registry: FaultyRegistry, policy: str, capsys: Capture) -> tuple[int, int]:
    """Exit code of a pull, and how many requests it took."""
    before = len(registry.requests)
    code = main(["pull", "--policy", policy, "--creds", "me:secret", f"{registry.address}/app:1"])
    capsys.readouterr()
    return code, len(registry.requests) - before


def test_pull_policies(store: str, capsys: Capture) -> None:
    with FaultyRegistry(b"layer") as registry:
        assert pulls(registry, "never", capsys) == (1, 0)
        code, count = pulls(registry, "missing", capsys)
        assert code == 0
        assert count > 2
        assert pulls(registry, "missing", capsys) == (0, 0)
        assert pulls(registry, "never", capsys) == (0, 0)
        code, same = pulls(registry, "newer", capsys)
        assert (code, same) == (0, 1)
        registry.serve(b"another layer")
        assert pulls(registry, "missing", capsys) == (0, 0)
        assert pulls(registry, "newer", capsys)[1] > same
        name = f"{registry.address}/app:1"
    assert main(["pull", "--policy", "newer", name]) == 0, "nobody answers, but the image is here"
    with Store.open(store) as opened:
        assert opened.find(name).digest.encoded == registry.digest(registry.manifest).partition(":")[2]


def test_every_tag_is_pulled(store: str, capsys: Capture) -> None:
    with FaultyRegistry(b"layer") as registry:
        registry.tags = ["1", "2", "latest"]
        said = run(capsys, "pull", "--all-tags", f"{registry.address}/app")
        assert said.count("digest: sha256:") == 3
        assert main(["pull", "--all-tags", f"{registry.address}/app:1"]) == 2
    with Store.open(store) as opened:
        assert len(opened.entries()) == 3


def test_search_asks_for_a_search_and_else_for_the_catalog(store: str, capsys: Capture) -> None:
    with FaultyRegistry(b"layer") as registry:
        registry.found = [
            {"name": "team/box", "description": "a box", "star_count": 7, "is_official": True},
            {"name": "team/boxes", "star_count": 1},
        ]
        found = json.loads(run(capsys, "search", "--json", "--stars", "2", f"{registry.address}/box"))
        assert found == [
            {"name": "team/box", "description": "a box", "stars": 7, "official": True, "automated": False}
        ]
        registry.found = None
        registry.repositories = ["team/app", "team/box", "other"]
        assert run(capsys, "search", "--format", "{name}", f"{registry.address}/BOX") == "team/box\n"


def test_progress_is_drawn_on_a_terminal_and_nowhere_else(tmp_path: Path) -> None:
    layer = os.urandom(8 << 20)
    with FaultyRegistry(layer, slow=1) as registry:
        words = [sys.executable, "-m", "oci_image", "pull", "--store", f"{tmp_path}/store"]
        words.append(f"{registry.address}/app:1")
        master, slave = pty.openpty()
        shown = bytearray()

        def collect() -> None:
            try:
                while data := os.read(master, 65536):
                    shown.extend(data)
            except OSError:
                pass  # the other side is closed

        reader = threading.Thread(target=collect)
        reader.start()
        subprocess.run(words, cwd=TREE, stdout=subprocess.DEVNULL, stderr=slave, check=True, timeout=60)
        os.close(slave)
        reader.join()
        os.close(master)
        assert b"MB/s" in shown
        assert registry.digest(layer).partition(":")[2][:12].encode() + b" [" in shown
        quiet = subprocess.run(words, cwd=TREE, capture_output=True, check=True, timeout=60)
    assert quiet.stderr == b""


def test_every_verb_takes_names_of_the_store_as_well_as_layouts(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    run(capsys, "new", "--image", "team/base")
    run(capsys, "insert", "--image", "team/base", "--tag", "team/app:1", "file", "/file")
    run(capsys, "config", "--image", "team/app:1", "--config.label", "a=b")
    run(capsys, "squash", "--image", "team/app:1", "--tag", "team/flat")
    run(capsys, "export", "--image", "team/flat", "--output", "tree.tar")
    run(capsys, "import", "--image", "team/back", "tree.tar")
    run(capsys, "unpack", "--rootless", "--image", "team/app:1", "bundle")
    (tmp_path / "bundle/rootfs/new").write_text("y")
    assert run(capsys, "diff", "bundle").splitlines()[-1] == "A /new"
    run(capsys, "commit", "--image", "a.example/app:2", "bundle")
    names = run(capsys, "list", "--format", "{name}").split()
    hub = [f"docker.io/team/{name}" for name in ("base:latest", "app:1", "flat:latest", "back:latest")]
    assert sorted(names) == sorted([*hub, "a.example/app:2"])
    with Store.open(store) as opened:
        assert check_store(opened).faults == ()
    assert main(["unpack", "--image", "team/absent", "other"]) == 1
    assert "no layout in a directory of that name" in capsys.readouterr().err
    # A directory of that name comes first.
    make_layout("team", tar(file(b"a")))
    assert main(["unpack", "--rootless", "--image", "team", "third"]) == 0
    assert (tmp_path / "third/rootfs/a").exists()
