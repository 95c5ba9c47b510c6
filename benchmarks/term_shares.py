"""How strongly every method's terms pull at the network, early and late in a training, at the defaults.

    python3 benchmarks/term_shares.py --epochs 4 --images 480 --out docs/term_shares.md

Trains every method on the built-in shapes and the four-stage network, without testing it, and writes the table and, beside it,
the figure. A share is a term's gradient over that of plain cross entropy, both on the network's weights.
"""

from __future__ import annotations

import argparse
import inspect
import time
from dataclasses import replace
from pathlib import Path

from joblib import Parallel, delayed

from sdkit.analysis import TermShares, percent, term_shares
from sdkit.core import Moment, Progress
from sdkit.experiment import Experiment
from sdkit.experiment.trained import first_steps
from sdkit.figures import label, new, png
from sdkit.figures import term_shares as drawn
from sdkit.methods import METHODS
from sdkit.train import RECIPES, default_device, device_name

BEFORE = {"tf-kd-reg, printed": ("tf-kd-reg", {"printed": True}), "cc, beta=0.02": ("cc", {"beta": 0.02})}
"""What two defaults were: the rows that a reader compares with."""


def wanted(epochs: int, images: int) -> dict[str, Experiment]:
    """Every method at its defaults, and the two of BEFORE, with what each needs of network and teacher."""
    common = {
        "data": "shapes", "model": "four-stage", "recipe": replace(RECIPES["quick"], epochs=epochs),
        "dataset": {"train_size": images},
    }  # fmt: skip
    deeper, hot = Experiment(network={"blocks": 2}, **common), Experiment("hot", **common)
    out = {}
    for name, (method, knobs) in ({m: (m, {}) for m in METHODS if m != "vanilla"} | BEFORE).items():
        taught = "teacher" in inspect.signature(METHODS[method]).parameters
        teacher = hot if method == "defensive" else deeper
        network = {"survival": 0.5} if method == "self-guidance" else {}
        out[name] = Experiment(method, knobs=knobs, network=network, teacher=teacher if taught else None, **common)
    return out


class Steps:
    """A training without a test or a record: its first steps, and its last epoch."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment, self.training = experiment, experiment.training(progress=False)
        step, self.steps = self.training.stepper(), len(self.training.loader)
        for _ in range(experiment.recipe.epochs * self.steps):
            step()

    def moments(self, batches: int) -> dict[str, Moment]:
        """As `Trained.moments`."""
        built = self.training.model, self.training.method, self.training.data
        epochs = self.experiment.recipe.epochs
        last = Progress(epochs - 1, (epochs - 1) * self.steps, epochs, self.steps)
        late = first_steps(self.experiment, built, batches)._replace(progress=last)
        return {"early": first_steps(self.experiment, self.experiment.build(), batches), "late": late}


def measured(name: str, experiment: Experiment, batches: int) -> TermShares:
    """Trains and measures one method."""
    began = time.perf_counter()
    found = term_shares(Steps(experiment), batches)
    print(f"{name:20} {found.said('late')}   [{time.perf_counter() - began:.0f} s]", flush=True)
    return found


def table(shares: dict[str, TermShares]) -> str:
    """A row a term, in Markdown."""
    lines = ["| method | term | early | late | late, by part | cosine |", "|---|---|---|---|---|---|"]
    for name, found in shares.items():
        own = [(t, term) for t, term in enumerate(found.terms) if term != "task"]
        for t, term in own:
            marks = [found.mark(moment, term) for moment in found.moments]
            values = [_cell(float(v), m) for v, m in zip(found.share[:, t], marks, strict=True)]
            parts = " · ".join(f"{v:.2g}" for v in found.by_part[-1, t].tolist()) if float(found.share[-1, t]) > 0 else ""
            first = (t, term) == own[0]
            cosine = f"{float(found.cosine[-1]):.3f}" if first else ""
            lines.append(f"| {name if first else ''} | {term} | {' | '.join(values)} | {parts} | {cosine} |")
    return "\n".join(lines)


def _cell(share: float, mark: str) -> str:
    return mark if mark in ("elsewhere", "off") else f"{percent(share)}{f' **{mark}**' if mark else ''}"


def page(shares: dict[str, TermShares], said: argparse.Namespace) -> str:
    """The Markdown page: what was asked, how, and the table."""
    every = [(moment, f"{label(name)} {term}", found.mark(moment, term)) for name, found in shares.items()
             for moment in found.moments for term in found.of(moment)]  # fmt: skip
    marked = {
        f"{mark}_{moment}": "; ".join(words for when, words, own in every if (when, own) == (moment, mark)) or "none"
        for mark in ("inert", "swamps")
        for moment in ("early", "late")
    }
    return TEXT.format(
        epochs=said.epochs, images=said.images, batches=said.batches, picture=said.out.with_suffix(".png").name,
        device=device_name(default_device(), 1, "float32"), parts=", ".join(next(iter(shares.values())).parts),
        table=table(shares), **marked,
    )  # fmt: skip


TEXT = """# How strongly every term pulls

Made by `python3 benchmarks/term_shares.py --epochs {epochs} --images {images} --batches {batches} --out docs/term_shares.md`.

The gradient of every term of every method on the weights of the deployed network, at the method's defaults, beside that of
plain cross entropy with the labels on the same batches: 100 % pulls as hard as the labels alone. Below 1 % a term is **inert**:
it is not felt, and the method is plain training in disguise unless another term is felt. Above 10 times it **swamps** them.
Both say something of a weight on *this* network and these images, not of a method: its authors chose the weight on other maps,
more classes and longer trainings.

The four-stage network on the built-in shapes, {images} images of them, {epochs} epochs of the quick recipe, one seed, {batches}
batches, {device}. *Early* is at the first weights, behind a first step that fills memories; *late* in the last epoch.
*Elsewhere*: the term teaches other weights alone, such as a peer's. *Off*: it has no target yet, or its weight is 0.
"task beyond CE" is the part of a method's own task that is no multiple of cross entropy: softened labels, a second view.
By part: {parts}.
The cosine is that of the whole loss's gradient with cross entropy's, late: 1 is plain training.

Inert at first: {inert_early}. Late: {inert_late}.

Swamping the labels at first: {swamps_early}. Late: {swamps_late}.

![every term's pull, early and late]({picture})

{table}
"""


def main() -> None:
    """Trains, measures, writes."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--epochs", type=int, default=4)
    parse.add_argument("--images", type=int, default=480, help="of the training set")
    parse.add_argument("--batches", type=int, default=4)
    parse.add_argument("--jobs", type=int, default=1, help="methods that are measured at a time")
    parse.add_argument("--out", type=Path, default=None, help="a Markdown file, beside which the figure goes; default: print")
    said = parse.parse_args()
    experiments = wanted(said.epochs, said.images)
    for teacher in {e.teacher for e in experiments.values() if e.teacher}:
        teacher.run(progress=False)
    work = (delayed(measured)(name, e, said.batches) for name, e in experiments.items())
    shares = dict(zip(experiments, Parallel(said.jobs)(work), strict=True))
    if said.out is None:
        print(table(shares))
        return
    said.out.write_text(page(shares, said), encoding="utf-8")
    rows = sum(len(found.terms) - 1 for found in shares.values())
    fig, ax = new(width=9, height=0.2 * rows + 1.2)
    drawn(shares, ax)
    said.out.with_suffix(".png").write_bytes(png(fig))


if __name__ == "__main__":
    main()
