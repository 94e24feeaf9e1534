"""What the compiler plans to allocate for one train step."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from supermask_jax.training.job import Job


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
