"""Where a command's trainings run: the options that all commands share which train many."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed import Client


@dataclass(frozen=True)
class Where:
    """Where trainings run: here, unless a cluster is said."""

    cluster: str | None = None  # train on tcp://host:8786, on local:4 (four processes of this machine), or on slurm
    shared: bool = False  # the workers see SDKIT_HOME under the same path: runs are stored there, and resumed
    weights: bool = False  # the weights come back, too
    send_data: bool = False  # the images are sent along, to workers that have no data sets of their own
    gpu: bool = False  # only workers that were started with --resources GPU=1 train, one run a card

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Within, trainings run there. ValueError where something is said of a cluster, and no cluster."""
        if not self.cluster:
            if self != HERE:
                raise ValueError(
                    "--shared, --weights, --send-data and --gpu are of a cluster: say which, --cluster local:4 for example"
                )
            yield
            return
        from ..studies import on

        resources = {"GPU": 1.0} if self.gpu else None
        with on(self.cluster, shared=self.shared, weights=self.weights, data=self.send_data, resources=resources) as client:
            print(f"trained on {self.cluster}{_watched(client)}", flush=True)
            yield


def _watched(client: Client) -> str:
    try:
        return f", watched at {client.dashboard_link}"
    except KeyError:  # of a scheduler that was started without
        return ""


HERE = Where()
