"""`config.layers`: which leaves are masked, trained or frozen, in runs and in their tickets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import refused, tiny_config

from supermask_jax import cli, experiment, methods, tickets
from supermask_jax.config.files import load_with_overrides
from supermask_jax.core.trees import label_patterns, named_leaves
from supermask_jax.errors import UserError
from supermask_jax.training.workdir import Workdir

PLAIN = {"rule": "uniform", "density": 1.0, "lock": 0.0}
LAYERS = {"dense3/*": "trained", "dense1/kernel": "frozen"}


def test_the_longest_name_that_matches_decides():
    rule = label_patterns({"*": "frozen", "dense*": "trained", "dense2/kernel": "masked"})
    leaf = jnp.zeros(1)
    names = ("conv1/kernel", "dense1/kernel", "dense2/kernel", "dense2/bias")
    assert [rule(name, leaf) for name in names] == ["freeze", "train", "mask", "train"]
    assert label_patterns({})("a/kernel", leaf) == "mask"
    assert label_patterns({})("a/bias", leaf) == "train"


@pytest.mark.parametrize("name", sorted(methods.METHODS.keys() - {"dense"}))
def test_every_method_masks_what_is_left_to_it(name):
    method = methods.of_config({"name": name}, PLAIN, LAYERS)
    params = {f"dense{i}": {"kernel": jnp.full((8, 4), float(i))} for i in (1, 2, 3)}
    trainable, frozen = method.init(jax.random.key(0), params)
    assert list(named_leaves(method.masks(trainable, frozen))) == ["dense2/kernel"]
    assert list(named_leaves(trainable["params"])) == ["dense3/kernel"]
    effective = named_leaves(method.apply(trainable, frozen))
    np.testing.assert_array_equal(effective["dense1/kernel"], 1)
    np.testing.assert_array_equal(effective["dense3/kernel"], 3)


def test_dense_networks_can_be_frozen_in_part():
    method = methods.of_config({"name": "dense"}, PLAIN, {"dense1/kernel": "frozen"})
    params = {f"dense{i}": {"kernel": jnp.full((8, 4), float(i))} for i in (1, 2)}
    trainable, frozen = method.init(jax.random.key(0), params)
    assert list(named_leaves(trainable)) == ["params/dense2/kernel"]
    assert named_leaves(method.apply(trainable, frozen)).keys() == named_leaves(params).keys()


def test_densities_and_tickets_of_a_run_are_of_the_masked_layers(tmp_path):
    config = tiny_config(epochs=2)
    config.layers = LAYERS
    summary = experiment.run(config, tmp_path / "run", quiet=True)
    assert list(summary["layers"]) == ["dense2/kernel"] and summary["num_weights"] == 300
    with np.load(tmp_path / "run" / "masks.npz") as masks:
        assert masks.files == ["dense2/kernel"]
        kept = np.count_nonzero(masks["dense2/kernel"])
    assert summary["remaining_weights"] == pytest.approx(kept / 300)
    ticket = tickets.load_ticket(tmp_path / "run" / "ticket.safetensors")
    assert ticket.density == pytest.approx(kept / 300)
    assert list(ticket.layers) == ["dense2/kernel"]
    drawn = named_leaves(experiment.build(tiny_config()).start()[1]["weights"])
    first = np.asarray(drawn["dense1/kernel"]).reshape(64, 30)
    np.testing.assert_array_equal(ticket.params["dense1/kernel"], first)
    last = np.asarray(drawn["dense3/kernel"]).reshape(10, 10)
    assert (ticket.params["dense3/kernel"] != last).mean() > 0.9
    test = experiment.load_data(config).test
    accuracy = tickets.accuracy(ticket, test.images, test.labels)
    assert accuracy == pytest.approx(summary["test_accuracy"], abs=1e-6)
    # The same command goes on with it, and one with other layers is refused.
    config.layers = {}
    assert "layers" in Workdir(tmp_path / "run").differences(config.to_dict())
    assert cli.main(["sanity", str(tmp_path / "run"), "--draws=1"]) == 0


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["layers={'dens3/*': 'trained'}"], r"unknown name in config.layers 'dens3/\*'"),
        (
            ["layers={'dense3/*': 'train'}"],
            "unknown word for layers 'train': did you mean",
        ),
        (["layers={'*': 'frozen'}"], "config.layers: the label rule masks no leaf"),
        (["method=dense", "layers={'*': 'masked'}"], "dense masks no layer"),
    ],
)
def test_what_cannot_be_is_one_line(flags, said):
    with pytest.raises(UserError, match=said) as caught:
        experiment.build(load_with_overrides("fcn", [f"--config.{flag}" for flag in flags]))
    assert "\n" not in str(caught.value)


def test_pruning_has_its_own_entry(capsys):
    flags = ("--config.layers={'dense3/*': 'trained'}", "--dry_run")
    assert "keep_layers" in refused(capsys, "lottery", "lottery_fcn", *flags)


def test_one_leaf_can_be_named_by_a_flag():
    config = load_with_overrides("fcn", ["--config.layers.dense3/kernel=frozen"])
    assert config.layers.to_dict() == {"dense3/kernel": "frozen"}
    job = experiment.build(config)
    assert list(named_leaves(job.start()[1]["params"])) == ["dense3/kernel"]
