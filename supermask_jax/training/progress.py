"""What a run shows and writes after each epoch."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from supermask_jax.errors import UserError
from supermask_jax.training import live
from supermask_jax.training.processes import is_main
from supermask_jax.training.programs import Plan
from supermask_jax.training.workdir import Workdir


def epoch_line(lines: Sequence[Mapping[str, Any]], epochs: int) -> str:
    """Returns one epoch's metrics as a line of text: means where there are several seeds."""
    first = lines[0]
    split = "val" if "val_loss" in first else "test"
    names = [f"{part}_{what}" for part in ("train", split) for what in ("loss", "accuracy")]
    mean = {
        name: sum(line[name] for line in lines) / len(lines)
        for name in (*names, "remaining_weights")
    }
    seconds = sum(line["seconds"] for line in lines)
    return (
        f"epoch {first['epoch']:{len(str(epochs))}}/{epochs}"
        f"  train loss {mean['train_loss']:.4f}  accuracy {mean['train_accuracy']:7.2%}"
        f"  {split} loss {mean[f'{split}_loss']:.4f}  accuracy {mean[f'{split}_accuracy']:7.2%}"
        f"  remaining {mean['remaining_weights']:7.2%}  {seconds:.2f} s"
        + (f"  mean of {len(lines)} seeds" if len(lines) > 1 else "")
    )


class Progress:
    """Writes ``metrics.jsonl``; shows a live view on a terminal, one line an epoch elsewhere."""

    def __init__(
        self, folder: Workdir, plan: Plan, *, quiet: bool, tensorboard: bool, in_set: bool
    ) -> None:
        self._folder, self._plan, self._in_set = folder, plan, in_set
        self._writer = _tensorboard_writer(folder) if tensorboard and is_main() else None
        title = "/".join(folder.path.parts[-2:])
        self._view = None if quiet or not live.wanted() else live.LiveView(title, plan)
        # The view tells the same, but to nobody who reads a file or a pipe.
        self._plain = not (quiet or (self._view is not None and sys.stdout.isatty()))
        self._last = ""

    def __enter__(self) -> Progress:
        if self._view is not None:
            self._view.start()
        return self

    def __exit__(self, *unused: Any) -> None:
        if self._view is not None:
            self._view.stop()
            if self._last and not self._plain:
                print(self._last, flush=True)
        if self._writer is not None:
            self._writer.close()

    def step(self, epoch: int, steps: int) -> None:
        """Notes that `steps` steps of `epoch` are done."""
        if self._view is not None:
            self._view.step(epoch, steps)

    def report(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Writes and shows a finished epoch: the lines of its seeds."""
        self._folder.append_metrics(lines)
        if self._writer is not None:
            for line in lines:
                prefix = f"seed {line['seed']}/" if self._in_set else ""
                for name, value in _scalars(line):
                    self._writer.add_scalar(prefix + name, value, line["epoch"])
        self._last = epoch_line(lines, self._plan.epochs)
        if self._plain:
            print(self._last, flush=True)
        if self._view is not None:
            self._view.report(lines)


def _scalars(line: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yields a line's numbers by name; those of a layer as ``layer_density/dense1/kernel``."""
    for name, value in line.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}/{layer}", number) for layer, number in value.items())
        elif name not in ("seed", "epoch", "step"):
            yield name, value


def require_tensorboard() -> None:
    """Raises UserError unless the extra is installed."""
    if importlib.util.find_spec("tensorboardX") is None:
        raise UserError(
            "config.tensorboard needs the extra: pip install 'supermask-jax[tensorboard]'"
        )


def _tensorboard_writer(folder: Workdir) -> Any:
    from tensorboardX import SummaryWriter

    return SummaryWriter(str(folder.path / "tensorboard"))
