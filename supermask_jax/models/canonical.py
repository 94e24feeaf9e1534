"""XLA's convolution with gradients that are as fast inside a loop as outside, on CPU.

Its kernel for CPU wants images [B, H, W, C] and kernels [I, J, C, F]. A gradient, which JAX writes
with other axes in these places, XLA brings there in the outermost computation of a program alone:
in a loop it takes many times as long. Here the operands are transposed instead.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import jax
import jax.numpy as jnp
from jax import lax

Array = jax.Array
Pairs = tuple[tuple[int, int], tuple[int, int]]

USUAL = ("NHWC", "HWIO", "NHWC")


_convolve = partial(lax.conv_general_dilated, dimension_numbers=USUAL)


@cache
def conv(strides: tuple[int, int], padding: Pairs) -> Callable[[Array, Array], Array]:
    """Returns ``conv(x, kernel)``: XLA's convolution of two dimensions, without groups or dilation.

    Args:
      strides: of height and width.
      padding: with zeros, before and after; of height and width.

    Returns:
      conv(x [B, H, W, C], kernel [I, J, C, F]) -> [B, H', W', F] of the dtype of `x`, computed in
      float32. Reverse mode only: `jax.jvp` raises.
    """

    @jax.custom_vjp
    def conv(x: Array, kernel: Array) -> Array:
        x32, kernel32 = x.astype(jnp.float32), kernel.astype(jnp.float32)
        return _convolve(x32, kernel32, strides, padding).astype(x.dtype)

    def forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
        return conv(x, kernel), (x, kernel)

    def backward(residuals: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
        x, kernel = (part.astype(jnp.float32) for part in residuals)
        dy = dy.astype(jnp.float32)
        # Of each axis: what was padded before the image, and up to where the last window reaches.
        ends = [
            (low, (windows - 1) * stride + size - low - length)
            for windows, stride, size, (low, _), length in zip(
                dy.shape[1:3], strides, kernel.shape[:2], padding, x.shape[1:3], strict=True
            )
        ]
        around = [
            (size - 1 - low, size - 1 - high)
            for size, (low, high) in zip(kernel.shape[:2], ends, strict=True)
        ]
        turned = kernel[::-1, ::-1].swapaxes(2, 3)
        dx = _convolve(dy, turned, (1, 1), around, lhs_dilation=strides)
        # Channels as if they were images, images as if they were channels.
        images, windows = x.transpose(3, 1, 2, 0), dy.transpose(1, 2, 0, 3)
        dkernel = _convolve(images, windows, (1, 1), ends, rhs_dilation=strides)
        dkernel = dkernel.transpose(1, 2, 0, 3)
        return dx.astype(residuals[0].dtype), dkernel.astype(residuals[1].dtype)

    conv.defvjp(forward, backward)
    return conv
