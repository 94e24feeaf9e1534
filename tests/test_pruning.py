"""Pruning by rank, against sorted Python lists."""

import math

import numpy as np
import pytest
from helpers import assert_refused
from hypothesis import given, settings
from hypothesis import strategies as st

from supermask_jax.core.counting import COUNTINGS, num_kept
from supermask_jax.lottery.pruning import prune, prune_global, prune_layers

# Few different values, so that ties are the rule; both zeros, infinities and NaN.
SCORES = st.sampled_from([-math.inf, -1.5, -0.0, 0.0, 0.25, 2.0, 2.0, math.inf, math.nan])
LAYER = st.lists(st.tuples(st.integers(0, 1), SCORES), min_size=1, max_size=40)
KEEP = st.floats(0.01, 1.0)
PROPERTIES = settings(max_examples=150, deadline=None)


def best(mask, scores, count):
    """Flat indices that stay: takes the best of those left again and again, first come first."""
    left = [i for i, kept in enumerate(mask) if kept]
    chosen = set()
    for _ in range(count):
        winner = left[0]
        for i in left[1:]:
            beats_nan = math.isnan(scores[winner]) and not math.isnan(scores[i])
            if beats_nan or scores[i] > scores[winner]:
                winner = i
        left.remove(winner)
        chosen.add(winner)
    return chosen


@PROPERTIES
@given(LAYER, KEEP)
def test_prune_keeps_the_best_of_the_kept(layer, keep):
    mask, scores = (list(column) for column in zip(*layer, strict=True))
    pruned = prune(np.array(mask), np.array(scores), keep)
    assert pruned.dtype == np.int8
    assert set(np.flatnonzero(pruned)) == best(mask, scores, round(keep * sum(mask)))


@PROPERTIES
@given(LAYER, KEEP, st.integers(0, 2**32), st.sampled_from(sorted(COUNTINGS)))
def test_counts_are_exact_and_nothing_pruned_returns(layer, keep, seed, counting):
    mask, scores = (np.array(column) for column in zip(*layer, strict=True))
    pruned = prune(mask, scores, keep, rng=np.random.default_rng(seed), counting=counting)
    assert pruned.sum() == num_kept(keep, int(mask.sum()), counting, at_least=0)
    assert np.all(pruned <= mask)
    # Random ties may choose other entries, never worse ones.
    order = np.nan_to_num(scores, nan=-2.0, neginf=-1.8, posinf=3.0)
    lowest_kept = order[pruned == 1].min(initial=math.inf)
    assert np.all(order[(mask == 1) & (pruned == 0)] <= lowest_kept)


def test_ties_go_to_the_lower_index_and_zeros_tie():
    scores = np.array([[-0.0, 0.0, 1.0], [0.0, -0.0, 0.0]], np.float32)
    expected = np.array([[1, 1, 1], [0, 0, 0]], np.int8)
    np.testing.assert_array_equal(prune(np.ones((2, 3)), scores, 0.5), expected)
    # Float64 scores are compared as such.
    assert prune([1, 1], [1.0, 1.0 + 1e-12], 0.5).tolist() == [0, 1]


def test_ties_at_random_are_uniform_and_repeatable():
    ones, ties = np.ones(4), np.zeros(4)
    rng = np.random.default_rng(0)
    frequency = np.mean([prune(ones, ties, 0.5, rng=rng) for _ in range(2000)], axis=0)
    np.testing.assert_allclose(frequency, 0.5, atol=0.06)
    first, second = (prune(ones, ties, 0.5, rng=np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("keep", "remaining", "expected"),
    [(1.0, 7, 7), (0.5, 1, 0), (0.5, 3, 2), (0.5, 5, 2), (0.1, 4, 0), (0.8, 235_200, 188_160)]
    + [(0.8, 0, 0), (np.float32(0.5), 8, 4), (1, 3, 3)],
)
def test_nearest_count(keep, remaining, expected):
    assert num_kept(keep, remaining, at_least=0) == expected


@pytest.mark.parametrize(
    ("counting", "keep", "remaining", "expected"),
    [
        ("zhou", 0.8, 235_200, 235_200 - 47_039),  # 0.19999999999999996 of it, cut off
        ("zhou", 0.9, 15, 14),  # 1.5 would round to 2
        ("zhou", 1.0, 9, 9),
        ("frankle", 0.8, 100, 79),
        ("frankle", 0.9, 15, 12),  # round(1.5) + 1; (1 - 0.9) * 15 is just below 1.5
        ("frankle", 0.1, 3, 0),  # would prune 4 of 3
        ("open_lth", 0.8, 101, 79),  # ceil(20.2) + 1
        ("open_lth", 0.7, 10, 6),  # 1 - 0.7 is just above 0.3
    ],
)
def test_counts_of_the_original_codes(counting, keep, remaining, expected):
    assert num_kept(keep, remaining, counting, at_least=0) == expected


@pytest.mark.parametrize("counting", ["frankle", "open_lth"])
def test_original_counts_equal_the_original_threshold_rule(counting):
    magnitudes = np.abs(np.random.default_rng(1).normal(size=103))
    number = round(0.2 * 103) if counting == "frankle" else math.ceil(0.2 * 103)
    expected = magnitudes > sorted(magnitudes)[number]
    pruned = prune(np.ones(103), magnitudes, 0.8, counting=counting)
    np.testing.assert_array_equal(pruned, expected)


def layers(seed):
    rng = np.random.default_rng(seed)
    shapes = {"b": (3, 4), "a": (5,), "c/kernel": (2, 2, 3)}
    masks = {path: rng.integers(0, 2, shape).astype(np.int8) for path, shape in shapes.items()}
    return masks, {path: rng.integers(0, 5, shape) / 4 for path, shape in shapes.items()}


def test_prune_layers_is_prune_on_each():
    masks, scores = layers(0)
    for keep in (0.6, {"a": 0.5, "b": 0.9, "c/kernel": 1.0}):
        pruned = prune_layers(masks, scores, keep)
        assert list(pruned) == list(masks)
        for path in masks:
            share = keep if isinstance(keep, float) else keep[path]
            np.testing.assert_array_equal(pruned[path], prune(masks[path], scores[path], share))


@pytest.mark.parametrize("prune_all", [prune_layers, prune_global])
def test_order_of_the_dict_does_not_matter(prune_all):
    masks, scores = layers(1)
    swapped = dict(reversed(masks.items()))
    for rng in (lambda: None, lambda: np.random.default_rng(0)):
        first = prune_all(masks, scores, 0.5, rng=rng())
        second = prune_all(swapped, scores, 0.5, rng=rng())
        for path in masks:
            np.testing.assert_array_equal(first[path], second[path])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("keep", [0.05, 0.5, 0.77, 1.0])
def test_prune_global_against_one_sorted_list(seed, keep):
    masks, scores = layers(seed)
    kept = [
        (-scores[path].ravel()[i], path, i)
        for path in masks
        for i in range(masks[path].size)
        if masks[path].ravel()[i]
    ]
    survivors = sorted(kept)[: round(keep * len(kept))]
    pruned = prune_global(masks, scores, keep)
    assert list(pruned) == list(masks)
    for path, mask in pruned.items():
        assert mask.dtype == np.int8 and mask.shape == masks[path].shape
        assert set(np.flatnonzero(mask)) == {i for _, p, i in survivors if p == path}


@pytest.mark.parametrize("keep", [0, 0.0, -0.2, 1.01, math.nan, math.inf, True, "0.5", None, [0.5]])
def test_impossible_shares(keep):
    masks, scores = layers(0)
    message = "keep is .*above 0 and at most 1"
    cases = [
        (message, lambda: prune(masks["a"], scores["a"], keep)),
        (message, lambda: prune_layers(masks, scores, keep)),
        (message, lambda: prune_global(masks, scores, keep)),
    ]
    assert_refused(cases)


def test_errors_name_what_is_wrong():
    masks, scores = layers(0)
    cases = [
        ("layer 'a': .*has shape", lambda: prune_layers(masks, scores | {"a": np.ones(4)}, 0.5)),
        ("layer 'a': .*has shape", lambda: prune_global(masks, scores | {"a": np.ones(4)}, 0.5)),
        ("holds only 0 and 1.* -1", lambda: prune(np.array([1, -1]), np.ones(2), 0.5)),
        ("holds only 0 and 1.* nan", lambda: prune(np.array([1, np.nan]), np.ones(2), 0.5)),
        ("keep lacks layer 'b'", lambda: prune_layers(masks, scores, {"a": 1.0, "c/kernel": 1.0})),
        ("scores names layer 'x'", lambda: prune_global(masks, scores | {"x": 1.0}, 0.5)),
        ("no masks", lambda: prune_layers({}, {}, 0.5)),
        ("no masks", lambda: prune_global({}, {}, 0.5)),
        ("did you mean 'frankle'", lambda: prune([1], [1.0], 0.5, counting="frankel")),
        ("got rng=3", lambda: prune([1], [1.0], 0.5, rng=3)),
        ("layer 'a': keep is 2.0", lambda: prune_layers(masks, scores, dict.fromkeys(masks, 2.0))),
    ]
    assert_refused(cases)
