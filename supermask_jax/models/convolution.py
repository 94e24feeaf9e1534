"""How convolutions are computed: the one place that chooses, by backend and shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from supermask_jax.models import im2col, winograd

Array = jax.Array
ConvGeneralDilated = Callable[..., Array]

_USUAL = ("NHWC", "HWIO", "NHWC")
Way = Callable[[Array, Array], Array]

# Where a matrix product of the channels is large enough to pay for the transforms around it.
_LEAST_CHANNELS = 32
# Few enough that nine copies of the input cost little: images.
_MOST_CHANNELS = 4
# From this height and width on a tile of 4 is faster than one of 2; below, much would be padding.
_LARGE = 8


def _is_plain_3x3(
    x: Array,
    kernel: Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    **options: Any,
) -> bool:
    """Says whether it is 3 x 3 of stride 1, without groups or dilation, and sizes stay."""
    if x.ndim != 4 or kernel.shape[:2] != (3, 3) or tuple(window_strides) != (1, 1):
        return False
    if padding != "SAME" and [tuple(pair) for pair in padding] != [(1, 1), (1, 1)]:
        return False
    usual = lax.conv_dimension_numbers(x.shape, kernel.shape, _USUAL)
    numbers = lax.conv_dimension_numbers(x.shape, kernel.shape, options["dimension_numbers"])
    dilations = (*(options.get("lhs_dilation") or ()), *(options.get("rhs_dilation") or ()))
    groups = (options.get("feature_group_count", 1), options.get("batch_group_count", 1))
    return numbers == usual and set(dilations) <= {1} and groups == (1, 1)


def way_of(operands: Sequence[Any], options: dict[str, Any]) -> Way | None:
    """Returns what computes a convolution by matrix products, or None where XLA's is faster.

    Args:
      operands, options: of `lax.conv_general_dilated`.
    """
    if not _is_plain_3x3(*operands, **options):
        return None
    if options.get("precision") or options.get("preferred_element_type"):
        return None
    x, kernel = operands[:2]
    if x.dtype == jnp.float64:
        return None
    if kernel.shape[2] <= _MOST_CHANNELS:
        return im2col.conv3x3
    if min(kernel.shape[2:]) < _LEAST_CHANNELS:
        return None
    return winograd.conv3x3(4 if min(x.shape[1:3]) >= _LARGE else 2)


def by_products(*operands: Any, dimension_numbers: Any = _USUAL, **options: Any) -> Array:
    """Computes what `lax.conv_general_dilated` does, by matrix products where that pays.

    Takes its place in Flax: ``nn.Conv(64, (3, 3), conv_general_dilated=by_products)``. Computes in
    float32 what is bfloat16, and keeps the dtype. Reverse mode only: `jax.jvp` raises.
    """
    options["dimension_numbers"] = dimension_numbers
    way = way_of(operands, options)
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
