"""A function of the rows of a batch, computed piece by piece: less memory, more of it cached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Array = jax.Array
PyTree = Any


def in_pieces(
    function: Callable[..., tuple[Array, PyTree]], count: int, *arrays: Array
) -> tuple[Array, PyTree]:
    """Returns `function(*arrays)`, computed in a loop over `count` pieces of the batch.

    Args:
      function: arrays [b, ...] -> (result [b, ...] of the rows, tree of arrays that are sums over
        the rows).
      count: a divisor of the batch size; 1 calls the function once.
      arrays: [B, ...].
    """
    if count == 1:
        return function(*arrays)
    # Every count-th row makes a piece: rows that lie on several devices stay where they are, if
    # their number divides that of the rows in a piece.
    split = [x.reshape(-1, count, *x.shape[1:]) for x in arrays]

    def piece(index: Array | int) -> tuple[Array, PyTree]:
        take = lambda x: lax.dynamic_index_in_dim(x, index, axis=1, keepdims=False)  # noqa: E731
        return function(*map(take, split))

    def body(index: Array, carry: tuple[Array, PyTree]) -> tuple[Array, PyTree]:
        rows, terms = piece(index)
        whole = lax.dynamic_update_index_in_dim(carry[0], rows, index, axis=1)
        return whole, jax.tree.map(jnp.add, carry[1], terms)

    rows, terms = jax.eval_shape(piece, 0)
    zeros = lambda x: jnp.zeros(x.shape, x.dtype)  # noqa: E731
    whole = jnp.zeros((rows.shape[0], count, *rows.shape[1:]), rows.dtype)
    whole, sums = lax.fori_loop(0, count, body, (whole, jax.tree.map(zeros, terms)))
    return whole.reshape(-1, *whole.shape[2:]), sums
