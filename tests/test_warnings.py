"""What is possible and hardly meant: a line in the log, and one in the summary."""

import json

import pytest
from helpers import tiny_config

from supermask_jax import experiment
from supermask_jax.config import default_config
from supermask_jax.config.files import default_identity, identity, load_config
from supermask_jax.training.workdir import Workdir, config_difference


@pytest.fixture
def log(monkeypatch, caplog):
    monkeypatch.setattr("logging.Logger.propagate", True, raising=False)
    caplog.set_level("WARNING", logger="supermask_jax")
    return caplog


def test_a_run_that_can_come_to_nothing(tmp_path, log):
    config = tiny_config(epochs=2, protocol="paper")
    config.data.subset, config.weight_init.gain, config.method.threshold.value = 1, 0.0, 9.0
    warnings = experiment.run(config, tmp_path / "run", quiet=True)["warnings"]
    assert warnings == [
        "config.weight_init.gain is 0: every weight starts at 0, and no mask matters",
        "config.data.subset is 1: fewer examples than the 10 classes there are",
        "no weight remains at all: keep more, or lower threshold or decay",
    ]
    assert all(log.text.count(line) == 1 for line in warnings)
    assert log.text.count("epoch 1: no weight remains of seed 0: nothing passes") == 1
    assert json.loads(Workdir(tmp_path / "run").summary.read_text())["warnings"] == warnings


@pytest.mark.parametrize("num_seeds", [1, 2])
def test_a_layer_that_keeps_nothing(tmp_path, log, num_seeds):
    config = tiny_config(epochs=1, num_seeds=num_seeds)
    config.method = load_config("edge_popup").method
    config.method.update(density=1e-6, scope="global")
    summary = experiment.run(config, tmp_path / "run", quiet=True)
    for run in summary.get("runs", [summary]):
        layers = [name for name, layer in run["layers"].items() if not layer["kept"]]
        assert len(layers) == len(run["layers"]) - 1  # One weight of all.
        line = f"no weight remains in {', '.join(layers)}: keep more, or lower threshold or decay"
        assert run["warnings"] == [line] and f"seed {run['seed']}: {line}" in log.text


def test_nothing_is_said_where_all_is_well(tmp_path, log):
    config = tiny_config(epochs=1)
    assert "warnings" not in experiment.run(config, tmp_path / "run", quiet=True)
    assert not log.text


@pytest.mark.parametrize("name", ["edge_popup", "biprop", "signed_topk"])
def test_a_run_from_before_counting_was_an_option_goes_on(name):
    new = identity(load_config(name))
    old = {**new, "method": {k: v for k, v in new["method"].items() if k != "counting"}}
    assert config_difference(old, new, default_identity()) == ""
    other = {**new, "method": {**new["method"], "counting": "ramanujan"}}
    assert "counting" in config_difference(old, other, default_identity())
    signed = identity(default_config())
    assert config_difference(signed, signed, default_identity()) == ""
