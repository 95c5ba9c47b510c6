"""How an answer is judged: on fresh tensors beside the solution, and if it is wrong, by the mistakes that are known.

Named mistakes come first; then what can be said of any answer: an argument without effect, a factor, a gradient.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

import torch

from .exercise import CLOSE, DRAWS, Answer, Exercise, Outcome, close, drawn, outcome, same_gradients, shapes, sizes


def judge(exercise: Exercise, answer: Any, *evidence: Any, seed: int | None = None) -> Answer:
    """Whether an answer is right, and if not, the one most likely mistake.

    Args:
        exercise: what is asked.
        answer: the student's function, or for a reading the number.
        evidence: for a reading, what it was read off.
        seed: of the arguments that are drawn; None draws others at every call.

    Returns:
        The verdict.
    """
    if exercise.reads:
        return read(exercise, answer, evidence)
    if not callable(answer):
        return Answer(exercise.name, False, "Hand in the function itself, not what it returns: its name without brackets.")
    sets = drawn(exercise, seed)
    solved = [outcome(exercise, exercise.solution, given) for given in sets]
    try:
        found = [outcome(exercise, answer, given, s) for given, s in zip(sets, solved, strict=True)]
    except ValueError as error:
        return Answer(exercise.name, False, str(error))
    said = mistake(exercise, answer, sets, found, solved)
    right = f"right: values and gradients agree on {DRAWS} fresh inputs."
    return Answer(exercise.name, not said, said or right)


def mistake(exercise: Exercise, answer: Any, sets: list[tuple[Any, ...]], found: list[Outcome], solved: list[Outcome]) -> str:
    """The most likely mistake of an answer that could be compared; "" where there is none."""
    if by_chance(exercise, answer, sets, found):
        return "Your function answers something else at every call on the same input: nothing is to be drawn by chance here."
    value_right = all(close(f.value, s.value) for f, s in zip(found, solved, strict=True))
    off = [(f, s) for f, s in zip(found, solved, strict=True) if same_gradients(f, s)]
    if value_right and not off:
        return ""
    first = found[0].value
    if not value_right and all(f.value.shape == first.shape and torch.equal(f.value, first) for f in found):
        return "Your function answers the same to every input: a number typed in is no answer, compute it from the arguments."
    for values_alone in (False, True):
        for sentence, wrong in exercise.wrong.items():
            if not (values_alone and value_right) and agrees(exercise, wrong, sets, found, values_alone):
                return sentence
    if solved[0].connected and not found[0].connected:
        return (
            f"No gradient passes through your answer, it is {found[0].kind}: leave .item(), float(), numpy, torch.tensor(), "
            "no_grad() and the student's .detach() out."
        )
    if value_right:
        return gradient_mistake(*off[0])
    if factor := multiple(exercise, sets, found, solved):
        if factor == "minus":
            return "Wrong sign: your answer is minus the right one, on every input."
        size = "(" in factor or "[" in factor
        why = "is a number typed in for a size, or a sum taken for a mean?" if size else "a factor is missing, or is too much."
        return f"Your answer is {factor} the right one, on every input: {why}"
    if exercise.given:  # of a sum of terms, the rest would be guessing
        return furthest(exercise, sets, found, solved)
    if name := without_effect(exercise, answer, sets, found, solved):
        return (
            f"`{name}` has no effect on your answer: it cancels, or something else stands where it belongs, such as a number."
        )
    for sentence, wrong in exercise.wrong.items():
        with contextlib.suppress(ValueError):
            if factor := multiple(exercise, sets, found, [outcome(exercise, wrong, given) for given in sets]):
                return f"{sentence} (Besides, it is {factor} what that gives.)"
    return furthest(exercise, sets, found, solved)


def agrees(
    exercise: Exercise, wrong: Callable[..., Any], sets: list[tuple[Any, ...]], found: list[Outcome], values_alone: bool
) -> bool:
    """Whether an answer is this known mistake, on every input."""
    for given, f in zip(sets, found, strict=True):
        try:
            theirs = outcome(exercise, wrong, given)
        except ValueError:
            return False
        if theirs.value.shape != f.value.shape or not close(f.value, theirs.value):
            return False
        if not values_alone and same_gradients(f, theirs):
            return False
    return True


def gradient_mistake(found: Outcome, solved: Outcome) -> str:
    """What is wrong with an answer whose values are right, on an input where its gradients are not."""
    off = same_gradients(found, solved)
    reached = [name for name in off if not solved.gradients[name].any()]
    missing = [name for name in off if not found.gradients[name].any()]
    if reached and missing:
        return f"The value is right, but the wrong side is detached: `{missing[0]}` learns, and `{reached[0]}` is constant."
    if reached:
        return f"The value is right, but a gradient reaches `{reached[0]}`, which is a constant target here: detach it."
    if missing:
        return f"The value is right, but no gradient reaches `{missing[0]}`, which is to learn: detach the other side alone."
    return f"The value is right, but the gradient at `{off[0]}` is not: what is a constant there, and what is not?"


def multiple(exercise: Exercise, sets: list[tuple[Any, ...]], found: list[Outcome], other: list[Outcome]) -> str:
    """The factor between two answers in words, where it is one on every input, or a number times a power of a size; else ""."""
    ratios = []
    for f, o in zip(found, other, strict=True):
        place = int(o.value.abs().argmax())
        ratio = float((f.value / o.value).flatten()[place]) if f.value.shape == o.value.shape else 0.0
        if ratio == 0 or not math.isfinite(ratio) or not close(f.value, ratio * o.value):
            return ""
        ratios.append(ratio)
    measures = [sizes(exercise, given) for given in sets]
    for name, power in [("", 0), *((name, power) for name in measures[0] for power in (1, -1, 2, -2))]:
        rest = [r / m.get(name, 1.0) ** power for r, m in zip(ratios, measures, strict=True)]
        if max(rest) - min(rest) <= CLOSE * abs(rest[0]):
            return "minus" if not name and abs(rest[0] + 1) < CLOSE else f"{in_words(rest[0], name, power)} times"
    return ""


def in_words(number: float, name: str, power: int) -> str:
    """A factor as one would write it: "logits.shape[0] / 8", "2 / tau**2", "0.5"."""
    size = f"{name}**2" if abs(power) == 2 else name
    if not power:
        return f"{number:.4g}"
    if power < 0:
        return f"{number:.4g} / {size}"
    below = f"{1 / number:.4g}"
    return size if below == "1" else f"{size} / {below}" if "." not in below else f"{number:.4g} * {size}"


def by_chance(exercise: Exercise, answer: Any, sets: list[tuple[Any, ...]], found: list[Outcome]) -> bool:
    """Whether an answer is another at the next call."""
    with contextlib.suppress(ValueError):
        return not all(close(outcome(exercise, answer, given).value, f.value) for given, f in zip(sets, found, strict=True))
    return True


def without_effect(
    exercise: Exercise, answer: Any, sets: list[tuple[Any, ...]], found: list[Outcome], solved: list[Outcome]
) -> str:
    """The first argument that counts, and that an answer does not heed; "" where there is none."""

    def same(of: Callable[..., Any], place: int, before: list[Outcome]) -> bool:
        others = [tuple(other(part) if i == place else part for i, part in enumerate(given)) for given in sets]
        return all(close(outcome(exercise, of, given).value, b.value) for given, b in zip(others, before, strict=True))

    with contextlib.suppress(ValueError):
        for place, name in enumerate(exercise.names()):
            if same(answer, place, found) and not same(exercise.solution, place, solved):
                return name
    return ""


def other(part: Any) -> Any:
    """An argument that is another: a larger number, yes for no, a tensor whose entries grow, each by another factor."""
    if isinstance(part, bool):
        return not part
    if isinstance(part, float):
        return 1.25 * part
    if isinstance(part, torch.Tensor) and part.is_floating_point():
        return part * torch.linspace(0.5, 1.5, part.numel(), dtype=part.dtype).view_as(part)
    return part


def furthest(exercise: Exercise, sets: list[tuple[Any, ...]], found: list[Outcome], solved: list[Outcome]) -> str:
    """By how much an answer is off, and on which input, where no known mistake explains it."""
    gaps = [float((f.value - s.value).abs().max()) for f, s in zip(found, solved, strict=True)]
    worst = max(range(len(gaps)), key=gaps.__getitem__)
    place = int((found[worst].value - solved[worst].value).abs().argmax())
    mine, theirs = (float(o[worst].value.flatten()[place]) for o in (found, solved))
    where = f" at entry {place}" if found[worst].value.ndim else ""
    return f"Not yet: {mine:.4g} came{where} where {theirs:.4g} is right, on {shapes(exercise, sets[worst])}."


def read(exercise: Exercise, answer: Any, evidence: tuple[Any, ...]) -> Answer:
    """Whether a number that a student read off is what the solution computes from the same data."""
    if answer is None:
        return Answer(exercise.name, False, "Not written yet.")
    try:
        number = float(answer)
    except (TypeError, ValueError):
        return Answer(
            exercise.name, False, f"A number is asked for, 18.3 for example, with a point and without %: got {answer!r}."
        )
    if not torch.tensor(number).isfinite():
        return Answer(exercise.name, False, "NaN or infinity is no reading of a figure: give the number that you see.")
    try:
        right = float(exercise.solution(*evidence))
    except (TypeError, KeyError, AttributeError):
        said = f"This reading is checked against your run: `seen = {exercise.evidence}`, and `seen` stands behind your number."
        return Answer(exercise.name, False, said)
    if abs(number - right) <= exercise.tolerance:
        return Answer(exercise.name, True, f"right: {right:.3g} it is, computed from your run.")
    guesses = {sentence: abs(number - float(wrong(*evidence))) for sentence, wrong in exercise.wrong.items()}
    guesses["Wrong sign: which of the two is the larger one?"] = abs(number + right)
    nearest = min(guesses, key=guesses.__getitem__)
    if guesses[nearest] <= exercise.tolerance / 10:
        return Answer(exercise.name, False, nearest)
    low = "too small" if number < right else "too large"
    return Answer(exercise.name, False, f"{number:.4g} is {low}, by more than a figure's reading: look again.")
