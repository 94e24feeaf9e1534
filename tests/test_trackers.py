"""Callbacks of a run: what they are called with, by whom, and the ready ones for trackers."""

import contextlib
import re
import sys
from unittest.mock import MagicMock

import pytest
from helpers import ROOT, tiny_config

from supermask_jax import experiment
from supermask_jax.training import progress, trackers
from supermask_jax.training.workdir import Workdir


def test_a_callback_gets_every_line_of_the_run(tmp_path):
    seen = []
    config = tiny_config(epochs=2, num_seeds=2)
    experiment.run(config, tmp_path, callbacks=[seen.append], quiet=True)
    assert seen == Workdir(tmp_path).read_metrics()
    assert [(line["seed"], line["epoch"]) for line in seen] == [(0, 1), (0, 2), (1, 1), (1, 2)]


def test_other_processes_call_none(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "is_main", lambda: False)
    seen = []
    experiment.run(tiny_config(epochs=1), tmp_path, callbacks=[seen.append], quiet=True)
    assert seen == []


def test_what_a_callback_raises_ends_a_run_that_goes_on(tmp_path):
    def fail(line):
        if line["epoch"] == 2:
            raise RuntimeError("enough")

    config = tiny_config(epochs=3)
    with pytest.raises(RuntimeError, match="enough"):
        experiment.run(config, tmp_path, callbacks=[fail], quiet=True)
    seen = []
    assert experiment.run(config, tmp_path, callbacks=[seen.append], quiet=True)["epoch"] == 3
    assert [line["epoch"] for line in seen] == [2, 3]


def test_the_example_runs(tmp_path, monkeypatch, capsys):
    found = {name: MagicMock() for name in ("tensorboardX", "wandb", "mlflow", "optuna")}
    for name, module in found.items():
        monkeypatch.setitem(sys.modules, name, module)
    found["optuna"].TrialPruned = type("TrialPruned", (Exception,), {})
    trials = [MagicMock(number=number) for number in range(3)]

    def optimize(objective, n_trials):
        assert n_trials == len(trials)
        for trial in trials:
            trial.suggest_float.return_value = 0.1
            trial.should_prune.return_value = trial.number == 1
            with contextlib.suppress(found["optuna"].TrialPruned):
                trial.value = objective(trial)

    found["optuna"].create_study.return_value.optimize = optimize
    monkeypatch.chdir(tmp_path)
    code = (ROOT / "examples" / "trackers.py").read_text().replace("epochs = 2", "epochs = 1")
    exec(compile(code, "trackers.py", "exec"), {})
    assert re.search(r"^1 0\.\d+$", capsys.readouterr().out, re.MULTILINE)
    writer = found["tensorboardX"].SummaryWriter.return_value.__enter__.return_value
    tracked = found["wandb"].init.return_value.__enter__.return_value
    entries, step = found["mlflow"].log_metrics.call_args
    logged = {call.args[0]: call.args[1:] for call in writer.add_scalar.call_args_list}
    told = tracked.log.call_args.args[0]
    assert logged.keys() == entries[0].keys() == told.keys() - {"seed", "epoch"}
    accuracy = entries[0]["val_accuracy"]
    assert logged["val_accuracy"] == (pytest.approx(accuracy, abs=0.02), 1) and step == {"step": 1}
    assert (told["seed"], told["epoch"]) == (0, 1)
    assert "layer_density/dense1/kernel" in logged
    assert "test_accuracy" in tracked.summary.update.call_args.args[0]
    for trial in trials:
        ((accuracy, epoch),) = [call.args for call in trial.report.call_args_list]
        assert epoch == 1 and (trial.number == 1 or accuracy == trial.value)
    assert not isinstance(trials[1].value, float)  # It was pruned.


def test_metrics_named_for_optuna():
    seen = []
    module = MagicMock(TrialPruned=type("TrialPruned", (Exception,), {}))
    module.number, module.report = 0, lambda *pair: seen.append(pair)
    module.should_prune.return_value = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "optuna", module)
        trackers.optuna(module, "train_loss")({"train_loss": 0.5, "epoch": 4})
    assert seen == [(0.5, 4)]
