"""Clocks, and what every part of the benchmark times: synthetic data and chunks of real steps."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import numpy as np

from supermask_jax.data import DATASETS, Dataset, Split
from supermask_jax.training.evaluate import Examples
from supermask_jax.training.loop import make_train_steps
from supermask_jax.training.trainer import Trainer


class Cost(NamedTuple):
    """A span of time, or a point in it, in seconds."""

    wall: float
    cpu: float  # of all threads of this process; on an accelerator, what the host spends

    def since(self, start: Cost) -> Cost:
        """Returns the span from `start` to this point."""
        return Cost(self.wall - start.wall, self.cpu - start.cpu)

    def mean(self, other: Cost) -> Cost:
        """Returns the mean of two spans."""
        return Cost((self.wall + other.wall) / 2, (self.cpu + other.cpu) / 2)


def now() -> Cost:
    """Reads both clocks."""
    return Cost(time.perf_counter(), time.process_time())


def timed(action: Callable[[], Any]) -> Cost:
    """Returns what one call of `action` costs; it must wait for the device itself."""
    start = now()
    action()
    return now().since(start)


_MOST, _SINGLE = 100, 3  # steps in a chunk, at most in one dispatch; where each has its own


def chunk_of(job: Trainer) -> int:
    """Returns how many steps are timed at a time."""
    together = job.plan.steps_per_call
    return min(together, _MOST) if together > 1 else _SINGLE


def median_cost(costs: Iterable[Cost]) -> Cost:
    """Returns the median wall and the median CPU time, each by itself."""
    walls, cpus = zip(*costs, strict=True)
    return Cost(statistics.median(walls), statistics.median(cpus))


def synthetic_data(name: str, most: int | None = None) -> Dataset:
    """Returns random images and labels of the shapes, dtypes and counts of data set `name`.

    `most` limits the counts.
    """
    spec = DATASETS[name]
    rng = np.random.default_rng(0)

    def split(size: int) -> Split:
        images = rng.integers(0, 256, (size, *spec.image_shape), np.uint8)
        return Split(images, rng.integers(0, spec.num_classes, size, np.int32))

    sizes = (spec.train_size, spec.test_size)
    train, test = (split(size if most is None else min(size, most)) for size in sizes)
    return Dataset(name, train, test, spec.num_classes, "synthetic", "")


class Steps:
    """The train steps of a job and nothing else: no evaluation, no report, no checkpoint."""

    def __init__(self, job: Trainer, examples: Examples) -> None:
        self.state, self.frozen = job.start()
        self._plan = job.plan
        self._run, self._data = make_train_steps(job), examples
        self._order = jax.block_until_ready(job.order()(0))
        self._index = 0

    def run(self, count: int) -> None:
        """Takes `count` steps, dispatched as the training loop does it, and waits for the last."""
        while count:
            self._index %= self._plan.steps_per_epoch
            many = min(count, self._plan.steps_per_call, self._plan.steps_per_epoch - self._index)
            # The old state is donated: only the new one may be used from here on.
            place = self._order, self._index, many
            self.state, _ = self._run(self.state, self.frozen, self._data, *place)
            self._index, count = self._index + many, count - many
        jax.block_until_ready(self.state)
