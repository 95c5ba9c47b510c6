"""What stands beside a figure and at a notebook's end: letters, looks of classes, claims with their verdicts, the page."""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest

from sdkit import cli, figures, pages, papers
from sdkit.figures.style import class_look, letters
from sdkit.papers import byot, checks, ddgsd
from sdkit.papers.checks import Verdict
from sdkit.runs import Damaged


@pytest.mark.parametrize("paper", papers.PAPERS)
def test_an_account_holds_every_claim_once_and_the_notice_first(paper):
    first, *others = (claim.id for claim in papers.claims(paper))
    text = papers.account(paper, {first: ("a small net, 2 seeds", [Verdict("it holds", "+1.0 ± 0.2 points", True)])})
    assert [line.split()[0] for line in text.splitlines() if line.startswith(first.split("_c")[0] + "_c")] == [first, *others]
    assert "here, a small net, 2 seeds:" in text and "HELD: it holds; +1.0 ± 0.2 points" in text
    assert text.count("here: not run") == len(others) and "would be: -" not in text
    notice = " ".join(papers.PAPERS[paper].notice.split())
    assert " ".join(text.split()).startswith(notice)


def test_an_account_of_an_unknown_claim_names_the_nearest():
    with pytest.raises(KeyError, match="byot_c1"):
        papers.account("byot", {"byot_c0": ("", [])})


def test_every_figure_of_a_withdrawn_record_carries_its_notice(monkeypatch, tmp_path):
    monkeypatch.setenv("SDKIT_FIGURES", str(tmp_path))
    shown = figures.report(figures.new()[0], "sfr_fig1")._repr_html_()
    assert "significant errors in experimental data" in shown
    assert "significant errors" not in figures.report(figures.new()[0], "byot_fig2")._repr_html_()


def test_panels_with_a_scale_are_lettered_once_and_a_second_scale_is_no_panel():
    figure, axes = figures.new(columns=3)
    for ax in axes[:2]:
        ax.plot([0, 1], [0, 1])
    axes[0].twinx().plot([0, 1], [5, 6])
    figures.bare(axes[2])
    assert letters(figure) == ["(a)", "(b)"]
    assert letters(figure) == [], "written once"
    assert [t.get_text() for ax in figure.axes for t in ax.texts] == ["(a)", "(b)"]
    assert letters(figures.new()[0]) == [], "a single panel needs no letter"


def test_ten_classes_differ_in_print_and_fifty_in_colour():
    looks = [tuple(class_look(i).values()) for i in range(50)]
    assert len(set(looks)) == 50
    assert all(a[0] != b[0] and a[1] != b[1] for a, b in zip(looks, looks[1:], strict=False)), "neighbours differ in both"


def test_a_target_missed_by_less_than_the_error_cannot_be_told():
    accuracy, cost = {"1/2": 0.70, "2/2": 0.79}, {"1/2": 1.0, "2/2": 2.0}
    assert byot.cut_to_target(accuracy, cost, 0.80, n=500).held is None
    assert byot.cut_to_target(accuracy, cost, 0.95, n=500).held is False
    assert byot.cut_to_target(accuracy, cost, 0.70, n=500).held is True


def test_a_source_of_loss_that_is_zero_teaches_nothing():
    assert byot.three_sources({"task": 3.0, "head ce": 6.0, "kd": 0.1, "hint": 0.01}).held is True
    assert byot.three_sources({"task": 3.0, "head ce": 6.0, "kd": 0.1, "hint": 0.0}).held is False


def test_flatness_is_paired_by_direction():
    assert byot.flatter_along([0.5, 1.0, 2.0], [0.7, 1.2, 2.2001]).held is True  # small beside the spread, alike in all three
    assert byot.flatter_along([0.5, 1.0, 2.0], [2.0, 0.5, 1.0]).held is None


def test_a_second_view_is_no_second_network():
    assert ddgsd.second_network(0, 300_000, 300_000).held is True
    assert ddgsd.second_network(10, 300_000, 300_000).held is False


def test_a_gain_must_pass_a_point_and_be_larger_with_many_classes():
    assert ddgsd.beyond_a_point([0.75], [0.70], 10_000).held is True
    assert ddgsd.beyond_a_point([0.705], [0.70], 100_000).held is False
    assert ddgsd.beyond_a_point([0.715], [0.70], 1_000).held is None
    many, few = ([0.75], [0.70], 10_000), ([0.95], [0.945], 10_000)
    assert ddgsd.gains_more(many, few).held is True and ddgsd.gains_more(few, many).held is False


def test_an_order_holds_step_by_step_and_the_best_must_be_above_each():
    scores = {"a": [0.5, 0.5], "b": [0.6, 0.6], "c": [0.7, 0.7], "d": [0.7, 0.701]}
    assert checks.in_order("", scores, ["a", "b", "c"], 10_000).held is True
    assert checks.in_order("", scores, ["a", "c", "b"], 10_000).held is False
    assert checks.in_order("", scores, ["a", "c", "d"], 10_000).held is None
    assert checks.above_all("", scores, ["a", "d"], ["b", "a"], 10_000).held is True
    assert checks.above_all("", scores, ["b"], ["a", "c"], 10_000).held is False


def test_a_verdict_names_methods_as_the_figures_do():
    names = ["vanilla", "byot", "dlb", "cs-kd", "ps-kd", "drg", "dsr", "drg+dsr", "resnet50"]
    assert [checks.label(name) for name in names] == [figures.label(name) for name in names]
    said = checks.gains({"vanilla": [0.7], "drg": [0.8], "dsr": [0.8], "drg+dsr": [0.8]}, 2000).measured
    assert "DRG+DSR +10.0" in said
    flatter = checks.less_confident({"vanilla": 1.0, "drg+dsr": 1.2}, {"vanilla": 0.1, "drg+dsr": 0.2}).measured
    assert flatter == "mean entropy vanilla 1.00 (ECE 0.100), DRG+DSR 1.20 (ECE 0.200)"


def test_one_classifier_is_fewer_than_one_on_every_block():
    none = {"dlb": 0, "cs-kd": 0, "dsr": 0}
    assert checks.one_classifier(none | {"byot": 3000, "drg": 1000}).held is True
    assert checks.one_classifier(none | {"byot": 3000, "drg": 3000}).held is False
    assert checks.one_classifier(none | {"byot": 3000, "drg": 0}).held is False
    assert checks.one_classifier(none | {"byot": 3000, "drg": 1000, "dsr": 1}).held is False


def test_drg_adds_one_shallow_exit_and_deploys_none():
    assert checks.shallow_exit([2], 4, 500, 500).held is True
    assert checks.shallow_exit([2], 4, 501, 500).held is False
    assert checks.shallow_exit([1, 2], 4, 500, 500).held is False
    assert checks.shallow_exit([4], 4, 500, 500).held is False, "the last stage is not shallow"


def test_a_loss_is_its_equation_up_to_rounding():
    assert checks.as_printed("Eq. 10", 2.5, 2.50001).held is True
    assert checks.as_printed("Eq. 10", 2.5, 2.51).held is False


def test_a_teacher_that_feels_the_kl_is_not_constant():
    assert checks.constant_teacher(kl=0.0, labels=0.3).held is True
    assert checks.constant_teacher(kl=1e-6, labels=0.3).held is False
    assert checks.constant_teacher(kl=0.0, labels=0.0).held is False, "a classifier that learns from nothing teaches nothing"


def test_ranked_outputs_forget_the_names_of_classes():
    assert checks.blind_to_names(0.5, 0.5).held is True
    assert checks.blind_to_names(0.5, 0.6).held is False


def test_the_largest_gain_is_held_against_the_papers():
    scores = {"vanilla": [0.7], "drg": [0.71], "dsr": [0.6], "drg+dsr": [0.8]}
    assert checks.largest_gain(scores, 10_000).held is True
    assert checks.largest_gain(scores, 200).held is None
    assert checks.largest_gain(scores | {"drg+dsr": [0.6]}, 2_000).held is None, "DRG gains 1.0 ± 2.9 points"
    assert checks.largest_gain(scores | {"drg+dsr": [0.6]}, 10_000).held is False, "DRG gains 1.0 ± 1.3 points"


NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
HOME = {"sfr": "05_sfr", "ddgsd": "02_ddgsd", "self_guidance": "03_self_guidance", "byot": "01_byot", "drg_dsr": "04_drg_dsr"}


def code_of(paper):
    """All code of a paper's notebook."""
    cells = json.loads((NOTEBOOKS / f"{HOME[paper]}.ipynb").read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")


@pytest.mark.parametrize("paper", papers.PAPERS)
def test_every_figure_and_every_claim_of_a_paper_has_its_place_in_its_notebook(paper):
    code = code_of(paper)
    reported = set(re.findall(r'figures\.report\([^,]+, f?"(\w+)', code))
    if "byot_fig6" in reported:  # one cell reports all four of its panels
        reported |= {f"byot_fig6{letter}" for letter in "abcd"}
    assert {note.id for note in papers.figures(paper)} <= reported
    assert f'figures.account("{paper}"' in code
    assert set(re.findall(r'"([a-z]+_c\d+)":', code)) <= {claim.id for claim in papers.claims(paper)}


@pytest.mark.parametrize("paper", papers.PAPERS)
def test_every_figure_of_a_paper_has_a_verdict(paper):
    calls = [c for c in ast.walk(ast.parse(code_of(paper))) if isinstance(c, ast.Call)]
    reports = [c for c in calls if ast.unparse(c.func) == "figures.report"]
    assert reports
    for call in reports:
        assert len(call.args) > 2 and not isinstance(call.args[2], ast.JoinedStr | ast.Constant), ast.unparse(call)


FORMULAS = "With $p_l$ in `$HOME$`,\n\n$$\\|x\\|^2=\\underbrace{y}_{\\text{Eq. 1}}$$\n\nand $\\left(a$."
TEX = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(FORMULAS)])


def test_a_page_shows_its_formulas_without_the_net():
    pytest.importorskip("latex2mathml")
    page = pages.page(TEX)
    page = page[page.index("<body") :]
    assert page.count("<math") == 2 and page.count('display="block"') == 1
    assert page.count("‖") == 2, "the norm's bars"
    assert "$HOME$" in page, "code is no formula"
    assert r"$\left(a$" in page, "what cannot be read stays as it is written"


def test_a_page_says_that_a_panel_is_still_and_keeps_its_pictures():
    state = {
        "box": {"state": {"children": ["IPY_MODEL_picture", "IPY_MODEL_empty"]}},
        "picture": {"state": {"_model_name": "ImageModel"}, "buffers": [{"path": ["value"], "data": "abcd" * 300}]},
        "empty": {"state": {"_model_name": "ImageModel"}, "buffers": [{"path": ["value"], "data": "abcd"}]},
    }
    view = nbformat.v4.new_output("display_data", {pages.VIEW: {"model_id": "box"}, "text/plain": "VBox(children=(HBox("})
    cell = nbformat.v4.new_code_cell("Panel()", outputs=[view])
    live = nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": {pages.STATE: {"state": state}}})
    page = pages.page(live)
    assert "open the notebook to move it" in page and "VBox" not in page
    assert page.count("data:image/png;base64,abcd") == 1
    assert live.cells[0].outputs[0].data[pages.VIEW], "the notebook itself keeps its panel"


def relative_links(page):
    """Every link of a page that starts from the page itself."""
    found = re.findall(r'<(?:a|img)\b[^>]*? (?:href|src)="([^"#][^"]*)"', page.read_text(encoding="utf-8"))
    return [unquote(link.partition("#")[0]) for link in found if not re.match(r"[\w+.-]+:|/", link)]


def test_every_relative_link_of_an_exported_page_leads_to_a_file(tmp_path):
    """To the other page, once it is there; to the checkout's documentation; what leads nowhere is no link."""
    notebooks, folder = tmp_path / "home" / "notebooks", tmp_path / "home" / "figures" / "notebooks"
    for made in (notebooks, folder, docs := tmp_path / "home" / "docs"):
        made.mkdir(parents=True)
    (docs / "lab.md").write_text("x")
    said = "[first](00_first.ipynb#top), [lab](../docs/lab.md#a), [gone](../docs/gone.md), [out](https://x.org), [in](#here)"
    for name in ("06_last", "00_first"):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(said)])
        nbformat.write(notebook, notebooks / f"{name}.ipynb")
        (folder / f"{name}.html").write_text(pages.page(notebook), encoding="utf-8")
        pages.relink(folder, notebooks)
        links = relative_links(folder / "06_last.html")
        assert all((folder / link).exists() for link in links), links
        assert links == ([] if name == "06_last" else ["00_first.html"]) + ["../../docs/lab.md"]
    page = (folder / "06_last.html").read_text(encoding="utf-8")
    assert 'href="00_first.html#top"' in page and 'href="../../docs/lab.md#a"' in page and ">gone</a>" in page
    assert 'href="https://x.org"' in page and 'href="#here"' in page
    pages.relink(folder, notebooks)
    assert (folder / "06_last.html").read_text(encoding="utf-8") == page, "linked again it is the same"


@pytest.mark.parametrize("notebook", sorted(NOTEBOOKS.glob("[0-9]*.ipynb")), ids=lambda path: path.stem)
def test_the_links_of_a_notebook_s_page_lead_to_files_and_not_to_notebooks(notebook, tmp_path):
    (tmp_path / notebook.with_suffix(".html").name).write_text(pages.page(nbformat.read(notebook, 4)), encoding="utf-8")
    for other in NOTEBOOKS.glob("[0-9]*.ipynb"):
        if other != notebook:
            (tmp_path / f"{other.stem}.html").write_text("x")
    pages.relink(tmp_path, NOTEBOOKS)
    links = relative_links(tmp_path / f"{notebook.stem}.html")
    assert all((tmp_path / link).exists() and not link.endswith(".ipynb") for link in links), links


def test_a_page_without_the_converter_keeps_its_formulas_as_they_are_written(monkeypatch):
    monkeypatch.setitem(sys.modules, "latex2mathml.converter", None)
    assert "$p_l$" in pages.page(TEX)


def test_what_came_of_the_claims_is_kept_beside_the_figures_and_read_by_all(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SDKIT_FIGURES", str(tmp_path / "figures"))
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    held, lost, open_ = (checks.Verdict("it <rises>", "by 3", h) for h in (True, False, None))
    shown = figures.account("byot", {"byot_c1": ("shapes, one seed", [held]), "byot_c2": ("shapes", [held, lost])})
    assert "it &lt;rises&gt;" in shown._repr_html_() and "HELD: it <rises>; by 3" in str(shown)
    figures.account("byot", {"byot_c3": ("digits", [held, open_])})  # another notebook's: the others stay
    found = figures.accounts()
    words = {claim.id: word for claim, word, _, _ in found.rows()}
    assert len(words) == sum(len(papers.claims(paper)) for paper in papers.PAPERS)
    assert [words[f"byot_c{n}"] for n in (1, 2, 3, 4)] == ["held", "did not hold", "cannot be told at this scale", "not judged"]
    assert found.tally()["byot"]["not judged"] == len(papers.claims("byot")) - 3
    page = figures.index(tmp_path / "figures").read_text()
    assert "Its claims" not in page and "<h2>Claims</h2>" in page, "no figure of the paper is there, its tally is"
    cli.main(["claims", "byot", "--keep"])
    said, rest = capsys.readouterr().out, len(papers.claims("byot")) - 3
    tally = {"not judged": rest, "held": 1, "did not hold": 1, "cannot be told at this scale": 1}
    (line,) = re.findall("^byot: (.*)$", said, re.M)
    assert sorted(line.split(", ")) == sorted(f"{n} {word}" for word, n in tally.items()) and "all papers" not in said
    cli.main(["claims"])
    assert f"all papers: {len(words) - 3} not judged, " in capsys.readouterr().out
    monkeypatch.setenv("SDKIT_FIGURES", str(tmp_path / "nothing"))
    assert figures.accounts().found == found.found and figures.accounts().device.startswith(("CPU", "NVIDIA"))
    figures.account("sfr", {"sfr_c1": ("shapes", [held])})
    cli.main(["claims", "sfr", "--keep"])
    monkeypatch.setenv("SDKIT_FIGURES", str(tmp_path / "none"))
    assert figures.accounts().found.keys() == {*found.found, "sfr_c1"}, "what another notebook's judged stays recorded"


@pytest.mark.parametrize("content", ["[]", '{"claims": [1]}', '{"claims": {"byot_c1": {"where": "x"}}}', "{"])
def test_verdicts_that_cannot_be_read_are_named_and_judged_anew(content, tmp_path, monkeypatch):
    monkeypatch.setenv("SDKIT_FIGURES", str(tmp_path))
    (tmp_path / "byot").mkdir()
    (tmp_path / "byot" / "claims.json").write_text(content)
    with pytest.raises(Damaged):
        figures.accounts(tmp_path)
    assert "claims.json" in figures.index(tmp_path).read_text()
    figures.account("byot", {"byot_c1": ("shapes", [checks.Verdict("it rises", "by 3", True)])})
    assert figures.accounts(tmp_path).tally()["byot"]["held"] == 1
