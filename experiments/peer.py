"""The same step in PyTorch: two processes that take turns, and an equal gradient.

Each side has its process, so that neither's threads, allocator or memory touch the other's; while
one computes the other waits for its next command.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
import numpy as np
import optax
from ml_collections import ConfigDict
from timing import (
    HERE,
    Cost,
    Process,
    Steps,
    call,
    ratios,
    step_seconds,
    synthetic_data,
    timed,
)

from supermask_jax.core.trees import named_leaves
from supermask_jax.data.pipeline import Examples
from supermask_jax.errors import UserError
from supermask_jax.experiment import build, split_data
from supermask_jax.training.state import TrainState
from supermask_jax.training.trainer import Trainer

MODELS = ("fcn", "conv2", "conv4", "conv6", "conv8")
# Largest relative difference (norm of the difference over the norm) of loss and gradients. In
# bfloat16 rounding alone takes a gradient of Conv8 12 % from float32's here, 14 % in PyTorch.
TOLERANCES = {"float32": 5e-3, "bfloat16": 0.15}

_BATCHES = 16  # of images that both sides go round in
_CHUNK_SECONDS = 2.0


def check_peer(config: ConfigDict, python: str = "") -> None:
    """Raises UserError where PyTorch is absent, or cannot build the network.

    Whether the interpreter `python` has it shows when it starts.
    """
    if python and shutil.which(python) is None:
        raise UserError(f"cannot start {python}: there is no such program")
    if not python and importlib.util.find_spec("torch") is None:
        raise UserError("--peer=torch needs it installed: pip install torch")
    plain = (
        config.method.name == "signed"
        and config.method.threshold.rule != "top_fraction"
        and config.model.norm == "none"
        and config.optimizer.name == "sgdw"
        and config.microbatches == 1
    )
    if config.model.name not in MODELS or not plain or config.data.augment != "none":
        raise UserError(
            f"{config.name} has no counterpart in torch: it has the signed supermasks, with SGDW "
            f"and without norm, augmentation or microbatches, of {', '.join(MODELS)}"
        )


def measure_peer(
    config: ConfigDict, *, repeats: int, chunk: int = 0, python: str = ""
) -> dict[str, Any]:
    """Measures the train step here and in PyTorch, taking turns.

    Args:
      config: a signed supermask of a network in `MODELS`.
      repeats: pairs of chunks, after one that warms up.
      chunk: steps in a chunk; 0 takes about two seconds of them, in whole dispatches.
      python: interpreter of the other side; "" is this one.

    Returns:
      Seconds a step (wall and CPU) and peak bytes of both processes, ours with a warm compilation
      cache, as every run but the first has one; what compiling takes; their versions, the relative
      difference of loss and gradients, and the ratio ours over theirs: below 1 is faster.

    Raises:
      UserError: a side failed, or the two do not compute the same.
    """
    config = config.copy_and_resolve_references()
    config.data.subset, config.data.shuffle = _BATCHES * config.batch_size, False
    with TemporaryDirectory() as path:
        torch = [python or sys.executable, str(HERE / "peer_torch.py"), path]
        cache = {"JAX_COMPILATION_CACHE_DIR": f"{path}/cache"}
        cache["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        # The other side reads what this leaves in the folder; ours, what it compiled.
        with Process("JAX", call(prepare, config.to_dict(), path), **cache) as first:
            cold = {"compile_and_first_step_seconds": json.loads(first.line())}
            cold["compile_process_peak_bytes"] = first.peak_bytes()
            first.ask("leave")
        with Process("JAX", call(serve, config.to_dict()), **cache) as ours:
            ready = {"ours": json.loads(ours.line())}
            with Process("PyTorch", torch) as theirs:
                sides = {"ours": ours, "peer": theirs}
                ready["peer"] = json.loads(theirs.line())
                theirs.ask("check")
                difference = find_difference(Path(path), TOLERANCES[config.compute_dtype])

                def turn(count: int) -> dict[str, dict[str, Any]]:
                    return {
                        name: json.loads(side.ask(f"steps {count}")) for name, side in sides.items()
                    }

                slowest = max(answer["wall"] / 3 for answer in turn(3).values())
                together = ready["ours"]["steps_per_call"]  # Whole dispatches, as a run has them.
                chunk = chunk or max(1, round(_CHUNK_SECONDS / slowest / together)) * together
                turns = [turn(chunk) for _ in range(repeats + 1)][1:]
                peaks = {name: side.peak_bytes() for name, side in sides.items()}
    pairs = [
        {name: Cost(each[name]["wall"], each[name]["cpu"]) for name in sides} for each in turns
    ]
    figures = {
        name: {
            "version": ready[name]["version"],
            **step_seconds(pairs, name, chunk),
            "process_peak_bytes": peaks[name],
        }
        for name in sides
    }
    return {
        "chunk_steps": chunk,
        "pairs": repeats,
        "threads": ready["peer"]["threads"],
        "compute_dtype": config.compute_dtype,
        **difference,
        **cold,
        **figures,
        **{f"ratio_{k}": v for k, v in ratios(pairs, "ours", "peer").items()},
    }


def find_difference(folder: Path, tolerance: float) -> dict[str, float]:
    """Returns the largest relative differences of loss and gradients of the two sides.

    Raises:
      UserError: one is beyond the tolerance.
    """
    with np.load(folder / "jax.npz") as ours, np.load(folder / "torch.npz") as theirs:
        found = {
            name: float(np.linalg.norm(ours[name] - theirs[name]) / np.linalg.norm(ours[name]))
            for name in ours.files
        }
    # Written so that a NaN is no agreement.
    wrong = [name for name, value in found.items() if not value <= tolerance]
    if wrong:
        said = ", ".join(f"{name} by {found[name]:.1e}" for name in wrong)
        raise UserError(f"the two sides do not compute the same: relative differences in {said}")
    return {"loss_difference": found.pop("loss"), "gradient_difference": max(found.values())}


def prepare(entries: dict[str, Any], path: str) -> None:
    """Compiles our step, in a process of its own, says after how many seconds, and leaves files.

    Args:
      entries: of the config.
      path: folder where what the other side needs goes, and our loss and gradients.
    """
    config = ConfigDict(entries)
    job, examples, steps = _steps(config)
    print(timed(lambda: steps.run(1)).wall, flush=True)  # Compilation, nearly all of it.
    sys.stdin.readline()  # The peak has been read.
    (first,) = job.layout.seeds_of(job.start())  # Drawn anew: the step took the place of the other.
    _hand_over(config, *first, examples, Path(path))
    np.savez(Path(path) / "jax.npz", **_loss_and_gradients(job, *first, examples))
    print("left", flush=True)


def serve(entries: dict[str, Any]) -> None:
    """Our side, in a process of its own: answers commands with one line of JSON until input ends.

    Args:
      entries: of the config, whose step the compilation cache holds.
    """
    job, _, steps = _steps(ConfigDict(entries))
    steps.run(1)
    ready = {"version": jax.__version__, "steps_per_call": job.plan.steps_per_call}
    print(json.dumps(ready), flush=True)
    for line in sys.stdin:
        count = int(line.split()[1])
        cost = timed(lambda count=count: steps.run(count))
        print(json.dumps(cost._asdict()), flush=True)


def _steps(config: ConfigDict) -> tuple[Trainer, Examples, Steps]:
    job = build(config)
    data = synthetic_data(config.data.name, config.data.subset)
    examples = split_data(data, config, job.layout).train
    return job, examples, Steps(job, examples)


def _hand_over(
    config: ConfigDict, state: TrainState, frozen: Any, examples: Examples, folder: Path
) -> None:
    """Writes what the other side needs to build the same network on the same images."""
    weights, scores = _by_layer(frozen["weights"]), _by_layer(state.trainable["scores"])
    arrays = {f"weights/{name}": leaf for name, leaf in weights.items()}
    arrays |= {f"scores/{name}": leaf for name, leaf in scores.items()}
    np.savez(folder / "arrays.npz", images=examples.images, labels=examples.labels, **arrays)
    cuts = named_leaves(frozen["aux"])
    spec = {
        "layers": list(weights),
        "pooled": [name for name in weights if name.startswith("conv")][1::2],  # Two in a stage.
        "cuts": [float(cuts[f"{name}/kernel/high"]) for name in weights],
        "batch_size": config.batch_size,
        "compute_dtype": config.compute_dtype,
        "learning_rate": config.optimizer.learning_rate,
        "decay": config.optimizer.weight_decay,
        "momentum": config.optimizer.momentum,
    }
    (folder / "spec.json").write_text(json.dumps(spec))


def _loss_and_gradients(
    job: Trainer, state: TrainState, frozen: Any, examples: Examples
) -> dict[str, jax.Array]:
    """Returns {"loss", layer: gradient to its scores} of the first rows, before any step."""
    images = job.prepare(None, examples.images[: job.plan.batch_size])
    labels = examples.labels[: job.plan.batch_size]

    def loss_fn(scores: Any) -> jax.Array:
        params = job.method.apply(state.trainable | {"scores": scores}, frozen)
        logits, _ = job.apply_fn(params, state.batch_stats, images, train=True)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    loss, grads = jax.jit(jax.value_and_grad(loss_fn))(state.trainable["scores"])
    return {"loss": loss, **_by_layer(grads)}


def _by_layer(kernels: Any) -> dict[str, jax.Array]:
    return {name.removesuffix("/kernel"): leaf for name, leaf in named_leaves(kernels).items()}
