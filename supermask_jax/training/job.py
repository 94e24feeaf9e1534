"""One training program: the objects it is made of, and `train`, which knows no config."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from supermask_jax.data.pipeline import epoch_order
from supermask_jax.data.transforms import Prepare
from supermask_jax.errors import Diverged
from supermask_jax.methods import Method
from supermask_jax.training.checkpoint import Checkpoints
from supermask_jax.training.compiling import compiled_apart
from supermask_jax.training.diverged import DivergedSeeds
from supermask_jax.training.layout import Layout
from supermask_jax.training.loop import Hooks, fit
from supermask_jax.training.processes import is_main, wait_for_all
from supermask_jax.training.programs import (
    Examples,
    Plan,
    RunSteps,
    make_evaluate,
    make_run_steps,
)
from supermask_jax.training.progress import Progress
from supermask_jax.training.settings import key_of, seed_key
from supermask_jax.training.state import TrainState, create_state
from supermask_jax.training.step import ApplyFn, make_train_step, mean_metrics
from supermask_jax.training.tensorboard import make_pictures
from supermask_jax.training.workdir import Part, Workdir

Array = jax.Array
PyTree = Any

Measure = Callable[[TrainState, PyTree, Examples, str], list[dict[str, Any]]]

_log = logging.getLogger("supermask_jax")


class Network(NamedTuple):
    """A trained network of one seed: nested dicts of NumPy arrays."""

    params: PyTree  # effective parameters
    masks: PyTree  # int8, without leaves in a dense network; the most probable ones if sampled
    batch_stats: PyTree
    frozen: PyTree


class Job(NamedTuple):
    """What a program is made of: one run, or one run for each of some seeds.

    Making one draws, loads and writes nothing. Where it holds several seeds, `start`, `order`,
    `runner` and `measure` work on arrays with a leading axis of seeds; `create` and `train_step`
    are of one seed always.
    """

    method: Method
    tx: optax.GradientTransformation
    apply_fn: ApplyFn
    init_fn: Callable[[Array], PyTree]  # key -> variables {"params": ...} of the model
    prepare: Prepare
    plan: Plan
    layout: Layout
    seed: int  # the first one
    num_train: int
    num_seeds: int = 1
    in_set: bool = False  # part of a set of seeds, if only with one of them
    shuffle: bool = True
    eval_batch_size: int = 500
    checkpoints_to_keep: int = 3
    tensorboard: bool = False
    tensorboard_masks: bool = False
    convolution: str = ""  # how they are computed, where there are any

    @property
    def seeds(self) -> range:
        """The seeds of the program."""
        return range(self.seed, self.seed + self.num_seeds)

    def part(self, folder: Workdir) -> Part:
        """Returns the places of what the program leaves in the folder of its run."""
        return folder.part(self.seeds, in_set=self.in_set)

    def create(self, key: Array) -> tuple[TrainState, PyTree]:
        """Draws (state, frozen) of one seed."""
        return create_state(key, init_fn=self.init_fn, method=self.method, tx=self.tx)

    def keys(self) -> tuple[Array, Array]:
        """Returns the keys of everything drawn, and of the data order: [], or [S] with seeds."""
        pairs = [jax.random.split(seed_key(seed)) for seed in self.seeds]
        keys = pairs[0] if self.num_seeds == 1 else jnp.stack(pairs, axis=1)
        return keys[0], keys[1]

    def start(self) -> tuple[TrainState, PyTree]:
        """Draws (state, frozen) where the layout wants them."""
        place, options = self.layout.per_seed, _compile_fast()
        create = jax.jit(self._create_all(), out_shardings=place, compiler_options=options)
        return compiled_apart(create)(self._words(0))

    def like(self) -> tuple[TrainState, PyTree]:
        """Returns shapes, dtypes and places of what `start` returns."""
        place = self.layout.per_seed
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
            jax.eval_shape(self._create_all(), self._words(0)),
        )

    def _create_all(self) -> Callable[[np.ndarray], tuple[TrainState, PyTree]]:
        """Returns `create` over all seeds, of the words of their keys."""
        return self.layout.lift(lambda words: self.create(key_of(words)), (True,))

    def _words(self, which: int) -> np.ndarray:
        # Plain numbers: a program over several processes takes no array of a single one.
        return np.asarray(jax.random.key_data(self.keys()[which]))

    def train_step(self) -> Callable[..., tuple[TrainState, Array]]:
        """Builds the un-jitted step (state, frozen, batch) -> (state, loss)."""
        return make_train_step(
            self.apply_fn,
            self.method,
            self.tx,
            steps_per_epoch=self.plan.steps_per_epoch,
            total_steps=self.plan.total_steps,
            microbatches=self.plan.microbatches,
        )

    def runner(self, examples: Examples) -> RunSteps:
        """Builds the jitted ``run(state, frozen, order, first, count)`` on a training split."""
        return make_run_steps(self.train_step(), examples, self.plan, self.prepare, self.layout)

    def order(self) -> Callable[[int], Array]:
        """Builds epoch from 0 -> indices of its batches, on the device."""
        words, size = self._words(1), (self.num_train, self.plan.batch_size)

        def one(words: Array, epoch: Array) -> Array:
            key = key_of(words)
            return epoch_order(key, epoch, *size, shuffle=self.shuffle)

        lifted = self.layout.lift(one, (True, False))
        jitted = jax.jit(lifted, out_shardings=self.layout.per_seed)
        return lambda epoch: jitted(words, epoch)

    def measure(self) -> Measure:
        """Builds (state, frozen, examples, prefix) -> loss, accuracy, and so on, of each seed."""
        evaluate = make_evaluate(
            self.apply_fn,
            self.method,
            self.plan,
            self.eval_batch_size,
            self.prepare,
            self.layout,
        )

        def measure(
            state: TrainState, frozen: PyTree, examples: Examples, prefix: str
        ) -> list[dict[str, Any]]:
            sums, numbers = jax.device_get(evaluate(state, frozen, examples))
            rows = mean_metrics(sums, prefix)
            return [row | _numbers_of(numbers, i) for i, row in enumerate(rows)]

        return measure

    def networks(self, state: TrainState, frozen: PyTree) -> list[Network]:
        """Returns the network of each seed, on the host; every process must ask."""

        def one(trainable: PyTree, frozen: PyTree) -> tuple[PyTree, PyTree]:
            return self.method.apply(trainable, frozen), self.method.masks(trainable, frozen)

        masked = jax.jit(self.layout.lift(one, (True, True)))(state.trainable, frozen)
        found = Network(*self.layout.fetch((*masked, state.batch_stats, frozen)))
        return [self.layout.take(found, i) for i in range(self.num_seeds)]


class Splits(NamedTuple):
    """The data of a run on the device. `val` is None where test is watched every epoch."""

    train: Examples
    val: Examples | None
    test: Examples


class Trained(NamedTuple):
    """What a finished program leaves in memory."""

    state: TrainState
    frozen: PyTree
    metrics: list[dict[str, Any]]  # a seed: test loss and accuracy, remaining weights, by layer


def train(
    job: Job,
    splits: Splits,
    folder: Workdir,
    *,
    quiet: bool = False,
) -> Trained:
    """Trains in `folder`, which the caller has locked; goes on from its newest checkpoint.

    Args:
      job: one run, or those of some seeds.
      splits: on the devices, by `Layout.put`.
      folder: of the run that the program is, or is part of.
      quiet: print no epochs.

    Raises:
      UserError: no space.
      Diverged: training of a single run diverged; the folder notes it, as it does a set's seeds.
      Interrupted: SIGTERM or Ctrl-C; what was trained is saved.
    """
    with (
        Checkpoints(job.part(folder).checkpoints, max_to_keep=job.checkpoints_to_keep) as saved,
        Progress(
            folder,
            job.plan,
            quiet=quiet or not is_main(),
            tensorboard=(job.tensorboard or job.tensorboard_masks) and is_main(),
            in_set=job.in_set,
        ) as progress,
    ):
        state, frozen, diverged = _start(saved, folder, job)
        measure = job.measure()
        watched, prefix = (splits.test, "test") if splits.val is None else (splits.val, "val")
        pictures = make_pictures(job.method, job.layout) if job.tensorboard_masks else None

        def evaluate(state: TrainState) -> list[dict[str, float]]:
            if pictures is not None:
                progress.draw(job.seed, pictures(state.trainable, frozen))
            return measure(state, frozen, watched, prefix)

        hooks = Hooks(
            order=job.order(),
            evaluate=evaluate,
            report=progress.report,
            save=saved.save,
            progress=progress.step,
            fetch=job.layout.fetch,
            diverged=functools.partial(_diverged, folder, job.in_set),
        )
        run_steps = job.runner(splits.train)
        state = fit(state, frozen, run_steps, job.plan, hooks, job.seeds, diverged)
        return Trained(state, frozen, measure(state, frozen, splits.test, "test"))


def _diverged(folder: Workdir, in_set: bool, seed: int, what: str, step: int) -> None:
    """Notes that a seed has diverged; raises where it is the whole run."""
    DivergedSeeds(folder).note(seed, step)
    if not in_set:
        raise Diverged(
            f"training diverged: the {what} by step {step}; the last checkpoint is from before: "
            "lower the learning rate, or change the initialisers"
        )
    _log.warning("seed %d diverged: its %s by step %d; the set goes on without it",
                 seed, what, step)  # fmt: skip


def _numbers_of(numbers: Mapping[str, Any], index: int) -> dict[str, Any]:
    """Returns one seed's numbers; what is told layer by layer to six digits, as it is read."""
    return {
        name: {layer: round(float(np.ravel(x)[index]), 6) for layer, x in value.items()}
        if isinstance(value, Mapping)
        else float(np.ravel(value)[index])
        for name, value in numbers.items()
    }


def _compile_fast() -> dict[str, int] | None:
    """Compiler options for what runs once: the draws compile for seconds at full effort on CPU."""
    return {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None


def _start(
    checkpoints: Checkpoints, folder: Workdir, job: Job
) -> tuple[TrainState, PyTree, dict[int, int]]:
    """Takes the newest checkpoint of the program, or draws its first state.

    Returns:
      (state, frozen, {seed that diverged before: step}).
    """
    restored = checkpoints.restore(*job.like())
    if restored is None:
        state, frozen = job.start()
        folder.keep_metrics(0, job.seeds)
        diverged = DivergedSeeds(folder).keep(0, job.seeds)
        checkpoints.start(frozen)
        return state, frozen, diverged
    step, state, frozen = restored
    epochs, inside = divmod(step, job.plan.steps_per_epoch)
    diverged = DivergedSeeds(folder).keep(step, job.seeds)
    folder.keep_metrics(epochs, job.seeds, diverged)
    wait_for_all("resumed")
    _log.info("resuming after epoch %d, step %d of the next one", epochs, inside)
    return state, frozen, diverged
