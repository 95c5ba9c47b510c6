"""A paper's headline claim, judged by recorded seeds, with your own trainings beside them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

from ..experiment import Trained
from ..papers.checks import Verdict, all_of, label, points
from .compare import Comparison, compared
from .gains import LEVEL, Gain, gain_of, partners, spread
from .gather import RecordedRun
from .result import load_results, result_of, results_folders
from .rows import any_seed


@dataclass(frozen=True, eq=False)
class Headline:
    """Your trainings, and what is recorded of the very same experiments at other seeds."""

    own: Comparison
    recorded: Comparison | None  # on the device with most records; None where nothing is recorded in this setting

    @cached_property
    def seeds(self) -> int:
        """How many seeds are recorded of the method that has the fewest, beside plain training."""
        return min((len(g.seeds) for g in self.recorded.gains.values()), default=0) if self.recorded else 0

    def gain(self, method: str) -> Gain | None:
        """The recorded gain of a method over plain training.

        Args:
            method: Its name.

        Returns:
            The gain; None where it has no recorded seed in common with plain training.
        """
        return _of(self.recorded, method)

    def judged(self, here: Verdict, *methods: str, over: Sequence[str] = ("vanilla",)) -> Verdict:
        """The claim that methods are above plain training, or above others, by the recorded seeds.

        A claim about several holds where each holds, so that nothing has to be corrected for their number.

        Args:
            here: What your own trainings alone say of the claim.
            *methods: The methods that it is about.
            over: What each of them is claimed to be above.

        Returns:
            The verdict of the recorded seeds, yours beside it and told whether it lies where they lie; `here` itself where
            fewer than two seeds of one of the methods are recorded in this setting.
        """
        pairs = [(m, other) for m in methods for other in over]
        gains = {pair: g for pair in pairs if (g := _of(self.recorded, *pair)) is not None and len(g.seeds) > 1}
        if len(gains) < len(pairs):
            return here
        said = ", ".join(f"{_named(*pair)} {g}{_more(g)}" for pair, g in gains.items())
        own = {pair: mine for pair in pairs if (mine := _of(self.own, *pair)) is not None}
        yours = _beside({pair: (mine, gains[pair]) for pair, mine in own.items()}, alone=len(pairs) == 1)
        n = sorted({len(g.seeds) for g in gains.values()})
        recorded = f"recorded, {n[0] if len(n) == 1 else f'{n[0]} to {n[-1]}'} seeds, points: {said}"
        return Verdict(
            here.claim, f"{recorded}; here {yours}" if yours else recorded, all_of([g.alone for g in gains.values()])
        )


def _named(method: str, over: str) -> str:
    return label(method) if over == "vanilla" else f"{label(method)} over {label(over)}"


def _beside(own: Mapping[tuple[str, str], tuple[Gain, Gain]], alone: bool) -> str:
    """Your gains, and whether each lies where as many recorded seeds do. alone: one needs no name."""
    places: dict[str, list[str]] = {}
    for pair, (mine, recorded) in own.items():
        n, (low, high) = len(mine.seeds), recorded.range_of_mean(len(mine.seeds))
        seeds = "single seeds" if n == 1 else f"means of {n} seeds"
        inside = low <= mine.mean <= high
        where = f"within the range of {seeds}" if inside else f"outside the range of {seeds} ({points(low)} to {points(high)})"
        places.setdefault(where, []).append(points(mine.mean) if alone else f"{_named(*pair)} {points(mine.mean)}")
    return "; ".join(f"{', '.join(said)}, {where}" for where, said in places.items())


def _of(table: Comparison | None, method: str, over: str = "vanilla") -> Gain | None:
    """A method's gain over another in a table; over plain training with the spread of all its gains."""
    if table is None:
        return None
    if over == "vanilla":
        return next((row.above for row in table.rows if row.method == method), None)
    ours, base = (next((g for g in table.groups.values() if g[0]["method"] == m), []) for m in (method, over))
    pairs = partners(ours, base)
    return gain_of(pairs, *spread([pairs])) if pairs else None


def _more(gain: Gain) -> str:
    if gain.alone is not None:
        return ""
    needed = replace(gain, level=LEVEL).needed
    if math.isinf(needed):
        return " (no number of seeds would tell as much on these images)"
    more = max(needed - len(gain.seeds), 1)
    return f" ({more:.0f} more seed{'s' if more > 1 else ''} would tell as much)"


def headline(trained: Mapping[str, Trained | Sequence[Trained]]) -> Headline:
    """What is recorded of the same experiments, at whatever seeds, with your own trainings beside it.

    Args:
        trained: Finished runs, your own or recorded, by any name, a run or one a seed each, plain training among them.

    Returns:
        Both as tables. A record counts where it says the same as one of yours in all but the seeds.

    Raises:
        ValueError: There is no run.
        Damaged: A run of yours is not what was written; a record that is not is warned of and left out.
    """
    mine = [t for runs in trained.values() for t in ([runs] if isinstance(runs, Trained) else runs)]
    if not mine:
        raise ValueError(
            f"a headline is of finished runs by name, got none in {dict(trained)}: "
            "say headline(run_all({m: Experiment(m) for m in ('vanilla', 'byot')})) for example"
        )
    own = [t.run.result if isinstance(t.run, RecordedRun) else result_of(t.experiment, "here", ["right"]) for t in mine]
    settings = {_setting(r.config) for r in own}
    read = partial(load_results, wanted=lambda config: _setting(config) in settings)
    kept = {r.key: r for place in results_folders() for r in read(where=place)}
    tables = compared(kept.values())
    where = " and ".join(dict.fromkeys(r.device for r in own))  # one may have begun with fewer threads than the next
    here = [replace(r, environment=r.environment | {"device": where}) for r in own]
    return Headline(compared(here)[0], max(tables, key=lambda table: len(table.records), default=None))


def _setting(config: dict[str, Any]) -> str:
    return json.dumps(any_seed(config), sort_keys=True)
