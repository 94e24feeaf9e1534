"""The process that a run is in: what the run fixes of it, and what ``env.json`` says of it.

What is drawn is a function of the seed alone. `JAX_ENABLE_X64`, `JAX_DEFAULT_PRNG_IMPL` and others
of their kind change which bits a key gives and what dtype they are taken in: a run under another
setting would be another run.
"""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import configurations

from supermask_jax.run_files import versions

Array = jax.Array

_PACKAGES = ("supermask-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
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


def environment(convolution: str = "") -> dict[str, Any]:
    """Returns versions, device and revision of this process; how it convolves, where it does."""
    device = jax.devices()[0]
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions(_PACKAGES),
        "backend": device.platform,
        "device": device.device_kind,
        "num_devices": jax.device_count(),
        "generator": _GENERATOR,
        "dtype": "float32",
        "matmul_precision": jax.config.jax_default_matmul_precision or "default",
        **({"convolution": convolution} if convolution else {}),
        "cpu_count": os.cpu_count(),
        "compilation_cache": "on" if compilation_cache() else "off",
        "git_revision": _git_revision(),
    }


def compilation_cache() -> str:
    """Returns the folder that JAX keeps compiled programs in, "" where it keeps none."""
    kept = jax.config.jax_enable_compilation_cache and jax.config.jax_compilation_cache_dir
    return kept or ""


def _git_revision() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
