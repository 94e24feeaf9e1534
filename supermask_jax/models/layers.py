"""What the networks share: their options, activations, batch norm, pooling."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from supermask_jax.errors import unknown_name
from supermask_jax.models.convolution import ConvGeneralDilated
from supermask_jax.models.pieces import of_rows

Array = jax.Array


def binary(x: Array) -> Array:
    r"""Sign activation: 1 where x >= 0, else -1, with the gradient :math:`2 (1 - |x|)` in [-1, 1].

    Outside [-1, 1] the gradient is 0.

    Reference: Liu et al., 2018 (Bi-Real Net), https://arxiv.org/abs/1808.00278; used by biprop.

    >>> binary(jnp.array([-0.5, 0.0, 2.0])).tolist()
    [-1.0, 1.0, 1.0]
    >>> jax.vmap(jax.grad(binary))(jnp.array([-0.5, 0.0, 2.0])).tolist()
    [1.0, 2.0, 0.0]
    """
    clipped = jnp.clip(x, -1, 1)
    polynomial = jnp.where(clipped >= 0, 2 * clipped - clipped**2, 2 * clipped + clipped**2)
    hard = jnp.where(x >= 0, 1.0, -1.0).astype(x.dtype)
    # The first difference is exactly 0: the value is the sign, the gradient the polynomial's.
    return (polynomial - lax.stop_gradient(polynomial)) + lax.stop_gradient(hard)


def elu(x: Array, alpha: float = 1.0) -> Array:
    """ELU, with a gradient that needs its result alone: of a layer no second array is kept.

    >>> elu(jnp.array([-100.0, 0.0, 2.0])).tolist()
    [-1.0, 0.0, 2.0]
    """
    return _elu(alpha, x)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _elu(alpha: float, x: Array) -> Array:
    return of_rows(partial(nn.elu, alpha=alpha), x, over=True)


@_elu.defjvp
def _elu_jvp(alpha: float, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    y = _elu(alpha, *primals)
    return y, tangents[0] * jnp.where(y > 0, 1, y + alpha).astype(y.dtype)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "elu": elu,
    "elu_1.673": partial(elu, alpha=1.673),  # of the originals' VGG19
    "relu": nn.relu,
    "binary": binary,
}

# Where a network has batch norm: nowhere, after its first layer, after every layer but the last.
NORMS = ("none", "stem", "all")


class Norm(nn.Module):
    """Batch norm, its constant stand-in, or nothing.

    Running statistics are float32 and change in training only. They hold the variance of the
    batch itself, where PyTorch holds the unbiased one.

    Attributes:
      used: False returns the input.
      affine: with trained parameters ``scale`` and ``bias``, one for each channel.
      frozen: multiply by the constant ``1 / sqrt(1 + epsilon)``: what a batch norm is whose
        statistics stay at mean 0 and variance 1, as Keras leaves those that are not trainable. A
        frozen scale of 1 and bias of 0 would do nothing: `affine` adds none here.
      momentum: share of the old running statistics that an update keeps.
      epsilon: added to the variance.
    """

    used: bool = True
    affine: bool = False
    frozen: bool = False
    momentum: float = 0.9
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Array, *, train: bool, mask: Array | None = None) -> Array:
        """Normalises [B, ..., C], whose dtype it keeps.

        Rows where `mask` [B] is False do not count.
        """
        if not self.used:
            return x
        if self.frozen:
            return x * (1 + self.epsilon) ** -0.5
        if mask is not None:
            mask = mask.reshape(-1, *[1] * (x.ndim - 1))
        layer = nn.BatchNorm(
            use_running_average=not train,
            momentum=self.momentum,
            epsilon=self.epsilon,
            dtype=x.dtype,
            use_scale=self.affine,
            use_bias=self.affine,
            name="bn",
        )
        return layer(x, mask=mask)


class Network(nn.Module):
    """The options of every network; a network is a subclass that adds its layout.

    Attributes:
      num_classes: width of the last layer.
      width: multiplies the channels and the widths of all other layers.
      kernel_init: initialiser of every kernel.
      activation: after every layer but the last.
      norm: where batch norm goes, before the activation: a name in `NORMS`.
      norm_affine: see `Norm`; so are the next three.
      norm_frozen: no statistics and no parameters, but a constant.
      norm_momentum: 0.9 as PyTorch's (which calls it 0.1), unless a network says otherwise.
      norm_epsilon: 1e-5 as PyTorch's, unless a network says otherwise.
      bias: with trained biases, 0 at first; a residual network has one in its last layer alone.
      dropout: share of the outputs of every hidden dense layer that training hides, and of the
        features that the last layer of a residual network reads.
      conv_general_dilated: how convolutions are computed; `convolution.fastest` is faster on CPU,
        and has no forward-mode gradients.
    """

    num_classes: int
    width: float = 1.0
    kernel_init: Callable[..., Array] = nn.initializers.he_normal()
    activation: Callable[[Array], Array] = elu
    norm: str = "none"
    norm_affine: bool = False
    norm_frozen: bool = False
    norm_momentum: float = 0.9
    norm_epsilon: float = 1e-5
    bias: bool = False
    dropout: float = 0.0
    conv_general_dilated: ConvGeneralDilated = lax.conv_general_dilated

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise unknown_name("norm", self.norm, NORMS)
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout}")
        super().__post_init__()

    def scaled(self, features: int) -> int:
        """Returns a number of channels or features at the network's width, rounded down."""
        # As it is written: 0.29 as a float is a little less, and 0.29 * 100 would be 28.
        return int(Fraction(repr(float(self.width))) * features)

    def dense(self, features: int, name: str) -> nn.Dense:
        """Makes a dense layer."""
        return nn.Dense(features, use_bias=self.bias, kernel_init=self.kernel_init, name=name)

    def conv3x3(self, features: int, name: str, *, bias: bool = False) -> nn.Conv:
        """Makes a 3 x 3 convolution of stride 1 that keeps height and width."""
        return nn.Conv(
            features,
            (3, 3),
            use_bias=bias,
            kernel_init=self.kernel_init,
            conv_general_dilated=self.conv_general_dilated,
            name=name,
        )

    def dropped(self, x: Array, *, train: bool) -> Array:
        """Hides a share of x in training, by the key "dropout" of `apply`."""
        return nn.Dropout(self.dropout, deterministic=not train)(x) if self.dropout else x

    def norms(self, *, stem: bool = False) -> Callable[..., Norm]:
        """Returns what makes the norm after a layer: after the first one for `stem`."""
        return partial(
            Norm,
            used=self.norm == "all" or (stem and self.norm == "stem"),
            affine=self.norm_affine,
            frozen=self.norm_frozen,
            momentum=self.norm_momentum,
            epsilon=self.norm_epsilon,
        )


def max_pool_2x2(x: Array) -> Array:
    """Max-pools [B, H, W, C] by 2 with stride 2; an odd last row or column is dropped.

    A maximum over a reshaped axis: its gradient is elementwise, where that of `nn.max_pool` is a
    select-and-scatter, slower on CPU and not deterministic on GPU. Where values tie, the first one,
    row by row, gets the gradient, as there and in PyTorch and Keras.

    >>> max_pool_2x2(jnp.arange(16.0).reshape(1, 4, 4, 1))[0, :, :, 0].tolist()
    [[5.0, 7.0], [13.0, 15.0]]
    """
    height, width = x.shape[1] // 2, x.shape[2] // 2
    x = x[:, : 2 * height, : 2 * width]
    return _window_max(x.reshape(x.shape[0], height, 2, width, 2, x.shape[-1]))


@jax.custom_jvp
def _window_max(x: Array) -> Array:
    """Returns the maxima of [B, H, 2, W, 2, C] over its axes of 2."""
    return x.max((2, 4))


@_window_max.defjvp
def _window_max_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    # JAX's own shares the gradient of ties. Comparing places leaves nothing but elementwise
    # operations, which the compiler fuses; tangents taken corner by corner are six times as slow.
    (x,), (dx,) = primals, tangents

    def found(x: Array) -> tuple[Array, Array]:
        y = x.max((2, 4))
        first = jnp.full(y.shape, 3, jnp.int8)
        for place in (2, 1, 0):
            first = jnp.where(x[:, :, place // 2, :, place % 2] == y, jnp.int8(place), first)
        return y, first

    y, first = of_rows(found, x)
    places = jnp.arange(4, dtype=jnp.int8).reshape(2, 1, 2, 1)
    won = places[None, None] == first[:, :, None, :, None]
    return y, jnp.where(won, dx, 0).sum((2, 4))


def max_pool_3x3(x: Array, stride: int = 1) -> Array:
    """Max-pools [B, H, W, C] by 3, padded by 1: at stride 1 height and width stay.

    A maximum of shifted slices, first of rows and then of columns: elementwise like its gradient,
    for the reasons of `max_pool_2x2`. Where values tie, the gradient is shared among them: to give
    it to the first, as PyTorch and Keras do, took 1.7 times as long.

    >>> max_pool_3x3(jnp.arange(16.0).reshape(1, 4, 4, 1), stride=2)[0, :, :, 0].tolist()
    [[5.0, 7.0], [13.0, 15.0]]
    """
    for axis in (1, 2):
        padding = [(1, 1) if i == axis else (0, 0) for i in range(x.ndim)]
        size, padded = x.shape[axis], jnp.pad(x, padding, constant_values=-jnp.inf)
        before, at, after = (lax.slice_in_dim(padded, i, i + size, stride, axis) for i in range(3))
        x = jnp.maximum(jnp.maximum(before, after), x if stride == 1 else at)
    return x
