"""Lottery tickets: a dense network, pruned and trained again level by level.

`run(config, workdir)` trains a grid of ways to prune. What a level is made of (`criteria`,
`actions`, `pruning`, `recipes`, `levels`) is plain NumPy and needs no JAX.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from supermask_jax.lottery.experiment import build, check_config, run, split_config

__all__ = ["build", "check_config", "run", "split_config"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from supermask_jax.lottery import experiment

    return getattr(experiment, name)
