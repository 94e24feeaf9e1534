"""The same step in another framework: refused where there is none, equal where there is."""

import importlib.util

import numpy as np
import pytest

from supermask_jax import benchmark
from supermask_jax.benchmark import peer
from supermask_jax.benchmark.table import table
from supermask_jax.commands import benchmark as cli
from supermask_jax.errors import UserError


def test_bad_wishes_are_one_line(monkeypatch, capsys):
    assert cli.main(["--peer=tensorflow"]) == 1
    assert "torch" in capsys.readouterr().err
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert cli.main(["--peer=torch"]) == 1
    assert "pip install torch" in capsys.readouterr().err
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert cli.main(["--peer=torch", "--models=resnet20"]) == 1
    assert "has no counterpart" in capsys.readouterr().err
    assert cli.main(["--only=peer"]) == 1
    assert cli.main(["--peer=torch", "--peer_python=no-such-python"]) == 1
    assert "cannot start no-such-python" in capsys.readouterr().err


def test_unequal_gradients_are_refused(tmp_path):
    right = {"loss": np.float32(2), "dense1": np.ones((2, 2), np.float32)}
    np.savez(tmp_path / "jax.npz", **right)
    np.savez(tmp_path / "torch.npz", **right)
    assert peer._difference(tmp_path, 1e-6) == {"loss_difference": 0, "gradient_difference": 0}
    for wrong in (right["dense1"] * 1.01, right["dense1"] * np.nan):
        np.savez(tmp_path / "torch.npz", **right | {"dense1": wrong})
        with pytest.raises(UserError, match="dense1"):
            peer._difference(tmp_path, 1e-3)


def test_a_failing_side_is_one_line():
    with pytest.raises(UserError, match="the X side of the benchmark failed: KeyError: 1"):
        peer._Side("X", ["-c", "{}[1]"])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_both_sides_compute_the_same(dtype):
    pytest.importorskip("torch")
    config = benchmark.model_config("conv2")
    config.batch_size, config.model.width, config.compute_dtype = 8, 0.5, dtype
    options = benchmark.Options(("peer",), repeats=1, chunk_steps=1, peer="torch")
    result = benchmark.run({"conv2": config}, options)
    figures = result["models"]["conv2"]["peer"]
    assert figures["gradient_difference"] <= peer.TOLERANCES[dtype]
    assert 0 < figures["ratio_wall_range"][0] <= figures["ratio_wall"]
    assert "ours / theirs" in table(result)
