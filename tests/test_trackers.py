"""Callbacks of a run: what they are called with, by whom, and the ready ones for trackers."""

import re
import sys
import types
from contextlib import contextmanager

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


class Tracker(types.ModuleType):
    """Stands in for all four libraries, and notes what is logged."""

    def __init__(self):
        super().__init__("tracker")
        self.logged, self.summary, self.pruners = [], {}, self
        self.TrialPruned = type("TrialPruned", (Exception,), {})

    def SummaryWriter(self, path):
        return self.init()

    @contextmanager
    def init(self, **unused):
        yield self

    start_run = init

    def add_scalar(self, name, value, step):
        self.logged.append((name, value, step))

    def log(self, entries):
        self.logged += [(name, value, entries["epoch"]) for name, value in entries.items()]

    def log_metrics(self, entries, step):
        self.logged += [(name, value, step) for name, value in entries.items()]

    def log_params(self, entries):
        assert entries == {"method": "signed", "seed": 0}

    def MedianPruner(self):
        return None

    def create_study(self, **unused):
        return self

    def optimize(self, objective, n_trials):
        for self.number in range(n_trials):
            try:
                objective(self)
            except self.TrialPruned:
                self.logged.append(("pruned", self.number, 0))

    def suggest_float(self, name, low, high, log):
        return low

    def report(self, value, step):
        self.logged.append(("reported", value, step))

    def should_prune(self):
        return self.number == 1


NAMES = ("tensorboardX", "wandb", "mlflow", "optuna")


def test_the_example_runs(tmp_path, monkeypatch, capsys):
    found = {name: Tracker() for name in NAMES}
    for name, module in found.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.chdir(tmp_path)
    code = (ROOT / "examples" / "trackers.py").read_text().replace("epochs = 2", "epochs = 1")
    exec(compile(code, "trackers.py", "exec"), {})
    assert re.search(r"^1 0\.\d+$", capsys.readouterr().out, re.MULTILINE)
    for name in NAMES[:3]:
        logged = {key: step for key, _, step in found[name].logged}
        assert logged["val_accuracy"] == logged["layer_density/dense1/kernel"] == 1, name
    assert "test_accuracy" in found["wandb"].summary
    kinds = [kind for kind, _, _ in found["optuna"].logged]
    assert kinds == ["reported", "reported", "pruned", "reported"]


def test_metrics_named_for_optuna():
    seen = []
    module = Tracker()
    module.number, module.report = 0, lambda *pair: seen.append(pair)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "optuna", module)
        trackers.optuna(module, "train_loss")({"train_loss": 0.5, "epoch": 4})
    assert seen == [(0.5, 4)]
