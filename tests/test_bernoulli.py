"""Learned supermasks against NumPy, and the density controllers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from supermask_jax import methods
from supermask_jax.core import initializers, stats, thresholds
from supermask_jax.core.density import log_path
from supermask_jax.core.masks import bernoulli_weights
from supermask_jax.core.trees import named_leaves
from supermask_jax.errors import UserError
from supermask_jax.methods.bernoulli import mean_probability

SHAPE = (40, 50)
RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=SHAPE).astype(np.float32)
SCORES = RNG.normal(size=SHAPE).astype(np.float32)
UPSTREAM = RNG.normal(size=SHAPE).astype(np.float32)
PROBABILITY = 1 / (1 + np.exp(-SCORES.astype(np.float64)))
SLOPE = PROBABILITY * (1 - PROBABILITY)
KEY = jax.random.key(3)


def make(**options):
    method = methods.bernoulli(score_init=lambda key, shape, dtype: jnp.asarray(SCORES), **options)
    trainable, frozen = method.init(jax.random.key(0), {"kernel": jnp.asarray(WEIGHTS)})
    return method, trainable, frozen


def vjp(method, trainable, frozen, key):
    value, pullback = jax.vjp(lambda t: method.apply(t, frozen, key)["kernel"], trainable)
    return np.asarray(value), np.asarray(pullback(jnp.asarray(UPSTREAM))[0]["scores"]["kernel"])


def test_sampled_value_and_gradient():
    uniform = RNG.uniform(size=SHAPE).astype(np.float32)
    value, pullback = jax.vjp(
        lambda s: bernoulli_weights(jnp.asarray(WEIGHTS), s, jnp.asarray(uniform)),
        jnp.asarray(SCORES),
    )
    np.testing.assert_array_equal(value, np.where(uniform < PROBABILITY, WEIGHTS, 0))
    np.testing.assert_allclose(
        pullback(jnp.asarray(UPSTREAM))[0], UPSTREAM * WEIGHTS * SLOPE, rtol=2e-5
    )


def test_masks_are_sampled_with_the_probabilities():
    method, trainable, frozen = make()
    keys = jax.random.split(KEY, 400)
    sample = jax.jit(lambda key: method.masks(trainable, frozen, key)["kernel"])
    mean = np.mean([np.asarray(sample(key)) for key in keys], 0)
    error = (mean - PROBABILITY) / np.sqrt(SLOPE / 400)
    assert abs(error.mean()) < 0.15
    assert 0.9 < error.std() < 1.1


def test_rescaling_and_its_gradient():
    method, trainable, frozen = make(rescale=True)
    value, grad = vjp(method, trainable, frozen, KEY)
    plain = np.asarray(make()[0].masks(trainable, frozen, KEY)["kernel"], np.float64)
    n, kept = plain.size, plain.sum()
    np.testing.assert_allclose(value, WEIGHTS * plain * n / kept, rtol=1e-5)
    # d/dm of w * m * n / sum(m), through both factors.
    through = UPSTREAM * WEIGHTS * n / kept - (UPSTREAM * WEIGHTS * plain).sum() * n / kept**2
    np.testing.assert_allclose(grad, through * SLOPE, rtol=1e-4, atol=1e-6)


def test_round_variant():
    method, trainable, frozen = make(variant="round")
    value, grad = vjp(method, trainable, frozen, KEY)
    rounded = (PROBABILITY > 0.5).astype(float)
    clamped = np.isclose(value, WEIGHTS * rounded, rtol=1e-5, atol=0)
    np.testing.assert_allclose(value[~clamped], (WEIGHTS * PROBABILITY)[~clamped], rtol=1e-5)
    assert abs(clamped.mean() - 0.5) < 0.05
    np.testing.assert_array_equal(grad[clamped], 0)
    np.testing.assert_allclose(grad[~clamped], (UPSTREAM * WEIGHTS * SLOPE)[~clamped], rtol=2e-5)
    np.testing.assert_array_equal(method.apply(trainable, frozen)["kernel"], WEIGHTS * rounded)


@pytest.mark.parametrize(
    ("evaluation", "mask"), [("expected", PROBABILITY), ("rounded", PROBABILITY > 0.5)]
)
def test_deterministic_evaluations(evaluation, mask):
    method, trainable, frozen = make(evaluation=evaluation)
    assert method.eval_samples == 0
    np.testing.assert_allclose(method.apply(trainable, frozen)["kernel"], WEIGHTS * mask, rtol=1e-5)


@pytest.mark.parametrize("options", [{}, {"variant": "round"}, {"evaluation": "rounded"}])
def test_a_gradient_without_a_key_is_an_error_and_never_zero(options):
    method = methods.bernoulli(rescale=True, **options)
    network = {"kernel": jnp.asarray(WEIGHTS), "bias": jnp.ones(3)}
    trainable, frozen = method.init(jax.random.key(0), network)

    def loss(trainable, hold=lambda scores: scores):
        held = trainable | {"scores": hold(trainable["scores"])}
        return sum(map(jnp.sum, jax.tree.leaves(method.apply(held, frozen))))

    for compiled in (lambda f: f, jax.jit):
        with pytest.raises(ValueError, match="has no gradient: give apply a key"):
            compiled(jax.grad(loss))(trainable)
    free = jax.grad(lambda trainable: loss(trainable, jax.lax.stop_gradient))(trainable)
    np.testing.assert_array_equal(free["params"]["bias"], 1)


def test_expected_masks_have_their_exact_gradient_without_a_key():
    _, grad = vjp(*make(evaluation="expected"), None)
    np.testing.assert_allclose(grad, UPSTREAM * WEIGHTS * SLOPE, rtol=2e-5)


def test_start_density_and_report():
    method = methods.bernoulli(start_density=0.3)
    trainable, frozen = method.init(jax.random.key(0), {"kernel": jnp.asarray(WEIGHTS)})
    report = method.report(trainable, frozen)
    assert float(report["mean_probability"]) == pytest.approx(0.3, rel=1e-5)
    sampled = stats.density(method.masks(trainable, frozen, KEY))
    assert float(sampled) == pytest.approx(0.3, abs=0.05)


def test_log_path_meets_its_ends():
    path = [float(log_path(1.0, 0.01, p, 0.5)) for p in (0, 0.25, 0.5, 1)]
    np.testing.assert_allclose(path, [1, 0.1, 0.01, 0.01], rtol=1e-5)


def drift(scores, i):
    """A stand-in for training: noise and decay that move the density on their own."""
    keys = iter(jax.random.split(jax.random.fold_in(KEY, i), 2))
    return jax.tree.map(lambda s: 0.998 * s + 0.01 * jax.random.normal(next(keys), s.shape), scores)


@pytest.mark.parametrize("target", [0.3, 0.02])
@pytest.mark.parametrize("name", ["signed", "bernoulli"])
def test_controllers_hold_the_density_within_two_percent(name, target):
    options = {"threshold": thresholds.absolute(0.05)} if name == "signed" else {}
    method = methods.get(name, density=target, anneal=0.5, **options)
    params = {"a": {"kernel": jnp.ones((100, 150))}, "b": {"kernel": jnp.ones((150, 50))}}
    trainable, frozen = method.init(jax.random.key(0), params)
    steps = 600

    @jax.jit
    def step(trainable, i):
        moved = trainable | {"scores": drift(trainable["scores"], i)}
        return method.project(moved, frozen, (i + 1) / steps)

    for i in range(steps):
        trainable = step(trainable, i)
    if name == "signed":
        found = stats.density(method.masks(trainable, frozen))
    else:
        found = mean_probability(trainable["scores"])
    assert float(found) == pytest.approx(target, rel=0.02)


def test_controller_does_not_raise_a_density_while_it_anneals():
    method = methods.signed(threshold=thresholds.absolute(0.05), density=0.1)
    trainable, frozen = method.init(jax.random.key(0), {"kernel": jnp.ones((200, 300))})
    before = float(stats.density(method.masks(trainable, frozen)))
    assert before < 0.7  # The bound at the start is 1.
    assert method.project(trainable, frozen, 0.0)["scores"]["kernel"] is not None
    np.testing.assert_array_equal(
        method.project(trainable, frozen, 0.0)["scores"]["kernel"], trainable["scores"]["kernel"]
    )
    tiny = trainable | {"scores": {"kernel": trainable["scores"]["kernel"] / 100}}
    raised = method.project(tiny, frozen, 0.9)
    assert float(stats.density(method.masks(raised, frozen))) == pytest.approx(0.1, rel=1e-3)


def test_controller_scales_layers_alike():
    method = methods.signed(threshold=thresholds.absolute(0.05), density=0.1)
    params = {"a": {"kernel": jnp.ones((20, 30))}, "b": {"kernel": jnp.ones((30, 5))}}
    trainable, frozen = method.init(jax.random.key(0), params)
    projected = method.project(trainable, frozen, 0.9)
    before, after = named_leaves(trainable["scores"]), named_leaves(projected["scores"])
    ratios = [np.asarray(after[name] / before[name]) for name in before]
    assert np.ptp(np.concatenate([r.ravel() for r in ratios])) < 1e-5
    assert ratios[0].flat[0] < 1


def test_errors():
    with pytest.raises(UserError, match="start_density must be in .0, 1."):
        methods.get("bernoulli", start_density=1.0)
    with pytest.raises(UserError, match="did you mean 'rounded'"):
        methods.get("bernoulli", evaluation="round")
    with pytest.raises(UserError, match="threshold follows the scores"):
        methods.get("signed", threshold=thresholds.top_fraction(0.1), density=0.1)
    with pytest.raises(UserError, match="threshold of 0"):
        methods.get("signed", threshold=thresholds.absolute(0.0), density=0.1)
    for name in ("signed", "bernoulli"):
        with pytest.raises(UserError, match="anneal is a fraction in .0, 1., got 5.0"):
            methods.get(name, density=0.1, anneal=5.0)
    with pytest.raises(UserError, match="unknown scale"):
        initializers.get("normal", scale="glorott")
