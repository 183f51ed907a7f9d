"""Many independent jobs through joblib, on whatever backend it is given: processes here, threads, a dask cluster."""

from __future__ import annotations

import contextlib
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from disbench.errors import DisbenchError, Stopped, UsageError, first_line

J = TypeVar("J")
R = TypeVar("R")

CONNECT_WITHIN = 10  # seconds
MAX_LOSSES = 3  # of workers, in a row, with no job ended between them

# Of a process, torch has one number of threads and one default generator, which training seeds.
_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Workers:
    """What runs jobs.

    Args:
        jobs: how many at a time, -1 for one on each core; None for what joblib is set to (`joblib.parallel_config`),
            else one, in this process, or, with dask, all that the cluster takes.
        backend: joblib's name of what runs them; None for what joblib is set to, else local processes.
        scheduler: address of a dask.distributed scheduler, as `tcp://host:8786`; its workers need this environment
            and these folders.
        threads: of torch and of metrics, in each job.
    """

    jobs: int | None = None
    backend: str | None = None
    scheduler: str | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        if self.jobs is not None and self.jobs < 1 and self.jobs != -1:
            raise UsageError(f"jobs must be at least 1, or -1 for one on each core; got {self.jobs}.")
        if self.threads < 1:
            raise UsageError(f"threads must be at least 1; got {self.threads}.")
        if self.scheduler is not None and self.backend not in (None, "dask"):
            raise UsageError(f"a scheduler's address is for the backend dask, not for {self.backend!r}.")
        if self.backend == "dask" and self.scheduler is None:
            raise UsageError("the backend dask needs the address of a scheduler, as --scheduler tcp://host:8786.")

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        """Joblib uses them inside.

        Raises:
            UsageError: there is no such backend, it is not installed, or no scheduler answers.
        """
        from joblib import parallel_config

        with contextlib.ExitStack() as stack:
            if self.scheduler is not None:
                client = stack.enter_context(_client(self.scheduler))
                stack.enter_context(parallel_config("dask", client=client))
            elif self.backend is not None:
                try:
                    stack.enter_context(parallel_config(self.backend))
                except (ValueError, ImportError) as error:
                    raise UsageError(f"joblib cannot use the backend {self.backend!r}: {first_line(error)}") from None
            yield


@contextlib.contextmanager
def _client(address: str) -> Iterator[Any]:
    """A client of a dask.distributed scheduler."""
    try:
        from distributed import Client
    except ImportError:
        raise UsageError(
            "the backend dask needs dask.distributed, which is not installed: pip install 'disbench[cluster]'"
        ) from None
    try:
        client = Client(address, timeout=CONNECT_WITHIN, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"no dask scheduler answers at {address}: {first_line(error)}") from None
    with client:
        yield client


@dataclass(frozen=True)
class Failure:
    """A job that failed: why, in a sentence, and where, as a traceback."""

    reason: str
    trace: str = ""


@dataclass(frozen=True)
class _Signalled:
    """A job that a signal to its process stopped."""

    message: str
    number: int


def run_jobs(work: Callable[[J], R], jobs: Sequence[J], workers: Workers) -> Iterator[tuple[int, R | Failure]]:
    """Do every job; one that fails takes no other with it.

    A worker that dies takes what it was at; dask gives that to another worker, and where the backend gives up, what is
    left is begun again; after MAX_LOSSES such failures in a row, job by job. So a job may be begun more than once, and
    has to see for itself what is done already.

    Args:
        work: importable by the workers, as are the types of jobs and results.
        jobs: what it takes, one each.
        workers: what runs it.

    Yields:
        Each job's position and its result, or what it failed of; in the order in which they end.

    Raises:
        UsageError: these workers cannot be had.
        Stopped: a signal stopped a job; nothing more is begun.
    """
    left = dict(enumerate(jobs))
    n_losses = 0
    with workers.ready():
        while left and n_losses < MAX_LOSSES:
            try:
                for number, outcome in _begin(work, left, workers):
                    del left[number]
                    n_losses = 0
                    yield number, outcome
            except Stopped:
                raise
            except Exception:  # of joblib or of its backend: a job's own come as Failure
                n_losses += 1
        for number in tuple(left):  # one by one: only what is alone when a worker dies can be what kills it
            try:
                yield from _begin(work, {number: left[number]}, workers)
            except Stopped:
                raise
            except Exception as error:
                yield number, Failure(f"its worker was lost ({type(error).__name__}: {first_line(error)})")


def _begin(work: Callable[[J], R], jobs: Mapping[int, J], workers: Workers) -> Iterator[tuple[int, R | Failure]]:
    from joblib import Parallel, delayed

    parallel = Parallel(workers.jobs, return_as="generator_unordered", pre_dispatch="all", batch_size=1)
    results = parallel([delayed(_attempt)(work, number, job, workers.threads) for number, job in jobs.items()])
    with contextlib.closing(results):
        for number, outcome in results:
            if isinstance(outcome, _Signalled):
                raise Stopped(outcome.message, outcome.number)
            yield number, outcome


def _attempt(work: Callable[[J], R], number: int, job: J, threads: int) -> tuple[int, R | Failure | _Signalled]:
    """One job, in the worker."""
    # A model's prints are no data of ours.
    with _one_at_a_time, _threads(threads), contextlib.redirect_stdout(sys.stderr):
        try:
            return number, work(job)
        except Stopped as stopped:
            return number, _Signalled(str(stopped), stopped.signal)
        except DisbenchError as error:
            return number, Failure(str(error), traceback.format_exc())
        except (Exception, SystemExit) as error:
            return number, Failure(f"{type(error).__name__}: {first_line(error)}", traceback.format_exc())


@contextlib.contextmanager
def _threads(n: int) -> Iterator[None]:
    """So many threads for torch, and for what uses joblib itself, which would else send parts of a job to others."""
    import torch
    from joblib import parallel_config

    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        with parallel_config("threading", n_jobs=n):
            yield
    finally:
        torch.set_num_threads(before)
