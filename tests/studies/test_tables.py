"""A paper's table run again: its rows at a scale, what is trained for them, and what is said beside the paper's numbers."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import numpy as np
import pytest

from sdkit import cli, papers, runs, studies
from sdkit.papers.settings import Printed
from sdkit.studies import Gain, Line, PaperTable, Place, rerun, result, tables
from sdkit.studies.written import FORMS

HERE = Place("four-stage", "shapes")


@pytest.mark.parametrize("name", papers.TABLES)
def test_every_table_is_laid_on_the_built_in_images(name):
    """Each number of a deployed network stands once; lines are compared with lines; no training is as long as the paper's."""
    found = studies.table(name, "quick", train=False)
    ((place, lines),) = found.lines.items()
    assert place == (HERE._replace(data="reid") if name == "sfr_table3" else HERE)
    names = [line.name for line in lines]
    assert len(names) == len({*names}) and {line.reference for line in lines} <= {"", *names}
    assert sum(not line.reference for line in lines) < len(lines), "something is compared"
    wanted = [p for row in papers.rows(name) for p in papers.settings.settled(row).printed if p.metric in tables.UNITS]
    wanted = [p for p in wanted if p.classifier in ("", "Classifier 4/4")]
    assert sorted(p.value for line in lines for p in line.printed.values()) == sorted(p.value for p in wanted)
    for e in (line.experiment for line in lines):
        assert (e.model, e.data, e.recipe.epochs) in (("four-stage", place.data, 40), ("embedded", place.data, 40))


@pytest.mark.parametrize("name", papers.TABLES)
def test_a_row_of_every_table_is_trained_beside_its_reference(name, tmp_path, monkeypatch):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    whole = next(iter(studies.table(name, "smoke", train=False).lines.values()))
    last = next(line for line in reversed(whole) if line.reference and line.printed)
    pair = [line.experiment for line in whole if line.name in (last.name, last.reference)]
    monkeypatch.setattr(rerun, "_every", lambda laid, seeds: pair)
    found = studies.table(name, "smoke", jobs=1, progress=False)
    done = {line.name: line for line in next(iter(found.lines.values())) if line.accuracy}
    assert {last.name, last.reference} <= done.keys()
    gap = done[last.name].accuracy[0] - done[last.reference].accuracy[0]
    assert done[last.name].above.mean == pytest.approx(gap) and done[last.name].above.told is None, "one seed tells nothing"
    for form in FORMS:
        assert last.name.partition("_")[0][:20] in found.written(form), form


def test_every_row_is_run_at_a_seed_before_any_at_the_next(monkeypatch, tmp_path):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    asked, shown = [], []
    monkeypatch.setattr(rerun, "run_all", lambda listed, *_, **__: asked.append([(e.method, e.seed) for e in listed]))
    studies.table("sfr/2", "smoke", seeds=(3, 5), live=shown.append)
    assert [{seed for _, seed in once} for once in asked] == [{3}, {5}] and [t.seeds for t in shown] == [(3,), (3, 5)]
    assert [m for m, _ in asked[0]] == [m for m, _ in asked[1]] and len(asked[0]) == 9
    taught = next(line.experiment for line in next(iter(shown[1].lines.values())) if line.name == "AT")
    assert rerun._seeded(taught, 5).teacher.seed == 5, "a teacher of its own at every seed"


def test_what_is_recorded_is_found_and_compared_seed_by_seed(monkeypatch):
    """The gain of DRG is the mean of its differences at the seeds that both have; nothing is trained for it."""
    before, read = len(runs.all_runs()), []
    monkeypatch.setattr(result, "read_result", lambda path, real=result.read_result: read.append(path.stem) or real(path))
    found = studies.table("drg_dsr/1", "quick", seeds=(0, 1, 2, 99), train=False)  # nobody recorded the last
    lines = {line.name: line for line in found.lines[HERE]}
    drg, plain = lines["DRG (ours)"], lines["Vanilla"]
    assert len(drg.accuracy) == len(plain.accuracy) == 3
    assert drg.above.mean == pytest.approx(np.mean(np.subtract(drg.accuracy, plain.accuracy)))
    assert len(runs.all_runs()) == before
    used = sum(len(line.accuracy) for line in lines.values())
    assert len(found.missing) == 4 * len(lines) - used >= len(lines), "the rest is missing"
    assert f"{used} of {used} runs are recorded, on CPU" in str(found), "what is shown from records says so"
    assert len(read) == used, "no other record is read"


def built(printed: list[float], told: bool | None, error: bool = False) -> tuple[PaperTable, Line]:
    """A table of two lines: what the paper prints of one above the other at each of its networks, and what was told here."""
    metric = "top1_err" if error else "top1_acc"
    at = [Place(f"net {i}", "data") for i in range(len(printed))]

    def numbers(above):
        return {p: Printed(metric, 50 + (-g if error else g), "%", "") for p, g in zip(at, above, strict=True)}

    gain = Gain({0: 0.01, 1: 0.03}, 1e-5, 1e-5, 4.0, told=told)
    base = Line("plain", studies.SCALES["quick"], "", numbers([0.0] * len(at)), [0.7, 0.71])
    ours = replace(base, name="ours", reference="plain", printed=numbers(printed), above=gain)
    return PaperTable("drg_dsr_table1", (0, 1), {HERE: (base, ours)}, "test accuracy"), ours


@pytest.mark.parametrize("error", [False, True])
@pytest.mark.parametrize(
    ("printed", "told", "said"),
    [
        ([1.0, 2.0], True, "holds"),
        ([1.0, 2.0], False, "does not hold"),
        ([-1.0], False, "holds"),
        ([-1.0], True, "does not hold"),
        ([1.0, -1.0], True, "the paper has both signs"),
        ([1.0], None, "cannot be told: "),
        ([0.0], True, ""),
    ],
)
def test_a_claim_is_the_sign_of_the_papers_gain(printed, told, said, error):
    """Errors count upside down."""
    table, ours = built(printed, told, error)
    assert table.verdict(ours, HERE).startswith(said) and bool(table.verdict(ours, HERE)) == bool(said)
    assert [*table.gained(ours, HERE).values()] == pytest.approx(printed)


def test_a_csv_has_every_number_of_the_paper_and_what_is_here():
    found, _ = built([1.0, 2.5], True)
    rows = [*csv.DictReader(io.StringIO(found.written("csv")))]
    assert [(r["row"], float(r["paper"])) for r in rows] == [("plain", 50), ("plain", 50), ("ours", 51), ("ours", 52.5)]
    assert {r["here"] for r in rows} == {"70.5"} and rows[3]["gain"] == "2.0" and rows[3]["claim"] == "holds"


def test_latex_and_html_take_the_names_as_text():
    found, ours = built([1.0], None)
    odd = replace(found, lines={HERE: (replace(ours, name="TF-KD_reg & <b>"),)})
    assert "TF-KD\\_reg \\& " in odd.written("latex") and "\\toprule" in odd.written("latex")
    assert "&lt;b&gt;" in odd.written("html") and "<b>" not in odd.written("html")
    with pytest.raises(KeyError, match="no form of a table"):
        found.written("docx")


def test_recall_at_1_is_that_of_the_nearest_image():
    """By slow distances of every query to every image of the gallery, those by the query's own camera left out."""
    listed = studies.table("sfr/3", "smoke", train=False).lines
    e = next(line.experiment for line in next(iter(listed.values())) if line.experiment.method == "triplet")
    model, method, data = e.build()

    class Untrained:
        pass

    Untrained.model, Untrained.data = model.eval(), data
    hits = rerun.found_again(Untrained).tolist()
    query, gallery = data.retrieval()
    ours, theirs = (rerun._embeddings(Untrained, images.x).double().numpy() for images in (query, gallery))
    for i in range(0, len(ours), 37):
        cosine = theirs @ ours[i] / np.linalg.norm(theirs, axis=1)
        same = (gallery.y == query.y[i]).numpy()
        cosine[same & (gallery.camera == query.camera[i]).numpy()] = -np.inf
        assert hits[i] == bool(same[cosine.argmax()])


def test_a_table_gives_every_method_the_same_tries_and_shows_both(tmp_path, monkeypatch):
    """BYOT has a main weight and DSN none; the best try on validation images is the one in the second column."""
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    asked = {"tries": 3, "validation": 100, "progress": False}
    before = studies.table("byot/4", "smoke", train=False, **asked)
    tries = [e for e in before.missing if e.dataset.get("validation") == 100]
    assert {e.method for e in tries} == {"byot"} and len({e.knobs["alpha"] for e in tries}) == 3 and before.lines
    found = studies.table("byot/4", "smoke", **asked)
    (lines,) = found.lines.values()
    dsn, byot = lines
    best = max(tries, key=lambda e: e.run(progress=False).validation_accuracy)
    assert byot.tuned.experiment.knobs["alpha"] == best.knobs["alpha"] and "validation" not in byot.tuned.experiment.dataset
    assert byot.tuned.accuracy == pytest.approx([byot.tuned.experiment.run(progress=False).accuracy])
    assert dsn.tuned is None and not found.missing
    (first, second) = next(iter(found.blocks().values()))
    assert first["tuned alike, 3 tries"] == first["here, test accuracy (seeds)"] and not first["chosen"]
    assert second["chosen"] == byot.chosen or second["chosen"] == "the paper's" and best.knobs == byot.experiment.knobs
    assert {"tuned", "tuned gain", "chosen"} <= found.records()[0].keys() and "3 tries" in found.written("latex")
    with pytest.raises(ValueError, match="2 and more"):
        studies.table("byot/4", "smoke", tries=1)


def test_the_command_says_what_is_missing_then_trains_and_writes_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    cli.main(["table", "byot/4", "--scale", "smoke", "--dry-run"])
    said = capsys.readouterr().out
    assert said.count("missing: ") == 2 and "2 runs have to be trained" in said and "minutes" in said
    assert not runs.all_runs()
    cli.main(["table", "byot/4", "--scale", "smoke", "--out", str(tmp_path / "t.tex")])
    assert "DSN" in capsys.readouterr().out and "\\bottomrule" in (tmp_path / "t.tex").read_text()
    cli.main(["table", "byot/4", "--scale", "smoke", "--dry-run"])
    assert "0 runs have to be trained" in capsys.readouterr().out
    cli.main(["table", "byot/4", "--scale", "smoke", "--tuned", "2", "--out", str(tmp_path / "new" / "t.csv")])
    assert "tuned gain" in (tmp_path / "new" / "t.csv").read_text()
    smoke = ["byot/4", "--scale", "smoke"]
    wrong = [[*smoke, "--epochs", "0"], [*smoke, "--seeds", "0"], ["byot/4", "--out", "t.docx"]]
    for words in (*wrong, ["byot/4", "--scale", "paper", "--data", "digits"], ["byot/9"]):
        with pytest.raises(SystemExit, match="sdkit: "):
            cli.main(["table", *words])
