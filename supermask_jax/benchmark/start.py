"""Starts: import time, data loading time, and from launch to the first train step."""

from __future__ import annotations

import ast
import statistics
from tempfile import TemporaryDirectory

from ml_collections import ConfigDict

from supermask_jax.benchmark.fresh import in_fresh_process
from supermask_jax.benchmark.timing import Steps, synthetic_data, timed
from supermask_jax.config_files import identity
from supermask_jax.data import DATASETS, load
from supermask_jax.errors import UserError
from supermask_jax.experiment import build, split_data
from supermask_jax.training.checkpoint import Checkpoints
from supermask_jax.training.workdir import Workdir

_MODULES = ("jax", "supermask_jax", "supermask_jax.experiment")
_IMPORT = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"
_FIRST_STEP = """\
import sys
from supermask_jax.benchmark.start import first_step
first_step(sys.argv[1])
"""


def measure_imports(*, repeats: int = 5) -> dict[str, float]:
    """Returns the median import time of JAX, of the package and of all a run imports, in seconds.

    Each import happens in a fresh process that times it from inside; the modules take turns.
    """
    walls: dict[str, list[float]] = {module: [] for module in _MODULES}
    for _ in range(repeats):
        for module in _MODULES:
            walls[module].append(float(in_fresh_process(_IMPORT.format(module)).line))
    added = [
        ours - jax_alone
        for jax_alone, ours in zip(walls["jax"], walls["supermask_jax"], strict=True)
    ]
    medians = {module: statistics.median(values) for module, values in walls.items()}
    return medians | {"supermask_jax_over_jax": statistics.median(added)}


def measure_start(config: ConfigDict, *, repeats: int = 3) -> dict[str, float | None]:
    """Returns launch-to-first-step and data loading times, in seconds.

    The launch is that of a fresh process, up to the end of its first train step: imports, work
    folder, compilation and the save of the frozen weights are in it; its data is synthetic. It is
    measured with no compilation cache, and with one that an earlier launch has filled.
    Loading is that of the data set from the cache, checks included; None where it is not cached.
    """

    def launch(cache: str) -> float:
        variables = {"JAX_COMPILATION_CACHE_DIR": cache}
        variables["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        return in_fresh_process(_FIRST_STEP, repr(config.to_dict()), **variables).seconds

    cold = [launch("") for _ in range(repeats)]
    with TemporaryDirectory() as cache:
        launch(cache)
        warm = [launch(cache) for _ in range(repeats)]
    return {
        "first_step_seconds": statistics.median(cold),
        "first_step_cached_seconds": statistics.median(warm),
        "data_loading_seconds": _loading(config, repeats),
    }


def first_step(argument: str) -> None:
    """Goes as far as the first train step of a run; `argument` is its config as Python text."""
    config = ConfigDict(ast.literal_eval(argument))
    job = build(config)
    examples = split_data(synthetic_data(config.data.name), config, job.layout).train
    with TemporaryDirectory() as path:
        folder = Workdir(path)
        folder.create(identity(config))
        with Checkpoints(folder.checkpoints) as checkpoints:
            steps = Steps(job, examples)
            checkpoints.start(steps.frozen)
            steps.run(1)
            print("done", flush=True)


def _loading(config: ConfigDict, repeats: int) -> float | None:
    # Never from another source: it might convert or download, and it would write the cache.
    sources = ("cache",) if "cache" in DATASETS[config.data.name].sources else None
    cache_dir = config.data.cache_dir or None

    def action() -> None:
        load(config.data.name, cache_dir=cache_dir, sources=sources)

    try:
        return statistics.median(timed(action).wall for _ in range(repeats))
    except UserError:
        return None
