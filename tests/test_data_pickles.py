"""Pickles that are not what CIFAR's are: refused in one line, before they do anything."""

import pickle

import numpy as np
import pytest

from supermask_jax.data import pickles

OPCODES = {
    "asks for builtins.eval": b"cbuiltins\neval\n(S'1'\ntR.",
    "asks for numpy.ndarray.__new__": b"\x80\x04\x8c\x05numpy\x8c\x0fndarray.__new__\x93.",
    "asks for os.system": b"(ios\nsystem\n.",
    "unregistered extension": b"\x80\x02\x82\x01.",
    "broken or cut short": b"\x80\x04\x8e" + (1 << 60).to_bytes(8, "little") + b"ab.",
    "Ran out of input": b"",
    "invalid load key": b"<html>404</html>",
}


@pytest.mark.parametrize("said", OPCODES)
def test_whatever_else_a_pickle_holds_is_one_error(said):
    with pytest.raises(ValueError, match=f"its pickle .*{said}"):
        pickles.load(OPCODES[said])


@pytest.mark.parametrize("protocol", (0, 2, 4))  # CIFAR's is 2.
@pytest.mark.parametrize("order", ["C", "F"])
def test_protocols_without_buffers_are_read(protocol, order):
    array = np.arange(6, dtype=np.uint8).reshape((2, 3), order=order)
    found = pickles.load(pickle.dumps({"data": array}, protocol))
    (data,) = found.values()
    np.testing.assert_array_equal(data, array)
