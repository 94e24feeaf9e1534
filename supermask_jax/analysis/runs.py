"""Runs as their work folders hold them, finished or not."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from supermask_jax import run_files, schemas
from supermask_jax.errors import UserError, expanded

_log = logging.getLogger("supermask_jax")


class NothingToReport(UserError):
    """A folder holds no run, or none of which an epoch is finished."""


class Run(NamedTuple):
    """One seed in a work folder.

    Attributes:
      folder: the work folder.
      config: nested entries, as ``config.json`` holds them.
      env: as ``env.json``; {} if it is not there.
      seed: of the run.
      lines: of ``metrics.jsonl``, one an epoch, at least one.
      summary: of the finished run, or {}.
      diverged: {seed: step} of the seeds of its folder that had diverged by then.
    """

    folder: Path
    config: Mapping[str, Any]
    env: Mapping[str, Any]
    seed: int
    lines: Sequence[Mapping[str, Any]]
    summary: Mapping[str, Any]
    diverged: Mapping[int, int] = {}

    @property
    def lost(self) -> bool:
        """Whether it diverged itself: only a run alone, for its set leaves such a seed out."""
        return self.seed in self.diverged

    @property
    def epoch(self) -> int:
        """The last that is done."""
        return self.lines[-1]["epoch"]

    @property
    def seconds(self) -> float:
        """The time that its epochs took."""
        return sum(line["seconds"] for line in self.lines)

    @property
    def masks_path(self) -> Path:
        """Where the masks are, once it is finished."""
        of_set = self.folder / f"masks-s{self.seed}.npz"
        return of_set if of_set.exists() else self.folder / "masks.npz"


def read_folders(folders: Sequence[Path]) -> list[Run]:
    """Returns the runs of work folders, a set of seeds as one run each but those that diverged.

    Folders that are none (``runs``) are searched for some further down; of several, those with
    nothing to report are left out with a warning.

    Raises:
      NothingToReport: no folder holds a run, or none with a finished epoch that did not diverge.
      UserError: a file is damaged.
    """
    found: list[Run] = []
    nothing: list[NothingToReport] = []
    for folder in (expanded(folder).resolve() for folder in folders):
        below = [] if _is_run(folder) else sorted(p.parent for p in folder.glob("**/config.json"))
        for place in below or [folder]:
            try:
                found += read_folder(place)
            except NothingToReport as error:
                nothing.append(error)
    if nothing and not found:
        raise nothing[0]
    for error in nothing:
        _log.warning("left out: %s", error)
    return found


def read_folder(folder: Path) -> list[Run]:
    """Returns the runs of one work folder, by seed: of a set those that did not diverge.

    Raises:
      NothingToReport: there is none with a finished epoch.
      UserError: a file is damaged.
    """
    if not _is_run(folder):
        raise NothingToReport(f"{folder} holds no run")
    config = _json(folder / "config.json", schemas.CONFIG)
    env = _json(folder / "env.json", schemas.ENV)
    summary = _json(folder / "summary.json", schemas.SUMMARY)
    diverged = _diverged(folder, summary)
    metrics, alone = folder / "metrics.jsonl", config.get("num_seeds", 1) == 1
    every, wrong = run_files.read_lines(metrics)  # Without a last one that a kill tore.
    if wrong:
        raise UserError(f"{metrics} is damaged: {wrong}")
    lines = [line for line in every if alone or line["seed"] not in diverged]
    if not lines:
        raise NothingToReport(f"the run in {folder} {_why_nothing(diverged, alone)}")
    # Of a set of seeds those that are done are in a file a part, until all are.
    parts = (_json(part, schemas.PART) for part in sorted(folder.glob("seeds_*.json")))
    found = summary.get("runs", [summary] if summary else itertools.chain(*parts))
    done = {run["seed"]: run for run in found}
    first, runs = None if "recipe" in config else 1, []
    for seed in sorted({line["seed"] for line in lines} | done.keys()):
        own, end = [line for line in lines if line["seed"] == seed], done.get(seed, {})
        run_files.check_lines(metrics, own, end.get("epoch"), first=first)
        runs.append(Run(folder, config, env, seed, own, end, diverged))
    return runs


def _is_run(folder: Path) -> bool:
    return (folder / "config.json").is_file()


def _json(path: Path, schema: Any) -> Any:
    return run_files.read(path, schema, "delete it") if path.exists() else {}


def _diverged(folder: Path, summary: Mapping[str, Any]) -> dict[int, int]:
    """Returns {seed: step} of the seeds that diverged: until a run is done, a file has them."""
    if summary:
        return {found["seed"]: found["step"] for found in summary.get("diverged", ())}
    path = folder / "diverged.json"
    return run_files.read_diverged(path) if path.exists() else {}


def _why_nothing(diverged: Mapping[int, int], alone: bool) -> str:
    if alone and diverged:
        step = next(iter(diverged.values()))
        return f"diverged by step {step}, in its first epoch: nothing to report"
    why = " of a seed that did not diverge" if diverged else ""
    return f"has no finished epoch{why} yet: nothing to report"
