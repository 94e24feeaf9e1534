"""What each data set must look like, and the checks that every source's arrays go through.

Canonical order: each split is sorted by the BLAKE2b-128 digest of an example (its image bytes, then
its label as one byte). Equal digests are equal examples, so the order is the same whichever source
served; it has nothing to do with the classes, as that of a fixed shuffle.

Content digest: SHA-256 over the data set's name, then, for train images, train labels, test images
and test labels in this order, the dtype, the shape and the little-endian bytes in C order.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from supermask_jax.errors import one_line


class Split(NamedTuple):
    """One split of N examples."""

    images: np.ndarray  # uint8 [N, H, W, C]
    labels: np.ndarray  # int32 [N], 0 <= label < num_classes


class Dataset(NamedTuple):
    """A whole data set in memory, in canonical order."""

    name: str
    train: Split
    test: Split
    num_classes: int
    source: str  # the source that served it: one of its `Spec.sources`
    digest: str  # content digest, 64 hexadecimal digits


class Spec(NamedTuple):
    """What is known of a data set beforehand. At most 256 classes: a label must fit one byte."""

    image_shape: tuple[int, int, int]  # (H, W, C)
    train_size: int
    test_size: int
    num_classes: int
    sources: tuple[str, ...]  # in the order in which they are tried
    balanced: bool = False  # every class has the same number of examples, in either split
    digest: str | None = None  # expected content digest; None where nobody has verified one
    mean: tuple[float, ...] = ()  # of each channel over all training pixels, on the scale 0..1
    std: tuple[float, ...] = ()  # likewise, population standard deviation


_CHAIN = ("cache", "tfds", "npm", "download")

# Means and deviations: MNIST's and CIFAR-10's are those of edge-popup's code (Ramanujan et al.,
# 2020), rounded as there; Fashion-MNIST's and CIFAR-100's the published ones (for CIFAR-100:
# weiaicunzai/pytorch-cifar100), to four digits; those of digits are computed.
_GREY = Spec((28, 28, 1), 60_000, 10_000, 10, _CHAIN)
_COLOUR = Spec((32, 32, 3), 50_000, 10_000, 10, ("cache", "tfds", "archive", "npm", "download"))
_DIGITS = Spec((8, 8, 1), 1_437, 360, 10, ("embedded",))
DATASETS: dict[str, Spec] = {
    "mnist": _GREY._replace(
        digest="b3229a6fb4672ac1f397c38b72c47b92acd9a111ebc098335761d3644a5d0ce0",
        mean=(0.1307,),
        std=(0.3081,),
    ),
    "fashion_mnist": _GREY._replace(balanced=True, mean=(0.2860,), std=(0.3530,)),
    "cifar10": _COLOUR._replace(
        balanced=True,
        digest="6621415c40ef701a2c7bc65b7d69d02245cb04a9eb98f52b3e5065de159c2baa",
        mean=(0.491, 0.482, 0.447),
        std=(0.247, 0.243, 0.262),
    ),
    "cifar100": _COLOUR._replace(  # the 100 fine labels
        num_classes=100,
        balanced=True,
        sources=("cache", "tfds", "archive", "download"),
        mean=(0.5071, 0.4865, 0.4409),
        std=(0.2673, 0.2564, 0.2762),
    ),
    "digits": _DIGITS._replace(
        digest="5a68ebdd02d5ae9af9cb441159d303b8f4c155561aef037c12f2c89d5dec1df9",
        mean=(0.2873,),
        std=(0.3542,),
    ),
}


class SourceError(Exception):
    """A source cannot serve: `reason` says why and `mend` what would change that, one line each."""

    def __init__(self, reason: str, mend: str):
        super().__init__(f"{reason} ({mend})")
        self.reason = reason
        self.mend = mend


class SourceCorrupt(SourceError):
    """A source is there, but what it holds is broken or is not the data set it should be."""


@contextmanager
def reading(place: str, mend: str) -> Iterator[None]:
    """Turns whatever goes wrong while `place` is read into a `SourceError` or `SourceCorrupt`."""
    try:
        yield
    except SourceError:
        raise
    except Exception as error:
        # Parsers raise nearly anything on broken bytes. An errno means that the system refused,
        # but for EINVAL: that is a seek to an offset that the broken bytes made up.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise SourceError(f"cannot read {place}: {one_line(error)}", mend) from error
        raise SourceCorrupt(f"{place} is corrupt: {one_line(error)}", mend) from error


def verified(
    name: str, source: str, train: Split, test: Split, *, ordered: bool = False
) -> Dataset:
    """Checks both splits of data set `name` against its `Spec` and puts them in canonical order.

    Args:
      name: a key of `DATASETS`.
      source: recorded in the result.
      train: images uint8 [N, H, W, C] and labels, any integer dtype, [N], in any order.
      test: likewise.
      ordered: the splits are known to be in canonical order already.

    Raises:
      ValueError: wrong dtype, shape, count, label or content digest.
    """
    spec = DATASETS[name]
    train = _checked("train", train, spec, spec.train_size)
    test = _checked("test", test, spec, spec.test_size)
    if not ordered:
        train, test = canonical(train), canonical(test)
    digest = content_digest(name, train, test)
    if spec.digest is not None and digest != spec.digest:
        raise ValueError(f"content digest {digest} is not the expected {spec.digest}")
    return Dataset(name, train, test, spec.num_classes, source, digest)


def canonical(split: Split) -> Split:
    """Returns a copy of `split` in canonical order; labels must lie in 0..255."""
    count = len(split.labels)
    rows = np.empty((count, split.images[0].size + 1), np.uint8)
    rows[:, :-1] = split.images.reshape(count, -1)
    rows[:, -1] = split.labels
    keys = [hashlib.blake2b(row, digest_size=16).digest() for row in rows]
    order = sorted(range(count), key=keys.__getitem__)
    return Split(split.images[order], split.labels[order])


def content_digest(name: str, train: Split, test: Split) -> str:
    """Returns the content digest defined at the top of this file, as 64 hexadecimal digits."""
    sha = hashlib.sha256(f"{name}\n".encode())
    for array in (*train, *test):
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        sha.update(f"{array.dtype.str} {array.shape}\n".encode())
        sha.update(array.reshape(-1).view(np.uint8))
    return sha.hexdigest()


def _checked(part: str, split: Split, spec: Spec, size: int) -> Split:
    """Returns `split` with int32 labels, or raises ValueError where it is not what `spec` says."""
    images, labels = split
    if images.dtype != np.uint8 or labels.dtype.kind not in "iu":
        raise ValueError(f"{part}: images are {images.dtype} and labels {labels.dtype}")
    if images.shape != (size, *spec.image_shape) or labels.shape != (size,):
        found = f"images {images.shape} and labels {labels.shape}"
        raise ValueError(f"{part}: {found}, expected {size} of {spec.image_shape}")
    if labels.min() < 0 or labels.max() >= spec.num_classes:
        found = f"{labels.min()}..{labels.max()}"
        raise ValueError(f"{part}: labels {found}, expected 0..{spec.num_classes - 1}")
    labels = labels.astype(np.int32)
    counts = np.bincount(labels, minlength=spec.num_classes)
    if spec.balanced and (counts != size // spec.num_classes).any():
        raise ValueError(f"{part}: examples a class {counts.tolist()}, expected all equal")
    return Split(images, labels)
