"""What a run shows and writes after each epoch."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

from tqdm import tqdm

from supermask_jax.errors import UserError
from supermask_jax.training.loop import Plan
from supermask_jax.training.workdir import Workdir


def epoch_line(line: dict[str, Any], epochs: int) -> str:
    """Returns one epoch's metrics as a line of text."""
    split = "val" if "val_loss" in line else "test"
    return (
        f"epoch {line['epoch']:{len(str(epochs))}}/{epochs}"
        f"  train loss {line['train_loss']:.4f}  accuracy {line['train_accuracy']:7.2%}"
        f"  {split} loss {line[f'{split}_loss']:.4f}  accuracy {line[f'{split}_accuracy']:7.2%}"
        f"  remaining {line['remaining_weights']:7.2%}  {line['seconds']:.2f} s"
    )


class Progress:
    """Writes ``metrics.jsonl``; shows a bar on a terminal and one line an epoch anywhere."""

    def __init__(
        self, folder: Workdir, seed: int, plan: Plan, *, quiet: bool, tensorboard: bool
    ) -> None:
        self._folder, self._seed, self._plan, self._quiet = folder, seed, plan, quiet
        self._writer = _tensorboard_writer(folder) if tensorboard else None
        self._bar = tqdm(
            total=plan.steps_per_epoch, leave=False, disable=quiet or not sys.stderr.isatty()
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *unused: Any) -> None:
        self._bar.close()
        if self._writer is not None:
            self._writer.close()

    def step(self, epoch: int, steps: int) -> None:
        """Notes that `steps` steps of `epoch` are done."""
        if not self._bar.disable:
            self._bar.set_description(f"epoch {epoch}/{self._plan.epochs}", refresh=False)
            self._bar.update(steps - self._bar.n)

    def report(self, line: dict[str, Any]) -> None:
        """Writes and shows a finished epoch."""
        self._folder.append_metrics({"seed": self._seed, **line})
        if self._writer is not None:
            for name in line.keys() - {"epoch", "step"}:
                self._writer.add_scalar(name, line[name], line["epoch"])
        if not self._quiet:
            tqdm.write(epoch_line(line, self._plan.epochs), file=sys.stdout)
            sys.stdout.flush()
        if not self._bar.disable:
            self._bar.reset()


def require_tensorboard() -> None:
    """Raises UserError unless the extra is installed."""
    if importlib.util.find_spec("tensorboardX") is None:
        raise UserError(
            "config.tensorboard needs the extra: pip install 'supermask-jax[tensorboard]'"
        )


def _tensorboard_writer(folder: Workdir) -> Any:
    from tensorboardX import SummaryWriter

    return SummaryWriter(str(folder.path / "tensorboard"))
