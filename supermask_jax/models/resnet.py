"""Residual networks for CIFAR: the standard ones, and those of the signed-supermask paper.

Only the last layer may have a bias. Layers are named so that their sorted names are their order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from supermask_jax.errors import unknown_name
from supermask_jax.models.convolution import ConvGeneralDilated
from supermask_jax.models.layers import Network, Norm, max_pool_3x3

Array = jax.Array


class Block(nn.Module):
    """What the blocks share.

    Attributes:
      features: channels of every convolution.
      stride: of the block.
      kernel_init: initialiser of every kernel.
      norms: makes the norm after a convolution.
      activation: as the network's.
      conv_general_dilated: as the network's.
    """

    features: int
    stride: int
    kernel_init: Callable[..., Array]
    norms: Callable[..., Norm]
    activation: Callable[[Array], Array]
    conv_general_dilated: ConvGeneralDilated = lax.conv_general_dilated

    def conv_norm(
        self,
        x: Array,
        name: str,
        size: int,
        stride: int,
        train: bool,
        mask: Array | None,
        features: int = 0,
    ) -> Array:
        """Convolves with a kernel of odd `size`, padded on both sides alike, and normalises.

        To `features` channels, where they are not those of the block.
        """
        conv = nn.Conv(
            features or self.features,
            (size, size),
            strides=stride,
            padding=size // 2,
            use_bias=False,
            kernel_init=self.kernel_init,
            conv_general_dilated=self.conv_general_dilated,
            name=name,
        )
        return self.norms(name=f"{name}_norm")(conv(x), train=train, mask=mask)


class BasicBlock(Block, kw_only=True):
    """3 x 3 with the stride, 3 x 3, plus the input.

    Where shapes differ, the input is projected by a 1 x 1 convolution (option B of the paper), or
    subsampled and padded with channels of zeros at the end (option A, without weights).

    Attributes:
      project: choose option B.

    Reference: He et al., 2016, sec. 4.2, https://arxiv.org/abs/1512.03385.
    """

    project: bool

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False, mask: Array | None = None) -> Array:
        """Maps [B, H, W, C] to [B, ceil(H / stride), ceil(W / stride), features]."""
        layer = partial(self.conv_norm, train=train, mask=mask)
        main = self.activation(layer(x, "conv1", 3, self.stride))
        main = layer(main, "conv2", 3, 1)
        if x.shape != main.shape:
            if self.project:
                x = layer(x, "shortcut", 1, self.stride)
            else:
                x = x[:, :: self.stride, :: self.stride]
                x = jnp.pad(x, [(0, 0)] * 3 + [(0, self.features - x.shape[-1])])
        return self.activation(main + x)


class CBlock(Block, kw_only=True):
    """1 x 1 with the stride, 3 x 3, plus a 1 x 1 projection; ELU before and after the sum.

    At stride 2 no path reads more than one pixel in four.

    Reference: Koster et al., 2022, released code ("C-block").
    """

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False, mask: Array | None = None) -> Array:
        """Maps [B, H, W, C] to [B, ceil(H / stride), ceil(W / stride), features]."""
        layer = partial(self.conv_norm, train=train, mask=mask)
        main = self.activation(layer(x, "conv1", 1, self.stride))
        main = self.activation(layer(main, "conv2", 3, 1))
        return self.activation(main + layer(x, "shortcut", 1, self.stride))


class IBlock(Block, kw_only=True):
    """3 x 3, 3 x 3, plus the input, whose shape stays.

    Reference: Koster et al., 2022, released code ("I-block").
    """

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False, mask: Array | None = None) -> Array:
        """Maps [B, H, W, features] to the same shape."""
        layer = partial(self.conv_norm, train=train, mask=mask)
        main = self.activation(layer(x, "conv1", 3, 1))
        return self.activation(layer(main, "conv2", 3, 1) + x)


BLOCKS: dict[str, type[Block]] = {"C": CBlock, "I": IBlock}


class ResidualNetwork(Network):
    """A 3 x 3 stem, groups of blocks, a global average pool and a dense layer.

    Attributes:
      channels: of each group at `width` 1; the stem has those of the first.
    """

    channels: Sequence[int] = (16, 32, 64)

    def stem(self, image: Array, train: bool, mask: Array | None) -> Array:
        """Maps images [B, H, W, C] to [B, H, W, channels]."""
        x = self.stem_convolution(self.scaled(self.channels[0]))(image)
        return self.activation(self.norms(stem=True)(name="conv1_norm")(x, train=train, mask=mask))

    def stem_convolution(self, features: int) -> nn.Conv:
        """Makes the first convolution."""
        return self.conv3x3(features, "conv1")

    def block(self, kind: Callable[..., Block], group: int, index: int, stride: int) -> Block:
        """Makes block `index` of a group, both counted from 0."""
        return kind(
            features=self.scaled(self.channels[group]),
            stride=stride,
            kernel_init=self.kernel_init,
            norms=self.norms(),
            activation=self.activation,
            conv_general_dilated=self.conv_general_dilated,
            name=f"group{group + 1}_block{index + 1:02}",
        )

    def head(self, x: Array, *, train: bool) -> Array:
        """Maps [B, H, W, channels] to logits [B, num_classes]."""
        return self.dense(self.num_classes, "head")(self.dropped(x.mean((1, 2)), train=train))


SHORTCUTS = ("padded", "projection")


class ResNet(ResidualNetwork):
    """The residual networks for CIFAR of He et al., 2016: no pool after the stem.

    Every group but the first halves height and width in its first block.

    Attributes:
      blocks: number of blocks in each group.
      shortcut: where shapes differ: 'padded' (option A) or 'projection' (option B).
    """

    blocks: Sequence[int] = (3, 3, 3)
    shortcut: str = "padded"

    def __post_init__(self) -> None:
        if self.shortcut not in SHORTCUTS:
            raise unknown_name("shortcut", self.shortcut, SHORTCUTS)
        super().__post_init__()

    @nn.compact
    def __call__(self, image: Array, *, train: bool = False, mask: Array | None = None) -> Array:
        """Maps images float [B, H, W, C] to logits [B, num_classes].

        Rows where `mask` [B] is False do not count in batch statistics.
        """
        x = self.stem(image, train, mask)
        kind = partial(BasicBlock, project=self.shortcut == "projection")
        for group, blocks in enumerate(self.blocks):
            for index in range(blocks):
                stride = 2 if group and not index else 1
                x = self.block(kind, group, index, stride)(x, train=train, mask=mask)
        return self.head(x, train=train)


def cifar_resnet(depth: int) -> Callable[..., ResNet]:
    """Returns what makes the ResNet of `depth` = 6n + 2 layers: n blocks in each of three groups.

    Raises:
      ValueError: there is no such depth.

    >>> cifar_resnet(20)(num_classes=10).blocks
    (3, 3, 3)
    """
    n, rest = divmod(depth - 2, 6)
    if rest or n < 1:
        raise ValueError(f"depth must be 6n + 2 with n of at least 1, got {depth}")
    return partial(ResNet, blocks=(n, n, n))


# The network of edge-popup's and biprop's released code on CIFAR-10.
ResNet18 = partial(ResNet, channels=(64, 128, 256, 512), blocks=(2, 2, 2, 2), shortcut="projection")


class KosterResNet(ResidualNetwork, kw_only=True):
    """The residual networks of Koster et al., 2022, as in their released code.

    Other than in the standard ones, 1 x 1 convolutions carry the strides (`CBlock`), every group
    begins with a projection, and a 3 x 3 max-pool of stride 1 follows the stem. Batch norm has
    Keras's momentum and epsilon.

    Attributes:
      layout: blocks of each group, one letter a block: 'C' is a `CBlock`, 'I' an `IBlock`. C-blocks
        have stride 2, but for those of the first group.
    """

    layout: Sequence[str]
    norm_momentum: float = 0.99
    norm_epsilon: float = 1e-3

    def __post_init__(self) -> None:
        for letter in "".join(self.layout):
            if letter not in BLOCKS:
                raise unknown_name("block", letter, BLOCKS)
        super().__post_init__()

    @nn.compact
    def __call__(self, image: Array, *, train: bool = False, mask: Array | None = None) -> Array:
        """Maps images float [B, H, W, C] to logits [B, num_classes].

        Rows where `mask` [B] is False do not count in batch statistics.
        """
        x = max_pool_3x3(self.stem(image, train, mask))
        for group, letters in enumerate(self.layout):
            for index, letter in enumerate(letters):
                stride = 2 if group and letter == "C" else 1
                x = self.block(BLOCKS[letter], group, index, stride)(x, train=train, mask=mask)
        return self.head(x, train=train)


KosterResNet20 = partial(KosterResNet, layout=3 * ("CII",))
KosterResNet56 = partial(KosterResNet, layout=3 * ("C" + 8 * "I",))
KosterResNet110 = partial(KosterResNet, layout=3 * ("C" + 17 * "I",))
# The masked ResNet110 of the paper is another network than its dense baseline: the tenth block of
# every group is a C-block again, so that 32 x 32 pixels become 2 x 2 and not 8 x 8.
KosterResNet110Masked = partial(KosterResNet, layout=3 * (2 * ("C" + 8 * "I"),))
