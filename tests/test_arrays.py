"""Arrays that are computed once."""

import numpy as np
import pytest

from supermask_jax.core.trees import digest
from supermask_jax.errors import UserError
from supermask_jax.training.arrays import once, read_arrays, write_arrays


def test_arrays_are_written_once_and_checked(tmp_path):
    path, values = tmp_path / "a.npz", {"x/y": np.arange(3.0)}
    assert once(path, lambda: values)["x/y"].tolist() == [0, 1, 2]
    assert once(path, lambda: 1 / 0)["x/y"].tolist() == [0, 1, 2]
    content = bytearray(path.read_bytes())
    content[content.index(np.float64(2).tobytes()) + 6] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="cannot use .*a.npz"):
        read_arrays(path)
    np.savez(path, **{"x/y": np.arange(4.0), "sha256": digest(values)})
    with pytest.raises(UserError, match="its SHA-256 is not the one saved with it"):
        read_arrays(path)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match="cut short"):
        read_arrays(path)
    with pytest.raises(UserError, match="cannot write"):
        write_arrays(tmp_path / "none" / "a.npz", values)
