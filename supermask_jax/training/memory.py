"""What a train step needs in memory, and how many seeds fit."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

from supermask_jax.errors import UserError
from supermask_jax.training.distributed import least
from supermask_jax.training.environment import seed_key
from supermask_jax.training.loop import make_train_step
from supermask_jax.training.trainer import Trainer
from supermask_jax.training.xla_cpu import quick_jit

_MEMINFO = Path("/proc/meminfo")
# Of the memory that is free: the plan knows nothing of the allocator's gaps, or of the evaluation.
_USABLE = 0.7
# Beyond so many a program grows no faster, and its checkpoints and compile time do.
_MOST_SEEDS = 64


class StepPlan(NamedTuple):
    """The compiler's plan for one train step.

    `peak` is arguments, temporaries and outputs together, less the outputs that take the place of
    the donated state; the data set, which lies on the device as well, is not in it.
    """

    arguments: int  # bytes, as all but the last
    temporaries: int
    outputs: int
    peak: int
    flops: float  # as the compiler counts them, of a loop one turn; 0 where it does not


def lower_step(trainer: Trainer, image_shape: tuple[int, ...]) -> jax.stages.Lowered:
    """Returns the program of one train step of one seed, not compiled."""
    state, frozen = jax.eval_shape(trainer.create, seed_key(0))
    size = trainer.plan.batch_size
    batch = {
        "image": jax.ShapeDtypeStruct((size, *image_shape), jnp.float32),
        "label": jax.ShapeDtypeStruct((size,), jnp.int32),
        "weight": jax.ShapeDtypeStruct((size,), jnp.float32),
    }
    return quick_jit(make_train_step(trainer), donate_argnums=0).lower(state, frozen, batch)


def plan_step(trainer: Trainer, image_shape: tuple[int, ...]) -> StepPlan:
    """Compiles one train step of one seed and returns the plan."""
    compiled = lower_step(trainer, image_shape).compile()
    plan = compiled.memory_analysis()
    arguments, temporaries = plan.argument_size_in_bytes, plan.temp_size_in_bytes
    outputs = plan.output_size_in_bytes - plan.alias_size_in_bytes
    flops = (compiled.cost_analysis() or {}).get("flops", 0.0)
    return StepPlan(arguments, temporaries, outputs, arguments + temporaries + outputs, flops)


def free_memory() -> int:
    """Returns the bytes that a program may use on one device."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    if _MEMINFO.exists():  # What is free and what the system would give back.
        kilobytes = re.search(r"^MemAvailable:\s+(\d+) kB", _MEMINFO.read_text(), re.MULTILINE)
        if kilobytes:
            return int(kilobytes[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def seeds_per_program(
    trainer: Trainer, image_shape: tuple[int, ...], num_seeds: int, wanted: int
) -> int:
    """Returns how many seeds to train together: all but the last program have so many.

    On an accelerator, seeds of matrix products fill it: as many as fit. Convolutions fill it with
    one seed, and so do all networks a CPU: as many as there are devices.

    Args:
      trainer: of one seed.
      image_shape: (H, W, C).
      num_seeds: of the run.
      wanted: 0 chooses.

    Raises:
      UserError: so many seeds, or even one, do not fit.
    """
    # Of CPUs a program takes one a process: virtual ones share their memory.
    on_cpu = jax.default_backend() == "cpu"
    devices = jax.process_count() if on_cpu else jax.device_count()
    if not wanted and (on_cpu or trainer.convolution):
        return min(num_seeds, devices)
    each = plan_step(trainer, image_shape).peak
    # Every process must come to the same split.
    fitting = least(int(_USABLE * free_memory()) // each) * devices
    if fitting < max(wanted, 1):
        hint = f"set config.seeds_per_program to at most {fitting:,}, or " if fitting else ""
        raise UserError(
            f"{max(wanted, 1):,} seeds in one program need {max(wanted, 1) * each / 2**30:,.1f} "
            f"GiB, more than is free: {hint}lower config.batch_size, or raise config.microbatches"
        )
    if wanted:
        return min(wanted, num_seeds)
    together = min(num_seeds, fitting, _MOST_SEEDS * devices)
    size = math.ceil(num_seeds / math.ceil(num_seeds / together))
    # Whole rounds of the devices, so that each gets its share: all but the last program.
    return min(num_seeds, max(devices, size // devices * devices))
