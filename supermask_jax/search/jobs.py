"""Runs of a search: one after another here, or several at a time in processes of their own."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from supermask_jax.errors import Diverged, UserError, one_line
from supermask_jax.run_files import check_lines, read_lines

# Of the last epoch; the test set is not among what a search sees.
KEPT = ("epoch", "train_accuracy", "val_accuracy", "remaining_weights")


class Task(NamedTuple):
    """One run: a point of the grid with a seed."""

    config: ConfigDict
    folder: Path
    labels: dict[str, Any]  # what the log says of the run, beside what it measures


class Stopped(KeyboardInterrupt):
    """SIGTERM or Ctrl-C arrived, and the runs under way are saved."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


def run_one(config: ConfigDict, folder: Path) -> dict[str, Any]:
    """Runs one point and returns what the log keeps of it: nothing measured on test.

    Raises:
      UserError: the run is impossible; one that diverges returns {"failed": why}.
    """
    from supermask_jax import experiment
    from supermask_jax.training.workdir import Workdir

    try:
        summary = experiment.run(config, folder, quiet=True)
    except Diverged as error:
        return {"failed": one_line(error)}
    path = Workdir(folder).metrics
    lines, _ = read_lines(path)
    check_lines(path, lines, summary["epoch"])
    seconds = round(sum(line["seconds"] for line in lines), 1)
    return {name: lines[-1][name] for name in KEPT} | {"seconds": seconds}


def outcomes(
    tasks: Sequence[Task], jobs: int, deadline: float
) -> Iterator[tuple[Task, dict[str, Any]]]:
    """Runs the tasks, `jobs` at a time, and yields each with its outcome as it ends.

    Args:
      tasks: most valuable first.
      jobs: 1 runs them in this process.
      deadline: in seconds of `time.monotonic`; past it none is started.

    Raises:
      UserError: a run is impossible, or a process died.
      KeyboardInterrupt: SIGTERM or Ctrl-C; the runs under way are saved.
    """
    if jobs > 1:
        yield from _in_processes(tasks, jobs, deadline)
        return
    for task in tasks:
        if time.monotonic() > deadline:
            return
        yield task, run_one(task.config, task.folder)


def _in_processes(
    tasks: Sequence[Task], jobs: int, deadline: float
) -> Iterator[tuple[Task, dict[str, Any]]]:
    waiting, running = iter(tasks), dict[Future, Task]()
    # Spawned: JAX does not survive a fork. In a session of its own, a child hears of Ctrl-C once,
    # from us; a second signal would end it unsaved.
    context = multiprocessing.get_context("spawn")
    with _passing_on() as stop, ProcessPoolExecutor(jobs, context, os.setsid) as pool:
        while True:
            if time.monotonic() <= deadline and not stop:
                for task in itertools.islice(waiting, jobs - len(running)):
                    running[pool.submit(_run_or_stop, task.config, task.folder)] = task
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                task = running.pop(future)
                if (outcome := _outcome(future, stop)) is not None:
                    yield task, outcome
        if stop:
            raise Stopped(stop[0])


def _run_or_stop(config: ConfigDict, folder: Path) -> dict[str, Any] | None:
    """`run_one` in a child; None says that it was stopped and saved."""
    try:
        return run_one(config, folder)
    except KeyboardInterrupt:
        return None


def _outcome(future: Future, stop: Sequence[int]) -> dict[str, Any] | None:
    try:
        return future.result()
    except BrokenProcessPool as error:
        if stop:  # The signal came between two runs, or before the first step of one.
            return None
        raise UserError(
            "a process of the search died, out of memory or killed: give the same command to go "
            "on, with fewer --jobs"
        ) from error


@contextmanager
def _passing_on() -> Iterator[list[int]]:
    """Passes SIGTERM and Ctrl-C on to the children; yields the list of those that came."""
    came: list[int] = []

    def note(signum: int, frame: Any) -> None:
        if not came:
            for child in multiprocessing.active_children():
                child.terminate()
        came.append(signum)

    numbers = (signal.SIGTERM, signal.SIGINT)
    old = [signal.signal(number, note) for number in numbers]
    try:
        yield came
    finally:
        for number, handler in zip(numbers, old, strict=True):
            signal.signal(number, handler)
