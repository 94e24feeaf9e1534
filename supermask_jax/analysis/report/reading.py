"""Reads work folders, finished or not, and puts runs that differ in their seed alone together."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from supermask_jax.errors import UserError, expanded
from supermask_jax.run_files import (
    CONFIG,
    ENV,
    PART,
    SUMMARY,
    check_lines,
    flat,
    read,
    read_diverged,
    read_lines,
)

_NOT_GROUP = ("seed", "num_seeds", "level_sha256")
_WITH_DEFAULTS = ("data", "model")

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
      lines: of ``metrics.jsonl``, one an epoch.
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


class Group(NamedTuple):
    """Runs of one config."""

    label: str
    config: Mapping[str, Any]  # flat: {"method.name": ...}, without the seeds
    runs: Sequence[Run]  # those that did not diverge, or all where they all did
    diverged: Sequence[tuple[int, int]] = ()  # (seed, step by which it had)

    @property
    def watched(self) -> str:
        """The split that every epoch is evaluated on: "val" or "test"."""
        return "val" if "val_loss" in self.runs[0].lines[0] else "test"

    @property
    def finished(self) -> bool:
        """Whether all of its runs are."""
        return all(run.summary for run in self.runs)

    @property
    def lost(self) -> bool:
        """Whether all of its runs diverged."""
        return all(run.lost for run in self.runs)

    @property
    def dense(self) -> bool:
        """Whether it has no masks."""
        pruned = any(key.startswith("recipe") for key in self.config)
        return self.config.get("method.name") == "dense" and not pruned


def read_folders(folders: Sequence[Path]) -> list[Run]:
    """Returns the runs of work folders, a set of seeds as one run each but those that diverged.

    Folders that are none (``runs``) are searched for some further down; of several, those with
    nothing to report are left out with a warning.

    Raises:
      NothingToReport: no folder holds a run, or none with a finished epoch that did not diverge.
      UserError: a file is damaged.
    """
    folders = [expanded(folder).resolve() for folder in folders]
    places = [place for folder in folders for place in _runs_in(folder)]
    found: list[Run] = []
    nothing: list[NothingToReport] = []
    for place in places:
        try:
            found += _read(place)
        except NothingToReport as error:
            nothing.append(error)
    if nothing and not found:
        raise nothing[0]
    for error in nothing:
        _log.warning("left out: %s", error)
    return found


def _runs_in(folder: Path) -> list[Path]:
    """Returns the folder, or the work folders below it where it is none and there are some."""
    if (folder / "config.json").is_file():
        return [folder]
    return sorted(path.parent for path in folder.glob("**/config.json")) or [folder]


def _read(folder: Path) -> list[Run]:
    if not (folder / "config.json").is_file():
        raise NothingToReport(f"{folder} holds no run")
    config, env = _json(folder / "config.json", CONFIG), _json(folder / "env.json", ENV)
    summary = _json(folder / "summary.json", SUMMARY)
    diverged = _diverged(folder, summary)
    alone = config.get("num_seeds", 1) == 1
    lines = _metrics(folder / "metrics.jsonl")
    lines = [line for line in lines if alone or line["seed"] not in diverged]
    if not lines:
        if alone and diverged:
            step = next(iter(diverged.values()))
            raise NothingToReport(
                f"the run in {folder} diverged by step {step}, in its first epoch: nothing to "
                "report"
            )
        why = " of a seed that did not diverge" if diverged else ""
        raise NothingToReport(
            f"the run in {folder} has no finished epoch{why} yet: nothing to report"
        )
    # Of a set of seeds those that are done are in a file a part, until all are.
    done = summary.get("runs") or [
        run for part in sorted(folder.glob("seeds_*.json")) for run in _json(part, PART)
    ]
    done = {run["seed"]: run for run in done or ([summary] if summary else [])}
    seeds = sorted({line["seed"] for line in lines} | done.keys())
    for seed in seeds:
        own = [line for line in lines if line["seed"] == seed]
        first = None if "recipe" in config else 1
        check_lines(folder / "metrics.jsonl", own, done.get(seed, {}).get("epoch"), first=first)
    return [
        Run(folder, config, env, seed, [x for x in lines if x["seed"] == seed],
            done.get(seed, {}), diverged)
        for seed in seeds
    ]  # fmt: skip


def _diverged(folder: Path, summary: Mapping[str, Any]) -> dict[int, int]:
    """Returns {seed: step} of the seeds that diverged: until a run is done, a file has them."""
    if summary:
        return {found["seed"]: found["step"] for found in summary.get("diverged", ())}
    path = folder / "diverged.json"
    return read_diverged(path) if path.exists() else {}


def _json(path: Path, schema: Any) -> Any:
    return read(path, schema, "delete it") if path.exists() else {}


def _metrics(path: Path) -> list[dict[str, Any]]:
    """Returns the lines; a last one torn by a kill is left out, as a run that goes on leaves it."""
    lines, wrong = read_lines(path)
    if wrong:
        raise UserError(f"{path} is damaged: {wrong}")
    return lines


def group_runs(runs: Sequence[Run], defaults: Mapping[str, Any]) -> list[Group]:
    """Groups runs by config, in the order in which each first comes.

    Args:
      runs: from `read_folders`.
      defaults: nested; values of entries that an old run's config lacks.

    Raises:
      UserError: a run is there twice.
    """
    # Entries of the other sections belong to what they name, and have no default.
    known = {
        key: value
        for key, value in _without_seeds(defaults).items()
        if key.partition(".")[0] in _WITH_DEFAULTS or "." not in key
    }
    alike: dict[str, tuple[dict[str, Any], list[Run]]] = {}
    for run in runs:
        config = _without_seeds(run.config)
        config = known | config
        alike.setdefault(json.dumps(config, sort_keys=True), (config, []))[1].append(run)
    for _, members in alike.values():
        _check_once(members)
    configs = [config for config, _ in alike.values()]
    groups = [_group(config, members) for config, members in alike.values()]
    return [
        group._replace(label=label)
        for group, label in zip(groups, _labels(configs), strict=True)
    ]  # fmt: skip


def _group(config: dict[str, Any], members: Sequence[Run]) -> Group:
    folders = {run.folder: run.diverged for run in members}
    diverged = sorted(pair for found in folders.values() for pair in found.items())
    return Group("", config, [run for run in members if not run.lost] or members, diverged)


def _without_seeds(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in flat(config).items() if key not in _NOT_GROUP}


def _check_once(members: Sequence[Run]) -> None:
    seen: dict[int, Run] = {}
    for run in members:
        if (other := seen.setdefault(run.seed, run)) is not run:
            raise UserError(
                f"{run.folder} holds the run that {other.folder} holds, of seed {run.seed}: "
                "give one of them"
            )


def differing(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the entries in which flat configs differ."""
    keys = list(dict.fromkeys(key for config in configs for key in config))
    return [key for key in keys if len({repr(config.get(key)) for config in configs}) > 1]


def _labels(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The configs' names; where they are alike, with the entries that tell them apart: up to two.

    What two entries leave alike is numbered.
    """
    names = [str(config.get("name", "run")) for config in configs]
    labels = list(names)
    for count in (1, 2):
        for i, config in enumerate(configs):
            same = [other for name, other in zip(names, configs, strict=True) if name == names[i]]
            keys = [key for key in differing(same) if key in config][:count]
            words = [f"{key.rpartition('.')[2]} {config[key]}" for key in keys]
            labels[i] = ", ".join([names[i], *words])
        if len(set(labels)) == len(labels):
            break
    return [
        label if labels.count(label) == 1 else f"{label} ({labels[:i].count(label) + 1})"
        for i, label in enumerate(labels)
    ]
