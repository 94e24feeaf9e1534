"""Batches as pure functions of (images, order, step): nothing to checkpoint but the step.

Images are uint8 on the device: the whole data set, from which batches are gathered, or the next few
batches of it. They are prepared there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from supermask_jax.data.transforms import Prepare, standardize

Array = jax.Array


class Examples(NamedTuple):
    """A split, or a part of one, on the device."""

    images: Array  # uint8 [N, H, W, C]
    labels: Array  # int32 [N]


class Stack(NamedTuple):
    """A few batches on the device, read in their order; each device holds its rows of each."""

    images: Array  # uint8 [K, B, H, W, C]
    labels: Array  # int32 [K, B]
    weights: Array  # float32 [K, B], 1 or 0


class Batch(TypedDict):
    """One batch. Rows beyond the end of the data have weight 0."""

    image: Array  # float32 [B, H, W, C]
    label: Array  # int32 [B]
    weight: Array  # float32 [B], 1 or 0


def hold_out(num_examples: int, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Splits 0 ... N - 1 into (kept, held out) indices: every k-th is held out, k = 1 / fraction.

    A rule without a random generator: the same split for every seed, version and machine.
    """
    every = round(1 / fraction)
    held_out = np.arange(num_examples) % every == every - 1
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def num_batches(num_examples: int, batch_size: int) -> int:
    """Returns the number of batches in an epoch; the last one may be partial."""
    return -(-num_examples // batch_size)


def epoch_order(
    key: Array, epoch: Array | int, num_examples: int, batch_size: int, *, shuffle: bool
) -> Array:
    """Returns the indices of one epoch, padded with 0 to whole batches: int32 [batches * B].

    The order is a function of (key, epoch) alone; with `shuffle` False it is that of the data.
    """
    if shuffle:
        # One sort by random bits; `jax.random.permutation` sorts twice, at twice the cost.
        bits = jax.random.bits(jax.random.fold_in(key, epoch), (num_examples,), jnp.uint32)
        _, order = lax.sort_key_val(bits, jnp.arange(num_examples), is_stable=False)
    else:
        order = jnp.arange(num_examples)
    padding = num_batches(num_examples, batch_size) * batch_size - num_examples
    return jnp.pad(order.astype(jnp.int32), (0, padding))


def batch_at(
    images: Array,
    labels: Array,
    order: Array,
    index: Array | int,
    batch_size: int,
    *,
    prepare: Prepare = lambda key, images: standardize(images),
    key: Array | None = None,
    place: Callable[[Array], Array] = lambda rows: rows,
) -> Batch:
    """Returns batch `index` of an epoch.

    Args:
      images: uint8 [N, H, W, C].
      labels: int32 [N].
      order: int32 [batches * B], from `epoch_order`.
      index: which batch, from 0.
      batch_size: B, static.
      prepare: makes the model's input of the images, from `transforms.make_prepare`; without it
        each image is standardised.
      key: typed PRNG key [] of this batch, for `prepare`; None evaluates, without augmentation.
      place: spreads the batch axis over devices, such as `Layout.split_rows`; each device then
        gathers its own rows only. Left to the compiler, every device gathers them all.
    """
    start = index * batch_size
    rows = place(lax.dynamic_slice_in_dim(order, start, batch_size))
    return Batch(
        image=prepare(key, images[rows]),
        label=labels[rows],
        weight=(start + jnp.arange(batch_size) < images.shape[0]).astype(jnp.float32),
    )


def batch_of(
    data: Examples | Stack,
    order: Array | None,
    index: Array | int,
    batch_size: int,
    *,
    prepare: Prepare,
    key: Array | None = None,
    place: Callable[[Array], Array],
) -> Batch:
    """Returns batch `index` of an epoch of a split on the device, or of a stack.

    Args:
      data: a stack holds its batches in order: `order` is None.
      order: as in `batch_at`, and so are the others.
      index: which batch, from 0.
      batch_size: B, static.
      prepare: as in `batch_at`.
      key: likewise.
      place: likewise.
    """
    if isinstance(data, Examples):
        return batch_at(*data, order, index, batch_size, prepare=prepare, key=key, place=place)
    rows = (lax.dynamic_index_in_dim(x, index, keepdims=False) for x in data)
    images, labels, weights = map(place, rows)
    return Batch(image=prepare(key, images), label=labels, weight=weights)
