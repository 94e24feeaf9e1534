"""A search: its grid, what it refuses, its log, and going on from it."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from helpers import ROOT, single_threaded

from supermask_jax.commands import search as command
from supermask_jax.errors import UserError
from supermask_jax.search import grid, jobs

QUICK = str(ROOT / "configs" / "quickstart.py")
TINY = ["--config.model.width=0.1", "--config.epochs=2"]
THRESHOLDS = "--grid=method.threshold.value=0.01,0.05"


def search(*argv, config=QUICK):
    return command.main([f"--config={config}", *TINY, "--workdir=work", "--out=log.json", *argv])


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def no_runs(monkeypatch):
    """Runs that end at once; returns what was run, as (seed, threshold)."""
    seen = []

    def run_one(config, folder):
        threshold = config.method.threshold["value"]
        seen.append((config.seed, threshold))
        return {"val_accuracy": 1 - threshold, "remaining_weights": 0.1 - threshold, "seconds": 1.0}

    monkeypatch.setattr(jobs, "run_one", run_one)
    return seen


def test_axes():
    assert grid.parse_axis("a.b=1,2") == grid.Axis(("a.b",), (("1",), ("2",)))
    assert grid.parse_axis("a,config.b=1:2,3:4") == grid.Axis(("a", "b"), (("1", "2"), ("3", "4")))
    for text in ("a", "a=", "=1", "a,=1:2"):
        with pytest.raises(UserError, match="an entry and its values"):
            grid.parse_axis(text)
    for text in ("a,b=1", "a,b=1:", "a,b=1:2:3", "a=1,"):
        with pytest.raises(UserError, match="parts in every value"):
            grid.parse_axis(text)


def test_points_are_all_combinations_with_values_of_the_entries_types():
    axes = ["method.threshold.value=0.01,0.02", "epochs,optimizer.learning_rate=1:1,2:0.5"]
    trials = grid.load_trials(QUICK, TINY, [grid.parse_axis(text) for text in axes])
    assert [tuple(trial.point.values()) for trial in trials] == [
        (0.01, 1, 1.0), (0.01, 2, 0.5), (0.02, 1, 1.0), (0.02, 2, 0.5),
    ]  # fmt: skip
    assert trials[3].config.optimizer.learning_rate == 0.5
    assert len({trial.digest for trial in trials}) == 4


def test_the_digest_is_of_the_config_and_not_of_how_it_was_written():
    a = grid.load_trial(QUICK, TINY, [("method.threshold.value", "0.02")])
    b = grid.load_trial(QUICK, [*TINY, "--config.method.threshold.value=2e-2"])
    c = grid.load_trial(QUICK, TINY)
    assert a.digest == b.digest != c.digest
    assert grid.load_trial(QUICK, [*TINY, "--config.seed=3"]).digest == c.digest


def test_draws_are_of_the_seed():
    trials = list(range(20))
    assert grid.draw(trials, 5, 0) == grid.draw(trials, 5, 0) != grid.draw(trials, 5, 1)
    assert len(set(grid.draw(trials, 20, 0))) == 20
    with pytest.raises(UserError, match="from 1 to 20"):
        grid.draw(trials, 21, 0)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--grid=method.threshold.valeu=0.01"], "did you mean 'value'"),
        (["--grid=epochs=1,0.5"], "0.5"),
        (["--grid=epochs=1,0"], "config.epochs must be at least 1"),
        (["--grid=method.threshold.value=0.01,-1"], "finite and at least 0, got -1"),
        (["--grid=method.threshold.value=0.01,1e-2"], "are the same run"),
        (["--grid=steps_per_call=1,2"], "are the same run"),
        (["--grid=epochs=1", "--grid=epochs=2"], "sets epochs twice"),
        (["--grid=seed=1,2"], "give them with --seeds"),
        (["--grid=protocol=validation,paper"], "never on test"),
        ([THRESHOLDS, "--config.protocol=paper"], "never on test"),
        ([THRESHOLDS, "--seeds=a"], "whole numbers with commas"),
        ([THRESHOLDS, "--random=3"], "--random must be from 1 to 2"),
        ([THRESHOLDS, "--jobs=0"], "--jobs must be at least 1"),
        ([THRESHOLDS, "--at_most=3.1"], "in (0, 1], got 3.1"),
        ([], "required: --grid"),
    ],
)
def test_bad_input_is_one_line_before_anything_runs(argv, words, capsys, tmp_path):
    assert search(*argv) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert words in line
    assert not list(tmp_path.iterdir())


def test_two_searches_into_one_log_lose_no_run(no_runs, tmp_path, monkeypatch, capsys):
    run_one, others = jobs.run_one, []

    def meanwhile(config, folder):
        if not others:
            others.append(True)
            assert search("--grid=method.threshold.value=0.02,0.05") == 0
        return run_one(config, folder)

    monkeypatch.setattr(jobs, "run_one", meanwhile)
    assert search(THRESHOLDS) == 0
    log = json.loads((tmp_path / "log.json").read_text())
    found = sorted(run["point"]["method.threshold.value"] for run in log["runs"])
    assert found == [0.01, 0.02, 0.05]
    assert len(log["commands"]) == 2
    assert [file.name for file in tmp_path.iterdir()] == ["log.json"]


def test_a_search_over_another_config_is_refused_while_the_first_run_trains(
    no_runs, monkeypatch, capsys
):
    run_one = jobs.run_one

    def meanwhile(config, folder):
        monkeypatch.setattr(jobs, "run_one", run_one)
        assert search(THRESHOLDS, "--config.batch_size=16") == 1
        return run_one(config, folder)

    monkeypatch.setattr(jobs, "run_one", meanwhile)
    assert search(THRESHOLDS) == 0
    assert "the log of a search over another config (batch_size: " in capsys.readouterr().err


def test_the_log_holds_validation_alone_and_runs_that_diverge(tmp_path, capsys):
    assert search("--grid=weight_init.gain=1e38,1.0", "--at_most=1.0") == 0
    text = (tmp_path / "log.json").read_text()
    assert "test_accuracy" not in text
    assert "test_loss" not in text
    log = json.loads(text)
    assert log["config"]["protocol"] == "validation"
    failed, run = log["runs"]
    assert failed["failed"].startswith("training diverged")
    assert run["point"] == {"weight_init.gain": 1.0}
    folder = tmp_path / "work" / run["digest"] / "s0"
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["epoch"] == run["epoch"] == 2
    assert run["val_accuracy"] == last["val_accuracy"]
    assert run["remaining_weights"] == last["remaining_weights"]
    out = capsys.readouterr().out
    assert "1 runs failed, the first: training diverged" in out
    assert "best with at most 100.00% of the weights: weight_init.gain=1.0 " in out


def test_a_search_goes_on_from_its_log(no_runs, tmp_path):
    assert search(THRESHOLDS) == 0
    assert search("--grid=method.threshold.value=0.05,0.02", "--seeds=0,1") == 0
    # Seed by seed; what the log holds is not run again, whatever grid it came from.
    assert no_runs == [(0, 0.01), (0, 0.05), (0, 0.02), (1, 0.05), (1, 0.02)]
    log = json.loads((tmp_path / "log.json").read_text())
    assert len(log["runs"]) == 5
    assert len(log["commands"]) == 2
    assert "--workdir" not in log["commands"][0]
    assert THRESHOLDS in log["commands"][0]


def test_a_log_of_another_search_is_refused(no_runs, tmp_path, capsys):
    assert search(THRESHOLDS) == 0
    assert search(THRESHOLDS, "--config.epochs=3") == 1
    assert "over another config (epochs: 2 -> 3)" in capsys.readouterr().err
    (tmp_path / "log.json").write_text("{}")
    assert search(THRESHOLDS) == 1
    assert "is not the log of a search" in capsys.readouterr().err


def test_a_spent_budget_starts_nothing_and_says_what_is_left(no_runs, capsys):
    assert search(THRESHOLDS, "--budget_minutes=-1") == 0
    assert no_runs == []
    assert "2 runs left: give the same command to go on" in capsys.readouterr().out


def test_the_best_point_under_a_bound(no_runs, capsys):
    assert search(THRESHOLDS, "--at_most=0.06") == 0
    out = capsys.readouterr().out
    assert "best with at most 6.00% of the weights: method.threshold.value=0.05 (95.00 %" in out
    assert search(THRESHOLDS, "--at_most=0.01") == 0
    assert "no point has at most 1.00% of the weights" in capsys.readouterr().out


def test_other_errors_end_the_search(monkeypatch):
    def run(*unused, **unused_too):
        raise UserError("no space")

    monkeypatch.setattr("supermask_jax.experiment.run", run)
    with pytest.raises(UserError, match="no space"):
        jobs.run_one(None, None)


def test_print_and_dry_run_write_nothing(tmp_path, capsys):
    assert search(THRESHOLDS, "--seeds=0,1", "--dry_run") == 0
    assert "2 points x 2 seeds" in capsys.readouterr().out
    assert search(THRESHOLDS, "--print_config") == 0
    assert "epochs: 2" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_runs_side_by_side_are_saved_when_stopped(tmp_path):
    argv = [
        f"--config={QUICK}", "--config.model.width=0.1", "--config.epochs=3000", THRESHOLDS,
        "--workdir=work", "--out=log.json", "--jobs=2",
    ]  # fmt: skip
    done = subprocess.Popen(
        [sys.executable, str(ROOT / "experiments" / "search.py"), *argv],
        stderr=subprocess.PIPE, text=True, env=single_threaded(), cwd=tmp_path,
    )  # fmt: skip
    deadline = time.monotonic() + 100
    while len(list(tmp_path.glob("work/*/s0/metrics.jsonl"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(done.pid, signal.SIGTERM)
    try:
        err = done.communicate(timeout=60)[1]
    finally:
        done.kill()
    assert done.returncode == 128 + signal.SIGTERM, err
    assert err.splitlines() == ["stopped by SIGTERM; saved: give the same command to go on"]
    assert len(list(tmp_path.glob("work/*/s0/checkpoints/*/"))) >= 2
