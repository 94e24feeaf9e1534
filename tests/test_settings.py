"""What is drawn is a function of the seed alone, whatever the process is set to."""

import contextlib

import jax
import numpy as np
import pytest
from helpers import assert_trees_equal, tiny_config

from supermask_jax import experiment
from supermask_jax.core import initializers
from supermask_jax.data.pipeline import epoch_order
from supermask_jax.data.transforms import crop_flip
from supermask_jax.methods import bernoulli
from supermask_jax.training.environment import seed_key

SETTINGS = {"x64": lambda: jax.enable_x64(True), "rbg": lambda: jax.default_prng_impl("rbg")}

SHAPE = (8, 8, 3, 8)

DRAWS = {
    **{
        name: (lambda key, name=name: initializers.get(name)(key, SHAPE))
        for name in initializers.INITIALIZERS
    },
    "epoch_order": lambda key: epoch_order(key, 1, 100, 8, shuffle=True),
    "crop_flip": lambda key: crop_flip(key, np.arange(768, dtype=np.uint8).reshape(4, 8, 8, 3)),
    "sampled": lambda key: bernoulli().apply(*bernoulli().init(key, PARAMS), key),
    "round": lambda key: bernoulli(variant="round").apply(
        *bernoulli(variant="round").init(key, PARAMS), key
    ),
}
PARAMS = {"layer": {"kernel": np.ones((20, 30), np.float32)}}


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**32 - 1])
def test_the_key_of_a_seed_is_that_of_jax_as_it_comes(seed):
    expected = jax.random.key(seed)
    assert_trees_equal(seed_key(seed), expected)
    for setting in SETTINGS.values():
        with setting():
            assert_trees_equal(seed_key(seed), expected)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", DRAWS)
def test_draws_are_of_the_key_alone(name, setting):
    expected = DRAWS[name](seed_key(3))
    with SETTINGS[setting]():
        assert_trees_equal(DRAWS[name](seed_key(3)), expected)


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_run_is_of_its_seed_alone(setting, tmp_path):
    found = []
    for name, context in (("plain", contextlib.nullcontext), ("set", SETTINGS[setting])):
        with context():
            found.append(experiment.run(tiny_config(epochs=1), tmp_path / name, quiet=True))
    assert found[0]["frozen_sha256"] == found[1]["frozen_sha256"]
    assert found[0]["test_loss"] == pytest.approx(found[1]["test_loss"], rel=1e-4)
    assert found[0]["remaining_weights"] == found[1]["remaining_weights"]
