"""Any network: what is handed in, or named from a library, does all that a network of sdkit's does but be taken apart."""

from __future__ import annotations

import copy
import gc
import inspect
import threading
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sdkit.analysis import forward_flops, last_convolution
from sdkit.core import Batch, Progress
from sdkit.methods import BYOT, METHODS, EarlyExit
from sdkit.models import MODELS, Backbone, Head, as_backbone, borrowed, embedded, four_stage, options_of, parameters
from sdkit.rng import LocalRNG

K = 7
VIT = {"patch_size": 8, "depth": 4, "embed_dim": 48, "num_heads": 3}


def plain(num_classes: int = K) -> nn.Sequential:
    """What a student writes."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(12, 16, 3, padding=1), nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, num_classes),
    )  # fmt: skip


class Functional(nn.Module):
    """The other thing that a student writes: pooling and dropout without modules, a layer used twice."""

    def __init__(self, num_classes: int = K, width: int = 6) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, width, 5), nn.Conv2d(width, 16, 5)
        self.pool = nn.MaxPool2d(2)
        self.fc1, self.fc2 = nn.Linear(16 * 5 * 5, 24), nn.Linear(24, num_classes)

    def forward(self, x):
        x = self.pool(self.conv1(x).relu())
        x = self.pool(F.relu(self.conv2(x), inplace=True))  # writes into the stage's map
        return self.fc2(F.dropout(F.relu(self.fc1(x.flatten(1))), 0.5, self.training))


NETWORKS = {
    "torchvision:resnet18": ({}, (64, 128, 256, 512), (4, 8, 16, 32)),
    "timm:convnext_atto": ({"depths": (1, 1, 2, 1), "dims": (8, 16, 24, 32)}, (8, 16, 24, 32), (4, 8, 16, 32)),
    "timm:vit_tiny_patch16_224": (VIT, (48,) * 4, (8,) * 4),
    plain: ({}, (8, 12, 16), (1, 2, 4)),
    Functional: ({"width": 6}, (6, 16), (1, 3)),
}
"""Name or class: its options, the channels and strides of the stages that are found."""
CLASS_TOKEN = "timm:vit_tiny_patch16_224"


def network(which, **more) -> Backbone:
    torch.manual_seed(0)
    return as_backbone(which, K, 32, **NETWORKS[which][0], **more)


def images(n: int = 4, side: int = 32):
    g = torch.Generator().manual_seed(1)
    return torch.randn(n, 3, side, side, generator=g)


@pytest.fixture(scope="module", params=NETWORKS, ids=lambda w: w if isinstance(w, str) else w.__name__)
def which(request):
    return request.param


@torch.no_grad()
def test_it_computes_what_the_module_computes_and_shows_its_stages(which):
    model, x = network(which).eval(), images()
    out = model.forward_features(x)
    assert torch.equal(out.logits, model.net(x)) and torch.equal(model(x), out.logits) and out.logits.shape == (4, K)
    assert (model.channels, model.strides) == NETWORKS[which][1:]
    assert [f.shape[1] for f in out.stages] == [*model.channels] and all(f.dim() == 4 for f in out.stages)
    assert torch.equal(model.classifier(out.embedding), out.logits)
    seen = {}
    hooks = [s.register_forward_hook(lambda m, _, o: seen.update({m: o.clone()})) for s in model.stages]
    model.net(x)
    for hook in hooks:
        hook.remove()
    for stage, said in zip(model.stages, out.stages, strict=True):
        expected = seen[stage] if which != CLASS_TOKEN else seen[stage][:, 1:].reshape(4, 4, 4, 48).permute(0, 3, 1, 2)
        assert torch.equal(said, expected)


def test_a_head_sits_on_every_stage_but_the_last(which):
    model = network(which).eval()
    stages = model.forward_features(images()).stages
    for s, feature in enumerate(stages[:-1]):
        for kind in ("bottleneck", "separable", "linear"):
            assert Head(model, s, kind).eval()(feature)[0].shape == (4, K)


def test_every_number_is_in_its_state_and_learns(which):
    model, x = network(which).eval(), images()
    model(x).square().sum().backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert all(n.startswith("net.") for n in model.state_dict())
    other = copy.deepcopy(model)
    with torch.no_grad():
        for p in other.parameters():
            p.add_(0.1)
        assert not torch.equal(other(x), model(x))
        other.load_state_dict(model.state_dict())
        assert torch.equal(other(x), model(x)) and not {*other.parameters()} & {*model.parameters()}


def test_a_frozen_network_stays_and_its_head_learns(which):
    model = network(which).train().requires_grad_(False)
    head = Head(model, 0)
    head(model.forward_features(images()).stages[0])[0].sum().backward()
    assert all(p.grad is None for p in model.parameters()) and all(p.grad is not None for p in head.parameters())


@torch.no_grad()
def test_a_pass_under_autocast_gives_losses_float32(which):
    model = network(which).eval()
    with torch.autocast("cpu", torch.bfloat16):
        out = model.forward_features(images())
    assert out.logits.dtype == out.embedding.dtype == torch.float32 and out.logits.isfinite().all()


def test_nothing_of_a_pass_stays_behind(which):
    model = network(which).eval()
    out = model.forward_features(images())
    kept = [weakref.ref(t) for t in (*out.stages, out.embedding)]
    del out
    gc.collect()
    assert not [ref for ref in kept if ref() is not None]
    assert model.net(images()).shape == (4, K)  # nor does a pass by itself leave any


def test_each_thread_has_its_own_pass(which):
    """One pass begins, another overtakes it amid the network, and the first one ends."""
    model, (a, b) = network(which).eval(), images(4).split(2)
    main, expected = threading.get_ident(), [model.forward_features(part) for part in (a, b)]
    amid, go, done, said = threading.Event(), threading.Event(), threading.Event(), {}

    def overtake(*_):
        mine, its = (go, done) if threading.get_ident() == main else (amid, go)
        mine.set()
        its.wait(60)

    def second():
        said["b"] = model.forward_features(b)
        done.set()

    hook = model.stages[0].register_forward_hook(overtake)
    other = threading.Thread(target=second)
    other.start()
    amid.wait(60)
    said["a"] = model.forward_features(a)
    other.join()
    hook.remove()
    for name, should in zip("ab", expected, strict=True):
        assert torch.allclose(said[name].embedding, should.embedding, atol=1e-5)
        assert all(torch.allclose(f, g, atol=1e-5) for f, g in zip(said[name].stages, should.stages, strict=True))


def test_its_first_weights_are_the_seeds_and_the_global_generator_stands_still(which):
    before = torch.get_rng_state()

    def drawn(seed):
        with LocalRNG(seed):
            return as_backbone(which, K, 32, **NETWORKS[which][0]).state_dict()

    one, same, other = drawn(3), drawn(3), drawn(4)
    assert all(torch.equal(v, same[k]) for k, v in one.items()) and any(not torch.equal(v, other[k]) for k, v in one.items())
    assert torch.equal(torch.get_rng_state(), before)


def test_it_has_a_cost(which):
    assert forward_flops(network(which), images(1)) > 0


# --- methods ---


def one_by_one(name: str):
    """What of a method cannot be had of a network that runs as a whole, or that has no residual blocks or convolutions."""
    return {
        "one": (TypeError, "asks for the neck of a network that can be run part by part, and an adapted VisionTransformer"),
        "okddip": (TypeError, "asks for the neck of a network that can be run part by part, and an adapted VisionTransformer"),
        "self-guidance": (ValueError, "this network has none: use a ResNet"),
    }.get(name)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_a_vision_transformer_or_says_why_not(name):
    model, kind = network(CLASS_TOKEN).train(), METHODS[name]
    wanted = inspect.signature(kind).parameters
    offer = {"teacher": network(CLASS_TOKEN), "train_size": 8}

    def build():
        return kind(*([model] if "model" in wanted else []), **{k: v for k, v in offer.items() if k in wanted})

    refused = one_by_one(name)
    if refused:
        with pytest.raises(refused[0], match=refused[1]):
            build()
        return
    method, x, y = build().train(), images(8), torch.arange(8) % 4
    batch = Batch(x, y, torch.arange(8), pair=x.flip(3) if method.pair else None)
    for step in range(2):
        progress = Progress(0, step, 2, 2)
        out = model.forward_features(method.view(batch))
        terms = method.terms(model, out, batch, progress)
        sum(terms.values()).backward()
        with torch.no_grad():
            method.remember(out, batch, progress)
    assert "task" in terms and all(t.isfinite() for t in terms.values()), terms
    heads = [p for head in method.auxiliary_heads().values() for p in head.parameters()]
    assert not [p.shape for p in (*model.parameters(), *heads) if p.grad is None]


def test_what_goes_by_the_parts_of_a_network_says_that_it_has_none():
    model = network(plain)
    with pytest.raises(TypeError, match="stem of a network .* adapted Sequential runs only as a whole: take .*'resnet18'"):
        EarlyExit(model, BYOT(model).heads[0])
    assert last_convolution(model) is model.net[6]


# --- finding stages ---


@pytest.mark.parametrize(
    ("name", "side", "stages", "channels"),
    [
        ("torchvision:swin_t", 64, "features.1 features.3 features.5 features.7", (96, 192, 384, 768)),  # [B, H, W, C]
        ("torchvision:vit_b_16", 32, "encoder.layers.encoder_layer_2 encoder.layers.encoder_layer_5 "
         "encoder.layers.encoder_layer_8 encoder.layers.encoder_layer_11", (768,) * 4),
        ("torchvision:googlenet", 64, "conv3 inception3b inception4e inception5b", (192, 480, 832, 1024)),
        ("torchvision:densenet121", 64, "features.denseblock1 features.denseblock2 features.denseblock3 features.norm5",
         (256, 512, 1024, 1024)),
        ("timm:resnet18", 32, "layer1 layer2 layer3 layer4", (64, 128, 256, 512)),
        ("timm:efficientnet_b0", 64, "blocks.1 blocks.2 blocks.4 blocks.6", (24, 40, 112, 320)),
    ],
)  # fmt: skip
def test_stages_of_the_libraries_networks_are_where_their_authors_have_them(name, side, stages, channels):
    with torch.device("meta"):
        model = as_backbone(name, K, side)
    assert [path.removeprefix("net.") for path in model._stages] == stages.split() and model.channels == channels
    maps = model.eval().forward_features(torch.empty(2, 3, side, side, device="meta")).stages
    assert [tuple(m.shape) for m in maps] == [
        (2, c, side // s, side // s) for c, s in zip(channels, model.strides, strict=True)
    ]


def test_stages_are_those_that_are_named_in_the_order_of_the_pass():
    net = plain()
    by_name, by_module = Backbone.adapt(net, stages=["4", "1"]), Backbone.adapt(net, stages=[net[1], net[4]])
    assert by_name.channels == by_module.channels == (8, 12) and by_name.strides == by_module.strides == (1, 2)
    assert net[1].inplace and not net[1]._forward_hooks, "the module itself stays as it is"
    assert Backbone.adapt(net, stages=[]).forward_features(images()).stages == ()


def test_the_hidden_layers_of_a_perceptron_are_maps_of_one_pixel():
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 12), nn.ReLU(), nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, K))
    with pytest.raises(ValueError, match="no stages were found in a Sequential: name the modules that give them"):
        Backbone.adapt(net, side=8)
    model = Backbone.adapt(net, stages=["2", "4"], side=8)
    assert model.channels == (12, 6) and model.forward_features(images(side=8)).stages[0].shape == (4, 12, 1, 1)
    assert BYOT(model).exits(model.forward_features(images(side=8)), None)["1/2"].shape == (4, K)


def test_tokens_lie_in_the_images_proportions_behind_the_class_token_and_the_registers():
    model = as_backbone("timm:vit_tiny_patch16_224", K, **VIT, reg_tokens=4, dynamic_img_size=True).eval()
    assert model.forward_features(torch.randn(2, 3, 16, 64)).stages[-1].shape == (2, 48, 2, 8)


class Odd(nn.Module):
    """An nn.Sequential, and something with what it says."""

    def __init__(self, after, *layers):
        super().__init__()
        self.layers, self.after = nn.Sequential(*layers), after

    def forward(self, x):
        return self.after(self.layers(x))


@pytest.mark.parametrize(
    ("build", "error", "sentence"),
    [
        (lambda: Backbone.adapt(Odd(lambda z: z.log_softmax(1), *plain())), ValueError,
         "does something after 'layers.10'. Leave out its softmax"),
        (lambda: Backbone.adapt(Odd(lambda z: {"logits": z}, *plain())), ValueError, "does something after 'layers.10'"),
        (lambda: Backbone.adapt(plain()[:-1]), ValueError, r"ends with an nn.Linear .* this one has none. Add one"),
        (lambda: Backbone.adapt(plain(), classifier="9"), ValueError, "name the layer, classifier="),
        (lambda: Backbone.adapt(plain(), classifier="classifier"), KeyError, "no module of Sequential is called 'classifier'"),
        (lambda: Backbone.adapt(four_stage(K), stages=["stages.4"]), KeyError, "did you mean 'stages.*`named_modules"),
        (lambda: Backbone.adapt(plain(), stages=[nn.ReLU()]), ValueError, "this ReLU is no module of the Sequential"),
        (lambda: Backbone.adapt(Functional(), stages=["pool"]), ValueError, "'pool' must run once in a pass, and runs 2 times"),
        (lambda: Backbone.adapt(plain(), side=0), ValueError, r"must take images \[B, 3, 0, 0\], and said"),
        (lambda: Backbone.adapt(Functional(), side=64), ValueError, r"images \[B, 3, 64, 64\].* say another side="),
        (lambda: as_backbone("timm:vit_tiny_patch16_224", K, 40, dynamic_img_size=True, patch_size=16), ValueError,
         r"cannot be adapted: it must take images \[B, 3, 40, 40\].*img_size"),
        (lambda: as_backbone("resnet-20", K), KeyError, "no network is called 'resnet-20': did you mean 'resnet20'"),
        (lambda: as_backbone("timm:convnext_ato", K), KeyError, "timm has no network .*: did you mean 'timm:convnext_atto'"),
        (lambda: as_backbone("torchvision:resnet19", K), KeyError, "did you mean 'torchvision:resnet1"),
        (lambda: as_backbone("torchvision:fasterrcnn_resnet50_fpn", K), KeyError, "torchvision has no network"),
        (lambda: as_backbone("timm:convnext_atto", K, drop_path=0.1), KeyError, "option of .*convnext_atto .*drop_path_rate"),
        (lambda: as_backbone("torchvision:resnet18", K, widht=3), KeyError, "no option of the network .* 'width_per_group'"),
        (lambda: as_backbone("four-stage", K, widht=3), KeyError, "did you mean 'width'"),
        (lambda: as_backbone(Functional, K, widht=3), KeyError, "no option of the network Functional is called 'widht'"),
        (lambda: as_backbone("four-stage", K, stages=["stages.0"]), KeyError, "no option of the network four-stage"),
        (lambda: as_backbone(four_stage, K, stages=["stages.0"]), ValueError, "says itself what its stages are"),
        (lambda: as_backbone(3, K), TypeError, "a network is a name, an nn.Module, .* got a int, 3"),
        (lambda: as_backbone(lambda num_classes: None, K), TypeError, "a function that returns one: got a NoneType"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_in_a_sentence(build, error, sentence):
    with pytest.raises(error, match=sentence):
        build()


def test_without_timm_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setattr(borrowed.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"timm:convnext_atto .* not installed: pip install timm \(.*extra 'timm'"):
        as_backbone("timm:convnext_atto", K)


def test_weights_are_fetched_on_request_alone(monkeypatch):
    def no_net(*a, **k):
        raise OSError("no route to host")

    monkeypatch.setattr("timm.models._builder.load_pretrained", no_net)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", no_net)
    with torch.device("meta"):
        for name in ("timm:convnext_atto", "torchvision:resnet18"):
            assert as_backbone(name, K).num_classes == K
            with pytest.raises(ConnectionError, match="pretrained=True needs .* weights .*no route to host.*: go online once"):
                as_backbone(name, K, pretrained=True)


# --- the one door ---


@torch.no_grad()
@pytest.mark.parametrize("make", [plain, lambda: four_stage(K, width=4)], ids=["module", "backbone"])
def test_a_network_is_copied_with_its_weights_and_knows_the_classes_that_are_asked(make):
    net, x = make().eval(), images()
    same, other = as_backbone(net, K).eval(), as_backbone(net, 3).eval()
    assert torch.equal(same(x), net(x)) and other(x).shape == (4, 3) and other.num_classes == other.classifier.out_features == 3
    assert torch.equal(other.forward_features(x).embedding, same.forward_features(x).embedding)
    for p in same.parameters():
        p.zero_()
    assert net(x).any() and not same(x).any() and net(x).shape == (4, K)


def test_a_name_a_class_and_a_function_are_called_with_what_their_signature_has():
    assert as_backbone("four-stage", K, width=4).channels == (4, 8, 16, 32)
    assert as_backbone(Functional, 3, width=4).channels == (4, 16)
    assert as_backbone(lambda: plain(5), 3).num_classes == 3
    told = {}
    as_backbone(lambda side, img_size, num_classes: told.update(s=side, i=img_size, k=num_classes) or plain(num_classes), 3, 24)
    assert told == {"s": 24, "i": 24, "k": 3}
    assert as_backbone(lambda **any_: plain(any_["classes"]), 3, classes=3, stages=["0"]).channels == (8,)


def test_options_are_told_with_their_defaults():
    empty = inspect.Parameter.empty
    assert options_of("four-stage") == {"width": 8, "blocks": 1, "survival": 1.0}
    assert options_of(Functional) == {"stages": None, "classifier": None, "width": 6}
    assert options_of(plain()) == {"stages": None, "classifier": None} and options_of(four_stage(K)) == {}
    timm = options_of("timm:convnext_atto")
    assert timm["pretrained"] is False and timm["drop_path_rate"] is empty and None not in timm
    assert not {*timm, *options_of("torchvision:vit_b_16")} & {"num_classes", "side", "img_size", "image_size", "self", "name"}
    for name in MODELS:
        assert None not in options_of(name)


def test_an_embedding_head_goes_before_the_last_layer_of_any_network():
    torch.manual_seed(0)
    model, x = embedded(K, "torchvision:resnet18", dim=24).eval(), images()
    out = model.forward_features(x)
    head = model.net.fc[0]
    assert out.embedding.shape == (4, 24) and (head.in_features, model.classifier.in_features) == (512, 24)
    assert torch.allclose(out.logits, model.classifier(out.embedding)) and parameters(model.classifier) == 25 * K
