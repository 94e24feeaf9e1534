"""The dense baseline, on the same path as every other method."""

from __future__ import annotations

from typing import Any

import jax

from supermask_jax.core.trees import Label, LabelFn, merge, partition
from supermask_jax.methods.base import Method

PyTree = Any


def dense(*, label_fn: LabelFn | None = None) -> Method:
    """Trains every parameter and masks none: ``apply`` returns the trained params themselves.

    Args:
      label_fn: leaves that it says "freeze" of stay as they are; None freezes none.

    >>> trainable, frozen = dense().init(jax.random.key(0), {"kernel": jnp.ones((8, 4))})
    >>> dense().apply(trainable, frozen)["kernel"].shape
    (8, 4)
    """
    if label_fn is not None:
        return _partly(label_fn)

    def init(key: jax.Array, params: PyTree) -> tuple[PyTree, PyTree]:
        del key  # Nothing is drawn.
        return {"params": params}, {}

    def apply(trainable: PyTree, frozen: PyTree, key: Any = None, progress: float = 1.0) -> PyTree:
        del frozen, key, progress
        return trainable["params"]

    def masks(trainable: PyTree, frozen: PyTree, key: Any = None, progress: float = 1.0) -> PyTree:
        del trainable, frozen, key, progress
        return {}

    return Method(init, apply, masks)


def _partly(label_fn: LabelFn) -> Method:
    def freeze(name: str, leaf: jax.Array) -> Label:
        return "freeze" if label_fn(name, leaf) == "freeze" else "mask"

    def init(key: jax.Array, params: PyTree) -> tuple[PyTree, PyTree]:
        del key
        parts = partition(params, freeze)
        return {"params": parts["mask"]}, {"params": parts["freeze"]}

    def apply(trainable: PyTree, frozen: PyTree, key: Any = None, progress: float = 1.0) -> PyTree:
        del key, progress
        return merge(trainable["params"], frozen["params"])

    return dense()._replace(init=init, apply=apply)
