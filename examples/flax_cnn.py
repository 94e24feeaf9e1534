"""The CNN of Flax's MNIST example, unchanged, under a signed supermask: `python flax_cnn.py`."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from training import Found, train

import supermask_jax as sm


# --8<-- [start:model]
class CNN(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(features=32, kernel_size=(3, 3))(x)
        x = nn.relu(x)
        x = nn.avg_pool(x, window_shape=(2, 2), strides=(2, 2))
        x = nn.Conv(features=64, kernel_size=(3, 3))(x)
        x = nn.relu(x)
        x = nn.avg_pool(x, window_shape=(2, 2), strides=(2, 2))
        x = x.reshape((x.shape[0], -1))
        x = nn.Dense(features=256)(x)
        x = nn.relu(x)
        return nn.Dense(features=10)(x)


# --8<-- [end:model]
def main(steps: int = 200) -> Found:
    # --8<-- [start:mask]
    model = CNN()
    params = jax.jit(model.init)(jax.random.key(0), jnp.ones((1, 8, 8, 1)))["params"]
    return train(
        apply_fn=lambda params, images: model.apply({"params": params}, images),
        params=params,
        method=sm.signed(density=0.2),  # masks every leaf called `kernel`; biases train
        tx=optax.adam(3e-3),
        steps=steps,
    )
    # --8<-- [end:mask]


if __name__ == "__main__":
    main()
