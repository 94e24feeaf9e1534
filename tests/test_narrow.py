"""Terminals of 40 and 80 columns: no line is wider, and no word is cut."""

import io
import sys
import time

import pytest
from helpers import ROOT, tiny_argv
from rich.console import Console
from ticket_helpers import random_ticket

from supermask_jax import cli, tickets
from supermask_jax.analysis.tables import Table
from supermask_jax.commands.process import fitted
from supermask_jax.training import waiting
from supermask_jax.training.live import LiveView
from supermask_jax.training.trainer import Plan

WIDE = 1000


class Screen(io.StringIO):
    """A file that claims to be a terminal."""

    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture
def screens(monkeypatch):
    def make(width):
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setenv("TERM", "dumb")
        shown = Screen(), Screen()
        monkeypatch.setattr(sys, "stdout", shown[0])
        monkeypatch.setattr(sys, "stderr", shown[1])
        return shown

    return make


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("narrow")
    for seed in (0, 1):
        tickets.save_ticket(folder / f"{seed}.safetensors", random_ticket(seed=seed))
    return folder


def commands(folder):
    first, second = (str(folder / f"{seed}.safetensors") for seed in (0, 1))
    return {
        "ticket verify": ["ticket", "verify", first],
        "ticket size": ["ticket", "size", first],
        "inspect": ["inspect", first],
        "compare": ["compare", first, second],
        "front": ["front", "--rows=fcn-*", f"--results={ROOT / 'results'}"],
        "data": ["data", "list", "mnist"],
        "dry run": ["train", *tiny_argv("--dry_run")],
        "an error": ["train", *tiny_argv("--config.optimizer.learning_rates=0.1")],
        "another": ["evaluate", str(folder)],
        "reproduce": ["reproduce", "--list", "--rows=fcn-*"],
    }


@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize("name", commands(ROOT))
def test_no_line_is_wider_and_no_word_is_cut(name, width, files, screens):
    found = {}
    for columns in (WIDE, width):
        out, err = screens(columns)
        cli.main(commands(files)[name])
        found[columns] = out.getvalue() + err.getvalue()
    assert found[WIDE].strip()
    words = set(found[WIDE].split())
    for line in found[width].splitlines():
        assert len(line) <= width or len(line.split()) <= 1 + line.startswith("  "), line
        # Of times and sizes of memory each run has its own.
        assert all(word in words or any(c.isdigit() for c in word) for word in line.split()), line


@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize("name", ["", *cli.COMMANDS])
def test_help_fits(name, width, screens):
    out, _ = screens(width)
    with pytest.raises(SystemExit):
        cli.main([*name.split(), "--help"])
    for line in out.getvalue().splitlines():
        # Examples are whole, to be copied, and so are a flag and its values.
        copied = line.startswith("  supermask ") or line.lstrip().startswith(
            ("--", "[--", "{", "(")
        )
        assert len(line) <= width or len(line.split()) == 1 or copied, line


def test_a_table_that_does_not_fit_is_read_row_by_row(screens):
    table = Table(("layer", "weights", "kept"), [("dense1/kernel", "235,200", "2,166 of them")])
    screens(80)
    wide = table.text()
    assert wide.splitlines()[0].split() == ["layer", "weights", "kept"]
    screens(30)
    assert table.text() == "dense1/kernel\n  weights  235,200\n  kept     2,166 of them"


@pytest.mark.parametrize("width", [40, 80])
def test_the_spinner_tells_the_time_and_all_words(width, screens, monkeypatch):
    _, err = screens(width)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(waiting, "_TERMINAL_S", 0.0)
    with waiting.waiting("building a network and reading images of a folder"):
        end = time.monotonic() + 20
        while "folder" not in err.getvalue() and time.monotonic() < end:
            time.sleep(0.05)
    shown = err.getvalue()
    assert "0:00:0" in shown and "folder" in shown and "\u2026" not in shown


def test_lines_are_broken_between_words(screens):
    screens(20)
    text = "a line of words that is long\n\n  and /a/path/that/is/far/too/long/for/it"
    assert fitted(text).splitlines() == [
        "a line of words that",
        "  is long",
        "",
        "  and",
        "    /a/path/that/is/far/too/long/for/it",
    ]


@pytest.mark.parametrize("width", [40, 80])
def test_the_live_view_fits(width):
    console = Console(file=io.StringIO(), width=width, height=24)
    plan = Plan(epochs=100, batch_size=128, steps_per_epoch=391, steps_per_call=8)
    view = LiveView("runs/a-name-that-is-long-s0", plan, console=console)
    line = {
        "seed": 0,
        "epoch": 12,
        "remaining_weights": 0.0291,
        "layer_density": {"dense1/kernel": 0.5},
    }
    line |= {
        f"{part}_{what}": 0.7123 for part in ("train", "test") for what in ("loss", "accuracy")
    }
    view.step(12, 391, 0.7)
    view.report([line])
    view.step(13, 20, 0.65432)
    console.print(view.render())
    shown = console.file.getvalue()
    assert max(map(len, shown.splitlines())) <= width
    for word in ("epoch 12/100", "0.7123", "71.23%", "2.91%", "dense1", "0.6543", "12%"):
        assert word in shown, shown
    assert "\u2026" not in shown  # An ellipsis.
