"""A second reader of tickets, in pure Python, written from docs/ticket-format.md alone."""

import hashlib
import json
import lzma
import math
import struct
import zlib

import numpy as np
import pytest
from helpers import ROOT
from ticket_helpers import SMALL, random_ticket

from supermask_jax import tickets
from supermask_jax.tickets.drawn import without_values
from supermask_jax.tickets.file import encode_ticket
from supermask_jax.tickets.ticket_set import encode_tickets

PAGE = (ROOT / "docs" / "ticket-format.md").read_text()
FILTERS = [{"id": lzma.FILTER_LZMA2, "dict_size": 65536, "lc": 0, "lp": 0, "pb": 0}]


def read(content):
    """Returns the metadata, {layer: {place: weight}}, and {name: values} of the free arrays."""
    meta, streams = opened(content, "supermask-ticket-2")
    found = ticket_in(meta, streams)
    assert all_read(streams)
    return meta, *found


def read_set(content):
    """Returns {name: what `read` does} of a file with several tickets."""
    meta, streams = opened(content, "supermask-ticket-set-1")
    pairs = zip(meta["names"], meta["tickets"], strict=True)
    found = {name: (about, *ticket_in(about, streams)) for name, about in pairs}
    assert all_read(streams)
    return found


def all_read(streams):
    stream, signs, values, free = streams
    return len(signs) < 8 and not any(signs) and not values and not free and not stream


def opened(content, form):
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    assert header.pop("__metadata__") == {"format": form}
    tensors = {}
    for name, entry in header.items():
        first, end = entry["data_offsets"]
        tensors[name] = entry["dtype"], content[8 + size + first : 8 + size + end]
    meta = json.loads(zlib.decompress(tensors["meta"][1]))
    stream = list(lzma.decompress(tensors["positions"][1], lzma.FORMAT_RAW, filters=FILTERS))
    signs = bits(tensors["signs"][1])
    values = floats(*tensors.get("values", ("F32", b"")))
    free = floats(*tensors.get("free", ("F32", b"")))
    return meta, (stream, signs, values, free)


def ticket_in(meta, streams):
    stream, signs, values, free = streams
    layers, sha = {}, hashlib.sha256()
    for layer in meta["layers"]:
        places, kept = positions(stream, layer), layer["kept"]
        if layer["coding"] == "kept":
            weights, others = [1.0] * kept, []
        elif layer["coding"] in ("signs", "drawn"):
            table, others = layer["magnitudes"] or [1.0], []
            width = next(w for w in (0, 1, 2, 4, 8) if len(table) <= 2**w)
            index = bits(taken(stream, -(-kept * width // 8)))
            weights = [table[number(taken(index, width))] for _ in range(kept)]
            weights = [
                -w if sign else w for w, sign in zip(weights, taken(signs, kept), strict=True)
            ]
        else:
            weights = taken(values, kept)
            rest = math.prod(layer["shape"]) - kept if layer["coding"] == "all" else 0
            others = taken(values, rest)
        name, shape = layer["name"], "x".join(map(str, layer["shape"]))
        exact = struct.pack(f"<{kept}f", *weights)
        sha.update(f"{name}:{shape};".encode() + struct.pack(f"<{kept}Q", *places) + exact)
        sha.update(struct.pack(f"<{len(others)}f", *others))
        layers[name] = dict(zip(places, struct.unpack(f"<{kept}f", exact), strict=True))
    arrays = {}
    for part, prefix in (("params", ""), ("batch_stats", "batch_stats/")):
        for name, shape in meta[part]:
            arrays[prefix + name] = found = taken(free, math.prod(shape))
            sha.update(f"{prefix}{name}:{'x'.join(map(str, shape))};".encode())
            sha.update(struct.pack(f"<{len(found)}f", *found))
    assert sha.hexdigest() == meta["sha256"]
    return layers, arrays


def taken(numbers, count):
    found = numbers[:count]
    del numbers[:count]
    return found


def bits(data):
    return [byte >> (7 - i) & 1 for byte in data for i in range(8)]


def number(digits):
    return sum(bit << i for i, bit in enumerate(reversed(digits)))


def floats(dtype, data):
    if dtype == "BF16":
        data = b"".join(b"\0\0" + data[i : i + 2] for i in range(0, len(data), 2))
    size, letter = (2, "e") if dtype == "F16" else (4, "f")
    return list(struct.unpack(f"<{len(data) // size}{letter}", data))


def rising(stream, count):
    found, last = [], -1
    for _ in range(count):
        last += 1
        while (byte := stream.pop(0)) == 255:
            last += 255
        last += byte
        found.append(last)
    return found


def positions(stream, layer):
    if not layer["kept"]:
        return []
    columns = layer["shape"][-1]
    sizes = math.prod(layer["shape"][:-1]), columns
    lists = [
        rising(stream, live) if live < size else list(range(size))
        for live, size in zip(layer["live"], sizes, strict=True)
    ]
    by_column, as_bits = layer["order"] % 2, layer["order"] >= 2
    cells = math.prod(layer["live"])
    if as_bits:
        marks = bits(taken(stream, -(-cells // 8)))
        found = [i for i in range(cells) if marks[i]]
    else:
        found = rising(stream, layer["kept"])
    pairs = [divmod(cell, layer["live"][0 if by_column else 1]) for cell in found]
    pairs = [(b, a) if by_column else (a, b) for a, b in pairs]
    return sorted(lists[0][row] * columns + lists[1][column] for row, column in pairs)


@pytest.mark.parametrize("density", [0.0, 0.002, 0.03, 0.2, 0.5, 0.95])
@pytest.mark.parametrize(
    "levels, values",
    [(1, "float32"), (3, "float32"), (0, "float32"), (0, "float16"), (0, "bfloat16")],
)
def test_another_reader_finds_the_same(density, levels, values):
    rng = np.random.default_rng(5)
    bias, mean = rng.normal(size=(2, 30)).astype("f4")
    parts = {"free": {"dense1": {"bias": bias}}}
    parts["batch_stats"] = {"dense1_norm": {"bn": {"mean": mean}}}
    ticket = random_ticket(SMALL, density, levels=levels, **parts)
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
    mean = ticket.batch_stats["dense1_norm/bn/mean"].tolist()
    assert arrays["batch_stats/dense1_norm/bn/mean"] == mean


def set_of_two():
    """A ticket of masks alone and one with everything else."""
    rng = np.random.default_rng(1)
    weights = {name: rng.normal(size=shape).astype("f4") for name, shape in SMALL.items()}
    kept = {name: rng.random(w.shape) < 0.5 for name, w in weights.items()}
    layers = {f"{n}/kernel": tickets.make_layer(w * kept[n], kept[n]) for n, w in weights.items()}
    drawn = {f"{name}/kernel": w for name, w in weights.items()}
    masks = without_values(random_ticket()._replace(layers=layers), drawn)
    bias = {"dense1": {"bias": np.ones(30, "f4")}}
    return {"masks": masks, "all": random_ticket(SMALL, 0.3, levels=0, free=bias)}, drawn


def test_another_reader_finds_every_ticket_of_a_set():
    saved, _ = set_of_two()
    for name, (meta, found, arrays) in read_set(encode_tickets(saved)).items():
        assert meta["sha256"] == tickets.digest(saved[name])
        for layer, content in saved[name].layers.items():
            assert list(found[layer]) == content.positions.tolist()
            assert list(found[layer].values()) == content.values.tolist()
        assert arrays.keys() == saved[name].params.keys()


def test_the_page_names_every_entry():
    meta = read(encode_ticket(random_ticket())[0])[0]
    assert all(f"`{name}`" in PAGE for name in (*meta, *meta["layers"][0]))
