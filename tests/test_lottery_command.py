"""The command line of pruning: a kill, a dry run, and what goes wrong."""

import argparse
import json
import logging
import shutil
import signal
import sys
import threading
import time

import numpy as np
import pytest
from helpers import ROOT, refused, run_command, start_command, tiny_config
from lottery_helpers import ARGV, arrays, config

from supermask_jax import cli, experiment, lottery
from supermask_jax.commands import lottery as lottery_command
from supermask_jax.errors import UserError
from supermask_jax.training.workdir import Workdir

# A kill.


def command(*argv):
    return [sys.executable, str(ROOT / "experiments" / "lottery.py"), *ARGV, *argv]


def completed(workdir):
    return run_command(command(f"--workdir={workdir}"))


def outcome(path):
    """Everything the levels ended with, without times."""
    found = {}
    for folder in sorted(path.rglob("level_0*")):
        summary = Workdir(folder).finished_summary()
        summary.pop("seconds")
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for line in lines:
            line.pop("seconds")
        config = json.loads((folder / "config.json").read_text())
        masks = {n: m.tolist() for n, m in np.load(folder / "masks.npz").items()}
        final = {name: array.tolist() for name, array in arrays(folder).items()}
        found[str(folder.relative_to(path))] = (summary, lines, config, masks, final)
    return found, json.loads((path / "lottery.json").read_text())


def test_a_killed_level_ends_as_if_never_killed(tmp_path):
    whole = completed(tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    path = tmp_path / "killed"
    shutil.copytree(tmp_path / "whole" / "level_00", path / "level_00")
    watched = path / "random-reshuffle-reshuffled" / "level_01"
    process = start_command(command(f"--workdir={path}"))
    try:
        deadline = time.monotonic() + 60
        while len(Workdir(watched).read_metrics()) <= 3:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (watched / "summary.json").exists()
    again = completed(path)
    assert again.returncode == 0, again.stderr
    assert outcome(path) == outcome(tmp_path / "whole")


def test_the_result_tells_how_it_convolved():
    small = config()
    small.model.name, small.convolution = "conv2", "xla"
    args = argparse.Namespace(seeds=None, words=["--workdir", "a", "--plain", "--untrained"])
    result = lottery_command.result(args, small, [])
    assert result["command"] == "python experiments/lottery.py --untrained"
    assert result["env"]["convolution"] == "xla" and result["config"]["seed"] == [0]


# A dry run.


GRID = "--config.lottery.levels=3 --criteria=large_final,same_sign --mask1=rewind --mask0=zero"


@pytest.mark.parametrize(
    "argv, expected",
    [
        ([], ["2 cells, 7 training runs", "large_final-rewind-zero: 3 levels"]),
        (["--untrained"], ["1 training run in", "large_final-rewind-zero: 3 levels"]),
        (["--untrained"], ["same_sign-rewind-zero: 1 level\n"]),
        (["--config.lottery.mode=one_shot"], ["5 training runs", "same_sign-rewind-zero: 1 level"]),
        (["--criteria=snip", "--config.lottery.prune_at_init"], ["1 cell, 3 training runs"]),
    ],
)
def test_a_dry_run_counts_levels_and_writes_nothing(capsys, tmp_path, argv, expected):
    workdir = f"--workdir={tmp_path / 'run'}"
    assert cli.main(["lottery", *ARGV, *GRID.split(), *argv, "--dry_run", workdir]) == 0
    said = capsys.readouterr().out
    for words in expected:
        assert words in said
    assert not (tmp_path / "run").exists()


# What goes wrong.


@pytest.fixture(autouse=True)
def undisturbed(monkeypatch):
    """Undoes what `main` sets."""
    logger = logging.getLogger("supermask_jax")
    for name in ("handlers", "propagate", "level"):
        monkeypatch.setattr(logger, name, getattr(logger, name))
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)


def fails(capsys, *argv):
    """Runs the command in this process; returns its one line."""
    return refused(capsys, "lottery", *ARGV, *argv)


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--criteria=large_fnial"], "unknown mask criterion 'large_fnial': did you mean"),
        (["--criteria="], "names no criterion"),
        (["--config.lottery.levels=0"], "config.lottery.levels must be at least 1"),
        (["--config.lottery.rewind_steps=100000"], "rewind_steps must be from 0 to "),
        # Level by level one weight of dense3 would stay; of one shot 0.37 of one is left.
        (
            [*"--untrained --config.lottery.keep=0.7 --config.lottery.levels=15".split()]
            + ["--config.lottery.keep_layers.dense3=0.65"],
            "level 13 would leave none of the 100 weights of dense3/kernel",
        ),
        (["--config.method.name=signed"], "config.method.name must be 'dense'"),
        (["--criteria=movement", "--config.lottery.prune_at_init"], "but there are none yet"),
    ],
)
@pytest.mark.parametrize("more", [[], ["--dry_run"]])
def test_bad_input_is_one_line(capsys, tmp_path, argv, message, more):
    assert message in fails(capsys, *argv, *more, f"--workdir={tmp_path / 'run'}")
    assert not (tmp_path / "run").exists()


def test_configs_that_were_made_in_python():
    with pytest.raises(UserError, match="unknown config entry config.lottery"):
        experiment.build(config())
    with pytest.raises(UserError, match="the config has no section 'lottery'"):
        lottery.build(tiny_config())
    with pytest.raises(
        UserError, match=r"config\.lottery\.kep: did you mean config\.lottery\.keep"
    ):
        lottery.build(config({"kep": 0.5}))
