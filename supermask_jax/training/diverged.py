"""Seeds whose training diverged, as ``diverged.json`` in the work folder notes them.

A set goes on without them; a run of one seed ends, and begins anew after its last checkpoint when
it is run again. A note is on disk before the checkpoint of its step: a checkpoint says
of every step before it that the seeds without a note were well.
"""

from __future__ import annotations

from collections.abc import Sequence

from supermask_jax.run_files import read_diverged
from supermask_jax.training.workdir import Workdir


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

    def _write(self, notes: dict[int, int]) -> None:
        self._folder.write_json(self._path, {str(seed): notes[seed] for seed in sorted(notes)})
