"""Gem-miner: closed forms, the counts of rounds, what is removed stays removed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from supermask_jax import methods
from supermask_jax.methods.gem_miner import REMOVED, counts_left

PARAMS = {"a": {"kernel": jnp.ones((20, 30))}, "b": {"kernel": jnp.full((30, 8), 2.0)}}
SIZE = 840


def made(scores=None, **options):
    """Returns (method, trainable, frozen), of one layer with these scores if they are given."""
    params = PARAMS
    if scores is not None:
        scores = jnp.float32([scores])
        options["score_init"] = lambda key, shape, dtype: scores
        params = {"a": {"kernel": jnp.ones(scores.shape)}}
    method = methods.gem_miner(**options)
    return method, *method.init(jax.random.key(0), params)


def values(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def test_rounds_leave_what_the_paper_says():
    np.testing.assert_array_equal(
        counts_left(100_000, 0.05, 10)[[0, 1, 5, 10]], [100_000, 74_113, 22_360, 5_000]
    )


def test_the_lowest_of_the_network_are_removed_for_good():
    method, trainable, frozen = made(density=0.1, rounds=4, anneal=1.0)
    before, dead = values(trainable["scores"]), np.zeros(SIZE, bool)
    for progress in (0.0, 0.2, 0.25, 0.6, 1.0):
        trainable = method.project(trainable, frozen, progress)
        scores = values(trainable["scores"])
        left = int(SIZE * 0.1 ** (int(progress * 4) / 4))
        assert (scores != REMOVED).sum() == left
        assert not (dead & (scores != REMOVED)).any()
        np.testing.assert_array_equal(np.sort(scores)[-left:], np.sort(before)[-left:])
        dead = scores == REMOVED
        np.testing.assert_allclose(method.report(trainable, frozen)["alive"], left / SIZE)
    # Whatever an optimiser does to them in a step.
    pushed = jax.tree.map(lambda s: s + 3.0, trainable["scores"])
    again = values(method.project({**trainable, "scores": pushed}, frozen, 1.0)["scores"])
    np.testing.assert_array_equal(again == REMOVED, dead)
    masks = values(method.masks({**trainable, "scores": pushed}, frozen))
    assert not (masks[dead] != 0).any()


def test_scores_are_rounded_clipped_and_penalised():
    above = np.nextafter(np.float32(0.5), np.float32(1))
    method, trainable, frozen = made([0.5, above, 1.5, REMOVED], penalty=2.0)
    np.testing.assert_array_equal(method.masks(trainable, frozen)["a"]["kernel"][0], [0, 1, 1, 0])
    loss, grads = jax.value_and_grad(method.penalty)(trainable, frozen)
    np.testing.assert_allclose(loss, 2 * (0.25 + 0.25 + 2.25) / 4, rtol=1e-6)
    # As a coupled decay of twice the factor would have it, but for what is removed.
    np.testing.assert_allclose(grads["scores"]["a"]["kernel"][0], [0.5, 0.5, 1.5, 0], rtol=1e-6)
    projected = method.project(trainable, frozen, 0.0)["scores"]["a"]["kernel"][0]
    np.testing.assert_array_equal(projected, [0.5, above, 1, REMOVED])


def test_first_scores_lie_between_0_and_1():
    scores = values(made()[1]["scores"])
    assert 0 <= scores.min() < 0.1 and 0.9 < scores.max() <= 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"density": 0.0}, "density must be above 0"),
        ({"rounds": 0}, "rounds must be at least 1"),
        ({"anneal": 0.0}, "anneal must be above 0"),
        ({"penalty": -1.0}, "penalty must be finite"),
    ],
)
def test_what_cannot_be_is_said(options, said):
    with pytest.raises(ValueError, match=said):
        methods.get("gem_miner", **options)
