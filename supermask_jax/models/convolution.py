"""How convolutions are computed: the one place that chooses, by backend and shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from supermask_jax.models import canonical, im2col, winograd
from supermask_jax.models.canonical import USUAL

Array = jax.Array
ConvGeneralDilated = Callable[..., Array]

Way = Callable[[Array, Array], Array]

# Where a matrix product of the channels is large enough to pay for the transforms around it.
_LEAST_CHANNELS = 32
# Few enough that nine copies of the input cost little: images.
_MOST_CHANNELS = 4
# From this height and width on a tile of 4 is faster than one of 2; below, much would be padding.
_LARGE = 8


def _is_plain(x: Array, kernel: Array, **options: Any) -> bool:
    """Says whether it is of images, without groups, dilation or a wish for accuracy."""
    if x.ndim != 4 or not jnp.issubdtype(x.dtype, jnp.floating) or x.dtype == jnp.float64:
        return False
    usual = lax.conv_dimension_numbers(x.shape, kernel.shape, USUAL)
    numbers = lax.conv_dimension_numbers(x.shape, kernel.shape, options["dimension_numbers"])
    dilations = (*(options.get("lhs_dilation") or ()), *(options.get("rhs_dilation") or ()))
    groups = (options.get("feature_group_count", 1), options.get("batch_group_count", 1))
    accuracy = options.get("precision") or options.get("preferred_element_type")
    return numbers == usual and set(dilations) <= {1} and groups == (1, 1) and not accuracy


def way_of(
    x: Array,
    kernel: Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    **options: Any,
) -> Way | None:
    """Returns what computes a convolution fast on CPU, in a loop too, or None: XLA as it is.

    The arguments are those of `lax.conv_general_dilated`.
    """
    if not _is_plain(x, kernel, **options):
        return None
    size, strides = kernel.shape[:2], tuple(window_strides)
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(x.shape[1:3], size, strides, padding)
    sides = tuple((low, high) for low, high in padding)
    if (size, sides) == ((1, 1), ((0, 0), (0, 0))):
        return partial(_by_pixels, strides)
    if (size, strides, sides) == ((3, 3), (1, 1), ((1, 1), (1, 1))):
        if kernel.shape[2] <= _MOST_CHANNELS:
            return im2col.conv3x3
        if min(kernel.shape[2:]) >= _LEAST_CHANNELS:
            return winograd.conv3x3(4 if min(x.shape[1:3]) >= _LARGE else 2)
    return canonical.conv(strides, sides)


def _by_pixels(strides: Sequence[int], x: Array, kernel: Array) -> Array:
    """Convolves with a kernel [1, 1, C, F]: a matrix product."""
    x = x[:, :: strides[0], :: strides[1]]
    rows = x.astype(jnp.float32).reshape(-1, x.shape[-1]) @ kernel[0, 0].astype(jnp.float32)
    return rows.reshape(*x.shape[:-1], -1).astype(x.dtype)


def by_products(*operands: Any, dimension_numbers: Any = USUAL, **options: Any) -> Array:
    """Computes what `lax.conv_general_dilated` does, by matrix products where that pays on CPU.

    What stays with XLA, but for groups and dilation, has gradients that are fast inside a loop too.

    Takes its place in Flax: ``nn.Conv(64, (3, 3), conv_general_dilated=by_products)``. Computes in
    float32 what is bfloat16, and keeps the dtype. Reverse mode only, but for 1 x 1: `jax.jvp`
    raises.
    """
    options["dimension_numbers"] = dimension_numbers
    way = way_of(*operands, **options)
    if way is None:
        return lax.conv_general_dilated(*operands, **options)
    return way(*operands[:2])


def resolved(name: str) -> str:
    """Returns what a name in `CONVOLUTIONS` comes to on the default backend, where it is "auto"."""
    if name != "auto":
        return name
    return "products" if jax.default_backend() == "cpu" else "xla"


def fastest(*operands: Any, **options: Any) -> Array:
    """Is `by_products` on CPU, where XLA's convolutions are slow, and XLA's own elsewhere.

    The backend is the default one when the program is traced.
    """
    return CONVOLUTIONS[resolved("auto")](*operands, **options)


CONVOLUTIONS: dict[str, ConvGeneralDilated] = {
    "auto": fastest,
    "xla": lax.conv_general_dilated,
    "products": by_products,
}
