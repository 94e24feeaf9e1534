"""Where the kept weights of layers are: gaps or bits, which LZMA of the standard library shortens.

A layer is a matrix of its last axis (columns) by all others (rows). Rows and columns without any
kept weight are left out: trained networks have many. The cells of what is left are walked row by
row or column by column, as the gaps between kept ones or as a bit each: as is shortest.
"""

from __future__ import annotations

import lzma
import math

import numpy as np

from supermask_jax.errors import UserError, one_line
from supermask_jax.tickets.metadata import LayerEntry

# An order is a sum of these.
BY_COLUMN, BITS = 1, 2

# More cells than this a kept weight are never bits: what is read stays in proportion to the file.
MOST_BITS = 64

# Bytes of gaps are best predicted by themselves alone.
_FILTERS = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 16, "lc": 0, "lp": 0, "pb": 0}]


class Reader:
    """Takes entries of an array, one run after another, and no more than there are."""

    def __init__(self, name: str, array: np.ndarray) -> None:
        self._name, self.left = name, array

    def take(self, count: int) -> np.ndarray:
        """Returns the next `count` entries.

        Raises:
          UserError: there are not so many.
        """
        if count > len(self.left):
            raise UserError(f"it holds fewer {self._name} than it describes")
        found, self.left = self.left[:count], self.left[count:]
        return found

    def bits(self, count: int) -> np.ndarray:
        """Reads `count` bits, the highest of a byte first, and what fills the last byte."""
        return np.unpackbits(self.take(-(-count // 8)), count=count)

    def indices(self, count: int, magnitudes: int) -> np.ndarray:
        """Reads which of the `magnitudes` each of `count` weights has, int [count]."""
        width = _index_bits(magnitudes)
        bits = self.bits(count * width).reshape(count, width)
        return bits @ (1 << np.arange(width))[::-1]

    def rising(self, count: int, size: int) -> np.ndarray:
        """Reads gaps as `count` rising numbers below `size`, int64 [count].

        Raises:
          UserError: there are none such.
        """
        window = self.left[: count + size // 255]
        ends = np.flatnonzero(window < 255)[:count]
        if len(ends) < count:
            raise UserError(f"it holds fewer {self._name} than it describes")
        run = self.take(int(ends[-1]) + 1)
        numbers = np.cumsum(run, dtype=np.int64)[ends] + np.arange(count)
        if numbers[-1] >= size:
            raise UserError("some of its weights have positions outside of their layer")
        return numbers


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Returns (rows, columns)."""
    return math.prod(shape[:-1]), shape[-1] if shape else 1


def compress(data: bytes) -> bytes:
    """Returns a raw LZMA2 stream."""
    return lzma.compress(data, lzma.FORMAT_RAW, filters=_FILTERS)


def decompress(data: bytes, limit: int) -> np.ndarray:
    """Returns the bytes of a raw LZMA2 stream, uint8 [at most limit].

    Raises:
      UserError: it is damaged, or longer.
    """
    decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_FILTERS)
    try:
        found = decoder.decompress(data, limit + 1)
    except (lzma.LZMAError, EOFError) as error:
        raise UserError(f"its positions are damaged ({one_line(error, 80)})") from error
    if not decoder.eof or decoder.unused_data:
        raise UserError("its positions are cut short, or longer than any ticket's")
    return np.frombuffer(found, np.uint8)


def encode(shape: tuple[int, ...], positions: np.ndarray) -> tuple[int, tuple[int, int], bytes]:
    """Returns the order, numbers of live rows and columns, and bytes of a layer of `shape`.

    Args:
      shape: of the layer.
      positions: int64 [k] and rising.
    """
    if not len(positions):
        return 0, (0, 0), b""
    sizes, places = matrix_shape(shape), np.divmod(positions, shape[-1] if shape else 1)
    found = {}
    # A list of the live is not worth its bytes where only some rows are empty by chance.
    for alive in ([np.unique(at) for at in places], [np.arange(n) for n in sizes]):
        live = len(alive[0]), len(alive[1])
        if max(live) > len(positions):
            continue
        lists = b"".join(_gaps(at) for at, n in zip(alive, sizes, strict=True) if len(at) < n)
        row, column = (np.searchsorted(at, p) for at, p in zip(alive, places, strict=True))
        by_column = np.sort(column * live[0] + row)
        for order, cells in ((0, row * live[1] + column), (BY_COLUMN, by_column)):
            found[order, live] = lists + _gaps(cells)
            if live[0] * live[1] <= MOST_BITS * len(positions):
                bits = np.zeros(live[0] * live[1], bool)
                bits[cells] = True
                found[order | BITS, live] = lists + np.packbits(bits).tobytes()
    order, live = min(found, key=lambda key: len(compress(found[key])))
    return order, live, found[order, live]


def _gaps(rising: np.ndarray) -> bytes:
    """Returns the gaps of rising numbers: as many bytes of 255 as fit in each, and the rest."""
    times, rest = np.divmod(np.diff(rising, prepend=-1) - 1, 255)
    ends = np.cumsum(times + 1)
    data = np.full(ends[-1], 255, np.uint8)
    data[ends - 1] = rest
    return data.tobytes()


def decode(stream: Reader, entry: LayerEntry) -> np.ndarray:
    """Returns the positions of a layer, int64 [kept] and rising.

    Time and memory are of the order of `kept`, whatever the shape.

    Raises:
      UserError: what is there does not fit the shape.
    """
    if not entry.kept:
        return np.zeros(0, np.int64)
    live, bits = entry.live, entry.order & BITS
    sizes, cells = matrix_shape(entry.shape), live[0] * live[1]
    fits = all(0 < n <= min(size, entry.kept) for n, size in zip(live, sizes, strict=True))
    if not fits or not entry.kept <= cells <= (MOST_BITS * entry.kept if bits else cells):
        raise UserError("a layer has more or fewer rows and columns than its kept weights can fill")
    rows, columns = (
        stream.rising(n, size) if n < size else np.arange(n)
        for n, size in zip(live, sizes, strict=True)
    )
    found = np.flatnonzero(stream.bits(cells)) if bits else stream.rising(entry.kept, cells)
    if len(found) != entry.kept:
        raise UserError(f"its bits keep {len(found):,} weights, not {entry.kept:,}")
    if entry.order & BY_COLUMN:
        column, row = np.divmod(found, live[0])
    else:
        row, column = np.divmod(found, live[1])
    return np.sort(rows[row] * sizes[1] + columns[column])


def encode_indices(index: np.ndarray, magnitudes: int) -> bytes:
    """Returns which of the `magnitudes` each weight has, int [k], as bytes."""
    bits = index[:, None] >> np.arange(_index_bits(magnitudes))[::-1] & 1
    return np.packbits(bits.astype(bool)).tobytes()


def _index_bits(magnitudes: int) -> int:
    """Returns the bits of an index: none for one magnitude, or the least of 1, 2, 4 and 8."""
    return next(width for width in (0, 1, 2, 4, 8) if magnitudes <= 1 << width)
