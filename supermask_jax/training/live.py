"""The live view of a run on a terminal: loss, accuracy, remaining weights by layer, time left.

The loop's own calls redraw, and so seldom that drawing takes under one per cent of the time,
however slow the terminal is. A thread does while the first epoch compiles, and ends with it.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from supermask_jax.training.trainer import Plan
from supermask_jax.training.waiting import plain_lines as plain_lines
from supermask_jax.training.waiting import wanted as wanted

Line = Mapping[str, Any]

# Seconds between two drawings at least, and how many times as long as one takes.
_REFRESH_S = 0.25
_PAUSE = 150

# Lines that are always there: the frame, the bar, and one under the panel.
_HEAD = 4

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
        # Output that does not go to this terminal is left alone.
        self._live = Live(console=self._console, auto_refresh=False, transient=True,
                          redirect_stdout=sys.stdout.isatty())  # fmt: skip
        self._lines: dict[int, Line] = {}  # the last one of each seed
        self._latest: Sequence[Line] = ()  # those of the last epoch
        self._best: tuple[float, int] | None = None
        self._done = 0
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

    def step(self, epoch: int, steps: int) -> None:
        """Notes that `steps` steps of `epoch`, from 1, are done."""
        self._done = (epoch - 1) * self._plan.steps_per_epoch + steps
        if self._since is None:  # The first dispatch compiled: its time tells nothing.
            self._since = (self._done, self._clock())
        if self._clock() >= self._next:
            self._draw()

    def report(self, lines: Sequence[Line]) -> None:
        """Notes the metrics of a finished epoch, a line a seed."""
        self._lines |= {line["seed"]: line for line in lines}
        self._latest = lines
        self._epochs += 1
        self._compiled.set()
        if self._epochs == 1:  # The first evaluation compiled.
            self._since = (self._done, self._clock())
        accuracy, epoch = _mean(lines, f"{_split(lines[0])}_accuracy"), lines[0]["epoch"]
        if self._best is None or accuracy > self._best[0]:
            self._best = (accuracy, epoch)
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
        room, lines = self._console.height - _HEAD, list(self._lines.values())
        parts = [self._head()]
        if not lines:
            passed = _duration(self._clock() - self._began)
            parts.append(Text(f"compiling and training the first epoch, {passed}", style="dim"))
        elif len(lines) > 1:
            parts += _seeds_table(lines, self._latest, room - 2)
        else:
            parts.append(_metrics_table(lines[0], self._best))
            parts += _layers_table(lines[0], room - 3, self._console.width)
        title = self._title + (f", seed {lines[0]['seed']}" if len(lines) == 1 else "")
        # Room for the ^C that a terminal echoes: on a line of its own it would stay behind.
        width = max(self._console.width - _ECHO, 1)
        return Panel(Group(*parts), title=title, title_align="left", border_style="dim",
                     width=width)  # fmt: skip

    def _head(self) -> Table:
        plan, done = self._plan, self._done
        epoch = min(done // plan.steps_per_epoch, plan.epochs)
        left = self.seconds_left()
        row = Table.grid(padding=(0, 1), expand=True)
        row.add_column(no_wrap=True)
        row.add_column(ratio=1)
        row.add_column(no_wrap=True, justify="right")
        row.add_row(
            f"epoch {epoch}/{plan.epochs}",
            ProgressBar(total=plan.total_steps, completed=done),
            f"{done / plan.total_steps:4.0%}  {'-' if left is None else _duration(left)} left",
        )
        return row


def _split(line: Line) -> str:
    return "val" if "val_loss" in line else "test"


def _mean(lines: Sequence[Line], name: str) -> float:
    return sum(line[name] for line in lines) / len(lines)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _grid(*columns: str) -> Table:
    """Returns a table without lines: the first column to the left, the others to the right."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for i, name in enumerate(columns):
        # Narrow terminals cut the heads of the others, and never which row it is.
        table.add_column(
            name, justify="right" if i else "left", no_wrap=True, min_width=0 if i else 5
        )
    return table


def _metrics_table(line: Line, best: tuple[float, int] | None) -> Table:
    split = _split(line)
    table = _grid("", "loss", "accuracy", "")
    for part in ("train", split):
        note = f"best {best[0]:.2%}, epoch {best[1]}" if best and part == split else ""
        numbers = f"{line[f'{part}_loss']:.4f}", f"{line[f'{part}_accuracy']:.2%}"
        table.add_row(part, *numbers, Text(note, style="dim"))
    return table


def _layers_table(line: Line, room: int, width: int) -> list[Table | Text]:
    """Returns the shares of weights that remain, in all and of the layers that fit, as bars."""
    shares = {"remaining": line["remaining_weights"], **line.get("layer_density", {})}
    shown = dict(list(shares.items())[: _fitting(len(shares), room)])
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, max_width=width // 2)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(width=max(width // 4, 8))
    for name, share in shown.items():
        table.add_row(name, f"{share:.2%}", ProgressBar(total=1.0, completed=share))
    return [table, *_more(len(shares) - len(shown), "layers")]


def _more(count: int, noun: str) -> list[Text]:
    return [Text(f"and {count} more {noun}", style="dim")] if count else []


def _fitting(count: int, room: int) -> int:
    """Returns how many of `count` rows to show in `room` lines, one to say what is left out."""
    return count if count <= room else max(room - 1, 1)


def _seeds_table(lines: Sequence[Line], latest: Sequence[Line], room: int) -> list[Table | Text]:
    """Returns a row for each seed that fits, and the means of `latest`, those that still train.

    What a seed that diverged said last would spoil the means for good.
    """
    split = _split(lines[0])
    names = ("train_loss", "train_accuracy", f"{split}_loss", f"{split}_accuracy",
             "remaining_weights")  # fmt: skip
    table = _grid("seed", "train loss", "accuracy", f"{split} loss", "accuracy", "remaining")

    def add(first: str, values: Sequence[float], style: str = "") -> None:
        cells = [f"{v:.4f}" if n.endswith("loss") else f"{v:.2%}"
                 for n, v in zip(names, values, strict=True)]  # fmt: skip
        table.add_row(first, *cells, style=style)

    shown = lines[: _fitting(len(lines), room)]
    for line in shown:
        add(str(line["seed"]), [line[name] for name in names])
    add("mean", [_mean(latest, name) for name in names], "bold")
    return [table, *_more(len(lines) - len(shown), "seeds")]
