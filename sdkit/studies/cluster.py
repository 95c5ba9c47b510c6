"""Trainings on other machines: Dask carries the tasks, takes up those of workers that die, and shows them; the runs come back.

Within `on(cluster)`, `run_all` and all that trains through it sends its experiments there instead of training them here.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import math
import multiprocessing
import os
import socket
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from ..core import home
from ..experiment import Experiment
from ..experiment.own import OWN, SENT, of_a_library, source_digest
from ..experiment.sweep import AWAY, own_parts, taught_by
from ..runs import Damaged, Run, packed, root, store
from ..train import Diverged, device

if TYPE_CHECKING:
    from distributed import Client, Future

NUMBERS = ("SDKIT_PRECISION", "SDKIT_FAST", "SDKIT_CUDNN")
"""Settings that change a run's numbers: a worker takes the caller's."""

RETRIEVAL = "embedded"
"""The network whose measure, the images that it finds again, needs its weights: they always come back."""


PATIENCE = 10.0
"""Seconds in which a scheduler answers."""

MEND = "`pip install 'sdkit-workbook[cluster]'`"


class Unfit(RuntimeError):
    """A worker that cannot train for this caller: what ends a study, as no other worker would do better."""


@contextlib.contextmanager
def on(
    cluster: str | Client,
    *,
    shared: bool = False,
    weights: bool = True,
    data: bool = False,
    threads: int | None = None,
    resources: dict[str, float] | None = None,
) -> Iterator[Client]:
    """Within, `run_all` and what trains through it (tables, sweeps, plans) trains on a cluster of Dask's.

    A run is stored here when it has ended, as if it had been trained here. One that diverges or raises ends no other. What a
    worker was training when it died is trained by another.

    Args:
        cluster: a `distributed.Client`; or "tcp://host:8786", the address of a scheduler; "local:4", processes of this machine;
            "slurm" or "slurm:8", jobs by dask-jobqueue as its own configuration file says, as many as there is work for or 8.
        shared: whether the workers see this process's SDKIT_HOME under the same path. Runs are stored there and go on from
            their checkpoints; else each worker keeps its runs in its own, and they travel.
        weights: whether trained weights come back; teachers' always do. Shared, they are there.
        data: whether the images are sent along; else a worker looks for a data set of sdkit's in its own folder.
        threads: of each run; None: $SDKIT_THREADS, of "local:4" a share of the cores, else one.
        resources: what a run takes of a worker, `{"GPU": 1}` for one that was started with --resources GPU=1.

    Yields:
        The client; `client.dashboard_link` shows the tasks.

    Raises:
        RuntimeError: Dask is not installed.
        ConnectionError: no scheduler answers.
        ValueError: what is said is no cluster.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise RuntimeError(f"a cluster needs Dask, here and on every worker: {MEND}") from error
    with contextlib.ExitStack() as stack:
        kind, _, number = cluster.partition(":") if isinstance(cluster, str) else ("", "", "")
        client = stack.enter_context(_joined(cluster, kind, number)) if isinstance(cluster, str) else cluster
        if not isinstance(client, Client):
            raise ValueError(f"a cluster is tcp://host:8786, local:4, slurm or a distributed.Client, got {cluster!r}")
        share = max(torch.get_num_threads() // int(number), 1) if kind == "local" else 1
        if kind != "slurm" and not client.scheduler_info()["workers"]:
            warnings.warn(f"no worker has joined {client.scheduler.address} yet: the runs wait for one", stacklevel=3)
        settings = {name: os.environ.get(name) for name in NUMBERS}
        if shared or kind == "local":
            settings["SDKIT_HOME"] = str(home().absolute())
        how: dict[str, Any] = {
            "threads": threads or device.threads_said() or share,
            "settings": settings,
            "resources": resources,
        }
        token = AWAY.set(partial(_trained, client, weights=weights, data=data, **how))
        try:
            yield client
        finally:
            AWAY.reset(token)


@contextlib.contextmanager
def _joined(cluster: str, kind: str, number: str) -> Iterator[Client]:
    """A client of a cluster, which is started where it has to be, and then ended again."""
    from distributed import Client, LocalCluster

    with contextlib.ExitStack() as stack:
        there: Any = cluster
        if kind == "local" and number.isdecimal() and int(number):
            quiet = logging.ERROR  # that a worker is killed which nobody needs any more is no news
            there = LocalCluster(
                n_workers=int(number), threads_per_worker=1, memory_limit=None, dashboard_address=":0", silence_logs=quiet
            )
        elif kind == "slurm" and (not number or number.isdecimal()):
            there = _jobs(int(number or 0))
        elif "://" not in cluster:
            raise ValueError(f"a cluster is tcp://host:8786, local:4, slurm or slurm:8, got {cluster!r}")
        if there is not cluster:
            stack.callback(there.close)
        try:
            client = stack.enter_context(Client(there, timeout=PATIENCE))
        except OSError as error:
            raise ConnectionError(f"no scheduler answers at {cluster}: start one by `dask scheduler`") from error
        yield client


def _jobs(number: int) -> Any:
    """Jobs of Slurm as dask-jobqueue's configuration says them: so many, or of 0 as many as there is work for."""
    try:
        from dask_jobqueue import SLURMCluster

        cluster = SLURMCluster()
    except ImportError as error:
        raise RuntimeError(f"jobs of Slurm need dask-jobqueue: {MEND}") from error
    except ValueError as error:
        raise ValueError(f"{error} Say it in ~/.config/dask/jobqueue.yaml: docs/cluster.md has a whole one") from error
    cluster.scale(jobs=number) if number else cluster.adapt()
    return cluster


@functools.cache
def code() -> str:
    """Which sdkit this process runs: its version and a digest of the code that a training depends on."""
    from .. import __version__

    return f"{__version__} ({source_digest()})"


# here


def _trained(
    client: Client, experiments: Iterable[Experiment], until: float = math.inf, **how: Any
) -> Iterator[tuple[Experiment, Exception | None]]:
    """Trains experiments and their teachers on a cluster, the first first.

    Args:
        client: of the cluster.
        experiments: in any order.
        until: by `time.monotonic()`, when what has not ended is called off, as by an interrupt.
        how: as `_sent` takes it.

    Yields:
        Each that ended, stored; with an error where it diverged, or raised and so is not.
    """
    from distributed import as_completed

    experiments = [*experiments]
    waiting = _sent(client, experiments, **how)
    yield from ((e, None) for e in set(experiments).difference(waiting.values()))
    left = None if until == math.inf else max(until - time.monotonic(), 0)
    try:
        for future in as_completed(list(waiting), timeout=left):
            e = waiting.pop(future)
            yield e, _stored(e, future, client)
    except TimeoutError:
        pass
    finally:
        client.cancel(list(waiting))


def _stored(e: Experiment, future: Future, client: Client) -> Exception | None:
    """Stores what a task left. -> The error of one that diverged, or raised."""
    if future.status in ("cancelled", "lost"):
        raise ConnectionError(
            f"the scheduler {client.scheduler.address} is gone: the same call goes on with what is not stored"
        )
    error = future.exception()
    if isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("sdkit"):
        error = Unfit(f"a worker has no {error.name}: the caller has sdkit {code()}, install the same there")
    if isinstance(error, Unfit):
        raise error
    if error is None and (files := future.result()):
        try:
            store(e.stored, files)
        except Damaged as wrong:  # it ends no other
            return wrong
    if error is None and e.stored.status == "diverged":
        return Diverged(e.stored.history()[-1])
    return error


def _sent(
    client: Client,
    experiments: list[Experiment],
    *,
    weights: bool,
    data: bool,
    threads: int,
    settings: dict[str, str | None],
    resources: dict[str, float] | None,
) -> dict[Future, Experiment]:
    """Hands experiments and their teachers, where these are not trained yet, to a cluster. -> What is trained there."""
    taught = {t for e in experiments for t in taught_by(e)}
    given: dict[str, Any] = {}
    done: dict[Experiment, Any] = {}

    def once(name: str, make: Callable[[], Any]) -> Any:
        """What several tasks take: made and sent once, and again by Dask where the worker that holds it dies."""
        if name not in given:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Sending large graph")
                given[name] = client.submit(_as_it_is, make(), key=f"{name}-{uuid.uuid4().hex}")
        return given[name]

    def is_here(e: Experiment) -> bool:
        return e.stored.status == "done" and not ((weights or e in taught) and e.stored.is_light())

    waiting: dict[Future, Experiment] = {}
    for e in dict.fromkeys(step for last in experiments for step in (*([] if is_here(last) else taught_by(last)), last)):
        if is_here(e):
            done[e] = None if "SDKIT_HOME" in settings or e not in taught else once(f"run {e.key}", partial(packed, e.stored))
            continue
        task = {
            "parts": {name: once(name, partial(_by_value, part)) for name, part in own_parts(e).items()},
            "images": {x.images: once(f"images {x.images}", x.load_data) for x in (*taught_by(e, True), e)} if data else {},
            "teachers": {t.key: done[t] for t in taught_by(e)},
            "weights": weights or e in taught or e.model == RETRIEVAL,
        }
        key = f"{'+'.join(e.parts)} seed {e.seed}-{uuid.uuid4().hex}"  # the dashboard's name of it
        done[e] = client.submit(_train, code(), settings, threads, _by_value(e), task, key=key, resources=resources)
        waiting[done[e]] = e
    return waiting


def _by_value(thing: Any) -> bytes:
    """A pickle with the code of a user's own module, which a worker cannot import."""
    import cloudpickle

    module = inspect.getmodule(thing)
    if module is not None and module.__name__ != "__main__" and not of_a_library(thing):
        cloudpickle.register_pickle_by_value(module)
    return cloudpickle.dumps(thing)


# there


def _as_it_is(thing: Any) -> Any:
    return thing


def _train(caller: str, settings: dict[str, str | None], threads: int, said: bytes, task: dict[str, Any]) -> dict[str, bytes]:
    """Trains one run in a worker. -> Its files; none where the folder is shared."""
    import cloudpickle
    from distributed import get_worker

    if caller != code():
        here = f"the worker on {socket.gethostname()} has sdkit {code()}, the caller {caller}"
        raise Unfit(f"{here}: install the same on both, and start the worker anew")
    if get_worker().state.nthreads > 1:
        raise Unfit("a worker trains one run at a time: start it by `dask worker ADDRESS --nthreads 1`, several by --nworkers")
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]  # it may start loaders of images
    before = _said(settings)
    try:
        OWN.update({name: cloudpickle.loads(part) for name, part in task["parts"].items()})
        SENT.update(task["images"])
        for key, files in task["teachers"].items():
            if files:
                store(Run(root() / key), files)
        e = cloudpickle.loads(said)
        try:
            e.run(progress=False, threads=threads)
        except Diverged:
            if e.stored.status != "diverged":  # its teacher did
                raise
        return {} if "SDKIT_HOME" in settings else packed(e.stored, task["weights"])
    finally:
        _said(before)


def _said(settings: dict[str, str | None]) -> dict[str, str | None]:
    """Says settings to this process. -> What they were."""
    before = {name: os.environ.get(name) for name in settings}
    for name, value in settings.items():
        os.environ.pop(name, None) if value is None else os.environ.update({name: value})
    return before
