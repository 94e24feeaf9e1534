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
    flat = mask.transpose(3, 0, 2, 1).reshape(filters, height, channels * width)
    return _sheet(signed_pixels(np.sign(flat.astype(np.int8))), columns)


def colour_sheet(kernel: np.ndarray, columns: int) -> np.ndarray:
    """Returns the kernels of red, green and blue as small colour pictures side by side.

    Args:
      kernel: float [h, w, 3, filters]; 0 is grey, and the largest weight of a filter full colour.
      columns: filters in a row.

    Returns:
      Colours, uint8 [H', W', 4].
    """
    filters = np.nan_to_num(kernel.astype(np.float32)).transpose(3, 0, 1, 2)
    most = np.abs(filters).max((1, 2, 3), keepdims=True)
    colours = np.round(127.5 * (1 + filters / np.where(most == 0, 1, most))).astype(np.uint8)
    return _sheet(np.insert(colours, 3, 255, axis=-1), columns)


def _sheet(tiles: np.ndarray, columns: int) -> np.ndarray:
    """Lays pictures [n, h, w, 4] in rows, with a pixel between them in both directions."""
    count, height, width, _ = tiles.shape
    across, down = width + 2, height + 1
    sheet = np.empty((-(-count // columns) * down + 1, columns * across, 4), np.uint8)
    sheet[:] = _GAP
    for i, tile in enumerate(tiles):
        top, left = 1 + i // columns * down, 1 + i % columns * across
        sheet[top : top + height, left : left + width] = tile
    return sheet
