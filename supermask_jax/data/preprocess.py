"""Preprocessings of images, as trained networks and tickets share them.

Each takes images as float32 [..., H, W, C] in 0 ... 255, arrays of `xp`: NumPy, or `jax.numpy`. All
return float32 of that shape.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

_IMAGE = (-3, -2, -1)  # the axes of one image


def standardize(x: Any, xp: Any = np) -> Any:
    r"""Standardises each image over all its values.

    .. math:: x' = \frac{x - \bar x}{\max(\text{std}(x),\ 1 / \sqrt{N})}, \qquad N = H W C

    with the population standard deviation, as `tf.image.per_image_standardization` defines it on
    values in 0 ... 255 (signed supermasks).
    """
    count = x.shape[-1] * x.shape[-2] * x.shape[-3]
    centred = x - xp.mean(x, _IMAGE, keepdims=True)
    std = xp.sqrt(xp.mean(xp.square(centred), _IMAGE, keepdims=True))
    return centred / xp.maximum(std, count**-0.5)


def unit(x: Any, xp: Any = np) -> Any:
    """Divides by 255: to [0, 1] (Zhou et al., 2019)."""
    return x / 255


def l2(x: Any, xp: Any = np) -> Any:
    """Divides each image by its L2 norm; a black one stays 0 (Frankle and Carbin's MNIST code)."""
    norm = xp.sqrt(xp.sum(xp.square(x), _IMAGE, keepdims=True))
    return x / xp.where(norm == 0, 1, norm)


def mean_std(x: Any, xp: Any = np, *, mean: Any, std: Any) -> Any:
    """Standardises each channel by a mean and a deviation of its own, on the scale of 0 to 1."""
    shape = (1,) * (x.ndim - 1) + (-1,)
    mean, std = (xp.asarray(values, xp.float32).reshape(shape) for values in (mean, std))
    return (unit(x) - mean) / std


PREPROCESSES: dict[str, Callable[..., Any]] = {
    "standardize": standardize,
    "unit": unit,
    "mean_std": mean_std,
    "l2": l2,
}
