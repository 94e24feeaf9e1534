"""Layers to streams and back: where the kept weights are, and which magnitude each has."""

from __future__ import annotations

import numpy as np

from supermask_jax.errors import UserError
from supermask_jax.tickets.rangecoder import LIMIT, Decoder, Encoder

# A layer is a matrix of its last axis (columns) by all others (rows). Rows and columns without any
# kept weight are listed and dropped: trained networks have many. The rest is coded as the gaps
# between kept weights, row by row or column by column, whichever is shorter; where half of it is
# kept, so that gaps save nothing, it is a bitmap, which is read at once.
BY_ROW, BY_COLUMN, BITMAP = range(3)


class Bits:
    """Reads bits, the highest of a byte first."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data, self._at = np.frombuffer(data, np.uint8), 0

    @property
    def left(self) -> int:
        """How many are left."""
        return 8 * len(self._data) - self._at

    def take(self, count: int) -> np.ndarray:
        """Returns the next bits, bool [count].

        Raises:
          UserError: there are not so many.
        """
        if count > self.left:
            raise UserError(f"it holds {self.left:,} bits where {count:,} are described")
        first, end = self._at, self._at + count
        self._at = end
        bits = np.unpackbits(self._data[first // 8 : -(-end // 8)])
        return bits[first % 8 :][:count].astype(bool)


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Returns (rows, columns)."""
    columns = shape[-1] if shape else 1
    return int(np.prod(shape[:-1], dtype=object)), columns


def encode(encoder: Encoder, shape: tuple[int, ...], positions: np.ndarray) -> np.ndarray:
    """Appends the positions, int64 [k] and rising, of a layer of `shape`; k = 0 is nothing.

    Returns:
      The bitmap where the layer is coded as one, bool [live cells], else bool [0].
    """
    bitmap = np.zeros(0, bool)
    if not len(positions):
        return bitmap
    made = [_sequences(shape, positions, order) for order in (BY_ROW, BY_COLUMN)]
    cost, order = min((_cost(sequences[-1]), order) for order, sequences in enumerate(made))
    *sequences, gaps = made[order]
    rows, columns = matrix_shape(shape)
    cells = (rows - int(sequences[0][0])) * (columns - int(sequences[0][1]))
    if cost > 0.99 * cells:
        bitmap = np.zeros(cells, bool)
        bitmap[np.cumsum(made[BY_ROW][-1] + 1) - 1] = True
        sequences[0][2] = BITMAP
    else:
        sequences.append(gaps)
    for sequence in sequences:
        encoder.write(sequence)
    return bitmap


def _cost(gaps: np.ndarray) -> float:
    """Estimates the bits that gaps take: the entropy of their lengths, and the bits below."""
    lengths = np.frexp(gaps + 1.0)[1]
    share = np.bincount(lengths) / len(gaps)
    share = share[share > 0]
    return float(np.sum(lengths - 1) - len(gaps) * np.sum(share * np.log2(share)))


def _sequences(shape: tuple[int, ...], positions: np.ndarray, order: int) -> list[np.ndarray]:
    """Returns the sequences that a layer is coded as; the last is that of its cells."""
    rows, columns = matrix_shape(shape)
    row, column = np.divmod(positions, columns)
    live_rows, row = np.unique(row, return_inverse=True)
    live_columns, column = np.unique(column, return_inverse=True)
    dead = (rows - len(live_rows), columns - len(live_columns))
    if order == BY_COLUMN:
        cells = np.sort(column * len(live_rows) + row)
    else:
        cells = row * len(live_columns) + column
    found = [np.array([*dead, order])]
    for count, live in zip(dead, (live_rows, live_columns), strict=True):
        if count:
            found.append(_gaps(live))
    return [*found, _gaps(cells)]


def _gaps(rising: np.ndarray) -> np.ndarray:
    return np.diff(rising, prepend=-1) - 1


def decode(decoder: Decoder, bits: Bits, shape: tuple[int, ...], kept: int) -> np.ndarray:
    """Returns the positions of a layer, int64 [kept] and rising.

    Time and memory are of the order of `kept` and the bits that are there, whatever the shape.

    Raises:
      UserError: the stream does not fit the shape.
    """
    if not kept:
        return np.zeros(0, np.int64)
    sizes = matrix_shape(shape)
    *dead, order = decoder.read(3).tolist()
    live = [size - count for size, count in zip(sizes, dead, strict=True)]
    if order > BITMAP or min(live) < 1 or max(live) > kept or live[0] * live[1] < kept:
        raise UserError("its rows and columns do not fit the number of weights it keeps")
    lists = [
        _rising(decoder, count, size) if count < size else None
        for count, size in zip(live, sizes, strict=True)
    ]
    if order == BITMAP:
        cells = np.flatnonzero(bits.take(live[0] * live[1]))
        if len(cells) != kept:
            raise UserError(f"its bitmap keeps {len(cells):,} weights, not {kept:,}")
    else:
        cells = _rising(decoder, kept, live[0] * live[1])
    if order == BY_COLUMN:
        column, row = np.divmod(cells, live[0])
    else:
        row, column = np.divmod(cells, live[1])
    row, column = (
        part if where is None else where[part]
        for where, part in zip(lists, (row, column), strict=True)
    )
    positions = row * sizes[1] + column
    return np.sort(positions) if order == BY_COLUMN else positions


def _rising(decoder: Decoder, count: int, size: int) -> np.ndarray:
    """Reads `count` gaps as rising numbers below `size`."""
    return np.cumsum(decoder.read(count, min(size, LIMIT)) + 1) - 1
