"""The accuracies that the papers' comparison tables print, under sdkit's names of methods and data sets."""

from __future__ import annotations

from typing import NamedTuple

from ..core import pick
from .source import PAPERS, table

DATA = {
    "cifar10": ("CIFAR-10",),
    "cifar100": ("CIFAR-100",),
    "tiny_imagenet": ("TinyImageNet",),
    "imagenet": ("ImageNet", "ImageNet-2012"),
}
"""A data set -> its names in the tables."""

METHODS = {
    "byot_table3": {"Baseline": "vanilla", "KD": "kd", "FitNet": "fitnet", "AT": "at", "DML": "dml", "Our approach": "byot"},
    "byot_table2": {"Baseline": "vanilla", "Self distillation": "byot"},
    "ddgsd_table2": {"baseline (n)": "vanilla", "SD (y)": "ddgsd"},
    "self_guidance_table2": {"baseline": "vanilla", "DML": "dml", "ONE": "one", "Ours (Self-Guidance)": "self-guidance"},
    "drg_dsr_table1": {
        "Vanilla": "vanilla",
        "ZF-LS_lb": "zf-ls",
        "TF-KD_reg": "tf-kd-reg",
        "BYOT": "byot",
        "CS-KD": "cs-kd",
        "PS-KD": "ps-kd",
        "DLB": "dlb",
        "DRG (ours)": "drg",
        "DSR (ours)": "dsr",
        "DRG+DSR (ours)": "drg+dsr",
    },
    "sfr_table1": {
        "student": "vanilla",
        "HKD": "kd",
        "FitNet": "fitnet",
        "AT": "at",
        "CC": "cc",
        "RKD": "rkd",
        "VID": "vid",
        "L2": "l2",
        "SFR-L2": "sfr-l2",
        "SFR-AT": "sfr-at",
        "SFR-FitNet": "sfr-fitnet",
    },
}
"""A table -> its row's name -> the method. Of BYOT's exits the deepest alone is compared."""

METHODS["drg_dsr_table2"] = METHODS["drg_dsr_table1"]


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
            wanted = r["dataset"] in DATA.get(data, ()) and r["metric"] in ("top1_acc", "top1_err")
            if wanted and r["method"] in methods and r["classifier"] in (None, "Classifier 4/4") and r["value"] is not None:
                accuracy = r["value"] if r["metric"] == "top1_acc" else 100 - r["value"]
                place = found.setdefault((r["paper"], r["table"], r["model"], r["dataset"], name), {})
                place[methods[r["method"]]] = accuracy / 100
    return [Printed(*key, rows, name) for (*key, name), rows in found.items() if "vanilla" in rows and paper in (None, key[0])]
