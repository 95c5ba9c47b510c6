"""A table of the papers as it came out here, beside what the paper prints. `rerun` fills it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from ..experiment import Experiment
from ..papers.settings import Printed
from ..papers.source import PAPERS
from ..papers.source import table as source
from .gains import Gain
from .written import table_text


class Place(NamedTuple):
    """A network and a data set, in the paper's words; or the scale's, which stand for all of a table's."""

    network: str
    data: str

    def __str__(self) -> str:
        return f"{self.network}, {self.data}"


@dataclass(frozen=True)
class Line:
    """A row of a table over the networks and data sets that it is printed for, and as it came out here."""

    name: str  # the paper's words
    experiment: Experiment  # at the first seed
    reference: str  # the line that it is compared with, "" for none
    printed: Mapping[Place, Printed]  # of the deployed network
    accuracy: Sequence[float] = ()  # here, in [0, 1], a value a seed
    diverged: int = 0
    above: Gain | None = None  # the reference's at the same seeds
    tuned: Line | None = None  # with the best of its tries on validation images; None where not tuned, or no main weight

    @property
    def chosen(self) -> str:
        """What of its main weight was chosen; "" where it was not tuned, or has none."""
        before, after = self.experiment.knobs, self.tuned.experiment.knobs if self.tuned else {}
        return ", ".join(f"{k} {v:.3g}" for k, v in after.items() if v != before.get(k))

    @property
    def here(self) -> str:
        """Mean, deviation and number of seeds in words; "" before a run has ended."""
        lost = f", {self.diverged} diverged" if self.diverged else ""
        if not self.accuracy:
            return lost.removeprefix(", ")
        sd = f" ± {100 * statistics.stdev(self.accuracy):.1f}" if len(self.accuracy) > 1 else ""
        return f"{100 * statistics.mean(self.accuracy):.1f}{sd} ({len(self.accuracy)}{lost})"


@dataclass(frozen=True)
class PaperTable:
    """A table of a paper, filled with what is trained. `table`, of `rerun`, makes it."""

    name: str  # "drg_dsr_table1"
    seeds: tuple[int, ...]
    lines: Mapping[Place, tuple[Line, ...]]  # by where the rows are trained: one place at a scale, else the paper's
    measure: str  # "test accuracy", "recall at 1"
    notes: tuple[str, ...] = ()
    missing: tuple[Experiment, ...] = field(default=(), repr=False)  # that have not ended
    tries: int = 0  # that every method was given of its main weight; 0: none

    @cached_property
    def title(self) -> str:
        """Paper and table in words."""
        first = source(self.name)[0]
        paper = PAPERS[str(first["paper"])]
        return f"Paper {paper.number} ({paper.authors}, {paper.year}), Table {first['table']}"

    def gained(self, line: Line, place: Place) -> dict[Place, float]:
        """What the paper prints of a line above its reference.

        Args:
            line: One of the table's.
            place: Where it stands in `lines`.

        Returns:
            The paper's network and data set -> points; none where the reference is not printed for them.
        """
        base = {other.name: other for other in self.lines[place]}.get(line.reference)
        both = base.printed if base else {}
        return {at: good(p) - good(both[at]) for at, p in line.printed.items() if at in both}

    def verdict(self, line: Line, place: Place) -> str:
        """Whether the paper's claim of a line, above its reference or below, holds here.

        Args:
            line: One of the table's.
            place: Where it stands in `lines`.

        Returns:
            "holds", "does not hold", "cannot be told: ..." with how many seeds would tell, or "" where nothing is claimed.
        """
        gained = [g for g in self.gained(line, place).values() if g]
        if not gained or line.above is None:
            return ""
        if min(gained) < 0 < max(gained):
            return "the paper has both signs"
        if line.above.told is None:
            return "cannot be told: " + line.above.verdict.removeprefix("no: ")
        return "holds" if line.above.told == (gained[0] > 0) else "does not hold"

    def records(self) -> list[dict[str, Any]]:
        """A row for every number that the paper prints: it, and what is beside it here. Accuracies and gains in points."""
        out: list[dict[str, Any]] = []
        for place, lines in self.lines.items():
            for line in lines:
                gained, above = self.gained(line, place), line.above
                out += [
                    {
                        "table": self.name, "row": line.name, "network": at.network, "data": at.data, "metric": p.metric,
                        "unit": p.unit, "paper": p.value, "paper gain": _rounded(gained.get(at)), "reference": line.reference,
                        "here network": line.experiment.model, "here data": line.experiment.data,
                        **_in_points("here", line), "seeds": len(line.accuracy),
                        "told apart": bool(above and above.told is not None),
                        "claim": self.verdict(line, place), "run": line.experiment.key,
                    }
                    | (_in_points("tuned", line.tuned or line) | {"chosen": line.chosen} if self.tries else {})
                    for at, p in line.printed.items()
                ]  # fmt: skip
        return out

    def blocks(self) -> dict[str, list[dict[str, str]]]:
        """Where the rows are trained -> the lines as text, a column each: what `__str__` and `written` lay out."""
        return {str(place): [self._worded(line, place) for line in lines] for place, lines in self.lines.items()}

    def _worded(self, line: Line, place: Place) -> dict[str, str]:
        lines = self.lines[place]
        every = dict.fromkeys(at for other in lines for at in other.printed)
        references = {other.reference for other in lines} - {""}
        above, of = (
            (f"above {references.pop()}", "") if len(references) == 1 else ("above its reference", f" over {line.reference}")
        )
        out = {"row": line.name}
        if len(every) > 4:
            out[f"the paper, {above}"] = _span([*self.gained(line, place).values()])
        else:
            what = {at: UNITS[p.metric] for other in lines for at, p in other.printed.items()}
            out |= {f"the paper, {at}, {what[at]}": f"{p.value:g}" if (p := line.printed.get(at)) else "" for at in every}
        out[f"here, {self.measure} (seeds)"] = line.here
        out[f"here, {above}"] = f"{line.above}{of}" if line.above else ""
        if self.tries:
            tuned = line.tuned or line
            out[f"tuned alike, {self.tries} tries"] = tuned.here
            out[f"tuned, {above}"] = f"{tuned.above}{of}" if tuned.above else ""
            out["chosen"] = line.chosen or ("the paper's" if line.tuned and tuned.here else "")
        return out | {"the paper's sign": self.verdict(line, place)}

    def __str__(self) -> str:
        """The whole table for a terminal."""
        return self.written("text")

    def _repr_html_(self) -> str:
        return self.written("html")

    def written(self, form: str = "text") -> str:
        """The table as text, Markdown, HTML, LaTeX (booktabs) or CSV.

        Args:
            form: "text", "markdown", "html", "latex" or "csv"; the last has `records`, the others `blocks`.

        Returns:
            The text.

        Raises:
            KeyError: there is no such form; the nearest are suggested.
        """
        return table_text(self, form)

    @property
    def notice(self) -> str:
        """What must stand beside the paper's numbers; "" for most."""
        return PAPERS[str(source(self.name)[0]["paper"])].notice

    @property
    def gains(self) -> dict[str, tuple[list[float], list[float], float]]:
        """Line -> the paper's gains, those here of every seed, the margin of their mean, in points: what a figure draws.

        Of the place that comes first, and of lines that are compared with another.
        """
        place, lines = next(iter(self.lines.items()))
        found = {}
        for line in lines:
            if line.reference:
                here = [100 * g for g in line.above.seeds.values()] if line.above else []
                margin = 100 * line.above.margin if line.above else math.nan
                found[line.name] = [*self.gained(line, place).values()], here, margin
        return found

    @property
    def reference(self) -> str:
        """What all lines are compared with; "" where it is not one."""
        words = {line.reference for lines in self.lines.values() for line in lines} - {""}
        return words.pop() if len(words) == 1 else ""


UNITS = {"top1_acc": "accuracy %", "top1_err": "error %", "R@1": "recall %"}
"""What a number of a paper is called."""


def good(p: Printed) -> float:
    """A number of a paper in percent, higher is better.

    Args:
        p: an accuracy, a recall or an error.

    Returns:
        The number, or what is left of 100.
    """
    return 100 - p.value if p.metric.endswith("err") else p.value


def _span(gains: Sequence[float]) -> str:
    """Points over several networks and data sets, in words."""
    return f"{statistics.mean(gains):+.1f} ({min(gains):+.1f} to {max(gains):+.1f}, {len(gains)})" if gains else ""


def _in_points(what: str, line: Line) -> dict[str, float | None]:
    """A line's accuracy and gain as numbers; the columns of what is tuned say so."""
    also = "" if what == "here" else f"{what} "
    return {
        what: _rounded(100 * statistics.mean(line.accuracy) if line.accuracy else None),
        f"{also}sd": _rounded(100 * statistics.stdev(line.accuracy) if len(line.accuracy) > 1 else None),
        f"{also}gain": _rounded(100 * line.above.mean if line.above else None),
        f"{also}margin": _rounded(100 * line.above.margin if line.above else None),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
