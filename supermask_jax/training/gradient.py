"""The loss of a batch and its gradient to the effective parameters, at once or in microbatches.

Activations are what a step needs its memory for: of microbatches those of one are kept at a time.
(`optax.microbatching` would make a mask for each of them, and knows no statistics that pass from
one to the next.)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from supermask_jax.core.trees import merge
from supermask_jax.data.pipeline import Batch
from supermask_jax.training.evaluate import ApplyFn, Sums, batch_sums
from supermask_jax.training.state import zero_sums
from supermask_jax.training.xla_cpu import in_turn

Array = jax.Array
PyTree = Any


class Found(NamedTuple):
    """What a batch, or the microbatches so far, have given."""

    sums: Sums
    batch_stats: PyTree
    grads: PyTree  # of the mean loss, like the effective parameters; float0 of integers


def loss_gradient(
    apply_fn: ApplyFn,
    params: PyTree,
    batch_stats: PyTree,
    batch: Batch,
    microbatches: int = 1,
    smoothing: float = 0.0,
    key: Array | None = None,
) -> Found:
    """Returns the metric sums, new batch statistics and the gradient of the mean loss.

    The mean is over the rows of weight 1 of the whole batch, however they are spread over
    microbatches: without batch norm these change the result in its rounding only. Batch norm
    normalises every microbatch by itself and updates its running statistics with each, one after
    another; with a microbatch of nothing but padding it does not.

    Args:
      apply_fn: the model.
      params: effective parameters: all microbatches see one mask.
      batch_stats: running statistics.
      batch: [B, ...].
      microbatches: m; a divisor of B. Microbatch i holds rows i, i + m, i + 2 m, ...: a batch that
        is spread over devices stays where it is.
      smoothing: of the labels: see `evaluate.batch_sums`.
      key: of what the model draws; each microbatch has one of its own.
    """

    def forward(
        params: PyTree, stats: PyTree, part: Batch, rows: Array, key: Array | None = key
    ) -> tuple[Sums, PyTree]:
        logits, stats = apply_fn(params, stats, part["image"], train=True, mask=rows, key=key)
        return batch_sums(logits, part, smoothing), stats

    if microbatches == 1:

        def loss_fn(params: PyTree) -> tuple[Array, tuple[Sums, PyTree]]:
            sums, stats = forward(params, batch_stats, batch, batch["weight"] > 0)
            return sums["loss"] / sums["count"], (sums, stats)

        grads, (sums, stats) = jax.grad(loss_fn, has_aux=True, allow_int=True)(params)
        return Found(sums, stats, grads)

    floats, others = _by_dtype(params)
    count = jnp.sum(batch["weight"])

    def add(found: Found, index: Array) -> Found:
        part = _part(batch, microbatches, index)
        rows = part["weight"] > 0
        some = jnp.any(rows)

        def loss_fn(floats: PyTree) -> tuple[Array, tuple[Sums, PyTree]]:
            # What depends on parameters alone is computed in turn, and not kept from turn to turn:
            # the kernels that `models.winograd` transforms are larger than they were.
            floats, _ = lax.optimization_barrier((floats, index))
            # Statistics of no rows at all are not numbers, and nor are gradients through them.
            own = None if key is None else jax.random.fold_in(key, index)
            params = merge(floats, others)
            sums, stats = forward(params, found.batch_stats, part, rows | ~some, own)
            return sums["loss"] / count, (sums, stats)

        grads, (sums, stats) = jax.grad(loss_fn, has_aux=True)(floats)
        return Found(
            jax.tree.map(jnp.add, found.sums, sums),
            jax.tree.map(lambda new, old: jnp.where(some, new, old), stats, found.batch_stats),
            jax.tree.map(jnp.add, found.grads, grads),
        )

    # Summed in float32 where they are shorter.
    wide = jax.tree.map(
        lambda x: jnp.zeros(x.shape, jnp.promote_types(x.dtype, jnp.float32)), floats
    )
    start = Found(zero_sums(), batch_stats, wide)
    whole = lambda: forward(params, batch_stats, batch, batch["weight"] > 0)  # noqa: E731
    found = in_turn(add, start, microbatches, whole)
    none = jax.tree.map(lambda x: np.zeros(x.shape, jax.dtypes.float0), others)
    grads = jax.tree.map(lambda g, x: g.astype(x.dtype), found.grads, floats)
    return found._replace(grads=merge(grads, none))


def _by_dtype(params: PyTree) -> tuple[PyTree, PyTree]:
    """Splits parameters into those that have gradients, and the others."""
    has = lambda x: jnp.issubdtype(x.dtype, jnp.floating)  # noqa: E731
    return tuple(
        jax.tree.map(lambda x, wanted=wanted: x if has(x) == wanted else None, params)
        for wanted in (True, False)
    )


def _part(batch: Batch, parts: int, index: Array) -> Batch:
    """Returns rows index, index + parts, ... of a batch [B, ...]: [B / parts, ...]."""

    def take(rows: Array) -> Array:
        split = rows.reshape(-1, parts, *rows.shape[1:])
        return lax.dynamic_index_in_dim(split, index, axis=1, keepdims=False)

    return jax.tree.map(take, batch)
