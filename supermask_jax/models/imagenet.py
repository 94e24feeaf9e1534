"""Residual networks for ImageNet, as edge-popup and biprop use them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import flax.linen as nn
import jax

from supermask_jax.models.layers import max_pool_3x3
from supermask_jax.models.resnet import BasicBlock, Block, ResidualNetwork

Array = jax.Array

EXPANSION = 4  # channels that a bottleneck returns, for each of its features


class Bottleneck(Block, kw_only=True):
    """1 x 1, 3 x 3 with the stride, 1 x 1 to four times the features, plus the input.

    Where shapes differ, the input is projected by a 1 x 1 convolution. The stride is that of the
    3 x 3 convolution, as in torchvision and in edge-popup's released code; the first paper had it
    in the 1 x 1 before.

    Attributes:
      inner: channels of the first two convolutions.

    Reference: He et al., 2016, sec. 4.1, https://arxiv.org/abs/1512.03385; Zagoruyko and Komodakis,
    2016, for wider inner layers, https://arxiv.org/abs/1605.07146.
    """

    inner: int

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False, mask: Array | None = None) -> Array:
        """Maps [B, H, W, C] to [B, ceil(H / stride), ceil(W / stride), 4 * features]."""
        layer = partial(self.conv_norm, train=train, mask=mask)
        outer = EXPANSION * self.features
        main = self.activation(layer(x, "conv1", 1, 1, features=self.inner))
        main = self.activation(layer(main, "conv2", 3, self.stride, features=self.inner))
        main = layer(main, "conv3", 1, 1, features=outer)
        if x.shape != main.shape:
            x = layer(x, "shortcut", 1, self.stride, features=outer)
        return self.activation(main + x)


class ImageNetResNet(ResidualNetwork, kw_only=True):
    """A 7 x 7 stem of stride 2, a 3 x 3 max-pool of stride 2, and four groups of blocks.

    Every group but the first halves height and width in its first block.

    Attributes:
      blocks: number of blocks in each group.
      bottleneck: with blocks of three convolutions, and not of two.
      widening: of the inner layers of bottlenecks: 2 in the wide networks.
    """

    channels: Sequence[int] = (64, 128, 256, 512)
    blocks: Sequence[int]
    bottleneck: bool = True
    widening: int = 1

    @nn.compact
    def __call__(self, image: Array, *, train: bool = False, mask: Array | None = None) -> Array:
        """Maps images float [B, H, W, C] to logits [B, num_classes].

        Rows where `mask` [B] is False do not count in batch statistics.
        """
        x = max_pool_3x3(self.stem(image, train, mask), stride=2)
        for group, blocks in enumerate(self.blocks):
            kind = self._kind(group)
            for index in range(blocks):
                stride = 2 if group and not index else 1
                x = self.block(kind, group, index, stride)(x, train=train, mask=mask)
        return self.head(x, train=train)

    def stem_convolution(self, features: int) -> nn.Conv:
        """Makes the first convolution: 7 x 7, stride 2, padded by 3."""
        return nn.Conv(
            features,
            (7, 7),
            strides=2,
            padding=3,
            use_bias=False,
            kernel_init=self.kernel_init,
            conv_general_dilated=self.conv_general_dilated,
            name="conv1",
        )

    def _kind(self, group: int) -> Callable[..., Block]:
        if not self.bottleneck:
            return partial(BasicBlock, project=True)
        return partial(Bottleneck, inner=self.scaled(self.widening * self.channels[group]))


ResNet18ImageNet = partial(ImageNetResNet, blocks=(2, 2, 2, 2), bottleneck=False)
ResNet50 = partial(ImageNetResNet, blocks=(3, 4, 6, 3))
ResNet101 = partial(ImageNetResNet, blocks=(3, 4, 23, 3))
WideResNet50 = partial(ImageNetResNet, blocks=(3, 4, 6, 3), widening=2)
