"""Data sets as uint8 arrays in memory."""

from supermask_jax.data.datasets import DATASETS, Dataset, Split, load

__all__ = ["DATASETS", "Dataset", "Split", "load"]
