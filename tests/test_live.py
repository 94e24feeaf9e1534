"""The live view: what it shows, that it fits, what it costs, and how it leaves the terminal."""

import io
import logging
import sys
from types import SimpleNamespace

import pytest
from helpers import tiny_config
from rich.console import Console

from supermask_jax import cli, experiment
from supermask_jax.run_files import read_lines
from supermask_jax.training import live, progress
from supermask_jax.training.live import LiveView
from supermask_jax.training.trainer import Plan
from supermask_jax.training.waiting import plain_lines, wanted
from supermask_jax.training.workdir import Workdir

PLAN = Plan(epochs=10, batch_size=32, steps_per_epoch=20, steps_per_call=1)
TRAINER = SimpleNamespace(plan=PLAN, tensorboard="", in_set=False, seeds=range(1), callbacks=())


class Clock:
    """Seconds that pass when told to."""

    now = 100.0

    def __call__(self):
        return self.now


class Screen(io.StringIO):
    """A file that claims to be a terminal."""

    def isatty(self):
        return True


def line(epoch, seed=0, **more):
    """A line of metrics.jsonl."""
    found = {"seed": seed, "epoch": epoch, "step": 20 * epoch, "seconds": 1.0}
    found |= {"train_loss": 1 / epoch, "train_accuracy": 0.9, "remaining_weights": 0.25}
    return found | {"val_loss": 2 / epoch, "val_accuracy": 0.5 + epoch / 100} | more


def view(height=24, width=80):
    console = Console(file=io.StringIO(), force_terminal=True, width=width, height=height)
    return LiveView("runs/mine", PLAN, console=console, clock=Clock())


def shown(panel, height=24, width=80):
    """The lines of a panel as text."""
    console = Console(file=io.StringIO(), width=width, height=height)
    console.print(panel.render())
    return console.file.getvalue().splitlines()


def test_what_is_shown_of_one_run():
    panel = view()
    assert "compiling" in shown(panel)[2]
    panel.step(1, 20)
    panel.report([line(1, layer_density={"dense1/kernel": 0.125, "dense2/kernel": 0.5})])
    panel.step(2, 20)
    panel.report([line(2, val_accuracy=0.4, layer_density={"dense1/kernel": 0.0625})])
    text = shown(panel)
    assert "runs/mine, seed 0" in text[0]
    assert "epoch 2/10" in text[1] and " 20% " in text[1]
    rows = [row.strip("│ ").split() for row in text]
    assert ["train", "0.5000", "90.00%"] in rows
    assert ["val", "1.0000", "40.00%", "best", "51.00%,", "epoch", "1"] in rows
    assert any(row[:2] == ["remaining", "25.00%"] for row in rows)
    assert any(row[:2] == ["dense1/kernel", "6.25%"] for row in rows)


def test_the_loss_of_the_epoch_under_way_is_shown():
    panel = view()
    panel.step(1, 1)
    panel.step(1, 2, 2.34567)
    assert "the first epoch" in shown(panel)[2] and "train loss 2.3457" in shown(panel)[2]
    panel.report([line(1)])
    panel.step(2, 3, 1.5)
    rows = [row.strip("│ ").split() for row in shown(panel)]
    assert ["now", "1.5000", "train", "loss", "of", "this", "epoch", "so", "far"] in rows
    panel.step(3, 1)  # Of the next one nothing is known yet.
    assert not any("so far" in row for row in shown(panel))


def test_a_log_tells_of_a_long_epoch(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(progress, "_QUIET_S", -1.0)
    caplog.set_level("INFO", logger="supermask_jax")
    experiment.run(tiny_config(epochs=2, steps_per_call=1), tmp_path / "run")
    told = [r.getMessage() for r in caplog.records if ", step " in r.getMessage()]
    # The first dispatch of an epoch has no other before it that is known; 11 steps of each.
    assert [text.partition(":")[0] for text in told] == [
        f"epoch {epoch}/2, step {step}/11" for epoch in (1, 2) for step in range(2, 12)
    ]
    # The last line has the mean over all steps but the last.
    lines, _ = read_lines(tmp_path / "run" / "metrics.jsonl")
    for i in (0, 1):
        last = float(told[10 * i + 9].rpartition(" ")[2])
        assert last == pytest.approx(lines[i]["train_loss"], rel=0.1)


def test_the_test_split_is_named_where_it_is_watched():
    found = {k.replace("val_", "test_"): v for k, v in line(1).items()}
    panel = view()
    panel.report([found])
    assert any(row.strip("│ ").startswith("test") for row in shown(panel))


def test_time_left_is_told_from_the_pace_without_the_compilation():
    panel = view()
    assert panel.seconds_left() is None
    panel._clock.now += 60  # compiles
    panel.step(1, 1)
    assert panel.seconds_left() is None
    panel._clock.now += 10
    panel.step(1, 11)
    assert panel.seconds_left() == pytest.approx(189)
    panel.step(1, 20)
    panel._clock.now += 60  # compiles the evaluation
    panel.report([line(1)])
    panel._clock.now += 2
    panel.step(2, 20)
    assert panel.seconds_left() == pytest.approx(0.1 * 8 * 20)
    assert "0:00:16 left" in shown(panel)[1]


def test_a_run_that_goes_on_counts_what_was_done_before():
    panel = view()
    panel.step(6, 20)
    panel._clock.now += 5
    panel.step(7, 20)
    assert panel.seconds_left() == pytest.approx(15)
    assert "epoch 7/10" in shown(panel)[1]


@pytest.mark.parametrize(("height", "width"), [(24, 80), (12, 60), (50, 200)])
def test_many_layers_fit_the_terminal(height, width):
    names = [f"stage{i}_block{j}_conv1/kernel" for i in range(3) for j in range(18)]
    panel = view(height, width)
    panel.report([line(1, layer_density=dict.fromkeys(names, 0.5))])
    text = shown(panel, height, width)
    assert len(text) < height
    assert max(map(len, text)) < width - 2  # room for ^C
    told = sum("_conv1" in row for row in text)
    assert any(f"and {len(names) - told} more layers" in row for row in text)


def test_of_several_seeds_the_means_are_shown_of_those_that_still_train():
    panel = view()
    shares = [{"dense1/kernel": share} for share in (0.125, 0.25)]
    both = [line(1, 3, layer_density=shares[0]), line(1, 4, layer_density=shares[1], train_loss=3)]
    panel.report(both)
    text = shown(panel)
    rows = [row.strip("│ ").split() for row in text]
    assert "runs/mine, mean of 2 seeds" in text[0]
    assert ["train", "2.0000", "90.00%"] in rows
    assert any(row[:2] == ["dense1/kernel", "18.75%"] for row in rows)
    panel.report([line(2, 4)])  # The other one diverged, or was stopped.
    text = shown(panel)
    assert "seed 4" in text[0] and ["train", "0.5000", "90.00%"] in [
        row.strip("│ ").split() for row in text
    ]


@pytest.mark.parametrize("cost", [0.0001, 0.004, 0.2])
def test_drawing_costs_under_a_hundredth_however_slow_the_terminal(cost, monkeypatch):
    panel, drawn = view(), []

    def draw(*unused, refresh):
        panel._clock.now += cost
        drawn.append(panel._clock.now)

    monkeypatch.setattr(panel._live, "update", draw)
    first = panel._clock.now
    while panel._clock.now < first + 100:
        panel._clock.now += 0.001
        panel.step(1, 1)
        panel.report([line(1)])
    assert len(drawn) * cost < 0.01 * 100
    assert 3 <= len(drawn) <= 4 * 100


@pytest.mark.parametrize(
    ("tty", "term", "plain", "expected"),
    [
        (True, "xterm-256color", False, True),
        (False, "xterm-256color", False, False),
        (True, "dumb", False, False),
        (True, None, False, False),
        (True, "xterm", True, False),
    ],
)
def test_where_a_live_view_is_shown(tty, term, plain, expected, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Screen() if tty else io.StringIO())
    monkeypatch.delenv("TERM", raising=False)
    if term is not None:
        monkeypatch.setenv("TERM", term)
    with plain_lines(plain):
        assert wanted() is expected


@pytest.fixture
def terminal(monkeypatch):
    """Makes (stderr, stdout) terminals: called in the test, for pytest puts its own there first."""

    def make():
        monkeypatch.setattr(live, "_REFRESH_S", 0)
        monkeypatch.setattr(live, "_PAUSE", 0)
        monkeypatch.setenv("TERM", "xterm-256color")
        screens = Screen(), Screen()
        monkeypatch.setattr(sys, "stderr", screens[0])
        monkeypatch.setattr(sys, "stdout", screens[1])
        return screens

    return make


def train_two_epochs(tmp_path):
    tmp_path.mkdir(exist_ok=True)
    shown = progress.Progress(Workdir(tmp_path), TRAINER, quiet=False)
    with shown:
        for epoch in (1, 2):
            shown.step(epoch, 20)
            shown.report([line(epoch)], {})


def test_on_a_terminal_the_view_goes_and_the_last_epoch_stays(terminal, tmp_path):
    screens = terminal()
    train_two_epochs(tmp_path)
    err, out = (screen.getvalue() for screen in screens)
    assert "epoch 1/10" in err  # the head of the panel
    assert out.splitlines() == [progress.epoch_line([line(2)], 10)]
    assert err.rfind("\x1b[?25h") > err.rfind("\x1b[?25l")


def test_a_reader_of_stdout_gets_every_line_beside_the_view(terminal, tmp_path, monkeypatch):
    err, _ = terminal()
    monkeypatch.setattr(sys, "stdout", file := io.StringIO())
    train_two_epochs(tmp_path)
    assert file.getvalue().splitlines() == [
        progress.epoch_line([line(epoch)], 10) for epoch in (1, 2)
    ]
    assert "╭" in err.getvalue() and "╭" not in file.getvalue()


def test_plain_lines_on_a_terminal(terminal, tmp_path):
    err, out = terminal()
    with plain_lines():
        train_two_epochs(tmp_path)
    assert err.getvalue() == ""
    assert len(out.getvalue().splitlines()) == 2


def test_no_color_keeps_the_view(terminal, tmp_path, monkeypatch):
    screens = terminal()
    train_two_epochs(tmp_path / "colours")
    coloured = screens[0].getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    screens = terminal()
    train_two_epochs(tmp_path / "none")
    err = screens[0].getvalue()
    assert "\x1b[38;5;" in coloured
    assert "\x1b[38;5;" not in err and "╭" in err


def test_log_lines_stand_above_the_view(terminal, monkeypatch):
    screens = terminal()

    def act(args):
        panel = LiveView("runs/mine", PLAN)
        panel.start()
        logging.getLogger("supermask_jax").info("seeds 0 to 5")
        panel.stop()

    monkeypatch.setattr("supermask_jax.commands.train.run", act)
    assert cli.main(["train", "--config=any"]) == 0
    said = screens[0].getvalue()
    # The panel is taken away before the line, and drawn again under it.
    assert said.index("╭") < said.index("\x1b[2K") < said.index("seeds 0 to 5")
    assert "╭" in said[said.index("seeds 0 to 5\n") :]
