#!/usr/bin/env python3
"""Takes a lab's plan through its notebook with a clock: how long does a class wait?

    python benchmarks/lesson.py byot                  what the 90-minute plan of docs/course/byot.md runs, section by section
    taskset -c 0 python benchmarks/lesson.py byot     the same with one core

The cells are those of the solved notebook (course/build.py), in a kernel and an SDKIT_HOME of their own; then once more, as a
class finds it that was given the runs. Beside the clock stands the processor's time, which other work on the machine hardly
moves: with one core it is what a class waits.
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
import psutil
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
    print(f"\n{paper}: {len(os.sched_getaffinity(0))} core(s); seconds by the clock (of the processor)")
    print(f"{'section':64} {'first':>14} {'again':>14}")
    for name in rounds[0]:
        print(f"{name or 'imports':64}" + "".join(f" {clock:6.0f} ({cpu:5.0f})" for clock, cpu in (r[name] for r in rounds)))
    sums = [[sum(v[k] for v in r.values()) / 60 for k in (0, 1)] for r in rounds]
    print(f"{'all, minutes':64}" + "".join(f" {clock:6.1f} ({cpu:5.1f})" for clock, cpu in sums))


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


def clocked(notebook: Any, sections: set[str]) -> dict[str, tuple[float, float]]:
    """Runs the cells of these sections, and all that stand before *Train* -> seconds by section: clock, processor."""
    cells = [(name, cell) for name, cell in sectioned(notebook) if cell.cell_type == "code"]
    train = [name for name, _ in cells].index("Train")
    cells = [pair for n, pair in enumerate(cells) if n < train or pair[0].startswith((*sections,))]
    spent: dict[str, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
    client = NotebookClient(notebook, timeout=None, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}})
    with client.setup_kernel():
        kernel = psutil.Process(client.km.provisioner.process.pid)
        for name, cell in cells:
            began, worked = time.perf_counter(), processor(kernel)
            client.execute_cell(cell, notebook.cells.index(cell))
            clock, cpu = spent[name]
            spent[name] = clock + time.perf_counter() - began, cpu + processor(kernel) - worked
    return dict(spent)


def processor(kernel: psutil.Process) -> float:
    """Seconds that a kernel and the processes that it has now have worked."""
    times = [p.cpu_times() for p in (kernel, *kernel.children(recursive=True))]
    return sum(t.user + t.system for t in times)


if __name__ == "__main__":
    main()
