"""Benchmarks: what a step, an epoch and a start cost, on synthetic data of the real sizes."""

from supermask_jax.benchmark.suite import PARTS, Options, model_config, run
from supermask_jax.benchmark.table import table

__all__ = ["PARTS", "Options", "model_config", "run", "table"]
