"""Training data that stay on the host: a few batches at a time go to the device, read ahead.

What a step sees is the same either way: the order of an epoch, the keys of the augmentation and the
weights of rows are functions of seed, epoch and step alone. So a streamed run equals one whose data
lie on the device, and there is nothing to save but the step. Of several processes each reads the
rows of its own devices only.

Files are decoded in threads, during which Pillow lets go of Python's lock: they take no more CPU
time than worker processes, and start at once (`experiments/benchmark.py --loader`).
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from supermask_jax.data import Spec
from supermask_jax.data.pipeline import Examples, Stack
from supermask_jax.training.sharding import Layout

if TYPE_CHECKING:
    from supermask_jax.training.trainer import Plan

Array = jax.Array

_AHEAD = 2  # pieces that are read while the device trains on one
_PIECE = 1 << 27  # bytes of a piece, unless one batch is larger
_SHARE = 0.4  # of a device's memory that data may take


class Stream(NamedTuple):
    """A split on the host.

    Attributes:
      images: uint8 [N, H, W, C], an array or `data.images.LazyImages`.
      labels: int32 [N].
      rows: int [n], the examples of the split, in their order.
      layout: of the devices that batches go to.
    """

    images: Any
    labels: np.ndarray
    rows: np.ndarray
    layout: Layout

    def read(self, at: np.ndarray, batch_size: int) -> Stack:
        """Puts the examples at these places of the split on the devices, in whole batches.

        What pads the last one is black and has weight 0.
        """
        rows = np.full((-(-len(at) // batch_size), batch_size), -1)
        rows.flat[: len(at)] = self.rows[at]
        rows = rows[:, self.layout.own_rows(batch_size)]
        there = rows >= 0
        labels = np.where(there, self.labels[rows], 0).astype(np.int32)
        found = Stack(self._images(rows, there), labels, there.astype(np.float32))
        return self.layout.put_rows(found, batch_size)

    def _images(self, rows: np.ndarray, there: np.ndarray) -> np.ndarray:
        shape = (*rows.shape, *self.images.shape[1:])
        if there.all():
            return self.images[rows.ravel()].reshape(shape)
        found = np.zeros(shape, np.uint8)
        found[there] = self.images[rows[there]]
        return found

    def batches_in_piece(self, batch_size: int) -> int:
        """Returns how many batches are read and go to the devices together."""
        return max(1, _PIECE // (batch_size * math.prod(self.images.shape[1:])))


class Dispatch(NamedTuple):
    """The batches of one dispatch: `count` of them, from number `first` on."""

    data: Examples | Stack
    order: Array | None  # int32 [S, batches * B], rows of `data`; a stack is in order
    first: int
    count: int


def wanted(spec: Spec, mode: str) -> bool:
    """Says whether data stay on the host.

    Args:
      spec: of the data.
      mode: "always", "never", or "auto": where they would take much of the device's memory.
    """
    if mode != "auto":
        return mode == "always"
    size = (spec.train_size + spec.test_size) * math.prod(spec.image_shape)
    return size > _SHARE * device_bytes()


def device_bytes() -> float:
    """Returns the memory of a device; on a CPU that of the machine, where the host has it too."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if limit := stats.get("bytes_limit"):
        return limit
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2
    except (AttributeError, ValueError, OSError):  # Windows.
        return math.inf


def dispatches(
    data: Examples | Stream, order: Array, index: int, plan: Plan, fetch: Callable[[Array], Any]
) -> Iterator[Dispatch]:
    """Yields the dispatches of an epoch from batch `index` on.

    Args:
      data: of training.
      order: int32 [S, batches * B], of the epoch.
      index: the first batch.
      plan: of the run.
      fetch: copies an array to the host.
    """
    together = plan.steps_per_call
    if isinstance(data, Stream):
        together = min(together, data.batches_in_piece(plan.batch_size))
    firsts = range(index, plan.steps_per_epoch, together)
    counts = [min(together, plan.steps_per_epoch - first) for first in firsts]
    if isinstance(data, Examples):
        for first, count in zip(firsts, counts, strict=True):
            yield Dispatch(data, order, first, count)
        return
    (rows,) = np.asarray(fetch(order))  # Seeds of a streamed run train one after another.

    def read(first: int, count: int) -> Dispatch:
        # What pads the last batch of an epoch is no row.
        last = min((first + count) * plan.batch_size, plan.num_train)
        stack = data.read(rows[first * plan.batch_size : last], plan.batch_size)
        return Dispatch(stack, None, 0, count)

    yield from _ahead(read, zip(firsts, counts, strict=True))


def pieces(data: Examples | Stream, batch_size: int) -> Iterator[Examples | Stack]:
    """Yields a split on the devices: whole, or of a stream a few batches at a time."""
    if isinstance(data, Examples):
        yield data
        return
    places, size = np.arange(len(data.rows)), data.batches_in_piece(batch_size) * batch_size
    starts = range(0, len(places), size)
    yield from _ahead(data.read, ((places[at : at + size], batch_size) for at in starts))


def size_of(data: Examples | Stream) -> int:
    """Returns how many examples a split has."""
    return len(data.labels if isinstance(data, Examples) else data.rows)


def on_host(data: Examples | Stream) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields images and labels of a split as NumPy arrays: whole, or a piece of a stream."""
    if isinstance(data, Examples):
        yield tuple(jax.device_get(data))
        return
    size = data.batches_in_piece(1)
    for rows in (data.rows[at : at + size] for at in range(0, len(data.rows), size)):
        yield data.images[rows], data.labels[rows]


def _ahead(read: Callable[..., Any], calls: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
    """Yields what `read` returns for each of the calls, made a few ahead in a thread."""
    waiting: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="reader") as reader:
        try:
            for call in calls:
                waiting.append(reader.submit(read, *call))
                if len(waiting) > _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
