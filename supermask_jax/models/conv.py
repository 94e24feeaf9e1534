"""Conv2, Conv4, Conv6, Conv8: the VGG-like networks of the supermask papers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import flax.linen as nn
import jax

from supermask_jax.models.layers import Norm, max_pool_2x2


class ConvNet(nn.Module):
    """Pairs of 3 x 3 convolutions with a 2 x 2 max-pool after each pair, then dense layers.

    No biases. Features are flattened in height, width, channel order. Pooling comes before the
    activation, which is the same for a rising one, and a quarter of its work.

    Attributes:
      num_classes: width of the last layer.
      stages: channels of each pair of convolutions at `width` 1.
      features: widths of the hidden dense layers at `width` 1.
      width: multiplies the channels and the hidden dense widths.
      kernel_init: initialiser of every kernel.
      activation: after every layer but the last.
      norm: before every activation: a name in `layers.NORMS`.
    """

    num_classes: int
    stages: Sequence[int]
    features: Sequence[int] = (256, 256)
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
        conv = partial(nn.Conv, kernel_size=(3, 3), use_bias=False, kernel_init=self.kernel_init)
        dense = partial(nn.Dense, use_bias=False, kernel_init=self.kernel_init)

        def activate(x: jax.Array, name: str) -> jax.Array:
            return self.activation(Norm(self.norm, name=f"{name}_norm")(x, train=train, mask=mask))

        x = image
        for i, channels in enumerate(self.stages):
            for j in (1, 2):
                name = f"conv{2 * i + j}"
                x = conv(int(channels * self.width), name=name)(x)
                x = activate(max_pool_2x2(x) if j == 2 else x, name)
        x = x.reshape(x.shape[0], -1)
        for i, features in enumerate(self.features, start=1):
            x = activate(dense(int(features * self.width), name=f"dense{i}")(x), f"dense{i}")
        return dense(self.num_classes, name=f"dense{len(self.features) + 1}")(x)


Conv2 = partial(ConvNet, stages=(64,))
Conv4 = partial(ConvNet, stages=(64, 128))
Conv6 = partial(ConvNet, stages=(64, 128, 256))
Conv8 = partial(ConvNet, stages=(64, 128, 256, 512))
