"""Tables of times and memory, read from `results/`: `tables` puts them into pages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from supermask_jax.analysis.tables import Table

ROOT = Path(__file__).resolve().parents[2]


def result_of(name: str) -> dict[str, Any]:
    """Returns what a result file holds."""
    return json.loads((ROOT / "results" / f"{name}.json").read_text())


def steps(unused: None) -> str:
    """Times of a masked training step beside a dense one, of all benchmarks."""
    rows = []
    for path in sorted((ROOT / "results").glob("benchmark-*.json")):
        result = result_of(path.stem)
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
        result = result_of(path.stem)
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
        whole = result_of(path.stem)
        for model, result in whole["models"].items():
            found = result["peer"]
            sides = [found[side] for side in ("ours", "peer")]
            times = (f"{1e3 * side['step_wall_seconds']:,.2f} ms" for side in sides)
            ours, theirs = (side["process_peak_bytes"] for side in sides)
            rows.append(
                (
                    sides[0]["version"],
                    found["compute_dtype"],
                    f"`{model}`",
                    *times,
                    _ratio(found, "ratio_wall"),
                    f"{found['ratio_cpu']:.2f}",
                    _mib(ours),
                    _mib(theirs),
                    _mib(found["compile_process_peak_bytes"]),
                    f"{found['compile_and_first_step_seconds']:.1f} s",
                    whole["processor"],
                )
            )
    head = ("jax", "dtype", "model", "ours", "PyTorch", "ours / PyTorch", "in CPU time")
    head += ("peak, ours", "peak, PyTorch", "peak, compiling", "to compile", "processor")
    return Table(head, rows).markdown()


def convolutions(unused: None) -> str:
    """Times of the ways to compute a convolution, forward and backward, layer by layer."""
    layers: dict[str, dict[str, str]] = {}
    for case in result_of("convolutions")["cases"]:
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
        for model in result_of(name)["models"].values()
        for case in model["memory"]
    ]
    head = ("batch", "microbatches", "planned for a step", "peak of the process", "step")
    return Table(head, rows).markdown()


def starts(name: str) -> str:
    """Seconds from launch to first step."""
    whole, rows = result_of(name), []
    for model, figures in whole["models"].items():
        found = (figures["start"][f"first_step_{kind}seconds"] for kind in ("", "cached_"))
        shown = (f"{value:.1f} s" for value in found)
        rows.append((whole["env"]["versions"]["jax"], f"`{model}`", *shown, whole["processor"]))
    head = ("jax", "model", "no compilation cache", "with one", "processor")
    return Table(head, rows).markdown()


def loader(unused: None) -> str:
    """Reading of a folder of JPEG, beside other loaders."""
    found, rows = result_of("benchmark-loader")["loader"], []
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
    result = result_of("benchmark-loader")
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


def _ratio(found: dict[str, Any], name: str) -> str:
    low, high = found[f"{name}_range"]
    return f"{found[name]:.2f} [{low:.2f}, {high:.2f}]"


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
