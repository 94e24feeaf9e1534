"""The live view of a run on a terminal: loss, accuracy, remaining weights by layer, time left.

The loop's own calls redraw, and so seldom that drawing takes under one per cent of the time,
however slow the terminal is. A thread does while the first epoch compiles, and ends with it.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from supermask_jax.training.trainer import Plan

Line = Mapping[str, Any]

# Seconds between two drawings at least, and how many times as long as one takes.
_REFRESH_S = 0.25
_PAUSE = 150

# Lines that are always there: the frame, the bar, the metrics, and one under the panel.
_HEAD = 8

_ECHO = 5

# Columns from which on there is room for notes.
_NOTES = 70


class LiveView:
    """A panel at the foot of the terminal; what is printed meanwhile goes above it."""

    def __init__(
        self,
        title: str,
        plan: Plan,
        *,
        console: Console | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Shows nothing yet.

        Args:
          title: over the panel, such as the name of the work folder.
          plan: sizes of the run.
          console: where to draw; None is stderr.
          clock: seconds.
        """
        self._title, self._plan, self._clock = title, plan, clock
        self._console = Console(stderr=True) if console is None else console
        # Output that does not go to this terminal is left alone.
        options = {"auto_refresh": False, "transient": True}
        self._live = Live(console=self._console, redirect_stdout=sys.stdout.isatty(), **options)
        self._lines: Sequence[Line] = ()  # of the last epoch, a line a seed that still trains
        self._best: tuple[float, int] | None = None
        self._done = 0
        self._loss: float | None = None  # of the epoch that is under way
        self._since: tuple[int, float] | None = None  # steps and seconds that the pace is told from
        self._epochs = 0  # those seen from here
        self._next = -float("inf")
        self._began, self._compiled = self._clock(), threading.Event()

    def start(self) -> None:
        """Shows the panel."""
        self._live.start()
        # Shown all the time: killed at any moment, the terminal is as it was.
        self._console.show_cursor(True)
        self._draw()
        threading.Thread(target=self._tick, daemon=True).start()

    def _tick(self) -> None:
        while not self._compiled.wait(1.0):
            self._draw()

    def stop(self) -> None:
        """Takes the panel away, and gives the terminal back."""
        self._compiled.set()
        self._live.stop()

    def step(self, epoch: int, steps: int, loss: float | None = None) -> None:
        """Notes that `steps` steps of `epoch`, from 1, are done, with their mean `loss` so far."""
        self._loss = loss
        self._done = (epoch - 1) * self._plan.steps_per_epoch + steps
        if self._since is None:  # The first dispatch compiled: its time tells nothing.
            self._since = (self._done, self._clock())
        if self._clock() >= self._next:
            self._draw()

    def report(self, lines: Sequence[Line]) -> None:
        """Notes the metrics of a finished epoch, a line a seed."""
        self._lines = lines
        self._epochs += 1
        self._compiled.set()
        if self._epochs == 1:  # The first evaluation compiled.
            self._since = (self._done, self._clock())
        accuracy = mean_line(lines)[f"{watched_split(lines[0])}_accuracy"]
        if self._best is None or accuracy > self._best[0]:
            self._best = (accuracy, lines[0]["epoch"])
        if self._clock() >= self._next:
            self._draw()

    def _draw(self) -> None:
        started = self._clock()
        self._live.update(self.render(), refresh=True)
        ended = self._clock()
        self._next = ended + max(_REFRESH_S, _PAUSE * (ended - started))

    def seconds_left(self) -> float | None:
        """Returns the time that is left at the pace so far; None while there is none."""
        if self._since is None or self._done == self._since[0]:
            return None
        pace = (self._clock() - self._since[1]) / (self._done - self._since[0])
        return pace * (self._plan.total_steps - self._done)

    def render(self) -> Panel:
        """Returns the panel as it is now."""
        parts, title, lines = [self._head()], self._title, self._lines
        if lines:
            line, many = mean_line(lines), len(lines) > 1
            title += f", mean of {len(lines)} seeds" if many else f", seed {lines[0]['seed']}"
            notes = self._console.width >= _NOTES
            parts.append(_metrics_table(line, self._best, self._loss, notes=notes))
            parts += _layers_table(line, self._console.height - _HEAD, self._console.width)
        else:
            passed = timedelta(seconds=round(self._clock() - self._began))
            what = "compiling the first step" if self._loss is None else "the first epoch"
            told = "" if self._loss is None else f", train loss {self._loss:.4f}"
            parts.append(Text(f"{what}, {passed}{told}", style="dim"))
        # Room for the ^C that a terminal echoes: on a line of its own it would stay behind.
        width = max(self._console.width - _ECHO, 1)
        style = {"title_align": "left", "border_style": "dim"}
        return Panel(Group(*parts), title=title, width=width, **style)

    def _head(self) -> Table:
        plan, done = self._plan, self._done
        epoch = min(done // plan.steps_per_epoch, plan.epochs)
        left = self.seconds_left()
        time_left = "-" if left is None else timedelta(seconds=round(left))
        row = Table.grid(padding=(0, 1), expand=True)
        row.add_column(no_wrap=True)
        row.add_column(ratio=1)
        row.add_column(no_wrap=True, justify="right")
        row.add_row(
            f"epoch {epoch}/{plan.epochs}",
            ProgressBar(total=plan.total_steps, completed=done),
            f"{done / plan.total_steps:4.0%}  {time_left} left",
        )
        return row


def watched_split(line: Line) -> str:
    """Returns the split that is evaluated every epoch: "val" or "test"."""
    return "val" if "val_loss" in line else "test"


def mean_line(lines: Sequence[Line]) -> Line:
    """Returns the means over the lines of several seeds, those of the layers' shares too."""

    def mean(values: Sequence[Any]) -> Any:
        if isinstance(values[0], Mapping):
            return {layer: mean([value[layer] for value in values]) for layer in values[0]}
        return sum(values) / len(values)

    return {name: mean([line[name] for line in lines]) for name in lines[0]}


def _metrics_table(
    line: Line, best: tuple[float, int] | None, running: float | None, *, notes: bool
) -> Table:
    split = watched_split(line)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", no_wrap=True, min_width=5)  # Narrow terminals cut the other columns.
    for name in ("loss", "accuracy", "")[: 3 if notes else 2]:
        table.add_column(name, justify="right", no_wrap=True)
    found = f"best {best[0]:.2%}, epoch {best[1]}" if best else ""
    for part, note in (("train", ""), (split, found)):
        numbers = f"{line[f'{part}_loss']:.4f}", f"{line[f'{part}_accuracy']:.2%}"
        table.add_row(part, *numbers, *[Text(note, style="dim")] * notes)
    now = ("", "") if running is None else (f"{running:.4f}", "train loss of this epoch so far")
    table.add_row("now", now[0], "", *[Text(now[1], style="dim")] * notes)
    return table


def _layers_table(line: Line, room: int, width: int) -> list[Table | Text]:
    """Returns the shares of weights that remain, in all and of the layers that fit, as bars."""
    shares = {"remaining": line["remaining_weights"], **line.get("layer_density", {})}
    shown = len(shares) if len(shares) <= room else max(room - 1, 1)
    more = len(shares) - shown
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, max_width=width // 2)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(width=max(width // 4, 8))
    for name, share in list(shares.items())[:shown]:
        name = name if width >= _NOTES else name.removesuffix("/kernel")
        table.add_row(name, f"{share:.2%}", ProgressBar(total=1.0, completed=share))
    return [table, *([Text(f"and {more} more layers", style="dim")] if more else [])]
