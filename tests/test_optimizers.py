"""SGDW against steps worked by hand and in float64; schedules against their formulas."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from supermask_jax.errors import UserError
from supermask_jax.training import optimizers, schedules


def run(tx, start, grads):
    params, state = jnp.asarray(start, jnp.float32), None
    state = tx.init(params)
    path = []
    for grad in grads:
        updates, state = tx.update(jnp.asarray(grad, jnp.float32), state, params)
        params = optax.apply_updates(params, updates)
        path.append(np.asarray(params))
    return path


def test_sgdw_two_nesterov_steps_worked_by_hand():
    # s = 1, g = 2 then -1, rate 0.1, decay 0.01, momentum 0.9, factor 1 then 0.5.
    # Step 0: s = 0.99; a = -0.2; s += 0.9 * -0.2 - 0.2 = -0.38 -> 0.61.
    # Step 1: s = 0.61 * (1 - 0.005) = 0.60695; a = 0.9 * -0.2 + 0.05 = -0.13;
    #         s += 0.9 * -0.13 + 0.05 = -0.067 -> 0.53995.
    tx = optimizers.sgdw(lambda t: 0.1 * 0.5**t, lambda t: 0.01 * 0.5**t)
    np.testing.assert_allclose(run(tx, 1.0, [2.0, -1.0]), [0.61, 0.53995], rtol=1e-6)


def test_sgdw_plain_momentum_worked_by_hand():
    # a = -0.2, s = 0.99 - 0.2 = 0.79; then a = -0.18 + 0.1 = -0.08, s = 0.7821 - 0.08 = 0.7021.
    tx = optimizers.sgdw(0.1, 0.01, nesterov=False)
    np.testing.assert_allclose(run(tx, 1.0, [2.0, -1.0]), [0.79, 0.7021], rtol=1e-6)


@pytest.mark.parametrize("nesterov", [True, False])
def test_sgdw_follows_float64_for_many_steps(nesterov):
    rng = np.random.default_rng(0)
    start, grads = rng.normal(size=(4, 3)), rng.normal(size=(50, 4, 3))
    factor = schedules.exponential(epochs=10, rate=0.9, every=2.0)
    tx = optimizers.get(
        "sgdw", lambda t: factor(t / 5), learning_rate=0.05, weight_decay=5e-4, nesterov=nesterov
    )
    s, a = start.copy(), np.zeros((4, 3))
    for t, g in enumerate(grads):
        f = 0.9 ** (t / 5 / 2)
        s -= 5e-4 * f * s
        a = 0.9 * a - 0.05 * f * g
        s += 0.9 * a - 0.05 * f * g if nesterov else a
    np.testing.assert_allclose(run(tx, start, grads)[-1], s, rtol=1e-5, atol=1e-6)


def test_sgdw_decay_is_not_multiplied_by_the_rate():
    tx = optimizers.sgdw(0.0, weight_decay=0.1)
    np.testing.assert_allclose(run(tx, 1.0, [0.0, 0.0]), [0.9, 0.81], rtol=1e-6)


def test_sgdw_takes_a_number_or_a_schedule_for_rate_and_decay_each():
    # s <- (1 - decay) s - rate: 0.8 first; then 0.9 * 0.8 - 0.05, or 0.95 * 0.8 - 0.1.
    def halved(count):
        return 0.1 * 0.5**count

    for rate, decay, last in ((halved, 0.1, 0.67), (0.1, halved, 0.66)):
        tx = optimizers.sgdw(rate, decay, momentum=0.0)
        np.testing.assert_allclose(run(tx, 1.0, [1.0, 1.0]), [0.8, last], rtol=1e-6)
        # As optax has it for its own, whose numbers then are in the state.
        tx = optax.inject_hyperparams(optimizers.sgdw)(rate, decay, momentum=0.0)
        np.testing.assert_allclose(run(tx, 1.0, [1.0, 1.0]), [0.8, last], rtol=1e-6)


def test_sgdw_needs_params():
    tx = optimizers.sgdw(0.1)
    with pytest.raises(ValueError, match="needs them"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))


def test_sgd_couples_its_decay_as_pytorch_does():
    # g' = 2 + 0.1 * 1 = 2.1, b = 2.1, s = 1 - 0.21 = 0.79;
    # g' = -1 + 0.079 = -0.921, b = 0.9 * 2.1 - 0.921 = 0.969, s = 0.79 - 0.0969 = 0.6931.
    tx = optimizers.sgd(lambda t: 1.0, learning_rate=0.1, weight_decay=0.1)
    np.testing.assert_allclose(run(tx, 1.0, [2.0, -1.0]), [0.79, 0.6931], rtol=1e-6)


NAN, INF = float("nan"), float("inf")
IMPOSSIBLE = {
    "learning_rate": [NAN, INF, -0.1, 1e39],  # The last is infinite in float32.
    "weight_decay": [NAN, INF, -1e-4],
    "momentum": [NAN, 3.0, 1.0, -0.5],
    "b1": [NAN, 1.0],
    "b2": [NAN, 1.5],
    "eps": [NAN, INF, -1e-8],
}


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_impossible_numbers_are_one_line(name):
    takes, refused = inspect.signature(optimizers.OPTIMIZERS[name]).parameters, 0
    for option, values in IMPOSSIBLE.items():
        for value in values if option in takes else ():
            options = {"learning_rate": 0.1, option: value}
            with pytest.raises(UserError) as error:
                optimizers.get(name, lambda t: 1.0, **options)
            assert str(error.value).startswith(f"optimizer '{name}': {option} must be ")
            assert str(error.value).endswith(f", got {value}")
            refused += 1
    assert refused >= 9
    with pytest.raises(ValueError, match="momentum must be at least 0 and below 1, got 3"):
        optimizers.sgdw(0.1, momentum=3)


@pytest.mark.parametrize("name", ["adam", "adamw", "rmsprop"])
def test_optax_optimisers_scale_with_the_schedule(name):
    options = {"weight_decay": 0.0} if name == "adamw" else {}
    full = optimizers.get(name, lambda t: 1.0, learning_rate=0.1, **options)
    half = optimizers.get(name, lambda t: 0.5, learning_rate=0.1, **options)
    move = [1.0 - run(tx, 1.0, [2.0])[0] for tx in (full, half)]
    assert move[0] > 0.05
    np.testing.assert_allclose(move[1], move[0] / 2, rtol=1e-5)


def test_adam_first_step_is_the_learning_rate():
    np.testing.assert_allclose(
        run(optimizers.adam(lambda t: 1.0, learning_rate=0.1), 1.0, [3.0]), [0.9], rtol=1e-5
    )


def test_adam_of_tensorflow_adds_eps_before_the_correction():
    # g = 1e-7: m = 1e-8, v = 1e-17. The original: sqrt(0.001) / 0.1 * 1e-8 / (3.16228e-9 + 1e-8)
    # = 0.240253 of the rate; with eps after the correction 1e-7 / (1e-7 + 1e-8) = 0.909091.
    for before, move in ((True, 0.240253), (False, 0.909091)):
        tx = optimizers.get("adam", lambda t: 0.5, learning_rate=0.2, eps_before_correction=before)
        np.testing.assert_allclose(run(tx, 0.0, [1e-7]), [-0.1 * move], rtol=1e-4)
    # Then g = -2e-7: m = 0.9 * 1e-8 - 2e-8 = -1.1e-8, v = 0.999e-17 + 4e-17 = 4.999e-17;
    # sqrt(1 - 0.998001) / 0.19 = 0.235315; 0.235315 * -1.1e-8 / (7.0704e-9 + 1e-8) = -0.151632.
    tx = optimizers.get("adam", lambda t: 1.0, learning_rate=1.0, eps_before_correction=True)
    np.testing.assert_allclose(
        run(tx, 0.0, [1e-7, -2e-7]), [-0.240253, -0.240253 + 0.151632], rtol=1e-4
    )


@pytest.mark.parametrize(
    ("name", "options", "epochs", "expected"),
    [
        ("constant", {}, [0, 3.5, 100], [1, 1, 1]),
        ("exponential", {}, [0, 5, 10, 100], [1, 0.9**0.5, 0.9, 0.9**10]),
        ("exponential", {"rate": 0.96, "every": 2.0, "staircase": True}, [1.99, 2], [1, 0.96]),
        ("cosine", {}, [0, 25, 50, 100, 101], [1, 0.853553, 0.5, 0, 0]),
        ("cosine", {"per_epoch": True}, [0.9, 50.9], [1, 0.5]),
        ("cosine", {"warmup": 20.0}, [0, 5, 20, 60, 100], [0, 0.25, 1, 0.5, 0]),
        # (epoch + 1) / 5, and from epoch 5 on a cosine over 95 epochs, as edge-popup's code.
        (
            "cosine",
            {"per_epoch": True, "warmup": 5.0},
            [0.9, 4.5, 5.5, 52.5],
            [0.2, 1, 1, 0.508267],
        ),
        ("milestones", {}, [0, 29.99, 30, 60, 80, 100], [1, 1, 0.1, 0.01, 1e-3, 1e-3]),
        (
            "milestones",
            {"at": (2, 4), "rate": 0.5, "warmup": 2.0},
            [0, 1, 2, 4],
            [0, 0.5, 0.5, 0.25],
        ),
    ],
)
def test_schedules(name, options, epochs, expected):
    factor = schedules.get(name, epochs=100, **options)
    found = [float(factor(jnp.float32(e))) for e in epochs]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("steps_per_epoch", [55, 391, 469, 917])
def test_stairs_fall_at_the_exact_step(steps_per_epoch):
    factor = schedules.cosine(epochs=100, per_epoch=True)
    stairs = jax.jit(jax.vmap(lambda step: factor(step / steps_per_epoch)))
    found = np.asarray(stairs(jnp.arange(60 * steps_per_epoch)))
    expected = 0.5 * (1 + np.cos(np.pi * (np.arange(found.size) // steps_per_epoch) / 100))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_errors():
    with pytest.raises(UserError, match="unknown schedule 'cosin': did you mean 'cosine'"):
        schedules.get("cosin", epochs=1)
    with pytest.raises(UserError, match="must be positive"):
        schedules.get("exponential", epochs=1, every=0.0)
    with pytest.raises(UserError, match="warmup must be from 0 to less than 5 epochs, got 5"):
        schedules.get("cosine", epochs=5, warmup=5.0)
    with pytest.raises(UserError, match="at ascending epochs"):
        schedules.get("milestones", epochs=5, at=(4, 2))
    with pytest.raises(UserError, match="has no option 'weight_decay'"):
        optimizers.get("adam", lambda t: 1.0, learning_rate=0.1, weight_decay=0.1)
    with pytest.raises(UserError, match="learning_rate"):
        optimizers.get("sgdw", lambda t: 1.0)
