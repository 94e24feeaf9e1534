"""Shared by the tests of pruning: two small layers, a small grid, and its files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from helpers import ROOT, tiny_config
from ml_collections import ConfigDict

from supermask_jax.config import dense
from supermask_jax.config import lottery as section
from supermask_jax.training.arrays import read_arrays

# Without a network.

SHAPES = {"first/kernel": (6, 8), "second/kernel": (8, 3)}
SIZES = {"first/kernel": 48, "second/kernel": 24}


def draw(seed: int) -> dict[str, np.ndarray]:
    """Weights of two layers."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


# A network on digits.

LAYERS = {"dense1/kernel": 64 * 30, "dense2/kernel": 30 * 10, "dense3/kernel": 10 * 10}
STEPS = 11  # in an epoch


def config(pruning: Mapping[str, Any] | Iterable[tuple[str, Any]] = ()) -> ConfigDict:
    """Two epochs of a small dense net on digits, and two levels of large_final."""
    tiny = tiny_config(epochs=2)
    tiny.method = dense()
    entries = {"levels": 2, "keep": 0.5, "keep_layers": {"dense3": 0.9}}
    tiny.lottery = section(**entries | dict(pruning))
    return tiny


def arrays(path: Path, name: str = "weights_final") -> dict[str, np.ndarray]:
    """The arrays NAME.npz in a level's folder."""
    return read_arrays(path / f"{name}.npz")


# The command line.

ARGV = [
    f"--config={ROOT / 'configs' / 'lottery_fcn.py'}",
    "--config.data.name=digits",
    "--config.model.width=0.1",
    "--config.epochs=15",
    "--config.lottery.levels=1",
    "--criteria=random",
    "--mask1=reshuffle",
    "--mask0=reshuffled",
]
