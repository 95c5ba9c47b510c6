"""The recorder: what a plan lists is run once, within its time, checked, and kept as a record that says where it comes from."""

from __future__ import annotations

import json
import math
import re
import statistics
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from scipy.stats import t as student

from sdkit import cli, papers, record, runs
from sdkit.analysis import calibration, ranked_output_variance
from sdkit.core import home
from sdkit.experiment import Experiment
from sdkit.methods import METHODS as EVERY_METHOD
from sdkit.papers.printed import METHODS, printed
from sdkit.runs import Damaged
from sdkit.train import Recipe

SMALL = {"model": "four-stage", "network": {"width": 4}, "data": "digits", "dataset": {"train_size": 64}}
TINY = {"runs": [SMALL | {"methods": ["vanilla", "drg"], "seeds": [0, 1], "recipe": "smoke"}]}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    return tmp_path


def plan_file(plan, name="tiny"):
    path = home() / "plans" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(plan if isinstance(plan, str) else json.dumps(plan))
    return path


def recorded(plan=TINY, **options):
    said = []
    report = record.record(plan_file(plan), say=said.append, **options)
    return report, said


# plans


def test_a_plan_spells_out_its_lists_every_method_at_one_seed_before_the_next():
    plan = record.read_plan(plan_file(TINY))
    assert [(e.method, e.seed) for e in plan.experiments] == [("vanilla", 0), ("drg", 0), ("vanilla", 1), ("drg", 1)]
    assert plan.name == "tiny" and plan.experiments[1] == Experiment(method="drg", recipe="smoke", **SMALL)
    assert record.read_plan("tiny").experiments == plan.experiments


def test_a_plan_says_recipes_and_teachers_in_numbers():
    entry = SMALL | {"recipe": {"epochs": 3, "batch_size": 32}}
    (e,) = record.read_plan(plan_file({"runs": [entry | {"method": "kd", "teacher": entry | {"seed": 4}}]})).experiments
    assert e.recipe.epochs == 3 and e.teacher.seed == 4 and e.teacher.recipe == e.recipe


def test_the_folder_of_data_sets_is_no_part_of_what_is_run(tmp_path):
    moved = record.read_plan(plan_file(TINY), data=tmp_path / "elsewhere").experiments
    assert [e.key for e in moved] == [e.key for e in record.read_plan(plan_file(TINY)).experiments]
    assert moved[0].dataset["root"] == tmp_path / "elsewhere"


@pytest.mark.parametrize("path", record.plans(), ids=lambda p: p.stem)
def test_the_plans_that_come_with_sdkit_can_be_read(path):
    plan = record.read_plan(path)
    assert plan.name == path.stem and plan.about and len(plan.experiments) >= 8


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        ("{", r"the plan .*tiny.json is not JSON \(.*\): mend it there"),
        ({"name": "x"}, 'says no runs: it needs "runs"'),
        ({"runs": [{}], "metric": []}, r"no part of a plan \(tiny.json\) is called 'metric'"),
        (
            {"runs": [{"method": "dgr"}]},
            "run 1 of the plan tiny.json is no experiment: no method is called 'dgr': did you mean",
        ),
        ({"runs": [SMALL, {"metod": "drg"}]}, "run 2 .* no argument of an experiment is called 'metod': did you mean 'method'"),
        ({"runs": [{"method": "drg", "methods": ["drg"]}]}, "it says method and a list of them: say one"),
        ({"runs": [{"recipe": {"epoch": 3}}]}, "run 1 of the plan tiny.json is no experiment: .*'epoch'"),
        ({"runs": [SMALL], "curves": ["rank"]}, "no curve of a record is called 'rank': did you mean 'ranked'"),
    ],
)
def test_a_wrong_plan_is_one_sentence(plan, sentence):
    plan_file(plan)
    with pytest.raises(SystemExit, match=sentence) as stop:
        cli.main(["record", "tiny"])
    assert "\n" not in str(stop.value.code)


def test_an_unknown_plan_names_the_known_ones(capsys):
    plan_file(TINY)
    assert record.main(["tyni"]) == 1
    assert re.match(r"sdkit: no plan is called 'tyni': did you mean 'tiny'\? known are .*tiny", capsys.readouterr().err)


# recording


def test_a_plan_is_run_once_and_its_records_give_back_what_the_runs_hold():
    report, _ = recorded()
    plan = record.read_plan("tiny")
    assert report.recorded == [e.key for e in plan.experiments] and not report.missing and not report.damaged
    records = {r.key: r for r in record.load("tiny")}
    for e in plan.experiments:
        kept, run = records[e.key], e.record
        assert kept.asked == run.asked and kept["method"] == e.method and kept["seed"] == e.seed
        for a, b in zip(kept.history, run.history(), strict=True):
            assert a.accuracy == pytest.approx(b.accuracy, rel=1e-6) and a.terms == pytest.approx(b.terms, rel=1e-6)
            assert (a.epoch, a.turned) == (b.epoch, b.turned) and a.lr == pytest.approx(b.lr)
        row = next(r for r in runs.records() if r.run.key == e.key)
        assert kept.settings == {k: v for k, v in row.settings.items() if k != "steered"}
        assert {k: kept.measured[k] for k in row.measured if k in kept.measured} == pytest.approx(
            {k: v for k, v in row.measured.items() if k in kept.measured}, rel=1e-6
        )
        assert kept.about["source"] == record.source() and kept.device.startswith("CPU")
    again, said = recorded()
    assert again.recorded == [] and said[0] == "tiny: 4 of 4 recorded"


def test_the_curves_of_a_record_are_those_of_the_runs_outputs():
    recorded({"runs": [SMALL | {"recipe": "smoke"}]})
    (kept,) = record.load()
    epochs, outputs = runs.find(kept.key).outputs()
    want = [float(ranked_output_variance(z)) for z in outputs]
    assert kept.curves["ranked"]["epoch"] == [1, 2]
    assert kept.curves["ranked"]["variance"]["probabilities"] == pytest.approx(want, rel=1e-5)
    bins = kept.curves["calibration"]
    right = sum(n * a for n, a in zip(bins["count"], bins["accuracy"], strict=True) if n)
    assert bins["images"] == 797 and right / 797 == pytest.approx(kept["accuracy.final"], abs=1e-3)


def test_a_record_is_small_and_holds_no_weights(tmp_path):
    recorded({"runs": [SMALL | {"recipe": {"epochs": 12, "batch_size": 32}}]})
    (path,) = (home() / "data" / "records" / "tiny").glob("*.json")
    assert path.stat().st_size < 20_000


def test_knobs_that_were_turned_come_back_with_their_epoch():
    entry = SMALL | {"method": "drg", "recipe": {"epochs": 3, "batch_size": 32}, "turned": {"1": {"alpha": 0.9}}}
    recorded({"runs": [entry]})
    (kept,) = record.load()
    assert [len(e.turned) for e in kept.history] == [0, 1, 0] and kept.history[1].turned[0]["after"] == 0.9


LONG = {"runs": [SMALL | {"recipe": {"epochs": 6, "batch_size": 16}}]}


def test_a_run_that_is_killed_goes_on_and_ends_as_if_it_had_not_been(tmp_path, monkeypatch):
    recorded(LONG)
    straight = record.load()[0]
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path / "other"))
    (tmp_path / "other").mkdir()
    (e,) = record.read_plan(plan_file(LONG)).experiments
    walk = e.record.follow(e.asked, e.training, spare=0)
    for event in walk:
        if getattr(event, "accuracy", None) and event.epoch == 2:
            break
    walk.close()
    assert e.record.status == "training"
    _, said = recorded(LONG)
    assert any(line.startswith("  goes on:") for line in said)
    (kept,) = record.load()
    drop = ("seconds",)
    assert {k: v for k, v in kept.epochs.items() if k not in drop} == {
        k: v for k, v in straight.epochs.items() if k not in drop
    }


def test_what_cannot_end_in_time_is_not_begun(monkeypatch):
    monkeypatch.setattr(record, "_probe", lambda e: 1.0 if e.method == "vanilla" else 1e-3)  # seconds an epoch
    plan = {"runs": [SMALL | {"methods": ["vanilla", "drg"], "recipe": {"epochs": 6, "batch_size": 32}}]}
    monkeypatch.setattr(record.time, "monotonic", clock := Clock())
    clock.ahead = [0, 55]  # 60 s of budget, of which 55 have gone when the first run is looked at: vanilla needs 6
    report, said = recorded(plan, minutes=1)
    vanilla, drg = record.read_plan("tiny").experiments
    assert report.recorded == [drg.key] and report.missing == [vanilla.key]
    assert any(re.match(r"  waits: Experiment\(method='vanilla'.* needs 6 s, [45] s are left", line) for line in said)
    assert vanilla.record.status == "new"


def test_a_run_longer_than_any_call_is_left_at_its_checkpoint_and_ends_in_later_calls(monkeypatch):
    monkeypatch.setattr(record, "_probe", lambda e: 30.0)  # six epochs of 30 s never fit into a minute
    monkeypatch.setattr(record.time, "monotonic", clock := Clock())
    clock.each = 10.0
    calls = 0
    while calls < 12:
        calls += 1
        report, said = recorded(LONG, minutes=1, spare=0)
        if not report.missing:
            break
        assert any("left at its checkpoint" in line for line in said)
    assert 2 <= calls < 12 and record.load()[0].status == "done"
    assert [e.epoch for e in record.load()[0].history] == list(range(6))


class Clock:
    """A clock that jumps: by `ahead` at its first readings, by `each` at every one."""

    def __init__(self) -> None:
        self.ahead: list[float] = []
        self.each, self.gone, self.real = 0.0, 0.0, time.perf_counter

    def __call__(self) -> float:
        self.gone += self.each + (self.ahead.pop(0) if self.ahead else 0.0)
        return self.real() + self.gone


def test_no_minutes_only_say_what_is_missing():
    report, said = recorded(minutes=0)
    assert len(report.missing) == 4 and len(said) == 5 and not runs.all_runs()


def test_a_teacher_is_trained_first_and_not_recorded():
    base = SMALL | {"recipe": "smoke"}
    report, _ = recorded({"runs": [base | {"method": "kd", "teacher": base | {"seed": 3}}]})
    assert [r["method"] for r in record.load()] == ["kd"] and len(runs.all_runs()) == 2 and len(report.recorded) == 1


def test_a_run_that_diverges_is_recorded_as_one():
    recorded({"runs": [SMALL | {"recipe": {"epochs": 3, "batch_size": 8, "lr": 1e9, "schedule": "constant"}}]})
    (kept,) = record.load()
    (cell,) = record.table([kept])
    assert kept.status == "diverged" and cell.diverged == 1 and cell.n == 0 and math.isnan(cell.mean)


# what is wrong


def damaged_history(run):
    path = run.folder / "history.json"
    plain = json.loads(path.read_text())
    plain["epochs"].pop()
    path.write_text(json.dumps(plain))


def not_a_number(run):
    path = run.folder / "history.json"
    plain = json.loads(path.read_text())
    plain["epochs"][0]["loss"] = None
    path.write_text(json.dumps(plain))


def cut_weights(run):
    path = run.folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:100])


def lost_outputs(run):
    (run.folder / "outputs" / "0000.npy").unlink()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (damaged_history, "it has 1 of its 2 epochs"),
        (not_a_number, "epoch 1 has a value that is no number"),
        (cut_weights, "is damaged"),
        (lost_outputs, "outputs/ has not one file for each of the 2 epochs"),
    ],
)
def test_a_damaged_run_is_named_and_the_rest_goes_on(harm, words):
    first, second, *_ = record.read_plan(plan_file(TINY)).experiments
    first.run(progress=False)
    harm(first.record)
    report, said = recorded()
    assert list(report.damaged) == [first.key] and words in report.damaged[first.key]
    assert "delete the folder" in report.damaged[first.key] and second.key in report.recorded
    assert all(r.key != first.key for r in record.load())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p["epochs"]["accuracy.final"].__setitem__(0, 0.99), "its content is not what its hash says"),
        (lambda p: p.pop("about"), "is no record"),
        (lambda p: p.__setitem__("format", 99), "is a record of the form 99, this sdkit reads 1"),
    ],
)
def test_a_record_that_was_changed_is_refused(change, words):
    recorded({"runs": [SMALL | {"recipe": "smoke"}]})
    (path,) = (home() / "data" / "records" / "tiny").glob("*.json")
    plain = json.loads(path.read_text())
    change(plain)
    path.write_text(json.dumps(plain))
    with pytest.raises(Damaged, match=words):
        record.load()


# tables


def test_a_table_is_mean_and_sample_deviation_over_seeds_and_says_where_they_come_from():
    recorded()
    cells = record.table(record.load())
    for cell in cells:
        values = [r["accuracy.final"] for r in record.load() if r["method"] == cell.group["method"]]
        assert (cell.n, cell.mean, cell.sd) == (
            2,
            pytest.approx(statistics.mean(values)),
            pytest.approx(statistics.stdev(values)),
        )
        assert re.fullmatch(r"recorded, on CPU, \d+ threads, recipe smoke, 2 seeds", cell.label)
    assert {c.group["method"] for c in cells} == {"vanilla", "drg"}


def test_a_table_never_averages_over_recipes():
    recorded({"runs": [SMALL | {"recipe": "smoke"}, SMALL | {"recipe": {"epochs": 3, "batch_size": 64}}]})
    cells = record.table(record.load())
    assert [c.n for c in cells] == [1, 1] and {"smoke", "own"} == {c.label.split("recipe ")[1].split(",")[0] for c in cells}


def test_the_recorder_needs_no_command_line_package_no_notebook_and_no_plots():
    path = plan_file({"runs": [SMALL | {"recipe": "smoke"}]})
    code = (
        "import sys\n"
        "for name in ('tyro', 'tqdm', 'matplotlib', 'ipywidgets', 'openTSNE', 'curvlinops', 'pytorch_grad_cam'):\n"
        "    sys.modules[name] = None\n"
        "from sdkit import record\n"
        f"raise SystemExit(record.main([{str(path)!r}, '--minutes', '5']))\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    assert "1 recorded in" in out.stdout and len(record.load()) == 1


# what is recorded


def test_the_stock_says_what_is_recorded_and_missing_and_what_cannot_be_read(capsys):
    recorded()
    plan_file(TINY | {"runs": TINY["runs"] + [SMALL | {"method": "lsr", "recipe": "smoke"}]})
    plan_file("{", "broken")
    plan_file({"runs": [SMALL], "metric": []}, "odd")
    first, *_ = sorted((home() / "data" / "records" / "tiny").glob("*.json"))
    first.write_text(first.read_text().replace('"done"', '"diverged"'))
    stock = {s.name: s for s in record.stock()}
    plan = record.read_plan("tiny")
    here = [e.key for e in plan.experiments[:4] if e.key != first.stem]
    assert [r.key for r in stock["tiny"].records] == here  # in the plan's order
    assert {e.key for e in stock["tiny"].missing} == {first.stem, plan.experiments[4].key}
    assert "its content is not what its hash says" in stock["tiny"].wrong[0]
    assert "is not JSON" in stock["broken"].wrong[0] and "no part of a plan" in stock["odd"].wrong[0]
    assert str(stock["tiny"]).startswith("tiny: 3 recorded, 2 missing") and "`sdkit record tiny`" in str(stock["tiny"])


def test_records_whose_plan_is_gone_are_still_shown():
    recorded({"runs": [SMALL | {"recipe": "smoke"}]})
    (home() / "plans" / "tiny.json").unlink()
    (gone,) = [s for s in record.stock() if s.name == "tiny"]
    assert len(gone.records) == 1 and not gone.missing and gone.about == "Its plan is not here."


# methods beside each other


RECIPE = Recipe(epochs=2, batch_size=64, lr=0.1, schedule="one cycle")


def made(method="vanilla", seed=0, accuracy=0.5, seconds=10.0, curves=None, status="done", about=None, **said):
    """A record without a training."""
    said = {"model": "resnet20", "data": "cifar100", "recipe": RECIPE, "dataset": {"train_size": 5000}} | said
    e = Experiment(method=method, seed=seed, **said)
    epochs = {"epoch": [1, 2], "lr": [0.1, 0.1], "seconds": [seconds, seconds], "train_accuracy": [0.1, 0.2]}
    epochs |= {"loss": [3.0, 2.0], "terms.task": [3.0, 2.0], "accuracy.final": [accuracy + 0.1, accuracy]}
    where = {"device": "CPU, 2 threads", "steps per epoch": 10, "test images": 10_000, "steps": "eager"}
    return record.Recorded("cpu", e.key, status, e.asked, where | (about or {}), epochs, [], curves or {})


def four():
    return [made(accuracy=0.50), made(seed=1, accuracy=0.52), made("drg", accuracy=0.55), made("drg", seed=1, accuracy=0.56)]


def test_a_gain_and_its_margin_are_those_of_a_textbook():
    (table,) = record.compared(four())
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
    (table,) = record.compared([*four()[:2], *told])
    assert [row.told for row in table.rows] == [None, True, False]
    (single,) = record.compared([made(), made("drg", accuracy=0.9)])
    assert single.rows[1].gain == pytest.approx(0.4) and single.rows[1].told is None and math.isnan(single.rows[1].margin)


def test_of_twenty_methods_that_change_nothing_one_is_told_apart_at_most():
    """Seeds drawn anew each time, and for each method how hard its test images are."""
    draw, alarms = np.random.default_rng(0), 0
    for _ in range(400):
        seen = 0.5 + draw.normal(0, 0.005, (4, 1)) + draw.normal(0, 0.01, (4, 2))
        table = record.Comparison({m: [made(m, s, a) for s, a in enumerate(seen[i])] for i, m in enumerate(NOTHING)})
        alarms += table.rows[1].told is not None
    assert 8 <= alarms <= 32  # 20 expected


NOTHING = ("vanilla", "drg", "dsr", "lsr")


def test_what_differs_never_stands_in_one_table_and_what_is_one_is_not_counted_twice():
    other = [made(data="cifar10"), made(recipe="lab"), made(model="resnet32"), made(dataset={}), made(about={"device": "H100"})]
    tables = record.compared([*four(), *four(), *other])
    assert [len(t.records) for t in tables] == [4, 1, 1, 1, 1, 1]
    assert tables[0].label == "recorded, on CPU, 2 threads, recipe own, 2 seeds"
    assert [c.n for c in record.table([*four(), *four()])] == [2, 2]
    assert tables[0].setting == (
        "resnet20 on cifar100 (train_size=5000), 2 epochs, batches of 64, learning rate 0.1, one cycle"
    )


def test_runs_of_a_method_that_differ_in_a_knob_are_rows_of_their_own():
    records = [*four(), made("drg", knobs={"alpha": 0.7}), made("self-guidance", network={"survival": 0.5})]
    (table,) = record.compared(records)
    assert list(table.groups) == ["vanilla", "drg, alpha=0.2", "drg, alpha=0.7", "self-guidance, survival=0.5"]
    assert [c.n for c in record.table(records)] == [2, 2, 1, 1]
    assert math.isfinite(table.rows[3].gain) and table.label.endswith("1 to 2 seeds")


def test_a_method_on_another_network_has_no_gain_over_plain_training_of_this_one():
    small, wide = ({"model": "four-stage", "network": {"width": w}} for w in (4, 8))
    (table,) = record.compared([made(**small), made("drg", **small), made("drg", **wide)])
    assert [math.isfinite(row.gain) for row in table.rows] == [False, True, False]


def test_time_is_the_median_step_beside_plain_training_that_ran_the_same_way():
    (table,) = record.compared([made(seconds=10), made("drg", seconds=13), made("lsr", about={"steps": "graphed"})])
    vanilla, drg, lsr = table.rows
    assert (vanilla.step, drg.pace) == (1.0, pytest.approx(1.3)) and math.isnan(lsr.pace) and lsr.step == 1.0
    (table,) = record.compared([made(), made("drg", about={"ended on": "another"})])
    assert math.isnan(table.rows[1].step) and math.isnan(table.rows[1].pace)


def test_curves_are_those_of_the_seeds_that_ended_well():
    curves = {"ranked": {"epoch": [1, 2], "variance": {"logits": [0.3, None]}, "pearson": {"logits": -0.5}}}
    records = [made(curves=curves), made(seed=1, accuracy=0.3), made(seed=2, status="diverged")]
    (table,) = record.compared(records)
    assert table.curves() == {"vanilla": ([1, 2], [[0.6, 0.5], [0.4, 0.3]])}
    (band,) = table.curves("ranked.logits").values()
    assert band.seeds[0][0] == 0.3 and math.isnan(band.seeds[0][1]) and table.correlation("logits") == {"vanilla": -0.5}
    assert table.rows[0].seeds == 2 and table.rows[0].diverged == 1 and table.curves("validation.final") == {}


def test_the_calibration_of_several_seeds_is_that_of_all_their_images():
    generator = torch.Generator().manual_seed(0)
    logits, y = 3 * torch.randn(2, 300, 5, generator=generator), torch.randint(5, (300,), generator=generator)
    each = [calibration(z, y) for z in logits]
    kept = [{k: v.tolist() if isinstance(v, torch.Tensor) else v for k, v in c._asdict().items()} for c in each]
    (table,) = record.compared([made(seed=s, curves={"calibration": k}) for s, k in enumerate(kept)])
    (ours,) = table.calibrations().values()
    both = calibration(logits.flatten(0, 1), y.repeat(2))
    for name in ("confidence", "accuracy", "count"):
        assert torch.allclose(getattr(ours, name), getattr(both, name), equal_nan=True)
    assert ours.ece == pytest.approx((each[0].ece + each[1].ece) / 2)


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
    (table,) = record.compared([*four(), made("ddgsd")])
    found = {p.paper: p for p in table.printed()}
    assert {n: p.network for n, p in found.items()} == {"ddgsd": "ResNet-32", "drg_dsr": "ResNet18"}
    assert table.differences(found["drg_dsr"]) == [
        ("network", "resnet20", "ResNet18"),
        ("training images", "5,000 of them", "all"),
        ("epochs", "2", "200"),
        ("batch size", "64", "128"),
        ("learning rate", "0.1, one cycle", "0.1, times 0.2 after 60, 120, 160 epochs"),
    ]
    (same,) = record.compared(
        [made(model="resnet18", recipe="paper", dataset={}), made("drg", model="resnet18", recipe="paper")]
    )[:1]
    assert same.differences(found["drg_dsr"]) == []


def test_what_stands_beside_a_paper_carries_its_label_or_says_that_nothing_is_recorded(monkeypatch):
    (line,) = record.beside("sfr")
    assert line.startswith("nothing of sfr is recorded yet: `sdkit record PLAN`")
    monkeypatch.setattr(record, "stock", lambda: [record.Stock("cpu", "", four(), [], [])])
    head, row = record.beside("drg_dsr")
    assert head.startswith("recorded, on CPU, 2 threads, recipe own, 2 seeds: resnet20 on cifar100")
    assert head.endswith("beside it paper 004, Table I, ResNet18 on CIFAR-100")
    assert re.fullmatch(r"  drg: \+4\.5 ± \d+\.\d points above vanilla here, \+1\.8 in the paper", row)
