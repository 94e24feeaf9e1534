"""`config.pretrained`: a run over the network of a ticket, in place of drawn weights."""

import numpy as np
import pytest
from helpers import tiny_argv, tiny_config

from supermask_jax import cli, experiment, tickets
from supermask_jax.errors import UserError


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A dense network with batch norm, and its ticket."""
    path = tmp_path_factory.mktemp("first")
    config = tiny_config(**{"model.norm": "all", "epochs": 2})
    config.method = {"name": "dense"}
    summary = experiment.run(config, path / "run", quiet=True)
    ticket = path / "first.safetensors"
    assert cli.main(["export", f"--workdir={path / 'run'}", f"--out={ticket}"]) == 0
    return ticket, summary


def over(first, **entries):
    config = tiny_config(**{"model.norm": "all", "epochs": 1, "pretrained": str(first), **entries})
    config.method = {"name": "piggyback"}
    return config


def test_a_full_mask_is_the_trained_network_itself(first, tmp_path):
    ticket, summary = first
    config = over(ticket, **{"optimizer.learning_rate": 0.0, "optimizer.weight_decay": 0.0})
    line = experiment.run(config, tmp_path / "run", quiet=True)
    assert line["remaining_weights"] == 1.0
    masked, dense = (tickets.load_ticket(p) for p in (tmp_path / "run/ticket.safetensors", ticket))
    for name, kernel in dense.params.items():
        np.testing.assert_array_equal(masked.layers[name].dense(), kernel)
    # The statistics are those of the first network, moved by one epoch of the same images.
    assert line["test_accuracy"] == pytest.approx(summary["test_accuracy"], abs=0.02)


def test_masks_are_found_over_it_and_the_head_is_trained(first, tmp_path):
    ticket, _ = first
    config = over(ticket)
    config.layers = {"dense3/*": "trained"}
    config.optimizer.learning_rate = 1.0
    experiment.run(config, tmp_path / "run", quiet=True)
    masked, dense = (tickets.load_ticket(p) for p in (tmp_path / "run/ticket.safetensors", ticket))
    assert set(masked.layers) == {"dense1/kernel", "dense2/kernel"}
    for name, layer in masked.layers.items():
        kept = layer.dense() != 0
        assert 0 < kept.mean() < 1
        np.testing.assert_array_equal(layer.dense(), dense.params[name] * kept)
    assert np.abs(masked.params["dense3/kernel"] - dense.params["dense3/kernel"]).max() > 0
    drawn = experiment.drawn_weights(config)
    np.testing.assert_array_equal(drawn["dense1/kernel"], dense.params["dense1/kernel"])


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"model.width": 0.2}, "is of another network: params/dense1/kernel is \\(64, 30\\)"),
        ({"model.norm": "none"}, "batch_stats/dense1_norm/bn/mean is .* the model's is missing"),
        ({"model.bias": True}, "params/dense1/bias is missing"),
        ({"pretrained": "nowhere.safetensors"}, "there is no file nowhere"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(first, entries, message):
    with pytest.raises(UserError, match=message) as error:
        experiment.build(over(first[0], **entries))
    assert "\n" not in str(error.value)


def test_the_tasks_of_a_trained_network_from_the_command_line(first, tmp_path, capsys):
    config, *flags = tiny_argv("--config.model.norm=all", f"--config.pretrained={first[0]}")
    flags += ['--config.method={"name":"piggyback"}', '--config.layers={"dense3/*":"trained"}']
    flags += ["--task=permuted:digits:0-1", "--infer=0", f"--workdir={tmp_path / 'tasks'}"]
    assert cli.main(["tasks", config.removeprefix("--config="), *flags]) == 0
    out = capsys.readouterr().out
    assert f"frozen weights are those of {first[0].name}" in out
