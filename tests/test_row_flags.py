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


def test_flags_that_change_nothing_are_no_part_of_the_command(done):
    folder, found = done
    flags = ["--config.data.cache_dir=elsewhere"]
    places = {"root": ROOT, "runs": folder / "runs", "results": folder / "results"}
    assert reproduce.reproduce(ROWS[:1], [0, 1], flags=flags, **places) == found[:1]


def test_without_an_accelerator_slow_rows_are_skipped_unless_named(monkeypatch, capsys, tmp_path):
    ran = []
    monkeypatch.setattr(reproduce, "reproduce", lambda rows, *_, **__: ran.extend(rows) or [])
    argv = [f"--results={tmp_path}"]
    assert command.main(ROWS, ROOT, argv) == 0
    assert ran == ROWS[:2]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("to run it: --rows=never")
    ran.clear()
    assert command.main(ROWS, ROOT, [*argv, "--rows=never"]) == 0
    assert ran == ROWS[2:]
    ran.clear()
    monkeypatch.setattr("jax.default_backend", lambda: "gpu")
    assert command.main(ROWS, ROOT, argv) == 0
    assert ran == ROWS


def test_a_spent_budget_starts_nothing(tmp_path):
    found = reproduce.reproduce(
        ROWS[:1], [0], root=ROOT, runs=tmp_path / "r", results=tmp_path, budget_minutes=-1.0
    )
    assert found == []
    assert not (tmp_path / "r").exists()


def test_a_budget_ends_a_row_between_seeds_and_keeps_what_there_is(done, tmp_path, monkeypatch):
    folder, found = done
    clock = iter([0.0, 1.0, 2.0, 61.0])  # The start, then before each run.
    monkeypatch.setattr(reproduce.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr("supermask_jax.experiment.run", lambda *_, **__: {})  # Finished already.
    partial = reproduce.reproduce(
        ROWS[:2], [0, 1], root=ROOT, runs=folder / "runs", results=tmp_path, budget_minutes=1.0
    )
    assert [result["n"] for result in partial] == [2]
    clock = iter([0.0, 1.0, 61.0])
    partial = reproduce.reproduce(
        ROWS[1:2], [0, 1], root=ROOT, runs=folder / "runs", results=tmp_path, budget_minutes=1.0
    )
    assert [run["seed"] for run in partial[0]["runs"]] == [0]
    assert json.loads((tmp_path / "dense.json").read_text()) == partial[0]


def test_collect_refuses_nothing_silently(tmp_path):
    with pytest.raises(FileNotFoundError):
        collect([tmp_path])


def test_mean_rows_keep_cells_and_average_seeds():
    row = {"criterion": "movement", "level": 1}
    seeds = [[row | {"density": 0.5, "test_accuracy": a}] for a in (0.8, 0.9)]
    (merged,) = mean_rows(seeds)
    assert merged["criterion"] == "movement"
    assert merged["density"] == 0.5
    assert merged["test_accuracy"] == mean_interval([0.8, 0.9])._asdict()
    with pytest.raises(ValueError, match="zip"):
        mean_rows([seeds[0], []])


def test_select():
    assert select(ROWS, ["dense", "m*"]) == [ROWS[0], ROWS[1]]  # In the order of the table.
    with pytest.raises(UserError, match="unknown row 'masks': did you mean 'masked'"):
        select(ROWS, ["masks"])


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--rows=masks"], "did you mean 'masked'"),
        (["--rows=masked", "--seeds=a"], "argument --seeds: whole numbers with commas, got 'a'"),
        (["--rows=masked", "--config.epohcs=1"], "did you mean 'epochs'"),
        (["--budget_minutes=soon"], "invalid float value"),
    ],
)
def test_bad_input_is_one_line(argv, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command.main(ROWS, ROOT, argv) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert words in line
    assert not list(tmp_path.iterdir())


def test_list(capsys):
    assert command.main(ROWS, ROOT, ["--list"]) == 0
    assert "configs/quickstart.py" in capsys.readouterr().out


def test_flags_that_change_nothing_are_no_part_of_a_row():
    assert changes_nothing("--config.mesh.data=4")
    assert changes_nothing("--config.tensorboard=true")
    assert not changes_nothing("--config.epochs=4")


@pytest.mark.parametrize("flag", ["--config.seed=3", "--config.num_seeds=4"])
def test_seeds_are_given_as_seeds(flag, tmp_path):
    with pytest.raises(UserError, match=f"{flag} is set by --seeds"):
        reproduce.reproduce(
            ROWS, [0], root=ROOT, runs=tmp_path, results=tmp_path / "results", flags=[flag]
        )


def test_a_seed_twice_is_refused():
    with pytest.raises(argparse.ArgumentTypeError, match="a seed twice"):
        seed_list("0,1,0")
