"""Pickled dicts of byte arrays and lists, read without running anything else that they name.

A pickle is a program that may call any function there is. Those of CIFAR need a few, to rebuild an
array; they find these and nothing else.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),  # by which Python 3 writes bytes for Python 2
}


class _Refused(ValueError):
    """A pickle that is not broken, but names what it must not."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise _Refused(
                f"its pickle asks for {module}.{name}, which is no function that makes an array of "
                "bytes: it could run foreign code"
            )
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def load(raw: bytes) -> Any:
    """Returns what `raw` holds: dicts, lists, numbers, texts and arrays.

    Texts of Python 2 come as bytes.

    Raises:
      ValueError: cut short, no pickle, or one that names any other function or class.
    """
    try:
        return _Unpickler(io.BytesIO(raw), encoding="bytes").load()
    except _Refused:
        raise
    except Exception as error:
        # A broken program stumbles over anything: a stack, a call, a key that is no key.
        raise ValueError(f"its pickle is broken or cut short: {error}") from error
