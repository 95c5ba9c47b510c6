"""A notebook that is used for an hour: does what it holds stay flat?

`python tests/soak.py 3600` trains, forks, analyses, sweeps in two processes, opens panels and viewers and closes them, round
after round in one process, on drawn digits. After each round it writes down memory, open files, threads and processes. The last
line of its output says, as JSON, how the last quarter of the rounds lies above the second; `--out FOLDER` takes a picture.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["SDKIT_THREADS"] = "1"

import psutil  # noqa: E402

from sdkit import Experiment, Recipe, analysis, figures, run_all  # noqa: E402
from sdkit.widgets import Explorer, FeatureViewer, LossInspector, NoiseViewer, TrainingPanel  # noqa: E402

METHODS = ("vanilla", "byot", "ddgsd", "self-guidance", "drg+dsr", "sfr", "ps-kd", "dml")
WHAT = {"MB": "memory, MB", "files": "open files", "threads": "threads", "processes": "processes"}
SETTLED = {"MB": 40.0, "files": 2, "threads": 1, "processes": 0}
"""By how much the last quarter may lie above the second: the heap's own ups and downs, and a socket that is being closed."""


def experiment(method: str, seed: int = 0) -> Experiment:
    """A training of a second."""
    network = {"width": 4} | ({"survival": 0.5} if method == "self-guidance" else {})
    recipe = Recipe(epochs=3, batch_size=30, lr=0.02, schedule="constant")
    return Experiment(method, network=network, data="digits", dataset={"train_size": 60}, recipe=recipe, seed=seed)


def once(number: int) -> None:
    """What a person does in a minute: the same experiments come again and again, trained anew each time."""
    one = experiment(METHODS[number % len(METHODS)])
    ours, plain = one.run(progress=False, fresh=True), experiment("vanilla", seed=1).run(progress=False, fresh=True)
    pair, forked = {"plain": plain, "ours": ours}, one.fork(1, {})
    forked.run(progress=False, fresh=True)
    images, labels = ours.images("test", 60)
    analysis.calibration(ours.logits(), ours.labels())
    analysis.noise_tolerance(ours.model, images, labels, [0.1], draws=1)
    analysis.project_pca(analysis.collect_features(ours.features, images)["final"])
    analysis.term_shares(ours)
    for viewer in (NoiseViewer(pair), FeatureViewer(pair)):
        viewer.wait(60)
        viewer.close()
    for panel in (LossInspector(ours), Explorer()):
        panel.close()
    steered(replace(one, seed=2))
    for e in (sweep := [experiment("dsr", seed) for seed in (3, 4)]):
        e.stored.delete()
    run_all(sweep, jobs=2, progress=False)


def steered(e: Experiment) -> None:
    """A panel trains, or, where its cell ran before, forks what it has trained; then the page is closed."""
    panel = TrainingPanel(e)
    if not panel.history:
        panel.start.click()
    else:
        panel.fork.click()
    for live in [*panel.trainings.values()]:
        live.wait(60)
    if panel.notice.value:
        raise RuntimeError(panel.notice.value)
    panel.close()


def held() -> dict[str, float]:
    """What this process holds at this moment."""
    gc.collect()
    me = psutil.Process()
    return {
        "MB": me.memory_info().rss / 1e6,
        "files": me.num_fds(),
        "threads": me.num_threads(),
        "processes": len(me.children(recursive=True)),
    }


def rises(rounds: list[dict[str, float]]) -> dict[str, float]:
    """By how much the median of the last quarter of the rounds lies above that of the second."""
    n = len(rounds) // 4
    return {k: statistics.median(r[k] for r in rounds[-n:]) - statistics.median(r[k] for r in rounds[n : 2 * n]) for k in WHAT}


def soak(seconds: float, rounds: int = 8) -> list[dict[str, float]]:
    """Rounds for so long, and so many at least; what was held after each."""
    began, found = time.monotonic(), []
    while time.monotonic() - began < seconds or len(found) < rounds:
        once(len(found))
        found.append({"minutes": (time.monotonic() - began) / 60} | held())
        print(json.dumps({k: round(v, 1) for k, v in found[-1].items()}), flush=True)
    return found


def drawn(found: list[dict[str, float]], file: Path) -> None:
    """The rounds as a picture."""
    fig, axes = figures.new(columns=4, width=12, height=3)
    for ax, (k, label) in zip(axes, WHAT.items(), strict=True):
        ax.plot([r["minutes"] for r in found], [r[k] for r in found])
        ax.set(xlabel="minutes", ylabel=label, ylim=(0, None))
    fig.savefig(file, dpi=100)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__.partition("\n")[0])
    parser.add_argument("seconds", type=float)
    parser.add_argument("--out", type=Path)
    said = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sdkit-soak-") as home:
        os.environ["SDKIT_HOME"] = home
        found = soak(said.seconds)
        if said.out:
            said.out.mkdir(parents=True, exist_ok=True)
            (said.out / "soak.json").write_text(json.dumps(found))
            drawn(found, said.out / "soak.png")
    risen = rises(found)
    flat = all(risen[k] <= most for k, most in SETTLED.items())
    print(json.dumps({"rounds": len(found), "flat": flat} | {f"{k} risen by": round(v, 1) for k, v in risen.items()}))


if __name__ == "__main__":
    main()
