"""Where a program runs: its seeds and its batches over a mesh of devices.

One mesh with two axes, from one device to many and over any number of processes: "seed" splits a
set of seeds, "data" the rows of a batch. What a function of one seed computes does not change: the
layout lifts it over the seeds and pins the rows of its batches to devices; the compiler adds the
reductions.
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
from supermask_jax.training.processes import whole

Array = jax.Array
PyTree = Any

SEED, DATA = "seed", "data"

# How the seeds of one device share a program: mapped into batched operations, or one after another.
SEED_LOOPS = ("vmap", "unroll")


class Layout(NamedTuple):
    """A mesh, and how seeds lie on it.

    Attributes:
      mesh: with the axes "seed" and "data".
      seed_loop: None for a run of one seed, whose arrays have no seed axis; else a name in
        `SEED_LOOPS`: every array of the state has a leading axis of seeds.
    """

    mesh: Mesh
    seed_loop: str | None = None

    @property
    def replicated(self) -> NamedSharding:
        """Sharding of what every device holds whole."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def per_seed(self) -> NamedSharding:
        """Sharding of a state: its seed axis, where there is one, over the mesh's."""
        spec = PartitionSpec() if self.seed_loop is None else PartitionSpec(SEED)
        return NamedSharding(self.mesh, spec)

    def lift(self, fn: Callable[..., PyTree], seeded: Sequence[bool]) -> Callable[..., PyTree]:
        """Lifts a function of one seed over the seeds.

        Args:
          fn: pure; its results are arrays.
          seeded: for each argument, whether it has a leading axis of seeds; others are shared.

        Returns:
          `fn` itself for a run of one seed; else a function of the arguments with their seed axis,
          whose results have one too.
        """
        if self.seed_loop is None:
            return fn
        each = _vmapped if self.seed_loop == "vmap" else _unrolled
        return jax.shard_map(
            lambda *args: each(fn, seeded, args),
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

    def fetch(self, tree: PyTree) -> PyTree:
        """Copies a tree of arrays to this host, whole, in every process."""
        return jax.device_get(whole(tree))

    def take(self, tree: PyTree, index: int) -> PyTree:
        """Returns the part of the seed with this index of a tree that has a seed axis."""
        return tree if self.seed_loop is None else jax.tree.map(lambda x: x[index], tree)


def _put_whole(array: Any, sharding: NamedSharding) -> Array:
    if sharding.is_fully_addressable:
        return jax.device_put(array, sharding)
    array = np.asarray(array)
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def _vmapped(fn: Callable[..., PyTree], seeded: Sequence[bool], args: Sequence[PyTree]) -> PyTree:
    return jax.vmap(fn, in_axes=tuple(0 if s else None for s in seeded))(*args)


def _unrolled(fn: Callable[..., PyTree], seeded: Sequence[bool], args: Sequence[PyTree]) -> PyTree:
    size = next(jax.tree.leaves(arg)[0].shape[0] for arg, s in zip(args, seeded, strict=True) if s)
    results = []
    for i in range(size):
        one = (
            jax.tree.map(lambda x, i=i: x[i], arg) if s else arg
            for arg, s in zip(args, seeded, strict=True)
        )
        results.append(fn(*one))
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)


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
    seed_loop: str | None = None,
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
      seed_loop: a name in `SEED_LOOPS` for more than one seed.

    Raises:
      UserError: there are fewer devices, or they do not divide seeds or batch.
    """
    if min(seed, data) < 0:
        raise UserError(f"config.mesh: axes must be at least 0, got seed {seed}, data {data}")
    devices = _devices(explicit=bool(seed or data))
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
            f"{num_seeds} seeds and batches of {batch_size} use {seed * data} of {len(devices)} "
            f"devices, and every process needs work: choose a batch_size that {len(devices)} "
            "divides"
        )
    loop = seed_loop if num_seeds > 1 else None
    return Layout(_mesh(devices[: seed * data], seed, data), loop)


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


def _devices(*, explicit: bool) -> list[jax.Device]:
    devices = jax.devices()
    if devices[0].platform != "cpu" or explicit:
        return devices
    first = {device.process_index: device for device in reversed(devices)}
    return [first[process] for process in sorted(first)]


def _largest_divisor(number: int, most: int) -> int:
    return next(n for n in range(most, 0, -1) if number % n == 0)


def _mesh(devices: Sequence[jax.Device], seed: int, data: int) -> Mesh:
    grid = np.array(devices).reshape(seed, data)
    return Mesh(grid, (SEED, DATA), axis_types=(AxisType.Auto, AxisType.Auto))
