#!/usr/bin/env python3
"""Takes a lab's plan through its notebook with a clock: how long does a class wait?

    python benchmarks/lesson.py byot                  what the 90-minute plan of docs/course/byot.md runs, section by section
    taskset -c 0 python benchmarks/lesson.py byot     the same with one core

The cells are those of the solved notebook (course/build.py), in a kernel and an SDKIT_HOME of their own; then once more, as a
class finds it that was given the runs.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Prints seconds by section, the first time and with the runs found again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paper", choices=("byot", "ddgsd", "self_guidance", "drg_dsr", "sfr"))
    paper = parser.parse_args().paper
    plan = (ROOT / "docs" / "course" / f"{paper}.md").read_text(encoding="utf-8")
    sections = planned(plan.partition("## 90 minutes")[2].partition("\n## ")[0])
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"SDKIT_HOME": home, "PYTHONPATH": str(ROOT)}
        rounds = [clocked(solved(paper), sections) for _ in range(2)]
    print(f"\n{paper}: {len(os.sched_getaffinity(0))} core(s)\n{'section':64} {'first':>7} {'again':>7}   s")
    for name in rounds[0]:
        print(f"{name or 'imports':64} {rounds[0][name]:7.0f} {rounds[1][name]:7.0f}")
    print(f"{'all, minutes':64} {sum(rounds[0].values()) / 60:7.1f} {sum(rounds[1].values()) / 60:7.1f}")


def planned(table: str) -> set[str]:
    """The sections that a plan's column "run" names."""
    rows = [line.split("|")[2] for line in table.splitlines() if re.match(r"\| \d", line)]
    found = {name for row in rows for name in re.findall(r"\*([^*]+)\*", row)}
    return found | ({"Exercises that answer back"} if any("exercises" in row for row in rows) else set())


def solved(paper: str) -> Any:
    """The solved notebook."""
    spec = importlib.util.spec_from_file_location("build", ROOT / "course" / "build.py")
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    notebook = nbformat.read(ROOT / "notebooks" / f"{build.PAPERS[paper]}.ipynb", as_version=4)
    return build.solved_notebook(notebook, paper)


def sectioned(notebook: Any) -> list[tuple[str, Any]]:
    """Every cell with the heading that it stands under, without the figure or table in brackets."""
    now, found = "", []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for line in cell.source.splitlines():
                if line.startswith(("## ", "### ")):
                    now = re.sub(r" \((Fig|Table|Discussions)[^)]*\)", "", line.lstrip("# "))
        found.append((now, cell))
    return found


def clocked(notebook: Any, sections: set[str]) -> dict[str, float]:
    """Runs the cells of these sections, and all that stand before *Train* -> seconds by section."""
    cells = [(name, cell) for name, cell in sectioned(notebook) if cell.cell_type == "code"]
    train = [name for name, _ in cells].index("Train")
    cells = [pair for n, pair in enumerate(cells) if n < train or pair[0].startswith((*sections,))]
    spent: dict[str, float] = defaultdict(float)
    client = NotebookClient(notebook, timeout=None, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}})
    began = time.perf_counter()
    with client.setup_kernel():
        spent["the kernel"] = time.perf_counter() - began
        for name, cell in cells:
            began = time.perf_counter()
            client.execute_cell(cell, notebook.cells.index(cell))
            spent[name] += time.perf_counter() - began
    return dict(spent)


if __name__ == "__main__":
    main()
