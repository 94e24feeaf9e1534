"""The command line of `reproduce`, and the checkout that it works in."""

import pytest
from helpers import ROOT, refused
from test_reproduce import ROWS

from supermask_jax import cli
from supermask_jax.commands import reproduce as command
from supermask_jax.commands.common import Checkout, find_checkout
from supermask_jax.errors import UserError
from supermask_jax.studies import reproduce


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    monkeypatch.setattr(command, "find_checkout", lambda: Checkout(ROOT, ROWS))


def test_without_an_accelerator_slow_rows_are_skipped_unless_named(monkeypatch, capsys, tmp_path):
    ran = []
    monkeypatch.setattr(reproduce, "reproduce", lambda rows, *_, **__: ran.extend(rows) or [])
    argv = [f"--results={tmp_path}"]
    assert cli.main(["reproduce", *argv]) == 0
    assert ran == ROWS[:2]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("to run them: --rows=never")
    assert cli.main(["reproduce", *argv, "--rows=never"]) == 0
    assert ran == ROWS


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--rows=masks"], "did you mean 'masked'"),
        (["--rows=masked", "--seeds=a"], "argument --seeds: whole numbers with commas, got 'a'"),
        (["--rows=masked", "--config.epohcs=1"], "did you mean --config.epochs?"),
        (["--budget_minutes=soon"], "must be a number, got 'soon'"),
    ],
)
def test_bad_input_is_one_line(argv, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert words in refused(capsys, "reproduce", *argv)
    assert not list(tmp_path.iterdir())


def test_from_anywhere_in_a_checkout_its_own_folders_are_meant(tmp_path, monkeypatch):
    places = []
    monkeypatch.setattr(
        reproduce, "reproduce", lambda *_, runs, results, **__: places.append((runs, results)) or []
    )
    monkeypatch.setattr(reproduce, "write_pages", lambda root, rows: places.append(root))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["reproduce"]) == 0
    assert places == [(ROOT / "runs" / "reproduce", ROOT / "results"), ROOT]
    places.clear()
    assert cli.main(["reproduce", "--runs=a", "--results=b"]) == 0
    assert [tuple(map(str, found)) for found in places] == [("a", "b")]


def test_a_stranger_is_no_checkout(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "rows.py").write_text("raise SystemExit('executed')")
    with pytest.raises(UserError, match="give this command in a checkout of it"):
        find_checkout([tmp_path])
    assert find_checkout([tmp_path, ROOT]).root == ROOT


def test_list(capsys):
    assert cli.main(["reproduce", "--list"]) == 0
    assert "configs/quickstart.py" in capsys.readouterr().out
