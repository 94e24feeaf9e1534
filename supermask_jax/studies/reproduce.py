"""Runs rows of the results table, keeps what they give as small result files, writes the pages."""

from __future__ import annotations

import json
import logging
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from supermask_jax import files
from supermask_jax.analysis import page
from supermask_jax.analysis.results import collect, extra_flags, join, seeds_of, write_result
from supermask_jax.analysis.rows import Row
from supermask_jax.config.files import changes_nothing, default_identity, load_with_overrides
from supermask_jax.errors import Diverged, UserError, one_line
from supermask_jax.lottery.table import criteria_page, lottery_page
from supermask_jax.run_files import flat, read
from supermask_jax.schemas import LOTTERY, RESULT, SEARCH

_SEEDS = ("--config.seed=", "--config.num_seeds=")

_LOTTERY_NOTE = (
    "The FCN with ReLU on MNIST, magnitude pruning in rounds; cells are test accuracies in percent "
    "after training at that density, means with 95 % intervals."
)

_log = logging.getLogger("supermask_jax")


def row_config(row: Row, root: Path, seed: int, flags: Sequence[str] = ()) -> ConfigDict:
    """Returns the config of one run of a row.

    Raises:
      UserError: a flag does not fit the row's config.
    """
    every = [*row.flags, *flags, f"--config.seed={seed}"]
    return load_with_overrides(str(root / row.config), every)


def reproduce(
    rows: Sequence[Row],
    seeds: Sequence[int],
    *,
    root: Path,
    runs: Path,
    results: Path,
    flags: Sequence[str] = (),
    budget_minutes: float = float("inf"),
    together: bool = False,
    estimate: bool = False,
    quiet: bool = True,
) -> list[dict[str, Any]]:
    """Runs rows x seeds, in order, and writes ``results/<row>.json`` after every run.

    A finished run is not repeated and one that was stopped goes on. Seeds join those that the
    file holds of the same config, versions and device, wherever they ran. One that diverges ends
    no other: the row's result names its seeds. Past the budget no further run is started; what
    there is stays.

    Args:
      rows: most valuable first.
      seeds: every seed is one run.
      root: folder that the rows' config files are relative to.
      runs: folder of the work folders, ``<row>/s<seed>``, or ``<row>/s<first>-<last>``.
      results: folder of the result files.
      flags: overrides of config entries for all rows, e.g. ``--config.epochs=2``.
      budget_minutes: wall time, in minutes.
      together: train the seeds of a row as one set where they follow each other, which is faster
        on accelerators.
      estimate: say before the first run how long all of them take on this machine, and before
        each when the last one ends: see `seconds_of_step`.
      quiet: print no epochs.

    Returns:
      The result files of the rows that have run.

    Raises:
      UserError: a row cannot be run, or `results` holds it without these flags.
    """
    if wrong := [flag for flag in flags if flag.startswith(_SEEDS)]:
        raise UserError(f"leave out {wrong[0]}, and choose the seeds with --seeds=0,1,2")
    # What changes nothing computed is no part of a row's command.
    named = [flag for flag in flags if not changes_nothing(flag)]
    for row in rows:
        _check_free(results / f"{row.name}.json", named)
    tasks = list(_tasks(rows, seeds, root, runs, flags, together))
    from supermask_jax import experiment  # With JAX: pages need none.
    from supermask_jax.studies.expected import expected_seconds

    pending: dict[Path, float] = {}
    if estimate:
        left = [task for task in tasks if not (task[1] / "summary.json").exists()]
        pending = expected_seconds({folder: config for _, folder, config in left})
    started, written = time.monotonic(), []
    done: dict[str, list[Path]] = {}
    lost: dict[str, list[dict[str, Any]]] = {}
    for number, (row, folder, config) in enumerate(tasks, start=1):
        folders, failures = done.setdefault(row.name, []), lost.setdefault(row.name, [])
        if time.monotonic() - started > 60 * budget_minutes:
            names = list(dict.fromkeys(row.name for row in rows))
            left = ", ".join(names[names.index(row.name) + 1 :]) or "none"
            said = "budget spent: %s has %d of %d seeds; rows not begun: %s"
            _log.info(said, row.name, len(folders), len(seeds), left)
            return written
        place = f"{number} of {len(tasks)}, row {row.name}, {folder.name}"
        _log.info("run %s%s", place, _until(pending))
        try:
            experiment.run(config, folder, quiet=quiet)
            folders.append(folder)
        except Diverged as error:
            _log.warning("row %s, %s: %s", row.name, folder.name, one_line(error))
            diverged = range(config.seed, config.seed + config.num_seeds)
            failures += [{"seed": seed, "failed": one_line(error)} for seed in diverged]
        pending.pop(folder, None)
        if folders:
            result = _write(row, results / f"{row.name}.json", collect(folders, failures), named)
            written = [*(w for w in written if w["row"] != row.name), result]
    return written


def _tasks(
    rows: Sequence[Row],
    seeds: Sequence[int],
    root: Path,
    runs: Path,
    flags: Sequence[str],
    together: bool,
) -> Iterator[tuple[Row, Path, ConfigDict]]:
    """Yields row, work folder and config of each run; `together` makes a range of seeds one."""
    counts = dict.fromkeys(seeds, 1)
    if together and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        counts = {seeds[0]: len(seeds)}
    for row in rows:
        for first, count in counts.items():
            config = row_config(row, root, first, flags)
            config.num_seeds = count
            name = f"s{first}" if count == 1 else f"s{first}-{first + count - 1}"
            yield row, runs / row.name / name, config


def _until(pending: Mapping[Path, float]) -> str:
    """Returns e.g. ``: 3 left, the last one ends about Thu 18:40``; "" if nothing is known."""
    if not pending:
        return ""
    end = time.localtime(time.time() + sum(pending.values()))
    return f": {len(pending)} left, the last one ends about {time.strftime('%a %H:%M', end)}"


def _check_free(path: Path, flags: Sequence[str]) -> None:
    """Raises UserError if `path` holds a whole row that a run with `flags` would replace."""
    if flags and path.exists() and not extra_flags(_read(path)):
        raise UserError(f"{path} holds the row without {shlex.join(flags)}: give another --results")


def _write(
    row: Row, path: Path, found: Mapping[str, Any], flags: Sequence[str]
) -> Mapping[str, Any]:
    """Writes a row's result and returns what the file holds: never fewer seeds over more."""
    with files.locked(path):
        _check_free(path, flags)
        if path.exists():
            old = _read(path)
            if _agree(old["config"], found["config"]):
                if joined := join(old, found):
                    found = joined
                elif old["n"] > found["n"]:
                    return old
        words = ["python", "experiments/reproduce.py", f"--rows={row.name}"]
        words += [f"--seeds={seeds_of(found)}", *flags]
        head = {"row": row.name, "about": row.about, "paper": dict(row.paper)}
        write_result(path, head | {"command": shlex.join(words)} | dict(found))
        return _read(path)


def _agree(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Says whether the entries of a config are those of an older one, or the defaults it lacks."""
    before = flat(json.loads(json.dumps(default_identity()))) | flat(old)
    return all(before.get(name) == value for name, value in flat(new).items())


def _read(path: Path, schema: Any = RESULT) -> dict[str, Any]:
    return read(path, schema, "delete it, or restore it")


def load_results(results: Path, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Returns the result files there are, in the order of the rows.

    Raises:
      UserError: a file is damaged.
    """
    paths = [results / f"{row.name}.json" for row in rows]
    return [_read(path) for path in paths if path.exists()]


def results_page(results: Path, rows: Sequence[Row]) -> str:
    """Returns the text of RESULTS.md, from the result files alone; rows not run say so.

    Args:
      results: folder of the result files; figures lie relative to the folder that holds it.
      rows: the whole table, most valuable first.
    """
    figures = {row.section.figure for row in rows}
    there = {figure for figure in figures if figure and (results.parent / figure).exists()}
    return page.results_page(rows, load_results(results, rows), there, _other_sections(results))


def _other_sections(results: Path) -> Iterator[str]:
    """Yields the sections of result files that are no rows of the table."""
    tickets = [_read(path, LOTTERY) for path in sorted(results.glob("lottery-*.json"))]
    if tickets:
        yield "\n\n".join(["## Lottery tickets", _LOTTERY_NOTE, *map(_lottery_section, tickets)])
    searches = [_read(path, SEARCH) for path in sorted(results.glob("search-*.json"))]
    if searches:
        yield "\n\n".join(["## Searches", page.SEARCH_NOTE, *map(page.search_lines, searches)])


def _lottery_section(result: Mapping[str, Any]) -> str:
    parts = [f"`{result['command']}`", lottery_page(result)]
    criteria = {row["criterion"] for row in result["rows"]} - {None}
    if len(criteria) > 1 and not result["config"]["lottery"]["untrained"]:
        parts.append(criteria_page(result))
    return "\n\n".join(parts)


def write_pages(root: Path, rows: Sequence[Row]) -> None:
    """Writes RESULTS.md and the table in README.md from the files in ``results/``.

    Raises:
      UserError: a result file is damaged, or README.md lacks the lines that the table stands
        between.
    """
    readme, results = root / "README.md", root / "results"
    with files.locked(readme):
        text = page.replace_marked(
            readme.read_text(), page.readme_table(rows, load_results(results, rows))
        )
        files.write(root / "RESULTS.md", results_page(results, rows).encode())
        files.replace(readme, text.encode())
