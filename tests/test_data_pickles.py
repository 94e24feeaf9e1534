"""Pickles that are not what CIFAR's are: refused in one line, before they do anything."""

import pickle

import numpy as np
import pytest

from supermask_jax.data import pickles

OPCODES = {
    "any function": b"cbuiltins\neval\n(S'1'\ntR.",
    "a method of an allowed class": b"\x80\x04\x8c\x05numpy\x8c\x0fndarray.__new__\x93.",
    "a class called with INST": b"(ios\nsystem\n.",
    "an extension": b"\x80\x02\x82\x01.",
    "a persistent object": b"Pwhatever\n.",
    "a codec": b"c_codecs\nencode\n(X\x01\0\0\0aX\x03\0\0\0ziptR.",
    "a memo of 256 MB": b"\x80\x02}r\xff\xff\xff\x00.",
    "bytes of 1 EB": b"\x80\x04\x8e" + (1 << 60).to_bytes(8, "little") + b"ab.",
    "a deep chain of tuples": b"\x80\x02}K\x01" + b"\x85" * 2_000_000 + b"K\x01s.",
    "nothing": b"",
    "no end": b"\x80\x02}",
    "a web page": b"<html>404</html>",
    "a stack that is empty": b"s.",
}


REFUSALS = {
    "any function": "asks for builtins.eval",
    "a method of an allowed class": "asks for numpy.ndarray.__new__",
    "a class called with INST": "asks for os.system",
    "a codec": "latin-1",
    "a memo of 256 MB": "memo number 16777215",
    "a deep chain of tuples": "more than 1000 tuples",
}


@pytest.mark.parametrize("kind", OPCODES)
def test_whatever_else_a_pickle_holds_is_one_error(kind):
    with pytest.raises(ValueError, match=f"its pickle .*{REFUSALS.get(kind, '')}"):
        pickles.load(OPCODES[kind])


def test_no_array_is_made_before_its_size_is_checked():
    huge = pickle.dumps(np.zeros((2, 3), np.uint8), 2).replace(
        b"K\x02K\x03\x86", b"J\xff\xff\xff\x7fK\x03\x86"
    )
    with pytest.raises(ValueError, match=r"shape \(2147483647, 3\) holds 6 bytes"):
        pickles.load(huge).numpy()
    for array in (np.zeros(2, np.int64), np.array([None]), np.zeros(2, np.int8)):
        with pytest.raises(ValueError, match="not of unsigned bytes"):
            pickles.load(pickle.dumps(array, 2)).numpy()


@pytest.mark.parametrize("protocol", range(5))  # CIFAR's is 2.
@pytest.mark.parametrize("order", ["C", "F"])
def test_protocols_without_buffers_are_read(protocol, order):
    array = np.arange(6, dtype=np.uint8).reshape((2, 3), order=order)
    found = pickles.load(pickle.dumps({"data": array, "labels": [1, 2]}, protocol))
    (data,) = (value for value in found.values() if isinstance(value, pickles.Array))
    np.testing.assert_array_equal(data.numpy(), array)
    with pytest.raises(ValueError, match="not of unsigned bytes"):
        pickles.load(pickle.dumps(np.zeros(2, np.int8), protocol)).numpy()
