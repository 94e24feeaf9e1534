"""Restricted sources: parts of a random network that no mask may use, or that every mask keeps.

Reference: Gadhikar, Mukherjee, Burkholz, "Why Random Pruning Is All We Need to Start Sparse", ICML
2023, https://arxiv.org/abs/2210.02412; Otsuka et al., "Partially Frozen Random Networks Contain
Compact Strong Lottery Tickets", TMLR 2025, https://arxiv.org/abs/2402.14029.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from supermask_jax.core.density import check_density
from supermask_jax.core.trees import named_leaves, path_name, split_key_like
from supermask_jax.errors import unknown_name
from supermask_jax.methods.base import Method

Array = jax.Array
PyTree = Any
Shapes = Mapping[str, tuple[int, ...]]

# Of the key of initialisation, whose other draws stay what they are without a restriction.
_STREAM = 0x50757263


def _spread(shapes: Shapes, density: float, share: Callable[[tuple[int, ...]], float]) -> Any:
    """Returns densities in proportion to `share`; what is above 1 goes to the other layers."""
    sizes = {name: int(np.prod(shape)) for name, shape in shapes.items()}
    left, whole = density * sum(sizes.values()), set[str]()
    while True:
        open_layers = {name: share(shapes[name]) for name in shapes if name not in whole}
        room = left - sum(sizes[name] for name in whole)
        total = sum(sizes[name] * part for name, part in open_layers.items())
        found = {name: room * part / total for name, part in open_layers.items()}
        above = {name for name, value in found.items() if value > 1}
        if not above:
            return {name: 1.0 if name in whole else found[name] for name in shapes}
        whole |= above


def _cut(shapes: Shapes, density: float, share: Callable[[tuple[int, ...]], float]) -> Any:
    """Returns the same, where what is above 1 is cut and given to none."""
    sizes = {name: int(np.prod(shape)) for name, shape in shapes.items()}
    total = sum(sizes[name] * share(shape) for name, shape in shapes.items())
    factor = density * sum(sizes.values()) / total
    return {name: min(1.0, factor * share(shape)) for name, shape in shapes.items()}


def _pyramidal(shapes: Shapes, density: float) -> dict[str, float]:
    """Returns r, r^2, r^3 ... from input to output, r such that the total is right."""
    sizes = [int(np.prod(shape)) for shape in shapes.values()]
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        total = sum(n * middle**i for i, n in enumerate(sizes, start=1))
        low, high = (middle, high) if total < density * sum(sizes) else (low, middle)
    return {name: high**i for i, name in enumerate(shapes, start=1)}


def _erk(shape: tuple[int, ...]) -> float:
    return sum(shape) / float(np.prod(shape))


def _balanced(shape: tuple[int, ...]) -> float:
    return 1 / float(np.prod(shape))


SOURCES: dict[str, Callable[[Shapes, float], dict[str, float]]] = {
    "uniform": lambda shapes, density: dict.fromkeys(shapes, density),
    "erk": lambda shapes, density: _spread(shapes, density, _erk),
    "erk_released": lambda shapes, density: _cut(shapes, density, _erk),
    "balanced": lambda shapes, density: _cut(shapes, density, _balanced),
    "pyramidal": _pyramidal,
}
"""How a source's density is spread over layers: ({name: shape}, density) -> {name: density}."""


def source_densities(rule: str, shapes: Shapes, density: float) -> dict[str, float]:
    r"""Returns the density of each layer of a source.

    Args:
      rule: "uniform"; "erk", in proportion to the sum of a layer's sizes by its product (what a
        layer cannot hold goes to the others); "erk_released", the same as released code has it,
        where that is lost; "balanced", the same number of weights in each layer; "pyramidal",
        :math:`r, r^2, r^3, \dots` from input to output.
      shapes: name -> shape, from input to output.
      density: of all weights together.

    Raises:
      UserError: the rule is unknown.

    >>> shapes = {"first": (100, 10), "second": (10, 10)}
    >>> source_densities("uniform", shapes, 0.2)
    {'first': 0.2, 'second': 0.2}
    >>> {name: round(share, 3) for name, share in source_densities("erk", shapes, 0.2).items()}
    {'first': 0.186, 'second': 0.338}
    """
    if rule not in SOURCES:
        raise unknown_name("source", rule, SOURCES)
    return SOURCES[rule](shapes, density)


def restricted(
    method: Method, *, rule: str = "uniform", density: float = 1.0, lock: float = 0.0
) -> Method:
    """Restricts a method to a part of the network, drawn once from the key of initialisation.

    Of each layer, a part is pruned for good, a part is locked, which every mask keeps as it is, and
    the method searches the rest: the scores elsewhere do nothing, and get no gradient. Densities
    count all weights, so that a top-k method that is to keep a share k needs the density k - lock.

    Args:
      method: one that learns a score for every weight.
      rule: how `density` is spread over layers: see `source_densities`.
      density: share of all weights that is not pruned, in (0, 1]; 1 prunes none.
      lock: share of the weights of each layer that is locked, in [0, 1].

    Returns:
      The method; with density 1 and lock 0 the one given.

    Raises:
      UserError: the rule is unknown.
      ValueError: a share is impossible; in ``init``, the method has no scores, or a layer has less
        than is to be locked.

    >>> method = restricted(sm.signed_topk(density=0.2), density=0.5)
    >>> trainable, frozen = method.init(jax.random.key(0), {"kernel": jnp.ones((10, 10))})
    >>> int(jnp.count_nonzero(method.apply(trainable, frozen)["kernel"]))
    20
    """
    if not 0 < check_density(density):
        raise ValueError("the density of a source must be above 0")
    check_density(lock, "lock")
    if rule not in SOURCES:
        raise unknown_name("source", rule, SOURCES)
    if density == 1 and lock == 0:
        return method
    hidden = method.hidden_score

    def init(key: Array, params: PyTree) -> tuple[PyTree, PyTree]:
        trainable, frozen = method.init(key, params)
        if "scores" not in trainable:
            raise ValueError("a source restricts masks, and the method has none")
        weights = frozen["weights"]
        shapes = {name: leaf.shape for name, leaf in named_leaves(weights).items()}
        shares = source_densities(rule, shapes, density)
        keys = split_key_like(jax.random.fold_in(key, _STREAM), weights)

        def tags(path: tuple[Any, ...], key: Array, weight: Array) -> Array:
            share = shares[path_name(path)]
            pruned, locked = round((1 - share) * weight.size), round(lock * weight.size)
            if pruned + locked > weight.size:
                raise ValueError(
                    f"{path_name(path)!r} has a density of {share:.3f}, which is less than the "
                    f"{lock} to lock: raise the density of the source, or lower lock"
                )
            rank = jax.random.permutation(key, weight.size)
            found = (rank >= weight.size - locked).astype(jnp.int8) - (rank < pruned)
            return found.astype(jnp.int8).reshape(weight.shape)

        return trainable, frozen | {"tags": jax.tree.map_with_path(tags, keys, weights)}

    def searched(trainable: PyTree, frozen: PyTree) -> PyTree:
        scores = jax.tree.map(
            lambda tag, score: jnp.where(tag == 0, score, hidden).astype(score.dtype),
            frozen["tags"],
            trainable["scores"],
        )
        return trainable | {"scores": scores}

    def apply(
        trainable: PyTree, frozen: PyTree, key: Array | None = None, progress: ArrayLike = 1.0
    ) -> PyTree:
        effective = method.apply(searched(trainable, frozen), frozen, key, progress)

        def one(tag: Array | None, weight: Array, found: Array) -> Array:
            return found if tag is None else jnp.where(tag == 0, found, weight * (tag > 0))

        return jax.tree.map(
            one, frozen["tags"], frozen["weights"], effective, is_leaf=lambda leaf: leaf is None
        )

    def masks(
        trainable: PyTree, frozen: PyTree, key: Array | None = None, progress: ArrayLike = 1.0
    ) -> PyTree:
        found = method.masks(searched(trainable, frozen), frozen, key, progress)
        return jax.tree.map(
            lambda tag, mask: jnp.where(tag == 0, mask, tag > 0).astype(jnp.int8),
            frozen["tags"],
            found,
        )

    def on_searched(fn: Callable[..., Any]) -> Callable[..., Any]:
        return lambda trainable, frozen, *rest, **options: fn(
            searched(trainable, frozen), frozen, *rest, **options
        )

    return method._replace(
        init=init,
        apply=apply,
        masks=masks,
        project=method.project and on_searched(method.project),
        report=method.report and on_searched(method.report),
        penalty=method.penalty and on_searched(method.penalty),
    )
