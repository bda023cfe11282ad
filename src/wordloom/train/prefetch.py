"""A step's data, made by one background thread while the step before it computes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from wordloom.data.batch import Batch
from wordloom.train.job import Job, Stream


@dataclass(frozen=True)
class Load:
    """One step's data: micro-batches, counts per term over all of them, tokens that are not padding."""

    parts: list[Batch]
    totals: dict[str, int]
    tokens: int


def load_step(stream: Stream, job: Job, step: int, parts: int) -> Load:
    batches = stream.step(step, parts)
    if len(batches) != parts:
        raise ValueError(f"the stream gave {len(batches)} micro-batches of step {step}, {parts} were asked for")
    totals: dict[str, int] = {}
    for batch in batches:
        for name, count in job.counts(batch).items():
            totals[name] = totals.get(name, 0) + int(count)
    return Load(batches, totals, sum(batch.real_tokens for batch in batches))


class Prefetch:
    """The next step's data, made by one background thread while this step computes."""

    def __init__(self, stream: Stream, job: Job, parts: int, step: int, steps: int):
        self._make: Callable[[int], Load] = lambda step: load_step(stream, job, step, parts)
        self._step, self._steps = step, steps
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="data")
        self._next: Future[Load] | None = None

    def __enter__(self) -> Prefetch:
        self._submit()
        return self

    def next(self) -> Load:
        assert self._next is not None, "no step is left"
        load = self._next.result()
        self._submit()
        return load

    def _submit(self) -> None:
        self._next = self._pool.submit(self._make, self._step) if self._step < self._steps else None
        self._step += 1

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
