"""Mask-1 and mask-0 actions, against loops and the properties that define them."""

import math
import statistics
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_refused, assert_trees_equal

from supermask_jax.errors import UserError
from supermask_jax.lottery.actions import MASK0_ACTIONS, MASK1_ACTIONS

SEEDS = range(4)
SIGNED = ["signed_reinit", "signed_reinit_permuted", "signed_reshuffle", "signed_constant"]


def layer(seed, shape=(7, 9)):
    """Initial, final, mask, fresh: with both zeros, ties and unchanged magnitudes."""
    rng = np.random.default_rng(seed)
    initial, final, fresh = rng.normal(size=(3, *shape)).astype(np.float32)
    initial[0, :4], final[0, :4] = [0.0, -0.0, 0.0, 1.0], [0.0, 0.0, 2.0, -0.0]
    final[1, :4] = initial[1, :4] * np.float32([1, -1, 1, -1])
    initial[2], final[3, :3] = 0.5, np.nan
    return initial, final, (rng.random(shape) < 0.5).astype(np.int8), fresh


def act(name, initial, mask, seed=0, **options):
    return MASK1_ACTIONS[name](initial, mask, rng=np.random.default_rng(seed), **options)


def multiset(values):
    return Counter(np.asarray(values).ravel().tolist())


def test_names():
    plain = ["rewind", "reinit", "reinit_permuted", "reshuffle"]
    since = ["continue", "sign_final", "sign_final_constant"]
    assert list(MASK1_ACTIONS) == [*plain, *SIGNED, "random_signed_constant", *since]
    zhou = ["zero", "frozen_at_init", "variant_1", "variant_2", "reverse", "reshuffled"]
    assert list(MASK0_ACTIONS) == zhou
    for table in (MASK1_ACTIONS, MASK0_ACTIONS):
        assert all(action.name == name for name, action in table.items())


@pytest.mark.parametrize("seed", SEEDS)
def test_actions_of_trained_weights(seed):
    initial, final, mask, _ = layer(seed)
    np.testing.assert_array_equal(act("continue", initial, mask, final=final), final)
    # Where training has kept every sign it is rewinding, where it has changed all, its opposite.
    for sign in (1, -1):
        values = act("sign_final", initial, mask, final=sign * 2 * initial)
        np.testing.assert_array_equal(values, sign * initial)
        values = act("sign_final_constant", initial, mask, final=sign * initial, sigma=0.5)
        np.testing.assert_array_equal(values, sign * 0.5 * np.sign(initial))
    with pytest.raises(UserError, match="'continue' needs trained weights.*train first"):
        act("continue", initial, mask)


@pytest.mark.parametrize("seed", SEEDS)
def test_rewind_and_reinit(seed):
    initial, _, mask, fresh = layer(seed)
    np.testing.assert_array_equal(act("rewind", initial, mask), initial)
    np.testing.assert_array_equal(act("reinit", initial, mask, fresh=fresh), fresh)
    expected = [
        abs(f) * ((w > 0) - (w < 0))
        for w, f in zip(initial.ravel().tolist(), fresh.ravel().tolist(), strict=True)
    ]
    values = act("signed_reinit", initial, mask, fresh=fresh)
    np.testing.assert_array_equal(values.ravel(), np.float32(expected))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("among_kept", [False, True])
@pytest.mark.parametrize("signed", [False, True])
def test_permutations_keep_the_values_and_signed_ones_every_sign(signed, among_kept, seed):
    initial, _, mask, _ = layer(seed)
    name = "signed_" * signed + ("reshuffle" if among_kept else "reinit_permuted")
    values, kept = act(name, initial, mask), mask == 1
    if signed:
        np.testing.assert_array_equal(np.sign(values), np.sign(initial))
    of = np.abs if signed else np.asarray
    assert multiset(of(values)) == multiset(of(initial))
    assert (multiset(of(values[kept])) == multiset(of(initial[kept]))) == among_kept
    assert np.array_equal(values[~kept], initial[~kept]) == among_kept
    assert np.mean(values[kept] == initial[kept]) < 0.6


@pytest.mark.parametrize("name", ["reinit_permuted", "signed_reinit_permuted", "reshuffle"])
def test_permutations_are_uniform(name):
    initial, mask = np.array([1.0, 2.0, 4.0]), np.ones(3)
    rng = np.random.default_rng(0)
    drawn = Counter(
        tuple(MASK1_ACTIONS[name](initial, mask, rng=rng).tolist()) for _ in range(1200)
    )
    assert len(drawn) == 6 and all(140 < times < 260 for times in drawn.values())


@pytest.mark.parametrize("seed", SEEDS)
def test_signed_constants(seed):
    initial, _, mask, _ = layer(seed)
    sigma = statistics.pstdev(initial.ravel().tolist())  # pruned values count
    for options, constant in (({}, sigma), ({"sigma": 0.25}, 0.25)):
        values = act("signed_constant", initial, mask, **options)
        expected = [math.copysign(constant, w) if w else 0.0 for w in initial.ravel().tolist()]
        np.testing.assert_allclose(values.ravel(), expected, rtol=1e-6)
        permuted = act("random_signed_constant", initial, mask, **options)
        assert multiset(permuted) == multiset(values)
        assert not np.array_equal(permuted, values)


def test_constant_of_a_zero_layer_is_zero_and_of_an_unusable_one_an_error():
    zeros = np.zeros((2, 3), np.float32)
    for sigma in (None, 0.5):
        values = act("signed_constant", zeros, np.ones((2, 3)), sigma=sigma)
        np.testing.assert_array_equal(values, zeros)
    for broken in ([1.0, 1.0], [1.0, np.nan], [1.0, np.inf]):
        with pytest.raises(UserError, match="pass sigma="):
            act("signed_constant", np.array(broken), np.ones(2))
    for sigma in (0, -1.0, math.inf, math.nan, "std"):
        with pytest.raises(UserError, match="pass sigma="):
            act("random_signed_constant", np.array([1.0, 2.0]), np.ones(2), sigma=sigma)


@pytest.mark.parametrize("name", MASK1_ACTIONS)
def test_mask1_properties(name):
    initial, final, mask, fresh = layer(9)
    final = np.nan_to_num(final)
    arrays = {"final": final, "fresh": fresh}
    before = initial.copy(), {key: array.copy() for key, array in arrays.items()}
    values = act(name, initial, mask, **arrays)
    assert values.shape == initial.shape and values.dtype == np.float32
    # The same generator gives the same values; scaling is by n / sum(mask), over all entries.
    scaled = act(name, initial, mask, **arrays, rescale=True)
    np.testing.assert_allclose(scaled, values * (63 / sum(mask.ravel().tolist())), rtol=1e-6)
    empty = act(name, initial, np.zeros_like(mask), **arrays, rescale=True)
    assert np.all(np.isfinite(empty))
    if name in SIGNED:
        np.testing.assert_array_equal(np.sign(values), np.sign(initial))
    # Nothing is shared with the caller's arrays.
    values[...] = 7.0
    np.testing.assert_array_equal(initial, before[0])
    assert_trees_equal(arrays, before[1])
    double = initial.astype(np.float64)
    values = act(name, double, mask, **arrays)
    assert values.dtype == np.float64 and not np.shares_memory(values, double)
    np.testing.assert_array_equal(double, initial)
    from_jax = act(
        name, jnp.asarray(initial), jnp.asarray(mask), **jax.tree.map(jnp.asarray, arrays)
    )
    np.testing.assert_array_equal(from_jax, act(name, initial, mask, **arrays))


def reference_mask0(name, wi, wf, start):
    """(frozen value if pruned, starting value if kept) of one weight."""
    shrank, grew = abs(wi) > abs(wf), abs(wi) < abs(wf)
    frozen = {
        "zero": 0.0,
        "frozen_at_init": wi,
        "variant_1": 0.0 if shrank else wi,
        "variant_2": 0.0 if shrank else wi,
        "reverse": 0.0 if grew else wi,
    }[name]
    return frozen, 0.0 if name == "variant_2" and shrank else start


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", [name for name in MASK0_ACTIONS if name != "reshuffled"])
def test_mask0_actions_weight_by_weight(name, seed):
    initial, final, mask, fresh = layer(seed)
    for start in (None, fresh):
        values = MASK0_ACTIONS[name](initial, final, mask, start=start)
        assert values.pruned.dtype == values.kept.dtype == np.float32
        for i in np.ndindex(initial.shape):
            begin = float((initial if start is None else start)[i])
            frozen, kept = reference_mask0(name, float(initial[i]), float(final[i]), begin)
            assert (values.pruned[i], values.kept[i]) == ((0, kept) if mask[i] else (frozen, 0)), i


def test_an_unchanged_magnitude_keeps_the_initial_value():
    initial, final = np.float32([0.3, 0.3, -0.3]), np.float32([0.3, -0.3, 0.3])
    for name in ("variant_1", "variant_2", "reverse"):
        pruned, kept = MASK0_ACTIONS[name](initial, final, [0, 0, 1])
        np.testing.assert_array_equal(pruned + kept, initial)
    pruned, _ = MASK0_ACTIONS["variant_1"](initial, np.nextafter(final, np.float32(0)), np.zeros(3))
    np.testing.assert_array_equal(pruned, 0)


def test_earlier_decisions_stay_in_the_next_round():
    initial, final, mask, _ = layer(5)
    for name in ("variant_1", "variant_2"):
        first = MASK0_ACTIONS[name](initial, final, mask)
        start = first.pruned + first.kept
        trained = np.where(mask == 1, final, first.pruned)
        smaller = mask * (np.arange(mask.size).reshape(mask.shape) % 3 > 0)
        second = MASK0_ACTIONS[name](start, trained, smaller)
        np.testing.assert_array_equal(second.pruned[mask == 0], first.pruned[mask == 0])


@pytest.mark.parametrize("seed", SEEDS)
def test_reshuffled_zeroes_as_many_but_elsewhere(seed):
    initial, final, mask, fresh = layer(seed)
    initial[initial == 0] = 0.1  # so that zeros can be counted
    variant = MASK0_ACTIONS["variant_1"](initial, final, mask)
    control = MASK0_ACTIONS["reshuffled"](
        initial, final, mask, rng=np.random.default_rng(seed), start=fresh
    )
    hidden = mask == 0
    count = variant.pruned[hidden].tolist().count(0.0)
    assert 0 < count < hidden.sum()
    assert control.pruned[hidden].tolist().count(0.0) == count
    assert not np.array_equal(control.pruned, variant.pruned)
    untouched = hidden & (control.pruned != 0)
    np.testing.assert_array_equal(control.pruned[untouched], initial[untouched])
    np.testing.assert_array_equal(control.kept, np.where(hidden, 0, fresh))
    everything = MASK0_ACTIONS["reshuffled"](
        initial, final, np.ones_like(mask), rng=np.random.default_rng(0)
    )
    np.testing.assert_array_equal(everything.kept, initial)


def test_errors_are_one_clear_line():
    ones = np.ones(3)
    cases = [
        ("'reshuffle' needs rng=", lambda: MASK1_ACTIONS["reshuffle"](ones, ones)),
        ("got rng=0", lambda: MASK1_ACTIONS["reinit_permuted"](ones, ones, rng=0)),
        ("choose one of rewind, reinit_permuted", lambda: act("reinit", ones, ones)),
        ("fresh values have shape", lambda: act("signed_reinit", ones, ones, fresh=np.ones(2))),
        ("mask has shape", lambda: act("rewind", ones, np.ones(2))),
        ("holds only 0 and 1", lambda: act("rewind", ones, -ones)),
        ("did you mean 'rewind'", lambda: MASK1_ACTIONS["rewnd"]),
        ("did you mean 'variant_1'", lambda: MASK0_ACTIONS["variant1"]),
        ("none yet: train first", lambda: MASK0_ACTIONS["variant_1"](ones, None, ones)),
        ("'reshuffled' needs rng=", lambda: MASK0_ACTIONS["reshuffled"](ones, ones, ones)),
        ("trained weights have", lambda: MASK0_ACTIONS["reverse"](ones, np.ones(2), ones)),
        ("starting values", lambda: MASK0_ACTIONS["zero"](ones, None, ones, start=np.ones(2))),
    ]
    assert_refused(cases)
    for name in ("zero", "frozen_at_init"):
        assert MASK0_ACTIONS[name](ones, None, ones).kept.tolist() == [1, 1, 1]
