"""ProbMask against closed forms: its gates, the projection onto the budget, a run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import tiny_config
from hypothesis import given
from hypothesis import strategies as st

from supermask_jax import experiment, methods
from supermask_jax.errors import UserError
from supermask_jax.methods.probmask import gates, to_budget

budgeted = jax.jit(to_budget)


def test_the_projection_worked_by_hand():
    scores = {"a": jnp.float32([0.9, 0.6]), "b": jnp.float32([[0.3]])}
    found = budgeted(scores, 1 / 3)  # v = 0.8 / 3
    np.testing.assert_allclose(found["a"], [0.633333, 0.333333], atol=1e-6)
    np.testing.assert_allclose(found["b"], [[0.033333]], atol=1e-6)
    within = budgeted(scores, 0.6)  # 1.8 of 3 weights: v = 0
    np.testing.assert_array_equal(within["a"], scores["a"])
    # Of [1.5, 0.5] with a budget of 1.2: v = 0.3 leaves min(1, 1.2) + 0.2.
    np.testing.assert_allclose(budgeted([jnp.float32([1.5, 0.5])], 0.6)[0], [1, 0.2], atol=1e-6)


@given(st.lists(st.floats(-1, 2, width=32), min_size=5, max_size=5), st.floats(0, 1))
def test_the_budget_is_kept_and_used(scores, density):
    scores = np.float32(scores)
    (found,) = budgeted([jnp.asarray(scores)], density)
    held = np.clip(scores, 0, 1).sum()
    assert ((found >= 0) & (found <= 1)).all()
    assert float(found.sum()) == pytest.approx(min(held, 5 * density), abs=1e-4)


def test_a_probability_that_is_not_finite_stays_so():
    (found,) = budgeted([jnp.float32([jnp.nan, 0.5])], 0.1)
    assert np.isnan(found[0])


@pytest.mark.parametrize("progress", [0.0, 0.5, 1.0])
def test_gates_are_above_a_half_with_their_probability(progress):
    noise = jax.random.logistic(jax.random.key(0), (200_000,))
    for p in (0.1, 0.5, 0.8):
        found = np.asarray(gates(jnp.full(noise.shape, p), noise, progress))
        assert np.mean(found > 0.5) == pytest.approx(p, abs=4e-3)


def test_gates_and_their_gradient_by_formula():
    p, n = np.float64([0.2, 0.5, 0.9]), np.float64([0.3, -1.0, 2.0])
    for progress, temperature in ((0.0, 1.0), (0.5, 0.515), (1.0, 0.03)):
        m = 1 / (1 + np.exp(-(np.log(p / (1 - p)) + n) / temperature))
        value, slope = jax.vmap(jax.value_and_grad(gates), (0, 0, None))(
            jnp.float32(p), jnp.float32(n), progress
        )
        np.testing.assert_allclose(value, m, rtol=1e-3, atol=1e-6)
        expected = m * (1 - m) / (temperature * p * (1 - p))
        np.testing.assert_allclose(slope, expected, rtol=2e-3, atol=1e-6)
    # At T = 1 the gate is p e^n / (p e^n + 1 - p), with slopes e^n at 0 and e^-n at 1.
    ends = jax.vmap(jax.grad(gates), (0, None, None))(jnp.float32([0, 1]), 0.7, 0.0)
    # Of what is so close to 1, float32 tells some 4 bits.
    np.testing.assert_allclose(ends, np.exp([0.7, -0.7]), rtol=0.07)


@pytest.mark.parametrize(
    ("progress", "mean"),  # 0.1 + 0.9 (1 - (t - 0.16) / 0.44)^3
    [(0.1, 1.0), (0.16, 1.0), (0.38, 0.2125), (0.6, 0.1), (1.0, 0.1)],
)
def test_the_budget_falls_on_its_ramp(progress, mean):
    method = methods.probmask(density=0.1)
    trainable, frozen = method.init(jax.random.key(0), {"kernel": jnp.ones((20, 50))})
    np.testing.assert_array_equal(trainable["scores"]["kernel"], 1)
    projected = method.project(trainable, frozen, progress)
    assert float(projected["scores"]["kernel"].mean()) == pytest.approx(mean, abs=1e-4)
    assert float(method.report(projected, frozen)["mean_probability"]) == pytest.approx(mean, 1e-3)


def test_a_run_ends_within_its_budget_and_learns(tmp_path):
    config = tiny_config(epochs=8, batch_size=32, **{"model.width": 1.0})
    config.method = {"name": "probmask", "density": 0.2}
    config.optimizer = {"name": "adam", "learning_rate": 0.02}
    summary = experiment.run(config, tmp_path / "run", quiet=True)
    assert summary["mean_probability"] <= 0.2 + 1e-5
    assert 0.05 < summary["remaining_weights"] < 0.4 and summary["test_accuracy"] > 0.7


def test_what_cannot_be_is_one_line():
    with pytest.raises(UserError, match="start must be below anneal"):
        methods.get("probmask", start=0.6, anneal=0.6)
    with pytest.raises(UserError, match="density is a fraction"):
        methods.get("probmask", density=2.0)
