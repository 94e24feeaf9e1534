"""Callbacks of `experiment.run` for trackers of experiments: each gets the metrics of an epoch.

A callback is a function of one line of ``metrics.jsonl``, a dict with ``seed``, ``epoch``,
``val_accuracy`` and so on. It is called once an epoch and seed, after the line is on disk, by the
first process alone. What it raises ends the run, which goes on by the same command.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from supermask_jax.training.tensorboard import scalars

Callback = Callable[[Mapping[str, Any]], None]


def tensorboard(writer: Any) -> Callback:
    """Writes to a ``SummaryWriter``, of tensorboardX or of PyTorch.

    ``config.tensorboard`` does the same into the work folder, without code.
    """

    def write(line: Mapping[str, Any]) -> None:
        for name, value in scalars(line):
            writer.add_scalar(name, value, line["epoch"])

    return write


def wandb(run: Any) -> Callback:
    """Logs to a run of Weights & Biases, what ``wandb.init()`` returns; ``epoch`` is a metric too.

    Its own step only counts calls: a run that goes on, or has several seeds, may repeat an epoch.
    """
    return lambda line: run.log(
        {"seed": line["seed"], "epoch": line["epoch"], **dict(scalars(line))}
    )


def mlflow() -> Callback:
    """Logs to the active run of MLflow, which needs the extra ``mlflow``."""
    import mlflow as library

    return lambda line: library.log_metrics(dict(scalars(line)), step=line["epoch"])


def optuna(trial: Any, metric: str = "val_accuracy") -> Callback:
    """Reports a metric to a trial of Optuna, and ends the run where it should be pruned.

    Args:
      trial: from a study.
      metric: an entry of the lines.

    Raises:
      optuna.TrialPruned: by the callback; Optuna takes it as the trial's end.
    """
    import optuna as library

    def report(line: Mapping[str, Any]) -> None:
        trial.report(line[metric], line["epoch"])
        if trial.should_prune():
            raise library.TrialPruned

    return report
