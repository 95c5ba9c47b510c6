"""What lies in a run's folder is not trusted: a flipped bit is said, a hostile file is refused, a full disk is one sentence."""

from __future__ import annotations

import errno
import json
import os
import pickle
import random
import re
import shutil
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from sdkit import Experiment, Recipe, cli, runs, studies
from sdkit.experiment import live_folder
from sdkit.runs import Damaged, Run, files, folder
from sdkit.train import Epoch

SMALL = {
    "network": {"width": 4},
    "data": "digits",
    "dataset": {"train_size": 60},
    "recipe": Recipe(epochs=3, batch_size=30, lr=0.02, schedule="constant"),
}
E = Experiment("dsr", **SMALL)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    monkeypatch.setattr(folder, "CHECKPOINT_EVERY", 0.0)
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A home with a finished run and with one that was left after its second epoch."""
    place = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder, "CHECKPOINT_EVERY", 0.0)
        patch.setenv("SDKIT_HOME", str(place / "done"))
        E.run(progress=False)
        patch.setenv("SDKIT_HOME", str(place / "left"))
        walk = E.iterate()
        next(event for event in walk if isinstance(event, Epoch) and event.epoch == 1)
        walk.close()
    return place


@pytest.fixture
def done(trained, home) -> Run:
    shutil.copytree(trained / "done", home, dirs_exist_ok=True)
    return E.stored


@pytest.fixture
def left(trained, home) -> Run:
    shutil.copytree(trained / "left", home, dirs_exist_ok=True)
    return E.stored


def ends(run: Run) -> list:
    """What a run ends with, its time apart."""
    weights = {f"{part}.{k}": v for part, tensors in run.weights().items() for k, v in tensors.items()}
    epochs = [{k: v for k, v in e.record().items() if k != "seconds"} for e in run.history()]
    return [epochs, {k: v.tolist() for k, v in weights.items()}, run.outputs()[1].tolist(), run.logits().tolist()]


@pytest.fixture(scope="module")
def straight(trained):
    return ends(Run(trained / "done" / "runs" / E.key))


def flip(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def one_sentence(error) -> bool:
    return "\n" not in str(error) and len(str(error)) < 600 and "weights_only" not in str(error)


# flipped bits

READ = {
    "weights.safetensors": lambda run: {k: v.tolist() for p in run.weights().values() for k, v in p.items()},
    "outputs/0001.npy": lambda run: run.outputs()[1].tolist(),
    "logits.npy": lambda run: run.logits().tolist(),
    "history.json": lambda run: [run.status, [e.record() for e in run.history()], run.logits().tolist()],
    "experiment.json": lambda run: [run.config, run.environment],
}


@pytest.mark.parametrize("name", READ)
def test_a_flipped_bit_is_noticed_and_said_with_the_mend(name, done):
    path, rng = done.folder / name, random.Random(0)
    before, content, noticed = READ[name](done), path.read_bytes(), 0
    for _ in range(30):
        flip(path, rng)
        try:
            assert READ[name](done) == before, "never another result in silence"
        except Damaged as error:
            noticed += 1
            assert path.name in str(error) and "run(fresh=True)" in str(error) and one_sentence(error)
        path.write_bytes(content)
    assert noticed == 30 if name != "history.json" else noticed > 25, "blank space of a history may change"


def resumed(left: Run) -> list[str]:
    """What is said when it goes on."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        E.run(progress=False)
    return [str(w.message) for w in said]


@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(k, marks=pytest.mark.slow) for k in range(3, 40))])
def test_a_flipped_bit_in_a_checkpoint_is_noticed_and_its_epochs_are_trained_again(seed, left, straight):
    flip(left.folder / "checkpoint.pt", random.Random(seed))
    (words,) = resumed(left)
    assert "checkpoint.pt" in words and words.endswith("goes on with epoch 1") and ends(left) == straight


def test_a_checkpoint_of_an_earlier_sdkit_goes_on_and_its_own_sums_tell_a_flipped_bit(left, straight):
    plain = json.loads((left.folder / "history.json").read_text())
    (left.folder / "history.json").write_text(json.dumps({k: plain[k] for k in ("status", "epochs")}))
    state = left.folder / "checkpoint.pt"
    content = state.read_bytes()
    assert not resumed(left) and ends(left) == straight
    state.write_bytes(content[:20_000] + bytes([content[20_000] ^ 1]) + content[20_001:])
    with pytest.raises(Damaged, match="cannot be read"):
        files.load_state(state)


def test_what_is_lost_of_a_run_that_was_left_is_trained_again(left, straight):
    (left.folder / "outputs" / "0000.npy").unlink()
    (words,) = resumed(left)
    assert "outputs/0000.npy is lost" in words and ends(left) == straight


def test_a_damaged_checkpoint_falls_back_to_the_state_kept_before_it(home, straight):
    live = live_folder(E)
    walk = live.follow(E.config, E.training, keep=True)
    next(event for event in walk if isinstance(event, Epoch) and event.epoch == 1)
    walk.close()
    for place in (live.folder / "checkpoint.pt", live.kept(2)):
        place.unlink()
        place.write_bytes(b"PK")
    with pytest.warns(UserWarning, match="cannot be read .* goes on with epoch 2"):
        walk = live.follow(E.config, E.training, keep=True)
        assert next(walk).epoch == 1
        for _ in walk:
            pass
    assert ends(live) == straight


def test_a_kept_state_that_is_cut_is_as_good_as_gone(home, straight):
    live = live_folder(E)
    for _ in live.follow(E.config, E.training, keep=True):
        pass
    assert runs.find_checkpoint(E.config, 3) == live.kept(3)
    live.kept(3).write_bytes(live.kept(3).read_bytes()[:1000])
    assert runs.find_checkpoint(E.config, 3) == live.kept(2), "the one before it serves"
    assert not resumed(E.stored) and ends(E.stored) == straight


@pytest.mark.parametrize("lost", ["everything", "outputs/0000.npy", "experiment.json"])
def test_a_run_that_loses_files_while_it_trains_does_not_end_as_done(lost, home, straight):
    walk = E.iterate()
    next(event for event in walk if isinstance(event, Epoch))
    if lost == "everything":
        shutil.rmtree(E.stored.folder)
    else:
        (E.stored.folder / lost).unlink()
    with pytest.raises(Damaged, match="deleted or replaced while run|lost outputs/0000.npy .* and so is not done") as error:
        for _ in walk:
            pass
    assert one_sentence(error.value) and E.stored.status != "done"
    resumed(E.stored)
    assert ends(E.stored) == straight


# lists


def spoiled(run: Run, name: str, change) -> None:
    path = run.folder / name
    plain = json.loads(path.read_text())
    plain = change(plain) or plain
    path.write_text(json.dumps(plain))


def unsigned(said: dict) -> None:
    """As an earlier sdkit wrote it, or a stranger."""
    for part in ("hash", "files", "checkpoints"):
        said.pop(part)


ODD = {
    "a newer epoch": ("history.json", lambda h: (unsigned(h), h["epochs"][0].update(warmth=1.0))[0], "cannot read"),
    "a newer history": ("history.json", lambda h: h.update(sealed=True), "which this sdkit does not know"),
    "no accuracy": (
        "history.json",
        lambda h: (unsigned(h), h["epochs"][-1].update(accuracy="high", test=[]))[0],
        "cannot read",
    ),
    "text for numbers": ("history.json", lambda h: (unsigned(h), h["epochs"][0].update(lr="<b>"))[0], "cannot read"),
    "no status": ("history.json", lambda h: h.pop("status") and None, "does not hold a run's status"),
    "a list": ("history.json", lambda h: [h], "does not hold a run's status"),
    "half a stranger's": ("experiment.json", lambda e: {"config": {"method": "mine"}}, "SHA-256"),
    "a stranger's": ("experiment.json", lambda e: {"name": "mine"}, "SHA-256"),
}


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_run_is_a_row_that_says_so_and_the_others_are_listed(odd, done, capsys):
    name, change, words = ODD[odd]
    other = Run(done.folder.with_name("0123456789ab"))
    shutil.copytree(done.folder, other.folder)
    spoiled(other, name, change)
    rows = {r.run.key: r for r in runs.records()}
    assert rows[done.key].status == "done" and rows[other.key].status == "damaged" and words in rows[other.key].wrong
    cli.main(["list"])
    said = capsys.readouterr().out
    assert re.search(rf"{done.key} +done", said) and words in said
    with pytest.raises(SystemExit, match=words.replace("(", "[(]")):
        cli.main(["show", other.key])
    assert runs.find_checkpoint(E.config, 3) is None


def test_a_run_whose_recipe_this_sdkit_does_not_know_says_which_sdkit_does(done):
    spoiled(done, "history.json", unsigned)
    spoiled(
        done, "experiment.json", lambda e: (e["config"]["recipe"].update(warmth=1), e["environment"].update(sdkit="9.1"))[0]
    )
    (row,) = runs.records()
    assert row.status == "damaged" and "was recorded by sdkit 9.1, which can read it" in row.wrong and "warmth" in row.wrong
    spoiled(done, "experiment.json", lambda e: {"config": {"method": "mine"}})
    (row,) = runs.records()
    assert row.status == "damaged" and "is an earlier sdkit's" in row.wrong


# hostile files


class Evil:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


def bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a/data.pkl", bytes(10_000_000))


def linked(path: Path, where: str) -> None:
    path.unlink()
    path.symlink_to(where)


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def aside(path: Path) -> None:
    """A folder that is a link to one outside the run."""
    outside = path.parents[2] / "outside"
    outside.mkdir()
    shutil.rmtree(path)
    path.symlink_to(outside)


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps(Evil()))


def objects(path: Path) -> None:
    np.save(path, np.array([Evil()], object), allow_pickle=True)


def endless(path: Path) -> None:
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f2", "fortran_order": False, "shape": (2**40, 100)})


DEEP = "[" * 100_000
FINISHED = {
    "weights: a pickle": ("weights.safetensors", pickled),
    "weights: a device": ("weights.safetensors", lambda p: linked(p, "/dev/zero")),
    "weights: a pipe": ("weights.safetensors", piped),
    "weights: a header of gigabytes": ("weights.safetensors", lambda p: p.write_bytes((2**40).to_bytes(8, "little") + b"{}")),
    "weights: a deep header": ("weights.safetensors", lambda p: p.write_bytes((9**5).to_bytes(8, "little") + DEEP.encode())),
    "outputs: a pickle": ("outputs/0001.npy", pickled),
    "outputs: objects": ("outputs/0001.npy", objects),
    "outputs: a shape of terabytes": ("outputs/0001.npy", endless),
    "outputs: another shape": ("outputs/0001.npy", lambda p: np.save(p, np.zeros(3))),
    "outputs: a folder": ("outputs/0001.npy", lambda p: (p.unlink(), p.mkdir())),
    "logits: a pickle": ("logits.npy", pickled),
    "logits: objects": ("logits.npy", objects),
    "logits: a pipe": ("logits.npy", piped),
    "history: deep": ("history.json", lambda p: p.write_text(DEEP)),
    "history: huge": ("history.json", lambda p: p.write_text(" " * 3_000_000)),
    "history: a device": ("history.json", lambda p: linked(p, "/dev/zero")),
    "history: a pipe": ("history.json", piped),
    "history: no text": ("history.json", lambda p: p.write_bytes(b"\xff\xfe\x00")),
    "history: HTML": ("history.json", lambda p: p.write_text('{"status": "<img src=x onerror=alert(1)>", "epochs": []}')),
    "history: a number of a million digits": ("history.json", lambda p: p.write_text("9" * 1_000_000)),
    "experiment: deep": ("experiment.json", lambda p: p.write_text(DEEP)),
    "experiment: a device": ("experiment.json", lambda p: linked(p, "/dev/zero")),
    "experiment: a pickle": ("experiment.json", pickled),
}


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("hostile", FINISHED)
def test_a_hostile_file_of_a_run_is_refused_in_a_sentence(hostile, signed, done, home, monkeypatch):
    """signed: whether the run says digests of its files; a stranger's may say none."""
    if any(word in hostile for word in ("device", "pipe")) and not hasattr(os, "mkfifo"):
        pytest.skip("this system has neither devices nor pipes among its files")
    monkeypatch.setattr(files, "LONGEST_JSON", 2_000_000)
    monkeypatch.chdir(home)
    name, spoil = FINISHED[hostile]
    if not signed:
        spoiled(done, "history.json", unsigned)
    spoil(done.folder / name)
    with pytest.raises(Damaged) as error:
        done.status, done.config, done.history(), done.weights(), done.outputs(), done.logits()  # noqa: B018
    assert one_sentence(error.value) and not (home / "pwned").exists()
    assert len(runs.records()) == 1, "and the list is there"


STATES = {
    "a pickle": pickled,
    "a pickle in torch's file": lambda p: torch.save({"key": E.key, "training": Evil(), "history": []}, p),
    "a bomb": bomb,
    "a device": lambda p: linked(p, "/dev/zero"),
    "a folder": lambda p: (p.unlink(), p.mkdir()),
    "nothing": lambda p: p.write_bytes(b""),
    "another thing": lambda p: torch.save([1, 2], p),
}


@pytest.mark.parametrize("hostile", STATES)
def test_a_hostile_checkpoint_is_refused_and_the_run_trains_without_it(hostile, left, home, monkeypatch, straight):
    monkeypatch.chdir(home)
    STATES[hostile](left.folder / "checkpoint.pt")
    try:
        (words,) = resumed(left)
        assert one_sentence(words) and ends(left) == straight
    except Damaged as error:
        assert one_sentence(error)
    assert not (home / "pwned").exists()


@pytest.mark.parametrize("place", ["outputs", "epochs"])
def test_nothing_is_written_or_deleted_behind_a_link(place, left, home):
    (left.folder / place).mkdir(exist_ok=True)
    aside(left.folder / place)
    (home / "outside" / "0001.pt").write_bytes(bytes(9))
    with pytest.raises(Damaged, match=f"{place} is a link"):
        E.run(progress=False)
    assert runs.find_checkpoint(E.config, 3) is None
    left.delete()
    assert [f.name for f in (home / "outside").iterdir()] == ["0001.pt"]
    E.run(progress=False)


@pytest.mark.parametrize("name", ["../../../X", "/tmp/X", "a/b", "..", ".hidden", "", 3, "<b>", "x\n"])
def test_a_plan_that_names_a_folder_elsewhere_is_refused(name, home):
    (home / "plan.json").write_text(json.dumps({"name": name, "runs": [{"data": "digits"}]}))
    with pytest.raises(ValueError, match="the name of the plan .* is that of a folder of records") as error:
        studies.execute_plan(home / "plan.json", minutes=0)
    assert one_sentence(error.value)


@pytest.mark.parametrize(
    "content", [DEEP, "{", "[]", "3", '{"format": 1, "hash": "x"}', '{"format": 99}', "\xff", '{"runs": []}']
)
def test_a_hostile_record_is_said_and_the_rest_goes_on(content, home):
    place = home / "data" / "records" / "tiny"
    place.mkdir(parents=True)
    (place / f"{E.key}.json").write_text(content, encoding="latin-1")
    (home / "plans").mkdir()
    (home / "plans" / "bad.json").write_text(content, encoding="latin-1")
    with pytest.raises(Damaged) as error:
        studies.read_result(place / f"{E.key}.json")
    assert one_sentence(error.value)
    stock = {s.name: s for s in studies.plan_status()}
    assert len(stock["tiny"].wrong) == 1 and len(stock["bad"].wrong) == 1 and "length" in stock
    with pytest.warns(UserWarning):
        assert studies.load_results("tiny") == []


# a full disk


class Disk:
    """Takes so many bytes in all, then none."""

    def __init__(self, room: int) -> None:
        self.room = room

    def open(self, path, mode="r"):
        file = open(path, mode)  # noqa: SIM115
        if "w" in mode:
            write = file.write
            file = Full(self, file, write)
        return file


class Full:
    def __init__(self, disk, file, write) -> None:
        self.disk, self.file, self.takes = disk, file, write

    def write(self, content):
        self.disk.room -= len(content)
        if self.disk.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.takes(content)

    def flush(self):
        self.file.flush()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_a_full_disk_is_one_sentence_and_the_run_goes_on_where_there_is_room(share, home, straight, monkeypatch):
    whole = Disk(10**9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "open", whole.open, raising=False)
        patch.setenv("SDKIT_HOME", str(home / "whole"))
        E.run(progress=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "open", Disk(int((10**9 - whole.room) * share)).open, raising=False)
        with pytest.raises(OSError, match="no room for .* in .*: it takes [0-9]+ kB, and [0-9,.]+ [kM]B are free") as error:
            E.run(progress=False)
    assert one_sentence(error.value) and "enforce fail" not in str(error.value)
    assert not [f for f in E.stored.folder.rglob(".*")]
    assert not resumed(E.stored) and ends(E.stored) == straight


# what a process that died leaves


def test_files_half_written_are_swept_and_folders_in_which_nothing_began(left, home, straight):
    stray = [left.folder / ".checkpoint.pt.abc123_x", left.folder / "outputs" / ".0001.npy.12345678"]
    empty = [left.folder.with_name("lock-only"), left.folder.with_name("nothing"), left.folder.with_name("young")]
    for path in stray:
        path.write_bytes(b"half")
    for path in empty:
        path.mkdir()
    (empty[0] / "lock").touch()
    for path in empty[:2]:
        os.utime(path, (1e9, 1e9))
    assert not resumed(left) and ends(left) == straight
    assert not any(p.exists() for p in (*stray, *empty[:2])) and empty[2].exists()


def test_a_run_that_cannot_be_built_leaves_no_folder(home):
    with pytest.raises(FileNotFoundError):
        Experiment(data="cifar100", network={"width": 4}).run(progress=False)
    assert not any((home / "runs").glob("*"))


class Pressed:
    """A progress bar in which Ctrl-C is pressed."""

    def __init__(self, **options):
        self.n = 0

    def update(self, steps):
        raise KeyboardInterrupt

    def close(self):
        pass


class Between:
    """A training after whose first step Ctrl-C is pressed."""

    def __init__(self, events):
        self.events, self.close, self.taken = events, events.close, 0

    def __iter__(self):
        return self

    def __next__(self):
        self.taken += 1
        if self.taken > 1:
            raise KeyboardInterrupt
        return next(self.events)


@pytest.mark.parametrize("bar", [True, False])
def test_an_interrupt_lets_the_next_run_begin(bar, straight, monkeypatch):
    if bar:
        monkeypatch.setattr("tqdm.tqdm", Pressed)
    else:
        iterate = Experiment.iterate
        monkeypatch.setattr(Experiment, "iterate", lambda *given: Between(iterate(*given)))
    with pytest.raises(KeyboardInterrupt) as error:
        E.run(progress=bar)
    monkeypatch.undo()
    assert error.traceback and not folder.HELD, "although the traceback is kept, as a notebook keeps it, with all its frames"


KILLED = """
import os, sys, threading, time
from sdkit import Experiment, Recipe, run_all
from sdkit.runs import records
big = Recipe(epochs=5000, batch_size=30)
each = [Experiment(network={"width": 4}, data="digits", dataset={"train_size": 60}, recipe=big, seed=s) for s in (0, 1)]
def end():
    while sum(r.status == "training" and bool(r.run.history()) for r in records()) < 2: time.sleep(0.1)
    print("training", flush=True)
    os.kill(os.getpid(), 9)
threading.Thread(target=end).start()
run_all(each, jobs=2, progress=False)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no other process to be told from here")
def test_the_workers_of_a_killed_sweep_end_with_it(home):
    import time

    child = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, timeout=120)
    assert child.returncode == -9 and "training" in child.stdout, child.stderr
    until = time.monotonic() + 10
    while any(r.run.is_busy() for r in runs.records()) and time.monotonic() < until:
        time.sleep(0.2)
    assert not any(r.run.is_busy() for r in runs.records())


def test_a_device_that_is_not_there_is_a_sentence(monkeypatch):
    from sdkit.train import default_device

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for said, words in (("cuda", "finds no CUDA card"), ("cuda:3", "finds no CUDA card"), ("gpu", "got 'gpu'"), ("", None)):
        monkeypatch.setenv("SDKIT_DEVICE", said)
        if words is None:
            assert default_device().type == "cpu"
            continue
        with pytest.raises(ValueError, match=words) as error:
            default_device()
        assert one_sentence(error.value)


@pytest.mark.slow
def test_a_home_that_the_locale_cannot_spell_holds_runs(home):
    code = f"from sdkit import Experiment, Recipe, cli\ne = {E}\ne.run(progress=False).run.weights()\ncli.main(['list'])\n"
    own = {"SDKIT_HOME": str(home / "Möbel ☃"), "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | own, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert f"{E.key} ".encode() in done.stdout and b" done " in done.stdout


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes are POSIX's")
def test_a_note_that_is_a_pipe_or_a_device_keeps_nobody_waiting(tmp_path):
    for name, make in (("pipe", os.mkfifo), ("device", lambda p: p.symlink_to("/dev/zero"))):
        (tmp_path / name).mkdir()
        make(tmp_path / name / "note.txt")
        assert Run(tmp_path / name).note == ""
