"""The parts of the benchmark that a student waits for: images into batches, the analyses, a notebook's set-up."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from plain import Plain

from sdkit import analysis
from sdkit.experiment import Experiment
from sdkit.methods import EarlyExit
from sdkit.train import RECIPES, Training

Row = dict[str, Any]


def inputs(built: Callable[..., Training], said: argparse.Namespace) -> list[Row]:
    """Training images in batches, no network: sdkit's and a DataLoader's, in turns. built: a training on noise of a size."""
    ours = built("four-stage", batch=said.batch, images=5_000)
    plain = Plain(ours.model, ours.data, ours.recipe, workers=said.workers)
    batches = len(ours.loader)
    arms = {"sdkit": lambda: ours.loader, "DataLoader": lambda: plain.loader(shuffle=True)}
    found: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(said.rounds):
        for name in [*arms, *reversed([*arms])]:
            found[name].append(_rate(arms[name](), said.batch, batches, said.block / 2))
    ratios = [a / b for a, b in zip(found["sdkit"], found["DataLoader"], strict=True)]
    return [
        {
            "images": 5_000,
            "batch": said.batch,
            "workers of the DataLoader": said.workers,
            "sdkit images/s": statistics.median(found["sdkit"]),
            "DataLoader images/s": statistics.median(found["DataLoader"]),
            "times as many": f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})",
        }
    ]


def _rate(loader: Any, batch: int, batches: int, block: float) -> float:
    """Images a second over epochs of `block` seconds in all, from the first batch on: a worker's start is not counted."""
    steps, seconds = 0, 0.0
    while seconds < block:
        walk = iter(loader)
        next(walk)
        began = time.perf_counter()
        steps += sum(1 for _ in islice(walk, batches - 2))
        seconds += time.perf_counter() - began
    return steps * batch / seconds


def analyses(said: argparse.Namespace) -> list[Row]:
    """Seconds of each long analysis, on the quick network of the workbook and 2,000 images of the size of its shapes."""
    recipe = RECIPES["quick"]
    training = Experiment(method="byot", model="four-stage", data="shapes", recipe=recipe).training()
    model, method, data = training.model, training.method, training.data
    x = data.normalised(data.test.x, training.device)
    y = data.test.y.to(training.device)
    while len(x) < 2_000:
        x, y = torch.cat([x, x]), torch.cat([y, y])
    x, y = x[:2_000].contiguous(memory_format=torch.channels_last), y[:2_000]
    model.eval(), method.eval()
    sigmas = [0.005 * k for k in range(12)]
    batches = list(islice(training.loader, 16))
    shallow = next(iter(method.auxiliary_heads().values()))

    def explained() -> None:
        for network, place in ((model, model.stages[-1]), (EarlyExit(model, shallow), shallow)):
            analysis.grad_cam(network, x[:64], analysis.last_convolution(place), y[:64])

    def drawn() -> None:
        features = analysis.collect_features(lambda x: {"deepest": model.forward_features(x).embedding}, x, modules=[model])
        analysis.project_tsne(features["deepest"])

    cases = {
        "weight noise, 12 levels x 5 draws, 512 images": lambda: analysis.noise_tolerance(model, x[:512], y[:512], sigmas),
        "gradient statistics, 16 batches": lambda: analysis.gradient_statistics(model, batches, method.loss, modules=[method]),
        "Grad-CAM, 64 images x 2 exits": explained,
        "features and t-SNE, 2,000 points": drawn,
    }
    return [{"analysis": name, "seconds": _seconds(case)} for name, case in cases.items()]


def _seconds(case: Callable[[], Any]) -> float:
    began = time.perf_counter()
    case()
    return time.perf_counter() - began


IMPORTS = """
from time import perf_counter
began = perf_counter()
import torch
there = perf_counter()
import sdkit
print(there - began, perf_counter() - there)
"""


def start(said: argparse.Namespace) -> list[Row]:
    """Seconds, of fresh processes: what `import sdkit` takes beyond torch's, and the set-up cell of each notebook."""
    first, then = zip(*(map(float, _fresh(IMPORTS).split()) for _ in range(said.rounds)), strict=True)
    rows = [
        {"what": "import torch", "seconds": statistics.median(first)},
        {"what": "import sdkit, after it", "seconds": statistics.median(then)},
    ]
    folder = Path(__file__).resolve().parents[1] / "notebooks"
    for path in sorted(folder.glob("0*.ipynb")):
        cells = [c for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code"]
        began = time.perf_counter()
        _fresh("".join(cells[0]["source"]), cwd=folder)
        rows.append({"what": f"the set-up cell of {path.stem}, with Python's start", "seconds": time.perf_counter() - began})
    return rows


def _fresh(code: str, cwd: Path | None = None) -> str:
    """What a fresh Python prints."""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd)
    if ran.returncode:
        raise RuntimeError(f"a fresh Python failed: {ran.stderr.strip().splitlines()[-1]}")
    return ran.stdout
