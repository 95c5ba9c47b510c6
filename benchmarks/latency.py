"""From the hand to the new picture, in the browser: every instrument, idle and while a training runs in the same kernel.

    python benchmarks/latency.py            a table, in ms: median and 95th percentile of 40 moves each
    python benchmarks/latency.py --keep     and in docs/speed.md

A move is a key on a slider's handle, or on the explorer's plane; the picture is new when the browser has decoded it. The aim
is 100 ms at the median and 200 ms at the 95th percentile, on cores that do nothing else: the load of the machine is printed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

sys.path[:0] = [str(Path(__file__).parents[1] / "tests"), str(Path(__file__).parent)]
import browser  # noqa: E402
import marked  # noqa: E402
import speed  # noqa: E402

PAGE = Path(__file__).parents[1] / "docs" / "speed.md"
MARKS = ("<!-- latency: written by `python benchmarks/latency.py --keep` -->", "<!-- end of latency -->")

SETUP = """
from sdkit import Experiment, Recipe
from sdkit.widgets import *
tiny = {"model": "four-stage", "network": {"width": 8}, "data": "digits", "dataset": {"train_size": 256},
        "recipe": Recipe(epochs=6, batch_size=32, lr=0.05)}
runs = {m: Experiment(m, **tiny).run(progress=False) for m in ("vanilla", "drg", "drg+dsr")}
two = {m: runs[m] for m in ("vanilla", "drg")}
for seed in range(24):
    Experiment("drg", **tiny | {"recipe": Recipe(epochs=1, batch_size=128, lr=0.05)}, seed=seed).run(progress=False)
"""


class Instrument(NamedTuple):
    """What is moved, and which picture must change."""

    cell: str
    hand: str
    picture: str
    keys: tuple[str, ...] = ("ArrowRight", "ArrowLeft")


PANEL = Instrument(
    'TrainingPanel(Experiment("drg+dsr", **tiny | {"recipe": Recipe(epochs=2000, batch_size=32, lr=0.05)}))',
    ".sdkit-drg-alpha .noUi-handle",
    "img.sdkit-curves",
)
EXPLORER, HANDLE = ".sdkit-explorer .sdkit-plane img", ".noUi-handle"
VIEWERS = {
    "loss inspector": Instrument(
        'LossInspector(runs["drg+dsr"])',
        f".sdkit-panel:has(img.sdkit-inspector) .sdkit-drg-alpha {HANDLE}",
        "img.sdkit-inspector",
    ),
    "explorer": Instrument("Explorer()", EXPLORER, EXPLORER, ("ArrowLeft",)),
    "explorer, first visit": Instrument("", EXPLORER, "img.sdkit-run-curves", ("ArrowLeft",)),
    "weight noise": Instrument(
        "NoiseViewer(two, limit=64, draws=2)", f".sdkit-sigma {HANDLE}", ".sdkit-noise-viewer img.sdkit-curves"
    ),
    "features": Instrument("FeatureViewer(two)", f".sdkit-point {HANDLE}", ".sdkit-feature-viewer .sdkit-plane img"),
    "Grad-CAM": Instrument("CamViewer(two, limit=8)", f".sdkit-cam-viewer .sdkit-image {HANDLE}", "img.sdkit-maps"),
    "ranked outputs": Instrument(
        "RankedViewer(two)", f".sdkit-ranked-viewer .sdkit-epoch {HANDLE}", ".sdkit-ranked-viewer img.sdkit-curves"
    ),
}

# a key on the hand -> ms until the picture is another, decoded
MOVE = """([hand, picture, key]) => new Promise((done, failed) => {
  const image = document.querySelector(picture), at = document.querySelector(hand), began = performance.now();
  const late = setTimeout(() => { watch.disconnect(); done(null); }, 10000);
  const watch = new MutationObserver(async () => {
    watch.disconnect();
    clearTimeout(late);
    await image.decode().catch(() => 0);
    done(performance.now() - began);
  });
  watch.observe(image, {attributes: true, attributeFilter: ['src']});
  at.focus();
  at.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true, cancelable: true}));
})"""


def moves(page: Any, instrument: Instrument, times: int) -> list[float]:
    """ms of so many moves, one after another, each when the page is quiet again."""
    page.locator(instrument.picture).first.scroll_into_view_if_needed()
    out = []
    for i in range(times):
        page.wait_for_timeout(150)
        key = instrument.keys[i % len(instrument.keys)]
        took = page.evaluate(MOVE, [instrument.hand, instrument.picture, key])
        if took is not None:
            out.append(took)
    return out


def measure(times: int) -> dict[str, dict[str, list[float]]]:
    """instrument -> "idle" and "while training" -> ms."""
    found: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SDKIT_HOME"] = f"{folder}/home"
        cells = [SETUP, PANEL.cell, *(v.cell for v in VIEWERS.values() if v.cell)]
        with browser.serve(Path(folder) / "lab") as lab, browser.chromium(Path(folder) / "profile") as address:
            with browser.shared_page(lab, address, "latency.ipynb", *cells) as page:
                browser.wait_until_done(page, 300)
                page.wait_for_timeout(5000)  # the viewers' first results
                # seen for the first time: every run's curves are drawn anew
                first = moves(page, VIEWERS["explorer, first visit"], min(times, 24))
                found["explorer, first visit"] = {"idle": first}
                for training in (False, True):
                    when = "while training" if training else "idle"
                    page.locator(".sdkit-start").click()
                    page.wait_for_function("() => document.querySelector('.sdkit-says').innerText.includes('step ')")
                    if not training:
                        page.locator(".sdkit-pause").click()
                        page.wait_for_function("() => document.querySelector('.sdkit-says').innerText.startsWith('paused')")
                    for name, instrument in {"training panel": PANEL, **VIEWERS}.items():
                        if name != "explorer, first visit":
                            found.setdefault(name, {})[when] = moves(page, instrument, times)
                    page.locator(".sdkit-stop").click()
                    page.wait_for_function("() => document.querySelector('.sdkit-says').innerText.startsWith('stopped')")
    return found


def high(values: list[float]) -> float:
    """The 95th percentile."""
    return statistics.quantiles(values, n=20)[-1]


def table(found: dict[str, dict[str, list[float]]], load: float) -> str:
    """The numbers as Markdown, with the machine that gave them."""
    names = ("idle", "while training")
    head = f"{speed.processor()}, {os.cpu_count()} cores, load {load:.1f} before the start; ms from the key to the picture."
    lines = [head, "", "| instrument | " + " | ".join(f"{w}: median | 95 %" for w in names) + " |", "| --- " * 5 + "|"]
    for name, by in found.items():
        cells = [(statistics.median(v), high(v)) if len(v := by.get(w, [])) > 1 else None for w in names]
        lines.append(f"| {name} | " + " | ".join(f"{c[0]:.0f} | {c[1]:.0f}" if c else "- | -" for c in cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=40, help="moves of each instrument")
    parser.add_argument("--keep", action="store_true", help="write the table into docs/speed.md")
    asked = parser.parse_args()
    if reason := browser.what_is_missing():
        sys.exit(reason)
    load = os.getloadavg()[0]
    said = table(measure(asked.times), load)
    print(said)
    if asked.keep:
        marked.put(PAGE, MARKS, said)


if __name__ == "__main__":
    main()
