"""From one level of pruning to the next: counts, values, starts, and what is drawn."""

import itertools

import numpy as np
import pytest
from helpers import assert_trees_equal
from lottery_helpers import SHAPES, SIZES, draw

from supermask_jax.core.counting import num_kept
from supermask_jax.lottery.actions import MASK0_ACTIONS, MASK1_ACTIONS
from supermask_jax.lottery.criteria import CRITERIA
from supermask_jax.lottery.levels import Level, next_level, unpruned
from supermask_jax.lottery.pruning import prune_global, prune_layers
from supermask_jax.lottery.recipes import SIGN_MASKS, Recipe, level_shares


def climb(recipe, levels, seed=0):
    """Returns the levels 0 ... `levels` with made-up training: [(level, its final weights)]."""
    origin = draw(0)
    steps = [(unpruned(origin), draw(100))]
    for number in range(1, levels + 1):
        before, final = steps[0] if recipe.mode == "one_shot" else steps[-1]
        drawn = {"gradient": draw(50), "fresh": draw(200 + number)}
        level = next_level(recipe, origin, before, final, level=number, seed=seed, **drawn)
        trained = draw(100 + number)
        final = {n: np.where(m, trained[n], level.values[n]) for n, m in level.masks.items()}
        steps.append((level, final))
    return steps


def expected_counts(recipe, levels):
    for name, size in SIZES.items():
        share, left = level_shares(recipe, list(SIZES), 1)[name], size
        for number in range(1, levels + 1):
            one_shot = recipe.mode == "one_shot"
            share_of, of = (share**number, size) if one_shot else (share, left)
            left = num_kept(share_of, of, at_least=0)
            yield name, number, left


@pytest.mark.parametrize("mode", ["iterative", "one_shot"])
@pytest.mark.parametrize("criterion", CRITERIA)
def test_counts_are_exact_and_what_is_pruned_never_returns(criterion, mode):
    recipe = Recipe(criterion, keep={"second": 0.9, "*": 0.7}, mode=mode)
    steps = climb(recipe, 4)
    for name, number, count in expected_counts(recipe, 4):
        assert steps[number][0].masks[name].sum() == count
        if mode == "iterative":
            assert np.all(steps[number][0].masks[name] <= steps[number - 1][0].masks[name])


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("quirks", [False, True])
@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_criterion_is_given_all_that_it_reads(criterion, quirks, scope):
    recipe = Recipe(criterion, keep=0.7, scope=scope, counting="frankle", original_quirks=quirks)
    (before, final), (level, _) = climb(recipe, 2)[1:]
    rng, gradient = np.random.default_rng([0, 2, 0]), draw(50)
    scores, options = {}, {"rng": rng, "original_quirks": quirks}
    for name in sorted(SIZES):
        options |= {"gradient": gradient[name], "mask": before.masks[name]}
        scores[name] = CRITERIA[criterion](before.initial[name], final[name], **options)
    prune = prune_layers if scope == "layer" else prune_global
    expected = prune(before.masks, scores, 0.7, rng=rng, counting="frankle")  # Ties at random.
    assert_trees_equal(level.masks, expected)


def test_global_scope_counts_all_layers_and_leaves_whole_ones_alone():
    steps = climb(Recipe(scope="global", keep=0.7), 2)
    assert [sum(m.sum() for m in level.masks.values()) for level, _ in steps] == [72, 50, 35]
    flat = np.concatenate([np.abs(final).ravel() for final in steps[0][1].values()])
    kept = np.concatenate([mask.ravel() for mask in steps[1][0].masks.values()])
    assert flat[kept == 1].min() > flat[kept == 0].max()
    level = climb(Recipe(scope="global", keep={"second": 1.0, "*": 0.5}), 1)[1][0]
    assert [int(m.sum()) for m in level.masks.values()] == [24, 24]


@pytest.mark.parametrize("criterion", SIGN_MASKS)
def test_sign_masks_need_no_share(criterion):
    (zero, final), (level, _) = climb(Recipe(criterion), 1)
    for name, mask in level.masks.items():
        same = np.sign(zero.initial[name]) == np.sign(final[name])
        np.testing.assert_array_equal(mask, same == (criterion == "same_sign"))
    first, second = (level.masks for level, _ in climb(Recipe(criterion), 2)[1:])
    assert all(np.all(second[name] <= first[name]) for name in SIZES)
    assert any(np.any(second[name] < first[name]) for name in SIZES)


def test_large_final_rewinds_the_largest_to_the_weights_of_level_0():
    steps = climb(Recipe(keep=0.5), 3)
    for (before, final), (level, _) in itertools.pairwise(steps):
        for name, mask in level.masks.items():
            origin = draw(0)[name]
            np.testing.assert_array_equal(level.start[name], origin * mask)
            assert not level.values[name].any()
            magnitude = np.abs(final[name])
            hidden = (mask == 0) & (before.masks[name] == 1)
            assert magnitude[mask == 1].min() > magnitude[hidden].max()


@pytest.mark.parametrize("mask0", MASK0_ACTIONS)
@pytest.mark.parametrize("mask1", MASK1_ACTIONS)
def test_frozen_values_are_those_of_the_round_that_pruned_and_stay(mask0, mask1):
    steps = climb(Recipe("movement", mask1, mask0, keep=0.6), 3)
    for (before, final), (level, _) in itertools.pairwise(steps):
        for name, new in level.masks.items():
            old, w_i, w_f = before.masks[name], before.initial[name], final[name]
            np.testing.assert_array_equal(
                level.values[name][old == 0], before.values[name][old == 0]
            )
            pruned, shrank = (old == 1) & (new == 0), np.abs(w_i) > np.abs(w_f)
            expected = {
                "zero": np.zeros_like(w_i),
                "frozen_at_init": w_i,
                "variant_1": np.where(shrank, 0, w_i),
                "variant_2": np.where(shrank, 0, w_i),
                "reverse": np.where(shrank, w_i, 0),
            }
            values = level.values[name][pruned]
            if mask0 == "reshuffled":
                assert np.sum(values == 0) == np.sum(shrank[pruned])
                assert set(values) <= {0.0, *w_i[pruned]}
            else:
                np.testing.assert_array_equal(values, expected[mask0][pruned])
            start = np.where(shrank & (mask0 == "variant_2"), 0, level.initial[name])
            np.testing.assert_array_equal(level.start[name], start * new)
            np.testing.assert_array_equal(
                level.weights()[name], np.where(new, level.start[name], level.values[name])
            )


@pytest.mark.parametrize("mask1", MASK1_ACTIONS)
def test_mask1_actions_act_on_level_0_or_compound(mask1):
    origin, recipe = draw(0), Recipe(mask1=mask1, keep=0.6, rescale=False)
    for quirks in (False, True):
        steps = climb(recipe._replace(original_quirks=quirks), 2)
        source = steps[1][0].initial if quirks else origin
        level = steps[2][0]
        action, rng = MASK1_ACTIONS[mask1], np.random.default_rng([0, 2, 1])
        for name in sorted(SHAPES):
            given = {"fresh": draw(202)[name], "final": steps[1][1][name]}
            made = action(source[name], level.masks[name], rng=rng, **given)
            np.testing.assert_array_equal(level.initial[name], made)


def test_rescaling_and_sigma():
    level = climb(Recipe(mask1="signed_constant", keep=0.5, sigma=0.25, rescale=True), 1)[1][0]
    for name, mask in level.masks.items():
        np.testing.assert_allclose(level.start[name], np.sign(draw(0)[name]) * 0.5 * mask)


def test_rescaled_actions_do_not_compound():
    recipe = Recipe(mask1="reinit_permuted", keep=0.5, rescale=True)
    plain, quirks = (climb(recipe._replace(original_quirks=on), 2)[2][0] for on in (False, True))
    assert_trees_equal(plain.initial, quirks.initial)


def test_choices_are_seeded_and_pairs_of_recipes_share_them():
    masks = [climb(Recipe("random", mask1), 2)[2][0] for mask1 in ("reshuffle", "rewind")]
    again, other = (climb(Recipe("random", "reshuffle"), 2, seed)[2][0] for seed in (0, 1))
    assert_trees_equal(masks[0]._asdict(), again._asdict())
    for name in SHAPES:
        np.testing.assert_array_equal(masks[0].masks[name], masks[1].masks[name])
        assert np.any(masks[0].masks[name] != other.masks[name])


def test_variant_2_starts_from_0_for_good():
    # Level 1 prunes 2 (0.5), which shrank: frozen at 0. Weights 0 and 5 shrank: they start from 0,
    # and that is their w_i in level 2. It prunes 0 (4.5), which grew from 0: frozen at 0, not at
    # 4. Weight 5 grew from 0 and stays there, 4 shrank now, 1 and 3 grew from what they were.
    w, first, second = (
        {"layer": np.float32(values)}
        for values in ([4, 3, 2, 1, 5, 6], [3, 3.5, 0.5, 2, 5.5, 5], [4.5, 4.8, 0, 4.6, 4.7, 7])
    )
    for quirks in (False, True):
        recipe = Recipe(mask0="variant_2", keep=5 / 6, original_quirks=quirks)
        one = next_level(recipe, w, unpruned(w), first, level=1, seed=0)
        np.testing.assert_array_equal(one.weights()["layer"], [0, 3, 0, 1, 5, 0])
        two = next_level(recipe._replace(keep=4 / 5), w, one, second, level=2, seed=0)
        np.testing.assert_array_equal(two.masks["layer"], [0, 1, 0, 1, 1, 1])
        np.testing.assert_array_equal(two.weights()["layer"], [0, 3, 0, 1, 0, 0])


def test_the_originals_control_draws_its_zeros_among_all_that_is_pruned():
    w = {"layer": np.float32([1, 2, 3, 4, 5, 6, 7, 8])}
    frozen = np.array([1, 1, 1, 1, 0, 0, 0, 0], np.int8)
    before = Level({"layer": 1 - frozen}, {"layer": frozen * w["layer"]}, w, w)
    final = {"layer": np.float32([1, 2, 3, 4, 0.2, 0.1, 7, 8])}  # 4 and 5 shrink, and are pruned.
    drawn = set()
    for seed, quirks in itertools.product(range(4), (False, True)):
        recipe = Recipe(mask0="reshuffled", keep=0.5, original_quirks=quirks)
        values = next_level(recipe, w, before, final, level=2, seed=seed).values["layer"][:6]
        zeros = np.flatnonzero(values == 0)
        assert len(zeros) == 2
        np.testing.assert_array_equal(np.delete(values, zeros), np.delete(w["layer"][:6], zeros))
        if quirks:
            drawn |= set(zeros)
        else:
            np.testing.assert_array_equal(zeros, [4, 5])
    assert drawn & {0, 1, 2, 3}
