"""Result files, one JSON a row of the table, and the table made from them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from supermask_jax.analysis.intervals import mask_bytes, mean_interval, percent

CURVES = ("train_loss", "test_accuracy", "val_accuracy", "remaining_weights")


def collect(folders: Sequence[Path]) -> dict[str, Any]:
    """Gathers finished runs of one config and several seeds.

    Args:
      folders: work folders with ``summary.json``, ``metrics.jsonl``, ``config.json``, ``env.json``.

    Returns:
      {"config", "env", "n", "accuracy", "remaining_weights", "seconds", "mask_bytes", "runs"};
      accuracy and remaining weights as {"mean", "low", "high", "n"}, fractions in [0, 1].
    """
    runs = [_run(folder) for folder in folders]
    config = json.loads((folders[0] / "config.json").read_text())
    config.pop("seed")
    return {
        "config": config,
        "env": json.loads((folders[0] / "env.json").read_text()),
        "n": len(runs),
        "accuracy": mean_interval([run["test_accuracy"] for run in runs])._asdict(),
        "remaining_weights": mean_interval([run["remaining_weights"] for run in runs])._asdict(),
        "seconds": round(sum(run["seconds"] for run in runs) / len(runs), 1),
        "mask_bytes": round(sum(run["mask_bytes"] for run in runs) / len(runs)),
        "runs": runs,
    }


def _run(folder: Path) -> dict[str, Any]:
    summary = json.loads((folder / "summary.json").read_text())
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    keep = ("seed", "epoch", "test_accuracy", "test_loss", "remaining_weights", "seconds")
    return {name: summary[name] for name in keep} | {
        "mask_bytes": mask_bytes(summary["layers"]),
        "layer_densities": {
            name: round(layer["density"], 6) for name, layer in summary["layers"].items()
        },
        "curves": {
            name: [round(line[name], 5) for line in lines] for name in CURVES if name in lines[0]
        },
    }


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """Writes one result file; curves stand on one line each."""
    text = json.dumps(result, indent=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_join_number_lists(text) + "\n")


def _join_number_lists(text: str) -> str:
    joined, inside = [], False
    for line in text.split("\n"):
        stripped = line.strip()
        if inside:
            joined[-1] += stripped if stripped == "]," or stripped == "]" else f"{stripped} "
            inside = not stripped.startswith("]")
        else:
            joined.append(line)
            inside = stripped.endswith("[") and "curves" not in stripped and "runs" not in stripped
    return "\n".join(joined)


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Returns a Markdown table of result files: the paper's values beside ours."""
    head = (
        "| row | n | accuracy % | paper | remaining % | paper | mask bytes | s a run | device |",
        "|---|---|---|---|---|---|---|---|---|",
    )
    return "\n".join([*head, *map(_table_row, results)])


def _table_row(result: Mapping[str, Any]) -> str:
    paper = result.get("paper") or {}
    env = result["env"]
    dense = not any(run["layer_densities"] for run in result["runs"])
    cells = (
        result["row"],
        str(result["n"]),
        percent(result["accuracy"]),
        paper.get("accuracy", "-"),
        "100" if dense else percent(result["remaining_weights"]),
        paper.get("remaining", "-"),
        "-" if dense else f"{result['mask_bytes']:,}",
        f"{result['seconds']:,.0f}",
        env["device"] if env["backend"] != "cpu" else f"CPU, {env['cpu_count']} cores",
    )
    return "| " + " | ".join(cells) + " |"
