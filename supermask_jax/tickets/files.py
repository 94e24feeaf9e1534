"""Ticket files: `save_ticket` and `load_ticket`. The format is in ``docs/ticket-format.md``.

Nothing here needs JAX, and nothing trusts the file: every length is checked against the bytes that
are there before anything is made of it, and what was read must have the digest stored with it.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from supermask_jax.errors import UserError, unknown_name
from supermask_jax.tickets import container, metadata
from supermask_jax.tickets.codec import Bits, decode, encode
from supermask_jax.tickets.rangecoder import Decoder, Encoder
from supermask_jax.tickets.ticket import Layer, Ticket, digest

VALUES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}

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
      UserError: a value is not finite, or the file cannot be written.
    """
    content, saved = encode_ticket(ticket, values=values)
    container.write(path, content)
    return saved


def load_ticket(path: str | os.PathLike[str]) -> Ticket:
    """Reads a ticket, with NumPy alone, and checks it against its digest.

    Raises:
      UserError: the file cannot be read, is no ticket, or is not as it was written.
    """
    content = container.read(path)
    try:
        return decode_ticket(content)
    except UserError as error:
        raise UserError(f"cannot use ticket {path}: {error}") from error


def rounded(ticket: Ticket, values: str) -> Ticket:
    """Returns what `save_ticket` would store of a ticket with `values` of that dtype.

    Raises:
      UserError: as `save_ticket`.
    """
    return encode_ticket(ticket, values=values)[1]


def encode_ticket(ticket: Ticket, *, values: str = "float32") -> tuple[bytes, Ticket]:
    """Returns the bytes of a ticket's file, and the ticket that they hold.

    Raises:
      UserError: as `save_ticket`.
    """
    if values not in VALUES:
        raise unknown_name("dtype of values", values, VALUES)
    encoder, bits, stored = Encoder(), [], []
    layers: dict[str, Layer] = {}
    entries = []
    for name, layer in ticket.layers.items():
        _check_finite(name, layer.values, layer.pruned)
        magnitudes, index = np.unique(np.abs(layer.values), return_inverse=True)
        few = len(magnitudes) <= _MAX_MAGNITUDES and layer.pruned is None
        coding = "drawn" if layer.drawn else "signs" if few else "values"
        entry = {"name": name, "shape": list(layer.shape), "kept": len(layer.positions)}
        bits.append(encode(encoder, layer.shape, layer.positions))
        if coding == "values":
            kept, pruned = (_rounded(array, values) for array in (layer.values, layer.pruned))
            layer = layer._replace(values=kept, pruned=pruned)
            stored += [kept] if pruned is None else [kept, pruned]
            coding = coding if pruned is None else "all"
        else:
            bits.append(layer.values < 0)
            if coding == "signs":
                # The shortest decimal that reads back as the same float32.
                entry["magnitudes"] = [float(str(value)) for value in magnitudes]
                if len(magnitudes) > 1:
                    encoder.write(index)
        layers[name] = layer
        entries.append(entry | {"coding": coding})
    free = [*ticket.params.values(), *ticket.batch_stats.values()]
    for name, array in (ticket.params | ticket.batch_stats).items():
        _check_finite(name, array)
    ticket = ticket._replace(layers=layers)
    coded = encoder.finish()
    meta = metadata.pack(ticket, entries, digest(ticket), len(coded))
    mask = coded + np.packbits(_joined(bits, bool)).tobytes()
    tensors = {"meta": ("U8", meta), "mask": ("U8", mask)}
    if stored:
        tensors["values"] = VALUES[values], _to_bytes(_joined(stored, np.float32), values)
    if free:
        tensors["free"] = "F32", _joined([a.reshape(-1) for a in free], np.float32).tobytes()
    return container.pack(tensors), ticket


def decode_ticket(content: bytes) -> Ticket:
    """Returns the ticket in the bytes of a file.

    Raises:
      UserError: they are no ticket, or not as they were written.
    """
    tensors = container.unpack(content)
    meta = metadata.unpack(bytes(tensors["meta"][1]))
    mask = tensors["mask"][1]
    stored = _floats(tensors, "values", sum(entry.num_values for entry in meta.layers))
    free = _floats(tensors, "free", sum(container.product(shape) for _, _, shape in meta.free))
    decoder, bits = Decoder(mask[: meta.coded]), Bits(mask[meta.coded :])
    if (signs := sum(entry.num_signs for entry in meta.layers)) > bits.left:
        raise UserError(f"it keeps {signs:,} weights, but holds {bits.left:,} signs")
    layers = {}
    for entry in meta.layers:
        positions = decode(decoder, bits, entry.shape, entry.kept)
        values, pruned = stored[: entry.kept], None
        if entry.num_signs:
            values = _magnitudes(decoder, entry)
            np.negative(values, out=values, where=bits.take(entry.kept))
        elif entry.coding == "all":
            pruned = stored[entry.kept : entry.num_values]
        stored = stored[entry.num_values :]
        layers[entry.name] = Layer(
            entry.shape, positions, values + np.float32(0), pruned, entry.coding == "drawn"
        )
    if bits.left > 7 or bits.take(bits.left).any():
        raise UserError("there are bits after its last sign")
    parts: dict[str, dict[str, np.ndarray]] = {"params": {}, "batch_stats": {}}
    for part, name, shape in meta.free:
        size = container.product(shape)
        parts[part][name], free = free[:size].reshape(shape), free[size:]
    ticket = Ticket(layers, **parts, **meta.fields)
    if digest(ticket) != meta.sha256:
        raise UserError("its weights do not have the digest stored with them: it is damaged")
    return ticket


def _magnitudes(decoder: Decoder, entry: metadata.LayerEntry) -> np.ndarray:
    """Returns the magnitude of every kept weight, float32 [kept]."""
    table = np.array(entry.magnitudes, np.float32)
    if len(table) == 1:
        return np.repeat(table, entry.kept)
    index = decoder.read(entry.kept) if entry.kept else np.zeros(0, np.int64)
    if entry.kept and index.max() >= len(table):
        raise UserError(f"a weight of {entry.name!r} has a magnitude that is not listed")
    return table[index]


def _floats(tensors: dict[str, Any], name: str, count: int) -> np.ndarray:
    """Returns the `count` numbers of a tensor as float32 [count]."""
    dtype, data = tensors.get(name, ("F32", memoryview(b"")))
    found = len(data) // container.ITEMSIZE[dtype]
    if found != count:
        raise UserError(f"tensor {name!r} holds {found:,} numbers, but {count:,} are described")
    if dtype == "BF16":
        array = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    else:
        array = np.frombuffer(data, "<f4" if dtype == "F32" else "<f2").astype(np.float32)
    if not np.isfinite(array).all():
        raise UserError(f"tensor {name!r} holds numbers that are not finite")
    return array


def _to_bytes(array: np.ndarray, dtype: str) -> bytes:
    if dtype == "bfloat16":
        return (array.view(np.uint32) >> 16).astype("<u2").tobytes()
    return array.astype("<f4" if dtype == "float32" else "<f2").tobytes()


def _rounded(array: np.ndarray | None, dtype: str) -> np.ndarray | None:
    """Returns the numbers of `dtype` nearest to `array`, as float32; halfway, the even ones."""
    if array is None or dtype == "float32":
        return array
    if dtype == "float16":
        with np.errstate(over="ignore"):
            rounded = array.astype(np.float16).astype(np.float32)
        _check_finite("in float16, a layer", rounded)
        return rounded
    bits = array.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


def _joined(arrays: list[np.ndarray], dtype: Any) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype), *arrays]).astype(dtype)


def _check_finite(name: str, *arrays: np.ndarray | None) -> None:
    if not all(array is None or np.isfinite(array).all() for array in arrays):
        raise UserError(f"{name} holds weights that are not finite: there is no ticket in that")
