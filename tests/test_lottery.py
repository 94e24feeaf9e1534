"""The lottery method: kept weights train, pruned ones stay at their values."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_trees_close, assert_trees_equal
from lottery_helpers import SHAPES, draw

from supermask_jax import methods
from supermask_jax.core.trees import named_leaves
from supermask_jax.methods.lottery import lottery_ticket
from supermask_jax.training import optimizers


def params(seed=0):
    weights = draw(seed)
    return {
        "first": {"kernel": jnp.asarray(weights["first/kernel"])},
        "second": {"kernel": jnp.asarray(weights["second/kernel"]), "bias": jnp.zeros(3)},
    }


def loss(effective, seed):
    image = jax.random.normal(jax.random.key(seed), (16, 6))
    hidden = jax.nn.relu(image @ effective["first"]["kernel"])
    logits = hidden @ effective["second"]["kernel"] + effective["second"]["bias"][None]
    labels = jnp.argmax(image[:, :3], -1)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


OPTIMIZERS = {
    "sgdw": lambda: optimizers.sgdw(0.1, weight_decay=1e-2),
    "adamw": lambda: optimizers.adamw(lambda t: 1.0, learning_rate=0.01, weight_decay=0.1),
}


def train(method, tx, start, steps=20):
    """Returns (first trainable, trainable, frozen, jitted step)."""
    trainable, frozen = method.init(jax.random.key(0), start)
    first, opt_state = trainable, tx.init(trainable)

    @jax.jit
    def step(trainable, opt_state, frozen, seed):
        grads = jax.grad(lambda t: loss(method.apply(t, frozen), seed))(trainable)
        updates, opt_state = tx.update(grads, opt_state, trainable)
        return optax.apply_updates(trainable, updates), opt_state

    for i in range(steps):
        trainable, opt_state = step(trainable, opt_state, frozen, i)
    return first, trainable, frozen, step


@pytest.fixture(scope="module", params=OPTIMIZERS)
def ticket(request):
    """Half of the weights pruned and frozen at values; trained under momentum and decay."""
    rng = np.random.default_rng(7)
    masks = {name: (rng.random(s) < 0.5).astype(np.int8) for name, s in SHAPES.items()}
    values = draw(8)
    method = lottery_ticket(masks, values)
    return masks, values, *train(method, OPTIMIZERS[request.param](), params())


def test_pruned_weights_stay_at_their_values_and_kept_ones_train(ticket):
    masks, values, first, trainable, frozen, _ = ticket
    method = lottery_ticket(masks, values)
    before = named_leaves(method.apply(first, frozen))
    after = named_leaves(method.apply(trainable, frozen))
    for name, mask in masks.items():
        np.testing.assert_array_equal(
            before[name], np.where(mask, named_leaves(params())[name], values[name])
        )
        np.testing.assert_array_equal(np.asarray(after[name])[mask == 0], values[name][mask == 0])
        assert np.all(np.asarray(after[name])[mask == 1] != np.asarray(before[name])[mask == 1])
        assert np.all(np.asarray(named_leaves(trainable["weights"])[name])[mask == 0] == 0)
        np.testing.assert_array_equal(named_leaves(frozen["masks"])[name], mask)
        np.testing.assert_array_equal(named_leaves(frozen["values"])[name], values[name])
    assert np.all(np.asarray(after["second/bias"]) != 0)


def test_a_pruned_weight_is_its_value_even_over_nan(ticket):
    masks, values, _, trainable, frozen, _ = ticket
    method = lottery_ticket(masks, values)
    poisoned = dict(trainable)
    poisoned["weights"] = jax.tree.map(
        lambda w, m: jnp.where(m == 0, jnp.nan, w), trainable["weights"], frozen["masks"]
    )
    assert_trees_equal(method.apply(trainable, frozen), method.apply(poisoned, frozen))
    grads = jax.grad(lambda t: loss(method.apply(t, frozen), 0))(poisoned)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_gradient_reaches_kept_weights_alone(ticket):
    masks, values, _, trainable, frozen, _ = ticket
    method = lottery_ticket(masks, values)
    grads = jax.grad(lambda t: loss(method.apply(t, frozen), 0))(trainable)
    full = named_leaves(jax.grad(lambda p: loss(p, 0))(method.apply(trainable, frozen)))
    for name, grad in named_leaves(grads["weights"]).items():
        np.testing.assert_allclose(grad, np.asarray(full[name]) * masks[name], rtol=1e-5)
        assert np.count_nonzero(full[name][masks[name] == 0])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_all_ones_masks_are_dense_training(name):
    ones = {path: np.ones(shape, np.int8) for path, shape in SHAPES.items()}
    tx = OPTIMIZERS[name]()
    _, dense, _, _ = train(methods.dense(), tx, params())
    _, trained, frozen, _ = train(lottery_ticket(ones, draw(3)), tx, params())
    assert_trees_close(lottery_ticket(ones).apply(trained, frozen), dense["params"], rtol=1e-6)


def test_masks_and_values_are_arguments_of_the_compiled_step(ticket):
    masks, values = ticket[:2]
    others = lottery_ticket({name: 1 - mask for name, mask in masks.items()}, draw(9))
    tx = OPTIMIZERS["sgdw"]()
    _, _, _, step = train(lottery_ticket(masks, values), tx, params(), 1)
    trainable, frozen = others.init(jax.random.key(0), params())
    moved, _ = step(trainable, tx.init(trainable), frozen, 0)
    assert step._cache_size() == 1
    for name, weights in named_leaves(moved["weights"]).items():
        assert np.all((np.asarray(weights) != 0) == (masks[name] == 0))


def test_masks_are_int8_over_pruned_leaves_alone(ticket):
    masks, values, _, trainable, frozen, _ = ticket
    found = named_leaves(lottery_ticket(masks, values).masks(trainable, frozen))
    assert {name: mask.dtype for name, mask in found.items()} == dict.fromkeys(SHAPES, jnp.int8)


@pytest.mark.parametrize(
    "masks, values, message",
    [
        ({"third/kernel": np.ones((2, 2))}, None, "a mask for 'third/kernel', but only"),
        ({"first/kernel": np.ones((2, 2))}, None, r"the mask of 'first/kernel' has shape \(2, 2\)"),
        ({"first/kernel": np.ones((6, 8))}, {"first/kernel": np.ones(3)}, "the value of"),
        ({"first/kernel": np.ones((6, 8))}, {}, "there is no value for 'first/kernel'"),
        ({}, None, "masks no leaf"),
    ],
)
def test_wrong_masks(masks, values, message):
    with pytest.raises(ValueError, match=message):
        lottery_ticket(masks, values).init(jax.random.key(0), params())


def test_products_are_balanced():
    ones = {"first/kernel": np.ones((1, 1), "i1")}
    method = lottery_ticket(ones, sign_in=True)
    start = {"first": {"kernel": jnp.full((1, 1), 0.3)}}
    trainable, frozen = method.init(jax.random.key(0), start)
    pair = trainable["weights"]["first"]["kernel"]
    assert (float(pair["a"][0, 0]), float(pair["b"][0, 0])) == pytest.approx(
        (1.040719, 0.288262), rel=1e-5
    )
    slope = 0.7
    # One step of size eta moves the weight by -eta (a^2 + b^2) g, up to eta^2, also at 0.
    for weight, factor in ((0.3, 1.166190), (0.0, 1.0), (-0.3, 1.166190)):
        start = {"first": {"kernel": jnp.full((1, 1), weight)}}
        trainable, frozen = method.init(jax.random.key(0), start)
        found = jax.grad(lambda t, f=frozen: slope * method.apply(t, f)["first"]["kernel"].sum())
        moved = jax.tree.map(lambda t, g: t - 1e-3 * g, trainable, found(trainable))
        kernel = method.apply(moved, frozen)["first"]["kernel"]
        assert float(kernel[0, 0]) == pytest.approx(weight - 1e-3 * factor * slope, abs=2e-6)
        balanced = method.project(moved, frozen, 0.5)
        pair = balanced["weights"]["first"]["kernel"]
        assert float(pair["a"][0, 0] ** 2 - pair["b"][0, 0] ** 2) == pytest.approx(1, rel=1e-6)
        assert_trees_close(method.apply(balanced, frozen), method.apply(moved, frozen), rtol=1e-6)


def test_batch_norms_between_theirs_and_none():
    ones = {"first/kernel": np.ones((2, 2), "i1")}
    norm = {"bn": {"scale": jnp.array([3.0, -1.0]), "bias": jnp.array([0.5, 2.0])}}
    start = {"first": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}, "first_norm": norm}
    method = lottery_ticket(ones, interpolate_norm=True)
    parts = method.init(jax.random.key(0), start)
    assert_trees_equal(method.apply(*parts), start)  # Without a key, as in evaluation.
    shares = set()
    for seed in range(3):
        key = jax.random.key(seed)
        found = method.apply(*parts, key)
        t = float(jax.random.uniform(key))
        np.testing.assert_allclose(
            found["first_norm"]["bn"]["scale"], [t + (1 - t) * 3, t - (1 - t)], rtol=1e-5
        )
        np.testing.assert_allclose(
            found["first_norm"]["bn"]["bias"], [(1 - t) * 0.5, (1 - t) * 2], rtol=1e-5
        )
        assert_trees_equal(found["first"], start["first"])
        shares.add(t)
    assert len(shares) == 3
    assert_trees_equal(lottery_ticket(ones).apply(*parts, jax.random.key(0)), start)
