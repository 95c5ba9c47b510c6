"""Progress bars beside a training and beside many."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..core import Progress
from ..train import Epoch


def beside_a_bar(events: Iterable[Progress | Epoch], words: str) -> Iterator[Progress | Epoch]:
    """The same events beside a progress bar."""
    from tqdm import tqdm

    bar = None
    try:
        for event in events:
            if isinstance(event, Progress):
                if bar is None:
                    bar = tqdm(
                        total=event.epochs * event.steps_per_epoch,
                        initial=event.step,
                        unit="step",
                        file=place(),
                        mininterval=1.0,
                        desc=words,
                        dynamic_ncols=True,
                        leave=True,
                    )
                bar.update(event.step + 1 - bar.n)
            elif bar is not None:
                bar.set_postfix_str(f"test {event.accuracy['final']:.1%}", refresh=False)
            yield event
    finally:
        if bar is not None:
            bar.close()


def place() -> Any:
    """Where progress bars go: beside a command's output, and in a notebook where they are not taken for errors."""
    return sys.stdout if "ipykernel" in sys.modules else sys.stderr


@contextlib.contextmanager
def counted(epochs: Callable[[], int], total: int, words: str) -> Iterator[None]:
    """Within, a bar of the epochs, of `total`, that other processes have recorded."""
    from tqdm import tqdm

    ended = threading.Event()
    bar = tqdm(total=total, unit="epoch", desc=words, file=place(), dynamic_ncols=True)

    def count_epochs() -> None:
        last = False
        while not last:
            last = ended.wait(1.0)
            bar.update(epochs() - bar.n)

    counter = threading.Thread(target=count_epochs, daemon=True)
    counter.start()
    try:
        yield
    finally:
        ended.set()
        counter.join()
        bar.close()
