"""Work that is shared by processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import TypeVar

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")


def as_finished(
    work: Callable[[Job], Outcome], jobs: Sequence[Job], workers: int, *, setup: Callable[[], None] | None = None
) -> Iterator[Outcome]:
    """What `work` gives for each of `jobs`, as they are finished, by up to `workers` processes; one works here.

    setup: what other processes do first
    """
    if workers == 1 or len(jobs) < 2:
        yield from map(work, jobs)
        return
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=get_context("spawn"), initializer=setup) as pool:
        futures = [pool.submit(work, job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)
