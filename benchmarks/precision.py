"""Does the precision change what is found? The same trainings in bfloat16 and in float32.

    python benchmarks/precision.py FOLDER      trains what precision.json lists, one thread each; writes docs/speed.md

Runs are paired by what was asked for, the seed included: they begin from the same weights and see the same images in the same
order. Runs go into FOLDER/bfloat16 and FOLDER/float32 and are found again there. What data/records has in float32, with its
calibration, is not trained again.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MARKS = ("<!-- precision: written by `python benchmarks/precision.py` -->", "<!-- end of precision -->")
PLAN, LEFT = Path(__file__).with_suffix(".json"), ["calibration", "right"]
sys.path.insert(0, str(ROOT))

import marked  # noqa: E402
from parity import Curve, parity  # noqa: E402
from scipy.stats import t  # noqa: E402
from speed import markdown  # noqa: E402

from sdkit import run_all, studies  # noqa: E402
from sdkit.studies import Result  # noqa: E402
from sdkit.studies.compare import network_and_images  # noqa: E402
from sdkit.studies.gains import Pairs, above, gain_of, judged, spreads  # noqa: E402

Row = dict[str, Any]
Group = tuple[str, str]  # network and images, method


def pairs_of(half: Sequence[Result], full: Sequence[Result]) -> dict[Group, Pairs]:
    """The runs that both have: (network and images, method) -> seed -> (in bfloat16, in float32)."""
    known = {r.key: r for r in full}
    found: dict[Group, dict[int, tuple[Result, Result]]] = {}
    for r in half:
        if beside := known.get(r.key):
            found.setdefault((network_and_images(r), r["method"]), {})[int(r["seed"])] = (r, beside)
    return found


def trained(kind: str, folder: Path, known: Collection[str]) -> list[Result]:
    """The plan's runs in a precision, but for those whose keys are known: trained now, or found again. In a fresh process."""
    config = {"SDKIT_PRECISION": kind, "SDKIT_HOME": str(folder / kind), "SDKIT_THREADS": "1"}
    subprocess.run([sys.executable, __file__, str(folder), "--only", kind, *known], env=os.environ | config, check=True)
    return studies.load_results(where=folder / kind / "data" / "records")


def train(kind: str, known: Collection[str]) -> None:
    """Trains and records in $SDKIT_HOME."""
    each = [e for e in studies.read_plan(PLAN).experiments if e.key not in known]
    run_all(each, diverged=True)
    for e in each:
        studies.write_result(studies.result_of(e, "precision", LEFT))
    print(f"{len(each)} in {kind}", flush=True)


def curve(r: Result) -> Curve:
    """A run's losses on the labels and its accuracies, epoch by epoch."""
    return Curve(r.epochs["terms.task"], r.epochs["accuracy.final"])


def ece(r: Result) -> float:
    """The expected calibration error of the last epoch, in [0, 1]."""
    return r.curves["calibration"]["ece"]


def table(pairs: dict[Group, Pairs]) -> list[Row]:
    """A row for each method: what it comes to in both, by how much they differ, and whether chance gives as much.

    A difference is a mean over seeds with its 95 % interval, from seeds and test images; all of them are judged together, so
    that precisions which change nothing show a difference in one such table of twenty.
    """
    of = {name: spreads({k: v for k, v in pairs.items() if k[0] == name[0]})[name] for name in pairs}
    gains = judged({name: gain_of(both, *of[name]) for name, both in pairs.items()})
    rows = []
    order = {e.method: place for place, e in enumerate(studies.read_plan(PLAN).experiments)}
    for name, both in sorted(pairs.items(), key=lambda item: (item[0][0], order.get(item[0][1], 0))):
        (other, kept), first = zip(*both.values(), strict=True), next(iter(both.values()))
        kinds = [r.environment["precision"] for r in first]
        row: Row = dict(zip(("trained", "method"), name, strict=True)) | {"seeds": len(both)}
        for kind, runs in zip(reversed(kinds), (kept, other), strict=True):
            row[f"test, {kind}"] = f"{100 * statistics.mean(r['accuracy.final'] for r in runs):.1f}"
        row["difference"], row["told apart"] = str(gains[name]), gains[name].verdict
        row["of ECE"] = f"{100 * statistics.mean(ece(a) - ece(b) for a, b in both.values()):+.1f}"
        if len(both) > 1:
            found = parity({"plain": [*map(curve, kept)], "other": [*map(curve, other)]})[1]
            row["loss curves apart"] = f"{found['of what seeds part']:.1f}"
        rows.append(row)
    for of in dict.fromkeys(name[0] for name in pairs):
        every = [above(*pair) for name, both in pairs.items() if name[0] == of for pair in both.values()]
        error = statistics.stdev(every) / math.sqrt(len(every))
        low, high = (100 * (statistics.mean(every) + side * t.ppf(0.975, len(every) - 1) * error) for side in (-1, 1))
        whole = {"trained": of, "method": "all together", "seeds": len(every)}
        rows.append(whole | {"difference": f"{100 * statistics.mean(every):+.1f} ({low:+.1f} to {high:+.1f})"})
    return [{k: row.get(k, "") for k in rows[0]} for row in rows]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="precision", description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="of the runs")
    parser.add_argument("--only", nargs="+", help=argparse.SUPPRESS)
    said = parser.parse_args()
    if said.only:
        train(said.only[0], said.only[1:])
        return
    kept = [
        r
        for r in studies.load_results(where=ROOT / "data" / "records")
        if r.environment["precision"] == "float32" and {*LEFT} <= r.curves.keys()
    ]
    full = trained("float32", said.folder, {r.key for r in kept})
    written = markdown(table(pairs_of(trained("bfloat16", said.folder, ()), [*kept, *full])))
    marked.put(ROOT / "docs" / "speed.md", MARKS, written)
    print(written)


if __name__ == "__main__":
    main()
