"""Biases and dropout of the shipped networks: trained, drawn from the seed, and in the ticket."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_refused, assert_trees_equal, tiny_config
from method_helpers import METHODS_UNDER_TEST, batch, trainer_of

from supermask_jax import experiment, models, tickets
from supermask_jax.core.trees import named_leaves
from supermask_jax.data import load
from supermask_jax.training.evaluate import batch_sums, linen_apply
from supermask_jax.training.gradient import loss_gradient
from supermask_jax.training.loop import make_train_step

IMAGE = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
SMALL = {"fcn": {"features": (20, 16)}, "conv2": {"features": (20, 16)}, "resnet20": {}}


def network(name, **options):
    return models.get(name, num_classes=3, width=0.25, **options)


@pytest.mark.parametrize("name", SMALL)
def test_biases_are_parameters_that_start_at_0(name):
    params = network(name, bias=True, norm="all").init(jax.random.key(0), IMAGE)["params"]
    leaves = named_leaves(params)
    biases = {leaf for leaf in leaves if leaf.endswith("/bias")}
    layers = {leaf.removesuffix("/kernel") for leaf in leaves if leaf.endswith("/kernel")}
    # A convolution before batch norm needs none.
    assert biases == {f"{n}/bias" for n in (["head"] if name == "resnet20" else layers)}
    assert not any(leaves[name].any() for name in biases)


@pytest.mark.parametrize("name", SMALL)
def test_dropout_hides_units_in_training_alone(name):
    plain, dropped = network(name), network(name, dropout=0.5)
    params = plain.init(jax.random.key(0), IMAGE)["params"]
    apply_plain, apply = linen_apply(plain), linen_apply(dropped)
    keys = jax.random.split(jax.random.key(2), 2)
    evaluated = apply(params, {}, IMAGE, train=False)[0]
    np.testing.assert_array_equal(evaluated, apply_plain(params, {}, IMAGE, train=False)[0])
    first, second = (apply(params, {}, IMAGE, train=True, key=key)[0] for key in keys)
    assert np.abs(first - evaluated).max() > 1e-3 and np.abs(first - second).max() > 1e-3


def test_dropout_keeps_its_share_and_the_mean():
    fcn = network("fcn", dropout=0.75, features=(4000,), activation="relu")
    _, found = fcn.apply(
        fcn.init(jax.random.key(0), IMAGE),
        IMAGE,
        train=True,
        rngs={"dropout": jax.random.key(3)},
        capture_intermediates=True,
    )
    before = jax.nn.relu(found["intermediates"]["dense1"]["__call__"][0])
    after = found["intermediates"]["Dropout_0"]["__call__"][0]
    kept = np.asarray(after[before > 0] != 0)
    assert np.mean(kept) == pytest.approx(0.25, abs=0.02)
    np.testing.assert_allclose(after[after != 0], 4 * before[after != 0], rtol=1e-6)


def test_each_microbatch_draws_from_a_key_of_its_own():
    key = jax.random.key(5)
    rows = {"image": IMAGE, "label": jnp.array([0, 1, 2, 0]), "weight": jnp.ones(4)}

    def apply_fn(params, batch_stats, image, *, train, mask=None, key=None):
        return params * jax.random.normal(key, (len(image), 3)), batch_stats

    found = loss_gradient(apply_fn, jnp.float32(1), {}, rows, 2, key=key)
    parts = [
        batch_sums(
            jax.random.normal(jax.random.fold_in(key, i), (2, 3)),
            {name: x[i::2] for name, x in rows.items()},
        )
        for i in range(2)
    ]
    assert float(found.sums["loss"]) == pytest.approx(float(sum(p["loss"] for p in parts)))


def test_every_step_and_every_seed_draws_anew():
    def apply_fn(params, batch_stats, image, *, train, mask=None, key=None):
        zero = 0 * sum(jnp.sum(x) for x in jax.tree.leaves(params))
        return zero + jax.random.normal(key, (len(image), 3)), batch_stats

    trainer = trainer_of(METHODS_UNDER_TEST["signed"].make(), optax.sgd(0.1), apply_fn=apply_fn)
    step, losses = make_train_step(trainer), []
    for seed in range(2):
        state, frozen = trainer.create(jax.random.key(seed))
        for _ in range(2):
            state, loss = step(state, frozen, batch())
            losses.append(float(loss))
    assert len(set(losses)) == 4


def test_a_run_with_both_is_the_seed_s_alone_and_its_ticket_has_the_biases(tmp_path):
    entries = {"model.bias": True, "model.dropout": 0.5, "epochs": 2}
    pair = tiny_config(num_seeds=2, seeds_per_program=2, **entries)
    together = experiment.run(pair, tmp_path / "pair", quiet=True)["runs"][1]
    alone = experiment.run(tiny_config(seed=1, **entries), tmp_path / "alone", quiet=True)
    plain = experiment.run(tiny_config(seed=1, epochs=2), tmp_path / "plain", quiet=True)
    assert together["train_loss"] == pytest.approx(alone["train_loss"], rel=1e-4)
    assert alone["train_loss"] > plain["train_loss"]
    assert_trees_equal(
        dict(np.load(tmp_path / "pair/masks-s1.npz")), dict(np.load(tmp_path / "alone/masks.npz"))
    )
    ticket = tickets.load_ticket(tmp_path / "alone" / "ticket.safetensors")
    assert {name for name in ticket.params if ticket.params[name].any()} == {
        f"dense{i}/bias" for i in (1, 2, 3)
    }
    test = load("digits").test
    found = tickets.accuracy(ticket, test.images, test.labels)
    assert found == pytest.approx(alone["test_accuracy"], abs=1e-6)


def test_no_such_share_is_refused():
    assert_refused(
        [(f"dropout must be .* got {x}", lambda x=x: network("fcn", dropout=x)) for x in (-0.1, 1)]
    )
