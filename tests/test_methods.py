"""Every method x every property that all of them share. A new method is a new row here."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_trees_close, assert_trees_equal

from supermask_jax import methods
from supermask_jax.core import initializers, stats, thresholds
from supermask_jax.core.trees import named_leaves
from supermask_jax.training import optimizers
from supermask_jax.training.state import create_state
from supermask_jax.training.step import make_train_step


class Row(NamedTuple):
    """A method under test."""

    make: Callable[[], methods.Method]
    # (weights, scores) -> the documented dL/ds for dL/dw_eff = 1, in NumPy.
    gradient: Callable[[np.ndarray, np.ndarray], np.ndarray] | None
    ternary: bool = True  # effective weights are the frozen ones times the mask
    polarities: tuple[int, ...] = (-1, 0, 1)


def straight(weights, scores):
    return weights


def by_sign(weights, scores):
    return weights * np.sign(scores)


def sigmoid(weights, scores):
    p = 1 / (1 + np.exp(-scores.astype(np.float64)))
    return weights * p * (1 - p)


METHODS_UNDER_TEST = {
    "dense": Row(methods.dense, None),
    "signed": Row(lambda: methods.signed(threshold=thresholds.absolute(0.2)), straight),
    "signed_fraction": Row(
        lambda: methods.signed(threshold=thresholds.fraction_of_max(0.5)), straight
    ),
    "signed_density": Row(
        lambda: methods.signed(threshold=thresholds.absolute(0.2), density=0.3), straight
    ),
    "bernoulli": Row(lambda: methods.bernoulli(score_init=initializers.normal("unit")), sigmoid),
    "bernoulli_round": Row(
        lambda: methods.bernoulli(score_init=initializers.normal("unit"), variant="round"),
        None,  # Half of the entries have none: tests/test_bernoulli.py.
    ),
    "bernoulli_rescaled": Row(
        lambda: methods.bernoulli(score_init=initializers.normal("unit"), rescale=True),
        None,
        ternary=False,
    ),
    "bernoulli_density": Row(lambda: methods.bernoulli(density=0.3), sigmoid),
    "edge_popup": Row(lambda: methods.edge_popup(density=0.3), by_sign),
    "edge_popup_value": Row(lambda: methods.edge_popup(density=0.3, by_value=True), straight),
    "edge_popup_global": Row(lambda: methods.edge_popup(density=0.3, scope="global"), by_sign),
    "biprop": Row(lambda: methods.biprop(density=0.3), by_sign, ternary=False),
    "biprop_global": Row(
        lambda: methods.biprop(density=0.3, scope="global", anneal=0.1), by_sign, ternary=False
    ),
    "signed_topk": Row(lambda: methods.signed_topk(density=0.3), straight),
    "signed_topk_layer": Row(lambda: methods.signed_topk(density=0.3, scope="layer"), straight),
    "multicoat": Row(
        lambda: methods.multicoat(densities=(0.5, 0.2)), by_sign, polarities=(0, 1, 2)
    ),
    "signed_top": Row(lambda: methods.signed(threshold=thresholds.top_fraction(0.2)), straight),
}
MASKED = [name for name in METHODS_UNDER_TEST if name != "dense"]
WITH_GRADIENT = [name for name, row in METHODS_UNDER_TEST.items() if row.gradient is not None]

every_method = pytest.mark.parametrize("name", METHODS_UNDER_TEST)
every_masked = pytest.mark.parametrize("name", MASKED)


def params(key):
    """Two dense layers; the second has a bias, which is trained and not masked."""
    init = initializers.signed_constant("elus_sqrt3")
    keys = jax.random.split(key, 2)
    return {
        "first": {"kernel": init(keys[0], (6, 8))},
        "second": {"kernel": init(keys[1], (8, 3)), "bias": jnp.zeros(3)},
    }


def apply_fn(params, batch_stats, image, *, train, mask=None):
    x = jax.nn.elu(image @ params["first"]["kernel"])
    return x @ params["second"]["kernel"] + params["second"]["bias"][None], batch_stats


def batch(seed=0):
    key = jax.random.key(seed)
    image = jax.random.normal(key, (16, 6))
    return {
        "image": image,
        "label": jnp.argmax(image[:, :3], -1),
        "weight": jnp.ones(16).at[-2:].set(0),
    }


def make(name, seed=0, learning_rate=0.5):
    """Returns (method, state, frozen, un-jitted step)."""
    method = METHODS_UNDER_TEST[name].make()
    tx = optimizers.sgdw(lambda t: 1.0, learning_rate=learning_rate, weight_decay=1e-2)
    state, frozen = create_state(
        jax.random.key(seed), init_fn=lambda key: {"params": params(key)}, method=method, tx=tx
    )
    step = make_train_step(apply_fn, method, tx, steps_per_epoch=10, total_steps=40)
    return method, state, frozen, step


@every_method
def test_frozen_is_bit_identical_after_training(name):
    _, state, frozen, step = make(name)
    before = jax.tree.map(np.array, frozen)
    jitted = jax.jit(step, donate_argnums=0)
    first = jax.tree.map(np.array, state.trainable)
    for i in range(40):
        state, _ = jitted(state, frozen, batch(i))
    assert_trees_equal(before, jax.tree.map(np.array, frozen))
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), first, state.trainable)
    assert min(jax.tree.leaves(moved)) > 0


@every_method
def test_training_learns(name):
    _, state, frozen, step = make(name, learning_rate=0.1)
    jitted = jax.jit(step)
    losses = []
    for i in range(200):
        state, loss = jitted(state, frozen, batch(i % 8))
        losses.append(float(loss))
    assert np.mean(losses[-20:]) < 0.8 * np.mean(losses[:20])


@every_masked
def test_hidden_weights_are_exactly_zero_whatever_their_score(name):
    method, state, frozen, step = make(name)
    jitted = jax.jit(step)
    for i in range(20):  # Momentum and decay act on the scores of hidden weights too.
        state, _ = jitted(state, frozen, batch(i))
    poisoned = jax.tree.map(lambda s: s.at[0, 0].set(jnp.nan), state.trainable["scores"])
    for scores in (state.trainable["scores"], poisoned):
        trainable = state.trainable | {"scores": scores}
        effective = named_leaves(method.apply(trainable, frozen))
        hidden_any = False
        for layer, mask in named_leaves(method.masks(trainable, frozen)).items():
            hidden = np.asarray(mask) == 0
            hidden_any |= hidden.any()
            assert np.all(np.asarray(effective[layer])[hidden] == 0)
            assert np.isfinite(np.asarray(effective[layer])).all()
        assert hidden_any


@every_masked
def test_effective_weights_are_mask_times_weights(name):
    method, state, frozen, _ = make(name)
    masks = named_leaves(method.masks(state.trainable, frozen))
    effective = named_leaves(method.apply(state.trainable, frozen))
    weights = named_leaves(frozen["weights"])
    assert masks.keys() == weights.keys()
    for layer, mask in masks.items():
        assert mask.dtype == jnp.int8
        assert set(np.unique(mask)) <= set(METHODS_UNDER_TEST[name].polarities)
        if METHODS_UNDER_TEST[name].ternary:
            np.testing.assert_array_equal(effective[layer], np.asarray(weights[layer]) * mask)


@pytest.mark.parametrize("name", WITH_GRADIENT)
def test_gradient_is_the_documented_estimator_at_every_entry(name):
    method, state, frozen, _ = make(name)
    upstream = jax.tree.map(
        lambda w: jax.random.normal(jax.random.key(w.size), w.shape),
        method.apply(state.trainable, frozen),
    )

    def loss(trainable):
        effective = method.apply(trainable, frozen, jax.random.key(5))
        return sum(jax.tree.leaves(jax.tree.map(lambda u, e: jnp.sum(u * e), upstream, effective)))

    grads = named_leaves(jax.grad(loss)(state.trainable)["scores"])
    for layer, grad in grads.items():
        weights = np.asarray(named_leaves(frozen["weights"])[layer])
        scores = np.asarray(named_leaves(state.trainable["scores"])[layer])
        expected = named_leaves(upstream)[layer] * METHODS_UNDER_TEST[name].gradient(
            weights, scores
        )
        np.testing.assert_allclose(grad, expected, rtol=1e-5)
        assert np.count_nonzero(grad) == grad.size


@every_method
def test_without_a_key_apply_is_deterministic_and_equals_jit(name):
    method, state, frozen, _ = make(name)
    once = method.apply(state.trainable, frozen)
    assert_trees_equal(once, method.apply(state.trainable, frozen))
    assert_trees_close(once, jax.jit(method.apply)(state.trainable, frozen), rtol=1e-6)


@every_method
def test_free_parameters_are_trained_and_never_masked(name):
    method, state, frozen, _ = make(name)
    bias = jnp.array([1.0, -2.0, 3.0])
    trainable = jax.tree.map(lambda x: x, state.trainable)
    trainable["params"]["second"]["bias"] = bias
    effective = method.apply(trainable, frozen)
    np.testing.assert_array_equal(effective["second"]["bias"], bias)
    assert "second/bias" not in named_leaves(method.masks(trainable, frozen))


@every_method
def test_density_is_computed_from_the_masks(name):
    method, state, frozen, _ = make(name)
    masks = method.masks(state.trainable, frozen)
    flat = np.concatenate([np.ravel(m) for m in jax.tree.leaves(masks)] or [np.ones(1)])
    assert float(stats.density(masks)) == pytest.approx(np.mean(flat != 0))


@every_method
def test_one_compilation_serves_all_steps(name):
    _, state, frozen, step = make(name)
    jitted = jax.jit(step)
    for i in range(3):
        state, _ = jitted(state, frozen, batch(i))
    assert jitted._cache_size() == 1


@every_method
def test_a_seed_in_a_batch_equals_the_seed_alone(name):
    states, frozens, steps = zip(*[make(name, seed)[1:] for seed in (0, 1, 2)], strict=True)
    stack = lambda trees: jax.tree.map(lambda *x: jnp.stack(x), *trees)  # noqa: E731
    batched_state, batched_frozen = stack(states), stack(frozens)
    batched = jax.jit(jax.vmap(steps[0], in_axes=(0, 0, None)))
    alone = jax.jit(steps[0])
    for i in range(5):
        batched_state, _ = batched(batched_state, batched_frozen, batch(i))
    for seed in range(3):
        state = states[seed]
        for i in range(5):
            state, _ = alone(state, frozens[seed], batch(i))
        mine = jax.tree.map(lambda x, seed=seed: x[seed], batched_state.trainable)
        assert_trees_close(mine, state.trainable, rtol=1e-4, atol=1e-5)


@every_method
def test_rows_of_weight_zero_change_nothing(name):
    _, state, frozen, step = make(name)
    other = batch()
    other["image"] = other["image"].at[-2:].set(99.0)
    a, loss_a = jax.jit(step)(state, frozen, batch())
    b, loss_b = jax.jit(step)(state, frozen, other)
    assert_trees_close(a.trainable, b.trainable)
    assert float(loss_a) == pytest.approx(float(loss_b))
    assert float(a.sums["count"]) == 14


@every_method
def test_loss_is_the_mean_cross_entropy_in_float64(name):
    method, state, frozen, step = make(name)
    data = batch()
    params = method.apply(state.trainable, frozen, jax.random.fold_in(state.key, 0), 0.0)
    logits, _ = apply_fn(params, {}, data["image"], train=True)
    logits = np.asarray(logits, np.float64)[:14]
    labels = np.asarray(data["label"])[:14]
    log_z = np.log(np.exp(logits).sum(-1))
    expected = np.mean(log_z - logits[np.arange(14), labels])
    after, loss = jax.jit(step)(state, frozen, data)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert float(after.sums["correct"]) == (logits.argmax(-1) == labels).sum()


def test_dense_trains_as_optax_alone():
    _, state, frozen, step = make("dense")
    tx = optimizers.sgdw(lambda t: 1.0, learning_rate=0.5, weight_decay=1e-2)
    weights = state.trainable["params"]
    opt_state = tx.init(weights)

    def loss(p, data):
        logits, _ = apply_fn(p, {}, data["image"], train=True)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, data["label"])
        return jnp.sum(losses * data["weight"]) / 14

    for i in range(3):
        state, _ = jax.jit(step)(state, frozen, batch(i))
        updates, opt_state = tx.update(jax.grad(loss)(weights, batch(i)), opt_state, weights)
        weights = optax.apply_updates(weights, updates)
    assert_trees_close(state.trainable["params"], weights)


def test_label_rule_chooses_what_is_masked_trained_and_frozen():
    def rule(name, leaf):
        return {"first/kernel": "mask", "second/kernel": "freeze"}.get(name, "train")

    method = methods.signed(label_fn=rule)
    trainable, frozen = method.init(jax.random.key(0), params(jax.random.key(1)))
    assert list(named_leaves(trainable["scores"])) == ["first/kernel"]
    assert list(named_leaves(trainable["params"])) == ["second/bias"]
    assert list(named_leaves(frozen["params"])) == ["second/kernel"]
    assert named_leaves(method.apply(trainable, frozen)).keys() == {
        "first/kernel",
        "second/kernel",
        "second/bias",
    }
