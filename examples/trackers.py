"""Callbacks of a run for trackers of experiments; needs all four of them: `python trackers.py`."""

# ruff: noqa: E402 - each part stands on its own.

# --8<-- [start:callback]
from supermask_jax import load_config, run

config = load_config("quickstart")
config.epochs = 2
run(config, "runs/called", callbacks=[lambda line: print(line["epoch"], line["val_accuracy"])])
# --8<-- [end:callback]

# --8<-- [start:tensorboard]
from tensorboardX import SummaryWriter

from supermask_jax.training import trackers

with SummaryWriter("boards/quickstart") as writer:
    run(config, "runs/board", callbacks=[trackers.tensorboard(writer)])
# --8<-- [end:tensorboard]

# --8<-- [start:wandb]
import wandb

with wandb.init(project="supermasks", config=config.to_dict()) as tracked:
    summary = run(config, "runs/wandb", callbacks=[trackers.wandb(tracked)])
    tracked.summary.update({"test_accuracy": summary["test_accuracy"]})
# --8<-- [end:wandb]

# --8<-- [start:mlflow]
import mlflow

with mlflow.start_run():
    mlflow.log_params({"method": config.method.name, "seed": config.seed})
    run(config, "runs/mlflow", callbacks=[trackers.mlflow()])
# --8<-- [end:mlflow]

# --8<-- [start:optuna]
import optuna


def objective(trial):
    config = load_config("quickstart")
    config.epochs = 2
    config.optimizer.learning_rate = trial.suggest_float("learning_rate", 0.01, 0.2, log=True)
    lines = []
    watch = [lines.append, trackers.optuna(trial)]
    run(config, f"runs/optuna/{trial.number}", callbacks=watch, quiet=True)
    return lines[-1]["val_accuracy"]


study = optuna.create_study(direction="maximize", pruner=optuna.pruners.MedianPruner())
study.optimize(objective, n_trials=3)
# --8<-- [end:optuna]
