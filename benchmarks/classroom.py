#!/usr/bin/env python3
"""What a class takes of one machine: kernels at once, their memory, their time, and what they leave on the disk.

    python benchmarks/classroom.py --kernels 5        five kernels, each trains BYOT on digits (smoke) with one thread
    python benchmarks/classroom.py --notebook 01_byot one kernel runs a notebook's cells (smoke) with one thread

Memory is of a kernel and all its processes: the largest PSS (shared pages divided among those who share them) that was seen,
and VmHWM, the largest that the kernel itself had resident. Each has an SDKIT_HOME of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import nbformat
import psutil
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).resolve().parents[1]
TRAINS = """import sdkit
e = sdkit.small_experiment(sdkit.base_experiment(data="shapes", model="four-stage", recipe="quick"))
e = sdkit.Experiment("byot", model=e.model, network=e.network, data=e.data, dataset=e.dataset, recipe=RECIPE)
t = e.run(progress=False)
print(t.accuracy)"""


def main() -> None:
    """Prints a line a kernel and the sums."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernels", type=int, default=1)
    parser.add_argument("--notebook", default="", help="its cells, with the smoke recipe")
    parser.add_argument("--recipe", default="smoke", help="of the training without a notebook")
    said = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(ROOT)}
    if said.notebook:
        os.environ |= {"SDKIT_RECIPE": "smoke"}
        source = nbformat.read(ROOT / "notebooks" / f"{said.notebook}.ipynb", as_version=4)
        source.cells = [c for c in source.cells if not re.search(r"exercises\.check|raise NotImplementedError", c.source)]
    else:
        source = new_notebook(cells=[new_code_cell(TRAINS.replace("RECIPE", repr(said.recipe)))])
    idle = psutil.virtual_memory().available
    with tempfile.TemporaryDirectory() as homes:
        found = asyncio.run(all_of(source, [Path(homes) / f"student{n}" for n in range(said.kernels)]))
    for n, (seconds, hwm, pss, processes, disk) in enumerate(found):
        print(
            f"kernel {n}: {seconds:5.0f} s, VmHWM {hwm:.0f} MB, PSS of {processes} processes {pss:.0f} MB, runs {disk:.1f} MB"
        )
    print(f"all: PSS {sum(f[2] for f in found):,.0f} MB; the machine had {idle / 1e6:,.0f} MB available before")


async def all_of(source: Any, homes: list[Path]) -> list[tuple[float, float, float, int, float]]:
    """Every kernel at once."""
    return await asyncio.gather(*(one(nbformat.from_dict(source), home) for home in homes))


async def one(notebook: Any, home: Path) -> tuple[float, float, float, int, float]:
    """A kernel -> seconds, its VmHWM, the largest PSS of it and its children (MB), their number, MB of runs."""
    home.mkdir()
    client = NotebookClient(notebook, timeout=None, kernel_name="python3", resources={"metadata": {"path": str(home)}})
    began, seen, over = time.perf_counter(), [(0.0, 0)], threading.Event()
    async with client.async_setup_kernel(env=os.environ | {"SDKIT_HOME": str(home)}):
        kernel = psutil.Process(client.km.provisioner.process.pid)
        watcher = threading.Thread(target=watch, args=(kernel, seen, over), daemon=True)
        watcher.start()
        for n, cell in enumerate(notebook.cells):
            if cell.cell_type == "code":
                await client.async_execute_cell(cell, n)
        seconds = time.perf_counter() - began
        status = Path(f"/proc/{kernel.pid}/status").read_text()
        over.set()
        watcher.join()
    pss, processes = max(seen)
    disk = sum(f.stat().st_size for f in (home / "runs").rglob("*") if f.is_file())
    return seconds, int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1e3, pss, processes, disk / 1e6


def watch(kernel: psutil.Process, seen: list[tuple[float, int]], over: threading.Event) -> None:
    """Adds what a kernel and its processes hold, twice a second."""
    while not over.wait(0.5):
        total, count = 0.0, 0
        for process in [kernel, *kernel.children(recursive=True)]:
            try:
                total, count = total + process.memory_full_info().pss / 1e6, count + 1
            except psutil.Error:
                continue
        seen.append((total, count))


if __name__ == "__main__":
    main()
