"""The published sets of photographs, in the layouts that their makers chose, streamed from disk.

Every one takes `size` (pixels of a side that the network sees) and `crop` (how a training image is cut, see `files.Framing`)
besides the usual options. A missing set is a FileNotFoundError that says which file belongs where.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .base import Data
from .content import cache_of
from .fetch import Archive, fetch, unpack
from .files import Crop, Framing, listed
from .folder import framing, labelled, on_disk, streamed
from .options import NORMS, data_set
from .pixels import Images, parted, take

CALTECH = Archive(
    "caltech-101.zip", "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip", "3138e1922a9193bfa496528edbbc45d0"
)
CUB = Archive(
    "CUB_200_2011.tgz",
    "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
    "97eceeb196236b17998738112f37df78",
)
DOGS = (
    Archive("images.tar", "http://vision.stanford.edu/aditya86/ImageNetDogs/images.tar", "1bb1f2a596ae7057f99d7d75860002ef"),
    Archive("lists.tar", "http://vision.stanford.edu/aditya86/ImageNetDogs/lists.tar", "edbb9f16854ec66506b5f09b583e0656"),
)
WITHDRAWN = (
    "DukeMTMC-reID was withdrawn by Duke University in April 2019: people were recorded outdoors and published without the "
    "consent and the ethics approval that this takes. sdkit neither links to it nor checks a copy; `reid` is a synthetic set "
    "for the same methods. Show no image of it."
)


@data_set
def imagenet(*, root: Path, size: int = 224, crop: Crop = "resized", side: int | None = None) -> Data:
    """ImageNet (ILSVRC 2012): `root`/imagenet/train/<wnid>/* and val/<wnid>/*, or the archives, which torchvision unpacks.

    `test` is the published validation set. side: of the resized image that a "squashed" or "window" crop, and every test
    image, is cut from; None: 8/7 of size. crop="squashed" with side=256 is DDGSD's, for 227 pixels too. It is
    never downloaded: its makers ask for registration.
    All 1,000 classes go by torchvision's names for them; of a part of ImageNet they are called as their folders are.
    """
    folder, cache = root / "imagenet", cache_of(root)
    for split, archive in (("train", "ILSVRC2012_img_train.tar"), ("val", "ILSVRC2012_img_val.tar")):
        if not labelled(folder / split):
            if not (folder / archive).is_file() or not (folder / "ILSVRC2012_devkit_t12.tar.gz").is_file():
                raise FileNotFoundError(
                    f"no ImageNet in {folder}: {split}/ with a folder for every class is missing; register at image-net.org "
                    f"and put {archive} and ILSVRC2012_devkit_t12.tar.gz there, or the unpacked train/<wnid>/ and val/<wnid>/"
                )
            _unpack_imagenet(folder, split, archive)
    names, y, classes = listed(folder / "train", cache)
    test, labels, found = listed(folder / "val", cache)
    if found != classes:
        odd = sorted(set(found) ^ set(classes))[0]
        raise ValueError(
            f"train and val of {folder} have other classes, {odd} for one: val needs a folder for every class, too"
        )
    frame = framing(size, crop, side=side)
    train, held = on_disk(folder / "train", names, y, frame), on_disk(folder / "val", test, labels, frame)
    return streamed("imagenet", _words_for(classes), train, held, cache, norm=NORMS["imagenet"])


def _unpack_imagenet(folder: Path, split: str, archive: str) -> None:
    """The published archive as `folder`/`split`: all of it or nothing. ValueError where one is not as published."""
    from ..vision import ensure

    ensure()
    from torchvision.datasets import imagenet as published

    aside = f".unpacking-{split}"
    shutil.rmtree(folder / aside, ignore_errors=True)  # of an attempt that was cut off
    try:
        published.parse_devkit_archive(str(folder))  # the classes of the validation images
        (published.parse_train_archive if split == "train" else published.parse_val_archive)(str(folder), folder=aside)
        os.replace(folder / aside, folder / split)
    except RuntimeError as error:  # another md5
        raise ValueError(
            f"ILSVRC2012_devkit_t12.tar.gz or {archive} in {folder} is not as published ({error}): fetch it again"
        ) from error
    finally:
        shutil.rmtree(folder / aside, ignore_errors=True)


def _words_for(wnids: list[str]) -> list[str]:
    """ImageNet's class folders -> their names, where all 1,000 are there; two classes of one name are told apart by folder."""
    if len(wnids) != 1000:
        return wnids
    from ..vision import ensure

    ensure()
    from torchvision.models import ResNet18_Weights

    return told_apart(ResNet18_Weights.IMAGENET1K_V1.meta["categories"], wnids)  # in the order of the folders


def told_apart(names: Sequence[str], folders: Sequence[str]) -> list[str]:
    """Classes' names, each with its folder where another has the same one."""
    return [f"{name} ({folder})" if names.count(name) > 1 else name for name, folder in zip(names, folders, strict=True)]


@data_set
def caltech101(
    *, root: Path, download: bool, seed: int, size: int = 224, crop: Crop = "window", background: bool = False
) -> Data:
    """Caltech-101 (Fei-Fei et al. 2004): `root`/caltech101/101_ObjectCategories/<class>/*; download is 137 MB.

    There is no official split. Our reading: 80 % of every class for training, drawn from `seed`, and without the class
    BACKGROUND_Google, as torchvision has it; background=True counts it as class 102.
    """
    folder, cache = root / "caltech101", cache_of(root)
    images = folder / "101_ObjectCategories"
    if download and not images.is_dir():
        parts = unpack(fetch(CALTECH, folder), folder, "caltech-101")
        unpack(parts / "101_ObjectCategories.tar.gz", folder, "101_ObjectCategories")
    if not labelled(images):
        raise missing("caltech101", images, "<class>/image_0001.jpg", CALTECH, folder)
    names, y, classes = listed(images, cache, lambda name: background or name != "BACKGROUND_Google")
    every = on_disk(images, names, y, framing(size, crop))
    parts = parted(y, round(0.8 * len(y)), np.random.Generator(np.random.PCG64([seed, 0])))
    return streamed("caltech101", classes, *(take(every, part) for part in parts), cache)


@data_set
def stanford_dogs(*, root: Path, download: bool, size: int = 224, crop: Crop = "window") -> Data:
    """Stanford Dogs (Khosla et al. 2011): `root`/stanford_dogs/Images/<breed>/* and its two lists; download is 760 MB.

    12,000 training and 8,580 test images of 120 breeds. They are a part of ImageNet: judge no ImageNet-trained weights by them.
    """
    folder = root / "stanford_dogs"
    images, lists = folder / "Images", ("train_list.mat", "test_list.mat")
    if download:
        if not images.is_dir():
            unpack(fetch(DOGS[0], folder), folder, "Images")
        if not all((folder / file).is_file() for file in lists):
            archive = fetch(DOGS[1], folder)
            for file in lists:
                unpack(archive, folder, file)
    if not labelled(images):
        raise missing("stanford_dogs", images, "n02085620-Chihuahua/n02085620_10074.jpg", DOGS[0], folder)
    for file in lists:
        if not (folder / file).is_file():
            raise missing("stanford_dogs", folder, file, DOGS[1], folder)
    train, test = (_dogs(images, folder / file) for file in lists)
    breeds = sorted({name.split("/")[0] for name in train[0]})
    labels = [torch.tensor([breeds.index(name.split("/")[0]) for name in names]) for names, _ in (train, test)]
    for (names, published), y in zip((train, test), labels, strict=True):
        wrong = (y != published).nonzero()
        if len(wrong):
            raise ValueError(
                f"the lists in {folder} call {names[int(wrong[0])]} breed {int(published[wrong[0]]) + 1}, and the folders "
                f"breed {int(y[wrong[0]]) + 1}: unpack lists.tar (md5 {DOGS[1].md5}) there again"
            )
    sets = (on_disk(images, names, y, framing(size, crop)) for (names, _), y in zip((train, test), labels, strict=True))
    return streamed("stanford_dogs", [b.partition("-")[2] for b in breeds], *sets, cache_of(root))


def _dogs(images: Path, path: Path) -> tuple[list[str], Tensor]:
    """Names and 0-based labels of a published list; every image is there."""
    from scipy.io import loadmat

    try:
        content = loadmat(path)
        names, labels = [str(cell[0]) for cell in content["file_list"][:, 0]], content["labels"][:, 0].astype(np.int64) - 1
    except Exception as error:  # scipy raises what its parser stumbles over
        raise ValueError(
            f"{path} is no list of Stanford Dogs ({error}): unpack lists.tar (md5 {DOGS[1].md5}) there again"
        ) from error
    present(images, names, path)
    return names, torch.from_numpy(labels)


@data_set
def cub200(*, root: Path, download: bool, size: int = 224, crop: Crop = "window") -> Data:
    """CUB-200-2011 (Wah et al. 2011) for classification: `root`/CUB_200_2011; download is 1.1 GB.

    The official split, all 200 species in both parts: 5,994 training and 5,794 test images.
    """
    every, first, classes = _cub("cub200", root, download, framing(size, crop))
    train, test = (take(every, (first == part).nonzero()[:, 0]) for part in (1, 0))
    return streamed("cub200", classes, train, test, cache_of(root))


@data_set
def cub200_retrieval(*, root: Path, download: bool, seed: int, size: int = 224, crop: Crop = "window") -> Data:
    """CUB-200-2011 for metric learning (SFR, Table 3): species 1 to 100 to learn, all images of 101 to 200 to find.

    `retrieval()` gives the others: every image asks all the rest. Our reading: one image of every learned species is held out
    as `test`, so that a classifier's accuracy can be read.
    """
    every, _, classes = _cub("cub200_retrieval", root, download, framing(size, crop))
    half = len(classes) // 2
    learned, sought = (take(every, part.nonzero()[:, 0]) for part in (every.y < half, every.y >= half))
    query = sought._replace(y=sought.y - half)
    return _learn_and_find("cub200_retrieval", classes[:half], learned, root, seed, query=query)


def _cub(name: str, root: Path, download: bool, frame: Framing) -> tuple[Images, Tensor, list[str]]:
    """All images, which of them are in the official training set [N], and the species' names."""
    folder = root / "CUB_200_2011"
    if download and not folder.is_dir():
        unpack(fetch(CUB, root), root, "CUB_200_2011")
    tables = {}
    for file in ("images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt"):
        if not (folder / file).is_file():
            raise missing(name, folder, file, CUB, root)
        rows = [line.split(maxsplit=1) for line in (folder / file).read_text(encoding="utf-8").splitlines() if line.strip()]
        if any(len(row) != 2 for row in rows):
            raise ValueError(f"{folder / file} has a line that is not a number and a word: unpack {CUB.name} again")
        tables[file] = {number: word.strip() for number, word in rows}
    paths, labels, split, species = tables.values()
    odd = next((number for number in paths if labels.get(number) not in species or split.get(number) not in ("0", "1")), None)
    if odd:
        raise ValueError(
            f"image {odd} of {folder}/images.txt has no label or no split in the other lists: unpack {CUB.name} again"
        )
    names, order = list(paths.values()), list(species)
    present(folder / "images", names, folder / "images.txt")
    y = torch.tensor([order.index(labels[number]) for number in paths])
    first = torch.tensor([int(split[number]) for number in paths])
    classes = [word.partition(".")[2] or word for word in species.values()]
    return on_disk(folder / "images", names, y, frame), first, classes


@data_set
def dukemtmc(
    *, root: Path, download: bool, seed: int, i_understand_this_dataset_was_withdrawn: bool = False, size: int = 256,
    crop: Crop = "padded",
) -> Data:  # fmt: skip
    """DukeMTMC-reID, withdrawn in 2019: opens a copy that you hold only if you say that you know, and never downloads.

    `root`/DukeMTMC-reID/{bounding_box_train,query,bounding_box_test}/0001_c2_f0046182.jpg, as size x size / 2. A class is a
    person, `camera` what took the image. Our reading: one image of every person of the training is held out as `test`.
    """
    if i_understand_this_dataset_was_withdrawn is not True:
        raise ValueError(WITHDRAWN + " To open a copy that you hold, say i_understand_this_dataset_was_withdrawn=True")
    if download:
        raise ValueError("DukeMTMC-reID is withdrawn and never downloaded: leave download out, or use `reid`")
    print(WITHDRAWN, file=sys.stderr)
    folder, splits = root / "DukeMTMC-reID", {}
    for split in ("bounding_box_train", "query", "bounding_box_test"):
        if not (folder / split).is_dir():
            raise FileNotFoundError(
                f"no {split} in {folder}: the set has bounding_box_train, query and bounding_box_test there"
            )
        names = sorted(p.name for p in (folder / split).iterdir() if p.suffix.lower() == ".jpg")
        found = [re.match(r"(\d+)_c(\d)", name) for name in names]
        if not names or None in found:
            what = names[found.index(None)] if names else "nothing"
            raise ValueError(f"{folder / split} has {what}, expected are files such as 0001_c2_f0046182.jpg")
        splits[split] = names, [int(m[1]) for m in found], torch.tensor([int(m[2]) - 1 for m in found])
    frame = framing(size, crop, width=size // 2)
    (names, persons, camera), *sought = splits.values()
    known = sorted(set(persons))
    others = {person: k for k, person in enumerate(sorted({p for _, every, _ in sought for p in every}))}
    query, gallery = (
        on_disk(folder / split, n, torch.tensor([others[p] for p in every]), frame)._replace(camera=c)
        for split, (n, every, c) in zip(("query", "bounding_box_test"), sought, strict=True)
    )
    learned = on_disk(folder / "bounding_box_train", names, torch.tensor([known.index(p) for p in persons]), frame)
    return _learn_and_find("dukemtmc", [f"person {p}" for p in known], learned, root, seed, query=query, gallery=gallery)


def _learn_and_find(name: str, classes: Sequence[str], learned: Images, root: Path, seed: int, **more: Any) -> Data:
    """One image of every class held out as `test`, the others to train on."""
    few = torch.bincount(learned.y, minlength=len(classes)) < 2
    if few.any():
        raise ValueError(
            f"{classes[int(few.nonzero()[0])]} of {name} has fewer than two images: one to learn from, one held out"
        )
    out, kept = parted(learned.y, len(classes), np.random.Generator(np.random.PCG64([seed, 3])))
    return streamed(name, classes, take(learned, kept), take(learned, out), cache_of(root), **more)


def present(images: Path, names: Sequence[str], path: Path) -> None:
    """FileNotFoundError for the first image of a list that is not there."""
    for name in names:
        if not (images / name).is_file():
            raise FileNotFoundError(f"{path} names {name}, which is missing in {images}: unpack the archive there again")


def missing(name: str, folder: Path, file: str, archive: Archive, where: Path) -> FileNotFoundError:
    """The error for a set that is not there but could be fetched."""
    return FileNotFoundError(
        f"{name} is expected in {folder}, where {file} is missing: get it with `sdkit train --data {name} --download`, or "
        f"unpack {archive.name} (md5 {archive.md5}) in {where} by hand"
    )
