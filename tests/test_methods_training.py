"""Every method in training: the properties of a step that all of them share."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_trees_close, assert_trees_equal
from method_helpers import apply_fn, batch, every_method, make

from supermask_jax.training import optimizers
from supermask_jax.training.state import blemish


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


@every_method
def test_one_compilation_serves_all_steps(name):
    _, state, frozen, step = make(name)
    jitted = jax.jit(step)
    for i in range(3):
        state, _ = jitted(state, frozen, batch(i))
    assert jitted._cache_size() == 1


@pytest.mark.parametrize("microbatches", [1, 2])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@every_method
def test_a_step_in_half_precision_keeps_every_dtype(name, dtype, microbatches):
    _, state, frozen, step = make(name, dtype=dtype, microbatches=microbatches)
    after, loss = jax.eval_shape(step, state, frozen, batch())
    assert jax.tree.map(lambda x: x.dtype, after) == jax.tree.map(lambda x: x.dtype, state)
    assert loss.dtype == jnp.float32


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
def test_what_is_not_finite_stays_in_the_state_of_its_seed(name):
    """No method hides it from `blemish`: not by its masks, nor by what it projects."""
    states, frozens, steps = zip(*[make(name, seed)[1:] for seed in (0, 1)], strict=True)
    for part in set(states[0].trainable) & {"scores", "params"}:
        leaves, treedef = jax.tree.flatten(states[0].trainable[part])
        spoiled = treedef.unflatten([leaf.at[..., 0].set(jnp.inf) for leaf in leaves])
        bad = states[0].replace(trainable=states[0].trainable | {part: spoiled})
        both = jax.tree.map(lambda *x: jnp.stack(x), bad, states[1])
        frozen = jax.tree.map(lambda *x: jnp.stack(x), *frozens)
        after, _ = jax.jit(jax.vmap(steps[0], in_axes=(0, 0, None)))(both, frozen, batch())
        assert np.isfinite(jax.vmap(blemish)(after)).tolist() == [False, True]
        assert not np.isfinite(blemish(jax.tree.map(lambda x: x[0], after)))


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
    tx = optimizers.sgdw(0.5, weight_decay=1e-2)
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
