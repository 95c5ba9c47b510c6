"""A plain training loop, as public repositories write theirs: what sdkit's own is compared with.

Every image goes through torchvision's transforms by itself, a DataLoader with worker processes collects them, the network is
float32 in the order [B, C, H, W], and loss and hits are read at every step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset, RandomSampler


class Pictures(Dataset):
    """A training set, image by image."""

    def __init__(self, data: Any) -> None:
        from torchvision import transforms

        self.images = data.train.x.permute(0, 2, 3, 1).contiguous().numpy()  # [N, H, W, 3] uint8
        self.labels = data.train.y.tolist()
        steps = [transforms.RandomCrop(self.images.shape[1], padding=data.pad)] if data.pad else []
        steps += [transforms.RandomHorizontalFlip()] if data.mirror else []
        self.transform = transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(data.mean, data.std)])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.images[place])), self.labels[place]


class Plain:
    """The loop. `epochs()` trains; `seconds(steps)` times it in its steady state."""

    def __init__(self, model: nn.Module, data: Any, recipe: Any, *, on: str = "cpu", workers: int = 2, seed: int = 0) -> None:
        self.model, self.data, self.recipe, self.on, self.workers = model.to(on), data, recipe, on, workers
        self.pictures, self.chance = Pictures(data), torch.Generator().manual_seed(seed)
        self.optimiser = torch.optim.SGD(
            model.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay, nesterov=recipe.nesterov
        )

    def loader(self, **options: Any) -> DataLoader:
        """The images in batches. Options: a DataLoader's."""
        return DataLoader(
            self.pictures, self.recipe.batch_size, num_workers=self.workers, pin_memory=self.on != "cpu",
            generator=self.chance, **options,
        )  # fmt: skip

    def step(self, x: torch.Tensor, y: torch.Tensor) -> tuple[float, int]:
        """One step. -> the loss, and how many of the batch were right."""
        x, y = x.to(self.on), y.to(self.on)
        self.optimiser.zero_grad()
        logits = self.model(x)
        loss = F.cross_entropy(logits, y)
        loss.backward()
        self.optimiser.step()
        return loss.item(), logits.argmax(1).eq(y).sum().item()

    def epochs(self, rate: Callable[[int, int], float]) -> Iterator[tuple[float, float]]:
        """Trains to the recipe's end; yields after every epoch its loss and the test accuracy in [0, 1].

        rate: the learning rate, of epoch and step.
        """
        loader = self.loader(shuffle=True)
        for epoch in range(self.recipe.epochs):
            self.model.train()
            total = 0.0
            for i, (x, y) in enumerate(loader):
                self.optimiser.param_groups[0]["lr"] = rate(epoch, epoch * len(loader) + i)
                total += self.step(x, y)[0] * len(y)
            yield total / len(self.pictures), self.accuracy()

    @torch.no_grad()
    def accuracy(self) -> float:
        """On the test images, in [0, 1]."""
        self.model.eval()
        hits = sum(
            self.model(batch.x.contiguous()).argmax(1).eq(batch.y).sum().item()
            for batch in self.data.evaluation("test", device=self.on)
        )
        return hits / len(self.data.test.y)

    def seconds(self, steps: int, lead: int = 3) -> float:
        """Of a step in the steady state: the workers' start and the first `lead` steps are left out."""
        self.model.train()
        endless = RandomSampler(self.pictures, replacement=True, num_samples=10**9, generator=self.chance)
        batches = iter(self.loader(sampler=endless))
        for _ in range(lead):
            self.step(*next(batches))
        began = time.perf_counter()
        for _ in range(steps):
            self.step(*next(batches))
        return (time.perf_counter() - began) / steps
