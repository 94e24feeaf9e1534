"""Memory: what a batch needs, four times that batch, and that in four microbatches."""

from __future__ import annotations

import ast
import json
from functools import partial
from typing import Any

from ml_collections import ConfigDict

from supermask_jax.benchmark.fresh import in_fresh_process
from supermask_jax.benchmark.steps import process_memory
from supermask_jax.benchmark.timing import Steps, chunk_of, synthetic_data, timed
from supermask_jax.data import DATASETS
from supermask_jax.experiment import build, split_data
from supermask_jax.training.memory import plan_step

_BATCHES = 8  # that the steps go round in
_CASES = ((1, 1), (4, 1), (4, 4))  # (times the batch size, microbatches)
_CODE = """\
import sys
from supermask_jax.benchmark.memory import main
main(sys.argv[1])
"""


def measure_memory(config: ConfigDict) -> list[dict[str, Any]]:
    """Measures a fresh process for each of `_CASES`.

    Returns:
      For each: batch size, microbatches, seconds a step, the peak of the process since it began
      (compilation, its data and JAX itself are in it) and of the device, and the compiler's plan.
    """
    return [json.loads(in_fresh_process(_CODE, repr(c.to_dict())).line) for c in _cases(config)]


def _cases(config: ConfigDict) -> list[ConfigDict]:
    cases = []
    for times, microbatches in _CASES:
        case = config.copy_and_resolve_references()
        case.batch_size, case.microbatches = times * config.batch_size, microbatches
        case.data.subset = _BATCHES * case.batch_size
        cases.append(case)
    return cases


def main(argument: str) -> None:
    """Measures one case in this process and prints one line of JSON.

    Args:
      argument: the config as Python text.
    """
    config = ConfigDict(ast.literal_eval(argument))
    job = build(config)
    data = synthetic_data(config.data.name, config.data.subset)
    steps = Steps(job, split_data(data, config, job.layout).train)
    chunk = chunk_of(job)
    steps.run(chunk)
    seconds = timed(partial(steps.run, chunk)).wall / chunk
    peak = process_memory()  # Before the plan is made, which compiles once more.
    plan = plan_step(job, DATASETS[config.data.name].image_shape)._asdict()
    plan.pop("flops")
    case = {"batch_size": config.batch_size, "microbatches": config.microbatches}
    print(json.dumps({**case, "step_wall_seconds": seconds, **peak, "step_bytes": plan}))
