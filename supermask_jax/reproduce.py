"""Runs rows of the results table and keeps what they give as small result files."""

from __future__ import annotations

import json
import logging
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from supermask_jax.analysis.results import collect, table, write_result
from supermask_jax.errors import unknown_name
from supermask_jax.overrides import load_with_overrides

_log = logging.getLogger("supermask_jax")


class Row(NamedTuple):
    """A row of the table.

    Attributes:
      name: unique; names the result file and the work folders.
      config: config file and variant, relative to the repository.
      flags: overrides of config entries, as on the command line.
      paper: {"accuracy": ..., "remaining": ...} as the paper prints them, in percent.
      about: what the row is, in a few words.
    """

    name: str
    config: str
    flags: tuple[str, ...] = ()
    paper: Mapping[str, str] = {}
    about: str = ""


def row_config(row: Row, root: Path, seed: int, flags: Sequence[str] = ()) -> ConfigDict:
    """Returns the config of one run of a row.

    Raises:
      UserError: a flag does not fit the row's config.
    """
    every = [*row.flags, *flags, f"--config.seed={seed}"]
    return load_with_overrides(str(root / row.config), every)


def select(rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
    """Returns the rows named; a name that ends in ``*`` stands for all that begin so.

    Raises:
      UserError: no row has a name.
    """
    chosen = []
    for name in names:
        stem = name.removesuffix("*")
        if stem == name:
            found = [row for row in rows if row.name == name]
        else:
            found = [row for row in rows if row.name.startswith(stem)]
        if not found:
            raise unknown_name("row", name, [row.name for row in rows])
        chosen += [row for row in found if row not in chosen]
    return chosen


def reproduce(
    rows: Sequence[Row],
    seeds: Sequence[int],
    *,
    root: Path,
    runs: Path,
    results: Path,
    flags: Sequence[str] = (),
    budget_minutes: float = float("inf"),
) -> list[dict[str, Any]]:
    """Runs rows x seeds, in order, and writes ``results/<row>.json`` after every run.

    A finished run is not repeated and one that was stopped goes on. Past the budget no further run
    is started; what there is stays.

    Args:
      rows: most valuable first.
      seeds: every seed is one run.
      root: folder that the rows' config files are relative to.
      runs: folder of the work folders, ``<row>/s<seed>``.
      results: folder of the result files.
      flags: overrides of config entries for all rows, e.g. ``--config.epochs=2``.
      budget_minutes: wall time, in minutes.

    Raises:
      UserError: a row cannot be run.
    """
    from supermask_jax import experiment

    started, written = time.monotonic(), []
    for row in rows:
        done: list[Path] = []
        for seed in seeds:
            if time.monotonic() - started > 60 * budget_minutes:
                _log.info("budget spent: %s has %d of %d seeds", row.name, len(done), len(seeds))
                break
            folder = runs / row.name / f"s{seed}"
            _log.info("row %s, seed %d", row.name, seed)
            experiment.run(row_config(row, root, seed, flags), folder, quiet=True)
            done.append(folder)
            _write(row, results / f"{row.name}.json", collect(done), flags)
        if done:
            written.append(json.loads((results / f"{row.name}.json").read_text()))
    return written


def _write(row: Row, path: Path, found: dict[str, Any], flags: Sequence[str]) -> None:
    """Writes a row's result file, but never fewer seeds over more."""
    if path.exists() and json.loads(path.read_text())["n"] > found["n"]:
        return
    seeds = ",".join(str(run["seed"]) for run in found["runs"])
    words = ["python", "experiments/reproduce.py", f"--rows={row.name}", f"--seeds={seeds}", *flags]
    head = {"row": row.name, "about": row.about, "paper": dict(row.paper)}
    write_result(path, head | {"command": shlex.join(words)} | found)


def load_results(results: Path, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Returns the result files there are, in the order of the rows."""
    paths = [results / f"{row.name}.json" for row in rows]
    return [json.loads(path.read_text()) for path in paths if path.exists()]


def results_page(results: Path, rows: Sequence[Row]) -> str:
    """Returns the text of RESULTS.md, from the result files alone; rows not run say so."""
    found = load_results(results, rows)
    names = {result["row"] for result in found}
    missing = [f"`{row.name}`" for row in rows if row.name not in names]
    commands = [f"- `{result['row']}`: `{result['command']}`" for result in found]
    about = [f"- `{row.name}`: {row.about} (`{row.config}`)" for row in rows]
    return "\n".join(
        [
            "# Results",
            "",
            "Written by `python experiments/reproduce.py --page` from the files in `results/`; do "
            "not edit. Accuracy is that of the last epoch on the test set; means over n seeds "
            "with the 95 % Student-t interval of the mean. Mask bytes: entropy bound of the "
            "masks. Papers' values as printed there. Seconds are the wall time of a run, on a "
            "machine that was not kept free for it.",
            "",
            table(found),
            "",
            f"Not run yet: {', '.join(missing)}." if missing else "Every row has been run.",
            "",
            "## Rows",
            "",
            *about,
            "",
            "## Commands",
            "",
            *commands,
            "",
        ]
    )
