"""Intervals, mask sizes, result files and the page made of them."""

import json
import math

import numpy as np
import pytest
from helpers import ROOT
from scipy import stats

from supermask_jax import reproduce
from supermask_jax.analysis.intervals import entropy_bits, mask_bytes, mean_interval, percent
from supermask_jax.analysis.results import collect, mean_rows
from supermask_jax.commands import reproduce as command
from supermask_jax.errors import UserError

TINY = ("--config.model.width=0.1", "--config.epochs=2")
ROWS = [
    reproduce.Row("masked", "configs/quickstart.py", TINY, {"accuracy": "97.5"}, "a mask"),
    reproduce.Row(
        "dense",
        "configs/fcn.py:baseline",
        (*TINY, "--config.data.name=digits"),
        about="no mask",
    ),
    reproduce.Row("never", "configs/fcn.py", about="not run"),
]


def test_interval_equals_scipy():
    values = [0.9, 0.95, 0.91, 0.93]
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    found = mean_interval(values)
    np.testing.assert_allclose(found, [np.mean(values), low, high, 4])
    assert percent(found) == f"{100 * np.mean(values):.2f} [{100 * low:.2f}, {100 * high:.2f}]"


def test_interval_of_one_and_of_none():
    found = mean_interval([0.5])
    assert found.mean == 0.5
    assert math.isnan(found.low)
    assert percent(found) == "50.00"
    with pytest.raises(ValueError, match="at least one"):
        mean_interval([])


def test_entropy_worked_by_hand():
    assert entropy_bits([4, 4]) == 8
    assert entropy_bits([8, 0]) == 0
    assert entropy_bits([2, 1, 1]) == 4 * 1.5
    layer = np.array([1, 1, -1, -1, 0, 0, 0, 0], np.int8)
    assert mask_bytes({"a": layer, "b": layer}) == 3  # 2 x 12 bits
    assert mask_bytes({"coats": np.array([0, 1, 2, 3], np.int8)}) == 1


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reproduce")
    found = reproduce.reproduce(
        ROWS[:2], [0, 1], root=ROOT, runs=folder / "runs", results=folder / "results"
    )
    return folder, found


def test_results_hold_every_seed_and_the_mean(done):
    folder, found = done
    stored = json.loads((folder / "results" / "masked.json").read_text())
    assert stored == found[0]
    assert [run["seed"] for run in stored["runs"]] == [0, 1]
    accuracies = [run["test_accuracy"] for run in stored["runs"]]
    assert stored["accuracy"]["mean"] == pytest.approx(np.mean(accuracies))
    assert stored["n"] == stored["accuracy"]["n"] == 2
    assert stored["command"] == "python experiments/reproduce.py --rows=masked --seeds=0,1"
    assert len(stored["runs"][0]["curves"]["remaining_weights"]) == 2
    masks = np.load(folder / "runs" / "masked" / "s0" / "masks.npz")
    bits = sum(entropy_bits([np.sum(m == v) for v in (-1, 0, 1)]) for m in masks.values())
    assert stored["runs"][0]["mask_bytes"] == math.ceil(bits / 8)


def test_finished_runs_are_not_repeated(done):
    folder, found = done
    before = {p: p.stat().st_mtime_ns for p in (folder / "runs").rglob("*.json")}
    again = reproduce.reproduce(
        ROWS[:1], [0, 1], root=ROOT, runs=folder / "runs", results=folder / "results"
    )
    assert again == found[:1]
    assert before == {p: p.stat().st_mtime_ns for p in (folder / "runs").rglob("*.json")}


def test_fewer_seeds_do_not_replace_more(done):
    folder, found = done
    again = reproduce.reproduce(
        ROWS[:1], [1], root=ROOT, runs=folder / "runs", results=folder / "results"
    )
    assert again == found[:1]


def test_the_page_comes_from_the_files_and_names_what_is_missing(done):
    folder, found = done
    page = reproduce.results_page(folder / "results", ROWS)
    assert f"| masked | 2 | {percent(found[0]['accuracy'])} | 97.5 |" in page
    assert "Not run yet: `never`." in page
    row = next(line for line in page.splitlines() if line.startswith("| dense |"))
    assert "| 100 | - | - |" in row


def test_a_spent_budget_starts_nothing(tmp_path):
    found = reproduce.reproduce(
        ROWS[:1], [0], root=ROOT, runs=tmp_path / "r", results=tmp_path, budget_minutes=-1.0
    )
    assert found == []
    assert not (tmp_path / "r").exists()


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
    assert reproduce.select(ROWS, ["dense", "m*"]) == [ROWS[1], ROWS[0]]
    with pytest.raises(UserError, match="unknown row 'masks': did you mean 'masked'"):
        reproduce.select(ROWS, ["masks"])


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
