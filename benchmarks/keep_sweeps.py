"""Keeps the small runs of the notebooks' sweeps and tables as records: `studies.gather` and `studies.table` read them.

Run the notebooks with `own_sweeps = True`, then `python benchmarks/keep_sweeps.py`: what of the runs in SDKIT_HOME is on
digits, with parts of sdkit's own, and has no record yet, is written to data/records/sweeps/. Histories, and which test images
are answered right; no weights.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sdkit import Experiment, runs, studies
from sdkit.runs import Run
from sdkit.studies import Result
from sdkit.studies.execute import ENDED, SWEEPS

ROOT = Path(__file__).resolve().parents[1]


def kept(run: Run) -> Result | None:
    """The light record of a run; None of one that has not ended, is not on digits, or no line of sdkit's own repeats."""
    try:
        e = Experiment.of(run.config)
    except ValueError:
        return None
    fits = e.key == run.key and e.data == "digits" and run.status in ENDED  # a panel's run has a key of its own
    return studies.result_of(e, SWEEPS, ["right"]) if fits else None


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="keep_sweeps", description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "records")
    said = parser.parse_args()
    written = 0
    for row in runs.records():
        known = any(said.out.glob(f"*/{row.run.key}.json"))
        if not (row.wrong or known) and (record := kept(row.run)):
            studies.write_result(record, said.out)
            written += 1
    print(f"{written} runs kept in {said.out / SWEEPS}")


if __name__ == "__main__":
    main()
