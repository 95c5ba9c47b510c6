"""Do the intervals hold what they promise? Trainings are simulated whose gains are known, and intervals counted that hold them.

    python benchmarks/coverage.py            docs/coverage.json and docs/coverage.png
    python benchmarks/coverage.py --draws 50 fewer, to look

A simulated table has plain training and seven methods on 3,000 test images. Every image has a difficulty of its own, which a
method may change; every training is better or worse than its method by chance, seed by seed; then every answer is drawn. The
images and the trainings are new in every draw. Counted are intervals that do not hold the true gain (5 % promised), and tables
in which a method that changes nothing is told apart (5 % at most). In "one wild method" one of the seven moves three times as
much from seed to seed as all others do, which the one spread of a table does not know.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sdkit.experiment import Experiment
from sdkit.studies import Comparison, Result

DOCS = Path(__file__).resolve().parents[1] / "docs"
METHODS = ("byot", "dsn", "ddgsd", "drg", "dsr", "drg+dsr", "sfr")
SEEDS, IMAGES = (2, 3, 4, 5, 7, 10), 3000
MOVED = 0.01
"""Standard deviation of an accuracy over seeds."""


def blank(method: str, seed: int) -> Result:
    """A result without numbers."""
    e = Experiment(method, seed=seed)
    epochs = {"epoch": [1], "lr": [0.1], "seconds": [1.0], "train_accuracy": [1.0], "loss": [0.0], "accuracy.final": [0.0]}
    where = {"device": "simulated", "steps per epoch": 1, "test images": IMAGES}
    return Result("simulated", e.key, "done", e.config, where, epochs)


def answered(result: Result, right: np.ndarray) -> Result:
    """The result with these answers."""
    bits = {"images": len(right), "bits": np.packbits(right).tobytes().hex()}
    return Result(
        result.plan, result.key, "done", result.config, result.environment,
        result.epochs | {"accuracy.final": [float(right.mean())]}, [], {"right": bits},
    )  # fmt: skip


def tables(seeds: int, draws: int, effect: float, wild: float) -> Iterator[tuple[Comparison, np.ndarray]]:
    """Simulated tables and the true gains of their methods. effect: how much methods change what they know of an image."""
    draw = np.random.default_rng(1000 * seeds + round(100 * effect + 10 * wild))
    blanks = {(m, s): blank(m, s) for m in ("vanilla", *METHODS) for s in range(seeds)}
    for _ in range(draws):
        hard, own = draw.normal(1.6, 2.0, IMAGES), draw.normal(0, effect, (len(METHODS), IMAGES))
        better = draw.normal(0, effect / 4, len(METHODS)) if effect else np.zeros(len(METHODS))
        known, groups, truth = [hard, *(hard + own + better[:, None])], {}, []
        population = np.random.default_rng(0).normal(1.6, 2.0, 200_000)
        spread = np.hypot(2.0, effect)
        expected = [_chance(population).mean(), *(_chance(1.6 + (population - 1.6) * spread / 2 + b).mean() for b in better)]
        for i, m in enumerate(("vanilla", *METHODS)):
            chance = _chance(known[i])
            slope = (chance * (1 - chance)).mean()  # a point of accuracy in units of what is known
            moved = draw.normal(0, MOVED / slope * (wild if i == 1 else 1), seeds)
            right = [draw.random(IMAGES) < _chance(known[i] + shift) for shift in moved]
            groups[m] = [answered(blanks[m, s], r) for s, r in enumerate(right)]
            truth.append(expected[i] - expected[0])
        yield Comparison(groups), np.array(truth[1:])


def _chance(known: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-known))


def measured(seeds: int, draws: int, effect: float, wild: float = 1.0) -> dict[str, Any]:
    """Shares of intervals that miss, of tables with a false alarm, and the margin's median in points."""
    missed, alarms, wide = [], [], []
    for table, truth in tables(seeds, draws, effect, wild):
        gains = [*table.gains.values()]
        missed.append([abs(g.mean - t) > g.margin for g, t in zip(gains, truth, strict=True)])
        alarms.append(any(g.told is not None for g in gains))
        wide += [g.margin for g in gains]
    first = np.mean([m[0] for m in missed])
    return {
        "seeds": seeds, "methods change": effect, "first method's spread": wild, "tables": draws,
        "missed %": round(100 * float(np.mean(missed)), 1), "missed by the first method %": round(100 * float(first), 1),
        "tables with a false alarm %": round(100 * float(np.mean(alarms)), 1) if not effect else None,
        "margin, points": round(100 * float(np.median(wide)), 2),
    }  # fmt: skip


def draw(rows: list[dict[str, Any]]) -> None:
    """docs/coverage.png: what is missed of what is promised, by the number of seeds."""
    from sdkit import figures

    fig, (left, right) = figures.new(columns=2, width=9, height=3.2)
    looks = {
        "methods that change nothing": (0.0, 1.0, "o"),
        "methods that differ": (1.0, 1.0, "s"),
        "one wild method": (0.0, 3.0, "^"),
    }
    for i, (name, (effect, wild, mark)) in enumerate(looks.items()):
        of = [r for r in rows if r["methods change"] == effect and r["first method's spread"] == wild]
        column = "missed by the first method %" if wild > 1 else "missed %"
        style = {"marker": mark, "color": ("#0072B2", "#009E73", "#D55E00")[i], "label": name}
        left.plot([r["seeds"] for r in of], [r[column] for r in of], **style)
        if not effect:
            right.plot([r["seeds"] for r in of], [r["tables with a false alarm %"] for r in of], **style)
    for ax, what in ((left, "intervals that miss the gain, %"), (right, "tables with a false alarm, %")):
        ax.axhline(5, color="#555555", linewidth=1, linestyle="--")
        ax.set_xlabel("seeds")
        ax.set_ylabel(what)
        ax.set_ylim(bottom=0)
    left.legend(fontsize=8, loc="upper left")
    fig.savefig(DOCS / "coverage.png", dpi=130)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="coverage", description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=400)
    draws = parser.parse_args().draws
    rows = []
    for effect, wild in ((0.0, 1.0), (1.0, 1.0), (0.0, 3.0)):
        for seeds in SEEDS:
            rows.append(measured(seeds, draws, effect, wild))
            print(rows[-1], flush=True)
    (DOCS / "coverage.json").write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")
    draw(rows)


if __name__ == "__main__":
    main()
