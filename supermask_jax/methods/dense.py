"""The dense baseline, on the same path as every other method."""

from __future__ import annotations

from typing import Any

import jax

from supermask_jax.methods.base import Method

PyTree = Any


def dense() -> Method:
    """Trains every parameter and masks none: ``apply`` returns the trained params themselves."""

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
