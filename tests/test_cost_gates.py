"""What a step may cost beside vanilla's: FLOPs, operations, waits. Counts, and so the same on every machine.

And the benchmark itself: what it compares is comparable.
"""

from __future__ import annotations

import argparse
import functools
import inspect
import math
import statistics
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from sdkit.analysis import flop_counter, host_syncs
from sdkit.analysis.cost import operations
from sdkit.core import Progress
from sdkit.data import DATASETS, Data, Images
from sdkit.data.pixels import take
from sdkit.methods import METHODS, Combined
from sdkit.models import MODELS, residuals
from sdkit.train import RECIPES, Recipe, Training, fit

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import breakdown  # noqa: E402
import parity  # noqa: E402
import speed  # noqa: E402
from plain import Plain  # noqa: E402

N, BATCH = 64, 8  # images, and images a step


def stepper(name: str, network: str = "four-stage", batch: int = BATCH, classes: int = 100, side: int = 32):
    """A training step on noise, run until memories are full. -> the step, and the network."""
    torch.manual_seed(0)
    x = torch.randint(0, 256, (N, 3, side, side), dtype=torch.uint8)
    images = Images(x, torch.arange(N) % classes)
    names = tuple(map(str, range(classes)))
    data = Data("noise", names, images, Images(x[:0], images.y[:0]), images, (0.5,) * 3, (0.29,) * 3)
    options = {"survival": 0.5} if "self-guidance" in name else {}
    model, methods = MODELS[network](num_classes=classes, **options), []
    for part in name.split("+"):
        wanted = inspect.signature(METHODS[part]).parameters
        offer = {"train_size": N, "num_classes": classes}
        offer |= {"teacher": MODELS[network](num_classes=classes)} if "teacher" in wanted else {}
        before = [model] if "model" in wanted else []
        methods.append(METHODS[part](*before, **{k: v for k, v in offer.items() if k in wanted}))
    method = methods[0] if len(methods) == 1 else Combined(*methods)
    step = Training(model, method, data, replace(RECIPES["paper"], batch_size=batch), on="cpu").stepper()
    step()
    return step, model


def flops(step) -> int:
    with flop_counter() as counter:
        step()
    return int(counter.get_total_flops())


@pytest.fixture(scope="module")
def resnet18() -> dict[str, tuple[float, float]]:
    """FLOPs and operations of a ResNet-18 step of every gated method, as ratios of vanilla's.

    On images of 16 pixels: nearly all FLOPs are convolutions', which shrink alike.
    """
    found = {}
    for name in ("vanilla", *GATES):
        step, _ = stepper(name, "resnet18", batch=2, side=16)
        counted = []
        for _ in range(4 if name == "self-guidance" else 1):  # it samples its network
            with flop_counter() as counter:
                ops = operations(step)
            counted.append(counter.get_total_flops())
        found[name] = statistics.mean(counted), ops
    base = found["vanilla"]
    return {name: (f / base[0], o / base[1]) for name, (f, o) in found.items()}


GATES = {  # method -> the most FLOPs and operations of a ResNet-18 step, as ratios of vanilla's
    "dsr": (1.02, 1.2),
    "ps-kd": (1.02, 1.15),
    "lsr": (1.02, 1.15),
    "drg": (1.06, 1.4),
    "drg+dsr": (1.06, 1.55),
    "byot": (1.20, 2.2),
    "dsn": (1.20, 2.0),
    "sfr": (1.06, 3.0),
    "cs-kd": (1.34, 1.65),
    "ddgsd": (2.01, 1.45),
    "dlb": (2.01, 2.2),
    "self-guidance": (1.95, 2.3),
}


@pytest.mark.parametrize("name", GATES)
def test_a_step_of_resnet18_costs_no_more_than_its_gate(name, resnet18):
    measured, limits = resnet18[name], GATES[name]
    assert 1 <= measured[0] <= limits[0], f"{name} takes {measured[0]:.3f} of vanilla's FLOPs, the gate is {limits[0]}"
    assert 1 < measured[1] <= limits[1], f"{name} takes {measured[1]:.2f} of vanilla's operations, the gate is {limits[1]}"


def test_the_two_lightweight_methods_cost_less_than_byot_and_their_sum_is_the_parts(resnet18):
    """Paper 004, Table IV, in counts: its seconds are those of a machine that waits for launches."""
    assert resnet18["drg+dsr"][0] < resnet18["byot"][0] and resnet18["drg+dsr"][1] < 0.8 * resnet18["byot"][1]
    extra = {name: o - 1 for name, (_, o) in resnet18.items()}
    assert extra["drg+dsr"] == pytest.approx(extra["drg"] + extra["dsr"], abs=0.05)


@pytest.mark.parametrize("name", METHODS)
def test_no_method_waits_for_the_device_within_a_step(name, monkeypatch):
    def unchecked(y, num_classes):  # as on a card: PyTorch's own looks at the labels where they are on the CPU
        return torch.zeros(*y.shape, num_classes, dtype=torch.int64).scatter_(-1, y.unsqueeze(-1), 1)

    monkeypatch.setattr(F, "one_hot", unchecked)
    step, model = stepper(name)
    drawn = len(residuals(model)) if name == "self-guidance" else 0  # which blocks are left out is drawn on the host
    assert host_syncs(step) == drawn


# the benchmark


def test_the_plain_loop_learns_what_sdkits_does():
    """The same network, recipe and data: accuracies after a few epochs differ by chance alone."""
    recipe = Recipe(epochs=5, batch_size=32, lr=0.1, schedule="one cycle")
    data, found = DATASETS["digits"](train_size=400), {"sdkit": [], "plain": []}
    data = replace(data, test=take(data.test, torch.arange(400)))
    for seed in range(2):
        torch.manual_seed(seed)
        model = MODELS["four-stage"](num_classes=10, width=8)
        plain = Plain(MODELS["four-stage"](num_classes=10, width=8), data, recipe, workers=0, seed=seed)
        plain.model.load_state_dict(model.state_dict())
        steps = len(plain.loader())
        *_, (_, last) = plain.epochs(lambda epoch, step, steps=steps: recipe.rate(Progress(epoch, step, recipe.epochs, steps)))
        found["plain"].append(last)
        *_, end = fit(model, METHODS["vanilla"](), data, recipe, seed=seed, on="cpu")
        found["sdkit"].append(end.test["final"])
    means = {name: statistics.mean(values) for name, values in found.items()}
    assert min(means.values()) > 0.85 and abs(means["plain"] - means["sdkit"]) < 0.04, found


def test_the_plain_loop_shows_the_images_that_sdkits_does():
    """Crop, mirror and normalisation draw from the same views: each plain image is one of the loader's."""
    data = speed.noise(8, classes=2, side=8)
    pictures = Plain(MODELS["four-stage"](num_classes=2, width=4), data, Recipe(batch_size=4), workers=0).pictures
    windows = torch.nn.functional.pad(data.train.x, (4,) * 4).unfold(2, 8, 1).unfold(3, 8, 1).permute(0, 2, 3, 1, 4, 5)
    views = data.normalised(windows[3].reshape(-1, 3, 8, 8))
    views = torch.cat([views, views.flip(-1)])
    for _ in range(20):
        x, y = pictures[3]
        assert y == data.train.y[3] and (views - x).abs().amax((1, 2, 3)).min() < 1e-5


SAID = argparse.Namespace(
    networks=["four-stage"], methods=["drg"], quick=True, device="cpu", rounds=1, block=0.02, batch=8, batches=[8], workers=0
)  # fmt: skip


@functools.cache
def machine() -> dict:
    return speed.machine("cpu")


def in_this_process(**case) -> dict:
    """What `speed.fresh` gives, whose own process has a test below, without the seconds of another one's imports."""
    config = {name: case.pop(name) for name in [*case] if name.isupper()}
    with speed.environment(**config):
        return speed.child(**case)


def test_the_benchmark_measures_in_one_run_what_it_says(monkeypatch, tmp_path):
    monkeypatch.setattr(speed, "memory", lambda **case: 100.0)
    monkeypatch.setattr(speed, "fresh", in_this_process)
    monkeypatch.setattr(speed, "say", lambda text: None)
    found = {"machine": machine()}
    found["loops"], found["methods"] = speed.loops(SAID, found), speed.methods(SAID, found)
    (plain, ours, *_), (vanilla, drg) = found["loops"], found["methods"]
    assert (plain["loop"], ours["loop"], plain["times as fast"][:4]) == ("plain", "sdkit", "1.00")
    assert ours["GFLOP/s"] == pytest.approx(flops(stepper("vanilla")[0]) / BATCH * ours["images/s"] / 1e9, rel=1e-3)
    assert ours["MB"] > 0 and 0 < ours["of the machine's rate"] < 1.5
    assert (vanilla["FLOPs"], vanilla["operations"]) == (1, 1)
    assert drg["FLOPs"] == pytest.approx(flops(stepper("drg")[0]) / flops(stepper("vanilla")[0]), rel=1e-3)
    speed.write(tmp_path / "cpu", found)
    page = tmp_path / "speed.md"
    page.write_text(f"before\n{speed.MARKS[0]}\nold\n{speed.MARKS[1]}\nafter\n")
    for _ in range(2):  # writing again changes nothing
        speed.into_page(page, [tmp_path / "cpu.json"])
        text = page.read_text()
        assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
        assert text.count("| plain |") == text.count("| sdkit |") == 1 and text.count("| drg |") == 1


def test_loops_are_raced_as_they_come_and_as_they_may_be_asked_for(monkeypatch):
    for can, told in ((True, ["sdkit, float32", "sdkit, bfloat16"]), (False, [])):
        monkeypatch.setattr(speed.hardware, "has_bfloat16", lambda on, can=can: can)
        raced = speed.entrants("cpu")
        assert list(raced) == ["plain", "sdkit", *told] and (raced["plain"], raced["sdkit"]) == ({"loop": "plain"}, {})
        assert [raced[name] for name in told] == [{"SDKIT_PRECISION": name.split()[1]} for name in told]
    assert list(speed.entrants("cuda")) == ["plain", "sdkit"]


def test_a_race_says_with_how_many_threads_and_every_batch_has_its_row(monkeypatch, tmp_path):
    """The loop as it comes counts idle cores in its own process; the page's table has a row for each batch."""
    config = []

    def fresh(**case):
        config.append(case)
        return {"images/s": 50.0 if case.get("loop") else 100.0, "threads": 2 if case.get("loop") else 1, "MB": 9.0}

    monkeypatch.setattr(speed, "fresh", fresh)
    monkeypatch.setattr(speed.hardware, "has_bfloat16", lambda on: False)  # so that every CPU races the same loops
    said = argparse.Namespace(**vars(SAID) | {"batches": [8, 4]})
    found = {"machine": machine(), "busy": speed.beside_a_busy_process(said, {})}
    assert [row["threads"] for row in found["busy"]] == [2, 1] * 2
    assert all("threads" not in case for case in config), "nobody tells them"
    speed.write(tmp_path / "cpu", found)
    text = speed.section(tmp_path / "cpu.json")
    assert (
        "| loop | batch | four-stage |" in text and "| sdkit | 8 | 100, 2.00 |" in text and "| plain | 4 | 50, 1.00 |" in text
    )


def test_peak_memory_is_the_cases_own():
    small, large = (speed.memory(network="four-stage", batch=b, steps=1, threads=1) for b in (4, 128))
    assert large > small + 20


def test_a_page_without_the_marks_is_left_alone(tmp_path):
    (tmp_path / "speed.md").write_text("nothing")
    with pytest.raises(SystemExit, match="needs the two lines"):
        speed.into_page(tmp_path / "speed.md", [])
    assert (tmp_path / "speed.md").read_text() == "nothing"


def test_curves_lie_apart_by_what_seeds_alone_would_part_them():
    """Two loops, three seeds, two epochs, by hand: means 0.5 apart, variances 1, so 0.5 / sqrt(2 / 3)."""
    plain = [parity.Curve([2 + d, 1 + d], [0.5, 0.6]) for d in (-1, 0, 1)]
    shifted = [parity.Curve([2.5 + d, 1.5 + d], [0.5, 0.7]) for d in (-1, 0, 1)]
    base, other = parity.parity({"plain": plain, "sdkit": shifted})
    assert other["loss curve from the plain one"] == pytest.approx(0.5)
    assert other["of what seeds part"] == pytest.approx(0.5 / math.sqrt(2 / 3))
    assert (base["loss, last epoch"], other["test accuracy, last epoch"]) == (1, "70.0% ± 0.0%")


def test_the_benchmark_trains_every_loop_from_the_same_weights(monkeypatch):
    monkeypatch.setattr(parity, "SEEDS", 2)
    said = argparse.Namespace(quick=True, device="cpu", workers=0)
    plain, ours, *half = speed.accuracy(said, {})
    assert (plain["loop"], ours["loop"], *(row["loop"] for row in half)) == ("plain", *speed.precisions("cpu"))
    assert all(row["of what seeds part"] < 5 for row in (ours, *half))


def test_a_step_is_broken_down_without_a_rest_that_is_lost():
    """Kinds add up to the whole; FLOPs are the step's; a ReLU's bytes are by hand: read, written, and back."""
    machine = {"GFLOP/s": {"product": 100.0}, "copy GB/s": 10.0}
    step, _ = stepper("vanilla")
    *kinds, whole = breakdown.rows(step, torch.device("cpu"), machine, plain=None, steps=2)
    for column in ("operations", "ms", "GFLOP", "MB", "ms at the machine's rates"):
        assert sum(row[column] for row in kinds) == pytest.approx(whole[column]), column
    assert whole["GFLOP"] == pytest.approx(flops(step) / 1e9)
    of = {row["kind"]: row for row in kinds}
    assert of["ReLU"]["MB"] == pytest.approx(
        BATCH * 4 * (2 + 3) * sum((3 * 8 * 32**2, 2 * 16 * 16**2, 2 * 32 * 8**2, 2 * 64 * 4**2)) / 1e6
    )
    assert of["ReLU"]["ms at the machine's rates"] == pytest.approx(of["ReLU"]["MB"] / 10)
    least = of["convolution, backward"]
    assert least["ms at the machine's rates"] == pytest.approx(max(least["GFLOP"] * 10, least["MB"] / 10))
    assert of["ReLU"]["operations"] == 2 * 9 and of["convolution, forward"]["operations"] == 12


@pytest.mark.parametrize("groups", (1, 2, 8))
def test_flops_of_a_convolution_s_gradients_are_twice_its_own_whatever_its_groups(groups):
    """By hand: B H W outputs of C_out channels, each 9 C_in / groups multiply-adds; and both gradients as many."""
    convolution = torch.nn.Conv2d(8, 16, 3, padding=1, groups=groups, bias=False)
    x = torch.randn(2, 8, 5, 7, requires_grad=True)
    once = 2 * 2 * 5 * 7 * 16 * 9 * 8 // groups
    with flop_counter() as counter:
        out = convolution(x)
        assert counter.get_total_flops() == once
        out.sum().backward()
    assert counter.get_total_flops() == 3 * once
