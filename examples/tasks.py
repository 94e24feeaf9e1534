"""Several tasks in one frozen network, and which of them an image belongs to: `python tasks.py`."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from training import digits, train

import supermask_jax as sm
from supermask_jax.core.initializers import signed_constant, uniform

WIDTH = 300


class Learned(NamedTuple):
    """Masks of the tasks over one tree of weights, and the order of pixels of each."""

    model: nn.Module
    weights: dict[str, Any]
    masks: list[dict[str, Any]]
    orders: list[np.ndarray]


# --8<-- [start:tasks]
def learn(tasks: int, steps: int = 200) -> Learned:
    """Trains a mask for each of some orders of the pixels; nothing else is trained."""

    def dense(features: int) -> nn.Dense:
        return nn.Dense(features, use_bias=False, kernel_init=signed_constant("he"))

    # More outputs than classes: the entropy tells tasks apart better.
    model = nn.Sequential([dense(WIDTH), nn.relu, dense(WIDTH), nn.relu, dense(100)])
    weights = model.init(jax.random.key(0), jnp.ones((1, 64)))["params"]
    orders = [np.random.default_rng(task).permutation(64) for task in range(tasks)]
    method = sm.piggyback(cut=0.0, score_init=uniform("he", 6**-0.5))
    masks = []
    for order in orders:
        found = train(
            apply_fn=lambda params, images, order=order: model.apply(
                {"params": params}, images.reshape(-1, 64)[:, order]
            ),
            params=weights,
            method=method,
            tx=optax.rmsprop(1e-3),
            steps=steps,
        )
        masks.append(method.masks(found.trainable, found.frozen))
    return Learned(model, weights, masks, orders)


def inferred(learned: Learned, images: jax.Array, rule: str = "one_shot") -> list[int]:
    """Returns the task that each image [N, 64] is taken for, by itself."""

    @jax.jit
    def infer(image: jax.Array) -> jax.Array:
        logits_fn = lambda weights: learned.model.apply({"params": weights}, image[None])  # noqa: E731
        return sm.infer_task(logits_fn, learned.weights, learned.masks, rule)

    return [int(infer(image)) for image in images]


# --8<-- [end:tasks]
def main(tasks: int = 3, steps: int = 200, shown: int = 50) -> float:
    """Returns the share of images whose task is found."""
    learned, images = learn(tasks, steps), digits()[0][:shown].reshape(-1, 64)
    right = 0
    for task, order in enumerate(learned.orders):
        found = inferred(learned, images[:, order])
        right += found.count(task)
        print(f"task {task}: {found.count(task)} of {len(found)} images are found to be its own")
    return right / (tasks * len(images))


if __name__ == "__main__":
    main()
