"""The train state: arrays only, so it jits, shards and checkpoints without special cases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax

from supermask_jax.core.trees import path_name
from supermask_jax.methods import Method
from supermask_jax.training.plateau import without_history

Array = jax.Array
PyTree = Any


@flax.struct.dataclass
class TrainState:
    """What training changes. Frozen weights are not in it, so no step can return other ones.

    The shapes are those of one seed: outside of `Layout.lift` each has a leading axis of seeds.

    Attributes:
      step: int32 [], optimiser steps taken.
      key: typed PRNG key []; step t uses ``fold_in(key, t)``.
      trainable: what the optimiser sees: ``{"scores": ..., "params": ...}``.
      batch_stats: running statistics of the model, {} without batch norm.
      opt_state: the optimiser's.
      sums: loss, correct and count summed over the epoch so far, float32 [] each, so that a run
        resumed inside an epoch reports the whole epoch.
    """

    step: Array
    key: Array
    trainable: PyTree
    batch_stats: PyTree
    opt_state: optax.OptState
    sums: dict[str, Array]


def create_state(
    key: Array,
    *,
    init_fn: Callable[[Array], PyTree],
    method: Method,
    tx: optax.GradientTransformation,
    step: int = 0,
) -> tuple[TrainState, PyTree]:
    """Draws a model and a method's variables.

    Args:
      key: typed PRNG key []; the run is a function of it.
      init_fn: key -> variables {"params": ..., "batch_stats": ...} of the model.
      method: what is masked, trained and frozen.
      tx: optimiser of the trained part.
      step: where in schedules and data order the run begins.

    Returns:
      (state, frozen). `frozen` never changes.
    """
    model_key, method_key, train_key = jax.random.split(key, 3)
    variables = init_fn(model_key)
    trainable, frozen = method.init(method_key, variables["params"])
    opt_state = tx.init(trainable)
    state = TrainState(
        step=jnp.full((), step, jnp.int32),
        key=train_key,
        trainable=trainable,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=_advanced(opt_state, step) if step else opt_state,
        sums=zero_sums(),
    )
    return state, frozen


def _advanced(opt_state: optax.OptState, step: int) -> optax.OptState:
    """Sets the counts that schedules read. Adam's own corrects moments, which start anew."""
    adam = lambda node: isinstance(node, optax.ScaleByAdamState)  # noqa: E731

    def advance(path: tuple[Any, ...], node: Any) -> Any:
        is_count = not adam(node) and path_name(path[-1:]) == "count"
        return jnp.full_like(node, step) if is_count else node

    return jax.tree.map_with_path(advance, opt_state, is_leaf=adam)


def blemish(state: TrainState) -> Array:
    """Returns 0 if every score, parameter, statistic and optimiser entry is finite, NaN otherwise.

    float32 []. A mask may hide what is not a number, so that the loss alone would not tell. It
    stays in the state, where one look after many steps finds it: one pass of sums, which the
    compiler vectorises as it does no search.
    """
    kept = (state.trainable, state.batch_stats, without_history(state.opt_state))
    floating = (x for x in jax.tree.leaves(kept) if jnp.issubdtype(x.dtype, jnp.floating))
    return sum((jnp.sum(x * 0, dtype=jnp.float32) for x in floating), jnp.float32(0))


def zero_sums() -> dict[str, Array]:
    """Returns empty metric sums."""
    return {name: jnp.zeros((), jnp.float32) for name in ("loss", "correct", "count")}
