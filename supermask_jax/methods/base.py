"""The interface of a method, and the builder of those that learn a score for every weight."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from supermask_jax.core.initializers import Initializer
from supermask_jax.core.trees import LabelFn, mask_kernels, merge, partition, split_key_like

Array = jax.Array
PyTree = Any


class Method(NamedTuple):
    """A triple of pure functions. Hyperparameters live in the factory that made it.

    Attributes:
      init: (key, params) -> (trainable, frozen). `params` is the tree a model's `init` returns; its
        maskable leaves become ``frozen["weights"]``. `trainable` is what the optimiser sees:
        ``{"scores": ..., "params": ...}``, with `None` where a leaf is not in that part.
      apply: (trainable, frozen, key=None, progress=1.0) -> effective params for `model.apply`.
        `key` feeds methods that sample; None is deterministic. `progress` in [0, 1] is the
        fraction of training done, for methods that anneal.
      masks: (trainable, frozen, key=None, progress=1.0) -> int8 tree in {-1, 0, 1} over the masked
        leaves; an empty dict for methods without masks.
    """

    init: Callable[[Array, PyTree], tuple[PyTree, PyTree]]
    apply: Callable[..., PyTree]
    masks: Callable[..., PyTree]


def supermask(
    *,
    weights_fn: Callable[[Array, Array, Any], Array],
    mask_fn: Callable[[Array, Any], Array],
    score_init: Initializer,
    aux_fn: Callable[[Array], Any] = lambda scores: (),
    label_fn: LabelFn = mask_kernels,
) -> Method:
    """Builds a method whose masks come leaf by leaf from one score for every weight.

    Args:
      weights_fn: (weights [*s], scores [*s], aux) -> effective weights [*s], differentiable with
        respect to the scores.
      mask_fn: (scores [*s], aux) -> int8 mask [*s].
      score_init: initialiser of the scores.
      aux_fn: first scores [*s] of a layer -> its constants (thresholds); frozen with the weights.
      label_fn: (name, leaf) -> "mask", "train" or "freeze".
    """

    def init(key: Array, params: PyTree) -> tuple[PyTree, PyTree]:
        parts = partition(params, label_fn)
        keys = split_key_like(key, parts["mask"])
        scores = jax.tree.map(
            lambda k, weight: score_init(k, weight.shape, jnp.float32), keys, parts["mask"]
        )
        trainable = {"scores": scores, "params": parts["train"]}
        frozen = {
            "weights": parts["mask"],
            "params": parts["freeze"],
            "aux": jax.tree.map(aux_fn, scores),
        }
        return trainable, frozen

    def apply(
        trainable: PyTree, frozen: PyTree, key: Array | None = None, progress: float = 1.0
    ) -> PyTree:
        del key, progress
        effective = jax.tree.map(weights_fn, frozen["weights"], trainable["scores"], frozen["aux"])
        return merge(effective, trainable["params"], frozen["params"])

    def masks(
        trainable: PyTree, frozen: PyTree, key: Array | None = None, progress: float = 1.0
    ) -> PyTree:
        del key, progress
        return jax.tree.map(mask_fn, trainable["scores"], frozen["aux"])

    return Method(init, apply, masks)
