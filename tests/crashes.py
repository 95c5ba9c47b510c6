"""Kills trainings at moments spread over their lives, lets each go on, and holds what it ends with to the uninterrupted run's.

`python tests/crashes.py 200` makes 200 kills: by SIGKILL, SIGTERM and SIGINT; before file operations spread over a run's life
(writes within a checkpoint count), at steps, and at any time. The last line of its output is what became of them, as JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["SDKIT_THREADS"] = "1"
os.environ.setdefault("SDKIT_PRECISION", "float32")

import safetensors.torch  # noqa: E402, F401
import torch._dynamo  # noqa: E402, F401  which an optimiser imports at its first step

from sdkit import Experiment, Recipe  # noqa: E402
from sdkit.core import Progress  # noqa: E402
from sdkit.methods import METHODS  # noqa: E402
from sdkit.runs import Run, files, folder  # noqa: E402

EPOCHS, SIGNALS = 3, (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
OPERATIONS = {"open", "os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir", "shutil.copyfile"}
SMALL = {
    "data": "digits",
    "dataset": {"train_size": 60},
    "recipe": Recipe(epochs=EPOCHS, batch_size=30, lr=0.02, schedule="constant"),
}


def experiment(method: str) -> Experiment:
    network = {"width": 4} | ({"survival": 0.5} if method == "self-guidance" else {})
    teacher = Experiment(network={"width": 4}, seed=7, **SMALL) if "teacher" in METHODS[method].handed_in() else None
    return Experiment(method, network=network, teacher=teacher, **SMALL)


def forked(work: Callable[[], None]) -> int:
    """Does something in a process of its own, so that none trains in this one, and returns its id."""
    child = os.fork()
    if child:
        return child
    try:
        sys.stderr = sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        warnings.simplefilter("ignore")
        work()
        os._exit(0)
    except BaseException:
        os._exit(1)


def ended(child: int) -> int:
    return os.waitpid(child, 0)[1]


def run(method: str, home: Path, die: Callable[[str, int], None] = lambda what, n: None) -> None:
    """Trains; `die` is told of every step and every file operation in `home` before it is done, each with its number."""
    os.environ["SDKIT_HOME"] = str(home)
    folder.CHECKPOINT_EVERY = 0.0
    said = {"operation": 0, "step": 0}

    def tell(what: str) -> None:
        said[what] += 1
        die(what, said[what])

    def look(event: str, given: tuple) -> None:
        if event in OPERATIONS and any(str(home) in str(part) for part in given):
            tell("operation")

    if experiment(method).teacher:
        experiment(method).teacher.run(progress=False)
    write = files._Digesting.write
    files._Digesting.write = lambda file, content: (tell("operation"), write(file, content))[1]
    sys.addaudithook(look)
    for event in experiment(method).iterate():
        if isinstance(event, Progress):
            tell("step")


def left(method: str, home: Path) -> dict[str, str]:
    """Every file of a run, by its digest; of the history what does not tell the time."""
    os.environ["SDKIT_HOME"] = str(home)
    place = experiment(method).stored.folder
    found = {str(f.relative_to(place)): hashlib.sha256(f.read_bytes()).hexdigest() for f in place.rglob("*") if f.is_file()}
    epochs = [
        {k: v for k, v in e.items() if k != "seconds"} for e in json.loads((place / "history.json").read_text())["epochs"]
    ]
    return found | {"experiment.json": "", "history.json": json.dumps(epochs)}


def main(kills: int, names: list[str]) -> dict[str, int]:
    rng, place = random.Random(0), Path(tempfile.mkdtemp(prefix="sdkit-crashes-"))
    Experiment(network={"width": 4}, **SMALL).training(progress=False)  # what it imports and reads, once for all
    out = {"made": 0, "survived": 0, "with a checkpoint": 0, "operations": 0, "strays": 0}
    straight: dict[str, tuple[Path, dict[str, str], int, float]] = {}
    for name in names:
        home, count = place / f"straight-{name}", place / "count"
        home.mkdir()
        began = time.monotonic()

        def counted(what: str, n: int, count: Path = count) -> None:
            if what == "operation":
                count.write_text(str(n))

        code = ended(forked(lambda: run(name, home, counted)))  # noqa: B023
        assert code == 0, f"{name} does not train"
        straight[name] = home, left(name, home), int(count.read_text()), time.monotonic() - began
    most = max(operations for _, _, operations, _ in straight.values())
    out["operations"] = most
    for k in range(kills):
        name, with_ = names[k % len(names)], SIGNALS[k // len(names) % 3]
        before, whole, operations, seconds = straight[name]
        home = place / "killed"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        if teacher := experiment(name).teacher:
            shutil.copytree(before / "runs" / teacher.key, home / "runs" / teacher.key)
        spread = 1 + k * max(most // max(kills // 2, 1), 1) % operations if kills < 2 * most else 1 + k // 2 % operations
        what = ("operation", "step", "operation", "time")[k % 4]
        at = spread if what == "operation" else rng.randint(2, 2 * EPOCHS)

        def die(now: str, n: int, what: str = what, at: int = at, by: int = with_) -> None:
            if (now, n) == (what, at):
                os.kill(os.getpid(), by)

        child = forked(lambda: run(name, home, die))  # noqa: B023
        if what == "time":
            time.sleep(rng.uniform(0.3, 1.0) * seconds)
            os.kill(child, with_)
        code = ended(child)
        out["made"] += code != 0
        stored = Run(home / "runs" / experiment(name).key)
        out["with a checkpoint"] += code != 0 and stored.resumable()
        again = ended(forked(lambda: run(name, home)))  # noqa: B023
        same = again == 0 and left(name, home) == whole
        out["strays"] += again == 0 and left(name, home).keys() != whole.keys()
        out["survived"] += code != 0 and same
        if not same:
            odd = sorted(left(name, home).items() ^ whole.items())
            print(f"lost: kill {k}, {name}, {with_.name} at {what} {at}: {again}, {odd}")
    shutil.rmtree(place, ignore_errors=True)
    return out


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), sys.argv[2:] or list(METHODS))))
