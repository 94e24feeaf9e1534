"""Masks of N of every M weights: closed form, counts on the way, layers that do not fit."""

import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supermask_jax import experiment, methods
from supermask_jax.config.files import load_with_overrides
from supermask_jax.core.order import group_topk_mask
from supermask_jax.core.trees import named_leaves
from supermask_jax.errors import UserError

NAMES = ("edge_popup", "signed_topk", "biprop")
VALUES = st.sampled_from([-2.0, -1.0, -0.0, 0.0, 0.5, 1.0, float("nan"), float("inf")])
mask_of = jax.jit(group_topk_mask, static_argnames="size")


def test_two_of_four_worked_by_hand():
    scores = jnp.float32([[1, 0, 3], [2, 0, -3], [3, 0, jnp.nan], [4, 0, -1]])
    expected = [[0, 1, 1], [0, 1, 0], [1, 0, 0], [1, 0, 1]]  # Ties: the lower index.
    np.testing.assert_array_equal(mask_of(scores, 2, 4), expected)
    kernel = jnp.tile(scores, (3, 5, 2, 1))  # [3, 5, 8, 3]: groups of channels, pixel by pixel
    np.testing.assert_array_equal(mask_of(kernel, 2, 4), np.tile(expected, (3, 5, 2, 1)))


@given(hnp.arrays(np.float32, (8, 3), elements=VALUES), st.integers(-1, 5))
def test_every_group_keeps_its_k_largest(scores, k):
    mask = np.asarray(mask_of(jnp.asarray(scores), k, 4))
    for group, found in zip(scores.reshape(2, 4, 3), mask.reshape(2, 4, 3), strict=True):
        for column, own in zip(group.T, found.T, strict=True):
            order = sorted(range(4), key=lambda i: (np.isnan(column[i]), -column[i]))
            assert np.flatnonzero(own).tolist() == sorted(order[: max(0, k)])


def state_of(method):
    params = {"a": {"kernel": jnp.ones((8, 6))}, "b": {"kernel": jnp.ones((3, 3, 4, 5))}}
    return method.init(jax.random.key(0), params)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("scope", "kept"), [("2:4", 2), ("1:4", 1), ("4:4", 4)])
def test_masks_are_patterns_on_the_axis_of_inputs(name, scope, kept):
    method = methods.get(name, scope=scope)
    trainable, frozen = state_of(method)
    masks = named_leaves(method.masks(trainable, frozen))
    for mask in masks.values():
        groups = np.moveaxis(np.asarray(mask) != 0, -2, -1).reshape(-1, 4)
        np.testing.assert_array_equal(groups.sum(1), kept)


def test_the_count_of_a_group_falls_on_the_ramp():
    method = methods.signed_topk(scope="1:4", anneal=0.5)
    trainable, frozen = state_of(method)

    def share(progress):
        masks = jax.tree.leaves(method.masks(trainable, frozen, None, progress))
        return [float(np.mean(np.asarray(mask) != 0)) for mask in masks]

    # 1 + round(3 (1 - 2 p)^3): 3 at 0, 1.27 at 0.125, 0.375 at 0.25.
    for progress, kept in ((0.0, 4), (0.125, 2), (0.25, 1), (1.0, 1)):
        assert share(progress) == [kept / 4] * 2


def test_a_flag_chooses_the_pattern():
    config = load_with_overrides("signed_topk:fcn", ["--config.method.scope=2:4"])
    job = experiment.build(config)
    state, frozen = job.start()
    ((trainable, frozen),) = job.layout.seeds_of((state.trainable, frozen))
    masks = jax.tree.leaves(job.method.masks(trainable, frozen))
    assert [float(np.mean(mask != 0)) for mask in masks] == [0.5] * 3


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--config.method.scope=0:4"], "keeps N of every M weights"),
        (["--config.method.scope=1:65"], "M up to 64"),
        (["--config.method.scope=2:4x"], "unknown scope '2:4x': did you mean '2:4'"),
        (["--config.method.scope=2:7"], "'dense2/kernel': the inputs of a layer of shape"),
        (["--config.method.scope=2:4", "--config.source.lock=0.1"], "locked weights break"),
    ],
)
def test_what_cannot_be_is_one_line(flags, said):
    with pytest.raises(UserError, match=said) as caught:
        experiment.build(load_with_overrides("edge_popup:fcn", flags))
    assert "\n" not in str(caught.value)
