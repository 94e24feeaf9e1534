"""Trains any function of a parameter tree under a method: what the examples here share.

`train` knows neither the model nor the library it was written in. It sees a tree of parameters and
a function that maps such a tree and images to logits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import supermask_jax as sm
from supermask_jax.core.trees import named_leaves
from supermask_jax.data import load
from supermask_jax.data.transforms import standardize

PyTree = Any


class Found(NamedTuple):
    """What `train` returns: the loss of every step, and the two trees at the end."""

    losses: list[float]
    trainable: PyTree
    frozen: PyTree

    @property
    def first_loss(self) -> float:
        """Mean of the first tenth of the steps."""
        return float(np.mean(self.losses[: max(len(self.losses) // 10, 1)]))

    @property
    def last_loss(self) -> float:
        """Mean of the last tenth of the steps."""
        return float(np.mean(self.losses[-max(len(self.losses) // 10, 1) :]))


def digits() -> tuple[jax.Array, jax.Array]:
    """Returns the embedded digits: images float32 [1437, 8, 8, 1], standardised, and labels."""
    split = load("digits").train
    return jax.jit(standardize)(split.images), jnp.asarray(split.labels)


# --8<-- [start:train]
def train(
    apply_fn: Callable[[PyTree, jax.Array], jax.Array],  # (params, images) -> logits
    params: PyTree,
    method: sm.Method,
    tx: optax.GradientTransformation,
    steps: int = 200,
) -> Found:
    images, labels = digits()
    trainable, frozen = jax.jit(method.init)(jax.random.key(1), params)
    opt_state = tx.init(trainable)  # of scores and free parameters, never of frozen weights

    @jax.jit
    def step(trainable, frozen, opt_state, key, progress):
        batch = jax.random.randint(key, (64,), 0, len(images))

        def loss_fn(trainable):
            effective = method.apply(trainable, frozen, key, progress)
            logits = apply_fn(effective, images[batch])
            loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels[batch]).mean()
            penalty = method.penalty(trainable, frozen, key, progress) if method.penalty else 0.0
            return loss + penalty, loss

        grads, loss = jax.grad(loss_fn, has_aux=True)(trainable)
        updates, opt_state = tx.update(grads, opt_state, trainable)
        trainable = optax.apply_updates(trainable, updates)
        if method.project is not None:  # how a method holds a density that was asked for
            trainable = method.project(trainable, frozen, progress)
        return trainable, opt_state, loss

    losses = []
    for i, key in enumerate(jax.random.split(jax.random.key(2), steps)):
        trainable, opt_state, loss = step(trainable, frozen, opt_state, key, i / steps)
        losses.append(float(loss))
    # --8<-- [end:train]
    return report(apply_fn, method, Found(losses, trainable, frozen))


def report(apply_fn: Callable[..., jax.Array], method: sm.Method, found: Found) -> Found:
    """Prints the loss going down, and what remains of every masked layer."""
    images, labels = digits()

    @jax.jit
    def measure(trainable, frozen):
        masks = method.masks(trainable, frozen)
        logits = apply_fn(method.apply(trainable, frozen), images)
        accuracy = jnp.mean(jnp.argmax(logits, -1) == labels)
        return accuracy, sm.density(masks), jax.tree.map(sm.density, masks)

    accuracy, density, layers = measure(found.trainable, found.frozen)
    print(f"loss {found.first_loss:.3f} -> {found.last_loss:.3f}, accuracy on train {accuracy:.1%}")
    print(f"remaining weights {density:.2%}")
    for name, layer_density in named_leaves(layers).items():
        print(f"  {name}: {layer_density:.2%}")
    return found
