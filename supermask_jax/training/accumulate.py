"""The loss of a batch and its gradient, at once or summed over microbatches.

Activations are what a step needs its memory for: of microbatches those of one are kept at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from supermask_jax.core.trees import merge
from supermask_jax.data.pipeline import Batch
from supermask_jax.training.compiling import derives_convolution
from supermask_jax.training.state import zero_sums

Array = jax.Array
PyTree = Any
Sums = dict[str, Array]

# (effective params, batch statistics, batch, mask [B] of the rows that statistics see)
#   -> (metric sums, new batch statistics)
Forward = Callable[[PyTree, PyTree, Batch, Array], tuple[Sums, PyTree]]
# (trainable, batch statistics, batch) -> ((mean loss [], (sums, new statistics)), gradient)
GradFn = Callable[[PyTree, PyTree, Batch], tuple[tuple[Array, tuple[Sums, PyTree]], PyTree]]


def value_and_grad(
    effective: Callable[[PyTree], PyTree], forward: Forward, microbatches: int = 1
) -> GradFn:
    """Builds the function that returns the loss, metric sums, batch statistics and the gradient.

    The loss is the mean over the rows of weight 1 of the whole batch, however they are spread over
    microbatches: without batch norm these change the result in its rounding only. Batch norm
    normalises every microbatch by itself and updates its running statistics with each, one after
    another; with a microbatch of nothing but padding it does not.

    Args:
      effective: trainable -> effective parameters, called once: all microbatches see one mask.
      forward: see `Forward`.
      microbatches: m; a divisor of the batch size. Microbatch i holds rows i, i + m, i + 2 m, ...:
        a batch that is spread over devices stays where it is.
    """
    if microbatches == 1:
        return lambda *operands: _at_once(effective, forward, *operands)
    return lambda *operands: _in_parts(effective, forward, microbatches, *operands)


def _at_once(
    effective: Callable[[PyTree], PyTree],
    forward: Forward,
    trainable: PyTree,
    batch_stats: PyTree,
    batch: Batch,
) -> tuple[tuple[Array, tuple[Sums, PyTree]], PyTree]:
    def loss_fn(trainable: PyTree) -> tuple[Array, tuple[Sums, PyTree]]:
        sums, stats = forward(effective(trainable), batch_stats, batch, batch["weight"] > 0)
        return sums["loss"] / sums["count"], (sums, stats)

    return jax.value_and_grad(loss_fn, has_aux=True)(trainable)


def _in_parts(
    effective: Callable[[PyTree], PyTree],
    forward: Forward,
    microbatches: int,
    trainable: PyTree,
    batch_stats: PyTree,
    batch: Batch,
) -> tuple[tuple[Array, tuple[Sums, PyTree]], PyTree]:
    floating, pull, others = jax.vjp(lambda t: _by_dtype(effective(t)), trainable, has_aux=True)
    count = jnp.sum(batch["weight"])

    def add(found: _Found, index: Array) -> _Found:
        part = _part(batch, microbatches, index)
        rows = part["weight"] > 0
        some = jnp.any(rows)

        def loss_fn(floating: PyTree) -> tuple[Array, tuple[Sums, PyTree]]:
            # What depends on parameters alone is computed in turn, and not kept from turn to turn:
            # the kernels that `models.winograd` transforms are larger than they were.
            floating, _ = lax.optimization_barrier((floating, index))
            # Statistics of no rows at all are not numbers, and nor are gradients through them.
            sums, stats = forward(merge(floating, others), found.stats, part, rows | ~some)
            return sums["loss"] / count, (sums, stats)

        grads, (sums, stats) = jax.grad(loss_fn, has_aux=True)(floating)
        return _Found(
            jax.tree.map(jnp.add, found.sums, sums),
            jax.tree.map(lambda new, old: jnp.where(some, new, old), stats, found.stats),
            jax.tree.map(jnp.add, found.grads, grads),
        )

    # Summed in float32 where they are shorter.
    wide = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.promote_types(x.dtype, jnp.float32)),
                        floating)  # fmt: skip
    start = _Found(zero_sums(), batch_stats, wide)
    whole = jax.make_jaxpr(forward)(
        merge(floating, others), batch_stats, batch, batch["weight"] > 0
    )
    in_loop = not (jax.default_backend() == "cpu" and derives_convolution(whole))
    sums, stats, grads = _in_turn(add, start, microbatches, loop=in_loop)
    grads = jax.tree.map(lambda g, x: g.astype(x.dtype), grads, floating)
    return (sums["loss"] / sums["count"], (sums, stats)), pull(grads)[0]


class _Found(NamedTuple):
    """What microbatches have given so far."""

    sums: Sums
    stats: PyTree
    grads: PyTree  # of the effective parameters


def _in_turn(
    add: Callable[[_Found, Array], _Found], start: _Found, count: int, *, loop: bool
) -> _Found:
    """Applies `add` for the indices 0 ... count - 1: in a loop, which compiles once, or in turn."""
    if loop:
        return lax.scan(lambda found, i: (add(found, i), None), start, jnp.arange(count))[0]
    found = start
    for i in range(count):
        found = add(found, _after(found.grads, i))
    return found


def _after(grads: PyTree, index: int) -> Array:
    """Returns `index`, but not before `grads` are there: turns side by side save no memory.

    The compiler for CPU drops optimisation barriers before it orders; a condition that it cannot
    see to be constant it keeps.
    """
    probe = sum(jnp.sum(leaf) for leaf in jax.tree.leaves(grads))
    always = (lax.bitcast_convert_type(jnp.float32(probe), jnp.int32) | 1) != 0
    return jnp.where(always, index, 0)


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
