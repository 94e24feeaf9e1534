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
    masks: Mapping[str, ArrayLike], values: Mapping[str, ArrayLike] | None = None
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

    Raises:
      ValueError: in ``init``: a mask or value without a leaf of its shape, or no masks.
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
        trainable = {"weights": start, "params": parts["train"]}
        return trainable, {"masks": fixed, "values": frozen_at}

    return Method(init, _apply, _masks)


def _apply(trainable: PyTree, frozen: PyTree, key: Any = None, progress: float = 1.0) -> PyTree:
    del key, progress
    effective = jax.tree.map(
        lambda mask, weight, value: jnp.where(mask != 0, weight, value),
        frozen["masks"],
        trainable["weights"],
        frozen["values"],
    )
    return merge(effective, trainable["params"])


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
