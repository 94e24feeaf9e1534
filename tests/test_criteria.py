"""Mask criteria, each against a loop over Python floats."""

import math
from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_refused
from hypothesis import given, settings
from hypothesis import strategies as st

from supermask_jax.lottery.criteria import CRITERIA, SIGN_MASKS, find_criterion
from supermask_jax.lottery.pruning import prune

ONES = np.ones(3)


def sign(x):
    return (x > 0) - (x < 0)


def where(condition, value):
    return value if condition else -math.inf


REFERENCES = {  # w_i, w_f, g -> score
    "large_final": lambda wi, wf, g: abs(wf),
    "small_final": lambda wi, wf, g: -abs(wf),
    "large_init": lambda wi, wf, g: abs(wi),
    "small_init": lambda wi, wf, g: -abs(wi),
    "magnitude_increase": lambda wi, wf, g: abs(wf) - abs(wi),
    "movement": lambda wi, wf, g: abs(wf - wi),
    "snip": lambda wi, wf, g: abs(g * wi),
    "gradient": lambda wi, wf, g: abs(g),
    "large_final_same_sign": lambda wi, wf, g: where(sign(wi) == sign(wf), abs(wf)),
    "large_final_diff_sign": lambda wi, wf, g: where(sign(wi) != sign(wf), abs(wf)),
}
GREW = REFERENCES["magnitude_increase"]
REFERENCES |= {
    "magnitude_increase_same_sign": lambda wi, wf, g: where(sign(wi) == sign(wf), GREW(wi, wf, g)),
    "magnitude_increase_diff_sign": lambda wi, wf, g: where(sign(wi) != sign(wf), GREW(wi, wf, g)),
}
BOTH = {"large_init_large_final": 1, "small_init_small_final": -1}


def tensors(seed, shape=(6, 5)):
    """Initial, final, gradient: float32 with ties, both zeros and equal magnitudes."""
    rng = np.random.default_rng(seed)
    drawn = [(rng.integers(-8, 9, shape) / 4).astype(np.float32) for _ in range(3)]
    for array in drawn:
        array[0, 0], array[0, 1] = 0.0, -0.0
    drawn[0][1, :2], drawn[1][1, :2] = (-0.0, 1.0), (0.0, -1.0)
    drawn[0][2], drawn[1][2] = rng.normal(size=(2, shape[1]))
    return drawn


def test_every_criterion_has_a_reference():
    assert set(CRITERIA) == REFERENCES.keys() | BOTH.keys() | {"random"}
    assert all(name == criterion.name for name, criterion in CRITERIA.items())


@pytest.mark.parametrize("name", REFERENCES)
def test_scores_equal_the_formula(name):
    for seed in range(5):
        initial, final, gradient = tensors(seed)
        scores = CRITERIA[name](initial, final, gradient=gradient)
        assert scores.shape == initial.shape and scores.dtype == np.float64
        for index in np.ndindex(initial.shape):
            wi, wf, g = (float(array[index]) for array in (initial, final, gradient))
            assert scores[index] == REFERENCES[name](wi, wf, g), index


@pytest.mark.parametrize("name", [name for name in REFERENCES if name.endswith("sign")])
def test_original_quirk_scores_excluded_entries_zero(name):
    initial, final, _ = tensors(0)
    scores = CRITERIA[name](initial, final)
    original = CRITERIA[name](initial, final, original_quirks=True)
    excluded = np.isneginf(scores)
    assert excluded.any() and not excluded.all()
    np.testing.assert_array_equal(original, np.where(excluded, 0.0, scores))


@pytest.mark.parametrize("name", sorted(BOTH))
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_rank_criteria_are_the_two_threshold_rule(name, data):
    """The kept set lies between the intersections at two neighbouring widths of the top."""
    size = data.draw(st.integers(1, 25))
    values = st.lists(
        st.sampled_from([0.0, -0.0, 1, -1, 2, 3, -4, 5.5]), min_size=size, max_size=size
    )
    initial, final = data.draw(values), data.draw(values)
    mask = data.draw(st.lists(st.integers(0, 1), min_size=size, max_size=size))
    keep = data.draw(st.floats(0.05, 1.0))

    kept = [i for i in range(size) if mask[i]]
    sign_of = BOTH[name]

    def in_both_tops(width):
        tops = []
        for weights in (initial, final):
            best_first = sorted((sign_of * abs(weights[i]) for i in kept), reverse=True)
            tops.append({i for i in kept if sign_of * abs(weights[i]) >= best_first[width - 1]})
        return tops[0] & tops[1]

    scores = CRITERIA[name](np.array(initial), np.array(final), mask=np.array(mask))
    pruned = set(np.flatnonzero(prune(np.array(mask), scores, keep)))
    count = round(keep * len(kept))
    assert len(pruned) == count
    widths = [set()] + [in_both_tops(width) for width in range(1, len(kept) + 1)]
    narrower = [top for top in widths if len(top) <= count]
    wider = [top for top in widths if len(top) >= count]
    assert narrower[-1] <= pruned <= wider[0]


def test_rank_criterion_on_signed_constants_is_large_final():
    rng = np.random.default_rng(0)
    initial = np.where(rng.random(200) < 0.5, -0.1, 0.1)
    final = rng.normal(size=200)
    expected = prune(np.ones(200), np.abs(final), 0.3)
    scores = CRITERIA["large_init_large_final"](initial, final)
    np.testing.assert_array_equal(prune(np.ones(200), scores, 0.3), expected)


def test_rank_criterion_ranks_only_what_is_kept():
    initial, final, _ = tensors(4)
    mask = np.random.default_rng(4).integers(0, 2, initial.shape)
    for name in BOTH:
        scores = CRITERIA[name](initial, final, mask=mask)
        alone = CRITERIA[name](initial[mask == 1], final[mask == 1])
        np.testing.assert_array_equal(scores[mask == 1], alone)
        assert np.all(np.isneginf(scores[mask == 0]))


@pytest.mark.parametrize("name", sorted(CRITERIA.keys() - {"random"}))
def test_nan_ranks_last_and_changes_no_other_order(name):
    criterion = CRITERIA[name]
    initial, final, gradient = tensors(2)
    for array in (initial, final, gradient):
        array[3, 3] = np.nan
    scores = criterion(initial, final, gradient=gradient)
    assert np.isnan(scores[3, 3]) and np.isnan(scores).sum() == 1
    keep = (initial.size - 1) / initial.size
    assert prune(np.ones(initial.shape), scores, keep)[3, 3] == 0
    rest = np.arange(initial.size) != 18
    if name not in BOTH:
        alone = criterion(
            initial.ravel()[rest], final.ravel()[rest], gradient=gradient.ravel()[rest]
        )
        np.testing.assert_array_equal(scores.ravel()[rest], alone)


@pytest.mark.parametrize("hole", ["initial", "final"])
def test_a_nan_on_one_side_is_never_preferred(hole):
    initial, final, _ = tensors(3)
    (initial if hole == "initial" else final)[3, 3] = np.nan
    for name, criterion in CRITERIA.items():
        if name in BOTH or name.endswith("sign"):
            assert np.isnan(criterion(initial, final)[3, 3]), name
    assert not any(mask(initial, final)[3, 3] for mask in SIGN_MASKS.values())


def test_a_nan_has_the_lowest_rank():
    scores = CRITERIA["large_init_large_final"]([3.0, 1, 2, 4], [math.nan, 2, 3, 1])
    np.testing.assert_array_equal(scores, [math.nan, 1 / 4, 2 / 4, 2 / 4])


def test_infinities_are_no_warning():
    initial, final = np.array([np.inf, 1.0, 0.0]), np.array([np.inf, 2.0, -np.inf])
    for name in CRITERIA.keys() - {"random"}:
        CRITERIA[name](initial, final, gradient=np.array([0.0, 1.0, np.inf]))


def test_close_float32_weights_do_not_tie():
    tiny = np.array([1e-30, 2e-30], np.float32)
    scores = CRITERIA["snip"](tiny, gradient=tiny)
    assert 0 < scores[0] < scores[1]


def test_random_is_uniform_and_comes_from_the_generator():
    first, again = (
        CRITERIA["random"](np.ones((50, 40)), rng=np.random.default_rng(5)) for _ in "ab"
    )
    np.testing.assert_array_equal(first, again)
    assert len(np.unique(first)) == 2000
    histogram, _ = np.histogram(first, bins=4, range=(0, 1))
    np.testing.assert_allclose(histogram, 500, atol=80)
    rng = np.random.default_rng(5)
    draws = [CRITERIA["random"](np.ones(9), rng=rng) for _ in range(2)]
    assert not np.array_equal(*draws)


def test_sign_masks():
    initial = np.array([1, -1, 1, 0.0, -0.0, 0, 2, -3], np.float32)
    final = np.array([2, -3, -1, -0.0, 0.0, 1, 0, np.inf], np.float32)
    same, diff = (SIGN_MASKS[name](initial, final) for name in ("same_sign", "diff_sign"))
    assert same.tolist() == [1, 1, 0, 1, 1, 0, 0, 0] and same.dtype == np.int8
    np.testing.assert_array_equal(diff, 1 - same)
    cases = [
        ("none yet", lambda: SIGN_MASKS["same_sign"](initial, None)),
        ("have shape", lambda: SIGN_MASKS["diff_sign"](initial, final[:3])),
    ]
    assert_refused(cases)


def test_jax_arrays_and_bfloat16_are_read_exactly():
    initial, final, gradient = (jnp.asarray(x, jnp.bfloat16) for x in tensors(1))
    for name in REFERENCES:
        exact = CRITERIA[name](
            *(np.asarray(x, np.float64) for x in (initial, final)), gradient=np.asarray(gradient)
        )
        np.testing.assert_array_equal(CRITERIA[name](initial, final, gradient=gradient), exact)


def test_inputs_are_left_alone():
    arrays = [array.astype(np.float64) for array in tensors(6)]  # float32 is copied anyway
    copies = [array.copy() for array in arrays]
    for criterion in CRITERIA.values():
        criterion(*arrays[:2], gradient=arrays[2], rng=np.random.default_rng(0))
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_missing_inputs_are_one_clear_line():
    for name, criterion in CRITERIA.items():
        reads_final = "final" in name or "increase" in name or name == "movement"
        needs = {
            "trained": reads_final,
            "gradient": name in ("snip", "gradient"),
            "default_rng": name == "random",
        }
        parameters = ("final", "gradient", "rng")
        assert [need in criterion.needs for need in parameters] == list(needs.values())
        for word, needed in needs.items():
            if needed:
                assert_refused([(f"criterion '{name}'.*{word}", partial(criterion, ONES))])
        if not any(needs.values()):
            criterion(ONES)


def test_wrong_shapes_and_names():
    cases = [
        (r"trained weights have shape \(2,\)", lambda: CRITERIA["movement"](ONES, ONES[:2])),
        (r"gradients have shape \(2,\)", lambda: CRITERIA["snip"](ONES, gradient=ONES[:2])),
        ("mask has shape", lambda: CRITERIA["large_init"](ONES, mask=ONES[:2])),
        ("unknown mask criterion.*mean 'large_final'", lambda: CRITERIA["large_finl"]),
        ("did you mean 'same_sign'", lambda: find_criterion("same_sing")),
    ]
    assert_refused(cases)
    assert find_criterion("snip") is CRITERIA["snip"]
