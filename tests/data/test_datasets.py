"""The published data sets, on tiny copies in their makers' layouts: one contract for all, then each one's traps."""

from __future__ import annotations

import csv
import gc
import hashlib
import http.server
import inspect
import io
import os
import pickle
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sdkit.data import ABOUT, DATASETS, Data, Streamed, as_data, digest, fetch, files, published, reader, small
from sdkit.data.fetch import Archive
from sdkit.data.files import Files, Framing, Unreadable, view

SIDE = 24  # of the streamed images here


def photo(path: Path, seed: int, size: tuple[int, int] = (60, 45), mode: str = "RGB") -> None:
    """A smooth random image, so that JPEG and resizing keep what it shows."""
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = Image.fromarray(rng.integers(0, 256, (3, 4, 3), dtype=np.uint8))
    coarse.resize(size, Image.Resampling.BICUBIC).convert(mode).save(path, quality=95)


def tree(root: Path, classes: dict[str, int], start: int = 0) -> None:
    """root/<class>/image_0001.jpg, so many of each class; the second of each is grey."""
    for k, (name, n) in enumerate(classes.items()):
        for i in range(n):
            photo(root / name / f"image_{i + 1:04d}.jpg", start + 100 * k + i, mode="L" if i == 1 else "RGB")


def make_imagenet(root: Path) -> None:
    for split, n in (("train", 6), ("val", 3)):
        tree(root / "imagenet" / split, {"n01440764": n, "n01443537": n, "n01484850": n}, start=n)


def make_caltech101(root: Path) -> None:
    tree(root / "caltech101" / "101_ObjectCategories", {"BACKGROUND_Google": 5, "Faces": 10, "ant": 5, "yin_yang": 15})


def make_stanford_dogs(root: Path) -> None:
    from scipy.io import savemat

    folder, breeds = root / "stanford_dogs", ("n02085620-Chihuahua", "n02086079-Pekinese", "n02113978-Mexican_hairless")
    for part, n, start in (("train", 5, 0), ("test", 3, 50)):
        names, labels = [], []
        for k, breed in enumerate(breeds):
            for i in range(n):
                names.append(f"{breed}/{breed[:9]}_{start + i}.jpg")
                labels.append(k + 1)
                photo(folder / "Images" / names[-1], start + 100 * k + i)
        cells = np.empty((len(names), 1), object)
        cells[:, 0] = names
        savemat(folder / f"{part}_list.mat", {"file_list": cells, "labels": np.array(labels)[:, None]})


def make_cub(root: Path) -> None:
    folder, species = root / "CUB_200_2011", ("001.Albatross", "002.Auklet", "003.Blackbird", "004.Bunting")
    rows: dict[str, list[str]] = {"images": [], "image_class_labels": [], "train_test_split": []}
    for k, name in enumerate(species):
        for i in range(6):
            photo(folder / "images" / name / f"{name[4:]}_{i}.jpg", 100 * k + i)
            at = len(rows["images"]) + 1
            rows["images"].append(f"{at} {name}/{name[4:]}_{i}.jpg")
            rows["image_class_labels"].append(f"{at} {k + 1}")
            rows["train_test_split"].append(f"{at} {int(i % 2 == 0)}")
    rows["classes"] = [f"{k + 1} {name}" for k, name in enumerate(species)]
    for name, lines in rows.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")


def make_dukemtmc(root: Path) -> None:
    folder = root / "DukeMTMC-reID"
    for split, persons, n in (("bounding_box_train", (1, 5, 9), 5), ("query", (2, 7), 1), ("bounding_box_test", (2, 7), 3)):
        for p in persons:
            for i in range(n):
                photo(folder / split / f"{p:04d}_c{i + 1}_f{i:07d}.jpg", 10 * p + i, size=(30, 70))


def make_tiny_imagenet(root: Path) -> None:
    folder, wnids = root / "tiny-imagenet-200", ("n02124075", "n01443537", "n03042490")
    for k, wnid in enumerate(wnids):
        for i in range(6):
            photo(folder / "train" / wnid / "images" / f"{wnid}_{i}.JPEG", 100 * k + i, (64, 64), "L" if i == 1 else "RGB")
        (folder / "train" / wnid / f"{wnid}_boxes.txt").write_text("")
    lines = []
    for i in range(9):
        photo(folder / "val" / "images" / f"val_{i}.JPEG", 1000 + i, (64, 64))
        photo(folder / "test" / "images" / f"test_{i}.JPEG", 2000 + i, (64, 64))
        lines.append(f"val_{i}.JPEG\t{wnids[i % 3]}\t0\t0\t10\t10")
    (folder / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    (folder / "wnids.txt").write_text("\n".join(wnids) + "\n")
    (folder / "words.txt").write_text("n02124075\tEgyptian cat\nn01443537\tcrane, bird\nn03042490\tcrane\nn00000000\tthing\n")


def make_fer2013(root: Path, name: str = "fer2013.csv", space: str = "") -> None:
    (root / "fer2013").mkdir(parents=True)
    rng = np.random.default_rng(0)
    with (root / "fer2013" / name).open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(
            ["emotion", f"{space}pixels", f"{space}Usage"] if not space else ["emotion", f"{space}Usage", f"{space}pixels"]
        )
        for usage, n in (("Training", 4), ("PublicTest", 2), ("PrivateTest", 1)):
            for _ in range(n):
                for k in range(7):
                    pixels = " ".join(map(str, rng.integers(0, 256, 48 * 48)))
                    out.writerow([k, pixels, usage] if not space else [k, usage, pixels])


def make_rafdb(root: Path) -> None:
    lines = []
    for part, n in (("train", 4), ("test", 2)):
        for i in range(7 * n):
            photo(root / "rafdb" / "basic" / "Image" / "aligned" / f"{part}_{i:05d}_aligned.jpg", 100 * n + i, (100, 100))
            lines.append(f"{part}_{i:05d}.jpg {i % 7 + 1}")
    (root / "rafdb" / "basic" / "EmoLabel").mkdir()
    (root / "rafdb" / "basic" / "EmoLabel" / "list_patition_label.txt").write_text("\n".join(lines) + "\n")


def make_image_folder(root: Path) -> None:
    tree(root / "pets" / "train", {"cat": 7, "dog": 5})
    tree(root / "pets" / "val", {"cat": 2, "dog": 3}, start=50)
    for i in range(3):
        photo(root / "pets" / "test" / f"{i}.jpg", i)  # nobody says what these show


AWARE = {"i_understand_this_dataset_was_withdrawn": True}
SETS: dict[str, tuple[Callable[[Path], None], dict, int, int, int]] = {  # maker, options, classes, train and test images
    "imagenet": (make_imagenet, {"size": SIDE}, 3, 18, 9),
    "caltech101": (make_caltech101, {"size": SIDE}, 3, 24, 6),
    "stanford_dogs": (make_stanford_dogs, {"size": SIDE}, 3, 15, 9),
    "cub200": (make_cub, {"size": SIDE}, 4, 12, 12),
    "cub200_retrieval": (make_cub, {"size": SIDE}, 2, 10, 2),
    "dukemtmc": (make_dukemtmc, {"size": SIDE, **AWARE}, 3, 12, 3),
    "image_folder": (make_image_folder, {"size": SIDE, "folder": "pets"}, 2, 12, 5),
    "tiny_imagenet": (make_tiny_imagenet, {}, 3, 18, 9),
    "fer2013": (make_fer2013, {}, 7, 28, 7),
    "rafdb": (make_rafdb, {}, 7, 28, 14),
}
STREAMED = [name for name in SETS if "size" in SETS[name][1]]


@pytest.fixture(scope="session")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {}
    for name, (make, *_) in SETS.items():
        made[name] = tmp_path_factory.mktemp(name)
        make(made[name])
    return made


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are decoded in this process unless a test says otherwise."""
    monkeypatch.setenv("SDKIT_WORKERS", "0")


@pytest.fixture
def load(roots: dict[str, Path]) -> Callable[..., Data]:
    return lambda name, **options: DATASETS[name](root=roots[name], **SETS[name][1] | options)


def same(a: list, b: list) -> bool:
    return len(a) == len(b) and all(
        s is t or torch.equal(s, t) for p, q in zip(a, b, strict=True) for s, t in zip(p, q, strict=True) if s is not None
    )


# -- every set -----------------------------------------------------------------------------------------------------------------


def test_every_set_has_a_line_and_the_usual_options():
    assert ABOUT.keys() == DATASETS.keys() and SETS.keys() < DATASETS.keys()
    usual = {"root", "validation", "train_size", "download", "seed", "distort", "cutout", "mixup", "norm"}
    for name in DATASETS:
        assert usual <= inspect.signature(DATASETS[name]).parameters.keys(), name


@pytest.mark.parametrize("name", [*SETS, "faces"])
def test_a_set_keeps_the_contract(name, load, tmp_path):
    data = load(name) if name in SETS else DATASETS[name](root=tmp_path)
    k, n, m = SETS[name][2:] if name in SETS else (7, 1400, 700)
    assert data.num_classes == k == len(set(data.classes)) and (len(data.train.y), len(data.test.y)) == (n, m)
    for images in (data.train, data.test):
        assert images.y.dtype == torch.int64 and sorted(images.y.unique().tolist()) == list(range(k))
        x = images.x[:3]
        assert len(images.x) == len(images.y) and x.dtype == torch.uint8 and x.shape[1:] == images.x.shape[1:]
        assert torch.equal(images.x[1], x[1]) and torch.equal(images.x[torch.tensor([1, 0])], x[[1, 0]])
    every = data.normalised(data.train.x[:])
    if name not in ("imagenet", "cub200_retrieval", "dukemtmc"):  # theirs are ImageNet's, or of more images than train's
        assert every.mean((0, 2, 3)).abs().max() < 0.02 and (every.std((0, 2, 3)) - 1).abs().max() < 0.02
    got = list(data.evaluation("test", batch_size=4))
    assert torch.equal(torch.cat([b.index for b in got]), torch.arange(m))
    assert torch.equal(torch.cat([b.y for b in got]), data.test.y)
    assert torch.allclose(torch.cat([b.x for b in got]), data.normalised(data.test.x[:]), atol=1e-5)
    for pair in (None, "same image", "same class"):
        loader = data.batches(5, pair=pair, seed=1)
        got = list(loader)
        assert [len(b.y) for b in got][:-1] == [5] * (len(loader) - 1) and len(got[-1].y) > 1
        index = torch.cat([b.index for b in got])
        assert sorted(index.tolist()) == list(range(n)) and torch.equal(torch.cat([b.y for b in got]), data.train.y[index])
        assert all((b.pair is None) == (pair is None) for b in got)
        assert all(b.x.is_contiguous(memory_format=torch.channels_last) and b.x.dtype == torch.float32 for b in got)


@pytest.mark.parametrize("name", SETS)
def test_splits_are_disjoint_seeded_and_cover_the_pool(name, load):
    whole, k = load(name), SETS[name][2]
    a, b = (load(name, validation=k, train_size=k + 1, seed=3) for _ in range(2))
    assert (len(a.train.y), len(a.val.y)) == (k + 1, k) and torch.equal(a.train.x[:], b.train.x[:])
    rows = [{x.numpy().tobytes() for x in images.x[:]} for images in (a.train, a.val, a.test)]
    assert not (rows[0] & rows[1] or rows[0] & rows[2] or rows[1] & rows[2])
    if name not in ("caltech101", "cub200_retrieval", "dukemtmc"):  # what is held out of these is drawn from the seed
        assert rows[0] | rows[1] <= {x.numpy().tobytes() for x in whole.train.x[:]}
    assert a.mean == b.mean and len(list(a.evaluation("val"))) == 1


@pytest.mark.parametrize("name", SETS)
def test_a_missing_set_says_in_one_sentence_what_belongs_where(name, tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        DATASETS[name](root=tmp_path, **SETS[name][1])
    said = str(error.value)
    assert (
        str(tmp_path) in said and "\n" not in said and ("put" in said or "unpack" in said or "expect" in said or "has" in said)
    )
    by_hand = name in ("imagenet", "fer2013", "rafdb", "dukemtmc", "image_folder")
    assert by_hand != ("--download" in said and "md5" in said)


@pytest.mark.parametrize("name", [*STREAMED, "rafdb", "tiny_imagenet"])
def test_a_corrupt_image_is_named_in_one_sentence(name, tmp_path, monkeypatch):
    SETS[name][0](tmp_path)
    images = sorted(p for p in tmp_path.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
    for path in images:
        if "/test" not in str(path.relative_to(tmp_path)) or name not in ("tiny_imagenet", "image_folder"):
            path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError) as error:
        data = DATASETS[name](root=tmp_path, **SETS[name][1])
        monkeypatch.setenv("SDKIT_WORKERS", "1")
        list(data.batches(5))
    said = str(error.value)
    assert any(str(p) in said for p in images) and "replace it" in said and "\n" not in said and "Traceback" not in said


# -- streaming -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", [None, "same image", "same class"])
def test_the_number_of_workers_changes_no_batch(pair, load, monkeypatch):
    epochs = []
    for workers in ("0", "2"):
        monkeypatch.setenv("SDKIT_WORKERS", workers)
        loader = load("image_folder", distort=["colour"], cutout=6, mixup=0.4).batches(4, pair=pair, seed=5)
        epochs.append([[b.x, b.y, b.index, b.pair, *b.mix] for _ in range(2) for b in loader])
        assert not same(epochs[-1][:3], epochs[-1][3:]), "an epoch is as the one before"
    assert same(*epochs)


@pytest.mark.parametrize("pair", [None, "same class"])
def test_a_stream_goes_on_where_its_state_was_taken(pair, load):
    data = load("imagenet", mixup=0.2)
    straight = data.batches(5, pair=pair, seed=7)
    list(straight)
    state = {k: v.clone() for k, v in straight.state_dict().items()}
    other = data.batches(5, pair=pair, seed=8)
    other.load_state_dict(state)
    assert same([b[:4] for b in (*straight, *straight)], [b[:4] for b in (*other, *other)])


@pytest.mark.parametrize("workers", ["0", "1"])
def test_an_epoch_that_is_left_early_spoils_no_later_one(workers, load, monkeypatch):
    monkeypatch.setenv("SDKIT_WORKERS", workers)
    data = load("imagenet")
    loader, other = (data.batches(5, seed=7) for _ in range(2))
    list(loader)
    epoch = iter(loader)
    next(epoch)
    del epoch
    other.load_state_dict(loader.state_dict())
    assert same([b[:3] for b in loader], [b[:3] for b in other])


def test_lists_and_statistics_are_made_once_and_made_again_where_their_files_are_damaged(tmp_path, monkeypatch):
    make_image_folder(tmp_path)

    def load(**options) -> Data:
        return DATASETS["image_folder"](root=tmp_path, size=SIDE, folder="pets", **options)

    first, kept = load(), sorted((tmp_path / "cache").iterdir())
    assert [p.name.split("-")[0] for p in kept] == ["list", "list", "statistics"]
    with monkeypatch.context() as patched:
        patched.setattr(files.os, "listdir", lambda *a: pytest.fail("listed again"))
        patched.setattr(files, "views", lambda *a, **k: pytest.fail("measured again"))
        again = load(validation=2)
    assert again.mean == first.mean and len(again.train.y) == 10
    for path in kept:
        path.write_bytes(path.read_bytes()[:40])
    mended = load()
    assert mended.mean == first.mean and torch.equal(mended.train.y, first.train.y)


def test_streaming_leaves_the_global_generators_alone(load):
    torch.manual_seed(5)
    np.random.seed(5)
    before, numpy_before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    data = load("cub200", validation=4)
    list(data.batches(4, pair="same class")), list(data.evaluation())
    assert torch.equal(before, torch.random.get_rng_state()) and (numpy_before == np.random.get_state()[1]).all()


def test_two_views_of_an_image_differ_and_a_partner_is_of_its_class(load):
    data = load("caltech101")
    for batch in data.batches(8, pair="same image", seed=2):
        assert (batch.x != batch.pair).flatten(1).any(1).all()
    loader = data.batches(8, pair="same class", seed=2)
    places = torch.arange(len(data.train.y))
    partner = loader.partners(places, loader.host)
    assert torch.equal(data.train.y[partner], data.train.y) and (partner != places).all()


def test_a_batch_of_classes_streams_too(load):
    for batch in load("dukemtmc").batches(6, samples_per_class=3):
        assert torch.equal(batch.y.view(2, 3), batch.y.view(2, 3)[:, :1].expand(2, 3)) and len(batch.y.unique()) == 2


def test_memory_stays_flat_over_epochs(tmp_path):
    tree(tmp_path / "many" / "train", {"a": 150, "b": 150})
    tree(tmp_path / "many" / "test", {"a": 2, "b": 2})
    data = DATASETS["image_folder"](root=tmp_path, folder="many", size=64)
    loader, page = data.batches(32), os.sysconf("SC_PAGE_SIZE")

    def resident() -> int:
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * page

    if not Path("/proc/self/statm").exists():
        pytest.skip("no /proc on this system")
    list(zip(loader, range(10**6), strict=False))
    after = []
    for _ in range(4):
        for _batch in loader:
            pass
        after.append(resident())
    decoded = 300 * 64 * 64 * 3
    assert after[-1] - after[0] < decoded / 2, "less than half of what keeping one epoch's images would take"


def test_training_and_resuming_a_streamed_set_are_the_run(load, monkeypatch, tmp_path):
    from sdkit.methods import METHODS
    from sdkit.models import MODELS
    from sdkit.train import Recipe, Training

    data = load("imagenet", size=32, validation=3)
    assert isinstance(data, Streamed)

    def start() -> Training:
        torch.manual_seed(0)
        return Training(MODELS["four-stage"](num_classes=3, width=4), METHODS["vanilla"](), data, Recipe(2, 5, 0.05), seed=1)

    straight = start()
    walked = [e for e in straight.iterate() if hasattr(e, "accuracy")]
    assert len(walked) == 2 and walked[-1].validation
    first, second = start(), start()
    for event in first.iterate():
        if hasattr(event, "accuracy"):
            break
    state = first.state_dict()
    second.load_state_dict(state)
    list(second.iterate())
    assert all(
        torch.equal(a, b) for a, b in zip(straight.model.state_dict().values(), second.model.state_dict().values(), strict=True)
    )


# -- crops ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(60, 45), (45, 60), (500, 375), (1, 1), (300, 2)])
@pytest.mark.parametrize("crop", files.CROPS)
def test_any_image_can_be_cropped(size, crop, tmp_path):
    photo(tmp_path / "a.jpg", 1, size)
    frame = Framing(32, 24, 37, crop)
    assert view(tmp_path / "a.jpg", frame).shape == (32, 24, 3)
    crops = {view(tmp_path / "a.jpg", frame, seed).tobytes() for seed in range(8)}
    assert view(tmp_path / "a.jpg", frame, 3).tobytes() in crops, "the same seed is the same crop"
    assert len(crops) > 1 or size == (1, 1) or (size, crop) == ((300, 2), "resized"), "no part of 3:4 to 4:3: the centre"


@pytest.mark.parametrize(
    ("crop", "size"), [("resized", (61, 45)), ("window", (45, 83)), ("squashed", (70, 45)), ("padded", (50, 90))]
)
def test_evaluation_sees_what_torchvisions_transforms_give(crop, size, tmp_path):
    transforms = pytest.importorskip("torchvision").transforms
    photo(tmp_path / "a.png", 3, size)
    resize = {"padded": (32, 24), "squashed": (37, 37)}.get(crop, 37)
    expected = Image.open(tmp_path / "a.png").convert("RGB")
    for step in (transforms.Resize(resize), transforms.CenterCrop((32, 24))):
        expected = step(expected)
    got = view(tmp_path / "a.png", Framing(32, 24, 37, crop))
    assert np.abs(got.astype(int) - np.asarray(expected).astype(int)).max() <= 1


def test_a_window_is_a_window_of_the_resized_image(tmp_path):
    photo(tmp_path / "a.png", 3, (80, 64))
    whole = np.asarray(Image.open(tmp_path / "a.png").resize((40, 32), Image.Resampling.BILINEAR)).astype(int)
    for seed in range(6):
        got = view(tmp_path / "a.png", Framing(24, 24, 32, "window"), seed).astype(int)
        off = [np.abs(whole[t : t + 24, left : left + 24] - got).max() for t in range(9) for left in range(17)]
        assert min(off) <= 1


def test_a_padded_crop_is_a_window_with_a_black_border(tmp_path):
    photo(tmp_path / "a.png", 3, (24, 24))
    whole = np.pad(np.asarray(Image.open(tmp_path / "a.png")), ((10, 10), (10, 10), (0, 0)))
    for seed in range(6):
        got = view(tmp_path / "a.png", Framing(24, 24, 24, "padded"), seed)
        assert any((whole[t : t + 24, left : left + 24] == got).all() for t in range(21) for left in range(21))


def test_half_of_the_crops_are_mirrored_and_nothing_else_of_them_changes(tmp_path):
    photo(tmp_path / "a.png", 3, (40, 40))
    turned = 0
    for seed in range(200):
        as_it_is, got = (view(tmp_path / "a.png", Framing(24, 24, 32, "window"), seed, mirror=m) for m in (False, True))
        turned += (got == as_it_is[:, ::-1]).all()
        assert (got == as_it_is).all() or (got == as_it_is[:, ::-1]).all()
    assert 70 < turned < 130


def test_a_resized_crop_has_the_areas_and_shapes_of_its_definition():
    rng = np.random.default_rng(0)
    boxes = np.array([files._part(400, 300, rng) for _ in range(2000)])
    w, h = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert boxes.min() >= 0 and boxes[:, 2].max() <= 400 and boxes[:, 3].max() <= 300
    assert 0.078 < (w * h / 120_000).min() < 0.12 and (w * h / 120_000).max() > 0.9
    assert 0.74 < (w / h).min() < 0.8 and 1.25 < (w / h).max() < 1.35


def test_a_large_jpeg_decoded_coarsely_looks_the_same(tmp_path):
    photo(tmp_path / "a.jpg", 5, (2000, 1500))
    Image.open(tmp_path / "a.jpg").save(tmp_path / "a.png")
    frame = Framing(64, 64, 73, "window")
    for seed in range(3):
        jpeg, png = (view(tmp_path / f"a.{kind}", frame, seed).astype(int) for kind in ("jpg", "png"))
        assert np.abs(jpeg - png).mean() < 1.5


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1", "LA"])
def test_every_kind_of_picture_becomes_red_green_and_blue(mode, tmp_path):
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    photo(tmp_path / "b.png", 2)
    Image.open(tmp_path / "b.png").convert(mode).save(path)
    x = view(path, Framing(16, 16, 18, "window"))
    assert x.shape == (16, 16, 3) and (mode not in ("L", "1", "LA") or (x[..., 0] == x[..., 2]).all())


def test_what_is_no_picture_is_said_so(tmp_path):
    (tmp_path / "a.jpg").write_text("hello")
    (tmp_path / "b.jpg").write_bytes(b"")
    for name in ("a.jpg", "b.jpg", "gone.jpg"):
        with pytest.raises(Unreadable, match=name):
            view(tmp_path / name, Framing(8, 8, 9))


def test_paths_survive_being_packed(tmp_path):
    names = ["a/b.jpg", "ü/ß.jpg", "a b/c'd.jpg"]
    packed = Files(tmp_path, names)
    assert [packed[i] for i in range(len(packed))] == [str(tmp_path / n) for n in names]


# -- traps of single sets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "space"), [("fer2013.csv", ""), ("icml_face_data.csv", " ")])
def test_fer2013_tests_on_the_private_part_alone(name, space, tmp_path):
    make_fer2013(tmp_path, name, space)
    data, public = (DATASETS["fer2013"](root=tmp_path, public=p) for p in (False, True))
    assert (len(data.train.y), len(data.test.y), len(public.test.y)) == (28, 7, 14) and data.classes[3] == "happy"
    assert data.train.x.shape[2:] == (32, 32) and (data.train.x[:, 0] == data.train.x[:, 2]).all()
    assert DATASETS["fer2013"](root=tmp_path, size=48).train.x.shape[2:] == (48, 48)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("emotion,pixels\n0,1 2\n", "no column Usage"),
        ("emotion,pixels,Usage\n0,1 2 3,Training\n", "line 2 of .* is no face"),
        ("emotion,pixels,Usage\n8," + "0 " * 2304 + ",Training\n", "line 2 of .* is no face"),
        ("emotion,pixels,Usage\n1," + "0 " * 2304 + ",Training\n", "no line with the Usage PublicTest"),
    ],
)
def test_another_csv_is_refused(text, word, tmp_path):
    (tmp_path / "fer2013").mkdir()
    (tmp_path / "fer2013" / "fer2013.csv").write_text(text)
    with pytest.raises(ValueError, match=word):
        DATASETS["fer2013"](root=tmp_path)


def test_tiny_imagenet_is_labelled_from_its_list_and_kept(roots, load, monkeypatch):
    data = load("tiny_imagenet")
    assert set(data.classes) == {"Egyptian cat", "crane (n01443537)", "crane (n03042490)"}
    order = sorted(("n02124075", "n01443537", "n03042490"))
    assert data.test.y.tolist() == [order.index(("n02124075", "n01443537", "n03042490")[i % 3]) for i in range(9)]
    image = np.asarray(Image.open(roots["tiny_imagenet"] / "tiny-imagenet-200" / "val" / "images" / "val_4.JPEG"))
    assert (data.test.x[4].numpy() == image.transpose(2, 0, 1)).all()
    monkeypatch.setattr(small, "views", lambda *a: pytest.fail("decoded again"))
    assert torch.equal(load("tiny_imagenet").train.x, data.train.x)
    monkeypatch.undo()
    assert load("tiny_imagenet", size=32).train.x.shape[2:] == (32, 32)


def test_rafdb_is_read_in_both_layouts(roots, load, tmp_path):
    data, aligned = load("rafdb"), roots["rafdb"] / "rafdb" / "basic" / "Image" / "aligned"
    for path in aligned.iterdir():
        part, number, _ = path.stem.split("_")
        there = tmp_path / "rafdb" / part / str(int(number) % 7 + 1) / f"{number}.jpg"
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, there)
    other = DATASETS["rafdb"](root=tmp_path)
    for a, b in ((data.train, other.train), (data.test, other.test)):
        order = a.y.argsort(stable=True)
        assert torch.equal(a.x[order], b.x[:]) and torch.equal(a.y[order], b.y)
    assert data.classes[0] == "surprise" and data.train.y[3] == 3


def imagenet_archives(root: Path, monkeypatch: pytest.MonkeyPatch, train: int = 3, val: int = 2) -> dict[str, tuple[str, ...]]:
    """The three published archives, tiny, their md5s in place of torchvision's. Returns the names of every class."""
    published_by = pytest.importorskip("torchvision.datasets.imagenet")
    from scipy.io import savemat

    names = {"n01440764": ("tench", "Tinca tinca"), "n02012849": ("crane",), "n03126707": ("crane", "derrick")}
    made, folder = root / "made", root / "imagenet"
    folder.mkdir(parents=True)
    images = {}
    for k, wnid in enumerate(names):
        inner = {}
        for i in range(train):
            photo(made / f"{wnid}_{i}.JPEG", 10 * k + i)
            inner[f"{wnid}_{i}.JPEG"] = (made / f"{wnid}_{i}.JPEG").read_bytes()
        images[f"{wnid}.tar"] = packed(made / f"{wnid}.tar", inner).read_bytes()
    packed(folder / "ILSVRC2012_img_train.tar", images)
    truth = [k % 3 + 1 for k in range(3 * val)]  # the ids of the classes, in the order of the validation images
    held = {}
    for i in range(3 * val):
        photo(made / f"ILSVRC2012_val_{i:08d}.JPEG", 100 + i)
        held[f"ILSVRC2012_val_{i:08d}.JPEG"] = (made / f"ILSVRC2012_val_{i:08d}.JPEG").read_bytes()
    packed(folder / "ILSVRC2012_img_val.tar", held)
    kinds = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O"), ("num_children", "O")]
    rows = [(k, wnid, ", ".join(words), "", 0) for k, (wnid, words) in enumerate(names.items(), 1)]
    savemat(made / "meta.mat", {"synsets": np.array([*rows, (4, "n00001740", "entity", "", 3)], dtype=kinds)})
    with tarfile.open(folder / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as file:
        file.add(made / "meta.mat", "ILSVRC2012_devkit_t12/data/meta.mat")
        (made / "truth.txt").write_text("\n".join(map(str, truth)) + "\n")
        file.add(made / "truth.txt", "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt")
    md5s = {
        part: (file, hashlib.md5((folder / file).read_bytes()).hexdigest())
        for part, (file, _) in published_by.ARCHIVE_META.items()
        if (folder / file).is_file()
    }
    assert len(md5s) == 3
    monkeypatch.setattr(published_by, "ARCHIVE_META", md5s)
    return names


def test_imagenet_is_unpacked_from_its_three_archives(tmp_path, monkeypatch):
    names = imagenet_archives(tmp_path, monkeypatch)
    data = DATASETS["imagenet"](root=tmp_path, size=SIDE)
    assert data.classes == (*names,) and torch.bincount(data.train.y).tolist() == [3] * 3
    images = {p.parent.name: [] for p in (tmp_path / "imagenet" / "val").rglob("*.JPEG")}
    for p in (tmp_path / "imagenet" / "val").rglob("*.JPEG"):
        images[p.parent.name].append(int(p.stem[-8:]))
    assert {wnid: sorted(found) for wnid, found in images.items()} == {w: [k, k + 3] for k, w in enumerate(names)}
    for archive in ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"):
        (tmp_path / "imagenet" / archive).unlink()
    assert len(DATASETS["imagenet"](root=tmp_path, size=SIDE).test.y) == 6, "what is unpacked needs no archive"


def test_imagenet_s_archives_are_unpacked_whole_or_not_at_all(tmp_path, monkeypatch):
    published_by = pytest.importorskip("torchvision.datasets.imagenet")
    imagenet_archives(tmp_path, monkeypatch)
    extract, seen = published_by.extract_archive, []

    def interrupted(path, *args, **options):
        seen.append(path)
        if path.endswith("n02012849.tar"):
            raise KeyboardInterrupt
        return extract(path, *args, **options)

    monkeypatch.setattr(published_by, "extract_archive", interrupted)
    with pytest.raises(KeyboardInterrupt):
        DATASETS["imagenet"](root=tmp_path, size=SIDE)
    assert not (tmp_path / "imagenet" / "train").exists(), "a part of the images is never taken for all"
    monkeypatch.setattr(published_by, "extract_archive", extract)
    (tmp_path / "imagenet" / ".unpacking-train" / "n02012849").mkdir(parents=True)  # of a process that was killed
    data = DATASETS["imagenet"](root=tmp_path, size=SIDE)
    assert len(data.train.y) == 9 and not [*(tmp_path / "imagenet").glob(".*")]


@pytest.mark.parametrize("damaged", ["ILSVRC2012_img_train.tar", "ILSVRC2012_devkit_t12.tar.gz"])
def test_imagenet_s_archives_are_checked(damaged, tmp_path, monkeypatch):
    imagenet_archives(tmp_path, monkeypatch)
    with (tmp_path / "imagenet" / damaged).open("ab") as file:
        file.write(b"!")
    with pytest.raises(ValueError, match=f"{damaged} .*is not as published.*fetch it again"):
        DATASETS["imagenet"](root=tmp_path, size=SIDE)
    assert not (tmp_path / "imagenet" / "train").exists()


def test_the_thousand_classes_of_imagenet_have_names_and_a_part_of_them_keeps_its_folders_names(tmp_path):
    pytest.importorskip("torchvision")
    known = {0: "tench", 1: "goldfish", 285: "Egyptian cat", 999: "toilet tissue"}
    wnids = [f"n{10**7 + k:08d}" for k in range(1000)]  # in the order of the folders
    names = published._words_for(wnids)
    assert len(names) == len({*names}) == 1000
    assert {k: names[k] for k in known} == known
    assert published._words_for(wnids[:100]) == wnids[:100]
    assert published.told_apart(["crane", "tench", "crane"], ["a", "b", "c"]) == ["crane (a)", "tench", "crane (c)"]


def test_caltech101_trains_on_four_fifths_of_every_class(load):
    data = load("caltech101")
    sizes = {"Faces": 10, "ant": 5, "yin_yang": 15}
    assert data.classes == (*sizes,)
    assert torch.bincount(data.train.y).tolist() == [4 * n // 5 for n in sizes.values()]
    other = load("caltech101", seed=1)
    assert not torch.equal(data.test.x[:], other.test.x[:]), "the split is the seed's"


def test_caltech101_has_a_background_only_on_demand(load):
    assert load("caltech101", background=True).num_classes == 4 and "BACKGROUND_Google" not in load("caltech101").classes


def test_the_lists_of_stanford_dogs_decide(load, roots, tmp_path):
    data = load("stanford_dogs")
    assert data.classes == ("Chihuahua", "Pekinese", "Mexican_hairless") and data.test.y.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    shutil.copytree(roots["stanford_dogs"], tmp_path, dirs_exist_ok=True)
    next((tmp_path / "stanford_dogs" / "Images" / "n02086079-Pekinese").iterdir()).unlink()
    with pytest.raises(FileNotFoundError, match="Pekinese"):
        DATASETS["stanford_dogs"](root=tmp_path)
    (tmp_path / "stanford_dogs" / "train_list.mat").write_bytes(b"no list")
    with pytest.raises(ValueError, match="train_list.mat is no list"):
        DATASETS["stanford_dogs"](root=tmp_path)


def test_cub_has_two_protocols(load):
    data, retrieval = load("cub200"), load("cub200_retrieval")
    assert data.classes == ("Albatross", "Auklet", "Blackbird", "Bunting")
    for images, flags in ((data.train, 0), (data.test, 1)):  # images 1, 3 and 5 of every species are the official training set
        named = [Path(images.x.files[i]).stem.split("_") for i in images.x.places.tolist()]
        assert [int(number) % 2 for _, number in named] == [flags] * 12
        assert [name for name, _ in named] == [data.classes[k] for k in images.y.tolist()]
    assert retrieval.classes == ("Albatross", "Auklet")
    query, gallery = retrieval.retrieval()
    assert gallery is None and query.y.tolist() == [0] * 6 + [1] * 6
    learned = {x.numpy().tobytes() for images in (retrieval.train, retrieval.test) for x in images.x[:]}
    assert len(learned) == 12 and not learned & {x.numpy().tobytes() for x in query.x[:]}


def test_the_withdrawn_set_asks_for_your_word(roots, capsys):
    with pytest.raises(
        ValueError, match="withdrawn by Duke University in April 2019.*i_understand_this_dataset_was_withdrawn=True"
    ):
        DATASETS["dukemtmc"](root=roots["dukemtmc"])
    data = DATASETS["dukemtmc"](root=roots["dukemtmc"], size=64, **AWARE)
    assert "withdrawn" in capsys.readouterr().err and data.train.x.shape[2:] == (64, 32)
    query, gallery = data.retrieval()
    assert (
        query.camera.tolist() == [0, 0] and gallery.camera.tolist() == [0, 1, 2] * 2 and gallery.y.tolist() == [0] * 3 + [1] * 3
    )
    with pytest.raises(ValueError, match="never downloaded"):
        DATASETS["dukemtmc"](root=roots["dukemtmc"], download=True, **AWARE)
    text = Path(published.__file__).read_text().lower()
    assert not [line for line in text.splitlines() if "duke" in line and "http" in line]


def test_a_folder_takes_val_as_test_where_test_has_no_labels(load, roots, tmp_path):
    assert len(load("image_folder").test.y) == 5 and len(load("image_folder").val.y) == 0
    shutil.copytree(roots["image_folder"], tmp_path, dirs_exist_ok=True)
    tree(tmp_path / "pets" / "test", {"cat": 1, "dog": 1})
    data = DATASETS["image_folder"](root=tmp_path, folder="pets", size=SIDE)
    assert (len(data.test.y), len(data.val.y)) == (2, 5)
    photo(tmp_path / "pets" / "train" / "cat" / "new.jpg", 77)
    assert len(DATASETS["image_folder"](root=tmp_path, folder="pets", size=SIDE).train.y) == 13, "a kept list is not stale"


def test_folders_that_cannot_be_a_set_are_told_why(tmp_path):
    def load() -> Data:
        return DATASETS["image_folder"](root=tmp_path, folder="pets", size=SIDE)

    with pytest.raises(ValueError, match="image_folder takes the folder"):
        DATASETS["image_folder"](root=tmp_path)
    tree(tmp_path / "pets" / "train", {"cat": 3})
    with pytest.raises(FileNotFoundError, match="test .or val. has no class folder"):
        load()
    tree(tmp_path / "pets" / "test", {"cat": 2})
    with pytest.raises(ValueError, match="has one class, cat"):
        load()
    (tmp_path / "pets" / "train" / "dog").mkdir()
    with pytest.raises(ValueError, match="dog has no image"):
        load()
    photo(tmp_path / "pets" / "train" / "dog" / "a.jpg", 0)
    tree(tmp_path / "pets" / "test", {"eel": 2})
    with pytest.raises(ValueError, match="has the class eel"):
        load()


def test_a_path_is_a_folder_of_images_and_its_digest_is_that_of_its_files(tmp_path):
    tree(tmp_path / "pets" / "train", {"cat": 4, "dog": 4})
    tree(tmp_path / "pets" / "test", {"cat": 1, "dog": 2}, start=50)
    said = {"root": tmp_path, "size": SIDE, "validation": 2, "mixup": 0.2}
    data, named = as_data(tmp_path / "pets", **said), DATASETS["image_folder"](folder="pets", **said)
    assert isinstance(data, Streamed) and data.classes == ("cat", "dog") and (len(data.train.y), len(data.val.y)) == (6, 2)
    assert same([b[:3] for b in data.batches(3, seed=1)], [b[:3] for b in named.batches(3, seed=1)])
    known, before = inspect.signature(reader(str(tmp_path / "pets"))).parameters, digest(data)
    assert {"size", "crop", "train_size"} <= {*known}

    shutil.copytree(tmp_path / "pets", tmp_path / "moved" / "cats")
    assert digest(named) == before == digest(as_data(tmp_path / "moved" / "cats", **said)), "the files are the same elsewhere"
    assert digest(as_data(tmp_path / "pets", **said | {"size": SIDE + 8})) != before
    path = tmp_path / "pets" / "test" / "cat" / "image_0001.jpg"
    content, about = path.read_bytes(), path.stat()
    path.write_bytes(content + b" ")
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert digest(as_data(tmp_path / "pets", **said)) != before, "another size is another file"
    path.write_bytes(content)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns + 10**9))
    assert digest(as_data(tmp_path / "pets", **said)) == before, "another time is no other file"
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert digest(as_data(tmp_path / "pets", **said)) != before, "another content is, whatever its size and time"


def test_a_torchvision_folder_is_read_through_its_transform(tmp_path):
    torchvision = pytest.importorskip("torchvision")
    transforms = torchvision.transforms
    for split, n in (("train", 4), ("test", 2)):
        tree(tmp_path / split, {"cat": n, "dog": n})
    steps = [transforms.Resize((16, 16)), transforms.ToTensor()]
    train, test = (torchvision.datasets.ImageFolder(tmp_path / split, transforms.Compose(steps)) for split in ("train", "test"))
    data = as_data((train, test), train_size=6)
    assert data.classes == ("cat", "dog") and len(data.train.y) == 6 and data.pad == 2
    assert torch.equal(data.test.x[3] / 255, test[3][0])


def test_a_part_of_a_streamed_split_is_tested_on(load):
    data = load("imagenet")
    places = data.watched("test", 4)
    (batch,) = data.evaluation("test", part=places)
    assert torch.equal(batch.index, places) and torch.equal(batch.y, data.test.y[places])
    assert torch.allclose(batch.x, data.normalised(data.test.x[places]), atol=1e-5)


@pytest.mark.parametrize("options", [{"crop": "middle"}, {"size": 4}, {"size": "224"}])
def test_wrong_options_are_told_what_there_is(options, load):
    with pytest.raises(ValueError, match="crop is .*'middle'|8 to 1024|size is a whole number, got '224'"):
        load("image_folder", **options)


# -- faces ---------------------------------------------------------------------------------------------------------------------


def test_a_seed_draws_the_same_faces_on_every_machine():
    from sdkit.data.faces import draw_heads, render

    x, mask = render(draw_heads(np.arange(7), np.random.Generator(np.random.PCG64(0))))
    drawn = hashlib.sha256(x.tobytes() + mask.tobytes()).hexdigest()[:16]
    assert drawn == "f5734d8efe0e11db", "where a pixel was changed on purpose: raise faces.VERSION, note the new digest"


def test_only_the_parts_of_a_face_know_its_expression():
    from sdkit.data.faces import draw_heads

    a, b = (draw_heads(np.full(5, k), np.random.default_rng(0)) for k in (0, 3))
    differ = [name for name in a._fields if not np.array_equal(getattr(a, name), getattr(b, name))]
    assert differ == ["parts"]


# -- archives ------------------------------------------------------------------------------------------------------------------


class _Half(http.server.BaseHTTPRequestHandler):
    """Serves one file, half of it the first time, and the rest where a range is asked for."""

    content, config = b"", []

    def do_GET(self) -> None:
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        type(self).config.append(start)
        rest = self.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest if start else rest[: len(rest) // 2])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Half)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/a.zip"
    server.shutdown()
    server.server_close()


def test_an_interrupted_download_goes_on_where_it_stopped(served, tmp_path):
    _Half.content, _Half.config = np.random.default_rng(0).bytes(300_000), []
    archive = Archive("a.zip", served, hashlib.md5(_Half.content).hexdigest())
    with pytest.raises(ConnectionError, match="goes on where it stopped"):
        fetch.fetch(archive, tmp_path)
    assert not (tmp_path / "a.zip").exists(), "half a file is never taken for a whole one"
    assert fetch.fetch(archive, tmp_path).read_bytes() == _Half.content and _Half.config == [0, 150_000]
    fetch.fetch(archive, tmp_path)
    assert len(_Half.config) == 2, "a whole file is not fetched again"


@pytest.mark.parametrize("there", [b"", b"an old half", "all"])
def test_a_server_that_does_not_resume_sends_all_again_and_a_whole_part_is_taken(there, tmp_path, monkeypatch):
    content = np.random.default_rng(1).bytes(5000)

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            beyond = self.headers.get("Range") == f"bytes={len(content)}-"
            self.send_response(416 if beyond else 200)
            self.send_header("Content-Length", "0" if beyond else str(len(content)))
            self.end_headers()
            self.wfile.write(b"" if beyond else content)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        if there:
            (tmp_path / "a.zip.part").write_bytes(content if there == "all" else there)
        archive = Archive("a.zip", f"http://127.0.0.1:{server.server_port}/a.zip", hashlib.md5(content).hexdigest())
        assert fetch.fetch(archive, tmp_path).read_bytes() == content
        assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]
    finally:
        server.shutdown()
        server.server_close()


def test_an_interrupted_download_of_cifar_goes_on_too(served, tmp_path, monkeypatch):
    torchvision = pytest.importorskip("torchvision")
    kind = torchvision.datasets.CIFAR10
    rng, files_there = np.random.default_rng(0), {}
    for file, _ in (*kind.train_list, *kind.test_list):
        content = {"data": rng.integers(0, 256, (20, 3072), dtype=np.uint8), "labels": [i % 10 for i in range(20)]}
        files_there[file] = pickle.dumps(content)
    files_there[kind.meta["filename"]] = pickle.dumps({kind.meta["key"]: [f"class {i}" for i in range(10)]})
    md5 = {file: hashlib.md5(content).hexdigest() for file, content in files_there.items()}
    for name in ("train_list", "test_list"):
        monkeypatch.setattr(kind, name, [(file, md5[file]) for file, _ in getattr(kind, name)])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": md5[kind.meta["filename"]]})
    tar = packed(tmp_path / "made.tar", {f"{kind.base_folder}/{file}": content for file, content in files_there.items()})
    _Half.content, _Half.config = tar.read_bytes(), []
    monkeypatch.setattr(kind, "url", served)
    monkeypatch.setattr(kind, "tgz_md5", hashlib.md5(_Half.content).hexdigest())

    root, half = tmp_path / "root", len(_Half.content) // 2
    with pytest.raises(ConnectionError, match="goes on where it stopped"):
        DATASETS["cifar10"](root=root, download=True)
    assert len(DATASETS["cifar10"](root=root, download=True).train.y) == 100 and _Half.config == [0, half]
    (root / kind.base_folder / "test_batch").unlink()
    assert len(DATASETS["cifar10"](root=root, download=True).test.y) == 20 and len(_Half.config) == 2, "the archive is there"
    assert sorted(p.name for p in root.iterdir()) == [kind.base_folder, kind.filename]
    DATASETS["cifar10"](root=root, download=True)
    assert len(_Half.config) == 2


def test_a_file_with_another_md5_is_refused(served, tmp_path):
    (tmp_path / "a.zip").write_bytes(b"something else")
    with pytest.raises(ValueError, match=f"should be {'0' * 32} and is .* delete it"):
        fetch.fetch(Archive("a.zip", served, "0" * 32), tmp_path)


def packed(path: Path, entries: dict[str, bytes], link: str = "") -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as file:
            for name, content in entries.items():
                file.writestr(name, content)
            if link:
                info = zipfile.ZipInfo(link)
                info.external_attr = 0o120777 << 16
                file.writestr(info, "/etc/passwd")
    else:
        with tarfile.open(path, "w") as file:
            for name, content in entries.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))
            if link:
                info = tarfile.TarInfo(link)
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
                file.addfile(info)
    return path


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_is_unpacked_whole_or_not_at_all(kind, tmp_path):
    good = packed(tmp_path / f"good.{kind}", {"set/a.txt": b"1", "set/b/c.txt": b"2", "other/d.txt": b"3"})
    assert fetch.unpack(good, tmp_path / "out", "set") == tmp_path / "out" / "set"
    assert (tmp_path / "out" / "set" / "b" / "c.txt").read_bytes() == b"2"
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["set"]
    with pytest.raises(ValueError, match="holds no sat"):
        fetch.unpack(good, tmp_path / "out", "sat")


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize(
    ("bad", "link"), [("../outside.txt", ""), ("/tmp/sdkit-outside.txt", ""), ("set/../../x.txt", ""), ("", "set/link")]
)
def test_an_archive_that_would_leave_its_folder_writes_nothing(kind, bad, link, tmp_path):
    entries = {"set/a.txt": b"1"} | ({bad: b"2"} if bad else {})
    archive = packed(tmp_path / f"bad.{kind}", entries, link)
    with pytest.raises(ValueError, match="nothing was unpacked"):
        fetch.unpack(archive, tmp_path / "out", "set")
    assert sorted(p.name for p in tmp_path.rglob("*")) == [f"bad.{kind}", "out"]


def test_what_is_no_archive_is_said_so(tmp_path):
    (tmp_path / "a.tgz").write_bytes(b"<html>not found</html>")
    with pytest.raises(ValueError, match="no zip and no tar archive"):
        fetch.unpack(tmp_path / "a.tgz", tmp_path, "set")


@pytest.mark.parametrize("name", ["caltech101", "stanford_dogs", "cub200", "tiny_imagenet"])
def test_a_download_ends_in_the_layout_that_is_read(name, tmp_path, monkeypatch):
    SETS[name][0](tmp_path / "made")
    made, got = tmp_path / "made", []

    def archived(archive: Archive, folder: Path) -> Path:
        got.append(archive.name)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / archive.name
        if archive.name == "caltech-101.zip":
            with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as file:
                file.add(made / "caltech101" / "101_ObjectCategories", "101_ObjectCategories")
            return packed(path, {"caltech-101/101_ObjectCategories.tar.gz": (tmp_path / "x.tar.gz").read_bytes()})
        source = made / "stanford_dogs" if name == "stanford_dogs" else made
        lists = archive.name == "lists.tar"
        chosen = [p for p in source.rglob("*") if p.is_file() and (p.suffix == ".mat") == lists]
        entries = {str(p.relative_to(source)): p.read_bytes() for p in chosen}
        if path.suffix != ".tgz":
            return packed(path, entries)
        with tarfile.open(path, "w:gz") as file:
            for p in chosen:
                file.add(p, str(p.relative_to(source)))
        return path

    for module in (published, small):
        monkeypatch.setattr(module, "fetch", archived)
    data = DATASETS[name](root=tmp_path / "got", download=True, **SETS[name][1])
    assert len(data.train.y) == SETS[name][3] and got
    before = len(got)
    DATASETS[name](root=tmp_path / "got", download=True, **SETS[name][1])
    assert len(got) == before, "what is there is not fetched again"
