"""An Equinox model under a learned (Bernoulli) supermask: `python equinox_model.py`."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from training import Found, train

import supermask_jax as sm


# --8<-- [start:model]
class CNN(eqx.Module):
    conv: eqx.nn.Conv2d
    mlp: eqx.nn.MLP

    def __init__(self, key: jax.Array):
        conv_key, mlp_key = jax.random.split(key)
        self.conv = eqx.nn.Conv2d(1, 16, kernel_size=3, key=conv_key)
        self.mlp = eqx.nn.MLP(16 * 3 * 3, 10, width_size=128, depth=1, key=mlp_key)

    def __call__(self, image: jax.Array) -> jax.Array:
        x = jax.nn.relu(self.conv(jnp.moveaxis(image, -1, 0)))
        x = x.reshape(16, 3, 2, 3, 2).max((2, 4))
        return self.mlp(x.reshape(-1))


# --8<-- [end:model]
def main(steps: int = 200) -> Found:
    # --8<-- [start:mask]
    model = CNN(jax.random.key(0))
    params, static = eqx.partition(model, eqx.is_inexact_array)
    return train(
        apply_fn=lambda params, images: jax.vmap(eqx.combine(params, static))(images),
        params=params,
        method=sm.bernoulli(rescale=True, label_fn=sm.mask_named("weight")),
        tx=optax.adam(0.1),
        steps=steps,
    )
    # --8<-- [end:mask]


if __name__ == "__main__":
    main()
