"""What the networks share: activations, batch norm without affine parameters, pooling."""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

Array = jax.Array


def binary(x: Array) -> Array:
    r"""Sign activation: 1 where x >= 0, else -1, with the gradient :math:`2 (1 - |x|)` in [-1, 1].

    Outside [-1, 1] the gradient is 0.

    Reference: Liu et al., 2018 (Bi-Real Net), https://arxiv.org/abs/1808.00278; used by biprop.
    """
    clipped = jnp.clip(x, -1, 1)
    polynomial = jnp.where(clipped >= 0, 2 * clipped - clipped**2, 2 * clipped + clipped**2)
    hard = jnp.where(x >= 0, 1.0, -1.0).astype(x.dtype)
    # The first difference is exactly 0: the value is the sign, the gradient the polynomial's.
    return (polynomial - lax.stop_gradient(polynomial)) + lax.stop_gradient(hard)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "elu": nn.elu,
    "relu": nn.relu,
    "binary": binary,
}

NORMS = ("none", "batch")


class Norm(nn.Module):
    """Batch norm without scale and bias, or nothing.

    Statistics are updated in training only, with PyTorch's momentum (0.9 here) and epsilon.

    Attributes:
      kind: a name in `NORMS`.
    """

    kind: str = "none"

    @nn.compact
    def __call__(self, x: Array, *, train: bool, mask: Array | None = None) -> Array:
        """Normalises [B, ..., C]; rows where `mask` [B] is False do not count."""
        if self.kind == "none":
            return x
        if mask is not None:
            mask = mask.reshape(-1, *[1] * (x.ndim - 1))
        layer = nn.BatchNorm(
            use_running_average=not train, momentum=0.9, use_scale=False, use_bias=False, name="bn"
        )
        return layer(x, mask=mask)


def max_pool_2x2(x: Array) -> Array:
    """Max-pools [B, H, W, C] by 2 with stride 2; an odd last row or column is dropped.

    A maximum over a reshaped axis: its gradient is elementwise, where that of `nn.max_pool` is a
    select-and-scatter, slower on CPU and not deterministic on GPU. Where values tie, the gradient
    is shared equally.
    """
    height, width = x.shape[1] // 2, x.shape[2] // 2
    x = x[:, : 2 * height, : 2 * width]
    return x.reshape(x.shape[0], height, 2, width, 2, x.shape[-1]).max((2, 4))
