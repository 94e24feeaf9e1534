"""Damaged, foreign and lying files end in one UserError, in the memory of a whole file."""

import json
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save
from ticket_helpers import SMALL, random_ticket

from supermask_jax import tickets
from supermask_jax.errors import UserError
from supermask_jax.tickets import container, fuzz, metadata
from supermask_jax.tickets.codec import Bits, decode
from supermask_jax.tickets.dictionary import DICTIONARY
from supermask_jax.tickets.files import decode_ticket, encode_ticket
from supermask_jax.tickets.rangecoder import Decoder, Encoder

STATS = {"dense1_norm": {"bn": {"mean": np.ones(30, "f4"), "var": np.ones(30, "f4")}}}
CONTENTS = [
    encode_ticket(random_ticket(SMALL, 0.2, levels=3))[0],
    encode_ticket(random_ticket(SMALL, 0.5, levels=0, batch_stats=STATS))[0],
]


def meta_of(content):
    data = container.unpack(content)["meta"][1]
    return json.loads(zlib.decompressobj(zdict=DICTIONARY).decompress(data))


def with_meta(content, meta, pad=""):
    compressor = zlib.compressobj(9, zdict=DICTIONARY)
    packed = compressor.compress((json.dumps(meta) + pad).encode()) + compressor.flush()
    tensors = {n: (d, bytes(b)) for n, (d, b) in container.unpack(content).items()}
    return container.pack(tensors | {"meta": ("U8", packed)})


@given(st.integers(0, 2**32), st.sampled_from(CONTENTS))
@settings(max_examples=500)
def test_damaged_copies(seed, content):
    damaged = fuzz.damage(content, np.random.default_rng(seed))
    try:
        found = decode_ticket(damaged)
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 300
    else:
        assert tickets.digest(found) == tickets.digest(decode_ticket(content))


@given(st.binary(max_size=400))
@settings(max_examples=300)
def test_any_bytes(data):
    for content in (data, len(data).to_bytes(8, "little") + data):
        with pytest.raises(UserError):
            decode_ticket(content)


def test_the_command_counts(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(CONTENTS[1])
    report = fuzz.fuzz(path, count=60, seed=1)
    assert report.refused + report.harmless == 60 and report.refused > 40
    assert report.memory <= 4 and "refused in one line" in str(report)


@pytest.mark.parametrize("outcome", [KeyError("x"), UserError("two\nlines"), "another digest"])
def test_the_command_tells_what_gets_through(tmp_path, monkeypatch, outcome):
    path = tmp_path / "a.safetensors"
    path.write_bytes(CONTENTS[0])
    watched = fuzz._watched
    monkeypatch.setattr(
        fuzz, "_watched",
        lambda content: watched(content) if content == CONTENTS[0] else (0, 0, outcome),
    )  # fmt: skip
    with pytest.raises(UserError, match="a damaged copy of"):
        fuzz.fuzz(path, count=3)
    assert (tmp_path / "a.safetensors.broken").exists()


LIES = {
    "a huge shape": lambda m: m["layers"][0].update(shape=[2**20, 2**11]),
    "a shape beyond any": lambda m: m["layers"][0].update(shape=[2**40, 2**40]),
    "more kept than there are": lambda m: m["layers"][0].update(kept=1921),
    "many kept of many": lambda m: m["layers"][0].update(shape=[2**20, 2**10], kept=2**30),
    "fewer kept": lambda m: m["layers"][1].update(kept=3),
    "a huge free array": lambda m: m["params"].append(["a/b", [2**30]]),
    "a magnitude beyond float32": lambda m: m["layers"][0].update(magnitudes=[1e39]),
    "magnitudes missing": lambda m: m["layers"][0].update(magnitudes=[]),
    "a negative count": lambda m: m["layers"][0].update(kept=-1),
    "a count that is a bool": lambda m: m["layers"][0].update(kept=True),
    "an unknown coding": lambda m: m["layers"][0].update(coding="zip"),
    "a name twice": lambda m: m["layers"][1].update(name="dense1/kernel"),
    "another digest": lambda m: m.update(sha256="0" * 64),
    "a longer stream": lambda m: m.update(coded=10**9),
    "an accuracy of 2": lambda m: m["accuracy"].update(value=2.0),
    "no layers": lambda m: m.pop("layers"),
    "a flat image": lambda m: m.update(image_shape=[64]),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
@pytest.mark.parametrize("content", CONTENTS, ids=["signs", "values"])
def test_well_formed_lies(content, lie):
    meta = meta_of(content)
    if lie is LIES["magnitudes missing"] and "magnitudes" not in meta["layers"][0]:
        pytest.skip("this ticket lists none")
    if lie is LIES["a magnitude beyond float32"]:
        meta["layers"][0]["coding"] = "signs"
    lie(meta)
    lying = with_meta(content, meta)
    tracemalloc.start()
    with pytest.raises(UserError):
        decode_ticket(lying)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_500_000


def test_shapes_beyond_any():
    meta = meta_of(CONTENTS[0])
    LIES["a shape beyond any"](meta)
    with pytest.raises(UserError, match="impossible shape"):
        decode_ticket(with_meta(CONTENTS[0], meta))


def test_more_live_rows_than_weights_are_not_read():
    encoder = Encoder()
    encoder.write([1, 0, 0])  # all rows but one are said to be live
    with pytest.raises(UserError, match="do not fit the number of weights"):
        decode(Decoder(encoder.finish()), Bits(b""), (2**20, 4), 100)


def test_metadata_that_inflate():
    bomb = with_meta(CONTENTS[0], meta_of(CONTENTS[0]), pad=" " * 20_000_000)
    tracemalloc.start()
    with pytest.raises(UserError, match="longer than any ticket's"):
        decode_ticket(bomb)
    assert tracemalloc.get_traced_memory()[1] < 4_000_000
    tracemalloc.stop()


def test_metadata_that_nest():
    deep = with_meta(CONTENTS[0], {})
    text = b"[" * 100_000
    compressor = zlib.compressobj(0, zdict=DICTIONARY)
    packed = compressor.compress(text) + compressor.flush()
    with pytest.raises(UserError, match="no JSON"):
        metadata.unpack(packed)
    with pytest.raises(UserError, match="its metadata lack"):
        decode_ticket(deep)


@pytest.mark.parametrize(
    "content, said",
    [
        (save({"weight": np.ones((3, 3), np.float32)}), "not a ticket"),
        (save({"weight": np.ones(3, np.float32)}, metadata={"format": "pt"}), "its format is 'pt'"),
        (save({f"w{i}": np.ones(3, np.float32) for i in range(200)}), "not that of a ticket"),
        (b"", "cut short"),
        (b"\x50\x4b\x03\x04" + bytes(100), "cut short"),
        (CONTENTS[0][:-1], "its tensors take"),
        (CONTENTS[0] + b"\0", "its tensors take"),
        (CONTENTS[0].replace(b'"U8"', b'"I8"', 1), "tensor 'meta' is not U8"),
        (CONTENTS[0].replace(b"ticket-1", b"ticket-2"), "its format is 'supermask-ticket-2'"),
    ],
)
def test_foreign_files(content, said):
    with pytest.raises(UserError, match=said):
        decode_ticket(content)
