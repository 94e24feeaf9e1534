"""What a program trains: the parts that `experiment.build` puts together, and no config.

A program is one compiled run of some seeds: of one, of a whole set, or of a part of a set.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from supermask_jax.data.pipeline import Examples, epoch_order
from supermask_jax.data.transforms import Prepare
from supermask_jax.methods import Method
from supermask_jax.training.environment import key_of, seed_key
from supermask_jax.training.evaluate import ApplyFn
from supermask_jax.training.sharding import Layout
from supermask_jax.training.state import TrainState, create_state
from supermask_jax.training.streaming import Stream
from supermask_jax.training.workdir import Part, Workdir
from supermask_jax.training.xla_cpu import quick_jit

Array = jax.Array
PyTree = Any


class Splits(NamedTuple):
    """The data of a run. `val` is None where test is watched every epoch."""

    train: Examples | Stream
    val: Examples | Stream | None
    test: Examples | Stream


class Plan(NamedTuple):
    """Sizes of a run: Python numbers."""

    epochs: int
    batch_size: int
    steps_per_epoch: int
    steps_per_call: int = 1  # steps in one dispatch; 1 means no loop on the device
    microbatches: int = 1  # that a batch is split into
    label_smoothing: float = 0.0  # of the training loss
    num_train: int = 0  # examples
    shuffle: bool = True
    eval_batch_size: int = 500
    checkpoints_to_keep: int = 3

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.epochs * self.steps_per_epoch


class Network(NamedTuple):
    """A trained network of one seed: nested dicts of NumPy arrays."""

    params: PyTree  # effective parameters
    masks: PyTree  # int8, without leaves in a dense network; the most probable ones if sampled
    batch_stats: PyTree
    frozen: PyTree


class Trainer(NamedTuple):
    """The parts of a program. Making one draws, loads and writes nothing.

    `create` is of one seed; what the other methods take and return has a leading axis of seeds.
    """

    method: Method
    tx: optax.GradientTransformation
    apply_fn: ApplyFn
    init_fn: Callable[[Array], PyTree]  # key -> variables {"params": ...} of the model
    prepare: Prepare
    plan: Plan
    layout: Layout
    seeds: range
    in_set: bool = False  # a part of a set of seeds, if only one of them
    first_step: int = 0  # where in schedules and data order the program begins
    tensorboard: str = ""  # "", "metrics" or "masks"
    callbacks: tuple[Callable[[Any], None], ...] = ()  # see `trackers`
    convolution: str = ""  # how they are computed, where there are any

    def part(self, folder: Workdir) -> Part:
        """Returns the places of what the program leaves in the folder of its run."""
        return folder.part(self.seeds, in_set=self.in_set)

    def create(self, key: Array) -> tuple[TrainState, PyTree]:
        """Draws (state, frozen) of one seed."""
        parts = {"init_fn": self.init_fn, "method": self.method, "tx": self.tx}
        return create_state(key, **parts, step=self.first_step)

    def words(self) -> np.ndarray:
        """Returns the words of the keys of everything drawn, and of the data order: [2, S, ...].

        Plain numbers: a program over several processes takes no array of a single one.
        """
        pairs = [jax.random.split(seed_key(seed)) for seed in self.seeds]
        return np.stack([np.asarray(jax.random.key_data(pair)) for pair in pairs], axis=1)

    def start(self) -> tuple[TrainState, PyTree]:
        """Draws (state, frozen) where the layout wants them."""
        create = quick_jit(self._lifted(self.create), out_shardings=self.layout.per_seed)
        return create(self.words()[0])

    def like(self) -> tuple[TrainState, PyTree]:
        """Returns shapes, dtypes and places of what `start` returns."""
        place = partial(jax.ShapeDtypeStruct, sharding=self.layout.per_seed)
        shapes = jax.eval_shape(self._lifted(self.create), self.words()[0])
        return jax.tree.map(lambda x: place(x.shape, x.dtype), shapes)

    def order(self) -> Callable[[int], Array]:
        """Builds epoch from 0 -> indices of its batches, on the device."""
        plan, words = self.plan, self.words()[1]

        def one(key: Array, epoch: Array) -> Array:
            return epoch_order(key, epoch, plan.num_train, plan.batch_size, shuffle=plan.shuffle)

        jitted = jax.jit(self._lifted(one, False), out_shardings=self.layout.per_seed)
        return lambda epoch: jitted(words, epoch)

    def networks(self, state: TrainState, frozen: PyTree) -> list[Network]:
        """Returns the network of each seed, on the host; every process must ask."""

        def one(trainable: PyTree, frozen: PyTree) -> tuple[PyTree, PyTree]:
            return self.method.apply(trainable, frozen), self.method.masks(trainable, frozen)

        masked = jax.jit(self.layout.lift(one, (True, True)))(state.trainable, frozen)
        return self.layout.seeds_of(Network(*masked, state.batch_stats, frozen))

    def _lifted(self, fn: Callable[..., PyTree], *seeded: bool) -> Callable[..., PyTree]:
        """Returns `fn` of a key over all seeds, of the words of their keys."""
        return self.layout.lift(lambda words, *args: fn(key_of(words), *args), (True, *seeded))
