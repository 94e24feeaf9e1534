"""Epochs: what a real run spends beside its steps and its evaluation."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
from ml_collections import ConfigDict

from supermask_jax.benchmark.timing import Cost, Steps, median_cost, now, synthetic_data, timed
from supermask_jax.config_files import identity
from supermask_jax.core.trees import digest
from supermask_jax.experiment import build, split_data
from supermask_jax.training.checkpoint import Checkpoints
from supermask_jax.training.job import Job, Splits, train
from supermask_jax.training.programs import Examples
from supermask_jax.training.state import TrainState
from supermask_jax.training.workdir import Workdir

# With convolutions on CPU a whole epoch takes minutes, and what it costs beside the steps does not
# depend on their number: two dispatches.
_SHORT_EPOCH = 16


class _Paused(Workdir):
    """A work folder that times each epoch, from one metrics line to the next.

    The interval holds everything: the save of the last epoch, the order, steps and evaluation of
    this one, and its line. After each line the run stands still while `pause` is called.
    """

    def __init__(self, path: Path, pause: Callable[[], None]) -> None:
        super().__init__(path)
        self.epochs: list[Cost] = []
        self._pause = pause
        self._resumed: Cost | None = None

    def append_metrics(self, lines: Sequence[Mapping[str, Any]]) -> None:
        super().append_metrics(lines)
        if self._resumed is not None:
            self.epochs.append(now().since(self._resumed))
        self._pause()
        self._resumed = now()


def measure_epoch(config: ConfigDict, *, epochs: int) -> dict[str, Any]:
    """Trains in a temporary folder and splits the wall time of an epoch.

    Between any two epochs the same steps and evaluation run alone. What an epoch takes beyond the
    mean of its neighbours is overhead: order, report, checkpoint, and how much the checkpoint's
    background thread slows the steps.

    Args:
      config: the run; its data is synthetic.
      epochs: how many are timed, after a first one that is not.

    Returns:
      Seconds of an epoch, its steps, evaluation and overhead; overhead over the steps of a whole
      epoch; and what parts of it cost alone.
    """
    job, splits = _job_and_data(config)
    watched = splits.test if splits.val is None else splits.val
    steps = Steps(job, splits.train)
    evaluate = job.measure()
    alone: list[tuple[Cost, Cost]] = []  # steps, evaluation

    def pause() -> None:
        steps_cost = timed(lambda: steps.run(job.plan.steps_per_epoch))
        run = lambda: evaluate(steps.state, steps.frozen, watched, "test")  # noqa: E731
        alone.append((steps_cost, timed(run)))

    pause()  # Compiles.
    alone.clear()
    job = job._replace(plan=job.plan._replace(epochs=epochs + 1))
    with TemporaryDirectory() as path:
        folder = _Paused(Path(path) / "run", pause)
        with folder.locked():
            folder.create(identity(config))
            train(job, splits, folder, quiet=True)
        parts = _parts(job, steps.state, Path(path), repeats=epochs)
    shortened = build(config).plan.steps_per_epoch / job.plan.steps_per_epoch
    return {
        "epochs": epochs,
        "steps_per_epoch": job.plan.steps_per_epoch,
        "evaluated_images": len(watched.labels),
        **_overhead(folder.epochs, alone, shortened),
        "parts_alone_seconds": parts,
    }


def _job_and_data(config: ConfigDict) -> tuple[Job, Splits]:
    """Returns a run; a short one with a small evaluation where a whole epoch would take minutes."""
    job = build(config)
    splits = split_data(synthetic_data(config.data.name), config, job.layout)
    if not job.convolution or jax.default_backend() != "cpu":
        return job, splits
    short = min(_SHORT_EPOCH, job.plan.steps_per_epoch)
    rows = slice(2 * job.eval_batch_size)
    val, test = (
        part and Examples(part.images[rows], part.labels[rows])
        for part in (splits.val, splits.test)
    )
    plan = job.plan._replace(steps_per_epoch=short)
    return job._replace(plan=plan), Splits(splits.train, val, test)


def _overhead(
    epochs: list[Cost], alone: list[tuple[Cost, Cost]], shortened: float
) -> dict[str, Any]:
    """Compares each epoch with the mean of what ran alone before and after it.

    A whole epoch has `shortened` times the steps of these.
    """
    between = [(a[0].mean(b[0]), a[1].mean(b[1])) for a, b in pairwise(alone)]
    rests = [
        epoch.since(steps).since(evaluation)
        for epoch, (steps, evaluation) in zip(epochs, between, strict=True)
    ]
    medians = {
        "epoch": median_cost(epochs),
        "steps": median_cost(steps for steps, _ in between),
        "evaluation": median_cost(evaluation for _, evaluation in between),
        "overhead": median_cost(rests),
    }
    overhead, steps = medians["overhead"], medians["steps"]
    walls = [rest.wall for rest in rests]
    return {
        **{f"{name}_wall_seconds": cost.wall for name, cost in medians.items()},
        **{f"{name}_cpu_seconds": cost.cpu for name, cost in medians.items()},
        "overhead_wall_seconds_range": [min(walls), max(walls)],
        "overhead_wall_fraction": overhead.wall / (steps.wall * shortened),
        "overhead_cpu_fraction": overhead.cpu / (steps.cpu * shortened),
    }


def _parts(job: Job, state: TrainState, path: Path, *, repeats: int) -> dict[str, float]:
    """Returns the wall seconds of parts of the overhead, each alone.

    "checkpoint" is a save back to back with others, its background part and digest included;
    "digest" is that digest alone.
    """
    order, folder = job.order(), Workdir(path)
    with Checkpoints(path / "alone", max_to_keep=job.checkpoints_to_keep) as checkpoints:
        actions: dict[str, Callable[[int], Any]] = {
            "order": lambda i: jax.block_until_ready(order(i)),
            "digest": lambda i: digest(state),
            "checkpoint": lambda i: checkpoints.save(i, state),
            "metrics_line": lambda i: folder.append_metrics([{"epoch": i}]),
        }
        walls = {
            name: [timed(lambda i=i, action=action: action(i)).wall for i in range(repeats + 1)]
            for name, action in actions.items()
        }
    # The first of each compiles, or makes its files.
    return {name: statistics.median(values[1:]) for name, values in walls.items()}
