"""The container of a ticket: a safetensors file, written and read here and trusted nowhere.

A safetensors file is the length of a JSON header (uint64, little-endian), the header, and the bytes
of the tensors: https://github.com/huggingface/safetensors. A ticket has at most the four
one-dimensional tensors of `TENSORS`, so nothing is allocated that the file does not hold.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from supermask_jax import files
from supermask_jax.errors import UserError, one_line

# Tensor -> the dtypes that it may have.
TENSORS = {"meta": ("U8",), "mask": ("U8",), "values": ("F32", "F16", "BF16"), "free": ("F32",)}
ITEMSIZE = {"U8": 1, "F32": 4, "F16": 2, "BF16": 2}
FORMAT = "supermask-ticket-1"

_MAX_HEADER = 4096


def pack(tensors: Mapping[str, tuple[str, bytes]]) -> bytes:
    """Returns the file of some tensors, given as name -> (dtype, little-endian bytes)."""
    header: dict[str, Any] = {"__metadata__": {"format": FORMAT}}
    at = 0
    for name, (dtype, data) in tensors.items():
        shape = [len(data) // ITEMSIZE[dtype]]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # The library's alignment.
    return len(text).to_bytes(8, "little") + text + b"".join(d for _, d in tensors.values())


def unpack(content: bytes) -> dict[str, tuple[str, memoryview]]:
    """Returns name -> (dtype, bytes) of a file's tensors.

    Raises:
      UserError: the file is cut short or changed, or is no ticket.
    """
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > len(content) - 8:
        raise UserError("it is cut short, or no safetensors file")
    if length > _MAX_HEADER:
        raise UserError(f"its header of {length:,} bytes is not that of a ticket")
    try:
        header = json.loads(content[8 : 8 + length].decode())
    except (ValueError, RecursionError) as error:
        raise UserError(f"its header is no JSON ({one_line(error, 80)})") from error
    found = header.pop("__metadata__", None) if isinstance(header, dict) else None
    if not isinstance(found, dict) or "format" not in found:
        raise UserError("it is not a ticket: its header names no format")
    if found != {"format": FORMAT}:
        raise UserError(f"its format is {one_line(str(found['format']), 40)!r}, not {FORMAT!r}")
    data = memoryview(content)[8 + length :]
    tensors, at = {}, 0
    for name, entry in header.items():
        dtype, size = _entry(name, entry, at)
        tensors[name] = dtype, data[at : at + size]
        at += size
    if at != len(data):
        raise UserError(f"its tensors take {at:,} bytes, but it holds {len(data):,}")
    if not {"meta", "mask"} <= tensors.keys():
        raise UserError("it is not a ticket: it lacks the tensor 'meta' or 'mask'")
    return tensors


def _entry(name: str, entry: Any, at: int) -> tuple[str, int]:
    """Returns the dtype and size in bytes of a tensor, which must begin at `at`."""
    if name not in TENSORS:
        raise UserError(f"it is not a ticket: tensor {one_line(name, 40)!r} is none of its own")
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise UserError(f"the header's entry of tensor {name!r} is not of the right form")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if dtype not in TENSORS[name]:
        raise UserError(f"tensor {name!r} is not {' or '.join(TENSORS[name])}")
    for numbers, count in ((shape, 1), (offsets, 2)):
        if not is_counts(numbers) or len(numbers) != count:
            raise UserError(f"shape or offsets of tensor {name!r} are not of the right form")
    size = shape[0] * ITEMSIZE[dtype]
    if offsets != [at, at + size]:
        raise UserError(f"the offsets of tensor {name!r} do not fit its shape and place")
    return dtype, size


def is_counts(value: Any) -> bool:
    """Whether `value` is a list of whole numbers from 0, as JSON gives them."""
    return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)


def product(shape: list[int] | tuple[int, ...]) -> int:
    """Returns the number of entries of an array of `shape`, without overflow."""
    return math.prod(shape)


def read(path: str | os.PathLike[str]) -> bytes:
    """Returns the bytes of a file.

    Raises:
      UserError: it cannot be read.
    """
    try:
        if not Path(path).is_file():
            raise UserError(f"there is no file {path}")
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def write(path: str | os.PathLike[str], content: bytes) -> None:
    """Writes a file in one step: a reader sees the old one or the new one.

    Raises:
      UserError: it cannot be written.
    """
    path = Path(path)
    try:
        files.write(path, content)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
