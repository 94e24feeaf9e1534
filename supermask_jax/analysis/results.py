"""Result files, one JSON a row of the table: the runs of several seeds and what they share."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from supermask_jax import files
from supermask_jax.analysis.intervals import mask_bytes, mean_interval
from supermask_jax.analysis.runs import Run, read_folder
from supermask_jax.errors import UserError
from supermask_jax.run_files import read, read_masks
from supermask_jax.schemas import CONFIG, ENV

ACCURACIES = ("train_accuracy", "val_accuracy", "test_accuracy")
KEEP = (
    *("seed", "epoch", "test_accuracy", "test_loss"),
    *("remaining_weights", "mean_probability", "seconds"),
)
# What one machine may have, and the next one not, without other numbers.
_OF_ONE_RUN = {"time", "git_revision", "platform", "cpu_count", "compilation_cache"}
_AGAIN = "run its row again, in an empty folder"
CURVES = ("train_loss", "train_accuracy", "val_accuracy", "test_accuracy", "remaining_weights")


def collect(folders: Sequence[Path], diverged: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Gathers finished runs of one config and several seeds.

    Args:
      folders: work folders of single runs or of sets of seeds.
      diverged: {"seed", "failed": why} of further runs, which left no result.

    Returns:
      {"config", "env", "n", "accuracy", "remaining_weights", "seconds", "mask_bytes", "runs"};
      accuracy and remaining weights as {"mean", "low", "high", "n"}, fractions in [0, 1]. Where
      seeds diverged it has also "diverged", [{"seed", ...}]: they are in nothing else.
    """
    config = read(folders[0] / "config.json", CONFIG, _AGAIN)
    for name in ("seed", "num_seeds"):
        config.pop(name, None)
    env = read(folders[0] / "env.json", ENV, _AGAIN)
    env.pop("command", None)  # A result has the command of its row.
    found = [read_folder(folder) for folder in folders]
    runs = [_of_run(run) for of_folder in found for run in of_folder]
    lost = [
        {"seed": seed, "step": step} for first, *_ in found for seed, step in first.diverged.items()
    ]
    return {"config": config, "env": env} | _of_seeds(runs, [*lost, *diverged])


def join(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any] | None:
    """Adds the seeds that only `old` has to a result of the same row and config.

    Args:
      old: what the row's file holds.
      new: what `collect` returned.

    Returns:
      The seeds of both, and where `old` has more the revisions of both; None if the two did not
      run on one kind of device with the same versions.
    """
    envs = [{k: v for k, v in r["env"].items() if k not in _OF_ONE_RUN} for r in (old, new)]
    if envs[0] != envs[1]:
        return None
    kinds = ("runs", "diverged")
    there = {run["seed"] for kind in kinds for run in new.get(kind, ())}
    more = {kind: [run for run in old.get(kind, ()) if run["seed"] not in there] for kind in kinds}
    if not any(more.values()):
        return dict(new)
    runs, lost = (
        sorted([*new.get(kind, ()), *more[kind]], key=lambda run: run["seed"]) for kind in kinds
    )
    both = ", ".join(r["env"].get("git_revision") or "unknown" for r in (old, new))
    env = old["env"] | {"git_revision": ", ".join(dict.fromkeys(both.split(", ")))}
    return {"config": new["config"], "env": env} | _of_seeds(runs, lost)


def _of_seeds(
    runs: Sequence[Mapping[str, Any]], diverged: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    def values(name: str) -> list[float]:
        return [run[name] for run in runs]

    result = {
        "n": len(runs),
        "accuracy": mean_interval(values("test_accuracy"))._asdict(),
        "remaining_weights": mean_interval(values("remaining_weights"))._asdict(),
        "seconds": round(sum(values("seconds")) / len(runs), 1),
        "mask_bytes": round(sum(values("mask_bytes")) / len(runs)),
        "runs": list(runs),
    }
    return result | ({"diverged": list(diverged)} if diverged else {})


def _of_run(run: Run) -> dict[str, Any]:
    if not run.summary:
        raise UserError(f"the run in {run.folder} is not finished: {_AGAIN}")
    masks, names = read_masks(run.masks_path), [name for name in CURVES if name in run.lines[0]]
    return {name: run.summary[name] for name in KEEP if name in run.summary} | {
        "mask_bytes": mask_bytes(masks),
        "layer_densities": {n: round(float(np.mean(mask != 0)), 6) for n, mask in masks.items()},
        "curves": {name: [round(line[name], 5) for line in run.lines] for name in names},
    }


def seeds_of(result: Mapping[str, Any]) -> str:
    """Returns the seeds of a result as its command takes them: also those that diverged."""
    found = [run["seed"] for run in result["runs"]]
    lost = [run["seed"] for run in result.get("diverged", ())]
    return ",".join(map(str, sorted([*found, *lost]) if lost else found))


def mean_rows(seeds: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Returns the rows of pruning tables of several seeds as one: accuracies as intervals.

    Args:
      seeds: for each seed the rows of `supermask_jax.lottery.run`, of the same levels and cells.

    Returns:
      The rows with {"mean", "low", "high", "n"} in place of each accuracy, the mean density, and
      "by_seed": {name of an accuracy: its values, one a seed}.
    """
    merged = []
    for rows in zip(*seeds, strict=True):
        row = dict(rows[0])
        row["density"] = sum(r["density"] for r in rows) / len(rows)
        by_seed = {name: [r[name] for r in rows] for name in ACCURACIES if name in row}
        row |= {name: mean_interval(values)._asdict() for name, values in by_seed.items()}
        merged.append(row | {"by_seed": by_seed})
    return merged


_NUMBER_LIST = re.compile(r"\[\s+(-?\d[-+.,\d\seE]*?)\s+\]")


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """Writes one result file, which the caller has locked; a list of numbers stands on one line."""
    text = json.dumps(result, indent=1)
    text = _NUMBER_LIST.sub(lambda match: f"[{' '.join(match[1].split())}]", text)
    files.replace(path, f"{text}\n".encode())


def is_dense(result: Mapping[str, Any]) -> bool:
    """Says whether a result is of networks without masks."""
    return not any(run["layer_densities"] for run in result["runs"])


def extra_flags(result: Mapping[str, Any]) -> list[str]:
    """Returns the flags of a result's command that set entries beyond those of its row."""
    return [word for word in shlex.split(result["command"]) if word.startswith("--config.")]
