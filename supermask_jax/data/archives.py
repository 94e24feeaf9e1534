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
from supermask_jax.errors import about

HOME = "https://www.cs.toronto.edu/~kriz/cifar.html"

_Shape = tuple[int, int, int]  # (H, W, C)


class Archive(NamedTuple):
    """One layout of a data set."""

    folder: str  # what the archive extracts to
    tarball: str
    suffix: str  # of the files in `folder`: see `_FILES`
    parse: Callable[[bytes, _Shape], Split]


def parse_binary(raw: bytes, image_shape: _Shape, *, label_bytes: int) -> Split:
    """Decodes records of `label_bytes` labels, the last of which counts, and H * W * C pixels.

    Raises:
      ValueError: not a whole number of records.
    """
    rows = np.frombuffer(raw, np.uint8).reshape(-1, label_bytes + int(np.prod(image_shape)))
    return Split(_channels_last(rows[:, label_bytes:], image_shape), rows[:, label_bytes - 1])


def parse_pickle(raw: bytes, image_shape: _Shape, *, label_key: str) -> Split:
    """Decodes a pickled dict: "data" is uint8 [N, H * W * C], `label_key` a list of N integers.

    Raises:
      ValueError: a pickle that is broken, or asks for more than such data needs.
    """
    stored = pickles.load(raw)
    images, labels = (np.asarray(_entry(stored, key)) for key in ("data", label_key))
    return Split(_channels_last(images, image_shape), labels)


def _entry(stored: Any, key: str) -> Any:
    """Returns ``stored[key]``; Python 2 wrote the keys as bytes."""
    for spelling in (key, key.encode()):
        if isinstance(stored, Mapping) and spelling in stored:
            return stored[spelling]
    raise ValueError(f"it is no dict with {key!r}")


def _channels_last(rows: np.ndarray, image_shape: _Shape) -> np.ndarray:
    """Turns [N, C * H * W] into contiguous [N, H, W, C]."""
    height, width, channels = image_shape
    images = rows.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images)


_FILES = {  # of train and of test
    "cifar10": ([f"data_batch_{i}" for i in range(1, 6)], ["test_batch"]),
    "cifar100": (["train"], ["test"]),
}

# The last one of the labels is the fine one.
_ONE_LABEL, _TWO_LABELS = (partial(parse_binary, label_bytes=count) for count in (1, 2))
_LABELS, _FINE_LABELS = (partial(parse_pickle, label_key=key) for key in ("labels", "fine_labels"))

# The binary ones first: nothing in them can go wrong but a number.
ARCHIVES: dict[str, tuple[Archive, ...]] = {
    "cifar10": (
        Archive("cifar-10-batches-bin", "cifar-10-binary.tar.gz", ".bin", _ONE_LABEL),
        Archive("cifar-10-batches-py", "cifar-10-python.tar.gz", "", _LABELS),
    ),
    "cifar100": (
        Archive("cifar-100-binary", "cifar-100-binary.tar.gz", ".bin", _TWO_LABELS),
        Archive("cifar-100-python", "cifar-100-python.tar.gz", "", _FINE_LABELS),
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
    train, test = (
        [f"{archive.folder}/{file}{archive.suffix}" for file in part] for part in _FILES[name]
    )
    members = train + test
    if path.is_dir():
        files = {member: (path.parent / member).read_bytes() for member in members}
    else:
        files = formats.read_tarball(path, members)

    def split(members: list[str]) -> Split:
        parts = []
        for member in members:
            with about(Path(member).name):  # Bytes and arrays are in memory only once.
                parts.append(archive.parse(files.pop(member), spec.image_shape))
        return Split(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    return split(train), split(test)
