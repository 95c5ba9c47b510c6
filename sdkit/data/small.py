"""The published sets of small images, held in memory like CIFAR: Tiny ImageNet, FER-2013 and RAF-DB.

Decoded images are kept in `root`/cache as one array and mapped from there, so that a second start takes no time.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .base import Data, whole_set
from .content import cache_of
from .fetch import Archive, fetch, unpack
from .files import Files, Framing, remembered, save, stamp, views
from .folder import labelled
from .options import data_set
from .pixels import Images
from .published import missing, present, told_apart

TINY = Archive("tiny-imagenet-200.zip", "http://cs231n.stanford.edu/tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de")
FER_CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
FER_FILES = ("fer2013.csv", "icml_face_data.csv")
RAF_CLASSES = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")


@data_set
def tiny_imagenet(*, root: Path, download: bool, size: int = 64) -> Data:
    """Tiny ImageNet: `root`/tiny-imagenet-200, 200 classes, 100,000 training images of 64x64; download is 248 MB.

    `test` is the published validation set, whose labels are public; the published test images have none and are not read.
    size=32 is paper 004's. At 64 the training loader takes 1.6 GB.
    """
    folder = root / "tiny-imagenet-200"
    if download and not folder.is_dir():
        unpack(fetch(TINY, root), root, "tiny-imagenet-200")
    listing, notes = folder / "wnids.txt", folder / "val" / "val_annotations.txt"
    for file in (listing, notes):
        if not file.is_file():
            raise missing("tiny_imagenet", folder, str(file.relative_to(folder)), TINY, root)
    wnids = sorted(listing.read_text().split())
    words = _words(folder / "words.txt")
    names, labels = [], []
    for k, wnid in enumerate(wnids):
        images = folder / "train" / wnid / "images"
        found = sorted(f for f in os.listdir(images) if f.upper().endswith(".JPEG")) if images.is_dir() else []
        if not found:
            raise missing("tiny_imagenet", folder, f"train/{wnid}/images/*.JPEG", TINY, root)
        names += [f"train/{wnid}/images/{f}" for f in found]
        labels += [k] * len(found)
    rows = [line.split("\t")[:2] for line in notes.read_text().splitlines() if line.strip()]
    strange = next((row for row in rows if len(row) < 2 or row[1] not in wnids), None)
    if strange or not rows:
        raise ValueError(
            f"{notes} has {strange or 'no line'}, expected is a file, a tab and a class of wnids.txt: unpack {TINY.name} again"
        )
    test = [f"val/images/{file}" for file, _ in rows]
    present(folder, test, notes)
    x, held = (decoded(folder, n, pixels(size), cache_of(root), f"tiny_imagenet {part}")
               for n, part in ((names, "train"), (test, "val")))  # fmt: skip
    y = torch.tensor([wnids.index(wnid) for _, wnid in rows])
    classes = told_apart([words.get(wnid, wnid) for wnid in wnids], wnids)
    return whole_set("tiny_imagenet", classes, Images(x, torch.tensor(labels)), Images(held, y))


def _words(path: Path) -> dict[str, str]:
    """wnid -> the first of its names."""
    if not path.is_file():
        return {}
    rows = (line.partition("\t") for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    return {wnid: names.split(",")[0].strip() for wnid, _, names in rows}


@data_set
def fer2013(*, root: Path, size: int = 32, public: bool = False) -> Data:
    """FER-2013 (Goodfellow et al. 2013), 7 expressions: `root`/fer2013/fer2013.csv or icml_face_data.csv.

    Grey, published at 48x48 and resized to 32x32 as in paper 002. 28,709 training images; `test` is PrivateTest, 3,589 images
    (torchvision's test split has PublicTest as well), or with public=True PublicTest, as many. It is never downloaded: its
    host asks for an account.
    """
    folder = root / "fer2013"
    path = next((folder / file for file in FER_FILES if (folder / file).is_file()), None)
    if path is None:
        raise FileNotFoundError(
            f"no FER-2013 in {folder}: get fer2013.csv or icml_face_data.csv (7 columns of expressions, with a column Usage) "
            f"from the Kaggle challenge on facial expression recognition, and put it there; train.csv and test.csv do not do, "
            "the second has no labels"
        )
    frame = pixels(size)
    kept = remembered(cache_of(root) / f"fer2013-{stamp([path])[:16]}-{size}.npz", lambda: _fer(path, frame))
    held = "public" if public else "private"
    train, test = (Images(*(torch.from_numpy(kept[f"{part}_{v}"]) for v in "xy")) for part in ("training", held))
    return whole_set("fer2013", FER_CLASSES, train, test)


def _fer(path: Path, frame: Framing) -> dict[str, np.ndarray]:
    """Images [N, 3, H, W] uint8 and labels [N] of the three parts."""
    from PIL import Image

    usages = {"Training": "training", "PublicTest": "public", "PrivateTest": "private"}
    parts: dict[str, tuple[list, list]] = {part: ([], []) for part in usages.values()}
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        reader.fieldnames = [name.strip() for name in reader.fieldnames or []]  # one of the two files begins some with a space
        lacking = {"emotion", "pixels", "Usage"} - set(reader.fieldnames)
        if lacking:
            raise ValueError(f"{path} has no column {sorted(lacking)[0]}: expected are emotion, pixels and Usage, as published")
        for row in reader:
            grey = np.array((row["pixels"] or "").split(), dtype=np.float64)
            right = grey.size == 48 * 48 and row["emotion"] in "0123456" and len(row["emotion"]) == 1 and row["Usage"] in usages
            if not right or grey.min() < 0 or grey.max() > 255:
                raise ValueError(
                    f"line {reader.line_num} of {path} is no face: expected are an emotion 0 to 6, 48 x 48 pixels of 0 to 255 "
                    f"and a Usage of {', '.join(usages)}; fetch the file again"
                )
            face = Image.fromarray(grey.astype(np.uint8).reshape(48, 48))
            x, y = parts[usages[row["Usage"]]]
            x.append(np.asarray(face.resize((frame.width, frame.height), Image.Resampling.BILINEAR)))
            y.append(int(row["emotion"]))
    empty = [usage for usage, part in usages.items() if not parts[part][0]]
    if empty:
        raise ValueError(f"{path} has no line with the Usage {empty[0]}: this is not the whole file, fetch it again")
    return {f"{part}_x": np.repeat(np.stack(x)[:, None], 3, 1) for part, (x, _) in parts.items()} | {
        f"{part}_y": np.array(y, np.int64) for part, (_, y) in parts.items()
    }


@data_set
def rafdb(*, root: Path, size: int = 32) -> Data:
    """RAF-DB, basic expressions (Li et al. 2017), 7 classes, 12,271 + 3,068 faces of 100x100, resized to 32x32 (paper 002).

    `root`/rafdb/basic/EmoLabel/list_patition_label.txt with basic/Image/aligned/, or `root`/rafdb/train/1 to 7/ and test/. It
    is never downloaded: its authors give it on request.
    """
    folder = root / "rafdb"
    notes = folder / "basic" / "EmoLabel" / "list_patition_label.txt"
    if notes.is_file():
        rows = [line.split() for line in notes.read_text().splitlines() if line.strip()]
        strange = next(
            (r for r in rows if len(r) != 2 or r[1] not in "1234567" or r[0].split("_")[0] not in ("train", "test")), None
        )
        if strange:
            raise ValueError(f"{notes} has the line {' '.join(strange)!r}, expected are lines such as 'train_00001.jpg 5'")
        parts = {
            part: [(f"basic/Image/aligned/{Path(f).stem}_aligned.jpg", int(k) - 1) for f, k in rows if f.startswith(part)]
            for part in ("train", "test")
        }
        present(folder, [name for rows in parts.values() for name, _ in rows], notes)
    elif labelled(folder / "train") and labelled(folder / "test"):
        parts = {
            part: [
                (f"{part}/{k + 1}/{p.name}", k)
                for k in range(7)
                for p in sorted((folder / part / str(k + 1)).glob("*.[jJpP]*"))
            ]
            for part in ("train", "test")
        }
    else:
        raise FileNotFoundError(
            f"no RAF-DB in {folder}: ask its authors for the basic set and put basic/EmoLabel/list_patition_label.txt and "
            "basic/Image/aligned/train_00001_aligned.jpg there, or train/1 to train/7 and test/1 to test/7"
        )
    sets = []
    for part, rows in parts.items():
        y = torch.tensor([k for _, k in rows], dtype=torch.int64)
        lacking = [name for k, name in enumerate(RAF_CLASSES) if not (y == k).any()]
        if lacking:
            raise ValueError(f"{folder} has no {part} image of the expression {lacking[0]}: this is not the whole set")
        sets.append(Images(decoded(folder, [n for n, _ in rows], pixels(size), cache_of(root), f"rafdb {part}"), y))
    return whole_set("rafdb", RAF_CLASSES, *sets)


def pixels(size: int) -> Framing:
    """The whole image at size x size."""
    if isinstance(size, bool) or not isinstance(size, int) or not 8 <= size <= 224:
        raise ValueError(f"size is that of the images in pixels, 8 to 224, got {size!r}")
    return Framing(size, size, size, "squashed")


def decoded(folder: Path, names: Sequence[str], frame: Framing, cache: Path, title: str) -> Tensor:
    """All images [N, 3, H, W] uint8, mapped from the cache where it has them: a page is read when it is used."""
    path = cache / f"{title.replace(' ', '-')}-{stamp(folder / name for name in names)[:16]}-{frame.height}.npy"
    shape = (len(names), 3, frame.height, frame.width)
    kept = _mapped(path)
    if kept is None or kept.shape != shape or kept.dtype != np.uint8:
        files = Files(folder, names)
        kept = np.ascontiguousarray(views(files, range(len(files)), frame, title).transpose(0, 3, 1, 2))
        if save(path, lambda file: np.save(file, kept)):
            kept = _mapped(path)
    return torch.from_numpy(kept)


def _mapped(path: Path) -> np.ndarray | None:
    try:
        return np.load(path, mmap_mode="c", allow_pickle=False)  # writes would stay in memory
    except (OSError, ValueError, EOFError):
        return None
