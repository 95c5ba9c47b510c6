"""What an exercise is, and how an answer is judged: by calling it on fresh tensors beside the solution.

Values and gradients are compared, so that a number typed in, or a loss that nothing can learn from, is seen. An answer that is
wrong is compared with a list of known mistakes, and is told the one that it agrees with.
"""

from __future__ import annotations

import inspect
import random
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

DRAWS = 4
"""On how many fresh inputs, of other shapes each, an answer is called."""

WIDE = 88
"""How many characters a line of a stub's docstring has at most, without its indent."""

CLOSE = 1e-4
"""How far a value or a gradient may be off, as a share of the largest."""


@dataclass(frozen=True)
class Exercise:
    """A task, its slow and plain solution, and the mistakes that are known.

    Attributes:
        name: such as "byot.exit_kl": the notebook, and the function that a student writes.
        task: what is asked, in a sentence or two.
        hint: what a student may unfold.
        draw: a generator -> one set of arguments. Every floating tensor in them gets a gradient.
        solution: the reference. Its signature and its docstring are the stub.
        wrong: a sentence in the student's terms -> the wrong answer that it is about.
        reads: the answer is a number, read off what the arguments hold; the solution computes it.
        evidence: what it is read off, as the notebook's cell says it.
        tolerance: how far such a number may be off.
        call: how an answer is called, where it is not a plain function.
        constants: arguments that are numbers to it: a gradient there is neither asked for nor forbidden.
        gradients: whether the answer's gradients are compared, too.
        given: the arguments' names, where they are not the solution's own.
        cell: the stub as it stands in the notebook, where it is not the solution's signature.
    """

    name: str
    task: str
    hint: str
    draw: Callable[[torch.Generator], tuple[Any, ...]]
    solution: Callable[..., Any]
    wrong: Mapping[str, Callable[..., Any]]
    reads: bool = False
    evidence: str = ""
    tolerance: float = 0.5
    call: Callable[..., Any] = field(default=lambda answer, *given: answer(*given))
    constants: tuple[str, ...] = ()
    gradients: bool = True
    given: tuple[str, ...] = ()
    cell: str = ""

    @property
    def function(self) -> str:
        """The name of what the student writes."""
        return self.name.partition(".")[2]

    @property
    def stub(self) -> str:
        """The cell that the student completes."""
        if self.cell:
            return self.cell
        if self.reads:
            return f"{self.function} = None"
        said = textwrap.fill(inspect.getdoc(self.solution) or "", WIDE, subsequent_indent="    ")
        return f'def {self.function}({", ".join(self.names())}):\n    """{said}"""\n    raise NotImplementedError'

    @property
    def checks(self) -> str:
        """The cell that checks what the student wrote."""
        seen, given = (f"seen = {self.evidence}\n", ", seen") if self.evidence else ("", "")
        return f'{seen}sdkit.exercises.check("{self.name}", {self.function}{given})'

    def names(self) -> list[str]:
        """The arguments' names."""
        return [*(self.given or inspect.signature(self.solution).parameters)]


@dataclass(frozen=True)
class Answer:
    """What a check says.

    Attributes:
        name: the exercise.
        right: whether the answer is.
        says: the sentence for the student.
    """

    name: str
    right: bool
    says: str

    def __repr__(self) -> str:
        return f"{'✔' if self.right else '✘'} {self.name}: {self.says}"

    def __bool__(self) -> bool:
        return self.right


class Outcome(NamedTuple):
    """What an answer made of one set of arguments."""

    value: Tensor  # [...] float64, detached
    gradients: dict[str, Tensor]  # of every floating tensor among the arguments, zeros where none reaches it
    connected: bool  # whether anything can be learned from it at all
    kind: str  # what it is, for a student


def tensors(thing: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor in arguments, with the name by which a student knows it: "exits[0]", "out.logits"."""
    if isinstance(thing, Tensor):
        yield name, thing
    elif isinstance(thing, Mapping):
        for key, part in thing.items():
            yield from tensors(part, f"{name}[{key!r}]" if name else str(key))
    elif isinstance(thing, tuple) and hasattr(thing, "_fields"):
        for key, part in zip(thing._fields, thing, strict=True):
            yield from tensors(part, f"{name}.{key}")
    elif isinstance(thing, tuple | list):
        for place, part in enumerate(thing):
            yield from tensors(part, f"{name}[{place}]")


def fresh(thing: Any) -> Any:
    """The same arguments in tensors of their own: floating ones ask for a gradient."""
    if isinstance(thing, Tensor):
        return thing.detach().clone().requires_grad_(thing.is_floating_point())
    if isinstance(thing, Mapping):
        return {key: fresh(part) for key, part in thing.items()}
    if isinstance(thing, tuple) and hasattr(thing, "_fields"):
        return type(thing)(*map(fresh, thing))
    return type(thing)(map(fresh, thing)) if isinstance(thing, tuple | list) else thing


def shapes(exercise: Exercise, given: tuple[Any, ...]) -> str:
    """The arguments in a few words: "logits [4, 3], temperature 2.31"."""
    named = dict(zip(exercise.names(), given, strict=True))
    parts = [f"{name} {[*t.shape]}" for name, t in tensors(named)]
    return ", ".join(parts + [f"{name} {value:.3g}" for name, value in named.items() if isinstance(value, float)])


def number_of(found: Any) -> Tensor | None:
    """An answer as a tensor; None where it is none."""
    if isinstance(found, Tensor):
        return found
    try:
        return torch.stack([torch.as_tensor(f) for f in found]) if isinstance(found, tuple | list) else torch.tensor(found)
    except (TypeError, ValueError, RuntimeError):
        return None


def outcome(exercise: Exercise, answer: Callable[..., Any], given: tuple[Any, ...], solved: Outcome | None = None) -> Outcome:
    """What an answer makes of one set of arguments.

    Args:
        exercise: what is asked.
        answer: the student's function, or the solution.
        given: the arguments; they are copied first.
        solved: the solution's outcome, for what an answer must look like.

    Returns:
        The value and its gradients.

    Raises:
        ValueError: What cannot be compared at all, in the student's terms.
    """
    own = fresh(given)
    try:
        found = exercise.call(answer, *own)
    except NotImplementedError:
        raise ValueError("Not written yet.") from None
    except Exception as error:  # of whatever the student wrote
        raise ValueError(
            f"Your code raised {type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'} "
            f"(on {shapes(exercise, given)})."
        ) from error
    if found is None:
        raise ValueError("Your function returns nothing: does it end with `return`?")
    value = number_of(found)
    if value is None or type(found).__module__.partition(".")[0] == "numpy":
        raise ValueError(f"Your function returns a {type(found).__name__}: return a tensor.")
    before, after = dict(tensors(given)), dict(tensors(own))
    changed = [name for name, t in before.items() if not torch.equal(t, after[name].detach())]
    if changed:
        raise ValueError("Your function changes its arguments: use no operation that ends in _ and no assignment into them.")
    if solved is not None and value.shape != solved.value.shape:
        raise ValueError(misshapen(value, solved.value, exercise, given))
    if not value.double().isfinite().all():
        raise ValueError("Your answer has NaN or infinity in it: the logarithm of something that is 0 or negative, or 0 / 0.")
    learned = {n: part for n, part in zip(exercise.names(), own, strict=True) if n not in exercise.constants}
    leaves = {name: t for name, t in tensors(learned) if t.requires_grad}
    pulled: tuple[Tensor | None, ...] = (None,) * len(leaves)
    learns = exercise.gradients and value.requires_grad
    if learns and leaves:
        weight = torch.linspace(1, 2, value.numel(), dtype=value.dtype).view(value.shape)
        pulled = torch.autograd.grad((value * weight).sum(), [*leaves.values()], allow_unused=True)
    gradients = {n: torch.zeros_like(t) if g is None else g for (n, t), g in zip(leaves.items(), pulled, strict=True)}
    kind = "cut off from the graph" if isinstance(found, Tensor) else f"a Python {type(found).__name__}"
    return Outcome(value.detach().double(), gradients, learns, kind)


def misshapen(value: Tensor, wanted: Tensor, exercise: Exercise, given: tuple[Any, ...]) -> str:
    """What an answer of another shape has probably forgotten."""
    said = f"Your answer has the shape {[*value.shape]}, asked for is {[*wanted.shape]} (on {shapes(exercise, given)})"
    if wanted.ndim == 0 and value.ndim == 1:
        return f"{said}: these are single numbers still; take their mean over the batch."
    if wanted.ndim == 0 and value.ndim >= 2:
        return f"{said}: sum over the classes or features first, then take the mean over the batch."
    if value.ndim == 0:
        return f"{said}: it is summed up too far."
    return f"{said}."


def close(a: Tensor, b: Tensor, scale: float | None = None) -> bool:
    """Whether two tensors are the same, up to rounding."""
    size = float(b.abs().max()) if scale is None and b.numel() else scale or 0.0
    return bool(((a - b).abs() <= CLOSE * size + 1e-9).all())


def same_gradients(a: Outcome, b: Outcome) -> list[str]:
    """The arguments whose gradients differ between two outcomes, by name."""
    scale = max((float(g.abs().max()) for g in b.gradients.values() if g.numel()), default=0.0)
    return [name for name, g in b.gradients.items() if not close(a.gradients[name], g, max(scale, 1e-6))]


def drawn(exercise: Exercise, seed: int | None = None) -> list[tuple[Any, ...]]:
    """Fresh sets of arguments, other ones at each call; the global generators stay as they are."""
    seed = random.SystemRandom().randrange(2**31) if seed is None else seed
    generator = torch.Generator().manual_seed(seed)
    sets = [exercise.draw(generator) for _ in range(DRAWS)]
    while any(isinstance(a, bool) and all(a == b for b in others) for a, *others in zip(*sets, strict=True)):
        sets = [exercise.draw(generator) for _ in range(DRAWS)]  # what is yes or no is both
    return sets


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
    said = mistake(exercise, sets, found, solved)
    right = f"right: values and gradients agree on {DRAWS} fresh inputs."
    return Answer(exercise.name, not said, said or right)


def mistake(exercise: Exercise, sets: list[tuple[Any, ...]], found: list[Outcome], solved: list[Outcome]) -> str:
    """The most likely mistake of an answer that could be compared; "" where there is none."""
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
            f"No gradient passes through your answer, it is {found[0].kind}: leave .item(), float(), no_grad() and the "
            "student's .detach() out."
        )
    if value_right:
        return gradient_mistake(*off[0])
    return scaled(found, solved) or furthest(exercise, sets, found, solved)


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


def scaled(found: list[Outcome], solved: list[Outcome]) -> str:
    """Whether all answers are one multiple of the right ones."""
    ratios = torch.cat([(f.value / s.value).flatten() for f, s in zip(found, solved, strict=True)])
    ratios = ratios[ratios.isfinite()]
    if not len(ratios) or not close(ratios, ratios[0].expand_as(ratios)) or float(ratios[0]) == 0:
        return ""
    ratio = float(ratios[0])
    if abs(ratio + 1) < CLOSE:
        return "Wrong sign: your answer is minus the right one, on every input."
    return f"Your answer is {ratio:.4g} times the right one, on every input: a factor is missing, or is too much."


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
        return Answer(exercise.name, False, f"A number is asked for, {type(answer).__name__} came.")
    if not torch.tensor(number).isfinite():
        return Answer(exercise.name, False, "NaN or infinity is no reading of a figure: give the number that you see.")
    right = float(exercise.solution(*evidence))
    if abs(number - right) <= exercise.tolerance:
        return Answer(exercise.name, True, f"right: {right:.3g} it is, computed from your run.")
    guesses = {sentence: abs(number - float(wrong(*evidence))) for sentence, wrong in exercise.wrong.items()}
    guesses["Wrong sign: which of the two is the larger one?"] = abs(number + right)
    nearest = min(guesses, key=guesses.__getitem__)
    if guesses[nearest] <= exercise.tolerance / 10:
        return Answer(exercise.name, False, nearest)
    low = "too small" if number < right else "too large"
    return Answer(exercise.name, False, f"{number:.4g} is {low}, by more than a figure's reading: look again.")
