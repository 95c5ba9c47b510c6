"""A finished run with its network: what figures and analyses start from."""

from __future__ import annotations

from functools import cached_property
from itertools import chain, islice, repeat
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..core import Moment, Progress
from ..data import Data, alone, factors_of
from ..methods import EarlyExit, Exit, Method
from ..models import Backbone
from ..runs import Run, training_seconds
from ..train import default_device, watched

if TYPE_CHECKING:
    from .spec import Experiment


class Trained:
    """A finished run with its network. What figures and analyses start from.

    run: a panel's, where the experiment only repeats it; else the experiment's own.
    """

    def __init__(self, experiment: Experiment, run: Run | None = None) -> None:
        self.experiment, self.run = experiment, run or experiment.stored
        self.history = self.run.history()

    @cached_property
    def _built(self) -> tuple[Backbone, Method, bool]:
        """Network and scaffolding, and whether that has its teacher: to look at exits none has to be trained."""
        teacher = self.experiment.teacher
        taught = teacher is None or not teacher.recipe.epochs or teacher.stored.status == "done"
        return *self._loaded(self.experiment if taught else self.experiment.untaught()), taught

    def _loaded(self, experiment: Experiment) -> tuple[Backbone, Method]:
        weights = self.run.weights()  # first: where there are none, no teacher is trained for nothing
        model, method, self.data = experiment.build()
        model.load_state_dict(weights["model"])
        method.load_state_dict(weights["method"], strict=False)  # memory is scaffolding: it is not kept
        where = {"device": default_device(), "memory_format": torch.channels_last}
        return model.to(**where).eval(), method.to(**where).eval()

    @property
    def model(self) -> Backbone:
        """The trained network, in eval mode."""
        return self._built[0]

    @cached_property
    def method(self) -> Method:
        """The scaffolding it was trained with: its heads hold the other exits. A teacher that is not stored is trained."""
        _, method, taught = self._built
        return method if taught else self._loaded(self.experiment)[1]

    @cached_property
    def data(self) -> Data:
        """What it learned from and was tested on."""
        return self.experiment.load_data()

    @property
    def accuracy(self) -> float:
        """Test accuracy of the final exit after the last epoch, in [0, 1]: the headline. ValueError where there is none."""
        if not self._tested:
            raise ValueError(f"run {self.run.key} is {self.run.status}, and not tested after its last epoch: see .history")
        return self.history[-1].test["final"]

    @property
    def _tested(self) -> bool:
        return bool(self.history and self.history[-1].test)

    def top_accuracy(self, k: int = 5) -> float:
        """Share of all test images whose label is among the final exit's k largest outputs, in [0, 1]: top-5 by default.

        By the outputs that the run recorded, in 16 bits; by the network where it kept those of fewer images, or none.
        ValueError where k is no number of classes.
        """
        y = self.labels()
        try:
            logits = self.run.logits()
        except FileNotFoundError:  # of a record
            logits = self.logits()
        if len(logits) < len(y):
            logits = self.logits()
        if not 1 <= k <= logits.shape[1]:
            raise ValueError(f"the k largest of {logits.shape[1]} outputs: k is 1 to {logits.shape[1]}, got {k!r}")
        return float((logits.topk(k, 1).indices == y[:, None]).any(1).float().mean())

    @property
    def best_accuracy(self) -> float:
        """The best epoch's on the watched test images, which chose it: higher than an honest choice would give."""
        return max(e.accuracy["final"] for e in self.history)

    @property
    def judges(self) -> str:
        """Which of two claims a comparison with this run bears on: how a method ends, or how fast it learns.

        A network that knows its training images has little left to learn; one that does not was stopped on its way.
        """
        learned = self.history[-1].train_accuracy
        return f"{'how it ends' if learned >= KNOWN else 'how fast it learns'} is judged (training {learned:.0%})"

    @property
    def setting(self) -> str:
        """Where a comparison with this run was made, in words: network, data, training images, and what it judges."""
        e, images = self.experiment, f"{len(self.data.train.y):,} images"
        return f"{e.model} on {e.data}, {images}, one seed, last epoch, test set; {self.judges}"

    @property
    def summary(self) -> str:
        """How it ended and what it took: both test accuracies and the seconds of training, which another machine's are not."""
        both = f"last epoch {self.accuracy:6.1%} of all test images   best epoch {self.best_accuracy:6.1%} of the watched ones"
        return f"{both}   {self.seconds:4.0f} s{', recorded elsewhere' if self.run.elsewhere else ''}"

    @cached_property
    def watched(self) -> Tensor:
        """The places of the test images that every epoch was tested on, [W], ascending: the rows of `run.outputs()`."""
        places = watched(self.data)
        return torch.arange(len(self.data.test.y)) if places is None else places

    @property
    def validation_accuracy(self) -> float:
        """Of the final exit after the last epoch on the validation images, in [0, 1]: what choices may be made by."""
        if not self.history:
            raise ValueError(f"run {self.run.key} is {self.run.status}, and has no epoch: {self.experiment}.run() trains it")
        if not self.history[-1].validation:
            raise ValueError("this run set no validation images aside: say dataset={'validation': 500}, for example")
        return self.history[-1].validation["final"]

    @property
    def seconds(self) -> float:
        """Of training, evaluation left out: the median epoch's, times the epochs; see `runs.training_seconds`."""
        return training_seconds(e.seconds for e in self.history)

    def exit(self, name: str = "final") -> nn.Module:
        """One exit as a network of its own, images [B, 3, H, W] to logits [B, K]."""
        return Exit(*self._built[:2], name)

    def early_exits(self) -> dict[str, nn.Module]:
        """Every exit as a network that ends there, the deepest last: what `analysis.exit_costs` weighs."""
        placed = {name: EarlyExit(self.model, head) for name, head in self._built[1].auxiliary_heads().items()}
        return {**placed, "final": self.model}

    def exit_names(self) -> list[str]:
        """Every exit that this run recorded."""
        return [*self.history[-1].accuracy]

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """[B, 3, H, W] -> the pooled features of every exit, [B, D]."""
        return self._built[1].features(self.model.forward_features(x))

    def images(self, split: str = "test", limit: int | None = None) -> tuple[Tensor, Tensor]:
        """The first images of a split, normalised and on the device [N, 3, H, W], and their labels [N]."""
        images = getattr(self.data, split)
        x = self.data.normalised(images.x[:limit], default_device())
        return x, images.y[:limit].to(default_device())

    def logits(self, exit: str = "final", split: str = "test") -> Tensor:
        """What an exit says of every image of a split, [N, K] on the CPU."""
        network = self.exit(exit)
        with torch.inference_mode():
            return torch.cat([network(b.x).float().cpu() for b in self.data.evaluation(split, device=default_device())])

    def factors(self, exit: str = "final", count: int = 600) -> dict[str, tuple[Tensor, Tensor, list[int]]]:
        """What an exit says of images of one factor of the class alone: for `analysis.factors`.

        Args:
            exit: of `exit_names()`.
            count: images of each factor.

        Returns:
            "whole", "shape", "texture" -> logits [N, K], the factor's value of every image [N], of every class [K]. Empty for
            data whose factors nobody knows: the built-in shapes alone are drawn from them.
        """
        if self.experiment.data != "shapes":
            return {}
        network, classes, found = self.exit(exit), self.data.num_classes, {}
        for factor, values in factors_of(classes).items():
            images = alone(factor, count, classes)
            with torch.inference_mode():
                logits = network(self.data.normalised(images.x, default_device())).float().cpu()
            found[factor] = logits, images.y, values
        return found

    def labels(self, split: str = "test") -> Tensor:
        """The labels of a split, [N]."""
        return getattr(self.data, split).y

    def ranked(self, after: float = 0.0) -> tuple[Tensor, Tensor]:
        """The recorded outputs of the watched test images after every epoch [E, W, K] and the accuracy on them [E].

        after: of epochs that end behind this fraction of training alone.
        """
        epochs, outputs = self.run.outputs()
        kept = epochs + 1 > after * len(self.history)
        return outputs[kept], torch.tensor([self.history[e].accuracy["final"] for e in epochs[kept]])

    def moments(self, batches: int = 4) -> dict[str, Moment]:
        """What `analysis.term_shares` looks at: the first steps from fresh weights, and the last epoch at the trained ones."""
        recipe = self.experiment.recipe
        late = first_steps(self.experiment, (self.model, self.method, self.data), batches)
        steps = late.progress.steps_per_epoch
        now = Progress(recipe.epochs - 1, (recipe.epochs - 1) * steps, recipe.epochs, steps)
        return {"early": first_steps(self.experiment, self.experiment.build(), batches), "late": late._replace(progress=now)}

    def __repr__(self) -> str:
        said = f"{self.accuracy:.1%} test" if self._tested else self.run.status
        return f"<{self.experiment}: {said}, run {self.run.key}>"


KNOWN = 0.9
"""From this accuracy on the last epoch's training batches on, a network knows its training images."""


def first_steps(experiment: Experiment, built: tuple[Backbone, Method, Data], batches: int) -> Moment:
    """A network and its method at the start of an epoch: its first batches, and one before them that fills the memory."""
    model, method, data = built
    where = {"device": default_device(), "memory_format": torch.channels_last}
    options = {"pair": method.pair, "samples_per_class": method.samples_per_class, "device": where["device"]}
    loader, again = (data.batches(experiment.recipe.batch_size, **options, seed=experiment.seed) for _ in range(2))
    again.own.manual_seed(experiment.seed + 1)  # the same images in the same order, otherwise augmented
    taken, earlier = (list(islice(chain.from_iterable(repeat(way)), batches + 1)) for way in (loader, again))
    at = Progress(0, 0, experiment.recipe.epochs, len(loader))
    return Moment(model.to(**where), method.to(**where), taken, at, earlier)
