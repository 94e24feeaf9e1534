"""Strict settings for every test, made before JAX starts."""

import os

# Eight virtual devices, as a test of sharding needs; one thread pool for all, so no slower.
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")

import hypothesis  # noqa: E402
import jax  # noqa: E402

# The tests compile hundreds of tiny functions: faster compilation beats faster code.
jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
# Compilation makes the first example slow; a deadline would call that flaky.
hypothesis.settings.register_profile("supermask", deadline=None, derandomize=True)
hypothesis.settings.load_profile("supermask")
