"""A Flax NNX model under signed top-k: `python nnx_adapter.py`."""

import jax
import optax
from flax import nnx
from training import Found, train

import supermask_jax as sm


# --8<-- [start:model]
class CNN(nnx.Module):
    def __init__(self, *, rngs: nnx.Rngs):
        self.conv1 = nnx.Conv(1, 32, kernel_size=(3, 3), rngs=rngs)
        self.norm1 = nnx.LayerNorm(32, rngs=rngs)
        self.conv2 = nnx.Conv(32, 64, kernel_size=(3, 3), rngs=rngs)
        self.dropout = nnx.Dropout(rate=0.1, deterministic=True, rngs=rngs)
        self.linear = nnx.Linear(4 * 4 * 64, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.norm1(self.conv1(x)))
        x = nnx.max_pool(x, (2, 2), strides=(2, 2))
        x = nnx.relu(self.conv2(x))
        return self.linear(self.dropout(x.reshape(len(x), -1)))


# --8<-- [end:model]
def main(steps: int = 200) -> Found:
    # --8<-- [start:mask]
    model = CNN(rngs=nnx.Rngs(0))
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    found = train(
        # A copy, since batch norm and dropout write to what is in `rest`.
        apply_fn=lambda params, images: nnx.merge(graphdef, params, rest, copy=True)(images),
        params=params,
        method=(method := sm.signed_topk(density=0.3)),
        tx=optax.adam(3e-3),
        steps=steps,
    )
    nnx.update(model, method.apply(found.trainable, found.frozen))  # the model itself, masked
    return found
    # --8<-- [end:mask]


if __name__ == "__main__":
    main()
