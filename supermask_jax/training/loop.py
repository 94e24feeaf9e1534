"""The training loop: dispatches steps, reports epochs, saves, and stops when told to."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
from jax import lax

from supermask_jax.core import stats
from supermask_jax.data.pipeline import batch_at, epoch_order, num_batches
from supermask_jax.errors import UserError
from supermask_jax.methods import Method
from supermask_jax.training.state import TrainState, zero_sums
from supermask_jax.training.step import ApplyFn, make_eval_step, mean_metrics

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


class Examples(NamedTuple):
    """A split on the device."""

    images: Array  # uint8 [N, H, W, C]
    labels: Array  # int32 [N]


class Plan(NamedTuple):
    """Sizes of a run: Python integers."""

    epochs: int
    batch_size: int
    steps_per_epoch: int
    steps_per_call: int  # steps in one dispatch; 1 means no loop on the device

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.epochs * self.steps_per_epoch


RunSteps = Callable[[TrainState, PyTree, Array, int, int], tuple[TrainState, Array]]


def use_device_loop(params: PyTree) -> bool:
    """Says whether a loop of steps belongs on the device: everywhere but for convolutions on CPU.

    XLA runs a convolution inside a loop on CPU by a path many times slower than the same step
    jitted alone.
    """
    convolutions = any(len(leaf.shape) > 2 for leaf in jax.tree.leaves(params))
    return not (convolutions and jax.default_backend() == "cpu")


def make_run_steps(step: Callable[..., Any], examples: Examples, plan: Plan) -> RunSteps:
    """Builds ``run(state, frozen, order, first, count) -> (state, sum of the losses)``.

    Batches `first` ... `first + count - 1` of the epoch are trained on in one dispatch. The state
    is donated. `count` must be 1 where `plan.steps_per_call` is 1.
    """

    def one(state: TrainState, frozen: PyTree, data: Examples, order: Array, index: Array) -> Any:
        return step(state, frozen, batch_at(*data, order, index, plan.batch_size))

    def many(
        state: TrainState, frozen: PyTree, data: Examples, order: Array, first: Array, count: Array
    ) -> tuple[TrainState, Array]:
        def body(i: Array, carry: tuple[TrainState, Array]) -> tuple[TrainState, Array]:
            state, loss = one(carry[0], frozen, data, order, i)
            # Summed, so that one loss that is not finite shows however many follow it.
            return state, carry[1] + loss

        return lax.fori_loop(first, first + count, body, (state, jax.numpy.float32(0)))

    if plan.steps_per_call == 1:
        jitted = jax.jit(one, donate_argnums=0)
        return lambda state, frozen, order, first, count: jitted(
            state, frozen, examples, order, first
        )
    jitted = jax.jit(many, donate_argnums=0)
    return lambda state, frozen, order, first, count: jitted(
        state, frozen, examples, order, first, count
    )


def make_evaluate(
    apply_fn: ApplyFn, method: Method, plan: Plan, batch_size: int
) -> Callable[[TrainState, PyTree, Examples], tuple[dict[str, Array], dict[str, Array]]]:
    """Builds ``evaluate(state, frozen, examples) -> (sums, numbers)`` over a whole split.

    Methods that sample are evaluated on several masks: the sums are over all of them, and
    ``numbers["remaining_weights"]`` is the mean of their densities. `numbers` holds also what the
    method reports.
    """
    step = make_eval_step(apply_fn)
    samples = max(method.eval_samples, 1)

    @jax.jit
    def prepare(
        state: TrainState, frozen: PyTree, sample: Array
    ) -> tuple[PyTree, dict[str, Array]]:
        # Counted from the other end than the keys of the steps: never one of those.
        key = jax.random.fold_in(jax.random.fold_in(state.key, -1 - state.step), sample)
        operands = (
            state.trainable,
            frozen,
            key if method.eval_samples else None,
            state.step / plan.total_steps,
        )
        numbers = {} if method.report is None else method.report(state.trainable, frozen)
        numbers["remaining_weights"] = stats.density(method.masks(*operands))
        return method.apply(*operands), numbers

    def one(
        params: PyTree, batch_stats: PyTree, data: Examples, index: Array, sums: dict[str, Array]
    ) -> dict[str, Array]:
        total = data.images.shape[0]
        order = epoch_order(jax.random.key(0), 0, total, batch_size, shuffle=False)
        return step(params, batch_stats, batch_at(*data, order, index, batch_size), sums)

    @jax.jit
    def whole(params: PyTree, batch_stats: PyTree, data: Examples) -> dict[str, Array]:
        batches = num_batches(data.images.shape[0], batch_size)
        body = lambda i, sums: one(params, batch_stats, data, i, sums)  # noqa: E731
        return lax.fori_loop(0, batches, body, zero_sums())

    one_jitted = jax.jit(one)

    def evaluate_mask(params: PyTree, batch_stats: PyTree, data: Examples) -> dict[str, Array]:
        if plan.steps_per_call > 1:
            return whole(params, batch_stats, data)
        sums = zero_sums()
        for index in range(num_batches(data.images.shape[0], batch_size)):
            sums = one_jitted(params, batch_stats, data, index, sums)
        return sums

    def evaluate(
        state: TrainState, frozen: PyTree, data: Examples
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        found = []
        for sample in range(samples):
            params, numbers = prepare(state, frozen, sample)
            found.append((evaluate_mask(params, state.batch_stats, data), numbers))
        total = jax.tree.map(lambda *leaves: sum(leaves), *found)
        return total[0], jax.tree.map(lambda x: x / samples, total[1])

    return evaluate


class Hooks(NamedTuple):
    """What the loop calls; the loop itself does no I/O."""

    order: Callable[[int], Array]  # epoch from 0 -> indices, on the device
    evaluate: Callable[[TrainState], dict[str, float]]  # metrics of the epoch's end
    report: Callable[[dict[str, Any]], None]  # one finished epoch, epochs counted from 1
    save: Callable[[int, TrainState, bool], None]  # (step, state, whether to wait for the disk)
    progress: Callable[[int, int], None]  # (epoch from 1, steps of it done)


def _check_finite(loss: Array, step: int) -> None:
    if not math.isfinite(float(loss)):
        raise UserError(
            f"training diverged: the loss is {float(loss)} by step {step}; the last checkpoint is "
            "from before: lower the learning rate, or change the initialisers"
        )


def fit(
    state: TrainState, frozen: PyTree, run_steps: RunSteps, plan: Plan, hooks: Hooks
) -> TrainState:
    """Trains from ``state.step`` to the end of the plan and returns the final state.

    Metrics of one dispatch are fetched after the next one is under way, so the device does not
    wait. A line is reported before its checkpoint is saved: a checkpoint on disk means that its
    line is there too.

    Raises:
      Interrupted: SIGTERM or Ctrl-C; the state is saved.
      UserError: the loss is not finite, or a checkpoint could not be saved.
    """
    step, total = int(state.step), plan.total_steps
    with StopSignal().active() as stop:
        while step < total:
            started = time.perf_counter()
            epoch, index = divmod(step, plan.steps_per_epoch)
            order = hooks.order(epoch)
            pending: tuple[Array, int] | None = None
            while index < plan.steps_per_epoch and stop.signum is None:
                count = min(plan.steps_per_call, plan.steps_per_epoch - index)
                state, loss = run_steps(state, frozen, order, index, count)
                index, step = index + count, step + count
                if pending is not None:
                    _check_finite(*pending)
                pending = (loss, step)
                hooks.progress(epoch + 1, index)
            if index < plan.steps_per_epoch:
                hooks.save(step, state, True)
                raise Interrupted(stop.signum, step)
            metrics = hooks.evaluate(state)
            _check_finite(*(pending or (state.sums["loss"], step)))
            line = {"epoch": epoch + 1, "step": step, **mean_metrics(state.sums, "train")}
            line |= metrics | {"seconds": round(time.perf_counter() - started, 4)}
            hooks.report(line)
            stopping = stop.signum is not None and step < total
            hooks.save(step, state, stopping)
            if stopping:
                raise Interrupted(stop.signum, step)
    return state
