"""Steps: time, images per second, compile time and memory of a masked network and its dense twin.

The two take turns in one process, a chunk of steps each, so that what else the machine does falls
on both; the ratio is the median over these pairs.
"""

from __future__ import annotations

import resource
import statistics
import sys
from typing import Any

import jax
from ml_collections import ConfigDict

from supermask_jax.benchmark.timing import (
    Cost,
    Steps,
    chunk_of,
    median_cost,
    synthetic_data,
    timed,
)
from supermask_jax.config import dense
from supermask_jax.data import DATASETS
from supermask_jax.experiment import build, split_data
from supermask_jax.training.memory import plan_step

# Peaks of matrix products without sparsity, in FLOP/s: NVIDIA's data sheets. float32 is TF32.
_HOPPER = {"float32": 494.7e12, "bfloat16": 989.4e12}
_PEAKS = {"NVIDIA H100 80GB HBM3": _HOPPER, "NVIDIA H200": _HOPPER}


def dense_twin(config: ConfigDict) -> ConfigDict:
    """Returns `config` with all weights trained: same model, initial weights and optimiser."""
    twin = config.copy_and_resolve_references()
    twin.method = dense()
    return twin


def process_memory() -> dict[str, int | None]:
    """Returns the peak resident set of this process and the peak of its device, in bytes.

    Both are since the process began: what was measured before counts too. The device's is None
    where it keeps no statistics, as on CPU.
    """
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "process_peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
        "device_peak_bytes": (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use"),
    }


def measure_steps(config: ConfigDict, *, repeats: int, chunk_steps: int = 0) -> dict[str, Any]:
    """Measures the train steps of `config` and of its dense twin.

    Args:
      config: a run with a masking method.
      repeats: pairs of chunks, after one that warms up.
      chunk_steps: steps in a chunk; 0 chooses by how the steps are dispatched.

    Returns:
      Seconds a step (wall and CPU), images per second, compile seconds and planned bytes of both,
      the ratio masked over dense, and the peak memory of process and device.
    """
    jobs = {"masked": build(config), "dense": build(dense_twin(config))}
    data = synthetic_data(config.data.name)
    examples = split_data(data, config, jobs["masked"].layout).train
    steps = {name: Steps(job, examples) for name, job in jobs.items()}
    chunk = chunk_steps or chunk_of(jobs["masked"])
    first = {name: timed(lambda each=each: each.run(1)) for name, each in steps.items()}
    for each in steps.values():
        each.run(chunk)
    pairs = [
        {name: timed(lambda each=each: each.run(chunk)) for name, each in steps.items()}
        for _ in range(repeats)
    ]
    image_shape = DATASETS[config.data.name].image_shape
    peak = _PEAKS.get(jax.devices()[0].device_kind, {}).get(config.compute_dtype)
    peak = peak and peak * jobs["masked"].layout.mesh.size
    result: dict[str, Any] = {"chunk_steps": chunk, "pairs": repeats}
    for name, job in jobs.items():
        cost, plan = median_cost(pair[name] for pair in pairs), plan_step(job, image_shape)
        result[name] = {
            "step_wall_seconds": cost.wall / chunk,
            "step_cpu_seconds": cost.cpu / chunk,
            "images_per_second": config.batch_size * chunk / cost.wall,
            "compile_seconds": max(first[name].wall - cost.wall / chunk, 0.0),
            "step_bytes": {k: v for k, v in plan._asdict().items() if k != "flops"},
            "step_flops": plan.flops,
            "share_of_peak": peak and plan.flops * chunk / cost.wall / peak,
        }
    return result | {"ratio": _ratio(pairs), **process_memory()}


def _ratio(pairs: list[dict[str, Cost]]) -> dict[str, Any]:
    wall = [pair["masked"].wall / pair["dense"].wall for pair in pairs]
    cpu = [pair["masked"].cpu / pair["dense"].cpu for pair in pairs]
    return {
        "wall": statistics.median(wall),
        "cpu": statistics.median(cpu),
        "wall_range": [min(wall), max(wall)],
        "cpu_range": [min(cpu), max(cpu)],
    }
