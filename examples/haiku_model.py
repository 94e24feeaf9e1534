"""A Haiku model under biprop: `python haiku_model.py`."""

import haiku as hk
import jax
import jax.numpy as jnp
import optax
from training import Found, train

import supermask_jax as sm


# --8<-- [start:model]
def forward(images: jax.Array) -> jax.Array:
    return hk.Sequential(
        [
            hk.Conv2D(32, kernel_shape=3),
            jax.nn.relu,
            hk.MaxPool(window_shape=(2, 2, 1), strides=(2, 2, 1), padding="VALID"),
            hk.Flatten(),
            hk.nets.MLP([256, 10]),
        ]
    )(images)


# --8<-- [end:model]
def main(steps: int = 200) -> Found:
    # --8<-- [start:mask]
    network = hk.without_apply_rng(hk.transform(forward))
    return train(
        apply_fn=network.apply,  # takes (params, images) already
        params=network.init(jax.random.key(0), jnp.ones((1, 8, 8, 1))),
        method=sm.biprop(density=0.3, label_fn=sm.mask_named("w")),
        tx=optax.adam(3e-3),
        steps=steps,
    )
    # --8<-- [end:mask]


if __name__ == "__main__":
    main()
