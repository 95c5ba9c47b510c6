"""Every row of the papers' tables is an Experiment by its name, and says what no source states."""

from __future__ import annotations

import csv
import inspect
import json
import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from sdkit import Experiment, Recipe, cli, papers, run_all, runs
from sdkit.core import Progress
from sdkit.data.distort import distorted
from sdkit.data.folder import framing
from sdkit.data.pixels import take
from sdkit.experiment import Trained, in_words, of_setting
from sdkit.methods import METHODS, Combined
from sdkit.models import MODELS, as_backbone
from sdkit.papers.settings import settled
from sdkit.train import RECIPES, Training

CLASSES = {
    "cifar10": 10, "cifar100": 100, "tiny_imagenet": 200, "imagenet": 1000, "fer2013": 7, "rafdb": 7, "dukemtmc": 702,
    "cub200_retrieval": 100,
}  # fmt: skip
SIDE = {"imagenet": 224, "cub200_retrieval": 224, "dukemtmc": 128, "tiny_imagenet": 64}


def test_24_tables_of_trainings_and_each_number_of_theirs_belongs_to_a_row():
    assert len(papers.TABLES) == 24
    for name in papers.TABLES:
        rows = papers.rows(name)
        assert rows and len({*rows}) == len(rows)
        numbers = sum(len(settled(row).printed) for row in rows)
        assert numbers == sum(not str(r["metric"]).startswith("speedup") for r in papers.table(name)), name


@pytest.mark.parametrize("table", papers.TABLES)
def test_every_row_of_a_table_is_an_experiment(table):
    for row in papers.rows(table):
        said = papers.setting(
            table, row.method, row.network, row.data, teacher=row.teacher, setting=row.setting, value=row.value
        )
        assert said.row == row, "every row can be asked for by its own words"
        made = of_setting(said)
        assert {"epochs", "batch_size", "lr", "gamma", "milestones", "momentum", "nesterov", "weight_decay"} == {
            *said.recipe
        }, "a row says all of its recipe"
        assert in_words(said) and Experiment.of(made.config) == made, "and is repeated from its record"


def part(kind, model, teacher, knobs):
    """A method of an experiment, built."""
    wanted = inspect.signature(kind).parameters
    offer = {"model": model, "teacher": teacher, "train_size": 4}
    return kind(**{k: v for k, v in offer.items() if k in wanted}, **knobs)


def network(made):
    """Its network on the meta device, without weights that would be fetched."""
    options = made._cut | made.network
    options |= (
        {"backbone_options": options["backbone_options"] | {"pretrained": False}} if "backbone_options" in options else {}
    )
    options |= {"pretrained": False} if "pretrained" in options else {}
    return on_meta(made.model, CLASSES[made.data], SIDE.get(made.data, 32), json.dumps(options, sort_keys=True))


@cache
def on_meta(name, num_classes, side, options):
    with torch.device("meta"):
        return as_backbone(name, num_classes, side, **json.loads(options))


def test_top_five_is_counted_from_the_five_largest_outputs(tmp_path, monkeypatch):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    trained = Experiment(data="digits", dataset={"train_size": 64}, network={"width": 4}, recipe={"epochs": 1}).run(
        progress=False
    )
    logits, y = trained.logits(), trained.labels()
    by_hand = sum(int(y[i]) in sorted(range(10), key=lambda k, row=row: -row[k])[:5] for i, row in enumerate(logits.tolist()))
    trained = Trained(trained.experiment)
    monkeypatch.setattr(runs.Run, "weights", lambda run: pytest.fail("the recorded outputs say it"))
    assert trained.top_accuracy(5) == pytest.approx(by_hand / len(y))
    assert trained.top_accuracy(1) == pytest.approx(trained.accuracy) and trained.top_accuracy(10) == 1
    with pytest.raises(ValueError, match="k is 1 to 10, got 11"):
        trained.top_accuracy(11)
    rows = [r for r in papers.table("ddgsd_table4") if r["model"] == "AlexNet"]
    beside = papers.compare(rows, {"baseline": [0.5]}, recipe="own", top5={"baseline": [0.75]})
    assert {r["metric"]: r["own"] for r in beside if r["own"]} == {"top1_err": 50, "top5_err": 25}


def test_autoaugment_draws_for_each_image_from_the_loaders_own_generator():
    torch.manual_seed(0)
    x = (40 + torch.rand(1, 3, 32, 32) * torch.linspace(20, 120, 32)).round().expand(24, -1, -1, -1)
    before = torch.get_rng_state()
    made = [distorted(x, ["autoaugment"], torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), before), "the global generator is nobody's"
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])
    assert len({tuple(image.flatten().tolist()) for image in made[0]}) > 8, "each image has its own"
    assert made[0].dtype == torch.float32 and 0 <= made[0].min() and made[0].max() <= 255


def test_imagenets_images_may_be_resized_to_a_side_of_their_own():
    assert framing(227, "squashed", side=256) == (227, 227, 256, "squashed")
    assert framing(227, "squashed") == (227, 227, 259, "squashed")
    with pytest.raises(ValueError, match="side is what images are resized to before 227 pixels are cut"):
        framing(227, "squashed", side=200)


def distinct():
    """One row of all that build the same."""
    found = {}
    for row in papers.rows():
        made = of_setting(settled(row))
        found.setdefault(
            str(replace(made, recipe="paper", dataset={}, teacher=made.teacher and replace(made.teacher, recipe="paper"))), made
        )
    return [*found.values()]


BUILT = distinct()


@pytest.mark.parametrize("start", range(0, len(BUILT), 10))
def test_every_rows_network_and_method_are_built(start):
    for made in BUILT[start : start + 10]:
        model = network(made)
        teacher = network(made.teacher) if made.teacher else None
        several = len(made.parts) > 1
        with torch.device("meta"):
            built = [
                part(kind, model, teacher, {
                    k.removeprefix(f"{name}."): v for k, v in made.knobs.items() if not several or k.startswith(f"{name}.")
                })
                for name, kind in made.methods.items()
            ]  # fmt: skip
        whole = Combined(*built, names=made.parts) if several else built[0]
        assert whole.settings() == {k: v for k, v in made.knobs.items() if k in whole.knobs}
        if "dukemtmc" in made.data or "cub" in made.data:
            assert whole.samples_per_class == {"dukemtmc": 3, "cub200_retrieval": 5}[made.data], "P x K batches in every row"


def test_the_recipes_of_hyperparams_csv_are_those_of_the_rows():
    """The same numbers typed twice: each row of hyperparams.csv that is of one network and data set."""
    keys = {"epochs": "epochs", "batch_size": "batch_size", "lr": "lr", "lr_gamma": "gamma", "weight_decay": "weight_decay"}
    asked = [
        ("ddgsd", "ddgsd_table3", "ResNet-32", "CIFAR-10", "ResNet-32/110"),
        ("ddgsd", "ddgsd_table3", "WRN-16-8", "CIFAR-100", "WRN-40-4"),
        ("ddgsd", "ddgsd_table3", "DenseNet-40", "CIFAR-100", "DenseNet-40/100"),
        ("ddgsd", "ddgsd_table4", "AlexNet", "ImageNet-2012", "AlexNet"),
        ("ddgsd", "ddgsd_table4", "ResNet-18", "ImageNet-2012", "ResNet-18"),
        ("self_guidance", "self_guidance_table1", "ResNet-32", "CIFAR-10", "ResNet-32/50/110"),
        ("drg_dsr", "drg_dsr_table1", "ResNet18", "CIFAR-100", "all five"),
        ("drg_dsr", "drg_dsr_table2", "ResNet18", "TinyImageNet", "three"),
        ("sfr", "sfr_table1", "MobileNetV2", "CIFAR-100", "ResNet-18 -> MobileNetV2"),
        ("sfr", "sfr_table2", "ResNet-18", "ImageNet", "ResNet-34 -> ResNet-18"),
    ]
    with open(papers.FOLDER / "hyperparams.csv", newline="", encoding="utf-8") as file:
        lines = [*csv.DictReader(file)]
    for paper, table, net, data, model in asked:
        recipe = papers.setting(table, network=net, data=data).recipe
        found = [r for r in lines if r["paper"] == paper and r["model"].startswith(model) and data in r["dataset"].split("|")]
        assert len(found) >= 5
        for r in found:
            if r["key"] in keys:
                assert recipe[keys[r["key"]]] == float(r["value"]), (table, net, r["key"])
            elif r["key"] == "lr_milestones":
                assert recipe["milestones"] == [int(v) for v in r["value"].split(",")], (table, net)


def test_what_the_papers_say_apart_from_recipes():
    wide = papers.experiment("ddgsd_table1", method="TS")
    assert wide.recipe.batch_size == 64 and wide.teacher.recipe == RECIPES["ddgsd-wrn"], "a teacher has a recipe of its own"
    alex = papers.experiment("ddgsd_table4", network="AlexNet")
    assert alex.dataset == {"size": 227, "crop": "squashed", "side": 256}
    assert {p.metric for p in papers.setting("ddgsd_table4").printed} == {"top1_err", "top5_err"}
    frozen = papers.experiment("sfr_table2", method="SFR-L2").teacher
    assert frozen.recipe.epochs == 0 and frozen.network == {"stem": "imagenet", "pretrained": True}
    tiny = papers.experiment("drg_dsr_table2", method="drg")
    assert tiny.dataset == {"size": 32}
    assert (tiny.recipe.gamma, [round(m * 200) for m in tiny.recipe.milestones]) == (0.1, [100, 150])
    assert papers.experiment("byot_table1", network="WideResNet20-8", method="byot").config["network"]["sections"] == 4
    later = papers.experiment("byot_table1", method="byot", variant="journal")
    assert later.dataset["distort"] == ("autoaugment",) and later.dataset["cutout"] == 16 and later.recipe.epochs == 250
    assert papers.experiment("ddgsd_table5", value=0.001).knobs["mu"] == 0.001
    assert papers.experiment("drg_dsr_table4", value="1+3").knobs["stages"] == (1, 3)
    alone = papers.experiment("sfr_table3", method="RKD w/o task", setting="only triplet")
    assert alone.method == "rkd" and not alone.knobs["task"]
    assert papers.experiment("sfr_table3", method="RKD w/ task", setting="only triplet").method == "rkd+triplet"


def test_paper_004_has_no_nesterov_momentum_and_001_and_002_have():
    for table in papers.TABLES:
        nesterov = {of_setting(settled(row)).recipe.nesterov for row in papers.rows(table)}
        assert nesterov == {table.startswith(("ddgsd", "self_guidance"))}, table


def test_recipes_by_name_are_the_papers():
    for name, table, net in (
        ("paper", "drg_dsr_table1", None), ("paper", "sfr_table1", None), ("ddgsd", "ddgsd_table3", "ResNet-32"),
        ("ddgsd-wrn", "ddgsd_table3", "WRN-40-4"), ("ddgsd-densenet", "ddgsd_table3", "DenseNet-40"),
        ("self-guidance", "self_guidance_table1", None), ("byot", "byot_table1", None),
    ):  # fmt: skip
        assert papers.experiment(table, network=net).recipe == RECIPES[name], name


def test_what_no_source_states_says_so():
    assert any("No source states a schedule for ImageNet: 90 epochs" in n for n in papers.setting("byot_table2").notes)
    assert any("MobileNetV2 is taken" in n for n in papers.setting("sfr_table3", method="L2").notes)
    for paper in ("sfr", "byot"):
        tables = [t for t in papers.TABLES if t.startswith(paper)]
        assert all(settled(row).notes for t in tables for row in papers.rows(t)), "papers 000 and 003 leave much open"


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda: papers.experiment("ddgsd_tabel3"), "did you mean 'ddgsd_table3'"),
        (
            lambda: papers.experiment("ddgsd_table3", method="dml"),
            r"no row with method='dml': it has 'bas.' \(vanilla\), 'SD' \(ddgsd\)",
        ),
        (lambda: papers.experiment("ddgsd_table3", network="resnet18"), r"no row with network='resnet18'.*WRN-16-8"),
        (lambda: papers.experiment("drg_dsr_table1", variant="journal"), "no variant of drg_dsr is called 'journal'"),
        (lambda: Experiment(recipe={"epoch": 3}), "no field of a recipe is called 'epoch': did you mean 'epochs'"),
    ],
)
def test_a_wrong_name_says_what_there_is(ask, sentence):
    with pytest.raises(KeyError, match=sentence):
        ask()


# recipes and teachers


def test_milestones_are_epochs_or_fractions_and_one_recipe():
    assert Recipe(epochs=300, milestones=(150, 225)) == Recipe(epochs=300, milestones=(0.5, 0.75))
    falling = Recipe(epochs=200, milestones=(60, 120, 160), gamma=0.5, lr=1.0)
    assert [falling.rate(Progress(e, 0, 200, 1)) for e in (59, 60, 119, 120, 159, 160)] == [1, 0.5, 0.5, 0.25, 0.25, 0.125]
    for wrong in ((200,), (0,), (60.5,), (-1,)):
        with pytest.raises(ValueError, match="epochs before the last of 200.*or fractions in"):
            Recipe(milestones=wrong)


def test_a_recipe_is_a_name_itself_or_its_fields():
    assert Experiment(recipe={"epochs": 300}).recipe == Recipe(epochs=300)
    assert Experiment(recipe={"name": "quick", "lr": 0.05}).recipe == replace(RECIPES["quick"], lr=0.05)
    with pytest.raises(TypeError, match=r"a recipe is a name, .* or a dict of its fields, .* got 300"):
        Experiment(recipe=300)
    with pytest.raises(TypeError, match="epochs is a whole number, got '300'"):
        Recipe(epochs="300")


def test_a_teacher_of_no_epochs_is_taken_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    small = {"data": "digits", "dataset": {"train_size": 64}, "network": {"width": 4}}
    frozen = Experiment(recipe=Recipe(epochs=0), seed=3, **small)
    made = Experiment("kd", recipe={"epochs": 1, "batch_size": 32}, teacher=frozen, **small)
    _, method, _ = made.build()
    wanted = frozen.build()[0].state_dict()
    (teacher,) = method.teachers().values()
    assert all(torch.equal(v, wanted[k]) for k, v in teacher.net.state_dict().items())
    (trained,) = run_all([made], progress=False)
    assert trained.accuracy >= 0 and not frozen.stored.folder.exists()
    with pytest.raises(ValueError, match="0 epochs trains nothing"):
        frozen.run()


def test_a_peer_has_options_and_a_recipe_of_its_own():
    torch.manual_seed(0)
    model = MODELS["four-stage"](num_classes=10, width=4)
    knobs = {"peer": "four-stage", "peer_options": {"width": 8}, "peer_recipe": {"weight_decay": 0.5, "gamma": 0.5}}
    method = METHODS["dml"](model, **knobs)
    assert method.peers[0].channels[0] == 8
    data = Experiment(data="digits", dataset={"train_size": 64}).load_data()
    recipe = Recipe(epochs=2, batch_size=32, gamma=0.1, milestones=(1,), weight_decay=0, lr=0.1)
    training = Training(model, method, data, recipe, on="cpu", threads=1)
    mine, theirs = training.optimiser.param_groups
    assert (mine["weight_decay"], theirs["weight_decay"]) == (0, 0.5)
    assert {id(p) for p in theirs["params"]} == {id(p) for p in method.peers.parameters()}
    for _ in training.iterate():
        pass
    assert (mine["lr"], theirs["lr"]) == pytest.approx((0.01, 0.05)), "each falls by its own factor"
    with pytest.raises(KeyError, match="no field of a peer's recipe is called 'epochs'"):
        METHODS["dml"](model, peer_recipe={"epochs": 3})


def test_byot_has_four_exits_where_the_last_stage_can_be_halved():
    assert Experiment("byot", model="resnet20").config["network"]["sections"] == 4
    assert Experiment("byot", model="resnet20", network={"sections": 3}).config["network"]["sections"] == 3
    assert Experiment("byot", model="resnet8").config["network"]["sections"] == 3, "one block cannot be halved"
    assert Experiment("drg", model="resnet20").config["network"]["sections"] == 3
    again = replace(Experiment("byot", model="resnet20"), method="vanilla", knobs={})
    assert again.config["network"]["sections"] == 3, "it stays with BYOT"


# the command line and the page


def test_the_command_line_trains_a_row_and_changes_any_field(capsys):
    cli.main(["train", "--paper", "drg_dsr_table1", "--method", "drg", "--epochs", "2", "--weight-decay", "0.1", "--dry-run"])
    out = capsys.readouterr().out
    assert "method='DRG (ours)', network='ResNet18'" in out and "epochs=2" in out and "weight_decay=0.1" in out
    cli.main(["train", "--recipe", "ddgsd", "--epochs", "300", "--batch-size", "32", "--milestones", "100", "200", "--dry-run"])
    assert "epochs=300, batch_size=32, lr=0.1, schedule='step', milestones=(0.3333" in capsys.readouterr().out
    teacher = [
        "--teacher",
        "resnet20",
        "--teacher-network",
        "width=8",
        "--teacher-recipe",
        "ddgsd-wrn",
        "--teacher-recipe",
        "epochs=5",
    ]
    cli.main(["train", "--method", "kd", *teacher, "--dry-run"])
    out = capsys.readouterr().out
    assert "model='resnet20'" in out and "network={'width': 8}" in out and "Recipe(epochs=5, batch_size=128" in out
    with pytest.raises(SystemExit, match="sdkit: --paper says recipe and teacher: change fields"):
        cli.main(["train", "--paper", "drg_dsr_table1", "--recipe", "quick"])


def test_the_page_of_all_rows_is_what_the_command_prints(capsys):
    page = Path(__file__).parents[2] / "docs" / "papers_tables.md"
    cli.main(["list", "tables"])
    printed = capsys.readouterr().out
    assert page.read_text(encoding="utf-8").partition("\n\n## ")[2] == printed.partition("## ")[2], (
        "make it again: see its first lines"
    )
    assert sum(printed.count(f"## {name}\n") for name in papers.TABLES) == 24


# on real images


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("ddgsd_table3", {"method": "ddgsd", "network": "resnet32", "data": "cifar100"}),
        ("self_guidance_table2", {"method": "self-guidance", "data": "cifar100"}),
        ("byot_table1", {"method": "byot", "network": "resnet18"}),
        ("drg_dsr_table1", {"method": "drg+dsr"}),
        ("sfr_table1", {"method": "SFR-L2"}),
    ],
)
def test_a_row_of_each_paper_trains_on_real_images(table, row, tmp_path, monkeypatch, capsys):
    """Two epochs of a row on 100 of CIFAR-100's images, judged by 200: $SDKIT_TEST_DATA is a folder with cifar-100-python."""
    root = os.environ.get("SDKIT_TEST_DATA")
    if not root:
        pytest.skip("SDKIT_TEST_DATA names no folder with cifar-100-python")
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    whole = Experiment.load_data
    monkeypatch.setattr(
        Experiment, "load_data", lambda self: replace(d := whole(self), test=take(d.test, torch.arange(200)))
    )  # of 10,000 test images
    made = papers.experiment(table, **row, recipe={"epochs": 2, "batch_size": 50}, dataset={"train_size": 100, "root": root})
    trained = made.run(progress=False)
    first, last = trained.history
    assert trained.data.num_classes == 100 and {*first.terms} == {*last.terms}
    assert all(v == v and abs(v) < 1e4 for e in trained.history for v in e.terms.values()), "no term leaves the numbers"
    assert last.terms != first.terms and 0 <= trained.accuracy <= 1
    with capsys.disabled():
        terms = ", ".join(f"{k} {first.terms[k]:.3g} -> {v:.3g}" for k, v in last.terms.items())
        print(f"\n{papers.setting(table, **row).row}: training {last.train_accuracy:.1%}; {terms}; {trained.seconds:.0f} s")
