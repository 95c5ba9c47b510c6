"""A machine with a card: what only the card can show, and that everything for it starts where little is installed."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from sdkit import studies, train
from sdkit.core import Progress
from sdkit.data import distort
from sdkit.methods import METHODS
from sdkit.train import device, graphs

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import gpu  # noqa: E402
import gpu_checks  # noqa: E402

CPU = torch.device("cpu")
PLAN = """{"about": "tiny", "runs": [{"model": "four-stage", "network": {"width": 4}, "data": "digits",
"dataset": {"train_size": 64}, "recipe": "smoke", "methods": ["vanilla", "drg"]}]}"""


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card here")
@pytest.mark.parametrize("name", gpu_checks.CHECKS)
def test_on_a_card(name):
    gpu_checks.CHECKS[name](torch.device("cuda"))


# without a card


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """On a CPU 400 images are enough for the checks that take 1,000 on a card."""
    assembled = gpu_checks.assembled

    def smaller(name, device, how="eager", images=gpu_checks.IMAGES, **data):
        return assembled(name, device, how, min(images, gpu_checks.IMAGES) if device.type == "cpu" else images, **data)

    monkeypatch.setattr(gpu_checks, "assembled", smaller)


CHECKED = ("views", "precision", "turned knob", "streamed", "falls back", "replays dlb", "resumes drg+dsr", "16 bits dsr")


@pytest.mark.parametrize("name", CHECKED)
def test_the_checks_are_good_on_a_cpu(name):
    gpu_checks.CHECKS[name](CPU)


def test_a_check_sees_a_recording_that_forgets(monkeypatch):
    """Memories that a recording does not follow, a knob that it does not see: each is noticed."""
    monkeypatch.setattr(graphs.Replayed, "_bring", lambda self, now: None)
    with pytest.raises(AssertionError, match="is allowed"):
        gpu_checks.CHECKS["replays dsr"](CPU)


def test_a_bad_check_stops_no_other_and_good_ones_are_not_run_again(monkeypatch):
    ran = []

    def good(device):
        ran.append("good")
        return "fine"

    def bad(device):
        raise ValueError("broken")

    monkeypatch.setattr(gpu_checks, "CHECKS", {"bad": bad, "good": good})
    said = []
    found = gpu_checks.run_checks(CPU, ["bad", "good"], say=said.append)
    assert [was["ok"] for was in found.values()] == [False, True] and "ValueError: broken" in said[0]
    assert gpu_checks.told(found) == "1 checks good, 1 bad: bad"
    gpu_checks.run_checks(CPU, ["bad", "good"], known=found, say=said.append)
    assert ran == ["good"]
    late = gpu_checks.run_checks(CPU, ["bad", "good"], until=time.monotonic() - 1, say=said.append)
    assert late == {} and "2 checks were not reached" in said[-1]


def test_steps_are_replayed_where_the_checks_of_the_plans_methods_are_good(monkeypatch):
    checks = {"replays drg": {"ok": True}, "resumes drg": {"ok": True}, "replays crd": {"ok": False}, "views": {"ok": False}}
    monkeypatch.setattr(gpu, "read", lambda path: {"checks": checks})
    assert gpu.allowed("cuda", {"drg"}) == "graphs"
    assert gpu.allowed("cuda", {"drg", "crd"}) == "eager"
    assert gpu.allowed("cuda", {"dsr"}) == "eager"  # nobody looked
    assert gpu.allowed("cpu", {"drg"}) == "eager"


def test_only_what_has_the_units_for_it_uses_bfloat16_by_itself(monkeypatch):
    monkeypatch.delenv("SDKIT_PRECISION", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "device", lambda on: contextlib.nullcontext())
    for major, kind in ((7, None), (8, torch.bfloat16), (9, torch.bfloat16)):
        device.has_bfloat16.cache_clear()
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda on, major=major: SimpleNamespace(major=major))
        assert device.half(torch.device("cuda")) is kind
    device.has_bfloat16.cache_clear()
    for can, kind in ((False, None), (True, torch.bfloat16)):
        device.has_bfloat16.cache_clear()
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda can=can: can)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        assert device.half(CPU) is kind
    device.has_bfloat16.cache_clear()


def test_a_precision_is_asked_for_by_name(monkeypatch):
    for said, kind, told in (("float32", None, ""), ("bfloat16", torch.bfloat16, ", bfloat16")):
        monkeypatch.setenv("SDKIT_PRECISION", said)
        assert device.half(CPU) is kind and train.device_name(CPU, 3) == f"CPU, 3 threads{told}"
    monkeypatch.setenv("SDKIT_PRECISION", "bf16")
    with pytest.raises(KeyError, match="did you mean 'bfloat16'"):
        device.half(CPU)


@pytest.mark.parametrize("name", ("precision", "follows float32", "resumes drg+dsr", "trains sfr", "trains logits"))
def test_a_cpu_that_is_asked_to_trains_in_16_bits(name, monkeypatch):
    """The same switches as a card's: maps in bfloat16, losses in float32, the same bits after a stop."""
    monkeypatch.setenv("SDKIT_PRECISION", "bfloat16")
    gpu_checks.CHECKS[name](CPU)


@pytest.mark.parametrize("name", METHODS)
def test_terms_in_16_bits_are_those_of_float32(name):
    """Maps in bfloat16, as a card has them, and losses in float32: no term loses more than the maps' own rounding."""
    made = gpu_checks.assembled(name, CPU, images=100)
    walk, found = iter(made.loader), {}
    made.model.train(), made.method.train()
    made._step(next(walk), Progress(0, 0, 2, 4))
    batch = next(walk)
    for half in (False, True):
        torch.manual_seed(1)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16) if half else contextlib.nullcontext():
            out = made.model.forward_features(made.method.view(batch))
            found[half] = made.method.terms(made.model, out, batch, Progress(1, 5, 2, 4))
    assert out.stages[0].dtype == torch.bfloat16 and out.embedding.dtype == out.logits.dtype == torch.float32
    for term, value in found[False].items():
        assert float(found[True][term]) == pytest.approx(float(value), rel=0.03, abs=1e-3)


def test_distortions_copy_their_constants_to_the_device_once():
    def copies():
        return distort.constant.cache_info().misses

    x, chance = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8), torch.Generator().manual_seed(0)
    distort.distorted(x, distort.DISTORTIONS, chance)
    before = copies()
    distort.distorted(x, distort.DISTORTIONS, chance)
    assert copies() == before


# a bare machine


def bare(home: Path, *command: str, **environment: str) -> str:
    """What a command prints where there is only torch, torchvision, NumPy, scikit-learn, Pillow and what they need."""
    ran = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "bare.py"), *command],
        capture_output=True, text=True, cwd=ROOT, env={**os.environ, "SDKIT_HOME": str(home), **environment},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture
def planned(tmp_path):
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "tiny.json").write_text(PLAN)
    return tmp_path


def test_a_bare_machine_checks_measures_and_records(planned):
    only = ("--only", "machine", "views", "replays dsr", "resumes dsr")
    command = ("benchmarks/gpu.py", "--device", "cpu", "--quick", "--minutes", "0.9", "--plan", "tiny", *only)
    out = planned / "out"
    said = bare(planned, *command, OUT=str(out))
    assert "4 checks good, 0 bad" in said and "| four-stage | 8 | graphs, tried |" in said and "2 recorded in" in said
    names = sorted(p.name for p in out.iterdir())
    assert names == ["gpu-checks.json", "gpu-log.txt", "gpu-records.zip", "gpu-steps.json"]
    assert all(re.fullmatch(r"[\w.-]+", name) for name in names)
    keys = [e.key for e in studies.read_plan(planned / "plans" / "tiny.json").experiments]
    with zipfile.ZipFile(out / "gpu-records.zip") as file:
        assert sorted(file.namelist()) == sorted(f"data/records/tiny/{key}.json" for key in keys)
        file.extractall(planned / "elsewhere")
    assert {r.key for r in studies.load_results("tiny", planned / "elsewhere" / "data" / "records")} == {*keys}
    again = bare(planned, "benchmarks/gpu.py", "check", "--device", "cpu", "--quick", *only)
    assert "4 checks good" in again and "replays" not in again  # what was good is not run again


def test_where_there_is_pytest_it_finds_the_cards_tests(tmp_path):
    command = ("-m", "pytest", "-m", "gpu", "--collect-only", "-q", "tests/train/test_gpu.py")
    found = bare(tmp_path, "--with", "pytest", *command, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")  # none is there
    assert f"{len(gpu_checks.CHECKS)}/" in found and "error" not in found


def test_a_bare_machine_runs_the_benchmark(tmp_path):
    said = bare(
        tmp_path, "benchmarks/speed.py", "--quick", "--networks", "four-stage", "--methods", "drg", "--parts", "methods",
        "--rounds", "1", "--block", "0.01", "--batch", "4", "--workers", "0",
    )  # fmt: skip
    assert "| four-stage | 4 | drg |" in said


def test_a_card_that_is_not_there_is_one_sentence(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(["check"]) == 1
    assert re.fullmatch("gpu: torch finds no CUDA card here: .* --device cpu\n", capsys.readouterr().err)
    assert train.default_device().type == "cpu"
