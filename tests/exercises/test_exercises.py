"""Exercises: every solution passes, and typical wrong answers are each told what is wrong, in a sentence of their own."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import sdkit
from sdkit import losses, methods, models
from sdkit.core import Batch, Features, Progress
from sdkit.exercises import EXERCISES, check
from sdkit.exercises.exercise import drawn, outcome
from sdkit.exercises.judging import judge

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
SOURCE = "\n".join(p.read_text(encoding="utf-8") for p in sorted(NOTEBOOKS.glob("0[1-5]*.ipynb")))
WRITTEN = [e for e in EXERCISES.values() if not e.reads]
METHODS = [e for e in WRITTEN if e.given]
FUNCTIONS = [e for e in WRITTEN if not e.given]
STEP = Progress(1, 3, 2, 3)

by_name = pytest.mark.parametrize("exercise", EXERCISES.values(), ids=list(EXERCISES))
of_a_function = pytest.mark.parametrize("exercise", FUNCTIONS, ids=[e.name for e in FUNCTIONS])
of_a_method = pytest.mark.parametrize("exercise", METHODS, ids=[e.name for e in METHODS])


def slips(exercise) -> dict[str, object]:
    """What a student may return of any function: the beginning of the sentence -> the answer."""
    solve, first = exercise.solution, outcome(exercise, exercise.solution, drawn(exercise, seed=5)[0])

    def raises(*given):
        raise IndexError("index 3 is out of bounds")

    def unwritten(*given):
        raise NotImplementedError

    found = {
        "Not written yet": unwritten,
        "Your code raised IndexError: index 3 is out of bounds": raises,
        "Your function returns nothing": lambda *given: None,
        "Your answer has NaN": lambda *given: solve(*given) * float("nan"),
    }
    if isinstance(solve(*drawn(exercise, seed=5)[0]), torch.Tensor):
        found["Wrong sign"] = lambda *given: -solve(*given)
        found["Your answer is 3 times the right one"] = lambda *given: 3 * solve(*given)
        found["Your function returns a ndarray"] = lambda *given: solve(*given).detach().numpy()
        found["Your answer has the shape"] = lambda *given: solve(*given)[None]
    if first.value.ndim == 0:
        found["Your function answers the same to every input"] = lambda *given: 0 * solve(*given) + 0.25
    if first.connected and first.value.ndim == 0:
        found["No gradient passes through your answer, it is a Python float"] = lambda *given: solve(*given).item()
    if first.connected:
        found["No gradient passes through your answer"] = lambda *given: solve(*given).detach()
    return found


@by_name
def test_the_solution_passes_and_ten_wrong_answers_each_get_a_sentence_of_their_own(exercise):
    said = set()
    for seed in range(3):
        if exercise.reads:
            evidence = drawn(exercise, seed)[0]
            assert judge(exercise, exercise.solution(*evidence), *evidence)
        else:
            assert judge(exercise, exercise.solution, seed=seed)
    for sentence, wrong in exercise.wrong.items():
        evidence = drawn(exercise, seed=1)[0] if exercise.reads else ()
        answer = judge(exercise, wrong(*evidence) if exercise.reads else wrong, *evidence, seed=1)
        assert not answer.right and answer.says == sentence, answer
        said.add(answer.says)
    if exercise in FUNCTIONS:
        for start, wrong in slips(exercise).items():
            answer = judge(exercise, wrong, seed=2)
            told = answer.says.startswith(start) or answer.says in exercise.wrong  # such as a sign that has a sentence
            assert not answer.right and told, answer
            said.add(answer.says)
    assert len(said) >= 10, len(said)


def step(method, logits, y, embedding=None, progress=STEP):
    """The sum of a method's terms on these logits."""
    out = Features(logits, logits if embedding is None else embedding, (logits,) * 4)
    batch = Batch(torch.zeros(len(y), 3, 1, 1), y, torch.arange(len(y)))
    return sum(method.terms(None, out, batch, progress).values())


class Fixed(nn.Module):
    """A head that answers the same to everything."""

    def __init__(self, stage, *answer):
        super().__init__()
        self.stage, self.answer = stage, answer

    def forward(self, feature):
        return self.answer


def network(classes):
    return models.MODELS["four-stage"](num_classes=classes, width=4)


def byot_exits(exits, y, alpha):
    """Loss source 1 as BYOT has it, by hand of its own terms."""
    method = methods.BYOT(network(exits[0].shape[1]), alpha=alpha, lam=0.0)
    method.heads = nn.ModuleList(Fixed(i, z, z) for i, z in enumerate(exits))
    out = Features(exits[0], exits[0], (exits[0],) * len(exits))
    return method.terms(None, out, Batch(exits[0], y, y), STEP)["head ce"]


def byot_ensemble(exits):
    method = methods.BYOT(network(exits[0].shape[1]))
    method.heads = nn.ModuleList(Fixed(i, z, z) for i, z in enumerate(exits[:-1]))
    return method.exits(Features(exits[-1], exits[-1], (exits[0],) * len(exits)), exits[0])["ensemble"]


def byot_exit(z, feature, deepest_logits, deepest, y, alpha, lam):
    method = methods.BYOT(network(z.shape[1]), alpha=alpha, lam=lam)
    method.heads = nn.ModuleList([Fixed(0, z, feature)])
    method.hints = (1.0,)
    found = method.terms(None, Features(deepest_logits, deepest, (z,)), Batch(z, y, y), STEP)
    return found["head ce"] + found["kd"] + found["hint"]


def drg(z, shallow, y, alpha, tau):
    method = methods.DRG(network(z.shape[1]), alpha=alpha, temperature=tau)
    method.heads = nn.ModuleList([Fixed(1, shallow, shallow)])
    return step(method, z, y)


def dsr(z, before, y, beta, tau):
    method = methods.DSR(network(z.shape[1]), beta=beta, temperature=tau)
    method.memory["ranked"] = losses.ranked(before)
    return step(method, z, y)


def ddgsd(z, h, y, lam, mu, t):
    return step(methods.DDGSD(network(z.shape[1]), lam=lam, mu=mu, temperature=t), z, y, h)


def sfr_labels(y, past, epsilon):
    method = methods.SFR(network(past.shape[1]), train_size=len(y), epsilon=epsilon)
    method.memory["past"] = past
    return method.targets(Batch(past, y, torch.arange(len(y))), STEP)


def block(branch, p, keep):
    """A residual block of sdkit's that gives this branch."""
    found = models.residuals(models.MODELS["four-stage"](num_classes=3, width=4, survival=0.5))[0]
    found.branch, found.skip, found.survival, found.forced = Fixed(0, branch), nn.Identity(), p, keep
    found.branch.forward = lambda x: branch
    return found


OF_SDKIT = {
    "byot.soften": lambda z, t: (z / t).softmax(1),
    "byot.exit_kl": losses.kl,
    "byot.exit_labels": byot_exits,
    "byot.feature_hint": losses.hint,
    "byot.ensemble_logits": byot_ensemble,
    "byot.exit_loss": lambda *given: byot_exit(*given),
    "ddgsd.both_labels": lambda z, y: ddgsd(z, z, y, 0.0, 0.0, 1.0),
    "ddgsd.agreement": lambda a, b, t: losses.kl(a, b, t) + losses.kl(b, a, t),
    "ddgsd.mean_discrepancy": losses.mmd,
    "ddgsd.printed_gradient": lambda a, b, t: torch.autograd.grad(losses.kl(a, b, t), a)[0],
    "ddgsd.ddgsd_loss": ddgsd,
    "self_guidance.student_block": lambda h, branch, keep: block(branch, 0.5, keep)(h),
    "self_guidance.teacher_block": lambda h, branch, p: block(branch, p, None).eval()(h),
    "self_guidance.distillation": losses.kd,
    "drg_dsr.guidance": losses.kd,
    "drg_dsr.drg_loss": drg,
    "drg_dsr.uniform_guidance": lambda z, t: losses.kd(z, torch.zeros_like(z), t),
    "drg_dsr.ranked": losses.ranked,
    "drg_dsr.shape_kl": lambda z, before, t: losses.kd(losses.ranked(z), losses.ranked(before), t),
    "drg_dsr.dsr_loss": dsr,
    "sfr.ground_cost": losses.ground_cost,
    "sfr.cell_weights": losses.cross_reference,
    "sfr.transported": lambda plan, cost: (plan.detach() * cost).sum((1, 2)),
    "sfr.marginal_gap": losses.marginal_error,
    "sfr.dynamic_labels": sfr_labels,
    "sfr.soft_labels_loss": losses.soft_cross_entropy,
    "sfr.stage_attention": lambda q, k: ((k @ q[:, :, None]).squeeze(2) / q.shape[1] ** 0.5).softmax(1),
}


@pytest.mark.parametrize("name", OF_SDKIT)
def test_what_sdkit_computes_is_a_right_answer(name):
    answer = check(name, OF_SDKIT[name])
    assert answer, answer


def test_survivals_are_those_of_a_network():
    own = [b.survival for b in models.residuals(models.MODELS["four-stage"](num_classes=3, width=4, survival=0.4))]
    assert own == pytest.approx(EXERCISES["self_guidance.survivals"].solution(len(own), 0.4).tolist())


def test_the_expected_cost_is_the_mean_over_all_masks():
    def every_mask(whole, without, p):
        costs = 0
        for kept in itertools.product([0, 1], repeat=len(p)):
            b = torch.tensor(kept)
            costs = costs + torch.where(b == 1, p, 1 - p).prod() * (whole - ((1 - b) * (whole - without)).sum())
        return costs

    assert check("self_guidance.expected_cost", every_mask)


def test_self_guidances_loss_is_the_sum_of_the_methods_terms():
    model, out, batch, progress = drawn(EXERCISES["self_guidance.MySelfGuidance"], seed=0)[0]
    method, n = methods.SelfGuidance(model), len(batch.y)
    seen = Features(out.logits[:n], out.embedding[:n], ())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        whole = sum(method.terms(model, seen, batch, progress).values())
        torch.manual_seed(1)
        with models.sampled(model), models.still_statistics(model):
            student = model.forward_features(batch.x).logits
    mine = EXERCISES["self_guidance.sg_loss"].solution(student, seen.logits, batch.y, method.lam, method.temperature)
    assert torch.allclose(whole, mine)


def test_every_paper_has_six_exercises_or_more_from_reading_to_training():
    for paper in ("byot", "ddgsd", "self_guidance", "drg_dsr", "sfr"):
        own = [e for name, e in EXERCISES.items() if name.startswith(f"{paper}.")]
        assert len(own) >= 6 and own[0].reads and own[-1].given, paper


def shipped(exercise) -> object:
    """What the notebook's cell defines, as it is shipped."""
    space = {"sdkit": sdkit, "F": F, "torch": torch, "models": models}
    exec(exercise.stub, space)
    return space[exercise.function]


@of_a_function
def test_a_stub_runs_and_is_not_written_yet(exercise):
    assert judge(exercise, shipped(exercise)).says == "Not written yet."


@of_a_method
def test_the_loss_to_be_changed_is_the_built_in_one_as_it_stands(exercise):
    answer = judge(exercise, shipped(exercise))
    assert not answer and answer.says.startswith("Not changed yet"), answer
    assert len(exercise.cell.splitlines()) <= 15


@of_a_method
def test_the_loss_to_be_changed_trains_the_very_network_that_the_built_in_one_does(exercise):
    """To the last bit: what is rounded otherwise would tip single images, and look like a difference of the losses."""
    mine, trained = shipped(exercise), []
    network = {"width": 8, "survival": 0.5 if "self_guidance" in exercise.name else 1.0}
    experiment = sdkit.Experiment(data="digits", dataset={"train_size": 64}, network=network, recipe="smoke")
    said = {"train_size": 64} if "sfr" in exercise.name else {}
    for kind in (mine.__base__, mine):
        model, _, data = experiment.build()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            method = kind(model, **said)
        assert [*sdkit.fit(model, method, data, experiment.recipe)]
        trained.append(model.state_dict())
    assert all(torch.equal(v, trained[1][name]) for name, v in trained[0].items())


def test_a_changed_loss_is_right():
    mine = EXERCISES["byot.MyBYOT"]
    space = {"sdkit": sdkit, "F": F}
    exec(mine.cell.replace("self.alpha * F.kl_div", "self.alpha * self.temperature**2 * F.kl_div"), space)
    assert judge(mine, space["MyBYOT"])
    assert "a class is asked for" in judge(mine, lambda: 0).says


@by_name
def test_the_notebooks_hold_the_stub_its_hint_and_its_check_and_no_solution(exercise):
    cells = [c for p in NOTEBOOKS.glob("0[1-5]*.ipynb") for c in json.loads(p.read_text(encoding="utf-8"))["cells"]]
    code = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    prose = " ".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    assert exercise.stub in code and exercise.checks in code
    assert f"<details><summary>Hint</summary>{exercise.hint}</details>" in prose
    assert " ".join(exercise.task.split()) in " ".join(prose.split())
    assert max(map(len, exercise.stub.splitlines() + exercise.checks.splitlines())) <= 112
    assert "Solution</summary>" not in prose


def test_other_inputs_are_drawn_at_every_call_and_nobody_s_generator_moves():
    exercise, before = EXERCISES["byot.exit_kl"], torch.get_rng_state()
    first, second = drawn(exercise)[0], drawn(exercise)[0]
    assert first[0].shape != second[0].shape or not torch.equal(first[0], second[0])
    check("byot.MyBYOT", methods.BYOT)
    assert torch.equal(torch.get_rng_state(), before)


def kl_of(reduction="batchmean", detach=True, sign=1.0, t=None):
    def exit_kl(z, taught, temperature):
        divide = temperature if t is None else t
        target = (taught / divide).softmax(1)
        target = target.detach() if detach else target
        return sign * F.kl_div((z / divide).log_softmax(1), target, reduction=reduction)

    return exit_kl


AS_STUDENTS_WRITE = {
    "The value is right, but a gradient reaches `deepest_logits`": kl_of(detach=False),
    "You averaged over the classes, too": kl_of(reduction="mean"),
    "You summed over the batch": kl_of(reduction="sum"),
    "Your answer has the shape": kl_of(reduction="none"),
    "Wrong sign": kl_of(sign=-1.0),
    "The temperature is missing": kl_of(t=1.0),
    "The value is right, but the wrong side is detached": lambda z, q, t: losses.kl(z.detach(), q, t, detach=False),
    "The KL is the wrong way round": lambda z, q, t: losses.kl(q, z, t),
    "No gradient passes through your answer, it is a Python float": lambda z, q, t: kl_of()(z, q, t).item(),
    "Your function answers the same to every input": lambda z, q, t: 0.1234,
    "Your answer is 0.5 times the right one": lambda z, q, t: losses.kl(z, q, t) / 2,
    "Your code raised TypeError": lambda z, q: 0,
    "Not yet: ": lambda z, q, t: losses.kl(z, q, t + 0.1),
    "Hand in the function itself": 0.3,
}


@pytest.mark.parametrize("start", AS_STUDENTS_WRITE)
def test_what_students_write_is_told_apart(start):
    says = check("byot.exit_kl", AS_STUDENTS_WRITE[start]).says
    assert says.startswith(start), says


def test_an_exit_that_is_detached_is_named():
    """Lists are of other lengths from draw to draw."""
    for seed in range(4):
        answer = judge(EXERCISES["byot.ensemble_logits"], lambda e: (sum(e[:-1]) + e[-1].detach()) / len(e), seed=seed)
        assert answer.says.startswith("The value is right, but no gradient reaches `exits["), answer


def test_a_reading_is_of_the_students_own_run():
    seen = {"ensemble": 0.8, "1/4": 0.62, "2/4": 0.7}
    assert check("byot.points_of_the_ensemble", 18.3, seen)
    assert not check("byot.points_of_the_ensemble", 18.3, seen | {"1/4": 0.5})
    assert check("byot.points_of_the_ensemble", 0.18, seen).says.startswith("That is a share of 1")
    assert check("byot.points_of_the_ensemble", None, seen).says == "Not written yet."
    assert check("byot.points_of_the_ensemble", 25, seen).says.endswith("look again.")
    assert "with a point and without %: got '18,3 %'" in check("byot.points_of_the_ensemble", "18,3 %", seen).says
    for evidence in ((), ({"1/4": 0.5},), (0.5,)):
        assert check("byot.points_of_the_ensemble", 25, *evidence).says.startswith("This reading is checked against your run")


def test_an_unknown_exercise_is_told_the_nearest():
    with pytest.raises(KeyError, match="byot.exit_kl"):
        check("byot.exit_kll", None)


def test_a_changed_loss_trains():
    data = sdkit.DATASETS["digits"](train_size=32)
    model = sdkit.MODELS["four-stage"](num_classes=10, width=4)
    *_, last = sdkit.fit(model, shipped(EXERCISES["drg_dsr.MyDRG"])(model), data, sdkit.Recipe(epochs=1, batch_size=16))
    assert {*last.terms} == {"task", "shallow ce", "rg"} and all(v > 0 for v in last.terms.values())


def written(path, *sources):
    cells = [{"cell_type": "code", "source": s.splitlines(True)} for s in sources]
    path.write_text(json.dumps({"cells": cells, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}))


IMPORTS = "import torch\nimport torch.nn.functional as F\n%matplotlib inline\n"
ASKED = 'sdkit.exercises.check("drg_dsr.ranked", ranked)'
CLASS = {
    "right": "def ranked(logits):\n    return logits.sort(1).values",
    "wrong": "def ranked(logits):\n    return logits.sort(1, descending=True).values",
    "hard-coded": "def ranked(logits):\n    return 0.25",
    "crashing": "import os\ndef ranked(logits):\n    os._exit(1)",
    "endless": "def ranked(logits):\n    while True:\n        pass",
}
NEXT = "def guidance(logits, shallow_logits, tau):\n    raise NotImplementedError"


@pytest.mark.slow
def test_a_class_is_graded_in_processes_of_its_own(tmp_path, capsys):
    from sdkit.cli import main

    for student, source in CLASS.items():
        written(tmp_path / f"{student}.ipynb", IMPORTS, source, NEXT, "raise SystemExit('cells are not run')", ASKED)
    main(["grade", str(tmp_path), "--seconds", "8"])
    with (tmp_path / "grades" / "grades.csv").open() as file:
        grades = {row["student"]: row for row in csv.DictReader(file)}
    words = {student: row["drg_dsr.ranked"] for student, row in grades.items()}
    assert words == {
        "right": "right", "wrong": "wrong", "hard-coded": "wrong", "crashing": "crashed", "endless": "out of time"
    }  # fmt: skip
    assert {row["drg_dsr.guidance"] for row in grades.values()} == {"not written"}
    assert grades["right"]["right"] == "1" and grades["wrong"]["right"] == "0"
    assert "This descends" in (tmp_path / "grades" / "wrong.html").read_text(encoding="utf-8")
    assert "right: 1 of 7 right" in capsys.readouterr().out


def test_a_constant_and_a_lambda_count_and_a_cell_that_does_not_run_is_told_so(tmp_path):
    from sdkit.exercises.grading import grade

    cells = (
        "T = 1.0",
        "ranked = lambda z: T * z.sort(1).values",
        "def guidance(logits, shallow_logits, tau):\n    return (tau",
    )
    written(tmp_path / "a.ipynb", IMPORTS, *cells, "T2 = print('not run')", ASKED)
    grades = {g.exercise: g for g in grade(tmp_path / "a.ipynb", EXERCISES)}
    assert grades["drg_dsr.ranked"].word == "right", grades["drg_dsr.ranked"]
    assert grades["drg_dsr.guidance"] == (
        "drg_dsr.guidance",
        "wrong",
        "Its cell does not run: '(' was never closed, in line 2.",
    )
    (tmp_path / "b.py").write_text("def ranked(logits):\n    return (logits\n")
    assert [g.word for g in grade(tmp_path / "b.py", EXERCISES) if g.exercise == "drg_dsr.ranked"] == ["wrong"]


USES = "ce = torch.nn.CrossEntropyLoss()\n\ndef drg_loss(z, q, y, alpha, tau):\n    return ce(z, y) + ce(q, y) + pair"


def test_a_function_that_needs_another_cell_or_somebody_at_the_keyboard_is_told_so(tmp_path):
    from sdkit.exercises.grading import grade

    asking = "ranked?\n\ndef ranked(z):\n    return input() or z"
    written(tmp_path / "a.ipynb", IMPORTS, ASKED, asking, "pair = ask()", USES)
    grades = {g.exercise: g.says for g in grade(tmp_path / "a.ipynb", EXERCISES)}
    assert "EOFError" in grades["drg_dsr.ranked"]
    assert "name 'pair' is not" in (said := grades["drg_dsr.drg_loss"]) and said.endswith("stands in it."), "ce is there"


def test_only_definitions_of_a_notebook_are_taken(tmp_path):
    from sdkit.exercises.grading import asked, definitions

    written(tmp_path / "a.ipynb", IMPORTS, CLASS["right"], "def broken(:", "print(1 / 0)")
    source, names = definitions(tmp_path / "a.ipynb")
    assert names == {"ranked"} and "print" not in source and "import torch" in source
    assert "drg_dsr.dsr_loss" in asked(tmp_path / "a.ipynb", EXERCISES)
    (tmp_path / "b.ipynb").write_text("nothing")
    with pytest.raises(ValueError, match="no notebook"):
        definitions(tmp_path / "b.ipynb")
