"""Where seeds and batches lie: a mesh of devices, and functions of one seed lifted over all.

A mesh has two axes, from one device to many and over any number of processes: "seed" splits the
seeds, "data" the rows of a batch. Every array of a state has a leading axis of seeds [S], if only
of one. What a function of one seed computes does not change: `Layout.lift` makes one of all seeds
of it, and the compiler adds the reductions over rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from supermask_jax.errors import UserError
from supermask_jax.training.distributed import whole
from supermask_jax.training.xla_cpu import useful_devices

Array = jax.Array
PyTree = Any

SEED, DATA = "seed", "data"

# How the seeds of one device share a program: mapped into batched operations, or one after another.
SEED_LOOPS = ("vmap", "unroll")


class Layout(NamedTuple):
    """A mesh, and how seeds lie on it.

    Attributes:
      mesh: with the axes "seed" and "data".
      num_seeds: S.
      seed_loop: a name in `SEED_LOOPS`; a single seed needs none.
    """

    mesh: Mesh
    num_seeds: int = 1
    seed_loop: str = "vmap"

    @property
    def replicated(self) -> NamedSharding:
        """Sharding of what every device holds whole."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def per_seed(self) -> NamedSharding:
        """Sharding of arrays [S, ...]: their seeds over the mesh's, where it splits them."""
        split = self.mesh.shape[SEED] > 1
        return NamedSharding(self.mesh, PartitionSpec(SEED) if split else PartitionSpec())

    def lift(self, fn: Callable[..., PyTree], seeded: Sequence[bool]) -> Callable[..., PyTree]:
        """Lifts a function of one seed over the seeds.

        Args:
          fn: pure; its results are arrays.
          seeded: for each argument, whether it is [S, ...]; others are shared.

        Returns:
          A function of the arguments with their axis of seeds, whose results have one too.
        """

        def one_by_one(*args: PyTree) -> PyTree:
            found = []
            for i in range(_size(args, seeded)):
                one = [_at(x, i) if s else x for x, s in zip(args, seeded, strict=True)]
                found.append(fn(*one))
            return jax.tree.map(lambda *leaves: jnp.stack(leaves), *found)

        if self.num_seeds == 1:
            return one_by_one
        axes = tuple(0 if s else None for s in seeded)
        return jax.shard_map(
            jax.vmap(fn, in_axes=axes) if self.seed_loop == "vmap" else one_by_one,
            mesh=self.mesh,
            in_specs=tuple(PartitionSpec(SEED) if s else PartitionSpec() for s in seeded),
            out_specs=PartitionSpec(SEED),
            axis_names={SEED},  # The data axis stays with the compiler.
            check_vma=False,
        )

    def describe(self) -> str:
        """Returns e.g. ``8 of 8, 2 for seeds x 4 for batches``."""
        used, there = self.mesh.size, jax.device_count()
        seeds, data = self.mesh.shape[SEED], self.mesh.shape[DATA]
        return f"{used} of {there}, {seeds} for seeds x {data} for batches"

    def split_rows(self, rows: Array) -> Array:
        """Spreads the rows of a batch [B, ...] over the data axis, inside a program.

        Without this the compiler computes every batch whole on every device.
        """
        if self.mesh.shape[DATA] == 1:
            return rows
        inside = jax.sharding.get_abstract_mesh()
        mesh = self.mesh if inside.empty else inside
        return lax.with_sharding_constraint(rows, NamedSharding(mesh, PartitionSpec(DATA)))

    def whole_rows(self, size: int) -> int:
        """Returns `size`, rounded up to a multiple of the data axis."""
        return -(-size // self.mesh.shape[DATA]) * self.mesh.shape[DATA]

    def put(self, tree: PyTree) -> PyTree:
        """Copies arrays, the same in every process, whole to every device."""
        return jax.tree.map(lambda x: _put_whole(x, self.replicated), tree)

    def own_rows(self, batch_size: int) -> np.ndarray:
        """Returns the rows of a batch that the devices of this process hold: int [R], sorted."""
        spread = NamedSharding(self.mesh, PartitionSpec(DATA))
        held = spread.addressable_devices_indices_map((batch_size,)).values()
        return np.unique(np.concatenate([np.arange(batch_size)[at] for at in held]))

    def put_rows(self, tree: PyTree, batch_size: int) -> PyTree:
        """Makes arrays [K, B, ...] of each process's own rows of K batches, [K, R, ...]."""
        own, spread = self.own_rows(batch_size), NamedSharding(self.mesh, PartitionSpec(None, DATA))

        def one(held: np.ndarray) -> Array:
            def part(at: tuple[slice, ...]) -> np.ndarray:
                start, stop, _ = at[1].indices(batch_size)
                first = np.searchsorted(own, start)
                return held[:, first : first + stop - start]

            shape = (len(held), batch_size, *held.shape[2:])
            return jax.make_array_from_callback(shape, spread, part)

        return jax.tree.map(one, tree)

    def fetch(self, tree: PyTree) -> PyTree:
        """Copies a tree of arrays to this host, whole, in every process."""
        return jax.device_get(whole(tree))

    def seeds_of(self, tree: PyTree) -> list[PyTree]:
        """Copies a tree [S, ...] to this host and returns the part of each seed."""
        fetched = self.fetch(tree)
        return [_at(fetched, i) for i in range(self.num_seeds)]


def _size(args: Sequence[PyTree], seeded: Sequence[bool]) -> int:
    return next(jax.tree.leaves(x)[0].shape[0] for x, s in zip(args, seeded, strict=True) if s)


def _at(tree: PyTree, index: int) -> PyTree:
    return jax.tree.map(lambda x: x[index], tree)


def _put_whole(array: Any, sharding: NamedSharding) -> Array:
    if sharding.is_fully_addressable:
        return jax.device_put(array, sharding)
    array = np.asarray(array)
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def one_device() -> Layout:
    """Returns the layout of one seed on this process's first device."""
    return Layout(_mesh(jax.local_devices()[:1], 1, 1))


def choose_layout(
    *,
    num_seeds: int,
    batch_size: int,
    microbatches: int = 1,
    seed: int = 0,
    data: int = 0,
    seed_loop: str = "vmap",
) -> Layout:
    """Chooses a mesh for seeds and batches.

    Left to itself it takes all accelerators, and of CPUs one device a process: the further ones
    are the same cores again. Seeds come first, since they need no communication.

    Args:
      num_seeds: seeds of one program.
      batch_size: rows of a batch.
      microbatches: into which a batch is split; each is spread over the data axis.
      seed: size of the seed axis; 0 chooses.
      data: size of the data axis; 0 chooses.
      seed_loop: a name in `SEED_LOOPS`.

    Raises:
      UserError: there are fewer devices, or they do not divide seeds or batch.
    """
    if min(seed, data) < 0:
        raise UserError(f"config.mesh: axes must be at least 0, got seed {seed}, data {data}")
    devices = jax.devices() if seed or data else useful_devices()
    if (wanted := max(seed, 1) * max(data, 1)) > len(devices):
        raise UserError(
            f"config.mesh asks for {wanted} devices (seed {max(seed, 1)} x data {max(data, 1)}) "
            f"and there are {len(devices)}: ask for fewer, or start with more"
        )
    seed = seed or math.gcd(num_seeds, len(devices) // max(data, 1))
    if num_seeds % seed:
        raise UserError(
            f"{num_seeds} seeds cannot be divided over {seed} devices: set config.mesh.seed to a "
            f"divisor, such as {math.gcd(num_seeds, seed)}"
        )
    data = data or _largest_divisor(batch_size // microbatches, len(devices) // seed)
    _check_rows(batch_size, microbatches, data)
    if jax.process_count() > 1 and seed * data != len(devices):
        raise UserError(
            f"{num_seeds} seeds and batches of {batch_size} use only {seed * data} of the "
            f"{len(devices)} devices of all processes, which must all be used: choose a batch_size "
            f"that is a multiple of {len(devices)}"
        )
    return Layout(_mesh(devices[: seed * data], seed, data), num_seeds, seed_loop)


def _check_rows(batch_size: int, microbatches: int, data: int) -> None:
    """Raises UserError unless each device has as many rows of every microbatch."""
    every = data * microbatches
    if not batch_size % every:
        return
    near = batch_size // every * every
    parts = f" in {microbatches} microbatches" if microbatches > 1 else ""
    raise UserError(
        f"batch_size {batch_size}{parts} cannot be divided over {data} devices: choose "
        f"{' or '.join(str(n) for n in (near, near + every) if n)}, or config.mesh.data="
        f"{_largest_divisor(batch_size // microbatches, data)}"
    )


def _largest_divisor(number: int, most: int) -> int:
    return next(n for n in range(most, 0, -1) if number % n == 0)


def _mesh(devices: Sequence[jax.Device], seed: int, data: int) -> Mesh:
    grid = np.array(devices).reshape(seed, data)
    return Mesh(grid, (SEED, DATA), axis_types=(AxisType.Auto, AxisType.Auto))
