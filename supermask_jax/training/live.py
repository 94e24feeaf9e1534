"""The live view of a run on a terminal: loss, accuracy, remaining weights by layer, time left."""

from __future__ import annotations

import sys
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

# Lines that are always there: the frame, the bar, the metrics, and one under the panel.
_HEAD = 8

# Room for the ^C that a terminal echoes: on a line of its own it would stay behind.
_ECHO = 5


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
        self._lines: Sequence[Line] = ()  # of the last epoch, a line a seed that still trains
        self._best = (-1.0, 0)  # accuracy and epoch
        self._done = 0
        self._loss: float | None = None  # of the epoch that is under way
        self._since: tuple[int, float] | None = None  # steps and seconds that the pace is told from
        self._began = clock()
        # Output that does not go to this terminal is left alone.
        options = {"transient": True, "redirect_stdout": sys.stdout.isatty()}
        self._live = Live(console=self._console, get_renderable=self.render, **options)

    def start(self) -> None:
        """Shows the panel."""
        self._live.start(refresh=True)
        # Shown all the time: killed at any moment, the terminal is as it was.
        self._console.show_cursor(True)

    def stop(self) -> None:
        """Takes the panel away, and gives the terminal back."""
        self._live.stop()

    def step(self, epoch: int, steps: int, loss: float | None = None) -> None:
        """Notes that `steps` steps of `epoch`, from 1, are done, with their mean `loss` so far."""
        self._loss = loss
        self._done = (epoch - 1) * self._plan.steps_per_epoch + steps
        if self._since is None:  # The first dispatch compiled: its time tells nothing.
            self._since = (self._done, self._clock())

    def report(self, lines: Sequence[Line]) -> None:
        """Notes the metrics of a finished epoch, a line a seed."""
        if not self._lines:  # The first evaluation compiled.
            self._since = (self._done, self._clock())
        accuracy = mean_line(lines)[f"{watched_split(lines[0])}_accuracy"]
        if accuracy > self._best[0]:
            self._best = (accuracy, lines[0]["epoch"])
        self._lines = lines

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
            parts.append(_metrics_table(line, self._best, self._loss))
            parts += _layers_table(line, self._console.height - _HEAD, self._console.width)
        else:
            passed = timedelta(seconds=round(self._clock() - self._began))
            told = f"compiling the first step, {passed}"
            if self._loss is not None:
                told = f"the first epoch, {passed}, train loss {self._loss:.4f}"
            parts.append(Text(told, style="dim"))
        width = max(self._console.width - _ECHO, 1)
        style = {"title_align": "left", "border_style": "dim"}
        return Panel(Group(*parts), title=title, width=width, **style)

    def _head(self) -> Table:
        plan, done, left = self._plan, self._done, self.seconds_left()
        epoch = min(done // plan.steps_per_epoch, plan.epochs)
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
            return mean_line(values)
        return sum(values) / len(values)

    return {name: mean([line[name] for line in lines]) for name in lines[0]}


def _metrics_table(line: Line, best: tuple[float, int], running: float | None) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(min_width=5)
    for name in ("loss", "accuracy"):  # Of a narrow terminal only the notes are cut.
        table.add_column(name, justify="right", min_width=8)
    table.add_column(style="dim", no_wrap=True)
    split = watched_split(line)
    for part, note in (("train", ""), (split, f"best {best[0]:.2%}, epoch {best[1]}")):
        table.add_row(part, f"{line[f'{part}_loss']:.4f}", f"{line[f'{part}_accuracy']:.2%}", note)
    if running is not None:
        table.add_row("now", f"{running:.4f}", "", "train loss of this epoch so far")
    return table


def _layers_table(line: Line, room: int, width: int) -> list[Table | Text]:
    """Returns the shares of weights that remain, in all and of the layers that fit, as bars."""
    shares = {"remaining": line["remaining_weights"], **line.get("layer_density", {})}
    shown = len(shares) if len(shares) <= room else max(room - 1, 1)
    more = len(shares) - shown
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, max_width=width // 2)
    table.add_column(min_width=7, justify="right")
    table.add_column(width=max(width // 4, 8))
    for name, share in list(shares.items())[:shown]:
        table.add_row(name, f"{share:.2%}", ProgressBar(total=1.0, completed=share))
    return [table, *([Text(f"and {more} more layers", style="dim")] if more else [])]
