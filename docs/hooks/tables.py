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
    return table.lottery_page(_result(f"lottery-{name}"))


def criteria(name: str) -> str:
    """The ranks of the criteria of one grid."""
    return table.criteria_page(_result(f"lottery-{name}"))


def tickets(unused: None) -> str:
    """The table of the tickets that are kept."""
    lines = (ROOT / "tickets" / "README.md").read_text().splitlines()
    return "\n".join(line for line in lines if line.startswith("|"))


def steps(unused: None) -> str:
    """Times of a masked training step beside a dense one, of all benchmarks."""
    rows = []
    for path in sorted((ROOT / "results").glob("benchmark-*.json")):
        result = _result(path.stem)
        env = result["env"]
        device = f"CPU, {env['cpu_count']} cores" if env["backend"] == "cpu" else env["device"]
        for model, figures in result["models"].items():
            if found := figures.get("steps"):
                times = (found[side]["step_wall_seconds"] for side in ("dense", "masked"))
                shown = (f"{1e3 * seconds:,.2f} ms" for seconds in times)
                rows.append((f"`{model}`", device, *shown, _ratio(found["ratio"], "wall")))
    head = ("model", "device", "dense step", "masked step", "masked / dense")
    return Table(head, rows).markdown()


def latency(unused: None) -> str:
    """Latency of the tickets that were timed, beside their dense networks."""
    rows = []
    for path in sorted((ROOT / "results").glob("latency-*.json")):
        result = _result(path.stem)
        for timing in result["timings"]:
            seconds = timing["seconds"]
            dense = min(value for way, value in seconds.items() if way.startswith("dense"))
            times = (dense, seconds["ticket"], seconds["all sparse"])
            shown = (f"{1e3 * value:,.3f} ms" for value in times)
            rows.append(
                (
                    f"`{result['ticket']}`",
                    f"{100 * result['density']:.2f}",
                    timing["part"],
                    timing["batch"],
                    *shown,
                    f"{dense / seconds['ticket']:.2f}",
                )
            )
    head = ("ticket", "density %", "part", "batch", "dense")
    head += ("ticket", "all sparse", "dense / ticket")
    return Table(head, rows).markdown()


def peer(unused: None) -> str:
    """Steps beside the same ones in PyTorch."""
    rows = []
    for path in sorted((ROOT / "results").glob("peer-*.json")):
        for model, result in _result(path.stem)["models"].items():
            found = result["peer"]
            sides = [found[side] for side in ("ours", "peer")]
            times = (f"{1e3 * side['step_wall_seconds']:,.2f} ms" for side in sides)
            memory = " and ".join(_mib(side["process_peak_bytes"]) for side in sides)
            rows.append(
                (
                    sides[0]["version"],
                    found["compute_dtype"],
                    f"`{model}`",
                    *times,
                    _ratio(found, "ratio_wall"),
                    f"{found['ratio_cpu']:.2f}",
                    memory,
                    f"{found['compile_and_first_step_seconds']:.1f} s",
                )
            )
    head = ("jax", "dtype", "model", "ours", "PyTorch", "ours / PyTorch")
    head += ("in CPU time", "peak memory", "first step")
    return Table(head, rows).markdown()


def convolutions(unused: None) -> str:
    """Times of the ways to compute a convolution, forward and backward, layer by layer."""
    layers: dict[str, dict[str, str]] = {}
    for case in _result("convolutions")["cases"]:
        name = f"{case['size']} x {case['size']}, {case['channels']} to {case['features']}"
        times = (1e3 * case[f"{part}_seconds"] for part in ("forward", "backward"))
        layers.setdefault(name, {})[case["way"]] = " / ".join(f"{value:,.0f}" for value in times)
    ways = list(next(iter(layers.values())))
    rows = [(name, *(times[way] for way in ways)) for name, times in layers.items()]
    return Table(("layer", *ways), rows).markdown()


def memory(name: str) -> str:
    """Memory of a batch, of four times as much, and of that in microbatches."""
    rows = [
        (
            case["batch_size"],
            case["microbatches"],
            _mib(case["step_bytes"]["peak"]),
            _mib(case["process_peak_bytes"]),
            f"{case['step_wall_seconds']:.2f} s",
        )
        for model in _result(name)["models"].values()
        for case in model["memory"]
    ]
    head = ("batch", "microbatches", "planned for a step", "peak of the process", "step")
    return Table(head, rows).markdown()


def starts(name: str) -> str:
    """Seconds from launch to first step."""
    rows = []
    for model, figures in _result(name)["models"].items():
        found = (figures["start"][f"first_step_{kind}seconds"] for kind in ("", "cached_"))
        rows.append((f"`{model}`", *(f"{value:.1f} s" for value in found)))
    return Table(("model", "no compilation cache", "with one"), rows).markdown()


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
        log = _result(path.stem)
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
    log = _result(name)
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
        result = _result(path.stem)
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


def loader(unused: None) -> str:
    """Reading of a folder of JPEG, beside other loaders."""
    found, rows = _result("benchmark-loader")["loader"], []
    names = {"ours": "supermask-jax, threads"}
    for name, side in found["sides"].items():
        ratio = found["ratio"].get(name)
        rows.append(
            (
                names.get(name, f"{name} {side['version']}, {found['workers']} processes"),
                f"{side['images_per_second']:,.0f}",
                f"{side['cpu_ms_per_image']:.2f}",
                f"{side['start_seconds']:.1f} s",
                _ratio(ratio, "cpu") if ratio else "",
            )
        )
    head = ("loader", "images/s", "CPU ms an image", "to the first batch", "ours / it, in CPU time")
    return Table(head, rows).markdown()


def waits(unused: None) -> str:
    """For how long a device waits for images."""
    result = _result("benchmark-loader")
    rows = [
        (f"takes {100 * case['taken']:.0f} % of what is read", _waits(case))
        for case in result["loader"]["waiting"]
    ]
    found, cores = result["loader"]["training"], result["env"]["cpu_count"]
    step = f"`{found['model']}` on {cores} cores, {found['step_wall_seconds']:.1f} s a step"
    rows.append((step, f"{100 * found['waiting_share']:.1f}"))
    return Table(("device", "waits, % of the time"), rows).markdown()


def _waits(case: dict[str, Any]) -> str:
    low, high = case["waiting_share_range"]
    return f"{100 * case['waiting_share']:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def _result(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "results" / f"{name}.json").read_text())


def _ratio(found: dict[str, Any], name: str) -> str:
    low, high = found[f"{name}_range"]
    return f"{found[name]:.2f} [{low:.2f}, {high:.2f}]"


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"


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
