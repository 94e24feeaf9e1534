"""Flags of the rows of the results table: seeds, and what changes nothing."""

import argparse

import pytest
from helpers import ROOT

from supermask_jax import reproduce
from supermask_jax.analysis.rows import Row
from supermask_jax.commands.common import seed_list
from supermask_jax.config_files import changes_nothing
from supermask_jax.errors import UserError

ROWS = [Row("masked", "configs/quickstart.py")]


def test_entries_that_change_nothing_are_known_by_their_flags():
    assert changes_nothing("--config.mesh.data=4")
    assert changes_nothing("--config.tensorboard=true")
    assert not changes_nothing("--config.epochs=4")
    assert not changes_nothing("mesh")  # A value, not a flag.


@pytest.mark.parametrize("flag", ["--config.seed=3", "--config.num_seeds=4"])
def test_seeds_are_given_as_seeds(flag, tmp_path):
    with pytest.raises(UserError, match=f"{flag} is set by --seeds"):
        reproduce.reproduce(
            ROWS, [0], root=ROOT, runs=tmp_path, results=tmp_path / "results", flags=[flag]
        )


def test_a_seed_twice_is_refused():
    with pytest.raises(argparse.ArgumentTypeError, match="a seed twice"):
        seed_list("0,1,0")
