"""Streaming against torchvision: images a second and memory over epochs, on JPEGs of 224 px made for it.

    python benchmarks/stream.py --images 20000 --workers 4

Both read the same files with the same number of worker processes, take RandomResizedCrop 224 and a mirror, and end in
normalised float32 batches of 64. They take turns, epoch by epoch.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

SIDE, CLASSES, BATCH = 224, 10, 64


def make(folder: Path, images: int) -> None:
    """So many smooth random JPEGs, in ten classes, and a few to test on."""
    rng = np.random.default_rng(0)
    for split, n in (("train", images), ("test", CLASSES)):
        for i in range(n):
            place = folder / split / f"class{i % CLASSES}" / f"{i:06d}.jpg"
            place.parent.mkdir(parents=True, exist_ok=True)
            coarse = Image.fromarray(rng.integers(0, 256, (28, 28, 3), dtype=np.uint8))
            coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(place, quality=90)


def memory() -> float:
    """Of this process and its children, MB; shared pages count for each."""
    pages = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if os.getpid() in (int(entry.name), parent):
                pages += int((entry / "statm").read_text().split()[1])
        except (OSError, ValueError):  # it has ended meanwhile
            continue
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def peer(folder: Path, workers: int):
    """torchvision's ImageFolder and transforms under torch's DataLoader."""
    from sdkit.vision import ensure

    ensure()
    from torchvision import datasets
    from torchvision import transforms as T

    steps = [T.RandomResizedCrop(SIDE), T.RandomHorizontalFlip(), T.ToTensor(), T.Normalize([0.5] * 3, [0.25] * 3)]
    data = datasets.ImageFolder(str(folder / "train"), T.Compose(steps))
    return torch.utils.data.DataLoader(data, BATCH, shuffle=True, num_workers=workers)


def ours(folder: Path, root: Path, seed: int = 0):
    from sdkit.data import image_folder

    return image_folder(folder=str(folder), root=root).batches(BATCH, seed=seed)


def epoch(loader) -> tuple[float, float]:
    """Images a second and the most memory while it ran."""
    began, seen, most = time.perf_counter(), 0, 0.0
    for k, batch in enumerate(loader):
        seen += len(batch[0])
        if k % 10 == 9:
            most = max(most, memory())
    return seen / (time.perf_counter() - began), most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    config = parser.parse_args()
    os.environ["SDKIT_WORKERS"] = str(config.workers)
    with tempfile.TemporaryDirectory() as place:
        folder, root = Path(place) / "images", Path(place) / "root"
        make(folder, config.images)
        loaders = {"torchvision": peer(folder, config.workers), "sdkit": ours(folder, root)}
        rates: dict[str, list[float]] = {name: [] for name in loaders}
        print(f"{config.images} JPEGs of {SIDE} px, {config.workers} workers, batches of {BATCH}")
        for k in range(config.epochs):
            for name, loader in loaders.items():
                rate, most = epoch(loader)
                rates[name].append(rate)
                print(f"epoch {k + 1}  {name:<12} {rate:7.0f} images/s  {most:6.0f} MB", flush=True)
    medians = {name: float(np.median(r)) for name, r in rates.items()}
    print("median  " + "  ".join(f"{name} {r:.0f}" for name, r in medians.items()))
    print(f"sdkit reads {medians['sdkit'] / medians['torchvision']:.2f} times as many images a second")


if __name__ == "__main__":
    main()
