"""The search for the laboratory's setting: which drawn images, network and recipe show what the papers are about.

    python benchmarks/laboratory.py search points.json      train what the file lists and docs/lab/search.json lacks
    python benchmarks/laboratory.py draw                    the picture of the search, docs/lab/search.png
    python benchmarks/laboratory.py train --seeds 8         the chosen point: `quick`, plain and every own method
    python benchmarks/laboratory.py measure --seeds 8       its table, docs/lab/seeds.json, from what is trained
    python benchmarks/laboratory.py readme                  the README's two figures, from the records of the plan `length`

A point is chosen by plain training's regime and by the spread over seeds, of the own methods too, and never by a method's mean.
Each row says its whole point, so that the command repeats it. Two trainings run side by side, one thread each, in float32.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

os.environ.setdefault("SDKIT_PRECISION", "float32")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

FOUND = ROOT / "docs" / "lab" / "search.json"
BASE: dict[str, Any] = {
    "method": "vanilla", "seed": 0, "classes": 12, "per_class": 80, "test": 250, "width": 8, "blocks": 1, "survival": 1.0,
    "epochs": 40, "batch": 32, "lr": 0.1, "decay": 5e-4, "pad": 0, "grades": {}, "knobs": {},
}  # fmt: skip


def point(**said: Any) -> dict[str, Any]:
    """A whole point: what is not said is as in BASE."""
    unknown = said.keys() - BASE.keys()
    if unknown:
        raise KeyError(f"a point has {', '.join(BASE)}; got {', '.join(unknown)}")
    return BASE | said


def points(said: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entries in which lists stand for one point each, the last changing fastest (grades and knobs are one value)."""
    out = []
    for entry in said:
        lists = {k: v for k, v in entry.items() if isinstance(v, list)}
        for chosen in product(*lists.values()):
            out.append(point(**(entry | dict(zip(lists, chosen, strict=True)))))
    return out


def data_of(p: dict[str, Any]) -> Any:
    """The drawn set of a point. Its images are the same for every seed of training."""
    from sdkit.data import Data, Images
    from sdkit.data.pixels import statistics

    drawing = sys.modules["sdkit.data.shapes"]
    grades = drawing.Grades(**{k: tuple(v) if isinstance(v, list) else v for k, v in p["grades"].items()})
    sets = {}
    for split, n in (("train", p["per_class"]), ("test", p["test"])):
        x, y, mask, kind = map(torch.from_numpy, drawing.generate(p["classes"], 0, split, n, grades))
        sets[split] = Images(x, y, mask, kind=kind)
    train, test = sets["train"], sets["test"]
    names = tuple(map(str, range(p["classes"])))
    return Data("trial", names, train, Images(train.x[:0], train.y[:0]), test, *statistics(train.x), pad=p["pad"])


def run(p: dict[str, Any], threads: int = 1) -> dict[str, Any]:
    """Trains a point. -> it, with what came of it; fractions in [0, 1]."""
    torch.set_num_threads(threads)
    from sdkit.analysis import calibration
    from sdkit.data import DATASETS, Images
    from sdkit.experiment import Experiment
    from sdkit.train import Diverged, Epoch, Recipe

    drawing = sys.modules["sdkit.data.shapes"]
    data = data_of(p)
    test = data.test
    few = replace(data, test=Images(*(v[:20] for v in test[:2])))  # along the way: next to nothing
    DATASETS["trial"] = lambda: few
    network = {"width": p["width"], "blocks": p["blocks"], "survival": p["survival"]}
    recipe = Recipe(epochs=p["epochs"], batch_size=p["batch"], lr=p["lr"], weight_decay=p["decay"], schedule="one cycle")
    training = Experiment(
        method=p["method"], data="trial", network=network, recipe=recipe, seed=p["seed"], knobs=p["knobs"]
    ).training()
    began, last = time.perf_counter(), None
    try:
        for event in training.iterate():
            last = event if isinstance(event, Epoch) else last
    except Diverged:
        return p | {"lost": True}
    seconds = time.perf_counter() - began
    logits, hits = {}, {}
    for split, images in (("train", data.train), ("test", test)):
        with torch.inference_mode():
            training.model.eval()
            x = data.normalised(images.x)
            logits[split] = torch.cat([training.model(part).float() for part in x.split(500)])
        hits[split] = logits[split].argmax(1) == images.y
    sure = calibration(logits["test"], test.y)
    return p | {
        "train": float(hits["train"].double().mean()),
        "test_accuracy": float(hits["test"].double().mean()),
        "ece": float(sure.ece),
        "loss": float(torch.nn.functional.cross_entropy(logits["test"], test.y)),
        "by_kind": {name: float(hits["test"][test.kind == k].double().mean()) for k, name in enumerate(drawing.KINDS)
                    if (test.kind == k).any()},
        "running_train": last.train_accuracy,
        "seconds": seconds,
        "passes": p["epochs"] * len(data.train.y),
    }  # fmt: skip


def search(config: list[dict[str, Any]], jobs: int) -> None:
    """Trains what is asked for and not there yet, and keeps every row as it comes."""
    from joblib import Parallel, delayed

    found = json.loads(FOUND.read_text()) if FOUND.exists() else []
    have = [{k: row[k] for k in BASE} for row in found]
    waiting = [p for p in config if p not in have]
    for row in Parallel(n_jobs=jobs, return_as="generator_unordered", pre_dispatch=jobs, batch_size=1)(
        delayed(run)(p) for p in waiting
    ):
        found = json.loads(FOUND.read_text()) if FOUND.exists() else []
        found.append({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()})
        FOUND.parent.mkdir(parents=True, exist_ok=True)
        FOUND.write_text("[\n" + ",\n".join(json.dumps(r) for r in found) + "\n]\n")
        print(line(row), flush=True)


def line(row: dict[str, Any]) -> str:
    """A row as a line: what differs from BASE, and what came of it."""
    said = " ".join(f"{k}={v}" for k, v in row.items() if k in BASE and v != BASE[k])
    if "lost" in row:
        return f"{said}: lost"
    kinds = " ".join(f"{k} {100 * v:.0f}" for k, v in row["by_kind"].items())
    return (
        f"{said}: train {100 * row['train']:.1f} test {100 * row['test_accuracy']:.1f} ece {100 * row['ece']:.1f} "
        f"nll {row['loss']:.2f} | {kinds} | {row['seconds']:.0f} s"
    )


DEEP = {"blocks": 2}
OWN = dict.fromkeys(("vanilla", "byot", "dsn", "ddgsd", "drg", "dsr", "drg+dsr", "sfr"), {})
OWN |= {"vanilla, deeper": DEEP, "self-guidance": DEEP | {"survival": 0.5}}  # it samples blocks: eight, not four
"""What is trained at the chosen point, each with its network's options."""


def chosen(seeds: int) -> list[tuple[str, Any]]:
    """The `quick` runs of plain training and of every own method, over seeds."""
    from sdkit.experiment import Experiment

    return [(n, Experiment(n.partition(",")[0], network=o, seed=s)) for s in range(seeds) for n, o in OWN.items()]


def measure(seeds: int) -> None:
    """What the chosen point's finished runs came to, in docs/lab/seeds.json: what is not trained yet is left out."""
    from sdkit.analysis import calibration
    from sdkit.experiment import Trained

    rows = []
    for name, e in chosen(seeds):
        if e.stored.status == "diverged":
            rows.append({"method": name, "seed": e.seed, "lost": True})
        if e.stored.status != "done":
            continue
        t = Trained(e)
        sure, right = calibration(t.logits(), t.labels()), t.logits().argmax(1) == t.labels()
        kind = t.data.test.kind
        learned = t.logits(split="train").argmax(1) == t.labels("train")
        rows.append({
            "method": name, "seed": e.seed, "train": float(learned.double().mean()), "test_accuracy": t.accuracy,
            "ece": float(sure.ece), "seconds": t.seconds, "device": t.run.environment["device"],
            "by_kind": {of: float(right[kind == k].double().mean()) for k, of in enumerate(t.data.kinds)},
        })  # fmt: skip
    if not rows:
        raise SystemExit(f"nothing of it is trained here, and {SEEDS} stays: `python benchmarks/laboratory.py train` first")
    SEEDS.write_text("[\n" + ",\n".join(json.dumps(r) for r in rows) + "\n]\n")
    print(table(rows))


SEEDS = ROOT / "docs" / "lab" / "seeds.json"


def table(rows: list[dict[str, Any]]) -> str:
    """Every method over its seeds: mean ± standard deviation, in Markdown."""
    lines = ["| method | seeds | training % | test % | standard deviation | ECE % | lost |", "|---|---|---|---|---|---|---|"]
    for m in dict.fromkeys(r["method"] for r in rows):
        own = [r for r in rows if r["method"] == m and "lost" not in r]
        if not own:
            continue
        cells = []
        for what in ("train", "test_accuracy", "ece"):
            values = [100 * r[what] for r in own]
            cells.append(f"{statistics.mean(values):.1f}")
            if what == "test_accuracy":
                cells.append(f"{statistics.stdev(values):.2f}" if len(values) > 1 else "")
        lost = sum("lost" in r for r in rows if r["method"] == m)
        lines.append(f"| {m} | {len(own)} | {' | '.join(cells)} | {lost} |")
    return "\n".join(lines)


WANTED = {"train": (99, 100), "test_accuracy": (65, 85), "ece": (5, 20)}
TITLES = {"train": "training, %", "test_accuracy": "test, %", "ece": "ECE, %"}


def draw() -> None:
    """docs/lab/search.png: every point of the search by its regime, what is wanted shaded."""
    from sdkit import figures

    rows = [r for r in json.loads(FOUND.read_text()) if r["method"] == "vanilla" and "lost" not in r]
    groups: dict[str, list[dict[str, Any]]] = {}
    for r in rows:
        groups.setdefault(said(r), []).append(r)
    names = sorted(groups, key=lambda n: (n != CHOSEN, n))
    fig, axes = figures.new(columns=3, width=11, height=0.9 + 0.26 * len(names))
    for ax, (what, (low, high)) in zip(axes, WANTED.items(), strict=True):
        ax.axvspan(low, high, color="#009E73", alpha=0.12, linewidth=0)
        for y, name in enumerate(names):
            values = [100 * r[what] for r in groups[name]]
            look = {"color": "#D55E00", "markersize": 7} if name == CHOSEN else {"color": "#0072B2", "markersize": 5}
            ax.plot(values, [y] * len(values), "o", alpha=0.8, **look)
        ax.set_yticks(range(len(names)), names if ax is axes[0] else [""] * len(names))
        ax.set_ylim(len(names) - 0.5, -0.5)
        ax.set_xlabel(TITLES[what])
    axes[2].set_xlim(0, 20)
    fig.savefig(ROOT / "docs" / "lab" / "search.png", dpi=110)


def readme() -> None:
    """docs/gain_by_length.png and docs/calibration.png: what the README shows first."""
    from sdkit import figures, studies

    (kept,) = studies.plan_status("length")
    lengths = studies.by_length(kept.records)[0]
    rows = -(-len(lengths.gains) // 3)
    fig, axes = figures.new(columns=3, rows=rows, width=11, height=0.8 + 2.5 * rows)
    figures.gain_by_length(lengths, axes)
    figures.stamp(fig, f"{lengths.label}\n{lengths.margins}").savefig(ROOT / "docs" / "gain_by_length.png", dpi=100)
    usual = next(c for c in studies.compared(kept.records) if c.records[0]["recipe.epochs"] == lengths.usual)
    fig, ax = figures.new(width=6.4, height=4.4)
    shown = ("vanilla", "byot", "drg", "dsr", "drg+dsr")
    figures.reliability({name: c for name, c in usual.calibrations().items() if name in shown}, ax)
    figures.stamp(fig, usual.label).savefig(ROOT / "docs" / "calibration.png", dpi=110)


CHOSEN = "chosen"


def said(row: dict[str, Any]) -> str:
    """What of a point differs from the chosen one, the seed apart."""
    parts = []
    for k, v in row.items():
        if k in BASE and k not in ("seed", "method", "test") and v != BASE[k]:
            if k == "grades":
                parts += [f"{g} {'/'.join(f'{x:g}' for x in w) if isinstance(w, list) else f'{w:g}'}" for g, w in v.items()]
            else:
                parts.append(f"{WORDS.get(k, k)} {v:g}")
    return ", ".join(parts) or CHOSEN


WORDS = {"per_class": "images a class", "decay": "weight decay", "pad": "crop of"}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="laboratory", description=__doc__.partition("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("search", help="train the points of a file that docs/lab/search.json lacks")
    one.add_argument("points", type=Path)
    one.add_argument("--jobs", type=int, default=os.cpu_count())
    for verb, help in (("train", "train quick over seeds, every own method"), ("measure", "write docs/lab/seeds.json")):
        verbs.add_parser(verb, help=help).add_argument("--seeds", type=int, default=8)
    verbs.add_parser("draw", help="docs/lab/search.png")
    verbs.add_parser("readme", help="the README's two figures")
    said = parser.parse_args()
    if said.verb == "search":
        search(points(json.loads(said.points.read_text())), said.jobs)
    elif said.verb in ("draw", "readme"):
        {"draw": draw, "readme": readme}[said.verb]()
    elif said.verb == "train":
        from sdkit.experiment import run_all

        run_all([e for _, e in chosen(said.seeds)], diverged=True)
    else:
        measure(said.seeds)


if __name__ == "__main__":
    main()
