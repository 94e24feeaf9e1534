"""What a run fixes of the process it is in, so that what is drawn is a function of the seed alone.

`JAX_ENABLE_X64`, `JAX_DEFAULT_PRNG_IMPL` and others of their kind change which bits a key gives and
what dtype they are taken in: a run under another setting would be another run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from flax import configurations

Array = jax.Array

_GENERATOR = "threefry2x32"


def key_of(words: Array | np.ndarray) -> Array:
    """Returns the typed key of its words, uint32 [2], whatever the process draws with."""
    return jax.random.wrap_key_data(words, impl=_GENERATOR)


def seed_key(seed: int) -> Array:
    """Returns the typed key [] of a seed below 2**32: `jax.random.key`, as JAX comes."""
    return key_of(np.array([0, seed], np.uint32))


@contextlib.contextmanager
def fixed_settings() -> Iterator[None]:
    """Draws and computes within as JAX and Flax do by default. Serves as a decorator too."""
    with (
        jax.enable_x64(False),
        jax.default_prng_impl(_GENERATOR),
        jax.threefry_partitionable(True),
        jax.numpy_dtype_promotion("standard"),
        configurations.config.temp_flip_flag("fix_rng_separator", False),
    ):
        yield


def settings() -> dict[str, Any]:
    """Returns what `fixed_settings` makes of a process, and what the process may choose."""
    return {
        "generator": _GENERATOR,
        "dtype": "float32",
        "matmul_precision": jax.config.jax_default_matmul_precision or "default",
    }
