"""Damaged, foreign and lying files end in one UserError, in the memory of a whole file.

Damage is blind (bytes flipped, cut, inserted, swapped, in file or header), or sly: header, metadata
or positions are changed and packed anew, so that what they claim is well-formed and false.
"""

import copy
import json
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save
from ticket_helpers import SMALL, random_ticket

from supermask_jax import tickets
from supermask_jax.errors import UserError
from supermask_jax.tickets import positions
from supermask_jax.tickets.file import FORMAT, decode_ticket, encode_ticket

STATS = {"dense1_norm": {"bn": {"mean": np.ones(30, "f4"), "var": np.ones(30, "f4")}}}
CONTENTS = [
    encode_ticket(random_ticket(SMALL, 0.2, levels=3))[0],
    encode_ticket(random_ticket(SMALL, 0.5, levels=0, batch_stats=STATS))[0],
]
NUMBERS = (0, 1, -1, 7, 255, 2**16, 2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**64, 10**30)
OTHERS = (None, "", "x", True, 1.5, 1e308, -0.5, [], {}, [[]], [1, 2, 3], {"a": 1}, "U8", "F64")


def packed(content, **changed):
    """A file with other bytes in some of its tensors."""
    arrays = {name: np.frombuffer(data, np.uint8) for name, data in changed.items()}
    return save(load(content) | arrays, metadata={"format": FORMAT})


def meta_of(content):
    return json.loads(zlib.decompress(load(content)["meta"].tobytes()))


def with_meta(content, meta, pad=""):
    return packed(content, meta=zlib.compress((json.dumps(meta) + pad).encode(), 9))


def flip(content, rng):
    data = bytearray(content)
    for at in rng.integers(len(data), size=rng.integers(1, 9)):
        data[at] ^= 1 << int(rng.integers(8))
    return bytes(data)


def cut(content, rng):
    return content[: rng.integers(len(content))]


def insert(content, rng):
    at = rng.integers(len(content) + 1)
    return content[:at] + rng.bytes(int(rng.integers(1, 99))) + content[at:]


def swap(content, rng):
    a, b, c = np.sort(rng.integers(len(content), size=3))
    return content[:a] + content[b:c] + content[a:b] + content[c:]


def header_bytes(content, rng):
    data, end = bytearray(content), 8 + int.from_bytes(content[:8], "little")
    for at in rng.integers(end, size=rng.integers(1, 4)):
        data[at] = rng.integers(256)
    return bytes(data)


def sly_header(content, rng):
    end = 8 + int.from_bytes(content[:8], "little")
    text = json.dumps(changed(json.loads(content[8:end]), rng)).encode()
    return len(text).to_bytes(8, "little") + text + content[end:]


def sly_meta(content, rng):
    pad = " " * int(rng.integers(1, 5_000_000)) if rng.random() < 0.1 else ""
    return with_meta(content, changed(meta_of(content), rng), pad)


def sly_positions(content, rng):
    data = positions.decompress(load(content)["positions"].tobytes(), 10**6).tobytes()
    return packed(
        content, positions=positions.compress((flip, cut, insert)[rng.integers(3)](data, rng))
    )


DAMAGES = (
    *(flip, flip, cut, insert, swap, header_bytes, sly_header),
    *(sly_meta, sly_meta, sly_positions),
)


def changed(value, rng):
    """A JSON value with one to three of its parts changed, dropped or doubled."""
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
            parent[key] = NUMBERS[rng.integers(len(NUMBERS))]
        elif choice < 0.8 and type(node) is int:
            parent[key] = node + int(rng.integers(-2, 3))
        else:
            parent[key] = copy.deepcopy(OTHERS[rng.integers(len(OTHERS))])
    return value


def read(content, most):
    """The ticket in `content`, or None where it is refused; in at most `most` bytes of memory."""
    tracemalloc.start()
    try:
        return decode_ticket(content)
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 300
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < most


@given(st.integers(0, 2**32), st.sampled_from(CONTENTS))
@settings(max_examples=500)
def test_damaged_copies(seed, content):
    rng = np.random.default_rng(seed)
    found = read(DAMAGES[rng.integers(len(DAMAGES))](content, rng), 1_500_000)
    if found is not None:
        assert tickets.digest(found) == tickets.digest(decode_ticket(content))
        try:  # What it says of the network may have changed.
            tickets.Network(found)
        except UserError as error:
            assert "\n" not in str(error)


@given(st.binary(max_size=400))
@settings(max_examples=300)
def test_any_bytes(data):
    for content in (data, len(data).to_bytes(8, "little") + data):
        with pytest.raises(UserError):
            decode_ticket(content)


LIES = {
    "a huge shape": lambda m: m["layers"][0].update(shape=[2**20, 2**11]),
    "a shape beyond any": lambda m: m["layers"][0].update(shape=[2**40, 2**40]),
    "many huge shapes": lambda m: [layer.update(shape=[2**20, 2**10]) for layer in m["layers"]],
    "more kept than there are": lambda m: m["layers"][0].update(kept=1921),
    "many kept of many": lambda m: m["layers"][0].update(shape=[2**20, 2**10], kept=2**30),
    "fewer kept": lambda m: m["layers"][1].update(kept=3),
    "more live rows than weights": lambda m: m["layers"][0].update(shape=[999, 2], live=[999, 2]),
    "no live row": lambda m: m["layers"][0].update(live=[0, 30]),
    "a negative order": lambda m: m["layers"][0].update(order=-1),
    "a huge free array": lambda m: m["params"].append(["a/b", [2**30]]),
    "magnitudes beyond float32": lambda m: m["layers"][0].update(coding="signs", magnitudes=[1e39]),
    "magnitudes missing": lambda m: m["layers"][0].update(coding="signs", magnitudes=[]),
    "an index and no magnitude": lambda m: m["layers"][0].update(coding="signs", magnitudes=[1.0]),
    "a negative count": lambda m: m["layers"][0].update(kept=-1),
    "a count that is a bool": lambda m: m["layers"][0].update(kept=True),
    "an unknown coding": lambda m: m["layers"][0].update(coding="zip"),
    "an unknown entry": lambda m: m["layers"][0].update(colour="red"),
    "a name twice": lambda m: m["layers"][1].update(name="dense1/kernel"),
    "another digest": lambda m: m.update(sha256="0" * 64),
    "an accuracy of 2": lambda m: m["accuracy"].update(value=2.0),
    "no layers": lambda m: m.pop("layers"),
    "a flat image": lambda m: m.update(image_shape=[64]),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
@pytest.mark.parametrize("content", CONTENTS, ids=["signs", "values"])
def test_well_formed_lies(content, lie):
    meta = meta_of(content)
    lie(meta)
    assert read(with_meta(content, meta), 1_500_000) is None


@pytest.mark.parametrize("part", ["meta", "positions"])
def test_what_inflates(part):
    bombs = {
        "meta": zlib.compress(b" " * 20_000_000),
        "positions": positions.compress(bytes(10**8)),
    }
    assert read(packed(CONTENTS[0], **{part: bombs[part]}), 4_000_000) is None


def test_metadata_that_nest():
    with pytest.raises(UserError, match="no JSON"):
        decode_ticket(packed(CONTENTS[0], meta=zlib.compress(b"[" * 100_000, 0)))


TEXT = b'{"__metadata__":null}'
NO_METADATA = len(TEXT).to_bytes(8, "little") + TEXT


@pytest.mark.parametrize(
    "content, said",
    [
        (save({"weight": np.ones((3, 3), np.float32)}), "not a ticket"),
        (save({"weight": np.ones(3, np.float32)}, metadata={"format": "pt"}), "its format is 'pt'"),
        (save({f"w{i}": np.ones(3, np.float32) for i in range(200)}), "not that of a ticket"),
        (save({}, metadata={"format": FORMAT}), "lacks the tensor 'meta'"),
        (NO_METADATA, "its format is None"),
        (b"", "cut short"),
        (b"\x50\x4b\x03\x04" + bytes(100), "cut short"),
        (CONTENTS[0][:-1], "cut short or damaged"),
        (CONTENTS[0] + b"\0", "cut short or damaged"),
        (CONTENTS[0].replace(b'"U8"', b'"I8"', 1), "a tensor 'meta' of type I8"),
        (CONTENTS[0].replace(b"ticket-2", b"ticket-1"), "'supermask-ticket-1'.*export the ticket"),
    ],
)
def test_foreign_files(content, said):
    with pytest.raises(UserError, match=said):
        decode_ticket(content)
