"""The interface of a method, and the builder of those that learn a score for every weight."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from supermask_jax.core.initializers import Initializer, named
from supermask_jax.core.trees import (
    LabelFn,
    mask_kernels,
    merge,
    num_params,
    partition,
    path_name,
    split_key_like,
)
from supermask_jax.errors import about

Array = jax.Array
PyTree = Any


# Hides a weight where masks go by the score itself; its sigmoid is 0 in effect.
LOWEST_SCORE = -100.0


class Method(NamedTuple):
    """A few pure functions. Hyperparameters live in the factory that made it.

    Attributes:
      init: (key, params) -> (trainable, frozen). `params` is the tree a model's `init` returns; its
        maskable leaves become ``frozen["weights"]``. `trainable` is what the optimiser sees:
        ``{"scores": ..., "params": ...}``, with `None` where a leaf is not in that part.
      apply: (trainable, frozen, key=None, progress=1.0) -> effective params for `model.apply`.
        `key` feeds methods that sample; None is deterministic. `progress` in [0, 1] is the
        fraction of training done, for methods that anneal.
      masks: (trainable, frozen, key=None, progress=1.0) -> int8 tree over the masked leaves: 0
        hides, 1 keeps, -1 inverts (multicoated masks count coats); an empty dict without masks.
      project: None, or (trainable, frozen, progress) -> trainable, called after every optimiser
        step: how a method holds a constraint, such as a density.
      report: None, or (trainable, frozen) -> {name: float32 []}, further numbers for the metrics.
      eval_samples: how many sampled masks an evaluation averages over; 0 evaluates
        ``apply(key=None)``.
      penalty: None, or (trainable, frozen, key=None, progress=1.0) -> float32 [], what training
        adds to the loss that it differentiates, with the arguments of `apply`. The loss reported
        and watched by schedules is without it; the metrics tell it as ``penalty``.
      hidden_score: a score that hides its weight, whatever the others are.
    """

    init: Callable[[Array, PyTree], tuple[PyTree, PyTree]]
    apply: Callable[..., PyTree]
    masks: Callable[..., PyTree]
    project: Callable[[PyTree, PyTree, ArrayLike], PyTree] | None = None
    report: Callable[[PyTree, PyTree], dict[str, Array]] | None = None
    eval_samples: int = 0
    penalty: Callable[..., Array] | None = None
    hidden_score: float = 0.0


class Context(NamedTuple):
    """What a layer's mask may depend on beside its scores.

    Attributes:
      aux: the layer's constants, from `aux_fn` at initialisation.
      progress: fraction of training done, in [0, 1].
      key: the layer's own PRNG key [], or None for the deterministic mask.
      shared: the layer's part of what `shared_fn` computed from the scores of all layers.
    """

    aux: Any
    progress: ArrayLike
    key: Array | None
    shared: Any


def supermask(
    *,
    weights_fn: Callable[[Array, Array, Context], Array],
    mask_fn: Callable[[Array, Context], Array],
    score_init: Initializer | str,
    aux_fn: Callable[[Array], Any] = lambda scores: (),
    shared_fn: Callable[[PyTree, ArrayLike], PyTree] | None = None,
    label_fn: LabelFn = mask_kernels,
    project: Callable[[PyTree, PyTree, ArrayLike], PyTree] | None = None,
    report: Callable[[PyTree, PyTree], dict[str, Array]] | None = None,
    eval_samples: int = 0,
    penalty_fn: Callable[[Array, Array, Context], Array] | None = None,
    hidden_score: float = 0.0,
) -> Method:
    """Builds a method whose masks come from one score for every weight.

    Args:
      weights_fn: (weights [*s], scores [*s], context) -> effective weights [*s], differentiable
        with respect to the scores.
      mask_fn: (scores [*s], context) -> int8 mask [*s].
      score_init: initialiser of the scores, or its name, such as "xavier_uniform".
      aux_fn: first scores [*s] of a layer -> its constants (thresholds); frozen with the weights.
      shared_fn: (tree of scores, progress) -> tree with an entry for each layer, for rules over
        all layers at once.
      label_fn: (name, leaf) -> "mask", "train" or "freeze".
      project: see `Method`.
      report: see `Method`.
      eval_samples: see `Method`.
      penalty_fn: None, or (weights [*s], scores [*s], context) -> [], a layer's sum over its
        weights. The method's penalty is that of all layers divided by the number of their weights:
        a factor in it means the same on every network.
      hidden_score: see `Method`; 0 where masks go by magnitude.

    >>> method = supermask(
    ...     weights_fn=lambda w, s, context: w * jax.nn.sigmoid(s),
    ...     mask_fn=lambda s, context: (s > 0).astype(jnp.int8),
    ...     score_init="unit_constant",
    ... )
    >>> trainable, frozen = method.init(jax.random.key(0), {"kernel": jnp.ones((2, 2))})
    >>> method.masks(trainable, frozen)["kernel"].tolist()
    [[1, 1], [1, 1]]
    """

    draw_scores = named(score_init)

    def init(key: Array, params: PyTree) -> tuple[PyTree, PyTree]:
        parts = partition(params, label_fn)
        keys = split_key_like(key, parts["mask"])

        def draw(path: tuple[Any, ...], key: Array, weight: Array) -> Array:
            with about(f"the scores of {path_name(path)!r}"):
                return draw_scores(key, weight.shape, jnp.float32)

        scores = jax.tree.map_with_path(draw, keys, parts["mask"])
        if shared_fn is not None:  # A rule that does not suit the layers says so now.
            jax.eval_shape(shared_fn, scores, jnp.float32(1))
        trainable = {"scores": scores, "params": parts["train"]}
        frozen = {
            "weights": parts["mask"],
            "params": parts["freeze"],
            "aux": jax.tree.map(aux_fn, scores),
        }
        return trainable, frozen

    def contexts(scores: PyTree, frozen: PyTree, key: Array | None, progress: ArrayLike) -> PyTree:
        """Returns a function of a leaf's parts for each layer, in a tree like `scores`."""
        keys = jax.tree.map(lambda _: None, scores) if key is None else split_key_like(key, scores)
        shared = scores if shared_fn is None else shared_fn(scores, progress)

        def context(scores: Array, aux: Any, key: Array | None, share: Any) -> Context:
            return Context(aux, progress, key, share)

        return jax.tree.map(context, scores, frozen["aux"], keys, shared)

    def apply(
        trainable: PyTree, frozen: PyTree, key: Array | None = None, progress: ArrayLike = 1.0
    ) -> PyTree:
        scores = trainable["scores"]
        context = contexts(scores, frozen, key, progress)
        effective = jax.tree.map(weights_fn, frozen["weights"], scores, context)
        return merge(effective, trainable["params"], frozen["params"])

    def masks(
        trainable: PyTree, frozen: PyTree, key: Array | None = None, progress: ArrayLike = 1.0
    ) -> PyTree:
        scores = trainable["scores"]
        return jax.tree.map(mask_fn, scores, contexts(scores, frozen, key, progress))

    def penalty(
        trainable: PyTree, frozen: PyTree, key: Array | None = None, progress: ArrayLike = 1.0
    ) -> Array:
        assert penalty_fn is not None  # Otherwise there is none.
        scores = trainable["scores"]
        context = contexts(scores, frozen, key, progress)
        layers = jax.tree.map(penalty_fn, frozen["weights"], scores, context)
        return sum(jax.tree.leaves(layers), jnp.float32(0)) / num_params(scores)

    own = None if penalty_fn is None else penalty
    return Method(init, apply, masks, project, report, eval_samples, own, hidden_score)
