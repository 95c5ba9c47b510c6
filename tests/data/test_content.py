"""A folder of images is known by what lies in it; sets that many share are never written to; pages are this machine's."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from sdkit import Experiment, Recipe, cli
from sdkit.data import DATASETS, as_data, content, content_of, digest
from sdkit.experiment import run_all

SIZE = 16


def photo(path: Path, grey: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (20, 20), (grey, 255 - grey, 90))
    image.putpixel((3, 3), (0, 0, 0))
    image.save(path)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def pets(home) -> Path:
    folder = home / "data" / "pets"
    for split, n in (("train", 6), ("test", 3)):
        for k, name in enumerate(("cat", "dog")):
            for i in range(n):
                photo(folder / split / name / f"{i}.png", 20 * i + 100 * k)
    return folder


def experiment(**more) -> Experiment:
    data = {"data": "image_folder", "dataset": {"folder": "pets", "size": SIZE}}
    return Experiment(network={"width": 4}, recipe=Recipe(epochs=1, batch_size=6, lr=0.01), **data | more)


def more(folder: Path) -> None:
    for i in range(4):
        photo(folder / "train" / "cat" / f"new {i}.png", 7 * i)


def in_place(folder: Path) -> None:
    """Another image of the same size, name and time."""
    path = folder / "train" / "dog" / "0.png"
    about, other = path.stat(), folder / "train" / "dog" / "1.png"
    content = other.read_bytes()[: about.st_size]
    path.write_bytes(content + bytes(about.st_size - len(content)))
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert path.stat().st_size == about.st_size


def renamed(folder: Path) -> None:
    (folder / "test" / "dog").rename(folder / "test" / "dog ")
    (folder / "test" / "cat").rename(folder / "test" / "dog")
    (folder / "test" / "dog ").rename(folder / "test" / "cat")


CHANGES = {
    "more": more,
    "in place": in_place,
    "fewer": lambda folder: (folder / "test" / "cat" / "0.png").unlink(),
    "other labels": renamed,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_folder_is_another_run(change, pets):
    before = experiment()
    first = before.run(progress=False)
    mean = first.data.mean
    assert experiment().key == before.key and experiment().run(progress=False).run.key == first.run.key
    CHANGES[change](pets)
    after = experiment()
    assert after.key != before.key and after.stored.status == "new"
    with pytest.raises(ValueError, match="the images in pets have changed: make the experiment anew"):
        before.load_data()
    with pytest.raises(ValueError, match="this run saw other images than pets holds now"):
        Experiment.of(first.run.config)
    assert (after.load_data().mean != mean) == (change in ("more", "in place")), "of the training images as they are now"


def test_a_copied_and_touched_folder_is_the_same_run(pets):
    before = experiment()
    shutil.copytree(pets, pets.with_name("copy"))
    shutil.rmtree(pets)
    pets.with_name("copy").rename(pets)
    for path in pets.rglob("*.png"):
        os.utime(path)
    assert experiment().key == before.key
    assert experiment(dataset={"folder": "pets", "size": SIZE, "root": pets.parent}).key == before.key, "wherever it lies"


def test_a_file_is_read_once(pets, monkeypatch):
    read, key, real = [], experiment().key, content._sum
    monkeypatch.setattr(content, "_sum", lambda path: read.append(Path(path).name) or real(path))
    assert experiment().key == key and not read
    photo(pets / "train" / "cat" / "0.png", 9)
    assert experiment().key != key and read == ["0.png"]


def test_other_sets_and_their_runs_keep_their_keys(home):
    assert "content" not in Experiment(data="digits").config and content_of("cub200", root=home) is None
    kept = sorted((Path(__file__).parents[2] / "data" / "records").rglob("*.json"))
    for path in random.Random(0).sample(kept, 5):
        assert Experiment.of(json.loads(path.read_text())["config"]).key == path.stem, "what git holds is found"
    absent = experiment(dataset={"folder": "nowhere", "size": SIZE})
    assert "content" not in absent.config, "it can be said before it is there"
    with pytest.raises(FileNotFoundError, match="no images by class"):
        absent.run(progress=False)


def test_a_folder_of_your_own_is_known_by_its_content_too(pets):
    part = as_data(str(pets), size=SIZE)
    before = digest(part)
    for path in pets.rglob("*.png"):
        os.utime(path)
    assert digest(as_data(str(pets), size=SIZE)) == before
    in_place(pets)
    assert digest(as_data(str(pets), size=SIZE)) != before


# a folder that many share


def test_a_shared_folder_of_data_sets_is_read_and_never_written_to(pets, home, monkeypatch):
    shared = home.with_name("shared")
    pets.parent.rename(shared)
    monkeypatch.setenv("SDKIT_DATA_ROOT", str(shared))
    listed = sorted(shared.rglob("*"))
    for path in (shared, *listed):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        run_all([experiment(), Experiment(network={"width": 4}, recipe="smoke", dataset={"train_size": 24})], progress=False)
        assert len(DATASETS["image_folder"](folder="pets", size=SIZE).train.y) == 12
        assert sorted(shared.rglob("*")) == listed
        kept = {p.name.split("-")[0] for p in (home / "data").rglob("*") if p.is_file()}
        assert kept == {"content", "list", "statistics", "shapes"}
    finally:
        for path in (shared, *listed):
            path.chmod(0o755 if path.is_dir() else 0o644)


# pages


def test_the_app_listens_on_this_machine_alone_and_asks_for_a_token(monkeypatch, capsys):
    voila = pytest.importorskip("voila.app")
    said = []
    monkeypatch.setattr(voila.Voila, "launch_instance", lambda given, **more: said.append((given, more)))
    for _ in range(2):
        cli.main(["app", "--no-browser"])
    tokens = [next(o for o in options if o.startswith("--token=")) for options, _ in said]
    assert all(len(t) > 30 for t in tokens) and tokens[0] != tokens[1], "a new one every time"
    for options, more in said:
        assert "--Voila.ip=127.0.0.1" in options and "--no-browser" in options
        policy = more["tornado_settings"]["headers"]["Content-Security-Policy"]
        assert "default-src 'self'" in policy and not re.search(r"https?:|\*(?!;|$)", policy.replace("ws://127.0.0.1:*", ""))
    assert all(line.startswith("sdkit: http://127.0.0.1:") for line in capsys.readouterr().out.splitlines())


def test_the_lab_leaves_jupyters_door_shut(monkeypatch, tmp_path):
    """JupyterLab by itself listens on localhost and makes a token: nothing that start.py says may open it."""
    start = pytest.importorskip("start")
    said = []
    monkeypatch.setattr(start, "run", lambda command, **more: said.append([str(part) for part in command]) or 0)
    monkeypatch.setattr(start, "copy_notebooks", lambda *places: [])
    start.lab(Path("python"), ["--no-browser"])
    (command,) = said
    assert command[:3] == ["python", "-m", "jupyterlab"] and "--no-browser" in command
    assert not [a for a in command if re.search("ip|token|password|remote|origin", a.partition("=")[0], re.I)]
    served, auth = pytest.importorskip("jupyter_server.serverapp"), pytest.importorskip("jupyter_server.auth")
    fresh = served.ServerApp()
    assert fresh.ip == "localhost" and not fresh.allow_remote_access
    assert len(auth.IdentityProvider().token) > 30
