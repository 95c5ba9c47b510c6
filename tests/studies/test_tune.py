"""Equal tuning: as many tries for each method, chosen on images that neither train nor test."""

from __future__ import annotations

import pytest

from sdkit import runs
from sdkit.experiment import Experiment
from sdkit.methods import METHODS
from sdkit.studies import tune
from sdkit.studies.tune import EqualTuning, Try, Tuned, moved, settings
from sdkit.train import Recipe

TINY = {
    "network": {"width": 4}, "data": "digits", "dataset": {"train_size": 96},
    "recipe": Recipe(epochs=1, batch_size=32, lr=0.05),
}  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_every_method_declares_its_main_weight_first(name):
    """Its knob moves the loss (`test_methods` asks that of all knobs); there is none where there is nothing to weigh."""
    knobs = METHODS[name].knobs
    assert bool(knobs) == (name not in ("vanilla", "dsn"))
    assert next(iter(knobs), "") not in ("temperature", "gamma", "power", "wrong") or name == "hot"


def test_tries_lie_alike_around_every_papers_weight():
    """A weight in half powers of ten, a share in those of its odds; the paper's first, and all of one number."""
    teacher = Experiment()
    assert [t["beta"] for t in settings(Experiment("at", teacher=teacher), 5)] == pytest.approx(
        [1000, 316.2, 3162, 100, 1e4], 1e-3
    )
    shares = [t["alpha"] for t in settings(Experiment("kd", knobs={"alpha": 0.2}, teacher=teacher), 3)]
    assert [s / (1 - s) for s in shares] == pytest.approx([0.25, 0.25 / 10**0.5, 0.25 * 10**0.5])
    both = settings(Experiment("drg+dsr"), 3)
    assert [t["dsr.beta"] for t in both] == pytest.approx([1, 10**-0.5, 10**0.5]) and len({t["drg.alpha"] for t in both}) == 3
    assert settings(Experiment(), 5) == [{}]
    alone = settings(Experiment("label-refinery", teacher=teacher), 4)
    assert alone[0] == {"alpha": 1} and all(0 < t["alpha"] < 1 for t in alone[1:]), "a share at its end has tries inside"


def test_no_try_leaves_the_range_of_its_knob():
    for kind in METHODS.values():
        for name, knob in list(kind.knobs.items())[:1]:
            for value in (knob.low, knob.high):
                assert [knob.check(name, moved(knob, value, step)) for step in (-3, -1, 1, 3)]


def test_the_best_on_validation_images_is_what_is_tested_and_a_second_call_trains_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    rows = {"vanilla": Experiment(**TINY), "kd": Experiment("kd", teacher=Experiment(**TINY), **TINY)}
    found = tune(rows, tries=2, validation=40, jobs=1, progress=False)
    kd = found.rows["kd"]
    best = max(kd.tries, key=lambda t: t.validation[0])
    assert kd.chosen is best and [len(row.tries) for row in found.rows.values()] == [1, 2]
    trained = {run.config["knobs"].get("alpha", "") for run in runs.all_runs() if run.config["dataset"]["validation"] == 40}
    assert trained == {"", *(t.knobs["alpha"] for t in kd.tries)}, "the teacher, and two tries"
    last = Experiment("kd", teacher=Experiment(**TINY), knobs=kd.chosen.knobs, **TINY).stored
    assert last.status == "done" and kd.tuned == [last.history()[-1].test["final"]], "on all training images"
    assert found.rows["vanilla"].paper == found.rows["vanilla"].tuned == [Experiment(**TINY).stored.history()[-1].test["final"]]
    monkeypatch.setattr(Experiment, "run", lambda *_, **__: pytest.fail("what is stored is not trained again"))
    assert tune(rows, tries=2, validation=40, jobs=1, progress=False) == found


def test_the_table_says_both_columns():
    tries = [Try({"beta": 1000.0}, [0.5]), Try({"beta": 100.0}, [0.7])]
    said = str(EqualTuning({"at": Tuned(tries, tries[1], [0.5, 0.52], [0.71, 0.69])}, 2)).splitlines()
    assert "paper's knobs" in said[0] and "tuned alike, 2 tries" in said[0]
    assert said[1].split() == ["at", "51.0", "±", "1.4", "%", "70.0", "±", "1.4", "%", "beta", "100"]


@pytest.mark.parametrize("wrong", [{"tries": 1}, {"seeds": []}, {"validation": 0}])
def test_what_chooses_nothing_is_refused(wrong):
    with pytest.raises(ValueError, match="two tries and more, a seed and an image to choose by"):
        tune({"vanilla": Experiment()}, **wrong)


def test_a_method_whose_teacher_diverges_stands_at_nothing_beside_the_others(tmp_path, monkeypatch):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    lost = Recipe(epochs=2, batch_size=8, lr=1e9, schedule="constant")
    rows = {"vanilla": Experiment(**TINY), "kd": Experiment("kd", teacher=Experiment(**TINY | {"recipe": lost}), **TINY)}
    found = tune(rows, tries=2, validation=40, jobs=1, progress=False)
    assert found.rows["kd"].paper == found.rows["kd"].tuned == [0.0] and found.rows["vanilla"].paper[0] > 0
    vanilla, kd = str(found).splitlines()[1:]
    assert "diverged" not in vanilla and kd.endswith("(the paper's), 3 diverged, counted as 0"), "two tries, and the paper's"
