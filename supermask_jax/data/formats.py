"""Decoders for the raw files that the mirrors carry. Broken bytes raise whatever is nearest."""

from __future__ import annotations

import io
import json
import struct
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from supermask_jax.data.specs import Split


def read_tarball(path: Path, names: Iterable[str]) -> dict[str, bytes]:
    """Returns the contents of the members `names` of a .tgz file.

    Raises:
      KeyError: a member is not there.
    """
    wanted, found = set(names), {}
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            if member.name in wanted and member.isfile():
                found[member.name] = archive.extractfile(member).read()
        while archive.fileobj.read(1 << 20):
            pass  # The checksum of it all is at the end.
    if wanted - found.keys():
        raise KeyError(f"{path.name} lacks {', '.join(sorted(wanted - found.keys()))}")
    return found


def read_tfrecord(path: str | Path) -> Iterator[bytes]:
    """Yields the records of a TFRecord file; EOFError where it is cut short.

    A record is its length (uint64, little-endian), the CRC of that, the data, the CRC of those. The
    CRCs are not checked: they are CRC-32C, slow in Python, and the data set has its own digest.
    """
    with open(path, "rb") as file:
        while header := file.read(12):
            size = int.from_bytes(header[:8], "little")
            data = file.read(size + 4)
            if len(header) < 12 or len(data) < size + 4:
                raise EOFError(f"{path} is cut short")
            yield data[:size]


def parse_idx(raw: bytes, rank: int) -> np.ndarray:
    """Decodes an IDX file of unsigned bytes into a read-only uint8 array of the given rank.

    Raises:
      ValueError: another type or rank, or more or fewer bytes than its header says.
    """
    header = 4 + 4 * rank
    if len(raw) < header or raw[:4] != bytes((0, 0, 0x08, rank)):
        raise ValueError(f"not an IDX file of unsigned bytes of rank {rank}")
    shape = struct.unpack(f">{rank}I", raw[4:header])
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


def parse_idx_split(images: bytes, labels: bytes) -> Split:
    """Decodes MNIST's pair of IDX files: images [N, H, W] get a channel axis; labels stay uint8."""
    return Split(parse_idx(images, rank=3)[..., np.newaxis], parse_idx(labels, rank=1))


def parse_mosaic_split(
    mosaics: Iterable[bytes], labels: bytes, image_shape: tuple[int, int, int]
) -> Split:
    """Decodes PNG mosaics, one image a row, and the JSON list of all their labels.

    Args:
      mosaics: PNG files, each N_i rows high and H * W RGB pixels wide.
      labels: JSON list of sum(N_i) integers.
      image_shape: (H, W, 3).
    """
    images = np.concatenate([_parse_mosaic(png, image_shape) for png in mosaics])
    return Split(images, np.array(json.loads(labels)))


def _parse_mosaic(png: bytes, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Decodes one mosaic into uint8 [N, H, W, 3]."""
    from PIL import Image

    with Image.open(io.BytesIO(png), formats=["PNG"]) as mosaic:
        return np.asarray(mosaic).reshape(-1, *image_shape)
