"""Pickled dicts of byte arrays and lists, read without running anything that they name.

A pickle is a program that may call any function there is. Those of CIFAR need a few, to rebuild an
array; here stand-ins take their place, which record what they are given and do nothing. What they
recorded becomes an array only once it is known to be a plain one of unsigned bytes.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from typing import Any

import numpy as np

_MAX_TUPLES = 1000  # Some five an array; a chain of a million nested ones would crash a hash.


class Array:
    """What the pickle of a NumPy array says of it."""

    def __init__(self) -> None:
        self._state: Any = None

    def __setstate__(self, state: Any) -> None:
        self._state = state

    def numpy(self) -> np.ndarray:
        """Returns the array, read-only; ValueError where it is not a plain uint8 array."""
        match self._state:
            case (1, tuple() as shape, Dtype(name=b"u1" | "u1"), fortran, data):
                pass
            case _:
                raise ValueError("an array is not of unsigned bytes")
        data = data.text.encode("latin1") if isinstance(data, Text) else data
        if not all(type(n) is int and n >= 0 for n in shape) or not isinstance(data, bytes):
            raise ValueError("an array has no sound shape and bytes")
        if len(data) != math.prod(shape):
            raise ValueError(f"an array of shape {shape} holds {len(data)} bytes")
        return np.frombuffer(data, np.uint8).reshape(shape, order="F" if fortran else "C")


class Dtype:
    """Stands in for `numpy.dtype`."""

    def __init__(self, name: Any = None, *flags: Any) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        """Ignores byte order and alignment, which a byte has not."""


class Text:
    """Stands in for `_codecs.encode`, by which Python 3 writes bytes for Python 2: in latin-1."""

    def __init__(self, text: str, encoding: str) -> None:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise ValueError("bytes are not written as latin-1")
        self.text = text


class _NdarrayType:
    """Stands in for `numpy.ndarray`, the first argument of the function that rebuilds one."""


def _reconstruct(*unused: Any) -> Array:
    """Stands in for NumPy's function that makes the empty array which the state then fills."""
    return Array()


_STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _NdarrayType,
    ("numpy", "dtype"): Dtype,
    ("_codecs", "encode"): Text,
}


class _Refused(ValueError):
    """A pickle that is not broken, but names what it must not."""


class _Unpickler(pickle.Unpickler):
    """Knows the stand-ins and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STAND_INS:
            raise _Refused(
                f"its pickle asks for {module}.{name}, which is no function that makes an array of "
                "bytes: it could run foreign code"
            )
        return _STAND_INS[module, name]


def load(raw: bytes) -> Any:
    """Returns what `raw` holds: dicts, lists, numbers, texts, and an `Array` for each array.

    Texts of Python 2 come as bytes. Takes memory in proportion to `raw`, whatever is in it.

    Raises:
      ValueError: cut short, no pickle, or one that names any other function or class.
    """
    _check_sizes(raw)
    try:
        return _Unpickler(io.BytesIO(raw), encoding="bytes").load()
    except _Refused:
        raise
    except Exception as error:
        # A broken program stumbles over anything: a stack, a call, a key that is no key.
        raise ValueError(f"its pickle is broken: {error}") from error


def _check_sizes(raw: bytes) -> None:
    """Raises ValueError for a pickle that is cut short or would claim memory that it does not fill.

    The unpickler believes every length and memo number before it sees the bytes.
    """
    tuples = 0
    try:
        for opcode, argument, _ in pickletools.genops(raw):
            if opcode.name.endswith("PUT") and int(argument) > len(raw):
                raise ValueError(f"memo number {argument} of a pickle of {len(raw)} bytes")
            tuples += "TUPLE" in opcode.name
            if tuples > _MAX_TUPLES:
                raise ValueError(f"more than {_MAX_TUPLES} tuples")
    except Exception as error:
        raise ValueError(f"its pickle is broken or cut short: {error}") from error
