"""Search for settings on the validation split: a grid, checked before any runs, and its log."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from supermask_jax import experiment, files
from supermask_jax.analysis.results import write_result
from supermask_jax.config.files import default_identity, identity, load_with_overrides
from supermask_jax.errors import Diverged, UserError, one_line
from supermask_jax.run_files import check_lines, flat, read, read_lines
from supermask_jax.schemas import SEARCH
from supermask_jax.training.environment import environment
from supermask_jax.training.waiting import Points
from supermask_jax.training.workdir import Workdir, config_difference

_log = logging.getLogger("supermask_jax")

# Of the last epoch; the test set is not among what a search sees.
KEPT = ("epoch", "train_accuracy", "val_accuracy", "remaining_weights")


class Trial(NamedTuple):
    """A point of the grid.

    Attributes:
      point: entry -> value, of the entry's type.
      config: the whole config, its seed aside.
      digest: names the config, its seed aside.
    """

    point: dict[str, Any]
    config: ConfigDict
    digest: str

    def __str__(self) -> str:
        return " ".join(f"--config.{key}={value}" for key, value in self.point.items())


def load_trial(spec: str, flags: Sequence[str], point: Sequence[tuple[str, str]] = ()) -> Trial:
    """Returns one point of a search over the config file `spec` under the overrides `flags`.

    Raises:
      UserError: an entry is unknown, a value wrong or impossible, or the run would tune on test.
    """
    config = load_with_overrides(spec, [*flags, *(f"--config.{k}={v}" for k, v in point)])
    if config.protocol != "validation":
        raise UserError(
            "a search compares settings on the validation split, so the protocol must be "
            f"'validation': leave out config.protocol={config.protocol}"
        )
    if config.num_seeds != 1:
        raise UserError("leave out config.num_seeds, and choose the seeds with --seeds=0,1,2")
    experiment.build(config)  # The factories check their own options.
    text = json.dumps(_plain(config), sort_keys=True)
    values = flat(config.to_dict())
    chosen = {key: values[key] for key, _ in point if key in values}
    return Trial(chosen, config, hashlib.sha256(text.encode()).hexdigest()[:12])


def load_trials(spec: str, flags: Sequence[str], grid: Sequence[str]) -> list[Trial]:
    """Returns every combination of the grid's values; those of the last text change first.

    Args:
      spec: the config file.
      flags: overrides for all.
      grid: ``key=value,value``, or ``key,key=a:b,a:b`` for entries that vary together.

    Raises:
      UserError: as `load_trial`; or a text is neither; or two points are the same run.
    """
    axes = list(map(_axis, grid))
    keys = [key for axis in axes for key, _ in axis[0]]
    for key in keys:
        if keys.count(key) > 1:
            raise UserError(f"--grid is given twice for {key}: put all its values in one --grid")
        if key in ("seed", "num_seeds"):
            raise UserError(f"--grid cannot set {key}: choose the seeds with --seeds=0,1,2")
    trials: dict[str, Trial] = {}
    for parts in itertools.product(*axes):
        trial = load_trial(spec, flags, list(itertools.chain(*parts)))
        if trial.digest in trials:
            same = trials[trial.digest]
            raise UserError(
                f"two points of the grid describe the same run: {same}, and {trial}: leave out one"
            )
        trials[trial.digest] = trial
    return list(trials.values())


def _axis(text: str) -> list[list[tuple[str, str]]]:
    """Returns the values of one --grid, each as (entry, text) pairs."""
    left, _, right = text.partition("=")
    keys = [key.removeprefix("config.") for key in left.split(",")]
    values = [value.split(":") if len(keys) > 1 else [value] for value in right.split(",")]
    if not all(keys) or any(len(parts) != len(keys) or not all(parts) for parts in values):
        raise UserError(
            "--grid takes an entry and its values, such as method.threshold.value=0.01,0.02, or "
            f"entries that vary together, a,b=1:2,3:4, got {text!r}"
        )
    return [list(zip(keys, parts, strict=True)) for parts in values]


def _plain(config: ConfigDict) -> dict[str, Any]:
    """Returns what makes two searches the same: the config without its seed."""
    return {key: value for key, value in identity(config).items() if key != "seed"}


def open_log(path: Path, base: ConfigDict, command: str) -> dict[str, Any]:
    """Returns the log in `path`, or a new one, with `command` among its commands.

    {"commands", "config", "env", "runs"}: `config` is what all runs share but for their points;
    a run is {"point", "digest", "seed"}, `KEPT` and "seconds", or why it "failed".

    Raises:
      UserError: the file is no log, or that of a search over another config.
    """
    shared = _plain(base)
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
    log = read(path, SEARCH, "--out must name the log of a search, or a new file")
    new = json.loads(json.dumps(shared))
    if difference := config_difference(log["config"], new, default_identity()):
        raise UserError(
            f"{path} is the log of a search over another config ({difference}): choose another "
            "file with --out"
        )
    return log


def search(
    trials: Sequence[Trial],
    seeds: Sequence[int],
    log: dict[str, Any],
    *,
    workdir: Path,
    out: Path,
    budget_minutes: float = float("inf"),
) -> int:
    """Runs trials x seeds into `log`, which is written to `out` after every run.

    Every trial comes with the first seed before any with the second. What the log holds is not
    repeated, and a run that was stopped goes on.

    Args:
      trials: from `load_trials`.
      seeds: every seed is one run of each trial.
      log: from `open_log`; runs are added to it.
      workdir: folder of the work folders, ``<digest>/s<seed>``.
      out: the log's file.
      budget_minutes: wall time, in minutes, past which no run is started.

    Returns:
      How many runs are left.

    Raises:
      UserError: a run is impossible.
      KeyboardInterrupt: SIGTERM or Ctrl-C; what there is is saved.
    """
    deadline = time.monotonic() + 60 * budget_minutes
    _add(out, log)
    done = set(map(_key, log["runs"]))
    tasks = [(trial, seed) for seed in seeds for trial in trials]
    tasks = [(t, seed) for t, seed in tasks if _key({"point": t.point, "seed": seed}) not in done]
    points = Points(len(tasks))
    for ended, (trial, seed) in enumerate(tasks):
        if time.monotonic() > deadline:
            return len(tasks) - ended
        config = trial.config.copy_and_resolve_references()
        config.seed = seed
        _log.info("point %s: %s, seed %d", next(points), str(trial) or "the config itself", seed)
        labels = {"point": trial.point, "digest": trial.digest, "seed": seed}
        _add(out, log, labels | _run(config, workdir / trial.digest / f"s{seed}"))
    return 0


def _add(out: Path, log: dict[str, Any], *runs: dict[str, Any]) -> None:
    """Adds runs to a log and its file, and to both what other searches have added to the file."""
    with files.locked(out):
        found = read_log(out, log["config"]) if out.exists() else log
        log["commands"] = list(dict.fromkeys([*found["commands"], *log["commands"]]))
        known = {_key(run): run for run in (*found["runs"], *log["runs"], *runs)}
        log["runs"] = list(known.values())
        write_result(out, log)


def _key(run: Mapping[str, Any]) -> tuple[str, int]:
    """Returns what names a run in a log: not its digest, which changes with new entries."""
    return json.dumps(run["point"], sort_keys=True), run["seed"]


def _run(config: ConfigDict, folder: Path) -> dict[str, Any]:
    """Runs one point and returns what the log keeps of it: nothing measured on test."""
    try:
        summary = experiment.run(config, folder, quiet=True)
    except Diverged as error:
        return {"failed": one_line(error)}
    path = Workdir(folder).metrics
    lines, _ = read_lines(path)
    check_lines(path, lines, summary["epoch"])
    seconds = round(sum(line["seconds"] for line in lines), 1)
    return {name: lines[-1][name] for name in KEPT} | {"seconds": seconds}
