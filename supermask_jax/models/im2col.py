"""3 x 3 convolutions as one matrix product over patches: for few input channels, as of images.

Nine shifted copies of the input lie side by side, and so does the kernel: forward pass and kernel
gradient are one product each, whose other operand is read as it lies. Of a convolution's gradient
XLA would transpose that one first, at a cost above that of the whole layer on CPU.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from supermask_jax.models.pieces import count_pieces, in_pieces

Array = jax.Array


def _patches(x: Array) -> Array:
    """Returns the 3 x 3 neighbourhoods of all pixels of [B, H, W, C]: [B * H * W, 9 * C]."""
    _, height, width, channels = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return jnp.concatenate(shifted, -1).reshape(-1, 9 * channels)


@jax.custom_vjp
def conv3x3(x: Array, kernel: Array) -> Array:
    """Convolves with stride 1, borders padded with 0 so that sizes stay.

    Args:
      x: float [B, H, W, C].
      kernel: float [3, 3, C, F].

    Returns:
      [B, H, W, F] of the dtype of `x`, computed in float32. Reverse mode only: `jax.jvp` raises.
    """
    matrix = kernel.astype(jnp.float32).reshape(-1, kernel.shape[-1])

    def forward(x: Array) -> tuple[Array, tuple]:
        y = _patches(x.astype(jnp.float32)) @ matrix
        return y.reshape(*x.shape[:-1], matrix.shape[-1]).astype(x.dtype), ()

    return in_pieces(forward, count_pieces(x, max(kernel.shape[2:])), x)[0]


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return conv3x3(x, kernel), (x, kernel)


def _backward(residuals: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    # With the kernel turned round: dropped by the compiler for the first layer of a network.
    dx = conv3x3(dy, kernel[::-1, ::-1].swapaxes(2, 3))

    def transpose(x: Array, dy: Array) -> tuple[Array, Array]:
        rows = dy.astype(jnp.float32).reshape(-1, dy.shape[-1])
        return x[:, :0], _patches(x.astype(jnp.float32)).T @ rows

    _, dkernel = in_pieces(transpose, count_pieces(x, max(kernel.shape[2:])), x, dy)
    return dx, dkernel.reshape(kernel.shape).astype(kernel.dtype)


conv3x3.defvjp(_forward, _backward)
