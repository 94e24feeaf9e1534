"""Recipes that cannot work are refused before anything is trained."""

import pytest
from lottery_helpers import SIZES

from supermask_jax.errors import UserError
from supermask_jax.lottery.recipes import SIGN_MASKS, Recipe, check_recipe, last_level


@pytest.mark.parametrize(
    "recipe, message",
    [
        (Recipe("large_fnial"), "unknown mask criterion 'large_fnial': did you mean"),
        (Recipe(mask1="rewnd"), "unknown mask-1 action 'rewnd': did you mean 'rewind'"),
        (Recipe(mask0="zeros"), "unknown mask-0 action 'zeros': did you mean 'zero'"),
        (Recipe(scope="layers"), "unknown scope 'layers': did you mean 'layer'"),
        (Recipe(mode="oneshot"), "unknown mode 'oneshot': did you mean 'one_shot'"),
        (Recipe(keep=1.5), "keep is 1.5: give the share of the remaining weights"),
        (Recipe(keep={"third": 0.5, "*": 0.8}), "keep names 'third', but the layers are first/"),
        (Recipe(keep={"first": 0.5}), "keep holds no share for layer 'second/kernel'"),
        (Recipe(keep={"first": 0.5, "*": 0.8}, scope="global"), "keep holds several shares"),
        (Recipe(keep=0.2), "level 2 would leave none|level 3 would leave none"),
        (Recipe(keep=0.2, scope="global"), "would leave none of the 72 weights of the network"),
        (Recipe(sigma=-1.0), "sigma must be positive"),
        (Recipe(keep=1.0), "level 1 would prune no weight and equal level 0: lower keep$"),
        (Recipe(keep=0.99, mode="one_shot"), "level 1 would prune no weight"),
        (Recipe(keep=0.995, scope="global"), "level 1 would prune no weight"),
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


def test_a_level_that_prunes_nothing_is_named_and_the_one_before_it_accepted():
    # Of 48 weights 0.6 leaves 29, 17, 10, 6, 4, 2 and 1, and 0.6 of 1 is 1 again; of 24 it leaves
    # 14, 8, 5, 3, 2 and 1 already.
    recipe = Recipe(keep=0.6)
    check_recipe(recipe, SIZES, 7, trained=True)
    with pytest.raises(
        UserError, match=r"level 8 would .* equal level 7: lower keep, or stop at level 7$"
    ):
        check_recipe(recipe, SIZES, 8, trained=True)
    # 0.97 of 20 weights round by round: 19, 18, 17, 16, 16; in one shot: 19, 19 (18.8).
    for mode, level in (("iterative", 5), ("one_shot", 2)):
        recipe = Recipe(keep=0.97, mode=mode)
        check_recipe(recipe, {"only": 20}, level - 1, trained=True)
        with pytest.raises(UserError, match=f"level {level} would prune no weight"):
            check_recipe(recipe, {"only": 20}, level, trained=True)


def test_one_layer_may_stay_whole_while_another_is_pruned():
    check_recipe(Recipe(keep={"first": 1.0, "*": 0.8}), SIZES, 4, trained=True)
    check_recipe(Recipe(keep={"first": 1.0, "*": 0.8}, scope="global"), SIZES, 4, trained=True)


@pytest.mark.parametrize("criterion", [*SIGN_MASKS, "large_final"])
def test_a_sign_mask_of_one_network_is_one_level(criterion):
    one_shot = last_level(Recipe(criterion, mode="one_shot"), 5)
    assert one_shot == (1 if criterion in SIGN_MASKS else 5)
    assert last_level(Recipe(criterion), 5) == 5
