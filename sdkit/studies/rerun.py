"""A table of the papers run again, at the scale that one can afford: every row at the first seed before any at the second."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from ..analysis import retrieve
from ..core import Sentence, pick
from ..experiment import Experiment, Trained, of_setting, run_all
from ..experiment.sweep import AWAY
from ..papers.settings import Row, Setting, rows, settled
from ..papers.source import table as source
from ..train import default_device
from .gains import Gain, gain_of, judged, partners, spreads
from .gather import to_train
from .result import Result, files_of, judged_by, result_of, right_images, verified
from .tables import UNITS, Line, PaperTable, Place
from .tune import best, settings, tried, tries_of

SCALES = {
    "quick": Experiment(),
    "smoke": Experiment(data="digits", recipe="smoke", dataset={"train_size": 64}, network={"width": 4}),
}
"""A scale's name -> the plain training whose network, images and recipe every row takes."""

OWN = ("peer", "peer_options", "peer_recipe", "samples_per_class")
"""Knobs that fit the paper's network or batch alone: another scale takes the method's own."""

RECALL = "recall at 1"

IDENTITIES = "reid"
"""The images of a table of retrieval where the scale has none to find again."""


def table(
    name: str,
    base: Experiment | str | None = None,
    *,
    seeds: Iterable[int] = (0,),
    guide: Experiment | None = None,
    recipe: Mapping[str, Any] | None = None,
    dataset: Mapping[str, Any] | None = None,
    only: Callable[[Row], bool] = lambda row: True,
    tries: int = 0,
    validation: int = 500,
    train: bool = True,
    live: Callable[[PaperTable], object] | None = None,
    jobs: int | None = None,
    progress: bool = True,
) -> PaperTable:
    """Runs a table of the papers again: every row at the first seed, then at the next. What is recorded or stored is found.

    Args:
        name: "drg_dsr_table1" or "drg_dsr/1"; `papers.rows()` has all 24.
        base: the plain training whose network, images and recipe every row takes; "quick" or "smoke"; None: each row's own.
        seeds: of every row, and of its teacher.
        guide: at a scale, what is trained for a teacher of another network than its student's; None: the base's network with
            twice the blocks where it has an option for it.
        recipe: fields of the paper's recipe to change where there is no base, `{"epochs": 2}`.
        dataset: options of the paper's data set to change where there is no base.
        only: which rows; all where it is not said.
        tries: of every method's main weight, the paper's among them, at the first seed and chosen on validation images, so that
            the table has two columns more, "tuned alike"; 0: none. See `tune`.
        validation: how many training images choose.
        train: False only says what is there, and in `missing` what is not.
        live: called with the table after every seed.
        jobs: how many trainings at a time, see `run_all`.
        progress: whether bars are shown.

    Returns:
        The table: print it, or `written("latex")`.

    Raises:
        KeyError: no table or scale has this name; what there is is named.
        ValueError: the table has no such row, or there is one try.
    """
    if tries == 1 or tries < 0:
        raise ValueError(f"tries are 0, for none, or 2 and more: the paper's knobs are one of them; got {tries}")
    name = name.replace("/fig", "_fig").replace("/", "_table")
    chosen = [row for row in rows(name) if only(row)]
    if not chosen:
        raise ValueError(Sentence(f"no row of {name} is asked for: it has {len(rows(name))}"))
    scale = SCALES[pick(base, SCALES, "scale")] if isinstance(base, str) else base
    laid, notes = _laid(chosen, scale, guide, recipe or {}, dataset or {})
    seeds = tuple(seeds)
    measure = RECALL if any(p.metric == "R@1" for row in chosen for p in settled(row).printed) else "test accuracy"
    alike, wanted = _tuned(laid, tries, seeds[:1], validation, train, jobs, progress) if tries else (None, [])
    every = {place: [*lines, *(alike or {}).get(place, ())] for place, lines in laid.items()}
    files = [p for e in _every(every, seeds) for p in files_of(e.key)] if measure != RECALL else []
    known = {r.key: r for r in verified(files) if "right" in r.curves}
    kept = frozenset(known)

    def filled(seeds: tuple[int, ...]) -> PaperTable:
        found = _filled(name, seeds, laid, measure, known, kept, notes)
        if not tries:
            return found
        if alike is None:
            return replace(found, tries=tries, missing=(*found.missing, *wanted))
        both = _filled(name, seeds, alike, measure, known, kept, notes)
        lines = {
            at: tuple(
                replace(line, tuned=tuned) if len(settings(line.experiment, tries)) > 1 else line
                for line, tuned in zip(of, both.lines[at], strict=True)
            )
            for at, of in found.lines.items()
        }
        missing = tuple(dict.fromkeys((*found.missing, *both.missing)))
        chose = f"Tuned alike: {tries} tries of each main weight at seed {seeds[0]}, chosen on {validation} images set aside"
        return replace(found, lines=lines, tries=tries, missing=missing, notes=(*found.notes, f"{chose} from training."))

    done: tuple[int, ...] = ()
    for some in ([seeds] if AWAY.get() else [(seed,) for seed in seeds]) if train else ():  # a cluster is given all at once
        run_all([e for e in _every(every, some) if e.key not in known], jobs, progress, diverged=True)
        done = (*done, *some)
        if live and done != seeds:
            live(filled(done))
    last = filled(seeds)
    if live and train:
        live(last)
    return last


def _tuned(
    laid: Mapping[Place, Sequence[Line]], tries: int, seeds: Sequence[int], validation: int, train: bool, jobs: int | None,
    progress: bool,
) -> tuple[dict[Place, list[Line]] | None, list[Experiment]]:  # fmt: skip
    """The lines with the best of their tries; None where tries are missing that may not be trained, and these."""
    rows = {(place, i): line.experiment for place, lines in laid.items() for i, line in enumerate(lines)}
    wanted = to_train(tries_of(rows, tries, seeds, validation).values())
    if wanted and not train:
        return None, wanted
    found = tried(rows, tries, seeds, validation, jobs, progress)
    knobs = {row: {**e.knobs, **best(found[row]).knobs} for row, e in rows.items()}
    return {
        place: [replace(line, experiment=replace(line.experiment, knobs=knobs[place, i])) for i, line in enumerate(lines)]
        for place, lines in laid.items()
    }, []


def _laid(
    chosen: Sequence[Row], base: Experiment | None, guide: Experiment | None, recipe: Mapping, dataset: Mapping
) -> tuple[dict[Place, list[Line]], list[str]]:
    """The rows as lines, nothing trained; and what has to be said of them."""
    found = {row: settled(row) for row in chosen}
    sampled = any("survival" in s.network for s in found.values())
    students = {(row.setting, row.network) for row in chosen if row.method != "teacher"}
    lines: dict[Place, dict[str, Line]] = {}
    notes: dict[str, None] = {}
    for row, said in found.items():
        at = Place(row.network, row.data)
        if base is None:
            place, experiment = at, of_setting(said, recipe, dataset)
        else:
            larger = row.method == "teacher" and (row.setting, row.network) not in students
            experiment = _scaled(said, base, guide, sampled, larger)
            place = Place(base.model, experiment.data)
        notes |= dict.fromkeys(said.notes if base is None else ())
        name, there = _name(row, chosen), lines.setdefault(place, {})
        line = there.get(name) or Line(name, experiment, _reference(row, chosen), {})
        if line.experiment.key != experiment.key:
            notes[f"{name} has the knobs of {next(iter(line.printed))} here; the paper's are others for some."] = None
        number = next((p for p in said.printed if p.classifier in ("", "Classifier 4/4") and p.metric in UNITS), None)
        there[name] = replace(line, printed={**line.printed, **({at: number} if number else {})})
    return {place: [*there.values()] for place, there in lines.items()}, list(notes)


def _name(row: Row, chosen: Sequence[Row]) -> str:
    """The paper's words for a row: its method, and what else tells it from the method's other rows."""
    alike = [r for r in chosen if (r.method, r.network, r.data) == (row.method, row.network, row.data)]
    parts = {w: getattr(row, w) for w in ("teacher", "value") if len({getattr(r, w) for r in alike}) > 1}
    if len({r.setting for r in chosen if r.method == row.method}) > 1:
        parts["setting"] = row.setting
    return ", ".join([row.method, *filter(None, parts.values())])


def _reference(row: Row, chosen: Sequence[Row]) -> str:
    """The line that a row is compared with: the last before it of its network and data that is no rival of the paper's."""
    role = {(r["model"], r["dataset"], r["method"]): r["role"] for r in source(row.table)}
    own = [r for r in chosen if (r.network, r.data) == (row.network, row.data) and r.method != "teacher"]
    words = [r for r in own if role[r.network, r.data, r.method] in ("baseline", "reference")] or own[:1]
    same = [r for r in words if r.setting == row.setting] or words
    before = [r for r in same if chosen.index(r) < chosen.index(row)]
    return "" if row in words or not before or row.method == "teacher" else _name(before[-1], chosen)


def _scaled(found: Setting, base: Experiment, guide: Experiment | None, sampled: bool, larger: bool = False) -> Experiment:
    """A row's experiment on the network, the images and the recipe of another."""
    deeper = replace(base, network=base.network | _deeper(base))
    plain = (guide or deeper) if larger else deeper if sampled else base
    network, data, dataset = dict(plain.network), base.data, dict(base.dataset)
    if found.model == "embedded":
        network = {"backbone": plain.model, "backbone_options": network} | {"dim": found.network["dim"]}
        data = data if data in RETRIEVED else IDENTITIES
    if "cutout" in found.dataset:
        dataset["cutout"] = 4 if data == "digits" else found.dataset["cutout"]  # half a side, as the paper's
    network |= {k: v for k, v in found.network.items() if k == "survival"}
    knobs = {k: v for k, v in found.knobs.items() if k.rpartition(".")[2] not in OWN}
    if knobs.get("ramp_up"):
        knobs["ramp_up"] = max(round(knobs["ramp_up"] * base.recipe.epochs / found.recipe["epochs"]), 1)
    if found.knobs.get("peer", "same") != "same" and _deeper(base):
        knobs |= {"peer": base.model, "peer_options": deeper.network}
    taught = found.teacher
    teacher = _scaled(taught, base, guide, sampled, taught.row.network != found.row.network) if taught else None
    model = "embedded" if found.model == "embedded" else plain.model
    return replace(
        base, method=found.method, model=model, data=data, dataset=dataset, network=network, knobs=knobs, teacher=teacher
    )


RETRIEVED = ("reid", "cub200_retrieval", "dukemtmc")
"""Data sets with images to find again."""


def _deeper(base: Experiment) -> dict[str, Any]:
    """Options of a network with twice the blocks, where it has an option for it."""
    network = base.config["network"]
    return {"blocks": 2 * network["blocks"]} if "blocks" in network else {}


def _every(laid: Mapping[Place, Sequence[Line]], seeds: Sequence[int]) -> list[Experiment]:
    """All lines' runs, a seed after another."""
    return [*dict.fromkeys(_seeded(line.experiment, seed) for seed in seeds for lines in laid.values() for line in lines)]


def _seeded(e: Experiment, seed: int) -> Experiment:
    return replace(e, seed=seed, teacher=e.teacher and _seeded(e.teacher, seed))


def _filled(
    name: str,
    seeds: tuple[int, ...],
    laid: Mapping[Place, Sequence[Line]],
    measure: str,
    known: dict[str, Result],
    kept: frozenset[str],
    notes: Sequence[str],
) -> PaperTable:
    """The table with what has ended; results that had to be made are added to those known. kept: keys of recorded ones."""
    missing: dict[Experiment, None] = {}
    filled: dict[Place, tuple[Line, ...]] = {}
    for place, lines in laid.items():
        ended: dict[str, list[Result]] = {}
        for line in lines:
            for e in (_seeded(line.experiment, seed) for seed in seeds):
                if e.key not in known and e.stored.status in ("done", "diverged"):
                    known[e.key] = _judged(e, name, measure)
                if e.key in known:
                    ended.setdefault(line.name, []).append(known[e.key])
                else:
                    missing[e] = None
        gains = _gains(lines, ended)
        filled[place] = tuple(
            replace(
                line,
                accuracy=[r["accuracy.final"] for r in ended.get(line.name, []) if r.status == "done"],
                diverged=sum(r.status == "diverged" for r in ended.get(line.name, [])),
                above=gains.get(line.name),
            )
            for line in lines
        )
    used = [known[e.key] for e in _every(laid, seeds) if e.key in known]
    return PaperTable(name, seeds, filled, measure, (*_recorded(used, kept), *notes), tuple(missing))


def _recorded(used: Sequence[Result], kept: frozenset[str]) -> list[str]:
    """What must be said of recorded runs: how many of those in the table, and where they were trained."""
    found = [r.device for r in used if r.key in kept]
    where = "; ".join(dict.fromkeys(found))
    return [f"{len(found)} of {len(used)} runs are recorded, on {where}; the others were trained here."] if found else []


def _gains(lines: Sequence[Line], ended: Mapping[str, Sequence[Result]]) -> dict[str, Gain]:
    """Each line's gain over its reference, the gains of all judged together."""
    pairs = {e.name: partners(ended.get(e.name, ()), ended.get(e.reference, ())) for e in lines if e.reference}
    pairs = {name: both for name, both in pairs.items() if both}
    known = spreads(pairs)
    return judged({name: gain_of(both, *known[name]) for name, both in pairs.items()})


def _judged(e: Experiment, plan: str, measure: str) -> Result:
    """What a run left; a table of retrieval judges it by the queries whose nearest image is right."""
    found = result_of(e, plan, ["right"])
    if measure != RECALL or found.status != "done":
        return found
    return judged_by(found, right_images(found_again(Trained(e))))


def found_again(trained: Trained) -> torch.Tensor:
    """Whether each query's nearest image of the gallery is right, [Q] bool: recall at 1, image by image.

    Args:
        trained: a finished run, on data with images to find again, or with test images that then ask one another.

    Returns:
        A value a query.
    """
    query, gallery = trained.data.retrieval()
    y, camera = (gallery.y, gallery.camera) if gallery else (None, None)
    asked, known = _embeddings(trained, query.x), _embeddings(trained, gallery.x) if gallery else None
    return retrieve(asked, known, query.y, y, query.camera, camera, ks=(1,), first=1).right[:, 0]


def _embeddings(trained: Trained, x: Any, chunk: int = 512) -> torch.Tensor:
    device = default_device()
    with torch.inference_mode():
        parts = (trained.data.normalised(x[i : i + chunk], device) for i in range(0, len(x), chunk))
        return torch.cat([trained.model.forward_features(part).embedding.float().cpu() for part in parts])
