"""The training loop: dispatches steps, reports epochs, saves, and stops when told to."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import numpy as np

from supermask_jax.errors import Interrupted
from supermask_jax.training.plateau import stopped
from supermask_jax.training.processes import in_any
from supermask_jax.training.programs import Health, Plan, RunSteps
from supermask_jax.training.state import TrainState
from supermask_jax.training.step import mean_metrics

Array = jax.Array
PyTree = Any


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
    diverged: Callable[[int, str, int], None]  # (seed, what is wrong, step): notes it, or raises


class _Living:
    """Which seeds of a program still count: whose loss and state have been finite so far.

    A seed that diverged is trained on with the others, since they are one program, to no effect
    on them; nothing of it is reported.
    """

    def __init__(self, seeds: Sequence[int], diverged: Iterable[int], hooks: Hooks) -> None:
        self._seeds, self._hooks = seeds, hooks
        self._out = np.isin(seeds, list(diverged))

    def check(self, dispatches: Iterable[tuple[Health, int]]) -> None:
        """Tells of seeds that are not finite in (health, last step) of some dispatches."""
        for health, step in dispatches:
            losses, states = (np.ravel(x) for x in jax.device_get(health))
            new = ~(np.isfinite(losses) & np.isfinite(states)) & ~self._out
            self._out |= new
            for i in np.flatnonzero(new):
                hidden = "scores, parameters, statistics or optimiser state are not finite"
                what = hidden if np.isfinite(losses[i]) else f"loss is {losses[i]}"
                self._hooks.diverged(self._seeds[i], what, step)

    def ended(self, state: TrainState) -> bool:
        """Says whether all have diverged, or were stopped by their schedule."""
        flag = stopped(state.opt_state)
        behind = False if flag is None else np.ravel(self._hooks.fetch(flag))
        return bool(np.all(self._out | behind))

    def none(self) -> bool:
        """Says whether all have diverged."""
        return bool(self._out.all())

    def training(self, steps: np.ndarray, step: int) -> list[int]:
        """Returns the indices of the seeds that have come to `step` and count."""
        return np.flatnonzero((np.ravel(steps) == step) & ~self._out).tolist()


def _lines(
    training: Sequence[int],
    metrics: list[dict[str, Any]],
    seeds: Sequence[int],
    seconds: float,
    **common: int,
) -> list[dict[str, Any]]:
    """Returns the metrics lines of an epoch, one for each index of a seed in `training`."""
    share = {"seconds": round(seconds / len(training), 4)}
    return [{"seed": seeds[i], **common, **metrics[i], **share} for i in training]


def fit(
    state: TrainState,
    frozen: PyTree,
    run_steps: RunSteps,
    plan: Plan,
    hooks: Hooks,
    seeds: Sequence[int],
    diverged: Iterable[int] = (),
) -> TrainState:
    """Trains from ``state.step`` to the end of the plan and returns the final state.

    Metrics of one dispatch are fetched after the next one is under way, so the device does not
    wait. A line is reported before its checkpoint is saved: a checkpoint on disk means that its
    line is there too. The seconds of a line are those of the epoch, shared among the seeds.

    Args:
      state: of all seeds.
      frozen: of all seeds.
      run_steps: from `make_run_steps`.
      plan: sizes of the run.
      hooks: what is called.
      seeds: of the program.
      diverged: those of them that diverged before.

    Raises:
      Interrupted: SIGTERM or Ctrl-C; the state is saved.
      UserError: a checkpoint could not be saved, or what `hooks.diverged` raises.
    """
    # Seeds that their schedule stopped stay behind.
    step, total = int(np.max(hooks.fetch(state.step))), plan.total_steps
    living = _Living(seeds, diverged, hooks)
    with StopSignal().active() as stop:
        while step < total and not living.ended(state):
            started = time.perf_counter()
            epoch = step // plan.steps_per_epoch
            state, step, pending = _train_epoch(
                state, frozen, run_steps, plan, hooks, living, step, stop
            )
            if step < (epoch + 1) * plan.steps_per_epoch:
                living.check(pending)
                if living.none():
                    return state
                hooks.save(step, state, True)
                raise Interrupted(stop.signum, step)
            watched = hooks.evaluate(state)
            living.check(pending)
            steps, sums = hooks.fetch((state.step, state.sums))
            training = living.training(steps, step)
            if not training:
                return state
            metrics = [a | b for a, b in zip(mean_metrics(sums, "train"), watched, strict=True)]
            seconds = time.perf_counter() - started
            hooks.report(_lines(training, metrics, seeds, seconds, epoch=epoch + 1, step=step))
            stopping = stop.wanted() and step < total
            hooks.save(step, state, stopping)
            if stopping:
                raise Interrupted(stop.signum, step)
    return state


def _train_epoch(
    state: TrainState,
    frozen: PyTree,
    run_steps: RunSteps,
    plan: Plan,
    hooks: Hooks,
    living: _Living,
    step: int,
    stop: StopSignal,
) -> tuple[TrainState, int, list[tuple[Health, int]]]:
    """Trains from `step` to the end of its epoch, or to where there is reason to stop.

    Returns:
      The state, its step, and (health, step) of the dispatches that are not checked yet.
    """
    epoch, index = divmod(step, plan.steps_per_epoch)
    order = hooks.order(epoch)
    pending: list[tuple[Health, int]] = []
    while index < plan.steps_per_epoch and not stop.wanted() and not living.none():
        steps = min(plan.steps_per_call, plan.steps_per_epoch - index)
        state, health = run_steps(state, frozen, order, index, steps)
        index, step = index + steps, step + steps
        living.check(pending)
        pending = [(health, step)]
        hooks.progress(epoch + 1, index)
    return state, step, pending
