"""Damaged copies of a ticket: each must be told in one line, in the time and memory of a whole one.

Damage is of two kinds: blind (bytes flipped, cut, inserted, swapped, in file or header), and sly,
where metadata or header are changed and packed anew, so that what they claim is well-formed and
false.
"""

from __future__ import annotations

import copy
import json
import os
import time
import tracemalloc
import zlib
from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from supermask_jax.errors import UserError
from supermask_jax.tickets import container
from supermask_jax.tickets.dictionary import DICTIONARY
from supermask_jax.tickets.files import decode_ticket
from supermask_jax.tickets.inference import Network
from supermask_jax.tickets.ticket import digest

# What a true file needs is at least this: the interpreter's own tables would count otherwise.
_FLOOR_BYTES = 1 << 18

_NUMBERS = (0, 1, -1, 7, 255, 2**16, 2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**64, 10**30)
_OTHERS = (None, "", "x", True, 1.5, 1e308, -0.5, [], {}, [[]], [1, 2, 3], {"a": 1}, "U8", "F64")


class Report(NamedTuple):
    """What became of the damaged files.

    Attributes:
      refused: UserErrors of one line.
      harmless: files that still hold the same network, bit for bit.
      seconds: the longest reading, and that of the true file.
      memory: the largest peak of memory in reading, over that of the true file.
      messages: how many different messages there were.
    """

    refused: int
    harmless: int
    seconds: tuple[float, float]
    memory: float
    messages: int

    def __str__(self) -> str:
        return (
            f"{self.refused:,} refused in one line ({self.messages} different ones), "
            f"{self.harmless:,} still the same network; longest reading {self.seconds[0]:.3f} s "
            f"(the true file {self.seconds[1]:.3f} s), most memory {self.memory:.2f} times the "
            "true file's"
        )


def fuzz(path: str | os.PathLike[str], *, count: int, seed: int = 0) -> Report:
    """Reads `count` damaged copies of a ticket.

    Raises:
      UserError: a copy was taken for another network, or broke the reader, or took more than 4
        times the memory of the true file; it is then beside the ticket as ``PATH.broken``.
    """
    content = container.read(path)
    sha = digest(decode_ticket(content))
    true_seconds, true_memory, _ = _watched(content)
    needed = max(true_memory, _FLOOR_BYTES)
    rng = np.random.default_rng(seed)
    refused, harmless, longest, most, messages = 0, 0, 0.0, 0, Counter[str]()
    for _ in range(count):
        damaged = damage(content, rng)
        seconds, memory, outcome = _watched(damaged)
        longest, most = max(longest, seconds), max(most, memory)
        if isinstance(outcome, UserError) and "\n" not in str(outcome):
            refused += 1
            messages["".join(c for c in str(outcome) if not c.isdigit())[:40]] += 1
            trouble = ""
        elif isinstance(outcome, str) and outcome == sha:
            harmless, trouble = harmless + 1, ""
        else:
            trouble = f"gave {outcome!r}"
        if memory > 4 * needed:
            trouble = f"took {memory:,} bytes where the true file takes {true_memory:,}"
        if trouble:
            container.write(f"{os.fspath(path)}.broken", damaged)
            raise UserError(f"a damaged copy of {path} {trouble}: it is in {path}.broken")
    return Report(refused, harmless, (longest, true_seconds), most / needed, len(messages))


def _watched(content: bytes) -> tuple[float, int, Any]:
    """Returns seconds, peak of memory in bytes, and the digest or the exception of a reading."""
    tracemalloc.start()
    start = time.perf_counter()
    ticket = None
    try:
        ticket = decode_ticket(content)
        outcome: Any = digest(ticket)
    except Exception as error:  # Whatever it is, it is what is looked for.
        outcome = error
    seconds, (_, peak) = time.perf_counter() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    if ticket is not None:
        try:
            Network(ticket)
        except UserError:
            pass  # Its description was changed to what does not run.
        except Exception as error:
            outcome = error
    return seconds, peak, outcome


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """Returns a damaged copy of a ticket's bytes."""
    kinds = (_flip, _flip, _cut, _insert, _swap, _header_bytes, _sly_header, _sly_meta, _sly_meta)
    return kinds[rng.integers(len(kinds))](content, rng)


def _flip(content: bytes, rng: np.random.Generator) -> bytes:
    data = bytearray(content)
    for at in rng.integers(len(data), size=rng.integers(1, 9)):
        data[at] ^= 1 << int(rng.integers(8))
    return bytes(data)


def _cut(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: rng.integers(len(content))]


def _insert(content: bytes, rng: np.random.Generator) -> bytes:
    at = rng.integers(len(content) + 1)
    return content[:at] + rng.bytes(int(rng.integers(1, 99))) + content[at:]


def _swap(content: bytes, rng: np.random.Generator) -> bytes:
    a, b, c = np.sort(rng.integers(len(content), size=3))
    return content[:a] + content[b:c] + content[a:b] + content[c:]


def _header_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    """Damages the first bytes: the length of the header and the header."""
    end = 8 + int.from_bytes(content[:8], "little")
    data = bytearray(content)
    for at in rng.integers(end, size=rng.integers(1, 4)):
        data[at] = rng.integers(256)
    return bytes(data)


def _sly_header(content: bytes, rng: np.random.Generator) -> bytes:
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    text = json.dumps(_changed(header, rng)).encode()
    return len(text).to_bytes(8, "little") + text + content[end:]


def _sly_meta(content: bytes, rng: np.random.Generator) -> bytes:
    tensors = container.unpack(content)
    meta = json.loads(zlib.decompressobj(zdict=DICTIONARY).decompress(tensors["meta"][1]))
    text = json.dumps(_changed(meta, rng)).encode()
    if rng.random() < 0.1:  # What inflates to much more than a ticket's metadata.
        text = text[:-1] + b" " * int(rng.integers(1, 5_000_000)) + b"}"
    compressor = zlib.compressobj(9, zdict=DICTIONARY)
    packed = compressor.compress(text) + compressor.flush()
    return container.pack(
        {name: (dtype, packed if name == "meta" else bytes(data))
         for name, (dtype, data) in tensors.items()}
    )  # fmt: skip


def _changed(value: Any, rng: np.random.Generator) -> Any:
    """Returns a JSON value with one to three of its parts changed, dropped or doubled."""
    value = copy.deepcopy(value)
    for _ in range(rng.integers(1, 4)):
        node, key = value, None
        while isinstance(node, dict | list) and len(node):
            keys = list(node) if isinstance(node, dict) else range(len(node))
            parent, key = node, keys[rng.integers(len(keys))]
            node = parent[key]
            if rng.random() < 0.3:
                break
        if key is None:
            return value
        choice = rng.random()
        if choice < 0.1:
            del parent[key]
        elif choice < 0.2 and isinstance(parent, list):
            parent.append(copy.deepcopy(node))
        elif choice < 0.7:
            parent[key] = _NUMBERS[rng.integers(len(_NUMBERS))]
        elif choice < 0.8 and type(node) is int:
            parent[key] = node + int(rng.integers(-2, 3))
        else:
            parent[key] = copy.deepcopy(_OTHERS[rng.integers(len(_OTHERS))])
    return value
