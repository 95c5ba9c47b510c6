"""`sdkit table`: any table of the papers, run again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from .where import HERE, Where

ENDINGS = {".txt": "text", ".md": "markdown", ".html": "html", ".tex": "latex", ".csv": "csv"}
"""A file's ending -> the form that is written to it."""


def table(
    name: tyro.conf.Positional[str],
    scale: Literal["quick", "smoke", "paper"] = "quick",
    model: str | None = None,
    data: str | None = None,
    recipe: str | None = None,
    epochs: int | None = None,
    seeds: int = 1,
    tuned: int = 0,
    dry_run: bool = False,
    out: Path | None = None,
    where: Annotated[Where, tyro.conf.OmitArgPrefixes] = HERE,
) -> None:
    """Train the rows of a paper's table, every row at the first seed before the next, and print it beside the paper's numbers.

    What is stored or recorded is found; ended in the middle, the same command goes on.

    Args:
        name: such as drg_dsr/1 or drg_dsr_table1; `sdkit list` names them.
        scale: "quick" and "smoke" put every row on the built-in network and images; "paper" is each row's own setting.
        model: another network for every row; not at the scale of the paper.
        data: another data set for every row; not at the scale of the paper.
        recipe: another recipe.
        epochs: of each training, a whole schedule.
        seeds: how many, from 0 on.
        tuned: so many tries of every method's main weight, chosen on validation images: two columns more, "tuned alike".
        dry_run: only say what would be trained, how long it takes here, and how much memory.
        out: also write it to this file: .tex (booktabs), .csv, .html, .md or .txt.
        where: trainings run, if not here.

    Raises:
        ValueError: options that cannot go together, with the mend.
    """
    from ..studies import SCALES, cost_left
    from ..studies import table as run
    from ..train import Recipe

    if out and out.suffix not in ENDINGS:
        raise ValueError(f"--out takes a file that ends in {', '.join(ENDINGS)}, got {out}")
    if scale == "paper" and (model or data):
        raise ValueError(
            "--scale paper has each row's own network and data set: leave --model and --data out, or say --scale quick"
        )
    if seeds < 1:
        raise ValueError(f"--seeds takes a whole number from 1, how many each row has, got {seeds}")
    own = {} if epochs is None else {"epochs": epochs}
    changed: dict[str, Any] = dict(own)
    base = None
    if scale == "paper" and recipe:
        changed = vars(Recipe.of({"name": recipe} | own))
    if scale != "paper":
        plain = SCALES[scale]
        base = replace(plain, recipe=Recipe.of({"name": recipe} | own) if recipe else replace(plain.recipe, **own))
        base = replace(base, data=data, dataset={}) if data else base
        base = replace(base, model=model, network={}) if model else base

    def say(so_far: object) -> None:
        print(f"\n{so_far}\n", flush=True)

    if dry_run:
        found = run(name, base, train=False, seeds=range(seeds), recipe=changed, tries=tuned)
        for e in found.missing:
            print(f"  missing: {e}")
        print(f"{found.title}: {len(found.missing)} runs have to be trained")
        if found.missing:
            print(f"{cost_left(found.missing)}{'; then what the tries choose' if tuned else ''}")
        return
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)  # now, and not after hours
    with where.entered():
        found = run(name, base, seeds=range(seeds), recipe=changed, tries=tuned, live=say)
    if out:
        out.write_text(found.written(ENDINGS[out.suffix]) + "\n", encoding="utf-8")
        print(f"written to {out}")
