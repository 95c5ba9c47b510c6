"""One contract, every network; then what the papers print of some."""

from __future__ import annotations

import functools
import importlib
import inspect
from urllib.error import URLError

import pytest
import torch
from torch import nn

from sdkit.analysis import forward_flops, last_convolution
from sdkit.core import Features
from sdkit.methods import BYOT, DML, DRG, ONE, OKDDip
from sdkit.models import (
    ABOUT,
    MODELS,
    Head,
    PlainSum,
    Projection,
    Residual,
    ShakeDrop,
    ShakeShake,
    cifar_resnet,
    cifar_resnext,
    densenet,
    embedded,
    four_stage,
    imagenet_resnet,
    mobilenet_tiny,
    parameters,
    preact_resnet,
    pyramidnet,
    residuals,
    sampled,
    vgg_tiny,
    wide_resnet,
)

IMAGENET = ("alexnet", "googlenet")  # no stem for small images


def options(name: str) -> set[str]:
    return set(inspect.signature(MODELS[name]).parameters)


def as_it_came(channels: int | None, x: torch.Tensor) -> torch.Tensor:
    assert channels in (None, x.shape[1])
    return x


def shapes_alone(model: nn.Module) -> nn.Module:
    """In eval mode, with batch norms and ReLUs that look at the width alone: on meta PyTorch spells them out in Python."""
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d | nn.ReLU | nn.ReLU6):
            m.forward = functools.partial(as_it_came, getattr(m, "num_features", None))
    return model.eval()


@functools.cache
def on_meta(name: str, num_classes: int = 7, **given) -> nn.Module:
    """The network without its numbers: shapes and counts cost little."""
    with torch.device("meta"):
        return shapes_alone(MODELS[name](num_classes=num_classes, **given))


DEEPER = (
    "resnet56",
    "resnet110",
    "resnet34",
    "resnet101",
    "resnet152",
    "preact-resnet34",
    "wrn-28-12",
    "wide-resnet44-8",
    "densenet-100",
)
"""The same code as a shallower one."""
VARIANTS = [(name, {}) for name in MODELS]
VARIANTS += [(name, {"stem": "imagenet"}) for name in MODELS if "stem" in options(name) and name not in DEEPER]
VARIANTS += [(name, {"sections": 4}) for name in MODELS if "sections" in options(name) and name not in ("resnet8", *DEEPER)]


def variants(*without: str) -> pytest.MarkDecorator:
    ids = lambda v: "-".join([v[0], *map(str, v[1].values())])  # noqa: E731
    return pytest.mark.parametrize("variant", [v for v in VARIANTS if v[0] not in without], ids=ids)


def size_of(name: str, given: dict) -> int:
    return 224 if name in IMAGENET or given.get("stem") == "imagenet" else 32


@functools.cache
def passed(name: str, **given) -> tuple[Features, list[torch.Size]]:
    """A pass at the network's own size, and what its last convolution said in it: one for several tests."""
    model, size, seen = on_meta(name, **given), size_of(name, given), []
    hook = last_convolution(model.stages[-1]).register_forward_hook(lambda m, i, out: seen.append(out.shape))
    with torch.no_grad():
        out = model.forward_features(torch.empty(2, 3, size, size, device="meta"))
    hook.remove()
    return out, seen


def test_every_network_has_a_line_and_can_be_told_its_options():
    assert ABOUT.keys() == MODELS.keys()
    assert all(name == name.lower() for name in MODELS)
    for name in MODELS:
        assert "num_classes" in options(name) and not options(name) & {"args", "kwargs", "options"}


@variants()
def test_taps_are_what_the_network_declares(variant):
    name, given = variant
    model, size, (out, _) = on_meta(name, **given), size_of(name, given), passed(name, **given)
    assert out.logits.shape == (2, 7) and model.num_classes == 7
    assert out.embedding.shape == (2, model.classifier.in_features)
    assert [s.shape[1] for s in out.stages] == [*model.channels]
    lost = int(name == "alexnet")  # its convolutions and pools without padding lose a row and a column on the way
    assert [tuple(s.shape[2:]) for s in out.stages] == [(size // s - lost,) * 2 for s in model.strides]


KINDS = ("bottleneck", "separable", "linear")


@variants(*DEEPER)
def test_every_stage_but_the_last_can_carry_a_head_on_images_of_any_size(variant):
    name, given = variant
    model, size = on_meta(name, **given), size_of(name, given) * 9 // 8 - 1  # 35, 251: maps of odd sizes
    with torch.no_grad():
        stages = model.forward_features(torch.empty(2, 3, size, size, device="meta")).stages
    for s, feature in enumerate(stages[:-1]):
        for kind in KINDS:
            with torch.device("meta"):
                logits, features = shapes_alone(Head(model, s, kind))(feature)
            assert logits.shape == (2, 7)
            assert features.shape == (2, model.channels[s] if kind == "linear" else model.classifier.in_features)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "resnet8"])
def test_byot_has_four_exits_and_none_of_them_is_part_of_the_network(name):
    model = on_meta(name, **({"sections": 4} if "sections" in options(name) else {}))
    before = parameters(model)
    with torch.device("meta"):
        method = BYOT(model)
    assert [*method.auxiliary_heads()] == ["1/4", "2/4", "3/4"]
    assert parameters(model) == before and not [m for m in model.modules() if isinstance(m, Head)]


@pytest.mark.parametrize("name", [name for name in MODELS if name not in DEEPER])
def test_drg_puts_one_head_after_the_second_stage(name):
    model = on_meta(name)
    before = parameters(model)
    with torch.device("meta"):
        method = DRG(model).eval()
    assert [*method.auxiliary_heads()] == ["shallow 2"] and method.exits(passed(name)[0], None)["shallow 2"].shape == (2, 7)
    assert parameters(model) == before and parameters(method) > 0


@pytest.mark.parametrize("name", [name for name in MODELS if name not in DEEPER])
def test_grad_cam_has_a_convolution_to_look_at_in_the_last_stage(name):
    """Its map has the last stage's size, but for a pooling behind it."""
    out, seen = passed(name)
    assert isinstance(last_convolution(on_meta(name).stages[-1]), nn.Conv2d) and len(seen) == 1
    pooled = {"vgg-tiny": (2, 0), "vgg19-bn": (2, 0), "alexnet": (2, 1)}  # 3x3 with stride 2 takes 13 to 6
    times, more = pooled.get(name, (1, 0))
    assert seen[0][2] == times * out.stages[-1].shape[2] + more


# --- with numbers in them ---

SLIM = {
    "preact-resnet18": {"width": 8},
    **{name: {"widen": 1} for name in MODELS if name.startswith("wrn")},
    **{name: {"width": 8} for name in MODELS if name.startswith("wide")},
    "resnext29-8": {"width": 4}, "pyramidnet101-240": {"alpha": 24}, "shakedrop-pyramidnet101-240": {"alpha": 24},
    "shake-resnet26": {"width": 8}, "shakedrop-resnet20": {"width": 8},
}  # fmt: skip
SIZE = {"alexnet": 63, "googlenet": 64}
PARTS = [name for name in MODELS if name not in DEEPER]


@pytest.fixture(scope="module", params=PARTS)
def built(request):
    torch.manual_seed(0)
    model = MODELS[request.param](num_classes=7, **SLIM.get(request.param, {}))
    size = SIZE.get(request.param, 32)
    return request.param, model, torch.randn(2, 3, size, size)


def close(a, b):
    """The same but for rounding, which differs from call to call."""
    return torch.allclose(a, b, rtol=1e-3, atol=1e-4 * b.abs().max().item())


@torch.no_grad()
def test_a_pass_is_its_taps_and_the_last_stage_is_all_that_the_neck_sees(built):
    _, model, x = built
    model.eval()
    out = model.forward_features(x)
    assert out.logits.isfinite().all() and out.logits.std() > 0
    assert close(model(x), out.logits)
    assert close(model.neck(out.stages[-1]), out.embedding)  # which makes it Grad-CAM's target
    assert close(model.classifier(out.embedding), out.logits)
    assert close(model(x.to(memory_format=torch.channels_last)), out.logits)
    h = model.stem(x)
    for stage, tapped in zip(model.stages, out.stages, strict=True):
        h = stage(h.clone())
        assert close(tapped, h)  # nothing later in the pass has written into it


@torch.no_grad()
def test_only_stochastic_depth_dropout_and_blocks_that_shake_make_training_random(built):
    name, model, x = built
    model.train()
    if name.startswith("shake"):
        assert not close(model(x), model(x))
        for m in model.modules():
            if isinstance(m, ShakeShake | ShakeDrop):
                m.eval()
    rates = [m.p for m in model.modules() if isinstance(m, nn.Dropout)]
    for m in model.modules():
        if isinstance(m, nn.Dropout):
            m.p = 0.0
    assert close(model(x), model(x))
    for m, p in zip((m for m in model.modules() if isinstance(m, nn.Dropout)), rates, strict=True):
        m.p = p
    if any(rates):
        assert not close(model(x), model(x))
    assert bool(rates) == (name.startswith("mobilenet") or name in IMAGENET)


def test_every_number_of_a_network_is_in_its_state_and_learns(built):
    name, model, x = built
    model.eval()
    model(x).square().sum().backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not idle
    model.zero_grad(set_to_none=True)
    torch.manual_seed(1)
    other = MODELS[name](num_classes=7, **SLIM.get(name, {})).eval()
    with torch.no_grad():
        assert not close(other(x), model(x))
        other.load_state_dict(model.state_dict())
        assert close(other(x), model(x))


@torch.no_grad()
def test_a_dropped_block_is_not_computed(built):
    name, model, x = built
    blocks = residuals(model)
    assert bool(blocks) == ("survival" in options(name) or name == "embedded" or name.startswith("shake"))
    if not blocks:
        return
    computed = []
    hooks = [b.branch.register_forward_hook(lambda *a, i=i: computed.append(i)) for i, b in enumerate(blocks)]
    mask = [i % 3 == 0 for i in range(len(blocks))]
    model.train()
    with sampled(model, mask):
        model(x)
    assert computed == [i for i, on in enumerate(mask) if on]
    computed.clear()
    for block in blocks:
        block.survival = 0.5
    torch.manual_seed(0)
    draws = [bool(torch.rand(()) < 0.5) for _ in blocks]
    torch.manual_seed(0)
    model(x)
    if "dropout" not in options(name) and not name.startswith("shake"):  # which draw from the same generator
        assert computed == [i for i, on in enumerate(draws) if on]
    computed.clear()
    model.eval()(x)
    assert computed == [*range(len(blocks))]
    for block in blocks:
        block.survival = 1.0
    for hook in hooks:
        hook.remove()


def test_survival_falls_linearly_over_the_blocks_of_every_family():
    """Blocks as the papers count them; of MobileNetV2 those with a shortcut."""
    count = {
        "resnet50-basic": 24, "resnet110-bottleneck": 36, "preact-resnet18": 8, "preact-resnet34": 16, "wrn-28-10": 12,
        "wrn-40-4": 18, "wide-resnet44-8": 21, "resnext29-8": 9, "pyramidnet101-240": 33, "resnet152": 50,
        "resnext50-32x4d": 16, "mobilenet-v2": 10, "mobilenet-tiny": 4,
    }  # fmt: skip
    for name, n in count.items():
        model = on_meta(name, survival=0.5)
        assert [b.survival for b in residuals(model)] == pytest.approx([1 - k / n * 0.5 for k in range(1, n + 1)]), name


def test_blocks_add_as_printed():
    """Paper 002, Eq. 3 and 4, by hand: branch 2x, shortcut x, at x = -1 and 3."""

    class Twice(nn.Module):
        def forward(self, x):
            return 2 * x

    x = torch.tensor([-1.0, 3.0])
    for kind, after in ((Residual, torch.relu), (PlainSum, lambda z: z)):
        block = kind(Twice(), nn.Identity())
        block.survival = 0.25
        assert block.eval()(x).tolist() == after(torch.tensor([-1.5, 4.5])).tolist()
        block.train().forced = True
        assert block(x).tolist() == after(torch.tensor([-3.0, 9.0])).tolist()
        block.forced = False
        assert block(x).tolist() == after(x).tolist()


@torch.no_grad()
def test_a_pre_activation_network_is_its_equations():
    """WRN-16-1 as a chain: BN-ReLU-conv-BN-ReLU-conv + shortcut; one BN-ReLU serves both where the width changes."""
    torch.manual_seed(0)
    model = wide_resnet(16, 5, widen=1).double().eval()
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.normal_()
            m.running_var.uniform_(0.5, 2)
            m.weight.normal_()
            m.bias.normal_()
    state = iter(dict(model.named_modules()).values())
    convolutions = iter([m for m in model.modules() if isinstance(m, nn.Conv2d)])
    norms = iter([m for m in model.modules() if isinstance(m, nn.BatchNorm2d)])
    assert next(state) is model

    def conv(x, stride=1):
        w = next(convolutions).weight
        return nn.functional.conv2d(x, w, stride=stride, padding=w.shape[-1] // 2)

    def act(x):
        n = next(norms)
        mean, var, a, b = (v.view(1, -1, 1, 1) for v in (n.running_mean, n.running_var, n.weight, n.bias))
        return ((x - mean) / (var + n.eps).sqrt() * a + b).clamp(min=0)

    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    h = conv(x)
    for stage in range(3):
        for b in range(2):
            stride = 2 if stage > 0 and b == 0 else 1
            entry = act(h)
            branch = conv(act(conv(entry, stride)))
            h = branch + (conv(entry, stride) if stride == 2 else h)
    z = model.classifier(act(h).mean((2, 3)))
    assert next(convolutions, None) is None and next(norms, None) is None
    assert torch.allclose(model(x), z)


@torch.no_grad()
def test_a_pyramid_widens_a_little_with_every_block_and_pads_its_shortcuts_with_zeros():
    """alpha=18 over 3 x 2 blocks adds 3 to the width of 16, and a bottleneck gives 4 times that."""
    model = pyramidnet(20, 5, alpha=18).eval()
    assert [b.branch[-1].num_features for b in residuals(model)] == [76, 88, 100, 112, 124, 136]
    skip, x = residuals(model)[2].skip, torch.arange(88.0).view(1, 88, 1, 1) + torch.tensor([[0.0, 4.0], [8.0, 12.0]])
    assert skip(x).flatten().tolist() == [*(c + 6 for c in range(88)), *[0.0] * 12]


@torch.no_grad()
def test_a_dense_stage_keeps_everything_it_was_given():
    model = densenet(10, 5, growth=2).eval()  # two layers per block
    x = torch.randn(1, 3, 8, 8)
    out, first = model.forward_features(x), model.stem(x)
    assert model.channels == (20, 24, 28)
    assert close(out.stages[0][:, :16], first)


# --- heads ---


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [5, 8, 32])
def test_a_head_sits_on_every_stage_but_the_last_however_small_the_map(kind, size):
    for model in (four_stage(5, width=8), vgg_tiny(5), mobilenet_tiny(5), densenet(10, 5, growth=2, sections=4)):
        model.eval()
        stages = model.forward_features(torch.randn(2, 3, size, size)).stages
        for s in range(3):
            logits, features = Head(model, s, kind).eval()(stages[s])
            assert logits.shape == (2, 5) and logits.isfinite().all()
            assert features.shape == (2, model.channels[s] if kind == "linear" else model.channels[-1])
    with pytest.raises(ValueError, match="0 to 2 here, got 3"):
        Head(model, 3, kind)
    with pytest.raises(ValueError, match="got 'mlp'"):
        Head(model, 0, "mlp")


# --- counts ---


@pytest.mark.parametrize(
    ("model", "printed", "source"),
    [
        (lambda: cifar_resnet(20, 10), "0.27", "He et al. 2016, Table 6"),
        (lambda: cifar_resnet(32, 10), "0.46", "He et al. 2016, Table 6"),
        (lambda: cifar_resnet(32, 100), "0.47", "papers 001 (0.5) and 002"),
        (lambda: cifar_resnet(56, 10), "0.85", "He et al. 2016, Table 6"),
        (lambda: on_meta("resnet50-basic", 10), "0.76", "paper 002: 24 basic blocks"),
        (lambda: on_meta("resnet50-basic", 100), "0.76", "paper 002: 24 basic blocks"),
        (lambda: on_meta("resnet110", 10), "1.73", "He et al. 2016, Table 6 (1.7), and paper 001"),
        (lambda: on_meta("resnet110", 100), "1.73", "paper 001: 1.7"),
        (lambda: on_meta("resnet110-bottleneck", 10), "1.15", "paper 002"),
        (lambda: on_meta("preact-resnet18", 10), "11.2", "paper 001, Table 3"),
        (lambda: on_meta("preact-resnet18", 100), "11.2", "paper 001, Table 3"),
        (lambda: on_meta("preact-resnet34", 10), "21.3", "paper 001, Table 3"),
        (lambda: on_meta("preact-resnet34", 100), "21.3", "paper 001, Table 3"),
        (lambda: on_meta("wrn-40-4", 10), "8.9", "paper 001, Table 3"),
        (lambda: on_meta("wrn-16-8", 10), "11.0", "paper 001, Table 3"),
        (lambda: on_meta("wrn-16-8", 100), "11.0", "paper 001, Table 3"),
        (lambda: on_meta("wrn-28-10", 10), "36.5", "paper 001, Table 3"),
        (lambda: on_meta("wrn-28-10", 100), "36.5", "paper 001, Table 3"),
        (lambda: on_meta("densenet-40", 10), "1.0", "paper 001, Table 3"),
        (lambda: on_meta("densenet-100", 10), "7.0", "paper 001, Table 3"),
        (lambda: on_meta("alexnet", 1000), "61", "paper 001, Table 4"),
        (lambda: on_meta("resnet18", 1000, stem="imagenet"), "11.7", "paper 001, Table 4"),
        (lambda: on_meta("resnext29-8", 10), "34.4", "Xie et al. 2017, Table 7"),
        (lambda: on_meta("resnet18", 100), "11.22", "CIFAR stem, 100 classes"),
        (lambda: on_meta("resnet50", 100), "23.71", "CIFAR stem, 100 classes"),
        (lambda: on_meta("resnet101", 100), "42.70", "CIFAR stem, 100 classes"),
        (lambda: on_meta("resnet152", 100), "58.34", "CIFAR stem, 100 classes"),
        (lambda: on_meta("wide-resnet20-8", 100), "17.2", "64 times ResNet-20's 0.27"),
        (lambda: on_meta("wide-resnet44-8", 100), "42.0", "64 times ResNet-44's 0.66"),
        (lambda: on_meta("wrn-28-12", 100), "52.6", "1.2^2 times WRN-28-10's 36.5"),
    ],
)
def test_parameter_counts_are_the_papers(model, printed, source):
    """To the printed digit. Where a paper prints one number for CIFAR-10 and CIFAR-100 and their last layers differ by more,
    it is CIFAR-10's, 90 classes x the embedding's width less: ResNet-110 of bottlenecks 1.15 (1.17 with 100 classes), WRN-40-4
    8.95 (8.97), DenseNet-40 1.02 (1.06), DenseNet-100 6.98 (7.08). Paper 002's 0.47 for ResNet-32 is CIFAR-100's (0.464 with
    10 classes). 8.949 and 8.972 are 8.9 as printed only when cut, not rounded."""
    digits = len(printed.partition(".")[2])
    whole = parameters(model())
    assert printed in (f"{whole / 1e6:.{digits}f}", f"{int(whole / 10 ** (6 - digits)) / 10**digits:.{digits}f}"), source


@pytest.mark.parametrize(("classes", "table"), [(10, "CIFAR-10, Table 2"), (7, "FER-2013 and RAF, Table 4")])
def test_online_methods_on_resnet_32_have_the_parameters_that_paper_002_prints(classes, table):
    """Tables 2 and 4 count what is trained: 0.47M alone, 1.4M of DML's three, 1.18M of ONE's and 1.53M of OKDDip's branches.

    With parameter-free shortcuts they are 0.464, 1.392, 1.169 and 1.522M: the paper's networks project.
    """
    model = cifar_resnet(32, classes, block="projected")
    kinds = {"0.47": None, "1.40": DML(model, peers=2), "1.18": ONE(model), "1.53": OKDDip(model)}
    for printed, method in kinds.items():
        assert f"{(parameters(model) + (parameters(method) if method else 0)) / 1e6:.2f}" == printed, table
    assert f"{parameters(cifar_resnet(50, classes, block='projected')) / 1e6:.2f}" == "0.76", "its ResNet-50, with them too"
    assert len(ONE(model).branches) == 2 and len(OKDDip(model).branches) == 3, "the network's own counts with them"


@pytest.mark.parametrize(
    ("depth", "alpha", "ten", "hundred"),
    [(164, 270, 27_216_021, 27_319_071), (200, 240, 26_752_702, 26_844_952), (236, 220, 26_969_046, 27_054_096)],
)
def test_pyramids_have_as_many_parameters_as_the_public_ones(depth, alpha, ten, hundred):
    """The networks of Han et al. 2017, Table 4; whole counts from a public collection. Nobody prints PyramidNet-101's."""
    with torch.device("meta"):
        assert (parameters(pyramidnet(depth, 10, alpha)), parameters(pyramidnet(depth, 100, alpha))) == (ten, hundred)


BORROWED = {
    "resnet18": "resnet18", "resnet34": "resnet34", "resnet50": "resnet50", "resnet101": "resnet101", "resnet152": "resnet152",
    "resnext50-32x4d": "resnext50_32x4d", "densenet-121": "densenet121", "vgg19-bn": "vgg19_bn", "mobilenet-v2": "mobilenet_v2",
    "alexnet": "alexnet", "googlenet": "googlenet",
}  # fmt: skip


def as_borrowed(name: str) -> dict:
    return {"stem": "imagenet"} if "stem" in options(name) else {}


@pytest.mark.parametrize(("ours", "theirs"), BORROWED.items())
def test_borrowed_networks_have_the_count_that_torchvision_documents(ours, theirs):
    from torchvision.models import get_model_weights

    documented = get_model_weights(theirs).IMAGENET1K_V1.meta["num_params"]
    assert parameters(on_meta(ours, 1000, **as_borrowed(ours))) == documented


@pytest.mark.parametrize(("ours", "theirs"), BORROWED.items())
def test_borrowed_networks_cost_what_torchvision_documents(ours, theirs):
    """It prints multiplications in thousands of millions, of one image of 224 px, and so do its docs' tables."""
    from torchvision.models import get_model_weights

    documented = get_model_weights(theirs).IMAGENET1K_V1.meta["_ops"]
    flops = forward_flops(on_meta(ours, 1000, **as_borrowed(ours)), torch.empty(1, 3, 224, 224, device="meta"))
    assert flops / 2e9 == pytest.approx(documented, rel=0.01, abs=0.002)


@pytest.mark.parametrize("name", ["resnet20", "resnet110"])
def test_a_cifar_resnet_costs_its_convolutions_and_its_linear_layer(name):
    """Every 3x3 convolution costs 9 x 16 x 16 x 32 x 32 multiplications, but the first of the second and third stage half."""
    blocks = (int(name.removeprefix("resnet")) - 2) // 6
    whole = 9 * 16 * 16 * 32 * 32
    products = 9 * 3 * 16 * 32 * 32 + (3 * 2 * blocks - 2) * whole + 2 * whole // 2 + 64 * 10
    assert forward_flops(on_meta(name, 10), torch.empty(1, 3, 32, 32, device="meta")) == 2 * products


class WithHeads(nn.Module):
    """A network with an auxiliary classifier on every stage but the last."""

    def __init__(self, model):
        super().__init__()
        self.model, self.heads = model, nn.ModuleList(Head(model, s) for s in range(len(model.channels) - 1))

    def forward(self, x):
        return [head(f) for head, f in zip(self.heads, self.model.forward_features(x).stages, strict=False)]


@pytest.mark.parametrize("name", [name for name in MODELS if name not in DEEPER])
def test_every_network_s_cost_is_counted_with_its_heads(name):
    size = size_of(name, {})
    with torch.device("meta"):
        x, several = torch.empty(1, 3, size, size), shapes_alone(WithHeads(on_meta(name)))
    assert 0 < forward_flops(on_meta(name), x) < forward_flops(several, x)


@pytest.mark.parametrize("name", ["resnet8", "resnet14", "vgg-tiny", "densenet-tiny", "mobilenet-tiny"])
def test_a_laptops_networks_are_small(name):
    assert parameters(on_meta(name, 100)) < 400_000


# --- torchvision's ---


@torch.no_grad()
@pytest.mark.parametrize("name", [n for n in BORROWED if n not in ("resnet34", "resnet101", "resnet152")])
def test_a_borrowed_network_says_what_torchvisions_own_says(name, monkeypatch):
    """The same modules inside: ours in stages, torchvision's by its own forward."""
    kept = []
    for family in ("resnet", "densenet", "vgg", "mobilenet", "alexnet", "googlenet"):
        module = importlib.import_module(f"sdkit.models.{family}")
        build = module.from_torchvision
        monkeypatch.setattr(module, "from_torchvision", lambda *a, b=build, **k: kept.append(b(*a, **k)) or kept[-1])
    torch.manual_seed(0)
    model = MODELS[name](num_classes=7, **as_borrowed(name)).eval()
    x = torch.randn(2, 3, 96, 96)
    assert close(model(x), kept[0].eval()(x))


@pytest.fixture
def as_if_downloaded(monkeypatch):
    """Gives torchvision a state of ours for the one that it would download."""

    def give(state):
        from torchvision.models._api import WeightsEnum

        monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda self, *a, **k: state)

    return give


@torch.no_grad()
@pytest.mark.parametrize("name", ["resnet18", "googlenet"])
def test_pretrained_weights_are_torchvisions_and_say_what_they_say_there(name, as_if_downloaded):
    """GoogLeNet's weights want images normalised another way, and bring auxiliary classifiers along."""
    from torchvision import models as theirs

    more = {"init_weights": True} if name == "googlenet" else {}
    torch.manual_seed(0)
    as_if_downloaded(getattr(theirs, name)(**more).state_dict())
    expected = getattr(theirs, name)(weights="IMAGENET1K_V1", progress=False).eval()
    model = MODELS[name](num_classes=1000, pretrained=True, **as_borrowed(name)).eval()
    x = torch.randn(2, 3, 64, 64)
    assert close(model(x), expected(x))
    assert parameters(model) == parameters(on_meta(name, 1000, **as_borrowed(name)))
    fewer = MODELS[name](num_classes=7, pretrained=True, **as_borrowed(name)).eval()
    assert fewer.num_classes == 7 and fewer(x).shape == (2, 7)
    assert close(fewer.forward_features(x).embedding, model.forward_features(x).embedding)


@pytest.mark.parametrize("name", BORROWED)
def test_pretrained_weights_that_cannot_be_had_are_missed_in_a_sentence(name, monkeypatch):
    def offline(*a, **k):
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with (
        torch.device("meta"),
        pytest.raises(ConnectionError, match="go online once, or put https://download.pytorch.org/.*pth"),
    ):
        MODELS[name](num_classes=10, pretrained=True, **as_borrowed(name))
    if "stem" in options(name):
        with pytest.raises(ValueError, match="belong to ImageNet's stem: say stem='imagenet'"):
            MODELS[name](num_classes=10, pretrained=True)
        with pytest.raises(ValueError, match="'cifar' or 'imagenet', got '7x7'"):
            MODELS[name](num_classes=10, stem="7x7")


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: cifar_resnet(21, 10), r"depth 6n\+2 .* got 21"),
        (lambda: cifar_resnet(20, 10, block="wide"), "'basic', 'projected' or 'bottleneck', got 'wide'"),
        (lambda: embedded(10, dim=0), "a whole number from 1, got 0"),
        (lambda: embedded(10, "embedded"), "put on a network of another name"),
        (lambda: cifar_resnet(8, 10, sections=4), "one block here"),
        (lambda: wide_resnet(28, 10, sections=5), "3 stages .* got sections=5"),
        (lambda: imagenet_resnet(20, 10), "18, 34, 50, 101, 152, got 20"),
        (lambda: four_stage(10, width=1), "width=1"),
        (lambda: wide_resnet(20, 10), r"depth 6n\+4 .* got 20: .*cifar_resnet\(20, width=128\)"),
        (lambda: wide_resnet(16, 10, widen=0), "widen is a whole number from 1, got 0"),
        (lambda: preact_resnet(50, 10), "18 or 34, got 50"),
        (lambda: cifar_resnext(30, 10), r"depth 9n\+2 .* got 30"),
        (lambda: cifar_resnext(29, 10, cardinality=0), "cardinality is a whole number from 1, got 0"),
        (lambda: pyramidnet(100, 10), r"depth 9n\+2 .* got 100"),
        (lambda: pyramidnet(101, 10, alpha=-1), "got -1"),
        (lambda: densenet(41, 10), r"depth 3n\+4 .* got 41"),
        (lambda: densenet(40, 10, growth=0), "growth is a whole number from 1, got 0"),
        (lambda: vgg_tiny(10, width=2), "width >= 4, got 2"),
        (lambda: mobilenet_tiny(10, dropout=1.0), r"probability in \[0, 1\), got 1.0"),
        (lambda: on_meta("alexnet")(torch.empty(1, 3, 32, 32, device="meta")), "needs images of at least 63x63, got 32x32"),
        (lambda: on_meta("vgg19-bn", stem="imagenet")(torch.empty(1, 3, 40, 28, device="meta")), "32x32, got 40x28: resize"),
    ],
)  # fmt: skip
def test_bad_sizes_are_refused_in_a_sentence(build, sentence):
    with pytest.raises(ValueError, match=sentence):
        build()


# --- an embedding head ---


@torch.no_grad()
@pytest.mark.parametrize(
    ("backbone", "given"), [("four-stage", {"width": 8}), ("resnet8", {}), ("vgg-tiny", {}), ("resnet18", {"stem": "imagenet"})]
)
def test_an_embedding_head_is_a_linear_layer_before_the_classifier(backbone, given):
    torch.manual_seed(0)
    plain = MODELS[backbone](num_classes=7, **given).eval()
    torch.manual_seed(0)
    model, x = MODELS["embedded"](7, backbone, 24, given).eval(), torch.randn(3, 3, 32, 32)
    out, before = model.forward_features(x), plain.forward_features(x)
    width = plain.classifier.in_features
    assert all(torch.equal(a, b) for a, b in zip(out.stages, before.stages, strict=True))
    head = model.neck[-1]
    assert out.embedding.shape == (3, 24) and close(out.embedding, before.embedding @ head.weight.T + head.bias)
    assert close(out.logits, out.embedding @ model.classifier.weight.T + model.classifier.bias)
    assert parameters(model) - parameters(plain) == (width + 1) * 24 + 25 * 7 - (width + 1) * 7


def test_networks_of_one_embedding_size_need_no_adapter():
    """Paper 000's L2 in Table 3 compares a student's embedding with a wider teacher's."""
    from sdkit.methods import L2

    student, teacher = embedded(5, dim=32), embedded(5, "resnet14", dim=32)
    assert isinstance(L2(student, teacher=teacher).distance.adapter, nn.Identity)
    assert isinstance(L2(four_stage(5), teacher=teacher).distance.adapter, nn.Linear)


def test_an_unknown_backbone_or_option_is_told_what_there_is():
    with pytest.raises(KeyError, match="did you mean 'resnet20'"):
        embedded(5, "resnet-20")
    with pytest.raises(KeyError, match="no option of the network four-stage is called 'widht': did you mean 'width'"):
        embedded(5, backbone_options={"widht": 8})


def test_an_experiment_with_an_embedding_head_is_made_again_from_its_record():
    from sdkit.experiment import Experiment

    config = Experiment(
        model="embedded", data="digits", network={"dim": 24, "backbone_options": {"width": 8, "survival": 0.5}}
    ).config
    model = Experiment.of(config).build()[0]
    assert model.channels == (8, 16, 32, 64) and model.classifier.in_features == 24 and residuals(model)[-1].survival == 0.5


@pytest.mark.parametrize(("c_in", "side"), [(4, 8), (6, 8), (8, 8), (8, 112), (15, 64), (16, 64)])
def test_a_projection_is_the_strided_convolution_and_its_gradient_is_right(c_in, side):
    """By sums over pixels: oneDNN's own gradient is wrong, or ends the process, for fewer than 8 channels under AVX2, and for
    fewer than 16 on larger maps under AVX-512."""
    chance = torch.Generator().manual_seed(0)
    x = torch.randn(20, c_in, side, side, generator=chance).contiguous(memory_format=torch.channels_last)
    layer, seen = Projection(c_in, 2 * c_in, 2).to(memory_format=torch.channels_last), x[:, :, ::2, ::2]
    out = layer(x)
    assert torch.allclose(out, torch.einsum("oi,bihw->bohw", layer.weight[:, :, 0, 0], seen), atol=1e-5)
    out.square().sum().backward()
    by_hand = torch.einsum("bohw,bihw->oi", 2 * out.detach(), seen)
    assert torch.allclose(layer.weight.grad[:, :, 0, 0], by_hand, rtol=1e-4, atol=1e-5 * float(by_hand.abs().max()))
    assert [*layer.state_dict()] == ["weight"] and layer.stride == (2, 2), (
        "in files and counts it is a convolution as any other"
    )
