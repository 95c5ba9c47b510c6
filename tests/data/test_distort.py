"""Distortions: each against a slow, per-image reading of what it says, and the loader's promises with them switched on."""

from __future__ import annotations

import copy
import inspect
import math
from dataclasses import replace

import numpy as np
import paper
import pytest
import torch

from sdkit.core import Batch, Features, Progress
from sdkit.data import DATASETS, DISTORTIONS, Data, Images
from sdkit.data import distort as room
from sdkit.data.distort import checked, control_points, cut_out, distorted, quadrilateral, spline, thin_plate, warped
from sdkit.experiment import Experiment
from sdkit.methods import BYOT, DDGSD, DLB, KD, LSR, METHODS, PSKD, SFR, Vanilla
from sdkit.methods.base import labels_of, supervised
from sdkit.models import four_stage
from sdkit.train import Recipe, Training


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int = 5, h: int = 7, w: int = 9, seed: int = 0) -> torch.Tensor:
    return 255 * torch.rand(n, 3, h, w, generator=generator(seed))


def toy(n: int = 24, size: int = 12, **options) -> Data:
    x = torch.randint(1, 256, (n, 3, size, size), generator=generator(), dtype=torch.uint8)
    every = Images(x, torch.arange(n) % 4)
    nothing = Images(x[:0], every.y[:0])
    return Data("toy", tuple("abcd"), every, nothing, every, (0, 0, 0), (1 / 255,) * 3, pad=1, **options)


def slow_warp(image: np.ndarray, m: np.ndarray, bend=lambda x, y: (x, y)) -> np.ndarray:
    """Pixel by pixel: where does it come from, and which four neighbours are mixed; outside is black."""
    channels, h, w = image.shape
    out = np.zeros_like(image)
    for i in range(h):
        for j in range(w):
            place = m @ [*bend((j + 0.5) * 2 / w - 1, (i + 0.5) * 2 / h - 1), 1.0]
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


def slow_spline(points: np.ndarray, targets: np.ndarray):
    """Bookstein's thin-plate spline: solve for the weights of U = r^2 log r^2 and an affine part, then add them up."""
    n = len(points)
    u = lambda p, q: 0.0 if (r := math.dist(p, q)) == 0 else r**2 * math.log(r**2)  # noqa: E731
    system = np.zeros((n + 3, n + 3))
    for i in range(n):
        system[i] = [*(u(points[i], q) for q in points), 1, *points[i]]
        system[n:, i] = [1, *points[i]]
    solved = np.linalg.solve(system, np.concatenate([targets, np.zeros((3, 2))]))

    def bend(x: float, y: float) -> np.ndarray:
        return sum(solved[i] * u((x, y), points[i]) for i in range(n)) + solved[n] + solved[n + 1] * x + solved[n + 2] * y

    return bend


@pytest.mark.parametrize("names", [["thin-plate"], ["thin-plate", "rotation", "perspective"]])
def test_a_thin_plate_is_what_a_loop_over_pixels_makes_of_bookstein_s_spline(names):
    """With others it comes first on the way from the result to the image: they move what is bent."""
    x, g = images(3), generator(3)
    m = torch.eye(3).expand(3, 3, 3)
    for n in names[1:]:
        m = m @ room.GEOMETRY[n](3, g)
    targets = thin_plate(3, g).double().numpy()
    points = np.array([(a, b) for b in np.linspace(-1, 1, 4) for a in np.linspace(-1, 1, 4)])
    expected = [
        slow_warp(image, matrix, slow_spline(points, there))
        for image, matrix, there in zip(x.double().numpy(), m.double().numpy(), targets, strict=True)
    ]
    assert np.allclose(distorted(x, names, generator(3)).numpy(), expected, atol=0.05)


def test_a_thin_plate_takes_its_control_points_to_their_targets():
    points = control_points(4, dtype=torch.float64)
    targets = points + thin_plate(5, generator()).double()
    assert torch.allclose(spline(points, points) @ targets, targets, atol=1e-12)


def test_an_affine_move_of_the_control_points_is_that_affine_move_everywhere():
    points, places = control_points(4, dtype=torch.float64), 3 * torch.rand(50, 2, generator=generator()).double() - 1.5
    turn, shift = torch.tensor([[0.9, -0.4], [0.3, 1.2]]).double(), torch.tensor([0.2, -0.5]).double()
    assert torch.allclose(spline(places, points) @ (points @ turn.T + shift), places @ turn.T + shift, atol=1e-12)
    x = images(2)
    still = warped(x, torch.eye(3).expand(2, 3, 3), control_points(4).expand(2, 16, 2))
    assert torch.allclose(still, x, atol=0.01), "points that stay put leave the image as it is"


def test_between_its_control_points_a_thin_plate_bends_least():
    """Its bending energy, from second differences on a wide grid, against that of surfaces through the same points."""
    points, height = control_points(4, dtype=torch.float64), torch.rand(16, 1, generator=generator()).double()
    line = torch.linspace(-6, 6, 241, dtype=torch.float64)
    places = torch.stack([line.repeat(241), line.repeat_interleave(241)], 1)

    def energy(surface: np.ndarray) -> float:
        xx, yy = np.diff(surface, 2, 1)[1:-1], np.diff(surface, 2, 0)[:, 1:-1]
        xy = np.diff(np.diff(surface, 1, 0), 1, 1)
        return float((xx**2).sum() + 2 * (xy**2).sum() + (yy**2).sum())

    plate = (spline(places, points) @ height).view(241, 241).numpy()
    x, y = (c.view(241, 241).numpy() for c in places.unbind(1))
    none = np.sin(1.5 * np.pi * (x + 1)) * np.exp(-(x**2) - y**2)  # 0 at every control point
    assert np.abs(spline(points, points).numpy() @ height.numpy() - height.numpy()).max() < 1e-12
    assert all(energy(plate) < energy(plate + size * none) for size in (-0.2, -0.05, 0.05, 0.2))


def test_draws_stay_within_their_ranges_and_fill_them():
    m = room.rotation(4000, generator())
    angle = torch.atan2(m[:, 1, 0], m[:, 0, 0]).rad2deg()
    assert angle.abs().max() <= room.ROTATION and angle.min() < -0.97 * room.ROTATION and angle.max() > 0.97 * room.ROTATION
    size = 1 / room.scale(4000, generator())[:, 0, 0]
    assert 1 / room.SCALE <= size.min() < 0.82 and 1.23 < size.max() <= room.SCALE + 1e-6
    off = (thin_plate(500, generator()) - control_points(4)) / 2  # of a side of 2
    assert off.shape == (500, 16, 2) and -0.1001 < off.min() < -0.099 and 0.099 < off.max() < 0.1001
    assert len(off.flatten().unique()) > 15_000, "every point of every image has its own"


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


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_cutout_keeps_the_memory_format_and_its_input(layout):
    x = torch.ones(5, 3, 8, 10).contiguous(memory_format=layout)
    assert cut_out(x, 4, generator(2)).is_contiguous(memory_format=layout) and x.all()


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
    data = DATASETS[name](root=tmp_path, distort=["rotation"], cutout=3, mixup=0.2)
    assert data.distort == ("rotation",) and data.cutout == 3 and data.mixup == 0.2


# -- mixup ---------------------------------------------------------------------------------------------------------------------


def mixing(batch: Batch, plain: Batch, field: str) -> list[int]:
    """Which image each one of a mixed batch is mixed with: found by trying all. Fails where none fits."""
    share = float(batch.mix[1])
    views, clean = (getattr(b, field).double().numpy() for b in (batch, plain))
    found = []
    for i, view in enumerate(views):
        fits = [j for j in range(len(clean)) if np.allclose(share * clean[i] + (1 - share) * clean[j], view, atol=1e-3)]
        assert len(fits) == 1
        found += fits
    return found


@pytest.mark.parametrize("pair", [None, "same image", "same class"])
def test_a_mixed_batch_is_the_plain_one_with_every_image_mixed_with_one_other_place(pair):
    """Both views with the same partner, in the same share; each image is once the larger part and once the smaller."""
    plain = next(iter(toy(distort=["rotation"], cutout=3).batches(8, pair=pair, seed=5)))
    batch = next(iter(toy(distort=["rotation"], cutout=3, mixup=1.0).batches(8, pair=pair, seed=5)))
    assert plain.mix is None and torch.equal(plain.index, batch.index) and torch.equal(plain.y, batch.y)
    partner, share = batch.mix
    assert share.shape == () and 0.5 <= share <= 1 and share.dtype == torch.float32
    other = mixing(batch, plain, "x")
    assert sorted(other) == [*range(8)] and other != [*range(8)]
    assert partner.tolist() == plain.y[other].tolist()
    assert batch.x.stride() == plain.x.stride()
    if pair is not None:
        assert mixing(batch, plain, "pair") == other


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0, 8.0])
def test_shares_are_beta_s_and_never_less_than_half(alpha):
    """Folding at 1/2 keeps the distance to 1/2: its second and fourth moments are those of Beta(alpha, alpha)."""
    loader = toy(mixup=alpha).batches(2)
    s = torch.cat([loader.shares() for _ in range(2000)]).double().numpy()
    assert len(s) == 24_000 and s.min() >= 0.5 and s.max() <= 1
    second = 1 / (4 * (2 * alpha + 1))
    fourth = second * 3 / (4 * (2 * alpha + 3))
    for power, moment in ((2, second), (4, fourth)):
        draws = (s - 0.5) ** power
        assert abs(draws.mean() - moment) < 4 * draws.std() / math.sqrt(len(s))
    means = {1.0: 0.75, 0.5: 0.5 + 1 / math.pi}  # uniform, and the arcsine law
    assert abs(s.mean() - means.get(alpha, s.mean())) < 4 * s.std() / math.sqrt(len(s))


def test_over_many_epochs_an_image_is_its_own_share_of_itself_and_the_rest_of_all():
    x = torch.tensor([10, 50, 90, 250], dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 3, 2, 2).contiguous()
    data = replace(toy(mixup=1.0), train=Images(x, torch.arange(4)), pad=0, mirror=False)
    loader, total, labels, epochs = data.batches(4), torch.zeros(4), torch.zeros(4, 4), 3000
    for _ in range(epochs):
        for batch in loader:
            total[batch.index] += batch.x[:, 0, 0, 0] / epochs
            labels[batch.index] += labels_of(batch, 4) / epochs
    assert torch.allclose(total, 0.75 * torch.tensor([10.0, 50, 90, 250]) + 0.25 * 100, atol=2.5)
    assert torch.allclose(labels, 0.75 * torch.eye(4) + 0.25 / 4, atol=0.02)


def test_a_mixing_loader_repeats_itself_and_goes_on_where_its_state_was_taken():
    data = toy(mixup=0.4)
    straight, again, resumed = (data.batches(8, pair="same image") for _ in range(3))
    assert all(torch.equal(a.pair, b.pair) for a, b in zip(straight, again, strict=True))
    resumed.load_state_dict(straight.state_dict())
    for a, b in zip(straight, resumed, strict=True):
        assert torch.equal(a.x, b.x) and torch.equal(a.mix[0], b.mix[0]) and torch.equal(a.mix[1], b.mix[1])


def test_evaluation_is_never_mixed():
    data = toy(mixup=1.0)
    batch = next(iter(data.evaluation("test")))
    assert batch.mix is None and torch.equal(batch.x, data.test.x.float())


@pytest.mark.parametrize("alpha", [-0.1, math.inf, math.nan, True, "0.2", None])
def test_a_wrong_alpha_is_told(alpha):
    with pytest.raises(ValueError, match="mixup is the alpha of Beta.* a number from 0"):
        toy(mixup=alpha)


def against(z: np.ndarray, target: np.ndarray) -> float:
    """Cross entropy against distributions, one image and one class after the other."""
    p = paper.softmax(z)
    return -sum(t * math.log(q) for row, said in zip(target, p, strict=True) for t, q in zip(row, said, strict=True)) / len(z)


def mixture(seed: int = 0, n: int = 6, classes: int = 10, share: float = 0.7) -> tuple[Batch, np.ndarray]:
    """A batch with labels, partner's labels and a share, and the mixed labels [n, K] entry by entry."""
    y, partner = (torch.randint(classes, (n,), generator=generator(s)) for s in (seed, seed + 100))
    target = np.zeros((n, classes))
    for i in range(n):
        target[i, y[i]] += share
        target[i, partner[i]] += 1 - share
    x, pair = (torch.randn(n, 3, 8, 8, generator=generator(s)) for s in (seed, seed + 1))
    return Batch(x, y, torch.arange(n), pair, (partner, torch.tensor(share, dtype=torch.float64))), target


def said(n: int = 6, classes: int = 10, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, classes, generator=generator(seed), dtype=torch.float64)


START = Progress(0, 0, 4, 2)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_loss_of_a_mixture_is_the_cross_entropy_against_the_mixed_labels(smoothing):
    batch, target = mixture()
    z = said()
    assert np.allclose(labels_of(batch, 10).numpy(), target)
    softened = (1 - smoothing) * target + smoothing / 10
    assert float(supervised(z, batch, smoothing)) == pytest.approx(against(z.numpy(), softened))
    assert float(supervised(z, batch._replace(mix=None))) == pytest.approx(paper.cross_entropy(z.numpy(), batch.y.numpy()))


def test_vanilla_label_smoothing_and_distillation_learn_from_mixed_labels():
    batch, target = mixture()
    z, model = said(), four_stage(10, width=8)
    out = Features(z, None, ())
    assert float(Vanilla().terms(None, out, batch, START)["task"]) == pytest.approx(against(z.numpy(), target))
    smooth = LSR(model, epsilon=0.2).terms(None, out, batch, START)["task"]
    assert float(smooth) == pytest.approx(against(z.numpy(), 0.8 * target + 0.02))
    terms = KD(model, teacher=four_stage(10, width=8).eval(), alpha=0.6).terms(None, out, batch, START)
    assert float(terms["task"]) == pytest.approx(0.4 * against(z.numpy(), target))


def test_both_views_of_ddgsd_and_every_exit_of_byot_learn_from_mixed_labels():
    batch, target = mixture()
    model = four_stage(10, width=8)
    a, b = said(seed=1), said(seed=2)
    both = Features(torch.cat([a, b]), torch.randn(12, 4, generator=generator(), dtype=torch.float64), ())
    task = DDGSD(model).terms(None, both, batch, START)["task"]
    assert float(task) == pytest.approx(against(a.numpy(), target) + against(b.numpy(), target))
    method = BYOT(model, alpha=0.4).eval()
    out = model.eval().forward_features(batch.x)
    terms, exits = method.terms(model, out, batch, START), method.exits(out, batch.x)
    shallow = sum(against(exits[name].detach().double().numpy(), target) for name in method.auxiliary_heads())
    assert terms["task"].item() == pytest.approx(against(out.logits.detach().double().numpy(), target), rel=1e-5)
    assert terms["head ce"].item() == pytest.approx(0.6 * shallow, rel=1e-5)


def test_ps_kd_softens_mixed_labels():
    batch, target = mixture()
    method, before, now = PSKD(None, train_size=6, alpha=0.8), said(seed=1), said(seed=2)
    method.remember(Features(before, None, ()), batch, START)
    share = 0.8 * 3 / 4
    expected = against(now.numpy(), (1 - share) * target + share * paper.softmax(before.numpy()))
    task = method.terms(None, Features(now, None, ()), batch, Progress(2, 4, 4, 2))["task"]
    assert float(task) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("sizes", [(6, 6), (4, 6)])
def test_dlb_keeps_the_last_batch_s_mixture_with_its_share(sizes):
    (batch, target), (last, before) = mixture(n=sizes[0], share=0.6), mixture(n=sizes[1], seed=7, share=0.9)
    z, again = said(sizes[0], seed=1), said(sizes[1], seed=2)

    class Network(torch.nn.Module):
        def forward_features(self, x):
            assert x is last.pair
            return Features(again, None, ())

    method = DLB(None)
    method.remember(Features(said(sizes[1], seed=3), None, ()), last, START)
    task = method.terms(Network(), Features(z, None, ()), batch, START)["task"]
    assert float(task) == pytest.approx(against(np.concatenate([z, again]), np.concatenate([target, before])))


@pytest.mark.parametrize("labels", ["dynamic", "ps-kd", "ols", "uniform", "hard"])
def test_sfr_s_labels_of_mixtures_are_distributions_whose_wrong_classes_are_of_neither_label(labels):
    batch, target = mixture()
    method, progress = SFR(four_stage(10, width=8), train_size=6, labels=labels, epsilon=0.2), Progress(1, 1, 4, 1)
    past = paper.softmax(said(10, seed=1).numpy())  # of images, for "ols" of classes
    method.memory["past"] = torch.tensor(past)
    y, partner = batch.y.numpy(), batch.mix[0].numpy()
    wrong = np.where(target == 0, past[:6], 0)
    expected = {
        "dynamic": 0.8 * target + 0.2 * wrong / wrong.sum(1, keepdims=True),
        "ps-kd": 0.6 * target + 0.4 * past[:6],
        "ols": 0.5 * target + 0.5 * (0.7 * past[y] + 0.3 * past[partner]),
        "uniform": 0.8 * target + 0.02,
        "hard": target,
    }[labels]
    assert np.allclose(method.targets(batch, progress).numpy(), expected, atol=1e-6) and np.allclose(expected.sum(1), 1)


@pytest.mark.parametrize("name", [n for n in METHODS if n != "adversarial-ddgsd"])  # its second view is made against the labels
def test_whatever_a_method_makes_of_labels_it_makes_of_both_labels_of_a_mixture(name):
    """At its first step each term against labels is the mean of what either label alone would give, by the shares.

    Methods that leave labels away say that they cannot.
    """
    torch.manual_seed(0)
    wanted = inspect.signature(METHODS[name]).parameters
    model = four_stage(10, width=8, **({"survival": 0.5} if name == "self-guidance" else {}))
    offer = {"model": model, "teacher": four_stage(10, width=8), "train_size": 12}
    method = METHODS[name](**{k: v for k, v in offer.items() if k in wanted})
    batch, _ = mixture(n=12)
    batch = batch._replace(mix=(batch.mix[0], torch.tensor(0.7)))

    def terms(batch: Batch) -> dict[str, float]:
        torch.manual_seed(1)
        method_, model_ = copy.deepcopy((method, model))
        return {
            k: t.item() for k, t in method_.terms(model_, model_.forward_features(method_.view(batch)), batch, START).items()
        }

    if name in ("few-labels", "self-training"):
        with pytest.raises(ValueError, match="mixup=0"):
            terms(batch)
        return
    both, first, second = terms(batch), terms(batch._replace(mix=None)), terms(batch._replace(y=batch.mix[0], mix=None))
    against_labels = [k for k in both if k == "task" or k.split()[-1] == "ce"]
    assert against_labels
    for k in against_labels:
        assert both[k] == pytest.approx(0.7 * first[k] + 0.3 * second[k], rel=1e-5), k


@pytest.mark.parametrize("name", ["vanilla", "dlb"])
def test_a_training_with_mixup_goes_on_where_its_checkpoint_was_taken(name):
    def training() -> Training:
        torch.manual_seed(0)
        model, data = four_stage(4, width=8), toy(mixup=0.4)
        return Training(model, METHODS[name](*([model] if name == "dlb" else [])), data, Recipe(3, 8, 0.05), on="cpu")

    straight, resumed = training(), training()
    for event in straight.iterate():
        if getattr(event, "accuracy", None) and event.epoch == 0:
            state = copy.deepcopy(straight.state_dict())
    resumed.load_state_dict(state)
    [*resumed.iterate()]
    a, b = (t.model.state_dict() for t in (straight, resumed))
    assert all(torch.equal(a[k], b[k]) for k in a) and not torch.equal(
        a["classifier.weight"], state["model"]["classifier.weight"]
    )


# -- in an experiment ----------------------------------------------------------------------------------------------------------


def test_what_is_switched_off_is_the_run_without_it():
    plain = Experiment(data="digits")
    assert replace(plain, dataset={"distort": [], "cutout": 0, "mixup": 0}).key == plain.key


def test_a_distortion_makes_another_run():
    plain = Experiment(data="digits")
    others = [
        replace(plain, dataset=d)
        for d in ({"distort": ["scale"]}, {"cutout": 2}, {"distort": ("scale",), "cutout": 2}, {"mixup": 1})
    ]
    assert len({e.key for e in (plain, *others)}) == 5 and replace(plain, dataset={"mixup": 1.0}).key == others[3].key
    assert others[2].config["dataset"]["distort"] == ["scale"]
    assert others[2].load_data().distort == ("scale",)
