"""Records beside each other: methods over their seeds, what of a gain is told from chance, and what the papers print.

`compared` makes tables of the records that `record` reads; what becomes of a gain when all train longer is the matter of
`lengths`. Nothing is trained, printed or drawn here.
"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch

from ..analysis import Calibration
from ..experiment import of_setting
from ..papers.printed import Printed, printed
from ..papers.settings import setting
from ..train import Recipe
from .gains import Gain, Pairs, alike, gain_of, judged, partners, spread, spreads, tellable
from .result import Result, load_results, result_label, results_folders
from .rows import any_seed, at_any_length, by_teacher, table_of


class Row(NamedTuple):
    """A method over its seeds, beside plain training. Accuracies in [0, 1]; only runs that ended well count."""

    name: str  # the method, and what else sets it apart: "self-guidance, survival=0.5"
    method: str
    accuracy: list[float]  # of the last epoch, a value a seed
    best: list[float]  # of the best epoch on the watched test images, which chose it
    above: Gain | None  # plain training at the same seeds; None of plain training, and where they have no seed in common
    step: float  # seconds of a step, the median, whatever else the machine did then; nan where they are not known
    pace: float  # the same, plain training's being 1; nan where their steps ran in other ways
    seeds: int  # that ended well
    diverged: int

    @property
    def gain(self) -> float:
        """Mean accuracy above plain training's of the same seeds; nan where there is none."""
        return self.above.mean if self.above else math.nan

    @property
    def margin(self) -> float:
        """The gain ± this holds 19 of 20; nan without a table's spread over seeds."""
        return self.above.margin if self.above else math.nan

    @property
    def told(self) -> bool | None:
        """Whether the gain is positive; None where it is not told from none, several gains in a table corrected for."""
        return self.above.told if self.above else None

    @property
    def mean(self) -> float:
        """Of the last epochs' accuracies; nan where there is none."""
        return statistics.mean(self.accuracy) if self.accuracy else math.nan

    @property
    def sd(self) -> float:
        """Of a sample, n - 1; nan for fewer than two seeds."""
        return statistics.stdev(self.accuracy) if len(self.accuracy) > 1 else math.nan


class Band(NamedTuple):
    """A curve a seed, over the same epochs."""

    epoch: list[float]  # [E] from 1
    seeds: list[list[float]]  # [S][E]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Records that may stand in one table: of one network, data set, recipe and device. `compared` makes them."""

    groups: dict[str, list[Result]]  # name of a row -> its seeds, plain training first

    @property
    def records(self) -> list[Result]:
        return [r for group in self.groups.values() for r in group]

    def only(self, methods: Iterable[str]) -> Comparison:
        """The rows of plain training and of these methods."""
        wanted = {"vanilla", *methods}
        return Comparison({name: group for name, group in self.groups.items() if group[0]["method"] in wanted})

    @property
    def label(self) -> str:
        """ "recorded, on DEVICE, recipe R, plan P, n seeds"; where rows have more seeds than others, from the least on.

        The plan tells tables apart that are alike in all else; several are named where a table has records of several.
        """
        fewest, *_, most = sorted([len(group) for group in self.groups.values()] * 2)
        seeds = f"{most} seed{'s' if most > 1 else ''}" if fewest == most else f"{fewest} to {most} seeds"
        *others, last = sorted({r.plan for r in self.records})
        plan = f"plans {', '.join(others)} and {last}" if others else f"plan {last}"
        return result_label(self.records[0], seeds, f"{self.records[0].recipe}, {plan}")

    @property
    def setting(self) -> str:
        """The network, the images and the recipe in words."""
        recipe = Recipe(**self.records[0].config["recipe"])
        return f"{network_and_images(self.records[0])}, {recipe.epochs:g} epochs, {optimised(recipe)}"

    @cached_property
    def rows(self) -> list[Row]:
        return [self._row(name) for name in self.groups]

    def _row(self, name: str) -> Row:
        group, base = self.groups[name], plain_for(self.groups[name], self.groups.values())
        done = [r for r in group if r.status == "done"]
        return Row(
            name,
            group[0]["method"],
            [r["accuracy.final"] for r in done],
            [r["best.final"] for r in done],
            self.gains.get(name),
            _step(group, group),
            _step(group, base) / _step(base, group) if name in self.gains else math.nan,
            len(done),
            sum(r.status == "diverged" for r in group),
        )

    @cached_property
    def gains(self) -> dict[str, Gain]:
        """Row -> its gain over plain training, of rows that have a seed in common with it."""
        known = spreads(self._pairs)
        return judged({name: gain_of(pairs, *known[name]) for name, pairs in self._pairs.items()})

    @cached_property
    def _pairs(self) -> dict[str, Pairs]:
        plain = {name: plain_for(group, self.groups.values()) for name, group in self.groups.items()}
        found = {n: partners(g, plain[n]) for n, g in self.groups.items() if plain[n] is not g}
        return {name: pairs for name, pairs in found.items() if pairs}

    @cached_property
    def spread(self) -> float:
        """Standard deviation over seeds, pooled over all rows but those that clearly move more; nan with one seed each."""
        squares = [(v - statistics.mean(values)) ** 2 for values in self._accuracies for v in values]
        return math.sqrt(sum(squares) / self.freedom) if self.freedom else math.nan

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the spread."""
        return sum(len(values) - 1 for values in self._accuracies)

    @cached_property
    def _accuracies(self) -> list[list[float]]:
        wild = self._pairs.keys() - alike(self._pairs)
        kept = [group for name, group in self.groups.items() if name not in wild]
        found = [[r["accuracy.final"] for r in group if r.status == "done"] for group in kept]
        return [values for values in found if values]

    def tellable(self, seeds: int) -> float:
        """The smallest gain that this table's methods would show, 19 times of 20, if each had so many seeds.

        By the spread as it is now, without those that clearly move more; that the test images are a sample comes on top.
        ValueError for fewer than two seeds.
        """
        return tellable(spread([*alike(self._pairs).values()])[0], len(self._pairs), seeds)

    def curves(self, of: str = "accuracy.final") -> dict[str, Band]:
        """Row -> a curve a seed, of a column of the epochs or, as "ranked.probabilities", of a recorded variance."""
        found = {}
        for name, group in self.groups.items():
            lines = [line for line in (_line(r, of) for r in group if r.status == "done") if line]
            if lines:
                found[name] = Band(lines[0][0], [values for _, values in lines])
        return found

    def correlation(self, space: str = "probabilities") -> dict[str, float]:
        """Row -> Pearson's r of ranked variance and accuracy over the epochs, the mean over seeds; nan where one has none."""
        kept = {name: [r.curves["ranked"] for r in group if "ranked" in r.curves] for name, group in self.groups.items()}
        return {n: statistics.mean(_number(c["pearson"][space]) for c in curves) for n, curves in kept.items() if curves}

    def calibrations(self) -> dict[str, Calibration]:
        """Row -> calibration of the last epoch: summaries are means over seeds, a bin holds the images of all seeds."""
        kept = {name: [r.curves["calibration"] for r in g if "calibration" in r.curves] for name, g in self.groups.items()}
        return {name: _pooled(curves) for name, curves in kept.items() if curves}

    def analyses(self, name: str) -> dict[str, dict[str, Any]]:
        """Row -> an analysis of its trained network, part by part: of the first seed that has it, see `Result.analyses`."""
        kept = {row: next((r for r in group if name in r.curves), None) for row, group in self.groups.items()}
        return {row: r.analyses(name) for row, r in kept.items() if r}

    def printed(self, paper: str | None = None) -> list[Printed]:
        """What each paper prints of a recorded method on these data: of this network, or of the first in its table."""
        first, own = self.records[0], {group[0]["method"] for group in self.groups.values()}
        of_paper: dict[str, Printed] = {}
        for p in printed(first["data"], paper):
            if own & p.gain.keys() and (p.paper not in of_paper or _letters(p.network) == _letters(first["model"])):
                of_paper[p.paper] = p
        return list(of_paper.values())

    def differences(self, from_: Printed) -> list[tuple[str, str, str]]:
        """(what, here, in the paper) of all that is known to differ from the table's row as `papers.experiment` has it.

        Where the paper does not state how it optimised, "(not stated)" follows; `papers.setting(...).notes` says what is taken.
        """
        first = self.records[0]
        found = setting(from_.name, "vanilla", from_.network, from_.data)
        paper = of_setting(found)
        taken = " (not stated)" if any("schedule" in note for note in found.notes) else ""
        recipe, here, there = Recipe(**first.config["recipe"]), first.config, paper.config
        out: list[tuple[str, Any, Any]] = []
        if here["model"] != paper.model:
            out.append(("network", here["model"], from_.network))
        size = first["dataset.train_size"]
        if size:
            out.append(("training images", f"{size:,.0f} of them", "all"))
        out += [(w.replace("_", " "), getattr(recipe, w), getattr(paper.recipe, w)) for w in ("epochs", "batch_size")]
        out.append(("learning rate", _schedule(recipe), _schedule(paper.recipe)))
        out += [(w.replace("_", " "), getattr(recipe, w), getattr(paper.recipe, w)) for w in RECIPE]
        out += [(w, here["dataset"].get(k), there["dataset"].get(k)) for k, w in IMAGES.items()]
        both = [k for k in here["network"] if k in there["network"] and k not in NEEDED]
        out += [(k, here["network"][k], there["network"][k]) for k in both]
        for group in self.groups.values():
            out += _knobs(group[0], from_)
        new = dict.fromkeys((w, _worded(a), _worded(b)) for w, a, b in out if a != b)
        optimised = ("epochs", "batch size", "learning rate", *(w.replace("_", " ") for w in RECIPE))
        return [(what, a, b + (taken if what in optimised else "")) for what, a, b in new]


RECIPE = ("weight_decay", "momentum", "nesterov", "optimizer")
IMAGES = {
    "size": "image size", "side": "side before the crop", "crop": "crop", "norm": "norm", "distort": "distortions",
    "cutout": "Cutout", "mixup": "mixup", "public": "test images",
}  # fmt: skip
"""Options of data sets that a comparison names -> how it calls them."""


def _knobs(record: Result, from_: Printed) -> list[tuple[str, Any, Any]]:
    """What of a method's arguments is not the paper's, where its table has the method; None is a method's own choice."""
    method = record["method"]
    if method not in from_.accuracy:
        return []
    paper = of_setting(setting(from_.name, method, from_.network, from_.data)).config
    ours = record.config["knobs"]
    return [(f"{method}: {k}", v, paper["knobs"][k]) for k, v in ours.items() if k in paper["knobs"] and v is not None]


def _worded(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value in (None, [], 0, ""):
        return "0" if value == 0 and value is not None else "none"
    return f"{value:g}" if isinstance(value, int | float) else str(value)


NEEDED = ("survival", "sections")
"""Options of a network that a method needs, and plain training has not."""


def compared(records: Iterable[Result]) -> list[Comparison]:
    """The records as tables: what differs in network, data, recipe or device never stands in one."""
    return [Comparison(rows) for rows in tables(records, any_seed)]


def recorded_on(data: str, methods: Iterable[str]) -> list[Comparison]:
    """What is recorded of some methods on a data set, by whatever plan.

    Args:
        data: of DATASETS, "cifar100" for example.
        methods: their names, in the order that they are to stand in; plain training stands before them.

    Returns:
        A table for each network, recipe and device that has plain training and one of them, the fullest first.
    """
    order = ["vanilla", *methods]
    of = [r for p in results_folders() for r in load_results(where=p, wanted=lambda c: c["data"] == data)]
    kept = sorted((r for r in of if r["method"] in order), key=lambda r: order.index(r["method"]))
    found = one_length(compared(kept))
    return sorted((c for c in found if c.gains), key=lambda c: -len(c.records))


def tables(records: Iterable[Result], row: Callable[[dict[str, Any]], dict[str, Any]]) -> list[dict[str, list[Result]]]:
    """Name of a row -> its records, each once, plain training first: for every network, data set, recipe and device by itself.

    row: of what a run asked, what is one for a whole row.
    """
    found: dict[str, dict[str, dict[str, Result]]] = {}
    for r in records:
        config = row(r.config)
        found.setdefault(table_of(config, r.device), {}).setdefault(json.dumps(config, sort_keys=True), {}).setdefault(r.key, r)
    out = []
    for rows in found.values():
        apart = [part for group in rows.values() for part in by_teacher([*group.values()])]
        groups = [sorted(group, key=lambda r: (r["recipe.epochs"], r["seed"])) for group in apart]
        groups.sort(key=lambda g: g[0]["method"] != "vanilla")  # stable: else as they came
        out.append({_named(group[0], [g[0] for g in groups]): group for group in groups})
    return out


def one_length(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """Of tables that differ in the number of epochs alone the fullest, of equals the longest."""
    kept: dict[str, Comparison] = {}
    for c in comparisons:
        same = table_of(at_any_length(c.records[0].config), c.records[0].device)
        kept[same] = max(kept.get(same, c), c, key=lambda c: (len(c.records), c.records[0]["recipe.epochs"]))
    return list(kept.values())


def plain_for(own: Sequence[Result], groups: Iterable[Sequence[Result]]) -> Sequence[Result]:
    """Plain training of the same network; where there is none, of the network without what a method needs of it."""

    def network(group: Sequence[Result], without: Sequence[str] = ()) -> dict[str, Any]:
        return {k: v for k, v in group[0].config["network"].items() if k not in without}

    plain = [g for g in groups if g[0]["method"] == "vanilla"]
    same = [g for g in plain if network(g) == network(own)]
    like = [g for g in plain if network(g, NEEDED) == network(own, NEEDED)]
    return next(iter([*same, *like]), [])


def network_and_images(record: Result) -> str:
    """What was trained on what, in words."""
    options = ", ".join(_said(k, v) for k, v in record.config["dataset"].items() if v not in (None, False, 0, "", []))
    return f"{record['model']} on {record['data']}{f' ({options})' if options else ''}"


def optimised(recipe: Recipe) -> str:
    """How, but for the length, in words."""
    return f"batches of {recipe.batch_size:g}, learning rate {_schedule(recipe)}"


def _named(record: Result, others: Sequence[Result]) -> str:
    """The method, with its network's options that plain training has not, and what varies among runs of the method.

    States of an own method, which share a name but for the digest of their source, bear its first letters.
    """
    name, _, digest = record["method"].partition("@")
    states = {r["method"] for r in others if digest and r["method"].partition("@")[0] == name}
    source = [f"source={digest[:4]}"] if len(states) > 1 else []
    own = [r for r in others if r["method"] == record["method"]]
    cut = "network.sections"  # a method's own, as its knobs are
    apart = [k for k, v in record.settings.items() if k.startswith("network.") and k != cut and v != others[0][k]]
    parts = ("knobs.", "teacher", "schedule", cut)
    apart += [k for k in record.settings if k.startswith(parts) and any(r[k] != record[k] for r in own)]
    return ", ".join([record["method"], *source, *(_said(k.partition(".")[2] or k, record[k]) for k in apart)])


def _said(name: str, value: Any) -> str:
    return f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"


def _schedule(recipe: Recipe) -> str:
    """The learning rate in words."""
    if recipe.schedule == "step":
        at = ", ".join(f"{round(m * recipe.epochs):g}" for m in recipe.milestones)
        return f"{recipe.lr:g}, times {recipe.gamma:g} after {at} epochs"
    return f"{recipe.lr:g}, {recipe.schedule}"


def _step(records: Sequence[Result], beside: Sequence[Result]) -> float:
    """Seconds of a step, the median over epochs of the seeds whose steps ran as those `beside`; nan where there are none."""
    ways = {r.environment.get("steps") for r in beside}
    kept = [r for r in records if r.status == "done" and r.environment.get("steps") in ways and "ended on" not in r.environment]
    seconds = [e.seconds / r.environment["steps per epoch"] for r in kept for e in r.history]
    return statistics.median(seconds) if seconds else math.nan


def _line(record: Result, of: str) -> tuple[list[float], list[float]] | None:
    """The epochs and a value at each, None where the record has no such curve."""
    part, _, space = of.partition(".")
    if part == "ranked":
        kept = record.curves.get("ranked")
        return kept and (kept["epoch"], [_number(v) for v in kept["variance"][space]])
    column = record.epochs.get(of)
    return column and (record.epochs["epoch"], [_number(v) for v in column])


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _pooled(curves: Sequence[dict[str, Any]]) -> Calibration:
    """Calibrations of one setting's seeds as one."""
    count = torch.tensor([c["count"] for c in curves])
    bins = {}
    for name in ("confidence", "accuracy"):
        value = torch.tensor([[_number(v) for v in c[name]] for c in curves], dtype=torch.float64).nan_to_num()
        bins[name] = (value * count).sum(0) / count.sum(0)
    means = {name: statistics.mean(c[name] for c in curves) for name in ("ece", "mce", "nll", "brier")}
    return Calibration(**means, **bins, count=count.sum(0))


def _letters(network: str) -> str:
    """A network's name without what papers write differently: "ResNet-32" and "resnet32" are one."""
    return re.sub("[^a-z0-9]", "", network.lower())
