"""The accuracies that the papers' comparison tables print, under sdkit's names of methods and data sets."""

from __future__ import annotations

from typing import NamedTuple

from ..core import pick
from .settings import rows, settled
from .source import PAPERS, table

TABLES = (
    "byot_table3", "byot_table2", "ddgsd_table2", "self_guidance_table2", "drg_dsr_table1", "sfr_table1", "drg_dsr_table2",
)  # fmt: skip
"""Those that compare methods on one network; what each calls sdkit's methods and data sets is in `settings.toml`."""

METHODS = {name: {row.method: settled(row).method for row in rows(name) if row.method != "teacher"} for name in TABLES}
"""A table -> its row's name -> the method. Of BYOT's exits the deepest alone is compared."""

DATA = {row.data: settled(row).data for name in TABLES for row in rows(name)}
"""A data set's name in the tables -> sdkit's."""


class Printed(NamedTuple):
    """What one table prints of one network on one data set."""

    paper: str  # of PAPERS
    table: str  # its number in the paper
    network: str  # as the paper writes it
    data: str  # the same
    accuracy: dict[str, float]  # method -> in [0, 1], "vanilla" among them
    name: str = ""  # of the table: "drg_dsr_table1"

    @property
    def gain(self) -> dict[str, float]:
        """Method -> what the paper has above its own plain training."""
        return {m: a - self.accuracy["vanilla"] for m, a in self.accuracy.items() if m != "vanilla"}

    def __str__(self) -> str:
        return f"paper {PAPERS[self.paper].number}, Table {self.table}, {self.network} on {self.data}"


def printed(data: str, paper: str | None = None) -> list[Printed]:
    """The tables' networks on a data set that have a row for plain training, in the papers' order; of one paper or of all."""
    if paper is not None:
        pick(paper, PAPERS, "paper")
    found: dict[tuple[str, str, str, str, str], dict[str, float]] = {}
    for name, methods in METHODS.items():
        for r in table(name):
            wanted = DATA.get(str(r["dataset"])) == data and r["metric"] in ("top1_acc", "top1_err")
            if wanted and r["method"] in methods and r["classifier"] in (None, "Classifier 4/4") and r["value"] is not None:
                accuracy = r["value"] if r["metric"] == "top1_acc" else 100 - r["value"]
                place = found.setdefault((r["paper"], r["table"], r["model"], r["dataset"], name), {})
                place[methods[r["method"]]] = accuracy / 100
    return [Printed(*key, rows, name) for (*key, name), rows in found.items() if "vanilla" in rows and paper in (None, key[0])]
