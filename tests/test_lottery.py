"""Lottery tickets between training runs: the method, levels and recipes."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_trees_close, assert_trees_equal

from supermask_jax import methods
from supermask_jax.core.actions import MASK0_ACTIONS, MASK1_ACTIONS
from supermask_jax.core.criteria import CRITERIA
from supermask_jax.core.levels import next_level, unpruned
from supermask_jax.core.pruning import num_kept
from supermask_jax.core.recipes import SIGN_MASKS, Recipe, check_recipe, level_shares
from supermask_jax.core.trees import named_leaves
from supermask_jax.errors import UserError
from supermask_jax.methods.lottery import lottery
from supermask_jax.training import optimizers

SHAPES = {"first/kernel": (6, 8), "second/kernel": (8, 3)}
SIZES = {"first/kernel": 48, "second/kernel": 24}


def draw(seed, shapes=SHAPES):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=s).astype(np.float32) for name, s in shapes.items()}


def params(seed=0):
    weights = draw(seed)
    return {
        "first": {"kernel": jnp.asarray(weights["first/kernel"])},
        "second": {"kernel": jnp.asarray(weights["second/kernel"]), "bias": jnp.zeros(3)},
    }


def loss(effective, seed):
    image = jax.random.normal(jax.random.key(seed), (16, 6))
    hidden = jax.nn.relu(image @ effective["first"]["kernel"])
    logits = hidden @ effective["second"]["kernel"] + effective["second"]["bias"][None]
    labels = jnp.argmax(image[:, :3], -1)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


OPTIMIZERS = {
    "sgdw": lambda: optimizers.sgdw(lambda t: 1.0, learning_rate=0.1, weight_decay=1e-2),
    "adamw": lambda: optimizers.adamw(lambda t: 1.0, learning_rate=0.01, weight_decay=0.1),
}


def train(method, tx, start, steps=20):
    """Returns (first trainable, trainable, frozen, jitted step)."""
    trainable, frozen = method.init(jax.random.key(0), start)
    first, opt_state = trainable, tx.init(trainable)

    @jax.jit
    def step(trainable, opt_state, frozen, seed):
        grads = jax.grad(lambda t: loss(method.apply(t, frozen), seed))(trainable)
        updates, opt_state = tx.update(grads, opt_state, trainable)
        return optax.apply_updates(trainable, updates), opt_state

    for i in range(steps):
        trainable, opt_state = step(trainable, opt_state, frozen, i)
    return first, trainable, frozen, step


@pytest.fixture(scope="module", params=OPTIMIZERS)
def ticket(request):
    """Half of the weights pruned and frozen at values; trained under momentum and decay."""
    rng = np.random.default_rng(7)
    masks = {name: (rng.random(s) < 0.5).astype(np.int8) for name, s in SHAPES.items()}
    values = draw(8)
    return masks, values, *train(lottery(masks, values), OPTIMIZERS[request.param](), params())


def test_pruned_weights_stay_at_their_values_and_kept_ones_train(ticket):
    masks, values, first, trainable, frozen, _ = ticket
    method = lottery(masks, values)
    before = named_leaves(method.apply(first, frozen))
    after = named_leaves(method.apply(trainable, frozen))
    for name, mask in masks.items():
        np.testing.assert_array_equal(
            before[name], np.where(mask, named_leaves(params())[name], values[name])
        )
        np.testing.assert_array_equal(np.asarray(after[name])[mask == 0], values[name][mask == 0])
        assert np.all(np.asarray(after[name])[mask == 1] != np.asarray(before[name])[mask == 1])
        assert np.all(np.asarray(named_leaves(trainable["weights"])[name])[mask == 0] == 0)
        np.testing.assert_array_equal(named_leaves(frozen["masks"])[name], mask)
        np.testing.assert_array_equal(named_leaves(frozen["values"])[name], values[name])
    assert np.all(np.asarray(after["second/bias"]) != 0)


def test_a_pruned_weight_is_its_value_even_over_nan(ticket):
    masks, values, _, trainable, frozen, _ = ticket
    method = lottery(masks, values)
    poisoned = dict(trainable)
    poisoned["weights"] = jax.tree.map(
        lambda w, m: jnp.where(m == 0, jnp.nan, w), trainable["weights"], frozen["masks"]
    )
    assert_trees_equal(method.apply(trainable, frozen), method.apply(poisoned, frozen))
    grads = jax.grad(lambda t: loss(method.apply(t, frozen), 0))(poisoned)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_gradient_reaches_kept_weights_alone(ticket):
    masks, values, _, trainable, frozen, _ = ticket
    method = lottery(masks, values)
    grads = jax.grad(lambda t: loss(method.apply(t, frozen), 0))(trainable)
    full = named_leaves(jax.grad(lambda p: loss(p, 0))(method.apply(trainable, frozen)))
    for name, grad in named_leaves(grads["weights"]).items():
        np.testing.assert_allclose(grad, np.asarray(full[name]) * masks[name], rtol=1e-5)
        assert np.count_nonzero(full[name][masks[name] == 0])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_all_ones_masks_are_dense_training(name):
    ones = {path: np.ones(shape, np.int8) for path, shape in SHAPES.items()}
    tx = OPTIMIZERS[name]()
    _, dense, _, _ = train(methods.dense(), tx, params())
    _, trained, frozen, _ = train(lottery(ones, draw(3)), tx, params())
    assert_trees_close(lottery(ones).apply(trained, frozen), dense["params"], rtol=1e-6)


def test_masks_and_values_are_arguments_of_the_compiled_step(ticket):
    masks, values = ticket[:2]
    others = lottery({name: 1 - mask for name, mask in masks.items()}, draw(9))
    tx = OPTIMIZERS["sgdw"]()
    _, _, _, step = train(lottery(masks, values), tx, params(), 1)
    trainable, frozen = others.init(jax.random.key(0), params())
    moved, _ = step(trainable, tx.init(trainable), frozen, 0)
    assert step._cache_size() == 1
    for name, weights in named_leaves(moved["weights"]).items():
        assert np.all((np.asarray(weights) != 0) == (masks[name] == 0))


def test_masks_are_int8_over_pruned_leaves_alone(ticket):
    masks, values, _, trainable, frozen, _ = ticket
    found = named_leaves(lottery(masks, values).masks(trainable, frozen))
    assert {name: mask.dtype for name, mask in found.items()} == dict.fromkeys(SHAPES, jnp.int8)


@pytest.mark.parametrize(
    "masks, values, message",
    [
        ({"third/kernel": np.ones((2, 2))}, None, "a mask for 'third/kernel', but only"),
        ({"first/kernel": np.ones((2, 2))}, None, r"the mask of 'first/kernel' has shape \(2, 2\)"),
        ({"first/kernel": np.ones((6, 8))}, {"first/kernel": np.ones(3)}, "the value of"),
        ({"first/kernel": np.ones((6, 8))}, {}, "there is no value for 'first/kernel'"),
        ({}, None, "masks no leaf"),
    ],
)
def test_wrong_masks(masks, values, message):
    with pytest.raises(ValueError, match=message):
        lottery(masks, values).init(jax.random.key(0), params())


# Levels.


def climb(recipe, levels, seed=0):
    """Returns the levels 0 ... `levels` with made-up training: [(level, its final weights)]."""
    origin = draw(0)
    steps = [(unpruned(origin), draw(100))]
    for number in range(1, levels + 1):
        before, final = steps[0] if recipe.mode == "one_shot" else steps[-1]
        level = next_level(
            recipe, origin, before, final,
            level=number, seed=seed, gradient=draw(50), fresh=draw(200 + number),
        )  # fmt: skip
        trained = draw(100 + number)
        final = {n: np.where(m, trained[n], level.values[n]) for n, m in level.masks.items()}
        steps.append((level, final))
    return steps


def expected_counts(recipe, levels):
    for name, size in SIZES.items():
        share, left = level_shares(recipe, list(SIZES), 1)[name], size
        for number in range(1, levels + 1):
            one_shot = recipe.mode == "one_shot"
            left = num_kept(share**number if one_shot else share, size if one_shot else left)
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
            made = action(source[name], level.masks[name], rng, fresh=draw(202)[name])
            np.testing.assert_array_equal(level.initial[name], made)


def test_rescaling_and_sigma():
    level = climb(Recipe(mask1="signed_constant", keep=0.5, sigma=0.25, rescale=True), 1)[1][0]
    for name, mask in level.masks.items():
        np.testing.assert_allclose(level.start[name], np.sign(draw(0)[name]) * 0.5 * mask)


def test_choices_are_seeded_and_pairs_of_recipes_share_them():
    masks = [climb(Recipe("random", mask1), 2)[2][0] for mask1 in ("reshuffle", "rewind")]
    again, other = (climb(Recipe("random", "reshuffle"), 2, seed)[2][0] for seed in (0, 1))
    assert_trees_equal(masks[0]._asdict(), again._asdict())
    for name in SHAPES:
        np.testing.assert_array_equal(masks[0].masks[name], masks[1].masks[name])
        assert np.any(masks[0].masks[name] != other.masks[name])


@pytest.mark.parametrize(
    "recipe, message",
    [
        (Recipe("large_fnial"), "unknown mask criterion 'large_fnial': did you mean"),
        (Recipe(mask1="rewnd"), "unknown mask-1 action 'rewnd': did you mean 'rewind'"),
        (Recipe(mask0="zeros"), "unknown mask-0 action 'zeros': did you mean 'zero'"),
        (Recipe(scope="layers"), "unknown scope 'layers': did you mean 'layer'"),
        (Recipe(mode="oneshot"), "unknown mode 'oneshot': did you mean 'one_shot'"),
        (Recipe(counting="near"), "unknown counting 'near'"),
        (Recipe(keep=1.5), "keep is 1.5: give the share of the remaining weights"),
        (Recipe(keep=0.0), "keep is 0.0"),
        (Recipe(keep={"third": 0.5, "*": 0.8}), "keep names 'third', but the layers are first/"),
        (Recipe(keep={"first": 0.5}), "keep holds no share for layer 'second/kernel'"),
        (Recipe(keep={"first": 0.5, "*": 0.8}, scope="global"), "keep holds several shares"),
        (Recipe(keep=0.2), "level 2 would leave none|level 3 would leave none"),
        (Recipe(keep=0.2, scope="global"), "would leave none of the 72 weights of the network"),
        (Recipe(keep=0.2, mode="one_shot"), "would leave none of the 48 weights"),
        (Recipe(sigma=-1.0), "sigma must be positive"),
    ],
)
def test_impossible_recipes(recipe, message):
    with pytest.raises(UserError, match=message) as caught:
        check_recipe(recipe, SIZES, 4, trained=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "recipe", [Recipe("large_final"), Recipe("same_sign"), Recipe("snip", mask0="variant_1")]
)
def test_trained_weights_are_needed_before_there_are_any(recipe):
    check_recipe(recipe, SIZES, 2, trained=True)
    with pytest.raises(UserError, match="but there are none yet: train first"):
        check_recipe(recipe, SIZES, 2, trained=False)
    check_recipe(Recipe("snip"), SIZES, 2, trained=False)
