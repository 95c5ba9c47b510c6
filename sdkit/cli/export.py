"""`sdkit export`: runs for other programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import tyro

from .. import core, runs

FORMS: dict[str, Callable[[list[runs.RunRow], Path], list[Path]]] = {
    "csv": runs.to_csv,
    "tensorboard": runs.to_tensorboard,
    "wandb-offline": runs.to_wandb,
}


def export(
    keys: tyro.conf.Positional[tuple[str, ...]],
    to: Literal["csv", "tensorboard", "wandb-offline"] = "csv",
    out: Path | None = None,
) -> None:
    """Write curves, settings and last numbers of recorded runs for other programs.

    Args:
        keys: the first digits of each run's key, or `all`.
        to: csv is two tables, one with a row an epoch and one with a row a run; tensorboard a folder of events a run;
            wandb-offline a run of Weights & Biases that is not sent.
        out: the folder; figures/exported where not said.

    Raises:
        ValueError: no run is named, or none is there.
    """
    if not keys:
        raise ValueError("say which runs, by the first digits of their keys, or all: `sdkit list runs` names them")
    wanted = {run.key for run in (runs.all_runs() if keys == ("all",) else map(runs.find, keys))}
    rows = [row for row in runs.records() if row.run.key in wanted]
    for row in rows:
        if row.wrong:
            print(f"left out: {row.wrong}")
    rows = [row for row in rows if not row.wrong]
    if not rows:
        raise ValueError(f"there is no run to export in {runs.root()}: `sdkit train` makes one")
    made = FORMS[to](rows, out or core.home() / "figures" / "exported")
    print(f"{len(rows)} run{'s' if len(rows) > 1 else ''} written:", *made, sep="\n  ")
