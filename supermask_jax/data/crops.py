"""Augmentations of larger images: crops of random size that are resized back, colours.

Every example draws its own. What comes out has shape and dtype of what goes in; integers are
rounded and kept within 0 to 255.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import lax

Array = jax.Array

AREA = (0.08, 1.0)  # of a crop, as a share of the image's
RATIO = (3 / 4, 4 / 3)  # of its width to its height
JITTER = 0.4  # brightness, contrast and saturation: each by a factor from 1 - 0.4 to 1 + 0.4
_LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in grey


def resized_crop_flip(key: Array, images: Array) -> Array:
    """Crops a random part, resizes it to the whole, and mirrors left to right half of the time.

    The part's area is uniform in `AREA`, its shape log-uniform in `RATIO`, its place uniform; a
    side longer than the image's is cut to it, where torchvision draws again. Resizing is bilinear,
    with antialiasing.

    Args:
      key: typed PRNG key [].
      images: [B, H, W, C], any dtype.

    Returns:
      Shape and dtype of `images`.

    Reference: Szegedy et al., 2015, https://arxiv.org/abs/1409.4842; what ResNets are trained with.
    """
    return _rounded(_crop_flip(key, images.astype(jnp.float32)), images.dtype)


def resized_crop_flip_color(key: Array, images: Array) -> Array:
    """`resized_crop_flip`, then brightness, contrast and saturation by random factors.

    In this order, each factor uniform in ``1 - JITTER`` to ``1 + JITTER``; images of other than
    three channels have no saturation.

    Args:
      key: typed PRNG key [].
      images: [B, H, W, C], any dtype, with values from 0.

    Returns:
      Shape and dtype of `images`.
    """
    crop_key, colour_key = jax.random.split(key)
    x = _crop_flip(crop_key, images.astype(jnp.float32))
    low, high = 1 - JITTER, 1 + JITTER
    shape = (3, len(x), 1, 1, 1)
    bright, contrast, saturation = jax.random.uniform(colour_key, shape, jnp.float32, low, high)
    x = x * bright
    grey = _grey(x).mean((1, 2, 3), keepdims=True)
    x = grey + contrast * (x - grey)
    if x.shape[-1] == 3:
        grey = _grey(x)
        x = grey + saturation * (x - grey)
    return _rounded(x, images.dtype)


def _grey(x: Array) -> Array:
    """Returns [B, H, W, 1]."""
    if x.shape[-1] != 3:
        return x.mean(-1, keepdims=True)
    return (x @ jnp.array(_LUMA, jnp.float32))[..., None]


def _crop_flip(key: Array, x: Array) -> Array:
    size = jnp.array([x.shape[1:3]], jnp.float32)
    area_key, ratio_key, place_key, flip_key = jax.random.split(key, 4)
    ends = (math.log(RATIO[0]), math.log(RATIO[1]))
    area = jax.random.uniform(area_key, (len(x),), jnp.float32, *AREA) * size.prod()
    ratio = jnp.exp(jax.random.uniform(ratio_key, (len(x),), jnp.float32, *ends))
    sides = jnp.sqrt(jnp.stack([area / ratio, area * ratio], -1))  # [B, 2], heights and widths
    sides = jnp.minimum(sides, size)
    corner = jax.random.uniform(place_key, sides.shape, jnp.float32) * (size - sides)
    flip = jax.random.bernoulli(flip_key, jnp.float32(0.5), (len(x), 1, 1, 1))

    def resize(image: Array, side: Array, corner: Array) -> Array:
        scale = size[0] / side
        return jax.image.scale_and_translate(
            image,
            image.shape,
            (0, 1),
            scale,
            -corner * scale,
            jax.image.ResizeMethod.LINEAR,
            precision=lax.Precision.HIGHEST,
        )

    out = jax.vmap(resize)(x, sides, corner)
    return jnp.where(flip, out[:, :, ::-1], out)


def _rounded(x: Array, dtype: jnp.dtype) -> Array:
    if jnp.issubdtype(dtype, jnp.integer):
        x = jnp.clip(jnp.round(x), 0, 255)
    return x.astype(dtype)
