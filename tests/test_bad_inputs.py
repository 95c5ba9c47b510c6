"""Whatever is handed in wrongly is answered with a sentence of sdkit's own: nothing raw, nothing silent.

`tests/bad.py` makes the inputs; `python tests/bad.py 3000` counts what comes of them, door by door.
"""

from __future__ import annotations

import math
import struct
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import replace

import bad
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from PIL import Image

from sdkit import analysis, cli
from sdkit.core import BadArgument, Word, as_declared
from sdkit.data import DATASETS, as_data
from sdkit.data.files import Framing, Unreadable, view
from sdkit.experiment import Experiment
from sdkit.methods import BYOT, METHODS, Method
from sdkit.models import MODELS, four_stage
from sdkit.train import Recipe

SAME = {"database": None, "derandomize": True, "deadline": None, "suppress_health_check": list(HealthCheck)}


@settings(max_examples=80, **SAME)
@given(bad.cases())
def test_a_bad_input_is_answered_with_a_sentence(case):
    assert bad.answer(case).kind == "clear", bad.answer(case)


@pytest.mark.slow
def test_thousands_of_bad_inputs_are_answered_with_a_sentence():
    found = bad.census(3500)
    assert len(found) >= 3000
    assert not [f"{got.kind}: {case.door}: {case.said} -> {got.words}" for case, got in found if got.kind != "clear"]


@pytest.mark.parametrize(("word", "value"), [("false", False), ("False", False), ("0", False), ("off", False), ("true", True)])
def test_a_switch_of_the_command_line_is_what_is_typed(word, value, capsys):
    cli.main(["train", "--dry-run", "--method", "byot", "--knob", f"t_squared={word}", "--knob", f"detach={word}"])
    said = capsys.readouterr().out
    assert (f"'t_squared': {value}" in said, f"'detach': {value}" in said) == (value, not value)  # the defaults are not said


def test_words_are_read_as_what_is_declared():
    for word, kind, value in [
        ("3", float, 3.0), ("3", int, 3), ("None", int | None, None), ("none", int | None, None), ("4", int | None, 4),
        ("2", Sequence[int], (2,)), ("1,2", Sequence[int], (1, 2)), ("[1, 2]", Sequence[int], (1, 2)), ("3", str, "3"),
        ("3,4", list, [3, 4]), ("[3, 4]", list[int], [3, 4]), ("(3,)", tuple, (3,)),
        ("blur,noise", Sequence[str], ("blur", "noise")), ("'it'", str, "it"), ("{'lr': 0.1}", dict | None, {"lr": 0.1}),
    ]:  # fmt: skip
        got = as_declared("it", Word(word), kind)
        assert got == value and type(got) is type(value), (word, kind)


@pytest.mark.parametrize(
    ("value", "kind"),
    [(1, bool), (True, int), (True, float), ("1", int), ("0.5", float), (1.5, int), (math.nan, float), (math.inf, float | None),
     (2**80, int), ("ab", list[str]), ({1: 2}, dict[str, int]), (None, float), (Word("ja"), bool), (Word("1.5"), int)],
)  # fmt: skip
def test_a_value_of_another_type_is_refused_with_what_was_expected_what_came_and_the_mend(value, kind):
    with pytest.raises(BadArgument, match=r"byot alpha is .*, got .*: say alpha=.*, for example"):
        as_declared("byot alpha", value, kind)


def test_a_whole_number_is_taken_for_a_float_and_a_default_for_itself():
    assert Experiment("mean-teacher", knobs={"ramp_up": 5}).knobs["ramp_up"] == 5.0
    assert Experiment("mean-teacher", knobs={"ramp_up": 5}).key == Experiment("mean-teacher", knobs={"ramp_up": 5.0}).key
    assert Experiment("ddgsd", knobs={"temperature": None}).knobs["temperature"] is None


def test_arguments_are_checked_however_a_part_is_built():
    for build in (
        lambda: BYOT(four_stage(5, width=4), detach="no"),
        lambda: METHODS["byot"](four_stage(5, width=4), detach="no"),
        lambda: Experiment("byot", knobs={"detach": "no"}),
        lambda: four_stage(5, blocks="two"),
        lambda: MODELS["resnet20"](num_classes=5, width=True),
        lambda: Experiment(model="resnet20", network={"width": True}),
        lambda: DATASETS["digits"](mixup="0.2"),
        lambda: Experiment(data="digits", dataset={"mixup": "0.2"}),
        lambda: Recipe(nesterov="no"),
    ):
        with pytest.raises(TypeError, match=r" is (True or False|a whole number|a finite number), got "):
            build()


def test_a_method_of_your_own_is_held_to_what_it_declares_and_free_where_it_declares_nothing():
    class Mine(Method):
        def __init__(self, model, *, strength: float = 1.0, anything=None) -> None:
            super().__init__()
            self.given = strength, anything

    assert Mine(None, strength=2, anything="x").given == (2.0, "x")
    with pytest.raises(TypeError, match="strength is a finite number, got 'much'"):
        Mine(None, strength="much")
    with pytest.raises(TypeError, match="strength is a finite number, got 'much'"):
        Experiment(Mine, knobs={"strength": "much"})


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"epochs": 1.5}, "epochs"), ({"gamma": -1}, "gamma"), ({"momentum": 2}, "momentum"), ({"lr": math.inf}, "lr"),
     ({"weight_decay": -1e-4}, "weight_decay"), ({"gamma": math.nan}, "gamma"), ({"momentum": 0}, "nesterov=False"),
     ({"milestones": ("30",)}, "milestones")],
)  # fmt: skip
def test_a_recipe_that_cannot_be_meant_is_refused(fields, words):
    with pytest.raises((TypeError, ValueError), match=words):
        Recipe(**fields)


@pytest.mark.parametrize("knob", ["beta", "temperature"])
def test_no_knob_is_infinite(knob):
    with pytest.raises(ValueError, match=f"{knob} .*got inf, which is too large"):
        Experiment("dsr", knobs={knob: math.inf})


@pytest.mark.parametrize("measure", [analysis.calibration, analysis.selective_risk, analysis.ranked_top])
def test_of_logits_that_are_no_numbers_nothing_is_measured(measure):
    with pytest.raises(ValueError, match="logits of .* hold NaN or infinity.*diverged"):
        measure(torch.full((6, 3), math.nan), torch.arange(6) % 3)


def test_of_a_network_that_diverged_nothing_is_measured():
    net = four_stage(3, width=4)
    torch.nn.init.constant_(net.classifier.weight, math.nan)
    with pytest.raises(ValueError, match="model of noise_tolerance hold NaN or infinity"):
        analysis.noise_tolerance(net, torch.randn(6, 3, 8, 8), torch.arange(6) % 3, [0.1])


def test_images_that_lost_their_levels_are_not_trained_on():
    (x, y), test = bad.tiny()
    for lost in ((x.float() / 255).byte(), x.float() / 255 / 255):
        with pytest.raises(ValueError, match="train has images of 0 and 1 alone.*multiply by 255"):
            as_data(((lost, y), test))


# image files

SQUASHED = Framing(8, 8, 8, "squashed")


def saved(tmp_path, picture, name="one.png", **options):
    picture.save(tmp_path / name, **options)
    return tmp_path / name


@pytest.mark.parametrize("name", ["one.png", "one.tif"])
def test_sixteen_bits_of_grey_keep_their_order(tmp_path, name):
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    x = view(saved(tmp_path, Image.fromarray(ramp), name), SQUASHED)
    assert (x[..., 0].ravel() == ramp.ravel() // 257).all() and (x == x[..., :1]).all()


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_numbers_of_no_known_range_are_no_picture(tmp_path, kind):
    path = saved(tmp_path, Image.fromarray(np.arange(64, dtype=kind).reshape(8, 8)), "one.tif")
    with pytest.raises(Unreadable, match="whose black and white no file says: bring it to 8 or 16 bits"):
        view(path, SQUASHED)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_is_white_whatever_colour_hides_there(tmp_path, mode):
    pixels = np.full((8, 8, len(mode)), 90, np.uint8)
    pixels[..., -1] = 0
    pixels[:4, :, -1] = 255
    x = view(saved(tmp_path, Image.fromarray(pixels, mode)), SQUASHED)
    assert (x[:4] == 90).all() and (x[4:] == 255).all()


def test_a_colour_that_stands_for_transparent_is_white_too(tmp_path):
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[4:] = (1, 2, 3)
    assert (view(saved(tmp_path, Image.fromarray(pixels), transparency=(1, 2, 3)), SQUASHED)[4:] == 255).all()


def test_a_small_file_of_a_giant_image_is_refused_before_it_is_decoded(tmp_path):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", 12_000, 12_000, 1, 0, 0, 0, 0)  # and no pixel follows: to decode it would be another error
    (tmp_path / "one.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    with warnings.catch_warnings(), pytest.raises(Unreadable, match="12000 x 12000 pixels are more than 90 million"):
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        view(tmp_path / "one.png", SQUASHED)


def test_pictures_of_a_dataset_are_read_as_those_of_a_folder():
    ramp = Image.fromarray(np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8))
    hidden = Image.fromarray(np.zeros((8, 8, 4), np.uint8), "RGBA")
    items = [(ramp, 0), (hidden, 1)]
    x = as_data((items, items)).train.x
    assert len(x[0].unique()) == 64 and (x[1] == 255).all()
    with pytest.raises(ValueError, match="whose black and white no file says"):
        as_data(([(Image.fromarray(np.zeros((8, 8), np.float32)), 0)], items))


# statistics


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"mean": (125.3, 123.0, 113.9)}, "divide by 255"), ({"std": (63.0, 62.1, 66.7)}, "divide by 255"),
     ({"mean": (math.nan,) * 3}, "finite number"), ({"std": (0.2,)}, "3 values"), ({"pad": 99}, "pad"),
     ({"mirror": "no"}, "mirror")],
)  # fmt: skip
def test_a_data_set_of_impossible_numbers_is_refused(fields, words):
    with pytest.raises((TypeError, ValueError), match=words):
        replace(as_data(bad.tiny()), **fields)


def test_images_are_not_divided_by_a_deviation_of_0():
    data = replace(as_data(bad.tiny()), std=(0.0, 0.2, 0.2))
    for use in (lambda: data.batches(8), lambda: data.evaluation(), lambda: data.normalised(data.test.x)):
        with pytest.raises(ValueError, match="a colour has the deviation 0.*norm='imagenet'"):
            use()
