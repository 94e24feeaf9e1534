"""The compiled programs of a run: steps in one dispatch, and the evaluation of a split."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax import lax

from supermask_jax.core import stats
from supermask_jax.data.pipeline import batch_at, epoch_order, num_batches
from supermask_jax.data.transforms import Prepare
from supermask_jax.methods import Method
from supermask_jax.training.compiling import compiled_apart
from supermask_jax.training.layout import Layout
from supermask_jax.training.settings import seed_key
from supermask_jax.training.state import TrainState, blemish
from supermask_jax.training.step import ApplyFn, make_eval_step

Array = jax.Array
PyTree = Any

# Folded into a step's key for its augmentation: larger than any number of layers, which methods
# split the same key into.
_AUGMENT = 2**30

# Steps of a convolutional network in a dispatch on CPU.
_CPU_STEPS = 8


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
    microbatches: int = 1  # that a batch is split into

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.epochs * self.steps_per_epoch


class Health(NamedTuple):
    """What tells of a dispatch whether training diverged: float32 [], both finite if it did not."""

    loss: Array  # sum of the losses
    state: Array  # `state.blemish` after the last step


RunSteps = Callable[[TrainState, PyTree, Array, int, int], tuple[TrainState, Health]]


def steps_in_dispatch(plan: Plan, params: PyTree, *, derived_convolutions: bool) -> int:
    """Chooses how many steps are dispatched at once: those of an epoch, but on CPU.

    There every dispatch takes the memory of its temporaries from the system anew, which may be a
    good part of a step: a few steps share it, and what stops a run need not wait long. It
    is one for networks whose gradients are many times slower inside a loop.

    Args:
      plan: of the run.
      params: of the network, or their shapes.
      derived_convolutions: see `compiling.derives_convolution`.
    """
    if jax.default_backend() != "cpu" or not has_convolutions(params):
        return plan.steps_per_epoch
    return 1 if derived_convolutions else min(_CPU_STEPS, plan.steps_per_epoch)


def has_convolutions(params: PyTree) -> bool:
    """Says whether a tree of weights holds convolution kernels."""
    return any(len(leaf.shape) > 2 for leaf in jax.tree.leaves(params))


def make_run_steps(
    step: Callable[..., Any], examples: Examples, plan: Plan, prepare: Prepare, layout: Layout
) -> RunSteps:
    """Builds ``run(state, frozen, order, first, count) -> (state, health)``.

    Batches `first` ... `first + count - 1` of the epoch are trained on in one dispatch. The state
    is donated. `count` must be 1 where `plan.steps_per_call` is 1. With seeds, everything but the
    examples has a leading axis of seeds.
    """

    def one(state: TrainState, frozen: PyTree, data: Examples, order: Array, index: Array) -> Any:
        key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), _AUGMENT)
        batch = batch_at(
            *data, order, index, plan.batch_size,
            prepare=prepare, key=key, place=layout.split_rows,
        )  # fmt: skip
        return step(state, frozen, batch)

    def many(
        state: TrainState, frozen: PyTree, data: Examples, order: Array, first: Array, count: Array
    ) -> tuple[TrainState, Health]:
        def body(i: Array, carry: tuple[TrainState, Array]) -> tuple[TrainState, Array]:
            state, loss = one(carry[0], frozen, data, order, i)
            # Summed, so that one loss that is not finite shows however many follow it.
            return state, carry[1] + loss

        state, loss = lax.fori_loop(first, first + count, body, (state, jax.numpy.float32(0)))
        return state, Health(loss, blemish(state))

    def single(
        state: TrainState, frozen: PyTree, data: Examples, order: Array, index: Array
    ) -> tuple[TrainState, Health]:
        state, loss = one(state, frozen, data, order, index)
        return state, Health(loss, blemish(state))

    seeded = (True, True, False, True, False)
    options = {"donate_argnums": 0, "out_shardings": (layout.per_seed, layout.replicated)}
    if plan.steps_per_call == 1:
        program = compiled_apart(jax.jit(layout.lift(single, seeded), **options))
        return lambda state, frozen, order, first, count: program(
            state, frozen, examples, order, first
        )
    program = compiled_apart(jax.jit(layout.lift(many, (*seeded, False)), **options))
    return lambda state, frozen, order, first, count: program(
        state, frozen, examples, order, first, count
    )


Sums = dict[str, Array]
Evaluate = Callable[[TrainState, PyTree, Examples], tuple[Sums, dict[str, Any]]]


def make_evaluate(
    apply_fn: ApplyFn,
    method: Method,
    plan: Plan,
    batch_size: int,
    prepare: Prepare,
    layout: Layout,
) -> Evaluate:
    """Builds ``evaluate(state, frozen, examples) -> (sums, numbers)`` over a whole split.

    Methods that sample are evaluated on several masks: the sums are over all of them, and
    ``numbers["remaining_weights"]`` is the mean of their densities. `numbers` holds also
    `stats.layer_shares`, and what the method reports. With seeds, every result has a leading axis
    of seeds.
    """
    samples = max(method.eval_samples, 1)
    apply_mask = _make_apply_mask(method, plan, layout)
    sum_split = _make_sum_split(apply_fn, plan, batch_size, prepare, layout)

    def evaluate(state: TrainState, frozen: PyTree, data: Examples) -> tuple[Sums, dict[str, Any]]:
        found = []
        for sample in range(samples):
            params, numbers = apply_mask(state, frozen, sample)
            found.append((sum_split(state, params, data), numbers))
        total = jax.tree.map(lambda *leaves: sum(leaves), *found)
        return total[0], jax.tree.map(lambda x: x / samples, total[1])

    return evaluate


def _make_apply_mask(
    method: Method, plan: Plan, layout: Layout
) -> Callable[[TrainState, PyTree, int], tuple[PyTree, dict[str, Any]]]:
    """Builds the jitted (state, frozen, sample) -> (effective parameters, numbers)."""

    def one(state: TrainState, frozen: PyTree, sample: Array) -> tuple[PyTree, dict[str, Any]]:
        # Counted from the other end than the keys of the steps: never one of those.
        key = jax.random.fold_in(jax.random.fold_in(state.key, -1 - state.step), sample)
        operands = (
            state.trainable,
            frozen,
            key if method.eval_samples else None,
            state.step / plan.total_steps,
        )
        numbers = {} if method.report is None else method.report(state.trainable, frozen)
        masks = method.masks(*operands)
        numbers |= {"remaining_weights": stats.density(masks), **stats.layer_shares(masks)}
        return method.apply(*operands), numbers

    place = (layout.per_seed, layout.replicated)
    return jax.jit(layout.lift(one, (True, True, False)), out_shardings=place)


def _make_sum_split(
    apply_fn: ApplyFn, plan: Plan, batch_size: int, prepare: Prepare, layout: Layout
) -> Callable[[TrainState, PyTree, Examples], Sums]:
    """Builds (state, params, examples) -> metric sums of effective parameters over a split."""
    step = make_eval_step(apply_fn)
    batch_size = layout.whole_rows(batch_size)

    def one(sums: Sums, params: PyTree, batch_stats: PyTree, data: Examples, index: Array) -> Sums:
        total = data.images.shape[0]
        order = epoch_order(seed_key(0), 0, total, batch_size, shuffle=False)
        batch = batch_at(*data, order, index, batch_size, prepare=prepare, place=layout.split_rows)
        return step(params, batch_stats, batch, sums)

    def whole(sums: Sums, params: PyTree, batch_stats: PyTree, data: Examples) -> Sums:
        batches = num_batches(data.images.shape[0], batch_size)
        body = lambda i, sums: one(sums, params, batch_stats, data, i)  # noqa: E731
        return lax.fori_loop(0, batches, body, sums)

    seeded = (True, True, True, False)
    options = {"out_shardings": layout.replicated}
    whole_jitted = compiled_apart(jax.jit(layout.lift(whole, seeded), **options))
    one_jitted = compiled_apart(jax.jit(layout.lift(one, (*seeded, False)), **options))

    def sum_split(state: TrainState, params: PyTree, data: Examples) -> Sums:
        sums = jax.tree.map(jax.numpy.zeros_like, state.sums)
        if plan.steps_per_call > 1:
            return whole_jitted(sums, params, state.batch_stats, data)
        for index in range(num_batches(data.images.shape[0], batch_size)):
            sums = one_jitted(sums, params, state.batch_stats, data, index)
        return sums

    return sum_split
