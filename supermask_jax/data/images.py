"""Images as arrays: decoded, of one size, uint8 [N, H, W, C]."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from supermask_jax.errors import UserError, one_line

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


def files(folder: Path) -> list[Path]:
    """Returns the images in a folder, by name.

    Raises:
      UserError: there are none.
    """
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
    if not found:
        raise UserError(f"{folder} holds no image: it must hold {', '.join(_SUFFIXES)}")
    return found


def decode(path: Path, size: int = 0) -> np.ndarray:
    """Returns the image of a file, uint8 [H, W, C] with C 1 (grey) or 3.

    Raises:
      UserError: it cannot be read.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            ImageOps.exif_transpose(image, in_place=True)
            return pixels(image, size)
    except UserError:
        raise
    except Exception as error:  # Pillow raises nearly anything on broken bytes.
        raise UserError(f"{path} is no image that can be read ({one_line(error)})") from error


def pixels(image: Any, size: int = 0) -> np.ndarray:
    """Returns a Pillow image as uint8 [H, W, C]: grey stays grey, all else becomes RGB."""
    if image.mode.startswith(("I", "F")):
        raise UserError(f"an image of mode {image.mode} has more than 8 bits a pixel")
    mode = "L" if image.mode in ("1", "L") else "RGB"
    image = image if image.mode == mode else image.convert(mode)
    array = np.asarray(_cropped(image, size) if size else image)
    return array if array.ndim == 3 else array[..., None]


def resized(images: np.ndarray, size: int) -> np.ndarray:
    """Resizes uint8 [N, H, W, C] so that the shorter side is `size`, and crops the middle.

    Args:
      images: of any height and width.
      size: of both sides; 0 leaves them as they are.
    """
    if not size or images.shape[1:3] == (size, size):
        return images
    from PIL import Image

    out = np.empty((len(images), size, size, images.shape[-1]), np.uint8)
    for image, place in zip(images, out, strict=True):
        for channel in range(image.shape[-1]):
            plane = Image.fromarray(np.ascontiguousarray(image[..., channel]))
            place[..., channel] = _cropped(plane, size)
    return out


def _cropped(image: Any, size: int) -> Any:
    """Resizes a Pillow image so that its shorter side is `size`, and crops the middle."""
    from PIL import Image

    if image.size == (size, size):
        return image
    width, height = (max(size, round(side * size / min(image.size))) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    return image.crop((left, top, left + size, top + size))


class LazyImages:
    """Images of files, decoded as they are read: uint8 [N, size, size, 3] that takes rows only."""

    dtype = np.dtype(np.uint8)

    def __init__(self, paths: Sequence[Path], size: int) -> None:
        self._paths, self._size = paths, size
        self.shape = (len(paths), size, size, 3)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, rows: np.ndarray | slice) -> np.ndarray:
        """Decodes some of them, in several threads.

        Raises:
          UserError: one cannot be read.
        """
        at = np.arange(len(self))[rows]
        found = np.empty((len(at), *self.shape[1:]), np.uint8)

        def fill(place: int) -> None:
            found[place] = decode(self._paths[at[place]], self._size)  # Grey is broadcast.

        with ThreadPoolExecutor() as pool:
            list(pool.map(fill, range(len(at))))
        return found


def statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns mean and deviation of each channel over uint8 [N, H, W, C], on the scale 0..1."""
    counts = [
        np.bincount(images[..., channel].ravel(), minlength=256)
        for channel in range(images.shape[-1])
    ]
    levels = np.arange(256) / 255
    means = [float(count @ levels / count.sum()) for count in counts]
    # Of images that are all of one colour, so that nothing is divided by 0.
    stds = [
        max(float(np.sqrt(count @ (levels - mean) ** 2 / count.sum())), 1 / 255)
        for count, mean in zip(counts, means, strict=True)
    ]
    return tuple(means), tuple(stds)


def contact_sheet(path: Path, images: np.ndarray, labels: np.ndarray, *, columns: int = 8) -> None:
    """Writes a PNG with one row a class, of its first images; of at most 20 classes.

    Args:
      path: of the file.
      images: uint8 [N, H, W, C], of which one or three channels are shown.
      labels: int [N].
      columns: images of each class.
    """
    from PIL import Image

    height, width, channels = images.shape[1:]
    shown = images[..., :3] if channels >= 3 else images[..., :1].repeat(3, -1)
    classes = np.unique(labels)[:20]
    sheet = np.full((len(classes) * (height + 1), columns * (width + 1), 3), 255, np.uint8)
    for row, label in enumerate(classes):
        for column, image in enumerate(shown[labels == label][:columns]):
            top, left = row * (height + 1), column * (width + 1)
            sheet[top : top + height, left : left + width] = image
    Image.fromarray(sheet).save(path, "PNG")
