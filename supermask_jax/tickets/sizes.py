"""How large a network is under different ways of storing it: each computed, none estimated."""

from __future__ import annotations

import gzip
import lzma

import numpy as np
from scipy import sparse

from supermask_jax.tickets.files import encode_ticket
from supermask_jax.tickets.ticket import Layer, Ticket


def entropy_bound(ticket: Ticket) -> float:
    """Returns the entropy bound in bytes: what positions and values take without structure.

    Sum over layers of n H(density) bits, plus one bit a kept weight, or its float32 where a layer
    has many magnitudes; plus free parameters and batch statistics.
    """
    bits = 0.0
    for layer in ticket.layers.values():
        for share in (layer.density, 1 - layer.density):
            bits -= layer.size * share * np.log2(share) if share else 0
        bits += len(layer.positions) * (1 if _has_constant(layer) else 32)
    return bits / 8 + _free_bytes(ticket)


def sizes(ticket: Ticket) -> dict[str, int]:
    """Returns {way of storing it: bytes}, the ticket itself last.

    Free parameters and batch statistics count in each as float32. Ternary packings hold the layer's
    constant too, and are left out where a layer has many magnitudes.
    """
    dense = [layer.dense() for layer in ticket.layers.values()]
    free = b"".join(a.tobytes() for a in (*ticket.params.values(), *ticket.batch_stats.values()))
    raw = b"".join(array.tobytes() for array in dense) + free
    found = {"dense float32": len(raw), "CSR": sum(map(_csr_bytes, dense)) + len(free)}
    if all(map(_has_constant, ticket.layers.values())):
        trits = [np.sign(array).astype(np.int8).reshape(-1) + 1 for array in dense]
        extra = 4 * len(trits) + len(free)
        two_bits = b"".join(_packed(t, 4, 4) for t in trits)
        base3 = b"".join(_packed(t, 3, 5) for t in trits)
        found |= {
            "2 bits a weight": len(two_bits) + extra,
            "base 3, 5 weights a byte": len(base3) + extra,
            "xz of base 3": len(lzma.compress(base3)) + extra,
        }
    else:
        kept = sum(len(layer.positions) for layer in ticket.layers.values())
        bits = sum(-(-layer.size // 8) for layer in ticket.layers.values())
        found["bit mask and kept float32"] = bits + 4 * kept + len(free)
    found["gzip of float32"] = len(gzip.compress(raw, 9, mtime=0))
    found["xz of float32"] = len(lzma.compress(raw))
    return found | {"ticket": len(encode_ticket(ticket)[0])}


def _has_constant(layer: Layer) -> bool:
    return layer.pruned is None and len(np.unique(np.abs(layer.values))) <= 1


def _free_bytes(ticket: Ticket) -> int:
    return sum(4 * a.size for a in (*ticket.params.values(), *ticket.batch_stats.values()))


def _csr_bytes(array: np.ndarray) -> int:
    matrix = sparse.csr_array(array.reshape(-1, array.shape[-1] if array.ndim else 1))
    # Four bytes an index, whatever SciPy chose.
    return 4 * (matrix.data.size + matrix.indices.size + matrix.indptr.size)


def _packed(digits: np.ndarray, base: int, in_byte: int) -> bytes:
    """Packs digits, `in_byte` to a byte, as numbers of `base`."""
    padded = np.pad(digits, (0, -len(digits) % in_byte)).reshape(-1, in_byte)
    return (padded @ base ** np.arange(in_byte)).astype(np.uint8).tobytes()
