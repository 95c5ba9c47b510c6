"""How fast sdkit trains: beside a plain loop, beside the machine's own rate, and each method beside vanilla.

    python start.py bench                 the whole of it; let the machine do nothing else
    python start.py bench --quick         about 6 minutes on two cores
    python start.py bench --device cuda   the same on a card
    python start.py bench --keep          and keep the table in docs/speed/ and in docs/speed.md

Images are noise: only their number and size matter. Whatever is compared was measured in turns in one run: methods in one
process (A B B A), loops in processes of their own. A ratio is the median of the rounds' ratios; peak memory is a process's.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]

import breakdown  # noqa: E402
import laptop  # noqa: E402
import marked  # noqa: E402
import parity  # noqa: E402
import torch  # noqa: E402
from plain import Plain  # noqa: E402

from sdkit import __version__, core  # noqa: E402
from sdkit.analysis import cost  # noqa: E402
from sdkit.data import DATASETS, Data, Images  # noqa: E402
from sdkit.experiment import Experiment  # noqa: E402
from sdkit.train import RECIPES, Recipe, Training, default_device, graphs  # noqa: E402
from sdkit.train import device as hardware  # noqa: E402

NETWORKS = ("four-stage", "resnet20", "resnet18")
OWN = ("vanilla", "byot", "dsn", "ddgsd", "self-guidance", "drg", "dsr", "drg+dsr", "sfr")
CHEAP = ("lsr", "ps-kd", "cs-kd", "dlb", "zf-ls", "tf-kd-reg", "dml")
MARKS = ("<!-- speed: written by `python start.py bench --keep` -->", "<!-- end of speed -->")
HALF = "dlb, half of the batch new"
OF_A_CARD = ("loops", "step", "parity", "methods", "growth")
RECORDED = graphs.WARM + 2  # steps after which one is recorded and was replayed
Row = dict[str, Any]


def main() -> None:
    """Measures, prints the tables, and writes them as JSON and Markdown."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small batches, few rounds, fewer methods on the large network")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--methods", nargs="+", default=(*OWN, *CHEAP))
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), help="default: all; of a card, " + ", ".join(OF_A_CARD))
    parser.add_argument("--rounds", type=int, help="in which everything is measured once; default 5, with --quick 3")
    parser.add_argument("--block", type=float, help="least seconds of a measurement; default 1, with --quick 0.2")
    parser.add_argument(
        "--batch", type=int, help="images a step; default 128, loops on a CPU at the quick recipe's, too; with --quick there 32"
    )
    parser.add_argument("--workers", type=int, help="of the plain loop's DataLoader; default 2, beside a card up to 8")
    parser.add_argument("--out", type=Path, help="folder of the tables; default: figures/")
    parser.add_argument("--keep", action="store_true", help="keep the table in docs/speed/ and in docs/speed.md")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    said = parser.parse_args()
    if said.child:
        print(json.dumps(child(**json.loads(said.child))))
        return
    if said.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("bench: --device cuda needs a CUDA card, and torch finds none: leave the option out")
    os.environ["SDKIT_DEVICE"] = said.device
    card = said.device == "cuda"
    said.rounds = said.rounds or (3 if said.quick else 5)
    said.block = said.block or (0.2 if said.quick else 1.0)
    both = not (said.batch or said.quick or card)
    said.batch = said.batch or (32 if said.quick and not card else 128)
    said.batches = list(dict.fromkeys([said.batch, RECIPES["quick"].batch_size])) if both else [said.batch]
    said.parts = said.parts or (OF_A_CARD if card else tuple(PARTS))
    if said.workers is None:
        said.workers = min(8, os.cpu_count() or 1) if card else 2
    began = time.perf_counter()
    found: dict[str, Any] = {"machine": machine(said.device), "settings": {k: v for k, v in vars(said).items() if k != "out"}}
    say(line(found["machine"]))
    folder = said.out or core.home() / "figures"
    for part in said.parts:
        found[part] = PARTS[part](said, found)
        found["seconds"] = time.perf_counter() - began
        say(f"\n{TITLES[part]}\n\n{markdown(found[part])}")
        write(folder / f"speed-{said.device}", found)  # after every part: a benchmark that is stopped loses one
    if said.keep:
        root = Path(__file__).resolve().parents[1]
        write(root / "docs" / "speed" / said.device, found)
        into_page(root / "docs" / "speed.md", sorted((root / "docs" / "speed").glob("*.json")))
    say(f"\n{found['seconds']:.0f} s; written to {folder / f'speed-{said.device}.md'}")


def say(text: str) -> None:
    print(text, flush=True)


# what is measured


def machine(device: str) -> Row:
    """What it was measured on, with the machine's own rates of products and of copying."""
    big = torch.randn(2**28 if device == "cuda" else 2**24, device=device)  # beyond any cache
    other = torch.empty_like(big)
    copy = cost.time_per_iteration(lambda: other.copy_(big), device=device)
    rates = {}
    for name, (step, flops) in products(device).items():
        rates[name] = flops / cost.time_per_iteration(step, device=device).median / 1e9
    return {
        "sdkit": __version__,
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if device == "cuda" else processor(),
        "system": platform.system(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "steps": graphs.mode() if device == "cuda" else "eager",
        "wait policy": os.environ.get("OMP_WAIT_POLICY", ""),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "GFLOP/s": rates,
        "copy GB/s": 2 * big.numel() * 4 / copy.median / 1e9,
    }


def products(device: str) -> dict[str, tuple[Callable[[], Any], int]]:
    """What the machine does fastest: a large matrix product and a large convolution, each with its FLOPs."""
    kind, n, images = (torch.bfloat16, 8192, 512) if device == "cuda" else (torch.float32, 1024, 8)
    a, b = (torch.randn(n, n, dtype=kind, device=device) for _ in range(2))
    x = torch.randn(images, 256, 16, 16, dtype=kind, device=device).contiguous(memory_format=torch.channels_last)
    w = torch.randn(256, 256, 3, 3, dtype=kind, device=device).contiguous(memory_format=torch.channels_last)
    return {
        "matrix product": (lambda: torch.mm(a, b), 2 * n**3),
        "convolution": (lambda: torch.conv2d(x, w, padding=1), 2 * images * 16 * 16 * 256 * 256 * 9),
    }


def processor() -> str:
    """The CPU's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def line(machine: Row) -> str:
    """The machine in a line."""
    load = "" if machine["load"] is None else f", load {machine['load']:.1f} at the start"
    busy = machine["load"] is not None and machine["load"] > machine["cores"] - 0.5
    waits = f", OMP_WAIT_POLICY={machine['wait policy']}" if machine["wait policy"] else ""
    return (
        f"{machine['device']}, {machine['threads']} threads of {machine['cores']} cores{waits}, "
        f"steps {machine['steps']}, torch {machine['torch']}, sdkit {machine['sdkit']}{load}; "
        + "".join(f"{name}s at {rate:,.0f} GFLOP/s, " for name, rate in machine["GFLOP/s"].items())
        + f"copies at {machine['copy GB/s']:.1f} GB/s"
        + ("; the machine was busy with other work: read the ratios alone" if busy else "")
    )


@contextlib.contextmanager
def environment(**values: str) -> Iterator[None]:
    """Within, these environment variables."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def precisions(device: str) -> dict[str, dict[str, str]]:
    """Name of an arm -> its environment: sdkit as it comes, and in float32 on a CPU where that is not the same."""
    both = device == "cpu" and hardware.has_bfloat16(torch.device("cpu"))
    return {"sdkit": {}} | ({"float32": {"SDKIT_PRECISION": "float32"}} if both else {})


def entrants(device: str) -> dict[str, Row]:
    """Loops to race, by name, as cases of `fresh`: the plain one, and sdkit's as it comes and, on some CPUs, as it is told."""
    told = ("float32", "bfloat16") if len(precisions(device)) > 1 else ()
    return {"plain": {"loop": "plain"}, "sdkit": {}} | {f"sdkit, {kind}": {"SDKIT_PRECISION": kind} for kind in told}


def noise(images: int, classes: int = 100, side: int = 32) -> Data:
    """A data set of noise: `images` to learn from, 64 to test on."""
    chance = torch.Generator().manual_seed(0)

    def some(n: int) -> Images:
        x = torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, generator=chance)
        return Images(x, torch.arange(n) % classes)

    return Data("noise", tuple(map(str, range(classes))), some(images), some(0), some(64), (0.5, 0.5, 0.5), (0.29, 0.29, 0.29))


def training(
    network: str, method: str = "vanilla", batch: int = 128, images: int | None = None, classes: int = 100, side: int = 32,
    threads: int | None = None,
) -> Training:  # fmt: skip
    """A training that is ready for its first step, on noise. threads: default PyTorch's number, as its rivals in a process."""
    data = noise(images or (1280 if default_device().type == "cpu" else 25_600), classes, side)
    DATASETS["noise"] = lambda **_: data  # for as long as it takes to build on it
    options = {"survival": 0.5} if "self-guidance" in method else {}
    try:
        return Experiment(
            method=method, model=network, data="noise", network=options, recipe=recipe_of(batch)
        ).training(threads or torch.get_num_threads())  # fmt: skip
    finally:
        del DATASETS["noise"]


def recipe_of(batch: int) -> Recipe:
    """The paper's recipe with this batch."""
    return replace(RECIPES["paper"], batch_size=batch)


def as_written(network: str, name: str, batch: int) -> Callable[[], Any]:
    """A step that is neither replayed nor compiled, so that its operations can be counted. It ran once."""
    with environment(SDKIT_FAST="eager"):
        step = training(network, "dlb" if name == HALF else name, batch // 2 if name == HALF else batch).stepper()
    step()
    return step


def batch_for(said: argparse.Namespace, network: str) -> int:
    """Images a step: ResNet-18 takes half as many in the quick benchmark of a CPU."""
    return halved(said, network, said.batch)


def halved(said: argparse.Namespace, network: str, batch: int) -> int:
    return batch // 2 if said.quick and said.device == "cpu" and network == "resnet18" else batch


def child(**case: Any) -> Row:
    """In a fresh process: a few steps. -> the most memory it ever held, MB: of the card where there is one.

    clock: so many seconds of steps instead. -> images a second and the threads that worked, too.
    """
    loop, steps, clock, workers = (case.pop(k, v) for k, v in (("loop", ""), ("steps", 4), ("clock", 0), ("workers", 2)))
    if "threads" in case:
        torch.set_num_threads(case["threads"])
    elif clock and loop != "plain" and default_device().type == "cpu":
        case["threads"] = hardware.threads()  # as a run does
    train = training(**case)
    if loop == "plain":
        model = train.model.to(memory_format=torch.contiguous_format)
        plain = Plain(model, train.data, train.recipe, on=str(train.device), workers=workers)
    if clock:
        seconds = plain.seconds if loop == "plain" else arm(train.stepper(), str(train.device))
        rate = train.recipe.batch_size / seconds(max(round(clock / seconds(2)), 2))
        return {"images/s": rate, "threads": case.get("threads", torch.get_num_threads()), "MB": peak_memory()}
    if loop == "plain":
        plain.seconds(steps, lead=0)
    elif steps:
        step = train.stepper()
        for _ in range(steps):
            step()
    return {"MB": torch.cuda.max_memory_allocated() / 1e6 if train.device.type == "cuda" else peak_memory()}


def peak_memory() -> float | None:
    """The most memory that this process ever held, MB; None where the system does not say."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
    except (OSError, IndexError):
        pass
    try:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    except ImportError:
        return None


def memory(**case: Any) -> float | None:
    """Peak memory of a case, MB, measured in a process of its own; of a card, what the case adds to what is held already."""
    if default_device().type == "cuda":
        gc.collect()
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated() / 1e6
        return child(**case)["MB"] - held
    return fresh(**case)["MB"]


def fresh(**case: Any) -> Row:
    """`child` in a process of its own. What of a case is named in capitals is an environment variable."""
    config = {name: case.pop(name) for name in [*case] if name.isupper()}
    command = [sys.executable, str(Path(__file__).resolve()), "--child", json.dumps(case)]
    out = subprocess.run(command, capture_output=True, text=True, env=os.environ | config)
    if out.returncode:
        raise RuntimeError(f"the process that measures {case} failed: {out.stderr.strip().splitlines()[-1]}")
    return json.loads(out.stdout.splitlines()[-1])


def in_turns(arms: dict[str, Callable[[int], float]], rounds: int, block: float) -> dict[str, list[float]]:
    """Seconds of a step of every arm, a number a round, in turns (A B B A). An arm runs so many steps: their mean."""
    counts = {name: max(round(block / max(arm(2), 1e-6)), 2) for name, arm in arms.items()}
    found: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(rounds):
        halves = dict.fromkeys(arms, 0.0)
        for name in [*arms, *reversed([*arms])]:
            halves[name] += arms[name](counts[name]) / 2
        for name, seconds in halves.items():
            found[name].append(seconds)
    return found


def arm(step: Callable[[], Any], device: str, **values: str) -> Callable[[int], float]:
    """A step as an arm of a comparison. values: environment variables of its steps."""
    on = torch.device(device)

    def seconds(steps: int) -> float:
        with environment(**values):
            wait(on)
            began = time.perf_counter()
            for _ in range(steps):
                step()
            wait(on)
            return (time.perf_counter() - began) / steps

    seconds(RECORDED if on.type == "cuda" else 1)
    return seconds


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def spread(values: Iterable[float]) -> str:
    """Median, and the lowest and highest."""
    values = list(values)
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def loops(said: argparse.Namespace, found: Row) -> list[Row]:
    """Vanilla training by sdkit's loop and by the plain one, of the same network, batch and recipe."""
    rows = []
    for network, batch in raced(said):
        flops, _ = cost.step_counts(as_written(network, "vanilla", batch))
        for row in race(said, network, batch, entrants(said.device)):
            rate = flops * row["images/s"] / batch / 1e9
            rows.append(row | {"GFLOP/s": rate, "of the machine's rate": rate / max(found["machine"]["GFLOP/s"].values())})
    return rows


def raced(said: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """Every network with every batch of the race."""
    return ((network, halved(said, network, batch)) for batch in said.batches for network in said.networks)


def race(said: argparse.Namespace, network: str, batch: int, loops: dict[str, Row]) -> list[Row]:
    """Every loop's images a second and peak memory, and how many times as fast as the plain one it is.

    In turns, on a CPU each time in a process of its own, which counts the idle cores as a run does; on a card in this one.
    """
    case = {"network": network, "batch": batch}
    speed: dict[str, list[float]] = {name: [] for name in loops}
    held: dict[str, list[float | None]] = {name: [] for name in loops}
    threads: dict[str, list[int]] = {name: [] for name in loops}
    if said.device == "cuda":
        other = training(**case)
        model = other.model.to(memory_format=torch.contiguous_format)
        plain = Plain(model, other.data, other.recipe, on=said.device, workers=said.workers)
        arms = {"plain": plain.seconds, "sdkit": arm(training(**case).stepper(), said.device)}
        times = in_turns(arms, said.rounds, said.block)
        speed = {name: [batch / s for s in seconds] for name, seconds in times.items()}
        held = {name: [memory(**case, **options)] for name, options in loops.items()}
    rounds = 0 if said.device == "cuda" else 1 if said.quick else said.rounds  # a process takes seconds before its first step
    for _ in range(rounds):
        for name, options in loops.items():
            found = fresh(**case, **options, clock=4 * said.block, workers=said.workers)
            speed[name].append(found["images/s"]), held[name].append(found["MB"]), threads[name].append(found["threads"])
    return [
        {
            "network": network,
            "batch": batch,
            "loop": name,
            "images/s": statistics.median(rates),
            "times as fast": spread(ours / plain for ours, plain in zip(rates, speed["plain"], strict=True)),
            **({"threads": statistics.mode(threads[name])} if threads[name] else {}),
            "MB": held[name][0],
        }
        for name, rates in speed.items()
    ]


def beside_a_busy_process(said: argparse.Namespace, found: Row) -> list[Row]:
    """The same while another process keeps one core busy."""
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        return [row for network, batch in raced(said) for row in race(said, network, batch, entrants(said.device))]
    finally:
        other.kill()
        other.wait()


def one_step(said: argparse.Namespace, found: Row) -> list[Row]:
    """Where the time of a vanilla step goes, by kind of operation."""
    plain = {(r["network"], r["batch"]): r["batch"] / r["images/s"] for r in found.get("loops", []) if r["loop"] == "plain"}
    rows = []
    for network in said.networks:
        batch = batch_for(said, network)
        with environment(SDKIT_FAST="eager"):
            step = training(network, batch=batch).stepper()
        step()
        of = breakdown.rows(step, default_device(), found["machine"], plain.get((network, batch)))
        rows += [{"network": network, "batch": batch} | row for row in of]
    return rows


def accuracy(said: argparse.Namespace, found: Row) -> list[Row]:
    """The loops' loss curves and accuracies over seeds."""
    arms = {"plain": {}, **precisions(said.device)}
    return parity.parity(parity.curves(said, {name: partial(environment, **values) for name, values in arms.items()}))


def methods(said: argparse.Namespace, found: Row) -> list[Row]:
    """Every method's step beside vanilla's: time, FLOPs, operations, memory."""
    rows = []
    for network in said.networks:
        batch, small = batch_for(said, network), said.quick and network == "resnet18"
        names = [m for m in said.methods if not small or m in ("byot", "drg", "dsr", "drg+dsr", "ps-kd")]
        names = list(dict.fromkeys(["vanilla", *names]))
        trainings = {name: training(network, name, batch) for name in names}
        if "dlb" in names:  # it takes every image a second time: as many images a step as the others
            trainings[HALF] = training(network, "dlb", batch // 2)
        steps = {name: t.stepper() for name, t in trainings.items()}
        for step in steps.values():
            for _ in range(RECORDED if said.device == "cuda" else 1):
                step()  # memories fill
        draws = {name: 8 if "self-guidance" in name and not small else 1 for name in steps}  # it samples its network
        written = steps if graphs.mode() == "eager" else {n: as_written(network, n, batch) for n in steps}
        counts = {n: cost.step_counts(step, draws[n]) for n, step in written.items()}
        times = cost.compare_times(steps, said.rounds, said.block / 2, 1, said.device)
        weighed = not said.quick or network == said.networks[0]
        held = {} if not weighed else {name: memory(network=network, method=name, batch=batch) for name in names}
        for name in steps:
            ratio = cost.relative_time(times[name], times["vanilla"])
            rows.append(
                {
                    "network": network,
                    "batch": batch,
                    "method": name,
                    "ms a step": times[name].median * 1e3,
                    "time": spread(ratio.seconds.tolist()),
                    "FLOPs": counts[name][0] / counts["vanilla"][0],
                    "operations": counts[name][1] / counts["vanilla"][1],
                    "MB": held.get(name),
                }
            )
        say(f"methods on {network}: measured")
    return rows


def growth(said: argparse.Namespace, found: Row) -> list[Row]:
    """Vanilla training as one thing grows: the batch, the depth, the side, the classes, the training set."""
    network, batch = said.networks[0], said.batch
    cases: dict[str, dict[Any, Row]] = {
        "batch": {b: {"batch": b} for b in ((16, 64, 128) if said.quick else (16, 32, 64, 128, 256, 512))},
        "depth": {d: {"network": f"resnet{d}"} for d in ((8, 14, 20) if said.quick else (8, 14, 20, 32, 56))},
        "side": {s: {"side": s} for s in ((16, 32) if said.quick else (16, 32, 64))},
        "classes": {c: {"classes": c} for c in (10, 100, 1000)},
        "training set": {n: {"images": n} for n in ((1000, 10_000) if said.quick else (1000, 10_000, 50_000))},
    }
    rows = []
    for what, values in cases.items():
        full = {value: {"network": network, "batch": batch} | case for value, case in values.items()}
        arms = {str(v): arm(training(**case).stepper(), said.device) for v, case in full.items()}
        times = in_turns(arms, said.rounds, said.block / 2)
        first = next(iter(times.values()))
        for value, case in full.items():
            seconds = times[str(value)]
            each = case["batch"] / full[next(iter(full))]["batch"]
            rows.append(
                {
                    "what": what,
                    "value": value,
                    "network": case["network"],
                    "images/s": case["batch"] / statistics.median(seconds),
                    "time an image": spread(a / b / each for a, b in zip(seconds, first, strict=True)),
                    "MB": memory(**case),
                }
            )
    return rows


def replaced(said: argparse.Namespace, **options: Any) -> argparse.Namespace:
    return argparse.Namespace(**vars(said) | options)


PARTS: dict[str, Callable[[argparse.Namespace, Row], list[Row]]] = {
    "loops": loops,
    "busy": beside_a_busy_process,
    "step": one_step,
    "parity": accuracy,
    "input": lambda said, found: laptop.inputs(training, said),
    "methods": methods,
    "growth": growth,
    "analyses": lambda said, found: laptop.analyses(said),
    "start": lambda said, found: laptop.start(said),
}
TITLES = {
    "loops": "sdkit's loop as it comes beside a plain one (torchvision transforms, a DataLoader, float32, .item() at every "
    "step, as many threads as PyTorch takes by itself), and beside the machine's own rate, that of the faster of its products",
    "busy": "The same beside a process that keeps one core busy",
    "step": "One step of vanilla training by kind of operation, and what the machine's own rates would allow: FLOPs at that of "
    "the faster product, or bytes at that of a copy, whichever takes longer",
    "parity": "The same training to its end by every loop: their accuracy, and how far their loss curves lie apart "
    "(2 and less: no more than seeds do)",
    "input": "Training images cropped, mirrored and normalised in batches, without a network",
    "methods": "Every method beside vanilla: a step's time, FLOPs and operations as ratios, medians (lowest to highest)",
    "growth": "As one thing grows: time an image, as a ratio to the first value",
    "analyses": "The long analyses of a four-stage network trained with BYOT: each once",
    "start": "Before the first step: fresh processes",
}


# what is written


def markdown(rows: list[Row]) -> str:
    """Rows as a Markdown table."""
    if not rows:
        return "nothing was measured"
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, ["---"] * len(names), *([shown(name, row.get(name)) for name in names] for row in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def shown(name: str, value: Any) -> str:
    """A cell."""
    if value is None:
        return ""
    if name == "of the machine's rate":
        return f"{value:.0%}"
    if isinstance(value, float):
        return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"
    return str(value)


def write(stem: Path, found: Row) -> None:
    """All that was found, as JSON and as Markdown."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    tables = [f"## {TITLES[part]}\n\n{markdown(found[part])}\n" for part in PARTS if part in found]
    stem.with_suffix(".md").write_text(f"{line(found['machine'])}\n\n" + "\n".join(tables), encoding="utf-8")


def into_page(page: Path, kept: list[Path]) -> None:
    """Writes the page's table between its two marks, from what docs/speed/ keeps of every device."""
    marked.put(page, MARKS, "\n".join(map(section, kept)))


def pivoted(first: tuple[str, ...], cells: dict[tuple[Any, ...], str]) -> list[Row]:
    """(row's names, column) -> text, as rows of a table whose first columns are `first`."""
    rows: dict[tuple[Any, ...], Row] = {}
    for (*row, column), text in cells.items():
        rows.setdefault((*row,), dict(zip(first, row, strict=True)))[column] = text
    return list(rows.values())


def section(path: Path) -> str:
    """What the page says of one device."""
    found = json.loads(path.read_text(encoding="utf-8"))
    said = [f"{line(found['machine'])}.\n"]
    for part in (p for p in ("loops", "busy") if p in found):
        beside = ", beside a process that keeps one core busy" if part == "busy" else ""
        said.append(f"Images a second, and times as many as the plain loop's{beside}.\n")
        cells = {
            (r["loop"], r["batch"], r["network"]): f"{r['images/s']:,.0f}, {r['times as fast'].partition(' ')[0]}"
            for r in found[part]
        }
        said.append(markdown(pivoted(("loop", "batch"), cells)) + "\n")
    if "methods" in found:
        cells = {
            (r["method"], r["network"]): f"{r['time'].partition(' ')[0]} / {r['FLOPs']:.2f} / {r['operations']:.2f}"
            for r in found["methods"]
        }
        said.append("A step beside vanilla's: time / FLOPs / operations.\n")
        said.append(markdown(pivoted(("method",), cells)) + "\n")
    said.append(f"All of it: [docs/speed/{path.stem}.md](speed/{path.stem}.md).\n")
    return "\n".join(said)


if __name__ == "__main__":
    main()
