"""One contract, every network; then what the papers print of some."""

from __future__ import annotations

import pytest
import torch

from sdkit.models import MODELS, Head, cifar_resnet, four_stage, imagenet_resnet, parameters


@pytest.fixture(params=MODELS)
def name(request):
    return request.param


def test_taps_are_what_the_network_declares(name):
    model = MODELS[name](num_classes=7).eval()
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        out = model.tap(x)
        assert torch.equal(model(x), out.logits)
        assert torch.allclose(model.classifier(out.embedding), out.logits)
    assert out.logits.shape == (2, 7) and model.num_classes == 7
    assert [s.shape[1] for s in out.stages] == [*model.channels]
    assert [32 // s.shape[2] for s in out.stages] == [*model.strides]


@pytest.mark.parametrize("kind", ["bottleneck", "separable", "linear"])
@pytest.mark.parametrize("size", [8, 32])
def test_a_head_sits_on_every_stage_but_the_last(kind, size):
    model = four_stage(5, width=8)
    stages = model.tap(torch.randn(2, 3, size, size)).stages
    for s in range(3):
        logits, features = Head(model, s, kind).eval()(stages[s])
        assert logits.shape == (2, 5)
        assert features.shape == (2, model.channels[s] if kind == "linear" else model.channels[-1])
    with pytest.raises(ValueError, match="0 to 2 here, got 3"):
        Head(model, 3, kind)
    with pytest.raises(ValueError, match="got 'mlp'"):
        Head(model, 0, "mlp")


@pytest.mark.parametrize(
    ("model", "printed", "source"),
    [
        (lambda: cifar_resnet(20, 10), "0.27", "He et al. 2016, Table 6"),
        (lambda: cifar_resnet(32, 10), "0.46", "He et al. 2016, Table 6"),
        (lambda: cifar_resnet(32, 100), "0.47", "papers 001 and 002"),
        (lambda: cifar_resnet(56, 10), "0.85", "He et al. 2016, Table 6"),
        (lambda: cifar_resnet(50, 100), "0.76", "paper 002: 24 basic blocks"),
        (lambda: cifar_resnet(110, 10), "1.73", "paper 001"),
        (lambda: cifar_resnet(110, 100), "1.73", "paper 001"),
        (lambda: imagenet_resnet(18, 100), "11.22", "ResNet-18, CIFAR stem, 100 classes"),
        (lambda: imagenet_resnet(50, 100), "23.71", "ResNet-50, CIFAR stem, 100 classes"),
        (lambda: imagenet_resnet(18, 1000, stem="imagenet"), "11.69", "torchvision's documentation"),
        (lambda: imagenet_resnet(34, 1000, stem="imagenet"), "21.80", "torchvision's documentation"),
        (lambda: imagenet_resnet(50, 1000, stem="imagenet"), "25.56", "torchvision's documentation"),
    ],
)
def test_parameter_counts_are_the_papers(model, printed, source):
    assert f"{parameters(model()) / 1e6:.2f}" == printed, source


def test_the_imagenet_stem_shrinks_four_times():
    assert imagenet_resnet(18, 10, stem="imagenet").strides == (4, 8, 16, 32)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: cifar_resnet(21, 10), r"depth 6n\+2 .* got 21"),
        (lambda: imagenet_resnet(20, 10), "18, 34, 50, 101, 152, got 20"),
        (lambda: imagenet_resnet(18, 10, stem="7x7"), "got '7x7'"),
        (lambda: four_stage(10, width=1), "width=1"),
    ],
)
def test_bad_sizes_are_refused_in_a_sentence(build, sentence):
    with pytest.raises(ValueError, match=sentence):
        build()
