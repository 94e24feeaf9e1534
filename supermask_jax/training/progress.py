"""What a run shows and writes after each epoch."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from supermask_jax.training import live
from supermask_jax.training.distributed import is_main
from supermask_jax.training.tensorboard import Board, Pictures
from supermask_jax.training.trainer import Trainer
from supermask_jax.training.waiting import waiting, wanted
from supermask_jax.training.workdir import Workdir

_log = logging.getLogger("supermask_jax")

# Seconds after which a log tells of an epoch that is not over.
_QUIET_S = 60.0


def epoch_line(lines: Sequence[Mapping[str, Any]], epochs: int) -> str:
    """Returns one epoch's metrics as a line of text: means where there are several seeds."""
    mean, words = live.mean_line(lines), [f"epoch {lines[0]['epoch']:{len(str(epochs))}}/{epochs}"]
    for split in ("train", live.watched_split(mean)):
        words.append(f"{split} loss {mean[f'{split}_loss']:.4f}")
        words.append(f"accuracy {mean[f'{split}_accuracy']:7.2%}")
    words.append(f"remaining {mean['remaining_weights']:7.2%}")
    words.append(f"{sum(line['seconds'] for line in lines):.2f} s")
    if len(lines) > 1:
        words.append(f"mean of {len(lines)} seeds")
    return "  ".join(words)


class Progress:
    """Writes ``metrics.jsonl``; shows a live view on a terminal, one line an epoch elsewhere."""

    def __init__(self, folder: Workdir, trainer: Trainer, *, quiet: bool) -> None:
        self._folder, self._plan, self._first = folder, trainer.plan, trainer.seeds[0]
        quiet = quiet or not is_main()
        board = trainer.tensorboard and is_main()
        self._board = Board(folder, self._plan.epochs, in_set=trainer.in_set) if board else None
        title = "/".join(folder.path.parts[-2:])
        self._view = None if quiet or not wanted() else live.LiveView(title, self._plan)
        # The view tells the same, but to nobody who reads a file or a pipe.
        self._plain = not (quiet or (self._view is not None and sys.stdout.isatty()))
        self._callbacks = trainer.callbacks if is_main() else ()
        self._last, self._warned, self._compiling = "", False, ExitStack()
        self._told = time.monotonic()

    def __enter__(self) -> Progress:
        if self._view is not None:
            self._view.start()
        elif self._plain:
            self._compiling.enter_context(waiting("compiling the first step"))
        return self

    def __exit__(self, *unused: Any) -> None:
        self._compiling.close()
        if self._view is not None:
            self._view.stop()
            if self._last and not self._plain:
                print(self._last, flush=True)
        if self._board is not None:
            self._board.close()

    def step(self, epoch: int, steps: int, loss: float | None = None) -> None:
        """Notes that `steps` steps of `epoch` are done, with their mean `loss` so far."""
        self._compiling.close()
        if self._view is not None:
            self._view.step(epoch, steps, loss)
        elif self._plain and loss is not None and time.monotonic() - self._told > _QUIET_S:
            self._told = time.monotonic()
            of = f"epoch {epoch}/{self._plan.epochs}, step {steps}/{self._plan.steps_per_epoch}"
            _log.info("%s: train loss %.4f", of, loss)

    def report(self, lines: Sequence[Mapping[str, Any]], pictures: Pictures) -> None:
        """Writes and shows a finished epoch: the lines of its seeds, the masks of the first one."""
        self._folder.append_metrics(lines)
        if self._board is not None:
            self._board.report(lines)
            self._board.draw(self._first, lines[0]["epoch"], pictures)
        empty = [line["seed"] for line in lines if line["remaining_weights"] == 0]
        if empty and not self._warned:
            self._warned = True
            said = "epoch %d: no weight remains of seed %s: nothing passes the threshold"
            _log.warning(said, lines[0]["epoch"], ", ".join(map(str, empty)))
        self._last, self._told = epoch_line(lines, self._plan.epochs), time.monotonic()
        if self._plain:
            print(self._last, flush=True)
        if self._view is not None:
            self._view.report(lines)
        for callback in self._callbacks:
            for line in lines:
                callback(line)
