"""Flags of the rows of the results table: seeds, and what changes nothing."""

import argparse
import json
import runpy

import pytest
from helpers import ROOT
from ml_collections import ConfigDict

from supermask_jax.analysis.rows import Row
from supermask_jax.commands.common import seed_list
from supermask_jax.config import default_config
from supermask_jax.config.files import changes_nothing
from supermask_jax.errors import UserError
from supermask_jax.run_files import flat
from supermask_jax.studies import reproduce

SHIPPED = [
    row
    for row in runpy.run_path(str(ROOT / "experiments" / "rows.py"))["ROWS"]
    if (ROOT / "results" / f"{row.name}.json").exists()
]
ROWS = [Row("masked", "configs/quickstart.py")]


def test_entries_that_change_nothing_are_known_by_their_flags():
    assert changes_nothing("--config.mesh.data=4")
    assert changes_nothing("--config.tensorboard=true")
    assert not changes_nothing("--config.epochs=4")
    assert not changes_nothing("mesh")  # A value, not a flag.


@pytest.mark.parametrize("flag", ["--config.seed=3", "--config.num_seeds=4"])
def test_seeds_are_given_as_seeds(flag, tmp_path):
    with pytest.raises(UserError, match=f"leave out {flag}"):
        reproduce.reproduce(
            ROWS, [0], root=ROOT, runs=tmp_path, results=tmp_path / "results", flags=[flag]
        )


def test_a_seed_twice_is_refused():
    with pytest.raises(argparse.ArgumentTypeError, match="names a seed twice"):
        seed_list("0,1,0")


@pytest.mark.parametrize("row", SHIPPED, ids=lambda row: row.name)
def test_a_recorded_result_is_of_the_config_that_its_row_names_today(row):
    recorded = json.loads((ROOT / "results" / f"{row.name}.json").read_text())["config"]
    old = ConfigDict(default_config().to_dict(), type_safe=False)  # What older files lack.
    for section in ("method", "optimizer", "schedule", "weight_init"):
        old[section] = {}
    old.update(recorded)
    configs = (old, reproduce.row_config(row, ROOT, 0))
    was, found = (flat(json.loads(json.dumps(config.to_dict()))) for config in configs)
    different = {name for name, value in was.items() if found.get(name) != value}
    assert different <= {"seed", "num_seeds", "name", "data.data_dir", "data.cache_dir"}
