"""The training loop: dispatches steps, reports epochs, saves, and stops when told to."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import numpy as np

from supermask_jax.errors import Diverged
from supermask_jax.training.plateau import stopped
from supermask_jax.training.processes import in_any
from supermask_jax.training.programs import Plan, RunSteps
from supermask_jax.training.state import TrainState
from supermask_jax.training.step import mean_metrics

Array = jax.Array
PyTree = Any


class Interrupted(KeyboardInterrupt):
    """SIGTERM or Ctrl-C arrived; what was trained so far is saved."""

    def __init__(self, signum: int, step: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name} after step {step}")
        self.signum = signum


class StopSignal:
    """Notes the first SIGTERM or SIGINT while active; a second one acts at once."""

    signum: int | None = None

    def wanted(self) -> bool:
        """Says whether to stop: in several processes, as soon as one of them is told to."""
        if in_any(self.signum is not None):
            self.signum = self.signum or signal.SIGTERM
        return self.signum is not None

    @contextmanager
    def active(self) -> Iterator[StopSignal]:
        """Installs the handlers; does nothing outside the main thread, where Python allows none."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        old = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

        def note(signum: int, frame: Any) -> None:
            self.signum = signum
            for number, handler in old.items():
                signal.signal(number, handler)

        for number in old:
            signal.signal(number, note)
        try:
            yield self
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)


class Hooks(NamedTuple):
    """What the loop calls; the loop itself does no I/O.

    Per-seed lists have one entry for a run of one seed.
    """

    order: Callable[[int], Array]  # epoch from 0 -> indices, on the device
    evaluate: Callable[[TrainState], list[dict[str, Any]]]  # per seed, at an epoch's end
    report: Callable[[list[dict[str, Any]]], None]  # per seed still training, epochs from 1
    save: Callable[[int, TrainState, bool], None]  # (step, state, whether to wait for the disk)
    progress: Callable[[int, int], None]  # (epoch from 1, steps of it done)
    fetch: Callable[[PyTree], PyTree]  # arrays of the state -> NumPy arrays, whole


def _check_finite(loss: Array, step: int, seeds: Sequence[int]) -> None:
    losses = np.ravel(jax.device_get(loss))
    if np.isfinite(losses).all():
        return
    bad = int(np.flatnonzero(~np.isfinite(losses))[0])
    which = f" of seed {seeds[bad]}" if len(seeds) > 1 else ""
    raise Diverged(
        f"training diverged: the loss{which} is {losses[bad]} by step {step}; the last checkpoint "
        "is from before: lower the learning rate, or change the initialisers"
    )


def _all_stopped(state: TrainState, hooks: Hooks) -> bool:
    flag = stopped(state.opt_state)
    return flag is not None and bool(np.all(hooks.fetch(flag)))


def _lines(
    steps: np.ndarray,
    metrics: list[dict[str, Any]],
    seeds: Sequence[int],
    seconds: float,
    **common: int,
) -> list[dict[str, Any]]:
    """Returns the metrics lines of an epoch; seeds that stopped before it have none."""
    training = np.flatnonzero(np.ravel(steps) == common["step"])
    share = {"seconds": round(seconds / len(training), 4)}
    return [{"seed": seeds[i], **common, **metrics[i], **share} for i in training]


def fit(
    state: TrainState,
    frozen: PyTree,
    run_steps: RunSteps,
    plan: Plan,
    hooks: Hooks,
    seeds: Sequence[int],
) -> TrainState:
    """Trains from ``state.step`` to the end of the plan and returns the final state.

    Metrics of one dispatch are fetched after the next one is under way, so the device does not
    wait. A line is reported before its checkpoint is saved: a checkpoint on disk means that its
    line is there too. The seconds of a line are those of the epoch, shared among the seeds.

    Raises:
      Interrupted: SIGTERM or Ctrl-C; the state is saved.
      UserError: the loss is not finite, or a checkpoint could not be saved.
    """
    # Seeds that their schedule stopped stay behind.
    step, total = int(np.max(hooks.fetch(state.step))), plan.total_steps
    with StopSignal().active() as stop:
        while step < total and not _all_stopped(state, hooks):
            started = time.perf_counter()
            epoch, index = divmod(step, plan.steps_per_epoch)
            order = hooks.order(epoch)
            pending: tuple[Array, int] | None = None
            while index < plan.steps_per_epoch and not stop.wanted():
                count = min(plan.steps_per_call, plan.steps_per_epoch - index)
                state, loss = run_steps(state, frozen, order, index, count)
                index, step = index + count, step + count
                if pending is not None:
                    _check_finite(*pending, seeds)
                pending = (loss, step)
                hooks.progress(epoch + 1, index)
            if index < plan.steps_per_epoch:
                if pending is not None:
                    _check_finite(*pending, seeds)
                hooks.save(step, state, True)
                raise Interrupted(stop.signum, step)
            watched = hooks.evaluate(state)
            _check_finite(*pending, seeds)
            steps, sums = hooks.fetch((state.step, state.sums))
            metrics = [a | b for a, b in zip(mean_metrics(sums, "train"), watched, strict=True)]
            seconds = time.perf_counter() - started
            hooks.report(_lines(steps, metrics, seeds, seconds, epoch=epoch + 1, step=step))
            stopping = stop.wanted() and step < total
            hooks.save(step, state, stopping)
            if stopping:
                raise Interrupted(stop.signum, step)
    return state
