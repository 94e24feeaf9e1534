"""Seeds whose training diverged, as ``diverged.json`` in the work folder notes them.

A set goes on without them; a run of one seed ends, and begins anew after its last checkpoint when
it is run again. A note is on disk before the checkpoint of its step: a checkpoint says
of every step before it that the seeds without a note were well.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from supermask_jax.errors import Diverged
from supermask_jax.run_files import read_diverged
from supermask_jax.training.plateau import stopped
from supermask_jax.training.state import TrainState
from supermask_jax.training.trainer import Trainer
from supermask_jax.training.workdir import Workdir

_log = logging.getLogger("supermask_jax")


class DivergedSeeds:
    """The notes of one work folder. Of several processes only the first one writes."""

    def __init__(self, folder: Workdir) -> None:
        self._folder, self._path = folder, folder.path / "diverged.json"

    def read(self) -> dict[int, int]:
        """Returns {seed: step by which it had diverged}.

        Raises:
          UserError: the file is damaged.
        """
        if not self._path.exists():
            return {}
        return read_diverged(self._path)

    def note(self, seed: int, step: int) -> None:
        """Notes that `seed` had diverged by `step`: its loss or its state was not finite."""
        self._write(self.read() | {seed: step})

    def keep(self, last: int, seeds: Sequence[int]) -> dict[int, int]:
        """Drops the notes of `seeds` after step `last`: a resumed run makes them again.

        Returns:
          The notes of `seeds` that are left.
        """
        found = self.read()
        kept = {seed: step for seed, step in found.items() if seed not in seeds or step <= last}
        if kept != found:
            self._write(kept)
        return {seed: step for seed, step in kept.items() if seed in seeds}

    def _write(self, notes: Mapping[int, int]) -> None:
        self._folder.write_json(self._path, {str(seed): notes[seed] for seed in sorted(notes)})


class Health(NamedTuple):
    """What tells of a dispatch whether training diverged: float32 [S], finite where it did not."""

    loss: jax.Array  # sum of the losses
    state: jax.Array  # `state.blemish` after the last step


class Living:
    """Which seeds of a program still count: whose loss and state have been finite so far.

    A seed that diverged is trained on with the others, since they are one program, to no effect
    on them; nothing of it is reported.
    """

    def __init__(self, trainer: Trainer, folder: Workdir, step: int) -> None:
        """Takes up the notes of the folder as of the checkpoint at `step`."""
        self._trainer, self._notes = trainer, DivergedSeeds(folder)
        self._out = np.isin(trainer.seeds, list(self._notes.keep(step, trainer.seeds)))
        self._seen, self._losses, self._steps = step, 0.0, 0

    def begin_epoch(self) -> None:
        """Starts the running loss anew."""
        self._losses, self._steps = 0.0, 0

    @property
    def running_loss(self) -> float | None:
        """Mean loss of the steps that were checked in this epoch; None where none was."""
        return self._losses / self._steps if self._steps else None

    def check(self, dispatches: Sequence[tuple[Health, int]]) -> None:
        """Notes the seeds that are not finite in (health, last step) of some dispatches.

        Raises:
          Diverged: it is a whole run.
        """
        for health, step in dispatches:
            losses, states = jax.device_get(health)
            new = ~(np.isfinite(losses) & np.isfinite(states)) & ~self._out
            self._out |= new
            if not self.none():
                self._losses += float(np.mean(losses[~self._out]))
                self._steps += step - self._seen
            self._seen = step
            for i in np.flatnonzero(new):
                hidden = "scores, parameters, statistics or optimiser state are not finite"
                what = hidden if np.isfinite(losses[i]) else f"loss is {losses[i]}"
                self._diverged(self._trainer.seeds[i], what, step)

    def _diverged(self, seed: int, what: str, step: int) -> None:
        self._notes.note(seed, step)
        if not self._trainer.in_set:
            raise Diverged(
                f"training diverged: the {what} by step {step}; the last checkpoint is from "
                "before: lower the learning rate, or change the initialisers"
            )
        said = "seed %d diverged: its %s by step %d; the set goes on without it"
        _log.warning(said, seed, what, step)

    def diverged(self) -> list[int]:
        """Returns the seeds that do not count."""
        return [self._trainer.seeds[i] for i in np.flatnonzero(self._out)]

    def none(self) -> bool:
        """Says whether all have diverged."""
        return bool(self._out.all())

    def ended(self, state: TrainState) -> bool:
        """Says whether all have diverged, or were stopped by their schedule."""
        flag = stopped(state.opt_state)
        behind = False if flag is None else self._trainer.layout.fetch(flag)
        return bool(np.all(self._out | behind))

    def training(self, steps: np.ndarray, step: int) -> list[int]:
        """Returns the indices of the seeds that have come to `step` and count."""
        return np.flatnonzero((steps == step) & ~self._out).tolist()
