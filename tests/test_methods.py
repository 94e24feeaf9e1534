"""Every method x every property of its functions. A new one is a new row in method_helpers.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_trees_close, assert_trees_equal
from method_helpers import (
    METHODS_UNDER_TEST,
    WITH_GRADIENT,
    batch,
    every_masked,
    every_method,
    make,
    params,
)

from supermask_jax import methods
from supermask_jax.core import stats
from supermask_jax.core.trees import named_leaves


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


HALF = [jnp.bfloat16, jnp.float16]


@pytest.mark.parametrize("dtype", HALF)
@every_method
def test_weights_of_half_precision_keep_it_and_their_scores_learn_in_float32(name, dtype):
    method, state, frozen, _ = make(name, dtype=dtype)
    key = jax.random.key(5)
    effective, pullback = jax.vjp(lambda t: method.apply(t, frozen, key), state.trainable)
    assert {leaf.dtype for leaf in jax.tree.leaves(effective)} == {jnp.dtype(dtype)}
    if method.eval_samples == 0:  # Deterministic masks: kept in every detail.
        wide = jax.tree.map(lambda w: w.astype(jnp.float32), frozen)
        free = state.trainable.get("params", {})
        exact = method.apply(state.trainable | {"params": free}, wide, key)
        assert_trees_close(
            jax.tree.map(lambda x: np.asarray(x, np.float32), effective),
            jax.tree.map(lambda x: np.asarray(x, np.float32), exact),
            rtol=2 * float(jnp.finfo(dtype).eps),
        )
    upstream = jax.tree.map(lambda e: jax.random.normal(key, e.shape, e.dtype), effective)
    (grads,) = pullback(upstream)
    rule = METHODS_UNDER_TEST[name].gradient
    for layer, scores in named_leaves(state.trainable.get("scores", {})).items():
        grad = named_leaves(grads["scores"])[layer]
        assert grad.dtype == scores.dtype == jnp.float32
        if rule is not None:  # Products of two short factors: exact in float32.
            weights = np.asarray(named_leaves(frozen["weights"])[layer], np.float32)
            factor = np.asarray(named_leaves(upstream)[layer], np.float32)
            np.testing.assert_allclose(grad, factor * rule(weights, np.asarray(scores)), rtol=1e-5)


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
