"""A small vision transformer in Flax under edge-popup; norms and embeddings stay free.

Written as ViTs usually are in Linen: patches by a convolution, pre-norm encoder blocks, a class
token. `python vit.py`
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from training import Found, train

import supermask_jax as sm


# --8<-- [start:model]
class MlpBlock(nn.Module):
    mlp_dim: int

    @nn.compact
    def __call__(self, x):
        width = x.shape[-1]
        return nn.Dense(width)(nn.gelu(nn.Dense(self.mlp_dim)(x)))


class EncoderBlock(nn.Module):
    num_heads: int
    mlp_dim: int

    @nn.compact
    def __call__(self, x):
        y = nn.LayerNorm()(x)
        x = x + nn.MultiHeadDotProductAttention(num_heads=self.num_heads)(y, y)
        return x + MlpBlock(self.mlp_dim)(nn.LayerNorm()(x))


class ViT(nn.Module):
    width: int = 64
    depth: int = 2
    num_heads: int = 4
    patch: int = 2
    num_classes: int = 10

    @nn.compact
    def __call__(self, images):
        patches = (self.patch, self.patch)
        x = nn.Conv(self.width, patches, strides=patches, name="embedding")(images)
        x = x.reshape(x.shape[0], -1, self.width)
        cls = self.param("cls", nn.initializers.zeros, (1, 1, self.width))
        x = jnp.concatenate([jnp.tile(cls, (x.shape[0], 1, 1)), x], axis=1)
        x = x + self.param("pos_embedding", nn.initializers.normal(0.02), (1, *x.shape[1:]))
        for _ in range(self.depth):
            x = EncoderBlock(self.num_heads, 2 * self.width)(x)
        return nn.Dense(self.num_classes, name="head")(nn.LayerNorm()(x)[:, 0])


# --8<-- [end:model]
def main(steps: int = 200) -> Found:
    # --8<-- [start:mask]
    def rule(name: str, leaf: jax.Array) -> str:
        """Masks the kernels of the encoder blocks, attention's included; trains all the rest."""
        return sm.mask_kernels(name, leaf) if name.startswith("EncoderBlock") else "train"

    model = ViT()
    params = jax.jit(model.init)(jax.random.key(0), jnp.ones((1, 8, 8, 1)))["params"]
    return train(
        apply_fn=lambda params, images: model.apply({"params": params}, images),
        params=params,
        method=sm.edge_popup(density=0.3, label_fn=rule),
        tx=optax.adam(3e-3),
        steps=steps,
    )
    # --8<-- [end:mask]


if __name__ == "__main__":
    main()
