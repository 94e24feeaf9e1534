"""New weights for a model that has been initialised: `python redraw.py`."""

import jax
import optax
from every_method import network
from training import Found, train

import supermask_jax as sm
from supermask_jax.core import initializers
from supermask_jax.core.trees import merge, partition, split_key_like


# --8<-- [start:redraw]
def redraw(key: jax.Array, params: dict, rule=sm.mask_kernels) -> dict:
    """Returns `params` with signed constants in every leaf that `rule` masks."""
    draw, parts = initializers.signed_constant("he"), partition(params, rule)
    keys = split_key_like(key, parts["mask"])
    fresh = jax.tree.map(lambda k, w: draw(k, w.shape, w.dtype), keys, parts["mask"])
    return merge(fresh, parts["train"], parts["freeze"])


# --8<-- [end:redraw]
def main(steps: int = 200) -> Found:
    model, params = network()
    return train(
        apply_fn=lambda params, images: model.apply({"params": params}, images),
        params=redraw(jax.random.key(5), params),
        method=sm.signed_topk(density=0.3, anneal=0.0),
        tx=optax.adam(1e-2),
        steps=steps,
    )


if __name__ == "__main__":
    main()
