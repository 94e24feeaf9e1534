"""One training run: the objects it is made of, and `train`, which knows no config."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax

from supermask_jax.data.pipeline import epoch_order
from supermask_jax.methods import Method
from supermask_jax.training.checkpoint import Checkpoints
from supermask_jax.training.loop import Examples, Hooks, Plan, fit, make_evaluate, make_run_steps
from supermask_jax.training.progress import Progress
from supermask_jax.training.state import TrainState, create_state
from supermask_jax.training.step import ApplyFn, make_train_step, mean_metrics
from supermask_jax.training.workdir import Workdir

PyTree = Any

_log = logging.getLogger("supermask_jax")


class Job(NamedTuple):
    """What a run is made of. Making one draws, loads and writes nothing."""

    method: Method
    tx: optax.GradientTransformation
    apply_fn: ApplyFn
    init_fn: Callable[[jax.Array], PyTree]  # key -> variables {"params": ...} of the model
    plan: Plan
    seed: int
    num_train: int
    shuffle: bool = True
    eval_batch_size: int = 500
    checkpoints_to_keep: int = 3
    tensorboard: bool = False

    def create(self, key: jax.Array) -> tuple[TrainState, PyTree]:
        """Draws (state, frozen)."""
        return create_state(key, init_fn=self.init_fn, method=self.method, tx=self.tx)

    def keys(self) -> tuple[jax.Array, jax.Array]:
        """Returns the keys of everything drawn, and of the data order."""
        run_key, data_key = jax.random.split(jax.random.key(self.seed))
        return run_key, data_key

    def train_step(self) -> Callable[..., tuple[TrainState, jax.Array]]:
        """Builds the un-jitted step (state, frozen, batch) -> (state, loss)."""
        return make_train_step(
            self.apply_fn,
            self.method,
            self.tx,
            steps_per_epoch=self.plan.steps_per_epoch,
            total_steps=self.plan.total_steps,
        )

    def order(self) -> Callable[[int], jax.Array]:
        """Builds epoch from 0 -> indices of its batches, on the device."""
        size, key = (self.num_train, self.plan.batch_size), self.keys()[1]
        return jax.jit(lambda epoch: epoch_order(key, epoch, *size, shuffle=self.shuffle))

    def measure(self, frozen: PyTree) -> Callable[[TrainState, Examples, str], dict[str, float]]:
        """Builds (state, examples, prefix) -> loss, accuracy, remaining weights, and so on."""
        evaluate = make_evaluate(self.apply_fn, self.method, self.plan, self.eval_batch_size)

        def measure(state: TrainState, examples: Examples, prefix: str) -> dict[str, float]:
            sums, numbers = evaluate(state, frozen, examples)
            return mean_metrics(sums, prefix) | {name: float(x) for name, x in numbers.items()}

        return measure


class Splits(NamedTuple):
    """The data of a run on the device. `val` is None where test is watched every epoch."""

    train: Examples
    val: Examples | None
    test: Examples


class Trained(NamedTuple):
    """What a finished run leaves in memory."""

    state: TrainState
    frozen: PyTree
    metrics: dict[str, float]  # test loss and accuracy, remaining weights


def train(job: Job, splits: Splits, folder: Workdir, *, quiet: bool = False) -> Trained:
    """Trains in `folder`, which `Workdir.create` made; goes on from its newest checkpoint.

    Raises:
      UserError: no space, or training diverged.
      Interrupted: SIGTERM or Ctrl-C; what was trained is saved.
    """
    with (
        folder.locked(),
        Checkpoints(folder.checkpoints, max_to_keep=job.checkpoints_to_keep) as checkpoints,
        Progress(folder, job.seed, job.plan, quiet=quiet, tensorboard=job.tensorboard) as progress,
    ):
        state, frozen = _start(checkpoints, folder, job)
        measure = job.measure(frozen)
        watched, prefix = (splits.test, "test") if splits.val is None else (splits.val, "val")
        hooks = Hooks(
            order=job.order(),
            evaluate=lambda state: measure(state, watched, prefix),
            report=progress.report,
            save=checkpoints.save,
            progress=progress.step,
        )
        run_steps = make_run_steps(job.train_step(), splits.train, job.plan)
        state = fit(state, frozen, run_steps, job.plan, hooks)
        return Trained(state, frozen, measure(state, splits.test, "test"))


def _compile_fast() -> dict[str, int] | None:
    """Compiler options for what runs once: the draws compile for seconds at full effort on CPU."""
    return {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None


def _start(checkpoints: Checkpoints, folder: Workdir, job: Job) -> tuple[TrainState, PyTree]:
    """Takes the newest checkpoint of the run, or draws its first state."""
    key = job.keys()[0]
    like_state, like_frozen = jax.eval_shape(job.create, key)
    restored = checkpoints.restore(like_state, like_frozen)
    if restored is None:
        state, frozen = jax.jit(job.create, compiler_options=_compile_fast())(key)
        folder.keep_metrics(0)
        checkpoints.start(frozen)
        return state, frozen
    step, state, frozen = restored
    epochs, inside = divmod(step, job.plan.steps_per_epoch)
    folder.keep_metrics(epochs)
    _log.info("resuming after epoch %d, step %d of the next one", epochs, inside)
    return state, frozen
