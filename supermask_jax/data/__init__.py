"""Data sets as uint8 arrays in memory."""

from supermask_jax.data.arrays import from_arrays
from supermask_jax.data.datasets import DATASETS, Dataset, Spec, Split, load, spec_of

__all__ = ["DATASETS", "Dataset", "Spec", "Split", "from_arrays", "load", "spec_of"]
