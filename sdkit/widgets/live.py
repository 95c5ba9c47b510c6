"""A training in a thread of its own: started, paused, steered and stopped from the page, recorded as any run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from ..core import Clock
from ..experiment import Epoch, Experiment, Run, live_record


class Live:
    """Trains `experiment` in a background thread. `listen(event)` is called in that thread after every step and epoch, and
    with None when the thread ends.

    state: "idle", "running", "paused", "stopped", "done" or "failed: ...". A stop answers after the present step; what the
    epoch had done until then is given up, whole epochs are kept, and `resume` goes on from them.
    """

    def __init__(self, experiment: Experiment, listen: Callable[[Clock | Epoch | None], None]) -> None:
        self.experiment, self.listen = experiment, listen
        self.record: Run = live_record(experiment)
        self.state = "idle"
        self._method: Any = None
        self._go, self._stop = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins, or goes on from the last whole epoch after a stop."""
        if self.alive and not self._stop.is_set():
            return self.resume()
        self.wait()
        self._go.set()
        self._stop.clear()
        self.state = "running"
        self._thread = threading.Thread(target=self._work, name=f"training {self.record.key}", daemon=True)
        self._thread.start()

    def pause(self) -> None:
        """Waits between two steps."""
        self._go.clear()
        self.state = "paused"

    def resume(self) -> None:
        self.state = "running"
        self._go.set()

    def stop(self) -> None:
        """Ends after the present step."""
        self._stop.set()
        self._go.set()

    def turn(self, knob: str, value: float) -> None:
        """Moves a knob of the running training; the loop reads it at the next step and writes it to the history."""
        if self._method is not None:
            setattr(self._method, knob, value)

    @property
    def alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def wait(self, timeout: float | None = None) -> None:
        """Until the thread has ended."""
        if self._thread is not None:
            self._thread.join(timeout)

    def _build(self):
        training = self.experiment.training()
        self._method = training.method
        return training

    def _work(self) -> None:
        walk = self.record.follow(self.experiment.asked, self._build)
        try:
            for event in walk:
                self.listen(event)
                while not self._go.wait(0.1):
                    pass
                if self._stop.is_set():
                    break
            self.state = "stopped" if self._stop.is_set() else "done"
        except Exception as error:  # the thread's only way to speak is its state
            self.state = f"failed: {error}"
        finally:
            walk.close()
            self.listen(None)


def every(seconds: float) -> Callable[[], bool]:
    """A clock that says yes at most once in so many seconds."""
    last = [0.0]

    def now() -> bool:
        if time.monotonic() - last[0] < seconds:
            return False
        last[0] = time.monotonic()
        return True

    return now
