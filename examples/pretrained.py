"""Masks over a trained network, and weights that train under a mask: ``python pretrained.py``."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from training import Found, train

import supermask_jax as sm
from supermask_jax.core.initializers import normal
from supermask_jax.core.trees import named_leaves

MODEL = nn.Sequential([nn.Dense(300), nn.relu, nn.Dense(100), nn.relu, nn.Dense(10)])


def digits(params: Any, images: jax.Array) -> jax.Array:
    return MODEL.apply({"params": params}, images.reshape(-1, 64))


def turned(params: Any, images: jax.Array) -> jax.Array:
    """The second task: the same digits, a quarter turned."""
    return digits(params, jnp.rot90(images, axes=(1, 2)))


def pretrained(steps: int) -> dict[str, Any]:
    """Returns a trained tree, as it comes from any library or checkpoint."""
    params = MODEL.init(jax.random.key(0), jnp.ones((1, 64)))["params"]
    print("dense network on digits")
    return train(digits, params, sm.dense(), optax.adam(1e-3), steps).trainable["params"]


# --8<-- [start:piggyback]
def hidden(name: str, leaf: jax.Array) -> str:
    """Masks the kernels of hidden layers, freezes their biases, trains the head."""
    if name.startswith("layers_4/"):
        return "train"
    return "mask" if name.endswith("kernel") else "freeze"


def piggyback(params: Any, steps: int) -> Found:
    """Learns a second task by a mask over the weights of the first, and a head of its own."""
    method = sm.piggyback(label_fn=hidden)  # The mask starts full.
    return train(turned, params, method, optax.adam(1e-3), steps)


# --8<-- [end:piggyback]


# --8<-- [start:dropped]
def fine_tuned(params: Any, steps: int) -> Found:
    """Adapts a trained network by dropping a tenth of its weights; nothing else changes."""
    method = sm.edge_popup(
        density=0.9,
        score_init=normal("unit", 0.02),
        label_fn=lambda name, leaf: "mask" if name.endswith("kernel") else "freeze",
    )
    return train(turned, params, method, optax.adam(1e-3), steps)


# --8<-- [end:dropped]


# --8<-- [start:weights]
def weights_under(found: Found, method: sm.Method, steps: int) -> Found:
    """Trains the weights that a supermask has kept, from where it left them."""
    start = method.apply(found.trainable, found.frozen)  # inverted ones with their new sign
    masks = named_leaves(method.masks(found.trainable, found.frozen))
    ticket = sm.lottery_ticket({name: mask != 0 for name, mask in masks.items()})
    return train(digits, start, ticket, optax.adam(1e-3), steps)


# --8<-- [end:weights]


def main(steps: int = 200) -> dict[str, Any]:
    """Returns the trained tree, and what each of the others found."""
    params = pretrained(steps)
    print("\na mask over it, and a head, for digits that are turned")
    shown = {"pretrained": params, "piggyback": piggyback(params, steps)}
    print("\na tenth of its weights dropped, for the same")
    shown["fine_tuned"] = fine_tuned(params, steps)
    print("\na signed supermask of 10 % of random weights, and then the weights under it")
    method = sm.signed_topk(density=0.1)
    random = MODEL.init(jax.random.key(1), jnp.ones((1, 64)))["params"]
    shown["supermask"] = train(digits, random, method, optax.adam(1e-2), steps)
    shown["weights"] = weights_under(shown["supermask"], method, steps)
    return shown


if __name__ == "__main__":
    main()
