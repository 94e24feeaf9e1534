"""Seeds together: the time of a step a seed, in one program of many against one alone."""

from __future__ import annotations

import copy
import statistics
from typing import Any

from ml_collections import ConfigDict

from supermask_jax.benchmark.timing import Steps, chunk_of, median_cost, synthetic_data, timed
from supermask_jax.experiment import build, programs, split_data


def measure_seeds(
    config: ConfigDict, *, num_seeds: int, repeats: int, chunk_steps: int = 0
) -> dict[str, Any]:
    """Measures one seed alone and `num_seeds` in one program, taking turns.

    Args:
      config: the run.
      num_seeds: seeds of the program.
      repeats: pairs of chunks, after one that warms up.
      chunk_steps: steps in a chunk; 0 chooses by how the steps are dispatched.

    Returns:
      Seconds a step and seed of both, and the ratio: below 1 where seeds together pay.

    Raises:
      UserError: so many seeds do not fit.
    """
    config = copy.deepcopy(config)
    config.num_seeds = config.seeds_per_program = num_seeds
    one = build(config)
    (many,) = programs(config)
    data = synthetic_data(config.data.name)
    sides = {
        name: Steps(job, split_data(data, config, job.layout).train)
        for name, job in (("one", one), ("many", many))
    }
    chunk = chunk_steps or chunk_of(one)
    for steps in sides.values():
        steps.run(chunk)
    pairs = [
        {name: timed(lambda steps=steps: steps.run(chunk)) for name, steps in sides.items()}
        for _ in range(repeats)
    ]
    result: dict[str, Any] = {"num_seeds": num_seeds, "chunk_steps": chunk, "pairs": repeats}
    for name, seeds in (("one", 1), ("many", num_seeds)):
        cost = median_cost(pair[name] for pair in pairs)
        result[name] = {
            "seed_step_wall_seconds": cost.wall / chunk / seeds,
            "seed_step_cpu_seconds": cost.cpu / chunk / seeds,
        }
    ratios = [pair["many"].wall / num_seeds / pair["one"].wall for pair in pairs]
    return result | {"ratio": statistics.median(ratios), "ratio_range": [min(ratios), max(ratios)]}
