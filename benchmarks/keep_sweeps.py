"""Keeps the small runs of the notebooks' sweeps and tables as records: `studies.gather` and `studies.table` read them.

Run the notebooks with `own_sweeps = True`, then `python benchmarks/keep_sweeps.py`: what of the runs here is on digits, with
parts of sdkit's own, and has no record yet, is written to data/records/sweeps/. Histories, and which test images are answered
right; no weights.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sdkit import DATASETS, METHODS, MODELS, Experiment, runs, studies
from sdkit.runs import Run, epoch_table
from sdkit.studies.execute import SWEEPS
from sdkit.studies.result import Result, right_images, source_digest, tidy_number

ROOT = Path(__file__).resolve().parents[1]


def plain(run: Run) -> bool:
    """Whether a run has ended, is on digits, and has no part of a user's own."""
    said = run.config
    own = {*said["method"].split("+")} - {*METHODS} or said["model"] not in MODELS or said["data"] not in DATASETS
    return run.status in ("done", "diverged") and said["data"] == "digits" and not own


def kept(run: Run) -> Result:
    """The light record of a run, every file that it is made of held to its digest."""
    labels = Experiment(data="digits", dataset=run.config["dataset"]).load_data().test.y
    curves = {"right": right_images(run.logits().argmax(1) == labels)} if run.status == "done" else {}
    where = {"machine": run.environment["machine"].partition("-")[0], "source": source_digest(), "test images": len(labels)}
    table = {k: [tidy_number(v) for v in column] for k, column in epoch_table(run.history()).items()}
    return Result(SWEEPS, run.key, run.status, run.config, run.environment | where, table, [], curves)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="keep_sweeps", description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=Path, help="a folder of runs; default: this home's")
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "records")
    said = parser.parse_args()
    written = 0
    for row in runs.records(said.runs):
        if not row.wrong and plain(row.run) and not (said.out / SWEEPS / f"{row.run.key}.json").exists():
            studies.write_result(kept(row.run), said.out)
            written += 1
    print(f"{written} runs kept in {said.out / 'sweeps'}")


if __name__ == "__main__":
    main()
