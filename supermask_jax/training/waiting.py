"""No long silence: a spinner or a line while something takes time, and the end of many runs."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_log = logging.getLogger("supermask_jax")

# Seconds before anything is shown: on a terminal, and as a line of a log.
_TERMINAL_S, _LOG_S = 0.5, 2.0

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
    """Shows that `what` is under way, and for how long; off a terminal, that it is."""
    done, terminal = threading.Event(), wanted()

    def show() -> None:
        if done.wait(_TERMINAL_S if terminal else _LOG_S):
            return
        if not terminal:
            _log.info("%s ...", what)
            return
        from rich import progress
        from rich.console import Console
        from rich.table import Column

        words = progress.TextColumn(what, table_column=Column(no_wrap=False))
        columns = progress.SpinnerColumn(), progress.TimeElapsedColumn(), words
        with progress.Progress(*columns, console=Console(stderr=True), transient=True) as shown:
            shown.console.show_cursor(True)  # Killed at any moment, the terminal is as it was.
            shown.add_task(what, total=None)
            done.wait()

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


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
        pace = (time.monotonic() - self._since) / done
        end = time.localtime(time.time() + pace * (self._total - done))
        return f"{text}, the last one ends about {time.strftime('%a %H:%M', end)}"
