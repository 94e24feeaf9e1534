"""Mask functions, the straight-through estimator, order statistics and threshold rules."""

import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supermask_jax.core import order, thresholds
from supermask_jax.core.estimators import straight_through
from supermask_jax.core.masks import signed_mask, signed_weights
from supermask_jax.core.thresholds import Bounds

# Few distinct values, so that ties and values at the threshold are common.
TIED = st.sampled_from([-0.4, -0.1, -0.0, 0.0, 0.1, 0.4, 0.7, float("nan")])
# One shape, so that each function compiles once and not once an example.
SCORES = hnp.arrays(np.float32, (3, 5), elements=TIED)


def symmetric(tau: float) -> Bounds:
    return Bounds(jnp.float32(-tau), jnp.float32(tau))


def reference_mask(scores, low, high):
    return np.array([1 if s > high else -1 if s < low else 0 for s in scores.ravel()]).reshape(
        scores.shape
    )


@given(SCORES, st.sampled_from([0.0, 0.1, 0.4, 0.5]))
def test_signed_mask_is_strict_and_hides_nan(scores, tau):
    mask = signed_mask(jnp.asarray(scores), symmetric(tau))
    assert mask.dtype == jnp.int8
    tau = np.float32(tau)
    np.testing.assert_array_equal(mask, reference_mask(scores, -tau, tau))


@given(SCORES, st.sampled_from([0.0, 0.1, 0.4]))
def test_signed_weights_equal_weights_times_mask(scores, tau):
    weights = np.random.default_rng(0).normal(size=scores.shape).astype(np.float32)
    effective = signed_weights(jnp.asarray(weights), jnp.asarray(scores), symmetric(tau))
    mask = reference_mask(scores, -np.float32(tau), np.float32(tau))
    np.testing.assert_array_equal(effective, weights * mask)


def test_hidden_weight_is_zero_even_if_infinite():
    effective = signed_weights(jnp.array([jnp.inf, 2.0]), jnp.array([0.0, 1.0]), symmetric(0.5))
    np.testing.assert_array_equal(effective, [0.0, 2.0])


def test_steps_in_a_loop_keep_no_copy_of_the_weights():
    weights = jax.ShapeDtypeStruct((512, 512), jnp.float32)

    def steps(weights, scores):
        rows = jnp.ones((8, 512)) * weights[0, 0]

        def loss(scores):
            return jnp.square(rows @ signed_weights(weights, scores, Bounds(-0.1, 0.1))).sum()

        return jax.lax.fori_loop(0, 5, lambda i, s: s - jax.grad(loss)(s), scores)

    program = jax.jit(steps, donate_argnums=1).lower(weights, weights).compile()
    plan = program.memory_analysis()
    assert plan.temp_size_in_bytes < 1.5 * 4 * weights.size


def test_signed_gradient_worked_by_hand():
    # L = 3 * w_eff[0] - 2 * w_eff[1] + w_eff[2]^2 with w = (2, -1, 4), masks (1, 0, -1):
    # w_eff = (2, 0, -4); dL/dw_eff = (3, -2, -8); dL/ds = dL/dw_eff * w = (6, 2, -32).
    weights, scores = jnp.array([2.0, -1.0, 4.0]), jnp.array([0.9, 0.1, -0.9])

    def loss(w, s):
        e = signed_weights(w, s, symmetric(0.5))
        return 3 * e[0] - 2 * e[1] + e[2] ** 2

    d_weights, d_scores = jax.grad(loss, argnums=(0, 1))(weights, scores)
    np.testing.assert_array_equal(d_scores, [6.0, 2.0, -32.0])
    # The exact gradient to the weights: dL/dw_eff * mask.
    np.testing.assert_array_equal(d_weights, [3.0, 0.0, 8.0])


@given(SCORES)
def test_signed_gradient_reaches_every_entry(scores):
    weights = np.random.default_rng(1).normal(size=scores.shape).astype(np.float32)
    upstream = np.random.default_rng(2).normal(size=scores.shape).astype(np.float32)
    _, pullback = jax.vjp(
        lambda s: signed_weights(jnp.asarray(weights), s, symmetric(0.1)), jnp.asarray(scores)
    )
    np.testing.assert_array_equal(pullback(jnp.asarray(upstream))[0], upstream * weights)


def test_bounds_get_no_gradient():
    grads = jax.grad(lambda b: signed_weights(jnp.ones(3), jnp.ones(3), b).sum())(symmetric(0.5))
    np.testing.assert_array_equal(jnp.array(grads), [0.0, 0.0])


def test_straight_through_factor_is_the_derivative_of_soft():
    estimator = straight_through(lambda w, s: w * (s > 0), jax.nn.sigmoid)
    scores = np.linspace(-3, 3, 7)
    grads = jax.grad(lambda s: (2 * estimator(jnp.full(7, 5.0), s)).sum())(
        jnp.asarray(scores, jnp.float32)
    )
    sigmoid = 1 / (1 + np.exp(-scores))
    np.testing.assert_allclose(grads, 10 * sigmoid * (1 - sigmoid), rtol=1e-5)


def test_estimator_is_exact_where_the_additive_form_is_not():
    # x + stop_gradient(mask - x) gives 0 at x = 1e9.
    effective = signed_weights(jnp.ones(1), jnp.array([1e9]), symmetric(0.5))
    assert effective[0] == 1.0


# XLA takes subnormal numbers for zero: they tie with it.
NORMAL = st.floats(-5, 5, width=32, allow_subnormal=False)
FLOATS = hnp.arrays(
    np.float32,
    st.sampled_from([1, 2, 17]),
    elements=st.one_of(st.floats(width=32, allow_nan=False, allow_subnormal=False), TIED),
)


@given(FLOATS, st.integers(-2, 20))
def test_kth_largest_equals_a_sort(x, k):
    # NaN ranks lowest: sort it as the smallest.
    ranked = sorted(x, key=lambda v: -np.inf if np.isnan(v) else v, reverse=True)
    numbers = [v for v in ranked if not np.isnan(v)] + [v for v in ranked if np.isnan(v)]
    expected = numbers[min(max(k, 1), x.size) - 1]
    np.testing.assert_array_equal(order.kth_largest(jnp.asarray(x), k), expected)


def test_kth_largest_takes_a_traced_k():
    x = jnp.array([3.0, 1.0, 2.0])
    found = jax.jit(jax.vmap(lambda k: order.kth_largest(x, k)))(jnp.array([1, 2, 3]))
    np.testing.assert_array_equal(found, [3.0, 2.0, 1.0])


def test_absolute_and_fraction_of_max():
    scores = jnp.array([[0.5, -2.0], [1.0, 0.0]])
    low, high = thresholds.absolute(0.01).bounds(scores)
    assert (float(low), float(high)) == (-np.float32(0.01), np.float32(0.01))
    low, high = thresholds.fraction_of_max(0.4).bounds(scores)
    np.testing.assert_allclose([low, high], [-0.8, 0.8], rtol=1e-6)


def test_fraction_of_max_leaves_its_complement_of_uniform_scores():
    scores = jax.random.uniform(jax.random.key(0), (100_000,), minval=-0.3, maxval=0.3)
    mask = signed_mask(scores, thresholds.fraction_of_max(0.4).bounds(scores))
    assert abs(float(jnp.mean(mask != 0)) - 0.6) < 0.005


@given(
    hnp.arrays(np.float32, st.sampled_from([1, 16, 25]), elements=NORMAL, unique=True),
    st.sampled_from([0.0, 0.1, 0.25, 0.33, 0.5]),
)
def test_top_fraction_keeps_exactly_k_of_each_sign_without_ties(scores, fraction):
    bounds = thresholds.top_fraction(fraction).bounds(jnp.asarray(scores))
    mask = np.asarray(signed_mask(jnp.asarray(scores), bounds))
    k = int(fraction * scores.size)
    if 2 * k < scores.size:
        assert (mask == 1).sum() == k
        assert (mask == -1).sum() == k
        ranked = np.argsort(scores)
        assert set(np.flatnonzero(mask == 1)) == set(ranked[scores.size - k :])
        assert set(np.flatnonzero(mask == -1)) == set(ranked[:k])


@pytest.mark.parametrize(
    ("fraction", "size", "kept"),
    [(0.29, 100, 58), (0.07, 100, 14), (0.1, 7, 2), (0.5, 2, 2), (0.2, 1, 0), (0.0, 9, 0)],
)
def test_top_fraction_counts_what_is_written_and_at_least_one(fraction, size, kept):
    scores = jnp.arange(size) - size / 2  # As floats 0.29 * 100 is just below 29.
    mask = signed_mask(scores, thresholds.top_fraction(fraction).bounds(scores))
    assert np.count_nonzero(mask) == kept and np.sum(mask) == 0


def test_top_fraction_hides_ties_at_the_cut():
    scores = jnp.array([1.0, 1.0, 1.0, 0.0, -1.0, -2.0, -3.0, -4.0])
    mask = signed_mask(scores, thresholds.top_fraction(0.25).bounds(scores))
    np.testing.assert_array_equal(mask, [0, 0, 0, 0, 0, 0, -1, -1])


@pytest.mark.parametrize(
    ("rule", "options", "words"),
    [
        ("absolute", {"value": float("nan")}, "finite"),
        ("top_fraction", {"fraction": 0.6}, "in [0, 0.5]"),
        ("top_fraction", {"fractoin": 0.1}, "did you mean 'fraction'"),
        ("absolut", {}, "did you mean 'absolute'"),
    ],
)
def test_impossible_rules_say_what_is_wrong(rule, options, words):
    with pytest.raises(Exception, match="^[^\n]*$") as error:
        thresholds.get(rule, **options)
    assert words in str(error.value)
