"""What only a card can show, as plain functions: no pytest needed. `python benchmarks/gpu.py check` runs them one by one.

A check takes the device and returns a few words on what it saw; it raises where something is wrong. On a CPU the same code
runs with a recording that is the step itself, so that the checks are checked.
"""

from __future__ import annotations

import contextlib
import gc
import io
import math
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from speed import environment
from torch import Tensor

from sdkit import train
from sdkit.core import Progress
from sdkit.data import DATASETS, DISTORTIONS, Loader
from sdkit.data.base import normalise
from sdkit.methods import METHODS, Combined, Vanilla
from sdkit.models import MODELS
from sdkit.train import Epoch, Recipe, Training, graphs
from sdkit.train import device as hardware

Check = Callable[[torch.device], str]
RECIPE = Recipe(epochs=2, batch_size=32, lr=0.05, schedule="one cycle")
IMAGES = 400  # 12 whole batches and a smaller one
REPLAYED = ("vanilla", "drg", "dsr", "drg+dsr", "byot", "dsn", "ddgsd", "sfr", "lsr", "ps-kd", "cs-kd", "dlb", "dml", "kd")
"""Methods whose steps must be replayed, or most of the speed is lost."""
TEACHER_ALONE = ("at", "label-refinery", "defensive", "logits")
"""Methods in whose loss the teacher's word is all, or nearly."""
TIGHT, LOOSE = 2e-3, 0.1
"""How far two trainings may end apart, as a share of the way that they went: in float32, and in bfloat16."""


# what the checks are made of


def assembled(name: str, device: torch.device, how: str = "eager", images: int = IMAGES, **data: Any) -> Training:
    """A seeded training on digits. how: of `graphs.MODES`."""
    torch.manual_seed(0)
    digits = DATASETS["digits"](train_size=images, **data)
    options = {"survival": 0.5} if "self-guidance" in name else {}
    model, teacher = (MODELS["four-stage"](num_classes=10, width=16, **o) for o in (options, {}))
    methods = []
    for part in name.split("+"):
        methods.append(METHODS[part].built({"model": model, "teacher": teacher, "train_size": images}))
    return training(model, methods[0] if len(methods) == 1 else Combined(*methods), digits, device, how)


def training(model: Any, method: Any, data: Any, device: torch.device, how: str = "eager") -> Training:
    """A training whose steps run as `how` says. On a CPU a recording is the step itself."""
    with environment(SDKIT_FAST=how):
        made = Training(model, method, data, RECIPE, on=device)
    if device.type == "cpu" and "graphs" in how:
        made.replayed = graphs.Replayed(made._work, method, device, record=lambda work, side: work)
        for group in made.optimiser.param_groups:
            group["lr"] = torch.tensor(group["lr"])
    return made


@contextlib.contextmanager
def repeatable(whole: bool) -> Iterator[None]:
    """Within, a card computes the same twice as far as it can. whole: in float32, without TensorFloat32."""
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.allow_tf32, cudnn.benchmark
    said = {"SDKIT_PRECISION": "float32"} if whole else {}
    with environment(SDKIT_CUDNN="heuristic", **said):
        cudnn.deterministic, cudnn.allow_tf32 = True, not whole
        try:
            yield
        finally:
            cudnn.deterministic, cudnn.allow_tf32, cudnn.benchmark = before


def weights(made: Training) -> list[Tensor]:
    return [p.detach().clone() for p in made.params]


def apart(a: list[Tensor], b: list[Tensor], start: list[Tensor]) -> float:
    """How far two trainings ended apart, as a share of the way from the start."""

    def far(x: list[Tensor], y: list[Tensor]) -> float:
        return math.sqrt(sum(float((p.double() - q.double()).square().sum()) for p, q in zip(x, y, strict=True)))

    return far(a, b) / far(a, start)


def epochs(made: Training) -> list[Epoch]:
    return [event for event in made.iterate() if isinstance(event, Epoch)]


def ended(name: str, device: torch.device, how: str) -> tuple[list[Tensor], list[Tensor], Training]:
    """First and last weights of a training, and it."""
    made = assembled(name, device, how)
    start = weights(made)
    epochs(made)
    return start, weights(made), made


def close(found: float, floor: float, most: float, what: str) -> str:
    """Says how near; AssertionError where it is farther than `most` and than four times what eager steps differ by."""
    words = f"{what} differ by {found:.1e} of the way, eager ones by {floor:.1e}"
    assert found <= max(most, 4 * floor), f"{words}: {max(most, 4 * floor):.1e} is allowed"
    return words


# the checks


def machine(device: torch.device) -> str:
    """Versions, the card, and that the 16 bits are the ones it has units for."""
    words = f"torch {torch.__version__}, Python {sys.version.split()[0]}, NumPy {np.__version__}"
    if device.type == "cpu":
        return f"{words}, {'bfloat16' if hardware.half(device) else 'float32'}"
    about = torch.cuda.get_device_properties(device)
    assert hardware.has_bfloat16(device) == (about.major >= 8 or bool(torch.version.hip))
    return (
        f"{words}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}, {about.name}, "
        f"{about.multi_processor_count} multiprocessors, {about.total_memory / 1e9:.0f} GB"
    )


def trains(name: str) -> Check:
    """The method trains on the device, in 16 bits where it has them: terms are numbers, something is learned.

    The teacher here never trained: what learns from it alone learns no class, and its loss must fall.
    """

    def check(device: torch.device) -> str:
        made = assembled(name, device, images=1000)
        first, last = epochs(made)
        assert all(p.device.type == device.type for p in made.params)
        assert all(math.isfinite(v) for v in last.terms.values()), f"terms {last.terms}"
        fell = sum(first.terms.values()) - sum(last.terms.values())
        words = f"{last.accuracy['final']:.1%} after 2 epochs, the loss fell by {fell:.3f}"
        assert math.isfinite(last.loss) and (fell > 0 if name in TEACHER_ALONE else last.accuracy["final"] > 0.12), words
        return words

    return check


def replays(name: str, whole: bool = True) -> Check:
    """Replayed steps go where written ones go, in float32 or, not whole, in 16 bits about there.

    Two written trainings say how near that can be.
    """

    def check(device: torch.device) -> str:
        with repeatable(whole=whole):
            start, a, _ = ended(name, device, "eager")
            _, b, _ = ended(name, device, "eager")
            _, c, made = ended(name, device, "graphs")
        how = f"{made.replayed.replays} of 26 steps in {made.replayed.recordings} recordings"
        assert not (name in REPLAYED and made.replayed.replays < 10), f"only {how}"
        if not made.replayed.replays:
            return "not replayed"
        return close(apart(a, c, start), apart(a, b, start), TIGHT if whole else LOOSE, f"{how}: they")

    return check


def resumes(name: str, how: str) -> Check:
    """What goes on from a saved state, through a file, ends where the uninterrupted training does."""

    def check(device: torch.device) -> str:
        with repeatable(whole=True):
            start, a, _ = ended(name, device, how)
            whole = assembled(name, device, how)
            walk = whole.iterate()
            for event in walk:
                if isinstance(event, Epoch):
                    break
            file = io.BytesIO()
            torch.save(whole.state_dict(), file)
            for _ in walk:
                pass
            file.seek(0)
            again = assembled(name, device, how)
            again.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
            epochs(again)
        return close(apart(a, weights(again), start), apart(a, weights(whole), start), TIGHT, "resumed steps")

    return check


def no_waits(name: str) -> Check:
    """Within an epoch the host never waits for the card: neither for a number nor for a copy."""

    def check(device: torch.device) -> str:
        for how in ("eager", "graphs"):
            made = assembled(name, device, how)
            step = made.stepper()
            for _ in range(8):
                step()
            if device.type == "cuda":
                torch.cuda.set_sync_debug_mode("error")
            try:
                for _ in range(3):
                    step()
            finally:
                if device.type == "cuda":
                    torch.cuda.set_sync_debug_mode("default")
        return "none in 3 steps, written and replayed" if device.type == "cuda" else "a CPU cannot say"

    return check


def turned(device: torch.device) -> str:
    """A knob that is turned while steps are replayed counts from the very next step."""
    with repeatable(whole=True):
        ends = {}
        for how, value in (("eager", 2.0), ("graphs", 2.0), ("unturned", 0.2)):
            made = assembled("drg", device, "eager" if how == "unturned" else how)
            start, made.schedule = weights(made), {0.75: {"alpha": value}}
            epochs(made)
            ends[how] = weights(made)
    far = apart(ends["eager"], ends["unturned"], start)
    assert far > 10 * TIGHT, f"the knob hardly matters here ({far:.1e}): nothing is checked"
    return close(apart(ends["eager"], ends["graphs"], start), 0, TIGHT, "trainings with a turned knob")


def precision(device: torch.device) -> str:
    """What losses see is float32, what is kept of an epoch too."""
    made = assembled("byot+dsr", device)
    batch = next(iter(made.loader))
    with train.autocast(device):
        out = made.model.forward_features(batch.x)
        terms = made.method.terms(made.model, out, batch, Progress(0, 0, 2, 13))
    kinds = {out.logits.dtype, out.embedding.dtype, *(t.dtype for t in terms.values())}
    assert kinds == {torch.float32}, f"found {kinds}"
    maps = {f.dtype for f in out.stages}
    assert maps == {hardware.half(device) or torch.float32}, f"maps are {maps}"
    assert batch.x.is_contiguous(memory_format=torch.channels_last)
    assert all(f.is_contiguous(memory_format=torch.channels_last) for f in out.stages), "a map lost channels_last"
    return f"maps {maps.pop()}, logits, embedding and terms float32, all channels_last"


def follows(how: str, whole: bool) -> Check:
    """Training in 16 bits is training: steps run as `how` says have losses near those of written ones, in float32 or not."""

    def losses(how: str, whole: bool, device: torch.device) -> list[float]:
        with repeatable(whole):
            return [e.terms["task"] for e in epochs(assembled("vanilla", device, how, images=1000))]

    def check(device: torch.device) -> str:
        ratio = [a / b for a, b in zip(losses(how, False, device), losses("eager", whole, device), strict=True)]
        assert all(0.8 < r < 1.25 for r in ratio), f"ratios of the losses: {ratio}"
        return f"ratios of the epochs' losses {', '.join(f'{r:.3f}' for r in ratio)}"

    return check


def views(device: torch.device) -> str:
    """Every training image is a window of the padded image or its mirror; index, label and image belong together."""
    data = DATASETS["digits"](train_size=64)
    pad, size = data.pad, data.train.x.shape[-1]
    padded = torch.nn.functional.pad(data.train.x, (pad,) * 4).to(device)
    loader = Loader(data, 16, pair="same image", device=device, seed=3)
    for batch in loader:
        assert torch.equal(batch.y, data.train.y.to(device)[batch.index])
        windows = padded[batch.index].unfold(2, size, 1).unfold(3, size, 1).flatten(2, 3)  # [B, 3, W, H, W]
        every = normalise(windows.transpose(1, 2).flatten(0, 1), *loader.scale).unflatten(0, (len(batch.y), -1))
        every = torch.cat([every, every.flip(-1)], 1)
        for x in (batch.x, batch.pair):
            gap = (every - x[:, None]).abs().amax((2, 3, 4)).amin(1)
            assert float(gap.max()) < 1e-5, "an image that is no view of its own"
    return f"{len(data.train.y)} images, two views each"


def distorted(device: torch.device) -> str:
    """Every distortion, the hole and mixtures, on the device and without waiting for it."""
    made = assembled("lsr", device, "graphs", distort=DISTORTIONS, cutout=8, mixup=0.2)
    walk = iter(made.loader)
    for _ in range(2):
        assert next(walk).x.isfinite().all()
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        batch = next(walk)
    finally:
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    assert batch.x.device.type == device.type
    epochs(made)
    return f"{', '.join(DISTORTIONS)}, hole, mixtures"


def streamed(device: torch.device) -> str:
    """Images from disk through worker processes and pinned memory, while steps are recorded and replayed."""
    from PIL import Image

    chance = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder, environment(SDKIT_WORKERS="2"):
        for split, n in (("train", 40), ("test", 4)):
            for i in range(2 * n):
                place = Path(folder) / split / f"class{i % 2}" / f"{i}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(chance.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(place)
        data = DATASETS["image_folder"](folder=folder, size=32)
        made = training(MODELS["four-stage"](num_classes=2, width=8), Vanilla(), data, device, "graphs")
        made.recipe = Recipe(epochs=2, batch_size=8)
        made.loader = data.batches(8, device=device)
        found = epochs(made)
    assert all(math.isfinite(e.terms["task"]) for e in found)
    return f"{made.replayed.replays} of 20 steps replayed"


def compiled(device: torch.device) -> str:
    """A compiled pass, replayed too: where it cannot be compiled, steps run as they are written. In float32.

    In 16 bits a fused operation rounds once where written ones round twice, and after some steps the weights have little in
    common but their losses: see `follows`.
    """
    said, began = io.StringIO(), time.perf_counter()
    with repeatable(whole=True):
        with contextlib.redirect_stderr(said):
            start, b, _ = ended("drg", device, "graphs+compile")
        took = time.perf_counter() - began
        _, a, _ = ended("drg", device, "eager")
    fell = "could not be compiled" in said.getvalue()
    words = close(apart(a, b, start), 0, LOOSE, "compiled steps")
    return f"{words}; {said.getvalue().strip().splitlines()[-1] if fell else f'compiled in {took:.0f} s'}"


class Asking(Vanilla):
    """Reads a number from the card in every step, which no recording can."""

    def terms(self, model, out, batch, progress):
        terms = super().terms(model, out, batch, progress)
        return terms | {"more": terms["task"] * (0.0 if float(terms["task"].detach()) > 1e9 else 1e-3)}


def falls_back(device: torch.device) -> str:
    """A step that cannot be recorded runs as it is written, and so does what comes after it in the same process."""
    said = io.StringIO()
    digits = DATASETS["digits"](train_size=IMAGES)
    with contextlib.redirect_stderr(said):
        made = training(MODELS["four-stage"](num_classes=10, width=8), Asking(), digits, device, "graphs")
        assert all(math.isfinite(e.terms["more"]) for e in epochs(made))
    config = "cannot be recorded" in said.getvalue()
    assert device.type == "cpu" or (config and made.replayed.refused), "the step was recorded with its number frozen"
    *_, after = ended("dropout-guidance", device, "graphs")  # draws from the card's own generator
    assert device.type == "cpu" or after.replayed.replays, "nothing is recorded after a recording that broke off"
    return said.getvalue().strip()[:200] or "a CPU has no recordings that fail"


PAPERS = ("vanilla", "byot", "ddgsd", "drg", "dsr", "drg+dsr", "sfr", "self-guidance")

CHECKS: dict[str, Check] = {
    "machine": machine,
    "precision": precision,
    "follows float32": follows("eager", whole=True),
    "views": views,
    "distortions": distorted,
    **{f"replays {name}": replays(name) for name in ("drg+dsr", "ps-kd+drg+dsr", "ddgsd+dsr", *METHODS)},
    "turned knob": turned,
    **{f"no waits {name}": no_waits(name) for name in METHODS},
    **{f"16 bits {name}": replays(name, whole=False) for name in PAPERS},
    **{f"trains {name}": trains(name) for name in METHODS},
    **{f"resumes {name}": resumes(name, "graphs") for name in ("drg+dsr", *METHODS)},
    "resumes drg+dsr eager": resumes("drg+dsr", "eager"),
    "streamed": streamed,
    "compiled": compiled,
    "compiled 16 bits": follows("graphs+compile", whole=False),
    "falls back": falls_back,  # the last: should it leave the card in a bad state, nothing follows
}
"""What is known soonest to matter comes first."""

SWEPT = ("replays", "no", "16", "trains", "resumes")
"""First words of the checks that are made of many methods."""


def run_checks(
    device: torch.device, chosen: list[str], until: float = math.inf, say: Callable[[str], None] = print,
    keep: Callable[[dict[str, Any]], None] = lambda found: None, known: dict[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Runs checks one by one, a failing one stops none. until: time.monotonic() after which none begins.

    -> name -> {"ok", "seconds", "words"}; known: what earlier calls found, of which the good is not run again.
    """
    found = {name: was for name, was in (known or {}).items() if was["ok"] and name in chosen}
    for name in chosen:
        if name in found:
            continue
        if time.monotonic() > until:
            say(f"      {sum(n not in found for n in chosen)} checks were not reached: the same command goes on")
            break
        began = time.perf_counter()
        try:
            ok, words = True, CHECKS[name](device)
        except Exception as error:
            ok, words = False, f"{type(error).__name__}: {error}\n{traceback.format_exc(limit=-4)}"
        found[name] = {"ok": ok, "seconds": round(time.perf_counter() - began, 2), "words": words}
        say(f"{'ok  ' if ok else 'FAIL'}  {found[name]['seconds']:6.1f} s  {name}: {words.splitlines()[0]}")
        keep(found)
        if len(found) % 20 == 0:
            gc.collect()
    return found


def told(found: dict[str, Any]) -> str:
    """A line on all of it."""
    bad = [name for name, was in found.items() if not was["ok"]]
    return f"{len(found) - len(bad)} checks good, {len(bad)} bad{': ' + ', '.join(bad) if bad else ''}"
