"""The same step in another framework: two processes that take turns, and an equal gradient.

Each side has its process, so that neither's threads, allocator or memory touch the other's; while
one computes the other waits for its next command.
"""

from __future__ import annotations

import importlib.util
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from supermask_jax.benchmark.timing import Cost, median_cost
from supermask_jax.errors import UserError, unknown_name

PEERS = ("torch",)
MODELS = ("fcn", "conv2", "conv4", "conv6", "conv8")
# Largest relative difference (norm of the difference over the norm) of loss and gradients. In
# bfloat16 rounding alone takes a gradient of Conv8 12 % from float32's here, 14 % in PyTorch.
TOLERANCES = {"float32": 5e-3, "bfloat16": 0.15}

_BATCHES = 16  # of images that both sides go round in
_CHUNK_SECONDS = 2.0
_HERE = Path(__file__).parent


class _Side:
    """A process that answers each command with one line of JSON."""

    def __init__(self, name: str, arguments: Sequence[str], python: str = "") -> None:
        self.name = name
        try:
            self.process = subprocess.Popen(
                [python or sys.executable, *arguments],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
        except OSError as error:
            raise UserError(f"cannot start {python}: {error.strerror}") from error
        self.ready = self.answer()

    def answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            errors = self.process.communicate()[1].strip().splitlines()
            reason = errors[-1] if errors else f"status {self.process.returncode}"
            raise UserError(f"the {self.name} side of the benchmark failed: {reason}")
        return json.loads(line)

    def ask(self, command: str) -> dict[str, Any]:
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.answer()

    def __enter__(self) -> _Side:
        return self

    def __exit__(self, *unused: object) -> None:
        self.process.kill()
        self.process.communicate()


def check_peer(peer: str, config: ConfigDict, python: str = "") -> None:
    """Raises UserError where `peer` is unknown or absent, or cannot build the network.

    Whether the interpreter `python` has it shows when it starts.
    """
    if peer not in PEERS:
        raise unknown_name("peer", peer, PEERS)
    if not python and importlib.util.find_spec(peer) is None:
        raise UserError(f"--peer={peer} needs it installed: pip install {peer}")
    plain = (config.method.name == "signed" and config.method.threshold.rule != "top_fraction"
             and config.model.norm == "none" and config.optimizer.name == "sgdw"
             and config.microbatches == 1)  # fmt: skip
    if config.model.name not in MODELS or not plain or config.data.augment != "none":
        raise UserError(
            f"{config.name} has no counterpart in {peer}: it has the signed supermasks, with SGDW "
            f"and without norm, augmentation or microbatches, of {', '.join(MODELS)}"
        )


def measure_peer(
    config: ConfigDict, *, repeats: int, chunk_steps: int = 0, python: str = ""
) -> dict[str, Any]:
    """Measures the train step here and in PyTorch, taking turns.

    Args:
      config: a signed supermask of a network in `MODELS`.
      repeats: pairs of chunks, after one that warms up.
      chunk_steps: steps in a chunk; 0 takes about two seconds of them, in whole dispatches.
      python: interpreter of the other side; "" is this one.

    Returns:
      Seconds a step (wall and CPU) and peak bytes of both processes, their versions, the relative
      difference of loss and gradients, and the ratio ours over theirs: below 1 is faster.

    Raises:
      UserError: a side failed, or the two do not compute the same.
    """
    config = config.copy_and_resolve_references()
    config.data.subset, config.data.shuffle = _BATCHES * config.batch_size, False
    with TemporaryDirectory() as path:
        ours = ["-m", "supermask_jax.benchmark.peer_jax", repr(config.to_dict()), path]
        with (
            _Side("JAX", ours) as ours,
            _Side("PyTorch", [str(_HERE / "peer_torch.py"), path], python) as theirs,
        ):
            theirs.ask("check")
            difference = _difference(Path(path), TOLERANCES[config.compute_dtype])
            sides = {"ours": ours, "peer": theirs}
            chunk = chunk_steps or _chunk(sides)
            pairs = [
                {name: side.ask(f"steps {chunk}") for name, side in sides.items()}
                for _ in range(repeats + 1)
            ][1:]
            return {"chunk_steps": chunk, "pairs": repeats, "threads": theirs.ready["threads"],
                    "compute_dtype": config.compute_dtype, **difference,
                    "compile_and_first_step_seconds": ours.ready["seconds"],
                    **_figures(pairs, chunk, sides)}  # fmt: skip


def _chunk(sides: dict[str, _Side]) -> int:
    """Returns how many steps of the slower side take about `_CHUNK_SECONDS`."""
    slowest = max(side.ask("steps 3")["wall"] / 3 for side in sides.values())
    # Whole dispatches of ours, as a run has them.
    together = sides["ours"].ready["steps_per_call"]
    return max(1, round(_CHUNK_SECONDS / slowest / together)) * together


def _figures(pairs: list[dict[str, Any]], chunk: int, sides: dict[str, _Side]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, side in sides.items():
        cost = median_cost(Cost(pair[name]["wall"], pair[name]["cpu"]) for pair in pairs)
        result[name] = {
            "version": side.ready["version"],
            "step_wall_seconds": cost.wall / chunk,
            "step_cpu_seconds": cost.cpu / chunk,
            "process_peak_bytes": max(pair[name]["peak_bytes"] for pair in pairs),
        }
    for clock in ("wall", "cpu"):
        ratios = [pair["ours"][clock] / pair["peer"][clock] for pair in pairs]
        result[f"ratio_{clock}"] = statistics.median(ratios)
        result[f"ratio_{clock}_range"] = [min(ratios), max(ratios)]
    return result


def _difference(folder: Path, tolerance: float) -> dict[str, float]:
    """Returns the largest relative differences of loss and gradients of the two sides."""
    with np.load(folder / "jax.npz") as ours, np.load(folder / "torch.npz") as theirs:
        found = {
            name: float(np.linalg.norm(ours[name] - theirs[name]) / np.linalg.norm(ours[name]))
            for name in ours.files
        }
    # Written so that a NaN is no agreement.
    wrong = [name for name, value in found.items() if not value <= tolerance]
    if wrong:
        said = ", ".join(f"{name} by {found[name]:.1e}" for name in wrong)
        raise UserError(f"the two sides do not compute the same: relative differences in {said}")
    loss = found.pop("loss")
    return {"loss_difference": loss, "gradient_difference": max(found.values())}
