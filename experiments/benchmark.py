"""Measures steps, starts, memory, loading: ``python experiments/benchmark.py --models=fcn,conv2``.

Data is synthetic, of the real sizes: nothing is downloaded. Steps of the masked network and of its
dense twin take turns in one process; on a busy machine trust the ratio and the CPU times.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shlex
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
from loader import measure_loader, say_loader
from ml_collections import ConfigDict
from peer import check_peer, measure_peer
from timing import (
    Process,
    Steps,
    call,
    peak_bytes,
    processor,
    ratios,
    step_seconds,
    synthetic_data,
    timed,
)

from supermask_jax import files
from supermask_jax.commands.common import check_out
from supermask_jax.config import default_config, dense
from supermask_jax.config.files import identity, load_config
from supermask_jax.data import DATASETS
from supermask_jax.errors import UserError, unknown_name
from supermask_jax.experiment import build, split_data
from supermask_jax.models import MODELS
from supermask_jax.training.checkpoint import Checkpoints
from supermask_jax.training.environment import environment
from supermask_jax.training.memory import plan_step
from supermask_jax.training.workdir import Workdir

PARTS = ("steps", "start", "memory")
_LAUNCHES = 3  # at most: a fresh process takes seconds
_BATCHES = 8  # that the steps of a measurement of memory go round in
_CASES = ((1, 1), (4, 1), (4, 4))  # (times the batch size, microbatches)


def measure_steps(config: ConfigDict, *, repeats: int, chunk: int = 0) -> dict[str, Any]:
    """Returns seconds a step of a masked network and of its dense twin, and their ratio.

    Args:
      config: a run with a masking method.
      repeats: pairs of chunks, after one that warms up.
      chunk: steps in a chunk; 0 chooses by how the steps are dispatched.
    """
    twin = config.copy_and_resolve_references()
    twin.method = dense()
    jobs = {"masked": build(config), "dense": build(twin)}
    data = synthetic_data(config.data.name)
    examples = split_data(data, config, jobs["masked"].layout).train
    sides = {name: Steps(job, examples) for name, job in jobs.items()}
    chunk = chunk or sides["masked"].chunk
    pairs = [
        {name: timed(lambda side=side: side.run(chunk)) for name, side in sides.items()}
        for _ in range(repeats + 1)
    ][1:]
    figures = {name: step_seconds(pairs, name, chunk) for name in sides}
    ratio = ratios(pairs, "masked", "dense")
    return {"chunk_steps": chunk, "pairs": repeats, **figures, "ratio": ratio}


def measure_start(config: ConfigDict, *, repeats: int) -> dict[str, float]:
    """Returns seconds from the launch of a process to the end of its first train step.

    Imports, work folder, compilation and the save of the frozen weights are in it. It is measured
    with no compilation cache, and with one that an earlier launch has filled.
    """

    def launch(cache: str) -> float:
        variables = {"JAX_COMPILATION_CACHE_DIR": cache}
        variables["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        start = time.perf_counter()
        with Process("start", call(first_step, config.to_dict()), **variables) as process:
            process.line()
            return time.perf_counter() - start

    repeats = min(repeats, _LAUNCHES)
    cold = [launch("") for _ in range(repeats)]
    with TemporaryDirectory() as cache:
        launch(cache)
        warm = [launch(cache) for _ in range(repeats)]
    return {
        "first_step_seconds": statistics.median(cold),
        "first_step_cached_seconds": statistics.median(warm),
    }


def first_step(entries: dict[str, Any]) -> None:
    """Goes as far as the first train step of a run, in a process of its own, and prints a line."""
    config = ConfigDict(entries)
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


def measure_memory(config: ConfigDict) -> list[dict[str, Any]]:
    """Measures a batch, four times as much, and that in microbatches: a fresh process for each.

    Returns:
      For each: batch size, microbatches, seconds a step, the peak of the process since it began
      (compilation, its data and JAX itself are in it) and of the device, and the compiler's plan.
    """
    found = []
    for times, microbatches in _CASES:
        case = config.copy_and_resolve_references()
        case.batch_size, case.microbatches = times * config.batch_size, microbatches
        case.data.subset = _BATCHES * case.batch_size
        with Process("memory", call(one_case, case.to_dict())) as process:
            found.append(json.loads(process.line()))
    return found


def one_case(entries: dict[str, Any]) -> None:
    """Measures the memory of a config, in a process of its own, and prints one line of JSON."""
    config = ConfigDict(entries)
    job = build(config)
    data = synthetic_data(config.data.name, config.data.subset)
    steps = Steps(job, split_data(data, config, job.layout).train)
    steps.run(steps.chunk)
    seconds = timed(lambda: steps.run(steps.chunk)).wall / steps.chunk
    peak = peak_bytes()  # Before the plan is made, which compiles once more.
    device = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    plan = plan_step(job, DATASETS[config.data.name].image_shape)._asdict()
    plan.pop("flops")
    case = {
        "batch_size": config.batch_size,
        "microbatches": config.microbatches,
        "step_wall_seconds": seconds,
        "process_peak_bytes": peak,
        "device_peak_bytes": device,
        "step_bytes": plan,
    }
    print(json.dumps(case), flush=True)


def model_config(name: str) -> ConfigDict:
    """Returns the signed supermask of a model, on MNIST for the FCN and on CIFAR-10 otherwise.

    Sizes, method and optimiser are those of the model's published config; rates and thresholds,
    which change no time, are the defaults.

    Raises:
      UserError: there is no such model.
    """
    if name not in MODELS:
        raise unknown_name("model", name, MODELS)
    config = default_config()
    config.name = config.model.name = name
    config.data.name = "mnist" if name == "fcn" else "cifar10"
    config.protocol = "paper"
    return config


def say(result: Mapping[str, Any]) -> Iterator[str]:
    """Yields the figures as lines of text."""
    times = lambda low, high: f"[{low:.2f}, {high:.2f}]"  # noqa: E731
    yield from say_loader(result["loader"]) if "loader" in result else ()
    for name, found in result["models"].items():
        if steps := found.get("steps"):
            masked, twin = (1e3 * steps[side]["step_wall_seconds"] for side in ("masked", "dense"))
            ratio = steps["ratio"]
            yield (
                f"{name}: step {masked:,.2f} ms, dense {twin:,.2f} ms; ratio {ratio['wall']:.2f}"
                f" {times(*ratio['wall_range'])}, in CPU time {ratio['cpu']:.2f}"
            )
        if start := found.get("start"):
            yield (
                f"{name}: first step after {start['first_step_seconds']:.1f} s, with a "
                f"compilation cache {start['first_step_cached_seconds']:.1f} s"
            )
        for case in found.get("memory", ()):
            yield (
                f"{name}: batch of {case['batch_size']} in {case['microbatches']}: "
                f"{case['step_wall_seconds']:.2f} s, planned {case['step_bytes']['peak']:,} "
                f"bytes, peak of the process {case['process_peak_bytes']:,}"
            )
        if peer := found.get("peer"):
            ours, other = (1e3 * peer[side]["step_wall_seconds"] for side in ("ours", "peer"))
            yield (
                f"{name}: step {ours:,.2f} ms, PyTorch {other:,.2f} ms; ratio "
                f"{peer['ratio_wall']:.2f} {times(*peer['ratio_wall_range'])}, in CPU time "
                f"{peer['ratio_cpu']:.2f}; gradients differ by "
                f"{peer['gradient_difference']:.0e}"
            )


def _parser() -> argparse.ArgumentParser:
    names = lambda text: [name for name in text.split(",") if name]  # noqa: E731
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[2], allow_abbrev=False)
    add = parser.add_argument
    add("--models", type=names, help="names with commas (default: fcn, without --config)")
    add("--config", action="append", default=[], metavar="FILE[:VARIANT]", help="may be repeated")
    add(
        "--only",
        type=names,
        default=PARTS[:2],
        metavar="PARTS",
        help="of steps, start and memory (default: steps,start)",
    )
    add("--repeats", type=int, default=7, help="pairs of chunks of steps (default: 7)")
    add("--steps", type=int, default=0, help="in a chunk (default: by how they are dispatched)")
    add("--batch_size", type=int, help="default: the config's")
    add("--compute_dtype", help="float32 or bfloat16 (default: the config's)")
    add(
        "--peer",
        choices=["torch"],
        help="time the step beside the same one in this framework, "
        "checked to be the same, and nothing else",
    )
    add("--peer_python", default="", metavar="COMMAND", help="the Python that has it")
    add("--loader", action="store_true", help="time the reading of a folder beside its peers")
    add("--out", type=Path, metavar="FILE", help="where the figures go as JSON")
    return parser


def _configs(args: argparse.Namespace) -> dict[str, ConfigDict]:
    """Returns what is measured, by name; raises UserError where a wish is impossible."""
    for part in args.only:
        if part not in PARTS:
            raise unknown_name("part", part, PARTS)
    if args.repeats < 1 or args.steps < 0 or not args.only:
        raise UserError("--repeats must be at least 1, --steps at least 0, --only name a part")
    default = [] if args.config or args.loader else ["fcn"]
    names = default if args.models is None else args.models
    configs = [*map(model_config, names), *map(load_config, args.config)]
    for config in configs:
        config.batch_size = config.batch_size if args.batch_size is None else args.batch_size
        config.compute_dtype = args.compute_dtype or config.compute_dtype
        build(config)
        if config.method.name == "dense":
            raise UserError(f"{config.name} is dense: there is no mask to measure")
        if args.peer:
            check_peer(config, args.peer_python)
    return {config.name: config for config in configs}


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Returns {"env", "processor", "load_average", "models": {name: {part: figures}}}.

    "loader" is there where asked for. Units are in the names of the figures; "load_average" holds
    the machine's, over one minute, before and after.
    """
    configs, load = _configs(args), [os.getloadavg()[0]]
    counts = {"repeats": args.repeats, "chunk": args.steps}
    measures = {
        "steps": lambda config: measure_steps(config, **counts),
        "start": lambda config: measure_start(config, repeats=args.repeats),
        "memory": measure_memory,
        "peer": lambda config: measure_peer(config, **counts, python=args.peer_python),
    }
    models: dict[str, Any] = {}
    for name, config in configs.items():
        models[name] = {"data": config.data.name, "batch_size": config.batch_size}
        if how := build(config).convolution:
            models[name]["convolution"] = how
        for part in ["peer"] if args.peer else args.only:
            print(f"measuring {name}: {part}", file=sys.stderr)
            models[name][part] = measures[part](config)
    more = {"loader": measure_loader(repeats=args.repeats)} if args.loader else {}
    load.append(os.getloadavg()[0])
    where = {"env": environment(), "processor": processor(), "load_average": load}
    return {**where, "models": models, **more}


def main(argv: list[str]) -> None:
    """Runs a command line."""
    args = _parser().parse_args(argv)
    # The runs that are measured have nothing to tell.
    logging.getLogger("supermask_jax").setLevel(logging.ERROR)
    try:
        check_out(args.out)
        result = {"command": shlex.join(["python", "experiments/benchmark.py", *argv]), **run(args)}
    except UserError as error:
        sys.exit(f"error: {error}")
    print("\n".join(say(result)))
    if args.out is not None:
        files.write(args.out, (json.dumps(result, indent=2) + "\n").encode())


if __name__ == "__main__":
    main(sys.argv[1:])
