"""Conv2, Conv4, Conv6, Conv8: the VGG-like networks of the supermask papers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import flax.linen as nn
import jax


def max_pool_2x2(x: jax.Array) -> jax.Array:
    """Max-pools [B, H, W, C] by 2 with stride 2; an odd last row or column is dropped.

    A maximum over a reshaped axis: its gradient is elementwise, where that of `nn.max_pool` is a
    select-and-scatter, slower on CPU and not deterministic on GPU. Where values tie, the gradient
    is shared equally.
    """
    height, width = x.shape[1] // 2, x.shape[2] // 2
    x = x[:, : 2 * height, : 2 * width]
    return x.reshape(x.shape[0], height, 2, width, 2, x.shape[-1]).max((2, 4))


class ConvNet(nn.Module):
    """Pairs of 3 x 3 convolutions with a 2 x 2 max-pool after each pair, then dense layers.

    No biases. Features are flattened in height, width, channel order.

    Attributes:
      num_classes: width of the last layer.
      stages: channels of each pair of convolutions at `width` 1.
      features: widths of the hidden dense layers at `width` 1.
      width: multiplies the channels and the hidden dense widths.
      kernel_init: initialiser of every kernel.
      activation: after every layer but the last.
    """

    num_classes: int
    stages: Sequence[int]
    features: Sequence[int] = (256, 256)
    width: float = 1.0
    kernel_init: Callable[..., jax.Array] = nn.initializers.he_normal()
    activation: Callable[[jax.Array], jax.Array] = nn.elu

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool = False) -> jax.Array:
        """Maps images float [B, H, W, C] to logits [B, num_classes]."""
        del train  # No layer behaves differently in training.
        conv = partial(nn.Conv, kernel_size=(3, 3), use_bias=False, kernel_init=self.kernel_init)
        dense = partial(nn.Dense, use_bias=False, kernel_init=self.kernel_init)
        x = image
        for i, channels in enumerate(self.stages):
            for j in (1, 2):
                x = conv(int(channels * self.width), name=f"conv{2 * i + j}")(x)
                x = self.activation(x)
            x = max_pool_2x2(x)
        x = x.reshape(x.shape[0], -1)
        for i, features in enumerate(self.features, start=1):
            x = self.activation(dense(int(features * self.width), name=f"dense{i}")(x))
        return dense(self.num_classes, name=f"dense{len(self.features) + 1}")(x)


Conv2 = partial(ConvNet, stages=(64,))
Conv4 = partial(ConvNet, stages=(64, 128))
Conv6 = partial(ConvNet, stages=(64, 128, 256))
Conv8 = partial(ConvNet, stages=(64, 128, 256, 512))
