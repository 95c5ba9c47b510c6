"""A paper's headline claim is judged by recorded seeds, and a reader's own training is told whether it lies where they lie."""

from __future__ import annotations

import math
import shutil
import statistics
from dataclasses import replace

import pytest
from scipy.stats import t as student

from sdkit import Experiment, Recipe, run_all, runs, studies
from sdkit.papers.checks import Verdict
from sdkit.studies import result
from sdkit.studies.gains import Gain
from sdkit.studies.headline import _beside, _more

SMALL = {
    "network": {"width": 4}, "data": "digits", "dataset": {"train_size": 64}, "recipe": Recipe(epochs=1, batch_size=32, lr=0.1),
}  # fmt: skip
HERE = Verdict("DRG beats plain training", "this run alone", True)


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    return run_all({m: Experiment(m, **SMALL) for m in ("vanilla", "drg")})


def keep(mine, gains, images=450):
    """Records of further seeds with these gains, written where the workbook looks for them."""
    for seed, gain in enumerate(gains, 1):
        for m, t in mine.items():
            e = replace(t.experiment, seed=seed)
            result = studies.result_of(t.experiment, "more", environment={"test images": images})
            result = replace(result, key=e.key, config=e.config)
            accuracy = [0.5 + gain * (m == "drg")]
            studies.write_result(replace(result, epochs=result.epochs | {"accuracy.final": accuracy, "test.final": accuracy}))


@pytest.mark.parametrize("nothing", [{}, {"vanilla": []}])
def test_a_headline_of_no_run_is_one_sentence(nothing):
    with pytest.raises(ValueError, match=r"of finished runs by name, got none in \{.*: say headline\(run_all"):
        studies.headline(nothing)


def test_without_records_of_the_same_setting_the_own_run_speaks_for_itself(mine):
    assert studies.headline(mine).judged(HERE, "drg") is HERE
    keep({m: t for m, t in mine.items() if m == "vanilla"}, [0, 0, 0])
    assert studies.headline(mine).judged(HERE, "drg") is HERE


def test_recorded_seeds_judge_the_claim_and_place_the_own_run(mine):
    gains = [0.05, 0.06, 0.04, 0.05]
    keep(mine, gains, images=10**6)
    found = studies.headline(mine)
    verdict = found.judged(HERE, "drg")
    assert found.seeds == 4 and verdict.held is True and verdict.claim == HERE.claim
    assert verdict.measured.startswith("recorded, 4 seeds, points: DRG +5.0 ± ")
    wide = student.ppf(0.975, 3) * statistics.stdev(gains) * math.sqrt(1 + 1 / 4)
    assert found.gain("drg").range_of_mean(1) == pytest.approx((0.05 - wide, 0.05 + wide))
    own = mine["drg"].accuracy - mine["vanilla"].accuracy
    where = "within the range of single seeds" if abs(own - 0.05) <= wide else "outside the range of single seeds ("
    assert f"; here {100 * own:+.1f}, {where}" in verdict.measured


def test_ones_own_trainings_stand_in_one_table_with_however_many_threads_each_was_trained(mine):
    keep(mine, [0.05, 0.06, 0.04])
    seeded = mine | {"drg": [mine["drg"], replace(mine["drg"].experiment, seed=1).run(progress=False, threads=3)]}
    seeded["vanilla"] = [mine["vanilla"], replace(mine["vanilla"].experiment, seed=1).run(progress=False)]
    found = studies.headline(seeded)
    assert len({t.run.environment["device"] for runs in seeded.values() for t in runs}) == 2
    assert len(found.own.gains["drg"].seeds) == 2 and "; here" in found.judged(HERE, "drg").measured


def test_one_method_that_is_not_told_leaves_the_claim_about_all_untold_and_says_what_would_tell(mine):
    keep(mine, [0.05, -0.02, 0.04], images=10**6)
    verdict = studies.headline(mine).judged(HERE, "drg")
    assert verdict.held is None and "(10 more seeds would tell as much)" in verdict.measured


def gain(mean, of_seeds, seeds=8):
    return Gain(dict.fromkeys(range(seeds), mean), of_seeds**2 / seeds, 0.0, seeds - 1)


def test_own_gains_are_told_together_where_they_lie_alike_and_by_name_where_there_are_several():
    """Eight seeds that scatter by one point: a further seed falls within 2.5 points of their mean."""
    drg, dsr, both = (("drg", "vanilla"), ("dsr", "vanilla"), ("drg+dsr", "vanilla"))
    recorded, near, far = gain(0.02, 0.01), gain(0.019, 0.0, 1), gain(-0.03, 0.0, 1)
    assert _beside({drg: (near, recorded)}, alone=True) == "+1.9, within the range of single seeds"
    assert _beside({drg: (far, recorded)}, alone=True) == "-3.0, outside the range of single seeds (-0.5 to +4.5)"
    said = _beside({drg: (near, recorded), dsr: (far, recorded), both: (near, recorded)}, alone=False)
    assert said == (
        "DRG +1.9, DRG+DSR +1.9, within the range of single seeds; DSR -3.0, outside the range of single seeds (-0.5 to +4.5)"
    )
    assert _beside({drg: (gain(0.02, 0.0, 3), recorded)}, alone=True) == "+2.0, within the range of means of 3 seeds"


@pytest.mark.parametrize(("of_seeds", "said"), [(0.0235, " (1 more seed would"), (0.026, " (2 more seeds would")])
def test_how_many_seeds_would_tell_as_much_is_in_the_right_number(of_seeds, said):
    assert _more(gain(0.0191, of_seeds)).startswith(said)


def test_a_claim_about_two_methods_is_judged_between_them_within_seeds(mine):
    """DRG over a copy of plain training that is called DSR: the paired gain over it, and not over plain training."""
    keep(mine, gains := [0.05, 0.06, 0.04, 0.05], images=10**6)
    beside = Experiment("dsr", **SMALL)
    for seed, t in [(s, mine["vanilla"]) for s in range(1, 5)]:
        e, r = replace(beside, seed=seed), studies.result_of(t.experiment, "more", environment={"test images": 10**6})
        lower = {c: [0.5 - 0.01 * seed] for c in ("accuracy.final", "test.final")}
        studies.write_result(replace(r, key=e.key, config=e.config, epochs=r.epochs | lower))
    verdict = studies.headline(mine | {"dsr": beside.run(progress=False)}).judged(HERE, "drg", over=["dsr", "vanilla"])
    between = [g + 0.01 * seed for seed, g in enumerate(gains, 1)]
    assert f"DRG over DSR {100 * statistics.mean(between):+.1f} ± " in verdict.measured and ", DRG +5.0 ± " in verdict.measured
    assert verdict.held is True and verdict.measured.startswith("recorded, 4 seeds, points: ")
    back = studies.headline(mine | {"dsr": beside.run(progress=False)}).judged(HERE, "dsr", over=["drg"])
    assert back.held is False


def test_a_gain_smaller_than_what_the_images_can_tell_needs_no_more_seeds(mine):
    keep(mine, [0.01, 0.012, 0.011])
    verdict = studies.headline(mine).judged(HERE, "drg")
    assert verdict.held is None and "no number of seeds would tell as much on these images" in verdict.measured


def test_recorded_runs_are_judged_as_ones_own_and_no_other_record_is_looked_through(mine, monkeypatch):
    keep(mine, [0.05, 0.06, 0.04])
    for t in mine.values():
        studies.write_result(studies.result_of(t.experiment, "sweeps", ["right"]))
    own = studies.headline(mine).own.gains["drg"].mean
    other = Experiment("dsr", **SMALL)
    other.run(progress=False)
    studies.write_result(studies.result_of(other, "sweeps", ["right"]))
    shutil.rmtree(runs.root())
    read = []
    monkeypatch.setattr(result, "read_result", lambda path, real=result.read_result: read.append(path.stem) or real(path))
    found = studies.headline(studies.gather({m: t.experiment for m, t in mine.items()}, progress=False))
    assert found.own.gains["drg"].mean == pytest.approx(own, abs=1e-6) and found.seeds == 4
    assert other.key not in read and len(read) == 8
