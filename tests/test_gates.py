"""Relaxed gates against closed forms, by NumPy and SciPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import tiny_config
from scipy.stats import norm

from supermask_jax import experiment, methods
from supermask_jax.core.density import shift_to_count
from supermask_jax.core.masks import gumbel_weights
from supermask_jax.errors import UserError
from supermask_jax.methods.continuous_sparsification import temperature
from supermask_jax.methods.hard_concrete import gates as hard_concrete_gates
from supermask_jax.methods.signed_continuous import SCALE
from supermask_jax.methods.signed_gates import outside

GATES = ["continuous_sparsification", "hard_concrete", "gaussian_gates"]
GATES += ["signed_gates", "signed_continuous"]
KEY = jax.random.key(3)
MANY = 200_000


def made(name, scores, weights=None, **options):
    """Returns (method, trainable, frozen) of one layer with these scores [n]."""
    scores = jnp.asarray(scores, jnp.float32)[None]
    weights = jnp.ones_like(scores) if weights is None else jnp.asarray(weights, jnp.float32)[None]
    method = methods.get(name, score_init=lambda key, shape, dtype: scores, **options)
    return method, *method.init(jax.random.key(0), {"kernel": weights})


def effective(name, scores, key=None, progress=1.0, **options):
    method, trainable, frozen = made(name, scores, **options)
    return np.asarray(method.apply(trainable, frozen, key, progress)["kernel"][0])


def slopes(name, scores, key, progress=1.0, **options):
    method, trainable, frozen = made(name, scores, **options)
    grads = jax.grad(lambda t: method.apply(t, frozen, key, progress)["kernel"].sum())(trainable)
    return np.asarray(grads["scores"]["kernel"][0])


def penalty_and_slope(name, score, progress=1.0, **options):
    method, trainable, frozen = made(name, [score], penalty=1.0, **options)
    value, grads = jax.value_and_grad(method.penalty)(trainable, frozen, None, progress)
    return float(value), float(grads["scores"]["kernel"][0, 0])


def sampled(name, score, **options):
    """Many gates of one score, and their gradients."""
    scores = np.full(MANY, score)
    return (f(name, scores, KEY, **options) for f in (effective, slopes))


def within(found, expected, deviation):
    """Whether a mean over `MANY` lies within five standard errors."""
    return abs(found - expected) < 5 * deviation / MANY**0.5


# P(z != 0), P(0 < z < 1), E z, soft evaluation, slope of the penalty; by hand from the equations.
@pytest.mark.parametrize(
    ("name", "score", "open_", "inside", "mean", "soft", "slope"),
    [
        ("hard_concrete", 0.0, 0.83182, 0.66364, 0.5, 0.5, 0.13989),
        ("gaussian_gates", 0.5, 0.84134, 0.68269, 0.5, 0.5, 0.48394),
        ("gaussian_gates", 0.2, 0.65542, 0.60062, 0.30360, 0.2, None),
        ("gaussian_gates", 0.0, 0.5, 0.47725, 0.19523, 0.0, 0.79788),
    ],
)
def test_gates_of_one_score(name, score, open_, inside, mean, soft, slope):
    gates, gradients = sampled(name, score)
    assert within((gates != 0).mean(), open_, 0.5)
    assert within(((gates > 0) & (gates < 1)).mean(), inside, 0.5)
    assert within(gates.mean(), mean, 0.5)
    # The gradient is that of the sample: 0 where it is clipped, on average that of the mean.
    clipped = (gates == 0) | (gates == 1)
    np.testing.assert_array_equal(gradients[clipped], 0)
    assert np.all(gradients[~clipped] > 0)
    if name == "gaussian_gates":
        np.testing.assert_array_equal(gradients[~clipped], 1)
        assert norm.cdf((1 - score) / 0.5) - norm.cdf(-score / 0.5) == pytest.approx(
            inside, abs=1e-5
        )
    assert effective(name, [score], evaluation="soft")[0] == pytest.approx(soft, abs=1e-6)
    value, found = penalty_and_slope(name, score)
    assert value == pytest.approx(open_, abs=1e-5)
    if slope is not None:
        assert found == pytest.approx(slope, abs=1e-5)


def test_hard_concrete_gates_and_slopes_of_given_noise():
    uniform, scores = np.random.default_rng(0).uniform(0.01, 0.99, (2, 500))
    scores = 4 * scores - 2
    logits = (np.log(uniform) - np.log1p(-uniform) + scores) / (2 / 3)
    sigmoid = 1 / (1 + np.exp(-logits))
    stretched = 1.2 * sigmoid - 0.1
    arrays = (jnp.asarray(scores, jnp.float32), jnp.asarray(uniform, jnp.float32))
    gates = hard_concrete_gates(*arrays)
    np.testing.assert_allclose(gates, np.clip(stretched, 0, 1), atol=1e-5)
    grads = jax.grad(lambda s: hard_concrete_gates(s, arrays[1]).sum())(arrays[0])
    expected = np.where((stretched > 0) & (stretched < 1), 1.8 * sigmoid * (1 - sigmoid), 0)
    np.testing.assert_allclose(grads, expected, atol=1e-4)


def test_hard_concrete_evaluation_and_range():
    edge = -np.log(11)  # 1.2 sigmoid(s) = 0.1
    soft = effective("hard_concrete", [-3, edge - 1e-3, edge + 1e-2, 3], evaluation="soft")
    assert soft[0] == soft[1] == 0 < soft[2] and soft[3] == 1
    hard = effective("hard_concrete", [-3, -1e-6, 0, 1e-6, 3, np.nan])
    np.testing.assert_array_equal(hard, [0, 0, 0, 1, 1, 0])
    method, trainable, frozen = made("hard_concrete", [-9, 0.5, 9, np.inf])
    kept = method.project(trainable, frozen, 0.5)["scores"]["kernel"][0]
    np.testing.assert_allclose(kept, [np.log(0.01), 0.5, np.log(100), np.inf], rtol=1e-6)


def test_continuous_sparsification():
    assert [float(temperature(t, 200.0)) for t in (0, 0.5, 1, 2)] == pytest.approx(
        [1, 200**0.5, 200, 200], rel=1e-6
    )
    assert float(temperature(1.0, 200.0)) == 200
    for progress, steep in ((0.0, 1.0), (1.0, 200.0)):
        # At s = s0 = 0: a gate of 1, of slope B / 2.
        options = {"progress": progress, "key": KEY}
        assert effective("continuous_sparsification", [0.0], **options)[0] == 1
        assert slopes("continuous_sparsification", [0.0], **options)[0] == steep / 2
    # Steep gates are the ticket.
    scores, options = [-0.5, -0.2, 0.2, 0.5], {"start_score": 0.1, "final_temperature": 1e6}
    scale = 1 + np.exp(-0.1)
    for key in (KEY, None):
        found = effective("continuous_sparsification", scores, key, **options)
        np.testing.assert_allclose(found, [0, 0, scale, scale], rtol=1e-6)
    value, slope = penalty_and_slope("continuous_sparsification", 0.3, progress=0.5)
    sigmoid = 1 / (1 + np.exp(-(200**0.5) * 0.3))
    assert value == pytest.approx(2 * sigmoid, rel=1e-5)
    assert slope == pytest.approx(2 * 200**0.5 * sigmoid * (1 - sigmoid), rel=1e-4)


def test_signed_continuous():
    scores = np.array([-3.0, -1.0, -0.2, 0.0, 1.0, 1.7])
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    for progress, steep in ((0.0, 1.0), (0.5, 50**0.5), (1.0, 50.0)):
        up, down = sigmoid(steep * (scores - 1)), sigmoid(steep * (-scores - 1))
        options = {"key": KEY, "progress": progress}
        found = effective("signed_continuous", scores, **options)
        np.testing.assert_allclose(found, 2 / np.tanh(1) * (up - down), rtol=1e-5, atol=1e-6)
        slope = 2 / np.tanh(1) * steep * (up * (1 - up) + down * (1 - down))
        np.testing.assert_allclose(slopes("signed_continuous", scores, **options), slope, atol=1e-4)
        for i, score in enumerate(scores):
            value, _ = penalty_and_slope("signed_continuous", score, progress)
            assert value == pytest.approx(up[i] + down[i], abs=1e-6)
    # The network starts on the frozen weights, and ends on their multiples.
    start = effective("signed_continuous", [1.0, -1.0], KEY, progress=0.0)
    np.testing.assert_allclose(start, [1, -1], rtol=1e-6)
    found = effective("signed_continuous", [-1.1, -1, 0, 1, 1.1, np.nan]) * np.tanh(1) / 2
    np.testing.assert_allclose(found, [-1, 0, 0, 0, 1, 0], rtol=1e-6)


def test_signed_gates():
    gates, gradients = sampled("signed_gates", 0.3)
    inside = norm.cdf(0.7 / 0.5) - norm.cdf(-1.3 / 0.5)
    assert within(((gates > -1) & (gates < 1)).mean(), inside, 0.5)
    np.testing.assert_array_equal(gradients, (gates > -1) & (gates < 1))
    hard = effective("signed_gates", [-2, -0.5, -0.4, 0, 0.5, 0.6, np.nan])
    np.testing.assert_array_equal(hard, [-1, 0, 0, 0, 0, 1, 0])
    soft = effective("signed_gates", [-2, -0.4, 0.6], evaluation="soft")
    np.testing.assert_allclose(soft, [-1, -0.4, 0.6], rtol=1e-6)
    for score in (-1.2, 0.0, 0.3):
        chance = 1 - norm.cdf((0.5 - score) / 0.5) + norm.cdf((-0.5 - score) / 0.5)
        assert float(outside(jnp.float32(score), 0.5, 0.5)) == pytest.approx(chance, abs=1e-6)
        slope = (norm.pdf((score - 0.5) / 0.5) - norm.pdf((score + 0.5) / 0.5)) / 0.5
        value, found = penalty_and_slope("signed_gates", score)
        assert (value, found) == pytest.approx((chance, slope), abs=1e-5)


def test_gumbel_samples_the_same_masks_with_a_gradient_of_their_own():
    scores = np.random.default_rng(1).normal(size=300).astype("f4")
    noise = np.random.default_rng(2).logistic(size=300).astype("f4")
    value, pullback = jax.vjp(
        lambda s: gumbel_weights(jnp.full(300, 3.0), s, jnp.asarray(noise), 0.5),
        jnp.asarray(scores),
    )
    np.testing.assert_array_equal(value, np.where(scores + noise > 0, 3, 0))
    sigmoid = 1 / (1 + np.exp(-(scores + noise).astype(np.float64) / 0.5))
    expected = 3 * sigmoid * (1 - sigmoid) / 0.5
    np.testing.assert_allclose(pullback(jnp.ones(300))[0], expected, rtol=1e-3, atol=1e-6)
    # At a score of 0: kept half of the time, with a factor of 1/6 on average (the other's is 1/4).
    gates, gradients = sampled("bernoulli", 0.0, estimator="gumbel")
    assert within(gates.mean(), 0.5, 0.5)
    assert within(gradients.mean(), 1 / 6, 0.1)
    # The distribution is bernoulli's at other scores too.
    gates, _ = sampled("bernoulli", 1.3, estimator="gumbel")
    assert within(gates.mean(), 1 / (1 + np.exp(-1.3)), 0.5)
    for wrong, said in ({"estimator": "gumble"}, "did you mean 'gumbel'"), ({"tau": 0.0}, "tau"):
        with pytest.raises(UserError, match=said):
            methods.get("bernoulli", **wrong)


@pytest.mark.parametrize("name", GATES)
def test_evaluation_is_the_mask_and_has_no_gradient(name):
    method, trainable, frozen = made(name, [-3, -0.7, 0.7, 3], weights=[1, -2, 3, -4])
    mask = method.masks(trainable, frozen)["kernel"]
    scales = {"continuous_sparsification": 2, "signed_continuous": SCALE}
    scale = np.float32(scales.get(name, 1))
    np.testing.assert_array_equal(
        method.apply(trainable, frozen)["kernel"], scale * frozen["weights"]["kernel"] * mask
    )
    with pytest.raises(ValueError, match="give apply a key"):
        jax.grad(lambda t: method.apply(t, frozen)["kernel"].sum())(trainable)
    soft, *_ = made(name, [-3, -0.7, 0.7, 3], evaluation="soft")
    np.testing.assert_array_equal(soft.masks(trainable, frozen)["kernel"], mask)
    with pytest.raises(UserError, match="did you mean 'soft'"):
        methods.get(name, evaluation="sof")


@pytest.mark.parametrize("name", GATES)
def test_the_density_is_held(name):
    scores = np.random.default_rng(4).normal(size=1000)
    method, trainable, frozen = made(name, scores, density=0.1, start_density=0.5, anneal=0.5)
    for progress, kept in ((0.0, 500), (0.25, round(1000 * 0.05**0.5)), (0.5, 100), (1.0, 100)):
        projected = method.project(trainable, frozen, progress)
        mask = np.asarray(method.masks(projected, frozen)["kernel"])[0]
        assert np.count_nonzero(mask) == kept
        ranked = np.abs(scores) if name.startswith("signed") else scores
        assert ranked[mask != 0].min() > ranked[mask == 0].max()
    method, trainable, frozen = made(name, np.full(1000, 0.01), density=0.1)  # None is above.
    bound = method.project(trainable, frozen, 0.1)["scores"]["kernel"]
    few = {"signed_gates", "signed_continuous", "gaussian_gates"}
    assert (name in few) == bool(np.all(bound == np.float32(0.01)))


def test_shifting_moves_all_scores_alike():
    scores = {"a": jnp.array([3.0, 1.0]), "b": jnp.array([[2.0, -1.0, 0.0]])}
    found = shift_to_count(scores, 0.5, jnp.int32(2))
    np.testing.assert_allclose(found["a"], [2.0, 0.0])  # halfway between 2 and 1 is now 0.5
    np.testing.assert_allclose(found["b"], [[1.0, -2.0, -1.0]])
    same = shift_to_count(scores, 0.5, jnp.int32(4), only_down=True)
    np.testing.assert_array_equal(same["a"], scores["a"])


@pytest.mark.parametrize("name", GATES)
def test_one_factor_means_the_same_on_every_network(name):
    method = methods.get(name, penalty=2.0)
    found = []
    for width in (3, 30):
        trainable, frozen = method.init(jax.random.key(0), {"kernel": jnp.ones((width, 400))})
        scores = jax.tree.map(lambda s: jnp.full_like(s, 0.3), trainable["scores"])
        found.append(float(method.penalty({"scores": scores}, frozen, None, 0.5)))
    assert found[0] == pytest.approx(found[1], rel=1e-5) and found[0] > 0


@pytest.mark.parametrize("name", GATES)
def test_no_factor_is_no_penalty(name):
    assert methods.get(name, penalty=0.0).penalty is None
    with pytest.raises(ValueError, match="penalty must be finite and at least 0, got -1"):
        methods.get(name, penalty=-1.0)


def test_a_run_reports_it_beside_the_loss(tmp_path):
    config = tiny_config(epochs=1)
    config.method = {"name": "signed_gates", "penalty": 4.0}
    summary = experiment.run(config, tmp_path / "run", quiet=True)
    assert 0 < summary["penalty"] < 4
    assert "penalty" not in experiment.run(tiny_config(epochs=1), tmp_path / "other", quiet=True)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("gaussian_gates", {"sigma": 0.0}, "sigma must be finite and above 0"),
        ("signed_gates", {"sigma": -1.0}, "sigma must be finite and above 0"),
        ("signed_gates", {"cut": 1.0}, "cut must be in"),
        ("continuous_sparsification", {"final_temperature": 0.5}, "at least 1, got 0.5"),
        ("continuous_sparsification", {"start_score": 99.0}, "between -50 and 50"),
        ("hard_concrete", {"density": 2.0}, "density is a fraction"),
        ("hard_concrete", {"penalty": -1.0}, "penalty must be finite and at least 0, got -1"),
        ("hard_concrete", {"start_density": 0.0}, "start_density must be above 0"),
    ],
)
def test_impossible_options(name, options, said):
    with pytest.raises(UserError, match=said):
        methods.get(name, **options)
