"""The plateau controller against a plain Python one, over random and adversarial losses."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_trees_equal

from supermask_jax.training import optimizers
from supermask_jax.training.plateau import PlateauState, plateau, stopped

UNIT = 2**-10  # Losses and min_delta are multiples of it, so that float32 and Python agree on ties.


def reference(
    losses, *, patience, reductions, factor, cooldown, start, min_delta, original_quirks=False
):
    """Returns (factor, stopped) after every epoch, by lists and slices as METHODS 1.4 has them."""
    history, scale, wait, cooling, done, found = [], 1.0, 0, 0, 0, []
    for epoch, loss in enumerate(losses):
        history.append(math.inf if math.isnan(loss) else float(loss))
        if epoch >= start and done < reductions:
            if original_quirks:
                window = history[-patience + 1 : -1]
            else:
                window = history[-patience - 1 : -1]
            if cooling > 0:
                cooling -= 1
            elif history[-1] + min_delta < min(window, default=math.inf):
                wait = wait if original_quirks else 0
            else:
                wait += 1
                if wait > patience:
                    scale, cooling, done = scale * factor, cooldown, done + 1
                    wait = wait if original_quirks else 0
        found.append((scale, done == reductions))
    return found


def sequences(epochs):
    """Mean losses of many runs, [runs, epochs], all multiples of `UNIT`."""
    rng = np.random.default_rng(0)
    t = np.arange(epochs)
    rows = [np.full(epochs, 700), t * 0, 5000 - t, 5000 - 2 * t, t, 5000 - 2 * (t // 5), t % 7]
    rows += [5000 - 2 * (t % period == 0) * t for period in (2, 3, 4, 5, 6, 7, 8)]
    rows += [np.where(t == spike, 0, 3000) for spike in (0, 5, 10, 11)]
    rows += [2000 + np.cumsum(rng.integers(-2, 3, epochs)) for _ in range(12)]
    rows += [2000 + rng.integers(-9, 10, epochs) - (t * slope) // 4 for slope in range(12)]
    losses = np.stack(rows).astype(np.float64) * UNIT
    bad = losses[-4:].copy()
    bad[rng.random(bad.shape) < 0.1] = np.nan
    bad[rng.random(bad.shape) < 0.1] = np.inf
    return np.concatenate([losses, bad])


OPTIONS = {
    "published": dict(patience=15, reductions=5, factor=0.2, cooldown=10, start=10),
    "short": dict(patience=3, reductions=4, factor=0.5, cooldown=2, start=1),
    "from the first epoch": dict(patience=4, reductions=2, factor=0.1, cooldown=0, start=0),
    "endless": dict(patience=5, reductions=1000, factor=0.9, cooldown=3, start=7),
}


def make(steps_per_epoch=3, **options):
    def make_tx(factor):
        return optimizers.get("sgdw", factor, learning_rate=0.1, weight_decay=0.01, momentum=0.0)

    return plateau(make_tx, steps_per_epoch=steps_per_epoch, **options)


def run(tx, losses):
    """Feeds the losses [epochs] in three steps each; returns (factor, stopped) after every step."""

    def step(carry, value):
        params, state = carry
        updates, state = tx.update({"w": jnp.ones(2)}, state, params, value=value)
        return (optax.apply_updates(params, updates), state), (state.factor, state.stopped)

    params = {"w": jnp.ones(2)}
    spread = (jnp.arange(len(losses)) * 5 % 11)[:, None] * jnp.array([[-UNIT, 0.0, UNIT]])
    values = (losses[:, None] + spread).reshape(-1)  # Only their mean is the loss.
    return jax.lax.scan(step, (params, tx.init(params)), values)[1]


@pytest.mark.parametrize("original_quirks", [False, True])
@pytest.mark.parametrize("name", OPTIONS)
def test_it_does_as_the_plain_one_under_jit_and_for_many_runs_at_once(name, original_quirks):
    options = OPTIONS[name] | {"min_delta": UNIT, "original_quirks": original_quirks}
    losses = sequences(epochs=130)
    tx = make(**options)
    batched = jax.jit(jax.vmap(lambda row: run(tx, row)))
    factors, flags = batched(jnp.asarray(losses, jnp.float32))
    expected = [reference(row, **options) for row in losses]
    wanted_factors, wanted_flags = np.moveaxis(np.array(expected), -1, 0)
    # What the last step of each epoch leaves; the two before it leave what was there.
    np.testing.assert_allclose(factors[:, 2::3], wanted_factors, rtol=1e-4)
    np.testing.assert_array_equal(flags[:, 2::3], wanted_flags)
    np.testing.assert_array_equal(factors[:, 3::3], factors[:, 2:-1:3])
    np.testing.assert_array_equal(factors[:, 4::3], factors[:, 2:-1:3])
    assert len(np.unique(wanted_factors)) > 2  # The losses did set it off.


def epochs_of_reductions(losses, **options):
    factors, _ = jax.jit(lambda row: run(make(**options), row))(jnp.asarray(losses, jnp.float32))
    factors = np.concatenate([[1], factors[2::3]])
    return np.flatnonzero(np.diff(factors)).tolist()


def test_the_first_reductions_worked_by_hand():
    constant = np.ones(120)
    # First compared in epoch 10, the 16th wait in epoch 25; cooldown 26 ... 35; waits 36 ... 51.
    assert epochs_of_reductions(constant) == [25, 51, 77, 103]
    # The waits are 17, 18, ... in epochs 36, 47, ...: one reduction after each cooldown.
    assert epochs_of_reductions(constant, original_quirks=True) == [25, 36, 47, 58, 69]
    # Falling fast enough, never; falling by less than min_delta over the window, as if constant.
    assert epochs_of_reductions(2 - np.arange(120) * 0.01) == []
    assert epochs_of_reductions(2 - np.arange(120) * 6e-6) == [25, 51, 77, 103]


def test_the_window_is_the_documented_one():
    """A loss of 0.5 among ones is an improvement once the 0 before it has left the window."""

    def first_reduction(dip, later, **options):
        losses = np.ones(40)
        losses[dip], losses[later] = 0.0, 0.5
        [epoch] = epochs_of_reductions(
            losses, patience=6, cooldown=0, start=0, reductions=1, **options
        )
        return epoch

    # Six epochs: in epoch 11 the 0 still counts, and epoch 12 is the seventh wait.
    assert first_reduction(5, 11) == 12
    # In epoch 12 it is gone; the wait begins anew, and ends in 19.
    assert first_reduction(5, 12) == 19
    # As the original has it, four epochs, and waits 1 (epoch 1), 2 (3), ... 7 (8).
    assert first_reduction(2, 6, original_quirks=True) == 8
    assert first_reduction(2, 7, original_quirks=True) == 9


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_every_optimiser_follows_the_factor(name):
    """The same updates as those of an optimiser that is told the factors beforehand."""
    # Epochs of equal losses: one better than none, waits 1, 2, 3, and 4, which is too many.
    factors = jnp.array([1.0] * 10 + [0.5] * 4)

    def make_tx(factor):
        return optimizers.get(name, factor, learning_rate=0.1)

    tx = plateau(
        make_tx, steps_per_epoch=2, patience=3, reductions=2, factor=0.5, cooldown=9, start=0
    )
    told = make_tx(lambda count: factors[count])
    params = wanted = {"w": jnp.array([1.0, -2.0])}
    state, told_state = tx.init(params), told.init(params)
    update, told_update = jax.jit(tx.update), jax.jit(told.update)
    for t in range(14):
        grads = {"w": jnp.array([math.sin(t), 1.0])}
        updates, state = update(grads, state, params, value=0.5 + (t % 2))
        expected, told_state = told_update(grads, told_state, wanted)
        np.testing.assert_allclose(updates["w"], expected["w"], rtol=1e-5)
        params, wanted = optax.apply_updates(params, updates), optax.apply_updates(wanted, expected)
    assert float(state.factor) == 0.5


def test_a_run_saved_inside_an_epoch_goes_on_as_if_nothing_had_been():
    tx = make(patience=3, start=1, cooldown=1, reductions=3)
    params = {"w": jnp.ones(2)}
    update = jax.jit(tx.update, donate_argnums=1)
    states = [tx.init(params), tx.init(params)]
    for t in range(40):
        value = 1.0 - (t < 9) * t / 10
        if t % 7 == 4:  # As a checkpoint: leaves as NumPy arrays, structure from a fresh state.
            leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(states[1])]
            like = jax.tree.structure(tx.init(params))
            states[1] = jax.tree.map(jnp.asarray, jax.tree.unflatten(like, leaves))
        states = [update(params, state, params, value=value)[1] for state in states]
        shapes = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), states[0])
        assert shapes == jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tx.init(params))
    assert_trees_equal(*states)
    assert int(states[0].reductions) == 2 and int(states[0].epoch) == 13


def test_stopped_is_found_wherever_it_is():
    params = {"w": jnp.ones(2)}
    tx = make(steps_per_epoch=1, patience=3, reductions=1, start=0, cooldown=0)
    outer = optax.chain(optax.clip_by_global_norm(1.0), optax.masked(tx, {"w": True}))
    assert stopped(optimizers.get("adam", lambda t: 1.0, learning_rate=0.1).init(params)) is None
    state, flags, update = outer.init(params), [], jax.jit(outer.update)
    for _ in range(8):
        _, state = update(params, state, params, value=1.0)
        flags.append(bool(stopped(state)))
    assert flags == [False] * 4 + [True] * 4  # The first epoch beats nothing at all.
    many = jax.vmap(tx.init)({"w": jnp.ones((3, 2))})
    assert stopped(many).shape == (3,) and isinstance(many, PlateauState)


def test_other_arguments_reach_the_optimiser():
    def make_tx(factor):
        def update(grads, state, params=None, *, value, extra):
            return jax.tree.map(lambda g: g * value * extra, grads), state

        return optax.GradientTransformationExtraArgs(lambda params: (), update)

    tx = plateau(make_tx, steps_per_epoch=2)
    updates, _ = tx.update(jnp.ones(2), tx.init(jnp.ones(2)), value=3.0, extra=2.0)
    np.testing.assert_array_equal(updates, [6, 6])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patience": 2}, "patience must be at least 3 epochs, got 2"),
        ({"factor": math.nan}, "factor must lie between 0 and 1"),
        ({"reductions": 0}, "reductions must be at least 1, got 3 and 0"),
        ({"cooldown": -1}, "must be 0 or more, got -1, 10 and 0.0001"),
        ({"min_delta": math.nan}, "must be 0 or more"),
    ],
)
def test_impossible_options(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_the_loss_is_a_single_number():
    tx = make()
    params = {"w": jnp.ones(2)}
    with pytest.raises(ValueError, match=r"mean loss of the step, got shape \(4,\)"):
        tx.update(params, tx.init(params), params, value=jnp.ones(4))
