"""The papers' data is whole, and a verdict says no more than its numbers allow."""

from __future__ import annotations

import inspect
import re
from types import SimpleNamespace

import pytest

from sdkit import papers
from sdkit.methods import SFR, SFRAT, SFRL2, SFRFitNet
from sdkit.papers import checks

ROWS = {
    "sfr_table1": 24, "sfr_table2": 9, "sfr_table3": 56, "ddgsd_table1": 5, "ddgsd_table2": 18, "ddgsd_table3": 36,
    "ddgsd_table4": 8, "ddgsd_table5": 6, "ddgsd_table6": 10, "self_guidance_table1": 12, "self_guidance_table2": 8,
    "self_guidance_table3": 12, "self_guidance_table4": 10, "self_guidance_table5": 16, "self_guidance_table6": 5,
    "byot_fig1_training_time": 9, "byot_table1": 60, "byot_table2": 18, "byot_table3": 24, "byot_table4": 40,
    "drg_dsr_table1": 50, "drg_dsr_table2": 21, "drg_dsr_table3": 8, "drg_dsr_table4": 12, "drg_dsr_text_costs_and_optima": 10,
}  # fmt: skip
CLAIMS = {"sfr": 8, "ddgsd": 10, "self_guidance": 10, "byot": 11, "drg_dsr": 16}


@pytest.mark.parametrize(("name", "rows"), ROWS.items())
def test_every_table_is_whole(name, rows):
    table = papers.table(name)
    assert len(table) == rows
    assert all(isinstance(r["value"], float) for r in table)
    assert {r["paper"] for r in table} <= papers.PAPERS.keys()


def test_487_numbers_55_claims_and_37_figures():
    assert sum(ROWS.values()) == 487
    assert {p: len(papers.claims(p)) for p in papers.PAPERS} == CLAIMS
    assert sum(len(papers.figures(p)) for p in papers.PAPERS) == 37
    assert sum(len(papers.hyperparameters(p)) for p in papers.PAPERS) == 174


def test_what_is_resolved_for_sfr_is_what_sfr_does_by_default():
    """The paper prints no weight: the table's are ours, and so they are those of the code."""
    said = {r["key"]: r["value"] for r in papers.hyperparameters("sfr") if r["method"] == "SFR"}
    ours = {kind: inspect.signature(kind).parameters for kind in (SFR, SFRL2, SFRAT, SFRFitNet)}
    for key, (kind, option) in {
        "lambda_feat": (SFR, "lam"), "sinkhorn_iters": (SFR, "iterations"), "attn_dim": (SFR, "dim"),
        "dls_alpha": (SFR, "epsilon"), "lambda_kd_l2": (SFRL2, "beta"), "lambda_kd_at": (SFRAT, "beta"),
        "lambda_kd_fitnet": (SFRFitNet, "beta"), "variance_branch": (SFRAT, "variance"),
    }.items():  # fmt: skip
        assert float(said[key] == "True" or said[key]) == ours[kind][option].default, key


def test_data_speaks_of_papers_and_means_random_numbers_by_seeds():
    for path in papers.FOLDER.glob("*.csv"):
        assert not re.search(r"\bseed('s)? |\bseed 00\d|,seed,", path.read_text(encoding="utf-8").replace("seeds", "")), (
            path.name
        )


def test_numbers_are_the_printed_ones():
    (vanilla,) = [r for r in papers.table("drg_dsr_table1") if (r["model"], r["method"]) == ("ResNet18", "Vanilla")]
    assert vanilla["value"] == 77.29
    assert papers.figure("drg_fig8").caption == "GradCAM heatmaps"
    assert papers.figure("drg_table4").figure == "Table IV"
    assert "withdrawn" in papers.PAPERS["sfr"].notice


def test_what_is_drawn_of_byot_beyond_its_slides_says_where_it_is_printed():
    said = {f.id: f.figure for f in papers.figures("byot")}
    assert said["byot_ssessb"] == "table 6 of the published version" and "SCAN" in said["byot_threshold"]
    assert not any("public " in name.lower() for name in said.values())
    assert "slides of its talk" in papers.figure("byot_fig2").caption


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda: papers.table("drg_dsr_tabel1"), "did you mean 'drg_dsr_table1'"),
        (lambda: papers.claims("drg"), "no paper is called 'drg': did you mean 'drg_dsr'"),
        (lambda: papers.figure("drg_fig33"), "no figure is called 'drg_fig33': did you mean 'drg_fig"),
    ],
)
def test_unknown_names_suggest_the_nearest(ask, sentence):
    with pytest.raises(KeyError, match=sentence):
        ask()


def test_own_runs_stand_beside_the_papers_numbers():
    rows = papers.compare(papers.table("drg_dsr_table1")[:2], {"Vanilla": [0.7, 0.72]}, recipe="lab")
    assert rows[0]["own"] == pytest.approx(71) and rows[0]["seeds"] == 2 and rows[0]["recipe"] == "lab"
    assert rows[0]["difference"] == pytest.approx(71 - 77.29)
    errors = papers.compare(papers.table("ddgsd_table1")[:1], {papers.table("ddgsd_table1")[0]["method"]: [0.7]}, recipe="lab")
    assert errors[0]["own"] == pytest.approx(30), "a table of errors gets errors"
    missing = papers.compare(papers.table("drg_dsr_table1")[:1], {}, recipe="lab")[0]
    assert missing["own"] is None and missing["difference"] is None


# verdicts


def test_a_difference_counts_beyond_two_standard_errors():
    difference, error = checks.compare_accuracy([0.8], [0.7], 1000)
    assert difference == pytest.approx(0.1)
    assert error == pytest.approx((0.8 * 0.2 / 1000 + 0.7 * 0.3 / 1000) ** 0.5)
    spread = checks.standard_error([0.7, 0.8], 1000)
    assert spread == pytest.approx((0.75 * 0.25 / 1000 + 0.005 / 2) ** 0.5)
    assert checks.standard_error([1.0], 100) > 0, "a perfect score is not certain"


@pytest.mark.parametrize(
    ("ours", "word"),
    [
        ([0.8], "held"),
        ([0.6], "did not hold"),
        ([0.71], "cannot be told at this scale"),
        ([0.9, 0.6], "cannot be told at this scale"),
    ],
)
def test_higher_has_three_answers(ours, word):
    verdict = checks.higher("ours beats vanilla", ours, [0.7], 1000)
    assert verdict.word == word and "70.0%" in verdict.measured


def timing(median):
    return SimpleNamespace(median=median, low=0.9 * median, high=1.1 * median)


def costs(ours, dlb=2.0):
    seconds = {"byot": timing(2.0), "dlb": timing(dlb), "drg+dsr": timing(ours)}
    return checks.cost(seconds, {"byot": 2.0, "dlb": 1.0, "drg+dsr": 1.5})


def flatter(*shifts):
    entropy = {"vanilla": [1.0, 2.0, 3.0]} | {str(i): [1.0 + s, 2.1 + s, 2.9 + s] for i, s in enumerate(shifts)}
    return checks.less_confident(entropy, dict.fromkeys(entropy, 0.1))


def gain(drg, dsr, both):
    return checks.gains({"vanilla": [0.7], "drg": [drg], "dsr": [dsr], "drg+dsr": [both]}, 2000)


VERDICTS = {
    "cost": (lambda: costs(1.4), lambda: costs(3.0), lambda: costs(1.9)),
    "entropy": (lambda: flatter(0.5, 0.6), lambda: flatter(0.5, -0.6), lambda: flatter(0.5, 0.001)),
    "gains": (lambda: gain(0.8, 0.8, 0.8), lambda: gain(0.8, 0.6, 0.8), lambda: gain(0.8, 0.71, 0.8)),
    "best value": (
        lambda: checks.best_value("c", {1: [0.8], 2: [0.6], 4: [0.6]}, 1, 1000),
        lambda: checks.best_value("c", {1: [0.6], 2: [0.8], 4: [0.6]}, 1, 1000),
        lambda: checks.best_value("c", {1: [0.8], 2: [0.79], 4: [0.6]}, 1, 1000),
    ),
    "variance falls": (
        lambda: checks.variance_falls({"a": -0.9, "b": -0.1}),
        lambda: checks.variance_falls({"a": -0.9, "b": 0.1}),
        lambda: checks.variance_falls({"a": float("nan")}),
    ),
    "correlation": (
        lambda: checks.variance_against_accuracy({"a": -0.9}),
        lambda: checks.variance_against_accuracy({"a": -0.9, "b": -0.4}),
        lambda: checks.variance_against_accuracy({"a": float("nan")}),
    ),
    "attention": (
        lambda: checks.merged_attention([0.5, 0.6, 0.5], [0.6, 0.6, 0.5], [0.1, 0.2, 0.1]),
        lambda: checks.merged_attention([0.5, 0.6, 0.5], [0.1, 0.1, 0.0], [0.4, 0.5, 0.4]),
        lambda: checks.merged_attention([0.5, 0.1, 0.3], [0.6, 0.6, 0.5], [0.3, 0.3, 0.2]),
    ),
    "separation": tuple(
        lambda dsr=dsr: checks.clearer_separation(
            {"vanilla": [0.10, 0.12], "drg": [0.11, 0.12], "dsr": dsr},
            {"vanilla": [0.5, 0.52], "drg": [0.5, 0.5], "dsr": [0.6, 0.61]},
        )
        for dsr in ([0.20, 0.21], [0.01, 0.02], [0.05, 0.20])
    ),
    "blocks": tuple(
        lambda a=a: checks.block_choice(
            {"1": [a[0]], "2": [a[1]], "3": [a[2]]}, {"1": 1, "2": 1, "3": 1, "1+2": 1.2, "1+3": 1.2, "2+3": 1.2}, 1000
        )
        for a in ((0.7, 0.8, 0.6), (0.8, 0.7, 0.6), (0.7, 0.71, 0.6))
    ),
}


@pytest.mark.parametrize("name", VERDICTS)
def test_every_verdict_can_go_all_three_ways(name):
    held, failed, unknown = (make() for make in VERDICTS[name])
    assert (held.held, failed.held, unknown.held) == (True, False, None)
    assert all(re.search(r"\d|nan", v.measured) and v.claim for v in (held, failed, unknown)), "the numbers are in the sentence"


def test_cost_reports_its_ratios_and_counts_less_as_less():
    assert costs(1.4).measured.startswith("0.70 of BYOT's time")
    assert costs(1.4, dlb=1.0).held is False, "slower than one of the two"
    size = {"byot": 2.0, "drg+dsr": 2.5}
    assert checks.cost({"byot": 2.0, "dlb": 2.0, "drg+dsr": 1.4}, size).held is False, "larger than BYOT"
    plain = checks.cost({"byot": 2.0, "dlb": 2.0, "drg+dsr": 1.4}, {"byot": 2.0, "drg+dsr": 1.5})
    assert plain.held is True, "plain seconds have no range"


@pytest.mark.parametrize("check", [checks.variance_falls, checks.variance_against_accuracy])
def test_nothing_measured_is_nothing_told(check):
    assert check({}).held is None
    assert checks.less_confident({"vanilla": [1.0, 2.0]}, {"vanilla": 0.1}).held is None
    assert check({"a": float("nan"), "b": 0.9}).held is False, "one run that contradicts is enough"


@pytest.mark.parametrize("grid", [{}, {1: [0.8]}, {2: [0.6], 8: [0.7]}])
def test_a_sweep_without_the_papers_value_or_a_rival_cannot_tell(grid):
    assert checks.best_value("c", grid, 1, 1000).held is None


def test_mean_entropies_without_images_go_by_their_sign():
    ece = {"vanilla": 0.1, "drg": 0.2}
    assert checks.less_confident({"vanilla": 1.0, "drg": 1.2}, ece).held is True
    assert checks.less_confident({"vanilla": 1.0, "drg": 0.9}, ece).held is False


def test_pairs_that_cost_nothing_more_contradict_table_4():
    accuracy = {"1": [0.7], "2": [0.8], "3": [0.6]}
    seconds = {"1": 1, "2": 1, "3": 1, "1+2": 0.5, "1+3": 1.2, "2+3": 1.2}
    assert checks.block_choice(accuracy, seconds, 1000).held is False


def test_paired_values_belong_to_the_same_images():
    assert checks.paired([2.0], [1.0]) is None, "one image has no spread"
    assert checks.paired([1.1, 5.1, 9.2], [1.0, 5.0, 9.0]) is True, "the images' own differences do not hide a small one"
    with pytest.raises(ValueError, match="same images, got 2 and 3"):
        checks.paired([1.0, 2.0], [1.0, 2.0, 3.0])


def test_seconds_get_no_accuracy_beside_them():
    rows = papers.compare(papers.table("drg_dsr_table4"), {"2": [0.64]}, by="hp_value", recipe="quick")
    assert [(r["metric"], r["own"]) for r in rows if r["own"] is not None] == [("top1_acc", pytest.approx(64))]
