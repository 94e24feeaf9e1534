"""Conv2, Conv4, Conv6, Conv8: the VGG-like networks of the supermask papers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import flax.linen as nn
import jax

from supermask_jax.models.layers import Network, max_pool_2x2


class ConvNet(Network, kw_only=True):
    """Stages of 3 x 3 convolutions with a 2 x 2 max-pool after each, then dense layers.

    Features are flattened in height, width, channel order. Pooling comes before norm and
    activation: without norm that is the same for a rising activation, and a quarter of its work.

    Attributes:
      stages: channels of the convolutions of each stage at `width` 1.
      depths: number of convolutions in each stage; None for two in every one.
      features: widths of the hidden dense layers at `width` 1.

    >>> model = ConvNet(num_classes=10, stages=(4,), features=(8,))
    >>> variables = model.init(jax.random.key(0), jnp.ones((1, 8, 8, 3)))
    >>> model.apply(variables, jnp.ones((2, 8, 8, 3))).shape
    (2, 10)
    """

    stages: Sequence[int]
    depths: Sequence[int] | None = None
    features: Sequence[int] = (256, 256)

    @nn.compact
    def __call__(
        self, image: jax.Array, *, train: bool = False, mask: jax.Array | None = None
    ) -> jax.Array:
        """Maps images float [B, H, W, C] to logits [B, num_classes].

        Rows where `mask` [B] is False do not count in batch statistics.
        """

        def activate(x: jax.Array, name: str, stem: bool = False) -> jax.Array:
            norm = self.norms(stem=stem)(name=f"{name}_norm")
            return self.activation(norm(x, train=train, mask=mask))

        depths = self.depths or [2] * len(self.stages)
        digits = len(str(sum(depths)))  # Names sort in the order of the layers: conv01, ... conv16.
        x, layers = image, 0
        for channels, depth in zip(self.stages, depths, strict=True):
            for last in [False] * (depth - 1) + [True]:
                layers += 1
                name = f"conv{layers:0{digits}}"
                x = self.conv3x3(self.scaled(channels), name, bias=self.bias)(x)
                x = activate(max_pool_2x2(x) if last else x, name, stem=layers == 1)
        x = x.reshape(x.shape[0], -1)
        for i, features in enumerate(self.features, start=1):
            x = activate(self.dense(self.scaled(features), f"dense{i}")(x), f"dense{i}")
            x = self.dropped(x, train=train)
        return self.dense(self.num_classes, f"dense{len(self.features) + 1}")(x)


Conv2 = partial(ConvNet, stages=(64,))
Conv4 = partial(ConvNet, stages=(64, 128))
Conv6 = partial(ConvNet, stages=(64, 128, 256))
Conv8 = partial(ConvNet, stages=(64, 128, 256, 512))
