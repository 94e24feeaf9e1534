"""Ticket files: `save_ticket` and `load_ticket`. The format is in ``docs/ticket-format.md``.

Nothing here needs JAX, and nothing trusts the file: every length is checked against the bytes that
are there before anything is made of it, and what was read must have the digest stored with it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import safetensors
from safetensors.numpy import save

from supermask_jax import files
from supermask_jax.errors import UserError, one_line, unknown_name
from supermask_jax.tickets import metadata, positions
from supermask_jax.tickets.card import SHIPPED_LICENSE, shipped_tickets, ticket_file
from supermask_jax.tickets.metadata import LayerEntry, Metadata
from supermask_jax.tickets.positions import Reader
from supermask_jax.tickets.ticket import Layer, Ticket, digest

FORMAT = "supermask-ticket-2"
FORMAT_OF_SET = "supermask-ticket-set-1"
VALUES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}

# Tensor -> the dtypes that it may have: those that must be there, and those that may.
_NEEDED = dict.fromkeys(("meta", "positions", "signs"), ("U8",))
_OPTIONAL = {"values": ("F32", "F16", "BF16"), "free": ("F32",)}
_DTYPES = {"U8": np.uint8, "F32": "<f4", "F16": "<f2", "BF16": ml_dtypes.bfloat16}
_MAX_HEADER = 4096

# Up to so many magnitudes a layer lists them; the kept weights then cost a sign and an index each.
_MAX_MAGNITUDES = 8


def save_ticket(path: str | os.PathLike[str], ticket: Ticket, *, values: str = "float32") -> Ticket:
    """Writes a ticket and returns what the file holds.

    Args:
      path: the file.
      ticket: what to save.
      values: dtype of kept weights where a layer has many magnitudes: "float32", or "float16" or
        "bfloat16", to which they are then rounded. Layers of few magnitudes are always exact.

    Raises:
      UserError: a value is not finite, a field not as in `Ticket`, or the file cannot be written.

    >>> ticket = tickets.load_ticket("fcn-sparse")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     saved = save_ticket(f"{folder}/mine.safetensors", ticket)
    >>> tickets.digest(saved) == tickets.digest(ticket)
    True
    """
    content, saved = encode_ticket(ticket, values=values)
    write(path, content)
    return saved


def load_ticket(path: str | os.PathLike[str]) -> Ticket:
    """Reads a ticket, with NumPy alone, and checks it against its digest.

    Args:
      path: of a file; or the name of a ticket that comes with the package: ``"fcn-sparse"``; or
        ``"hf://OWNER/NAME"`` on the Hugging Face Hub, with ``@REVISION`` or without.

    Raises:
      UserError: the file cannot be read, is no ticket, or is not as it was written.

    >>> ticket = load_ticket("fcn-sparse")
    >>> ticket.method, ticket.image_shape, sorted(ticket.layers)
    ('signed', (28, 28, 1), ['dense1/kernel', 'dense2/kernel', 'dense3/kernel'])
    """
    path = ticket_file(os.fspath(path))
    try:
        ticket = decode_ticket(path.read_bytes())
        if path in shipped_tickets().values():
            ticket = ticket._replace(license=ticket.license or SHIPPED_LICENSE)
        return ticket
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except UserError as error:
        raise UserError(f"cannot use ticket {path}: {error}") from error


def rounded(ticket: Ticket, values: str) -> Ticket:
    """Returns what `save_ticket` would store of a ticket with `values` of that dtype.

    Raises:
      UserError: as `save_ticket`.

    >>> layer = tickets.make_layer(np.linspace(0.1, 0.9, 9), np.ones(9))
    >>> ticket = tickets.Ticket({"w": layer}, {}, {}, {"name": "mine"}, 2, (1, 1, 9))
    >>> float(rounded(ticket, "bfloat16").layers["w"].values[0])
    0.10009765625
    """
    if values not in VALUES:
        raise unknown_name("dtype of values", values, VALUES)
    dtype = np.dtype(_DTYPES[VALUES[values]])
    layers = {}
    for name, layer in ticket.layers.items():
        if _coding(layer) in ("values", "all"):
            with np.errstate(over="ignore"):
                kept, pruned = (
                    None if array is None else array.astype(dtype).astype(np.float32)
                    for array in (layer.values, layer.pruned)
                )
            layer = layer._replace(values=kept, pruned=pruned)
        layers[name] = layer
        _check_finite(name, layer.values, layer.pruned)
    for name, array in (ticket.params | ticket.batch_stats).items():
        _check_finite(name, array)
    return ticket._replace(layers=layers)


def encode_ticket(ticket: Ticket, *, values: str = "float32") -> tuple[bytes, Ticket]:
    """Returns the bytes of a ticket's file, and the ticket that they hold.

    Raises:
      UserError: as `save_ticket`.

    >>> content, saved = encode_ticket(tickets.load_ticket("fcn-sparse"))
    >>> tickets.digest(decode_ticket(content)) == tickets.digest(saved)
    True
    """
    ticket = rounded(ticket, values)
    (described,), tensors = encode([ticket], values)
    return container(described, tensors, FORMAT), ticket


def encode(
    tickets: Sequence[Ticket], values: str
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Returns descriptions of rounded tickets, and the tensors that hold them one after another."""
    described, stream, signs, stored, free = [], [], [], [], []
    for ticket in tickets:
        entries = []
        for name, layer in ticket.layers.items():
            kept, coding, listed = len(layer.positions), _coding(layer), ()
            order, live, coded = positions.encode(layer.shape, layer.positions)
            stream.append(coded)
            if coding in ("values", "all"):
                stored += [layer.values] if layer.pruned is None else [layer.values, layer.pruned]
            elif coding != "kept":
                signs.append(layer.values < 0)
            if coding == "signs":
                magnitudes, index = np.unique(np.abs(layer.values), return_inverse=True)
                # The shortest decimal that reads back as the same float32.
                listed = tuple(float(str(value)) for value in magnitudes)
                stream.append(positions.encode_indices(index, len(listed)))
            entries.append(LayerEntry(name, layer.shape, kept, coding, listed, order, live))
        free += [a.reshape(-1) for a in (*ticket.params.values(), *ticket.batch_stats.values())]
        described.append(metadata.describe(ticket, entries, digest(ticket)))
        metadata.checked(metadata.unpack(metadata.pack(described[-1])))  # As its reader will.
    parts = {"positions": positions.compress(b"".join(stream)), "signs": _joined(signs, bool)}
    parts["signs"] = np.packbits(parts["signs"])
    tensors = {name: np.frombuffer(part, np.uint8) for name, part in parts.items()}
    for name, arrays, dtype in (("values", stored, VALUES[values]), ("free", free, "F32")):
        if arrays:
            tensors[name] = _joined(arrays, _DTYPES[dtype])
    return described, tensors


def container(described: dict[str, Any], tensors: dict[str, np.ndarray], form: str) -> bytes:
    """Returns the bytes of a file."""
    meta = np.frombuffer(metadata.pack(described), np.uint8)
    return save({"meta": meta, **tensors}, metadata={"format": form})


def decode_ticket(content: bytes) -> Ticket:
    """Returns the ticket in the bytes of a file.

    Raises:
      UserError: they are no ticket, or not as they were written.
    """
    described, tensors = opened(content, FORMAT)
    return decode([metadata.checked(described)], tensors)[0]


def decode(described: Sequence[Metadata], tensors: dict[str, np.ndarray]) -> list[Ticket]:
    """Returns the tickets that the tensors of a file hold one after another.

    Raises:
      UserError: the tensors are damaged, or hold less or more.
    """
    entries = [entry for one in described for entry in one.layers]
    # A kept weight is at least a bit of the file, and at most four bytes here; 255 skip a gap.
    most = 64 * sum(map(len, tensors.values())) + 4096
    most += sum(math.prod(entry.shape) // 64 for entry in entries)
    data = positions.decompress(tensors["positions"].tobytes(), most)
    stream, signs = Reader("positions", data), Reader("signs", np.unpackbits(tensors["signs"]))
    values, free = Reader("values", tensors["values"]), Reader("free values", tensors["free"])
    # Each kept weight takes a sign or a value: no more is described than the file can hold.
    if sum(entry.num_signs for entry in entries) > len(signs.left):
        raise UserError("it holds fewer signs than it describes")
    if sum(entry.num_values for entry in entries) > len(values.left):
        raise UserError("it holds fewer values than it describes")
    tickets = []
    for one in described:
        layers = {e.name: _read_layer(e, stream, signs, values) for e in one.layers}
        parts: dict[str, dict[str, np.ndarray]] = {"params": {}, "batch_stats": {}}
        for part, name, shape in one.free:
            parts[part][name] = free.take(math.prod(shape)).reshape(shape)
        tickets.append(Ticket(layers, **parts, **one.fields))
        if digest(tickets[-1]) != one.sha256:
            raise UserError("its weights do not have the digest stored with them: it is damaged")
    if len(values.left) or len(free.left) or len(signs.left) > 7 or signs.left.any():
        raise UserError("it holds more than it describes")
    return tickets


def _read_layer(entry: LayerEntry, stream: Reader, signs: Reader, values: Reader) -> Layer:
    kept, pruned = positions.decode(stream, entry), None
    if entry.num_values:
        found = values.take(entry.kept)
        pruned = values.take(entry.num_values - entry.kept) if entry.coding == "all" else None
    else:
        found = _magnitudes(stream, entry)
    if entry.num_signs:
        np.negative(found, out=found, where=signs.take(entry.kept).astype(bool))
    return Layer(entry.shape, kept, found + np.float32(0), pruned, entry.drawn)


def opened(content: bytes, form: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Returns the description in a file, and its tensors: floats as float32, the absent ones empty.

    Raises:
      UserError: it is no file of this format, or damaged.
    """
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > len(content) - 8:
        raise UserError("it is cut short, or no safetensors file")
    if length > _MAX_HEADER:
        raise UserError(f"its header of {length:,} bytes is not that of a ticket")
    try:
        found = dict(safetensors.deserialize(content))
    except safetensors.SafetensorError as error:
        raise UserError(f"it is cut short or damaged ({one_line(error, 80)})") from error
    name = (json.loads(content[8 : 8 + length]).get("__metadata__") or {}).get("format")
    if {name, form} == {FORMAT, FORMAT_OF_SET}:
        reader = "load_ticket" if name == FORMAT else "load_tickets"
        raise UserError(f"its format is {name!r}: tickets.{reader} reads it")
    if name != form:
        raise UserError(
            f"it is not a ticket that this version reads: its format is {one_line(repr(name), 40)} "
            f"and not {form!r}; export the ticket again from its run"
        )
    known, tensors = _NEEDED | _OPTIONAL, {name: np.zeros(0, np.float32) for name in _OPTIONAL}
    if missing := _NEEDED.keys() - found.keys():
        raise UserError(f"it is not a ticket: it lacks the tensor {min(missing)!r}")
    for name, tensor in found.items():
        if tensor["dtype"] not in known.get(name, ()) or len(tensor["shape"]) != 1:
            what = f"a tensor {one_line(name, 40)!r} of type {tensor['dtype']}, {tensor['shape']}"
            raise UserError(f"it is not a ticket: it holds {what}, which no ticket has")
        array = np.frombuffer(tensor["data"], _DTYPES[tensor["dtype"]])
        tensors[name] = array if tensor["dtype"] == "U8" else array.astype(np.float32)
        if not np.isfinite(tensors[name]).all():
            raise UserError(f"tensor {name!r} holds numbers that are not finite")
    return metadata.unpack(tensors["meta"].tobytes()), tensors


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


def _coding(layer: Layer) -> str:
    if layer.drawn:
        return "drawn" if (layer.values < 0).any() else "kept"
    if layer.pruned is not None:
        return "all"
    return "signs" if len(np.unique(np.abs(layer.values))) <= _MAX_MAGNITUDES else "values"


def _magnitudes(stream: Reader, entry: LayerEntry) -> np.ndarray:
    """Returns the magnitude of every kept weight, float32 [kept]."""
    table = np.array(entry.magnitudes, np.float32)
    index = stream.indices(entry.kept, len(table))
    if len(index) and index.max() >= len(table):
        raise UserError(f"a weight of {entry.name!r} has a magnitude that is not listed")
    return table[index]


def _joined(arrays: list[np.ndarray], dtype: Any) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype), *arrays]).astype(dtype)


def _check_finite(name: str, *arrays: np.ndarray | None) -> None:
    if not all(array is None or np.isfinite(array).all() for array in arrays):
        raise UserError(f"{name} holds weights that are not finite, which no ticket can store")
