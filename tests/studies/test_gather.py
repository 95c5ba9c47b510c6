"""Sweeps read what is recorded of their runs, train the rest, and say which is which."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sdkit import Experiment, by_knob, runs, studies, sweep
from sdkit.experiment import Trained
from sdkit.runs import Damaged
from sdkit.studies import arrays

ROOT = Path(__file__).parents[2]
SMALL = {"train_size": 32, "validation": 40}
TINY = Experiment("drg", data="digits", dataset=SMALL, network={"width": 4}, recipe="smoke")


@pytest.fixture
def listed(tmp_path, monkeypatch):
    """Two runs of which the records alone are left, and one that was never trained."""
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    listed = sweep(TINY, alpha=[0.1, 0.2, 0.3])
    for e in listed[:2]:
        e.run(progress=False)
        studies.write_result(studies.result_of(e, "sweeps"), tmp_path / "data" / "records")
    shutil.rmtree(runs.root())
    return listed


def test_recorded_runs_are_read_and_the_rest_is_trained(listed, capsys):
    written = {e.key: studies.recorded(e) for e in listed}
    assert [written[e.key] is None for e in listed] == [False, False, True]
    found = studies.gather({"one": listed[0], "rest": listed[1:]}, progress=False)
    assert capsys.readouterr().out.startswith("2 of 3 runs are recorded (2 on CPU, ")
    assert [e.stored.status for e in listed] == ["new", "new", "done"]
    assert found["one"].accuracy == written[listed[0].key].history[-1].test["final"]
    assert found["one"].run.status == "done" and found["one"].setting.endswith(found["one"].judges)
    assert len(found["one"].watched) == 100 and len(found["one"].labels("train")) == 32, "data are at hand without weights"
    assert {*by_knob([found["one"], *found["rest"]], "alpha")} == {0.1, 0.2, 0.3}
    foreign = [t.summary.endswith(" s, recorded elsewhere") for t in (found["one"], *found["rest"])]
    assert foreign == [True, True, False], "another machine's seconds are said to be such"
    with pytest.raises(FileNotFoundError, match="no weights"):
        _ = found["one"].model


def test_what_would_be_trained_is_neither_stored_nor_recorded(listed):
    assert studies.to_train([*listed, *listed]) == [listed[2]]
    listed[2].run(progress=False)
    assert studies.to_train(listed) == []


def test_ones_own_run_stands_before_the_record_and_own_trains_it(listed, capsys):
    studies.gather(listed[:2], progress=False)
    assert "2 of 2 runs" in (said := capsys.readouterr().out) and "your own" not in said
    (mine,) = studies.gather(listed[:1], own=True, progress=False)
    assert listed[0].stored.status == "done" and mine.model is not None
    written = studies.recorded(listed[0]).history[-1].test["final"]
    assert mine.accuracy == pytest.approx(written, abs=1e-6), "the same code gives the same run; a record keeps 7 digits"
    (again,) = studies.gather(listed[:1], progress=False)
    assert not isinstance(again.run, studies.RecordedRun)


def test_a_record_that_was_changed_is_no_result(listed, tmp_path):
    path = tmp_path / "data" / "records" / "sweeps" / f"{listed[0].key}.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(Damaged):
        studies.gather(listed, progress=False)
    assert studies.recorded(replace(listed[0], seed=9)) is None


def test_a_record_holds_the_networks_analyses_and_its_weights_without_the_run(tmp_path, monkeypatch):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    monkeypatch.setattr(arrays, "IMAGES", 100)
    monkeypatch.setattr(arrays, "SIGMAS", {"absolute": (0, 0.02), "relative": (0, 0.1)})
    e = replace(TINY, method="byot", knobs={}, dataset=SMALL | {"train_size": 64})
    own = e.run(progress=False)
    path = studies.write_result(studies.result_of(e, "kept", [*arrays.ARRAYS, "weights"]), tmp_path / "data" / "records")
    made = {name: compute(own) for name, (compute, _) in arrays.ARRAYS.items() if name != "exits"}  # which are timed
    found = studies.read_result(path)
    shutil.rmtree(runs.root())
    for name, parts in made.items():
        again = found.analyses(name)
        for part, analysis in parts.items():
            assert type(again[part]) is type(analysis)
            for field, value in analysis._asdict().items():
                told = getattr(again[part], field)
                if isinstance(value, torch.Tensor):
                    assert torch.allclose(told, value.double(), rtol=1e-4, atol=1e-9, equal_nan=True), (name, part, field)
                else:
                    assert told == (pytest.approx(value, rel=1e-4) if isinstance(value, float) else value)
    assert found.analyses("exits")["final"].flops > 0 and len(found.analyses("planes")["labels"]) > 0
    (read,) = studies.gather([e], progress=False)
    assert torch.allclose(read.logits(), own.logits(), atol=0.05) and e.stored.status == "new"
    other = tmp_path / "data" / "records" / "earlier" / path.name  # of a plan that keeps less, and is read first
    other.parent.mkdir()
    studies.write_result(replace(found, plan="earlier", curves={}), tmp_path / "data" / "records")
    assert studies.recorded(e).curves.keys() == found.curves.keys() and studies.gather([e], progress=False)[0].model
    path.with_suffix(".safetensors").write_bytes(b"x" * 100)
    with pytest.raises(Damaged, match="not what was recorded"):
        _ = studies.gather([e], progress=False)[0].model


@pytest.mark.slow
def test_a_record_loads_its_network_once_and_each_curve_is_what_it_is_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    monkeypatch.setattr(arrays, "IMAGES", 100)
    monkeypatch.setattr(arrays, "SIGMAS", {"absolute": (0, 0.02), "relative": (0, 0.1)})
    monkeypatch.setattr(arrays, "project_tsne", arrays.project_pca)  # in a second less
    e = replace(TINY, method="byot+dsr", knobs={}, dataset=SMALL | {"train_size": 64})
    e.run(progress=False)
    alone = {name: arrays.kept(name, Trained(e)) for name in arrays.ARRAYS}
    done = []

    def counted(place, name):
        work = getattr(place, name)
        monkeypatch.setattr(place, name, lambda *given, **how: done.append(name) or work(*given, **how))

    counted(Trained, "_loaded"), counted(arrays, "collect_features")
    together = studies.result_of(e, "kept", [*arrays.ARRAYS, "ranked", "right"]).curves
    assert sorted(done) == ["_loaded", "collect_features"]
    for said in (*alone["exits"].values(), *together["exits"].values()):
        said.pop("seconds")
    assert {name: together[name] for name in alone} == alone


def test_weights_that_an_earlier_record_left_beside_are_replaced(tmp_path, monkeypatch):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    e = replace(TINY, dataset=SMALL)
    said = e.run(progress=False).logits()
    left = tmp_path / "data" / "records" / "kept" / f"{e.key}.safetensors"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"of another machine")
    studies.write_result(studies.result_of(e, "kept", ["weights"]))
    shutil.rmtree(runs.root())
    (read,) = studies.gather([e], progress=False)
    assert torch.allclose(read.logits(), said, atol=0.05) and read.top_accuracy(10) == 1


def test_the_gradients_of_a_method_that_wants_a_partner_for_each_image_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    e = Experiment("ddgsd", data="digits", dataset=SMALL | {"train_size": 64}, network={"width": 4}, recipe="smoke")
    found = arrays.kept("gradients", e.run(progress=False))
    assert min(found["end"]["magnitude"]) > 0


def test_the_small_runs_of_the_notebooks_are_kept_once_and_a_panels_run_is_not(tmp_path, monkeypatch, capsys):
    """Of two that are alike but for a knob turned by hand, the one that an experiment finds."""
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    spec = importlib.util.spec_from_file_location("keep_sweeps", ROOT / "benchmarks" / "keep_sweeps.py")
    keep = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(keep)
    e = replace(TINY, schedule={1: {"alpha": 0.9}})
    e.run(progress=False)
    shutil.copytree(e.stored.folder, runs.root() / f"{e.key}-live-1")
    monkeypatch.setattr(sys, "argv", ["keep_sweeps", "--out", str(tmp_path / "data" / "records")])
    keep.main()
    keep.main()
    assert re.findall(r"^(\d) runs kept", capsys.readouterr().out, re.M) == ["1", "0"]
    (kept,) = studies.load_results("sweeps")
    assert kept.key == e.key and [t["after"] for t in kept.changes] == [0.9] and kept.curves["right"]["images"] == 797
