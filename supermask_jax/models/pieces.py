"""A function of the rows of a batch, computed piece by piece: less memory, more of it cached."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Array = jax.Array
PyTree = Any


# Bytes of input or output in a piece of a batch: with its transforms a few times that, it stays in
# the last cache; smaller pieces leave cores idle.
PIECE_BYTES = 8 << 20
# The same where nothing but elements of it is needed.
_STORED_BYTES = 2 << 20
# What a loop carries as its bits: to put one piece into a bfloat16 array, jaxlib 0.10 on CPU takes
# the whole array to float32 and back, which for 16 pieces costs more than the convolution.
_CARRIED = {jnp.dtype(jnp.bfloat16): jnp.dtype(jnp.uint16)}


def count_pieces(x: Array, channels: int, most: int = PIECE_BYTES) -> int:
    """Returns in how many pieces of about `most` bytes to compute [B, ..., C]: a divisor of B.

    Args:
      x: all but its channels count.
      channels: of it or of what is made of it, whichever has more.
      most: of a piece.
    """
    size = math.prod(x.shape[:-1]) * channels * 4  # As float32, whatever its dtype.
    wanted = max(1, -(-size // most))
    # Where no divisor is near, one piece: many tiny ones would leave cores idle.
    divisors = (n for n in range(wanted, 2 * wanted) if x.shape[0] % n == 0)
    return next(divisors, 1)


def always(x: Array) -> Array:
    """Returns True, which depends on a float array and which no compiler sees to be a constant."""
    return (lax.bitcast_convert_type(x.ravel()[0].astype(jnp.float32), jnp.int32) | 1) != 0


def in_pieces(
    function: Callable[..., tuple[PyTree, PyTree]], count: int, *arrays: Array, over: bool = False
) -> tuple[PyTree, PyTree]:
    """Returns `function(*arrays)`, computed in a loop over `count` pieces of the batch.

    Args:
      function: arrays [b, ...] -> (tree of results [b, ...] of the rows, tree of arrays that are
        sums over the rows).
      count: a divisor of the batch size; 1 calls the function once.
      arrays: [B, ...].
      over: nothing else reads the last array: the result, a single one that looks like it, takes
        its place.
    """
    if count == 1:
        return function(*arrays)
    function = jax.jit(function, inline=True)  # Traced once, for its shapes and its loop.
    # Every count-th row makes a piece: rows that lie on several devices stay where they are, if
    # their number divides that of the rows in a piece.
    split = [x.reshape(-1, count, *x.shape[1:]) for x in arrays]

    def piece(split: list[Array], index: Array | int) -> tuple[PyTree, PyTree]:
        take = lambda x: lax.dynamic_index_in_dim(x, index, axis=1, keepdims=False)  # noqa: E731
        return function(*(_viewed(take(x), y.dtype) for x, y in zip(split, arrays, strict=True)))

    rows, terms = jax.eval_shape(piece, split, 0)
    whole = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((x.shape[0], count, *x.shape[1:]), x.dtype), rows
    )
    # Zeros that are known would be kept, and copied, from step to step of a loop around this one.
    zero = jnp.where(always(split[-1]), 0.0, 1.0)
    zeros = lambda x: jnp.broadcast_to(zero.astype(x.dtype), x.shape)  # noqa: E731
    over = (
        over
        and isinstance(whole, jax.ShapeDtypeStruct)
        and ((whole.shape, whole.dtype) == (split[-1].shape, split[-1].dtype))
    )

    def body(index: Array, carry: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
        rows, terms = piece([*split[:-1], carry[0]] if over else split, index)

        def put(x: Array, part: Array) -> Array:
            return lax.dynamic_update_index_in_dim(x, _viewed(part, x.dtype), index, axis=1)

        return jax.tree.map(put, carry[0], rows), jax.tree.map(jnp.add, carry[1], terms)

    start = split[-1] if over else jax.tree.map(zeros, whole)
    start = jax.tree.map(lambda x: _viewed(x, _CARRIED.get(x.dtype, x.dtype)), start)
    found, sums = lax.fori_loop(0, count, body, (start, jax.tree.map(zeros, terms)))

    def joined(x: Array, like: jax.ShapeDtypeStruct) -> Array:
        return _viewed(x, like.dtype).reshape(arrays[0].shape[0], *like.shape[2:])

    return jax.tree.map(joined, found, whole), sums


def _viewed(x: Array, dtype: jnp.dtype) -> Array:
    return x if x.dtype == dtype else lax.bitcast_convert_type(x, dtype)


def of_rows(function: Callable[[Array], PyTree], x: Array, *, over: bool = False) -> PyTree:
    """Returns `function(x)`, a tree of arrays [B, ...], of the rows of x [B, ...]: stored on a CPU.

    Fused with its readers it would be computed anew by each, and `x` be kept for the last.
    """
    count = 1
    # An export has a batch of any size.
    if jax.default_backend() == "cpu" and x.ndim > 2 and isinstance(x.shape[0], int):
        count = count_pieces(x, x.shape[-1], _STORED_BYTES)
    return in_pieces(lambda x: (function(x), ()), count, x, over=over)[0]
