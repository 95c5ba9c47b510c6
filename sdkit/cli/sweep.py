"""`sdkit sweep`: every combination of some fields' values, chosen on validation images, reported on test images."""

from __future__ import annotations

import inspect
from dataclasses import fields as fields_of
from pathlib import Path
from typing import Annotated

import tyro

from .. import core, runs
from ..train import Recipe
from .asked import NOTHING, Asked, Names, load, words
from .where import HERE, Where


def sweep(
    over: Names = (),
    asked: Annotated[Asked, tyro.conf.OmitArgPrefixes] = NOTHING,
    seeds: int = 3,
    validation: int = 500,
    dry_run: bool = False,
    out: Path | None = None,
    source: Annotated[Path | None, tyro.conf.arg(name="from")] = None,
    where: Annotated[Where, tyro.conf.OmitArgPrefixes] = HERE,
) -> None:
    """Train every setting of some fields at every seed, choose on validation images, and report the chosen one on test images.

    A field is given by its own name: --alpha 0.01:1:log:7 --temperature 1,2,4 --lr 0.05,0.1. What is stored is found; ended in
    the middle, the same command goes on. The runs go seed by seed, so that the table fills early.

    Args:
        over: a field and its values, name=values: 1,2,4, or low:high:log:n (or linear, or whole), or low:high:log:n:random for
            n draws. The name is that of a knob, a field of the recipe, an option of the network or of the data set, or in full
            such as recipe.lr. `--name values` says the same.
        asked: what is trained, as `sdkit train` takes it: what all settings have.
        seeds: how many, from 0 on.
        validation: how many training images are set aside to choose by.
        dry_run: only say what would be trained, how long it takes here, and how much memory.
        out: the folder of the table (CSV) and the figure; figures/sweeps where not said.
        source: a Python file that registers parts of your own, which the names may then be.
        where: trainings run, if not here.

    Raises:
        ValueError: options that cannot go together, with the mend.
    """
    from .. import figures
    from ..studies import cost_left, search, searched, to_train
    from ..studies.grid import typed

    if source:
        load(source)
    if not over:
        raise ValueError("say what is swept: --alpha 0.01:1:log:7 for example, or --lr 0.05,0.1")
    fixed = [f"--{name} {text}" for name, _, text in (pair.partition("=") for pair in over) if not {",", ":"} & {*text}]
    if len(fixed) == len(over):
        raise ValueError(
            f"nothing is swept, {fixed[0]} is one value: say several, 1,2,4 for example; or is an option spelled otherwise? "
            "`sdkit sweep --help` lists them"
        )
    if seeds < 1 or validation < 1:
        raise ValueError(f"--seeds and --validation take whole numbers from 1, got {seeds} and {validation}")
    base = asked.experiment()
    values = {name: typed(text) for name, text in words(over).items()}
    listed = searched(base, values, range(seeds), validation)
    missing = to_train(listed)
    print(f"{base}\n{len(listed) // seeds} settings, {seeds} seeds: {len(listed)} runs, {len(missing)} of them to be trained")
    if dry_run:
        for e in missing:
            print(f"  missing: {e}")
        if missing:
            print(f"{cost_left(missing)}; then the chosen setting")
        return
    place = out or core.home() / "figures" / "sweeps"
    place.mkdir(parents=True, exist_ok=True)  # now, and not after hours
    with where.entered():
        found = search(base, values, range(seeds), validation)
    print(f"\n{found}")
    which = runs.key_of({"base": base.key, "over": values, "seeds": seeds, "validation": validation})[:6]
    stem = "-".join([*base.parts, *found.names, which])  # the same command writes over its own files alone
    (place / f"{stem}.csv").write_text(found.csv(), encoding="utf-8")
    shown = {tuple(s.at.values()): s.validation for s in found.settings}
    figure = figures.search_figure(found.names, shown, "+".join(base.parts), tuple(found.chosen.at.values()))
    for suffix in ("png", "pdf"):
        figure.savefig(place / f"{stem}.{suffix}", dpi=200, facecolor="white")
    print(f"\nthe table and its figure, of validation accuracies, are {place / stem}.csv, .png and .pdf")


LISTED = {"method", "model", "data", *(f.name for f in fields_of(Recipe))}
"""Options that `sdkit train` has too, and that are swept where several values stand behind them."""


def spelled_out(arguments: list[str]) -> list[str]:
    """`--alpha 0.01:1:log:7` as `--over alpha=0.01:1:log:7`: an option that `sdkit sweep` does not have is a field's name.

    Args:
        arguments: behind `sdkit sweep`.

    Returns:
        The same in options that it has.

    Raises:
        ValueError: a field without values.
    """
    mine = {*inspect.signature(sweep).parameters, *(f.name for kind in (Asked, Recipe, Where) for f in fields_of(kind))}
    known = mine - {"asked", "source", "fields", "where"} | {"help", "from"}
    out, left = [], list(arguments)
    while left:
        word = left.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        name = name.replace("-", "_") if word.startswith("--") else ""
        if not name or (name.removeprefix("no_") in known and name not in LISTED):
            out.append(word)
            continue
        if not equals and (not left or left[0].startswith("--")):
            if name in known or name.removeprefix("no_") in known:
                out.append(word)
                continue
            raise ValueError(f"{word} is swept over no values: say some, {word} 1,2,4 or {word} 0.01:1:log:7")
        value = value if equals else left.pop(0)
        several = "," in value or value.count(":") >= 3
        out += [f"--{name.replace('_', '-')}", value] if name in known and not several else ["--over", f"{name}={value}"]
    return out
