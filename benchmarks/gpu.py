"""A machine with a card: is everything right on it, how fast is it, and what do the planned runs give? One command each.

    python benchmarks/gpu.py check      that all methods train, are replayed and go on after a stop (--quick: the papers')
    python benchmarks/gpu.py bench      steps as they are written, replayed, compiled; beside a plain loop; every method
    python benchmarks/gpu.py record     the runs of plans/gpu_first.json that have no record yet
    python benchmarks/gpu.py            all three in this order

Needs torch, torchvision, NumPy, scikit-learn and Pillow, no network. --minutes ends each in time, and the same command goes on
where it stopped. What was found lies in data/gpu/ and, where $OUT names a folder, there too: a few small files. Unpack
records.zip in a checkout to add its records to data/records/.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import gpu_checks  # noqa: E402
import speed  # noqa: E402
import torch  # noqa: E402
from plain import Plain  # noqa: E402

from sdkit import core, studies, train  # noqa: E402
from sdkit.analysis import cost  # noqa: E402
from sdkit.data import DATASETS  # noqa: E402
from sdkit.train import graphs  # noqa: E402

SHARES = {"check": 0.2, "bench": 0.2, "record": 1.0}
"""Of the time that is left, what each part may take when all three run."""

CHECKPOINT_EVERY = 20.0
"""Seconds of training that a stop may cost. Checkpoints of large networks take a tenth of a second on a card's machine."""

STEPS = (("resnet18", 128), ("resnet32", 128), ("four-stage", 128), ("resnet18", 1024))
"""Networks and batches whose steps are timed in every way."""

Row = dict[str, Any]


def main(arguments: list[str] | None = None) -> int:
    """Runs what is asked for; 1 where a check is bad or a run is damaged."""
    parser = argparse.ArgumentParser(prog="gpu.py", description=__doc__.partition("\n")[0])
    parser.add_argument("part", nargs="?", default="all", choices=("all", *SHARES))
    parser.add_argument("--minutes", type=float, default=math.inf, help="end within")
    parser.add_argument("--data", type=Path, help="the folder of data sets, such as one with cifar-100-python/; default data/")
    parser.add_argument("--plan", default="gpu_first", help="of `record`: a name in plans/, or a file")
    parser.add_argument("--quick", action="store_true", help="checks of the papers' methods alone; a shorter benchmark")
    parser.add_argument("--only", nargs="+", default=(), metavar="WORD", help="of the checks, those whose names have a word")
    parser.add_argument("--steps", choices=graphs.MODES, help="how recorded runs' steps run; default: as the checks allow")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"), help="cpu: to see whether this script runs")
    said = parser.parse_args(arguments)
    if said.device == "cuda" and not torch.cuda.is_available():
        print(
            "gpu: torch finds no CUDA card here: see `nvidia-smi` and torch.version.cuda, or say --device cpu", file=sys.stderr
        )
        return 1
    os.environ["SDKIT_DEVICE"] = said.device
    began, bad = time.monotonic(), False
    with logged(kept("log.txt")):
        for part in SHARES if said.part == "all" else [said.part]:
            left = said.minutes * 60 - (time.monotonic() - began)
            until = time.monotonic() + left * (SHARES[part] if said.part == "all" else 1)
            say(f"\n# {part}" + (f", {(until - time.monotonic()) / 60:.1f} minutes at most" if math.isfinite(left) else ""))
            bad |= not PARTS[part](said, until)
    send()
    return int(bad)


def say(text: str) -> None:
    print(text, flush=True)


# where things lie


def kept(name: str) -> Path:
    """A file of what was found."""
    place = core.home() / "data" / "gpu" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def send() -> None:
    """Copies what was found to $OUT, where that is set."""
    if os.environ.get("OUT"):
        out = Path(os.environ["OUT"])
        out.mkdir(parents=True, exist_ok=True)
        for file in kept("").iterdir():
            shutil.copyfile(file, out / f"gpu-{file.name}")


@contextlib.contextmanager
def logged(path: Path):
    """Within, what is printed is kept in a file, too."""

    class Both:
        def __init__(self, stream: Any, file: Any) -> None:
            self.stream, self.file = stream, file

        def write(self, text: str) -> int:
            self.file.write(text)
            return self.stream.write(text)

        def flush(self) -> None:
            self.file.flush(), self.stream.flush()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.stream, name)

    before = sys.stdout, sys.stderr
    with open(path, "a", encoding="utf-8") as file:
        file.write(f"\n$ {' '.join(sys.argv)}    {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
        sys.stdout, sys.stderr = (Both(stream, file) for stream in before)
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


# the parts


def check(said: argparse.Namespace, until: float) -> bool:
    """Runs the checks. Those that were good with the same code and versions are not run again."""
    names = list(gpu_checks.CHECKS)
    if said.quick:
        papers = {*gpu_checks.PAPERS, *gpu_checks.REPLAYED}
        names = [n for n in names if n.split()[0] not in gpu_checks.SWEPT or {*n.split()[1:]} & papers]
        names = [n for n in names if not n.startswith("trains")]
    names = [n for n in names if not said.only or any(word in n for word in said.only)]
    path, on = kept("checks.json"), torch.device(said.device)
    state = {"source": studies.source_digest(), "torch": torch.__version__, "device": train.device_name(on)}
    known = read(path)
    before = known.get("checks", {}) if all(known.get(k) == v for k, v in state.items()) else {}

    def keep(found: Row) -> None:
        path.write_text(json.dumps(state | {"checks": before | found}, indent=1) + "\n")

    found = gpu_checks.run_checks(on, names, until, say, keep, before)
    keep(found)
    send()
    say(gpu_checks.told(found))
    return all(was["ok"] for was in found.values())


def measure(said: argparse.Namespace, until: float) -> bool:
    """Steps in every way, then what `start.py bench --device cuda` measures, as far as time allows."""
    path, begun = kept("steps.json"), time.monotonic()
    found: Row = {"machine": speed.machine(said.device), "steps": []}
    say(speed.line(found["machine"]))
    for network, batch in STEPS if said.device == "cuda" else (("four-stage", 8),):
        if found["steps"] and time.monotonic() > until:
            say(f"bench: {network} with {batch} images was not reached")
            continue
        found["steps"] += ways(network, batch, said, found["machine"]["GFLOP/s"], until)
        path.write_text(json.dumps(found, indent=1) + "\n")
    say(speed.markdown(found["steps"]))
    send()
    how = said.steps or allowed(said.device, {*speed.OWN, *speed.CHEAP})
    options = ["--device", said.device, "--out", str(kept("").resolve()), *(["--quick"] if said.quick else [])]
    networks = ["four-stage"] if said.device == "cpu" else ["resnet18", "resnet32", "four-stage"]
    parts: Row = {}
    for part in ("loops", "step", "parity", "methods"):
        left = until - time.monotonic()
        if left < 60 and math.isfinite(left):
            say(f"bench: {part} was not reached in {time.monotonic() - begun:.0f} s: the same command begins again")
            break
        command = [sys.executable, str(HERE / "speed.py"), *options, "--networks", *networks, "--parts", part]
        if said.device == "cpu":
            command += ["--batch", "4", "--rounds", "1", "--block", "0.01", "--methods", "drg", "--workers", "0"]
        try:
            ran = subprocess.run(
                command, env={**os.environ, "SDKIT_FAST": how}, timeout=left if math.isfinite(left) else None,
                capture_output=True, text=True,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            say(f"bench: {part} did not end in {left:.0f} s")
            break
        say(ran.stdout + (ran.stderr if ran.returncode else ""))
        if ran.returncode:
            return False
        stem = kept(f"speed-{said.device}")
        parts |= read(stem.with_suffix(".json"))
        for suffix in (".json", ".md"):
            stem.with_suffix(suffix).unlink()
        speed.write(kept("bench"), parts)
        send()
    return True


def ways(network: str, batch: int, said: argparse.Namespace, rates: dict[str, float], until: float) -> list[Row]:
    """A training step in every way that steps run, in turns, beside the plain loop and the faster of the machine's products."""
    product, product_flops = speed.products(said.device)[max(rates, key=rates.get)]
    flops, _ = cost.step_counts(speed.as_written(network, "vanilla", batch))
    arms = {"product": speed.arm(product, said.device)}
    for how in graphs.MODES:
        if "compile" in how and (
            time.monotonic() + 240 > until or said.device == "cpu" or (said.quick and network != "resnet18")
        ):
            continue
        for chosen in ("tried", "heuristic") if "compile" not in how else ("tried",):
            with speed.environment(SDKIT_FAST=how, SDKIT_CUDNN=chosen):
                began = time.perf_counter()
                arms[f"{how}, {chosen}"] = with_choice(speed.training(network, batch=batch).stepper(), chosen, said.device)
                say(f"  {network}, {batch} images, {how}, {chosen}: ready in {time.perf_counter() - began:.1f} s")
    other = speed.training(network, batch=batch)
    model = other.model.to(memory_format=torch.contiguous_format)
    arms["plain loop"] = Plain(model, other.data, other.recipe, on=said.device, workers=workers(said)).seconds
    times = speed.in_turns(arms, 3 if said.quick else 5, 0.02 if said.device == "cpu" else 0.3)
    first = times["eager, tried"]
    rows = []
    for name, seconds in times.items():
        if name != "product":
            shares = [flops / s * p / product_flops for s, p in zip(seconds, times["product"], strict=True)]
            rows.append(
                {
                    "network": network,
                    "batch": batch,
                    "steps": name,
                    "images/s": batch / statistics.median(seconds),
                    "ms a step": statistics.median(seconds) * 1e3,
                    "times as fast as eager": speed.spread(a / b for a, b in zip(first, seconds, strict=True)),
                    "of the machine's rate": statistics.median(shares),
                }
            )
    return rows


def with_choice(step: Callable[[], Any], chosen: str, device: str) -> Callable[[int], float]:
    """An arm whose convolutions are chosen in one way, whatever other arms do."""

    def choose() -> None:
        torch.backends.cudnn.benchmark = chosen == "tried"

    choose()
    timed = speed.arm(step, device)

    def seconds(steps: int) -> float:
        choose()
        return timed(steps)

    return seconds


def workers(said: argparse.Namespace) -> int:
    return 0 if said.device == "cpu" else min(8, os.cpu_count() or 1)


def runs(said: argparse.Namespace, until: float) -> bool:
    """Trains what the plan lists, in its order, as far as time allows. records.zip grows with every run."""
    for name in ("cifar10", "cifar100"):
        DATASETS[name] = read_once(DATASETS[name])

    def tell(text: str) -> None:
        say(text)
        if text.lstrip().startswith("recorded:"):
            pack(plan.name)

    try:
        plan = studies.read_plan(said.plan, said.data)
        os.environ["SDKIT_FAST"] = said.steps or allowed(said.device, {part for e in plan.experiments for part in e.parts})
        say(f"steps run {graphs.mode()}")
        left = until - time.monotonic()
        minutes = max(left, 1) / 60 if math.isfinite(left) else None
        report = studies.execute_plan(said.plan, minutes, data=said.data, checkpoint_every=CHECKPOINT_EVERY, say=tell)
        pack(plan.name)
    except (ValueError, KeyError, TypeError, OSError, RuntimeError) as error:
        if os.environ.get("SDKIT_TRACEBACK"):
            raise
        say(f"gpu: {error.args[0] if isinstance(error, KeyError) else error}")
        return False
    return not report.damaged


def allowed(device: str, methods: set[str]) -> str:
    """How steps of these methods run: replayed where every check of that was good here, else as they are written."""
    found = read(kept("checks.json")).get("checks", {})
    about = [
        was["ok"] for name, was in found.items() if name.startswith(("replays", "16", "resumes")) and {*name.split()} & methods
    ]
    return "graphs" if device == "cuda" and about and all(about) else "eager"


def read_once(load: Callable[..., Any]) -> Callable[..., Any]:
    """A data set that is read, and its files verified, once for all runs of this process that ask for the same of it."""
    known: dict[str, Any] = {}

    @functools.wraps(load)
    def same(**options: Any) -> Any:
        key = repr(sorted(options.items(), key=lambda item: item[0]))
        if key not in known:
            known[key] = load(**options)
        return known[key]

    return same


def pack(plan: str) -> None:
    """Puts the plan's records into one file."""
    folder = studies.results_folder() / plan
    with zipfile.ZipFile(kept("records.zip"), "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(folder.glob("*.json")):
            file.write(path, Path("data", "records", plan, path.name))
    send()


def read(path: Path) -> Row:
    """What an earlier call left, nothing where that is none."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


PARTS: dict[str, Callable[[argparse.Namespace, float], bool]] = {"check": check, "bench": measure, "record": runs}

if __name__ == "__main__":
    sys.exit(main())
