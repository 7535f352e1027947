"""Workers on a Ray cluster: started, given tasks, stopped. Ray schedules, moves data, and restarts what dies."""

from __future__ import annotations

import logging
import os
import platform
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from xqg_repro.core.errors import InputError

logger = logging.getLogger(__name__)

SECONDS_TO_START = 300.0
"""How long workers may take to start, also after a death; clusters that grow on demand take minutes."""

SECONDS_TO_CHECK = 60.0
"""After how long without a result the workers are asked whether they run."""

RESTARTS = 4
"""How often Ray starts a worker again after its death; some input may kill every worker."""

_SHARED_CPU = 0.1  # more than none, which a head node without CPUs has too

_CHECKS = "checks"  # methods of this group answer while a worker computes
_DEATH = "is there enough memory? Ray's logs are in /tmp/ray; rerun the same command to resume"
_ROOM = "lower --workers, or wait until the cluster has room; then rerun the same command to resume"


@dataclass(frozen=True)
class Distribution:
    """Workers on a Ray cluster; :class:`InputError` if Ray is not installed.

    Attributes:
        address: of the cluster: ``host:port``, or ``auto`` for this machine's; ``None`` starts Ray on this machine.
        workers: how many; ``None`` for as many as have room.
        gpus_per_worker: GPUs of each; a fraction lets several share one, and with 0 they compute on CPUs.
    """

    address: str | None = None
    workers: int | None = None
    gpus_per_worker: float = 0

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise InputError(f"cannot compute with {self.workers} workers", hint="leave --workers out for the default")
        if not 0 <= self.gpus_per_worker < float("inf") or (self.gpus_per_worker > 1 and self.gpus_per_worker % 1):
            raise InputError(f"a worker cannot have {self.gpus_per_worker:g} GPUs", hint="a whole number, or below 1")
        if find_spec("ray") is None:
            raise InputError("Ray is not installed", hint="run: pip install 'xqg_repro[ray]'")

    @property
    def device(self) -> str:
        """The torch device of each worker; Ray shows a worker its own GPUs only."""
        return "cuda" if self.gpus_per_worker else "cpu"


@contextmanager
def start_workers(kind: type, arguments: Sequence[Any], distribute: Distribution) -> Iterator[list[Any]]:
    """Start workers, and stop them at the end of the block.

    Args:
        kind: a subclass of :class:`~xqg_repro.core.workers.Worker`.
        arguments: what its constructor takes, but for the number of threads, which is the last.
        distribute: the cluster and its workers.

    Raises:
        InputError: no such cluster; too few workers start; in the block, one that a worker raises, or a task whose
            workers died.
    """
    import ray
    import torch

    threads = torch.get_num_threads()
    with _connection(distribute.address), _explain_errors():
        count, cpus = plan_workers(distribute, threads, [node["Resources"] for node in ray.nodes() if node["Alive"]])
        actor = ray.remote(
            num_cpus=cpus,
            num_gpus=distribute.gpus_per_worker,
            max_restarts=RESTARTS,
            max_task_retries=-1,  # a task is also tried again while a lost machine is not yet known to be lost
            scheduling_strategy="SPREAD",
            concurrency_groups={_CHECKS: 1},
        )(kind)
        workers = [actor.remote(*arguments, threads) for _ in range(count)]
        try:
            machines = Counter(wait_for_workers(workers))
            logger.info(f"Ray started {', '.join(f'{n} workers on {name}' for name, n in machines.items())}")
            yield workers
        finally:
            for worker in workers:
                ray.kill(worker)


def run_tasks(workers: Sequence[Any], tasks: Iterable[tuple]) -> Iterator[Any]:
    """Give each worker a task at a time; yield what its method ``run`` returns, in any order.

    A task is read only when a worker is free, so memory holds no more tasks than there are workers. A task whose worker
    dies runs again on the worker that Ray starts instead, on any machine with room; :class:`InputError` if none has.
    """
    from ray.util import ActorPool

    pool = ActorPool([*workers])

    def result() -> Any:
        while True:
            try:
                return pool.get_next_unordered(timeout=SECONDS_TO_CHECK)
            except TimeoutError:
                wait_for_workers(workers)

    for task in tasks:
        if not pool.has_free():
            yield result()
        pool.submit(lambda worker, arguments: worker.run.remote(*arguments), task)
    while pool.has_next():
        yield result()


def wait_for_workers(workers: Sequence[Any]) -> list[str]:
    """The name of each worker's machine, once all run; :class:`InputError` if some do not start in time."""
    import ray
    from ray.exceptions import RayActorError

    names = [worker.call.options(concurrency_group=_CHECKS).remote(platform.node) for worker in workers]
    running, waiting = ray.wait(names, num_returns=len(names), timeout=SECONDS_TO_START)
    if waiting:
        problem = f"only {len(running)} of {len(names)} workers started within {SECONDS_TO_START:.0f} s"
        raise InputError(problem, hint=_ROOM)
    try:
        return ray.get(names)
    except RayActorError as error:
        reason = str(error).strip().splitlines()[-1]
        hint = "install the same xqg_repro[ray] on every machine"
        raise InputError(f"a worker could not start: {reason}", hint=hint) from None


def plan_workers(distribute: Distribution, threads: int, nodes: Sequence[dict[str, float]]) -> tuple[int, float]:
    """How many workers to start on nodes with these resources, and how many CPUs each reserves.

    By default there is one for each GPU or share of it; without GPUs, as many as have room for the driver's number of
    threads. A given number of workers may share CPUs, and so may those with GPUs.

    >>> plan_workers(Distribution(), 16, [{"CPU": 16}, {"CPU": 64}])
    (5, 16)
    >>> plan_workers(Distribution(workers=3), 16, [{"CPU": 16}])
    (3, 0.1)
    >>> plan_workers(Distribution(gpus_per_worker=0.5), 64, [{"CPU": 8}, {"CPU": 64, "GPU": 8}])
    (16, 0.1)
    """
    gpus = distribute.gpus_per_worker
    resource, needed = ("GPU", gpus) if gpus else ("CPU", threads)
    room = sum(int(node.get(resource, 0) / needed + 1e-9) for node in nodes)  # 1 / 0.1 is 10
    if distribute.workers or gpus or not room:
        if gpus and not (distribute.workers or room):
            raise InputError(f"no machine of the Ray cluster has {gpus:g} GPUs", hint="lower --gpus-per-worker")
        return distribute.workers or room or 1, _SHARED_CPU
    return room, threads


@contextmanager
def _connection(address: str | None) -> Iterator[None]:
    """Join a cluster, or start Ray on this machine; at the end, leave or stop it.

    A connection that is open already, as in a notebook, is reused and stays open.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    place = {"address": address} if address else {"address": "local", "include_dashboard": False}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        _check_address(address or "")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent unless users want it
        ray.init(**place, log_to_driver=False, logging_level="error")
    except (OSError, RuntimeError, ValueError) as error:
        hint = "run ray start on each machine, and this command on one of them"
        raise InputError(f"cannot use the Ray cluster {address or 'of this machine'}: {error}", hint=hint) from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray's own would end the process without a message
    try:
        yield
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
    """Raise an exception unless something listens at ``host:port``; Ray itself would try for minutes."""
    host, separator, port = address.rpartition(":")
    if separator:
        socket.create_connection((host, int(port)), timeout=10).close()


@contextmanager
def _explain_errors() -> Iterator[None]:
    """Raise the errors of workers as those of a local run, and what Ray says of dead ones as :class:`InputError`."""
    from ray.exceptions import RayActorError, RayTaskError

    try:
        yield
    except RayTaskError as error:
        if isinstance(error.cause, InputError | OSError):
            raise error.cause from None
        raise
    except RayActorError as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"a worker died {RESTARTS + 1} times: {reason}", hint=_DEATH) from None
