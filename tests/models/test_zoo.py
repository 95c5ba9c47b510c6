"""Every network under the papers' own methods, and under every analysis that looks at a network. The large ones are `slow`.

`python3 start.py test tests/models/test_zoo.py -k table -s` prints parameters, FLOPs and the time of a training step.
"""

from __future__ import annotations

import inspect
import math
import time

import pytest
import torch

from sdkit import analysis
from sdkit.core import Batch, Progress
from sdkit.methods import BYOT, DRG, METHODS, Vanilla
from sdkit.models import MODELS, as_backbone, convolutions, four_stage, options_of, parameters, residuals

K = 7
TINY = ("four-stage", "resnet8", "resnet14", "vgg-tiny", "densenet-tiny", "mobilenet-tiny", "resnet20")
SIDE = {"alexnet": 96, "googlenet": 64}  # those without a stem for small images
LIBRARY = {
    "torchvision:resnet18": {},
    "timm:convnext_atto": {"depths": (1, 1, 2, 1), "dims": (8, 16, 24, 32)},
    "timm:vit_tiny_patch16_224": {"patch_size": 8, "depth": 4, "embed_dim": 48, "num_heads": 3},
}
"""Networks that are adapted, and their options."""
QUICK = (*TINY, "timm:convnext_atto", "timm:vit_tiny_patch16_224")
NAMES = [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in (*MODELS, *LIBRARY)]


def network(name: str, seed: int = 0, **options):
    torch.manual_seed(seed)
    sections = {"sections": 4} if "sections" in options_of(name) and name != "resnet8" else {}  # BYOT's four exits
    return as_backbone(name, K, **sections, **LIBRARY.get(name, {}), **options)


def images(name: str, n: int = 4):
    g = torch.Generator().manual_seed(1)
    side = SIDE.get(name, 32)
    return torch.randn(n, 3, side, side, generator=g), torch.randint(K, (n,), generator=g)


def step(name: str, method_name: str) -> dict[str, float]:
    """One forward and backward pass of a method; every parameter has a gradient afterwards."""
    sampled = method_name == "self-guidance" and "survival" in options_of(name)
    model = network(name, **({"survival": 0.8} if sampled else {})).train()
    kind = METHODS[method_name]
    method = kind(model) if "model" in inspect.signature(kind).parameters else kind()
    method.train()
    x, y = images(name)
    batch = Batch(x, y, torch.arange(len(y)))
    terms = method.terms(model, model.forward_features(x), batch, Progress(0, 0, 2, 1))
    sum(terms.values()).backward()
    assert all(p.grad is not None for p in [*model.parameters(), *method.parameters()])
    return {k: float(v.detach()) for k, v in terms.items()}


@pytest.mark.parametrize("method", ["vanilla", "byot", "drg", "self-guidance"])
@pytest.mark.parametrize("name", NAMES)
def test_a_training_step(name, method):
    if method == "self-guidance" and not (residuals(network(name)) and "survival" in options_of(name)):
        with pytest.raises(ValueError, match="survival" if residuals(network(name)) else "residual"):
            step(name, method)
        return
    terms = step(name, method)
    assert "task" in terms and all(map(math.isfinite, terms.values())), terms


def analyses(name: str):
    """Every analysis that takes a network, on few images, by the name that ANALYSES gives it."""
    model, (x, y) = network(name).eval(), images(name)
    byot, layer = BYOT(model).eval(), model.stages[-1]
    exits = {"final": model(x).detach(), "again": model(x).detach()}
    plain = Vanilla()
    batches = [Batch(x, y, torch.arange(len(y)))]
    other = network(name, seed=1).eval()
    features = analysis.collect_features(lambda b: byot.features(model.forward_features(b)), x, modules=[model, byot])
    yield "features", features
    yield "ranked variance", analysis.ranked_output_variance(exits["final"])
    yield "ranked top", analysis.ranked_top(exits["final"], y, top=3)
    yield "calibration", analysis.calibration(exits["final"], y)
    yield "selective risk", analysis.selective_risk(exits["final"], y)
    yield "weight noise", analysis.noise_tolerance(model, x, y, [0.0, 0.01], draws=1)
    yield "fgsm", analysis.fgsm(model, x, y, [0.0, 0.1])
    yield "loss slice", analysis.loss_slice(model, x, y, points=3)
    yield "loss between", analysis.loss_between(model, other, x, y, points=3, statistics=x)
    yield "single directions", analysis.single_directions(model, x, y, layer, fractions=(0, 0.5, 1), orders=1)
    yield "gradients", analysis.gradient_statistics(model, batches, plain.loss)
    yield "pca", analysis.project_pca(features["final"])
    yield "separation", analysis.separation(features["final"], torch.tensor([0, 0, 1, 1]), k=1)
    yield "cka", analysis.cka(features["final"], features["final"])
    yield "procrustes", analysis.procrustes(features["final"], features["final"])
    if any(convolutions(layer)):  # a transformer's blocks have none
        yield "grad-cam", analysis.grad_cam(model, x[:1], analysis.last_convolution(layer), y[:1])
    yield "flops", analysis.forward_flops(model, x[:1])
    yield "exit costs", analysis.exit_costs({"final": model}, x[:1])
    yield "threshold policy", analysis.threshold_policy(exits, y, {"final": 1.0, "again": 2.0}, [0.0, 1.1])
    yield "fixed policy", analysis.fixed_policy(exits, y, {"final": 1.0, "again": 2.0})


@pytest.mark.parametrize("name", NAMES)
def test_every_analysis(name):
    """Each is a number, and where nothing is done to the network it says what the network itself does."""
    found = dict(analyses(name))
    # t-SNE, retrieval, factors and ranked outputs along training see no network, term shares a training; curvature is below
    left = {"ranked along training", "t-sne", "retrieval", "curvature", "time", "term shares", "factors"}
    left |= {"grad-cam"} if "vit" in name else set()
    assert set(analysis.ANALYSES) - set(found) <= left
    model, (x, y) = network(name).eval(), images(name)
    with torch.no_grad():
        z = model(x)
    loss, accuracy = float(torch.nn.functional.cross_entropy(z, y)), float((z.argmax(1) == y).double().mean())
    still = [found["weight noise"].loss[0, 0], found["loss slice"].loss[1], found["calibration"].nll]
    assert [float(v) for v in still] == pytest.approx([loss] * 3, rel=1e-4)
    as_it_is = [
        found["weight noise"].accuracy[0, 0],
        found["single directions"].accuracy[0, 0],
        found["fixed policy"].accuracy[0],
    ]
    assert [float(v) for v in as_it_is] == pytest.approx([accuracy] * 3)
    assert found["flops"] * len(x) == analysis.forward_flops(model, x) and found["flops"] == found["exit costs"]["final"].flops
    assert found["exit costs"]["final"].parameters == parameters(model)
    assert found["cka"] == pytest.approx(1) and found["procrustes"] == pytest.approx(0, abs=1e-4)
    assert float(found["gradients"].share.sum()) == pytest.approx(1) and (found["gradients"].magnitude > 0).all()
    assert found["features"]["final"].shape == (len(x), model.classifier.in_features)
    assert found["loss between"].loss.isfinite().all() and found["pca"].points.isfinite().all()
    assert found["ranked top"].probability.shape == (len(x), 3)
    if "grad-cam" in found:
        heat = found["grad-cam"].map
        assert heat.shape == (1, *x.shape[2:]) and heat.min() >= 0 and float(heat.max()) in (0, pytest.approx(1, abs=1e-5))


@pytest.mark.parametrize("name", NAMES)
def test_the_hessian(name):
    x, y = images(name)
    bend = analysis.curvature(network(name).eval(), x, y, probes=1)
    assert math.isfinite(bend.trace) and bend.top.isfinite().all()


@pytest.mark.parametrize("names", [TINY, pytest.param(tuple(MODELS), marks=pytest.mark.slow)], ids=["tiny", "all"])
def test_the_table(names):
    print(f"\n{'network':22}{'parameters':>12}{'MFLOPs':>10}{'step, ms':>10}   with {K} classes, 4 images")
    small = parameters(four_stage(K, width=16))
    for name in names:
        model, (x, y) = network(name).train(), images(name)
        flops = analysis.forward_flops(model, x[:1])
        began = time.perf_counter()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        spent = time.perf_counter() - began
        print(f"{name:22}{parameters(model):12,}{flops / 1e6:10.1f}{1e3 * spent:10.0f}")
        assert flops > 0 and (name not in TINY or parameters(model) <= 1.1 * small)


@pytest.mark.parametrize("name", TINY)
def test_drg_guides_from_the_second_stage(name):
    """What its shallow exit says depends on the second map alone: the first teaches it, the third does not hear of it."""
    model = network(name).eval()
    method, out = DRG(model).eval(), model.forward_features(images(name)[0])
    (said,) = (z for exit, z in method.exits(out, None).items() if exit != "final")
    hears = [g is not None and bool(g.any()) for g in torch.autograd.grad(said.sum(), out.stages, allow_unused=True)]
    assert hears == [True, True, *[False] * (len(out.stages) - 2)]
    blank = out._replace(stages=tuple(f if s == 1 else f * 0 for s, f in enumerate(out.stages)))
    assert torch.equal(method.exits(blank, None)["shallow 2"], said)
    terms = [method.terms(model, o, Batch(*images(name), torch.arange(4)), Progress(0, 0, 2, 1)) for o in (out, blank)]
    assert all(torch.equal(term, terms[1][k]) for k, term in terms[0].items())
