"""What a method adds to the loss: in the gradient, in no number that is reported."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from helpers import assert_trees_close, assert_trees_equal
from method_helpers import batch, params, trainer_of

from supermask_jax import methods
from supermask_jax.core import initializers
from supermask_jax.core.masks import signed_mask, signed_weights
from supermask_jax.core.thresholds import absolute
from supermask_jax.core.trees import named_leaves, num_params
from supermask_jax.training.loop import make_train_step

BOUNDS = absolute(0.2).bounds(jnp.zeros(1))


def method_of(penalty_fn, **options):
    return methods.supermask(
        weights_fn=lambda w, s, context: signed_weights(w, s, BOUNDS),
        mask_fn=lambda s, context: signed_mask(s, BOUNDS),
        score_init=initializers.uniform("xavier"),
        penalty_fn=penalty_fn,
        **options,
    )


def squares(weights, scores, context):
    return 0.3 * jnp.sum(scores**2)


def after(method, microbatches=1, steps=3):
    """State after steps of plain descent at rate 1, and the losses."""
    trainer = trainer_of(method, optax.sgd(1.0), microbatches)
    state, frozen = trainer.create(jax.random.key(0))
    step, losses = jax.jit(make_train_step(trainer)), []
    for i in range(steps):
        state, loss = step(state, frozen, batch(i))
        losses.append(float(loss))
    return state, losses


def test_a_penalty_adds_its_gradient_and_nothing_to_the_loss():
    (plain, loss), (punished, same) = (after(method_of(f), steps=1) for f in (None, squares))
    assert loss == same
    assert_trees_equal(plain.sums, punished.sums)
    first = trainer_of(method_of(None), optax.sgd(1.0)).create(jax.random.key(0))[0].trainable
    weights = num_params(first["scores"])  # 6 x 8 + 8 x 3
    assert weights == 72
    expected = jax.tree.map(
        lambda s, s0: s - 2 * 0.3 * s0 / weights, plain.trainable["scores"], first["scores"]
    )
    assert_trees_close(punished.trainable["scores"], expected)
    assert_trees_equal(punished.trainable["params"], plain.trainable["params"])


def test_microbatches_count_it_once():
    found, expected = after(method_of(squares), 4), after(method_of(squares), 1)
    assert_trees_close(found[0].trainable, expected[0].trainable, rtol=1e-4)


def test_it_is_given_what_apply_is():
    seen = []

    def spy(weights, scores, context):
        seen.append((weights.shape, context.key is None, context.progress, context.shared))
        return jnp.float32(scores.size)

    method = method_of(spy, shared_fn=lambda scores, progress: jax.tree.map(jnp.shape, scores))
    trainable, frozen = method.init(jax.random.key(0), {"a": {"kernel": jnp.ones((4, 5))}})
    found = method.penalty(trainable, frozen, jax.random.key(1), 0.25)
    assert float(found) == 1  # a sum over the weights, divided by their number
    assert seen[0][:3] == ((4, 5), False, 0.25)
    method.penalty(trainable, frozen)
    assert seen[1][1:3] == (True, 1.0)


def test_weights_of_integers_beside_it_need_no_gradient():
    def init(key):
        return params(key) | {"shift": jnp.array([3, 1, 2])}

    trainer = trainer_of(method_of(squares), optax.sgd(1.0), init=init)
    state, frozen = trainer.create(jax.random.key(0))
    grads = jax.grad(trainer.method.penalty, allow_int=True)(state.trainable, frozen)
    scores = named_leaves(grads["scores"])
    assert all(np.any(leaf) for leaf in scores.values())
