"""Puts results into pages: every figure is read from `results/` when the site is built.

A page holds a marker alone on its line, for example ``<!-- rows: fcn-*, mnist-dense -->``.
"""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from timings import (
    convolutions,
    latency,
    loader,
    memory,
    peer,
    result_of,
    starts,
    steps,
    waits,
)

from supermask_jax.analysis import page
from supermask_jax.analysis.intervals import mean_interval, percent
from supermask_jax.analysis.rows import select
from supermask_jax.analysis.tables import Table
from supermask_jax.errors import UserError
from supermask_jax.lottery import table
from supermask_jax.studies import reproduce

ROOT = Path(__file__).resolve().parents[2]
ROWS = runpy.run_path(str(ROOT / "experiments" / "rows.py"))["ROWS"]

_MARKER = re.compile(r"^<!-- ([a-z]+)(?:: (.*?))? -->$", re.MULTILINE)


def rows(names: str) -> str:
    """The rows of the table with these names or globs, and the papers' values."""
    found = {result["row"]: result for result in reproduce.load_results(ROOT / "results", ROWS)}
    return page.table(select(ROWS, names.split(", ")), found)


def results(unused: None) -> str:
    """The page that `reproduce.py --page` writes, without its heading."""
    text = reproduce.results_page(ROOT / "results", ROWS)
    return text.partition("\n")[2].replace("](docs/", "](")


def lottery(name: str) -> str:
    """Accuracy level by level of one grid of recipes."""
    return table.lottery_page(result_of(f"lottery-{name}"))


def criteria(name: str) -> str:
    """The ranks of the criteria of one grid."""
    return table.criteria_page(result_of(f"lottery-{name}"))


def tickets(unused: None) -> str:
    """The table of the tickets that are kept."""
    lines = (ROOT / "tickets" / "README.md").read_text().splitlines()
    return "\n".join(line for line in lines if line.startswith("|"))


def notebook(unused: None) -> str:
    """The notebook's cells, and a link in place of the picture that Colab's badge would load."""
    cells = json.loads((ROOT / "notebooks" / "supermask.ipynb").read_text())["cells"]
    texts = [("".join(cell["source"]), cell["cell_type"] == "code") for cell in cells]
    page = "\n\n".join(f"```python\n{text}\n```" if code else text for text, code in texts)
    return re.sub(r"\[!\[(.*?)\]\(.*?\)\]", r"[\1]", page)


def starting(unused: None) -> str:
    """Where to start with each method: the best of a small search, and what is about as good."""
    rows = []
    for path in sorted((ROOT / "results").glob("start-*.json")):
        log = result_of(path.stem)
        runs = [run for run in log["runs"] if "failed" not in run]
        best = max(runs, key=lambda run: run["val_accuracy"])
        method = log["config"]["method"]
        near = sorted(
            run["point"]["optimizer.learning_rate"]
            for run in runs
            if run["val_accuracy"] > best["val_accuracy"] - 0.01
            and run["point"]["schedule.name"] == best["point"]["schedule.name"]
        )
        init = method.get("score_init", {})
        rows.append(
            (
                f"`{method['name']}`",
                log["config"]["optimizer"]["name"],
                f"{100 * best['remaining_weights']:.1f}",
                f"{best['point']['optimizer.learning_rate']:g}",
                best["point"]["schedule.name"],
                ", ".join(f"{rate:g}" for rate in near),
                f"`{init['scale']}_{init['distribution']}`" if init else "",
                f"{100 * best['val_accuracy']:.1f}",
            )
        )
    told = ("method", "optimiser", "density %", "rate", "schedule", "within 1 %", "scores")
    return Table((*told, "accuracy %"), rows).markdown()


def grid(name: str) -> str:
    """Accuracy on the validation split, and density, of a search over two settings."""
    log = result_of(name)
    values = zip(*map(_values, log["runs"]), strict=True)
    lines, columns = (list(dict.fromkeys(entry)) for entry in values)
    rows = []
    for line in lines:
        cells = []
        for column in columns:
            runs = [run for run in log["runs"] if _values(run) == (line, column)]
            accuracy = percent(mean_interval([run["val_accuracy"] for run in runs]))
            density = mean_interval([run["remaining_weights"] for run in runs]).mean
            cells.append(f"{accuracy}, {100 * density:.1f}")
        rows.append((f"`{line}`", *cells))
    head = " \\ ".join(f"`{entry}`" for entry in log["runs"][0]["point"])
    return Table((head, *(f"`{column}`" for column in columns)), rows).markdown()


def _values(run: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(run["point"].values())


def tasks(data: str) -> str:
    """Several tasks of a data set over one network: accuracy, which task an image is of, bytes."""
    rows = []
    for path in sorted((ROOT / "results").glob(f"tasks-{data}*.json")):
        result = result_of(path.stem)
        found, config = result["tasks"], result["config"]
        shares = [100 * row["accuracy"] for row in found]
        trained = ", over a trained network" * bool(config.get("pretrained"))
        right = [sum(row.get(f"task_{key}", 0) for row in found) for key in ("found", "asked")]
        rows.append(
            (
                f"`{config['method']['name']}`{trained}",
                len(found),
                config["epochs"],
                f"{100 * sum(row['remaining'] for row in found) / len(found):.2f}",
                f"{sum(shares) / len(found):.2f} ({min(shares):.2f} to {max(shares):.2f})",
                f"{right[0]} of {right[1]}" if right[1] else "",
                f"{result['bytes'] / len(found):,.0f}",
            )
        )
    head = ("method", "tasks", "epochs", "remaining %", "accuracy %", "task found", "bytes a task")
    return Table(head, rows).markdown()


_MAKERS: dict[str, Callable[[Any], str]] = {
    "rows": rows,
    "results": results,
    "lottery": lottery,
    "criteria": criteria,
    "tickets": tickets,
    "steps": steps,
    "latency": latency,
    "peer": peer,
    "convolutions": convolutions,
    "memory": memory,
    "starts": starts,
    "starting": starting,
    "grid": grid,
    "tasks": tasks,
    "notebook": notebook,
    "loader": loader,
    "waits": waits,
}


def on_page_markdown(markdown: str, *, page: Any, **unused: Any) -> str:
    """Replaces the markers of a page.

    Raises:
      PluginError: a marker names what is not there.
    """

    def made(marker: re.Match[str]) -> str:
        try:
            return f"\n{_MAKERS[marker[1]](marker[2])}\n"
        except (UserError, KeyError, ValueError, OSError) as error:
            raise PluginError(f"{page.file.src_uri}: {marker[0]}: {error}") from error

    return _MARKER.sub(made, markdown)
