"""Tickets for the tests: random ones, and whether two are the same."""

from __future__ import annotations

import numpy as np

from supermask_jax import tickets

FCN = {"dense1": (784, 300), "dense2": (300, 100), "dense3": (100, 10)}
SMALL = {"dense1": (64, 30), "dense2": (30, 10), "dense3": (10, 10)}
SMALL_CONV = {
    "conv1": (3, 3, 1, 6),
    "conv2": (3, 3, 6, 6),
    "dense1": (96, 20),
    "dense2": (20, 20),
    "dense3": (20, 10),
}
CONFIG = {"batch_size": 32, "method": {"name": "signed", "threshold": {"rule": "absolute"}}}


def random_ticket(
    shapes=SMALL, density=0.2, *, levels=1, seed=0, batch_stats=None, free=None, **fields
):
    """A ticket of random signed weights: `levels` magnitudes a layer, 0 for a normal draw."""
    rng = np.random.default_rng(seed)
    params, masks = {}, {}
    for name, shape in shapes.items():
        mask = (rng.random(shape) < density) * rng.choice([-1, 1], shape)
        if levels:
            weights = np.sqrt(3 / np.prod(shape[:-1])) * rng.integers(1, levels + 1, shape)
        else:
            weights = rng.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))
        params[name] = {"kernel": (weights * mask).astype(np.float32)}
        masks[name] = {"kernel": mask.astype(np.int8)}
    for name, leaves in (free or {}).items():
        params.setdefault(name, {}).update(leaves)
    side, channels = {64: (8, 1), 784: (28, 1)}.get(shapes.get("dense1", [0])[0], (8, 1))
    if "conv1" in shapes:
        channels = shapes["conv1"][2]
    defaults = {
        "model": {"name": "conv2" if "conv1" in shapes else "fcn", "activation": "elu"},
        "num_classes": 10,
        "image_shape": (side, side, channels),
        "method": "signed",
        "config": CONFIG,
        "accuracy": {"data": "digits", "split": "test", "images": 360, "value": 0.5},
    }
    return tickets.from_run(params, masks, batch_stats, **defaults | fields)


def norm_stats(shapes, seed=3):
    """Statistics of a batch norm after each layer but the last."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, shape in list(shapes.items())[:-1]:
        mean, var = rng.normal(size=shape[-1]), rng.uniform(0.5, 2, shape[-1])
        found[f"{name}_norm"] = {"bn": {"mean": mean.astype("f4"), "var": var.astype("f4")}}
    return found


def same(a, b):
    """Whether two tickets are the same in every bit and field."""
    fields = ("model", "num_classes", "image_shape", "method", "config", "accuracy", "versions")
    return tickets.digest(a) == tickets.digest(b) and all(
        getattr(a, name) == getattr(b, name) for name in (*fields, "weights_sha256")
    )
