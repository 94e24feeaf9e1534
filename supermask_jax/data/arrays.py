"""A data set of arrays, whatever their form."""

from __future__ import annotations

from typing import Any

import numpy as np

from supermask_jax.data.specs import Dataset, Split, content_digest
from supermask_jax.errors import UserError


def from_arrays(
    train_images: Any, train_labels: Any, test_images: Any, test_labels: Any, *, name: str = "mine"
) -> Dataset:
    """Returns a data set of arrays.

    Args:
      train_images: [N, H, W, C], [N, C, H, W] with C 1 or 3, or [N, H, W]; integers from 0 to 255,
        or floats in [0, 1].
      train_labels: integers [N] or [N, 1] from 0 on, or one-hot [N, K].
      test_images: of the same height, width and channels.
      test_labels: as of train; no class that train lacks.
      name: of the data set.

    Raises:
      UserError: an array is none of these; one line that says what it is.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> pixels, classes = rng.integers(0, 256, (20, 8, 8)), np.arange(20) % 2
    >>> from_arrays(pixels, classes, pixels, classes).train.images.shape
    (20, 8, 8, 1)
    """
    train = Split(as_uint8(train_images, "train"), _labels(train_labels, "train"))
    test = Split(as_uint8(test_images, "test"), _labels(test_labels, "test"))
    for part, split in (("train", train), ("test", test)):
        if len(split.images) != len(split.labels):
            raise UserError(
                f"{part} has {len(split.images):,} images and {len(split.labels):,} labels"
            )
    # A part that is all grey goes with one that is not.
    if {train.images.shape[-1], test.images.shape[-1]} == {1, 3}:
        train, test = (
            split._replace(images=np.repeat(split.images, 3 // split.images.shape[-1], -1))
            for split in (train, test)
        )
    if train.images.shape[1:] != test.images.shape[1:]:
        raise UserError(
            f"train images are of {train.images.shape[1:]} and test images of "
            f"{test.images.shape[1:]}: they must be of one size"
        )
    known = np.unique(train.labels)
    if only := sorted(set(test.labels.tolist()) - set(known.tolist())):
        raise UserError(f"test has classes that train has no image of: {only[:5]}")
    if len(known) < 2:
        raise UserError("train has images of one class only: there is nothing to tell apart")
    digest = content_digest(name, train, test)
    return Dataset(name, train, test, int(known[-1]) + 1, "arrays", digest)


def _labels(given: Any, part: str) -> np.ndarray:
    """Returns labels as int32 [N]."""
    labels = np.asarray(given)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2:
        if not ((labels == 0) | (labels == 1)).all() or (labels.sum(1) != 1).any():
            raise UserError(f"{part} labels of shape {labels.shape} are not one-hot")
        labels = labels.argmax(1)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        found = f"{labels.dtype} of shape {labels.shape}"
        raise UserError(f"{part} labels are {found}: give integers [N] or one-hot [N, K]")
    if len(labels) and not 0 <= labels.min() <= labels.max() < 2**15:
        raise UserError(f"{part} labels go from {labels.min()} to {labels.max()}: count from 0")
    return labels.astype(np.int32)


def as_uint8(given: Any, part: str) -> np.ndarray:
    """Returns images as uint8 [N, H, W, C].

    Args:
      given: [N, H, W, C], [N, C, H, W] with C 1 or 3, or [N, H, W]; integers from 0 to 255, or
        floats in [0, 1].
      part: what they are called in an error.

    Raises:
      UserError: they are none of these.
    """
    images = np.asarray(given)
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or not images.size:
        raise UserError(f"{part} images are of shape {images.shape}: give [N, H, W, C]")
    if images.shape[-1] not in (1, 3) and images.shape[1] in (1, 3):
        images = np.moveaxis(images, 1, -1)
    if images.dtype == np.uint8:
        return images
    bounds = ""
    if (kind := images.dtype.kind) in "iuf":
        low, high = images.min(), images.max()
        if kind != "f" and 0 <= low <= high <= 255:
            return images.astype(np.uint8)
        if kind == "f" and 0 <= low <= high <= 1:
            return np.round(images * 255).astype(np.uint8)
        bounds = f" from {low} to {high}"
    raise UserError(
        f"{part} images are {images.dtype}{bounds}: give integers from 0 to 255, or floats from 0 "
        "to 1"
    )
