"""Figures of records: what is drawn is what was handed in, and every picture says where its numbers come from."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest

from sdkit import figures
from sdkit.figures import records
from sdkit.figures.records import Sheet, gain_by_length, length_sheet, recorded_gains, score_sheet, seed_curves, stamp
from sdkit.papers.printed import Printed
from sdkit.studies.compare import Band, Row
from sdkit.studies.lengths import ByLength, Gain, Level, Said


def gain_of(seeds, margin, told, epochs=0):
    """A gain with the interval ± margin, all of it the test images', so that it is a normal one; nan: without an interval."""
    known = not math.isnan(margin)
    return Gain(seeds, 0.0, (margin / 1.959964) ** 2, float(known), told, epochs=epochs)


def row(name="drg", gain=0.02, margin=0.01, accuracy=(0.51, 0.53), told=None, step=0.02, pace=1.5, **said):
    plain = {"best": [0.6] * len(accuracy), "seeds": len(accuracy), "diverged": 0}
    above = None if math.isnan(gain) else gain_of(dict.fromkeys(range(len(accuracy)), gain), margin, told)
    return Row(name, name, list(accuracy), above=above, step=step, pace=pace, **plain | said)


VANILLA = row("vanilla", math.nan, math.nan, (0.50, 0.50), pace=math.nan)
PAPER = Printed("drg_dsr", "I", "ResNet18", "CIFAR-100", {"vanilla": 0.7, "drg": 0.75, "byot": 0.6})
LABEL = "recorded, on CPU, 2 threads, recipe own, 2 seeds"


@pytest.mark.parametrize("made", [Row, Band, Gain, Level, Said, ByLength])
def test_what_the_studies_make_has_all_that_the_figures_read(made):
    read = getattr(records, made.__name__).__annotations__
    has = {*dir(made), *getattr(made, "__dataclass_fields__", ())}
    assert not read.keys() - has


def points(ax):
    return {line.get_label(): line.get_xydata().tolist() for line in ax.get_lines()}


def test_gains_stand_where_they_are_and_papers_where_theirs_are():
    _, ax = figures.new()
    recorded_gains([VANILLA, row()], [PAPER], ax)
    drawn = points(ax)
    (bar,) = ax.collections
    assert [x for x, _ in drawn["recorded: every seed"]] == pytest.approx([1, 3])
    assert drawn["paper 004, Table I, ResNet18 on CIFAR-100"][0][0] == pytest.approx(5) and len(drawn[str(PAPER)]) == 1
    assert bar.get_segments()[0][:, 0].tolist() == pytest.approx([1, 3])  # 2 ± 1 points
    assert [t.get_text() for t in ax.get_yticklabels()] == ["DRG"] and "50.0 % here" in ax.get_xlabel()
    assert [t.get_text().startswith("recorded") for t in ax.get_legend().get_texts()] == [True, True, False]


def test_gains_of_nothing_and_of_one_seed_are_drawn_without_a_warning(recwarn):
    for rows in ([], [VANILLA], [VANILLA, row(margin=math.nan, accuracy=(0.52,))]):
        figure, ax = figures.new()
        recorded_gains(rows, [], ax)
        assert figures.png(stamp(figure, LABEL))
    assert not recwarn.list


def test_a_band_reaches_from_the_lowest_seed_to_the_highest():
    _, ax = figures.new()
    seed_curves({"drg": Band([1, 2], [[0.1, 0.4], [0.3, 0.5]]), "byot": Band([1, 2], [[0.2, 0.2]])}, ax, "a", percent=True)
    assert points(ax)["DRG"] == [[1, pytest.approx(20)], [2, pytest.approx(45)]]
    (band,) = ax.collections  # one seed has none
    corners = {tuple(np.round(v, 6)) for v in band.get_paths()[0].vertices}
    assert corners == {(1, 10), (1, 30), (2, 40), (2, 50)}


def test_of_many_curves_plain_training_alone_has_a_band_and_the_legend_says_what_it_is():
    seeds = [[0.1, 0.4], [0.3, 0.5]]
    _, ax = figures.new()
    seed_curves({name: Band([1, 2], seeds) for name in ("vanilla", "byot", "drg")}, ax, "a")
    (band,) = ax.collections
    said = [t.get_text() for t in ax.get_legend().get_texts()]
    assert band.get_label() == said[-1] == "vanilla: lowest to highest seed"
    _, ax = figures.new()
    seed_curves({name: Band([1, 2], seeds) for name in ("vanilla", "byot")}, ax, "a")
    assert len(ax.collections) == 2
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["vanilla", "BYOT", "lowest to highest seed"]


def test_a_picture_carries_its_label():
    figure, _ = figures.new()
    stamp(figure, LABEL)
    assert figure.get_supxlabel() == LABEL


def test_a_sheet_says_mean_spread_gain_and_what_cannot_be_told():
    sheet = score_sheet([VANILLA, row(diverged=1), row("byot", 0.3, 0.1, (0.8,), True, math.nan, math.nan)], LABEL)
    vanilla, drg, byot = (dict(zip(sheet.head, cells, strict=True)) for cells in sheet.rows)
    assert vanilla["last epoch, %"] == "50.0 ± 0.0" and vanilla["above vanilla, points"] == vanilla["told apart?"] == ""
    assert drg["last epoch, %"] == "52.0 ± 1.4" and drg["above vanilla, points"] == "+2.0 ± 1.0"  # 1.4: sample, n - 1
    assert drg["told apart?"].startswith("no: ") and "more seed" in drg["told apart?"]
    assert drg["seeds"] == "2, 1 diverged"
    assert (byot["told apart?"], byot["last epoch, %"]) == ("yes, higher", "80.0")
    assert drg["best epoch of those watched, %"] == "60.0 ± 0.0" and LABEL in repr(sheet) and LABEL in sheet._repr_html_()


def test_a_sheet_is_safe_html_and_has_as_many_cells_as_its_head():
    assert "<td>&lt;b&gt;</td>" in Sheet(["a"], [["<b>"]])._repr_html_()
    with pytest.raises(ValueError, match=r"every row of this table has 2 cells, got \[1\]"):
        Sheet(["a", "b"], [["1"]])


# against the length of training


class Found(NamedTuple):
    """What `sdkit.studies.ByLength` has, made by hand."""

    gains: dict
    said: dict
    plain: list
    lengths: list
    usual: int | None = 16
    recipe: str = "quick"
    label: str = LABEL
    setting: str = "four-stage on shapes"
    margins: str = "Intervals: by hand"


SHORT, LONG = gain_of({0: 0.05, 1: 0.03}, 0.01, True, 10), gain_of({0: 0.01}, 0.03, None, 160)
FOUND = Found(
    {"byot": [SHORT, LONG], "self-guidance, survival=0.5": [LONG]},
    {"byot": Said("faster", ""), "self-guidance, survival=0.5": Said("cannot be told", "")},
    [Level(10, [0.5, 0.52], [0.4, 0.42]), Level(160, [0.8], [0.99])],
    [10, 160],
)


def titles(ax):
    return ax.get_title(loc="left"), ax.get_title(loc="right")


def test_a_gain_against_length_is_drawn_a_method_a_panel_and_plain_training_after_them():
    figure, axes = figures.new(columns=3, rows=2)
    byot, guided, plain = gain_by_length(FOUND, axes)
    assert len(figure.axes) == 3  # what is left over is taken away
    assert [titles(ax) for ax in (byot, guided)] == [("BYOT", "faster"), ("Self-Guidance", "cannot be told")]
    drawn = points(byot)
    assert drawn["a seed"] == [[10, pytest.approx(5)], [10, pytest.approx(3)], [160, pytest.approx(1)]]
    assert drawn["mean gain, told from zero"] == [[10, pytest.approx(4)]]
    assert drawn["not told from zero"] == [[160, pytest.approx(1)]]
    (bars,) = byot.collections
    assert [s[:, 1].tolist() for s in bars.get_segments()] == [pytest.approx([3, 5]), pytest.approx([-2, 4])]
    assert points(plain)["test"] == [[10, pytest.approx(51)], [160, pytest.approx(80)]]
    assert points(plain)["training"] == [[10, pytest.approx(41)], [160, pytest.approx(99)]]
    for ax in (byot, guided, plain):
        assert ax.get_xscale() == "log" and [t.get_text() for t in ax.get_xticklabels()] == ["10", "160"]
        assert 16 in [line.get_xdata()[0] for line in ax.get_lines()] and ax.get_xlim() == byot.get_xlim()
    assert byot.get_ylim() == guided.get_ylim()
    (key,) = figure.legends
    assert [t.get_text() for t in key.get_texts()][-1] == "the recipe quick: 16 epochs"


def test_gains_by_length_that_are_not_there_yet_are_drawn_without_a_warning(recwarn):
    one = gain_of({0: 0.05}, math.nan, None, 10)
    some = FOUND._replace(gains={"byot": [one]}, plain=FOUND.plain[:1], usual=None, lengths=[10])
    for found in (some, some._replace(gains={}), some._replace(gains={}, plain=[])):
        figure, axes = figures.new(columns=2)
        gain_by_length(found, axes)
        assert figures.png(stamp(figure, LABEL))
    assert not recwarn.list
    figure, ax = figures.new()
    with pytest.raises(ValueError, match="2 methods and plain training want 3 panels, got 1"):
        gain_by_length(FOUND, ax)


def test_bars_that_would_dwarf_the_gains_run_out_of_the_panel():
    _, axes = figures.new(columns=2)
    wide = FOUND._replace(gains={"byot": [gain_of(SHORT.seeds, 0.9, True, 10)]})
    low, high = gain_by_length(wide, axes)[0].get_ylim()
    assert -8 < low < 0 and 5 < high < 13


def test_a_sheet_of_lengths_says_each_gain_and_what_they_come_to():
    sheet = length_sheet(FOUND)
    assert sheet.head == ["points above vanilla", "10 epochs", "160 epochs", "so it is"]
    assert sheet.rows == [
        ["BYOT", "+4.0 ± 1.0, higher", "+1.0 ± 3.0", "faster"],
        ["Self-Guidance, survival 0.5", "-", "+1.0 ± 3.0", "cannot be told"],
    ]
    assert LABEL in sheet.caption and "Intervals: by hand" in sheet.caption


def test_noise_of_short_trainings_does_not_hide_the_intervals_of_long_ones():
    noisy = gain_of({0: 0.25, 1: -0.2}, 0.3, None, 4)
    _, axes = figures.new(columns=2)
    ax = gain_by_length(FOUND._replace(gains={"byot": [noisy, LONG]}, lengths=[4, 160]), axes)[0]
    low, high = ax.get_ylim()
    assert low < -20 and high > 25, "every seed is still there"
    bottom, top = ax.transAxes.inverted().transform(ax.transData.transform([(160, -2), (160, 4)]))[:, 1]
    assert top - bottom > 0.25, "the interval at the longest training is a quarter of the panel"
    assert "logarithmic beyond ±4" in ax.get_ylabel()
    calm = gain_by_length(FOUND, figures.new(columns=3)[1])[0]
    assert calm.get_yscale() == "linear" and "logarithmic" not in calm.get_ylabel()


def test_panels_of_gains_stand_at_equal_distances():
    figure, axes = figures.new(columns=3, width=11)
    used = gain_by_length(FOUND, axes)
    figure.draw_without_rendering()
    boxes = [ax.get_position() for ax in used]
    gaps = [b.x0 - a.x1 for a, b in zip(boxes, boxes[1:], strict=False)]
    assert gaps[0] == pytest.approx(gaps[1], abs=0.01)
