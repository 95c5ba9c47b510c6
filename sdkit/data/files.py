"""Image files: how one becomes pixels, how many are listed without loading them, and what is kept of that for the next time."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

Array = np.ndarray

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
Crop = Literal["resized", "window", "squashed", "padded"]
CROPS = get_args(Crop)
AREA, ASPECT, TRIES = (0.08, 1.0), (3 / 4, 4 / 3), 10  # of a "resized" crop, as torchvision's RandomResizedCrop
BORDER = 10  # black pixels around a "padded" image
GAP = 2  # a JPEG may be decoded at a half, a quarter or an eighth where it stays so many times larger than what it is for


LARGEST = 90_000_000
"""Pixels of an image that is decoded: a file of some hundred kilobytes can hold more than a machine's memory."""


class Framing(NamedTuple):
    """How an image of any size becomes one of `height` x `width`.

    Training takes, by `crop`: "resized", a random part of 8 to 100 % of the area, 3:4 to 4:3, resized; "window", a random
    window after the shorter side was resized to `side`; "squashed", a random window after both sides were (papers of 2019 and
    before); "padded", the whole image resized, then a random window of it with a black border of 10 pixels. Evaluation takes
    the centre of the image whose shorter side, or both of a "squashed" one, is `side`; of a "padded" one the whole.
    """

    height: int
    width: int
    side: int
    crop: str = "resized"


class Files:
    """Paths below one folder, in two arrays: worker processes share them without copying, however many there are."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        encoded = [os.fsencode(name) for name in names]
        self.folder = str(folder)
        self.ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        self.letters = np.frombuffer(b"".join(encoded), np.uint8)

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, place: int) -> str:
        return os.path.join(self.folder, os.fsdecode(self.letters[self.ends[place] : self.ends[place + 1]].tobytes()))


def stamp(paths: Iterable[str | Path], folder: str = "") -> str:
    """Of names (below `folder`, where one is given), sizes and times of files: changes when one of them does."""
    about = ((str(path).removeprefix(folder), os.stat(path)) for path in paths)
    said = "\n".join(f"{name} {s.st_size} {s.st_mtime_ns} {s.st_ctime_ns}" for name, s in about)  # a copy may keep the second
    return hashlib.sha256(said.encode("utf-8", "surrogateescape")).hexdigest()


class Unreadable(ValueError):
    """A file that should be an image and is none."""


def view(path: str | Path, framing: Framing, seed: int | None = None, mirror: bool = False) -> Array:
    """A file -> [H, W, 3] uint8: its centre, or with a seed a random crop, half of them mirrored. See `in_colour`.

    `Unreadable` names the file.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.size[0] * image.size[1] > LARGEST:  # read from its head: nothing is decoded yet
                raise ValueError(f"{image.size[0]} x {image.size[1]} pixels are more than {LARGEST // 10**6} million")
            if seed is None:
                return clean(image, framing)
            rng = np.random.Generator(np.random.PCG64(seed))
            x = cropped(image, framing, rng)
            return x[:, ::-1] if mirror and rng.random() < 0.5 else x
    except FileNotFoundError as error:
        raise Unreadable(
            f"{path} is gone: it was there when the folder was listed, put it back or load the set again"
        ) from error
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        struct.error,
        zipfile.BadZipFile,
        Image.DecompressionBombError,
    ) as error:
        raise Unreadable(f"{path} is no image that can be read ({error}): replace it, or delete it") from error


def in_colour(image: Image) -> Image:
    """An image of any kind in RGB, 8 bits a channel.

    Grey is copied to three channels; 16 bits of grey keep their upper 8; where an image is transparent, white is behind it,
    whatever colour is hidden there.

    Raises:
        ValueError: Floats or 32-bit numbers, of which no file says what is black and what is white.
    """
    from PIL import Image as Pictures

    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        return Pictures.fromarray((np.asarray(image).astype(np.int64) // 257).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode.startswith(("I", "F")):
        raise ValueError(
            f"a picture of mode {image.mode}, whose black and white no file says: bring it to 8 or 16 bits of grey, or to RGB"
        )
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Pictures.alpha_composite(Pictures.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def clean(image: Image, framing: Framing) -> Array:
    """The centre, as evaluation sees it: what torchvision's Resize and CenterCrop give."""
    h, w, side, crop = framing
    if crop == "padded":
        return resampled(image, (0, 0, *image.size), h, w)
    wide, tall = _enlarged(image, side, crop)
    left, top = round((wide - w) / 2), round((tall - h) / 2)
    return resampled(image, _within(image, left, top, w, h, wide, tall), h, w)


def cropped(image: Image, framing: Framing, rng: np.random.Generator) -> Array:
    """A random crop, as training sees it, not mirrored."""
    h, w, side, crop = framing
    if crop == "padded":
        whole = np.zeros((h + 2 * BORDER, w + 2 * BORDER, 3), np.uint8)
        whole[BORDER : BORDER + h, BORDER : BORDER + w] = resampled(image, (0, 0, *image.size), h, w, coarse=True)
        top, left = rng.integers(0, 2 * BORDER + 1, 2)
        return whole[top : top + h, left : left + w]
    if crop == "resized":
        return resampled(image, _part(*image.size, rng), h, w, coarse=True)
    wide, tall = _enlarged(image, side, crop)
    left, top = rng.integers(0, wide - w + 1), rng.integers(0, tall - h + 1)
    return resampled(image, _within(image, left, top, w, h, wide, tall), h, w, coarse=True)


def _enlarged(image: Image, side: int, crop: str) -> tuple[int, int]:
    """Width and height once the shorter side, or both, is `side`."""
    w, h = image.size
    if crop == "squashed":
        return side, side
    return (side, int(side * h / w)) if w <= h else (int(side * w / h), side)


def _within(image: Image, left: int, top: int, w: int, h: int, wide: int, tall: int) -> tuple[float, ...]:
    """A window of the resized image, wide x tall, in the pixels of the image as it is."""
    x, y = image.size[0] / wide, image.size[1] / tall
    return left * x, top * y, (left + w) * x, (top + h) * y


def _part(w: int, h: int, rng: np.random.Generator) -> tuple[int, ...]:
    """Left, top, right, bottom of a random part of 8 to 100 % of the area; the centre where none fits in ten tries."""
    for _ in range(TRIES):
        area = w * h * rng.uniform(*AREA)
        ratio = np.exp(rng.uniform(*np.log(ASPECT)))
        wide, tall = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
        if 0 < wide <= w and 0 < tall <= h:
            left, top = rng.integers(0, w - wide + 1), rng.integers(0, h - tall + 1)
            return left, top, left + wide, top + tall
    wide, tall = min(w, max(1, round(h * ASPECT[1]))), min(h, max(1, round(w / ASPECT[0])))
    left, top = (w - wide) // 2, (h - tall) // 2
    return left, top, left + wide, top + tall


def resampled(image: Image, box: tuple[float, ...], h: int, w: int, coarse: bool = False) -> Array:
    """The box of an image resized to [h, w, 3], bilinear and antialiased. coarse: a large JPEG is not decoded in full."""
    from PIL.Image import Resampling

    if coarse and image.format == "JPEG":
        before = image.size
        room = min((box[2] - box[0]) / w, (box[3] - box[1]) / h) / GAP
        if room >= 2:
            image.draft(None, (int(before[0] / room), int(before[1] / room)))
            x, y = image.size[0] / before[0], image.size[1] / before[1]
            box = (box[0] * x, box[1] * y, box[2] * x, box[3] * y)
    colour = in_colour(image)
    box = (*box[:2], min(box[2], colour.size[0]), min(box[3], colour.size[1]))  # rounding must not leave the image
    return np.asarray(colour.resize((w, h), Resampling.BILINEAR, box))


# -- many of them


def workers() -> int:
    """How many processes decode images: $SDKIT_WORKERS, else one for each core, 16 at most. 0: the one that trains."""
    said = os.environ.get("SDKIT_WORKERS")
    if said is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return min(cores, 16)
    if not said.isdecimal():
        raise ValueError(f"SDKIT_WORKERS is a whole number of processes from 0, got {said!r}")
    return int(said)


def views(files: Files, places: Iterable[int], framing: Framing, what: str = "") -> Array:
    """The clean images at `places`, [N, H, W, 3] uint8, decoded by threads. what: the title of a progress bar."""
    from tqdm.auto import tqdm

    places = list(places)
    out = np.empty((len(places), framing.height, framing.width, 3), np.uint8)

    def fill(k: int) -> None:
        out[k] = view(files[places[k]], framing)

    with ThreadPoolExecutor(max(workers(), 1)) as pool:
        for _ in tqdm(pool.map(fill, range(len(places))), total=len(places), desc=what, disable=None if what else True):
            pass
    return out


def listed(folder: Path, cache: Path, pick: Callable[[str], bool] = lambda name: True) -> tuple[list[str], Tensor, list[str]]:
    """Images of a folder of class folders: their names below it, labels [N], class names in alphabetical order.

    Listed once and kept in `cache` until a class folder changes. ValueError where a class has no image.
    """
    from tqdm.auto import tqdm

    with os.scandir(folder) as entries:
        found = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith(".") and pick(e.name))
    changed = np.array([os.stat(folder / name).st_mtime_ns for name in found], np.int64)
    path = cache / f"list-{hashlib.sha256(repr((str(folder.resolve()), found)).encode()).hexdigest()[:16]}.npz"
    kept = load(path)
    if kept is not None and np.array_equal(kept.get("changed"), changed):
        return os.fsdecode(bytes(kept["names"])).split("\n"), torch.from_numpy(kept["y"]), found
    names, y = [], []
    for k, name in enumerate(
        tqdm(found, desc=f"listing {folder.name}", unit=" classes", disable=None if len(found) > 50 else True)
    ):
        inside = sorted(f for f in os.listdir(folder / name) if f.lower().endswith(SUFFIXES) and not f.startswith("."))
        if not inside:
            raise ValueError(f"{folder / name} has no image: every folder there is a class, put images into it or remove it")
        names += [f"{name}/{f}" for f in inside]
        y += [k] * len(inside)
    labels = np.array(y, np.int64)
    letters = np.frombuffer(os.fsencode("\n".join(names)), np.uint8)
    save(path, lambda file: np.savez(file, names=letters, y=labels, changed=changed))
    return names, torch.from_numpy(labels), found


def load(path: Path) -> dict[str, Array] | None:
    """What `save` kept, or None where there is nothing or it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def save(path: Path, write: Callable[[io.BufferedIOBase], Any]) -> bool:
    """A file, whole or not at all. False in a folder that cannot be written to: the work is then done again next time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    except OSError:
        return False
    try:
        with os.fdopen(handle, "wb") as stream:
            write(stream)
        os.replace(temporary, path)
    except BaseException as error:
        os.unlink(temporary)
        if isinstance(error, OSError):
            return False
        raise
    return True


def remembered(
    path: Path, make: Callable[[], dict[str, Array]], shapes: dict[str, tuple[int, ...]] | None = None
) -> dict[str, Array]:
    """Arrays from a file, or made and then written to it. shapes: what they must have, else they are made again."""
    kept = load(path)
    if kept is None or (shapes is not None and {key: a.shape for key, a in kept.items()} != shapes):
        kept = make()
        save(path, lambda file: np.savez(file, **kept))
    return kept


SAMPLED = 20_000  # training images that computed statistics are of at most, evenly spaced


def measured(files: Files, places: Tensor, framing: Framing, cache: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of every channel of clean images at `places` in [0, 1], exact for up to 20,000; kept in `cache`."""
    part = "" if len(places) == len(files) else hashlib.sha256(places.numpy()).hexdigest()[:8] + "-"
    seen = stamp(map(files.__getitem__, range(len(files))))[:16]  # an image that is replaced is another one
    path = cache / f"statistics-{seen}-{part}{framing.height}x{framing.width}-{framing.side}-{framing.crop}.npz"
    kept = load(path)
    if kept is None or kept.get("counts", np.empty(0)).shape != (3, 256):
        chosen = places.numpy()[np.unique(np.linspace(0, len(places) - 1, min(len(places), SAMPLED)).astype(np.int64))]
        counts = np.zeros((3, 256), np.int64)
        bar = Bar(len(chosen), "mean and deviation")
        for part in np.array_split(chosen, -(-len(chosen) // 256)):
            x = views(files, part.tolist(), framing)
            counts += np.stack([np.bincount(x[..., c].ravel(), minlength=256) for c in range(3)])
            bar.update(len(part))
        bar.close()
        save(path, lambda file: np.savez(file, counts=counts))
    else:
        counts = kept["counts"]
    values, share = np.arange(256) / 255, counts / counts.sum(1, keepdims=True)
    mean = share @ values
    deviation = np.sqrt((share * (values - mean[:, None]) ** 2).sum(1))
    return tuple(mean.tolist()), tuple(deviation.tolist())


def Bar(total: int, title: str) -> Any:
    """A progress bar, where there is a terminal or a notebook to show it and enough to wait for."""
    from tqdm.auto import tqdm

    return tqdm(total=total, desc=title, unit=" images", disable=None if total > 200 else True)
