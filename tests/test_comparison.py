"""Records beside each other: what may stand in one table, when a gain is told from none, and how a paper's table differs."""

from __future__ import annotations

import json
import math
import re
import statistics

import numpy as np
import pytest
import torch
from scipy.stats import t as student

from sdkit import papers, record
from sdkit.analysis import calibration
from sdkit.comparison import Comparison, compared
from sdkit.experiment import Experiment
from sdkit.methods import METHODS as EVERY_METHOD
from sdkit.papers.printed import METHODS, printed
from sdkit.record import Recorded
from sdkit.train import Recipe

RECIPE = Recipe(epochs=2, batch_size=64, lr=0.1, schedule="one cycle")


def made(method="vanilla", seed=0, accuracy=0.5, seconds=10.0, curves=None, status="done", about=None, **said):
    """A record without a training."""
    said = {"model": "resnet20", "data": "cifar100", "recipe": RECIPE, "dataset": {"train_size": 5000}} | said
    e = Experiment(method=method, seed=seed, **said)
    epochs = {"epoch": [1, 2], "lr": [0.1, 0.1], "seconds": [seconds, seconds], "train_accuracy": [0.1, 0.2]}
    epochs |= {"loss": [3.0, 2.0], "terms.task": [3.0, 2.0], "accuracy.final": [accuracy + 0.1, accuracy]}
    where = {"device": "CPU, 2 threads", "steps per epoch": 10, "test images": 10_000, "steps": "eager"}
    return Recorded("cpu", e.key, status, e.asked, where | (about or {}), epochs, [], curves or {})


def four():
    return [made(accuracy=0.50), made(seed=1, accuracy=0.52), made("drg", accuracy=0.55), made("drg", seed=1, accuracy=0.56)]


def test_a_gain_and_its_margin_are_those_of_a_textbook():
    (table,) = compared(four())
    vanilla, drg = table.rows
    spread = math.sqrt((0.01**2 + 0.01**2 + 0.005**2 + 0.005**2) / 2)  # two seeds a method: two degrees of freedom
    images = (0.51 * 0.49 + 0.555 * 0.445) / 10_000
    assert table.spread == pytest.approx(spread) and math.isnan(vanilla.gain) and vanilla.told is None
    assert drg.gain == pytest.approx(0.045)
    freedom = (spread**2 + images) ** 2 / (spread**4 / 2)  # Satterthwaite 1946, the images' part without an error
    assert drg.margin == pytest.approx(student.ppf(0.975, freedom) * math.sqrt(spread**2 + images))
    assert drg.told and (drg.mean, drg.sd) == (pytest.approx(0.555), pytest.approx(statistics.stdev([0.55, 0.56])))
    assert table.tellable(2) == pytest.approx(
        4.3027 * spread, rel=1e-4
    )  # Student's t for two degrees, 97.5 %, as tables print it
    assert table.tellable(10) == pytest.approx(2.1009 * spread * math.sqrt(0.2), rel=1e-4)  # 18 degrees
    with pytest.raises(ValueError, match="a spread over seeds needs two and more, got 1"):
        table.tellable(1)


def test_a_gain_far_outside_its_margin_is_told_and_one_seed_tells_nothing():
    told = [made("drg", s, 0.8 + s / 100) for s in (0, 1)] + [made("lsr", s, 0.2 + s / 100) for s in (0, 1)]
    (table,) = compared([*four()[:2], *told])
    assert [row.told for row in table.rows] == [None, True, False]
    (single,) = compared([made(), made("drg", accuracy=0.9)])
    assert single.rows[1].gain == pytest.approx(0.4) and single.rows[1].told is None and math.isnan(single.rows[1].margin)


def test_of_twenty_methods_that_change_nothing_one_is_told_apart_at_most():
    """Seeds drawn anew each time, and for each method how hard its test images are."""
    draw, alarms = np.random.default_rng(0), 0
    for _ in range(400):
        seen = 0.5 + draw.normal(0, 0.005, (4, 1)) + draw.normal(0, 0.01, (4, 2))
        table = Comparison({m: [made(m, s, a) for s, a in enumerate(seen[i])] for i, m in enumerate(NOTHING)})
        alarms += table.rows[1].told is not None
    assert 8 <= alarms <= 32  # 20 expected


NOTHING = ("vanilla", "drg", "dsr", "lsr")


def test_what_differs_never_stands_in_one_table_and_what_is_one_is_not_counted_twice():
    other = [made(data="cifar10"), made(recipe="lab"), made(model="resnet32"), made(dataset={}), made(about={"device": "H100"})]
    tables = compared([*four(), *four(), *other])
    assert [len(t.records) for t in tables] == [4, 1, 1, 1, 1, 1]
    assert tables[0].label == "recorded, on CPU, 2 threads, recipe own, 2 seeds"
    assert [row.seeds for row in tables[0].rows] == [2, 2]
    assert tables[0].setting == (
        "resnet20 on cifar100 (train_size=5000), 2 epochs, batches of 64, learning rate 0.1, one cycle"
    )


def test_runs_of_a_method_that_differ_in_a_knob_are_rows_of_their_own():
    records = [*four(), made("drg", knobs={"alpha": 0.7}), made("self-guidance", network={"survival": 0.5})]
    (table,) = compared(records)
    assert list(table.groups) == ["vanilla", "drg, alpha=0.2", "drg, alpha=0.7", "self-guidance, survival=0.5"]
    assert [row.seeds for row in table.rows] == [2, 2, 1, 1]
    assert math.isfinite(table.rows[3].gain) and table.label.endswith("1 to 2 seeds")


def test_a_method_on_another_network_has_no_gain_over_plain_training_of_this_one():
    small, wide = ({"model": "four-stage", "network": {"width": w}} for w in (4, 8))
    (table,) = compared([made(**small), made("drg", **small), made("drg", **wide)])
    assert [math.isfinite(row.gain) for row in table.rows] == [False, True, False]


def test_a_method_whose_every_seed_diverged_has_no_accuracy_and_no_gain():
    (table,) = compared([*four()[:2], made("drg", status="diverged")])
    row = table.rows[1]
    assert (row.accuracy, row.seeds, row.diverged, row.told) == ([], 0, 1, None)
    assert all(map(math.isnan, (row.mean, row.sd, row.gain, row.margin, row.step, row.pace)))


def test_time_is_the_median_step_beside_plain_training_that_ran_the_same_way():
    (table,) = compared([made(seconds=10), made("drg", seconds=13), made("lsr", about={"steps": "graphed"})])
    vanilla, drg, lsr = table.rows
    assert (vanilla.step, drg.pace) == (1.0, pytest.approx(1.3)) and math.isnan(lsr.pace) and lsr.step == 1.0
    (table,) = compared([made(), made("drg", about={"ended on": "another"})])
    assert math.isnan(table.rows[1].step) and math.isnan(table.rows[1].pace)


def test_curves_are_those_of_the_seeds_that_ended_well():
    curves = {"ranked": {"epoch": [1, 2], "variance": {"logits": [0.3, None]}, "pearson": {"logits": -0.5}}}
    records = [made(curves=curves), made(seed=1, accuracy=0.3), made(seed=2, status="diverged")]
    (table,) = compared(records)
    assert table.curves() == {"vanilla": ([1, 2], [[0.6, 0.5], [0.4, 0.3]])}
    (band,) = table.curves("ranked.logits").values()
    assert band.seeds[0][0] == 0.3 and math.isnan(band.seeds[0][1]) and table.correlation("logits") == {"vanilla": -0.5}
    assert table.rows[0].seeds == 2 and table.rows[0].diverged == 1 and table.curves("validation.final") == {}


def test_the_calibration_of_several_seeds_is_that_of_all_their_images():
    generator = torch.Generator().manual_seed(0)
    logits, y = 3 * torch.randn(2, 300, 5, generator=generator), torch.randint(5, (300,), generator=generator)
    each = [calibration(z, y) for z in logits]
    kept = [{k: v.tolist() if isinstance(v, torch.Tensor) else v for k, v in c._asdict().items()} for c in each]
    (table,) = compared([made(seed=s, curves={"calibration": k}) for s, k in enumerate(kept)])
    (ours,) = table.calibrations().values()
    both = calibration(logits.flatten(0, 1), y.repeat(2))
    for name in ("confidence", "accuracy", "count"):
        assert torch.allclose(getattr(ours, name), getattr(both, name), equal_nan=True)
    assert ours.ece == pytest.approx((each[0].ece + each[1].ece) / 2)


def test_trainings_just_recorded_make_a_table_with_their_label(tmp_path, monkeypatch):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    small = {"model": "four-stage", "network": {"width": 4}, "data": "digits", "dataset": {"train_size": 64}, "recipe": "smoke"}
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps({"runs": [small | {"methods": ["vanilla", "drg"], "seeds": [0, 1]}]}))
    record.record(path, out=tmp_path, say=lambda words: None)
    records = record.load("tiny", tmp_path)
    (table,) = compared(records)
    assert re.fullmatch(r"recorded, on CPU, \d+ threads?, recipe smoke, 2 seeds", table.label)
    assert [row.name for row in table.rows] == ["vanilla", "drg"] and table.rows[1].step > 0
    for row in table.rows:
        values = [r["accuracy.final"] for r in records if r["method"] == row.method]
        assert (row.mean, row.sd) == (pytest.approx(statistics.mean(values)), pytest.approx(statistics.stdev(values)))


# beside the papers


def test_gains_of_the_papers_are_those_that_their_tables_hold():
    rows = papers.table("drg_dsr_table1")
    for p in printed("cifar100", "drg_dsr"):
        for r in rows:
            if r["model"] == p.network and r["delta_recomputed"] is not None:
                gain = p.gain[METHODS["drg_dsr_table1"][r["method"]]]
                assert 100 * gain == pytest.approx(float(r["delta_recomputed"]), abs=1e-6)
    (sd,) = [p for p in printed("cifar100", "ddgsd") if p.network == "ResNet-32"]
    assert sd.accuracy == pytest.approx({"vanilla": 0.6899, "ddgsd": 0.7178})  # printed as errors: 31.01 and 28.22


def test_every_method_of_the_papers_tables_is_one_that_sdkit_has():
    assert {part for names in METHODS.values() for m in names.values() for part in m.split("+")} <= set(EVERY_METHOD)
    for name, names in METHODS.items():
        of_paper = {r["method"] for other in METHODS if other[:4] == name[:4] for r in papers.table(other)}
        assert names.keys() <= of_paper
    with pytest.raises(KeyError, match="no paper is called 'drg': did you mean"):
        printed("cifar100", "drg")


def test_a_table_beside_a_paper_says_what_differs():
    (table,) = compared([*four(), made("ddgsd")])
    found = {p.paper: p for p in table.printed()}
    assert {n: p.network for n, p in found.items()} == {"ddgsd": "ResNet-32", "drg_dsr": "ResNet18"}
    assert table.differences(found["drg_dsr"]) == [
        ("network", "resnet20", "ResNet18"),
        ("training images", "5,000 of them", "all"),
        ("epochs", "2", "200"),
        ("batch size", "64", "128"),
        ("learning rate", "0.1, one cycle", "0.1, times 0.2 after 60, 120, 160 epochs"),
    ]
    (same,) = compared([made(model="resnet18", recipe="paper", dataset={}), made("drg", model="resnet18", recipe="paper")])[:1]
    assert same.differences(found["drg_dsr"]) == []
