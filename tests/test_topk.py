"""The top-k family against NumPy: values, gradients, exact counts, annealing."""

import functools

import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import ROOT
from hypothesis import given
from hypothesis import strategies as st

from supermask_jax import methods
from supermask_jax.config.files import load_config
from supermask_jax.core import initializers, order
from supermask_jax.core.counting import num_kept
from supermask_jax.core.density import annealed_count, ramp
from supermask_jax.core.trees import named_leaves
from supermask_jax.errors import UserError

VALUES = st.sampled_from([-2.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 2.0, float("nan")])
SCORES = hnp.arrays(np.float32, 24, elements=VALUES)
topk_mask = jax.jit(order.topk_mask)


def reference_topk(ranks, k):
    """The indices of the k largest, by a sort: ties by index, NaN last."""
    ranks = [(-np.inf if np.isnan(r) else r, not np.isnan(r)) for r in np.ravel(ranks).tolist()]
    best = sorted(range(len(ranks)), key=lambda i: (-ranks[i][0], not ranks[i][1], i))
    mask = np.zeros(len(ranks), bool)
    mask[best[: max(0, min(k, len(ranks)))]] = True
    return mask


@given(SCORES, st.integers(-1, 26))
def test_topk_mask_keeps_exactly_k(scores, k):
    mask = np.asarray(topk_mask(jnp.asarray(scores), k))
    assert mask.sum() == max(0, min(k, 24))
    np.testing.assert_array_equal(mask, reference_topk(scores, k))


@given(SCORES, SCORES, st.integers(0, 48))
def test_global_topk_ranks_all_arrays_together(a, b, k):
    masks = jax.jit(order.topk_masks)([jnp.asarray(a).reshape(4, 6), jnp.asarray(b)], k)
    expected = reference_topk(np.concatenate([a, b]), k)
    np.testing.assert_array_equal(np.concatenate([np.ravel(m) for m in masks]), expected)


def test_topk_of_equal_scores_keeps_the_first():
    np.testing.assert_array_equal(topk_mask(jnp.full(6, 0.3), 2), [1, 1, 0, 0, 0, 0])


def test_topk_of_infinities_and_huge_ranges():
    x = jnp.array([jnp.inf, 3e38, 1e-30, 0.0, -1e-30, -3e38, -jnp.inf])
    for k in range(8):
        np.testing.assert_array_equal(topk_mask(x, k), np.arange(7) < k)


# 57.5 exactly, whose product of floats is 57.49999999999999; at least one.
COUNTS = [(0.25, 10, 2), (0.35, 10, 4), (0, 7, 0), (1, 7, 7), (0.1, 5_275_840, 527_584)]
COUNTS += [(0.575, 100, 58), (0.0005, 100, 1)]


@pytest.mark.parametrize(("density", "size", "kept"), COUNTS)
def test_counts_round_half_to_even(density, size, kept):
    assert num_kept(density, size) == kept


@pytest.mark.parametrize(
    ("density", "size", "kept"),  # n - int((1 - k) n), by hand
    [(0.1, 25, 3), (0.1, 24, 3), (0.3, 10, 3), (0.0005, 1000, 1), (0.1, 3, 1), (1e-20, 9, 1)]
    + [(0.5, 7, 4), (1.0, 7, 7), (0.0, 7, 0)],
)
def test_counts_of_the_original_codes(density, size, kept):
    assert num_kept(density, size, "ramanujan") == kept
    assert int(annealed_count(1.0, density, size, 1.0, 0.5, "ramanujan")) == kept


@pytest.mark.parametrize("counting", ["nearest", "ramanujan"])
@pytest.mark.parametrize("name", ["edge_popup", "biprop", "signed_topk", "multicoat"])
def test_every_layer_keeps_a_weight(name, counting):
    shares = {"densities": (0.1, 1e-4)} if name == "multicoat" else {"density": 1e-4}
    scope = {} if name == "multicoat" else {"scope": "layer", "anneal": 0.0}
    method = methods.get(name, counting=counting, **shares, **scope)
    params = {f"layer{n}": {"kernel": jnp.ones((n, 7))} for n in (1, 5)}
    masks = named_leaves(method.masks(*method.init(jax.random.key(0), params)))
    # Coats are counted: of 7 and 35 weights 1 + 1 and 4 + 1; round(3.5) and 35 - int(31.5) are 4.
    expected = [2, 5] if name == "multicoat" else [1, 1]
    assert [int(np.abs(mask).sum()) for mask in masks.values()] == expected


def test_biprop_of_the_original_divides_by_the_floor_of_its_count():
    params = {"layer": {"kernel": jnp.asarray(WEIGHTS)}}
    method = methods.biprop(density=0.1, counting="ramanujan")
    trainable, frozen = method.init(jax.random.key(0), params)
    value = np.asarray(method.apply(trainable, frozen)["layer"]["kernel"])
    kept = np.asarray(method.masks(trainable, frozen)["layer"]["kernel"]) != 0
    assert kept.sum() == 3  # 24 - int(21.6), while int(0.1 * 24) = 2
    np.testing.assert_allclose(np.abs(value[kept]), np.abs(WEIGHTS[kept]).sum() / 2, rtol=1e-6)


def test_biprop_sums_and_counts_beyond_what_float16_holds():
    params = {"layer": {"kernel": jnp.full((300, 300), 1.5, jnp.float16)}}
    method = methods.biprop(density=0.9)
    value = method.apply(*method.init(jax.random.key(0), params))["layer"]["kernel"]
    assert value.dtype == jnp.float16 and np.unique(value).tolist() == [0, 1.5]


def test_annealed_counts_end_exactly():
    # In float32 alone 0.1 of 5,275,840 would be off by some weights.
    for progress in (0.5, 0.7, 1.0):
        assert int(annealed_count(1.0, 0.1, 5_275_840, progress, 0.5)) == 527_584
    assert int(annealed_count(1.0, 0.1, 1000, 0.0, 0.5)) == 1000
    assert int(annealed_count(1.0, 0.1, 1000, 0.25, 0.5)) == 100 + round(900 / 8)
    assert int(annealed_count(1.0, 0.1, 1000, 0.0, 0.0)) == 100
    np.testing.assert_allclose(ramp(jnp.array([0, 0.05, 0.1, 0.2]), 0.1), [1, 0.125, 0, 0])


WEIGHTS = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
UPSTREAM = np.random.default_rng(1).normal(size=(4, 6)).astype(np.float32)
FINITE = hnp.arrays(np.float32, (4, 6), elements=st.sampled_from([-2, -1, -0.5, -0.0, 0, 0.5, 2]))


def kept(k):
    return lambda s: reference_topk(np.abs(s), k).reshape(s.shape)


@functools.cache
def compiled(make):
    """The function scores -> (effective weights, dL/ds for dL/dw_eff = UPSTREAM, mask)."""
    method = make()
    params = {"layer": {"kernel": jnp.asarray(WEIGHTS)}}
    trainable, frozen = method.init(jax.random.key(0), params)

    def evaluate(scores):
        def effective(scores):
            tree = {"scores": {"layer": {"kernel": scores}}}
            return method.apply(trainable | tree, frozen)["layer"]["kernel"]

        value, pullback = jax.vjp(effective, scores)
        tree = {"scores": {"layer": {"kernel": scores}}}
        mask = method.masks(trainable | tree, frozen)["layer"]["kernel"]
        return value, pullback(jnp.asarray(UPSTREAM))[0], mask

    return jax.jit(evaluate)


def coats(scores):
    return kept(12)(scores).astype(int) + kept(6)(scores)


def signs(scores):
    return np.where(kept(7)(scores), np.where(scores < 0, -1, 1), 0)


# (method, mask of the scores, whether the gradient is by their signs)
RULES = {
    "edge_popup": (lambda: methods.edge_popup(density=0.3), kept(7), np.sign),
    "edge_popup by value": (
        lambda: methods.edge_popup(density=0.3, by_value=True),
        lambda scores: reference_topk(scores, 7).reshape(scores.shape),
        np.ones_like,
    ),
    "biprop": (lambda: methods.biprop(density=0.3), kept(7), np.sign),
    "signed_topk": (lambda: methods.signed_topk(density=0.3, anneal=0.0), signs, np.ones_like),
    "multicoat": (
        lambda: methods.multicoat(densities=(0.5, 0.25)),
        coats,
        lambda scores: 2 * np.sign(scores),
    ),
}


@pytest.mark.parametrize("name", RULES)
@given(FINITE)
def test_values_and_gradients(name, scores):
    make, mask_of, factor = RULES[name]
    value, grad, mask = compiled(make)(jnp.asarray(scores))
    expected, weights = mask_of(scores), WEIGHTS
    if name == "biprop":
        weights = np.sign(WEIGHTS) * np.abs(WEIGHTS[expected]).astype(np.float64).mean()
    else:
        np.testing.assert_array_equal(mask, expected)
    np.testing.assert_allclose(value, weights * expected, rtol=1e-6)
    np.testing.assert_allclose(grad, UPSTREAM * WEIGHTS * factor(scores), rtol=1e-6)


def test_multicoat_as_released_worked_by_hand():
    # Fan-in 2, fan-out 4. Coats of 4 and 2 of 8 weights: the largest two scores count twice. Of a
    # gradient of 1 each coat passes w * sign(s). Constants: sqrt(2 / (2 * 0.3)) = 1.825742.
    scores = np.float32([[4, -3, 2, -1], [0.4, 0.3, 0.2, 0.1]])
    method = methods.multicoat(densities=(0.5, 0.25))
    weights = {"layer": {"kernel": jnp.full((2, 4), 0.5)}}
    trainable, frozen = method.init(jax.random.key(0), weights)

    def total(scores):
        tree = {"scores": {"layer": {"kernel": scores}}}
        return method.apply(trainable | tree, frozen)["layer"]["kernel"].sum(), tree

    (value, tree), grad = jax.value_and_grad(total, has_aux=True)(jnp.asarray(scores))
    mask = method.masks(trainable | tree, frozen)["layer"]["kernel"]
    np.testing.assert_array_equal(mask, [[2, 2, 1, 1], [0, 0, 0, 0]])
    np.testing.assert_array_equal(value, 0.5 * 6)
    np.testing.assert_array_equal(grad, [[1, -1, 1, -1], [1, 1, 1, 1]])

    config = load_config(str(ROOT / "configs" / "multicoat.py"))
    constants = initializers.get(**config.weight_init)(jax.random.key(0), (2, 4))
    np.testing.assert_allclose(np.abs(constants), 1.825742, rtol=1e-6)
    for init in (None, initializers.get(**config.method.score_init)):  # N(0, 2 / 250)
        large = {"layer": {"kernel": jnp.zeros((1000, 250))}}
        trainable, _ = methods.multicoat(score_init=init).init(jax.random.key(1), large)
        assert trainable["scores"]["layer"]["kernel"].std() == pytest.approx(0.0894427, rel=0.01)
    assert (config.method.densities, config.method.per_coat) == ((0.3, 0.0788, 0.0315), True)


def test_biprop_on_signed_constants_is_edge_popup():
    constants = {"layer": {"kernel": jnp.where(jnp.asarray(WEIGHTS) > 0, 0.3, -0.3)}}
    a, b = methods.edge_popup(density=0.3), methods.biprop(density=0.3)
    trainable, frozen = a.init(jax.random.key(0), constants)
    np.testing.assert_allclose(
        a.apply(trainable, frozen)["layer"]["kernel"],
        b.apply(trainable, frozen)["layer"]["kernel"],
        rtol=1e-6,
    )


def test_full_density_is_the_untouched_network():
    params = {"layer": {"kernel": jnp.asarray(WEIGHTS)}}
    method = methods.edge_popup(density=1.0)
    trainable, frozen = method.init(jax.random.key(0), params)
    np.testing.assert_array_equal(method.apply(trainable, frozen)["layer"]["kernel"], WEIGHTS)


@pytest.mark.parametrize("name", ["edge_popup", "biprop", "signed_topk"])
@pytest.mark.parametrize("density", [0.0, 0.013, 0.5, 1.0])
def test_global_density_is_exact_to_the_weight(name, density):
    params = {f"layer{i}": {"kernel": jnp.ones((10 * i, 30))} for i in (1, 2, 3)}
    method = methods.get(name, density=density, scope="global", anneal=0.5, start_density=0.9)
    trainable, frozen = method.init(jax.random.key(0), params)

    def count(progress):
        masks = named_leaves(method.masks(trainable, frozen, None, progress))
        return sum(int(np.count_nonzero(mask)) for mask in masks.values())

    assert count(1.0) == count(0.5) == round(density * 1800)
    assert count(0.0) == round(0.9 * 1800)


@pytest.mark.parametrize(
    "start, progress, kept",
    [(1.0, 0.25, 80), (0.2, 0.0, 200), (0.2, 0.25, 63), (0.2, 0.5, 20), (1.0, 0.5, 20)],
)
def test_signed_follows_its_path_of_densities(start, progress, kept):
    """From 1 the path is a bound, which 8 % are under anyway; from less it is held exactly."""
    method = methods.signed(density=0.02, start_density=start, anneal=0.5)
    scores = jnp.linspace(0.001, 1, 1000).reshape(10, 100) * 0.01 / 0.92  # 8 % pass 0.01.
    trainable = {"scores": {"kernel": scores}, "params": {}}
    _, frozen = method.init(jax.random.key(0), {"kernel": jnp.ones((10, 100))})
    projected = method.project(trainable, frozen, progress)
    assert int(jnp.sum(jnp.abs(method.masks(projected, frozen)["kernel"]))) == kept


def test_errors():
    with pytest.raises(UserError, match="density is a fraction in .0, 1., got 1.5"):
        methods.get("edge_popup", density=1.5)
    with pytest.raises(UserError, match="unknown scope 'globl': did you mean 'global'"):
        methods.get("signed_topk", scope="globl")
    with pytest.raises(UserError, match="unknown counting 'ramanujam': did you mean 'ramanujan'"):
        methods.get("biprop", counting="ramanujam")
    with pytest.raises(UserError, match="densities must fall"):
        methods.get("multicoat", densities=(0.1, 0.5))
