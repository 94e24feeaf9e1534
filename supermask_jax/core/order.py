"""Exact order statistics and top-k masks without sorting.

Sorting millions of scores takes about a second on a CPU. Floats order like suitably mapped bit
patterns, so the k-th largest value is found by at most 32 halvings of the range of patterns, each
one a count: exact for any input, and about twenty times faster there.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

Array = jax.Array

# NumPy scalars: constants of the compiled function, without an array made at import.
_SIGN_BIT = np.uint32(0x80000000)
_ALL_BITS = np.uint32(0xFFFFFFFF)


def sortable(x: Array) -> Array:
    """Maps float32 [*s] to uint32 [*s] of the same order: -inf < ... < -0 = 0 < ... < inf.

    NaN maps to 0, below everything.

    >>> keys = sortable(jnp.array([-jnp.inf, -1.0, 0.0, 2.0]))
    >>> bool((keys[:-1] < keys[1:]).all())
    True
    """
    x = jnp.where(x == 0, jnp.float32(0), x.astype(jnp.float32))
    bits = lax.bitcast_convert_type(x, jnp.uint32)
    keys = jnp.where(bits >= _SIGN_BIT, ~bits, bits | _SIGN_BIT)
    return jnp.where(jnp.isnan(x), jnp.uint32(0), keys)


def from_sortable(key: Array) -> Array:
    """The inverse of `sortable` on floats: uint32 [*s] -> float32 [*s]; 0 maps to NaN.

    >>> from_sortable(sortable(jnp.array([-1.5, 0.0, 3.0]))).tolist()
    [-1.5, 0.0, 3.0]
    """
    bits = jnp.where(key >= _SIGN_BIT, key & ~_SIGN_BIT, ~key)
    return lax.bitcast_convert_type(bits, jnp.float32)


# Up to here float32 counts exactly; XLA vectorises its sums on CPU, and not those of integers.
_EXACT_FLOAT32 = 2**24


def _count(predicates: Sequence[Array]) -> Array:
    def count(p: Array) -> Array:
        if p.size < _EXACT_FLOAT32:
            return jnp.sum(p.astype(jnp.float32)).astype(jnp.int32)
        return jnp.sum(p, dtype=jnp.int32)

    return sum(map(count, predicates), jnp.int32(0))


@functools.partial(jax.jit, static_argnames="exact")  # Eagerly, it would compile at each call.
def kth_largest_key(keys: Sequence[Array], k: ArrayLike, *, exact: bool = True) -> Array:
    """Returns the k-th largest entry of several uint32 arrays together, counted from k = 1.

    Gives the largest uint32 for k <= 0, and 0 for k beyond the number of entries. `k` may be
    traced. With `exact` False, a smaller number that has k entries from it on is as good: it is
    found in fewer steps.
    """
    k = jnp.asarray(k, jnp.int32)

    def undecided(carry: tuple[Array, Array, Array]) -> Array:
        low, high, found = carry
        return (low < high) & (jnp.bool_(exact) | (found != k))

    def halve(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        # Invariant: `found` >= k keys are >= low, and fewer than k are > high.
        low, high, found = carry
        # Rounded up, without overflow of low + high.
        middle = low + (high - low) // 2 + (high - low) % 2
        counted = _count([key >= middle for key in keys])
        enough = counted >= k
        return (
            jnp.where(enough, middle, low),
            jnp.where(enough, high, middle - 1),
            jnp.where(enough, counted, found),
        )

    total = jnp.int32(sum(key.size for key in keys))
    start = (jnp.uint32(0), jnp.asarray(_ALL_BITS), total)
    return lax.while_loop(undecided, halve, start)[0]


def kth_largest(x: Array, k: ArrayLike) -> Array:
    """Returns the k-th largest entry of float32 `x` [*s], counted from k = 1, ties included.

    NaN entries rank lowest. `k` may be traced; it is clipped to 1 ... n.

    >>> float(kth_largest(jnp.array([3.0, 1.0, 2.0]), 2))
    2.0
    """
    k = jnp.clip(jnp.asarray(k, jnp.int32), 1, x.size)
    return from_sortable(kth_largest_key([sortable(x)], k))


def topk_masks(scores: Sequence[Array], k: ArrayLike) -> list[Array]:
    """Returns masks that keep the `k` largest of all scores together: bool, shapes of `scores`.

    Exactly k entries are kept, k clipped to 0 ... n. Among equal scores the first array, and in it
    the lowest index, is kept first. NaN ranks lowest; 0 and -0 are equal.

    Args:
      scores: float32 arrays of any shapes.
      k: int32 [], may be traced.

    >>> first, second = topk_masks([jnp.array([3.0, 1.0]), jnp.array([2.0, 0.0])], 2)
    >>> first.tolist(), second.tolist()
    ([True, False], [True, False])
    """
    total = sum(x.size for x in scores)
    k = jnp.clip(jnp.asarray(k, jnp.int32), 0, total)
    keys = [sortable(x) for x in scores]
    cut = kth_largest_key(keys, k, exact=False)
    above = [key > cut for key in keys]
    tied = [key == cut for key in keys]
    wanted = k - _count(above)
    starts = np.cumsum([0, *(x.size for x in scores)])[:-1]
    places = [
        start + lax.iota(jnp.int32, x.size).reshape(x.shape)
        for start, x in zip(starts.tolist(), scores, strict=True)
    ]
    # Ties at the cut are rare: only then is the place found up to which they are kept.
    end = lax.cond(
        _count(tied) == wanted, lambda: jnp.int32(total), lambda: _nth_place(tied, places, wanted)
    )
    return [a | (t & (place < end)) for a, t, place in zip(above, tied, places, strict=True)]


def _nth_place(flags: Sequence[Array], places: Sequence[Array], n: Array) -> Array:
    """Returns the smallest place before which `n` flags are set: int32 []."""
    total = sum(flag.size for flag in flags)

    def halve(_: int, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = (low + high) // 2
        counted = _count([f & (p < middle) for f, p in zip(flags, places, strict=True)])
        enough = counted >= n
        return jnp.where(enough, low, middle + 1), jnp.where(enough, middle, high)

    steps = max(int(total).bit_length(), 1)
    _, end = lax.fori_loop(0, steps + 1, halve, (jnp.int32(0), jnp.int32(total)))
    return end


def group_topk_mask(scores: Array, k: ArrayLike, size: int) -> Array:
    """Returns the mask that keeps the `k` largest of every `size` scores on the axis of inputs.

    That axis is the last but one: inputs stand before outputs in kernels. Of each group exactly k
    are kept, k clipped to 0 ... size; ties and NaN as in `topk_masks`.

    Args:
      scores: float32 [..., inputs, outputs].
      k: int32 [], may be traced.
      size: of a group of consecutive inputs.

    Raises:
      ValueError: there is no axis of inputs, or it cannot be divided into such groups.

    >>> scores = jnp.array([[4.0], [3.0], [2.0], [1.0], [5.0], [6.0], [7.0], [8.0]])
    >>> group_topk_mask(scores, 2, size=4)[:, 0].tolist()
    [True, True, False, False, False, False, True, True]
    """
    if scores.ndim < 2 or scores.shape[-2] % size:
        raise ValueError(
            f"the inputs of a layer of shape {scores.shape}, on the last axis but one, cannot be "
            f"divided into groups of {size}"
        )
    keys = sortable(scores).reshape(*scores.shape[:-2], -1, size, scores.shape[-1])
    places = lax.broadcasted_iota(jnp.int32, keys.shape, keys.ndim - 2)
    before = jnp.zeros(keys.shape, jnp.int32)
    for i in range(size):
        one = keys[..., i : i + 1, :]
        before += (one > keys) | ((one == keys) & (i < places))
    return (before < jnp.asarray(k, jnp.int32)).reshape(scores.shape)


def topk_mask(scores: Array, k: ArrayLike) -> Array:
    """Returns the mask that keeps the `k` largest of `scores`: bool [*s]; see `topk_masks`.

    >>> topk_mask(jnp.array([1.0, 3.0, 3.0, 3.0]), 2).tolist()  # of ties the first
    [False, True, True, False]
    """
    return topk_masks([scores], k)[0]
