"""What a train step needs in memory, and how many seeds fit."""

from __future__ import annotations

import math
import os

import jax
import jax.numpy as jnp

from supermask_jax.errors import UserError
from supermask_jax.training.job import Job

# Of the memory that is free: the plan knows nothing of the allocator's gaps, or of the evaluation.
_USABLE = 0.7
# Beyond so many a program grows no faster, and its checkpoints and compile time do.
_MOST_SEEDS = 64


def step_memory(job: Job, image_shape: tuple[int, ...]) -> dict[str, int]:
    """Returns the compiler's plan for one train step, in bytes.

    "peak" is arguments, temporaries and outputs together, less the outputs that take the place of
    the donated state; the data set, which lies on the device as well, is not in it.
    """
    state, frozen = jax.eval_shape(job.create, jax.random.key(0))
    size = job.plan.batch_size
    batch = {
        "image": jax.ShapeDtypeStruct((size, *image_shape), jnp.float32),
        "label": jax.ShapeDtypeStruct((size,), jnp.int32),
        "weight": jax.ShapeDtypeStruct((size,), jnp.float32),
    }
    step = jax.jit(job.train_step(), donate_argnums=0)
    plan = step.lower(state, frozen, batch).compile().memory_analysis()
    arguments, temporaries = plan.argument_size_in_bytes, plan.temp_size_in_bytes
    outputs = plan.output_size_in_bytes - plan.alias_size_in_bytes
    return {
        "arguments": arguments,
        "temporaries": temporaries,
        "outputs": outputs,
        "peak": arguments + temporaries + outputs,
    }


def free_memory() -> int:
    """Returns the bytes that a program may use on one device."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    pages = "SC_AVPHYS_PAGES" if "SC_AVPHYS_PAGES" in os.sysconf_names else "SC_PHYS_PAGES"
    return os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE")


def seeds_per_program(
    job: Job, image_shape: tuple[int, ...], num_seeds: int, wanted: int, *, convolutional: bool
) -> int:
    """Returns how many seeds to train together: all but the last program have so many.

    On an accelerator, seeds of matrix products fill it: as many as fit. Convolutions fill it with
    one seed, and so do all networks a CPU: as many as there are devices.

    Args:
      job: of one seed.
      image_shape: (H, W, C).
      num_seeds: of the run.
      wanted: 0 chooses.
      convolutional: whether the network has convolutions.

    Raises:
      UserError: so many seeds, or even one, do not fit.
    """
    devices = jax.device_count()
    if not wanted and jax.default_backend() == "cpu":
        return min(num_seeds, jax.process_count())
    if not wanted and convolutional:
        return min(num_seeds, devices)
    each, usable = step_memory(job, image_shape)["peak"], _USABLE * free_memory()
    fitting = int(usable // each) * devices
    if fitting < max(wanted, 1):
        needed = max(wanted, 1) * each / 2**30
        raise UserError(
            f"{max(wanted, 1):,} seeds in one program need {needed:,.1f} GiB and "
            f"{usable * devices / 2**30:,.1f} GiB can be used: set config.seeds_per_program to at "
            f"most {fitting:,}, or 0 to choose, or lower config.batch_size"
        )
    if wanted:
        return min(wanted, num_seeds)
    together = min(num_seeds, fitting, _MOST_SEEDS * devices)
    return math.ceil(num_seeds / math.ceil(num_seeds / together))
