"""The data of a run: loaded, split, and put where it trains."""

from __future__ import annotations

from typing import Any

import numpy as np
from ml_collections import ConfigDict

from supermask_jax.data import Dataset, load, spec_of
from supermask_jax.data.pipeline import Examples, hold_out
from supermask_jax.errors import UserError
from supermask_jax.training import streaming
from supermask_jax.training.sharding import Layout
from supermask_jax.training.trainer import Splits


def examples_used(examples: int, config: ConfigDict) -> int:
    """Returns how many of a split's examples a run sees."""
    return min(examples, config.data.subset or examples)


def load_data(config: ConfigDict) -> Dataset:
    """Loads the data set of a config into memory.

    Raises:
      UserError: it cannot be loaded, or is not the one that the config has the digest of.
    """
    data = load(
        config.data.name,
        data_dir=config.data.data_dir or None,
        cache_dir=config.data.cache_dir or None,
        image_size=config.data.image_size,
    )
    if config.data.digest not in ("", data.digest):
        raise UserError(
            f"data {config.data.name} have changed: their digest is {data.digest}, and config."
            f"data.digest is {config.data.digest}"
        )
    return data


def split_data(data: Dataset, config: ConfigDict, layout: Layout) -> Splits:
    """Puts a data set on the devices, with part of train held out under 'validation'.

    Where ``config.data.streaming`` says so, it stays on the host, and batches are put there.
    """
    stays = streaming.wanted(spec_of(config.data), config.data.streaming)

    def examples(split: Any, rows: Any) -> Examples | streaming.Stream:
        if stays:
            every = np.arange(len(split.labels))
            return streaming.Stream(split.images, split.labels, every[rows], layout)
        return layout.put(Examples(split.images[rows], split.labels[rows]))

    num_train = examples_used(len(data.train.labels), config)
    test = examples(data.test, slice(examples_used(len(data.test.labels), config)))
    if config.protocol == "paper":
        return Splits(examples(data.train, slice(num_train)), None, test)
    kept, held_out = hold_out(num_train, config.validation_fraction)
    return Splits(examples(data.train, kept), examples(data.train, held_out), test)
