"""`sdkit …`: the notebooks' work without a browser."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from .. import __version__, core, pages, runs
from .asked import NOTHING, Asked, Names, load, words
from .claims import claims
from .export import export
from .grade import grade
from .stored import LATEST, collect, lines_of, note, remove, show, summary
from .sweep import spelled_out, sweep
from .table import table
from .where import HERE, Where


def train(
    asked: Annotated[Asked, tyro.conf.OmitArgPrefixes] = NOTHING,
    paper: str | None = None,
    row: Names = (),
    dry_run: bool = False,
    seed: int = 0,
    download: bool = False,
    source: Annotated[Path | None, tyro.conf.arg(name="from")] = None,
) -> None:
    """Train one network and record the run; a run that was interrupted continues, a finished one is found again.

    Args:
        asked: what is trained.
        paper: a table of the papers, such as drg_dsr_table1: method, model and data then choose its row, the first that fits.
        row: what else chooses the row, name=value: teacher, setting, value or variant; see `sdkit list TABLE`.
        dry_run: only say what would be trained, and what no source states of it.
        seed: of the first weights and of the order of images.
        download: fetch the data set first where it is missing.
        source: a Python file that registers parts of your own, which the names may then be.

    Raises:
        ValueError: options that cannot go together, with the mend.
    """
    from ..data import DATASETS
    from ..experiment import in_words, paper_experiment
    from ..papers import setting

    if source:
        load(source)
    if paper is not None:
        if asked.recipe is not None or asked.of_teacher:
            raise ValueError("--paper says recipe and teacher: change fields of the recipe, --epochs 2, or leave --paper out")
        chosen = (paper, asked.method, asked.model, asked.data)
        found = setting(*chosen, **values(row))
        print(f"{found.row}\n{in_words(found)}", *(f"not stated: {note}" for note in found.notes), sep="\n")
        shared = {"recipe": asked.fields.said(), "dataset": words(asked.dataset), "seed": seed}
        experiment = paper_experiment(*chosen, **shared, **values(row))
        knobs, network = experiment.knobs | words(asked.knob), experiment.network | words(asked.network)
        experiment = replace(experiment, knobs=knobs, network=network)
    else:
        if row:
            raise ValueError("--row chooses a row of a paper's table: say which, --paper drg_dsr_table1")
        experiment = asked.experiment(seed)
    print(experiment)
    if dry_run:
        return
    if download:
        DATASETS[core.pick(experiment.data, DATASETS, "data set")](**experiment.dataset | {"download": True})
    stored = experiment.stored.status == "done"
    trained = experiment.run()
    print(f"{'found' if stored else 'trained'}: run {trained.run.key} in {trained.run.folder}")
    summary(trained.run)
    for metric, value, unit, classifier in found.printed if paper else ():
        own = f"; here {1 - trained.top_accuracy(5):.2%}" if metric == "top5_err" else ""
        print(f"the paper prints {value:g} {unit} ({metric}{f', {classifier}' if classifier else ''}){own}")


def listing(what: tyro.conf.Positional[str] = "all", having: str = "") -> None:
    """List methods, networks, data sets, recipes and analyses with a line each, and the recorded runs.

    Args:
        what: one of these groups, such as methods; a name in them, such as dsr; `runs`, every recorded one; `tables`, every row
            of the papers' tables and what it says, as Markdown; or one of them, such as ddgsd_table3.
        having: only lines with this word in them; of methods, those with an argument of this name: teacher, temperature.

    Raises:
        ValueError: nothing has this word in it.
    """
    import inspect

    from .. import analysis, data, experiment, methods, models, papers, train

    if what == "tables" or what in papers.TABLES:
        print(papers.settings.overview(papers.rows(None if what == "tables" else what), experiment.in_words))
        return
    groups: dict[str, dict[str, str]] = {
        "papers": {f"paper {p.number}": f"{p.authors}: {p.title}, {p.venue}, {p.year}" for p in papers.PAPERS.values()},
        "methods": {name: first_line(kind) for name, kind in methods.METHODS.items()},
        "networks": {name: models.ABOUT[name] for name in models.MODELS},
        "data sets": {name: data.ABOUT[name] for name in data.DATASETS},
        "recipes": train.RECIPES_ABOUT,
        "analyses": {name: first_line(function) for name, function in analysis.ANALYSES.items()},
    }
    what = SAME.get(what, what)
    if what != "all":
        named = {title: {what: rows[what]} for title, rows in groups.items() if what in rows}
        core.pick(what, [*named, *groups, "runs", "tables", *papers.TABLES, *([what] if named else [])], "list")
        groups = {what: groups[what]} if what in groups else named
    wanting = {name for name, kind in methods.METHODS.items() if having in inspect.signature(kind).parameters}
    shown = 0
    for title, rows in groups.items():
        print(f"\n{title}")
        for name, line in rows.items():
            if name in wanting if title == "methods" and wanting else having in f"{name} {line}":
                print(f"  {name:<26} {line}")
                shown += 1
    if having and groups and what != "all" and not shown:
        raise ValueError(
            f"nothing under {what} has {having!r} in it, nor an argument of this name: `sdkit list {what}` shows all"
        )
    if what == "all":
        print(f"\ntables of the papers, for `sdkit table TABLE` and `sdkit list TABLE`:\n  {' '.join(papers.TABLES)}")
    if what in ("all", "runs"):
        lines = [line for line in lines_of(runs.records()) if having in line]
        kept = lines if what == "runs" else lines[-LATEST:]
        hidden = f", the last {len(kept)} of them; `sdkit list runs` shows all" if len(kept) < len(lines) else ""
        print(f"\nruns in {runs.root()}: {len(lines)}{hidden}", *kept, sep="\n")


def doctor() -> None:
    """Say what of this machine is right for sdkit, and the mend for what is not."""
    from ..doctor import main as examine

    raise SystemExit(examine())


def figures(
    notebooks: tyro.conf.Positional[tuple[str, ...]] = (),
    data: str = "shapes",
    model: str = "four-stage",
    recipe: str = "quick",
    train_size: int | None = None,
    seed: int = 0,
    again: bool = False,
) -> None:
    """Run the notebooks, write every figure as PNG and PDF, and an index.html that shows them beside the papers' claims.

    Args:
        notebooks: which, such as 04_drg_dsr; all where none is named.
        data: the data set of the main runs; sweeps stay on digits.
        model: their network.
        recipe: their recipe.
        train_size: of how many training images; all where it is not said.
        seed: of their first weights.
        again: draw again although nothing changed.

    Raises:
        ValueError: no image to train on.
    """
    from ..experiment import base_experiment
    from ..figures import index

    said = [part for part in (data, model, recipe, train_size, f"seed{seed}" if seed else None) if part is not None]
    usual = said == ["shapes", "four-stage", "quick"]
    folder = core.home() / "figures" / ("" if usual else "-".join(map(str, said)).replace(":", "_"))  # "torchvision:resnet18"
    settings = {"SDKIT_DATA": data, "SDKIT_MODEL": model, "SDKIT_RECIPE": recipe, "SDKIT_SEED": str(seed)}
    settings |= {"SDKIT_TRAIN_SIZE": str(train_size)} if train_size else {}
    os.environ.update(settings | {"SDKIT_FIGURES": str(folder), "SDKIT_HOME": str(core.home())})
    base_experiment()  # refuses a wrong name before a kernel starts
    if train_size is not None and train_size < 1:
        raise ValueError(f"--train-size takes a whole number from 1, or is left out for all images, got {train_size}")
    sources = sorted(pages.notebook_folder().glob("[0-9]*.ipynb"))
    chosen = [
        next(p for p in sources if p.stem == core.pick(n, [p.stem for p in sources], "notebook")) for n in notebooks
    ] or sources
    began = time.perf_counter()
    for path in chosen:
        stamp = folder / "notebooks" / f"{path.stem}.stamp"
        now = pages.fingerprint(path, settings)
        if not again and stamp.exists() and stamp.read_text() == now and all(map(Path.exists, pages.drawn(folder, path.stem))):
            print(f"{path.stem}: nothing changed since its figures were drawn")
            continue
        print(f"{path.stem}: running", flush=True)
        stamp.unlink(missing_ok=True)  # a run that fails leaves its copy, which is no page of figures
        pages.execute(path, folder / "notebooks" / path.name)
        stamp.write_text(now)
    page = index(folder)
    print(f"figures in {folder}, {time.perf_counter() - began:.0f} s\nopen {page}")


def record(
    plan: tyro.conf.Positional[str],
    minutes: float | None = None,
    out: Path | None = None,
    data: Path | None = None,
    where: Annotated[Where, tyro.conf.OmitArgPrefixes] = HERE,
) -> None:
    """Run what of a plan has no record yet, and keep a light record of every run in data/records.

    Args:
        plan: a name in plans/, or a file.
        minutes: end within; 0 only says what is missing. Called again, it goes on from there.
        out: where records go instead.
        data: the folder of data sets, where it is not data/.
        where: trainings run, if not here.

    Raises:
        ValueError: minutes below 0.
        SystemExit: 1 if a record is damaged, or a run raised on a cluster.
    """
    from ..studies import execute_plan

    if minutes is not None and not minutes >= 0:
        raise ValueError(f"--minutes takes a number from 0, or is left out to run to the end, got {minutes:g}")

    with where.entered():
        report = execute_plan(plan, minutes, out, data, say=lambda text: print(text, flush=True))
    if report.damaged or report.raised:
        raise SystemExit(1)


def app(port: int = 8866, browser: bool = True) -> None:
    """Show all panels on one page, for this machine alone; the address is printed. Ctrl-C ends it and its trainings.

    Args:
        port: of 127.0.0.1; the next free one where it is taken.
        browser: open the page.

    Raises:
        RuntimeError: Voilà is not installed.
    """
    import secrets

    try:
        from voila.app import Voila
    except ImportError as error:
        mend = "`pip install 'sdkit-workbook[app]'`, or `python3 start.py setup` in a checkout"
        raise RuntimeError(f"the app needs Voilà: {mend}") from error

    port, token = free_port(port), secrets.token_urlsafe(24)
    os.environ["SDKIT_HOME"] = str(core.home())  # of the page's kernel, too
    os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")  # this environment's templates before any other's
    print(f"sdkit: http://127.0.0.1:{port}/?token={token}", flush=True)
    options = ["--Voila.ip=127.0.0.1", f"--port={port}", f"--token={token}", "--show-margins", "--Voila.log_level=WARN"]
    Voila.launch_instance(
        [str(Path(__file__).parents[1] / "widgets" / "app.ipynb"), *options, *([] if browser else ["--no-browser"])],
        tornado_settings={"headers": {"Content-Security-Policy": LOCAL}},
    )


# the parts

SAME = {"models": "networks", "datasets": "data sets", "data": "data sets", "method": "methods", "network": "networks"}
"""Other words for the groups of `sdkit list`."""


def values(pairs: Iterable[str]) -> dict[str, Any]:
    """["value=0.3", "setting=linear"] -> {"value": 0.3, "setting": "linear"}; what is no Python literal stays text."""
    return {name: word.literal() for name, word in words(pairs).items()}


def no_loose_word(arguments: list[str]) -> None:
    """ValueError for a word behind a verb, or behind an option's value: it belongs to no option."""
    for before, word in itertools.pairwise(arguments):
        number = word.replace(".", "").isdigit()  # --milestones takes several
        if not (word.startswith("-") or before.startswith("-") or number):
            mend = (
                "each setting has an option of its own, --knob a=1 --knob b=2" if "=" in word else f"--method {word}, perhaps"
            )
            raise ValueError(f"{word!r} belongs to no option: {mend}; what has spaces in it stands in quotes")


def first_line(thing: Any) -> str:
    """The first sentence of a docstring."""
    return (thing.__doc__ or "").strip().partition("\n")[0]


def sentence(error: Exception) -> str:
    """What an error says, without its kind and number."""
    if isinstance(error, OSError) and error.errno and error.filename:
        mend = f"for data, runs and figures SDKIT_HOME names it, now {core.home()}"
        return f"{error.filename}: {error.strerror}. Say a place that can be read and written; {mend}"
    return str(error.args[0] if isinstance(error, KeyError) and error.args else error)


LOCAL = "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; connect-src 'self' data: blob: ws://127.0.0.1:*"
"""What the page may ask for: nothing that is not on this machine."""


def free_port(wanted: int, tries: int = 20) -> int:
    """The first port of 127.0.0.1 from `wanted` on that nobody listens on."""
    import socket

    if not 1 <= wanted <= 65535:
        raise ValueError(f"--port takes a whole number from 1 to 65535, got {wanted}: leave it out, or say --port 9000")

    for port in range(wanted, min(wanted + tries, 65536)):
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            return port
    raise RuntimeError(f"the ports {wanted} to {wanted + tries - 1} are all taken: say another, `sdkit app --port 9000`")


COMMANDS: dict[str, Callable[..., None]] = {
    "train": train,
    "figures": figures,
    "list": listing,
    "show": show,
    "note": note,
    "rm": remove,
    "record": record,
    "table": table,
    "claims": claims,
    "sweep": sweep,
    "export": export,
    "grade": grade,
    "collect": collect,
    "app": app,
    "doctor": doctor,
}


def main(arguments: list[str] | None = None) -> None:
    """The `sdkit` command. A mistake of the user's is one sentence, not a traceback."""
    for stream in (sys.stdout, sys.stderr):  # of a locale that cannot spell a name
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")
    try:
        arguments = sys.argv[1:] if arguments is None else arguments
        verb = arguments[0] if arguments else "--help"
        if verb == "--version":
            print(f"sdkit {__version__}")
            return
        if verb == "help":
            arguments = ["--help"]
        elif not verb.startswith("-"):
            core.pick(verb, COMMANDS, "verb", "sdkit --help")
        if verb in ("train", "sweep"):
            no_loose_word(arguments)
        if verb == "sweep":
            arguments = ["sweep", *spelled_out(arguments[1:])]
        tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="sdkit", description="See self-distillation work.", args=arguments)
    except BrokenPipeError:  # `sdkit list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except (ValueError, KeyError, TypeError, OSError, RuntimeError, ArithmeticError) as error:
        if os.environ.get("SDKIT_TRACEBACK"):
            raise
        raise SystemExit(f"sdkit: {sentence(error)}") from error
    except KeyboardInterrupt:
        raise SystemExit("sdkit: stopped; what was recorded is kept, and the same command continues it") from None
