"""Initialisers, trees and statistics."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_trees_equal
from scipy.stats import kstest, truncnorm

from supermask_jax import methods
from supermask_jax.core import initializers, stats, thresholds, trees
from supermask_jax.errors import UserError
from supermask_jax.lottery.levels import next_level, unpruned
from supermask_jax.lottery.recipes import Recipe

# (shape, std) by scale, from the table of the papers' networks, to the digits it gives.
CONSTANTS = [
    ((784, 300), "he", 0.05051),
    ((784, 300), "elus_sqrt3", 0.06186),
    ((784, 300), "elus_sqrt6", 0.08748),
    ((3, 3, 3, 64), "he", 0.27217),
    ((3, 3, 64, 64), "elus_sqrt3", 0.07217),
    ((16384, 256), "elus_sqrt6", 0.01914),
    ((1, 1, 16, 16), "he", 0.35355),
]
XAVIER_BOUNDS = [((784, 300), 0.07440), ((3, 3, 3, 64), 0.09975), ((16384, 256), 0.01899)]


@pytest.mark.parametrize(("shape", "scale", "constant"), CONSTANTS)
def test_signed_constants_of_the_papers(shape, scale, constant):
    weights = initializers.signed_constant(scale)(jax.random.key(0), shape)
    magnitudes = np.unique(np.abs(weights))
    assert magnitudes.size == 1
    assert magnitudes[0] == pytest.approx(constant, abs=6e-6)
    assert abs(float(jnp.mean(weights > 0)) - 0.5) < 5 / math.sqrt(weights.size)


@pytest.mark.parametrize(("shape", "bound"), XAVIER_BOUNDS)
def test_xavier_bounds_of_the_papers(shape, bound):
    scores = initializers.uniform("xavier")(jax.random.key(0), shape)
    assert float(jnp.max(jnp.abs(scores))) <= bound + 1e-5
    assert float(jnp.max(jnp.abs(scores))) > 0.99 * bound


@pytest.mark.parametrize(
    "distribution", ["uniform", "normal", "truncated_normal", "constant", "signed_constant"]
)
@pytest.mark.parametrize(
    ("scale", "variance"), [("he", 2 / 400), ("elu", 1.5 / 400), ("xavier", 2 / 700), ("unit", 1.0)]
)
def test_second_moment(distribution, scale, variance):
    init = initializers.get(distribution, scale=scale, gain=2.0)
    weights = init(jax.random.key(1), (400, 300))
    assert weights.dtype == jnp.float32
    assert float(jnp.mean(weights**2)) == pytest.approx(4 * variance, rel=0.02)


def test_a_truncated_normal_ends_at_twice_its_own_deviation():
    weights = np.asarray(initializers.named("unit_truncated_normal")(jax.random.key(0), (300, 300)))
    own = truncnorm(-2, 2).std()
    assert 0.99 < np.abs(weights).max() / (2 / own) <= 1
    assert kstest(weights.ravel(), truncnorm(-2, 2, scale=1 / own).cdf).pvalue > 0.01
    assert truncnorm(-2, 2, scale=1 / own).std() == pytest.approx(1)


def test_normal_is_normal_and_constant_positive():
    weights = np.asarray(initializers.normal("unit")(jax.random.key(0), (300, 300)))
    assert np.mean(weights**4) == pytest.approx(3, rel=0.05)
    assert np.asarray(initializers.constant("he")(jax.random.key(0), (4, 4))).min() > 0


def test_initializer_errors():
    with pytest.raises(UserError, match="did you mean 'xavier'"):
        initializers.get("uniform", scale="xavir")
    with pytest.raises(UserError, match="unknown initializer 'gauss'"):
        initializers.get("gauss")
    with pytest.raises(ValueError, match="at least 2 axes"):
        initializers.fans((3,))


def test_initializers_by_one_name():
    for name, (distribution, scale) in {
        "xavier_uniform": ("uniform", "xavier"),
        "he_fan_out_normal": ("normal", "he_fan_out"),
        "elus_sqrt3_signed_constant": ("signed_constant", "elus_sqrt3"),
        "unit_constant": ("constant", "unit"),
    }.items():
        expected = initializers.get(distribution, scale=scale)(jax.random.key(0), (5, 4))
        found = initializers.named(name)(jax.random.key(0), (5, 4))
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(UserError, match="did you mean 'xavier_uniform'"):
        initializers.named("xavier_unifrom")
    for method in (methods.signed, methods.edge_popup, methods.bernoulli, methods.signed_gates):
        trainable, _ = method(score_init="he_normal").init(jax.random.key(0), PARAMS)
        scores = trainable["scores"]["a"]["kernel"]
        assert scores.shape == (2, 3) and len(np.unique(scores)) == 6


def test_a_threshold_may_be_a_number():
    states = [
        methods.signed(threshold=threshold).init(jax.random.key(0), PARAMS)
        for threshold in (0.3, thresholds.absolute(0.3))
    ]
    assert_trees_equal(*states)


PARAMS = {
    "a": {"kernel": jnp.ones((2, 3)), "bias": jnp.zeros(3)},
    "b": {"kernel": jnp.ones((3, 1))},
}


def test_partition_and_merge_are_inverse():
    parts = trees.partition(PARAMS, trees.mask_kernels)
    assert list(trees.named_leaves(parts["mask"])) == ["a/kernel", "b/kernel"]
    assert list(trees.named_leaves(parts["train"])) == ["a/bias"]
    assert not jax.tree.leaves(parts["freeze"])
    merged = trees.merge(parts["mask"], parts["train"], parts["freeze"])
    assert jax.tree.structure(merged) == jax.tree.structure(PARAMS)


def test_partition_and_merge_errors():
    with pytest.raises(ValueError, match="masks no leaf of: a/bias, a/kernel, b/kernel"):
        trees.partition(PARAMS, lambda name, leaf: "train")
    with pytest.raises(ValueError, match="labels must be among"):
        trees.partition(PARAMS, lambda name, leaf: "hide")
    parts = trees.partition(PARAMS, trees.mask_kernels)
    with pytest.raises(ValueError, match="'a/kernel' is filled in 2 parts"):
        trees.merge(parts["mask"], parts["mask"], parts["train"])


def test_none_leaves_of_a_foreign_tree_stay_none():
    tree = PARAMS | {"c": {"kernel": jnp.ones((1, 2)), "bias": None}, "activation": None}
    parts = trees.partition(tree, trees.mask_kernels)
    merged = trees.merge(parts["mask"], parts["train"], parts["freeze"])
    assert jax.tree.structure(merged) == jax.tree.structure(tree)
    assert merged["activation"] is None


def test_label_rules_go_by_the_last_part_of_a_path():
    rule = trees.mask_named("weight", "w")
    names = ("layers/0/weight", "net/~/linear/w", "conv/kernel", "weight/bias", "a/weight/value")
    assert [rule(name, None) for name in names] == ["mask", "mask", "train", "train", "mask"]
    assert trees.mask_kernels("conv1/kernel/value", None) == "mask"
    assert trees.mask_kernels("conv1/value", None) == "train"


def test_digest_sees_values_names_dtypes_and_shapes():
    base = trees.digest({"a": jnp.zeros((2, 3))})
    others = [
        {"a": jnp.zeros((3, 2))},
        {"b": jnp.zeros((2, 3))},
        {"a": jnp.zeros((2, 3), jnp.int32)},
        {"a": jnp.zeros((2, 3)).at[0, 0].set(1e-38)},
    ]
    assert len({base, *map(trees.digest, others)}) == 5
    assert base == trees.digest({"a": np.zeros((2, 3), np.float32)})
    assert trees.digest({"k": jax.random.key(0)}) != trees.digest({"k": jax.random.key(1)})


def test_stats_count_exactly():
    masks = {"a": jnp.array([[1, -1, 0, 0]], jnp.int8), "b": jnp.array([1, 1], jnp.int8)}
    assert float(stats.density(masks)) == pytest.approx(4 / 6)
    assert stats.layer_counts(masks)["a"] == stats.MaskCounts(kept=1, inverted=1, hidden=2)
    assert stats.layer_densities(masks) == {"a": 0.5, "b": 1.0}
    after = {"a": jnp.array([[-1, -1, 1, 0]], jnp.int8), "b": jnp.array([0, -1], jnp.int8)}
    assert float(stats.sign_flips(masks, after)) == pytest.approx(2 / 6)
    assert float(stats.density({})) == 1.0


def test_errors_about_a_leaf_name_it():
    params = {"first": {"kernel": jnp.ones((2, 3))}, "norm": {"kernel": jnp.ones(3)}}
    with pytest.raises(
        ValueError, match="scores of 'norm/kernel': a kernel shape needs at least 2"
    ):
        methods.signed().init(jax.random.key(0), params)
    w = {"a": np.ones(4, np.float32), "b": np.zeros(4, np.float32)}
    recipe = Recipe("random", "signed_constant", keep=0.5, sigma=-1.0)
    with pytest.raises(UserError, match="layer 'a': sigma of the signed constant is -1"):
        next_level(recipe, w, unpruned(w), w, level=1, seed=0)
