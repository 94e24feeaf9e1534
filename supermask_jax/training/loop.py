"""The train step, and the loop around it: epoch, evaluate, report, save, stop."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from supermask_jax.data.pipeline import Batch, Examples, Stack, batch_of
from supermask_jax.errors import Interrupted
from supermask_jax.training.checkpoint import Checkpoints
from supermask_jax.training.distributed import StopSignal, wait_for_all
from supermask_jax.training.diverged import Health, Living
from supermask_jax.training.evaluate import Metrics, make_evaluate, mean_metrics
from supermask_jax.training.gradient import loss_gradient
from supermask_jax.training.plateau import stopped
from supermask_jax.training.progress import Progress
from supermask_jax.training.state import TrainState, blemish
from supermask_jax.training.streaming import dispatches
from supermask_jax.training.tensorboard import make_pictures
from supermask_jax.training.trainer import Splits, Trainer
from supermask_jax.training.workdir import Workdir
from supermask_jax.training.xla_cpu import free_after_compiling, quick_jit

Array = jax.Array
PyTree = Any

# Folded into a step's key for its augmentation and for dropout: larger than any number of layers,
# which methods split the same key into.
_AUGMENT, _DROPOUT = 2**30, 2**30 + 1

_log = logging.getLogger("supermask_jax")


def make_train_step(
    trainer: Trainer,
) -> Callable[[TrainState, PyTree, Batch], tuple[TrainState, Array]]:
    """Builds ``train_step(state, frozen, batch) -> (state, loss [])`` of one seed, not jitted.

    The loss is the mean cross-entropy over the rows of weight 1, to smoothed labels if so planned;
    a penalty of the method adds to its gradient alone. At the first step of an epoch the metric
    sums restart. A schedule that stops training leaves the state as it is from then on.
    """
    method, plan = trainer.method, trainer.plan
    tx = optax.with_extra_args_support(trainer.tx)

    def train_step(state: TrainState, frozen: PyTree, batch: Batch) -> tuple[TrainState, Array]:
        key = jax.random.fold_in(state.key, state.step)
        progress = state.step / plan.total_steps

        # The gradient to the scores is that to the effective weights, pulled back through the mask.
        apply = partial(method.apply, frozen=frozen, key=key, progress=progress)
        params, pull_back = jax.vjp(apply, state.trainable)
        sums, batch_stats, grads = loss_gradient(
            trainer.apply_fn,
            params,
            state.batch_stats,
            batch,
            plan.microbatches,
            plan.label_smoothing,
            jax.random.fold_in(key, _DROPOUT),
        )
        (grads,) = pull_back(grads)
        if method.penalty is not None:
            more = jax.grad(method.penalty)(state.trainable, frozen, key, progress)
            grads = jax.tree.map(jnp.add, grads, more)
        loss = sums["loss"] / sums["count"]
        updates, opt_state = tx.update(grads, state.opt_state, state.trainable, value=loss)
        trainable = optax.apply_updates(state.trainable, updates)
        if method.project is not None:
            trainable = method.project(trainable, frozen, (state.step + 1) / plan.total_steps)
        first = state.step % plan.steps_per_epoch == 0
        after = state.replace(
            step=state.step + 1,
            trainable=trainable,
            batch_stats=batch_stats,
            opt_state=opt_state,
            sums=jax.tree.map(lambda old, new: jnp.where(first, 0, old) + new, state.sums, sums),
        )
        if (flag := stopped(state.opt_state)) is not None:
            after = jax.tree.map(lambda old, new: jnp.where(flag, old, new), state, after)
        return after, loss

    return train_step


def make_train_steps(trainer: Trainer) -> Callable[..., tuple[TrainState, Health]]:
    """Builds the jitted steps of one dispatch, of all seeds.

    ``train_steps(state, frozen, data, order, first, count) -> (state, health)`` trains on batches
    `first` ... `first + count - 1` of an epoch, or of a stack, which has no order; the state is
    donated. `count` must be 1 where `plan.steps_per_call` is 1.
    """
    plan, layout, train_step = trainer.plan, trainer.layout, make_train_step(trainer)
    options = {"prepare": trainer.prepare, "place": layout.split_rows}
    free_after_compiling()

    def train_steps(
        state: TrainState,
        frozen: PyTree,
        data: Examples | Stack,
        order: Array | None,
        first: Array,
        count: Array,
    ) -> tuple[TrainState, Health]:
        def step(index: Array, carry: tuple[TrainState, Array]) -> tuple[TrainState, Array]:
            state, losses = carry
            key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), _AUGMENT)
            batch = batch_of(data, order, index, plan.batch_size, key=key, **options)
            state, loss = train_step(state, frozen, batch)
            # Summed, so that one loss that is not finite shows however many follow it.
            return state, losses + loss

        start = state, jnp.float32(0)
        if plan.steps_per_call == 1:
            state, losses = step(first, start)
        else:
            state, losses = lax.fori_loop(first, first + count, step, start)
        return state, Health(losses, blemish(state))

    lifted = layout.lift(train_steps, (True, True, False, True, False, False))
    places = (layout.per_seed, layout.replicated)
    return quick_jit(lifted, donate_argnums=0, out_shardings=places)


class Trained(NamedTuple):
    """What a finished program leaves in memory."""

    state: TrainState
    frozen: PyTree
    metrics: list[Metrics]  # a seed: test loss and accuracy, remaining weights, by layer


def train(trainer: Trainer, splits: Splits, folder: Workdir, *, quiet: bool = False) -> Trained:
    """Trains in `folder`, which the caller has locked; goes on from its newest checkpoint.

    What a dispatch gave is looked at when the next one is under way, so the device does not wait.
    A line is reported before its checkpoint is saved: a checkpoint on disk means that its line is
    there too. The seconds of a line are those of the epoch, shared among the seeds.

    Args:
      trainer: one run, or those of some seeds.
      splits: on the devices, by `Layout.put`.
      folder: of the run that the program is, or is part of.
      quiet: print no epochs.

    Raises:
      UserError: no space.
      Diverged: training of a single run diverged; the folder notes it, as it does a set's seeds.
      Interrupted: SIGTERM or Ctrl-C; what was trained is saved.
    """
    plan, seeds, fetch = trainer.plan, trainer.seeds, trainer.layout.fetch
    order_of = trainer.order()
    train_steps, evaluate = make_train_steps(trainer), make_evaluate(trainer)
    pictures_of = make_pictures(trainer) if trainer.tensorboard == "masks" else lambda *_: {}
    place, watched, prefix = trainer.part(folder).checkpoints, splits.val, "val"
    if watched is None:
        watched, prefix = splits.test, "test"
    with (
        Checkpoints(place, max_to_keep=plan.checkpoints_to_keep) as saves,
        Progress(folder, trainer, quiet=quiet) as progress,
    ):
        state, frozen, living = _start(saves, folder, trainer)
        step = int(np.max(fetch(state.step)))  # Seeds that their schedule stopped stay behind.
        with StopSignal().active() as stop:
            while step < plan.total_steps and not living.ended(state):
                started = time.perf_counter()
                epoch, index = divmod(step, plan.steps_per_epoch)
                order, unchecked = order_of(epoch), []
                living.begin_epoch()
                for part in dispatches(splits.train, order, index, plan, fetch):
                    if stop.wanted() or living.none():
                        break
                    state, health = train_steps(state, frozen, *part)
                    index, step = index + part.count, step + part.count
                    living.check(unchecked)
                    unchecked = [(health, step)]
                    progress.step(epoch + 1, index, living.running_loss)
                if index < plan.steps_per_epoch:
                    living.check(unchecked)
                    if living.none():
                        break
                    saves.save(step, state, wait=True)
                    raise Interrupted(stop.signum, step)
                pictures = pictures_of(state.trainable, frozen)
                metrics = evaluate(state, frozen, watched, prefix)
                living.check(unchecked)
                steps, sums = fetch((state.step, state.sums))
                if not (training := living.training(steps, step)):
                    break
                trained = mean_metrics(sums, "train")
                seconds = round((time.perf_counter() - started) / len(training), 4)
                lines = [
                    {"seed": seeds[i], "epoch": epoch + 1, "step": step}
                    | {**trained[i], **metrics[i], "seconds": seconds}
                    for i in training
                ]
                progress.report(lines, pictures)
                stopping = stop.wanted() and step < plan.total_steps
                saves.save(step, state, wait=stopping)
                if stopping:
                    raise Interrupted(stop.signum, step)
        return Trained(state, frozen, evaluate(state, frozen, splits.test, "test"))


def _start(
    saves: Checkpoints, folder: Workdir, trainer: Trainer
) -> tuple[TrainState, PyTree, Living]:
    """Takes the newest checkpoint of the program, or draws its first state."""
    restored = saves.restore(*trainer.like())
    step, state, frozen = restored or (0, *trainer.start())
    epochs, inside = divmod(step, trainer.plan.steps_per_epoch)
    living = Living(trainer, folder, step)
    folder.keep_metrics(epochs, trainer.seeds, living.diverged())
    if restored is None:
        saves.start(frozen)
    else:
        wait_for_all("resumed")
        _log.info("resuming after epoch %d, step %d of the next one", epochs, inside)
    return state, frozen, living
