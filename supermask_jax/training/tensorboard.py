"""TensorBoard: the numbers of every epoch, and pictures of masks."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from supermask_jax.core.trees import named_leaves
from supermask_jax.errors import UserError
from supermask_jax.run_files import flat
from supermask_jax.training.trainer import Trainer
from supermask_jax.training.workdir import Workdir

PyTree = Any
Pictures = dict[str, np.ndarray]

# What a run may draw: layers, rows and columns of each, and epochs.
MAX_LAYERS = 4
MAX_SIDE = 256
MAX_EPOCHS = 50  # and the last one


def require_tensorboard() -> None:
    """Raises UserError unless the extra is installed."""
    if importlib.util.find_spec("tensorboardX") is None:
        raise UserError(
            "config.tensorboard needs the extra: pip install 'supermask-jax[tensorboard]'"
        )


def make_pictures(trainer: Trainer) -> Callable[[PyTree, PyTree], Pictures]:
    """Builds (trainable, frozen) -> pictures of masks, of the first seed; every process must ask.

    A picture is uint8 [rows, columns], a weight each: 255 kept, 0 inverted, 128 hidden. Rows are
    what a unit reads, columns are units; of large layers it is the first corner.
    """

    def corners(trainable: PyTree, frozen: PyTree) -> dict[str, jax.Array]:
        masks = list(named_leaves(trainer.method.masks(trainable, frozen)).items())[:MAX_LAYERS]
        return {
            name: mask.reshape(-1, mask.shape[-1])[:MAX_SIDE, :MAX_SIDE] for name, mask in masks
        }

    lifted = jax.jit(trainer.layout.lift(corners, (True, True)))

    def pictures(trainable: PyTree, frozen: PyTree) -> Pictures:
        found = trainer.layout.seeds_of(lifted(trainable, frozen))[0]
        return {
            name: np.uint8([0, 128, 255])[np.sign(mask).astype(int) + 1]
            for name, mask in found.items()
        }

    return pictures


class Board:
    """Writes event files into ``tensorboard/`` of a work folder."""

    def __init__(self, folder: Workdir, epochs: int, *, in_set: bool) -> None:
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(folder.path / "tensorboard"))
        self._in_set, self._epochs = in_set, epochs

    def report(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Writes a finished epoch: the lines of its seeds."""
        for line in lines:
            for name, value in scalars(line):
                self._writer.add_scalar(self._prefix(line["seed"]) + name, value, line["epoch"])

    def draw(self, seed: int, epoch: int, pictures: Pictures) -> None:
        """Writes pictures of a seed, if this is one of the epochs that are drawn."""
        if epoch % -(-self._epochs // MAX_EPOCHS) and epoch != self._epochs:
            return
        for name, picture in pictures.items():
            tag = f"{self._prefix(seed)}mask/{name}"
            self._writer.add_image(tag, picture, epoch, dataformats="HW")

    def _prefix(self, seed: int) -> str:
        return f"seed {seed}/" if self._in_set else ""

    def close(self) -> None:
        """Writes what is left."""
        self._writer.close()


def scalars(line: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yields a line's numbers by name; those of a layer as ``layer_density/dense1/kernel``."""
    for name, value in flat(line, "/").items():
        if name not in ("seed", "epoch", "step"):
            yield name, value
