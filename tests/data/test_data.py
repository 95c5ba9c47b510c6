"""The data room: what every set owes, what the loader draws, what the built-in sets are, and how a missing set is told."""

from __future__ import annotations

import ast
import hashlib
import inspect
import pickle
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from published import fake
from torch.utils.data import IterableDataset, TensorDataset

from sdkit.data import ABOUT, DATASETS, Data, Images, as_data, digest, digits, reader, shapes
from sdkit.data.drawing import KINDS, SHAPES, TEXTURES, render
from sdkit.data.pixels import stratified
from sdkit.data.shapes import Grades, draw_scenes, generate

BUILT_IN = ["digits", "shapes", "reid"]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def load(folder: Path) -> Callable[..., Data]:
    return lambda name, **options: DATASETS[name](root=folder, **options)


def toy(n: int = 23, classes: int = 4, size: int = 6, pad: int = 2, mirror: bool = True) -> Data:
    """Random images with mean 0 and deviation 1 / 255, so that a normalised pixel is the uint8 one."""
    g = torch.Generator().manual_seed(0)
    x = torch.randint(1, 256, (n, 3, size, size), generator=g, dtype=torch.uint8)
    images = Images(x, torch.arange(n) % classes)
    nothing = Images(x[:0], images.y[:0])
    return Data("toy", tuple("abcdefgh"[:classes]), images, nothing, images, (0, 0, 0), (1 / 255,) * 3, pad=pad, mirror=mirror)


def same(a: Images, b: Images) -> bool:
    return all((s is None and t is None) or torch.equal(s, t) for s, t in zip(a, b, strict=True))


def rows(x: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in x}


# -- every set -----------------------------------------------------------------------------------------------------------------


def test_every_set_has_one_line_about_it():
    assert ABOUT.keys() == DATASETS.keys()


def promises(data: Data) -> None:
    assert 0 <= data.pad and len(set(data.classes)) == data.num_classes
    for images in (data.train, data.val, data.test):
        n, channels, height, width = images.x.shape
        assert channels == 3 and images.x.dtype == torch.uint8 and images.x.is_contiguous()
        assert images.y.shape == (n,) and images.y.dtype == torch.int64
        assert torch.bincount(images.y, minlength=data.num_classes).min() > 0, "a split lacks a class"
        assert images.y.max() < data.num_classes
        if images.mask is not None:
            assert images.mask.shape == (n, height, width) and images.mask.dtype == torch.bool
            assert images.mask.flatten(1).any(1).all(), "an image has no object"
    assert data.groups is None or len(data.groups) == data.num_classes
    x = data.normalised(data.train.x[:5])
    assert x.dtype == torch.float32 and x.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_set_keeps_the_contract(name, load):
    promises(load(name, validation=100))


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_declared_statistics_are_those_of_the_training_images(name, load):
    data = load(name)
    x = data.train.x.numpy() / 255
    assert np.allclose(x.mean((0, 2, 3)), data.mean, atol=5e-3) and np.allclose(x.std((0, 2, 3)), data.std, atol=5e-3)
    x = data.normalised(data.train.x)
    assert x.mean((0, 2, 3)).abs().max() < 0.02 and (x.std((0, 2, 3)) - 1).abs().max() < 0.02


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_same_seed_is_the_same_set_and_another_is_another(name, load):
    a, b, c = (load(name, validation=100, train_size=200, seed=s) for s in (0, 0, 1))
    for split in ("train", "val", "test"):
        assert same(getattr(a, split), getattr(b, split))
        assert not torch.equal(getattr(a, split).x, getattr(c, split).x)


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_splits_are_disjoint_and_nothing_is_lost(name, load):
    whole, data = load(name), load(name, validation=100)
    train, val, test = (rows(images.x) for images in (data.train, data.val, data.test))
    assert len(data.val.y) == 100 and not (train & val or train & test or val & test)
    assert train | val == rows(whole.train.x)
    assert torch.equal(data.test.x, whole.test.x)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_smaller_training_set_is_part_of_a_larger_one_and_leaves_validation_alone(name, load):
    small, large = (load(name, validation=100, train_size=n) for n in (60, 300))
    assert len(small.train.y) == 60 and len(large.train.y) == 300
    assert rows(small.train.x) < rows(large.train.x)
    assert same(small.val, large.val)
    share = torch.bincount(large.train.y) / 300 * large.num_classes
    assert (share - 1).abs().max() < 0.2, "not in proportion"


def test_a_rare_class_is_not_left_out():
    y = torch.tensor([0] * 500 + [1] * 3 + [2] * 497)
    chosen = stratified(y, 10, np.random.default_rng(0))
    assert len(set(chosen.tolist())) == 10 and set(y[chosen].tolist()) == {0, 1, 2}


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"train_size": 100_000}, "train_size takes"),
        ({"train_size": 3}, "one image of every class"),
        ({"validation": 3}, "validation is 0 or takes"),
        ({"validation": 100_000}, "validation is 0 or takes"),
        ({"validation": -1}, "validation is 0 or takes"),
        ({"validation": 500, "train_size": 990_000}, "beside 500 for validation"),
        ({"train_size": 0.5}, "whole number"),
    ],
)
def test_an_impossible_split_is_refused_with_what_is_possible(name, options, word, load):
    with pytest.raises(ValueError, match=word):
        load(name, **options)


def test_no_file_of_the_room_imports_another_in_a_circle():
    folder, graph = Path(inspect.getfile(as_data)).parent, {}
    for path in folder.glob("*.py"):
        nodes = (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom) and n.level == 1)
        graph[path.stem] = {node.module for node in nodes}
    order = [*TopologicalSorter(graph).static_order()]  # a CycleError names the circle
    assert len(graph) > 10 and order.index("pixels") < order.index("loader") < order.index("base") < order.index("__init__")


def test_options_are_known_by_signature_and_a_misspelt_one_is_told_its_name():
    for name, make in DATASETS.items():
        parameters = inspect.signature(make).parameters
        assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in parameters.values()), name
        assert "`root` does" not in make.__doc__ and make.__name__ == name
    with pytest.raises(KeyError, match="no option of the data set digits is called 'trainsize': did you mean 'train_size'"):
        digits(trainsize=100)


def test_images_are_normalised_as_asked(load):
    plain, pretrained, half = (load("digits", norm=n) for n in (None, "imagenet", [[0.5] * 3, [0.25] * 3]))
    assert pretrained.mean == (0.485, 0.456, 0.406) and half.std == (0.25,) * 3 and same(plain.train, half.train)
    x = plain.train.x[:4]
    assert torch.allclose(half.normalised(x), (x / 255 - 0.5) / 0.25, atol=1e-6)
    for wrong in ("own", [[0.5] * 3], [[0.5] * 3, [0.0] * 3], [[128] * 3, [64] * 3]):
        with pytest.raises(ValueError, match=r"norm is None, .* 'legacy' or 'imagenet', or mean and deviation .* got"):
            load("digits", norm=wrong)


# -- the loader ----------------------------------------------------------------------------------------------------------------


def windows(image: np.ndarray, pad: int, mirror: bool) -> set[bytes]:
    """Every crop of an image [3, H, W] padded with zeros, as it is and mirrored."""
    _, h, w = image.shape
    padded = np.zeros((3, h + 2 * pad, w + 2 * pad), np.float32)
    padded[:, pad : pad + h, pad : pad + w] = image
    found = set()
    for dy in range(2 * pad + 1):
        for dx in range(2 * pad + 1):
            crop = padded[:, dy : dy + h, dx : dx + w]
            found.add(crop.tobytes())
            if mirror:
                found.add(crop[:, :, ::-1].tobytes())
    return found


def pixels(x: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(x.round().numpy())


@pytest.mark.parametrize(("pad", "mirror"), [(2, True), (1, False), (0, True)])
def test_a_batch_holds_windows_of_the_padded_image_all_of_them_in_the_end(pad, mirror):
    data = toy(n=4, pad=pad, mirror=mirror)
    possible = [windows(image.numpy(), pad, mirror) for image in data.train.x]
    seen = [set() for _ in possible]
    loader = data.batches(4, seed=1)
    for _ in range(400 if pad else 20):
        for batch in loader:
            assert batch.x.is_contiguous(memory_format=torch.channels_last) and batch.pair is None
            for x, i in zip(pixels(batch.x), batch.index.tolist(), strict=True):
                assert x.tobytes() in possible[i]
                seen[i].add(x.tobytes())
    assert seen == possible


def test_an_epoch_is_every_image_once_in_a_new_order():
    data = toy(n=23)
    loader = data.batches(5)
    first, second = (torch.cat([b.index for b in loader]) for _ in range(2))
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(23)) and not torch.equal(first, second)
    for b in loader:
        assert torch.equal(b.y, data.train.y[b.index])


@pytest.mark.parametrize(
    ("n", "size", "steps"), [(10, 5, [5, 5]), (12, 5, [5, 5, 2]), (11, 5, [5, 6]), (3, 5, [3]), (6, 5, [6])]
)
def test_a_last_batch_of_one_joins_the_one_before(n, size, steps):
    loader = toy(n=n).batches(size)
    assert [len(b.y) for b in loader] == steps and len(loader) == len(steps)


def test_a_partner_of_the_same_image_is_its_own_second_view():
    data = toy(n=20)
    possible = [windows(image.numpy(), 2, True) for image in data.train.x]
    equal = 0
    for b in data.batches(10, pair="same image", seed=3):
        for x, pair, i in zip(pixels(b.x), pixels(b.pair), b.index.tolist(), strict=True):
            assert pair.tobytes() in possible[i]
            equal += x.tobytes() == pair.tobytes()
    assert equal < 5, "the two views are drawn independently"


def test_a_partner_of_the_same_class_is_every_other_image_of_it_and_never_itself():
    data = toy(n=18, pad=0, mirror=False)
    name = {image.float().numpy().tobytes(): i for i, image in enumerate(data.train.x)}
    partners: dict[int, list[int]] = {i: [] for i in range(18)}
    loader = data.batches(6, pair="same class")
    for _ in range(200):
        for b in loader:
            for pair, i in zip(pixels(b.pair), b.index.tolist(), strict=True):
                partners[i].append(name[pair.tobytes()])
    for i, met in partners.items():
        others = {j for j in range(18) if data.train.y[j] == data.train.y[i]} - {i}
        times = [met.count(j) for j in others]
        assert set(met) == others and max(times) < 2.5 * min(times), "all others are equally likely"


def test_a_class_of_one_image_is_its_own_partner():
    data = toy(n=5, classes=4, pad=0, mirror=False)  # classes 1, 2, 3 have one image, class 0 has two
    for b in data.batches(5, pair="same class"):
        alone = b.y > 0
        assert torch.equal(b.pair[alone], b.x[alone]) and not (b.pair[~alone] == b.x[~alone]).flatten(1).all(1).any()


@pytest.mark.parametrize("pair", [None, "same image", "same class"])
def test_a_loader_goes_on_where_its_state_was_taken(pair):
    data = toy()
    straight = data.batches(5, pair=pair, seed=7)
    list(straight)
    state = {k: v.clone() for k, v in straight.state_dict().items()}
    other = data.batches(5, pair=pair, seed=8)
    other.load_state_dict(state)
    for a, b in zip([*straight, *straight], [*other, *other], strict=True):
        assert all(torch.equal(s, t) for s, t in zip(a, b, strict=True) if s is not None)


def test_a_state_that_is_no_loaders_is_refused():
    loader = toy().batches(5)
    for wrong in ({}, {"host": loader.state_dict()["host"], "device": torch.zeros(16, dtype=torch.uint8)}):
        with pytest.raises(ValueError, match="not the state of a loader"):
            loader.load_state_dict(wrong)


def test_loading_and_iterating_leave_the_global_generators_alone(folder):
    torch.manual_seed(5)
    np.random.seed(5)
    before, numpy_before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    data = digits(root=folder, validation=50, train_size=100)
    list(data.batches(32, pair="same class"))
    list(data.evaluation())
    assert torch.equal(before, torch.random.get_rng_state()) and (numpy_before == np.random.get_state()[1]).all()


def test_two_loaders_in_two_threads_do_not_disturb_each_other():
    data = toy(n=40)

    def epochs(seed: int) -> list[torch.Tensor]:
        loader = data.batches(7, pair="same class", seed=seed)
        return [t for _ in range(20) for b in loader for t in (b.x, b.index, b.pair)]

    alone, together = [epochs(0), epochs(1)], {}
    threads = [threading.Thread(target=lambda s=s: together.update({s: epochs(s)})) for s in (0, 1)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for seed in (0, 1):
        assert all(torch.equal(a, b) for a, b in zip(alone[seed], together[seed], strict=True))


def test_evaluation_is_the_clean_images_in_order_as_often_as_asked():
    data = toy(n=23)
    evaluation = data.evaluation("test", batch_size=10)
    for _ in range(2):
        got = list(evaluation)
        assert len(got) == len(evaluation) == 3 and torch.equal(torch.cat([b.index for b in got]), torch.arange(23))
        assert torch.allclose(torch.cat([b.x for b in got]), data.test.x.float(), atol=1e-3)


@pytest.mark.parametrize(
    ("ask", "word"),
    [
        (lambda d: d.batches(8, pair="same clas"), "'same image' or 'same class' or None, got 'same clas'"),
        (lambda d: d.batches(1), "at least 2 images"),
        (lambda d: d.evaluation("dev"), "train, val, test, got 'dev'"),
        (lambda d: d.evaluation("val"), "load it with validation="),
    ],
)
def test_a_wrong_request_is_told_what_there_is(ask, word):
    with pytest.raises(ValueError, match=word):
        ask(toy())


# -- your own images -----------------------------------------------------------------------------------------------------------

COLOURS = torch.randint(0, 256, (60, 3, 8, 12), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
GREYS = COLOURS[:, :1].repeat(1, 3, 1, 1)
LABELS = torch.arange(60) % 4
CUTS = {"train": slice(0, 48), "test": slice(48, 60)}


def mine(x: Any, y: Any = LABELS) -> tuple:
    """Images and labels -> ((x_train, y_train), (x_test, y_test))."""
    return tuple((x[cut], y[cut]) for cut in CUTS.values())


def pictures(x: torch.Tensor, mode: str = "RGB") -> list[Image.Image]:
    return [Image.fromarray(image.permute(1, 2, 0).numpy()).convert(mode) for image in x]


def in_datasets(images: Any, labels: Any = LABELS) -> tuple:
    """(train, test), each a list of (image, label): the smallest map-style Dataset there is."""
    return tuple([*zip(images[cut], labels[cut], strict=True)] for cut in CUTS.values())


FORMS_OF_COLOURS = {
    "tensors": lambda: mine(COLOURS),
    "floats, as ToTensor gives them": lambda: mine(COLOURS / 255),
    "half floats": lambda: mine((COLOURS / 255).half()),
    "arrays, channels last": lambda: mine(COLOURS.permute(0, 2, 3, 1).numpy(), LABELS.numpy().astype(np.uint8)),
    "whole numbers": lambda: mine(COLOURS.long(), LABELS.int()),
    "Images": lambda: tuple(Images(x / 255, y) for x, y in mine(COLOURS)),
    "a dict": lambda: dict(zip(CUTS, mine(COLOURS), strict=True)),
    "Datasets of tensors": lambda: tuple(TensorDataset(x, y) for x, y in mine(COLOURS)),
    "Datasets of pictures": lambda: in_datasets(pictures(COLOURS), LABELS.tolist()),
    "Datasets of arrays": lambda: in_datasets(COLOURS.permute(0, 2, 3, 1).numpy(), LABELS.numpy()),
}
FORMS_OF_GREYS = {
    "three channels": lambda: mine(GREYS),
    "one channel": lambda: mine(GREYS[:, :1] / 255),
    "no channel": lambda: mine(GREYS[:, 0].numpy()),
    "pictures": lambda: in_datasets(pictures(GREYS, "L"), LABELS.tolist()),
    "a Dataset without channels": lambda: in_datasets(GREYS[:, 0]),
}
FORMS = [(forms, name) for forms in (FORMS_OF_COLOURS, FORMS_OF_GREYS) for name in forms]


@pytest.mark.parametrize(("forms", "name"), FORMS, ids=[name for _, name in FORMS])
def test_the_same_images_give_the_same_batches_in_every_form(forms, name):
    """Through tensors, arrays or a Dataset; the validation images are the same ones, too."""
    x = COLOURS if forms is FORMS_OF_COLOURS else GREYS
    nothing = Images(x[:0], LABELS[:0])
    by_hand = Data(
        "any", (*"0123",), Images(x[:48], LABELS[:48]), nothing, Images(x[48:], LABELS[48:]), (0,) * 3, (1,) * 3, pad=1
    )
    said = {"validation": 8, "seed": 3, "distort": ["colour"], "cutout": 2, "mixup": 0.2}
    data = as_data(forms[name](), **said)
    expected = as_data(replace(by_hand, mean=data.mean, std=data.std), **said)
    assert digest(data) == digest(expected) and len(data.val.y) == 8
    for how in ({}, {"pair": "same image"}, {"pair": "same class"}, {"samples_per_class": 3}):
        for a, b in zip(data.batches(8, seed=5, **how), expected.batches(8, seed=5, **how), strict=True):
            assert all(torch.equal(s, t) for s, t in zip(a[:3], b[:3], strict=True))
            assert (a.pair is None) == (b.pair is None) and (a.pair is None or torch.equal(a.pair, b.pair))
    promises(data)


def test_own_images_keep_what_a_loader_promises():
    data = as_data(mine(COLOURS))
    assert data.pad == 1 and data.mirror and data.classes == (*"0123",)
    x = COLOURS[:48] / 255
    assert np.allclose(x.mean((0, 2, 3)), data.mean, atol=1e-6) and np.allclose(x.std((0, 2, 3)), data.std, atol=1e-3)
    plain = as_data(mine(COLOURS), pad=0, mirror=False)
    loader = plain.batches(7)
    for _ in range(2):
        got = list(loader)
        index = torch.cat([b.index for b in got])
        assert sorted(index.tolist()) == list(range(48)) and torch.equal(torch.cat([b.y for b in got]), LABELS[index])
        assert torch.equal(torch.cat([b.x for b in got]), plain.normalised(COLOURS[index]))
    for batch in as_data(mine(COLOURS)).batches(9, samples_per_class=3):
        assert torch.equal(batch.y.view(3, 3), batch.y.view(3, 3)[:, :1].expand(3, 3))


def test_own_tensors_train_for_an_epoch_and_learn():
    from sdkit.methods import METHODS
    from sdkit.models import MODELS
    from sdkit.train import Recipe, Training

    x = torch.rand(160, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.3
    y = torch.arange(160) % 2
    x[y == 1, :, 4:12, 4:12] += 0.6  # a bright square
    data = as_data(((x[:128], y[:128]), (x[128:], y[128:])))
    torch.manual_seed(0)
    network = MODELS["four-stage"](num_classes=data.num_classes, width=4)
    training = Training(network, METHODS["vanilla"](), data, Recipe(1, 8, 0.05, "one cycle"), seed=0, on="cpu")
    (epoch,) = (e for e in training.iterate() if hasattr(e, "accuracy"))
    assert epoch.test["final"] > 0.9


def test_the_options_of_all_sets_are_those_of_own_data(load):
    """A set handed in whole, or as its bare tensors, splits as it does by its name."""
    whole, said = load("digits"), {"validation": 100, "train_size": 200, "seed": 4}
    expected = load("digits", **said)
    tensors = ((load("digits", seed=4).train[:2]), load("digits", seed=4).test[:2])
    for data in (as_data("digits", **said), as_data(load("digits", seed=4), **said), as_data(tensors, **said)):
        for split in ("train", "val", "test"):
            assert same(Images(*getattr(data, split)[:2]), Images(*getattr(expected, split)[:2]))
    assert as_data(whole).train is whole.train and as_data(replace(whole, cutout=2)).cutout == 2
    assert as_data(whole, mixup=0.3, norm="imagenet").mean == (0.485, 0.456, 0.406)
    for thing in (whole, tensors, "digits"):
        known = inspect.signature(reader(thing)).parameters
        assert {"validation", "train_size", "seed", "distort", "cutout", "mixup", "norm"} <= {*known}
        with pytest.raises(KeyError, match="called 'mixap': did you mean 'mixup'"):
            as_data(thing, mixap=0.2)


def test_validation_images_may_be_handed_in():
    parts = {"train": mine(COLOURS)[0], "val": (GREYS[:8], LABELS[:8]), "test": mine(COLOURS)[1]}
    assert torch.equal(as_data(parts).val.x, GREYS[:8])
    carved = as_data(parts, validation=8)
    assert len(carved.val.y) == 8 and len(carved.train.y) == 40 and not torch.equal(carved.val.x, GREYS[:8])


def test_own_images_are_a_copy():
    x, y = COLOURS.clone(), LABELS.clone()
    data = as_data(mine(x, y))
    before = digest(data)
    x.zero_()
    y.zero_()
    assert digest(data) == before


def test_a_torchvision_dataset_names_its_classes():
    torchvision = pytest.importorskip("torchvision")
    every = torchvision.datasets.FakeData(40, (3, 16, 16), 3)
    every.classes = ["ant", "bee", "cat"]
    data = as_data(torch.utils.data.random_split(every, (30, 10), torch.Generator().manual_seed(0)), mirror=False)
    assert data.classes == ("ant", "bee", "cat") and not data.mirror and len(data.train.y) == 30
    assert as_data(mine(COLOURS), classes=["a", "b", "c", "d"]).classes == ("a", "b", "c", "d")


def test_a_digest_is_the_content_and_not_the_name():
    data = as_data(mine(COLOURS))
    other, label = COLOURS.clone(), LABELS.clone()
    other[50, 1, 2, 3] ^= 1
    label[50] = (label[50] + 1) % 4
    kept = [digest(as_data(mine(COLOURS))), digest(as_data(mine(COLOURS), name="birds")), digest(replace(data, name="x"))]
    assert {*kept} == {digest(data)} and len(digest(data)) == 64
    changed = [
        as_data(mine(other)), as_data(mine(COLOURS, label)), as_data(mine(COLOURS), train_size=20), replace(data, mixup=0.2),
        as_data(mine(COLOURS), norm="imagenet"), replace(data, pad=0), as_data(mine(COLOURS), classes=[*"abcd"]),
        replace(data, test=data.train, train=data.test), replace(data, query=data.test),
    ]  # fmt: skip
    assert len({digest(d) for d in (data, *changed)}) == len(changed) + 1


class _Endless(IterableDataset):
    def __iter__(self) -> Iterator:
        return iter(())


class _Random:
    """A Dataset whose transform draws."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return torch.rand(3, 8, 8), i % 2


def stretched(images: torch.Tensor) -> list:
    return [*images[:3], torch.zeros(3, 8, 8), *images[4:]]


FLOATING = [*pictures(COLOURS)[:2], Image.fromarray(np.full((8, 12), 0.5, np.float32)), *pictures(COLOURS)[3:]]
ONE_HOT = torch.nn.functional.one_hot(LABELS)
X, Y = mine(COLOURS)[1]  # twelve images and their labels
REFUSED = {
    "no test images": ((COLOURS, LABELS), TypeError, r"own data are \(\(x_train, y_train\).* got a tuple of 2.*random_split"),
    "one thing alone": (TensorDataset(X, Y), TypeError, r"own data are .* got a TensorDataset"),
    "a dict of other splits": ({"train": (X, Y), "dev": (X, Y)}, TypeError, r"own data are .* got a dict with 'train', 'dev'"),
    "no labels": ({"train": X, "test": X}, TypeError, r"train is Tensor \[12, 3, 8, 12\], expected is \(images, labels\)"),
    "no length": ((_Endless(), _Endless()), TypeError, r"train is a _Endless, .*of an iterable one, list\(dataset\)"),
    "floats to 255": (mine(COLOURS.float()), ValueError, r"floats from 0 to 255, expected .* \[0, 1\]: divide by 255"),
    "normalised": (mine(COLOURS / 128 - 1), ValueError, r"floats from -1 to .* leave Normalize out"),
    "not a number": (mine(torch.where(COLOURS == 7, torch.nan, 0.5)), ValueError, r"train has \d+ images with NaN .*place \d+"),
    "beyond bytes": (mine(COLOURS.long() + 1), ValueError, r"torch.int64 .*expected are uint8 from 0 to 255, or floats"),
    "four channels": (mine(COLOURS.repeat(1, 2, 1, 1)[:, :4]), ValueError, r"\[48, 4, 8, 12\], .*three, x\[:, :3\]"),
    "rows": (mine(COLOURS.flatten(1)), ValueError, r"torch.uint8 \[48, 288\], expected are \[N, 3, H, W\]"),
    "objects": (mine(np.array([None] * 60)), ValueError, r"images of object, .*np.stack"),
    "floats for labels": (mine(COLOURS, LABELS.float()), ValueError, r"labels of torch.float32, .* y.long\(\)"),
    "one-hot": (mine(COLOURS, ONE_HOT), ValueError, r"labels \[48, 4\], expected is \[N\]: .*y.argmax\(1\)"),
    "words": (mine(COLOURS, ["cat", "dog"] * 30), ValueError, r"labels that are no numbers .*sorted\(set\(labels\)\).index"),
    "from 1 on": (mine(COLOURS, LABELS + 1), ValueError, r"4 different labels, 1, 2, 3, 4, expected are 0 .*return_inverse"),
    "below 0": (mine(COLOURS, LABELS - 1), ValueError, r"4 different labels, -1, 0, 1, 2, expected are 0 to 3"),
    "a gap": (mine(COLOURS, 2 * LABELS), ValueError, r"4 different labels, 0, 2, 4, 6, expected are 0 to 3"),
    "one class": (mine(COLOURS, 0 * LABELS), ValueError, r"all 48 training images have the label 0: .*two classes"),
    "an unknown test label": (((X, Y), (X, Y + 1)), ValueError, r"test of your data has the label 4, expected are 0 to 3"),
    "a negative test label": (((X, Y), (X, Y - 1)), ValueError, r"test of your data has the label -1, expected are 0 to 3"),
    "fewer labels": (((X, Y[:5]), (X, Y)), ValueError, r"train has 12 images and 5 labels"),
    "nothing to test": (((X, Y), (X[:0], Y[:0])), ValueError, "test has no images: .*at least one"),
    "an empty Dataset": (([], []), ValueError, r"train has no images"),
    "another size": (((X, Y), (X[..., :10], Y)), ValueError, r"test .* has images of 8 x 10, and train of 8 x 12: resize"),
    "sizes in a Dataset": (in_datasets(stretched(COLOURS)), ValueError, r"train\[3\] is 8 x 8 .*0\] 8 x 12.*Resize\(\(8, 12"),
    "items of three": (([(X[0], 0, 1)] * 3,) * 2, ValueError, r"train\[0\] is a tuple of 3: an item of a Dataset is"),
    "items in dicts": (([{"image": X[0]}] * 3,) * 2, ValueError, r"train\[0\] is a dict: an item of a Dataset is"),
    "paths": (([("a.png", 0)] * 3,) * 2, ValueError, r"train\[0\] has str 'a.png' for an image"),
    "a random transform": ((_Random(), _Random()), ValueError, r"train\[0\] came differently the second time: .* random"),
    "floats in a picture": (in_datasets(FLOATING), ValueError, r"train\[2\] is a picture of mode F, whose black and white"),
    "one colour": (mine(torch.full_like(COLOURS, 9)), ValueError, r"has one value in all pixels: .*norm='imagenet'"),
    "no name": ("digit", KeyError, r"no data set \(nor any folder\) is called 'digit': did you mean 'digits'"),
    "a number": (7, TypeError, r"own data are .* got int 7"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_learned_from_is_refused_in_a_sentence(name):
    thing, kind, said = REFUSED[name]
    with pytest.raises(kind, match=said) as error:
        as_data(thing)
    assert "\n" not in str(error.value) and 40 < len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"train": Images(X / 255, Y)}, r"train of toy has images torch.float32 .*as_data makes them"),
        ({"test": Images(X, Y.int())}, r"labels torch.int32 \[12\], expected are uint8"),
        ({"test": Images(X[:0], Y[:0])}, "test of toy has no images"),
        ({"classes": ("a", "b", "c")}, "has the label 3, expected are 0 to 2"),
        ({"classes": ("a",)}, "has one class, a"),
        ({"val": Images(X[..., :4], Y)}, "val of toy has images of 8 x 4, and train of 8 x 12"),
    ],
)
def test_a_data_set_built_by_hand_is_checked_too(change, said):
    data = Data("toy", (*"abcd",), Images(X, Y), Images(X[:0], Y[:0]), Images(X, Y), (0.5,) * 3, (0.5,) * 3, **{"pad": 0})
    assert as_data(data).train is data.train
    with pytest.raises(ValueError, match=said):
        as_data(replace(data, **change))


# -- shapes --------------------------------------------------------------------------------------------------------------------


def only(kind: str, **said) -> Grades:
    """Images of one kind alone, in full contrast and without noise unless said otherwise."""
    return Grades(**{"shares": tuple(float(k == kind) for k in KINDS), "contrast": (1, 1), "noise": 0} | said)


def scenes(samples_per_class: int = 6, seed: int = 0, grades: Grades = only("clear")):  # noqa: B008
    """All 36 classes."""
    y = np.tile(np.arange(36), samples_per_class)
    return y, draw_scenes(y // 6, y % 6, np.random.Generator(np.random.PCG64(seed)), 36, grades)


def test_a_seed_draws_the_same_bytes_on_every_machine():
    x, _, mask, kind = generate(36, 0, "test", 1)
    drawn = hashlib.sha256(x.tobytes() + mask.tobytes() + kind.tobytes()).hexdigest()[:16]
    assert drawn == "d4d60e70eb4f404d", "where a pixel was changed on purpose: raise shapes.VERSION, note the new digest"


@pytest.mark.parametrize("kind", KINDS)
def test_outside_its_mask_an_image_is_its_background_and_inside_it_is_not(kind):
    _, s = scenes(grades=only(kind, noise=8))
    image, mask, behind = render(s)
    differs = (image != behind).any(1)
    assert not differs[~mask].any()
    if kind not in ("faint", "between"):  # these have pixels that hardly differ
        assert differs[mask].mean() > 0.95
    assert (0.01 if kind in ("covered", "cut off") else 0.08) < mask.mean() < 0.35


def test_an_image_has_the_contrast_that_its_grade_says():
    """Drawn towards its mean colour by half, every pixel lies half as far from it."""
    full, half = (render(scenes(grades=only("clear", contrast=(c, c)))[1])[0].astype(float) for c in (1, 0.5))
    middle = full.mean((2, 3), keepdims=True)
    assert np.abs(half - (middle + (full - middle) / 2)).max() <= 0.51


def test_contrasts_are_log_uniform_and_faint_images_fainter_than_all_others():
    _, s = scenes(60, grades=Grades(contrast=(0.25, 1), faint=(0.02, 0.1)))
    faint = s.kind == KINDS.index("faint")
    assert s.contrast[faint].max() <= 0.1 < 0.25 <= s.contrast[~faint].min()
    assert abs((s.contrast[~faint] < 0.5).mean() - 0.5) < 0.05, "0.5 is half way between 0.25 and 1 in logarithms"


def test_a_covered_object_is_partly_seen_and_one_cut_off_lies_over_the_border():
    whole, covered, cut = (render(scenes(20, grades=only(k))[1])[1].mean() for k in ("clear", "covered", "cut off"))
    assert 0.1 * whole < covered < 0.6 * whole and 0.1 * whole < cut < 0.6 * whole


def test_an_object_between_two_classes_shows_both_by_its_share():
    """Where its share is 1 it is its own class's object, where it is 0 the other's."""
    y, s = scenes(grades=only("between"))
    assert (s.share < 1).all() and ((s.other_shape != s.shape) ^ (s.other_texture != s.texture)).all()
    period = dict(period=np.full(len(y), 5.0, dtype=s.period.dtype))  # else the texture's own would tell them apart
    own = render(s._replace(share=np.ones(len(y)), **period))[0]
    other = render(s._replace(share=np.ones(len(y)), shape=s.other_shape, texture=s.other_texture, **period))[0]
    assert (render(s._replace(share=np.full(len(y), 1 - 1e-9), **period))[0] == own).mean() > 0.99
    assert (render(s._replace(share=np.full(len(y), 1e-9), **period))[0] == other).mean() > 0.99


def test_kinds_come_in_the_shares_that_the_grades_say():
    _, _, _, kind = generate(12, 0, "train", 100, Grades(shares=(0.5, 0.2, 0.1, 0.1, 0.1)))
    assert np.bincount(kind, minlength=5) / len(kind) == pytest.approx([0.5, 0.2, 0.1, 0.1, 0.1], abs=0.04)


def test_the_frame_cuts_off_no_more_than_a_tip():
    mask = render(scenes()[1])[1]
    frame = np.ones_like(mask)
    frame[:, 1:-1, 1:-1] = False
    assert (mask & frame).sum((1, 2)).max() < 16 and (mask & frame).any((1, 2)).mean() < 0.2


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_its_own_mirror_image(name):
    x = np.linspace(-1.5, 1.5, 200, dtype=np.float32)
    u, v = x[None, None, :], x[None, :, None]
    u, v = np.broadcast_arrays(u, v)
    assert (SHAPES[name](u, v) == SHAPES[name](-u, v)).mean() > 0.999


@pytest.mark.parametrize("name", TEXTURES)
def test_a_mirrored_texture_is_the_same_texture_turned_and_moved(name):
    a = (np.random.default_rng(0).uniform(-2, 2, (2, 1, 20_000))).astype(np.float32)
    a, b = a
    best = max(np.isclose(TEXTURES[name](-a, b), TEXTURES[name](sa * a + da, b), atol=1e-5).mean()
               for sa in (1, -1) for da in (0, 0.5))  # fmt: skip
    assert best > 0.999


def test_colour_does_not_give_the_class_away(load):
    data = load("shapes")

    def colours(images: Images) -> torch.Tensor:
        """[N, 6] mean colour of the whole image and of the object alone."""
        x, mask = images.x / 255, images.mask[:, None]
        on_object = (x * mask).sum((2, 3)) / mask.sum((2, 3))
        return torch.cat([x.mean((2, 3)), on_object], 1)

    train, test = colours(data.train), colours(data.test)
    centres = torch.stack([train[data.train.y == k].mean(0) for k in range(12)])
    accuracy = (torch.cdist(test, centres).argmin(1) == data.test.y).float().mean()
    assert accuracy < 2 / 12


def test_a_class_is_a_shape_and_a_texture_and_its_group_the_shape(load):
    for classes, n_shapes in ((12, 4), (20, 5), (36, 6)):
        data = load("shapes", classes=classes)
        assert data.num_classes == classes and len(set(data.groups)) == n_shapes
        assert {name.split("-")[0] for name in data.classes} == set(list(SHAPES)[:n_shapes])
        for name, group in zip(data.classes, data.groups, strict=True):
            assert name.startswith(list(SHAPES)[group])
    promises(load("shapes", classes=36, validation=200))


def test_a_damaged_cache_is_drawn_again(tmp_path):
    good = shapes(root=tmp_path)
    (file,) = tmp_path.iterdir()
    bytes_ = file.read_bytes()
    flipped = bytearray(bytes_)
    flipped[len(bytes_) // 2] ^= 255
    for damage in (bytes_[: len(bytes_) // 2], b"", bytes(flipped)):
        file.write_bytes(damage)
        assert same(shapes(root=tmp_path).train, good.train)
        assert [f.name for f in tmp_path.iterdir()] == [file.name], "no temporary file is left"
    with np.load(file) as again:
        assert (again["train_x"] == good.train.x.numpy()).all()


def test_a_folder_that_cannot_hold_the_cache_does_not_stop_anyone(tmp_path):
    (tmp_path / "data").write_text("a file where the folder should be")
    assert len(shapes(root=tmp_path / "data").classes) == 12


@pytest.mark.parametrize("options", [{"classes": 25}, {"seed": -1}, {"seed": 1.5}])
def test_shapes_that_do_not_exist_are_refused(options, tmp_path):
    with pytest.raises(ValueError, match="12, 20, 36 classes|seed .*is a whole number"):
        shapes(root=tmp_path, **options)


# -- digits --------------------------------------------------------------------------------------------------------------------


def test_digits_are_scikit_learns_in_grey(load):
    from sklearn.datasets import load_digits

    data = load("digits")
    assert len(data.train.y) == 1000 and len(data.test.y) == 797 and not data.mirror and data.pad == 1
    x = torch.cat([data.train.x, data.test.x])
    assert (x[:, :1] == x).all()
    published = {np.round(image * 255 / 16).astype(np.uint8).tobytes() for image in load_digits().images}
    assert {image[0].numpy().tobytes() for image in x} == published


# -- CIFAR ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "n"), [("cifar10", 100), ("cifar100", 200)])
def test_cifar_is_read_through_torchvision_and_split(name, n, tmp_path, monkeypatch):
    folder = fake(name, tmp_path, monkeypatch)
    data = DATASETS[name](root=tmp_path)
    assert len(data.train.y) == n and data.pad == 4 and data.mirror and data.classes[3] == "class 3"
    batch = pickle.loads((folder / {"cifar10": "data_batch_1", "cifar100": "train"}[name]).read_bytes())
    assert (data.train.x[0].numpy() == batch["data"][0].reshape(3, 32, 32)).all(), "published as red, green, blue planes"
    k = data.num_classes
    promises(DATASETS[name](root=tmp_path, validation=k, train_size=n - k))


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_a_missing_set_names_the_folder_and_the_command(name, tmp_path):
    pytest.importorskip("torchvision")
    with pytest.raises(FileNotFoundError) as error:
        DATASETS[name](root=tmp_path)
    said = str(error.value)
    assert str(tmp_path) in said and f"sdkit train --data {name} --download" in said and "-python.tar.gz (md5 " in said
    assert "\n" not in said and not list(tmp_path.iterdir())


def test_a_damaged_file_is_named_with_both_md5s_and_never_unpickled(tmp_path, monkeypatch):
    folder = fake("cifar100", tmp_path, monkeypatch)
    monkeypatch.setattr(pickle, "load", lambda *a, **k: pytest.fail("unpickled before its md5 was known"))
    whole = (folder / "train").read_bytes()
    for damage in (whole[:1000], whole[:-1] + b"!"):
        (folder / "train").write_bytes(damage)
        with pytest.raises(ValueError) as error:
            DATASETS["cifar100"](root=tmp_path)
        for word in (str(folder / "train"), hashlib.md5(whole).hexdigest(), hashlib.md5(damage).hexdigest(), "delete it"):
            assert word in str(error.value)
    (folder / "train").unlink()
    with pytest.raises(FileNotFoundError, match="train is missing"):
        DATASETS["cifar100"](root=tmp_path)


def test_a_download_without_a_network_says_what_to_do_by_hand(tmp_path, monkeypatch):
    from urllib.error import URLError

    def refused(*args, **kwargs):
        raise URLError("no route to host")

    monkeypatch.setattr("sdkit.data.fetch.urlopen", refused)
    with pytest.raises(ConnectionError, match="by hand and run the same command"):
        DATASETS["cifar10"](root=tmp_path, download=True)


def test_real_cifar100_is_what_was_published():
    root = Path(__file__).parents[2] / "data"
    if not (root / "cifar-100-python").is_dir():
        pytest.skip(f"no CIFAR-100 in {root}")
    data = DATASETS["cifar100"](root=root, validation=5000)
    promises(data)
    assert (len(data.train.y), len(data.val.y), len(data.test.y)) == (45_000, 5_000, 10_000)
    assert torch.bincount(data.val.y).tolist() == [50] * 100
    with open(root / "cifar-100-python" / "test", "rb") as file:
        raw = pickle.load(file, encoding="latin1")  # its md5 was checked just now
    assert [data.groups[k] for k in raw["fine_labels"]] == raw["coarse_labels"]
    assert (data.test.x[7].numpy() == raw["data"][7].reshape(3, 32, 32)).all()
    x = torch.cat([data.train.x, data.val.x])
    for c in range(3):
        channel = x[:, c].float() / 255
        assert abs(channel.mean() - data.mean[c]) < 5e-3 and abs(channel.std() - data.std[c]) < 5e-3
