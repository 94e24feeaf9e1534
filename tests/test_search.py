"""A search: its grid, what it refuses, its log, and going on from it."""

import json
import shlex
import shutil

import pytest
from helpers import ROOT, refused

from supermask_jax import cli, experiment
from supermask_jax.analysis.results import write_result
from supermask_jax.errors import UserError
from supermask_jax.studies.search import load_trial, load_trials

QUICK = str(ROOT / "configs" / "quickstart.py")
TINY = ["--config.model.width=0.1", "--config.epochs=2"]
THRESHOLDS = "--grid=method.threshold.value=0.01,0.05"


COMMAND = ["search", f"--config={QUICK}", *TINY, "--workdir=work", "--out=log.json"]


def search(*argv):
    return cli.main([*COMMAND, *argv])


def _lines(last):
    """Two whole metrics lines, of which `last` says the second."""
    shares = {"layer_density": {}, "layer_inverted": {}}
    common = {"seed": 0, "step": 1, "train_loss": 1.0, "val_loss": 1.0, **shares}
    return "".join(json.dumps({**common, **last, "epoch": epoch}) + "\n" for epoch in (1, 2))


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def no_runs(monkeypatch):
    """Runs that end at once; returns what was run, as (seed, threshold)."""
    seen = []

    def run(config, folder, quiet):
        threshold = config.method.threshold["value"]
        seen.append((config.seed, threshold))
        line = {"epoch": 2, "seconds": 1.0, "train_accuracy": 0, "val_accuracy": 1 - threshold}
        line["remaining_weights"] = 0.1 - threshold
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "metrics.jsonl").write_text(_lines(line))
        return {"epoch": 2}

    monkeypatch.setattr("supermask_jax.experiment.run", run)
    return seen


def test_points_are_all_combinations_with_values_of_the_entries_types():
    grid = ["method.threshold.value=0.01,0.02", "epochs,config.optimizer.learning_rate=1:1,2:0.5"]
    trials = load_trials(QUICK, TINY, grid)
    points = [tuple(trial.point.values()) for trial in trials]
    assert points == [(0.01, 1, 1.0), (0.01, 2, 0.5), (0.02, 1, 1.0), (0.02, 2, 0.5)]
    assert trials[3].config.optimizer.learning_rate == 0.5
    assert len({trial.digest for trial in trials}) == 4


def test_the_digest_is_of_the_config_and_not_of_how_it_was_written():
    a = load_trial(QUICK, TINY, [("method.threshold.value", "0.02")])
    b = load_trial(QUICK, [*TINY, "--config.method.threshold.value=2e-2"])
    c = load_trial(QUICK, TINY)
    assert a.digest == b.digest != c.digest
    assert load_trial(QUICK, [*TINY, "--config.seed=3"]).digest == c.digest


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--grid=method.threshold.valeu=0.01"], "did you mean --config.method.threshold.value?"),
        (["--grid=epochs=1,0"], "config.epochs must be at least 1"),
        (["--grid=method.threshold.value=0.01,1e-2"], "describe the same run"),
        (["--grid=epochs=1", "--grid=epochs=2"], "given twice for epochs"),
        (["--grid=seed=1,2"], "choose the seeds with --seeds"),
        ([THRESHOLDS, "--config.protocol=paper"], "must be 'validation'"),
        ([THRESHOLDS, "--seeds=a"], "whole numbers with commas"),
        (["--grid=epochs"], "an entry and its values"),
        (["--grid=epochs,batch_size=1"], "that vary together, a,b=1:2,3:4, got 'epochs,"),
        ([THRESHOLDS, "--at_most=3.1"], "in (0, 1], got 3.1"),
    ],
)
def test_bad_input_is_one_line_before_anything_runs(argv, words, capsys, tmp_path):
    assert words in refused(capsys, *COMMAND, *argv)
    assert not list(tmp_path.iterdir())


def test_two_searches_into_one_log_lose_no_run(no_runs, tmp_path, monkeypatch, capsys):
    run, others = experiment.run, []

    def meanwhile(config, folder, **options):
        if not others:
            others.append(True)
            assert search("--grid=method.threshold.value=0.02,0.05") == 0
        return run(config, folder, **options)

    monkeypatch.setattr(experiment, "run", meanwhile)
    assert search(THRESHOLDS) == 0
    log = json.loads((tmp_path / "log.json").read_text())
    found = sorted(run["point"]["method.threshold.value"] for run in log["runs"])
    assert found == [0.01, 0.02, 0.05]
    assert len(log["commands"]) == 2
    assert sorted(file.name for file in tmp_path.iterdir()) == ["log.json", "work"]


def test_a_search_over_another_config_is_refused_while_the_first_run_trains(
    no_runs, monkeypatch, capsys
):
    run = experiment.run

    def meanwhile(config, folder, **options):
        monkeypatch.setattr(experiment, "run", run)
        assert search(THRESHOLDS, "--config.batch_size=16") == 1
        return run(config, folder, **options)

    monkeypatch.setattr(experiment, "run", meanwhile)
    assert search(THRESHOLDS) == 0
    assert "the log of a search over another config (batch_size: " in capsys.readouterr().err


def test_a_log_of_an_older_version_is_gone_on_with(no_runs, tmp_path):
    assert search(THRESHOLDS) == 0
    path = tmp_path / "log.json"
    log = json.loads(path.read_text())
    ran = len(no_runs)
    for run in log["runs"]:
        run["digest"] = "0" * 12  # That of a config with fewer entries.
    write_result(path, log)
    assert search(THRESHOLDS) == 0
    assert len(no_runs) == ran and len(json.loads(path.read_text())["runs"]) == ran


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
    assert "must name the log of a search" in capsys.readouterr().err


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


def test_other_errors_end_the_search(monkeypatch, capsys):
    def run(*unused, **unused_too):
        raise UserError("no space")

    monkeypatch.setattr("supermask_jax.experiment.run", run)
    assert search(THRESHOLDS) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "error: no space"


def test_the_kept_log_is_read_and_its_commands_give_its_points(tmp_path, capsys):
    """Those of `results/search-fcn.json`: recorded as experiments/search.py, which did the same."""
    kept = json.loads((ROOT / "results" / "search-fcn.json").read_text())
    shutil.copy(ROOT / "results" / "search-fcn.json", tmp_path / "log.json")
    flags, points = ["--out=log.json"], set()
    for recorded in kept["commands"]:
        argv = shlex.split(recorded.replace("configs/", f"{ROOT}/configs/"))[2:]
        assert cli.main(["search", *argv, *flags, "--dry_run"]) == 0
        points |= {line.strip() for line in capsys.readouterr().out.splitlines()[1:]}
    found = [" ".join(f"--config.{k}={v}" for k, v in r["point"].items()) for r in kept["runs"]]
    assert points == set(found)
    assert cli.main(["search", *argv, *flags, "--budget_minutes=-1"]) == 0
    assert json.loads((tmp_path / "log.json").read_text())["runs"] == kept["runs"]


def test_print_and_dry_run_write_nothing(tmp_path, capsys):
    assert search(THRESHOLDS, "--seeds=0,1", "--dry_run") == 0
    assert "2 points x 2 seeds" in capsys.readouterr().out
    assert search(THRESHOLDS, "--print_config") == 0
    assert "epochs: 2" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
