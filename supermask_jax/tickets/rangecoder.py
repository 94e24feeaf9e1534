"""An adaptive binary range coder for whole numbers: how a ticket stores positions.

The coder is that of LZMA with 12-bit probabilities; ``docs/ticket-format.md`` specifies it. Both
directions are integer arithmetic alone, so a file means the same everywhere. The
decoder's loop is written out: a call for every bit would cost more than the bit.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np

from supermask_jax.errors import UserError

# A number v is coded as the bit length of v + 1, in unary, then the bits below the leading one:
# the first `TREE_BITS` under adaptive probabilities, the others as they are.
MAX_LENGTH = 32
TREE_BITS = 3
LIMIT = 2**MAX_LENGTH - 1  # numbers are below it

_TOP = 1 << 24
_MASK = (1 << 32) - 1
# Adaptation: the n-th bit of a context moves its probability by 2 ** -RATES[n]: nearly the mean of
# the bits so far, then an average over about the last 128.
RATES = tuple(min(7, (n + 1).bit_length()) for n in range(64))


def _contexts() -> tuple[list[int], list[int]]:
    """Returns (probability of a 0 in 1/65536, bits seen) of every context: unary, then trees."""
    size = MAX_LENGTH + (MAX_LENGTH << TREE_BITS)
    return [1 << 15] * size, [0] * size


class Encoder:
    """Codes sequences of numbers into one stream."""

    def __init__(self) -> None:
        self._out = bytearray()
        self._low, self._range = 0, _MASK
        self._cache, self._pending = 0, 0

    def write(self, values: Sequence[int] | np.ndarray) -> None:
        """Appends numbers in 0 ... LIMIT - 1, under fresh probabilities."""
        model = _contexts()
        for value in values.tolist() if isinstance(values, np.ndarray) else values:
            value += 1
            left = value.bit_length() - 1
            for context in range(left):
                self._bit(*model, context, 1)
            if left < MAX_LENGTH - 1:
                self._bit(*model, left, 0)
            base, node = MAX_LENGTH + (left << TREE_BITS), 1
            while left and node < 1 << TREE_BITS:
                left -= 1
                bit = value >> left & 1
                self._bit(*model, base + node, bit)
                node = node << 1 | bit
            while left:
                step = min(left, 8)
                left -= step
                self._range >>= step
                self._low += (value >> left & ((1 << step) - 1)) * self._range
                self._normalize()

    def finish(self) -> bytes:
        """Returns the stream.

        Its first byte is always 0 and is left out; so are zeros at its end, since a decoder reads
        zeros beyond it.
        """
        for _ in range(5):
            self._shift()
        return bytes(self._out[1:]).rstrip(b"\0")

    def _bit(self, probabilities: list[int], counts: list[int], context: int, bit: int) -> None:
        p, n = probabilities[context], counts[context]
        bound = (self._range >> 12) * (p >> 4)
        if bit:
            self._low += bound
            self._range -= bound
            probabilities[context] = p - (p >> RATES[n])
        else:
            self._range = bound
            probabilities[context] = p + ((65536 - p) >> RATES[n])
        if n < len(RATES) - 1:
            counts[context] = n + 1
        if self._range < _TOP:
            self._normalize()

    def _normalize(self) -> None:
        while self._range < _TOP:
            self._range <<= 8
            self._shift()

    def _shift(self) -> None:
        """Moves the top byte of `low` out; a run of 255 waits, since a carry may still come."""
        if self._low < 0xFF000000 or self._low > _MASK:
            carry = self._low >> 32
            self._out.append(self._cache + carry & 0xFF)
            self._out += bytes([0xFF + carry & 0xFF]) * self._pending
            self._pending = 0
            self._cache = self._low >> 24 & 0xFF
        else:
            self._pending += 1
        self._low = self._low << 8 & _MASK


class Decoder:
    """Reads the sequences of a stream back, in the order in which they were written."""

    def __init__(self, data: bytes) -> None:
        # A stream ends at most 4 bytes before what the coder reads, and its zeros are dropped.
        self._data = bytes(data)
        self._at = 4
        self._range = _MASK
        self._code = int.from_bytes(self._data[:4].ljust(4, b"\0"), "big")

    def read(self, count: int, total: int = LIMIT) -> np.ndarray:
        """Returns `count` numbers, int64 [count].

        Args:
          count: how many were written.
          total: an upper bound of the sum of (number + 1); what exceeds it ends the reading, so
            that a broken stream costs no more time than a whole one.

        Raises:
          UserError: the sum exceeds the bound.
        """
        found = array("q")
        data, at, size = self._data, self._at, len(self._data)
        rng, code = self._range, self._code
        probabilities, counts = _contexts()
        rates = RATES
        for _ in range(count):
            length, value, nodes = 1, 1, 0
            context = 0
            left = -1  # below 0 while the length is read
            while True:
                p, n = probabilities[context], counts[context]
                bound = (rng >> 12) * (p >> 4)
                if code < bound:
                    rng = bound
                    probabilities[context] = p + ((65536 - p) >> rates[n])
                    bit = 0
                else:
                    code -= bound
                    rng -= bound
                    probabilities[context] = p - (p >> rates[n])
                    bit = 1
                if n < 63:
                    counts[context] = n + 1
                while rng < _TOP:
                    rng <<= 8
                    code = code << 8 | (data[at] if at < size else 0)
                    at += 1
                if left < 0:
                    if bit and length < MAX_LENGTH - 1:
                        context = length
                        length += 1
                        continue
                    length += bit
                    left = length - 1
                    nodes = min(left, TREE_BITS)
                else:
                    value = value << 1 | bit
                    left -= 1
                    nodes -= 1
                if not nodes:
                    break
                context = MAX_LENGTH + ((length - 1) << TREE_BITS) + value
            while left:
                step = min(left, 8)
                left -= step
                rng >>= step
                bits = code // rng
                code -= bits * rng
                value = value << step | bits
                while rng < _TOP:
                    rng <<= 8
                    code = code << 8 | (data[at] if at < size else 0)
                    at += 1
            total -= value
            if total < 0:
                raise UserError("the positions run beyond their layer")
            found.append(value - 1)
        self._at, self._range, self._code = at, rng, code
        return np.frombuffer(found, np.int64) if count else np.zeros(0, np.int64)
