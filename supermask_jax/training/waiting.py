"""No long silence: a spinner, a bar or lines while something takes time; the end of many runs."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from supermask_jax.data.progress import telling

_log = logging.getLogger("supermask_jax")

# Seconds before anything is shown: on a terminal, and as a line of a log.
_TERMINAL_S, _LOG_S = 0.5, 2.0
_FRAME_S, _LINE_S = 0.1, 30.0  # between two looks at how far it is, and two lines of a log

_PLAIN: ContextVar[bool] = ContextVar("plain", default=False)


@contextmanager
def plain_lines(plain: bool = True) -> Iterator[None]:
    """Makes the runs within print plain lines where `plain`, and not show a live view."""
    token = _PLAIN.set(plain)
    try:
        yield
    finally:
        _PLAIN.reset(token)


def wanted() -> bool:
    """Says whether a live view can be shown and is not unwanted: see `plain_lines`."""
    dumb = os.environ.get("TERM", "").lower() in ("", "dumb", "unknown")
    return sys.stderr.isatty() and not dumb and not _PLAIN.get()


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Shows that `what` is under way, and for how long; off a terminal, that it is.

    Where it counts what it reads (`data.progress`), a bar or a line says how far it is and when it
    ends.
    """
    done, terminal, reached = threading.Event(), wanted(), _Reached()

    def show() -> None:
        if done.wait(_TERMINAL_S if terminal else _LOG_S):
            return
        if terminal:
            _show_bar(what, reached, done)
            return
        _log.info("%s ...", what)
        while not done.wait(_LINE_S):
            if reached.total:
                _log.info("%s: %s", what, str(reached))

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        with telling(reached.set):
            yield
    finally:
        done.set()
        thread.join()


class _Reached:
    """How far a read is."""

    def __init__(self) -> None:
        self.what, self.done, self.total, self._since = "", 0, 0, time.monotonic()

    def set(self, what: str, done: int, total: int) -> None:
        if not done:
            self._since = time.monotonic()
        self.what, self.done, self.total = what, done, total

    def __str__(self) -> str:
        text = f"{self.done:,} of {self.total:,} {self.what}"
        if not 0 < self.done < self.total:
            return text
        return f"{text}, until about {_end(self._since, self.done, self.total)}"


def _show_bar(what: str, reached: _Reached, done: threading.Event) -> None:
    """Shows a spinner, and a bar once something is counted, until it is `done`."""
    from rich import progress
    from rich.console import Console
    from rich.table import Column

    columns = (
        progress.SpinnerColumn(),
        progress.TimeElapsedColumn(),
        progress.BarColumn(bar_width=10),
        # Last, and broken between words where the terminal is narrow.
        progress.TextColumn("{task.description}", table_column=Column(no_wrap=False)),
    )
    with progress.Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        shown.console.show_cursor(True)  # Killed at any moment, the terminal is as it was.
        task = shown.add_task(what, total=None)
        while not done.wait(_FRAME_S):
            if reached.total:
                text = f"{what}: {reached}"
                shown.update(task, description=text, completed=reached.done, total=reached.total)


def _end(since: float, done: int, total: int) -> str:
    """Returns when all is done at the pace since `since`, e.g. ``Thu 18:40``."""
    left = (time.monotonic() - since) / done * (total - done)
    return time.strftime("%a %H:%M", time.localtime(time.time() + left))


class Points:
    """Counts runs one after another, and tells when the last one ends at the pace so far."""

    def __init__(self, total: int) -> None:
        self._total, self._begun, self._since = total, 0, time.monotonic()

    def __next__(self) -> str:
        """Returns e.g. ``3 of 12, the last one ends about Thu 18:40`` as the next one begins."""
        done, self._begun = self._begun, self._begun + 1
        text = f"{self._begun} of {self._total}"
        if not done:
            return text
        return f"{text}, the last one ends about {_end(self._since, done, self._total)}"
