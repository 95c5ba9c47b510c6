"""Records beside each other: what may stand in one table, when a gain is told from none, and how a paper's table differs."""

from __future__ import annotations

import json
import math
import re
import statistics
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import t as student
from scipy.stats import ttest_rel

from sdkit import figures, papers, studies
from sdkit.analysis import calibration
from sdkit.experiment import Experiment
from sdkit.methods import METHODS as EVERY_METHOD
from sdkit.papers.printed import METHODS, printed
from sdkit.studies import Result
from sdkit.studies.compare import Comparison, compared, one_length
from sdkit.studies.gains import Gain, images_part, judged, spread
from sdkit.studies.lengths import WORDS, ByLength, by_length
from sdkit.train import RECIPES, Recipe

RECIPE = Recipe(epochs=2, batch_size=64, lr=0.1, schedule="one cycle")


def made(method="vanilla", seed=0, accuracy=0.5, seconds=10.0, curves=None, status="done", environment=None, **said):
    """A record without a training."""
    said = {"model": "resnet20", "data": "cifar100", "recipe": RECIPE, "dataset": {"train_size": 5000}} | said
    e = Experiment(method=method, seed=seed, **said)
    epochs = {"epoch": [1, 2], "lr": [0.1, 0.1], "seconds": [seconds, seconds], "train_accuracy": [0.1, 0.2]}
    epochs |= {"loss": [3.0, 2.0], "terms.task": [3.0, 2.0], "accuracy.final": [accuracy + 0.1, accuracy]}
    where = {"device": "CPU, 2 threads", "steps per epoch": 10, "test images": 10_000, "steps": "eager"}
    return Result("cpu", e.key, status, e.config, where | (environment or {}), epochs, [], curves or {})


def four():
    return [made(accuracy=0.50), made(seed=1, accuracy=0.52), made("drg", accuracy=0.55), made("drg", seed=1, accuracy=0.56)]


def test_what_is_recorded_of_some_methods_on_a_data_set_is_found_whatever_plan_asked_for_it(tmp_path, monkeypatch):
    """Plain training beside each; a network of which plain training alone is recorded has no table, nor has other data."""
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    noise = {"noise": {"absolute": {"sigma": [0.0], "accuracy": [[0.9]], "loss": [[0.5]], "relative": False}}}
    alone = [made(model="resnet32"), made(data="digits", dataset={}), made("drg", data="digits", dataset={})]
    other = made("drg", seed=1, accuracy=0.56, curves=noise)
    trained_by = dict.fromkeys(("sdkit", "torch", "machine", "source"), "x")
    for r in [*four()[:3], made("lsr"), *alone, replace(other, plan="another")]:
        studies.write_result(replace(r, environment=r.environment | trained_by))
    (table,) = [c for c in studies.recorded_on("cifar100", ["drg"]) if c.records[0]["recipe.epochs"] == RECIPE.epochs]
    assert {name: len(group) for name, group in table.groups.items()} == {"vanilla": 2, "drg": 2}
    assert table.records[0]["model"] == "resnet20"
    assert table.analyses("noise")["drg"]["absolute"].accuracy.tolist() == [[0.9]] and "vanilla" not in table.analyses("noise")


def test_a_gain_and_its_margin_are_those_of_a_textbook():
    """Gains of 5 and 4 points at two seeds: paired differences, one degree of freedom, and the images of either side."""
    (table,) = compared(four())
    vanilla, drg = table.rows
    moved = math.sqrt((0.01**2 + 0.01**2 + 0.005**2 + 0.005**2) / 2)  # accuracies of two seeds a method
    images = (0.51 * 0.49 + 0.555 * 0.445) / 10_000
    seeds = statistics.variance([0.05, 0.04]) / 2
    assert table.spread == pytest.approx(moved) and math.isnan(vanilla.gain) and vanilla.told is None
    assert drg.gain == pytest.approx(0.045) and (drg.above.of_seeds, drg.above.of_images) == pytest.approx((seeds, images))
    freedom = ((seeds + images) / seeds) ** 2  # Satterthwaite 1946, the images' part without an error
    assert drg.margin == pytest.approx(student.ppf(0.975, freedom) * math.sqrt(seeds + images))
    assert drg.told and (drg.mean, drg.sd) == (pytest.approx(0.555), pytest.approx(statistics.stdev([0.55, 0.56])))
    assert table.tellable(2) == pytest.approx(12.7062 * math.sqrt(seeds), rel=1e-4)  # Student's t for one degree, 97.5 %
    assert table.tellable(10) == pytest.approx(2.2622 * math.sqrt(2 * seeds / 10), rel=1e-4)  # nine degrees
    with pytest.raises(ValueError, match="a spread over seeds needs two and more, got 1"):
        table.tellable(1)


def test_a_paired_gain_is_scipys_where_the_test_images_are_many():
    draw = np.random.default_rng(1)
    ours, theirs = draw.normal(0.56, 0.01, 6), draw.normal(0.55, 0.01, 6)
    many = {"environment": {"test images": 10**12}}
    (table,) = compared([made(m, s, a, **many) for m, v in (("vanilla", theirs), ("drg", ours)) for s, a in enumerate(v)])
    textbook, gain = ttest_rel(ours, theirs), table.gains["drg"]
    assert gain.p == pytest.approx(textbook.pvalue, rel=1e-4)
    low, high = textbook.confidence_interval(0.95)
    assert (gain.mean - gain.margin, gain.mean + gain.margin) == pytest.approx((low, high), rel=1e-4)


def test_several_gains_of_one_picture_are_judged_as_holms_procedure_does():
    from statsmodels.stats.multitest import multipletests  # seconds, which every process would spend on collecting

    draw = np.random.default_rng(2)
    for _ in range(20):
        gains = {i: gain(draw.normal(0.01, 0.01, 5)) for i in range(6)}
        reject = multipletests([g.p for g in gains.values()], 0.05, method="holm")[0]
        assert [g.told is not None for g in judged(gains).values()] == list(reject)


def test_a_method_that_moves_far_more_than_the_others_has_a_spread_of_its_own():
    many = {"environment": {"test images": 10**12}}
    moved = {"vanilla": 0.001, "drg": 0.001, "dsr": 0.0012, "lsr": 0.0009, "byot": 0.03}
    order = {m: np.random.default_rng(i).permutation(6) - 2.5 for i, m in enumerate(moved)}
    (table,) = compared([made(m, s, 0.5 + moved[m] * order[m][s], **many) for m in moved for s in range(6)])
    wild = table.gains["byot"]
    assert wild.of_seeds == pytest.approx(statistics.variance(wild.seeds.values()) / 6) and wild.freedom == 5
    calm = [table.gains[m] for m in ("drg", "dsr", "lsr")]
    pooled = statistics.mean(statistics.variance(g.seeds.values()) for g in calm) / 6
    assert all(g.of_seeds == pytest.approx(pooled) and 5 < g.freedom < 15 for g in calm)


def test_what_a_seed_does_in_a_table_is_not_told_by_a_method_that_moves_far_more():
    many = {"environment": {"test images": 10**12}}
    order = {m: np.random.default_rng(i).permutation(6) - 2.5 for i, m in enumerate(("vanilla", "drg", "dsr", "lsr", "byot"))}
    records = [made(m, s, 0.5 + (0.03 if m == "byot" else 0.001) * order[m][s], **many) for m in order for s in range(6)]
    (table,), (calm,) = compared(records), compared([r for r in records if r["method"] != "byot"])
    assert table.spread == pytest.approx(calm.spread) == pytest.approx(statistics.stdev(0.001 * order["drg"]))
    gains = statistics.mean(statistics.variance(calm.gains[m].seeds.values()) for m in ("drg", "dsr", "lsr"))
    freedom = 4 * 4 * (10 - 1) / (4 + 3)  # four methods beside one plain training
    assert table.tellable(10) == pytest.approx(student.ppf(0.975, freedom) * math.sqrt(gains / 10), rel=1e-4)
    assert "all methods of a length but those that clearly move more" in by_length(records)[0].margins


def gain(seeds, images=1e-12):
    return Gain(dict(enumerate(seeds)), statistics.variance(seeds) / len(seeds), images, len(seeds) - 1.0)


def test_what_cannot_be_told_says_how_many_more_seeds_would_tell_as_much():
    """By brute force: the same mean and spread with more seeds, until the interval leaves none out."""
    unsure = judged({"drg": gain([0.03, -0.01, 0.02])})["drg"]
    n = next(n for n in range(2, 100) if student.ppf(0.975, n - 1) * math.sqrt(unsure.of_seeds * 3 / n) < unsure.mean)
    assert unsure.told is None and unsure.needed == n
    assert unsure.verdict == f"no: {n - 3} more seed{'s' if n - 3 > 1 else ''} would tell as much"
    hopeless = judged({"drg": gain([0.03, -0.01, 0.02], images=1e-4)})["drg"]
    assert hopeless.needed == math.inf and hopeless.verdict == "no: not by a hundred seeds either"


def test_the_images_part_is_what_is_left_when_seeds_err_on_images_of_their_own():
    """Variance components of seeds by images, as a two-way table without replication has them: NumPy, spelled out."""
    draw = np.random.default_rng(3)
    right = draw.random((2, 4, 200)) < np.array([0.7, 0.6])[:, None, None]
    environment = {"environment": {"test images": 200}}
    pairs = {
        s: tuple(
            made(m, s, r.mean(), curves=answers(r), **environment) for m, r in (("drg", right[0, s]), ("vanilla", right[1, s]))
        )
        for s in range(4)
    }
    table = right[0].astype(float) - right[1]
    row, column, whole = table.mean(1), table.mean(0), table.mean()
    between = 4 * sum((c - whole) ** 2 for c in column) / 199
    rest = sum((table[i, j] - row[i] - column[j] + whole) ** 2 for i in range(4) for j in range(200)) / (3 * 199)
    want = max((between - rest) / 4, 1 / 200) / 200
    assert images_part(list(pairs.values())) == pytest.approx(want)
    assert images_part([pairs[0]]) == pytest.approx(np.var(table[0], ddof=1) / 200)  # one seed says nothing of seeds


def test_a_gain_far_outside_its_margin_is_told_and_one_seed_tells_nothing():
    told = [made("drg", s, 0.8 + s / 100) for s in (0, 1)] + [made("lsr", s, 0.2 + s / 100) for s in (0, 1)]
    (table,) = compared([*four()[:2], *told])
    assert [row.told for row in table.rows] == [None, True, False]
    (single,) = compared([made(), made("drg", accuracy=0.9)])
    assert single.rows[1].gain == pytest.approx(0.4) and single.rows[1].told is None and math.isnan(single.rows[1].margin)


def test_of_twenty_tables_in_which_no_method_changes_anything_one_shows_a_gain_at_most():
    """Seeds drawn anew each time, and for each method how hard its test images are."""
    draw, alarms, alone = np.random.default_rng(0), 0, 0
    for _ in range(400):
        seen = 0.5 + draw.normal(0, 0.005, (4, 1)) + draw.normal(0, 0.01, (4, 3))
        table = Comparison({m: [made(m, s, a) for s, a in enumerate(seen[i])] for i, m in enumerate(NOTHING)})
        alarms += any(row.told is not None for row in table.rows)
        alone += abs(table.rows[1].gain) > table.rows[1].margin
    assert 4 <= alarms <= 32 and 8 <= alone <= 32  # 20 expected at most, and 20


NOTHING = ("vanilla", "drg", "dsr", "lsr")


def test_what_differs_never_stands_in_one_table_and_what_is_one_is_not_counted_twice():
    other = [
        made(data="cifar10"),
        made(recipe="lab"),
        made(model="resnet32"),
        made(dataset={}),
        made(environment={"device": "H100"}),
    ]
    tables = compared([*four(), *four(), *other])
    assert [len(t.records) for t in tables] == [4, 1, 1, 1, 1, 1]
    assert tables[0].label == "recorded, on CPU, 2 threads, recipe own, plan cpu, 2 seeds"
    assert [row.seeds for row in tables[0].rows] == [2, 2]
    assert tables[0].setting == (
        "resnet20 on cifar100 (train_size=5000), 2 epochs, batches of 64, learning rate 0.1, one cycle"
    )


def test_tables_of_two_plans_that_are_alike_in_all_else_say_which_plan_each_is_of():
    def of(plan):
        return [replace(r, plan=plan) for r in four()]

    words = [compared(of(plan))[0].label for plan in ("length", "methods")]
    assert words == [f"recorded, on CPU, 2 threads, recipe own, plan {plan}, 2 seeds" for plan in ("length", "methods")]
    (both,) = compared([*of("length")[:2], *of("methods")[2:]])
    assert both.label == "recorded, on CPU, 2 threads, recipe own, plans length and methods, 2 seeds"


def test_runs_of_a_method_that_differ_in_a_knob_are_rows_of_their_own():
    records = [*four(), made("drg", knobs={"alpha": 0.7}), made("self-guidance", network={"survival": 0.5})]
    (table,) = compared(records)
    assert list(table.groups) == ["vanilla", "drg, alpha=0.2", "drg, alpha=0.7", "self-guidance, survival=0.5"]
    assert [row.seeds for row in table.rows] == [2, 2, 1, 1]
    assert math.isfinite(table.rows[3].gain) and table.label.endswith("1 to 2 seeds")


def test_two_states_of_an_own_method_are_rows_that_their_digests_tell_apart():
    def mine(digest):
        r = made("drg", accuracy=0.6)
        return replace(r, key=digest, config=r.config | {"method": f"Mine@{digest}"})

    (table,) = compared([*four()[:2], mine("3f2a91c0"), mine("77d0aa01")])
    assert [figures.label(name) for name in table.groups] == ["vanilla", "Mine, source 3f2a", "Mine, source 77d0"]
    (table,) = compared([*four()[:2], mine("3f2a91c0")])
    assert [figures.label(name) for name in table.groups] == ["vanilla", "Mine"]


def test_a_method_on_another_network_has_no_gain_over_plain_training_of_this_one():
    small, wide = ({"model": "four-stage", "network": {"width": w}} for w in (4, 8))
    (table,) = compared([made(**small), made("drg", **small), made("drg", **wide)])
    assert [math.isfinite(row.gain) for row in table.rows] == [False, True, False]


def test_a_method_whose_every_seed_diverged_has_no_accuracy_and_no_gain():
    (table,) = compared([*four()[:2], made("drg", status="diverged")])
    row = table.rows[1]
    assert (row.accuracy, row.seeds, row.diverged, row.told) == ([], 0, 1, None)
    assert all(map(math.isnan, (row.mean, row.sd, row.gain, row.margin, row.step, row.pace)))


def test_a_teacher_of_each_seed_s_own_leaves_its_students_one_row():
    teacher = made().config
    taught = [made("kd", s, 0.6, teacher=Experiment.of(teacher | {"seed": s})) for s in range(2)]
    (table,) = compared([*four(), *taught])
    assert [(row.name, row.seeds) for row in table.rows] == [("vanilla", 2), ("drg", 2), ("kd", 2)]
    assert by_length([*four(), *taught])[0].gains["kd"][0].seeds.keys() == {0, 1}
    both = [*taught, made("kd", 1, 0.7, teacher=Experiment.of(teacher))]
    assert sorted(row.seeds for row in compared(both)[0].rows) == [1, 2], "a seed that learned from either teacher"
    assert [len(c.records) for c in compared(both)] == [3], "and no run is lost"


def test_records_of_a_folder_of_images_that_has_changed_stand_in_tables_of_their_own():
    changed = [replace(r, config=r.config | {"content": c}) for c in "ab" for r in four()]
    assert [[row.seeds for row in c.rows] for c in compared(changed)] == [[2, 2], [2, 2]]


def test_time_is_the_median_step_beside_plain_training_that_ran_the_same_way():
    (table,) = compared([made(seconds=10), made("drg", seconds=13), made("lsr", environment={"steps": "graphed"})])
    vanilla, drg, lsr = table.rows
    assert (vanilla.step, drg.pace) == (1.0, pytest.approx(1.3)) and math.isnan(lsr.pace) and lsr.step == 1.0
    (table,) = compared([made(), made("drg", environment={"ended on": "another"})])
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
    studies.execute_plan(path, out=tmp_path, say=lambda words: None)
    records = studies.load_results("tiny", tmp_path)
    (table,) = compared(records)
    assert re.fullmatch(r"recorded, on CPU, \d+ threads?, recipe smoke, plan tiny, 2 seeds", table.label)
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
        ("nesterov", "yes", "no"),
    ]
    (same,) = compared([made(model="resnet18", recipe="paper", dataset={}), made("drg", model="resnet18", recipe="paper")])[:1]
    assert same.differences(found["drg_dsr"]) == []
    apart = made(
        "drg", model="resnet18", recipe=Recipe(nesterov=False, momentum=0.8), knobs={"alpha": 0.5},
        network={"stem": "imagenet"}, dataset={"cutout": 16, "mixup": 0.2, "norm": "legacy", "distort": ["colour"]},
    )  # fmt: skip
    (other,) = compared([apart])
    assert other.differences(found["drg_dsr"]) == [
        ("momentum", "0.8", "0.9"),
        ("norm", "legacy", "none"),
        ("distortions", "['colour']", "none"),
        ("Cutout", "16", "0"),
        ("mixup", "0.2", "0"),
        ("stem", "imagenet", "cifar"),
        ("drg: alpha", "0.5", "0.2"),
    ]


def test_images_size_is_among_the_differences_and_what_no_paper_states_is_said():
    (small,) = compared([made(model="resnet18", data="tiny_imagenet", recipe="tiny-imagenet", dataset={"size": 64})])
    paper = next(p for p in printed("tiny_imagenet") if (p.name, p.network) == ("drg_dsr_table2", "ResNet18"))
    assert small.differences(paper) == [("image size", "64", "32")]
    (byot,) = compared([made(model="resnet18", recipe="byot", dataset={}), made("byot", model="resnet18", recipe="byot")])[:1]
    said = byot.differences(next(p for p in printed("cifar100", "byot") if p.network == "ResNet18"))
    assert said == [("norm", "none", "legacy")]
    (lab,) = compared([made(model="resnet18", recipe="lab", dataset={})])
    said = dict((what, theirs) for what, _, theirs in lab.differences(next(p for p in printed("cifar100", "byot"))))
    assert said["epochs"] == "200 (not stated)"


# against the length of training


def long(method="vanilla", epochs=10, seed=0, accuracy=0.5, **said):
    """A record of the quick recipe at so many epochs."""
    return made(method, seed, accuracy, recipe=replace(RECIPES["quick"], epochs=epochs), **said)


def lengthened(gains, noise=0.0, seeds=2, **said):
    """(method, epochs) -> gain; seeds lie `noise` around it, and vanilla's lie still."""
    plain = [long(epochs=n, seed=s, **said) for n in sorted({n for _, n in gains}) for s in range(seeds)]
    moved = {s: noise * (2 * s / (seeds - 1) - 1) if seeds > 1 else 0 for s in range(seeds)}
    ours = [long(m, n, s, 0.5 + gain + moved[s], **said) for (m, n), gain in gains.items() for s in range(seeds)]
    return plain + ours


def test_a_gain_is_that_over_plain_training_of_its_own_length_and_seed():
    records = [long(epochs=n, seed=s, accuracy=a) for n, s, a in [(10, 0, 0.40), (10, 1, 0.44), (20, 0, 0.60), (20, 1, 0.61)]]
    records += [long("drg", 10, 0, 0.47), long("drg", 10, 1, 0.50), long("drg", 20, 1, 0.63), long("drg", 40, 0, 0.9)]
    (found,) = by_length([*records, *records])
    (short, longer) = found.gains["drg"]  # of 40 epochs there is no plain training
    assert (short.epochs, short.seeds) == (10, pytest.approx({0: 0.07, 1: 0.06})) and short.mean == pytest.approx(0.065)
    assert (longer.epochs, longer.seeds) == (20, pytest.approx({1: 0.02}))
    assert found.plain == [(10, [0.40, 0.44], [0.2, 0.2]), (20, [0.60, 0.61], [0.2, 0.2])] and found.lengths == [10, 20, 40]
    assert found.label == "recorded, on CPU, 2 threads, recipe quick at 3 lengths, 1 to 2 seeds"
    assert (found.recipe, found.usual) == ("quick", RECIPES["quick"].epochs)
    assert "10, 20 and 40 epochs" in found.setting


def test_the_margin_of_a_gain_is_that_of_a_textbook():
    """One method, gains of 7 and 6 points: paired differences, one degree of freedom, and the images of either side."""
    records = [long(seed=0, accuracy=0.40), long(seed=1, accuracy=0.44), long("drg", 10, 0, 0.47), long("drg", 10, 1, 0.50)]
    (found,) = by_length(records)
    variance = 0.005**2 * 2  # of a gain, over two seeds
    images = (0.42 * 0.58 + 0.485 * 0.515) / 10_000
    both = variance / 2 + images
    want = student.ppf(0.975, (both / (variance / 2)) ** 2) * math.sqrt(both)
    assert found.gains["drg"][0].margin == pytest.approx(want) and found.gains["drg"][0].told
    assert "compared cautiously" in found.margins


def test_methods_beside_the_same_plain_runs_share_their_degrees_of_freedom():
    """The textbook's: var = 2 E^2 / v of the pooled spread, where two methods share the variance of plain training."""
    m, n = 4, 3
    seen = np.random.default_rng(0).normal(0.5, 0.01, (20_000, m + 1, n))
    gaps = seen[:, 1:] - seen[:, :1]
    pooled = gaps.var(2, ddof=1).mean(1)
    records = {s: long(seed=s) for s in range(n)}
    cells = [{s: (long(f, 10, s, 0.5 + 0.01 * s), records[s]) for s in range(n)} for f in ("drg", "dsr", "lsr", "byot")]
    variance, freedom = spread(cells)
    assert variance == pytest.approx(0.01**2) and freedom == pytest.approx(4 * m * (n - 1) / (m + 3))
    assert freedom == pytest.approx(2 * pooled.mean() ** 2 / pooled.var(), rel=0.05)
    other = [{s: (long("drg", 20, s), long(epochs=20, seed=s)) for s in range(n)}]
    assert spread(cells + other)[1] == pytest.approx(4 * 10**2 / (4 * 10 + m * (m - 1) * (n - 1)))  # nothing in common
    assert spread(cells[:1])[1] == n - 1 and spread([{0: cells[0][0]}])[1] == 0


def test_few_seeds_at_one_length_take_the_spread_of_others_and_one_seed_takes_that_of_the_others():
    quiet = lengthened({(m, n): 0.0 for m in ("drg", "dsr") for n in (10, 20)}, noise=0.001)
    wild = lengthened({(m, 40): 0.0 for m in ("drg", "dsr")}, noise=0.03)
    (found,) = by_length([*quiet, *wild, long("lsr", 10, 0, 0.51)])
    widths = {(name, g.epochs): g.margin for name, gains in found.gains.items() for g in gains}
    assert widths["drg", 10] == pytest.approx(widths["drg", 40], rel=0.05) and widths["lsr", 10] > widths["drg", 10]
    rows = ("drg", "dsr", "lsr", "byot")
    quiet, wild = (lengthened({(m, n): 0.0 for m in rows}, noise, 6) for n, noise in ((10, 0.001), (40, 0.03)))
    (found,) = by_length([*quiet, *wild])
    assert found.gains["drg"][1].margin > 1.5 * found.gains["drg"][0].margin  # six seeds of four methods say it themselves
    (single,) = by_length([long(), long("drg", 10, 0, 0.9)])
    (gain,) = single.gains["drg"]
    assert math.isnan(gain.margin) and gain.told is None and str(gain) == "+40.0" and "No margin yet" in single.margins
    assert single.said["drg"].word == "cannot be told"


def test_a_method_that_moves_far_more_keeps_its_own_spread_at_a_length_of_few_seeds():
    calm = lengthened({(m, n): 0.0 for m in ("drg", "dsr", "lsr") for n in (10, 20)}, noise=0.001, seeds=3)
    (found,) = by_length([*calm, *(long("byot", 10, s, 0.5 + 0.05 * s) for s in range(3))])
    (wild,) = found.gains["byot"]
    assert (wild.of_seeds, wild.freedom) == (pytest.approx(statistics.variance(wild.seeds.values()) / 3), 2)
    assert found.gains["drg"][0].of_seeds == pytest.approx(found.gains["drg"][1].of_seeds), "the others keep theirs"


def test_one_seed_at_the_longest_length_has_the_spread_of_the_nearest():
    rows = ("drg", "dsr", "lsr", "byot")
    wild, quiet = (lengthened({(m, n): 0.0 for m in rows}, noise, 6) for n, noise in ((10, 0.03), (40, 0.001)))
    (found,) = by_length([*wild, *quiet, long(epochs=80), long("drg", 80, 0, 0.5)])
    early, usual, late = found.gains["drg"]
    assert late.of_seeds == pytest.approx(6 * usual.of_seeds) and late.of_seeds < early.of_seeds
    assert "the nearest length's where one has too few" in found.margins


def answers(right):
    return {"right": {"images": len(right), "bits": np.packbits(np.asarray(right, np.uint8)).tobytes().hex()}}


def test_where_it_is_known_which_images_were_right_a_gain_is_compared_image_by_image():
    draw = np.random.default_rng(0)
    hard = draw.random(1000) < 0.4  # both err on the hard ones
    said = {"environment": {"test images": 1000}}
    records, d = [], []
    for s in (0, 1):
        theirs, ours = (np.where(hard, draw.random(1000) < 0.1, draw.random(1000) < 0.95) for _ in range(2))
        d.append(ours.astype(float) - theirs)
        records += [long(seed=s, accuracy=theirs.mean(), curves=answers(theirs), **said)]
        records += [long("drg", 10, s, ours.mean(), curves=answers(ours), **said)]
    (found,) = by_length(records)
    seeds, images = statistics.variance([row.mean() for row in d]) / 2, found.gains["drg"][0].of_images
    assert images < statistics.variance(np.mean(d, axis=0).tolist()) / 1000  # part of it is the seeds'
    want = student.ppf(0.975, ((seeds + images) / seeds) ** 2) * math.sqrt(seeds + images)
    assert found.gains["drg"][0].margin == pytest.approx(want) and "image by image" in found.margins
    (blind,) = by_length([replace(r, curves={}) for r in records])
    assert blind.gains["drg"][0].of_images > 2 * images


def scored(record, accuracy):
    return replace(record, epochs=record.epochs | {"accuracy.final": [accuracy, accuracy]})


def test_of_twenty_gains_that_are_none_one_is_told_at_most():
    draw, alarms = np.random.default_rng(0), 0
    runs = {(m, s): long(m, 10, s) for m in NOTHING for s in range(3)}
    for _ in range(400):
        seen = 0.5 + draw.normal(0, 0.01, (4, 3)) + draw.normal(0, 0.005, (4, 1))
        groups = {m: [scored(runs[m, s], seen[i, s]) for s in range(3)] for i, m in enumerate(NOTHING)}
        (gain,) = ByLength(groups).gains["drg"]
        alarms += abs(gain.mean) > gain.margin
    assert 8 <= alarms <= 32  # 20 expected


def test_a_lead_that_shrinks_is_faster_and_one_that_stays_is_better():
    gains = {("drg", 10): 0.10, ("drg", 40): 0.00, ("dsr", 10): 0.00, ("dsr", 40): 0.10}
    gains |= {("byot", 10): 0.05, ("byot", 40): -0.1, ("lsr", 10): 0.00, ("lsr", 40): 0.00}
    gains |= {("ddgsd", 10): 0.034, ("ddgsd", 40): 0.026}  # told, then not, but not told to have shrunk
    (found,) = by_length(lengthened(gains, noise=0.008))
    assert found.gains["ddgsd"][0].told and found.gains["ddgsd"][1].told is None
    words = {name: said.word for name, said in found.said.items()}
    assert words == dict(drg="faster", dsr="better", byot="worse", lsr="cannot be told", ddgsd="cannot be told")
    assert re.fullmatch(r"\+10.0 ± \d\.\d points at 10 epochs, \+0.0 ± \d\.\d at 40 \(2 seeds\)", found.said["drg"].because)
    grouped = found.grouped()
    assert list(grouped) == list(WORDS.values()) and grouped[WORDS["better"]][0].startswith("DSR: +0.0")


def test_nothing_is_said_of_how_a_method_ends_before_a_training_as_long_as_the_recipe():
    usual = RECIPES["quick"].epochs
    short = lengthened({("drg", usual // 2): 0.3}, noise=0.001)
    (found,) = by_length(short)
    assert found.gains["drg"][0].told and found.said["drg"].word == "cannot be told"
    assert f"no training yet as long as the recipe's {usual} epochs" in found.said["drg"].because
    (found,) = by_length([*short, *lengthened({("drg", usual): 0.3}, noise=0.001)])
    assert found.said["drg"].word == "better"


def test_one_seed_says_nothing_of_how_a_method_ends_even_where_its_gain_is_told():
    gains = {(m, n): 0.0 for m in ("drg", "dsr") for n in (20, 40)}
    (found,) = by_length([*lengthened(gains, noise=0.001), long("byot", 40, 0, 0.7)])
    assert found.gains["byot"][0].told and found.said["byot"].word == "cannot be told"
    assert found.said["byot"].because.endswith("(1 seed); one seed is too few")


def test_a_network_of_a_method_is_beside_plain_training_without_its_need_and_other_devices_stand_apart():
    need = {"model": "four-stage"}
    records = [long(**need), long("self-guidance", accuracy=0.6, network={"survival": 0.5}, **need)]
    elsewhere = long(environment={"device": "H100"}, **need)
    found, other = by_length([elsewhere, *records, long("drg", status="diverged", **need)])
    assert (
        list(found.gains) == ["self-guidance, survival=0.5"] and other.gains == {} and other.label.endswith("1 length, 1 seed")
    )


def test_of_a_plan_of_lengths_one_table_stands_for_all():
    both = [*lengthened({("drg", 10): 0.1}), *lengthened({("drg", 20): 0.1})]
    (table,) = one_length(compared(both))
    assert {r["recipe.epochs"] for r in table.records} == {20}  # the longest
    (table,) = one_length(compared([*both, long(epochs=40)]))
    assert {r["recipe.epochs"] for r in table.records} == {20}  # the fullest
    assert len(one_length(compared([*both, made(), made(recipe="paper")]))) == 3
