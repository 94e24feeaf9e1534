"""The fully connected network of the papers (LeNet-300-100)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import flax.linen as nn
import jax

from supermask_jax.models.layers import Norm


class FCN(nn.Module):
    """784-300-100-10 without biases: 266,200 weights on 28 x 28 images.

    Attributes:
      num_classes: width of the last layer.
      features: widths of the hidden layers at `width` 1.
      width: multiplies the hidden widths.
      kernel_init: initialiser of every kernel.
      activation: after every layer but the last.
      norm: before every activation: a name in `layers.NORMS`.
    """

    num_classes: int
    features: Sequence[int] = (300, 100)
    width: float = 1.0
    kernel_init: Callable[..., jax.Array] = nn.initializers.he_normal()
    activation: Callable[[jax.Array], jax.Array] = nn.elu
    norm: str = "none"

    @nn.compact
    def __call__(
        self, image: jax.Array, *, train: bool = False, mask: jax.Array | None = None
    ) -> jax.Array:
        """Maps images float [B, H, W, C] to logits [B, num_classes].

        Rows where `mask` [B] is False do not count in batch statistics.
        """
        x = image.reshape(image.shape[0], -1)
        widths = [int(features * self.width) for features in self.features]
        dense = partial(nn.Dense, use_bias=False, kernel_init=self.kernel_init)
        for i, features in enumerate(widths, start=1):
            x = dense(features, name=f"dense{i}")(x)
            x = self.activation(Norm(self.norm, name=f"dense{i}_norm")(x, train=train, mask=mask))
        return dense(self.num_classes, name=f"dense{len(widths) + 1}")(x)
