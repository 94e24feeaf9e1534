"""The fully connected network of the papers (LeNet-300-100)."""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax

from supermask_jax.models.layers import Network


class FCN(Network):
    """784-300-100-10: 266,200 weights on 28 x 28 images.

    Attributes:
      features: widths of the hidden layers at `width` 1.

    >>> model = FCN(num_classes=10, features=(30, 10))
    >>> variables = model.init(jax.random.key(0), jnp.ones((1, 28, 28, 1)))
    >>> model.apply(variables, jnp.ones((2, 28, 28, 1))).shape
    (2, 10)
    """

    features: Sequence[int] = (300, 100)

    @nn.compact
    def __call__(
        self, image: jax.Array, *, train: bool = False, mask: jax.Array | None = None
    ) -> jax.Array:
        """Maps images float [B, H, W, C] to logits [B, num_classes].

        Rows where `mask` [B] is False do not count in batch statistics.
        """
        x = image.reshape(image.shape[0], -1)
        for i, features in enumerate(self.features, start=1):
            x = self.dense(self.scaled(features), f"dense{i}")(x)
            norm = self.norms(stem=i == 1)(name=f"dense{i}_norm")
            x = self.dropped(self.activation(norm(x, train=train, mask=mask)), train=train)
        return self.dense(self.num_classes, f"dense{len(self.features) + 1}")(x)
