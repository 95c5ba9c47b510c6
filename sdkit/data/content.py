"""What lies in a folder of images as one digest: a file is read once, and again only where its size or a time of it changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ..core import home
from .files import Bar, Files, load, save, workers


def data_root() -> Path:
    """The folder of data sets: $SDKIT_DATA_ROOT, which many may share and nobody needs to write to, else data/ in home()."""
    said = os.environ.get("SDKIT_DATA_ROOT")
    return Path(said).expanduser() if said else home() / "data"


def cache_of(root: Path) -> Path:
    """Where that is kept which can be made again from the sets in `root`: beside them, of a shared folder in home()."""
    return (home() / "data" if os.environ.get("SDKIT_DATA_ROOT") and root == data_root() else root) / "cache"


def content(files: Files, places: Iterable[int], cache: Path) -> str:
    """The digest of images: their names below the folder and their bytes, in order. Sums of files are kept in `cache`."""
    path = cache / f"content-{hashlib.sha256(os.fsencode(files.folder)).hexdigest()[:16]}.npz"
    known: dict[str, tuple[Any, Any]] = {}
    kept = load(path)
    if kept is not None and {"names", "times", "sums"} <= kept.keys():
        names = os.fsdecode(bytes(kept["names"])).split("\n")
        known = {n: (t, s) for n, t, s in zip(names, kept["times"].tolist(), kept["sums"], strict=False)}
    below = len(files.folder) + 1
    chosen = {files[k][below:]: files[k] for k in places}
    times = {name: _times(file) for name, file in chosen.items()}
    new = [name for name, seen in times.items() if name not in known or known[name][0] != seen]
    bar = Bar(len(new), "reading every image once")
    with ThreadPoolExecutor(max(workers(), 1)) as pool:
        for name, found in zip(new, pool.map(lambda name: _sum(chosen[name]), new), strict=True):
            known[name] = times[name], np.frombuffer(found, np.uint8)
            bar.update()
    bar.close()
    if new:
        letters = np.frombuffer(os.fsencode("\n".join(known)), np.uint8)
        times_of, sums = np.array([t for t, _ in known.values()]), np.stack([s for _, s in known.values()])
        save(path, lambda file: np.savez(file, names=letters, times=times_of, sums=sums))
    whole = hashlib.sha256()
    for name in chosen:
        whole.update(os.fsencode(name) + b"\0" + known[name][1].tobytes())
    return whole.hexdigest()


def _times(path: str) -> list[int]:
    """What changes when a file does: its size, and the times of its content and of its entry."""
    about = os.stat(path)
    return [about.st_size, about.st_mtime_ns, about.st_ctime_ns]


def _sum(path: str) -> bytes:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
