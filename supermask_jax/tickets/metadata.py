"""The description of a ticket: JSON, deflated, checked entry by entry."""

from __future__ import annotations

import json
import math
import zlib
from typing import Any, NamedTuple

import numpy as np

from supermask_jax.errors import UserError, one_line
from supermask_jax.tickets.ticket import Ticket

# Inflated, metadata are at most so many times as long: a file of a few bytes stays small in memory.
_MAX_INFLATION = 64
_MAX_WEIGHTS = 2**31
_MAX_MAGNITUDES = 256
_MAX_FLOAT = float(np.finfo(np.float32).max)
_CODINGS = ("signs", "values", "all", "drawn", "kept")
_DRAWN = ("drawn", "kept")  # from a seed, as are the signs of the latter
_ACCURACY = {"data": str, "split": str, "images": int, "value": float}
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
    """How a layer is stored: ``docs/ticket-format.md`` says what its entries mean."""

    name: str
    shape: tuple[int, ...]
    kept: int
    coding: str
    magnitudes: tuple[float, ...] = ()
    order: int = 0
    live: tuple[int, int] = (0, 0)

    @property
    def num_values(self) -> int:
        """How many numbers of tensor 'values' are this layer's."""
        return {"values": self.kept, "all": math.prod(self.shape)}.get(self.coding, 0)

    @property
    def num_signs(self) -> int:
        """How many sign bits are this layer's."""
        return self.kept if self.coding in ("signs", "drawn") else 0

    @property
    def drawn(self) -> bool:
        """Whether the weights are drawn from a seed, and not in the file."""
        return self.coding in _DRAWN


class Metadata(NamedTuple):
    """What the metadata say."""

    layers: list[LayerEntry]
    free: list[tuple[str, str, tuple[int, ...]]]  # (params or batch_stats, name, shape)
    sha256: str
    fields: dict[str, Any]  # the plain fields of a `Ticket`


def describe(ticket: Ticket, layers: list[LayerEntry], sha256: str) -> dict[str, Any]:
    """Returns the metadata of a ticket, for `pack`."""
    values = {name: getattr(ticket, name) for name in _FIELDS}
    if ticket.license:  # Files from before there was a licence have none.
        values["license"] = ticket.license
    values |= {"layers": [layer._asdict() for layer in layers], "sha256": sha256}
    for part in ("params", "batch_stats"):
        values[part] = [[name, array.shape] for name, array in getattr(ticket, part).items()]
    return values


def pack(values: dict[str, Any]) -> bytes:
    """Returns metadata as bytes."""
    try:
        text = json.dumps(values, separators=(",", ":"), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UserError(f"the ticket's description is not plain JSON: {one_line(error)}") from error
    return zlib.compress(text.encode(), 9)


def unpack(data: bytes) -> dict[str, Any]:
    """Returns what `pack` got.

    Raises:
      UserError: the bytes are damaged or no JSON object.
    """
    decompressor = zlib.decompressobj()
    try:
        text = decompressor.decompress(data, _MAX_INFLATION * len(data) + 1)
    except zlib.error as error:
        raise UserError(f"its metadata are damaged ({one_line(error, 80)})") from error
    if not decompressor.eof or decompressor.unused_data:
        raise UserError("its metadata are cut short, or longer than any ticket's")
    try:
        return _of_kind(json.loads(text.decode(), parse_constant=int), dict)
    except (ValueError, RecursionError) as error:
        raise UserError(f"its metadata are no JSON object ({one_line(error, 80)})") from error


def checked(values: dict[str, Any]) -> Metadata:
    """Returns what `describe` said.

    Raises:
      UserError: an entry is missing or of the wrong form.
    """
    try:
        fields = {name: _of_kind(values[name], kind) for name, kind in _FIELDS.items()}
        fields["image_shape"] = _counts(values["image_shape"], 3)
        fields["license"] = _of_kind(values.get("license", ""), str)
        if found := fields["accuracy"]:
            in_range = 0 <= _of_kind(found["value"], float) <= 1
            if {name: type(value) for name, value in found.items()} != _ACCURACY or not in_range:
                raise ValueError("an impossible accuracy")
        layers = [_layer(LayerEntry(**entry)) for entry in values["layers"]]
        _shape([sum(math.prod(layer.shape) for layer in layers)])
        parts = [(part, *entry) for part in ("params", "batch_stats") for entry in values[part]]
        free = [(part, _of_kind(name, str), _shape(shape)) for part, name, shape in parts]
        names = [("params", layer.name) for layer in layers] + [entry[:2] for entry in free]
        if len(set(names)) < len(names):
            raise ValueError("two arrays of one name")
        return Metadata(layers, free, _of_kind(values["sha256"], str), fields)
    except (KeyError, TypeError, ValueError) as error:
        said = f"{type(error).__name__}: {one_line(error, 80)}"
        raise UserError(f"its metadata are not those of a ticket ({said})") from error


def _layer(entry: LayerEntry) -> LayerEntry:
    """Returns a layer, checked."""
    shape, live = _shape(entry.shape), _counts(entry.live, 2)
    kept, order = _counts([entry.kept, entry.order], 2)
    one = (1.0,) if entry.coding in _DRAWN else tuple(entry.magnitudes)
    fit = all(type(m) in (int, float) and 0 <= m <= _MAX_FLOAT for m in one)
    if not fit or len(one) > _MAX_MAGNITUDES or (entry.coding == "signs" and kept and not one):
        raise ValueError("impossible magnitudes")
    if kept > math.prod(shape) or order > 3 or entry.coding not in _CODINGS:
        raise ValueError("a layer of unknown coding or order, or with too many weights")
    return LayerEntry(_of_kind(entry.name, str), shape, kept, entry.coding, one, order, live)


def _of_kind(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise ValueError(f"{one_line(repr(value), 40)} is not of type {kind.__name__}")
    return value


def _counts(value: Any, length: int) -> tuple[int, ...]:
    """Returns whole numbers from 0, as JSON gives them."""
    if len(value) != length or not all(type(n) is int and 0 <= n < 2**53 for n in value):
        raise ValueError(f"{one_line(repr(value), 40)} is not {length} whole numbers from 0 on")
    return tuple(value)


def _shape(value: Any) -> tuple[int, ...]:
    shape = _counts(value, len(value))
    if len(shape) > 8 or math.prod(shape) > _MAX_WEIGHTS:
        raise ValueError(f"impossible shape {value}")
    return shape
