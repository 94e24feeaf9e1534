"""This project's side of `peer`: a process of its own that takes steps when told to."""

from __future__ import annotations

import ast
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from supermask_jax.benchmark.steps import process_memory
from supermask_jax.benchmark.timing import Steps, synthetic_data, timed
from supermask_jax.core.trees import named_leaves
from supermask_jax.experiment import build, split_data
from supermask_jax.training.evaluate import Examples, batch_sums
from supermask_jax.training.trainer import Trainer


def check(job: Trainer, steps: Steps, examples: Examples) -> dict[str, Any]:
    """Returns {"loss", layer: gradient to its scores} of the first rows, before any step."""
    size = job.plan.batch_size
    images = job.prepare(None, examples.images[:size])
    state, frozen = one_seed(job, steps)

    def loss_fn(scores: Any) -> jax.Array:
        trainable = state.trainable | {"scores": scores}
        params = job.method.apply(trainable, frozen)
        logits, _ = job.apply_fn(params, state.batch_stats, images, train=True)
        sums = batch_sums(logits, {"label": examples.labels[:size], "weight": jnp.ones(size)})
        return sums["loss"] / sums["count"]

    loss, grads = jax.jit(jax.value_and_grad(loss_fn))(state.trainable["scores"])
    return {"loss": loss, **{layer_name(name): g for name, g in named_leaves(grads).items()}}


def one_seed(job: Trainer, steps: Steps) -> Any:
    """Returns (state, frozen) of the one seed, on the host."""
    return job.layout.seeds_of((steps.state, steps.frozen))[0]


def layer_name(name: str) -> str:
    """Returns the layer of a leaf's name: "conv1" of "conv1/kernel"."""
    return name.rpartition("/")[0]


def hand_over(
    config: ConfigDict, job: Trainer, steps: Steps, examples: Examples, folder: Path
) -> None:
    """Writes what the peer needs to build the same network on the same images."""
    state, frozen = one_seed(job, steps)
    weights = named_leaves(frozen["weights"])
    scores = named_leaves(state.trainable["scores"])
    cuts = named_leaves(frozen["aux"])
    layers = [layer_name(name) for name in weights]
    arrays = {f"weights/{layer_name(name)}": leaf for name, leaf in weights.items()}
    arrays |= {f"scores/{layer_name(name)}": leaf for name, leaf in scores.items()}
    np.savez(folder / "arrays.npz", images=examples.images, labels=examples.labels, **arrays)
    convolutions = [name for name in layers if name.startswith("conv")]
    spec = {
        "layers": layers,
        "pooled": convolutions[1::2],  # Two convolutions in a stage.
        "cuts": [float(cuts[f"{name}/kernel/high"]) for name in layers],
        "batch_size": config.batch_size,
        "compute_dtype": config.compute_dtype,
        "learning_rate": config.optimizer.learning_rate,
        "decay": config.optimizer.weight_decay,
        "momentum": config.optimizer.momentum,
    }
    (folder / "spec.json").write_text(json.dumps(spec))


def main(argument: str, folder: Path) -> None:
    """Serves commands until standard input ends; every answer is one line of JSON.

    Args:
      argument: the config as Python text.
      folder: where the arrays that both sides share go.
    """
    config = ConfigDict(ast.literal_eval(argument))
    job = build(config)
    data = synthetic_data(config.data.name, config.data.subset)
    examples = split_data(data, config, job.layout).train
    steps = Steps(job, examples)
    hand_over(config, job, steps, examples, folder)
    np.savez(folder / "jax.npz", **check(job, steps, examples))
    seconds = timed(partial(steps.run, 1)).wall  # Compilation, nearly all of it.
    ready = {"version": jax.__version__, "seconds": seconds}
    print(json.dumps(ready | {"steps_per_call": job.plan.steps_per_call}), flush=True)
    for line in sys.stdin:
        count = int(line.split()[1])
        cost = timed(partial(steps.run, count))
        peak = process_memory()["process_peak_bytes"]
        print(json.dumps({**cost._asdict(), "peak_bytes": peak}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
