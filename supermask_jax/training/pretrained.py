"""A trained network where a run would draw its weights: what a method masks, or trains on from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from supermask_jax.core.trees import named_leaves
from supermask_jax.errors import UserError, expanded
from supermask_jax.tickets import load_ticket, to_variables
from supermask_jax.training.environment import seed_key

PyTree = Any


def from_ticket(init_fn: Callable[[jax.Array], PyTree], path: str) -> Callable[[jax.Array], PyTree]:
    """Returns an `init_fn` that gives the network of a ticket, whatever its key.

    Args:
      init_fn: key -> variables {"params": ..., "batch_stats": ...} of the model.
      path: of a ticket's file, with all parameters and statistics of the model.

    Raises:
      UserError: the file cannot be read, or it is of a network of other layers.
    """
    found = to_variables(load_ticket(expanded(path)))
    shapes = _leaves(jax.eval_shape(init_fn, seed_key(0)))
    wanted = {name: leaf.shape for name, leaf in shapes.items()}
    held = {name: np.shape(leaf) for name, leaf in _leaves(found).items()}
    for name in held | wanted:
        if wanted.get(name) != held.get(name):
            raise UserError(
                f"config.pretrained: {path} is of another network: {name} is "
                f"{held.get(name, 'missing')}, and the model's is {wanted.get(name, 'missing')}"
            )

    def init(key: jax.Array) -> PyTree:
        del key
        return jax.tree.map(jnp.asarray, found)

    return init


def _leaves(variables: PyTree) -> dict[str, Any]:
    return {
        f"{part}/{name}": leaf
        for part, tree in variables.items()
        for name, leaf in named_leaves(tree).items()
    }
