"""The files of a work folder: names, formats, and nothing else.

``config.json``, ``env.json``, ``metrics.jsonl`` (one object an epoch and seed), ``summary.json``
(written last: its presence says the run is finished), ``masks.npz`` (int8), ``ticket.safetensors``
(of a set of seeds ``masks-s3.npz``, ``ticket-s3.safetensors`` and so on), ``checkpoints/``; of a
set also ``seeds_A-B.json`` (the summaries of a program that is finished); where training diverged
``diverged.json`` (see `diverged`). Of several processes only the first one writes.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from supermask_jax import files
from supermask_jax.errors import UserError, expanded, one_line
from supermask_jax.run_files import config_differences, dump, parse, read, read_lines
from supermask_jax.schemas import CONFIG, PART, SUMMARY
from supermask_jax.training.distributed import in_any, is_main, wait_for_all
from supermask_jax.training.environment import environment

# A scheduler opens the log of a job before the job begins.
_LOGS = (".log", ".out", ".err")


def config_difference(
    old: Mapping[str, Any], new: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
) -> str:
    """Returns `config_differences` on one line, "" if the configs are equal."""
    return ", ".join(config_differences(old, new, defaults))


class Part(NamedTuple):
    """Places of what one program of a run leaves: of the run itself, or of some seeds of a set."""

    summary: Path  # a JSON dict, or of a part of a set a list with one a seed; written last
    checkpoints: Path
    masks: dict[int, Path]  # by seed
    tickets: dict[int, Path]

    def summaries(self) -> dict[int, dict[str, Any]]:
        """Returns the summaries of the finished seeds, {} where the program is not finished."""
        found = _read_summary(self.summary) or []
        return {run["seed"]: run for run in ([found] if isinstance(found, dict) else found)}


class Workdir:
    """One run's folder. Constructing it reads and writes nothing."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = expanded(path).resolve()
        self.config = self.path / "config.json"
        self.env = self.path / "env.json"
        self.metrics = self.path / "metrics.jsonl"
        self.summary = self.path / "summary.json"
        self.masks = self.path / "masks.npz"
        self.ticket = self.path / "ticket.safetensors"
        self.checkpoints = self.path / "checkpoints"

    def check(self, config: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> None:
        """Checks, without writing, that this folder is new or holds a run of `config`.

        Args:
          config: nested entries.
          defaults: values of entries that an older version of the config did not have.

        Raises:
          UserError: it holds a run of another config, or something that is no run.
        """
        if not self.config.exists():
            if not self.is_empty():
                raise UserError(
                    f"work folder {self.path} is not empty and holds no run: choose another "
                    "--workdir, or empty it"
                )
            return
        if difference := self.differences(config, defaults):
            raise UserError(
                f"work folder {self.path} holds a run of another config ({difference}): choose "
                "another --workdir, or undo the difference"
            )

    def differences(
        self, config: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
    ) -> str:
        """Returns how `config` differs from that in the folder, as `config_difference` does."""
        # Through JSON, so that tuples compare equal to what was written.
        new, known = (json.loads(json.dumps(x)) for x in (config, defaults or {}))
        return config_difference(self.read_config(), new, known)

    def is_empty(self) -> bool:
        """Says whether nothing is there but logs, locks, or what a kill left half-written."""
        found = self.path.iterdir() if self.path.is_dir() else ()
        return all(p.suffix in _LOGS or files.is_left_over(p) for p in found)

    def create(self, config: Mapping[str, Any], convolution: str = "") -> None:
        """Makes the folder and writes ``config.json`` and ``env.json``: see `environment`.

        Raises:
          UserError: the folder cannot be written.
        """
        # Only now: the others have looked at the folder as it was.
        wait_for_all("work folder checked")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.write_json(self.config, config)
            command = shlex.join(sys.orig_argv)
            self.write_json(self.env, {"command": command, **environment(convolution)})
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(
            f"cannot write to work folder {self.path}: {error.strerror or error}: choose another "
            "--workdir"
        )

    def finished_summary(self) -> dict[str, Any] | None:
        """Returns the summary of a finished run, or None."""
        return _read_summary(self.summary)

    def read_config(self) -> dict[str, Any]:
        """Returns what ``config.json`` holds.

        Raises:
          UserError: there is none, or it cannot be read.
        """
        try:
            return parse(self.config.read_bytes(), CONFIG)
        except (OSError, ValueError) as error:
            raise UserError(
                f"{self.path} holds no run: cannot read {self.config.name}: "
                f"{one_line(getattr(error, 'strerror', None) or error)}"
            ) from error

    @staticmethod
    def write_json(path: Path, value: Any) -> None:
        """Writes JSON with its SHA-256; a reader sees the old file or the new one, never half."""
        _replace(path, dump(value))

    def append_metrics(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Appends lines to ``metrics.jsonl`` and waits until they are on disk."""
        if is_main():
            with self.metrics.open("a") as file:
                file.write("".join(json.dumps(line) + "\n" for line in lines))
                file.flush()
                os.fsync(file.fileno())

    def read_metrics(self) -> list[dict[str, Any]]:
        """Returns the whole lines of ``metrics.jsonl``; a line torn by a kill is left out."""
        return read_lines(self.metrics)[0]

    def keep_metrics(self, last: int, seeds: Sequence[int], diverged: Container[int] = ()) -> None:
        """Drops the lines of `seeds` after epoch `last`: resumed runs write them again.

        Args:
          last: epoch of the checkpoint, from 1.
          seeds: of the program.
          diverged: those of them that may have ended before, or have no line at all.

        Raises:
          UserError: a line is damaged, or one before is missing. (A rewound run need not begin with
            epoch 1, and a seed that its schedule stopped ends before the others.)
        """
        lines, wrong = read_lines(self.metrics)
        if wrong:  # Not what a kill leaves: that is a last line without its end.
            raise UserError(
                f"{self.metrics} is damaged ({wrong}): start again in another work folder"
            )
        kept = [line for line in lines if line["epoch"] <= last or line["seed"] not in seeds]
        epochs = {seed: [x["epoch"] for x in kept if x["seed"] == seed] for seed in seeds}
        runs = [found for found in epochs.values() if found]
        whole = all(found or seed in diverged for seed, found in epochs.items()) and all(
            found == list(range(runs[0][0], found[-1] + 1)) for found in runs
        )
        if runs and not (whole and max(found[-1] for found in runs) == last):
            raise UserError(
                f"{self.metrics} lacks epochs before the checkpoint: start again in another work "
                "folder"
            )
        if self.metrics.exists():
            _replace(self.metrics, "".join(json.dumps(line) + "\n" for line in kept).encode())

    @contextmanager
    def locked(self, *, changing: bool = False) -> Iterator[None]:
        """Keeps other runs out of the folder, which is made; every process must ask.

        It comes before anything in the folder is read. A finished run needs no lock, and may lie
        where none can be made: nobody changes it.

        Args:
          changing: a finished run will be changed.

        Raises:
          UserError: another run is in it, or it cannot be written.
        """
        refused = None
        with ExitStack() as held:
            if is_main() and (changing or not self.summary.exists()):
                try:
                    held.enter_context(files.locked(self.path, folder=True))
                except UserError as error:
                    refused = error
                except OSError as error:
                    refused = self._unwritable(error)
            if in_any(refused is not None):
                raise refused or UserError(f"the first process cannot train in {self.path}")
            yield

    def part(self, seeds: Sequence[int], *, in_set: bool) -> Part:
        """Returns the places of a program that trains `seeds`: all of a run, or part of a set."""
        if not in_set:
            (seed,) = seeds
            return Part(self.summary, self.checkpoints, {seed: self.masks}, {seed: self.ticket})
        name, both = f"seeds_{seeds[0]}-{seeds[-1]}", (self.masks, self.ticket)
        masks, tickets = ({seed: self.of_seed(path, seed) for seed in seeds} for path in both)
        return Part(self.path / f"{name}.json", self.checkpoints / name, masks, tickets)

    def part_size(self, first: int) -> int | None:
        """Returns how many seeds a set that is there trains together, from seed `first`."""
        places = [*self.path.glob(f"seeds_{first}-*.json")]
        places += self.checkpoints.glob(f"seeds_{first}-*")
        return int(places[0].stem.rpartition("-")[2]) - first + 1 if places else None

    def of_seed(self, path: Path, seed: int) -> Path:
        """Returns the path of one seed's masks or ticket in a set: `path` with the seed added."""
        return path.with_name(f"{path.stem}-s{seed}{path.suffix}")

    @staticmethod
    def write_masks(path: Path, masks: Mapping[str, np.ndarray]) -> None:
        """Writes masks: one int8 array a layer, named by its path, in {-1, 0, 1}."""
        if is_main():
            files.replace(path, lambda file: np.savez_compressed(file, **masks))


def _read_summary(path: Path) -> Any:
    if not path.exists():
        return None
    schema = PART if path.name.startswith("seeds_") else SUMMARY
    return read(path, schema, "delete it to finish the run")


def _replace(path: Path, content: bytes) -> None:
    if is_main():
        files.replace(path, content)
