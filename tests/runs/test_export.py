"""Runs for other programs, and the curves of trainings that were made elsewhere."""

from __future__ import annotations

import csv
import importlib.util
import sys

import pytest
from matplotlib.figure import Figure

from sdkit import cli, figures, runs
from sdkit.experiment import Experiment

SMALL = {"network": {"width": 4}, "data": "digits", "dataset": {"train_size": 64, "validation": 40}, "recipe": "smoke"}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    return tmp_path


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_csv_has_a_row_an_epoch_with_all_its_numbers_and_a_row_a_run_with_its_settings(home, capsys):
    first, second = (Experiment(m, **SMALL).run(progress=False) for m in ("vanilla", "drg"))
    cli.main(["export", "all", "--to", "csv", "--out", str(home / "out")])
    assert "2 runs written" in capsys.readouterr().out
    curves, settings = rows(home / "out" / "curves.csv"), rows(home / "out" / "runs.csv")
    drg = [row for row in curves if row["run"] == second.run.key]
    assert [int(row["epoch"]) for row in drg] == [1, 2] and len(curves) == 4
    for row, epoch in zip(drg, second.history, strict=True):
        assert float(row["accuracy.final"]) == epoch.accuracy["final"] and float(row["terms.rg"]) == epoch.terms["rg"]
        assert float(row["validation.final"]) == epoch.validation["final"] if epoch.validation else not row["validation.final"]
    said = {row["run"]: row for row in settings}
    assert said[second.run.key]["method"] == "drg" and float(said[second.run.key]["knobs.alpha"]) == 0.2
    assert float(said[first.run.key]["accuracy.final"]) == first.accuracy and said[first.run.key]["knobs.alpha"] == ""
    cli.main(["export", first.run.key[:5], "--out", str(home / "one")])
    assert {row["run"] for row in rows(home / "one" / "curves.csv")} == {first.run.key}


@pytest.mark.parametrize("kind", ["tensorboard", "wandb"])
def test_a_program_that_is_not_installed_is_named_with_the_mend(kind, monkeypatch):
    Experiment(**SMALL).run(progress=False)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(SystemExit, match=f"is not installed: `pip install {kind}` here, or take the same numbers by --to csv"):
        cli.main(["export", "all", "--to", {"wandb": "wandb-offline"}.get(kind, kind)])


@pytest.mark.skipif(not importlib.util.find_spec("tensorboard"), reason="tensorboard is not installed")
def test_tensorboard_reads_back_what_was_written(home):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    done = Experiment("drg", **SMALL).run(progress=False)
    for _ in range(2):  # a second export replaces the first
        (place,) = runs.to_tensorboard(runs.records(), home / "tb")
    found = EventAccumulator(str(place))
    found.Reload()
    read = [(event.step, event.value) for event in found.Scalars("accuracy/final")]
    assert read == [(e.epoch + 1, pytest.approx(e.accuracy["final"])) for e in done.history]
    assert found.Scalars("last/accuracy.final")[0].value == pytest.approx(done.accuracy)


@pytest.mark.skipif(not importlib.util.find_spec("wandb"), reason="wandb is not installed")
def test_wandb_writes_a_run_that_is_not_sent(home):
    done = Experiment("drg", **SMALL).run(progress=False)
    (place,) = runs.to_wandb(runs.records(), home / "wb")
    assert list(place.glob(f"run-{done.run.key}*.wandb")) and "offline" in place.name


def test_no_run_is_one_sentence():
    for arguments, sentence in (["export"], "say which runs"), (["export", "all"], "there is no run to export"):
        with pytest.raises(SystemExit, match=sentence):
            cli.main(arguments)


def test_a_training_made_elsewhere_is_drawn_beside_ones_own(tmp_path):
    (tmp_path / "theirs.csv").write_text("epoch,test_accuracy,lr\n2,0.5,0.1\n1,0.25,0.1\n")
    theirs = runs.read_curve(tmp_path / "theirs.csv")
    assert [(e.epoch, e.accuracy["final"], e.lr) for e in theirs] == [(0, 0.25, 0.1), (1, 0.5, 0.1)]
    own = Experiment(**SMALL).run(progress=False).history
    figure, ax = figures.new()
    figures.learning_curves({"theirs": theirs, "vanilla": own}, ax)
    line = next(line for line in ax.lines if line.get_label() == "theirs")
    assert isinstance(figure, Figure) and line.get_ydata() == pytest.approx([75, 50])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("epoch,accuracy\n1,0.5\n", "without test_accuracy"),
        ("", "without epoch"),
        ("epoch,test_accuracy\n1,93.1\n", "not percent"),
        ("epoch,test_accuracy\n1,\n", "not percent"),
        ("epoch,test_accuracy\nlast,0.5\n", "a whole number from 1"),
    ],
)
def test_a_curve_that_cannot_be_read_says_what_one_is(tmp_path, text, sentence):
    (tmp_path / "theirs.csv").write_text(text)
    with pytest.raises(ValueError, match=sentence):
        runs.read_curve(tmp_path / "theirs.csv")
