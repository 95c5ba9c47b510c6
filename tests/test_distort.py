"""Distortions: each against a slow, per-image reading of what it says, and the loader's promises with them switched on."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from sdkit.data import DATASETS, DISTORTIONS, Data, Images
from sdkit.data import distort as room
from sdkit.data.distort import checked, cut_out, distorted, quadrilateral, warped
from sdkit.experiment import Experiment


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int = 5, h: int = 7, w: int = 9, seed: int = 0) -> torch.Tensor:
    return 255 * torch.rand(n, 3, h, w, generator=generator(seed))


def toy(n: int = 24, size: int = 12, **options) -> Data:
    x = torch.randint(1, 256, (n, 3, size, size), generator=generator(), dtype=torch.uint8)
    every = Images(x, torch.arange(n) % 4)
    nothing = Images(x[:0], every.y[:0])
    return Data("toy", tuple("abcd"), every, nothing, every, (0, 0, 0), (1 / 255,) * 3, pad=1, **options)


def slow_warp(image: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Pixel by pixel: where does it come from, and which four neighbours are mixed; outside is black."""
    channels, h, w = image.shape
    out = np.zeros_like(image)
    for i in range(h):
        for j in range(w):
            place = m @ [(j + 0.5) * 2 / w - 1, (i + 0.5) * 2 / h - 1, 1.0]
            x, y = ((place[0] / place[2] + 1) * w - 1) / 2, ((place[1] / place[2] + 1) * h - 1) / 2
            for r in (math.floor(y), math.floor(y) + 1):
                for c in (math.floor(x), math.floor(x) + 1):
                    if 0 <= r < h and 0 <= c < w:
                        out[:, i, j] += image[:, r, c] * (1 - abs(y - r)) * (1 - abs(x - c))
    return out


@pytest.mark.parametrize("name", room.GEOMETRY)
def test_moving_pixels_is_what_a_loop_over_pixels_makes_of_the_same_matrix(name):
    x = images()
    m = room.GEOMETRY[name](len(x), generator(3))
    expected = [slow_warp(a, b) for a, b in zip(x.double().numpy(), m.double().numpy(), strict=True)]
    assert np.allclose(distorted(x, [name], generator(3)).numpy(), expected, atol=0.02)


def test_a_known_turn_a_known_size_and_no_move_at_all():
    x = images(1, 8, 8)
    quarter = torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]])
    assert torch.allclose(warped(x, quarter), x.rot90(1, (2, 3)), atol=1e-3)
    assert torch.allclose(warped(x, torch.eye(3)[None]), x, atol=1e-3)
    half = warped(torch.full((1, 3, 8, 8), 200.0), torch.diag(torch.tensor([2.0, 2.0, 1.0]))[None])  # half as large
    assert (half[0, 0, 2:6, 2:6] - 200).abs().max() < 1e-3 and half[0, 0, 0].abs().max() < 1e-3


def test_a_perspective_takes_corners_to_corners_and_straight_lines_to_straight_lines():
    square = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    corners = square + 0.3 * torch.rand(4, 4, 2, generator=generator())
    m = quadrilateral(corners)
    there = torch.cat([square, torch.ones(4, 1)], 1) @ m.mT
    assert torch.allclose(there[..., :2] / there[..., 2:], corners, atol=1e-5)
    line = torch.stack([torch.linspace(-1, 1, 5), torch.linspace(-0.5, 0.7, 5), torch.ones(5)], 1) @ m.mT
    x, y = (line[..., :2] / line[..., 2:]).unbind(2)
    bend = (x[:, 1:-1] - x[:, :1]) * (y[:, -1:] - y[:, :1]) - (y[:, 1:-1] - y[:, :1]) * (x[:, -1:] - x[:, :1])
    assert bend.abs().max() < 1e-5


def test_draws_stay_within_their_ranges_and_fill_them():
    m = room.rotation(4000, generator())
    angle = torch.atan2(m[:, 1, 0], m[:, 0, 0]).rad2deg()
    assert angle.abs().max() <= room.ROTATION and angle.min() < -0.97 * room.ROTATION and angle.max() > 0.97 * room.ROTATION
    size = 1 / room.scale(4000, generator())[:, 0, 0]
    assert 1 / room.SCALE <= size.min() < 0.82 and 1.23 < size.max() <= room.SCALE + 1e-6


def test_colour_is_brightness_contrast_and_saturation_one_image_at_a_time():
    x = images()
    g = generator(4)
    factors = [0.6 + 0.8 * torch.rand(len(x), generator=g).double().numpy() for _ in range(3)]
    weights = np.array([0.299, 0.587, 0.114])
    for i, image in enumerate(x.double().numpy()):
        brightness, contrast, saturation = (f[i] for f in factors)
        image = np.clip(image * brightness, 0, 255)
        mean = np.tensordot(weights, image, 1).mean()
        image = np.clip(mean + contrast * (image - mean), 0, 255)
        grey = np.tensordot(weights, image, 1)
        image = np.clip(grey + saturation * (image - grey), 0, 255)
        assert np.allclose(distorted(x, ["colour"], generator(4))[i].numpy(), image, atol=0.01)


def test_erasing_makes_noise_of_one_rectangle_in_half_of_the_images_and_touches_nothing_else():
    x = torch.full((2000, 3, 16, 16), -7.0)  # no random pixel looks like it
    gone = (distorted(x, ["erasing"], generator()) != -7).all(1)
    hit = gone.flatten(1).any(1)
    assert abs(float(hit.float().mean()) - 0.5) < 0.05
    rows, columns = gone.any(2), gone.any(1)
    assert torch.equal(gone, rows[:, :, None] & columns[:, None]), "a rectangle is rows times columns"
    for side in (rows, columns):
        assert (side[:, 1:] & ~side[:, :-1]).sum(1).max() <= 1, "rows and columns are in one piece"
    share = gone[hit].float().mean((1, 2))
    assert share.min() >= 0.01 and share.max() <= 0.45 and share.max() - share.min() > 0.3


def slow_hole(h: int, w: int, y: int, x: int, side: int) -> np.ndarray:
    """As DeVries and Taylor cut: around a centre, clipped at the border."""
    kept = np.ones((h, w))
    for i in range(h):
        for j in range(w):
            if y - side // 2 <= i < y - side // 2 + side and x - side // 2 <= j < x - side // 2 + side:
                kept[i, j] = 0
    return kept


@pytest.mark.parametrize("side", [1, 4, 5])
def test_cutout_is_one_square_around_a_centre_that_may_be_anywhere(side):
    x = 1 + torch.rand(400, 3, 8, 10, generator=generator())
    g = generator(2)
    ys, xs = torch.randint(8, (400,), generator=g), torch.randint(10, (400,), generator=g)
    expected = np.stack([slow_hole(8, 10, int(y), int(x), side) for y, x in zip(ys, xs, strict=True)])
    assert np.array_equal(cut_out(x, side, generator(2)).numpy(), x.numpy() * expected[:, None])
    assert {*ys.tolist()} == {*range(8)} and {*xs.tolist()} == {*range(10)}, "every pixel is a centre"


# -- in the loader -------------------------------------------------------------------------------------------------------------


def test_without_distortions_the_loader_draws_what_it_always_drew():
    """The crop and the mirror of the first batch, from the generator's numbers by hand."""
    data = toy()
    batch = next(iter(data.batches(8, seed=5)))
    order = torch.randperm(24, generator=generator(5))[:8]
    g = generator(5)
    dy, dx = torch.randint(3, (2, 8), generator=g)
    flip = torch.rand(8, 1, 1, 1, generator=g)[:, 0, 0, 0] < 0.5
    padded = torch.nn.functional.pad(data.train.x, (1,) * 4)
    for i in range(8):
        view = padded[order[i], :, dy[i] : dy[i] + 12, dx[i] : dx[i] + 12]
        assert torch.equal(batch.x[i], (view.flip(-1) if flip[i] else view).float())


@pytest.mark.parametrize("options", [{"distort": (n,)} for n in DISTORTIONS] + [{"cutout": 4}, {"distort": DISTORTIONS}])
def test_the_two_views_of_a_pair_and_the_images_of_a_batch_are_distorted_apart(options):
    """On one and the same image, not cropped and not mirrored: whatever differs is the distortion's."""
    one = torch.randint(1, 256, (1, 3, 12, 12), generator=generator(), dtype=torch.uint8).expand(32, -1, -1, -1)
    plain = toy()
    every = Images(one.contiguous(), torch.arange(32) % 4)
    data = replace(plain, train=every, pad=0, mirror=False, **options)
    batch = next(iter(data.batches(32, pair="same image")))
    clean = one[:1].float()
    assert batch.x.isfinite().all() and batch.x.shape == batch.pair.shape == (32, 3, 12, 12)
    assert len({v.numpy().tobytes() for v in torch.cat([batch.x, batch.pair])}) > 24, "one draw for all"
    changed = [((v - clean).abs().flatten(1).amax(1) > 1e-3).float() for v in (batch.x, batch.pair)]
    assert all(c.mean() > 0.2 for c in changed)
    assert sum(torch.equal(a, b) for a, b in zip(batch.x, batch.pair, strict=True)) <= 14, "the views go together"


def test_the_same_seed_gives_the_same_distortions_and_evaluation_has_none():
    data = toy(distort=DISTORTIONS, cutout=3)
    a, b = (torch.cat([batch.x for batch in data.batches(8, seed=1)]) for _ in range(2))
    assert torch.equal(a, b)
    assert torch.equal(next(iter(data.evaluation("test"))).x, data.test.x.float())


def test_a_loader_with_distortions_goes_on_where_its_state_was_taken():
    data = toy(distort=["rotation", "erasing"], cutout=3)
    straight, resumed = data.batches(8), data.batches(8)
    list(straight)
    resumed.load_state_dict(straight.state_dict())
    assert all(torch.equal(a.x, b.x) for a, b in zip(straight, resumed, strict=True))


def test_the_order_in_which_distortions_are_asked_for_does_not_matter():
    x = images()
    assert torch.equal(distorted(x, ["colour", "scale"], generator()), distorted(x, ["scale", "colour"], generator()))


@pytest.mark.parametrize("names", [["rotate"], ["rotation", "rotation"], "rotation"])
def test_a_wrong_list_of_names_is_told(names):
    with pytest.raises(ValueError, match="distort .*rotation"):
        checked(names, 0, 32)


@pytest.mark.parametrize("side", [-1, 33, 2.5, True])
def test_a_wrong_hole_is_told(side):
    with pytest.raises(ValueError, match="cutout is the side of a hole in pixels, 0 .none. to 32"):
        checked((), side, 32)


@pytest.mark.parametrize("name", ["digits", "shapes"])
def test_every_set_takes_them(name, tmp_path):
    data = DATASETS[name](root=tmp_path, distort=["rotation"], cutout=3)
    assert data.distort == ("rotation",) and data.cutout == 3


# -- in an experiment ----------------------------------------------------------------------------------------------------------


def test_runs_recorded_before_there_were_distortions_are_found_under_their_old_key():
    plain = Experiment(data="digits")
    assert plain.asked["dataset"] == {"validation": 0.0, "train_size": None, "seed": 0.0}
    assert replace(plain, dataset={"distort": [], "cutout": 0}).key == plain.key


def test_a_distortion_makes_another_run():
    plain = Experiment(data="digits")
    others = [replace(plain, dataset=d) for d in ({"distort": ["scale"]}, {"cutout": 2}, {"distort": ("scale",), "cutout": 2})]
    assert len({e.key for e in (plain, *others)}) == 4
    assert others[2].asked["dataset"]["distort"] == ["scale"]
    assert others[2].load_data().distort == ("scale",)
