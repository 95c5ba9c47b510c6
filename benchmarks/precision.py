"""Does the precision change what is found? The same trainings in another precision beside those that are recorded.

    SDKIT_PRECISION=bfloat16 SDKIT_THREADS=1 SDKIT_HOME=/tmp/half python start.py record benchmarks/precision.json
    python benchmarks/precision.py /tmp/half

The first trains what the file lists, the second writes docs/speed/precision.md.

Runs are paired by what was asked for, the seed included: they begin from the same weights and see the same images in the same
order. What the records of one home and of data/records have in common is compared, whatever plan it is of.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from parity import Curve, parity  # noqa: E402
from speed import markdown  # noqa: E402

from sdkit import studies  # noqa: E402
from sdkit.studies import Result  # noqa: E402
from sdkit.studies.compare import network_and_images  # noqa: E402
from sdkit.studies.gains import Pairs, gain_of, judged, spreads  # noqa: E402

Row = dict[str, Any]
Group = tuple[str, str, str]  # data set, network, method


def pairs_of(others: Sequence[Result], kept: Sequence[Result]) -> dict[Group, Pairs]:
    """The runs that both have, in two precisions: (data set, network, method) -> seed -> (other, kept)."""
    precision = others[0].environment["precision"] if others else ""
    known = {r.key: r for r in kept if r.environment["precision"] != precision}
    found: dict[Group, dict[int, tuple[Result, Result]]] = {}
    for r in others:
        if beside := known.get(r.key):
            found.setdefault((r["data"], network_and_images(r), r["method"]), {})[int(r["seed"])] = (r, beside)
    return found


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
    of = {name: spreads({k: v for k, v in pairs.items() if k[:2] == name[:2]})[name] for name in pairs}
    gains = judged({name: gain_of(both, *of[name]) for name, both in pairs.items()})
    rows = []
    for name, both in pairs.items():
        (other, kept), first = zip(*both.values(), strict=True), next(iter(both.values()))
        kinds = [r.environment["precision"] for r in first]
        row: Row = dict(zip(("data", "network", "method"), name, strict=True)) | {"seeds": len(both)}
        for kind, runs in zip(reversed(kinds), (kept, other), strict=True):
            row[f"test, {kind}"] = f"{100 * statistics.mean(r['accuracy.final'] for r in runs):.1f}"
        row["difference"], row["told apart"] = str(gains[name]), gains[name].verdict
        row["of ECE"] = f"{100 * statistics.mean(ece(a) - ece(b) for a, b in both.values()):+.1f}"
        if len(both) > 1:
            found = parity({"plain": [*map(curve, kept)], "other": [*map(curve, other)]})[1]
            row["loss curves apart, of what seeds part"] = f"{found['of what seeds part']:.1f}"
        row["seconds"] = f"{statistics.mean(r['seconds'] for r in other) / statistics.mean(r['seconds'] for r in kept):.2f}"
        rows.append(row)
    return rows


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="precision", description=__doc__.partition("\n")[0])
    parser.add_argument("home", type=Path, help="the SDKIT_HOME whose records stand beside data/records")
    parser.add_argument("--beside", type=Path, help="a SDKIT_HOME whose records count before those of data/records")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "speed" / "precision.md")
    said = parser.parse_args()
    others, *kept = (studies.load_results(where=p / "data" / "records") for p in (said.home, ROOT, said.beside or said.home))
    found = pairs_of(others, [r for records in kept for r in records])
    if not found:
        raise SystemExit(
            f"precision: of {len(others)} records in {said.home} none is also in data/records, in another precision"
        )
    written = markdown(table(found))
    said.out.write_text(TITLE + written + "\n", encoding="utf-8")
    print(written)


TITLE = """# The same trainings in 16 and in 32 bits

Written by `python benchmarks/precision.py`. Both begin from the same weights and see the same images in the same order.
Accuracies in per cent. A difference is bfloat16 less float32 in points, with its 95 % interval. The loss curves' distance: 1 is
what chance gives, at 2 and less they are one within the seeds. The seconds were measured on two machines.

"""


if __name__ == "__main__":
    main()
