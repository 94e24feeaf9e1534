"""Searches and their log: a JSON file that grows by a run at a time, and is read to go on."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from supermask_jax import files
from supermask_jax.analysis.results import write_result
from supermask_jax.config_files import default_identity
from supermask_jax.errors import UserError
from supermask_jax.run_files import SEARCH, read
from supermask_jax.search.grid import Trial, plain_config
from supermask_jax.search.jobs import Task, outcomes


def open_log(path: Path, base: ConfigDict, command: str) -> dict[str, Any]:
    """Returns the log in `path`, or a new one, with `command` among its commands.

    {"commands", "config", "env", "runs"}: `config` is what all runs share but for their points;
    a run is {"point", "digest", "seed"} and what `jobs.run_one` gives.

    Raises:
      UserError: the file is no log, or that of a search over another config.
    """
    from supermask_jax.training.workdir import environment

    shared = plain_config(base)
    if not path.exists():
        return {"commands": [command], "config": shared, "env": environment(), "runs": []}
    log = read_log(path, shared)
    log["commands"] = list(dict.fromkeys([*log["commands"], command]))
    return log


def read_log(path: Path, shared: dict[str, Any]) -> dict[str, Any]:
    """Returns the log in `path`, of a search over the config `shared`.

    Raises:
      UserError: the file is no log, or that of a search over another config.
    """
    from supermask_jax.training.workdir import config_difference

    log = read(path, SEARCH, "it is not the log of a search: give another --out")
    new = json.loads(json.dumps(shared))
    if difference := config_difference(log["config"], new, default_identity()):
        raise UserError(
            f"{path} is the log of a search over another config ({difference}): give another --out"
        )
    return log


def search(
    trials: Sequence[Trial],
    seeds: Sequence[int],
    log: dict[str, Any],
    *,
    workdir: Path,
    out: Path,
    jobs: int = 1,
    budget_minutes: float = float("inf"),
) -> int:
    """Runs trials x seeds into `log`, which is written to `out` after every run.

    Every trial comes with the first seed before any with the second. What the log holds is not
    repeated, and a run that was stopped goes on.

    Args:
      trials: from `grid.load_trials`.
      seeds: every seed is one run of each trial.
      log: from `open_log`; runs are added to it.
      workdir: folder of the work folders, ``<digest>/s<seed>``.
      out: the log's file.
      jobs: runs at a time.
      budget_minutes: wall time, in minutes, past which no run is started.

    Returns:
      How many runs are left.

    Raises:
      UserError: a run is impossible.
      KeyboardInterrupt: SIGTERM or Ctrl-C; what there is is saved.
    """
    deadline = time.monotonic() + 60 * budget_minutes
    _add(out, log)
    done = {(run["digest"], run["seed"]) for run in log["runs"]}
    tasks = [
        _task(trial, seed, workdir)
        for seed in seeds
        for trial in trials
        if (trial.digest, seed) not in done
    ]
    left = len(tasks)
    for task, outcome in outcomes(tasks, jobs, deadline):
        _add(out, log, task.labels | outcome)
        left -= 1
    return left


def _add(out: Path, log: dict[str, Any], *runs: dict[str, Any]) -> None:
    """Adds runs to a log and its file, and to both what other searches have added to the file."""
    with files.locked(out):
        found = read_log(out, log["config"]) if out.exists() else log
        log["commands"] = list(dict.fromkeys([*found["commands"], *log["commands"]]))
        known = {(run["digest"], run["seed"]): run for run in (*found["runs"], *log["runs"], *runs)}
        log["runs"] = list(known.values())
        write_result(out, log)


def _task(trial: Trial, seed: int, workdir: Path) -> Task:
    config = trial.config.copy_and_resolve_references()
    config.seed = seed
    labels = {"point": trial.point, "digest": trial.digest, "seed": seed}
    return Task(config, workdir / trial.digest / f"s{seed}", labels)
