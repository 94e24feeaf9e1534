"""Small pictures inside the page: masks, shares and mean images, as PNG in data URIs.

What a mask hides is transparent, so that it has the colour of the page in light and dark.
"""

from __future__ import annotations

import base64
import io
from typing import NamedTuple

import numpy as np
from PIL import Image

# Blue and orange: told apart by the colour-blind, and seen on white as on black.
KEPT, INVERTED = (43, 127, 201), (224, 108, 31)
_GAP = (128, 128, 128, 70)


class Picture(NamedTuple):
    """A picture in the page, of a size in CSS pixels."""

    uri: str
    alt: str
    label: str
    width: int
    height: int


def picture(pixels: np.ndarray, alt: str, width: int, label: str = "") -> Picture:
    """Returns uint8 pixels [H, W, 1, 3 or 4] as a picture: about `width` points wide."""
    buffer = io.BytesIO()
    squeezed = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    Image.fromarray(np.ascontiguousarray(squeezed)).save(buffer, "PNG", optimize=True)
    uri = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    height, wide = pixels.shape[:2]
    scale = max(1, width // wide)
    return Picture(uri, alt, label, wide * scale, height * scale)


def signed_pixels(values: np.ndarray) -> np.ndarray:
    """Returns values in [-1, 1] as colours [*s, 4]: orange below 0, blue above, by strength."""
    values = np.clip(np.nan_to_num(values.astype(np.float32)), -1, 1)
    pixels = np.empty((*values.shape, 4), np.uint8)
    pixels[..., :3] = np.where(values[..., None] < 0, INVERTED, KEPT)
    pixels[..., 3] = np.round(255 * np.abs(values))
    return pixels


def grey_pixels(image: np.ndarray) -> np.ndarray:
    """Returns an image of floats in [0, 255], [H, W, 1 or 3], as uint8."""
    return np.round(np.clip(image, 0, 255)).astype(np.uint8)


def kernel_sheet(mask: np.ndarray, columns: int) -> np.ndarray:
    """Returns kernels side by side, a row of channels a filter, as colours [H', W', 4].

    Args:
      mask: of a convolution, [h, w, channels, filters].
      columns: filters in a row.
    """
    height, width, channels, filters = mask.shape
    rows = -(-filters // columns)
    tile = (height + 1, channels * width + 2)  # a pixel between filters, in both directions
    sheet = np.broadcast_to(np.uint8(_GAP), (rows * tile[0] + 1, columns * tile[1], 4)).copy()
    signs = np.sign(mask.astype(np.int8))
    for i in range(filters):
        row, column = divmod(i, columns)
        flat = signs[..., i].transpose(0, 2, 1).reshape(height, channels * width)
        top, left = 1 + row * tile[0], 1 + column * tile[1]
        sheet[top : top + height, left : left + channels * width] = signed_pixels(flat)
    return sheet
