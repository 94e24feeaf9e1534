"""Lottery tickets: kept weights train, pruned ones are frozen at a value of their own.

Reference: Frankle, Carbin, "The Lottery Ticket Hypothesis", ICLR 2019, arXiv:1803.03635; Zhou, Lan,
Liu, Yosinski, "Deconstructing Lottery Tickets", NeurIPS 2019, arXiv:1905.01067.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from supermask_jax.core.trees import merge, named_leaves, partition, path_name
from supermask_jax.methods.base import Method

PyTree = Any


def lottery_ticket(
    masks: Mapping[str, ArrayLike],
    values: Mapping[str, ArrayLike] | None = None,
    *,
    sign_in: bool = False,
    interpolate_norm: bool = False,
) -> Method:
    r"""Trains a network under fixed masks.

    .. math::
      w_\text{eff} = w \text{ where } m = 1, \qquad w_\text{eff} = c \text{ where } m = 0

    A pruned weight is its value c whatever its trained entry does under momentum or decay, and no
    gradient reaches that entry, which starts and stays at zero. The leaves without a mask train as
    they are.

    ``init(key, params)`` takes the starting weights in `params`, and returns ``{"weights": ...,
    "params": ...}`` and ``{"masks": ..., "values": ...}``: masks and values are arguments of a
    compiled step and not constants in it. It is not in `METHODS`, since no config can hold masks;
    `supermask_jax.next_level` makes them.

    Args:
      masks: path of a leaf -> [*s] of 0 and 1, for every leaf that is pruned.
      values: the same paths -> [*s], what pruned weights are frozen at; None is zero.
      sign_in: weights train as products :math:`w = a b`, which are balanced after every step so
        that :math:`a^2 - b^2 = 1`: their gradient does not vanish where a weight changes its sign
        (Gadhikar, Burkholz, "Sign-In", 2025, arXiv:2504.12801; balanced there every few epochs).
      interpolate_norm: in training, with ``key``, every step draws t from U(0, 1) and a batch
        norm's scale is :math:`t + (1 - t) \gamma`, its bias :math:`(1 - t) \beta`: the network
        learns to work without them (Oh et al., ICLR 2025, arXiv:2504.05357).

    Raises:
      ValueError: in ``init``: a mask or value without a leaf of its shape, or no masks.

    >>> method = lottery_ticket({"kernel": jnp.array([[1, 0]])})
    >>> trainable, frozen = method.init(jax.random.key(0), {"kernel": jnp.array([[0.3, -2.0]])})
    >>> method.apply(trainable, frozen)["kernel"].round(1).tolist() == [[jnp.float32(0.3), 0.0]]
    True
    """

    def init(key: jax.Array, params: PyTree) -> tuple[PyTree, PyTree]:
        del key  # Nothing is drawn.
        _check("mask", masks, named_leaves(params))
        parts = partition(params, lambda name, leaf: "mask" if name in masks else "train")
        weights = parts["mask"]
        fixed = _like(weights, masks, jnp.int8)
        if values is None:
            frozen_at = jax.tree.map(jnp.zeros_like, weights)
        else:
            _check("value", values, masks)
            if missing := masks.keys() - values.keys():
                raise ValueError(f"there is no value for {min(missing)!r}, which has a mask")
            frozen_at = _like(weights, values)
        start = jax.tree.map(lambda m, w: jnp.where(m != 0, w, jnp.zeros_like(w)), fixed, weights)
        weights = jax.tree.map(_factors, start) if sign_in else start
        trainable = {"weights": weights, "params": parts["train"]}
        return trainable, {"masks": fixed, "values": frozen_at}

    def apply(trainable: PyTree, frozen: PyTree, key: Any = None, progress: float = 1.0) -> PyTree:
        del progress

        def one(mask: jax.Array, weight: Any, value: jax.Array) -> jax.Array:
            weight = weight["a"] * weight["b"] if sign_in else weight
            return jnp.where(mask != 0, weight, value)

        weights = trainable["weights"]
        effective = jax.tree.map(one, frozen["masks"], weights, frozen["values"])
        params = trainable["params"]
        if interpolate_norm and key is not None:
            params = _interpolated(params, jax.random.uniform(key))
        return merge(effective, params)

    return Method(init, apply, _masks, _balanced if sign_in else None)


def _factors(weight: jax.Array) -> dict[str, jax.Array]:
    """Returns a and b with a b = w and a^2 - b^2 = 1."""
    a = jnp.sqrt((1 + jnp.sqrt(1 + 4 * weight**2)) / 2)
    return {"a": a, "b": weight / a}


def _balanced(trainable: PyTree, frozen: PyTree, progress: ArrayLike) -> PyTree:
    del progress
    weights = jax.tree.map(
        lambda mask, pair: _factors(pair["a"] * pair["b"]), frozen["masks"], trainable["weights"]
    )
    return {**trainable, "weights": weights}


def _interpolated(params: PyTree, t: jax.Array) -> PyTree:
    """Returns the parameters with those of batch norms between their own and 1 and 0."""

    def one(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
        *_, layer, name = ["", *path_name(path).split("/")]
        if layer != "bn":
            return leaf
        return (t if name == "scale" else 0) + (1 - t) * leaf

    return jax.tree.map_with_path(one, params)


def _masks(trainable: PyTree, frozen: PyTree, key: Any = None, progress: float = 1.0) -> PyTree:
    del trainable, key, progress
    return frozen["masks"]


def _like(tree: PyTree, arrays: Mapping[str, ArrayLike], dtype: Any = None) -> PyTree:
    return jax.tree.map_with_path(
        lambda path, leaf: jnp.asarray(arrays[path_name(path)], dtype or leaf.dtype), tree
    )


def _check(what: str, arrays: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for name, array in arrays.items():
        if name not in wanted:
            raise ValueError(f"there is a {what} for {name!r}, but only {', '.join(wanted)}")
        found, shape = jnp.shape(array), jnp.shape(wanted[name])
        if found != shape:
            raise ValueError(f"the {what} of {name!r} has shape {found}, not {shape}")
