"""A second reader of tickets, in pure Python, written from docs/ticket-format.md alone."""

import hashlib
import json
import struct
import zlib

import numpy as np
import pytest
from helpers import ROOT
from ticket_helpers import SMALL, random_ticket

from supermask_jax import tickets
from supermask_jax.tickets.files import encode_ticket

PAGE = (ROOT / "docs" / "ticket-format.md").read_text()
PRESET = PAGE.split("```text\n")[1].split("```")[0].replace("\n", "").encode()


class Stream:
    def __init__(self, data):
        self.data, self.at, self.range = data + bytes(1000), 4, 2**32 - 1
        self.code = int.from_bytes(self.data[:4], "big")

    def normalize(self):
        while self.range < 2**24:
            self.range *= 256
            self.code = (256 * self.code + self.data[self.at]) % 2**32
            self.at += 1

    def adaptive(self, contexts, name):
        p, n = contexts.get(name, (32768, 0))
        bound = self.range // 4096 * (p // 16)
        rate = 2 ** min(7, (n + 1).bit_length())
        bit = int(self.code >= bound)
        if bit:
            self.code, self.range, p = self.code - bound, self.range - bound, p - p // rate
        else:
            self.range, p = bound, p + (65536 - p) // rate
        contexts[name] = p, min(n + 1, 63)
        self.normalize()
        return bit

    def plain(self, size):
        self.range //= 2**size
        value = self.code // self.range
        self.code -= value * self.range
        self.normalize()
        return value

    def number(self, contexts):
        length = 1
        while length < 32 and self.adaptive(contexts, ("U", length - 1)):
            length += 1
        value, left = 1, length - 1
        for _ in range(min(left, 3)):
            value = 2 * value + self.adaptive(contexts, ("T", length, value))
            left -= 1
        while left:
            size = min(left, 8)
            value = value * 2**size + self.plain(size)
            left -= size
        return value - 1

    def sequence(self, count):
        contexts = {}
        return [self.number(contexts) for _ in range(count)]

    def rising(self, count):
        found, last = [], -1
        for gap in self.sequence(count):
            last += gap + 1
            found.append(last)
        return found


def read(content):
    """Returns the metadata, {layer: {place: weight}}, and {name: values} of the free arrays."""
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    assert header.pop("__metadata__") == {"format": "supermask-ticket-1"}
    tensors = {}
    for name, entry in header.items():
        first, end = entry["data_offsets"]
        tensors[name] = entry["dtype"], content[8 + size + first : 8 + size + end]
    inflate = zlib.decompressobj(zdict=PRESET)
    meta = json.loads(inflate.decompress(tensors["meta"][1]))
    mask = tensors["mask"][1]
    stream = Stream(mask[: meta["coded"]])
    bits = [byte >> (7 - i) & 1 for byte in mask[meta["coded"] :] for i in range(8)]
    values = floats(*tensors.get("values", ("F32", b"")))
    free = floats(*tensors.get("free", ("F32", b"")))
    layers, sha = {}, hashlib.sha256()
    for layer in meta["layers"]:
        places = positions(stream, bits, layer["shape"], layer["kept"])
        kept = layer["kept"]
        if layer["coding"] in ("signs", "drawn"):
            table = layer.get("magnitudes", [1.0])
            index = stream.sequence(kept) if len(table) > 1 else [0] * kept
            weights = [-table[i] if bits.pop(0) else table[i] for i in index]
            others = []
        else:
            weights, values = values[:kept], values[kept:]
            count = product(layer["shape"]) - kept if layer["coding"] == "all" else 0
            others, values = values[:count], values[count:]
        name, shape = layer["name"], "x".join(map(str, layer["shape"]))
        sha.update(f"{name}:{shape};".encode() + struct.pack(f"<{kept}Q", *places))
        sha.update(struct.pack(f"<{kept}f", *weights) + struct.pack(f"<{len(others)}f", *others))
        layers[name] = dict(zip(places, struct.unpack(f"<{kept}f", struct.pack(f"<{kept}f",
                            *weights)), strict=True))  # fmt: skip
    arrays = {}
    for part, prefix in (("params", ""), ("batch_stats", "batch_stats/")):
        for name, shape in meta[part]:
            arrays[prefix + name], free = free[: product(shape)], free[product(shape) :]
            sha.update(f"{prefix}{name}:{'x'.join(map(str, shape))};".encode())
            sha.update(struct.pack(f"<{product(shape)}f", *arrays[prefix + name]))
    assert len(bits) < 8 and not any(bits) and not values and not free
    assert sha.hexdigest() == meta["sha256"]
    return meta, layers, arrays


def product(shape):
    total = 1
    for size in shape:
        total *= size
    return total


def floats(dtype, data):
    if dtype == "BF16":
        data = b"".join(b"\0\0" + data[i : i + 2] for i in range(0, len(data), 2))
    size, letter = (2, "e") if dtype == "F16" else (4, "f")
    return list(struct.unpack(f"<{len(data) // size}{letter}", data))


def positions(stream, bits, shape, kept):
    if not kept:
        return []
    columns = shape[-1]
    rows = product(shape) // columns
    dead_rows, dead_columns, order = stream.sequence(3)
    live_rows = stream.rising(rows - dead_rows) if dead_rows else list(range(rows))
    live_columns = stream.rising(columns - dead_columns) if dead_columns else list(range(columns))
    if order == 2:
        cells = [i for i in range(len(live_rows) * len(live_columns)) if bits.pop(0)]
    else:
        cells = stream.rising(kept)
    if order == 1:
        pairs = [(cell % len(live_rows), cell // len(live_rows)) for cell in cells]
    else:
        pairs = [divmod(cell, len(live_columns)) for cell in cells]
    return sorted(live_rows[r] * columns + live_columns[c] for r, c in pairs)


@pytest.mark.parametrize("density", [0.0, 0.03, 0.2, 0.5, 0.95])
@pytest.mark.parametrize("levels, values", [(1, "float32"), (3, "float32"), (0, "float32"),
                                            (0, "float16"), (0, "bfloat16")])  # fmt: skip
def test_another_reader_finds_the_same(density, levels, values):
    rng = np.random.default_rng(5)
    ticket = random_ticket(
        SMALL, density, levels=levels,
        free={"dense1": {"bias": rng.normal(size=30).astype("f4")}},
        batch_stats={"dense1_norm": {"bn": {"mean": rng.normal(size=30).astype("f4")}}},
    )  # fmt: skip
    layers = dict(ticket.layers)
    dense = layers["dense2/kernel"].dense()
    dense[:, ::2] = 0  # dead columns
    dense[3:9] = 0  # and rows
    layers["dense2/kernel"] = tickets.make_layer(dense, dense != 0)
    if levels == 0:
        weights = rng.normal(size=(10, 10)).astype("f4")
        layers["dense3/kernel"] = tickets.make_layer(weights, weights > 0)
    content, ticket = encode_ticket(ticket._replace(layers=layers), values=values)
    meta, found, arrays = read(content)
    assert meta["sha256"] == tickets.digest(ticket)
    assert meta["config"] == ticket.config and meta["accuracy"] == ticket.accuracy
    for name, layer in ticket.layers.items():
        assert list(found[name]) == layer.positions.tolist()
        assert list(found[name].values()) == layer.values.tolist()
    assert arrays["dense1/bias"] == ticket.params["dense1/bias"].tolist()
    assert arrays["batch_stats/dense1_norm/bn/mean"] == [
        float(x) for x in ticket.batch_stats["dense1_norm/bn/mean"]
    ]


def test_the_page_holds_the_dictionary_and_the_layout_of_real_files():
    from supermask_jax.tickets.dictionary import DICTIONARY

    assert PRESET == DICTIONARY
    assert f"Adler-32 {zlib.adler32(DICTIONARY):08x}" in PAGE
    meta = read(encode_ticket(random_ticket())[0])[0]
    assert all(f"`{name}`" in PAGE for name in meta)
