"""The metadata of a ticket: JSON, deflated with a preset dictionary, checked entry by entry."""

from __future__ import annotations

import json
import math
import zlib
from typing import Any, NamedTuple

import numpy as np

from supermask_jax.errors import UserError, one_line
from supermask_jax.tickets.container import is_counts, product
from supermask_jax.tickets.dictionary import DICTIONARY
from supermask_jax.tickets.ticket import Ticket

# Inflated, metadata are at most so many times as long: a file of a few bytes stays small in memory.
_MAX_INFLATION = 64
_MAX_WEIGHTS = 2**31
_MAX_MAGNITUDES = 256
_CODINGS = ("signs", "values", "all", "drawn")
_FIELDS = {
    "model": dict,
    "num_classes": int,
    "image_shape": list,
    "preprocessing": dict,
    "method": str,
    "config": dict,
    "accuracy": dict,
    "versions": dict,
    "weights_sha256": str,
}


class LayerEntry(NamedTuple):
    """How a layer is stored."""

    name: str
    shape: tuple[int, ...]
    kept: int
    coding: str
    magnitudes: list[float]

    @property
    def num_values(self) -> int:
        """How many numbers of tensor 'values' are this layer's."""
        return {"values": self.kept, "all": product(self.shape)}.get(self.coding, 0)

    @property
    def num_signs(self) -> int:
        """How many sign bits are this layer's."""
        return self.kept if self.coding in ("signs", "drawn") else 0


class Metadata(NamedTuple):
    """What the metadata say."""

    layers: list[LayerEntry]
    free: list[tuple[str, str, tuple[int, ...]]]  # (params or batch_stats, name, shape)
    coded: int  # bytes of tensor 'mask' that are the coder's; bits follow
    sha256: str
    fields: dict[str, Any]  # the plain fields of a `Ticket`


def pack(ticket: Ticket, layers: list[dict[str, Any]], sha256: str, coded: int) -> bytes:
    """Returns the metadata of a ticket as bytes."""
    values = {name: getattr(ticket, name) for name in _FIELDS}
    values |= {"layers": layers, "sha256": sha256, "coded": coded}
    for part in ("params", "batch_stats"):
        arrays = getattr(ticket, part)
        values[part] = [[name, list(array.shape)] for name, array in arrays.items()]
    try:
        text = json.dumps(values, separators=(",", ":"), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UserError(f"the ticket's description is not plain JSON: {one_line(error)}") from error
    compressor = zlib.compressobj(9, wbits=15, memLevel=9, zdict=DICTIONARY)
    return compressor.compress(text.encode()) + compressor.flush()


def unpack(data: bytes) -> Metadata:
    """Returns the metadata in some bytes.

    Raises:
      UserError: they are damaged, or an entry is missing or of the wrong form.
    """
    values = _inflate(data)
    missing = {*_FIELDS, "layers", "params", "batch_stats", "coded", "sha256"} - values.keys()
    if missing:
        raise UserError(f"its metadata lack {min(missing)!r}")
    for name, kind in _FIELDS.items():
        if type(values[name]) is not kind:
            raise UserError(f"entry {name!r} of its metadata is no {kind.__name__}")
    if not is_counts([values["coded"]]):
        raise UserError("entry 'coded' of its metadata is no length")
    if not is_counts(values["image_shape"]) or len(values["image_shape"]) != 3:
        raise UserError("entry 'image_shape' of its metadata is not [H, W, C]")
    _check_accuracy(values["accuracy"])
    fields = {name: values[name] for name in _FIELDS}
    fields["image_shape"] = tuple(values["image_shape"])
    layers = [_layer(entry) for entry in _list(values["layers"], "layers")]
    free = [
        (part, *_array(entry)) for part in ("params", "batch_stats")
        for entry in _list(values[part], part)
    ]  # fmt: skip
    names = [("params", layer.name) for layer in layers] + [entry[:2] for entry in free]
    if len(set(names)) < len(names):
        raise UserError("a name is there twice in its metadata")
    return Metadata(layers, free, values["coded"], str(values["sha256"]), fields)


def _check_accuracy(entry: dict[str, Any]) -> None:
    kinds = {"data": str, "split": str, "images": int, "value": float}
    found = {name: type(value) for name, value in entry.items()}
    if found and (found != kinds or not 0 <= entry["value"] <= 1):
        raise UserError("entry 'accuracy' of its metadata is not of the right form")


def _inflate(data: bytes) -> dict[str, Any]:
    decompressor = zlib.decompressobj(wbits=15, zdict=DICTIONARY)
    try:
        text = decompressor.decompress(data, _MAX_INFLATION * len(data) + 1)
    except zlib.error as error:
        raise UserError(f"its metadata are damaged ({one_line(error, 80)})") from error
    if not decompressor.eof or decompressor.unused_data:
        raise UserError("its metadata are cut short, or longer than any ticket's")
    try:
        values = json.loads(text.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise UserError(f"its metadata are no JSON ({one_line(error, 80)})") from error
    if not isinstance(values, dict):
        raise UserError("its metadata are no JSON object")
    return values


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise UserError(f"entry {name!r} of its metadata is no list")
    return value


def _shape(value: Any) -> tuple[int, ...]:
    if not is_counts(value) or len(value) > 8 or product(value) > _MAX_WEIGHTS:
        raise UserError(f"an array of its metadata has the impossible shape {one_line(str(value))}")
    return tuple(value)


def _array(entry: Any) -> tuple[str, tuple[int, ...]]:
    if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[0], str):
        raise UserError("a free array of its metadata is not of the form [name, shape]")
    return entry[0], _shape(entry[1])


def _layer(entry: Any) -> LayerEntry:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise UserError("a layer of its metadata has no name")
    name, kept, coding = entry["name"], entry.get("kept"), entry.get("coding")
    where = f"layer {one_line(name, 60)!r} of its metadata"
    shape = _shape(entry.get("shape"))
    if type(kept) is not int or not 0 <= kept <= product(shape):
        raise UserError(f"{where} keeps more weights than it has, or no number of them")
    if coding not in _CODINGS:
        raise UserError(f"{where} has an unknown coding: a newer version may read it")
    magnitudes = {"drawn": [1.0], "signs": entry.get("magnitudes")}.get(coding, [])
    if coding == "signs":
        if not isinstance(magnitudes, list) or len(magnitudes) > _MAX_MAGNITUDES:
            raise UserError(f"{where} lists no magnitudes")
        if not all(type(m) in (int, float) and _fits(m) for m in magnitudes):
            raise UserError(f"{where} lists a magnitude that is no float32 from 0")
        if kept and not magnitudes:
            raise UserError(f"{where} keeps weights without a magnitude")
    return LayerEntry(name, shape, kept, coding, magnitudes)


def _fits(value: float) -> bool:
    return 0 <= value <= float(np.finfo(np.float32).max) and math.isfinite(value)
