"""Many small runs that are looked at only by their histories: those that are recorded in git need no training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..experiment import Experiment, Trained, in_form, run_all
from ..runs import Damaged, Run, RunRow, by_part, digest, load_tensors, root
from ..train import Epoch
from .execute import ENDED
from .result import Result, files_of, load_results, read_result, results_folders


class RecordedRun(Run):
    """A run of which git has the history, perhaps its weights, and no more."""

    def __init__(self, result: Result, folder: Path) -> None:
        super().__init__(folder)
        self.result, self.elsewhere = result, True

    status = property(lambda self: self.result.status)
    config = property(lambda self: self.result.config)
    environment = property(lambda self: self.result.environment)

    def history(self) -> list[Epoch]:
        """One record per epoch."""
        return self.result.history

    def weights(self) -> dict[str, dict[str, Tensor]]:
        """The recorded "model" and "method" in 16 bits, as state dicts; see `Run.weights`."""
        said = self.result.curves.get("weights", {})
        files = files_of(self.result.key, "safetensors")
        if not (said and files):
            return super().weights()
        path = next((p for p in files if digest(p) == said["sha256"]), None)
        if path is None:
            raise Damaged(f"{files[0]} is not what was recorded: take it back from git, or delete it")
        return by_part(load_tensors(path))

    def _read(self, names: list[str], load: Callable[[list[Path]], Any]) -> Any:
        raise FileNotFoundError(f"of {self.result} the history is recorded, and no {Path(names[0]).stem}: its run() trains it")


def gather(
    experiments: Iterable[Experiment] | Mapping[Any, Experiment | Iterable[Experiment]],
    own: bool = False,
    jobs: int | None = None,
    progress: bool = True,
) -> Any:
    """Finished runs, as `run_all` gives them: one's own, else those that are recorded, else trained now.

    For sweeps and rivals, whose runs are looked at by their histories. Few recorded runs have weights, and all were trained
    elsewhere: a line says how many are recorded, and on what.

    Args:
        experiments: a list, or a dict of experiments or of lists of them.
        own: whether to train what is only recorded.
        jobs: how many trainings at a time, see `run_all`.
        progress: whether bars are shown.

    Returns:
        Runs in the form of the experiments; one that diverged is kept as what it is.

    Raises:
        Damaged: a record is not what was written.
    """
    if isinstance(experiments, Mapping):
        return in_form(experiments, lambda listed: gather(listed, own, jobs, progress))
    listed = list(experiments)
    known = {} if own else {e.key: found for e in listed if not _ended(e) and (found := recorded(e))}
    run_all([e for e in listed if e.key not in known], jobs, progress, diverged=True)
    if known:
        where = Counter(r.device for r in known.values())
        places = "; ".join(f"{n} on {device}" for device, n in where.items())
        every = len({e.key for e in listed})
        others = ", the others are your own" if len(known) < every else ""
        print(f"{len(known)} of {every} runs are recorded ({places}){others}")
    return [Trained(e, RecordedRun(known[e.key], e.stored.folder) if e.key in known else None) for e in listed]


def to_train(experiments: Iterable[Experiment]) -> list[Experiment]:
    """Those of some experiments that `gather` would train: neither stored here nor recorded.

    Args:
        experiments: any.

    Returns:
        Each once, in order.

    Raises:
        Damaged: a record is not what was written.
    """
    return [e for e in dict.fromkeys(experiments) if not _ended(e) and recorded(e) is None]


def with_records(table: Iterable[RunRow], plan: str) -> list[RunRow]:
    """The rows of `runs.records()` behind those of a plan's records, whose runs are not among them.

    Args:
        table: one's own runs.
        plan: the plan's name; "sweeps" has the small runs of the notebooks.

    Returns:
        Both. A recorded row has the note "recorded", and no folder.
    """
    own = list(table)
    found = {r.key: r for place in results_folders() for r in load_results(plan, place)}
    for row in own:
        found.pop(row.run.key, None)
    settings = {key: r.settings | {"steered": bool(r.changes)} for key, r in found.items()}
    kept = {key: RecordedRun(r, root() / key) for key, r in found.items()}
    return [RunRow(kept[k], r.status, settings[k], r.measured, note="recorded") for k, r in found.items()] + own


def _ended(e: Experiment) -> bool:
    return e.stored.status in ENDED


def recorded(experiment: Experiment) -> Result | None:
    """What git has of an experiment's run.

    Args:
        experiment: the whole of it.

    Returns:
        The record, of several plans' the one that keeps most; None where there is none.

    Raises:
        Damaged: it is not what was written.
    """
    return max(map(read_result, files_of(experiment.key)), key=lambda r: len(r.curves), default=None)
