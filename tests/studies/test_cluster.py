"""Trainings on a cluster: the bits of one process, what comes back, what a death costs, and what is said of a mistake."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
import yaml
from PIL import Image

from sdkit import Experiment, Method, Recipe, run_all, studies
from sdkit.data.pixels import take
from sdkit.runs import Damaged, packed, store
from sdkit.runs.recorder import read_history
from sdkit.studies import cluster
from sdkit.train import Diverged

distributed = pytest.importorskip("distributed")

SMALL = {"data": "digits", "dataset": {"train_size": 64}, "network": {"width": 4}, "recipe": "smoke"}
TEACHER = Experiment(**SMALL, seed=7)


class Halved(Method):
    """A user's own, in a module that no worker can import."""

    knobs = {}

    def terms(self, model, out, batch, progress):
        return {"task": F.cross_entropy(out.logits, batch.y) / 2}


class Broken(Method):
    knobs = {}

    def terms(self, model, out, batch, progress):
        raise ZeroDivisionError("no term at all")


def bits(e: Experiment) -> dict:
    """All that a run left: the digest of every file but the one that says when and where, and its epochs but their seconds."""
    said = read_history(e.stored.folder)
    files = {name: digest for name, digest in said["files"].items() if name != "experiment.json"}
    return {"status": said["status"], "files": files, "epochs": [epoch | {"seconds": 0} for epoch in said["epochs"]]}


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    """Two processes that see neither the caller's runs nor each other's."""
    away = str(tmp_path_factory.mktemp("away"))
    options = {"n_workers": 2, "threads_per_worker": 1, "memory_limit": None, "dashboard_address": None}
    with distributed.LocalCluster(**options, env={"SDKIT_HOME": away}) as made, distributed.Client(made) as client:
        client.away = Path(away)
        yield client


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path / "here"))
    return tmp_path / "here"


def test_a_run_has_the_bits_of_one_process_wherever_it_ran(workers, home, tmp_path, monkeypatch):
    x, y = torch.randint(256, (48, 3, 8, 8), dtype=torch.uint8), torch.arange(48) % 4
    each = {
        "ours": Experiment("drg+dsr", **SMALL),
        "taught": Experiment("kd", **SMALL, teacher=TEACHER),
        "own": Experiment(Halved, **SMALL | {"data": ((x, y), (x, y)), "dataset": {}}),
        "diverges": Experiment(**SMALL | {"recipe": Recipe(epochs=2, lr=1e30, schedule="constant")}),
    }
    for e in (TEACHER, each["ours"], each["taught"], each["own"]):
        e.run(progress=False, threads=1)
    with pytest.raises(Diverged):
        each["diverges"].run(progress=False, threads=1)
    serial = {name: bits(e) for name, e in each.items()}
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path / "there"))
    with studies.on(workers, threads=1):
        done = run_all(each, progress=True, diverged=True)
        assert {name: bits(e) for name, e in each.items()} == serial
        assert {name: t.run.status for name, t in done.items()} == dict.fromkeys(each, "done") | {"diverges": "diverged"}
        assert done["own"].accuracy == pytest.approx(
            (done["own"].model(done["own"].images("test")[0]).argmax(1) == y).float().mean()
        )
        with pytest.raises(Diverged, match="no longer a number"):
            run_all([each["diverges"]], progress=False)
    assert {f.name for f in (workers.away / "runs").iterdir()} == {e.key for e in (TEACHER, *each.values())}


@pytest.mark.slow
def test_a_light_run_comes_back_without_weights_and_its_teacher_with_them(workers, home):
    e = Experiment("kd", **SMALL, teacher=TEACHER)
    with studies.on(workers, weights=False, threads=1):
        (light,) = run_all([e], progress=False)
        assert e.stored.is_light() and not TEACHER.stored.is_light()
        assert studies.result_of(e, "plan", ["right"])["accuracy.final"] == pytest.approx(light.accuracy)
        with pytest.raises(FileNotFoundError, match=r"came back from a cluster without its weights: .*weights=True"):
            _ = light.model
        run_all([TEACHER], progress=False)
        student = Experiment("kd", **SMALL, teacher=e.teacher, seed=1)
        TEACHER.stored.delete()
        run_all([replace(TEACHER)], progress=False)
        assert TEACHER.stored.is_light(), "nobody is taught by it"
        run_all([student], progress=False)
        assert student.stored.status == "done" and not TEACHER.stored.is_light(), "now somebody is"


def test_a_run_that_raises_is_warned_of_and_ends_no_other(workers, home):
    pair = [Experiment(Broken, **SMALL), Experiment(**SMALL)]
    with studies.on(workers, threads=1):
        with pytest.warns(UserWarning, match=r"Experiment\(method=Broken.* has no result: ZeroDivisionError: no term at all"):
            run_all(pair, progress=False, diverged=True)
        assert [e.stored.status for e in pair] == ["new", "done"]
        with pytest.raises(ZeroDivisionError, match="no term at all"):
            run_all(pair, progress=False)


@pytest.mark.slow
def test_a_plan_is_recorded_from_a_cluster(workers, home, tmp_path):
    (tmp_path / "two.json").write_text(json.dumps({"runs": [SMALL | {"seeds": [7, 8]}]}))
    said = []
    with studies.on(workers, weights=False, threads=1):
        report = studies.execute_plan(tmp_path / "two.json", say=said.append)
    assert len(report.recorded) == 2 and not report.missing and said[-1].startswith("2 recorded in")
    assert [r.status for r in studies.load_results("two")] == ["done", "done"]


@pytest.mark.slow
def test_where_the_folder_is_shared_runs_are_stored_there_alone(workers, home):
    e = Experiment(**SMALL, seed=3)
    with studies.on(workers, shared=True, threads=1):
        run_all([e], progress=False)
    assert e.stored.status == "done" and not e.stored.is_light() and not (workers.away / "runs" / e.key).exists()


@pytest.mark.slow
def test_images_travel_where_it_is_asked(workers, home, monkeypatch):
    """Here the digits are others than a worker's own."""
    e, whole = Experiment(**SMALL, seed=4), Experiment(**SMALL).load_data()
    monkeypatch.setattr(Experiment, "load_data", lambda self: replace(whole, test=take(whole.test, torch.arange(40))))
    for data, images in ((False, 797), (True, 40)):
        e.stored.delete()
        shutil.rmtree(workers.away / "runs" / e.key, ignore_errors=True)
        with studies.on(workers, threads=1, data=data):
            run_all([e], progress=False)
        assert len(e.stored.logits()) == images


@pytest.mark.slow
def test_images_that_stream_are_read_in_the_worker(workers, home):
    """By processes that it starts."""
    for split, kind, number in ((s, k, i) for s in ("train", "test") for k in ("dark", "light") for i in range(8)):
        folder = home / "data" / "mine" / split / kind
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (number + 100 * (kind == "light"),) * 3).save(folder / f"{number}.png")
    e = Experiment(data="image_folder", dataset={"folder": "mine", "size": 16}, network={"width": 4}, recipe="smoke")
    with studies.on(workers, threads=1):
        with pytest.raises(ValueError, match="the images in mine"):  # none are there
            run_all([e], progress=False)
        shutil.copytree(home / "data" / "mine", workers.away / "data" / "mine")
        run_all([e], progress=False)
    assert e.stored.status == "done"


# what is said of a mistake


def test_a_worker_with_another_sdkit_is_refused_and_both_are_named(workers, home, monkeypatch):
    monkeypatch.setattr(cluster, "code", lambda: "0.0.1 (abc)")
    with (
        studies.on(workers),
        pytest.raises(cluster.Unfit, match=r"has sdkit \d.* \(\w{12}\), the caller 0.0.1 \(abc\): install"),
    ):
        run_all([Experiment(**SMALL, seed=5)], progress=False)


def test_a_worker_trains_one_run_at_a_time(monkeypatch):
    monkeypatch.setattr(distributed, "get_worker", lambda: SimpleNamespace(state=SimpleNamespace(nthreads=2)))
    with pytest.raises(cluster.Unfit, match="--nthreads 1"):
        cluster._train(cluster.code(), {}, 1, b"", {})


@pytest.mark.parametrize(
    ("said", "error", "words"),
    [
        ("tcp://127.0.0.1:9", ConnectionError, "no scheduler answers at tcp://127.0.0.1:9: start one by `dask scheduler`"),
        ("local:0", ValueError, "a cluster is tcp://host:8786, local:4"),
        ("here", ValueError, "a cluster is tcp://host:8786, local:4"),
        (4, ValueError, "a cluster is tcp://host:8786, local:4"),
    ],
)
def test_what_is_no_cluster_is_one_sentence(said, error, words, monkeypatch):
    monkeypatch.setattr(cluster, "PATIENCE", 0.2)
    with pytest.raises(error, match=words), studies.on(said):
        pass


def test_without_dask_the_mend_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(RuntimeError, match=r"needs Dask.*pip install 'sdkit-workbook\[cluster\]'"), studies.on("local:2"):
        pass


def test_a_run_that_was_changed_on_its_way_is_not_stored(home):
    e = Experiment(**SMALL)
    e.run(progress=False)
    files, light = packed(e.stored), packed(e.stored, weights=False)
    e.stored.delete()
    for wrong in ({"weights.safetensors": files["weights.safetensors"] + b"x"}, {"../elsewhere.txt": b"x"}):
        with pytest.raises(Damaged, match=f"run {e.key} came back damaged"):
            store(e.stored, files | wrong)
    assert e.stored.status == "new" and not (home / "runs" / "elsewhere.txt").exists()
    changed = SimpleNamespace(status="finished", exception=lambda: None, result=lambda: files | wrong)
    assert isinstance(cluster._stored(e, changed, None), Damaged), "it ends no other run"
    store(e.stored, light)
    assert e.stored.is_light()
    e.stored.write_note("mine")
    store(e.stored, files)
    assert e.stored.note == "mine" and not e.stored.is_light(), "the weights came, and what a person wrote stayed"
    assert e.run(progress=False).model and e.stored.status == "done"


# Slurm


def test_the_example_in_the_docs_is_a_job_that_slurm_can_read(tmp_path, monkeypatch):
    """By a Slurm that only keeps what is submitted to it."""
    dask, _ = pytest.importorskip("dask"), pytest.importorskip("dask_jobqueue")
    page = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text(encoding="utf-8")
    said = yaml.safe_load(re.search(r"```yaml\n(.*?)```", page, re.S)[1])
    options = {f"jobqueue.slurm.{k}": v for k, v in said["jobqueue"]["slurm"].items()} | {
        "distributed.adaptive": said["distributed"]["adaptive"]
    }
    for name, does in {
        "sbatch": f"cp $1 {tmp_path}/job.sh; echo Submitted batch job 7",
        "scancel": f"echo $@ > {tmp_path}/ended",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)  # where its logs go
    with dask.config.set(options), studies.on("slurm:1") as client:
        until = time.monotonic() + 20
        while not (tmp_path / "job.sh").exists() and time.monotonic() < until:
            time.sleep(0.05)
        job, address = (tmp_path / "job.sh").read_text(), client.scheduler.address
    lines = job.splitlines()
    assert {"#SBATCH -p gpu", "#SBATCH -n 1", "#SBATCH --cpus-per-task=4", "#SBATCH --gres=gpu:1", "#SBATCH -t 04:00:00"} <= {
        *lines
    }
    assert "export SDKIT_HOME=$HOME/sdkit-worker" in lines
    assert f"{sys.executable} -m distributed.cli.dask_worker {address} " in lines[-1]
    assert "--nthreads 1 " in lines[-1] and "--resources GPU=1" in lines[-1] and "--lifetime 225m" in lines[-1]
    assert (tmp_path / "ended").read_text() == "7\n", "its jobs end with it"


# three machines


def begun(folder: Path, *command: str, **more) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    keep = os.environ | {"SDKIT_HOME": str(folder), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen([sys.executable, "-m", "dask", *command], cwd=folder, env=keep, stderr=subprocess.DEVNULL, **more)


@pytest.mark.slow
def test_24_runs_on_three_machines_of_which_one_dies_are_the_serial_ones(tmp_path, monkeypatch):
    recipe = Recipe(epochs=4, batch_size=32, lr=0.05, schedule="one cycle")
    each = [
        Experiment(m, data="digits", dataset={"train_size": 100}, network={"width": 4}, recipe=recipe, seed=s)
        for s in range(6)
        for m in ("vanilla", "drg", "dsr", "byot")
    ]
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path / "serial"))
    for e in each:
        e.run(progress=False, threads=1)
    serial = {e: bits(e) for e in each}
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path / "here"))
    at = tmp_path / "scheduler.json"
    all_ = [begun(tmp_path / "scheduler", "scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(at))]
    try:
        homes = [tmp_path / f"worker{n}" for n in range(3)]
        plain = ("worker", "--scheduler-file", str(at), "--nthreads", "1", "--no-nanny", "--no-dashboard")
        all_ += [begun(folder, *plain) for folder in homes]
        with distributed.Client(scheduler_file=str(at), timeout=60) as client:
            client.wait_for_workers(3, timeout=120)
            with studies.on(client, threads=1):
                away, ended = cluster.AWAY.get(), []
                for e, error in away(each):
                    assert error is None, error
                    ended.append(e)
                    if len(ended) == 3:  # in mid-run of its next one
                        half = half_done(homes[2], each)
                        all_[3].kill()
                        all_[3].wait()
        assert sorted(e.key for e in ended) == sorted(e.key for e in each), "each once"
        assert {e: bits(e) for e in each} == serial
        assert read_history(homes[2] / "runs" / half.key)["status"] == "training", "it died there, and was trained by another"
    finally:
        for one in reversed(all_):
            one.terminate()
        for one in all_:
            one.wait(30)


def half_done(home: Path, each: list[Experiment]) -> Experiment:
    """The run that a worker trains at this moment, some of its epochs behind it."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for e in each:
            said = read_history(home / "runs" / e.key)
            if said["status"] == "training" and 1 <= len(said["epochs"]) <= 2:
                return e
        time.sleep(0.01)
    raise AssertionError("the worker trains nothing")
