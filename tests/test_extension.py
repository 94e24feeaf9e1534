"""A finished run that is given more epochs is the longer run, bit for bit, or says why not."""

import pathlib

import pytest
from helpers import interrupted_run, left, tiny_config

from supermask_jax import experiment
from supermask_jax.errors import UserError
from supermask_jax.training import extension
from supermask_jax.training.workdir import Workdir

SCHEDULES = {
    "exponential": {"rate": 0.5, "every": 1.0, "staircase": True},
    "plateau": {"patience": 3, "start": 0},
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_two_epochs_and_a_third_are_three(name, tmp_path):
    config = tiny_config(epochs=3)
    config.schedule = {"name": name, **SCHEDULES[name]}
    experiment.run(config, tmp_path / "whole", quiet=True)
    config.epochs = 2
    experiment.run(config, tmp_path / "more", quiet=True)
    assert Workdir(tmp_path / "more").finished_summary()["epoch"] == 2
    config.epochs = 3
    experiment.run(config, tmp_path / "more", quiet=True)
    assert left(tmp_path / "more") == left(tmp_path / "whole")
    assert Workdir(tmp_path / "more").read_config() == Workdir(tmp_path / "whole").read_config()


def test_a_set_of_seeds_and_a_stopped_run_are_extended(tmp_path, monkeypatch):
    config = tiny_config(epochs=2, num_seeds=2)
    experiment.run(tiny_config(epochs=3, num_seeds=2), tmp_path / "whole", quiet=True)
    for epochs in (2, 3):
        config.epochs = epochs
        experiment.run(config, tmp_path / "more", quiet=True)
    assert left(tmp_path / "more") == left(tmp_path / "whole")
    interrupted_run(tmp_path / "stopped", monkeypatch, epochs=2)
    assert experiment.run(tiny_config(epochs=5), tmp_path / "stopped", quiet=True)["epoch"] == 5


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ({"schedule": {"name": "cosine"}}, "the schedule 'cosine' follows the length of the run"),
        ({"method": {"name": "signed_topk"}}, "the method's density follows the length of the run"),
    ],
)
def test_what_follows_the_length_of_a_run_is_refused_and_nothing_changed(entries, why, tmp_path):
    config = tiny_config(epochs=1)
    for name, value in entries.items():
        config[name] = value
    experiment.run(config, tmp_path, quiet=True)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    config.epochs = 2
    with pytest.raises(UserError, match=f"has 1 epochs, and cannot go on to 2: {why}.*--workdir"):
        experiment.run(config, tmp_path, quiet=True)
    assert before == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}


def test_fewer_epochs_and_other_changes_are_another_config(tmp_path):
    experiment.run(tiny_config(epochs=2), tmp_path, quiet=True)
    for entries in ({"epochs": 1}, {"epochs": 3, "batch_size": 64}):
        with pytest.raises(UserError, match="holds a run of another config"):
            experiment.run(tiny_config(**entries), tmp_path, quiet=True)


@pytest.mark.parametrize("at", [(Workdir, "write_json"), (pathlib.Path, "unlink")])
def test_killed_while_it_is_reopened_it_is_still_a_run(at, tmp_path, monkeypatch):
    experiment.run(tiny_config(epochs=2), tmp_path, quiet=True)
    folder = Workdir(tmp_path)

    def killed(*unused, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(*at, killed)
    with pytest.raises(KeyboardInterrupt):
        extension.reopen(folder, 3)
    monkeypatch.undo()
    assert folder.read_config()["epochs"] == 2
    assert experiment.run(tiny_config(epochs=3), tmp_path, quiet=True)["epoch"] == 3
