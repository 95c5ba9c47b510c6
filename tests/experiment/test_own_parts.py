"""Parts of your own go wherever names go: trained, resumed, forked, in two processes, compared; an edited one is a new run."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import textwrap
from dataclasses import replace

import cloudpickle
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import sdkit
from sdkit import Experiment, Knob, Method, Recipe, register, run_all
from sdkit.cli.asked import load
from sdkit.experiment import own
from sdkit.methods import METHODS
from sdkit.models import MODELS

TINY = {"data": "digits", "dataset": {"train_size": 64}, "recipe": Recipe(epochs=2, batch_size=16, lr=0.05)}
NETWORK = {"model": "four-stage", "network": {"width": 4}}


class Confident(Method):
    """Cross entropy and a reward for being sure."""

    knobs = {"weight": Knob("w", 0, 1)}

    def __init__(self, model, *, weight: float = 0.1):
        super().__init__()
        self.weight = weight

    def terms(self, model, out, batch, progress):
        p = out.logits.softmax(1)
        return {"task": F.cross_entropy(out.logits, batch.y), "sure": self.weight * (1 - p.max(1).values).mean()}


class Plain(nn.Module):
    """Two stages, as a student would write them."""

    def __init__(self, num_classes: int = 10):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.classifier = nn.Linear(16, num_classes)

    def forward(self, x):
        return self.classifier(self.second(self.first(x)).mean((2, 3)))


def tensors(n: int = 96, seed: int = 0):
    draw = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 3
    x = (torch.rand(n, 3, 16, 16, generator=draw) * 80 + 60 * y[:, None, None, None]).to(torch.uint8)
    return x, y


OWN = {
    "method": {"method": Confident, **NETWORK, **TINY},
    "module": {"model": Plain, **TINY},
    "instance": {"model": Plain(), **TINY},
    "torchvision": {"model": "torchvision:resnet18", **TINY},
    "tensors": {"data": (tensors(), tensors(48, 1)), "recipe": TINY["recipe"], **NETWORK},
}


def weights(run):
    return run.weights()["model"]


@pytest.mark.parametrize("name", OWN)
def test_an_own_part_trains_is_found_again_and_resumes_to_the_same_bits(name):
    e = Experiment(**OWN[name])
    straight = e.run(progress=False)
    assert e.run(progress=False).run.key == straight.run.key and 0 <= straight.accuracy <= 1
    other = replace(e, seed=1)
    for event in (first := other.stored.follow(other.config, other.training, checkpoint_every=0)):
        if isinstance(event, sdkit.train.Epoch):
            break
    next(first)
    first.close()
    assert other.stored.status == "training"
    resumed = other.run(progress=False)
    again = other.run(progress=False, fresh=True)
    assert all(torch.equal(a, b) for a, b in zip(weights(resumed.run).values(), weights(again.run).values(), strict=True))


def in_a_cell() -> type[Method]:
    """A class as a notebook has it: of no file, so that another process cannot import it."""
    cell = {"__name__": "__main__", "Method": Method, "F": F}
    lines = """
    class Typed(Method):
        def terms(self, model, out, batch, progress):
            return {"task": F.cross_entropy(out.logits, batch.y)}
    """
    exec(textwrap.dedent(lines), cell)
    return cell["Typed"]


def test_own_parts_train_in_two_processes_beside_ours():
    pair = {name: Experiment(**OWN[name]) for name in ("method", "module", "tensors")}
    pair["typed"] = Experiment(in_a_cell(), **NETWORK, **TINY)
    pair["ours"] = Experiment("drg", **NETWORK, **TINY)
    done = run_all(pair, jobs=2, progress=False)
    assert {n: t.run.status for n, t in done.items()} == dict.fromkeys(pair, "done")
    assert done["method"].history[-1].terms.keys() == {"task", "sure"}


def test_an_own_method_joins_ours_and_its_knobs_are_planned_and_forked():
    e = Experiment(("drg", Confident), **NETWORK, **TINY, knobs={"weight": 0.5}, schedule={1: {"weight": 0.0}})
    assert e.parts == ["Confident", "drg"] and e.knobs["Confident.weight"] == 0.5
    done = e.run(progress=False)
    assert done.history[1].terms["sure"] == 0 < done.history[0].terms["sure"]
    assert e.fork(1, {"weight": 0.2}).schedule == {1: {"Confident.weight": 0.2}}


def write(folder, body: str, name: str = "mine.py"):
    (folder / name).write_text(textwrap.dedent(body))


CODE = """
    import torch.nn.functional as F
    from sdkit import Method, register

    FACTOR = {factor}

    def extra(p):
        return {extra}

    class Mine(Method):
        def __init__(self, model, *, share: float = 0.5):
            super().__init__()
            self.share = share

        def terms(self, model, out, batch, progress):
            {comment}
            return {{"task": F.cross_entropy(out.logits, batch.y), "extra": FACTOR * extra(out.logits.softmax(1))}}

    register("mine", Mine)
"""


KEYS = """
import importlib, sys
import sdkit
for folder in sys.argv[1:]:
    sys.modules.pop("mine", None)
    sys.path.insert(0, folder)
    mine = importlib.import_module("mine")
    print(sdkit.Experiment("mine", data="digits").key, sdkit.Experiment(mine.Mine, data="digits").key)
"""


def keys(place, *edits: dict) -> list[str]:
    """Of each edited source, all in one fresh process."""
    plain = {"factor": 0.1, "extra": "p.square().sum(1).mean()", "comment": "pass"}
    folders = [place / str(n) for n in range(len(edits))]
    for folder, edit in zip(folders, edits, strict=True):
        folder.mkdir(exist_ok=True)
        write(folder, CODE.format(**plain | edit))
    out = subprocess.run([sys.executable, "-c", KEYS, *map(str, folders)], capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    found = [line.split() for line in out.stdout.splitlines()]
    assert all(by_name == by_class for by_name, by_class in found), "a name that is registered and its class are one method"
    return [by_name for by_name, _ in found]


def test_an_edited_class_a_helper_or_a_constant_of_it_is_a_new_run_and_the_same_source_the_same(tmp_path):
    (first,) = keys(tmp_path, {})
    constant, function, line = {"factor": 0.2}, {"extra": "p.square().sum()"}, {"comment": "1 + 1"}
    again, *edited = keys(tmp_path, {}, constant, function, line)
    assert again == first and len({first, *edited}) == 4, "that it reads, that it calls, its own"


def test_what_a_closure_holds_is_part_of_the_key():
    def made(width):
        def network(num_classes):
            return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, width), nn.Linear(width, num_classes))

        return network

    assert own.digest_of(made(3)) == own.digest_of(made(3)) != own.digest_of(made(4))


def in_cell(body: str, **names) -> dict:
    """What a notebook holds after a cell: its source is kept nowhere."""
    cell = {"__name__": "a cell", "Method": Method, "F": F} | names
    exec(textwrap.dedent(body), cell)
    return cell


def test_a_variable_that_is_called_as_an_attribute_is_not_part_of_a_method():
    body = """
    class Mine(Method):
        def terms(self, model, out, batch, progress):
            def scaled(z):
                return SCALE * z.logits
            return {"task": F.cross_entropy(scaled(out), batch.y)}
    """
    plain = own.digest_of(in_cell(body, SCALE=2)["Mine"])
    assert own.digest_of(in_cell(body, SCALE=2, logits=torch.ones(3), y=[1, 2])["Mine"]) == plain
    assert own.digest_of(in_cell(body, SCALE=3)["Mine"]) != plain, "what it does read"


class Scaled(nn.Module):
    """What it computes hangs on more than its weights."""

    def __init__(self, scale: float = 1.0, shift: float = 0.0):
        super().__init__()
        self.scale, self.classifier = scale, nn.Linear(3, 10)
        self.register_buffer("shift", torch.tensor(shift), persistent=False)

    def forward(self, x):
        return self.classifier(self.scale * x.mean((2, 3)) + self.shift)


def same_weights(make, *, like):
    other = make()
    other.load_state_dict(like.state_dict())
    return other


def test_what_a_network_was_given_beside_its_weights_is_part_of_the_key():
    plain = Scaled()
    again, louder, moved = (same_weights(lambda g=g: Scaled(**g), like=plain) for g in ({}, {"scale": 50.0}, {"shift": 1.0}))
    first, *others = map(own.digest_of, (plain, again, louder, moved))
    assert first == others[0] and len({*others}) == 3

    one, two = (nn.TransformerEncoderLayer(8, heads, 8) for heads in (1, 2))
    two.load_state_dict(one.state_dict())
    assert own.digest_of(one) != own.digest_of(two), "of a library's modules those that do not say it in words"

    torch.manual_seed(0)
    always = MODELS["resnet8"](num_classes=10, width=4)
    seldom = same_weights(lambda: MODELS["resnet8"](num_classes=10, width=4, survival=0.5), like=always)
    assert own.digest_of(always) != own.digest_of(seldom)
    assert own.digest_of(always.to(torch.bfloat16)), "in 16 bits, too"


HELPED = """
    import torch.nn.functional as F
    import helpers
    from sdkit import Method

    class Helped(Method):
        def terms(self, model, out, batch, progress):
            return {"task": F.cross_entropy(out.logits, batch.y), "extra": helpers.extra(out.logits)}
"""


def test_an_edited_module_that_a_method_calls_is_a_new_run(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)

    def digest(factor: int, far: int, comment: str = "") -> str:
        """Of the same method over modules written anew."""
        write(tmp_path, f"FAR = {far}", "farther.py")
        write(tmp_path, f"import farther\ndef extra(z):\n    return {factor} * farther.FAR * z.mean()\n", "helpers.py")
        write(tmp_path, HELPED + comment, "helped.py")
        importlib.invalidate_caches()
        for name in ("farther", "helpers", "helped"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        return own.digest_of(importlib.import_module("helped").Helped)

    first, again, near, far = digest(2, 3), digest(2, 3), digest(20, 3), digest(2, 30)
    assert first == again and len({first, near, far}) == 3, "the module, and the module that it takes something from"


HELD = """
import logging, random, threading
import numpy as np
import torch
from functools import partial
from torch import nn
from sdkit import Method
from sdkit.experiment import own

class Thing: pass

class Slots:
    __slots__ = ("k",)
    def __init__(self, k): self.k = k

log, lock, thing, many = logging.getLogger("mine"), threading.Lock(), Thing(), {Thing(), "a", "b", "c"}
draws, dice, chance = torch.Generator().manual_seed(SEED), random.Random(SEED), np.random.default_rng(SEED)
slots, objects, soft = Slots(SEED), np.array([Thing(), None], dtype=object), partial(torch.softmax, dim=SEED)
drop = nn.Dropout(SEED / 10)

class Mine(Method):
    def terms(self, model, out, batch, progress):
        return NAMES
"""


def held(names: str, seed: int = 1) -> str:
    """The digest of a method that reads these names of its module."""
    cell = {"__name__": "__main__"}
    exec(HELD.replace("NAMES", names).replace("SEED", str(seed)), cell)
    return own.digest_of(cell["Mine"])


def test_a_digest_does_not_hang_on_where_things_lie_in_memory():
    every = "log, lock, thing, many, draws, dice, chance, slots, objects, soft, drop"
    keep = []  # so that the second lies elsewhere
    said = textwrap.dedent(HELD).replace("NAMES", every + ", out.x in {'one', 'two', 'three'}").replace("SEED", "1")
    code = f"cell = {{'__name__': '__main__'}}; exec({said!r}, cell); print(cell['own'].digest_of(cell['Mine']))"
    for chance in ("1", "2"):
        out = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"PYTHONHASHSEED": chance}
        )
        assert out.returncode == 0, out.stderr
        keep.append(out.stdout)
    assert keep[0] == keep[1] and len(keep[0]) == 65


@pytest.mark.parametrize("name", ["draws", "dice", "chance", "slots", "soft", "drop"])
def test_what_an_object_holds_is_part_of_the_key(name):
    assert held(name, 1) == held(name, 1) != held(name, 2)


def test_every_default_is_part_of_the_key():
    body = """
    class Mine(Method):
        def first(self, k=1):
            return k
        def weigh(self, z, k=K):
            return k * z
    """
    assert own.digest_of(in_cell(body, K=1)["Mine"]) != own.digest_of(in_cell(body, K=7)["Mine"])


def test_where_nothing_keeps_the_source_what_a_function_asks_of_its_arguments_counts():
    body = "def shape(z):\n    return z.{}()"
    assert own.digest_of(in_cell(body.format("sin"))["shape"]) != own.digest_of(in_cell(body.format("cos"))["shape"])


def test_a_method_of_an_object_is_what_the_object_holds():
    class Maker:
        def __init__(self, width):
            self.width = width

        def network(self, num_classes):
            return nn.Sequential(nn.Flatten(), nn.Linear(192, self.width), nn.Linear(self.width, num_classes))

    assert own.digest_of(Maker(3).network) == own.digest_of(Maker(3).network) != own.digest_of(Maker(4).network)


def test_other_weights_or_other_images_are_another_run():
    torch.manual_seed(0)
    one, two = Plain(), Plain()
    assert Experiment(model=one, **TINY).key == Experiment(model=one, **TINY).key != Experiment(model=two, **TINY).key
    x, y = tensors()
    e = Experiment(data=((x, y), tensors(48, 1)))
    changed = x.clone()
    changed[0, 0, 0, 0] += 1
    assert e.key == Experiment(data=((x.clone(), y), tensors(48, 1))).key != Experiment(data=((changed, y), tensors(48, 1))).key


def test_the_command_line_takes_a_file_of_your_own(tmp_path):
    write(tmp_path, CODE.format(factor=0.1, extra="p.square().sum(1).mean()", comment="pass"))
    command = [sys.executable, "-m", "sdkit.cli", "train", "--from", "mine.py", "--method", "mine", "--data", "digits"]
    command += ["--dataset", "train_size=64", "--recipe", "smoke", "--model", "four-stage", "--network", "width=4"]
    out = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert out.returncode == 0, out.stderr
    assert "trained: run" in out.stdout


def test_a_file_hides_no_module_of_its_name_and_its_parts_reach_other_processes(tmp_path):
    write(tmp_path, CODE.format(factor=0.1, extra="p.square().sum(1).mean()", comment="pass"), "sched.py")
    assert "sched" not in sys.modules
    try:
        load(tmp_path / "sched.py")
        mine = METHODS.pop("mine")
        assert importlib.import_module("sched").scheduler, "Python's own"
        assert not own.of_a_library(mine) and Experiment(mine, **NETWORK, **TINY).parts == ["Mine"]
        sent = cloudpickle.dumps(mine)
    finally:
        for name in [name for name in sys.modules if name in ("sched", "own sched")]:  # as where nobody has read the file
            del sys.modules[name]
    assert cloudpickle.loads(sent).terms


def test_a_name_is_free_and_says_what_it_is():
    with pytest.raises(ValueError, match="'drg' is a method of sdkit's: take another name"):
        register("drg", Confident)
    with pytest.raises(ValueError, match=r"a name holds none of \+ @ :, got 'a\+b'"):
        register("a+b", Confident)
    with pytest.raises(TypeError, match="say what it is"):
        register("thing", lambda num_classes: None)
    try:
        register("confident", Confident)
        assert Experiment("confident", **NETWORK, **TINY).parts == ["confident"]
    finally:
        METHODS.pop("confident")


def test_a_part_that_this_process_does_not_hold_says_so():
    with pytest.raises(KeyError, match="Gone@12345678 is a part of your own .* not hold: import or define it"):
        Experiment("Gone@12345678")
    name = Experiment(Confident, **NETWORK, **TINY).method
    with pytest.raises(KeyError, match=f"it was edited, and is {name} now"):
        Experiment("Confident@00000000")
    with pytest.raises(TypeError, match="or a class that inherits from Method"):
        Experiment(lambda model: None)


def test_an_attribute_takes_no_name_that_every_method_is_asked_by():
    class Clash(Confident):
        def __init__(self, model):
            super().__init__(model)
            self.members = 3

    with pytest.raises(AttributeError, match=r"members\(\) is what every Method can be asked: give Clash.members another name"):
        Clash(None)


def test_the_line_that_repeats_an_own_run_names_its_class():
    e = Experiment(("drg", Confident), model=Plain, data="digits", knobs={"weight": 0.5})
    assert str(e).startswith("Experiment(method=(Confident, 'drg'), model=Plain, data='digits'")
    assert Experiment.of(e.config) == e


def test_a_run_of_older_code_is_found_and_says_so(monkeypatch):
    e = Experiment("drg", **NETWORK, **TINY)
    first = e.run(progress=False)
    assert e.run(progress=False).run.key == first.run.key and not e.outdated()
    monkeypatch.setattr(own, "module_digests", lambda parts: {name: "other" if name == "drg" else "same" for name in parts})
    before = first.run.environment["sources"]
    assert before.keys() == {"drg", "four-stage", "digits"} and e.outdated() == ["drg", "four-stage", "digits"]
    with pytest.warns(UserWarning, match=r"trained by another version of the code of drg and .*run\(fresh=True\)"):
        e.run(progress=False)
    monkeypatch.undo()
    began = first.run.environment["started"]
    assert e.run(progress=False, fresh=True).run.key == first.run.key and began


def test_the_front_door_has_what_it_says_and_helps_who_misspells():
    assert all(getattr(sdkit, name) is not None for name in sdkit.__all__)
    with pytest.raises(AttributeError, match="did you mean 'Experiment'"):
        sdkit.Experimant  # noqa: B018
