"""What an exercise is, and what an answer makes of fresh tensors: a value and its gradients, or what is wrong with it at once.

Values and gradients are compared, so that a number typed in, or a loss that nothing can learn from, is seen.
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

CHANGES = "Your function changes its arguments: no operation that ends in _, no +=, no assignment into them, no pop()."
NUMPY = "Your function computes with numpy: no gradient passes through it, torch has the same functions."
ONE_NUMBER = "this is one number in a list or a row of its own: leave keepdim, [ ] or [None] out."
PLAIN = {
    "leaf Variable that requires grad": CHANGES,
    "call numpy() on Tensor": NUMPY,
    "modified by an inplace operation": "Your function changes a tensor in place that its gradient still needs: write "
    "a = a + b in place of a += b, and no operation that ends in _.",
    "backward through the graph a second time": "Your function calls backward() itself: return the loss alone.",
    "multi-target not supported": "F.cross_entropy got a target of another shape than the logits: is a number of classes typed "
    "in? It is logits.shape[1].",
    "bitwise_xor": "An operator does not go with such numbers: a power is **, not ^.",
}
"""What torch says of a mistake, by a part of it, and the mend."""


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
    parts = [f"{name} {[*t.shape]}" for name, t in tensors(named) if not exercise.given or name in ("out.logits", "batch.y")]
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
    except Exception as error:  # of whatever the student wrote
        raise ValueError(plainly(error, f" (on {shapes(exercise, given)})")) from error
    if found is None:
        raise ValueError("Your function returns nothing: does it end with `return`?")
    if type(found).__module__.partition(".")[0] == "numpy":
        raise ValueError(f"Your function returns a {type(found).__name__}. {NUMPY}")
    if type(found).__module__ == "torch.return_types":
        raise ValueError("Your function returns a pair, the values and their places: take `.values`.")
    value = number_of(found)
    if value is None or (isinstance(found, tuple | list) and solved is not None and solved.connected):
        raise ValueError(f"Your function returns a {type(found).__name__}: return one tensor.")
    before, after = dict(tensors(given)), dict(tensors(own))
    if before.keys() != after.keys() or any(
        not torch.equal(t, after[name].detach()) or t.is_floating_point() != after[name].requires_grad
        for name, t in before.items()
    ):
        raise ValueError(CHANGES)
    if solved is not None and value.shape != solved.value.shape:
        raise ValueError(misshapen(value, solved.value, exercise, given))
    if not value.double().isfinite().all():
        said = "Your answer has NaN or infinity in it: the logarithm of something that is 0 or negative, or 0 / 0."
        raise ValueError(f"{said} {KL_DIV}" if "kl_div" in calls(answer) else said)
    learned = {n: part for n, part in zip(exercise.names(), own, strict=True) if n not in exercise.constants}
    leaves = {name: t for name, t in tensors(learned) if t.requires_grad}
    pulled: tuple[Tensor | None, ...] = (None,) * len(leaves)
    learns = exercise.gradients and value.requires_grad
    if learns and leaves:
        weight = torch.linspace(1, 2, value.numel(), dtype=value.dtype).view(value.shape)
        try:
            pulled = torch.autograd.grad((value * weight).sum(), [*leaves.values()], allow_unused=True)
        except RuntimeError as error:
            raise ValueError(plainly(error)) from error
    gradients = {n: torch.zeros_like(t) if g is None else g for (n, t), g in zip(leaves.items(), pulled, strict=True)}
    kind = "cut off from the graph" if isinstance(found, Tensor) else f"a Python {type(found).__name__}"
    return Outcome(value.detach().double(), gradients, learns, kind)


KL_DIV = "F.kl_div takes the student's log_softmax first, then the teacher's softmax (its log_softmax with log_target=True)."


def calls(answer: Any) -> set[str]:
    """The names that a function, or a method's terms, and the functions that it calls, use."""
    function = getattr(answer, "terms", answer)
    code, space = getattr(function, "__code__", None), getattr(function, "__globals__", {})
    held = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    named = [space.get(name) for name in code.co_names] if code else []
    return {n for part in (function, *held, *named) if hasattr(part, "__code__") for n in part.__code__.co_names}


def plainly(error: Exception, where: str = "") -> str:
    """What a student reads of an error in her code."""
    said = next(iter(str(error).splitlines()), "")
    if isinstance(error, NotImplementedError) and not said:
        return "Not written yet."
    kind = type(error).__name__
    return next(
        (mend for part, mend in PLAIN.items() if part in said), f"Your code raised {kind}: {said or 'no message'}{where}."
    )


def misshapen(value: Tensor, wanted: Tensor, exercise: Exercise, given: tuple[Any, ...]) -> str:
    """What an answer of another shape has probably forgotten."""
    said = f"Your answer has the shape {[*value.shape]}, asked for is {[*wanted.shape]} (on {shapes(exercise, given)})"
    if value.ndim == 0:
        return f"{said}: it is summed up too far."
    images, width = {t.shape[0] for _, t in tensors(given)}, next((t.shape[-1] for _, t in tensors(given)), 0)
    if value.numel() == wanted.numel() == 1:
        return f"{said}: {ONE_NUMBER}"
    if wanted.ndim == 0 and value.shape[0] in images and value[0].numel() == 1:
        return f"{said}: this is a number for each image still; take their mean over the batch."
    if wanted.ndim == 0 and value.ndim == 1 and value.shape[0] != width:
        return f"{said}: these are several numbers still; what is asked for is one, their sum or mean as the task says."
    if wanted.ndim == 0:
        return f"{said}: sum over the classes or features first, then take the mean over the batch."
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
    while any(isinstance(a, bool) and all(a == b for b in others) for a, *others in zip(*sets, strict=True)) or alike(
        exercise, sets
    ):
        sets = [exercise.draw(generator) for _ in range(DRAWS)]  # what is yes or no is both
    return sets


def sizes(exercise: Exercise, given: tuple[Any, ...]) -> dict[str, float]:
    """What a factor may be made of, by its name: the first tensor's two sizes, a list's length, every number."""
    named = dict(zip(exercise.names(), given, strict=True))
    name, first = next(tensors(named), ("", torch.zeros(())))
    return (
        {f"{name}.shape[{i}]": float(n) for i, n in enumerate(first.shape[:2])}
        | {f"len({name})": float(len(thing)) for name, thing in named.items() if isinstance(thing, list)}
        | {name: float(value) for name, value in named.items() if type(value) in (int, float)}
    )


def alike(exercise: Exercise, sets: list[tuple[Any, ...]]) -> bool:
    """Whether a size is the same in all sets: a number typed in for it would not show."""
    return any(len({*each}) == 1 for each in zip(*(sizes(exercise, given).values() for given in sets), strict=True))
