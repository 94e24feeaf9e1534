"""CIFAR as its authors distribute it: binary and Python archives, packed or extracted.

The layouts are those of https://www.cs.toronto.edu/~kriz/cifar.html. The originals of CIFAR-100
were never at hand here: no digest of them is pinned, and only small files of the same formats are
tested.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from supermask_jax.data import formats, pickles
from supermask_jax.data.specs import DATASETS, SourceError, Split

HOME = "https://www.cs.toronto.edu/~kriz/cifar.html"

_Shape = tuple[int, int, int]  # (H, W, C)


class Archive(NamedTuple):
    """One layout of a data set."""

    folder: str  # what the archive extracts to
    tarball: str
    train: tuple[str, ...]  # files in `folder`
    test: tuple[str, ...]
    parse: Callable[[bytes, _Shape], Split]


def parse_binary(raw: bytes, image_shape: _Shape, *, label_bytes: int) -> Split:
    """Decodes records of `label_bytes` labels, the last of which counts, and H * W * C pixels.

    Raises:
      ValueError: not a whole number of records.
    """
    size = label_bytes + int(np.prod(image_shape))
    if len(raw) % size:
        raise ValueError(f"{len(raw)} bytes are no whole number of records of {size}")
    rows = np.frombuffer(raw, np.uint8).reshape(-1, size)
    return Split(_channels_last(rows[:, label_bytes:], image_shape), rows[:, label_bytes - 1])


def parse_pickle(raw: bytes, image_shape: _Shape, *, label_key: str) -> Split:
    """Decodes a pickled dict: "data" is uint8 [N, H * W * C], `label_key` a list of N integers.

    Raises:
      ValueError: anything else, or a pickle that asks for more than such data needs.
    """
    stored = pickles.load(raw)
    images, labels = _entry(stored, "data"), _entry(stored, label_key)
    if not isinstance(images, pickles.Array):
        raise ValueError("its 'data' is no array")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise ValueError(f"its {label_key!r} is no list of integers")
    return Split(_channels_last(images.numpy(), image_shape), np.array(labels))


def _entry(stored: Any, key: str) -> Any:
    """Returns ``stored[key]``; Python 2 wrote the keys as bytes."""
    for spelling in (key, key.encode()):
        if isinstance(stored, Mapping) and spelling in stored:
            return stored[spelling]
    raise ValueError(f"it is no dict with {key!r}")


def _channels_last(rows: np.ndarray, image_shape: _Shape) -> np.ndarray:
    """Turns [N, C * H * W] into contiguous [N, H, W, C]."""
    height, width, channels = image_shape
    if rows.ndim != 2 or rows.shape[1] != height * width * channels:
        raise ValueError(f"images are {rows.shape}, expected rows of {height * width * channels}")
    images = rows.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images)


_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))

# The binary ones first: nothing in them can go wrong but a number.
ARCHIVES: dict[str, tuple[Archive, ...]] = {
    "cifar10": (
        Archive(
            "cifar-10-batches-bin",
            "cifar-10-binary.tar.gz",
            tuple(f"{batch}.bin" for batch in _BATCHES),
            ("test_batch.bin",),
            partial(parse_binary, label_bytes=1),
        ),
        Archive(
            "cifar-10-batches-py",
            "cifar-10-python.tar.gz",
            _BATCHES,
            ("test_batch",),
            partial(parse_pickle, label_key="labels"),
        ),
    ),
    "cifar100": (
        Archive(
            "cifar-100-binary",
            "cifar-100-binary.tar.gz",
            ("train.bin",),
            ("test.bin",),
            partial(parse_binary, label_bytes=2),  # coarse, fine
        ),
        Archive(
            "cifar-100-python",
            "cifar-100-python.tar.gz",
            ("train",),
            ("test",),
            partial(parse_pickle, label_key="fine_labels"),
        ),
    ),
}


def find(name: str, data_dir: str) -> tuple[Archive, Path]:
    """Returns the first archive of data set `name` in `data_dir`: its layout and where it is.

    Raises:
      SourceError: there is none.
    """
    for archive in ARCHIVES[name]:
        for path in (Path(data_dir, archive.folder), Path(data_dir, archive.tarball)):
            if path.exists():
                return archive, path
    tarballs = " or ".join(archive.tarball for archive in ARCHIVES[name])
    raise SourceError(f"no {tarballs} in {data_dir}", f"fetch it from {HOME} into the data_dir")


def read(name: str, archive: Archive, path: Path) -> tuple[Split, Split]:
    """Returns (train, test) of `archive` at `path`, a folder or a tarball; broken bytes raise."""
    spec = DATASETS[name]
    # With the file names and the second labels of the pickles; a broken size asks for no more.
    rows = max(spec.train_size, spec.test_size)
    max_size = rows * (int(np.prod(spec.image_shape)) + 256) + (1 << 16)
    members = [f"{archive.folder}/{file}" for file in archive.train + archive.test]
    if path.is_dir():
        files = {member: _read_file(path.parent / member, max_size) for member in members}
    else:
        files = formats.read_tarball(path, members, max_size)

    def split(batches: tuple[str, ...]) -> Split:
        parts = []
        for batch in batches:
            raw = files.pop(f"{archive.folder}/{batch}")  # Bytes and arrays in memory only once.
            try:
                parts.append(archive.parse(raw, spec.image_shape))
            except ValueError as error:
                raise ValueError(f"{batch}: {error}") from error
        return Split(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    return split(archive.train), split(archive.test)


def _read_file(path: Path, max_size: int) -> bytes:
    """Returns the contents of a file of at most `max_size` bytes, or raises ValueError."""
    if path.stat().st_size > max_size:
        raise ValueError(f"{path.name} has more than {max_size} bytes")
    return path.read_bytes()
